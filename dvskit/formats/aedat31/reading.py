"""AEDAT 3.1 files as Recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.events import Events, Size, as_size
from dvskit.formats.aedat2.chips import named_chip
from dvskit.formats.aedat31.packets import (
    BLOCK_EVENTS,
    FRAME,
    IMU6,
    IMU9,
    POLARITY,
    SPECIAL,
    Head,
    Packet,
    Walk,
    build_index,
    decode_table,
    extent,
    read_head,
)
from dvskit.formats.aedat31.samples import (
    INPUTS,
    WORD_BYTES,
    read_frames,
    read_imu,
    read_triggers,
    valid_words,
)
from dvskit.formats.careful import decoded
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.index_cache import find_index
from dvskit.formats.losses import Damage
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage
from dvskit.streams import Frame, Imu, Triggers

_EARLIEST_US = 0
_KINDS = {FRAME: "frames", IMU6: "IMU samples", IMU9: "IMU samples", 5: "ADC samples", 12: "spikes"}


class Aedat31Recording(Recording):
    """Events of an AEDAT 3.1 file; edges on inputs, samples of motion and frames beside."""

    format = "aedat31"

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, head: Head
    ) -> None:
        super().__init__(path, options, size, origin)
        self._head = head

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._head.keys

    def _walk(self, kind: int, source: int = -1) -> Walk:
        return Walk(FileMap(self.path), self._head.end, kind, source)

    def triggers(self) -> Triggers:
        """Return the edges on external inputs in time order; a pulse is given as a rising edge."""
        return read_triggers(self._walk(SPECIAL), self._losses().lose)

    def imu(self) -> Imu:
        """Return the samples of motion, with those of a compass if there is one, in time order."""
        lose = self._losses().lose
        return Imu.in_order([read_imu(self._walk(kind), lose) for kind in (IMU6, IMU9)])

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, uint16 and gray or RGB, as they stand in the file."""
        yield from read_frames(self._walk(FRAME), self._losses().lose)

    def other_streams(self) -> Mapping[str, int]:
        """Count frames, samples, special events that are no triggers, and invalid events."""
        counts: Counter[str] = Counter()
        walk = self._walk(-1)
        for packet in walk.packets(self._losses().lose):
            if packet.kind == SPECIAL:
                kinds = valid_words(walk.data, packet).address >> 1 & 0x7F
                counts["special events"] += int(np.count_nonzero(~np.isin(kinds, list(INPUTS))))
            elif packet.kind != POLARITY:
                name = _KINDS.get(packet.kind, f"events of type {packet.kind}")
                counts[name] += packet.number
            elif packet.source != self._head.source:
                counts[f"events of source {packet.source}"] += packet.number
            else:
                valid = len(valid_words(walk.data, packet).address)
                counts["events marked invalid"] += packet.number - valid
        return {name: number for name, number in counts.items() if number}

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._decoded(self._walk(POLARITY, self._head.source), damage, storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        walk = self._walk(POLARITY, self._head.source)
        if self.strict:  # damaged times cannot be searched
            index = find_index(self.path, f"aedat31 {self._head.source}", lambda: build_index(walk))
            walk.state[:] = index.state[index.at(start_us)]
        return self._decoded(walk, damage, storage)

    def _decoded(self, walk: Walk, damage: Damage, storage: Storage) -> Iterator[Events]:
        order = InOrder(
            self.path, self.size, strict=self.strict, damage=damage, earliest_us=_EARLIEST_US
        )

        def quick(table: NDArray[np.int64], earliest_us: int) -> Events | None:
            return decode_table(walk, table, self.size, earliest_us, storage)

        def careful(table: NDArray[np.int64]) -> Iterator[Events]:
            for row in table.tolist():
                packet = Packet(*row)
                words = valid_words(walk.data, packet)
                yield from order.push(
                    Columns(
                        words.t,
                        (words.address >> 17).astype(np.int32),
                        (words.address >> 2 & 0x7FFF).astype(np.int32),
                        words.address >> 1 & 1 == 1,
                        words.offsets,
                        np.full(len(words.t), WORD_BYTES),
                    )
                )

        lose = self._losses(damage).lose
        tables = walk.tables(lose, BLOCK_EVENTS) if self.strict else walk.tables(lose)
        return decoded(tables, order, quick, careful)


def open_recording(path: Path, options: ReadOptions) -> Aedat31Recording:
    """Open an AEDAT 3.1 file.

    Its events are those of the first source that sent any; the size is the argument, that of the
    camera which the header names, or the smallest that holds the events. Raises FormatError.
    """
    head = read_head(path)
    walk = Walk(FileMap(path), head.end, POLARITY)
    source = next((packet.source for packet in walk.packets(lambda *_: None)), -1)
    head = head._replace(source=source)
    chip = named_chip(head.keys.get(f"Source {source}", ""))
    if chip is None and source < 0:
        sources = [value for key, value in head.keys.items() if key.startswith("Source ")]
        chip = next((found for found in map(named_chip, sources) if found), None)
    origin: SizeOrigin
    if options.size is not None:
        size, origin = options.size, "argument"
    elif chip is not None:
        size, origin = chip.size, "camera"
    else:
        width, height = extent(Walk(FileMap(path), head.end, POLARITY, source))
        if not width:
            raise FormatError(f"{path}: holds no event and names no known camera")
        size, origin = as_size((min(width, 32767), min(height, 32767))), "data"
    return Aedat31Recording(path, options, size, origin, head)
