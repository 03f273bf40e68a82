"""What a model is judged by of a set of still images, and what makes spikes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, cast, get_args

from dvskit.datasets import ENCODERS, Sample, Stills, open_stills
from dvskit.datasets.idx import idx_parts
from dvskit.datasets.samples import Part
from dvskit.datasets.stills import Encoder
from dvskit.errors import ConfigError, FormatError
from dvskit.formats.image_list import IMAGE_SUFFIXES
from dvskit.training.data_config import DataConfig
from dvskit.training.held_out import Judged, check_chosen, choose_samples, unrecorded
from dvskit.training.models import Model
from dvskit.training.sets import parts_of
from dvskit.training.split_file import fingerprint

_OF_IMAGES = ("images", "saccades")  # the kinds of entries [[data]] that learn from still images


def open_judged(path: str | PathLike[str], chosen: str) -> Stills:
    """Open a folder of still images; of IDX files the test part alone where no other is asked for.

    Raises what `open_stills` raises.
    """
    there: tuple[Part, ...] = idx_parts(Path(path)) or ("train", "test")
    only_test = chosen in ("held-out", "test") and "test" in there
    return open_stills(path, ("test",) if only_test else there)


def choose_encoder(model: Model, encoder: str | Encoder | None) -> str | Encoder:
    """Return what makes spikes of images: `encoder`, else the only one that a model learned from.

    Raises ConfigError where the model learned from several, or from none.
    """
    if encoder is not None:
        return encoder
    trained = list(dict.fromkeys(e.encoder for e in _entries(model) if e.kind == "images"))
    if len(trained) == 1:
        return trained[0]
    others = ", ".join(name for name in ENCODERS if name not in trained)
    if not trained:
        raise ConfigError(
            f"{model.name} learned from no encoded images; say what makes spikes of them: pass "
            f"encoder='poisson' (--encoder poisson), or one of {others}"
        )
    raise ConfigError(
        f"{model.name} learned from images encoded by {' and by '.join(trained)}; say which is "
        f"meant: pass encoder={trained[-1]!r} (--encoder {trained[-1]}); {others} can be tried too"
    )


def choose_seed(model: Model, seed: int | None) -> int:
    """Return `seed`, else that of a model's run, or 0 where it is not recorded.

    Raises ConfigError for one below 0.
    """
    if seed is not None and seed < 0:
        raise ConfigError(f"seed = {seed} is below 0")
    return int(model.about.get("seed", 0) if seed is None else seed)


def choose_stills(model: Model, stills: Stills, chosen: str) -> Judged:
    """Return the images that a model is to be judged by.

    chosen  "held-out": the part that the set itself keeps for tests, of another set all that the
            model was neither trained on nor chosen by; "all"; "train" and "test": the part of the
            set, else of the model's run; "validation": what its best epoch was chosen by

    Images in files are known again by the model's split.csv. Others, those of IDX files, are split
    again by the model's entries [[data]] and its seed where classes and the number of test images
    are those of its run.

    Raises ConfigError for another name and for a part of which nothing is there, FormatError if
    nothing was held out.
    """
    check_chosen(chosen)
    if any(row.path is not None for row in stills.rows):
        return _choose_files(model, stills.rows, chosen)
    rows, learned = stills.rows, _learned(model, stills)
    own = {part: [row for row in rows if row.part == part] for part in get_args(Part)}
    known = {part: [row for row in learned if learned[row] == part] for part in get_args(Part)}
    fresh = [row for row in rows if learned.get(row, "test") == "test"]
    if chosen == "all":
        judged = list(rows)
    elif chosen == "held-out":
        judged = own["test"] or fresh
    else:
        judged = own[cast(Part, chosen)] or known[cast(Part, chosen)]
    _check_some(model, judged, len(rows), chosen)
    trained, by = (
        sum(learned.get(row) == part for row in judged) for part in ("train", "validation")
    )
    left = len(rows) - len(judged)
    if trained or by:
        note = (
            f"{trained + by:,} of the {len(judged):,} images were trained on ({trained:,}) or "
            f"chosen by ({by:,}), if this is the set that {model.name} had (by its entries "
            "[[data]] and its seed; no list was kept)"
        )
        return Judged(judged, trained + by, left, note)
    note = f"judged: {len(judged):,} images that were neither trained on nor chosen by"
    if judged == own["test"]:
        note = f"judged: the {len(judged):,} images kept for tests"
    elif not learned:
        note = unrecorded(model, "images")
    return Judged(judged, 0, left, note)


def _choose_files(model: Model, rows: Sequence[Sample], chosen: str) -> Judged:
    """Choose images in files; those of the test in the order in which its run judged them."""
    found = choose_samples(model, rows, chosen, "images")
    place = {row.fingerprint: number for number, row in enumerate(model.used)}
    judged = sorted(found.samples, key=lambda row: place.get(fingerprint(row.file), len(place)))
    listed = any(Path(row.name).suffix.lower() in IMAGE_SUFFIXES for row in model.used)
    note = found.note or ("" if listed or not _entries(model) else unrecorded(model, "images"))
    return found._replace(samples=judged, note=note)


def _check_some(model: Model, judged: Sequence[Sample], total: int, chosen: str) -> None:
    if judged or not total:
        return
    if chosen == "held-out":
        raise FormatError(
            f"{model.name} was trained on or chosen by all {total:,} images; give others, or judge "
            "these too: split='all' (--split all)"
        )
    raise ConfigError(
        f"none of the {total:,} images is known to be of the {chosen} part; take split='all' "
        "(--split all)"
    )


def _learned(model: Model, stills: Stills) -> dict[Sample, Part]:
    """Return what the run of a model had images for, as far as it can be told.

    What several of its entries had counts as that which was learned from first.
    """
    found: dict[Sample, Part] = {}
    if all(row.part == "test" for row in stills.rows) or {*stills.classes} != {*model.classes}:
        return found
    tested, order = model.about.get("scores", {}), get_args(Part)
    for entry in _entries(model):
        try:
            again = parts_of(stills, entry, choose_seed(model, None))
        except ConfigError:
            continue
        # IDX files of the training part alone have no test to be known by.
        if len(again.test) not in (0, tested.get(f"{entry.title}_samples")):
            continue
        for part, each in zip(order, again, strict=True):
            for row in each.rows:
                found[row] = min(part, found.get(row, part), key=order.index)
    return found


def _entries(model: Model) -> list[DataConfig]:
    """Return the entries [[data]] of a model's run that learned from still images."""
    data = model.about.get("data", [])
    if isinstance(data, Mapping):  # an earlier version's; it names no encoders
        return []
    return [_entry(values) for values in data if values.get("kind") in _OF_IMAGES]


def _entry(values: Mapping[str, Any]) -> DataConfig:
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in values.items()
        if key != "augment"
    }
    try:
        return DataConfig(**plain)
    except TypeError as error:
        raise ConfigError(f"an entry [[data]] of the model is not understood: {error}") from error
