"""Notes of a training on a folder: lines for the command line, with a kind for other words.

notes.json in the output holds them for other programs: {"notes": [{"kind", "text", values}]}.

few clips        of `classes` (`all`: of every class), fewer than `wanted`
one background   in `classes` (`all`: in every class)
skipped files    `count` of another kind                   unreadable files `count`, with --salvage
short of time    `used` of `total` clips; `minutes` use all
slow machine     `epochs` of `planned` were taken          long clips       only `window_s` count
not judged       `people` ([]: unknown), with `samples`, for which no time was left
start            `model` ("": new weights) and `why`: like, unlike, short, known or unread
too little time  the run ended; `minutes` are enough
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dvskit import _files
from dvskit.errors import ConfigError, one_line

_FILE = "notes.json"


class FolderNote(str):
    """A line for the command line, with its kind and values, of which other words can be made."""

    kind: str
    values: dict[str, Any]

    def __new__(cls, text: str, kind: str, **values: Any) -> Self:
        """Make a note of a line; `values` are as JSON takes them."""
        made = super().__new__(cls, text)
        made.kind, made.values = kind, values
        return made


class TooLittleTimeError(ConfigError):
    """The time of a run is too short; `minutes` are enough."""

    def __init__(self, text: str, minutes: float) -> None:
        self.minutes = minutes
        super().__init__(text)


class RunNotes:
    """Calls `say` with notes, and keeps those that have a kind in notes.json of a run's folder.

    again  whether an earlier run in the folder goes on: its notes stay
    """

    def __init__(self, folder: Path, say: Callable[[str], None], *, again: bool) -> None:
        self._folder, self._say = folder, say
        self._kept = _read(folder / _FILE) if again else []
        if not again:
            (folder / _FILE).unlink(missing_ok=True)

    def __call__(self, text: str) -> None:
        """Pass a note on, and keep it."""
        self._say(text)
        if isinstance(text, FolderNote):
            self.keep(text)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Keep a TooLittleTimeError, too."""
        try:
            yield
        except TooLittleTimeError as error:
            self.keep(FolderNote(one_line(error), "too little time", minutes=error.minutes))
            raise

    def keep(self, *notes: FolderNote) -> None:
        """Keep notes without passing them on; on disk once the run's folder exists."""
        found = [{"kind": each.kind, "text": str(each), **each.values} for each in notes]
        self._kept += [each for each in found if each not in self._kept]
        if self._folder.is_dir():
            self.write()

    def write(self) -> None:
        """Write notes.json, and make the folder if it is missing. Raises OutputError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"notes": self._kept}, indent=1, ensure_ascii=False)
        _files.write_whole(self._folder / _FILE, text, overwrite=True)


def _read(file: Path) -> list[dict[str, Any]]:
    """Return the notes in a file; [] if it is missing or damaged."""
    try:
        return list(json.loads(file.read_text("utf-8"))["notes"])
    except (OSError, ValueError, TypeError, KeyError):
        return []
