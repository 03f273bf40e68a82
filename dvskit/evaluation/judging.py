"""Prepare the samples that judge a model: open, choose, label them by the model's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike

from torch import nn

from dvskit._arguments import check_arguments
from dvskit.datasets import (
    Encode,
    FileSamples,
    ImageSamples,
    Sample,
    Samples,
    class_names,
    holds_images,
)
from dvskit.datasets.files import SampleReading
from dvskit.datasets.folders import open_files
from dvskit.encoders.names import Encoder
from dvskit.errors import ConfigError, FormatError
from dvskit.evaluation.held_out import (
    Judged,
    choose_encoder,
    choose_images,
    choose_samples,
    choose_seed,
    open_judged,
)
from dvskit.models.inputs import (
    AnyBatches,
    InputConfig,
    Overlooked,
    encode_of,
    judged_batches,
    judged_images,
    overlooked_by,
)
from dvskit.models.model import Model, as_model, model_of
from dvskit.models.own_networks import check_samples
from dvskit.models.rejection import LOST, Reject, reject_on
from dvskit.models.scores import Result, judge, with_notes

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
    """Open labelled files as a model takes them: videos are emulated as its training clips were.

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


@check_arguments
def evaluate(
    model: Model | str | PathLike[str] | nn.Module,
    data: Data,
    *,
    split: str = "held-out",
    encoder: str | Encoder | None = None,
    seed: int | None = None,
    input: InputConfig | None = None,
) -> Result:
    """Return the accuracy of a model on labelled data.

    The first window of each recording is judged. Samples are read while they are judged.

    model    a Model, a model's folder, the name of a shipped one, or a torch.nn.Module with
             Samples, whose classes are the logits in order
    data     a folder or a list, as in `dvskit.datasets.open_samples`; any Samples; or rows of
             some. Clips are emulated at the model's size. Or still images: a folder as in
             `dvskit.datasets.open_images`, or ImageSamples
    split    the part to judge: see `dvskit.evaluation.held_out.choose_samples`; for still images,
             whose "held-out" is the set's own test part, `choose_images` there
    encoder  of still images: see `dvskit.datasets.Encode`; default: the only encoder of the
             training
    seed     of the encoder's draws; default: that of the model's run, which reproduces the scores
             of its test parts
    input    for a module: how events become its input; default InputConfig()

    Computed in float32. Recordings of another size are fitted, with a FittedWarning; smaller images
    are centred. Raises ConfigError for an unknown or absent split, for an unknown or missing
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
    return judge_opened(judging)


def judge_opened(judging: Judging) -> Result:
    """Return the result of an opened judging."""
    batches = judging.batches()
    result = judge(judging.model.module, batches)
    return described(judging, result, overlooked_by(batches))


def described(judging: Judging, result: Result, overlooked: Overlooked | None) -> Result:
    """Return a result with the notes and counts of its judging, and give FittedWarnings."""
    result = with_notes(result, overlooked)
    return replace(
        result,
        seen=judging.chosen.seen,
        left_out=judging.chosen.left_out,
        notes=(*judging.notes, *result.notes),
        encoder=judging.encoder,
    )


@check_arguments
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
