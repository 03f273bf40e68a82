"""The samples that judge a model: those that it was not trained on, opened and labeled for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from torch import nn

from dvskit.datasets import (
    Encode,
    FileSamples,
    ImageSamples,
    Sample,
    Samples,
    class_names,
    holds_images,
    open_images,
)
from dvskit.datasets.files import SampleReading
from dvskit.datasets.folders import open_files
from dvskit.datasets.images import idx_parts
from dvskit.datasets.samples import Part
from dvskit.encoders.names import ENCODERS, Encoder
from dvskit.errors import ConfigError, FormatError, did_you_mean
from dvskit.formats.image_list import IMAGE_SUFFIXES
from dvskit.models.doubt import LOST, Reject, reject_on
from dvskit.models.inputs import (
    AnyBatches,
    InputConfig,
    encode_of,
    judged_batches,
    judged_images,
)
from dvskit.models.learned import DataConfig, ImageData, Used, data_from, fingerprint, parts_of
from dvskit.models.model import Model, as_model, model_of
from dvskit.models.own_networks import check_samples
from dvskit.models.scores import Result, judge, with_notes

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
            f"encoder='poisson', or one of {others}"
        )
    raise ConfigError(
        f"{model.name} learned from images encoded by {' and by '.join(trained)}; choose one: "
        f"pass encoder={trained[-1]!r}; {others} can be tried too"
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
            "judge these too: split='all'"
        )
    raise ConfigError(
        f"none of the {len(whole):,} {what} are known to be in the {chosen} part{whose}; use "
        "split='all'"
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


Data = str | PathLike[str] | Samples | ImageSamples | Sequence[Sample]
"""The data that can judge a model: see `dvskit.evaluation.evaluate`."""


@dataclass(frozen=True, slots=True)
class Judging:
    """A model and the samples to judge it by.

    samples  the chosen ones, recordings or still images, in the order of their set
    chosen   how they were chosen
    whole    the set of recordings that they were chosen from; None for images
    encode   the encoder of images; None for recordings
    seed     of its draws
    """

    model: Model
    samples: Samples | ImageSamples
    chosen: Judged
    whole: Samples | None = None
    encode: Encode | None = None
    seed: int = 0

    @property
    def encoder(self) -> str:
        """The name of the encoder of images; "" for recordings."""
        if self.encode is None:
            return ""
        given = self.encode.encoder
        return given if isinstance(given, str) else getattr(given, "__name__", repr(given))

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for people: the chosen samples, and the encoder of images."""
        how = f"images are encoded by {self.encoder}, with seed {self.seed}" if self.encoder else ""
        return tuple(note for note in (self.chosen.note, how) if note)

    def batches(self) -> AnyBatches:
        """Return the batches of one pass over the samples, without random changes: epoch 0."""
        if isinstance(self.samples, ImageSamples):
            assert self.encode is not None
            return judged_images(self.samples, self.encode, self.seed)
        return judged_batches(self.samples, self.model.input, self.model.size)

    def among(self, whole: Samples) -> Samples:
        """Return the chosen samples from a set with the same rows."""
        return whole.only(self.chosen.samples).with_classes(self.model.classes)

    def part(self, start: int, stop: int) -> Judging:
        """Return the same for some of the recordings."""
        numbers = range(start, min(stop, len(self.samples)))
        rows = self.chosen._replace(samples=self.chosen.samples[start:stop])
        return replace(self, samples=self.samples.choose(numbers), chosen=rows)

    def by(self, samples: Samples) -> Judging:
        """Return the same with other samples, such as corrupted ones."""
        return replace(self, samples=samples)


def open_judging(
    model: Model | str | PathLike[str],
    data: Data,
    *,
    split: str = "held-out",
    encoder: str | Encoder | None = None,
    seed: int | None = None,
) -> Judging:
    """Return a model and its judging samples. Arguments and errors are those of `evaluate`."""
    model = as_model(model)
    samples: Samples | ImageSamples
    if isinstance(data, ImageSamples) or (isinstance(data, str | PathLike) and holds_images(data)):
        encode = encode_of(choose_encoder(model, encoder), model.input, model.size)
        seed, what = choose_seed(model, seed), "image"
        samples = data if isinstance(data, ImageSamples) else open_judged(data, split)
    elif encoder is not None or seed is not None:
        raise ConfigError(
            "evaluate: encoder and seed are only for still images, and these are recordings; leave "
            "them out, or give IDX files or a folder with one folder of images per class"
        )
    else:
        encode, seed, what = None, 0, "recording"
        samples = _as_samples(model, data)
    unknown = [name for name in class_names(samples.rows) if name not in model.classes]
    if unknown:
        raise FormatError(
            f"no class of {model.name}: {', '.join(unknown)}; it knows {', '.join(model.classes)}: "
            "give samples of these classes, or train a model on yours"
        )
    if isinstance(samples, ImageSamples):
        whole, chosen = None, choose_images(model, samples, split)
    else:
        whole, chosen = samples, choose_samples(model, samples.rows, split)
    if not chosen.samples:
        raise FormatError(f"no samples to evaluate; give at least one {what}")
    part = samples.only(chosen.samples).with_classes(model.classes)
    return Judging(model, part, chosen, whole, encode, seed)


