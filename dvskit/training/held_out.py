"""What a model is judged by: the samples that it was not trained on, as far as is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from dvskit.datasets import ENCODERS, Sample, Split, Stills, class_names, open_stills, split_samples
from dvskit.datasets.encode import Encoder
from dvskit.datasets.samples import Part
from dvskit.datasets.stills import idx_parts
from dvskit.errors import ConfigError, FormatError, did_you_mean
from dvskit.formats.image_list import IMAGE_SUFFIXES
from dvskit.training.config import DataConfig
from dvskit.training.model_tables import Used, fingerprint
from dvskit.training.models import Model
from dvskit.training.sets import parts_of

Chosen = Literal["held-out", "all", "train", "validation", "test"]


class Judged(NamedTuple):
    """What a model is judged by.

    samples   those of the part that was asked for
    seen      how many of them it was trained on or chosen by
    left_out  how many others were there
    note      one line on what is known; "" where there is nothing to say
    """

    samples: list[Sample]
    seen: int
    left_out: int
    note: str


def _wanted(chosen: str) -> tuple[str | None, ...]:
    """Return which parts of a run are asked for, None for what was in none. Raises ConfigError."""
    if chosen not in get_args(Chosen):
        raise ConfigError(f"no part {chosen!r}; {did_you_mean(chosen, get_args(Chosen))}")
    return {"held-out": ("test", None), "all": (*get_args(Part), None)}.get(chosen, (chosen,))


def choose_samples(
    model: Model, samples: Sequence[Sample], chosen: str, what: str = "recordings"
) -> Judged:
    """Return the samples that a model is to be judged by.

    chosen  "held-out": those that it was neither trained on nor chosen by; "all"; or a part of its
            run, "train", "validation" or "test"
    what    what lines for people call the samples

    Parts are those that the model's split.csv records, whatever the recordings are called now.
    Models without one tell the shares of their split: it is made again where the samples have the
    same classes and give as many for the test as the model was tested on.

    Raises ConfigError for another name and for a part of which nothing is there, FormatError if
    nothing was held out.
    """
    wanted = _wanted(chosen)
    parts, guessed = _parts_of(model, samples)
    known: dict[Part, int] = {part: parts.count(part) for part in get_args(Part)}
    judged = [sample for sample, part in zip(samples, parts, strict=True) if part in wanted]
    _check_some(model, judged, samples, chosen, (what, f" of {model.name}"))
    seen = sum(count for part, count in known.items() if part != "test" and part in wanted)
    part = {"all": "all", "held-out": f"the other {len(judged):,}"}.get(
        chosen, f"the {len(judged):,} of the {chosen} part"
    )
    note = ""
    if any(known.values()):
        how = " (by the seed and the shares of its split; no list was kept)" if guessed else ""
        seen_of = _seen(known["train"], known["validation"], f"{len(samples):,} {what}")
        note = f"{seen_of}{how}; judged: {part}"
    elif _learned(model) and not model.used:
        note = unrecorded(model, what)
    return Judged(judged, seen, len(samples) - len(judged), note)


def _seen(trained: int, by: int, total: str) -> str:
    return f"{trained + by:,} of {total} were trained on ({trained:,}) or chosen by ({by:,})"


def unrecorded(model: Model, what: str) -> str:
    """Return a line on a model that does not say what it learned from."""
    return (
        f"{model.name} does not record which {what} it was trained on: if these are among them, "
        "this is no test"
    )


def _learned(model: Model) -> bool:
    """Return whether a model learned from recordings."""
    if "recordings_samples" in model.about.get("scores", {}):
        return True
    return bool(_data_of(model)) and not isinstance(model.about["data"], Mapping)


def _parts_of(model: Model, samples: Sequence[Sample]) -> tuple[list[Part | None], bool]:
    """Return the part of each sample, None where it is in none, and whether that is a guess."""
    if model.used:
        return _recorded(model.used, samples), False
    again = _split_again(model, samples)
    if again is None:
        return [None] * len(samples), False
    part_of = {
        sample: part for part, each in zip(get_args(Part), again, strict=True) for sample in each
    }
    return [part_of[sample] for sample in samples], True


def _recorded(used: Iterable[Used], samples: Sequence[Sample]) -> list[Part | None]:
    of_file: dict[str, list[Used]] = {}
    for row in used:
        of_file.setdefault(row.fingerprint, []).append(row)
    prints: dict[Path, str] = {}
    found: list[Part | None] = []
    for sample in samples:
        if sample.path is None:  # is drawn: split.csv lists files
            found.append(None)
            continue
        if sample.file not in prints:
            prints[sample.file] = fingerprint(sample.file)
        rows = of_file.get(prints[sample.file], [])
        same = [row for row in rows if row.span == sample.span]
        shared = same or [row for row in rows if _overlap(row.span, sample.span)]
        # What shares time with several parts counts as that which was learned from first.
        parts = {row.part for row in shared}
        found.append(next((part for part in get_args(Part) if part in parts), None))
    return found


def _overlap(first: tuple[int, int] | None, second: tuple[int, int] | None) -> bool:
    return first is None or second is None or (first[0] < second[1] and second[0] < first[1])


def _split_again(model: Model, samples: Sequence[Sample]) -> Split | None:
    """Return the split by a model's own shares; None unless it is as large as it was."""
    data, tested = _data_of(model), model.about.get("scores", {})
    key = f"{data.get('name') or 'recordings'}_samples"
    if not {"seed", "validation", "test"} <= set(data) or key not in tested:
        return None
    if class_names(samples) != tuple(sorted(model.classes)):
        return None
    again = split_samples(samples, **{key: data[key] for key in ("validation", "test", "seed")})
    return again if len(again.test) == tested[key] else None


