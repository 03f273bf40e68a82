"""The addresses of AEDAT 1 and 2 files: one layout per family of chips.

jAER stores x from the right and y from the bottom; both are flipped here, so (0, 0) is the top left
pixel. Layouts: iniVation, AEDAT 1.0 and 2.0, docs.inivation.com.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, FormatError, did_you_mean
from dvskit.events import Size
from dvskit.formats.aedat2.words import Aedat2Header
from dvskit.formats.recording import ReadOptions, SizeOrigin

# Kinds of words.
EVENT, EXTERNAL, IMU, APS = range(4)


class DecodedWords(NamedTuple):
    """Decoded addresses: x and y as stored; `impossible` marks addresses the chip cannot send."""

    kind: NDArray[np.uint8]
    x: NDArray[np.int16]
    y: NDArray[np.int16]
    p: NDArray[np.bool_]
    impossible: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AddressLayout:
    """The positions of the parts of an address: shifts and masks.

    others  kind, mask and value of words that are not events; the first match counts
    other   the bits that are all 0 in an event
    spare   bits that are 0 in every word
    """

    x: tuple[int, int]
    y: tuple[int, int]
    polarity_bit: int
    on: int
    others: tuple[tuple[int, int, int], ...]
    other: int
    spare: int

    def decode(self, address: NDArray[Any]) -> DecodedWords:
        """Return the decoded unsigned addresses."""
        kind = np.zeros(len(address), np.uint8)
        for number, mask, value in reversed(self.others):
            kind[address & mask == value] = number
        return DecodedWords(
            kind,
            (address >> self.x[0] & self.x[1]).astype(np.int16),
            (address >> self.y[0] & self.y[1]).astype(np.int16),
            (address >> self.polarity_bit & 1) == self.on,
            address & self.spare != 0,
        )


DVS128 = AddressLayout(
    x=(1, 0x7F),
    y=(8, 0x7F),
    polarity_bit=0,
    on=0,
    others=((EXTERNAL, 0x8000, 0x8000),),
    other=0x8000,
    spare=0xFFFF_0000,
)
# For files marked as DVS128 that set bits which the DVS128 lacks: these bits are ignored. So is bit
# 15, which the hardware sets for external events only in words of 16 bits.
LOOSE_DVS128 = replace(DVS128, others=(), other=0, spare=0)
DAVIS = AddressLayout(
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
DVS640 = AddressLayout(
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
    layout: AddressLayout

    def can_send(self, address: NDArray[Any]) -> NDArray[np.bool_]:
        """Mark the addresses that this chip can send."""
        words = self.layout.decode(address)
        inside = (words.x < self.size.width) & (words.y < self.size.height)
        possible: NDArray[np.bool_] = ~words.impossible & (inside | (words.kind == EXTERNAL))
        if self.layout is DAVIS:
            possible &= address & 0x8000_0C00 != 0x8000_0800  # a read cycle that does not exist
            # An IMU word holds one of 7 values; its low bits are 0.
            value = (address >> 28 & 7 < 7) & (address & 0x3FF == 0)
            possible = np.where(words.kind == IMU, value, possible)
        return possible


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
# Chips to try if none is named, most likely first.
_LIKELY = [CHIPS[name] for name in ("DVS128", "DVS640", "DAVIS240", "DAVIS346", "DAVIS640")]
_OLD_NAMES = {"TMPDIFF128": "DVS128", "SBRET10": "DAVIS240", "SBRET20": "DAVIS240"}


def _modern(text: str) -> str:
    name = text.upper()
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def named_chip(text: str) -> Chip | None:
    """Return the chip named by a header's AEChip value, such as a Java class; None if unknown."""
    name = _modern(text.rpartition(".")[2])
    return next((chip for chip in CHIPS.values() if chip.name in name), None)


def layout_row(chip: Chip, size: Size) -> NDArray[np.int64]:
    """Return a chip's layout in the form of the loops; events must be on a sensor of `size`."""
    layout = chip.layout
    return np.array(
        [layout.other, layout.spare, *layout.x, *layout.y, layout.polarity_bit, layout.on,
         chip.size.width - 1, chip.size.height - 1, *size],
        np.int64,
    )  # fmt: skip


_GUESS_WORDS = 1 << 20
_CLOSE_US = 1 << 20  # between neighboring words
_WRAP_US = 1 << 32
_NEARLY = 0.99  # of the most words that fit a chip: as good a guess; and share for larger sensors
_LEAST = 0.9  # share of words that fit the chip; the others may be damaged


class ChipChoice(NamedTuple):
    """A chip, the source of the choice, and a note on assumptions."""

    chip: Chip
    origin: SizeOrigin
    notes: list[str]


