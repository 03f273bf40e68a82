"""Many clips at once, as training takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit._arguments import check_arguments
from dvskit._threads import run_parts
from dvskit.emulator.model import Emulator, EmulatorRun
from dvskit.emulator.params import EmulatorParams, as_params
from dvskit.errors import ShapeError
from dvskit.events import Events
from dvskit.video.pictures import as_array
from dvskit.video.scale import look_at_scale


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
