"""What commands that show recordings share: clips, which are emulated first; words; plots."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.cli._options import Reading, size_from, temporary_folder
from dvskit.errors import FormatError, UnknownFormatError, VideoError, count_of
from dvskit.events import Events, ReadableSource, Size
from dvskit.formats import Recording, RecordingPart, find_format, open_events, open_sink
from dvskit.formats.table import VIDEO_SUFFIXES, file_of_events

if TYPE_CHECKING:
    from dvskit.datasets import Emulation
    from dvskit.render.plots import Plot
    from dvskit.training import Model
    from dvskit.video import FrameSource

ShownFile = Annotated[
    Path,
    typer.Argument(
        help="An event file or its folder, - for standard input, or udp://HOST:PORT; a video or a "
        "folder of images is emulated first.",
        show_default=False,
    ),
]


def find_clip(file: Path, reading: Reading) -> FrameSource | None:
    """Return the clip that a path is: a video or a folder of images; None for what is neither.

    What --from names a format of is none.
    Raises VideoError for a clip that cannot be opened.
    """
    if reading.from_ is not None:
        return None
    if file.is_dir():
        if file_of_events(file) != file or not has_images(file):
            return None
    elif not file.is_file() or _is_known(file):
        return None
    from dvskit.video import open_frames

    try:
        return open_frames(file, strict=not reading.salvage)
    except VideoError:
        if file.is_dir() or file.suffix.lower() in VIDEO_SUFFIXES:
            raise
        return None


def _is_known(file: Path) -> bool:
    """Tell whether a file is of events, or cannot be read at all."""
    try:
        find_format(file)
    except UnknownFormatError:
        return False
    except (OSError, VideoError):
        return True
    return True


def has_images(folder: Path) -> bool:
    """Tell whether a folder holds images, or a list of them."""
    from dvskit.formats.image_list import find_images, images_in

    try:
        return bool(images_in(folder) or find_images(folder).images)
    except VideoError:
        return False


def open_shown(file: Path, reading: Reading, model: Model | None = None) -> Recording:
    """Open a recording as `reading` says; of a clip, the events that an ideal sensor sees.

    They are kept in a temporary file until the command ends; `size` is then the sensor's, to which
    the frames are scaled. Where a model is to decide on them, they are emulated as it says that the
    clips were which it learned from, unless `size` is given.
    """
    size, salvage = reading.size, reading.salvage
    if find_clip(file, reading) is None:
        return reading.open(file)
    if size is None and model is not None and "emulation" in model.about:
        path, notes = _emulated(file, model.emulation, salvage)
    else:
        path, notes = _emulated(file, None if size is None else size_from(size), salvage)
    recording = open_events(path)
    recording.assumptions[:0] = notes
    return recording


@cache
def _emulated(
    file: Path, how: Emulation | Size | None, salvage: bool
) -> tuple[Path, tuple[str, ...]]:
    """Emulate a clip into a file; return it and what there is to say.

    how  of which size the sensor is, None for the clip's own; or all about it
    """
    from dvskit.emulator import EmulatedSource, Emulator
    from dvskit.video import open_frames, resized

    seen, emulator = "an ideal sensor; dvskit emulate has others", Emulator()
    if how is None or isinstance(how, Size):
        frames = resized(open_frames(file, strict=not salvage), how)
    else:
        from dvskit.datasets.clips import frames_for, open_clip
        from dvskit.datasets.kinds import clip_seed
        from dvskit.emulator.params import as_params

        frames = frames_for(open_clip(file, how, strict=not salvage), how)
        seen = "the sensor of the model's clips"
        emulator = Emulator(as_params(how.params), clip_seed(file, how))
    source = EmulatedSource(frames, emulator, frames.size)
    path = Path(tempfile.mkdtemp(dir=temporary_folder().name)) / f"{file.stem}.npz"
    with (
        open_sink(path, source.size) as sink,
        _console.progress(f"emulating {file.name}", source.frame_count, "frames") as show,
    ):
        for block in source:
            sink.write(block)
            show(source.frames_done, f"{sink.count:,} events")
    kind = "a folder of images" if file.is_dir() else "a video"
    notes = (
        f"is {kind}: {count_of(source.frames_done, 'frame')} emulated for {seen}",
        *source.notes,
    )
    return path, (*notes, str(frames.damage)) if frames.damage else notes


class WithEvents(ReadableSource):
    """A recording, or a part of it, to be shown: it raises FormatError where it has no events."""

    def __init__(self, part: Recording | RecordingPart) -> None:
        self.source, self.size = part, part.size

    def __iter__(self) -> Iterator[Events]:
        some = False
        for block in self.source:
            some = some or len(block) > 0
            yield block
        if not some:
            part = self.source
            path, where = (
                (part.recording.path, " from --start to --stop")
                if isinstance(part, RecordingPart)
                else (part.path, "")
            )
            raise FormatError(f"{path}: there are no events to show{where}")


def say_of(file: Path, recording: Recording, part: Recording | RecordingPart) -> None:
    """Say what was taken for granted of a recording, and what was lost of a part of it."""
    for text in recording.assumptions:
        _console.note(f"{file}: {text}")
    if part.damage:
        _console.note(f"{file}: {part.damage}")


def check_picture(out: Path, force: bool) -> None:
    """Raise what is wrong with a picture's file, before anything is read."""
    from dvskit.render.plots.style import check_suffix

    check_output(check_suffix(out), overwrite=force)


def save_picture(figure: Plot, out: Path, force: bool) -> None:
    """Write a plot, and say so."""
    from dvskit.render import plots

    plots.save(figure, out, overwrite=force)
    _console.say(f"{out}: written")
