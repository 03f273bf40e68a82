"""What an address of an AEDAT 1 or 2 file means: one layout a family of chips.

jAER counts x from the right and y from the bottom as stored; both are turned here, so that (0, 0)
is the top left pixel. Layouts: iniVation, AEDAT 1.0 and 2.0, docs.inivation.com.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, did_you_mean
from dvskit.events import Size

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


def chip_names() -> tuple[str, ...]:
    """Return the names of the chips that are known."""
    return tuple(chip.name for chip in _CHIPS)


def chip_for(name: str) -> Chip:
    """Return the chip of that name, in upper or lower case. Raises ConfigError."""
    found = next((chip for chip in _CHIPS if chip.name == name.strip().upper()), None)
    if found is None:
        raise ConfigError(f"unknown chip {name!r}; {did_you_mean(name.upper(), chip_names())}")
    return found


def chip_of_size(size: Size) -> Chip | None:
    """Return the first chip of that size, None where there is none."""
    return next((chip for chip in _CHIPS if chip.size == size), None)


def written_sizes() -> tuple[Size, ...]:
    """Return the sizes of the chips that files are written for."""
    return tuple(sorted({chip.size for chip in _CHIPS}))


def _modern(text: str) -> str:
    name = text.upper()
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def named_chip(text: str) -> Chip | None:
    """Return the chip that a header's AEChip value names, such as a Java class; None if unknown."""
    name = _modern(text.rpartition(".")[2])
    return next((chip for chip in _CHIPS if chip.name in name), None)


def file_chip(stem: str) -> Chip | None:
    """Return the chip that a file's name begins with, as jAER names its recordings; None if none.

    An example is `DVS128-2011-04-26T18-02-12+0200-0067-0.aedat`.
    """
    name = _modern(stem)
    return next((chip for chip in _CHIPS if name.startswith(chip.name)), None)


def likely_chips() -> tuple[Chip, ...]:
    """Return the chips that are looked for where none is named: what fits earlier is likelier."""
    order = ("DVS128", "DVS640", "DAVIS240", "DAVIS346", "DAVIS640")
    return tuple(chip_for(name) for name in order)


def of_size(chip: Chip, size: Size) -> Chip:
    """Return the chip of that size and the same layout, known or not."""
    known = (other for other in likely_chips() if other.layout is chip.layout)
    name = "DAVIS" if chip.layout is DAVIS else chip.name
    return next((other for other in known if other.size == size), Chip(name, size, chip.layout))


def layout_row(chip: Chip, size: Size) -> NDArray[np.int64]:
    """Return a chip's layout as the loops take it; events must be on a sensor of `size`."""
    layout = chip.layout
    return np.array(
        [layout.other, layout.spare, *layout.x, *layout.y, layout.polarity_bit, layout.on,
         layout is DAVIS, chip.size.width - 1, chip.size.height - 1, *size],
        np.int64,
    )  # fmt: skip
