"""AEDAT 1 and 2 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvskit.errors import FormatError
from dvskit.events import Events, Size
from dvskit.formats.aedat2.chips import (
    APS,
    DVS128,
    EVENT,
    IMU,
    LOOSE_DVS128,
    Chip,
    chip_for,
    chip_names,
    file_chip,
    likely_chips,
    named_chip,
    of_size,
)
from dvskit.formats.aedat2.decoding import Decoder, aligned_words, count_fitting, scan_words
from dvskit.formats.aedat2.samples import (
    count_frames,
    find_scales,
    has_samples,
    read_frames,
    read_imu,
    read_triggers,
)
from dvskit.formats.aedat2.words import Block, Clock, Head, read_head, read_words
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.in_order import InOrder
from dvskit.formats.index_cache import NEVER, Index, find_index, index_of
from dvskit.formats.losses import Damage
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage
from dvskit.streams import Frame, Imu, Triggers

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


# The longest step that may lie across a wrap; damaged times must not pass for wraps.
_LONGEST_STEP_US, _LONGEST_SALVAGED_STEP_US = 1 << 30, 1 << 24


class Aedat2Recording(Recording):
    """Events of an AEDAT 1 or 2 file; external events, samples of motion and frames beside."""

    format = "aedat2"

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        head: Head,
        chip: Chip,
    ) -> None:
        super().__init__(path, options, size, origin)
        self.chip = chip
        self._head = head
        self._scales = find_scales(head.preferences, head.keys.get("AEChip", "").rpartition(".")[2])
        self.assumptions.append(
            f"x is counted from the right and y from the bottom in the file, as jAER does with "
            f"{chip.name}: (0, 0) here is ({chip.size.width - 1}, {chip.size.height - 1}) there"
        )

    def assume_scales(self) -> None:
        """Say in `assumptions` how samples of motion are scaled, if there are any to scale."""
        if not has_samples(self.chip):
            return
        scales = self._scales
        first = next(read_words(self.path, self._head), None)
        if first is not None and (self.chip.layout.decode(first.address).kind == IMU).any():
            told = "as the header tells" if scales.told else "jAER's usual ranges: none are told"
            self.assumptions.append(
                f"IMU samples are scaled for +-{scales.g} g and +-{scales.deg_s} deg/s, {told}; "
                "their signs are jAER's, seen from the camera"
            )

    def header(self) -> Mapping[str, str]:
        """Return the version, the chip, and what the header's comments say."""
        return {
            "version": f"{self._head.version}.0",
            "chip": self.chip.name,
            **self._head.keys,
        }

    def triggers(self) -> Triggers:
        """Return external events in time order; a file does not tell edges: all are rising."""
        return read_triggers(self._words(Damage()), self.chip)

    def imu(self) -> Imu:
        """Return the samples of motion in time order, in the scales that the header tells."""
        if not has_samples(self.chip):
            return Imu.empty()
        return read_imu(self._words(Damage()), self.chip, self._scales)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames whose pixels are all there, uint16 of 10 bits."""
        if has_samples(self.chip):
            yield from read_frames(self._words(Damage()), self.chip)

    def other_streams(self) -> Mapping[str, int]:
        """Count frames, samples of motion, and the words of neither."""
        counts = np.zeros(4, np.int64)
        for block in self._words(Damage()):
            kind = self.chip.layout.decode(block.address).kind
            counts += np.bincount(kind, minlength=len(counts))
        found: dict[str, int] = {}
        if counts[APS]:
            whole, incomplete = count_frames(self._words(Damage()), self.chip)
            found |= {"frames": whole, "incomplete frames": incomplete}
        if counts[IMU]:
            samples = len(self.imu())
            stray = int(counts[IMU]) - 7 * samples
            found |= {"IMU samples": samples, "IMU words of no whole sample": stray}
        return {name: count for name, count in found.items() if count}

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        if self.strict:
            yield from self._strict_blocks(damage, storage, None)
            return
        order = InOrder(self.path, self.size, strict=False, damage=damage)
        decoder = Decoder(self.chip, self.size, Clock(_LONGEST_SALVAGED_STEP_US))
        for block in self._words(damage):
            yield from decoder.judge(block, order, damage.add)
        yield from order.rest()

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        if not self.strict:
            yield from self._blocks(damage, storage)
            return
        index = find_index(self.path, f"aedat2 {self.chip.name}", self._index)
        at = index.at(start_us)
        wraps, last, begun = (int(value) for value in index.state[at])
        clock = Clock(_LONGEST_STEP_US, wraps, last if begun else None)
        yield from self._strict_blocks(damage, storage, (int(index.offset[at]), clock))

    def _strict_blocks(
        self, damage: Damage, storage: Storage, start: tuple[int, Clock] | None
    ) -> Iterator[Events]:
        offset, clock = start or (None, Clock(_LONGEST_STEP_US))
        decoder = Decoder(self.chip, self.size, clock)

        def order_from(last_us: int) -> InOrder:
            return InOrder(self.path, self.size, strict=True, damage=damage, earliest_us=last_us)

        for block in self._words(damage, offset):
            events = decoder.clean(block, storage)
            if events is None:
                events = decoder.strictly(block, order_from, self._losses(damage).lose)
            yield events

    def _index(self) -> Index:
        """Build checkpoints, one a block."""
        clock = Clock(_LONGEST_STEP_US)
        latest, rows = NEVER, []
        for block in read_words(self.path, self._head):
            rows.append(
                (latest, block.offset, clock.wraps, clock.last or 0, int(clock.last is not None))
            )
            scanned = scan_words(block.raw, self.chip.layout.other)
            if not scanned.events:
                continue
            base_us = clock.goes_on(scanned.first, scanned.last) if scanned.ordered else None
            if base_us is not None:
                latest = max(latest, scanned.last + base_us)
                continue
            decoded = self.chip.layout.decode(block.address)
            times = clock.count_on(block.t[(decoded.kind == EVENT) & ~decoded.impossible])
            if len(times):
                latest = max(latest, int(times.max()))
        if not rows:
            rows.append((NEVER, self._head.end, 0, 0, 0))
        return index_of(rows)

    def _words(self, damage: Damage, start: int | None = None) -> Iterator[Block]:
        """Yield the words; in salvage mode lined up anew behind missing bytes."""
        lose = self._losses(damage).lose
        if not self.strict and self.path.stat().st_size > self._head.end:
            yield from aligned_words(FileMap(self.path), self._head, self.chip, lose)
            return
        yield from read_words(self.path, self._head, start)
        width = self._head.words.itemsize
        cut = (self.path.stat().st_size - self._head.end) % width
        if cut:
            offset = self.path.stat().st_size - cut
            lose(offset, cut, f"the last word has {cut} of {width} bytes")


def open_recording(path: Path, options: ReadOptions) -> Aedat2Recording:
    """Open an AEDAT 1 or 2 file.

    The chip, and with it the sensor's size, is the one that `options.variant` names, else the
    header, else the file's name, else that which the addresses point to. Raises FormatError for
    other versions and where nothing tells the chip, ConfigError for an unknown one.
    """
    head = read_head(path)
    choice = choose_chip(path, options, head)
    chip, origin = choice.chip, choice.origin
    if options.size is not None:
        origin = "argument"
    recording = Aedat2Recording(path, options, options.size or chip.size, origin, head, chip)
    # Notes take the place of the line on a size from the data: the size is the chip's.
    recording.assumptions[: 1 if origin == "data" else 0] = choice.notes
    recording.assume_scales()
    return recording
