"""N-MNIST and N-Caltech101 `.bin`: 5 bytes an event from an ATIS camera.

Big-endian: x (8 bits), y (8), polarity (1, ON = 1), time in microseconds (23). A row with y = 240
is no event: the clock goes on by 2^13 us. Layout: Orchard et al. 2015, Converting static image
datasets to spiking neuromorphic datasets using saccades.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import Events, Size, as_size
from dvskit.formats.recording import BLOCK_EVENTS, Damage, ReadOptions, Recording, keep_valid
from dvskit.formats.storage import Storage

NMNIST_SIZE = Size(34, 34)
_WIDTH = 5
_OVERFLOW_ROW = 240
_OVERFLOW_US = 1 << 13


class NmnistRecording(Recording):
    """Events of an ATIS `.bin` file."""

    format = "nmnist"

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        overflows = 0
        last: int | None = None
        for start, rows in _read_rows(self.path, strict=self.strict, damage=damage):
            marks = rows[:, 1] == _OVERFLOW_ROW
            clock = overflows + np.cumsum(marks)
            overflows = int(clock[-1])
            kept = ~marks
            part = rows[kept].astype(np.int64)
            t = ((part[:, 2] & 0x7F) << 16 | part[:, 3] << 8 | part[:, 4]) + clock[
                kept
            ] * _OVERFLOW_US
            block = keep_valid(
                self.path,
                (
                    t,
                    part[:, 0].astype(np.int16),
                    part[:, 1].astype(np.int16),
                    (part[:, 2] >> 7).astype(np.bool_),
                ),
                self.size,
                last_t=last,
                offsets=start + np.flatnonzero(kept) * _WIDTH,
                width=_WIDTH,
                strict=self.strict,
                damage=damage,
            )
            if len(block):
                last = int(block.t[-1])
            yield block


def _read_rows(
    path: Path, *, strict: bool, damage: Damage
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (byte offset, rows of 5 bytes), in blocks."""
    start = 0
    with path.open("rb") as file:
        while data := file.read(BLOCK_EVENTS * _WIDTH):
            cut = len(data) % _WIDTH
            whole = len(data) - cut
            if whole:
                yield start, np.frombuffer(data, np.uint8, whole).reshape(-1, _WIDTH)
            start += whole
            if cut:
                problem = f"the last event has {cut} of {_WIDTH} bytes"
                if strict:
                    raise DamagedFileError(path, start, problem)
                damage.add(start, cut, problem)


def open_recording(path: Path, options: ReadOptions) -> NmnistRecording:
    """Open an ATIS `.bin` file. Its size is an argument, else 34x34 where all events fit it."""
    if options.size is not None:
        return NmnistRecording(path, options, options.size, "argument")
    width = height = 0
    for _, rows in _read_rows(path, strict=False, damage=Damage()):
        events = rows[rows[:, 1] != _OVERFLOW_ROW]
        if len(events):
            width = max(width, int(events[:, 0].max()) + 1)
            height = max(height, int(events[:, 1].max()) + 1)
    if not width:
        raise FormatError(f"{path}: holds no event; a .bin recording has 5 bytes for each")
    if width <= NMNIST_SIZE.width and height <= NMNIST_SIZE.height:
        recording = NmnistRecording(path, options, NMNIST_SIZE, "format")
        recording.assumptions.append("no sensor size in the file: all events fit N-MNIST's 34x34")
        return recording
    try:
        return NmnistRecording(path, options, as_size((width, height)), "data")
    except GeometryError as error:
        raise FormatError(f"{path}: {error}") from error
