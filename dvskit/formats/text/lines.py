"""Lines of text as events, as Recordings and as Sinks: shared by CSV and rpg."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import Events, Size
from dvskit.formats.file_bytes import InputStream, read_at
from dvskit.formats.file_sink import FileSink
from dvskit.formats.index_cache import NEVER, find_index, index_of
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import choose_size
from dvskit.formats.storage import EventColumns, ReusedStorage, Storage, new_columns
from dvskit.formats.text import line_kernels as k
from dvskit.formats.text.line_kernels import PADDING, write
from dvskit.formats.validate import DecodedBlock, LostRows, Validator, extent

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


_SLICE_BYTES = 1 << 18  # worth a thread
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
            return _NOT_PLAIN
        shifts = sum(8 * place << 8 * kind for place, kind in enumerate(self.fields))
        return shifts, found[1][0], len(found[2])


class LineDecoder:
    """One pass over the lines of a file or a pipe."""

    def __init__(self, lines: LineLayout, size: Size) -> None:
        self.lines, self.size = lines, size
        self._fields = np.array(lines.fields, np.int64)
        self._off = 0  # the value of OFF so far

    def block(self, chunk: TextChunk, storage: Storage) -> DecodedBlock:
        """Return the events of a chunk, unchecked, and its lines that are not events."""
        parts = max(1, min(thread_count(), chunk.end // _SLICE_BYTES))
        bounds = [chunk.find(chunk.end * part // parts) for part in range(parts)] + [chunk.end]
        counts = [0] * parts

        def count(part: int) -> None:
            counts[part] = 1 + k.count_lines(chunk.data[bounds[part] : bounds[part + 1]])

        run_parts(count, parts)
        columns, off, plain = storage.columns(sum(counts)), self._off, self.lines.plain(chunk)
        losses = np.empty((sum(counts), k.LOSS_FIELDS), np.int32)  # unused rows take no memory
        firsts = [sum(counts[:part]) for part in range(parts)]
        states = np.zeros((parts, k.STATE_FIELDS), np.int64)

        def work(part: int) -> None:
            first = firsts[part]
            span, room = (bounds[part], bounds[part + 1]), columns.part(slice(first, None))
            states[part] = self._decode(chunk, span, plain, off, room, losses[first:], _NO_PLACES)

        run_parts(work, parts)
        whole = 0, chunk.end
        if np.bitwise_or.reduce(states[:, k.S_OFF]) == k.OFF_IS_ZERO | k.OFF_IS_MINUS:
            # The first polarity in the file counts: line by line, from the first one on.
            firsts, states, plain = [0], states[:1], _NOT_PLAIN
            states[0] = self._decode(chunk, whole, plain, off, columns, losses, _NO_PLACES)
        self._off = int(np.bitwise_or.reduce(states[:, k.S_OFF]))
        events, ordered = _joined(columns, firsts, states[:, k.S_EVENTS].tolist())
        lost = self._lost(chunk, losses, firsts, states)

        def places() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            found = np.empty((2, sum(counts)), np.int64)
            room = new_columns(sum(counts)), np.empty((sum(counts), k.LOSS_FIELDS), np.int32)
            self._decode(chunk, whole, plain, off, *room, found)
            offsets, widths = found[:, : len(events.t)]
            return offsets + chunk.offset, widths

        is_valid = ordered and not states[:, k.S_BAD].any()
        return DecodedBlock(events, places, (lost,), is_valid)

    def _decode(
        self,
        chunk: TextChunk,
        span: tuple[int, int],
        plain: tuple[int, int, int],
        off: int,
        columns: EventColumns,
        losses: NDArray[np.int32],
        places: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Decode the lines of a span; return the state of the loop after it."""
        state = np.zeros(k.STATE_FIELDS, np.int64)
        state[k.S_OFF] = off
        k.decode(
            chunk.data, *span, self._fields, *plain, self.lines.seconds,
            *self.size, state, columns, losses, places,
        )  # fmt: skip
        return state

    def _lost(
        self,
        chunk: TextChunk,
        losses: NDArray[np.int32],
        firsts: list[int],
        states: NDArray[np.int64],
    ) -> LostRows:
        """Return the lines that are not events; none of them has a row."""
        found, before = [np.empty((0, k.LOSS_FIELDS), np.int64)], 0
        for first, state in zip(firsts, states.tolist(), strict=True):
            rows = losses[first : first + state[k.S_LOSSES]].astype(np.int64)
            rows[:, k.L_ROW] += before
            found.append(rows)
            before += state[k.S_EVENTS]
        table = np.concatenate(found)
        places, lengths = table[:, k.L_PLACE], table[:, k.L_BYTES]

        def problem(i: int) -> str:
            _, place, length, why, field = table[i].tolist()
            return self._problem(chunk.data[place : place + length].tobytes(), why, field)

        rows = table[:, k.L_ROW]
        return LostRows(rows, rows, chunk.offset + places, lengths, problem)

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


