"""Emulation of clips into samples, each on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.emulator import Emulator, EmulatorParams
from dvskit.emulator.model import RESULTS_VERSION
from dvskit.emulator.params import as_params, preset_size
from dvskit.emulator.upsample import Upsampled
from dvskit.errors import VideoError
from dvskit.events import Events, Size, as_size
from dvskit.scenes import DepthScene, read_depth_clip
from dvskit.video import Bordered, FrameSource, Light, open_frames, resized
from dvskit.video.light import transfer_in
from dvskit.video.source import checked_fps

T = TypeVar("T")


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """Parameters that turn the frames of a clip into the events of a sample.

    params    the sensor: EmulatorParams, or the name or file of a preset; None: ideal
    size      of the sensor, (width, height). Frames are scaled until they cover it, and cropped.
              None: the size of a named sensor, else that of each clip
    whole     scale frames until they fit into the size instead, with a gray border at two sides
    upsample  add frames so that nothing moves by more than a sensor pixel between frames
    seed      of all noise. Each sample derives its own seed from it and from the bytes of its file,
              so its events do not depend on its name or on other samples
    redraw    draw new noise each time a sample is read with a generator, as in training; its events
              then cannot be cached
    fps       a constant frame rate in place of the clips' own times
    light     "linear" or "luma" in place of that of the sensor; then that of the sensor

    Raises ConfigError, GeometryError for values out of range.

        params = dvskit.EmulatorParams(threshold_on=0.3, threshold_off=0.3)
        emulation = dvskit.datasets.Emulation(params=params, size=(32, 32), seed=1)
        frames = np.random.default_rng(0).integers(0, 256, (10, 32, 32), dtype=np.uint8)
        source = dvskit.video.ArrayFrames(frames, fps=100)
        events = dvskit.datasets.emulate_frames(source, emulation, seed=0)
    """

    params: EmulatorParams | str | PathLike[str] | None = None
    size: tuple[int, int] | None = None
    whole: bool = False
    upsample: bool = False
    seed: int = 0
    redraw: bool = False
    fps: float | None = None
    light: Light | None = None

    def __post_init__(self) -> None:
        size = self.size
        if size is None and isinstance(self.params, str | PathLike):
            size = preset_size(self.params)
        object.__setattr__(self, "size", None if size is None else as_size(size))
        params = as_params(self.params)
        params = params if self.light is None else replace(params, light=self.light)
        object.__setattr__(self, "params", Emulator(params, self.seed).params)
        object.__setattr__(self, "light", params.light)
        checked_fps(self.fps)

    @property
    def identity(self) -> str:
        """Everything except the bytes of a clip that its events depend on, as text."""
        return f"emulated {RESULTS_VERSION} {sorted(asdict(self).items())}"


def emulate_frames(frames: FrameSource, how: Emulation, seed: int) -> Events:
    """Return the events of a clip's frames, computed by the calling thread alone.

    `seed` is that of the sample. Raises VideoError for fewer than two frames, and reading errors.

        frames = np.random.default_rng(0).integers(0, 256, (10, 32, 32), dtype=np.uint8)
        source = dvskit.video.ArrayFrames(frames, fps=100)
        emulation = dvskit.datasets.Emulation(params="noisy")
        events = dvskit.datasets.emulate_frames(source, emulation, seed=0)
    """
    events, count = emulated(frames_for(frames, how), as_params(how.params), seed)
    if count < 2:
        raise VideoError(
            f"{count} frame{'s' * (count != 1)}, but at least two are needed: events are changes "
            "between frames"
        )
    return events


def open_clip(path: str | PathLike[str], how: Emulation, *, strict: bool = True) -> FrameSource:
    """Open the frames of a video or folder of images, adapted by `frames_for`.

    `strict` and errors are those of `dvskit.video.open_frames`.
    """
    return open_frames(path, fps=how.fps, strict=strict)


def used_clip(
    path: str | PathLike[str], how: Emulation, use: Callable[[FrameSource], T], *, strict: bool
) -> tuple[T, FrameSource]:
    """Return use(clip), and the clip. With `strict`, only a lost last frame is no error.

    The `damage` of the clip names what was left out. Raises VideoError for other damage.
    """
    clip = open_clip(path, how, strict=strict)
    try:
        return use(clip), clip
    except VideoError:
        shorter = without_last_frame(path, how) if strict else None
        if shorter is None:
            raise
        return use(shorter), shorter


def without_last_frame(path: str | PathLike[str], how: Emulation) -> FrameSource | None:
    """Return a clip that skips damage, if the only loss is the last frame; None otherwise.

    Recorders that are stopped often leave such clips. Its `damage` names the loss after a pass.
    """
    clip = open_clip(path, how, strict=False)
    shown = 0
    for _ in clip:
        shown += 1
        if clip.damage:  # a frame after a loss
            return None
    if not clip.damage or not shown:
        return None
    if clip.frame_count is None:  # bytes that are missing may hold any number of frames
        return clip if (clip.damage.count, clip.damage.frames) == (1, 1) else None
    return clip if clip.frame_count - shown <= 1 else None


def frames_for(frames: FrameSource, how: Emulation) -> FrameSource:
    """Return the frames to emulate: at the sensor's size, with added frames."""
    if how.size is not None and how.whole and frames.size != how.size:
        frames = Bordered(frames, how.size)
    frames = resized(frames, how.size)
    return Upsampled(frames, frames.size) if how.upsample else frames


class ClipFrames(Protocol):
    """Frames of one size, (t_us, frame) in order of time."""

    @property
    def size(self) -> Size:
        """The size of the frames."""

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the frames from the first on."""


def emulated(frames: ClipFrames, params: EmulatorParams, seed: int) -> tuple[Events, int]:
    """Return the events of frames and the number of frames, computed by the calling thread."""
    run = Emulator(params, seed).start(
        frames.size, transfer=transfer_in(frames), threads=1, scale_is_known=True
    )
    found = [run.step(t_us, frame) for t_us, frame in frames]
    return Events.concatenate([*found, run.finish()], frames.size), len(found)


SEEDS = 1 << 62
DEPTH_SIZE = Size(128, 128)
"""The default sensor of depth clips."""


def emulate_depth_clip(path: Path, params: EmulatorParams, size: Size | None, seed: int) -> Events:
    """Return the events of a depth clip, shaded: looks, light and place are drawn from `seed`.

    size  of the sensor; default: DEPTH_SIZE. Raises the errors of reading the clip.
    """
    looks, noise = np.random.default_rng(seed).integers(SEEDS, size=2).tolist()
    chosen = DEPTH_SIZE if size is None else size
    scene = DepthScene.random(read_depth_clip(path), looks, size=chosen, flip=False)
    return emulated(scene, params, noise)[0]
