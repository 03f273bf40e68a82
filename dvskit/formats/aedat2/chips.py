"""What an address of an AEDAT 1 or 2 file means: one layout a family of chips.

jAER counts x from the right and y from the bottom as stored; both are turned here, so that (0, 0)
is the top left pixel. Layouts: iniVation, AEDAT 1.0 and 2.0, docs.inivation.com.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, FormatError, did_you_mean
from dvskit.events import Size
from dvskit.formats.aedat2 import word_kernels as k
from dvskit.formats.aedat2.words import WINDOW, Head
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.recording import ReadOptions, SizeOrigin

# What a word is.
EVENT, EXTERNAL, IMU, APS = range(4)


class Words(NamedTuple):
    """Decoded addresses: x and y as stored; `impossible` marks what the chip cannot send."""

    kind: NDArray[np.uint8]
    x: NDArray[np.int16]
    y: NDArray[np.int16]
    p: NDArray[np.bool_]
    impossible: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of an address are: shifts and masks.

    others  kind, mask and value of the words that are no events; the first that fits counts
    other   the bits that are all clear in an event
    spare   bits that no word may have set
    """

    x: tuple[int, int]
    y: tuple[int, int]
    polarity_bit: int
    on: int
    others: tuple[tuple[int, int, int], ...]
    other: int
    spare: int

    def decode(self, address: NDArray[Any]) -> Words:
        """Return what unsigned addresses mean."""
        kind = np.zeros(len(address), np.uint8)
        for number, mask, value in reversed(self.others):
            kind[address & mask == value] = number
        return Words(
            kind,
            (address >> self.x[0] & self.x[1]).astype(np.int16),
            (address >> self.y[0] & self.y[1]).astype(np.int16),
            (address >> self.polarity_bit & 1) == self.on,
            address & self.spare != 0,
        )


DVS128 = Layout(
    x=(1, 0x7F),
    y=(8, 0x7F),
    polarity_bit=0,
    on=0,
    others=((EXTERNAL, 0x8000, 0x8000),),
    other=0x8000,
    spare=0xFFFF_0000,
)
# For files that are said to be of a DVS128 and set bits that it has not: those are passed over, and
# with them bit 15, which the hardware sets for external events only in words of 16 bits.
LOOSE_DVS128 = replace(DVS128, others=(), other=0, spare=0)
DAVIS = Layout(
    x=(12, 0x3FF),
    y=(22, 0x1FF),
    polarity_bit=11,
    on=1,
    others=(
        (IMU, 0x8000_0C00, 0x8000_0C00),
        (APS, 1 << 31, 1 << 31),
        (EXTERNAL, 1 << 10, 1 << 10),
    ),
    other=1 << 31 | 1 << 10,
    spare=0,
)
DVS640 = Layout(
    x=(1, 0x3FF),
    y=(11, 0x3FF),
    polarity_bit=0,
    on=1,
    others=((EXTERNAL, 1 << 31, 1 << 31),),
    other=1 << 31,
    spare=0x7FE0_0000,
)


class Chip(NamedTuple):
    """A chip: its name, the size of its sensor and the layout of its addresses."""

    name: str
    size: Size
    layout: Layout


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("DVS128", Size(128, 128), DVS128),
        Chip("DAVIS240", Size(240, 180), DAVIS),
        Chip("DAVIS346", Size(346, 260), DAVIS),
        Chip("DAVIS640", Size(640, 480), DAVIS),
        Chip("DVS640", Size(640, 480), DVS640),
        Chip("DAVIS128", Size(128, 128), DAVIS),
        Chip("DAVIS208", Size(208, 192), DAVIS),
    )
}
# Those that are looked for where none is named: what fits earlier is likelier.
_LIKELY = [CHIPS[name] for name in ("DVS128", "DVS640", "DAVIS240", "DAVIS346", "DAVIS640")]
_OLD_NAMES = {"TMPDIFF128": "DVS128", "SBRET10": "DAVIS240", "SBRET20": "DAVIS240"}


def _modern(text: str) -> str:
    name = text.upper()
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def named_chip(text: str) -> Chip | None:
    """Return the chip that a header's AEChip value names, such as a Java class; None if unknown."""
    name = _modern(text.rpartition(".")[2])
    return next((chip for chip in CHIPS.values() if chip.name in name), None)


def layout_row(chip: Chip, size: Size) -> NDArray[np.int64]:
    """Return a chip's layout as the loops take it; events must be on a sensor of `size`."""
    layout = chip.layout
    return np.array(
        [layout.other, layout.spare, *layout.x, *layout.y, layout.polarity_bit, layout.on,
         layout is DAVIS, chip.size.width - 1, chip.size.height - 1, *size],
        np.int64,
    )  # fmt: skip


