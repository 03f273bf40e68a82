"""What commands show: recordings, clips, cameras and live events, opened in one way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dvskit import _interrupt
from dvskit.cli import _console
from dvskit.cli._live import open_seen
from dvskit.cli._options import CameraOptions, Reading, Span, notes_on
from dvskit.cli._writer import OutputWriter
from dvskit.errors import FormatError, count_of
from dvskit.events import Events, ReadableSource, Source
from dvskit.formats import Recording, RecordingPart
from dvskit.formats.file_sink import is_standard

if TYPE_CHECKING:
    from dvskit.models import Model

ShownFile = Annotated[
    Path,
    typer.Argument(
        help="An event file or its folder, - for standard input, or an address ({addresses}). A "
        "video or a folder of images is emulated first.",
        show_default=False,
    ),
]
_MOST_AT_ONCE = 4096  # events in windows, which take time


class CountedEvents(ReadableSource):
    """The events of a source until its end or Ctrl-C, with their count and times in a pass.

    show  called with the number of events so far
    stop  of `_console.stoppable`; None: Ctrl-C does not end them
    most  cut blocks to this many events, so that slow work on them ends soon after Ctrl-C

    Raises KeyboardInterrupt after Ctrl-C before the first event: there is no output to complete.
    """

    def __init__(
        self, source: Source, show: Callable[[int], None] | None = None,
        stop: _console.Stop | None = None, most: int = sys.maxsize,
    ) -> None:  # fmt: skip
        self.source, self.size = source, source.size
        self._show, self._stop, self._most = show, stop, most
        self.count = self.first_us = self.last_us = 0

    def __iter__(self) -> Iterator[Events]:
        self.count = 0
        for block in self._blocks():
            self.first_us = self.first_us if self.count else int(block.t[0])
            self.last_us = int(block.t[-1])
            self.count += len(block)
            if self._show is not None:
                self._show(self.count)
            yield block
        if self.stopped and not self.count:
            raise KeyboardInterrupt

    def _blocks(self) -> Iterator[Events]:
        if self._stop is None:
            yield from filter(len, self.source)
            return
        for block in self._stop.until(self.source):
            for start in range(0, len(block), self._most):
                yield block[start : start + self._most]
                if self._stop.asked:
                    return

    @property
    def words(self) -> str:
        """The count and the span, such as "5 events in 3 ms on 640x480"."""
        span = _console.describe_us(self.last_us - self.first_us + 1 if self.count else 0)
        return f"{count_of(self.count, 'event')} in {span} on {self.size}"

    @property
    def stopped(self) -> bool:
        """Whether Ctrl-C has ended them."""
        return self._stop is not None and self._stop.asked


class ShownRecording(CountedEvents):
    """The part of a recording that a command shows, or the whole: `opened` opens it.

    file  its name in messages
    start_us, stop_us  the time stamps between which it is shown; None for an open side

    Raises FormatError after a pass without events.
    """

    def __init__(
        self, file: Path, part: Recording | RecordingPart, writer: OutputWriter, unit: str,
        stop: _console.Stop | None,
    ) -> None:  # fmt: skip
        self._writer, self._unit = writer, unit
        most = _MOST_AT_ONCE if unit == "windows" else sys.maxsize
        super().__init__(part, self._show_events if unit == "events" else None, stop, most)
        self.file, self.part, self.live = file, part, part.live
        self.recording = part.recording if isinstance(part, RecordingPart) else part
        self.start_us: int | None = getattr(part, "start_us", None)
        self.stop_us: int | None = getattr(part, "stop_us", None)

    def __iter__(self) -> Iterator[Events]:
        yield from super().__iter__()
        if not self.count:
            where = "" if self.part is self.recording else " from --start to --stop"
            raise FormatError(f"{self.file}: there are no events to show{where}")

    def _show_events(self, count: int) -> None:
        self._writer.progress(count, self._unit)

    def progress(self, count: int, t_us: int, total: float | None = None, unit: str = "") -> None:
        """Show the number of frames, windows or images so far, and the time of the latest."""
        at = _console.describe_us(t_us - self.first_us)
        self._writer.progress(count, unit or self._unit, at, total)

    def note(self) -> None:
        """Print the assumptions about the recording, and the losses in the part."""
        name = self.recording.path if self.live else self.file  # a Path merges slashes of udp://
        for text in notes_on(self.part):
            _console.note(f"{name}: {text}")


@contextmanager
def opened(
    file: Path | None, reading: Reading, span: Span, writer: OutputWriter, *,
    cameras: CameraOptions = CameraOptions(), model: Model | None = None, unit: str = "events",
    stops: bool | None = None,
) -> Iterator[ShownRecording]:  # fmt: skip
    """Open what a command shows, after a check of the output, and show progress until the end.

    file   a recording, a clip, which is emulated (as those of a model), or an address; or a camera
    unit   of progress: the events that are read, or others, which the command reports
    stops  whether Ctrl-C completes the output; None: of live events
    """
    span.times()  # which checks them before anything is read
    writer.check()
    _console.announce_compiling()
    file, recording = open_seen(file, cameras, reading, model)
    part = recording if span == Span() else span.cut(recording)
    stops = recording.live if stops is None else stops
    with writer.bars, _console.stoppable() if stops else nullcontext() as stop:
        yield ShownRecording(file, part, writer, unit, stop)


@dataclass(slots=True)
class TalliedMethod:
    """A method, such as of flow, whose results `tally` takes and returns; or a step of it.

    step  of the latest pass
    """

    method: Any
    tally: Callable[[Any], Any] = lambda result: result
    step: Any = None

    def start(self, *given: Any) -> Any:
        """Return the step of one pass."""
        self.step = TalliedMethod(self.method.start(*given), self.tally)
        return self.step

    def __call__(self, events: Events) -> Any:
        return self.tally(self.method(events))

    def finish(self) -> Any:
        """Return the results of the remaining events."""
        return self.tally(self.method.finish())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)


def finish(
    writer: OutputWriter,
    shown: Sequence[ShownRecording],
    words: str = "",
    facts: dict[str, Any] | None = None,
) -> None:
    """Print notes on the recordings, then the facts as JSON with --json, else a line of words.

    Raises KeyboardInterrupt if Ctrl-C has ended the events.
    """
    for each in shown:
        each.note()
    out = None if is_standard(writer.path) else str(writer.path)
    if writer.json:
        _console.print_json({"file": str(shown[0].file), "out": out} | (facts or {}))
    elif words:
        _console.say(f"{writer.path}: {words}")
    if any(each.stopped for each in shown):
        again = "" if all(each.live for each in shown) else "; --force takes all of them"
        _interrupt.advise(f"the output holds the events so far{again}")
        raise KeyboardInterrupt