_NO_PLACES = np.empty((2, 0), np.int64)
_NOT_PLAIN = -1, 0, 0


def _joined(
    columns: EventColumns, firsts: list[int], counts: list[int]
) -> tuple[EventColumns, bool]:
    """Return the parts' events as one block, and whether each part follows the one before it."""
    n, ordered = 0, True
    for place, count in zip(firsts, counts, strict=True):
        if count and n:
            ordered &= bool(columns.t[place] >= columns.t[n - 1])
        if place != n:
            part = columns.part(slice(place, place + count))
            columns.part(slice(n, n + count)).fill(part.copy())
        n += count
    return columns.part(slice(0, n)), ordered


HEAD_BYTES = 1 << 16
_ANY_SIZE = Size(32767, 32767)
_KEPT_BYTES = 1 << 24  # from this file size on, a found sensor size is cached
_PROBE_BYTES = 1 << 12
_PROBED_EVENTS = 15
BUFFER_BYTES = 1 << 20  # of lines to write


class TextRecording(Recording):
    """Events of a text file."""

    sortable = True

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, lines: LineLayout
    ) -> None:
        super().__init__(path, options, size, origin)
        self._lines = lines
        if not lines.told:
            self.assumptions.append(
                "no header line: the columns are t, x, y, p (others: format='csv:x,y,t,p')"
            )

    def _chunks(self, start: int) -> Iterable[TextChunk]:
        return file_chunks(self.path, start)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._decode(self._lines.start, damage, storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._decode(find_time(self.path, self._lines, start_us), damage, storage)

    def _decode(self, start: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        losses = self._losses(damage)
        return _decoded(self._chunks(start), self._lines, self.size, losses, storage)


def _decoded(
    chunks: Iterable[TextChunk], lines: LineLayout, size: Size, losses: Losses, storage: Storage
) -> Iterator[Events]:
    """Yield the valid events of lines."""
    decoder, validator = LineDecoder(lines, size), Validator(losses, size)
    for chunk in chunks:
        if chunk.too_long:
            problem = f"a line has more than {LONGEST_LINE} bytes"
            losses.lose(chunk.offset, chunk.too_long, problem)
        else:
            yield from validator.push(decoder.block(chunk, storage))
    yield from validator.rest()


class TextStream(TextRecording):
    """Events of text that arrives on a pipe: it can be read once.

    In strict mode lines are yielded as they arrive. In salvage mode a line waits for those that
    arrive next, which may show that it is ahead of its time.
    """

    def __init__(
        self,
        stream: InputStream,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        lines: LineLayout,
        format: str,
    ) -> None:
        super().__init__(Path(stream.name), options, size, origin, lines)
        self.format = format
        self._stream, self._read_once = stream, False

    def _chunks(self, start: int) -> Iterable[TextChunk]:
        if self._read_once:
            raise FormatError(f"{self.path}: was already read, and a pipe can be read once")
        self._read_once = True
        self._stream.readinto(memoryview(bytearray(start)))
        return chunks(lambda view, _: self._stream.readinto(view), start)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._blocks(damage, storage)


def find_time(path: Path, lines: LineLayout, start_us: int) -> int:
    """Return the start of a line before all events from `start_us` on.

    Found by bisection: a place is before the time if most of some lines there are, so a damaged
    line has no effect.
    """
    low, high = lines.start, path.stat().st_size
    decoder = LineDecoder(lines, _ANY_SIZE)
    with path.open("rb") as file:
        while high - low > LONGEST_LINE:
            middle = (low + high) // 2
            file.seek(middle)
            head, _, text = file.read(_PROBE_BYTES).partition(b"\n")
            text = text[: text.rfind(b"\n") + 1]
            data = np.frombuffer(text + bytes(PADDING), np.uint8)
            chunk = TextChunk(data, len(text), middle + len(head) + 1)
            times = decoder.block(chunk, Storage()).columns[0][:_PROBED_EVENTS]
            if not len(times):
                break  # no valid lines here: read on from the last known place
            if np.sort(times)[len(times) // 2] < start_us:
                low = chunk.offset
            else:
                high = middle
    return low


class FirstLines(NamedTuple):
    """The first lines of a text, without white space at their ends, and their offsets.

    `end` is the byte offset after them.
    """

    lines: list[tuple[int, str]]
    end: int

    def following(self, place: int) -> int:
        """Return the byte offset of the line after one of the lines."""
        return self.lines[place + 1][0] if place + 1 < len(self.lines) else self.end


def no_lines(
    name: str, head: FirstLines, options: ReadOptions, fields: tuple[int, ...], *, seconds: bool
) -> LineLayout:
    """Return the layout of the lines of a text without any.

    Raises FormatError unless the sensor's size is given: such a text may be of another kind.
    """
    if options.size is None:
        raise FormatError(
            f"{name}: holds no line of events; if it should be empty, pass size=(width, height)"
        )
    return LineLayout(head.end, fields, seconds, None)


def _split(name: str | Path, head: bytes) -> FirstLines:
    """Return the first lines. Raises FormatError if those up to the first event are not text."""
    lines, at, leading = [], 0, True
    for line in head.splitlines(keepends=True):
        if leading and b"\0" in line:
            raise FormatError(f"{name}: is not text: byte {at + line.index(0)} is 0")
        text = line.decode("latin-1").strip()
        leading = leading and (not text or text[0] in "#%")
        lines.append((at, text))
        at += len(line)
    return FirstLines(lines, at)


def _peek_head(stream: InputStream) -> FirstLines:
    """Return the first lines that arrive on a pipe, up to one that is not a comment.

    Waits until that line is complete. Raises FormatError for bytes that are not text.
    """
    head = b""
    while len(more := stream.peek_more()) > len(head):
        head = more
        whole = _split(stream.name, head[: head.rfind(b"\n") + 1])
        if any(line and line[0] not in "#%" for _, line in whole.lines) or len(head) > HEAD_BYTES:
            return whole
    return _split(stream.name, head)


def _extent(path: Path, lines: LineLayout) -> tuple[int, int]:
    decoder, storage = LineDecoder(lines, _ANY_SIZE), ReusedStorage()
    chunks = (chunk for chunk in file_chunks(path, lines.start) if not chunk.too_long)
    return extent(decoder.block(chunk, storage).columns[1:3] for chunk in chunks)


def _first_problem(path: Path, lines: LineLayout) -> str:
    """Return the problem of the first line that is not an event."""
    losses, chunks = Losses(path, strict=True), file_chunks(path, lines.start)
    try:
        for _ in _decoded(chunks, lines, _ANY_SIZE, losses, Storage()):
            pass
    except DamagedFileError as error:
        return f"byte {error.offset}, {error.problem}"
    return "the sensor's size is unknown: pass size=(width, height)"


class TextSink(FileSink):
    """Writes one event per line: t, x, y, p, ON = 1."""

    head: bytes
    separator: bytes
    seconds: bool

    def _open(self, partial: Path) -> None:
        self._file = self._create(partial)
        self._data = np.empty(BUFFER_BYTES, np.uint8)
        self._file.write(self.head)
        self.notes.append(
            f"a {self.format} file cannot store the sensor's size: "
            f"pass size={tuple(self.size)} to read it back unchanged"
        )

    def _write(self, events: Events) -> None:
        at = 0
        while at < len(events):
            at, count = write(
                events.t, events.x, events.y, events.p, at,
                self.seconds, ord(self.separator), self._data,
            )  # fmt: skip
            self._file.write(self._data[:count].data)


class TextFormat(NamedTuple):
    """A text format, with the functions that open it.

    find_layout  returns the layout of all lines from a name, for messages, and the first lines
    """

    recording: type[TextRecording]
    find_layout: Callable[[str, FirstLines, ReadOptions], LineLayout]

    def open_recording(self, path: Path, options: ReadOptions) -> TextRecording:
        """Open a text file. Raises FormatError if the layout of its lines is unknown."""
        with path.open("rb") as file:
            head = _split(path, file.read(HEAD_BYTES))
        lines = self.find_layout(str(path), head, options)

        def of_events() -> Size:
            if path.stat().st_size < _KEPT_BYTES:
                width, height = _extent(path, lines)
            else:
                kept = find_index(
                    path,
                    f"text size {lines}",
                    lambda: index_of([(NEVER, lines.start, *_extent(path, lines))]),
                )
                width, height = kept.state[0].tolist()
            if not width:
                raise FormatError(f"{path}: no line is an event; {_first_problem(path, lines)}")
            return Size(width, height)

        size, origin = choose_size(options, lambda: lines.size, of_events)
        return self.recording(path, options, size, origin, lines)

    def open_stream(self, stream: InputStream, options: ReadOptions) -> TextStream:
        """Open lines that arrive on a pipe.

        Raises FormatError if their layout is unknown, GeometryError if neither they nor the
        argument have the size.
        """
        head = _peek_head(stream)
        lines = self.find_layout(stream.name, head, options)

        def of_events() -> Size:
            raise GeometryError(
                f"{stream.name}: the sensor's size is unknown, and a pipe cannot be read ahead; "
                "pass size=(width, height)"
            )

        size, origin = choose_size(options, lambda: lines.size, of_events)
        return TextStream(stream, options, size, origin, lines, self.recording.format)
