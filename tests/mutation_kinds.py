"""Mutations of files: cuts, flipped bits, blocks lost, moved and doubled, hostile sizes.

A mutation is known by its number alone: the same on all machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Dice:
    """Numbers by chance that are the same on all machines and with all versions (splitmix64)."""

    def __init__(self, seed: int) -> None:
        self._state = seed * 0xD1342543DE82EF95 & (1 << 64) - 1

    def next(self) -> int:
        self._state = self._state + 0x9E3779B97F4A7C15 & (1 << 64) - 1
        z = self._state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
        z = (z ^ z >> 27) * 0x94D049BB133111EB & (1 << 64) - 1
        return z ^ z >> 31

    def below(self, limit: int) -> int:
        """A number of 0..limit-1; 0 where limit < 1."""
        return self.next() % max(1, limit)

    def length(self, most: int) -> int:
        """A number of 1..most, small ones as likely as large ones."""
        return min(max(1, most), 1 + self.below(1 << self.below(max(1, most).bit_length() + 1)))

    def bytes(self, count: int) -> bytes:
        return b"".join(self.next().to_bytes(8, "little") for _ in range(-(-count // 8)))[:count]

    def pick(self, choices: list[Any]) -> Any:
        return choices[self.below(len(choices))]


class Mutation(NamedTuple):
    """A mutated file.

    damaged  bool for each byte of the original: changed, removed or moved
    shifted  offsets in the original where bytes came or went ahead
    foreign  bytes that stand in the mutated file and not, or elsewhere, in the original
    """

    number: int
    kind: str
    data: bytes
    damaged: NDArray[np.bool_]
    shifted: NDArray[np.int64]
    foreign: int

    def ranges(self) -> list[tuple[int, int]]:
        """The damaged ranges of the original."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self.damaged, [False]])))
        return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


class Draft:
    """Bytes that are edited, each with its place in the original (-1: it has none)."""

    def __init__(self, data: bytes) -> None:
        self.bytes = np.frombuffer(data, np.uint8)
        self.origin = np.arange(len(data))
        self.original = len(data)

    def __len__(self) -> int:
        return len(self.bytes)

    def replace(self, start: int, stop: int, new: bytes) -> None:
        """Put `new` in the place of [start, stop); bytes that are the same there stay."""
        fresh = np.frombuffer(new, np.uint8)
        origin = np.full(len(fresh), -1)
        if len(fresh) == stop - start:
            origin = np.where(fresh == self.bytes[start:stop], self.origin[start:stop], -1)
        self.bytes = np.concatenate([self.bytes[:start], fresh, self.bytes[stop:]])
        self.origin = np.concatenate([self.origin[:start], origin, self.origin[stop:]])

    def swap(self, a: int, b: int, length: int) -> None:
        """Swap two stretches; they must not overlap."""
        first, second = self.bytes[a : a + length].tobytes(), self.bytes[b : b + length].tobytes()
        self.replace(a, a + length, second)
        self.replace(b, b + length, first)

    def finish(self, number: int, kind: str) -> Mutation:
        places = np.flatnonzero(self.origin >= 0)
        kept = self.origin[places]
        damaged = np.ones(self.original, np.bool_)
        damaged[kept] = False
        steps = np.diff(np.concatenate([[-1], places, [len(self.bytes)]]))
        meant = np.diff(np.concatenate([[-1], kept, [self.original]]))
        shifted = np.concatenate([kept, [self.original]])[steps != meant]
        foreign = len(self.bytes) - len(kept)
        return Mutation(number, kind, self.bytes.tobytes(), damaged, shifted, foreign)


