"""A command on many files: it copies them, and does as their names say."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from dvskit._files import whole_file
from dvskit.cli import _console
from dvskit.cli._batch import Crew, write_events
from dvskit.cli._inputs import Inputs, Paths
from dvskit.errors import FormatError

NOTES = Inputs("note", lambda path: path.suffix == ".in", lambda path: False, lambda: {".in"})


def copy_all(
    *words: str, jobs: int | None = 1, cluster: str | None = None, to: str = ".out",
    force: bool = False, times: int = 1,
) -> None:  # fmt: skip
    """Copy the files of a folder into another one."""
    paths = Paths.from_words(list(words), None, NOTES, camera=None, usage="name two folders")
    given = {"to": to, "force": force, "times": times}
    write_events(copy, paths, Crew(jobs, cluster), given)


def copy(file: Path, out: Path, to: str | None = None, force: bool = False, times: int = 1) -> int:
    """Copy a file of one event some times; its name says what goes wrong."""
    with whole_file(out, overwrite=force) as partial:
        partial.write_bytes(file.read_bytes() * times)
        _console.say("is said by the command for all")
        _console.note(f"{out}: was copied")
        if "nap" in file.name:
            time.sleep(0.2)
        if "dies" in file.name:
            os._exit(7)
        if "full" in file.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        if "bug" in file.name:
            raise KeyError("a mistake")
        if "broken" in file.name:
            raise FormatError(f"{file}: is broken")
        if "slow" in file.name:
            with _console.progress(file.name, 1000, "steps") as show:
                for step in range(1000):
                    time.sleep(0.02)
                    show(step + 1)
    return times
