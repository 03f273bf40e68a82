"""Decisions of a model on a recording: whole, per window, per span or per bin."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dvskit.datasets import FileSamples, likely_size
from dvskit.datasets.files import SampleReading
from dvskit.datasets.images import read_gray
from dvskit.datasets.samples import Sample, named
from dvskit.encoders.names import Encoder
from dvskit.errors import ConfigError, FormatError, GeometryError, ModelError, ShapeError
from dvskit.evaluation.judging import choose_encoder, choose_seed
from dvskit.events import Events, Source, file_name
from dvskit.events.even_blocks import even_blocks
from dvskit.formats.found import CLIPS, identify_named
from dvskit.models.doubt import activity_of
from dvskit.models.inputs import (
    SensorFit,
    as_recording,
    blocks_on_sensor,
    describe_source,
    encode_of,
    fit_recording,
    input_of,
)
from dvskit.models.model import Model, as_model
from dvskit.models.scores import logits_of
from dvskit.streams import Labels


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a model on a window.

    start_us, stop_us  the window, half-open
    events             the number of events in it
    probabilities      of each class: the softmax of the logits
    unlike             how it differs from all training samples, such as "it excites the network in
                       other ways, 1.7 times the limit"; "" if it does not, or if that is unknown

        found = dvskit.evaluation.classify_windows("nmnist-signed-lif", "digits/0/00001.bin")
        decision = found.windows[0]
        decision.stop_us - decision.start_us, decision.best  # microseconds, a class
    """

    start_us: int
    stop_us: int
    events: int
    probabilities: dict[str, float]
    unlike: str = ""

    @property
    def best(self) -> str:
        """The most likely class."""
        return most_likely(self.probabilities)


@dataclass(frozen=True, slots=True)
class Classified:
    """The decisions of a model on a recording.

    windows     in order of time, without windows that have no events
    unlooked    events after the last window, over less than half a window

        model = dvskit.models.load_model("nmnist-signed-lif")
        found = dvskit.evaluation.classify_windows(model, "digits/0/00001.bin")
        found.best, found.probabilities["0"]  # the class, and the mean over the windows
        len(found.windows), found.unlooked  # 1 window, 0 events after it
    """

    windows: tuple[Decision, ...]
    unlooked: int

    @property
    def probabilities(self) -> dict[str, float]:
        """The mean over the windows."""
        names = self.windows[0].probabilities
        return {
            name: sum(each.probabilities[name] for each in self.windows) / len(self.windows)
            for name in names
        }

    @property
    def best(self) -> str:
        """The most likely class of the whole recording."""
        return most_likely(self.probabilities)

    @property
    def unlike(self) -> str:
        """How at least half of the windows differ from the training samples; else ""."""
        found = [each.unlike for each in self.windows if each.unlike]
        return found[0] if 2 * len(found) >= len(self.windows) and found else ""


def most_likely(probabilities: dict[str, float]) -> str:
    """Return the class with the highest probability; of equals, the first."""
    return max(probabilities, key=lambda name: probabilities[name])


Recorded = Events | Source | str | PathLike[str]


def classify(model: Model | str | PathLike[str], recording: Recorded) -> dict[str, float]:
    """Return the probability of each class for a recording: the mean over its windows.

    Arguments and errors are those of `classify_windows`.

        scores = dvskit.evaluation.classify("nmnist-signed-lif", "digits/0/00001.bin")
        max(scores, key=scores.get)  # the most likely class
    """
    return classify_windows(model, recording).probabilities


def classify_windows(model: Model | str | PathLike[str], recording: Recorded) -> Classified:
    """Return the decision of a model on each window of a recording.

    model      a Model, a model's folder, or the name of a shipped one
    recording  Events, a Source, an event file, or a clip: a video, a folder of images or a depth
               clip is emulated as the model's training clips were

    Windows have the model's length and begin at the first event. The network is at rest at the
    start of each. A remainder of less than half a window is not judged, unless it is the only
    window.

    A recording of another sensor is fitted, with a FittedWarning: see `dvskit.filters.Fit`. Raises
    ShapeError for no events, FormatError for a clip without events, and the errors of `load_model`,
    `open_events` and `emulate`.

        found = dvskit.evaluation.classify_windows("nmnist-signed-lif", "digits/0/00001.bin")
        for window in found.windows:
            window.start_us, window.best, window.events
    """
    network = as_model(model)
    source = recorded_for(network, recording)
    size = likely_size(source, network.size)
    fit = SensorFit(size, network.size)
    windows: list[Decision] = []
    fitted = map(fit, blocks_on_sensor(source, size))
    for block in even_blocks(fitted, duration_us=network.input.window_us):
        start_us = windows[0].start_us if windows else int(block.t[0])
        windows.append(_decide(network, block, start_us, fit.weight))
        last_us = int(block.t[-1])
    if not windows:
        what = file_name(source) or "the recording"
        raise ShapeError(f"{what}: no events to classify; the window begins at the first one")
    fit.warn(describe_source(source))
    unlooked = 0
    if len(windows) > 1 and last_us + 1 - windows[-1].start_us < network.input.window_us / 2:
        unlooked = windows.pop().events
    return Classified(tuple(windows), unlooked)


