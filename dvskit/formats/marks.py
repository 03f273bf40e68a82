"""Whether the first bytes of a file are of a format, for the table."""

from __future__ import annotations

from collections.abc import Callable
from operator import methodcaller


def starts_with(*magic: bytes) -> Callable[[bytes], bool]:
    """Return a function that tests for any of these beginnings."""
    return methodcaller("startswith", magic)


def never(head: bytes) -> bool:
    """Never match; another row detects this content."""
    return False


def raw_header_says(version: str, name: str) -> Callable[[bytes], bool]:
    """Return a function that tests for a RAW header of an EVT version."""

    def recognises(head: bytes) -> bool:
        if not head.startswith(b"%"):
            return False
        lines = []
        for line in head.split(b"\n"):
            if not line.startswith(b"%"):
                break
            lines.append(line[1:].strip().decode("latin-1"))
        if any(line.partition(" ")[0] == "format" for line in lines):
            return any(
                line.partition(" ")[2].partition(";")[0].strip().upper() == name
                for line in lines
                if line.startswith("format ")
            )
        return any(line == f"evt {version}" for line in lines)

    return recognises


def is_dat(head: bytes) -> bool:
    """Return whether a header is that of a DAT file of events."""
    if not head.startswith(b"%"):
        return False
    at = 0
    lines = []
    while head.startswith(b"%", at):
        stop = head.find(b"\n", at)
        if stop < 0:
            return False
        lines.append(head[at + 1 : stop].strip())
        at = stop + 1
    if any(line.startswith((b"evt ", b"format ")) for line in lines):
        return False
    named = any(line.startswith(b"Data file containing") for line in lines)
    return named or (bool(lines) and head[at : at + 2] in (b"\x00\x08", b"\x0c\x08", b"\x0e\x08"))