def open_for(
    model: Model,
    path: str | PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    format: str | None = None,
    strict: bool = True,
) -> FileSamples:
    """Open labeled files as a model takes them: videos are emulated as its training clips were.

    size, format, strict  as in `open_samples`, also for errors; size None: the model's
    """
    how = model.emulation if size is None else replace(model.emulation, size=size)
    return open_files(path, SampleReading(how, strict, format), group=None)


def _as_samples(model: Model, data: object) -> Samples:
    if isinstance(data, Samples):
        return data
    if isinstance(data, str | PathLike):
        return open_for(model, data)
    if not isinstance(data, Sequence) or not all(isinstance(row, Sample) for row in data):
        raise ConfigError(
            f"evaluate: {type(data).__name__} is neither a folder of <class>/<recording> nor "
            "Samples; use classify for one recording"
        )
    return FileSamples(data, SampleReading(model.emulation))


def evaluate(
    model: Model | str | PathLike[str] | nn.Module,
    data: Data,
    *,
    split: str = "held-out",
    encoder: str | Encoder | None = None,
    seed: int | None = None,
    input: InputConfig | None = None,
) -> Result:
    """Return the accuracy of a model on labeled data.

    The first window of each recording is judged. Samples are read while they are judged.

    model    a Model, a model's folder, the name of a shipped one, or a torch.nn.Module with
             Samples, whose classes are the logits in order
    data     a folder or a list, as in `dvskit.datasets.open_samples`; any Samples; or rows of
             some. Clips are emulated at the model's size. Or still images: a folder as in
             `dvskit.datasets.open_images`, or ImageSamples
    split    the part to judge: see `dvskit.evaluation.judging.choose_samples`; for still images,
             whose "held-out" is the set's own test part, `choose_images` there
    encoder  of still images: see `dvskit.datasets.Encode`; default: the only encoder of the
             training
    seed     of the encoder's draws; default: that of the model's run, which reproduces the scores
             of its test parts
    input    for a module: how events become its input; default InputConfig()

    Computed in float32. Recordings of another size are fitted, with a FittedWarning; smaller images
    are centered. Raises ConfigError for an unknown or absent split, for an unknown or missing
    encoder and for an encoder with recordings; FormatError for classes that the model does not
    know, for no samples, for bad files and for a folder with both recordings and still images;
    GeometryError for images larger than the model's input.

        samples = dvskit.datasets.open_samples("digits")[::5]
        result = dvskit.evaluation.evaluate("nmnist-signed-lif", samples, split="all")
        result.correct, result.samples  # of 12 recordings
    """
    if isinstance(model, nn.Module):
        check_samples("evaluate", data)
        model = model_of(model, data, input)  # type: ignore[arg-type]  # it checks them
    elif input is not None:
        raise ConfigError("evaluate: input is only for a module; leave it out for a model")
    judging = open_judging(model, data, split=split, encoder=encoder, seed=seed)
    return described(judging, judge(judging.model.module, judging.batches()))


def described(judging: Judging, result: Result) -> Result:
    """Return a result with the notes and counts of its judging, and give FittedWarnings."""
    result = with_notes(result)
    return replace(
        result,
        seen=judging.chosen.seen,
        left_out=judging.chosen.left_out,
        notes=(*judging.notes, *result.notes),
        encoder=judging.encoder,
    )


def choose_reject(
    model: Model | str | PathLike[str],
    data: str | PathLike[str] | Samples,
    *,
    split: str = "validation",
    lost: float = LOST,
) -> Reject:
    """Return the Reject of a model that withholds at most a share `lost` of its right decisions.

    data   recordings or clips of the model's classes, opened as in `evaluate`
    split  the part that chooses: "validation" or another part of the model's run, or "all"

    The first window of each sample is judged. The confidence is the largest such that at most
    `lost` of the right decisions fall below it. The rate is half of the rate that 99 of 100
    recordings reach. If no decision is right, the confidence is the default; if the input holds no
    counts, the rate is. Training calls this with the validation parts.

    Raises ConfigError unless 0 <= lost < 1, and for a part without samples, FormatError for no
    recordings.

        samples = dvskit.datasets.open_samples("digits")[::5]
        model = dvskit.models.load_model("nmnist-signed-lif")
        reject = dvskit.evaluation.choose_reject(model, samples, split="all", lost=0.1)
        reject.confidence, reject.events_per_second  # the limits
    """
    if not 0 <= lost < 1:
        raise ConfigError(f"choose_reject: lost = {lost}; give 0 <= lost < 1")
    model = as_model(model)
    samples = data if isinstance(data, Samples) else open_for(model, data)
    chosen = choose_samples(model, samples.rows, split)
    if not chosen.samples:
        raise FormatError("no recordings to choose by; give at least one")
    part = samples.only(chosen.samples).with_classes(model.classes)
    batches = judged_batches(part, model.input, model.size)
    return reject_on(model.module, [batches], model.input, lost)