def _block(draft: Draft, dice: Dice) -> tuple[int, int]:
    """A stretch: of any place and length, or of whole units as disks and links lose them."""
    length = dice.length(min(4096, len(draft) // 8))
    start = dice.below(len(draft) - length)
    unit = dice.pick([1, 1, 2, 4, 8, 16, 512])
    if length > unit:
        start, length = start // unit * unit, length // unit * unit
    return start, min(len(draft), start + length)


def _cut_end(draft: Draft, dice: Dice) -> None:
    draft.replace(len(draft) - dice.length(len(draft)), len(draft), b"")


def _cut_middle(draft: Draft, dice: Dice) -> None:
    draft.replace(*_block(draft, dice), b"")


def _cut_start(draft: Draft, dice: Dice) -> None:
    draft.replace(0, dice.length(len(draft) - 1), b"")


def _flip(draft: Draft, dice: Dice, most: int) -> None:
    for _ in range(most):
        place = dice.below(len(draft))
        changed = int(draft.bytes[place]) ^ 1 << dice.below(8)
        draft.replace(place, place + 1, bytes((changed,)))


def _flip_one(draft: Draft, dice: Dice) -> None:
    _flip(draft, dice, 1)


def _flip_many(draft: Draft, dice: Dice) -> None:
    _flip(draft, dice, 2 + dice.below(30))


def _noise(draft: Draft, dice: Dice) -> None:
    start, stop = _block(draft, dice)
    draft.replace(start, stop, dice.bytes(stop - start))


def _zeros(draft: Draft, dice: Dice) -> None:
    start, stop = _block(draft, dice)
    draft.replace(start, stop, bytes(stop - start))


def _ones(draft: Draft, dice: Dice) -> None:
    start, stop = _block(draft, dice)
    draft.replace(start, stop, b"\xff" * (stop - start))


def _swap(draft: Draft, dice: Dice) -> None:
    start, stop = _block(draft, dice)
    length = min(stop - start, (len(draft) - stop) or start)
    far = stop + dice.below(len(draft) - stop - length + 1) if len(draft) > stop else 0
    draft.swap(start, far, length)


def _duplicate(draft: Draft, dice: Dice) -> None:
    start, stop = _block(draft, dice)
    draft.replace(stop, stop, draft.bytes[start:stop].tobytes())


def _insert(draft: Draft, dice: Dice) -> None:
    start, stop = _block(draft, dice)
    draft.replace(start, start, dice.bytes(stop - start))


def _hostile(draft: Draft, dice: Dice) -> None:
    """Overwrite what may be a size or an offset, in either order of bytes, by an extreme one."""
    width = dice.pick([2, 4, 4, 8])
    order = dice.pick(["little", "big"])
    place = dice.below(len(draft) if dice.below(2) else min(1024, len(draft)))
    for at in range(place, min(place + 256, len(draft) - width)):
        if 0 < int.from_bytes(draft.bytes[at : at + width].tobytes(), order) <= len(draft):
            place = at
            break
    bits = 8 * width
    top = (1 << bits) - 1
    value = dice.pick(
        [0, 1, len(draft) & top, 1 << bits - 2, (1 << bits - 1) - 1, 1 << bits - 1, top - 7, top]
    )
    stop = min(len(draft), place + width)
    draft.replace(place, stop, value.to_bytes(width, order)[: stop - place])


def _head_lines(draft: Draft) -> list[tuple[int, int]]:
    """The lines of text at the start, or the first 64 bytes."""
    head = draft.bytes[:4096].tobytes()
    lines, at = [], 0
    while (stop := head.find(b"\n", at) + 1) > 0:
        if any(byte < 9 or byte > 126 for byte in head[at:stop]):
            break
        lines.append((at, stop))
        at = stop
    return lines[:200] or [(0, min(64, len(draft)))]


def _header_digits(draft: Draft, dice: Dice) -> None:
    """Change digits at the start, or bytes where there are none."""
    start, stop = dice.pick(_head_lines(draft))
    digits = [at for at in range(start, stop) if 48 <= draft.bytes[at] < 58]
    for _ in range(1 + dice.below(3)):
        place = dice.pick(digits or list(range(start, stop)))
        new = dice.pick([*b"0123456789-. "]) if digits else dice.below(256)
        draft.replace(place, place + 1, bytes((new,)))


def _header_lines(draft: Draft, dice: Dice) -> None:
    """Remove a line at the start, or double it, or make it long."""
    start, stop = dice.pick(_head_lines(draft))
    line = draft.bytes[start:stop].tobytes()
    new = dice.pick([b"", b"", line * 2, line[:-1] + line[:1] * dice.length(100_000) + line[-1:]])
    draft.replace(start, stop, new)


def _magic_only(draft: Draft, dice: Dice) -> None:
    """Noise behind the first bytes."""
    start = dice.pick([4, 8, 16, 64, 256, _head_lines(draft)[-1][1]])
    draft.replace(min(start, len(draft)), len(draft), dice.bytes(dice.length(8192)))


def _tail(draft: Draft, dice: Dice) -> None:
    """More behind the end: noise, or the file again from somewhere on."""
    again = draft.bytes[dice.below(len(draft)) :].tobytes()
    draft.replace(
        len(draft), len(draft), dice.pick([dice.bytes(dice.length(4096)), again, bytes(512)])
    )


def _several(draft: Draft, dice: Dice) -> None:
    for _ in range(2 + dice.below(3)):
        if len(draft) > 64:
            dice.pick([_cut_middle, _flip_one, _noise, _zeros, _insert, _hostile])(draft, dice)


KINDS: dict[str, Callable[[Draft, Dice], None]] = {
    name.strip("_"): kind
    for name, kind in {
        "cut_end": _cut_end,
        "cut_middle": _cut_middle,
        "cut_start": _cut_start,
        "flip_one": _flip_one,
        "flip_many": _flip_many,
        "noise": _noise,
        "zeros": _zeros,
        "ones": _ones,
        "swap": _swap,
        "duplicate": _duplicate,
        "insert": _insert,
        "hostile": _hostile,
        "header_digits": _header_digits,
        "header_lines": _header_lines,
        "magic_only": _magic_only,
        "tail": _tail,
        "several": _several,
    }.items()
}


def mutate(data: bytes, number: int) -> Mutation:
    """Mutation `number` of a file of at least 64 bytes; the kinds take turns."""
    name, kind = list(KINDS.items())[number % len(KINDS)]
    draft = Draft(data)
    kind(draft, Dice(number))
    return draft.finish(number, name)


def mutations(data: bytes, seed: int, count: int) -> Iterator[Mutation]:
    """Mutations seed .. seed + count - 1."""
    for number in range(seed, seed + count):
        yield mutate(data, number)
