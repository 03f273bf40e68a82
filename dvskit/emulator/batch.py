"""Frames in memory, as people hold them, to frames with times; and many clips at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit._arguments import check_arguments
from dvskit._threads import run_parts
from dvskit.emulator.model import Emulator, EmulatorRun
from dvskit.emulator.params import EmulatorParams, as_params
from dvskit.errors import ConfigError, ShapeError, VideoError
from dvskit.events import Events, ReadableSource, Size, as_size
from dvskit.video import ArrayFrames, gray_picture
from dvskit.video.array import checked_times
from dvskit.video.pictures import as_array
from dvskit.video.scale import look_at_scale
from dvskit.video.source import checked_fps, nth_time_us

Timed = Iterable[tuple[int, NDArray[Any]]]

_NO_TIMES = "the frames have no times; pass fps=240, or t_us=[...] in microseconds"


@check_arguments
def emulate_batch(
    clips: ArrayLike,
    t_us: ArrayLike,
    params: EmulatorParams | str | Sequence[EmulatorParams] | None = None,
    seed: int = 0,
) -> list[Events]:
    """Return the events of each clip of a batch; clip b has the seed `seed + b`.

    clips  (B, T, H, W) uint8, uint16 or float: an array, or a tensor in the processor's memory
    t_us   (T,) or (B, T) microseconds
    params  of all clips, or one for each; a preset's name does for all

    A clip gives the same events as alone, whatever else is in the batch. Gives one ScaleWarning
    where the batch looks to be of another scale. Raises ShapeError, VideoError, ConfigError.
    """
    batch = Batch(clips, t_us, params, seed)
    found: list[Events] = [Events.empty((1, 1))] * len(batch)

    def emulate(number: int) -> None:
        run = batch.start(number)
        events = [run.step(t, frame) for t, frame in batch.frames(number)]
        found[number] = Events.concatenate([*events, run.finish()])

    run_parts(emulate, len(batch))
    return found


class Batch:
    """Clips of one shape with their times, parameters and seeds, checked. Raises ShapeError."""

    def __init__(
        self,
        clips: ArrayLike,
        t_us: ArrayLike,
        params: EmulatorParams | str | Sequence[EmulatorParams] | None,
        seed: int,
    ) -> None:
        self.clips = as_array(clips)
        if self.clips.ndim != 4 or 0 in self.clips.shape:
            raise ShapeError(f"clips have shape {self.clips.shape}; (B, T, H, W) is meant")
        count, frames, self.height, self.width = self.clips.shape
        look_at_scale(lambda number: self.clips[divmod(number, frames)], count * frames)
        times = np.asarray(t_us)
        if times.dtype.kind not in "iu" or times.shape not in ((frames,), (count, frames)):
            raise ShapeError(
                f"t_us is {times.dtype} of shape {times.shape}; integers of shape ({frames},) or "
                f"({count}, {frames}) are meant"
            )
        self.t_us = np.broadcast_to(times, (count, frames))
        if params is None or isinstance(params, EmulatorParams | str):
            params = [as_params(params)] * count
        if len(params) != count:
            raise ShapeError(f"{len(params)} parameters for {count} clips; give one, or one each")
        self._emulators = [Emulator(each, seed + b) for b, each in enumerate(params)]

    def __len__(self) -> int:
        return len(self.clips)

    def start(self, number: int) -> EmulatorRun:
        """Return a run of one thread for a clip."""
        size = (self.width, self.height)
        return self._emulators[number].start(size, threads=1, scale_is_known=True)

    def frames(self, number: int) -> list[tuple[int, NDArray[Any]]]:
        """Return the (t_us, frame) of a clip."""
        return list(zip(self.t_us[number].tolist(), self.clips[number], strict=True))


def frames_in_memory(
    given: Any, *, fps: float | None, t_us: ArrayLike | None, white: float | None
) -> ArrayFrames | tuple[Timed, Size]:
    """Return frames with their times: ArrayFrames, or (t_us, picture) and the pictures' size.

    given  an array, a tensor or a list of pictures, or an iterator of them, with `fps` or `t_us`;
           or an iterable of (t_us, picture), without. Raises ConfigError, ShapeError, VideoError.
    """
    if isinstance(given, Events | ReadableSource):
        raise ConfigError(f"{type(given).__name__}: these are events already; frames are emulated")
    untimed = fps is not None or t_us is not None
    if hasattr(given, "shape"):  # an array, whoever holds it
        if not untimed:
            raise ConfigError(_NO_TIMES)
        return ArrayFrames(given, fps=fps, t_us=t_us, white=white)
    if not isinstance(given, Iterable):
        raise ShapeError(f"{type(given).__name__} has no frames; give a path, an array or a list")
    again = iter(given)
    try:
        first = next(again)
    except StopIteration:
        raise VideoError("the clip has no frames") from None
    timed = _is_timed(first)
    if untimed and timed:
        raise ConfigError("the frames are (t_us, frame) and have their times; leave out fps, t_us")
    if not untimed and not timed:
        raise ConfigError(_NO_TIMES)
    once = again is given
    if untimed and not once:
        return ArrayFrames(given, fps=fps, t_us=t_us, white=white)
    picture = gray_picture(first[1] if timed else first, 0, white)
    size = as_size((picture.shape[1], picture.shape[0]))
    if not once:
        return given, size
    frames = _chain(first, again)
    return (_with_times(frames, fps, t_us) if untimed else frames), size


def _is_timed(first: Any) -> bool:
    """Return whether the first of some frames is (t_us, picture)."""
    return isinstance(first, tuple | list) and len(first) == 2 and np.ndim(first[0]) == 0


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _with_times(
    pictures: Iterator[Any], fps: float | None, t_us: ArrayLike | None
) -> Iterator[tuple[int, Any]]:
    rate = checked_fps(fps)
    if t_us is None and rate is not None:
        return ((nth_time_us(number, rate), each) for number, each in enumerate(pictures))
    if rate is not None:
        raise VideoError("give either t_us or fps")
    return _paired(checked_times(t_us), pictures)


def _paired(times: list[int], pictures: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    number = -1
    for number, picture in enumerate(pictures):
        if number == len(times):
            raise VideoError(f"{len(times)} times for more frames; give one of each")
        yield times[number], picture
    if number + 1 < len(times):
        raise VideoError(f"{len(times)} times for {number + 1} frames")