def recorded_for(model: Model, recording: Recorded) -> Source:
    """Return a recording as a source; a clip is emulated as the model's training clips were."""
    if isinstance(recording, str | PathLike) and identify_named(Path(recording)) in CLIPS:
        recording, _ = emulated_clip(model, Path(recording))
    return as_recording(recording)


def emulated_clip(model: Model, clip: Path, *, strict: bool = True) -> tuple[Events, str]:
    """Return the events of a clip, emulated as a model's training clips were, and its damage.

    With strict=False damaged parts are left out; the damage is "" if there is none. Raises
    FormatError for no events, and the errors of reading.
    """
    samples = FileSamples(
        [Sample(clip.name, "", path=clip)], SampleReading(model.emulation, strict=strict)
    )
    events = samples.events(0)
    if not len(events):
        raise FormatError(f"{clip}: there are no events to classify; nothing moves in it")
    return events, samples.damage.get(0, "")


def _decide(model: Model, events: Events, first_us: int, weight: float | None) -> Decision:
    """Judge the window that holds `events`, on the grid that begins at `first_us`."""
    window_us = model.input.window_us
    start_us = first_us + (int(events.t[0]) - first_us) // window_us * window_us
    given = input_of(model.input, events, weight, start_us)
    if model.likeness is None:
        shares, unlike = _probabilities(model, given), ""
    else:
        with activity_of(model.module) as passes:
            shares = _probabilities(model, given)
        unlike = model.likeness.unlike(passes[0])
    return Decision(start_us, start_us + window_us, len(events), shares, unlike)


def _probabilities(model: Model, given: torch.Tensor) -> dict[str, float]:
    """Return the probability of each class for an input (bins, channels, H, W)."""
    model.module.eval()
    logits = logits_of(model.module, given[:, None])[0]
    if not logits.isfinite().all():
        raise ModelError(f"{model.name}: the output is not finite; check the model's weights")
    shares = torch.softmax(logits, 0)
    return dict(zip(model.classes, shares.tolist(), strict=True))


def classify_image(
    model: Model | str | PathLike[str],
    image: NDArray[np.uint8] | str | PathLike[str],
    *,
    encoder: str | Encoder | None = None,
    seed: int | None = None,
) -> dict[str, float]:
    """Return the probability of each class for a still image.

    image          (height, width) uint8, or a file that OpenCV reads (PNG, JPEG and others), as
                   gray; it is centered in the model's input, with black around it
    encoder, seed  of the spikes: see `evaluate`

    Raises GeometryError for an image larger than the model's input, ShapeError for another array,
    ConfigError for an unknown or missing encoder, MissingFileError and FormatError for the file.

        scores = dvskit.evaluation.classify_image("article-mnist", "images/0/00001.png", seed=0)
        max(scores, key=scores.get)  # the most likely class
    """
    network = as_model(model)
    encode = encode_of(choose_encoder(network, encoder), network.input, network.size)
    gray = read_gray(image) if isinstance(image, str | PathLike) else np.asarray(image)
    if gray.ndim != 2 or gray.dtype != np.uint8 or not gray.size:
        raise ShapeError(f"an image {gray.shape} {gray.dtype}; give (height, width) uint8, 0 black")
    rng = np.random.default_rng(choose_seed(network, seed))
    try:
        return _probabilities(network, encode(gray, rng))
    except GeometryError as error:
        if isinstance(image, str | PathLike):
            raise named(error, Sample(str(image), "")) from error
        raise


def classify_spans(model: Model, events: Events, *, every_us: int | None = None) -> Labels:
    """Return a label for each span of a recording, such as "wave (93 %)".

    The label of a span of `every_us` (default: the model's window) is the decision on the window
    that begins at its first event, from rest. Spans without events have no label. A remainder of
    less than half a span belongs to the span before. A recording of another sensor is fitted, with
    a FittedWarning. Raises ConfigError for every_us < 1.

        model = dvskit.models.load_model("nmnist-signed-lif")
        events = dvskit.load_events("digits/0/00001.bin")
        labels = dvskit.evaluation.classify_spans(model, events, every_us=100_000)
        len(labels)  # 3: one for each 100 ms
    """
    events, weight = fit_recording(events, model.size)
    window_us = model.input.window_us
    every_us = window_us if every_us is None else every_us
    if every_us < 1:
        raise ConfigError(f"every_us={every_us} must be at least 1")
    first, end = (int(events.t[0]), int(events.t[-1]) + 1) if len(events) else (0, 0)
    named = []
    starts = range(first, end, every_us)
    if len(starts) > 1 and end - starts[-1] < every_us / 2:
        starts = starts[:-1]
    for start in starts:
        until = end if start == starts[-1] else start + every_us
        seen = events.between(start, start + window_us)
        if len(events.between(start, until)):
            given = input_of(model.input, seen, weight, int(seen.t[0]))
            shares = _probabilities(model, given)
            best = most_likely(shares)
            named.append((start, until, f"{best} ({100 * shares[best]:.0f} %)"))
    return Labels(
        np.array([start for start, _, _ in named], np.int64),
        np.array([stop for _, stop, _ in named], np.int64),
        tuple(name for _, _, name in named),
    )
