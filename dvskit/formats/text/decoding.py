"""Lines of text to events: the plain ones by the quick way on all threads, the others by the long.

Which way a chunk of lines goes does not change what comes of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Events, Size
from dvskit.formats.file_bytes import read_at
from dvskit.formats.in_order import Columns, InOrder, extent
from dvskit.formats.losses import Losses
from dvskit.formats.recording import BLOCK_EVENTS
from dvskit.formats.storage import EventColumns, Storage
from dvskit.formats.text import line_kernels as k

CHUNK_BYTES = 1 << 23
LONGEST_LINE = 1 << 16


class Chunk(NamedTuple):
    """Lines of a file.

    data      uint8, with at least PADDING bytes behind the lines; valid until the chunk after next
    end       where the last line ends in `data`; the first begins at 0
    offset    where the first line begins in the file
    too_long  bytes of one line that is too long to be an event; `end` is 0 then
    """

    data: NDArray[np.uint8]
    end: int
    offset: int
    too_long: int = 0

    def find(self, start: int) -> int:
        """Return where the first line begins that begins at `start` or behind it, or `end`."""
        if start == 0:
            return 0
        size = 1 << 8
        for at in range(start - 1, self.end, size):
            found = np.flatnonzero(self.data[at : min(at + size, self.end)] == 10)
            if found.size:
                return at + int(found[0]) + 1
        return self.end


# Puts bytes from a place in the file on into a view; returns how many, 0 at the end.
_Fill = Callable[[memoryview, int], int]


def file_chunks(path: Path, start: int) -> Iterator[Chunk]:
    """Yield the lines of a file from byte `start` on, where a line begins."""
    with path.open("rb", buffering=0) as file:
        yield from chunks(lambda view, at: read_at(file, at, view), start)


def chunks(fill: _Fill, start: int) -> Iterator[Chunk]:
    """Yield the lines of what `fill` gives, from byte `start` on, as soon as they are whole."""
    # Ahead of what is filled there is room for a line that has begun.
    buffers = [bytearray(LONGEST_LINE + CHUNK_BYTES + k.PADDING) for _ in range(2)]
    at, begun = start, b""
    skipped = 0  # bytes of a line that is too long
    while count := fill(memoryview(buffers[0])[LONGEST_LINE : LONGEST_LINE + CHUNK_BYTES], at):
        buffer, first, stop = buffers[0], LONGEST_LINE, LONGEST_LINE + count
        if skipped:
            first = buffer.find(b"\n", first, stop) + 1 or stop
            skipped += first - LONGEST_LINE
            at += first - LONGEST_LINE
            if buffer[first - 1] == 10:
                yield _too_long(at, skipped)
                skipped = 0
        end = buffer.rfind(b"\n", first, stop) + 1
        if end:
            begin = first - len(begun)
            buffer[begin:first] = begun
            lines, offset = np.frombuffer(buffer, np.uint8)[begin:], at - len(begun)
            at += end - first
            begun, first = b"", end
            buffers.reverse()  # what holds no line end needs no buffer to itself
            yield Chunk(lines, end - begin, offset)
        begun += bytes(memoryview(buffer)[first:stop])
        at += stop - first
        if len(begun) > LONGEST_LINE:
            begun, skipped = b"", len(begun)
    if skipped:
        yield _too_long(at, skipped)
    elif begun:  # the last line, if no line end follows it
        lines = np.frombuffer(begun + bytes(k.PADDING), np.uint8)
        yield Chunk(lines, len(begun), at - len(begun))


def _too_long(at: int, length: int) -> Chunk:
    return Chunk(np.empty(0, np.uint8), 0, at - length, length)


_LOSSES = 4096
_LEAST_LINE = 8  # bytes of an event: 0,0,0,0 and a line end
_SLICE_BYTES = 1 << 18  # that are worth a thread
_EARLIEST = int(np.iinfo(np.int64).min)
_PROBLEMS = {
    k.NOT_A_NUMBER: "field {field} is no number",
    k.NOT_WHOLE: "field {field} is not whole{seconds}",
    k.TOO_LARGE: "field {field} is too large a number",
    k.TOO_FEW: "{fields} fields are meant, not {found}",
    k.TOO_MANY: "{fields} fields are meant, and there are more",
    k.BAD_POLARITY: "polarity is neither 0 or 1 nor -1 or 1 throughout (other columns than {names} "
    "need a header line that names them, or format='csv:...')",
    k.NO_TEXT: "a comment holds bytes that are no text",
}
_DTYPES: tuple[Any, ...] = (np.int64, np.int32, np.int32, np.bool_, np.int64, np.int64)
_FIELD_NAMES = ("t", "x", "y", "p", "-")
_PLAIN = re.compile(rb"-?[.\d]+([,; \t])-?[.\d]+\1-?[.\d]+\1-?[.\d]+(\r?)\n")


class Lines(NamedTuple):
    """How the lines of a file are laid out.

    start    byte offset of the first line that may be an event
    fields   what each field is: k.TIME, k.COLUMN, k.ROW, k.POLARITY or k.OTHER
    seconds  whether times are seconds, not microseconds
    size     the sensor's size where the file says it
    told     whether the file, or who reads it, says what the fields are
    odd      byte offsets and lengths of lines ahead of the events that are no text
    """

    start: int
    fields: tuple[int, ...]
    seconds: bool
    size: Size | None
    told: bool = True
    odd: tuple[tuple[int, int], ...] = ()

    def plain(self, chunk: Chunk) -> tuple[int, int, int]:
        """Return how plain lines of a chunk are written, told by its first: see k.decode.

        Where fields are (-1 if no line is plain), the separator, and the carriage returns.
        """
        found = _PLAIN.match(chunk.data[: min(chunk.end, 128)].tobytes())
        if found is None or sorted(self.fields) != [k.TIME, k.COLUMN, k.ROW, k.POLARITY]:
            return -1, 0, 0
        shifts = sum(8 * place << 8 * kind for place, kind in enumerate(self.fields))
        return shifts, found[1][0], len(found[2])


class LineDecoder:
    """One pass over the lines of a file or a pipe.

    In strict mode the first line that is no event, is off the sensor or runs back in time raises
    DamagedFileError. In salvage mode such lines are added to `damage`, and the lines of a chunk
    wait for those of the next one, which may show that some stand ahead of their time.
    """

    def __init__(self, lines: Lines, size: Size, losses: Losses) -> None:
        self.lines, self.size, self.strict = lines, size, losses.strict
        self._losses = losses
        self._fields = np.array(lines.fields, np.int64)
        self._off = 0  # how OFF has been written so far
        self._last = _EARLIEST
        self._waiting: tuple[Chunk, Events, int] | None = None
        self._order = InOrder(losses, size)

    def push(self, chunk: Chunk, storage: Storage) -> Iterator[Events]:
        """Take lines; yield the events that are certain."""
        if chunk.too_long:
            problem = f"a line has more than {LONGEST_LINE} bytes"
            self._losses.lose(chunk.offset, chunk.too_long, problem)
            return
        off = self._off
        events = self.quick(chunk, storage if self.strict else Storage())
        if events is None:
            if self._waiting is not None:
                (waiting, _, self._off), self._waiting = self._waiting, None
                yield from self._careful(waiting)
            yield from self._careful(chunk)
        elif self.strict:
            self._order.pass_on(self._last)
            yield events
        elif len(events):
            yield from self.rest()
            self._waiting = chunk, events, off

    def rest(self) -> Iterator[Events]:
        """Yield what has waited."""
        yield from self._order.rest()
        if self._waiting is not None:
            events, self._waiting = self._waiting[1], None
            self._order.pass_on(int(events.t[-1]))
            yield events

    def extent(self, chunk: Chunk, storage: Storage) -> tuple[int, int]:
        """Return how many columns and rows the events of a chunk need, in order or not."""
        self._last = _EARLIEST
        events = self.quick(chunk, storage)
        if events is None:
            parts = (part for part, _ in self.parsed(chunk))
            return extent((part, np.zeros(len(part.t), np.bool_)) for part in parts)
        return (int(events.x.max()) + 1, int(events.y.max()) + 1) if len(events) else (0, 0)

    def quick(self, chunk: Chunk, storage: Storage) -> Events | None:
        """Return the events of a chunk if all of its lines are well, and follow those ahead."""
        parts = max(1, min(thread_count(), chunk.end // _SLICE_BYTES))
        bounds = [chunk.find(chunk.end * part // parts) for part in range(parts)] + [chunk.end]
        counts, ends = [0] * parts, [0] * parts
        states = np.zeros((parts, k.STATE_FIELDS), np.int64)
        states[:, k.S_OFF] = self._off
        plain = self.lines.plain(chunk)

        def count(part: int) -> None:
            counts[part] = 1 + k.count_lines(chunk.data[bounds[part] : bounds[part + 1]])

        run_parts(count, parts)
        columns = storage.columns(sum(counts))

        def work(part: int) -> None:
            room = columns.part(slice(sum(counts[:part]), None))
            ends[part] = k.decode(
                chunk.data, bounds[part], bounds[part + 1], self._fields, *plain,
                self.lines.seconds, *self.size, states[part], room,
            )  # fmt: skip

        run_parts(work, parts)
        off = int(np.bitwise_or.reduce(states[:, k.S_OFF]))
        if ends != bounds[1:] or off == k.OFF_IS_ZERO | k.OFF_IS_MINUS:
            return None
        events = self._joined(columns, counts, states[:, k.S_EVENTS].tolist())
        if events is not None and len(events):
            self._last, self._off = int(events.t[-1]), off
        return events

    def _joined(self, columns: EventColumns, room: list[int], counts: list[int]) -> Events | None:
        """Return the parts' events as one block if they follow each other, and those ahead."""
        last, n, place = self._last, 0, 0
        for length, count in zip(room, counts, strict=True):
            if count and columns.t[place] < last:
                return None
            if count:
                last = columns.t[place + count - 1]
            if place != n:
                part = columns.part(slice(place, place + count))
                columns.part(slice(n, n + count)).fill(part.copy())
            place, n = place + length, n + count
        return columns.events(n, self.size)

    def _careful(self, chunk: Chunk) -> Iterator[Events]:
        for columns, losses in self.parsed(chunk):
            yield from self._order.push(columns)
            for place, length, why, field in losses.tolist():
                line = chunk.data[place : place + length].tobytes()
                problem = self._problem(line, why, field)
                self._losses.lose(chunk.offset + place, length, problem)
        self._last = self._order.latest_us()

    def parsed(self, chunk: Chunk) -> Iterator[tuple[Columns, NDArray[np.int64]]]:
        """Yield events, unchecked, and the lines that are none: (place, bytes, why, field)."""
        state = np.zeros(k.STATE_FIELDS, np.int64)
        state[k.S_OFF] = self._off
        losses = np.empty((_LOSSES, 4), np.int64)
        count = min(BLOCK_EVENTS, chunk.end // _LEAST_LINE + 1)
        at = 0
        while at < chunk.end:
            columns = Columns(*(np.empty(count, kind) for kind in _DTYPES))
            state[k.S_EVENTS] = state[k.S_LOSSES] = 0
            at = k.parse(
                chunk.data, at, chunk.end, self._fields, self.lines.seconds, self.strict, state,
                columns, losses,
            )  # fmt: skip
            self._off = int(state[k.S_OFF])
            found = columns.part(slice(0, int(state[k.S_EVENTS])))
            yield found._replace(offsets=found.offsets + chunk.offset), losses[: state[k.S_LOSSES]]

    def _problem(self, line: bytes, why: int, field: int) -> str:
        text = line[:40].decode("latin-1").strip()
        kinds = self.lines.fields
        names = ",".join(_FIELD_NAMES[kind] for kind in kinds)
        seconds = ""
        if why == k.NOT_WHOLE and field < len(kinds) and kinds[field] == k.TIME:
            named = f"csv:{names.replace('t', 't_s')}"
            seconds = f" (if times are seconds, pass format={named!r}, --from {named})"
        problem = _PROBLEMS[why].format(
            field=field + 1, fields=len(kinds), found=field, names=names, seconds=seconds
        )
        return f"line {text!r}: {problem}"
