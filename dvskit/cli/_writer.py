"""One writer of tables, arrays, pages, pictures and videos, by the suffix of the output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from enum import Flag, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from dvskit._files import check_output, whole_file
from dvskit.cli import _console
from dvskit.cli._options import DarkOption, option
from dvskit.errors import ConfigError, count_of
from dvskit.formats.file_sink import is_standard

if TYPE_CHECKING:
    from dvskit.events import Source
    from dvskit.render import FrameStyle, PageReport, VideoReport, VideoView
    from dvskit.render.plots import Plot, Style
    from dvskit.render.videos import Images

_COLUMNS = {"t": "t_us", "vx": "vx_px_s", "vy": "vy_px_s"}  # names of fields with their units


class Kind(Flag):
    """The kind of an output."""

    TABLE = auto()
    ARRAYS = auto()
    PAGE = auto()
    PICTURE = auto()
    VIDEO = auto()
    FOLDER = auto()


_SUFFIXES = {
    Kind.TABLE: (".csv",),
    Kind.ARRAYS: (".npz",),
    Kind.PAGE: (".html",),
    Kind.PICTURE: (".png", ".svg", ".pdf"),
    Kind.VIDEO: (".mp4", ".mkv", ".mov", ".gif"),
    Kind.FOLDER: ("",),
}


def only_for(kinds: Kind, *names: str, **rest: Any) -> Any:
    """Return an option for some kinds of output; see `option`."""
    made = option("", *names, **rest)
    return field(default=made.default, metadata={**made.metadata, "kinds": kinds})


class OutputWriter:
    """Writes the output of a command, whose suffix chooses one of some kinds.

    what     the content, in words, plural
    options  of the command, dataclasses: some are `only_for` some kinds
    json     whether the result is printed as JSON
    bars     show the progress of the command

    Raises ConfigError for another suffix, for an option of other kinds, and for JSON beside a table
    on standard output.
    """

    def __init__(
        self, path: Path, what: str, kinds: Kind, *options: Any, force: bool = False,
        json: bool = False,
    ) -> None:  # fmt: skip
        self.path, self.force, self.json = path, force, json
        self.bars, standard = _console.Bars(), is_standard(path)
        if standard and json:
            raise ConfigError(
                f"-: standard output takes the {what}; name a file, or leave out --json"
            )
        suffix = ".csv" if standard else path.suffix.lower()
        known = {suffix: kind for kind in kinds for suffix in _SUFFIXES[kind]}
        if suffix not in known:
            *most, last = [each or "a folder (no suffix)" for each in known]
            place = "to standard output" if standard else suffix or "nothing"
            raise ConfigError(
                f"{path}: {what} are written as {', '.join(most)} or {last}, not {place}"
            )
        self.kind = known[suffix]
        for group in options:
            self._check_options(group)

    def _check_options(self, group: Any) -> None:
        for each in fields(group):
            kinds = each.metadata.get("kinds", self.kind)
            if self.kind not in kinds and getattr(group, each.name) != each.default:
                names = [str(kind.name).lower() for kind in kinds if kind is not Kind.FOLDER]
                words, name = "s and ".join(names), each.name.replace("_", "-")
                raise ConfigError(f"{self.path}: --{name} applies to {words}s only; leave it out")

    def check(self) -> None:
        """Raise OutputError if the output cannot be written, or exists and is not replaced."""
        if self.kind is not Kind.FOLDER and not is_standard(self.path):
            check_output(self.path, overwrite=self.force)

    def progress(
        self, done: float, unit: str, remark: str = "", total: float | None = None
    ) -> None:
        """Show the amount done, in a bar for each unit."""
        self.bars.show(f"{unit} of {self.path.name}", total, unit, done, remark)

    def table(self, blocks: Iterable[NDArray[Any]], decimals: str = ".2f", **more: Any) -> None:
        """Write structured rows: CSV, each block when it is there, or their fields as arrays.

        decimals  the format of floats in CSV
        more      other arrays
        """
        if self.kind is Kind.ARRAYS:
            rows = np.concatenate(list(blocks))
            more |= {_COLUMNS.get(name, name): rows[name] for name in rows.dtype.names or ()}
            # Of a path zipfile tries two modes, and a pipe ends.
            with whole_file(self.path, overwrite=self.force) as made, made.open("wb") as file:
                np.savez(file, **more)
            return
        line = ""
        with self._text() as text:
            for rows in blocks:
                if not line:
                    names = rows.dtype.names or ()
                    text.write(",".join(_COLUMNS.get(name, name) for name in names) + "\n")
                    floats = (rows.dtype[name].kind == "f" for name in names)
                    line = ",".join(f"%{decimals}" if each else "%d" for each in floats) + "\n"
                text.writelines(line % row for row in rows.tolist())
                text.flush()

    @contextmanager
    def _text(self) -> Iterator[TextIO]:
        if is_standard(self.path):
            yield sys.stdout
            return
        with (
            whole_file(self.path, overwrite=self.force) as made,
            made.open("w", encoding="utf-8", newline="\n") as text,
        ):
            yield text

    def picture(self, figure: Plot) -> None:
        """Write a plot."""
        from dvskit.render import plots

        plots.save(figure, self.path, overwrite=self.force)
        _console.say(f"{self.path}: written")

    def video(
        self, events: Source, look: VideoLook, *, style: FrameStyle, beside: Images | None = None,
        on_frame: Callable[[int, int], None] | None = None, **more: Any,
    ) -> VideoReport:  # fmt: skip
        """Write a video, or a folder of PNG files; `more` are other fields of its VideoView."""
        from dvskit.render import video

        return video(
            events, self.path, view=look.view(style=style, **more), beside=beside,
            overwrite=self.force, on_frame=on_frame,
        )  # fmt: skip

    def page(self, shown: Any, *, title: str, state: str = "", dark: bool = True) -> PageReport:
        """Write a page of ShownEvents, or several of them; note events that it lacks.

        state  the initial view, in the format of its addresses
        """
        from dvskit.render import page

        state = "&".join(filter(None, (state, "" if dark else "theme=light")))
        report = page(shown, self.path, title=title, overwrite=self.force, state=state)
        self.note_thinned(report.kept, report.total)
        return report

    def note_thinned(self, kept: int, total: int, things: str = "event") -> None:
        """Print a note if not all are shown."""
        if kept < total:
            _console.note(
                f"{self.path}: shows {kept:,} of {count_of(total, things)}, evenly thinned"
            )


_FILM = Kind.VIDEO | Kind.FOLDER


@dataclass(frozen=True, slots=True)
class VideoLook:
    """How a video looks.

    fps    Of a video: frames a second.
    slow   Of a video: slow motion; 1000 shows a millisecond in a second.
    scale  Of a video: draw each pixel of the sensor as N x N pixels.
    """

    fps: float | None = only_for(_FILM, shown="60, GIF 25")
    slow: float = only_for(_FILM, default=1.0)
    scale: int | None = only_for(_FILM, shown="more for small sensors")
    dark: DarkOption = True

    def view(self, **more: Any) -> VideoView:
        """Return the options for `dvskit.render.video`, with other ones. Raises ConfigError."""
        from dvskit.render import VideoView

        return VideoView(fps=self.fps, slow=self.slow, scale=self.scale, dark=self.dark, **more)


@dataclass(frozen=True, slots=True)
class PlotLook:
    """How a plot looks.

    dark   Light on dark, or dark on light.
    width  Width in mm: 88 for a column, 180 for a page; labels need about 60.
    """

    dark: bool = only_for(Kind.PICTURE, "--dark/--bright", default=False)
    width: float = only_for(Kind.PICTURE, default=88.0)

    def style(self) -> Style:
        """Return the style. Raises ConfigError."""
        from dvskit.render.plots import Style

        return Style(dark=self.dark, width_mm=self.width)
