"""Lines of text to events: plain lines in a fast way on all threads, others in a slow one.

The result does not depend on the way.
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


class TextChunk(NamedTuple):
    """Lines of a file.

    data      uint8, with at least PADDING bytes after the lines; valid until the chunk after next
    end       the end of the last line in `data`; the first begins at 0
    offset    the start of the first line in the file
    too_long  bytes of a line that is too long to be an event; `end` is then 0
    """

    data: NDArray[np.uint8]
    end: int
    offset: int
    too_long: int = 0

    def find(self, start: int) -> int:
        """Return the start of the first line that begins at or after `start`, or `end`."""
        if start == 0:
            return 0
        size = 1 << 8
        for at in range(start - 1, self.end, size):
            found = np.flatnonzero(self.data[at : min(at + size, self.end)] == 10)
            if found.size:
                return at + int(found[0]) + 1
        return self.end


# Reads bytes from a place in the file on into a view; returns their number, 0 at the end.
_Fill = Callable[[memoryview, int], int]


def file_chunks(path: Path, start: int) -> Iterator[TextChunk]:
    """Yield the lines of a file from byte `start` on, the start of a line."""
    with path.open("rb", buffering=0) as file:
        yield from chunks(lambda view, at: read_at(file, at, view), start)


def chunks(fill: _Fill, start: int) -> Iterator[TextChunk]:
    """Yield the lines read by `fill`, from byte `start` on, as soon as they are complete."""
    # Before the filled part there is room for an unfinished line.
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
            buffers.reverse()  # data without a line end needs no buffer of its own
            yield TextChunk(lines, end - begin, offset)
        begun += bytes(memoryview(buffer)[first:stop])
        at += stop - first
        if len(begun) > LONGEST_LINE:
            begun, skipped = b"", len(begun)
    if skipped:
        yield _too_long(at, skipped)
    elif begun:  # the last line, without a line end
        lines = np.frombuffer(begun + bytes(k.PADDING), np.uint8)
        yield TextChunk(lines, len(begun), at - len(begun))


def _too_long(at: int, length: int) -> TextChunk:
    return TextChunk(np.empty(0, np.uint8), 0, at - length, length)


_LOSSES = 4096
_LEAST_LINE = 8  # bytes of an event: 0,0,0,0 and a line end
_SLICE_BYTES = 1 << 18  # worth a thread
_EARLIEST = int(np.iinfo(np.int64).min)
_PROBLEMS = {
    k.NOT_A_NUMBER: "field {field} is not a number",
    k.NOT_WHOLE: "field {field} is not whole{seconds}",
    k.TOO_LARGE: "field {field} is too large a number",
    k.TOO_FEW: "{found} fields instead of {fields}",
    k.TOO_MANY: "more than {fields} fields",
    k.BAD_POLARITY: "polarity is neither 0 or 1 nor -1 or 1 throughout (other columns than {names} "
    "need a header line that names them, or format='csv:...')",
    k.NO_TEXT: "a comment holds bytes that are not text",
}
_DTYPES: tuple[Any, ...] = (np.int64, np.int32, np.int32, np.bool_, np.int64, np.int64)
_FIELD_NAMES = ("t", "x", "y", "p", "-")
_PLAIN = re.compile(rb"-?[.\d]+([,; \t])-?[.\d]+\1-?[.\d]+\1-?[.\d]+(\r?)\n")


class LineLayout(NamedTuple):
    """The layout of the lines of a file.

    start    byte offset of the first line that may be an event
    fields   the kinds of fields: k.TIME, k.COLUMN, k.ROW, k.POLARITY or k.OTHER
    seconds  whether times are seconds, not microseconds
    size     the sensor's size, if the file has it
    told     whether the file or the caller gives the fields
    """

    start: int
    fields: tuple[int, ...]
    seconds: bool
    size: Size | None
    told: bool = True

    def plain(self, chunk: TextChunk) -> tuple[int, int, int]:
        """Return the layout of plain lines, from the first line of a chunk: see k.decode.

        Positions of fields (-1 if no line is plain), the separator, and the carriage returns.
        """
        found = _PLAIN.match(chunk.data[: min(chunk.end, 128)].tobytes())
        if found is None or sorted(self.fields) != [k.TIME, k.COLUMN, k.ROW, k.POLARITY]:
            return -1, 0, 0
        shifts = sum(8 * place << 8 * kind for place, kind in enumerate(self.fields))
        return shifts, found[1][0], len(found[2])


class LineDecoder:
    """One pass over the lines of a file or a pipe.

    In strict mode the first line that is invalid, off the sensor or earlier than the one before
    raises DamagedFileError. In salvage mode such lines are added to `damage`, and the lines of a
    chunk wait for those of the next one, which may show that some are ahead of their time.
    """

    def __init__(self, lines: LineLayout, size: Size, losses: Losses) -> None:
        self.lines, self.size, self.strict = lines, size, losses.strict
        self._losses = losses
        self._fields = np.array(lines.fields, np.int64)
        self._off = 0  # the value of OFF so far
        self._last = _EARLIEST
        self._waiting: tuple[TextChunk, Events, int] | None = None
        self._order = InOrder(losses, size)

    def push(self, chunk: TextChunk, storage: Storage) -> Iterator[Events]:
        """Take lines; yield the certain events."""
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
        """Yield the waiting events."""
        yield from self._order.rest()
        if self._waiting is not None:
            events, self._waiting = self._waiting[1], None
            self._order.pass_on(int(events.t[-1]))
            yield events

    def extent(self, chunk: TextChunk, storage: Storage) -> tuple[int, int]:
        """Return the number of columns and rows needed for the events of a chunk, in any order."""
        self._last = _EARLIEST
        events = self.quick(chunk, storage)
        if events is None:
            parts = (part for part, _ in self.parsed(chunk))
            return extent((part, np.zeros(len(part.t), np.bool_)) for part in parts)
        return (int(events.x.max()) + 1, int(events.y.max()) + 1) if len(events) else (0, 0)

    def quick(self, chunk: TextChunk, storage: Storage) -> Events | None:
        """Return the events of a chunk if all of its lines are valid and in order."""
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
        """Return the parts' events as one block if they are in order, also with earlier ones."""
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

    def _careful(self, chunk: TextChunk) -> Iterator[Events]:
        for columns, losses in self.parsed(chunk):
            yield from self._order.push(columns)
            for place, length, why, field in losses.tolist():
                line = chunk.data[place : place + length].tobytes()
                problem = self._problem(line, why, field)
                self._losses.lose(chunk.offset + place, length, problem)
        self._last = self._order.latest_us()

    def parsed(self, chunk: TextChunk) -> Iterator[tuple[Columns, NDArray[np.int64]]]:
        """Yield events, unchecked, and the invalid lines: (place, bytes, why, field)."""
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
            seconds = f" (if times are seconds, pass format={named!r})"
        problem = _PROBLEMS[why].format(
            field=field + 1, fields=len(kinds), found=field, names=names, seconds=seconds
        )
        return f"line {text!r}: {problem}"
