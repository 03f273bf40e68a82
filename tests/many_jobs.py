"""A command for one file made one for many: it copies, and does as the file's name says."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from dvskit._files import whole_file
from dvskit.cli import _console
from dvskit.cli._many import Command
from dvskit.cli._trees import Inputs
from dvskit.errors import FormatError


@Command(
    Inputs("note", lambda path: path.suffix == ".in", lambda path: False, lambda: {".in"}), "Words."
)
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
