"""A lock on a file that ends with the processes that hold it, however they end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def take_lock(path: Path) -> int | None:
    """Lock a file, made if it is missing; return its descriptor, None if it is locked already.

    Closing all copies of the descriptor, also those that child processes inherit, ends the lock
    (on Windows that of this process counts). Raises OSError.
    """
    found = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        if sys.platform == "win32":
            msvcrt.locking(found, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(found)
        return None
    return found