_GUESS_WORDS = 1 << 20
_MOST = 0.99  # of the words tell the chip; a few may be damaged


class Choice(NamedTuple):
    """A chip, where it is known from, and what was taken for granted, for people."""

    chip: Chip
    origin: SizeOrigin
    notes: list[str]


def choose_chip(path: Path, options: ReadOptions, head: Head) -> Choice:
    """Return the chip whose layout the addresses are read by.

    The chip named behind the format's name counts first, then the header's, then the one that the
    file's name begins with, as jAER names its recordings; else the bits of the addresses tell.
    Raises ConfigError for an unknown chip, FormatError where nothing tells.
    """
    asked = options.variant
    if asked is not None:
        chip = CHIPS.get(asked.strip().upper())
        if chip is None:
            raise ConfigError(f"unknown chip {asked!r}; {did_you_mean(asked.upper(), CHIPS)}")
        return _loosened(Choice(chip, "argument", []), path, head)
    named = head.keys.get("AEChip", "")
    chip = named_chip(named)
    if chip is not None:
        return Choice(chip, "camera", [])
    said = f"the header names {named}, which is unknown" if named else "the header names none"
    stem = _modern(path.stem)  # such as DVS128-2011-04-26T18-02-12+0200-0067-0
    chip = next((chip for chip in CHIPS.values() if stem.startswith(chip.name)), None)
    if chip is not None:
        note = f"chip {chip.name} ({chip.size}) is taken from the file's name: {said}"
        return _loosened(Choice(chip, "camera", [note]), path, head)
    chip = _guess(path, head, options)
    note = (
        f"chip {chip.name} ({chip.size}) is guessed from the bits of the addresses: {said}; "
        "format='aedat2:CHIP' (--from aedat2:CHIP) reads them as another's"
    )
    return Choice(chip, "data", [note])


def _loosened(choice: Choice, path: Path, head: Head) -> Choice:
    """Pass over bits that the chosen chip has not if nearly all addresses use them; say so."""
    chip = choice.chip
    likely = _likely(path, head)
    if likely is None or likely.layout is chip.layout:
        return choice
    other = f"format='aedat2:{likely.name}' (--from aedat2:{likely.name}) reads them so"
    if chip.layout is DVS128:
        note = (
            f"addresses use bits that a DVS128 has not: they are left out here, bit 15 included; "
            f"they may be those of a {likely.name} ({likely.size}): {other}"
        )
        chip = chip._replace(layout=LOOSE_DVS128)
    elif choice.origin == "argument":
        return choice
    else:
        note = f"by their bits, the addresses may be those of a {likely.name}: {other}"
    return Choice(chip, choice.origin, [*choice.notes, note])


def _likely(path: Path, head: Head) -> Chip | None:
    """Return the first of the likely chips that can have sent nearly all words; None without any.

    Words are lined up anew for each, so that damage does not change the guess.
    """
    if path.stat().st_size < head.end + head.words.itemsize:
        return None
    words = min(_GUESS_WORDS, (path.stat().st_size - head.end) // head.words.itemsize)
    links, possible = [], []  # words that another follows soon, and words that can be sent at all
    for chip in _LIKELY:
        fitting = _count_fitting(FileMap(path).data, head, chip, words)
        if fitting[0] >= _MOST * words:
            return chip
        links.append(fitting[0])
        possible.append(fitting[1])
    counts = possible if 2 * max(links) < words else links  # few events: none follows another soon
    enough = _MOST * max(counts)
    return next(chip for chip, count in zip(_LIKELY, counts, strict=True) if count >= enough)


def _count_fitting(data: NDArray[np.uint8], head: Head, chip: Chip, most: int) -> tuple[int, int]:
    """Return how many of about `most` words, lined up anew, a chip can have sent in such order.

    And how many it can have sent in any order.
    """
    width = head.words.itemsize
    row = layout_row(chip, chip.size)
    at, possible, links, seen = head.end, 0, 0, 0
    while len(data) - at >= width and seen < most:
        count, at, fitting, linked = k.next_break(data, head.end, at, width, WINDOW, row)
        possible += fitting
        links += linked
        seen += count
    return links, possible


def _guess(path: Path, head: Head, options: ReadOptions) -> Chip:
    chip = _likely(path, head)
    if chip is None:
        raise FormatError(
            f"{path}: holds no event, and no AEChip line says which chip wrote it; "
            f"format='aedat2:CHIP' does ({', '.join(CHIPS)})"
        )
    size = options.size
    if size is None:
        return chip
    known = (other for other in _LIKELY if other.layout is chip.layout)
    name = "DAVIS" if chip.layout is DAVIS else chip.name
    return next((other for other in known if other.size == size), Chip(name, size, chip.layout))
