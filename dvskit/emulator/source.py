"""A clip, emulated: a Source of events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit._arguments import check_arguments
from dvskit.emulator.batch import frames_in_memory
from dvskit.emulator.model import Emulator, EmulatorRun
from dvskit.emulator.params import EmulatorParams, as_params, sensor_size
from dvskit.errors import ConfigError, VideoError, count_of
from dvskit.events import Events, ReadableSource, Size
from dvskit.events.window import check_window
from dvskit.video import (
    ClipPart,
    Clock,
    FrameLosses,
    FrameSource,
    Light,
    TimedFrames,
    gray_picture,
    open_frames,
)
from dvskit.video.pictures import checked_white

Frames = Iterable[tuple[int, NDArray[Any]]]

_LONGEST_WAIT_S = 0.1
_BLOCK_EVENTS = 1 << 16  # a block holds this many events at least, but for the last


class EmulatedSource(ReadableSource):
    """Events of a clip: a Source.

    Frames that can be iterated again (a video file, a list) give the same events at each pass;
    an iterator can be used once. `frames_done` counts the frames of the present pass, which `stop`
    ends behind the frame that is being worked on.
    """

    def __init__(
        self, frames: Frames, emulator: Emulator, size: Size, *, white: float | None = None
    ) -> None:
        self.size = size
        self._white = white
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
        count = "" if self.frame_count is None else f", {count_of(self.frame_count, 'frame')}"
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
        run = self._start()
        for t_us, frame in self._timed():
            yield run.step_labelled(t_us, frame)
        yield run.finish_labelled()

    def _start(self) -> EmulatorRun:
        # Files are on the scale of their type, and frames in memory are looked at as they come.
        known = isinstance(self._frames, FrameSource) or self._white is not None
        return self.emulator.start(self.size, scale_is_known=known)

    def _timed(self) -> Iterator[tuple[int, NDArray[Any]]]:
        if isinstance(self._frames, FrameSource):
            yield from self._frames
            return
        for number, (t_us, picture) in enumerate(self._frames):
            yield t_us, gray_picture(picture, number, self._white)

    def __iter__(self) -> Iterator[Events]:
        once = isinstance(self._frames, Iterator)
        if once and self._used:
            raise VideoError("the frames came from an iterator, which is used up; pass a list")
        self._used = True
        self._stopped = False
        self.frames_done = 0
        run = self._start()
        waiting: list[Events] = []
        handed = time.monotonic()
        for t_us, frame in self._timed():
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
            name = "the clip" if self.path is None else f"{self.path}:"
            raise VideoError(
                f"{name} has {count_of(self.frames_done, 'frame')}; events are changes between two "
                "at least"
            )
        yield Events.concatenate([*waiting, run.finish()], self.size)


@check_arguments
def emulate(
    video_or_frames: str | PathLike[str] | FrameSource | Iterable[Any],
    params: EmulatorParams | str | PathLike[str] | None = None,
    seed: int = 0,
    *,
    fps: float | None = None,
    t_us: ArrayLike | None = None,
    white: float | None = None,
    light: Light = "luma",
    clock: Clock = "first",
    strict: bool = True,
    size: tuple[int, int] | Literal["native"] | None = None,
    crop: tuple[int, int, int, int] | None = None,
    start_us: int | None = None,
    stop_us: int | None = None,
) -> EmulatedSource:
    """Return the events of a clip as a Source; `emulate(...).load()` has them all.

    video_or_frames
        the path of a video or of a folder of images; a FrameSource; or frames in memory: an array
        or a tensor (T, H, W), or a list of pictures (arrays, tensors, PIL images), with `fps` or
        `t_us`; or an iterable of (t_us, picture). Pictures are gray in uint8, uint16 (65535 is
        white) or float (1.0 is white); RGB (H, W, 3) and RGBA are turned gray by ITU-R BT.601.
    params  what the sensor is like: EmulatorParams, or the name of a preset, such as "DAVIS346"
    fps     a steady rate, of frames that have no times of their own, or in place of a video's
    t_us    whole microseconds (T,) of frames in memory
    white   the number that white has in frames in memory, such as 255 for floats of 0..255
    size    (width, height) of the sensor to which the clip is scaled: it covers the sensor, and
            what is beyond at two sides is cut off. Without it the name of a camera's preset brings
            the camera's size, as for the command; "native" keeps the clip's
    crop    (x, y, width, height): a rectangle of the clip's own pixels, taken before scaling
    start_us, stop_us  the part to emulate, in microseconds after the first frame, half-open

    `light`, `clock` and `strict` are for paths: see dvskit.video.open_frames. Gives a ScaleWarning
    for frames that look to be of another scale, a UnitWarning for times that look like seconds.
    Raises VideoError for a clip that cannot be opened, is damaged, has fewer than two frames, or
    whose times do not advance; ShapeError for frames of another shape or type; GeometryError for a
    size that cannot be or a crop off the frames; ConfigError for options that do not go with what
    is given.
    """
    emulator = Emulator(as_params(params), seed)
    part = ClipPart(*check_window(start_us, stop_us), crop, *sensor_size(params, size))
    clip = _clip(
        video_or_frames, {"light": light, "clock": clock, "strict": strict}, fps, t_us, white
    )
    if not isinstance(clip, FrameSource):
        frames, native = clip
        if part.is_whole(native):
            return EmulatedSource(frames, emulator, native, white=white)
        clip = TimedFrames(frames, native, white)
    taken = part.of(clip)
    return EmulatedSource(taken, emulator, taken.size)


def _clip(
    given: Any,
    of_path: dict[str, Any],
    fps: float | None,
    t_us: ArrayLike | None,
    white: float | None,
) -> FrameSource | tuple[Frames, Size]:
    """Return what is given as a clip, or as (t_us, picture) and their size. Raises ConfigError."""
    if isinstance(given, str | PathLike):
        if t_us is not None or white is not None:
            raise ConfigError("t_us and white are for frames in memory; a path takes fps")
        return open_frames(given, fps=fps, **of_path)
    if of_path != {"light": "luma", "clock": "first", "strict": True}:
        raise ConfigError("light, clock and strict are for paths; frames in memory are as they are")
    if not isinstance(given, FrameSource):
        return frames_in_memory(given, fps=fps, t_us=t_us, white=checked_white(white))
    if (fps, t_us, white) != (None, None, None):
        raise ConfigError("fps, t_us and white are for frames that have no times of their own")
    return given
