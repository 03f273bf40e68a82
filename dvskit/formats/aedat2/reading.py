"""AEDAT 1 and 2 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError
from dvskit.events import Events, Size
from dvskit.formats.aedat2.alignment import aligned_words
from dvskit.formats.aedat2.chips import Chip, chip_names, guess_chip, named_chip
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.recording import BLOCK_EVENTS, Damage, ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage

_MAGIC = b"#!AER-DAT"
_OLDEST = b"# This is a raw AE data file"  # version 1, before files said their version
_LINE_BYTES = 1 << 16
_GUESS_WORDS = 1 << 20
_WRAP_US = 1 << 32
# The longest step that may lie across a wrap; damaged times must not pass for wraps.
_LONGEST_STEP_US, _LONGEST_SALVAGED_STEP_US = 1 << 30, 1 << 24


class _Head(NamedTuple):
    version: int
    keys: Mapping[str, str]
    end: int

    @property
    def words(self) -> np.dtype[Any]:
        return np.dtype([("address", ">u2" if self.version == 1 else ">u4"), ("t", ">i4")])


def _is_text(line: bytes) -> bool:
    # An address may begin with the byte of a '#': a line of text has no control characters.
    return line.endswith(b"\n") and all(byte >= 32 or byte in b"\t\r\n" for byte in line)


def _read_head(path: Path) -> _Head:
    with path.open("rb") as file:
        first = file.readline(_LINE_BYTES)
        if first.startswith(_OLDEST):
            version = 1
        elif first.startswith(_MAGIC) and first[len(_MAGIC) :].strip() in (b"1.0", b"2.0"):
            version = int(first[len(_MAGIC) : len(_MAGIC) + 1])
        else:
            raise FormatError(
                f"{path}: starts with {first[:16]!r}, AEDAT 1 or 2 with {_MAGIC.decode()}1.0 or 2.0"
            )
        keys: dict[str, str] = {}
        end = file.tell()
        while (line := file.readline(_LINE_BYTES)).startswith(b"#") and _is_text(line):
            end = file.tell()
            text = line[1:].decode("latin-1").strip()
            if text == "End Of ASCII Header":
                break
            key, colon, value = text.partition(":")
            if colon and line.startswith(b"# ") and key[:1].isalpha():
                keys[key] = value.strip()
    return _Head(version, keys, end)


class Aedat2Recording(Recording):
    """Events of an AEDAT 1 or 2 file; frame, IMU and external words are counted, not read."""

    format = "aedat2"

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        head: _Head,
        chip: Chip,
    ) -> None:
        super().__init__(path, options, size, origin)
        self.chip = chip
        self._head = head
        self.assumptions.append(
            f"x is counted from the right and y from the bottom in the file, as jAER does with "
            f"{chip.name}: (0, 0) here is ({chip.size.width - 1}, {chip.size.height - 1}) there"
        )

    def header(self) -> Mapping[str, str]:
        """Return the version, the chip, and what the header's comments say."""
        return {
            "version": f"{self._head.version}.0",
            "chip": self.chip.name,
            **self._head.keys,
        }

    def other_streams(self) -> Mapping[str, int]:
        """Count the words that are no events, by kind."""
        others = self.chip.layout.others
        counts = np.zeros(len(others) + 1, np.int64)
        for _, words in _read_words(self.path, self._head):
            kind = self.chip.layout.decode(words["address"].astype(np.uint32)).kind
            counts += np.bincount(kind, minlength=len(counts))
        return {
            other[0]: count
            for other, count in zip(others, counts[1:].tolist(), strict=True)
            if count
        }

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        order = InOrder(self.path, self.size, strict=self.strict, damage=damage)
        clock = _Clock(_LONGEST_STEP_US if self.strict else _LONGEST_SALVAGED_STEP_US)
        width = self._head.words.itemsize
        for start, words in self._words(damage):
            decoded = self.chip.layout.decode(words["address"].astype(np.uint32))
            offsets = start + np.arange(len(words)) * width
            is_event = (decoded.kind == 0) & ~decoded.impossible
            columns = Columns(
                t=clock.count_on(words["t"][is_event].astype(np.int64)),
                x=self.chip.size.width - 1 - decoded.x[is_event],
                y=self.chip.size.height - 1 - decoded.y[is_event],
                p=decoded.p[is_event],
                offsets=offsets[is_event],
                widths=np.full(np.count_nonzero(is_event), width),
            )
            bad = np.flatnonzero(decoded.impossible)
            if self.strict and bad.size:
                ahead = columns.offsets < offsets[bad[0]]
                yield from order.push(columns.part(ahead))
            for place in bad.tolist():
                address = int(words["address"][place])
                self._lose(
                    damage,
                    int(offsets[place]),
                    width,
                    f"address {address:#010x} is none that a {self.chip.name} sends",
                )
            yield from order.push(columns)
        yield from order.rest()

    def _words(self, damage: Damage) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (byte offset, words); in salvage mode lined up anew behind missing bytes."""
        if not self.strict and self.path.stat().st_size > self._head.end:
            yield from aligned_words(
                np.memmap(self.path, np.uint8, "r"),
                self._head.end,
                self._head.words,
                self._possible,
                lambda *loss: self._lose(damage, *loss),
            )
            return
        yield from _read_words(self.path, self._head)
        width = self._head.words.itemsize
        cut = (self.path.stat().st_size - self._head.end) % width
        if cut:
            offset = self.path.stat().st_size - cut
            self._lose(damage, offset, cut, f"the last word has {cut} of {width} bytes")

    def _possible(self, words: NDArray[Any]) -> NDArray[np.bool_]:
        """Judge which words can be what the chip sends."""
        decoded = self.chip.layout.decode(words["address"].astype(np.uint32))
        size = self.chip.size
        on_sensor = (decoded.x < size.width) & (decoded.y < size.height)
        return ~decoded.impossible & (on_sensor | (decoded.kind > 0))

    def _lose(self, damage: Damage, offset: int, length: int, problem: str) -> None:
        if self.strict:
            raise DamagedFileError(self.path, offset, problem)
        damage.add(offset, length, problem)


class _Clock:
    """Makes times that count on out of signed 32-bit ones, which wrap after 71.6 minutes.

    A lone wrong time that looks like a wrap is taken back by the next right one.
    """

    def __init__(self, longest_step_us: int) -> None:
        self._longest = longest_step_us
        self._wraps = 0
        self._last: int | None = None

    def count_on(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(t):
            return t
        first = int(t[0]) if self._last is None else self._last
        steps = np.diff(t, prepend=first)
        on = (steps + _WRAP_US >= 0) & (steps + _WRAP_US <= self._longest)
        back = (steps - _WRAP_US <= 0) & (steps - _WRAP_US >= -self._longest)
        wraps = self._wraps + np.cumsum(on.astype(np.int64) - back)
        self._wraps, self._last = int(wraps[-1]), int(t[-1])
        return t + (wraps << 32)


def _read_words(path: Path, head: _Head) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (byte offset, words), in blocks; a word that the end cuts is left out."""
    width = head.words.itemsize
    start = head.end
    with path.open("rb") as file:
        file.seek(start)
        while data := file.read(BLOCK_EVENTS * width):
            yield start, np.frombuffer(data, head.words, len(data) // width)
            start += len(data)


def _guess(path: Path, head: _Head, size: Size | None) -> Chip:
    for _, words in _read_words(path, head):
        if len(words):
            return guess_chip(words["address"][:_GUESS_WORDS].astype(np.uint32), size)
        break
    raise FormatError(
        f"{path}: holds no event, and no AEChip line says which chip wrote it "
        f"({', '.join(chip_names())})"
    )


def open_recording(path: Path, options: ReadOptions) -> Aedat2Recording:
    """Open an AEDAT 1 or 2 file.

    The chip, and with it the sensor's size, is the one that the header names, else that which the
    addresses point to. Raises FormatError for other versions and where nothing tells the chip.
    """
    head = _read_head(path)
    named = head.keys.get("AEChip", "")
    chip = named_chip(named)
    guessed = chip is None
    if chip is None:
        chip = _guess(path, head, options.size)
    origin: SizeOrigin = "data" if guessed else "camera"
    if options.size is not None:
        origin = "argument"
    recording = Aedat2Recording(path, options, options.size or chip.size, origin, head, chip)
    if guessed:
        said = f"the header names {named}, which is unknown" if named else "the header names none"
        note = f"chip {chip.name} ({chip.size}) is guessed from the bits of the addresses: {said}"
        # It takes the place of the line on a size from the data: the size is the chip's.
        recording.assumptions[: 1 if origin == "data" else 0] = [note]
    return recording
