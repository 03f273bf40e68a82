"""Texts beside a recording or a folder of images: their lines, exact numbers, and what is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from dvskit._files import read_regular
from dvskit.errors import FormatError, VideoError

_DECIMAL = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,2}))?", re.ASCII)
_LONGEST = 100  # characters of a number
_MOST = 1 << 62

Item = TypeVar("Item")


def scaled(text: str, power: int) -> int | None:
    """Return a decimal number times 10^power, rounded to the nearest, halves away from 0.

    Read digit by digit, so that 1468939993.067416019 s is 1468939993067416 us; None for what is no
    such number, and from 2^62 on.
    """
    found = _DECIMAL.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    sign, whole, part, exponent = found.groups(default="")
    if not whole + part:
        return None
    value, shift = int(whole + part), power - len(part) + int(exponent or 0)
    if shift >= 0:
        value *= 10**shift
    else:
        value = (2 * value + 10**-shift) // (2 * 10**-shift)
    return None if value >= _MOST else -value if sign == "-" else value


class SideText:
    """The lines of a text that are neither empty nor comments (#), with their numbers from 1.

    comments  those ahead of the first line, without the mark: they may name the columns

    `lose` raises `error` in strict mode, with `mend`, and else counts: `lost` tells of what.
    """

    def __init__(
        self, path: Path, *, strict: bool = True,
        error: type[FormatError] | type[VideoError] = FormatError,
        mend: str = "correct the line or remove it",
    ) -> None:  # fmt: skip
        self.path, self.strict = path, strict
        self.comments: list[str] = []
        self._error, self._mend = error, mend
        self._first, self._count = "", 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        try:
            data = read_regular(self.path)
        except OSError as error:
            raise self._error(f"{self.path}: cannot be read: {error.strerror or error}") from error
        started = False
        for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            try:
                line = raw.decode("utf-8").strip()
            except UnicodeDecodeError:
                self.lose(number, "is no text")
                continue
            if line.startswith("#"):
                self.comments += [] if started else [line.lstrip("# \t")]
            elif line:
                started = True
                yield number, line

    def lose(self, number: int, problem: str) -> None:
        """Leave out a line. Raises in strict mode."""
        if self.strict:
            raise self._error(f"{self.path}: line {number} {problem}; {self._mend}")
        self._first = self._first or f"line {number} {problem}"
        self._count += 1

    def in_order(self, found: list[tuple[int, int, Item]]) -> list[tuple[int, Item]]:
        """Return times and what stands beside them, of (line number, time, item) in that order.

        The lines of times that run back are lost.
        """
        for (_, last, _), (number, time, _) in pairwise(found):
            if self.strict and time < last:
                self.lose(number, f"runs back in time from {last} to {time} us")
        from dvskit.formats.order_kernels import longest_in_order  # numba loads slowly

        kept = longest_in_order(np.array([time for _, time, _ in found], np.int64), -_MOST)
        for place in np.flatnonzero(~kept).tolist():
            number, time, _ = found[place]
            self.lose(number, f"is out of the order of time, at {time} us")
        return [(time, item) for (_, time, item), good in zip(found, kept, strict=True) if good]

    @property
    def lost(self) -> str | None:
        """How many lines were left out, and why the first; None if none was."""
        if not self._count:
            return None
        return f"{self.path.name}: {self._count:,} lines left out; {self._first}"
