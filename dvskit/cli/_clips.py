"""Open, emulate and show videos and recordings on the command line."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import numpy as np
import typer
from numpy.typing import NDArray

from dvskit._files import check_output, temporary_folder
from dvskit.cli import _console
from dvskit.cli._console import describe_us
from dvskit.cli._options import DarkOption, Reading, option
from dvskit.errors import ConfigError, FormatError, VideoError, count_of
from dvskit.events import Events, ReadableSource, Size, Source
from dvskit.formats import Damage, Recording, RecordingPart, is_standard
from dvskit.formats.addresses import ADDRESSES
from dvskit.formats.found import PathKind, identify_named
from dvskit.formats.recording import ReadOptions
from dvskit.formats.storage import Storage
from dvskit.streams import Labels

if TYPE_CHECKING:
    from dvskit.datasets import Emulation
    from dvskit.models import Model
    from dvskit.render.plots import Plot, Style
    from dvskit.video import FrameSource

_IN_MEMORY = 1 << 23  # events of an emulated clip, 13 bytes each; more are mapped from a file
_MAPPED = 1 << 20  # least events mapped at once


class LightName(Enum):
    """How pixel values are read."""

    luma = "luma"
    linear = "linear"


LightOption = Annotated[
    LightName | None,
    typer.Option(
        "--light",
        help="What the codes of pixels stand for: linear, the light that they encode, or luma, the "
        "codes themselves, as v2e takes them.",
        show_default="linear; luma with the preset v2e",
    ),
]


class ClockName(Enum):
    """The position of time 0 in a video."""

    first = "first"
    container = "container"


ClockOption = Annotated[
    ClockName,
    typer.Option(
        "--time",
        help="Time 0 of a video: first, its first frame, or container, the zero of its file.",
    ),
]
FpsOfVideo = Annotated[
    float | None,
    typer.Option(
        "--fps", help="Frames a second of the video or folder.",
        show_default="its own time stamps",
    ),
]  # fmt: skip


SHOWN_FILE = (
    f"An event file or its folder, - for standard input, or an address ({ADDRESSES}). A video or a "
    "folder of images is emulated first."
)
ShownFile = Annotated[Path, typer.Argument(help=SHOWN_FILE, show_default=False)]


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
    """Yield the notes on a clip after a pass: its properties and its damage."""
    yield from frames.notes
    start_us = frames.container_start_us
    if start_us:
        yield f"its container shows the first frame at {describe_us(start_us)} (--time container)"
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

    def __init__(self, file: Path, size: Size, blocks: list[Events], notes: list[str]) -> None:
        super().__init__(file, ReadOptions(), size, "frames")
        self._kept = blocks
        self.assumptions += notes

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        yield from self._kept

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
        blocks = list(_bounded(source, lambda count: show(source.frames_done, count)))
    kind = "a folder of images" if file.is_dir() else "a video"
    notes = [
        f"is {kind}: {count_of(source.frames_done, 'frame')} emulated for {seen}",
        *source.notes,
    ]
    notes += [str(frames.damage)] if frames.damage else []
    return _EmulatedClip(file, source.size, blocks, notes)


def _bounded(source: Source, show: Callable[[str], None]) -> Iterator[Events]:
    """Yield the blocks of a source to keep: beyond `_IN_MEMORY` events they are mapped from a file.

    The file has no name and is removed when its events are no longer used.
    """
    count, waiting = 0, []
    with tempfile.TemporaryFile() as file:
        for block in source:
            count += len(block)
            show(count_of(count, "event"))
            if count <= _IN_MEMORY:
                yield block
                continue
            waiting.append(block)
            if sum(map(len, waiting)) >= _MAPPED:
                yield _mapped(Events.concatenate(waiting), file)
                waiting = []
        yield from waiting


def _mapped(events: Events, file: BinaryIO) -> Events:
    """Append events to a file, and return them mapped from it."""
    columns: list[NDArray[Any]] = []
    for column in (events.t, events.x, events.y, events.p):
        offset = file.seek(-file.tell() % 8, os.SEEK_CUR)  # aligned for compiled loops
        file.write(column.data)
        file.flush()
        columns.append(np.asarray(np.memmap(file, column.dtype, "r", offset, column.shape)))
    t, x, y, p = columns
    return Events.from_checked(t, x, y, p, events.size)


def forget_clips() -> None:
    """Free the emulated clips."""
    _emulated.cache_clear()


class CountedEvents(ReadableSource):
    """The events of a source, with their count and times in the latest pass.

    file  raise FormatError, with its name, after a pass without events
    show  called with the number of events so far
    """

    def __init__(
        self,
        source: Source,
        file: Path | None = None,
        show: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.source, self.size = source, source.size
        self._file, self._show = file, show
        self.count = 0
        self.first_us = self.last_us = 0

    def __iter__(self) -> Iterator[Events]:
        self.count = 0
        for block in self.source:
            if len(block):
                self.first_us = self.first_us if self.count else int(block.t[0])
                self.last_us = int(block.t[-1])
            self.count += len(block)
            self._show(self.count)
            yield block
        if self._file is not None and not self.count:
            where = " from --start to --stop" if isinstance(self.source, RecordingPart) else ""
            raise FormatError(f"{self._file}: there are no events to show{where}")

    @property
    def words(self) -> str:
        span = describe_us(self.last_us - self.first_us + 1 if self.count else 0)
        return f"{count_of(self.count, 'event')} in {span} on {self.size}"


class UntilStopped(ReadableSource):
    """The events of a source until its end or Ctrl-C; `stopped` is whether it was Ctrl-C.

    stop  of `_console.stoppable`
    most  cut blocks to this many events, so that slow work on them ends soon

    Raises KeyboardInterrupt after Ctrl-C before the first event: there is no output to complete.
    """

    def __init__(self, source: Source, stop: _console.Stop, most: int | None = None) -> None:
        self.source, self.size, self.stopped = source, source.size, False
        self._stop, self._most = stop, most

    def __iter__(self) -> Iterator[Events]:
        seen = False
        for block in self._stop.until(self.source):
            for start in range(0, len(block), self._most or max(len(block), 1)):
                seen = True
                yield block[start : start + self._most] if self._most else block
                if self._stop.asked:
                    break
        self.stopped = self._stop.asked
        if self.stopped and not seen:
            raise KeyboardInterrupt


def note_assumptions(file: Path, recording: Recording, part: Recording | RecordingPart) -> None:
    """Print the assumptions about a recording, and the losses in a part of it."""
    name = recording.path if recording.live else file  # a Path merges the slashes of udp://
    for text in recording.assumptions:
        _console.note(f"{name}: {text}")
    if part.damage:
        _console.note(f"{name}: {part.damage}")


def check_picture(out: Path, force: bool) -> None:
    """Raise the errors of a picture's output before anything is read."""
    from dvskit.render._numbers import check_suffix
    from dvskit.render.plots.style import STILL_SUFFIXES

    check_output(check_suffix(out, STILL_SUFFIXES, "a plot"), overwrite=force)


@dataclass(frozen=True, slots=True)
class PlotPage:
    """The ground and the width of a plot: the options --dark and --width."""

    dark: DarkOption = False
    width: float = option(
        "Width in mm: 88 for a column, 180 for a page; labels need about 60.", default=88.0
    )

    def style(self) -> Style:
        """Return the style. Raises ConfigError."""
        from dvskit.render.plots import Style

        return Style(dark=self.dark, width_mm=self.width)


def save_picture(figure: Plot, out: Path, force: bool) -> None:
    from dvskit.render import plots

    plots.save(figure, out, overwrite=force)
    _console.say(f"{out}: written")
