"""An emulated clip as a Source of events; and batches of clips."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit._threads import run_parts
from dvskit.emulator.model import Emulator, EmulatorRun
from dvskit.emulator.params import EmulatorParams, as_params, sensor_size
from dvskit.errors import ConfigError, ShapeError, VideoError, count_of
from dvskit.events import Events, ReadableSource, Size
from dvskit.events.window import check_window
from dvskit.video import ClipPart, Clock, FrameLosses, FrameSource, Light, TimedFrames, open_frames
from dvskit.video.source import as_array, frames_in_memory, look_at_scale

Frames = Iterable[tuple[int, NDArray[Any]]]

_LONGEST_WAIT_S = 0.1
_BLOCK_EVENTS = 1 << 16  # least events of a block, except the last


class EmulatedSource(ReadableSource):
    """Events of a clip: a Source. `emulate` makes it.

    Frames that can be iterated again (a video file, a list) give the same events in each pass;
    an iterator can be used once. `frames_done` counts the frames of the current pass; `stop` ends
    the pass after the current frame. Raises VideoError for fewer than two frames.

    frames    pairs of (t_us, image), or a FrameSource
    emulator  the sensor and its seed
    size      of the frames: (width, height)
    white     the value of white in the images; by default the white of the dtype

        source = dvskit.emulate("video.mp4", seed=1)
        source.size, source.frame_count    # (Size(width=128, height=128), 200)
        for block in source:
            if source.frames_done >= 50:
                source.stop()    # the rest of the clip is not emulated
    """

    def __init__(
        self, frames: Frames, emulator: Emulator, size: Size, *, white: float | None = None
    ) -> None:
        self.size = size
        self.emulator = emulator
        self.frames_done = 0
        self._frames = (
            frames if isinstance(frames, FrameSource) else TimedFrames(frames, size, white)
        )
        self._stopped = False
        self._run: EmulatorRun | None = None

    @property
    def frame_count(self) -> int | None:
        """The number of frames, if known without decoding."""
        return self._frames.frame_count

    @property
    def path(self) -> Path | None:
        """The file or the folder of the clip, if any."""
        path = getattr(self._frames, "path", None)
        return path if isinstance(path, Path) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the clip's frames, and on what the readout lost in the latest pass."""
        lost = "" if self._run is None else self._run.readout.note()
        return (*self._frames.notes, lost) if lost else self._frames.notes

    @property
    def damage(self) -> FrameLosses | None:
        """The damage that the latest pass skipped; false if there was none."""
        return self._frames.damage

    def how_far(self) -> tuple[int, int | None, str]:
        """Return how many frames are done, of how many, and their unit."""
        return self.frames_done, self.frame_count, "frames"

    def about(self) -> list[tuple[str, str]]:
        """Return a description of the clip and the emulation, without decoding a frame."""
        kind = getattr(self._frames, "kind", type(self._frames).__name__)
        clip = kind if self.path is None else str(self.path)
        count = "" if self.frame_count is None else f", {count_of(self.frame_count, 'frame')}"
        once = ", read once" if getattr(self._frames, "once", False) else ""
        changed = ", ".join(
            f"{each.name}={getattr(self.emulator.params, each.name)!r}"
            for each in fields(EmulatorParams)
            if getattr(self.emulator.params, each.name) != each.default
        )
        return [
            ("clip", clip + count + once),
            *(("note", text) for text in self.notes),
            ("parameters", changed or "of a clean sensor"),
            ("seed", str(self.emulator.seed)),
        ]

    def stop(self) -> None:
        """End the current pass early."""
        self._stopped = True

    def labeled(self) -> Iterator[tuple[Events, NDArray[np.bool_]]]:
        """Yield the events of each frame with a label per event: True for noise."""
        run = self._start()
        for t_us, frame in self._frames:
            yield run.step_labeled(t_us, frame)
        yield run.finish_labeled()

    def _start(self) -> EmulatorRun:
        # Clips have the scale of their dtype, or are checked while they are read.
        frames = self._frames
        self._run = self.emulator.start(self.size, transfer=frames.transfer, scale_is_known=True)
        return self._run

    def __iter__(self) -> Iterator[Events]:
        self._stopped = False
        self.frames_done = 0
        run = self._start()
        waiting: list[Events] = []
        handed = time.monotonic()
        for t_us, frame in self._frames:
            waiting.append(run.step(t_us, frame))
            self.frames_done += 1
            held = sum(map(len, waiting))
            # A slow or sparse clip yields blocks too, so that viewers see progress.
            if held >= _BLOCK_EVENTS or time.monotonic() - handed > _LONGEST_WAIT_S:
                yield Events.concatenate(waiting, self.size)
                waiting, handed = [], time.monotonic()
            if self._stopped:
                break
        if self.frames_done < 2 and not self._stopped:
            name = "the clip" if self.path is None else f"{self.path}:"
            raise VideoError(
                f"{name} has {count_of(self.frames_done, 'frame')}; emulation needs two at least"
            )
        yield Events.concatenate([*waiting, run.finish()], self.size)


