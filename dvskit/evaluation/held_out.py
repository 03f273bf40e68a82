"""The held-out samples of a model: those that it was not trained on, if that is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from dvskit.datasets import ImageSamples, Sample, open_images
from dvskit.datasets.images import idx_parts
from dvskit.datasets.samples import Part
from dvskit.encoders.names import ENCODERS, Encoder
from dvskit.errors import ConfigError, FormatError, did_you_mean
from dvskit.formats.image_list import IMAGE_SUFFIXES
from dvskit.models.entries import DataConfig, ImageData, data_from, parts_of
from dvskit.models.model import Model
from dvskit.models.run_samples import Used, fingerprint

PartChoice = Literal["held-out", "all", "train", "validation", "test"]


class Judged(NamedTuple):
    """The samples to judge a model by.

    samples   those of the requested part
    seen      how many of them it was trained on or chosen by
    left_out  number of samples that are not judged
    note      one line on how they were chosen; "" if there is none
    """

    samples: list[Sample]
    seen: int
    left_out: int
    note: str


def _wanted(chosen: str) -> tuple[str | None, ...]:
    """Return the requested parts of a run, None for samples of no part. Raises ConfigError."""
    if chosen not in get_args(PartChoice):
        raise ConfigError(f"no part {chosen!r}; {did_you_mean(chosen, get_args(PartChoice))}")
    return {"held-out": ("test", None), "all": (*get_args(Part), None)}.get(chosen, (chosen,))


def choose_samples(
    model: Model, samples: Sequence[Sample], chosen: str, what: str = "recordings"
) -> Judged:
    """Return the samples to judge a model by, by the parts in its split.csv.

    chosen  "held-out": neither trained on nor chosen by; "all"; or a part of its run, "train",
            "validation" or "test"
    what    the word for the samples in messages

    Renamed recordings keep their part. Samples of a model without split.csv have no part. Raises
    ConfigError for another name and for a part without samples, FormatError if nothing was held
    out.
    """
    wanted = _wanted(chosen)
    parts = _recorded(model.used, samples)
    known: dict[Part, int] = {part: parts.count(part) for part in get_args(Part)}
    judged = [sample for sample, part in zip(samples, parts, strict=True) if part in wanted]
    _check_some(model, judged, samples, chosen, (what, f" of {model.name}"))
    seen = sum(count for part, count in known.items() if part != "test" and part in wanted)
    part = {"all": "all", "held-out": f"the other {len(judged):,}"}.get(
        chosen, f"the {len(judged):,} of the {chosen} part"
    )
    note = ""
    if any(known.values()):
        total = f"{len(samples):,} {what}"
        note = f"{_seen(known['train'], known['validation'], total)}; judged: {part}"
    elif not model.used and _entries(model, ("recordings",)):
        note = unrecorded(model, what)
    return Judged(judged, seen, len(samples) - len(judged), note)


def _seen(trained: int, by: int, total: str) -> str:
    return f"{trained + by:,} of {total} were trained on ({trained:,}) or chosen by ({by:,})"


def unrecorded(model: Model, what: str) -> str:
    """Return a line for a model that does not record its training samples."""
    return (
        f"{model.name} does not record which {what} it was trained on: if they are among these, "
        "the accuracy is not a test"
    )


def _recorded(used: Iterable[Used], samples: Sequence[Sample]) -> list[Part | None]:
    of_file: dict[str, list[Used]] = {}
    for row in used:
        of_file.setdefault(row.fingerprint, []).append(row)
    prints: dict[Path, str] = {}
    found: list[Part | None] = []
    for sample in samples:
        if sample.path is None:  # drawn: split.csv lists only files
            found.append(None)
            continue
        if sample.file not in prints:
            prints[sample.file] = fingerprint(sample.file)
        rows = of_file.get(prints[sample.file], [])
        same = [row for row in rows if row.span == sample.span]
        shared = same or [row for row in rows if _overlap(row.span, sample.span)]
        # A sample that overlaps several parts counts as the first of train, validation, test.
        parts = {row.part for row in shared}
        found.append(next((part for part in get_args(Part) if part in parts), None))
    return found


def _overlap(first: tuple[int, int] | None, second: tuple[int, int] | None) -> bool:
    return first is None or second is None or (first[0] < second[1] and second[0] < first[1])


_OF_IMAGES = ("images", "saccades")  # the kinds of entries [[data]] that learn from still images


def open_judged(path: str | PathLike[str], chosen: str) -> ImageSamples:
    """Open a folder of still images; of IDX files only the test part, unless others are requested.

    Raises the errors of `open_images`.
    """
    there: tuple[Part, ...] = idx_parts(Path(path)) or ("train", "test")
    only_test = chosen in ("held-out", "test") and "test" in there
    return open_images(path, ("test",) if only_test else there)


def choose_encoder(model: Model, encoder: str | Encoder | None) -> str | Encoder:
    """Return `encoder`, else the only encoder of images in a model's training.

    Raises ConfigError if the model was trained with several, or with none.
    """
    if encoder is not None:
        return encoder
    trained = list(dict.fromkeys(e.encoder for e in _entries(model) if isinstance(e, ImageData)))
    if len(trained) == 1:
        return trained[0]
    others = ", ".join(name for name in ENCODERS if name not in trained)
    if not trained:
        raise ConfigError(
            f"{model.name} learned from no encoded images; choose their encoder: pass "
            f"encoder='poisson' (--encoder poisson), or one of {others}"
        )
    raise ConfigError(
        f"{model.name} learned from images encoded by {' and by '.join(trained)}; choose one: "
        f"pass encoder={trained[-1]!r} (--encoder {trained[-1]}); {others} can be tried too"
    )


def choose_seed(model: Model, seed: int | None) -> int:
    """Return `seed`, else that of a model's run, or 0 if it is not recorded.

    Raises ConfigError for a seed below 0.
    """
    if seed is not None and seed < 0:
        raise ConfigError(f"seed = {seed} is below 0")
    return int(model.about.get("seed", 0) if seed is None else seed)


def choose_images(model: Model, images: ImageSamples, chosen: str) -> Judged:
    """Return the images to judge a model by.

    chosen  "held-out": the test part of the set itself, else all images that the model was neither
            trained on nor chosen by; "all"; "train" and "test": the part of the set, else of the
            model's run; "validation": the images that chose the best epoch

    Images in files are found in the model's split.csv. Images in IDX files are split again by the
    model's entries [[data]] and its seed, if classes and the number of test images are those of its
    run. Raises ConfigError for another name and for a part without images, FormatError if nothing
    was held out.
    """
    wanted = _wanted(chosen)
    if any(row.path is not None for row in images.rows):
        return _choose_files(model, images.rows, chosen)
    rows, learned = images.rows, _parts_learned(model, images)
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
    """Choose images in files; test images in the order of their run."""
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
    """Raise FormatError or ConfigError if no samples are chosen.

    names  the word for the samples in messages, and the owner of the part
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
        f"none of the {len(whole):,} {what} are known to be in the {chosen} part{whose}; use "
        "split='all' (--split all)"
    )


def _parts_learned(model: Model, images: ImageSamples) -> dict[Sample, Part]:
    """Return the part of each image in a model's run, as well as it can be derived.

    An image in several entries counts as the first of train, validation, test.
    """
    found: dict[Sample, Part] = {}
    if all(row.part == "test" for row in images.rows) or {*images.classes} != {*model.classes}:
        return found
    tested, order = model.about.get("scores", {}), get_args(Part)
    for entry in _entries(model):
        try:
            again = parts_of(images, entry, choose_seed(model, None))
        except ConfigError:
            continue
        # The training part of IDX files alone has no test images to compare.
        if len(again.test) not in (0, tested.get(f"{entry.title}_samples")):
            continue
        for part, each in zip(order, again, strict=True):
            for row in each.rows:
                found[row] = min(part, found.get(row, part), key=order.index)
    return found


def _entries(model: Model, kinds: Sequence[str] = _OF_IMAGES) -> list[DataConfig]:
    """Return the entries [[data]] of a model's run of some kinds, by default of still images."""
    data = model.about.get("data", [])
    return [data_from(values) for values in data if values.get("kind") in kinds]
