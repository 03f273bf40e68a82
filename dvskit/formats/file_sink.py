"""The interface of writing in format modules: a FileSink."""

from __future__ import annotations

import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

import numpy as np
from numpy.typing import NDArray

from dvskit import _files
from dvskit.errors import EventsError, GeometryError, LeftOutWarning, OutputError, count_of, warn
from dvskit.events import Events, Size
from dvskit.formats.network import Listening, LiveAddress, Outgoing, is_network
from dvskit.formats.own_code import named
from dvskit.streams import Triggers


def is_standard(path: str | PathLike[str]) -> bool:
    """Return whether a path is "-": standard input or standard output.

    `open_events("-")` and `open_sink("-", size)` read and write it.
    """
    return str(path) == "-"


class FileSink(ABC):
    """A Sink that writes one file: whole on a clean exit, not at all otherwise, unless it `keeps`.

    A path of "-" is standard output, where bytes once written stay. tcp:// and ws://HOST:PORT serve
    one receiver: the context waits for it when it is entered.

    notes        on how the events are stored, for readers of the file
    interleaves  whether triggers may come between blocks of events, and not only before them
    serves       the address that it serves, without its token; None for files and pipes
    keeps        whether an error completes the file with the events before it, if there are any:
                 for live events, which cannot be sent again

        from pathlib import Path

        class Rows(dvskit.formats.FileSink):
            format = "rows"

            def _open(self, partial):
                self._file = self._create(partial)

            def _write(self, events):
                rows = np.stack([events.t, events.x, events.y, events.p], 1)
                self._file.write(rows.astype("<i8").tobytes())

        events = dvskit.load_events("events.raw")
        with Rows(Path("events.rows"), events.sensor_size) as sink:
            sink.write(events)
    """

    format: str
    interleaves = False
    serves: str | None = None
    keeps = False
    _longest_gap_us = _longest_us = math.inf  # from one event to the next, and to the last
    _end_bytes = 0  # that each event takes again when the file is completed
    _file: BinaryIO

    def __init__(self, path: Path, size: Size, *, overwrite: bool = False) -> None:
        self._piped = is_standard(path) or is_network(path)
        self._listening: Listening | None = None
        self._outgoing: Outgoing | None = None
        if is_network(path):
            self._listening = Listening(path)
            self.serves = str(self._listening.address)
            self.path: Path = LiveAddress(self.serves)
        elif self._piped:
            self.path = _files.check_standard_output()
        else:
            self.path = _files.check_output(path, overwrite=overwrite)
        self.size = size
        self.notes: list[str] = []
        self.count = self._first = 0
        self._last: int | None = None
        self._partial = self.path if self._piped else _files.partial_path(self.path)

    def __enter__(self) -> Self:
        try:
            with named(self):
                self._open(self._partial)
        except OSError as error:
            _files.discard(self._partial, self.path)
            raise _files.not_written(self.path, error) from error
        return self

    def write(self, events: Events) -> None:
        """Append a block.

        Raises GeometryError for another size, EventsError for time that runs back. Raises
        EventsError for a time that the format cannot hold after the events before it are written.
        """
        if events.sensor_size != self.size:
            problem = f"a block of {events.sensor_size} in a file of {self.size} events"
            raise GeometryError(f"{self.path}: {problem}")
        if not len(events):
            return
        if self._last is None:
            self._first = self._last = int(events.t[0])
        if events.t[0] < self._last:
            raise EventsError(
                f"{self.path}: a block starts at {events.t[0]} us, before {self._last} us, "
                "the end of the previous one"
            )
        fitting = events[: self._fitting(events.t, self._last)]
        if len(fitting):
            self._check_room(len(fitting))
            self._guard(lambda: self._write(fitting))
            self._last = int(fitting.t[-1])
            self.count += len(fitting)
        if len(fitting) < len(events):
            raise EventsError(
                f"{self.path}: {self.format} cannot hold times from {self._first} to {self._last} "
                f"and then {events.t[len(fitting)]} us; shift or cut the events, or choose .npz"
            )

    def _fitting(self, t: NDArray[np.int64], last: int) -> int:
        """Return the number of times before the first one that the format cannot hold."""
        end_us = self._first + self._longest_us
        if int(t[-1]) <= min(last + self._longest_gap_us, end_us):
            return len(t)
        gaps = np.diff(t, prepend=last).view(np.uint64)  # a gap may exceed int64
        bad = (gaps > self._longest_gap_us) | (t > end_us)
        return int(bad.argmax()) if bad.any() else len(t)

    def _check_room(self, count: int) -> None:
        """Raise OutputError if the disk lacks space for so many events to keep, and for the end."""
        # 40 bytes hold an event of any format; 16 MB what a sink has gathered, and its index.
        needed = (1 << 24) + 40 * count + self._end_bytes * (self.count + count)
        on_disk = self.keeps and self._partial != self.path
        if on_disk and shutil.disk_usage(self._partial.parent).free < needed:
            raise OutputError(
                f"{self.path}: the disk has less than {needed >> 20} MB, which the end of the file "
                "may take; free some space or choose another place"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self._outgoing is not None:
            self._outgoing.abort()
        kept = self.keeps and self.count > 0 and not self._piped
        try:
            if kind is None or (kept and issubclass(kind, Exception)):
                self._guard(self._finish)
                self._guard(lambda: _files.finish(self._partial, self.path))
                if kind is not None:
                    events = count_of(self.count, "event")
                    warn(f"{self.path}: ends before an error, with {events}", LeftOutWarning)
            else:
                with suppress(OSError):  # buffered data for a closed pipe
                    self._abandon()
        finally:
            _files.discard(self._partial, self.path)

    def _create(self, partial: Path) -> BinaryIO:
        """Open the path of `_open` for writing, or standard output or a receiver in its place."""
        if self._listening is not None:
            self._outgoing = self._listening.accept()
            if refused := self._listening.refused:
                tcp = self._listening.address.scheme == "tcp"
                why = "without its token" if tcp else "by token, path or page"
                self.notes.append(f"refused: {count_of(refused, 'connection')} {why}")
            return cast(BinaryIO, self._outgoing)
        return _files.standard_output() if self._piped else partial.open("wb")

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            with named(self):
                action()
        except BrokenPipeError:
            raise  # the reader has closed the pipe: not an error of the place
        except OSError as error:
            raise OutputError(
                f"{self.path}: {error.strerror or error}; free some space or choose another place"
            ) from error

    @abstractmethod
    def _open(self, partial: Path) -> None:
        """Open `partial` for writing as `_file`, and write the data before the events."""

    @abstractmethod
    def _write(self, events: Events) -> None:
        """Append a block of at least one event; its size and its times are checked."""

    def _finish(self) -> None:
        """Write the data after the events, and close the file."""
        self._file.close()

    def _abandon(self) -> None:
        """Close the file, which is then removed. Must not raise."""
        self._file.close()

    def _check_triggers(self, triggers: Triggers, taken: Triggers) -> None:
        """Raise EventsError for triggers after events, repeated ones, and time that runs back."""
        if self.count or len(taken):
            raise EventsError(f"{self.path}: triggers are written once, before the events")
        self._check_forward(triggers)

    def _check_forward(self, triggers: Triggers) -> None:
        if (triggers.t[1:] < triggers.t[:-1]).any():
            raise EventsError(f"{self.path}: the time of the triggers runs back; sort them first")