def emulate(
    video_or_frames: str | PathLike[str] | FrameSource | Iterable[Any],
    params: EmulatorParams | str | PathLike[str] | None = None,
    seed: int = 0,
    *,
    fps: float | None = None,
    t_us: ArrayLike | None = None,
    white: float | None = None,
    light: Light | None = None,
    clock: Clock = "first",
    strict: bool = True,
    size: tuple[int, int] | Literal["native"] | None = None,
    crop: tuple[int, int, int, int] | None = None,
    start_us: int | None = None,
    stop_us: int | None = None,
) -> EmulatedSource:
    """Return the events of a clip as a Source; `emulate(...).load()` returns them all.

    video_or_frames  the path of a video or of a folder of images; a FrameSource; or frames in
            memory: an array or a tensor (T, H, W), or a list of images (arrays, tensors, PIL
            images), with `fps` or `t_us`; or an iterable of (t_us, image). Images are gray:
            sRGB codes in uint8 or uint16 (65535 is white), or float light (1.0 is white); RGB
            (H, W, 3) and RGBA are turned gray by ITU-R BT.601
    params  the sensor: EmulatorParams, or the name of a preset, such as "DAVIS346"
    seed    fixes all randomness
    fps     a steady rate, for frames without times, or to replace a video's times
    t_us    whole microseconds (T,) of frames in memory
    white   the value of white in frames in memory, such as 255 for floats of 0..255
    size    (width, height) of the sensor to which the clip is scaled: it covers the sensor, and the
            excess at two sides is cut off. Without it, the preset of a camera sets the camera's
            size, as in the command; "native" keeps the clip's
    crop    (x, y, width, height): a rectangle of the clip's own pixels, before scaling
    start_us, stop_us  the part to emulate, in microseconds after the first frame, half-open

    light   "linear" or "luma": what integer frames stand for, in place of `params.light`

    `clock` and `strict` are for paths: see dvskit.video.open_frames. Gives a ScaleWarning
    for frames that appear to have another scale, a UnitWarning for times that look like seconds.
    Raises VideoError for a clip that cannot be opened, is damaged, has fewer than two frames, or
    whose times do not increase; ShapeError for frames of another shape or dtype; GeometryError for
    an invalid size or a crop off the frames; ConfigError for options that do not match the input.

        source = dvskit.emulate("video.mp4", "noisy", seed=3, stop_us=500_000)
        dvskit.save_events(source, "half_second.raw")
        frames = np.random.default_rng(0).random((20, 48, 64))    # T, H, W; 1.0 is white
        events = dvskit.emulate(frames, fps=100).load()
    """
    sensor = as_params(params)
    emulator = Emulator(sensor if light is None else replace(sensor, light=light), seed)
    part = ClipPart(*check_window(start_us, stop_us), crop, *sensor_size(params, size))
    of_path = {"clock": clock, "strict": strict}
    taken = part.of(_clip(video_or_frames, of_path, fps, t_us, white))
    return EmulatedSource(taken, emulator, taken.size)


def _clip(
    given: Any,
    of_path: dict[str, Any],
    fps: float | None,
    t_us: ArrayLike | None,
    white: float | None,
) -> FrameSource:
    """Return the input as a clip. Raises ConfigError."""
    if isinstance(given, str | PathLike):
        if t_us is not None or white is not None:
            raise ConfigError("t_us and white are for frames in memory; a path takes fps")
        return open_frames(given, fps=fps, **of_path)
    if of_path != {"clock": "first", "strict": True}:
        raise ConfigError("clock and strict are for paths; frames in memory are as they are")
    if not isinstance(given, FrameSource):
        return frames_in_memory(given, fps=fps, t_us=t_us, white=white)
    if (fps, t_us, white) != (None, None, None):
        raise ConfigError("fps, t_us and white are for frames that have no times of their own")
    return given


def emulate_batch(
    clips: ArrayLike,
    t_us: ArrayLike,
    params: EmulatorParams | str | Sequence[EmulatorParams] | None = None,
    seed: int = 0,
) -> list[Events]:
    """Return the events of each clip of a batch; clip b has the seed `seed + b`.

    clips  (B, T, H, W) uint8, uint16 or float: an array, or a tensor in CPU memory
    t_us   (T,) or (B, T) microseconds
    params  for all clips, or one for each; a preset's name is for all

    A clip gives the same events as alone, for any other clips in the batch. Gives one ScaleWarning
    if the batch appears to have another scale. Raises ShapeError, VideoError, ConfigError.

        clips = np.random.default_rng(0).integers(0, 255, (4, 10, 32, 32), np.uint8)    # B, T, H, W
        t_us = np.arange(10) * 10_000
        batch = dvskit.emulator.emulate_batch(clips, t_us, "noisy", seed=5)
        [len(events) for events in batch]    # four numbers of events
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
            raise ShapeError(f"clips have shape {self.clips.shape}; (B, T, H, W) is expected")
        count, frames, self.height, self.width = self.clips.shape
        look_at_scale(lambda number: self.clips[divmod(number, frames)], count * frames)
        times = np.asarray(t_us)
        if times.dtype.kind not in "iu" or times.shape not in ((frames,), (count, frames)):
            raise ShapeError(
                f"t_us is {times.dtype} of shape {times.shape}; integers of shape ({frames},) or "
                f"({count}, {frames}) are expected"
            )
        self.t_us = np.broadcast_to(times, (count, frames))
        if params is None or isinstance(params, EmulatorParams | str):
            params = [as_params(params)] * count
        if len(params) != count:
            raise ShapeError(f"{len(params)} parameters for {count} clips; pass one, or one each")
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
