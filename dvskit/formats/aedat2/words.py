"""The header lines and the words of AEDAT 1 and 2 files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.errors import FormatError
from dvskit.formats.aedat2 import word_kernels as k
from dvskit.formats.file_bytes import read_at

BLOCK_WORDS = 1 << 18
_PART_WORDS = 1 << 15  # fewer are not worth a thread
_MAGIC = b"#!AER-DAT"
_OLDEST = b"# This is a raw AE data file"  # version 1, before files had a version line
_LINE_BYTES = 1 << 16
_WRAP_US = 1 << 32
_CLOSE_US = 1 << 20
# A preference of jAER on the inertial measurement unit, such as "DAVIS240C.IMU.AccelScale".
_PREFERENCE = re.compile(r'key="((?:[\w.]*\.)?(?:IMU\.|Imu)(?:Accel|Gyro)Scale)" value="(\w+)"')


class Aedat2Header(NamedTuple):
    """The content of the text lines, and the byte offset of the first word.

    keys  `# key: value` lines; preferences  jAER's lines with scales, by their full names
    """

    version: int
    keys: Mapping[str, str]
    preferences: Mapping[str, str]
    end: int

    @property
    def words(self) -> np.dtype[Any]:
        """The type of a word."""
        return np.dtype([("address", ">u2" if self.version == 1 else ">u4"), ("t", ">i4")])


def _is_text(line: bytes) -> bool:
    # An address may begin with the byte of a '#', but a line of text has no control characters.
    return line.endswith(b"\n") and all(byte >= 32 or byte in b"\t\r\n" for byte in line)


def read_head(path: Path) -> Aedat2Header:
    """Read the lines of text. Raises FormatError for versions other than 1 and 2."""
    with path.open("rb") as file:
        first = file.readline(_LINE_BYTES)
        if first.startswith(_OLDEST):
            version = 1
        elif first.startswith(_MAGIC) and first[len(_MAGIC) :].strip() in (b"1.0", b"2.0"):
            version = int(first[len(_MAGIC) : len(_MAGIC) + 1])
        else:
            raise FormatError(
                f"{path}: starts with {first[:16]!r}, AEDAT 1 or 2 with {_MAGIC.decode()}1.0 or 2.0"
            )
        keys: dict[str, str] = {}
        preferences: dict[str, str] = {}
        end = file.tell()
        while (line := file.readline(_LINE_BYTES)).startswith(b"#") and _is_text(line):
            end = file.tell()
            text = line[1:].decode("latin-1").strip()
            if text.lower() == "end of ascii header":
                break
            if found := _PREFERENCE.search(text):
                preferences[found[1]] = found[2]
            # jAER's "created Wed Sep 16 12:09:08 CEST 2015" has no colons but those of its clock.
            key, colon, value = text.partition(" " if text.startswith("created ") else ":")
            if colon and line.startswith(b"# ") and key[:1].isalpha():
                keys[key] = value.strip()
    return Aedat2Header(version, keys, preferences, end)


_LITTLE = np.little_endian


class WordBlock(NamedTuple):
    """Words (n, 2) uint32, an address and a time each, in the form of AEDAT 2, and their position.

    offset  byte of the first word; width  bytes per word in the file
    """

    raw: NDArray[np.uint32]
    offset: int
    width: int

    @property
    def address(self) -> NDArray[np.uint32]:
        """Addresses as numbers."""
        return self.raw[:, 0].byteswap() if _LITTLE else self.raw[:, 0]

    @property
    def t(self) -> NDArray[np.int64]:
        """Times as stored: signed, of 32 bits."""
        stored = self.raw[:, 1].byteswap() if _LITTLE else self.raw[:, 1]
        return stored.view(np.int32).astype(np.int64)

    def offsets(self) -> NDArray[np.int64]:
        """Return the byte offset of each word."""
        return self.offset + np.arange(len(self.raw)) * self.width


def _widen(data: NDArray[np.uint8], head: Aedat2Header) -> NDArray[np.uint32]:
    """Return whole words of a file in the form of AEDAT 2."""
    if head.version == 2:
        return data.view(np.uint32).reshape(-1, 2)
    wide = np.zeros((len(data) // 6, 8), np.uint8)
    wide[:, 2:] = data.reshape(-1, 6)
    return wide.view(np.uint32)


def read_words(path: Path, head: Aedat2Header, start: int | None = None) -> Iterator[WordBlock]:
    """Yield the words from byte `start` (default: the header's end) on, without a cut one.

    A block is valid until the next one is requested.
    """
    width = head.words.itemsize
    at = head.end if start is None else start
    buffer = np.empty(BLOCK_WORDS * width, np.uint8)
    with path.open("rb", buffering=0) as file:
        while count := read_at(file, at, buffer.data) // width:
            yield WordBlock(_widen(buffer[: count * width], head), at, width)
            at += count * width


class WordScan(NamedTuple):
    """A summary of a block of words: events by part, and their stored times, if in order."""

    bounds: NDArray[np.int64]
    counts: NDArray[np.int64]
    first: int
    last: int
    ordered: bool

    @property
    def events(self) -> int:
        """The number of events."""
        return int(self.counts.sum())


def scan_words(raw: NDArray[np.uint32], other: int) -> WordScan:
    """Scan words: count the events, find first and last time and whether they are in order."""
    parts = max(1, min(thread_count(), len(raw) // _PART_WORDS))
    bounds = np.linspace(0, len(raw), parts + 1).astype(np.int64)
    rows = np.empty((parts, k.SCAN_FIELDS), np.int64)
    run_parts(lambda i: k.scan(raw[bounds[i] : bounds[i + 1]], other, rows[i]), parts)
    held = rows[rows[:, k.S_EVENTS] > 0]
    ordered = bool(held[:, k.S_ORDERED].all())
    ordered &= bool((held[1:, k.S_FIRST] >= held[:-1, k.S_LAST]).all())
    first, last = (int(held[0, k.S_FIRST]), int(held[-1, k.S_LAST])) if len(held) else (0, 0)
    return WordScan(bounds, rows[:, k.S_EVENTS], first, last, ordered)


class Clock:
    """Extends signed 32-bit times, which wrap after 71.6 minutes, to 64 bits.

    The next right time reverts a lone wrong time that looks like a wrap.
    """

    def __init__(self, longest_step_us: int, wraps: int = 0, last: int | None = None) -> None:
        self._longest = longest_step_us
        self.wraps = wraps
        self.last = last

    def count_on(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the extended times of stored ones."""
        if not len(t):
            return t
        first = int(t[0]) if self.last is None else self.last
        steps = np.diff(t, prepend=first)
        on = (steps + _WRAP_US >= 0) & (steps + _WRAP_US <= self._longest)
        back = (steps - _WRAP_US <= 0) & (steps - _WRAP_US >= -self._longest)
        wraps = self.wraps + np.cumsum(on.astype(np.int64) - back)
        self.wraps, self.last = int(wraps[-1]), int(t[-1])
        return t + (wraps << 32)

    def count_on_sure(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the extended times of stored ones, if some may be damaged.

        Only times close to a neighbor advance the clock, if most of them are.
        """
        close = np.diff(t) % _WRAP_US <= _CLOSE_US
        sure = np.concatenate([close, [False]]) | np.concatenate([[False], close])
        if 2 * np.count_nonzero(sure) < len(t):
            return self.count_on(t)
        before = self.wraps
        places = np.flatnonzero(sure)
        wraps = np.concatenate([[before], self.count_on(t[places]) - t[places] >> 32])
        return t + (wraps[np.searchsorted(places, np.arange(len(t)), "right")] << 32)

    def goes_on(self, scan: WordScan) -> int | None:
        """Advance over times in order; return the offset to add to them.

        Returns None, without advancing, if they are not in order, or may contain a wrap or one to
        be reverted.
        """
        latest = scan.first if self.last is None else self.last
        over_wrap = scan.last - latest >= _WRAP_US - self._longest
        if not scan.ordered or scan.first < latest or over_wrap:
            return None
        self.last = scan.last
        return self.wraps << 32