def _data_of(model: Model) -> Mapping[str, Any]:
    """Return what a model says of its recordings; earlier ones have one table of all their data."""
    data = model.about.get("data", {})
    if isinstance(data, Mapping):
        return data
    of_files = [entry for entry in data if entry.get("kind") == "recordings"]
    return {**of_files[0], "seed": model.about.get("seed")} if len(of_files) == 1 else {}


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
    wanted = _wanted(chosen)
    if any(row.path is not None for row in stills.rows):
        return _choose_files(model, stills.rows, chosen)
    rows, learned = stills.rows, _parts_learned(model, stills)
    own = [row for row in rows if row.part == ("test" if chosen == "held-out" else chosen)]
    among = rows if chosen in ("held-out", "all") else learned  # in the order of its run
    judged = own or [row for row in among if learned.get(row) in wanted]
    _check_some(model, judged, rows, chosen, ("images", ""))
    trained, by = (
        sum(learned.get(row) == part for row in judged) for part in ("train", "validation")
    )
    left = len(rows) - len(judged)
    if trained or by:
        note = (
            f"{_seen(trained, by, f'the {len(judged):,} images')}, if this is the set that "
            f"{model.name} had (by its entries [[data]] and its seed; no list was kept)"
        )
        return Judged(judged, trained + by, left, note)
    note = f"judged: {len(judged):,} images that were neither trained on nor chosen by"
    if all(row.part == "test" for row in judged):
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


def _check_some(
    model: Model,
    judged: Sequence[Sample],
    whole: Sequence[Sample],
    chosen: str,
    names: tuple[str, str],
) -> None:
    """Raise FormatError, or ConfigError, where nothing is left of some samples.

    names  what lines for people call the samples, and whose part was asked for
    """
    if judged or not whole:
        return
    what, whose = names
    if chosen == "held-out":
        raise FormatError(
            f"{model.name} was trained on or chosen by all {len(whole):,} {what}; give others, or "
            "judge these too: split='all' (--split all)"
        )
    raise ConfigError(
        f"none of the {len(whole):,} {what} is known to be of the {chosen} part{whose}; take "
        "split='all' (--split all)"
    )


def _parts_learned(model: Model, stills: Stills) -> dict[Sample, Part]:
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
