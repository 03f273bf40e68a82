"""A clip, emulated: a Source of events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.model import Emulator
from dvskit.emulator.params import EmulatorParams
from dvskit.errors import ConfigError, ShapeError, VideoError
from dvskit.events import Events, ReadableSource, Size, as_size
from dvskit.video import Clock, FrameLosses, FrameSource, Light, open_frames

Frames = Iterable[tuple[int, NDArray[Any]]]

_LONGEST_WAIT_S = 0.1
_BLOCK_EVENTS = 1 << 16  # a block holds this many events at least, but for the last


class EmulatedSource(ReadableSource):
    """Events of a clip: a Source.

    Frames that can be iterated again (a video file, a list) give the same events at each pass;
    an iterator can be used once. `frames_done` counts the frames of the present pass, which `stop`
    ends behind the frame that is being worked on.
    """

    def __init__(self, frames: Frames, emulator: Emulator, size: Size) -> None:
        self.size = size
        self.emulator = emulator
        self.frames_done = 0
        self._frames = frames
        self._used = self._stopped = False

    @property
    def frame_count(self) -> int | None:
        """How many frames the clip has, where it is known without decoding."""
        if isinstance(self._frames, FrameSource):
            return self._frames.frame_count
        return len(self._frames) if isinstance(self._frames, Sized) else None

    @property
    def path(self) -> Path | None:
        """The file or the folder of the clip, where it is one."""
        path = getattr(self._frames, "path", None)
        return path if isinstance(path, Path) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done with the clip's pictures, and what to know of them, a line each."""
        return self._frames.notes if isinstance(self._frames, FrameSource) else ()

    @property
    def damage(self) -> FrameLosses | None:
        """What the latest pass left out of a clip that is damaged; false where it was nothing."""
        return self._frames.damage if isinstance(self._frames, FrameSource) else None

    def how_far(self) -> tuple[int, int | None, str]:
        """Return how many frames are done, of how many, and their name."""
        return self.frames_done, self.frame_count, "frames"

    def about(self) -> list[tuple[str, str]]:
        """Return what is emulated and how, without decoding a frame."""
        clip = type(self._frames).__name__ if self.path is None else str(self.path)
        count = "" if self.frame_count is None else f", {self.frame_count:,} frames"
        once = ", read once" if isinstance(self._frames, Iterator) else ""
        changed = ", ".join(
            f"{each.name}={getattr(self.emulator.params, each.name)!r}"
            for each in fields(EmulatorParams)
            if getattr(self.emulator.params, each.name) != each.default
        )
        return [
            ("clip", clip + count + once),
            *(("note", text) for text in self.notes),
            ("parameters", changed or "those of a clean sensor"),
            ("seed", str(self.emulator.seed)),
        ]

    def stop(self) -> None:
        """End the present pass early."""
        self._stopped = True

    def labelled(self) -> Iterator[tuple[Events, NDArray[np.bool_]]]:
        """Yield the events of each frame with a label for each: True where noise made it."""
        run = self.emulator.start(self.size)
        for t_us, frame in self._frames:
            yield run.step_labelled(t_us, frame)
        yield run.finish_labelled()

    def __iter__(self) -> Iterator[Events]:
        once = isinstance(self._frames, Iterator)
        if once and self._used:
            raise VideoError("the frames came from an iterator, which is used up; pass a list")
        self._used = True
        self._stopped = False
        self.frames_done = 0
        run = self.emulator.start(self.size)
        waiting: list[Events] = []
        handed = time.monotonic()
        for t_us, frame in self._frames:
            waiting.append(run.step(t_us, frame))
            self.frames_done += 1
            held = sum(map(len, waiting))
            # A slow or sparse clip is handed on all the same, so that people see it go on.
            if held >= _BLOCK_EVENTS or time.monotonic() - handed > _LONGEST_WAIT_S:
                yield Events.concatenate(waiting, self.size)
                waiting, handed = [], time.monotonic()
            if self._stopped:
                break
        if self.frames_done < 2 and not self._stopped:
            raise VideoError(
                f"the clip has {self.frames_done} frames; events are changes between two at least"
            )
        yield Events.concatenate([*waiting, run.finish()], self.size)


def _peeked(frames: Frames) -> tuple[Frames, Size]:
    """Return frames that still begin with the first one, and that one's size."""
    again = iter(frames)
    try:
        first = next(again)
    except StopIteration:
        raise VideoError("the clip has no frames") from None
    shape = np.shape(first[1])
    if len(shape) != 2:
        raise ShapeError(f"frame 0 has shape {shape}; (height, width) is meant")
    size = as_size((shape[1], shape[0]))
    if again is frames:
        return _chain(first, again), size
    return frames, size


def _chain(
    first: tuple[int, NDArray[Any]], rest: Iterator[tuple[int, NDArray[Any]]]
) -> Iterator[tuple[int, NDArray[Any]]]:
    yield first
    yield from rest


def emulate(
    video_or_frames: str | PathLike[str] | FrameSource | Frames,
    params: EmulatorParams | None = None,
    seed: int = 0,
    *,
    fps: float | None = None,
    light: Light = "luma",
    clock: Clock = "first",
    strict: bool = True,
) -> EmulatedSource:
    """Return the events of a clip as a Source.

    video_or_frames: the path of a video or of a folder of images, a FrameSource, or an iterable of
    (t_us, frame), a frame being (height, width) in uint8, uint16 or float. `fps`, `light`, `clock`
    and `strict` are for paths: see dvskit.video.open_frames. Raises VideoError for a clip that
    cannot be opened, is damaged, has fewer than two frames, or whose times do not advance;
    ShapeError for frames of another shape; ConfigError for options of paths without a path.
    """
    emulator = Emulator(EmulatorParams() if params is None else params, seed)
    if isinstance(video_or_frames, str | PathLike):
        video_or_frames = open_frames(
            video_or_frames, fps=fps, light=light, clock=clock, strict=strict
        )
    elif (fps, light, clock, strict) != (None, "luma", "first", True):
        raise ConfigError("fps, light, clock and strict are for paths; frames hold their own times")
    if isinstance(video_or_frames, FrameSource):
        return EmulatedSource(video_or_frames, emulator, video_or_frames.size)
    frames, size = _peeked(video_or_frames)
    return EmulatedSource(frames, emulator, size)
