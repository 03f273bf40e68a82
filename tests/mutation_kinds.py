"""Mutations of files: cuts, flipped bits, blocks lost, moved and doubled, hostile sizes and texts.

A mutation is known by its number alone: the same on all machines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Mutation(NamedTuple):
    """A mutated file.

    damaged  bool for each byte of the original: changed, removed, moved, or next to a shift
    foreign  bytes that stand in the mutated file and not, or elsewhere, in the original
    """

    kind: str
    data: bytes
    damaged: NDArray[np.bool_]
    foreign: int

    def ranges(self) -> list[tuple[int, int]]:
        """The damaged ranges of the original."""
        edges = np.flatnonzero(np.diff(self.damaged, prepend=False, append=False))
        return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


class Draft:
    """Bytes that are edited, each with its place in the original (-1: it has none)."""

    def __init__(self, data: bytes) -> None:
        self.bytes = np.frombuffer(data, np.uint8)
        self.origin = np.arange(len(data))
        self.original = len(data)

    def __len__(self) -> int:
        return len(self.bytes)

    def part(self, start: int, stop: int) -> bytes:
        return self.bytes[start:stop].tobytes()

    def replace(self, start: int, stop: int, new: bytes) -> None:
        """Put `new` in the place of [start, stop); bytes that are the same there stay."""
        fresh = np.frombuffer(new, np.uint8)
        origin = np.full(len(fresh), -1)
        if len(fresh) == stop - start:
            origin = np.where(fresh == self.bytes[start:stop], self.origin[start:stop], -1)
        self.bytes = np.concatenate([self.bytes[:start], fresh, self.bytes[stop:]])
        self.origin = np.concatenate([self.origin[:start], origin, self.origin[stop:]])

    def finish(self, kind: str) -> Mutation:
        places = np.flatnonzero(self.origin >= 0)
        kept = self.origin[places]
        damaged = np.ones(self.original, np.bool_)
        shifted = np.diff(places, prepend=-1) != np.diff(kept, prepend=-1)
        damaged[kept[~shifted]] = False
        return Mutation(kind, self.bytes.tobytes(), damaged, len(self.bytes) - len(kept))


def _length(rng: Random, most: int) -> int:
    """A number of 1..most, small ones as likely as large ones."""
    return min(max(1, most), 1 + rng.randrange(1 << rng.randrange(most.bit_length() + 1)))


def _block(draft: Draft, rng: Random) -> tuple[int, int]:
    """A stretch: of any place and length, or of whole units as disks and links lose them."""
    length = _length(rng, min(4096, len(draft) // 8))
    start = rng.randrange(len(draft) - length)
    unit = rng.choice([1, 1, 2, 4, 8, 16, 512])
    if length > unit:
        start, length = start // unit * unit, length // unit * unit
    return start, start + length


def _cut_end(draft: Draft, rng: Random) -> None:
    draft.replace(len(draft) - _length(rng, len(draft)), len(draft), b"")


def _cut_start(draft: Draft, rng: Random) -> None:
    draft.replace(0, _length(rng, len(draft) - 1), b"")


def _cut_middle(draft: Draft, rng: Random) -> None:
    draft.replace(*_block(draft, rng), b"")


def _flip_one(draft: Draft, rng: Random) -> None:
    place = rng.randrange(len(draft))
    changed = int(draft.bytes[place]) ^ 1 << rng.randrange(8)
    draft.replace(place, place + 1, bytes((changed,)))


def _flip_many(draft: Draft, rng: Random) -> None:
    for _ in range(rng.randint(2, 31)):
        _flip_one(draft, rng)


def _noise(draft: Draft, rng: Random) -> None:
    start, stop = _block(draft, rng)
    draft.replace(start, stop, rng.randbytes(stop - start))


def _zeros(draft: Draft, rng: Random) -> None:
    start, stop = _block(draft, rng)
    draft.replace(start, stop, bytes(stop - start))


def _ones(draft: Draft, rng: Random) -> None:
    start, stop = _block(draft, rng)
    draft.replace(start, stop, b"\xff" * (stop - start))


def _swap(draft: Draft, rng: Random) -> None:
    """Swap a stretch with one of the same length behind it."""
    start, stop = _block(draft, rng)
    length = min(stop - start, len(draft) - stop)
    far = stop + rng.randrange(len(draft) - stop - length + 1)
    first, second = draft.part(start, start + length), draft.part(far, far + length)
    draft.replace(start, start + length, second)
    draft.replace(far, far + length, first)


def _duplicate(draft: Draft, rng: Random) -> None:
    start, stop = _block(draft, rng)
    draft.replace(stop, stop, draft.part(start, stop))


def _insert(draft: Draft, rng: Random) -> None:
    start, stop = _block(draft, rng)
    draft.replace(start, start, rng.randbytes(stop - start))


def _hostile(draft: Draft, rng: Random) -> None:
    """Overwrite what may be a size or an offset, in either order of bytes, by an extreme one."""
    width = rng.choice([2, 4, 4, 8])
    order = rng.choice(["little", "big"])
    place = rng.randrange(rng.choice([len(draft), min(1024, len(draft))]))
    for at in range(place, min(place + 256, len(draft) - width)):
        if 0 < int.from_bytes(draft.part(at, at + width), order) <= len(draft):
            place = at
            break
    top = (1 << 8 * width) - 1
    value = rng.choice([0, 1, len(draft) & top, top >> 2, top >> 1, (top >> 1) + 1, top - 7, top])
    stop = min(len(draft), place + width)
    draft.replace(place, stop, value.to_bytes(width, order)[: stop - place])


def _head_lines(draft: Draft) -> list[tuple[int, int]]:
    """The lines of text at the start, or the first 64 bytes."""
    found = re.match(rb"(?:[\t\r -~]*\n)*", draft.part(0, 4096))
    ends = [each.end() for each in re.finditer(rb"\n", found[0] if found else b"")]
    return list(zip([0, *ends], ends, strict=False))[:200] or [(0, min(64, len(draft)))]


def _header_digits(draft: Draft, rng: Random) -> None:
    """Change digits at the start, or bytes where there are none."""
    start, stop = rng.choice(_head_lines(draft))
    digits = [at for at in range(start, stop) if 48 <= draft.bytes[at] < 58]
    for _ in range(rng.randint(1, 3)):
        place = rng.choice(digits or range(start, stop))
        new = rng.choice(b"0123456789-. ") if digits else rng.randrange(256)
        draft.replace(place, place + 1, bytes((new,)))


def _header_lines(draft: Draft, rng: Random) -> None:
    """Remove a line at the start, or double it, or make it long."""
    start, stop = rng.choice(_head_lines(draft))
    line = draft.part(start, stop)
    long = line[:-1] + line[:1] * _length(rng, 100_000) + line[-1:]
    draft.replace(start, stop, rng.choice([b"", b"", line * 2, long]))


def _magic_only(draft: Draft, rng: Random) -> None:
    """Noise behind the first bytes."""
    start = rng.choice([4, 8, 16, 64, _head_lines(draft)[-1][1]])
    draft.replace(start, len(draft), rng.randbytes(_length(rng, 8192)))


def _tail(draft: Draft, rng: Random) -> None:
    """More behind the end: noise, or the file again from somewhere on."""
    again = draft.part(rng.randrange(len(draft)), len(draft))
    more = rng.choice([rng.randbytes(_length(rng, 4096)), again, bytes(512)])
    draft.replace(len(draft), len(draft), more)


def _several(draft: Draft, rng: Random) -> None:
    for _ in range(rng.randint(2, 4)):
        if len(draft) > 64:
            rng.choice([_cut_middle, _flip_one, _noise, _zeros, _insert, _hostile])(draft, rng)


KINDS: dict[str, Callable[[Draft, Random], None]] = {
    each.__name__.strip("_"): each
    for each in (
        _cut_end, _cut_middle, _cut_start, _flip_one, _flip_many, _noise, _zeros, _ones, _swap,
        _duplicate, _insert, _hostile, _header_digits, _header_lines, _magic_only, _tail, _several,
    )
}  # fmt: skip


def mutate(data: bytes, number: int) -> Mutation:
    """Mutation `number` of a file of at least 64 bytes; the kinds take turns."""
    name, kind = list(KINDS.items())[number % len(KINDS)]
    draft = Draft(data)
    kind(draft, Random(number))
    return draft.finish(name)


# --- text: extreme numbers, lost and doubled lines, deep nesting, strange bytes -------------------

_VALUES = [
    "0", "-1", "1e308", "-1e308", "1e999", "nan", "inf", "-inf", "9999999999999999999999", "1e-320",
    '""', '"x"', "true", "[]", "[1, [2, 3]]", "{}", "null", "0x10", "1_000", "1.5.2", "00012",
    "9223372036854775808", "-9223372036854775808", "2026-01-01", "\u0661\u0662", "../../etc",
    "&a [*a]", "!!python/object:os.system", "'", "NaN", "1e5", "4294967296",
]  # fmt: skip
# What is replaced in a text, and by what: numbers, words, signs.
_PARTS = [
    (r"[-+]?\d[\d.eE+-]*", _VALUES),
    (r"[A-Za-z_]\w*", [*_VALUES, "\x00", "\ufeff"]),
    (r"[]\[{}\"'=,:#\n.]", ["", ",", "[", "]", '"', "\r", "\x00", "\udcff"]),
]


def mutate_text(data: bytes, number: int) -> bytes:
    """Return mutation `number` of a text of at least 64 bytes; every second one is of bytes."""
    if number % 2:
        return mutate(data, number // 2).data
    rng = Random(number)
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(rng.choice([1, 1, 2])):
        text = rng.choice([_part, _part, _part, _part, _lines, _long])(text, rng)
    return text.encode("utf-8", "surrogateescape")


def _part(text: str, rng: Random) -> str:
    pattern, values = rng.choice(_PARTS)
    found = list(re.finditer(pattern, text))
    if not found:
        return text + rng.choice(values)
    one = rng.choice(found)
    return text[: one.start()] + rng.choice(values) + text[one.end() :]


def _lines(text: str, rng: Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    at = rng.randrange(len(lines))
    other = rng.choice(lines)
    lines[at : at + 1] = rng.choice([[], [lines[at]] * 2, [other], [other, lines[at]], ["\n"]])
    return "".join(lines)


def _long(text: str, rng: Random) -> str:
    at = rng.randrange(len(text) + 1)
    part = rng.choice(["[", "{", "(", "a", "9", " ", "\t", '"', "[[a]]\n", "- ", "a.", "a:\n  "])
    return text[:at] + part * _length(rng, 100_000) + text[at:]
