"""What an address of an AEDAT 1 or 2 file means: one layout a family of chips.

jAER counts x from the right and y from the bottom as stored; both are turned here, so that (0, 0)
is the top left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size


class Words(NamedTuple):
    """Decoded addresses: kind 0 is an event; others are 1 + their place in `Layout.others`.

    x and y are as stored. `impossible` marks addresses that the chip cannot send.
    """

    kind: NDArray[np.uint8]
    x: NDArray[np.int16]
    y: NDArray[np.int16]
    p: NDArray[np.bool_]
    impossible: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of an address are: shifts and masks.

    others  name, mask and value of the words that are no events; the first that fits counts
    spare   bits that no word may have set
    """

    x: tuple[int, int]
    y: tuple[int, int]
    polarity_bit: int
    on: int
    others: tuple[tuple[str, int, int], ...]
    spare: int

    def decode(self, address: NDArray[Any]) -> Words:
        """Return what unsigned addresses mean."""
        kind = np.zeros(len(address), np.uint8)
        for number, (_, mask, value) in reversed(list(enumerate(self.others, 1))):
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
    others=(("sync events", 0x8000, 0x8000),),
    spare=0xFFFF_0000,
)
DAVIS = Layout(
    x=(12, 0x3FF),
    y=(22, 0x1FF),
    polarity_bit=11,
    on=1,
    others=(
        ("IMU words", 0x8000_0C00, 0x8000_0C00),
        ("APS words", 1 << 31, 1 << 31),
        ("external events", 1 << 10, 1 << 10),
    ),
    spare=0,
)
DVS640 = Layout(
    x=(1, 0x3FF),
    y=(11, 0x3FF),
    polarity_bit=0,
    on=1,
    others=(("special events", 1 << 31, 1 << 31),),
    spare=0x7FE0_0000,
)


class Chip(NamedTuple):
    """A chip: its name, the size of its sensor and the layout of its addresses."""

    name: str
    size: Size
    layout: Layout


_CHIPS = (
    Chip("DVS128", Size(128, 128), DVS128),
    Chip("DAVIS240", Size(240, 180), DAVIS),
    Chip("DAVIS346", Size(346, 260), DAVIS),
    Chip("DAVIS640", Size(640, 480), DAVIS),
    Chip("DVS640", Size(640, 480), DVS640),
    Chip("DAVIS128", Size(128, 128), DAVIS),
    Chip("DAVIS208", Size(208, 192), DAVIS),
)
_OLD_NAMES = {"TMPDIFF128": "DVS128", "SBRET10": "DAVIS240", "SBRET20": "DAVIS240"}
_MOST = 0.99  # of the words tell the layout; a few may be damaged


def chip_names() -> tuple[str, ...]:
    """Return the names of the chips that are known."""
    return tuple(chip.name for chip in _CHIPS)


def named_chip(text: str) -> Chip | None:
    """Return the chip that a header's AEChip value names, such as a Java class; None if unknown."""
    name = text.rpartition(".")[2].upper()
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return next((chip for chip in _CHIPS if chip.name in name), None)


def guess_chip(address: NDArray[np.uint32], size: Size | None) -> Chip:
    """Return the chip that can have sent the addresses, by the bits that they use.

    `size` (the caller's) chooses among chips of one layout. Needs at least one address.
    """
    plain = address & 0x7FFF_FFFF
    if np.mean(plain < 1 << 16) >= _MOST:
        layout = DVS128
    elif np.mean(plain < 1 << 21) >= _MOST:
        layout = DVS640
    else:
        layout = DAVIS
    chips = [chip for chip in _CHIPS[:5] if chip.layout is layout]
    if size is not None:
        name = "DAVIS" if layout is DAVIS else chips[0].name
        return next((chip for chip in chips if chip.size == size), Chip(name, size, layout))
    words = layout.decode(address)
    x, y = words.x[words.kind == 0], words.y[words.kind == 0]
    for chip in chips:
        if not len(x) or np.mean((x < chip.size.width) & (y < chip.size.height)) >= _MOST:
            return chip
    return chips[-1]
