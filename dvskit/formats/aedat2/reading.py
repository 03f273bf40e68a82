"""AEDAT 1 and 2 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.events import Events, Size
from dvskit.formats.aedat2 import word_kernels as k
from dvskit.formats.aedat2.chips import APS, EVENT, IMU, Chip, choose_chip, layout_row
from dvskit.formats.aedat2.samples import (
    FrameAssembly,
    find_scales,
    has_samples,
    read_imu,
    read_triggers,
)
from dvskit.formats.aedat2.words import (
    Aedat2Header,
    Clock,
    WordBlock,
    read_head,
    read_words,
    scan_words,
)
from dvskit.formats.index_cache import NEVER, Index, find_index, index_of
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage
from dvskit.formats.validate import (
    Columns,
    DecodedBlock,
    InStep,
    LostRows,
    Validator,
    block_of,
    runs_of,
)
from dvskit.streams import Frame, Imu, Triggers

# The longest step across a wrap; damaged times must not count as wraps.
_LONGEST_STEP_US, _LONGEST_SALVAGED_STEP_US = 1 << 30, 1 << 24


class Aedat2Recording(Recording):
    """Events of an AEDAT 1 or 2 file, with its external events, IMU samples and frames."""

    format = "aedat2"
    white = 1023  # frames have 10 bits

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        head: Aedat2Header,
        chip: Chip,
    ) -> None:
        super().__init__(path, options, size, origin)
        self.chip = chip
        self._head = head
        self._scales = find_scales(head.preferences, head.keys.get("AEChip", "").rpartition(".")[2])
        self.assumptions.append(
            f"x is counted from the right and y from the bottom in the file, as in jAER for "
            f"{chip.name}: (0, 0) here is ({chip.size.width - 1}, {chip.size.height - 1}) there"
        )

    def assume_scales(self) -> None:
        """Add the scales of IMU samples to `assumptions`, if there are any samples."""
        if not has_samples(self.chip):
            return
        scales = self._scales
        first = next(read_words(self.path, self._head), None)
        if first is not None and (self.chip.layout.decode(first.address).kind == IMU).any():
            told = "as in the header" if scales.told else "jAER's usual ranges (none in the header)"
            self.assumptions.append(
                f"IMU samples are scaled for +-{scales.g} g and +-{scales.deg_s} deg/s, {told}; "
                "their signs are jAER's, seen from the camera"
            )

    def header(self) -> Mapping[str, str]:
        """Return the version, the chip, and the comments of the header."""
        return {
            "version": f"{self._head.version}.0",
            "chip": self.chip.name,
            **self._head.keys,
        }

    def triggers(self) -> Triggers:
        """Return external events in time order; the file stores no edges: all are rising."""
        return read_triggers(self._words(Damage()), self.chip)

    def imu(self) -> Imu:
        """Return the IMU samples in time order, in the scales of the header."""
        if not has_samples(self.chip):
            return Imu.empty()
        return read_imu(self._words(Damage()), self.chip, self._scales)

    def frames(self) -> Iterator[Frame]:
        """Yield the complete frames, uint16 of 10 bits."""
        if has_samples(self.chip):
            yield from FrameAssembly(self._words(Damage()), self.chip)

    def other_streams(self) -> Mapping[str, int]:
        """Count frames, IMU samples, and words that belong to neither."""
        counts = np.zeros(4, np.int64)
        for block in self._words(Damage()):
            kind = self.chip.layout.decode(block.address).kind
            counts += np.bincount(kind, minlength=len(counts))
        found: dict[str, int] = {}
        if counts[APS]:
            frames = FrameAssembly(self._words(Damage()), self.chip)
            found["frames"] = sum(1 for _ in frames)
            found["incomplete frames"] = frames.incomplete
        if counts[IMU]:
            samples = len(self.imu())
            stray = int(counts[IMU]) - 7 * samples
            found |= {"IMU samples": samples, "IMU words of no whole sample": stray}
        return {name: count for name, count in found.items() if count}

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        clock = Clock(_LONGEST_STEP_US if self.strict else _LONGEST_SALVAGED_STEP_US)
        return self._decoded(damage, storage, clock)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        if not self.strict:
            return self._blocks(damage, storage)  # damaged times cannot be searched
        index = find_index(self.path, f"aedat2 {self.chip.name}", self._index)
        at = index.at(start_us)
        wraps, last, begun = (int(value) for value in index.state[at])
        clock = Clock(_LONGEST_STEP_US, wraps, last if begun else None)
        return self._decoded(damage, storage, clock, int(index.offset[at]))

    def _decoded(
        self, damage: Damage, storage: Storage, clock: Clock, start: int | None = None
    ) -> Iterator[Events]:
        decoder = _Decoder(self, clock, storage)
        blocks = map(decoder.block, self._words(damage, start))
        return Validator(self._losses(damage), self.size).blocks(blocks)

    def _index(self) -> Index:
        """Build checkpoints, one per block."""
        clock = Clock(_LONGEST_STEP_US)
        latest, rows = NEVER, []
        for block in read_words(self.path, self._head):
            rows.append(
                (latest, block.offset, clock.wraps, clock.last or 0, int(clock.last is not None))
            )
            scanned = scan_words(block.raw, self.chip.layout.other)
            if not scanned.events:
                continue
            base_us = clock.goes_on(scanned)
            if base_us is not None:
                latest = max(latest, scanned.last + base_us)
                continue
            words = self.chip.layout.decode(block.address)
            times = clock.count_on(block.t[(words.kind == EVENT) & ~words.impossible])
            if len(times):
                latest = max(latest, int(times.max()))
        if not rows:
            rows.append((NEVER, self._head.end, 0, 0, 0))
        return index_of(rows)

    def _words(self, damage: Damage, start: int | None = None) -> Iterator[WordBlock]:
        """Yield the words; in salvage mode, without those that missing bytes put out of step."""
        losses = self._losses(damage)
        blocks = read_words(self.path, self._head, start)
        yield from blocks if self.strict else _in_step(blocks, self.chip, losses)
        width, length = self._head.words.itemsize, self.path.stat().st_size
        cut = (length - self._head.end) % width
        if cut:
            losses.lose(length - cut, cut, f"the last word has {cut} of {width} bytes")


def _in_step(blocks: Iterable[WordBlock], chip: Chip, losses: Losses) -> Iterator[WordBlock]:
    """Yield the stretches of words whose events are in step."""
    in_step = InStep(losses, chip.size)
    for block in blocks:
        words = chip.layout.decode(block.address)
        events = np.flatnonzero(words.kind == EVENT)
        columns = Columns(
            block.t[events], words.x[events], words.y[events], words.p[events],
            block.offsets()[events], np.full(len(events), block.width),
        )  # fmt: skip
        lost = in_step.lost(columns, words.impossible[events])
        kept = np.ones(len(block.raw), np.bool_)
        for first, stop in runs_of(lost).tolist():
            kept[events[first] : events[stop - 1] + 1] = False
        for first, stop in runs_of(kept).tolist():
            yield block._replace(
                raw=block.raw[first:stop], offset=block.offset + first * block.width
            )


class _Decoder:
    """One pass over words, which advances `clock`."""

    def __init__(self, recording: Aedat2Recording, clock: Clock, storage: Storage) -> None:
        self._chip, self._strict = recording.chip, recording.strict
        self._clock, self._storage = clock, storage
        self._layout = layout_row(recording.chip, recording.size)

    def block(self, block: WordBlock) -> DecodedBlock:
        """Return the events of a block: by compiled loops if all are valid.

        In salvage mode, only times that are sure advance the clock.
        """
        before = self._clock.last
        found = self._by_loops(block) if self._strict else None
        if found is None:
            self._clock.last = before
            found = self._by_columns(block)
        return found

    def _by_loops(self, block: WordBlock) -> DecodedBlock | None:
        """Return the events of a block; None if a word or its clock is not plain."""
        raw = block.raw
        scanned = scan_words(raw, self._chip.layout.other)
        base_us = self._clock.goes_on(scanned) if scanned.events else None
        if base_us is None:
            return None
        columns = self._storage.columns(scanned.events)
        bounds, stops = scanned.bounds, np.cumsum(scanned.counts)
        good = np.zeros(len(scanned.counts), np.bool_)

        def work(i: int) -> None:
            room = columns.part(slice(stops[i] - scanned.counts[i], stops[i]))
            good[i] = k.decode(raw[bounds[i] : bounds[i + 1]], self._layout, base_us, room)

        run_parts(work, len(good))
        places = partial(self._places, block)
        return DecodedBlock(columns, places, (), is_valid=True) if good.all() else None

    def _places(self, block: WordBlock) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        offsets = block.offsets()[self._chip.layout.decode(block.address).kind == EVENT]
        return offsets, np.full(len(offsets), block.width)

    def _by_columns(self, block: WordBlock) -> DecodedBlock:
        """Return the events of a block, and the words that no camera sends as lost."""
        address = block.address
        words = self._chip.layout.decode(address)
        offsets = block.offsets()
        is_event = (words.kind == EVENT) & ~words.impossible
        count_on = self._clock.count_on if self._strict else self._clock.count_on_sure
        columns = Columns(
            t=count_on(block.t[is_event]),
            x=self._chip.size.width - 1 - words.x[is_event],
            y=self._chip.size.height - 1 - words.y[is_event],
            p=words.p[is_event],
            offsets=offsets[is_event],
            widths=np.full(np.count_nonzero(is_event), block.width),
        )
        bad = np.flatnonzero(words.impossible)

        def problem(number: int) -> str:
            found = int(address[bad[number]])
            return f"address {found:#010x} cannot come from a {self._chip.name}"

        rows = np.searchsorted(columns.offsets, offsets[bad])  # none of them has a row
        lost = LostRows(rows, rows, offsets[bad], np.full(len(bad), block.width), problem)
        return block_of(columns, (lost,))


def open_recording(path: Path, options: ReadOptions) -> Aedat2Recording:
    """Open an AEDAT 1 or 2 file.

    The chip, and with it the sensor's size, is that of `options.variant`, else of the header, else
    of the file's name, else guessed from the addresses. Raises FormatError for other versions and
    if no chip can be found, ConfigError for an unknown one.
    """
    head = read_head(path)
    choice = choose_chip(path, options, head)
    chip, origin = choice.chip, choice.origin
    if options.size is not None:
        origin = "argument"
    recording = Aedat2Recording(path, options, options.size or chip.size, origin, head, chip)
    # Notes replace the line on a size from the data: the size is that of the chip.
    recording.assumptions[: 1 if origin == "data" else 0] = choice.notes
    recording.assume_scales()
    return recording