def choose_chip(path: Path, options: ReadOptions, head: Aedat2Header) -> ChipChoice:
    """Return the chip whose layout decodes the addresses.

    In order of priority: the chip in the format's name, the chip in the header, the chip at the
    start of the file's name, as jAER names its recordings, and the chip guessed from the bits of
    the addresses. Raises ConfigError for an unknown chip, FormatError if none can be found.
    """
    asked = options.variant
    if asked is not None:
        chip = CHIPS.get(asked.strip().upper())
        if chip is None:
            raise ConfigError(f"unknown chip {asked!r}; {did_you_mean(asked.upper(), CHIPS)}")
        return _loosened(ChipChoice(chip, "argument", []), path, head)
    named = head.keys.get("AEChip", "")
    chip = named_chip(named)
    if chip is not None:
        return ChipChoice(chip, "camera", [])
    said = f"the header names {named}, which is unknown" if named else "the header names none"
    stem = _modern(path.stem)  # such as DVS128-2011-04-26T18-02-12+0200-0067-0
    chip = next((chip for chip in CHIPS.values() if stem.startswith(chip.name)), None)
    if chip is not None:
        note = f"chip {chip.name} ({chip.size}) is taken from the file's name: {said}"
        return _loosened(ChipChoice(chip, "camera", [note]), path, head)
    chip = _guess(path, head, options)
    note = (
        f"chip {chip.name} ({chip.size}) is guessed from the bits of the addresses: {said}; "
        "format='aedat2:CHIP' reads them as another's"
    )
    return ChipChoice(chip, "data", [note])


def _loosened(choice: ChipChoice, path: Path, head: Aedat2Header) -> ChipChoice:
    """Ignore bits that the chosen chip lacks if nearly all addresses use them, with a note."""
    chip = choice.chip
    likely = _likely(path, head)
    if likely is None or likely.layout is chip.layout:
        return choice
    other = f"format='aedat2:{likely.name}' reads them so"
    if chip.layout is DVS128:
        note = (
            f"addresses use bits that a DVS128 lacks: they are ignored, bit 15 included; "
            f"they may be those of a {likely.name} ({likely.size}): {other}"
        )
        chip = chip._replace(layout=LOOSE_DVS128)
    elif choice.origin == "argument":
        return choice
    else:
        note = f"by their bits, the addresses may be those of a {likely.name}: {other}"
    return ChipChoice(chip, choice.origin, [*choice.notes, note])


def _likely(path: Path, head: Aedat2Header) -> Chip | None:
    """Return the chip that can have sent the most words of the longest run in time order.

    None unless it can have sent nearly all. Of sensors of one layout, damaged words fit the largest
    best, so that a larger one takes more.
    """
    words = np.fromfile(path, head.words, _GUESS_WORDS, offset=head.end)
    times: NDArray[np.int64] = words["t"].astype(np.int64)
    steps = (times[1:] - times[:-1]) % _WRAP_US
    edges = [0, *(1 + np.flatnonzero(steps >= _WRAP_US // 2)).tolist(), len(words)]
    longest = int(np.argmax(np.diff(edges)))
    first, stop = edges[longest], edges[longest + 1]
    if first == stop:
        return None
    address = words["address"][first:stop].astype(np.uint32)
    close = steps[first : stop - 1] <= _CLOSE_US
    links, possible = [], []  # counts of words with a close successor, and of possible words
    for chip in _LIKELY:
        sent = chip.can_send(address)
        links.append(np.count_nonzero(sent[1:] & sent[:-1] & close))
        possible.append(np.count_nonzero(sent))
    counts = possible if 2 * max(links) < len(address) else links  # few events: no word has one
    enough = _NEARLY * max(counts)
    likely = next(i for i, count in enumerate(counts) if count >= enough)
    chip = _LIKELY[likely]
    smaller = [i for i in range(likely) if _LIKELY[i].layout is chip.layout]
    if len(edges) > 2 and any(counts[i] >= _LEAST * counts[likely] for i in smaller):
        return None  # time runs back: the words that do not fit a smaller one may be damaged
    least = _NEARLY if smaller else _LEAST
    return chip if possible[likely] >= least * len(address) else None


def _guess(path: Path, head: Aedat2Header, options: ReadOptions) -> Chip:
    chip = _likely(path, head)
    if chip is None:
        raise FormatError(
            f"{path}: no AEChip line names the chip, and the file holds no event or is damaged; "
            f"name it with format='aedat2:CHIP' ({', '.join(CHIPS)})"
        )
    size = options.size
    if size is None:
        return chip
    known = (other for other in _LIKELY if other.layout is chip.layout)
    name = "DAVIS" if chip.layout is DAVIS else chip.name
    return next((other for other in known if other.size == size), Chip(name, size, chip.layout))
