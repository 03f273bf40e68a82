"""Which chip wrote an AEDAT 1 or 2 file: by argument, header, file name, or the addresses."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dvskit.errors import FormatError
from dvskit.formats.aedat2.chips import (
    DVS128,
    LOOSE_DVS128,
    Chip,
    chip_for,
    chip_names,
    file_chip,
    likely_chips,
    named_chip,
    of_size,
)
from dvskit.formats.aedat2.decoding import count_fitting
from dvskit.formats.aedat2.words import Head
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.recording import ReadOptions, SizeOrigin

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
    data = FileMap(path).data
    words = min(_GUESS_WORDS, (len(data) - head.end) // head.words.itemsize)
    fits = []
    for chip in likely_chips():
        fits.append(count_fitting(data, head, chip, words))
        if fits[-1].links >= _MOST * words:
            return chip
    counts = [fit.links for fit in fits]
    if 2 * max(counts) < words:  # so few events that none follows another soon
        counts = [fit.possible for fit in fits]
    enough = _MOST * max(counts)
    return next(chip for chip, count in zip(likely_chips(), counts, strict=True) if count >= enough)


def _guess(path: Path, head: Head, options: ReadOptions) -> Chip:
    chip = _likely(path, head)
    if chip is None:
        raise FormatError(
            f"{path}: holds no event, and no AEChip line says which chip wrote it; "
            f"format='aedat2:CHIP' does ({', '.join(chip_names())})"
        )
    return chip if options.size is None else of_size(chip, options.size)
