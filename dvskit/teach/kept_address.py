"""The address of a folder's page, kept for the next start, so that an open tab finds it again.

The token keeps other users of this machine, and pages of other sites, from the page. So the file
lies in the user's own cache folder, not among the clips, which may be copied or given away. A file
that others could have read or written does not count. The token is kept only with its port: another
program that has taken the port may know it from a tab.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dvskit.formats.index_cache import cache_folder

_CAREFULLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # no links, no waiting
_TOKEN = re.compile(r"[\w-]{24}", re.ASCII)


class KeptAddress(NamedTuple):
    """A port and a token; 0 and "" for none."""

    port: int = 0
    token: str = ""


def address_file(folder: Path) -> Path:
    """Return the file that keeps the address of a folder of clips."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    return cache_folder() / "teach" / f"{name}.json"


def read_address(file: Path) -> KeptAddress:
    """Return the kept address; none if the file is missing, damaged, or open to others."""
    try:
        found = os.open(file, os.O_RDONLY | _CAREFULLY)
        with os.fdopen(found, encoding="utf-8") as text:
            if not _is_private(os.fstat(found)):
                return KeptAddress()
            port, token = json.load(text)
    except (OSError, ValueError, TypeError):
        return KeptAddress()
    good = type(port) is int and 0 < port < 1 << 16 and isinstance(token, str)
    return KeptAddress(port, token) if good and _TOKEN.fullmatch(token) else KeptAddress()


def write_address(file: Path, address: KeptAddress) -> None:
    """Keep an address, readable by this user alone. Does nothing where it cannot be written."""
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "w", encoding="utf-8") as text:
            json.dump(address, text)


def _is_private(found: os.stat_result) -> bool:
    if sys.platform == "win32":  # the folder of a user is closed to others
        return True
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_uid == os.getuid()
        and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )
