"""Which chip wrote an AEDAT 1 or 2 file: by argument, header, file name, or the addresses."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.aedat2.chips import (
    DVS128,
    LOOSE_DVS128,
    Chip,
    chip_for,
    chip_names,
    file_chip,
    fits,
    guess_chip,
    named_chip,
)
from dvskit.formats.aedat2.words import Head, read_words
from dvskit.formats.recording import ReadOptions, SizeOrigin

_GUESS_WORDS = 1 << 20


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
    if options.variant is not None:
        return _loosened(Choice(chip_for(options.variant), "argument", []), path, head)
    named = head.keys.get("AEChip", "")
    chip = named_chip(named)
    if chip is not None:
        return Choice(chip, "camera", [])
    said = f"the header names {named}, which is unknown" if named else "the header names none"
    chip = file_chip(path.stem)
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
    address = _first_addresses(path, head)
    chip = choice.chip
    if not len(address):
        return choice
    likely = guess_chip(address, None)
    if likely.layout is chip.layout:
        return choice
    other = f"format='aedat2:{likely.name}' (--from aedat2:{likely.name}) reads them so"
    if chip.layout is DVS128 and not fits(chip, address):
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


def _first_addresses(path: Path, head: Head) -> NDArray[np.uint32]:
    found, count = [np.empty(0, np.uint32)], 0
    for block in read_words(path, head):
        found.append(block.address)
        count += len(block.raw)
        if count >= _GUESS_WORDS:
            break
    return np.concatenate(found)


def _guess(path: Path, head: Head, options: ReadOptions) -> Chip:
    address = _first_addresses(path, head)
    if not len(address):
        raise FormatError(
            f"{path}: holds no event, and no AEChip line says which chip wrote it; "
            f"format='aedat2:CHIP' does ({', '.join(chip_names())})"
        )
    return guess_chip(address, options.size)
