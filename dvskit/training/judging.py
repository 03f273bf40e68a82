"""What a model is judged by, made ready: opened, chosen, labelled among the model's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike

from dvskit.datasets import Encode, FileSamples, Sample, Samples, Stills, class_names, holds_stills
from dvskit.datasets.encode import Encoder
from dvskit.datasets.kinds import Reading
from dvskit.datasets.opening import open_files
from dvskit.errors import ConfigError, FormatError
from dvskit.training.held_out import (
    Judged,
    choose_encoder,
    choose_samples,
    choose_seed,
    choose_stills,
    open_judged,
)
from dvskit.training.inputs import AnyBatches, encode_of, judged_batches, judged_stills
from dvskit.training.models import Model, as_model

Data = str | PathLike[str] | Samples | Stills | Sequence[Sample]
"""What a model can be judged by: see `dvskit.training.evaluate`."""


@dataclass(frozen=True, slots=True)
class Judging:
    """A model and what it is judged by.

    samples  those that were chosen, recordings or still images, in the order of their set
    chosen   how they were chosen
    whole    the set of recordings that they were chosen from; None for images
    encode   what makes spikes of images; None for recordings
    seed     of what it draws
    """

    model: Model
    samples: Samples | Stills
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
        """Lines for people: what was chosen, and how images are encoded."""
        how = f"images are encoded by {self.encoder}, with seed {self.seed}" if self.encoder else ""
        return tuple(note for note in (self.chosen.note, how) if note)

    def batches(self) -> AnyBatches:
        """Return the batches of a pass over the samples, each once and without chance: epoch 0."""
        if isinstance(self.samples, Stills):
            assert self.encode is not None
            return judged_stills(self.samples, self.encode, self.seed)
        return judged_batches(self.samples, self.model.input, self.model.size)

    def among(self, whole: Samples) -> Samples:
        """Return of a set with the same rows those that were chosen, as `samples` has them."""
        return whole.only(self.chosen.samples).among(self.model.classes)

    def by(self, samples: Samples) -> Judging:
        """Return the same for other samples, such as these ones changed."""
        return replace(self, samples=samples)


def open_judging(
    model: Model | str | PathLike[str],
    data: Data,
    *,
    split: str = "held-out",
    encoder: str | Encoder | None = None,
    seed: int | None = None,
) -> Judging:
    """Return a model and what it is judged by. Arguments and errors are those of `evaluate`."""
    model = as_model(model)
    samples: Samples | Stills
    if isinstance(data, Stills) or (isinstance(data, str | PathLike) and holds_stills(data)):
        encode = encode_of(choose_encoder(model, encoder), model.input, model.size)
        seed, what = choose_seed(model, seed), "image"
        samples = data if isinstance(data, Stills) else open_judged(data, split)
    elif encoder is not None or seed is not None:
        raise ConfigError(
            "evaluate: encoder and seed are of still images, and these are recordings; leave them "
            "out, or give a folder of IDX files or of a folder of images a class"
        )
    else:
        encode, seed, what = None, 0, "recording"
        samples = _as_samples(model, data)
    unknown = [name for name in class_names(samples.rows) if name not in model.classes]
    if unknown:
        raise FormatError(
            f"no class of {model.name}: {', '.join(unknown)}; it knows {', '.join(model.classes)}: "
            "judge it by a folder of these, or train a model on yours"
        )
    if isinstance(samples, Stills):
        whole, chosen = None, choose_stills(model, samples, split)
    else:
        whole, chosen = samples, choose_samples(model, samples.rows, split)
    if not chosen.samples:
        raise FormatError(f"no samples to evaluate; give at least one {what}")
    part = samples.only(chosen.samples).among(model.classes)
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

    size, format, strict  as in `open_samples`, which says what is raised; size None: the model's
    """
    how = model.emulation if size is None else replace(model.emulation, size=size)
    return open_files(path, Reading(how, strict, format), group=None)


def _as_samples(model: Model, data: object) -> Samples:
    if isinstance(data, Samples):
        return data
    if isinstance(data, str | PathLike):
        return open_for(model, data)
    if not isinstance(data, Sequence) or not all(isinstance(row, Sample) for row in data):
        raise ConfigError(
            f"evaluate: {type(data).__name__} is no folder of <class>/<recording> and no Samples; "
            "classify judges one recording"
        )
    return FileSamples(data, Reading(model.emulation))
