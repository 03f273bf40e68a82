"""`dvskit sample`: a folder of recordings to try the other commands on."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from dvskit.cli import _console
from dvskit.cli._options import Force, argument
from dvskit.errors import ConfigError


def sample(folder: Path = argument(default=Path("dvskit-sample")), force: Force = False) -> None:
    """Write a folder of drawn videos, recordings and pictures to try the other commands on.

    folder  The folder to make.
    """
    if str(folder) == "-":
        raise ConfigError("-: the sample is a folder of files; name a folder")
    begun = time.perf_counter()
    _console.announce_compiling()
    from dvskit.emulator.sample_folder import write_sample_folder

    parts = write_sample_folder(folder, overwrite=force)
    wide = max(len(part.name) for part in parts)
    for part in parts:
        print(f"{part.name:{wide}}  {part.bytes / 1e6:5.2f} MB  {part.content}")
    total, seconds = sum(part.bytes for part in parts) / 1e6, time.perf_counter() - begun
    print(f"{folder}: {total:.1f} MB in {seconds:.1f} s. Next:")
    print(f"  cd {shlex.quote(str(folder))}")
    print("  dvskit info events.raw")
    print("  dvskit cloud events.raw -o events.html")
    print("  dvskit train gestures -o runs/mine --minutes 2")
