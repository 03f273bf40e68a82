"""Rows as output: CSV, also on standard output, as they come; arrays; or a video of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from dvskit._files import check_output, whole_file
from dvskit.cli._options import DarkOption, option
from dvskit.errors import ConfigError
from dvskit.formats import is_standard

if TYPE_CHECKING:
    from dvskit.render import FrameStyle, VideoView

VIDEOS = (".mp4", ".mkv", ".mov", ".gif")
"""Suffixes of the videos that commands with tables write, too."""


@dataclass(frozen=True, slots=True)
class FilmOptions:
    """How a video of rows looks: the options --fps, --slow and --dark."""

    fps: float | None = option("Of a video: frames a second.", shown="60, GIF 25")
    slow: float | None = option("Of a video: slow motion, 10 shows 0.1 s in a second.", shown="1")
    dark: DarkOption = True

    def check(self, out: Path) -> None:
        """Raise ConfigError for an option of videos beside another output."""
        for name in ("fps", "slow"):
            if getattr(self, name) is not None and out.suffix.lower() not in VIDEOS:
                raise ConfigError(f"{out}: --{name} applies to videos only; leave it out")

    def view(self, style: FrameStyle) -> VideoView:
        """Return the look of a video."""
        from dvskit.render import VideoView

        slow = 1.0 if self.slow is None else self.slow
        return VideoView(style=style, fps=self.fps, slow=slow, dark=self.dark)


def check_table(out: Path, what: str, suffixes: tuple[str, ...], json: bool, force: bool) -> None:
    """Raise ConfigError for another suffix, and for JSON beside a table on standard output."""
    if is_standard(out):
        if json:
            raise ConfigError(
                f"-: standard output takes the {what}; name a file, or leave out --json"
            )
        return
    if out.suffix.lower() not in suffixes:
        raise ConfigError(
            f"{out}: {what} are written as {', '.join(suffixes[:-1])} or {suffixes[-1]}, not "
            f"{out.suffix or 'nothing'}"
        )
    check_output(out, overwrite=force)


@contextmanager
def open_table(out: Path, header: str, force: bool) -> Iterator[TextIO]:
    """Open a CSV file, or standard output, and write its header."""
    if is_standard(out):
        sys.stdout.write(f"{header}\n")
        yield sys.stdout
        return
    with (
        whole_file(out, overwrite=force) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(f"{header}\n")
        yield file


def save_columns(
    blocks: Iterable[NDArray[Any]], columns: Mapping[str, str], out: Path, force: bool
) -> None:
    """Write rows as arrays (.npz): `columns` maps the name of each to a field of the rows."""
    rows = np.concatenate(list(blocks))
    arrays: dict[str, Any] = {name: rows[each] for name, each in columns.items()}
    with whole_file(out, overwrite=force) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)
