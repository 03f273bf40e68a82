"""Answers to camera frames as they come: a picture of the events, and the model's decision."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.datasets.files import Emulation, frames_for
from dvskit.emulator import EmulatorParams
from dvskit.errors import VideoError
from dvskit.evaluation import Live, LiveDecision
from dvskit.evaluation.live import filmed
from dvskit.events import as_size
from dvskit.models import Model, load_model
from dvskit.render.colormap import DARK
from dvskit.render.event_frames import LinearFade
from dvskit.training.folder_choices import CLIP_SIDE, CLIP_THRESHOLD
from dvskit.video import FrameSource
from dvskit.video.writing import check_gray

_FADE_US = 150_000
_FRAME_US = 33_333  # the usual time between frames


@dataclass(frozen=True, slots=True)
class LiveAnswer:
    """The events of a frame, and the latest decision.

    picture        the latest events, (H, W, 3) uint8 RGB
    events         the number of events since the frame before
    probabilities  of each class; {} without a model, and before the first decision
    answer         the most likely class; None for "nothing"
    nothing        why no class is named: "few events", "unsure"; "" with an answer or no decision
    latency_ms     from the call of `add` to its end

        answers = dvskit.teach.LiveAnswers(None, size=(128, 128))  # no model: the picture alone
        for t_us, frame in dvskit.video.open_frames("video.mp4"):
            found = answers.add(t_us, frame)
            found.picture, found.events  # (128, 128, 3) uint8, the number of new events
    """

    picture: NDArray[np.uint8]
    events: int
    probabilities: dict[str, float] = field(default_factory=dict)
    answer: str | None = None
    nothing: str = ""
    latency_ms: float = 0.0


class _Pushed(FrameSource):
    """Frames that a caller hands over one by one; there is always one when it is asked for."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = as_size(size)
        self.next: tuple[int, NDArray[Any]] | None = None

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        while self.next is not None:
            yield self.next


class LiveAnswers:
    """Emulates frames of a camera, and classifies the events as `dvskit classify --live` does.

    model  a Model, its folder, the name of a shipped one, or None for the picture alone
    size   (width, height) of the frames

    Loops are compiled and the network is warmed up here, which takes some seconds. Raises the
    errors of `load_model`.

        answers = dvskit.teach.LiveAnswers("arm-gestures", size=(128, 128))
        for t_us, frame in dvskit.video.open_frames("video.mp4"):  # or those of a camera
            found = answers.add(t_us, frame)
        found.answer, found.probabilities["wave"]  # ("wave", 0.94)
    """

    def __init__(self, model: Model | str | PathLike[str] | None, size: tuple[int, int]) -> None:
        model = load_model(model) if isinstance(model, str | PathLike) else model
        # No frames are added between two: an answer belongs to one frame.
        how = _emulation() if model is None else replace(model.emulation, upsample=False)
        self._lock, self._frames = threading.Lock(), _Pushed(size)
        self.classes: tuple[str, ...] = () if model is None else model.classes
        seen = frames_for(self._frames, how)
        self._arrivals = filmed(seen, how, None)
        self._run = None if model is None else Live(model).start(seen.size)
        style = LinearFade(window_us=_FADE_US)
        self._fade, self._palette = style.start(seen.size, _FRAME_US), style.palette(DARK)
        self._rows = np.zeros((seen.size.height, seen.size.width), np.uint8)
        self._latest: LiveDecision | None = None
        self._last_us: int | None = None

    def add(self, t_us: int, frame: NDArray[Any]) -> LiveAnswer:
        """Take a frame (H, W) uint8 at a time in microseconds; return the answer.

        Raises VideoError for a time that does not increase, ShapeError for another shape or dtype.
        """
        began = time.perf_counter()
        with self._lock:
            self._check(t_us, frame)
            gap_us = _FRAME_US if self._last_us is None else t_us - self._last_us
            self._last_us, self._frames.next = t_us, (t_us, frame)
            arrival = next(self._arrivals)
            if self._run is not None:
                found = self._run.push(arrival.events, until_us=t_us, arrived=began)
                self._latest = found[-1] if found else self._latest
                if self._run.resting:
                    self._latest = None
            self._fade.add(arrival.events, t_us)
            self._fade.draw(t_us, t_us + gap_us, self._rows)
            picture, decision = self._palette[self._rows], self._latest
        took_ms = 1000 * (time.perf_counter() - began)
        if decision is None:
            return LiveAnswer(picture, len(arrival.events), latency_ms=took_ms)
        return LiveAnswer(
            picture,
            len(arrival.events),
            decision.probabilities,
            decision.answer,
            decision.nothing,
            took_ms,
        )

    def _check(self, t_us: int, frame: NDArray[Any]) -> None:
        check_gray(frame, self._frames.size, "the frame")
        if self._last_us is not None and t_us <= self._last_us:
            raise VideoError(
                f"the frame at {t_us} us is not after the one before, at {self._last_us} us; give "
                "times that increase"
            )


def _emulation() -> Emulation:
    """Return how `dvskit train FOLDER` emulates videos."""
    params = EmulatorParams(threshold_on=CLIP_THRESHOLD, threshold_off=CLIP_THRESHOLD)
    return Emulation(params=params, size=(CLIP_SIDE, CLIP_SIDE), whole=True)
