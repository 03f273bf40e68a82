"""Lines of text as Recordings and as Sinks: shared by CSV and rpg."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import Events, Size
from dvskit.formats.file_bytes import InputStream
from dvskit.formats.file_sink import FileSink
from dvskit.formats.index_cache import NEVER, find_index, index_of
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import choose_size
from dvskit.formats.storage import ReusedStorage, Storage
from dvskit.formats.text.decoding import (
    LONGEST_LINE,
    LineDecoder,
    LineLayout,
    TextChunk,
    chunks,
    file_chunks,
)
from dvskit.formats.text.line_kernels import write

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
        decoder = LineDecoder(self._lines, self.size, self._losses(damage))
        for chunk in self._chunks(start):
            yield from decoder.push(chunk, storage)
        yield from decoder.rest()


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
    decoder = LineDecoder(lines, _ANY_SIZE, Losses(path, strict=False))
    with path.open("rb") as file:
        while high - low > LONGEST_LINE:
            middle = (low + high) // 2
            file.seek(middle)
            head, _, text = file.read(_PROBE_BYTES).partition(b"\n")
            text = text[: text.rfind(b"\n") + 1]
            chunk = TextChunk(np.frombuffer(text, np.uint8), len(text), middle + len(head) + 1)
            times = np.concatenate(
                [np.empty(0, np.int64), *(part.t for part, _ in decoder.parsed(chunk))]
            )[:_PROBED_EVENTS]
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
    decoder = LineDecoder(lines, _ANY_SIZE, Losses(path, strict=False))
    storage = ReusedStorage()
    width = height = 0
    for chunk in file_chunks(path, lines.start):
        if not chunk.too_long:
            wide, high = decoder.extent(chunk, storage)
            width, height = max(width, wide), max(height, high)
    return width, height


def _first_problem(path: Path, lines: LineLayout) -> str:
    """Return the problem of the first line that is not an event."""
    decoder = LineDecoder(lines, _ANY_SIZE, Losses(path, strict=True))
    try:
        for chunk in file_chunks(path, lines.start):
            for _ in decoder.push(chunk, Storage()):
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
