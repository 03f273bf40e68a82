"""Videos and folders of images as inputs: their options, and their emulated events."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dvskit._files import temporary_folder
from dvskit.cli import _console
from dvskit.cli._console import describe_us
from dvskit.cli._options import Reading
from dvskit.errors import ConfigError, VideoError, count_of
from dvskit.events import Events, Size, Source
from dvskit.formats import Damage, Recording
from dvskit.formats.file_sink import is_standard
from dvskit.formats.found import PathKind, identify_named
from dvskit.formats.recording import BLOCK_EVENTS, ReadOptions
from dvskit.formats.storage import Storage
from dvskit.streams import Labels

if TYPE_CHECKING:
    from dvskit.datasets import Emulation
    from dvskit.models import Model
    from dvskit.video import FrameSource


class ClockName(Enum):
    """The position of time 0 in a video."""

    first = "first"
    container = "container"


@dataclass(frozen=True, slots=True)
class ClipOptions:
    """How a video is opened: the options --fps, --time and --salvage."""

    fps: float | None = None
    time: ClockName = ClockName.first
    salvage: bool = False

    def open(self, path: Path) -> FrameSource:
        """Open a video, a folder of images, or a video on standard input. Raises VideoError."""
        from dvskit.video import open_frames

        return open_frames(
            piped_video() if is_standard(path) else path,
            fps=self.fps,
            clock=self.time.value,
            strict=not self.salvage,
        )


def piped_video() -> Path:
    """Copy standard input to a temporary file, because video readers need to seek.

    It is removed when the process ends. Raises ConfigError for a terminal.
    """
    if sys.stdin.isatty():
        raise ConfigError("-: standard input is a terminal; name a video, or pipe one")
    path = Path(_temporary_folder().name) / "standard-input"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    return path


@cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed when the process ends."""
    return temporary_folder()


def clip_notes(frames: FrameSource) -> Iterator[str]:
    """Yield the notes on a clip after a pass: its properties, its losses and its damage."""
    from dvskit.video.camera import CameraFrames

    yield from frames.notes
    start_us = frames.container_start_us
    if start_us:
        yield f"its container shows the first frame at {describe_us(start_us)} (--time container)"
    if isinstance(frames, CameraFrames) and frames.dropped:
        count = count_of(frames.dropped, "frame")
        yield f"left out: {count}, faster than the work on them"
    if frames.damage:
        yield str(frames.damage)


def find_clip(file: Path, reading: Reading) -> FrameSource | None:
    """Return the clip of a path: a video or a folder of images; None for anything else.

    With --from, which names an event format, it is None.
    Raises VideoError for a clip that cannot be opened.
    """
    if reading.from_ is not None or not (file.is_file() or file.is_dir()):
        return None
    kind = identify_named(file)
    if kind in (PathKind.RECORDING, PathKind.DEPTH_CLIP, PathKind.FOLDER):
        return None
    from dvskit.video import open_frames

    try:
        return open_frames(file, strict=not reading.salvage)
    except VideoError:
        if kind in (PathKind.VIDEO, PathKind.IMAGE_FOLDER):
            raise
        return None


class _EmulatedClip(Recording):
    """The events of an emulated clip, kept for several passes."""

    format = "emulated"

    def __init__(self, file: Path, events: Events, notes: list[str]) -> None:
        super().__init__(file, ReadOptions(), events.sensor_size, "frames")
        self._events = events
        self.assumptions += notes

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        for start in range(0, len(self._events), BLOCK_EVENTS):
            yield self._events[start : start + BLOCK_EVENTS]

    def labels(self) -> Labels:
        """Return no labels: those in a file next to the clip are not of its events."""
        return Labels.empty()


def open_shown(file: Path, reading: Reading, model: Model | None = None) -> Recording:
    """Open a recording by `reading`; for a clip, the events of an ideal sensor.

    `size` is then the sensor's, and the frames are scaled to it. For a model, clips are emulated as
    its training clips were, unless `size` is given.
    """
    if find_clip(file, reading) is None:
        return reading.open(file)
    how: Emulation | Size | None = None
    if reading.size is not None:
        how = reading.size
    elif model is not None and "emulation" in model.about:
        how = model.emulation
    return _emulated(file, how, reading.salvage)


@cache
def _emulated(file: Path, how: Emulation | Size | None, salvage: bool) -> _EmulatedClip:
    """Emulate a clip.

    how  the size of the sensor, None for the clip's own; or the whole emulation
    """
    from dvskit.emulator import EmulatedSource, Emulator
    from dvskit.video import open_frames, resized

    seen, emulator = "an ideal sensor; dvskit emulate has others", Emulator()
    if how is None or isinstance(how, Size):
        frames = resized(open_frames(file, strict=not salvage), how)
    else:
        from dvskit.datasets.files import frames_for, known_kind, open_clip
        from dvskit.emulator.params import as_params
        from dvskit.formats.content import own_seed

        frames = frames_for(open_clip(file, how, strict=not salvage), how)
        seen = "the sensor of the model's clips"
        seed = own_seed(how.seed, known_kind(file).content(file))
        emulator = Emulator(as_params(how.params), seed)
    source = EmulatedSource(frames, emulator, frames.size)
    with _console.progress(f"emulating {file.name}", source.frame_count, "frames") as show:
        events = _mapped(source, lambda count: show(source.frames_done, count_of(count, "event")))
    kind = "a folder of images" if file.is_dir() else "a video"
    notes = [
        f"is {kind}: {count_of(source.frames_done, 'frame')} emulated for {seen}",
        *source.notes,
    ]
    notes += [str(frames.damage)] if frames.damage else []
    return _EmulatedClip(file, events, notes)


def _mapped(source: Source, show: Callable[[int], None]) -> Events:
    """Return the events of a source, mapped from files without names."""
    count, found = 0, Events.empty(source.size)
    with ExitStack() as stack:
        files = {name: stack.enter_context(tempfile.TemporaryFile()) for name in "txyp"}
        for block in source:
            for name, file in files.items():
                file.write(getattr(block, name).data)
            count += len(block)
            show(count)
        if not count:  # an empty file cannot be mapped
            return found
        columns = {
            name: np.asarray(np.memmap(file, getattr(found, name).dtype, "r"))
            for name, file in files.items()
        }
    return Events.from_checked(**columns, size=source.size)


def forget_clips() -> None:
    """Free the emulated clips."""
    _emulated.cache_clear()
