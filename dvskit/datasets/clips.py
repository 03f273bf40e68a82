"""Clips that become samples: how their frames are emulated, each on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any, Protocol

from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.emulator import Emulator, EmulatorParams
from dvskit.emulator.model import RESULTS_VERSION
from dvskit.emulator.params import as_params, preset_size
from dvskit.emulator.upsample import Upsampled
from dvskit.errors import VideoError
from dvskit.events import Events, Size, as_size
from dvskit.video import Bordered, FrameSource, Light, open_frames, resized
from dvskit.video.light import checked_light
from dvskit.video.source import checked_fps


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """How the frames of a clip become the events of a sample.

    params    what the sensor is like: EmulatorParams, or a preset's name or file; None: ideal
    size      of the sensor, (width, height). Frames are scaled until they cover it, and what is
              then beyond it at two sides is cut off: 640x480 becomes 128x128 by its middle
              480x480. None: the size of a named sensor, else each clip's own
    whole     whether the whole picture is kept instead: it is scaled until it fits into the size,
              with a gray border at two sides
    upsample  whether frames are added where a clip moves, so that nothing moves by more than a
              pixel of the sensor from one to the next
    seed      fixes all noise. Each sample draws its own from it and the bytes of its file, so that
              its events do not depend on its name, its place or the other samples
    redraw    whether a sample has other noise each time that it is read with a generator, as in
              training; then its events cannot be kept
    fps       a steady rate in place of the clips' own times
    light     "luma" or "linear": see `dvskit.video.open_frames`

    Raises ConfigError, GeometryError for what is out of range.
    """

    params: EmulatorParams | str | PathLike[str] | None = None
    size: tuple[int, int] | None = None
    whole: bool = False
    upsample: bool = False
    seed: int = 0
    redraw: bool = False
    fps: float | None = None
    light: Light = "luma"

    def __post_init__(self) -> None:
        size = self.size
        if size is None and isinstance(self.params, str | PathLike):
            size = preset_size(self.params)
        object.__setattr__(self, "size", None if size is None else as_size(size))
        object.__setattr__(self, "params", Emulator(as_params(self.params), self.seed).params)
        checked_fps(self.fps)
        checked_light(self.light)

    @property
    def identity(self) -> str:
        """All that the events of a clip depend on but for its bytes, as text."""
        return f"emulated {RESULTS_VERSION} {sorted(asdict(self).items())}"


def emulate_frames(frames: FrameSource, how: Emulation, seed: int) -> Events:
    """Return the events of a clip's frames, all of it done by the thread that calls.

    `seed` is the sample's own. Raises VideoError for fewer than two frames and what reading raises.
    """
    events, count = emulated(frames_for(frames, how), as_params(how.params), seed)
    if count < 2:
        raise VideoError(
            f"{count} frame{'s' * (count != 1)} where two at least are meant: events are changes "
            "from one to the next"
        )
    return events


def open_clip(path: str | PathLike[str], how: Emulation, *, strict: bool = True) -> FrameSource:
    """Open the frames of a video or folder of images as they are in it: see `frames_for`.

    `strict` and errors are those of `dvskit.video.open_frames`.
    """
    return open_frames(path, fps=how.fps, light=how.light, strict=strict)


def frames_for(frames: FrameSource, how: Emulation) -> FrameSource:
    """Return the frames that are emulated: at the sensor's size, and with those that are added."""
    if how.size is not None and how.whole and frames.size != how.size:
        frames = Bordered(frames, how.size)
    frames = resized(frames, how.size)
    return Upsampled(frames, frames.size) if how.upsample else frames


class Frames(Protocol):
    """Frames of one size, (t_us, frame) in order of time."""

    @property
    def size(self) -> Size:
        """Of the frames."""

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Start anew."""


def emulated(frames: Frames, params: EmulatorParams, seed: int) -> tuple[Events, int]:
    """Return the events of frames and how many frames there are, all by the thread that calls."""
    run = Emulator(params, seed).start(frames.size, threads=1, scale_is_known=True)
    found = [run.step(t_us, frame) for t_us, frame in frames]
    return Events.concatenate([*found, run.finish()], frames.size), len(found)
