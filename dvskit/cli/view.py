"""`dvskit view`: recordings in a browser, served only to this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dvskit import _interrupt
from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.cli._clips import open_shown
from dvskit.cli._live import (
    LiveStream,
    name_of,
    one_source,
    open_seen,
    open_stream,
    window_words,
)
from dvskit.cli._options import (
    BrowserOption,
    CameraOptions,
    Force,
    PortOption,
    Reading,
    argument,
    check_writable,
    model_names,
    notes_on,
    option,
    output,
)
from dvskit.errors import ConfigError, count_of, one_line
from dvskit.events import Events, Source
from dvskit.formats import Recording, open_sink
from dvskit.formats.addresses import LiveAddress, LiveRecording, scheme_of
from dvskit.formats.keeping_up import KeepingUp

if TYPE_CHECKING:
    from dvskit.evaluation import Live, LiveDecision
    from dvskit.render.view import Decisions, ShownDecision, ViewedRecording

_END_S = 1.5  # for the last block to be written


@dataclass(frozen=True, slots=True)
class BesideCloud:
    """Images and objects beside the events.

    images   Show reconstructed images beside each cloud, by a --model of dvskit reconstruct, such
             as filter: 30 a second; beyond 240 every 2nd, 4th, ... is kept.
    objects  Follow moving objects, and show their paths.
    """

    images: str | None = option(metavar="MODEL", shown=False)
    objects: bool = False


@dataclass(frozen=True, slots=True)
class _LiveEvents:
    """Live events, and their file.

    out  Write all events of a camera (or udp://, ros://) to this file, too.
    """

    cameras: CameraOptions = field(default_factory=CameraOptions)
    out: Path | None = output()
    force: Force = False


def view(
    files: list[Path] | None = argument(),
    model: str | None = option(shown=False, autocompletion=model_names),
    live: _LiveEvents = _LiveEvents(),
    beside: BesideCloud = BesideCloud(),
    port: PortOption = 0,
    browser: BrowserOption = True,
    reading: Reading = Reading(),
) -> None:
    """Look at recordings of any length in the browser; Ctrl-C ends it.

    The page is served only to this machine. Its address is printed on standard output. More event
    files and videos can be dropped on it. Videos are emulated. Of live events the latest seconds
    are shown; a page that is too slow for them skips some, but --output misses none.

    files  Event files, videos or folders of images, shown side by side. Without any the page is
           empty; files can be dropped on it. One of - and an address ({addresses}) is shown live.
    model  A model folder, or a shipped model's name: its decision and confidence are shown beside
           each cloud.
    """
    files = files or []
    arrives = live.cameras.source() is not None or any(map(is_read_once, files))
    if arrives and beside != BesideCloud():
        named = "--images" if beside.images is not None else "--objects"
        raise ConfigError(f"{named} needs a file; write the events to one first")
    if live.out is not None and (model is not None or not arrives):
        raise ConfigError("--output is for live events without --model; dvskit convert writes "
                          "those of a file")  # fmt: skip
    if not arrives:
        _serve(viewed_from(files, model, reading, beside), port, browser)
    elif model is None:
        _show_live(files, live, reading, port, browser)
    else:
        _serve([_decided_on(files, live.cameras, model, reading)], port, browser)


def _serve(viewed: Sequence[ViewedRecording], port: int, browser: bool) -> None:
    from dvskit.render.view import ViewServer

    title = ", ".join(each.name for each in viewed) or "dvskit"
    with ViewServer(viewed, title=title, port=port) as served:
        _console.serve(served.url, browser)


def _show_live(
    files: list[Path], live: _LiveEvents, reading: Reading, port: int, browser: bool
) -> None:
    """Show live events without a model, and write them to --output."""
    out = live.out
    if out is not None and scheme_of(out) is not None:
        raise ConfigError(
            f"{LiveAddress(out)}: --output names a file; dvskit convert sends to programs"
        )
    if len(files) > 1:
        raise ConfigError(f"{files[0]}: live events are shown alone; name nothing else")
    file, recording = open_seen(files[0] if files else None, live.cameras, reading)
    if out is not None:
        if not isinstance(recording, LiveRecording):
            raise ConfigError(f"{file}: --output is for a camera, udp:// or ros://; dvskit convert "
                              "writes the events of a pipe")  # fmt: skip
        check_writable(out, None)
        check_output(out, overwrite=live.force)
        _console.announce_compiling()
    from dvskit.render.view import ViewedStream

    shown, name = ShownArrivals(recording, out, overwrite=live.force), str(recording.path)
    _console.say(f"{name}: shown as it comes" + (f", written to {out}" if out else ""))
    try:
        _serve([ViewedStream(name, shown, None)], port, browser)
    finally:
        shown.close()
        for text in shown.notes():
            _console.note(f"{name}: {text}")
        if out is not None and shown.error is None:
            _console.say(f"{out}: {count_of(shown.written, 'event')} on {shown.size}")
            _interrupt.advise(f"{out} holds the events so far")


def is_read_once(path: Path) -> bool:
    """Return whether a path is a pipe or an address, which cannot be read twice."""
    address = str(path)
    pipe = path.exists() and not path.is_file() and not path.is_dir()
    return address == "-" or scheme_of(address) is not None or pipe


def _live(model: str) -> Live:
    from dvskit.evaluation import Live
    from dvskit.models import load_model

    return Live(load_model(model))


def viewed_from(
    files: list[Path], model: str | None, reading: Reading, beside: BesideCloud = BesideCloud()
) -> Sequence[ViewedRecording]:
    """Return the views of files. Raises the errors of opening."""
    live = None if model is None else _live(model)
    opened = partial(open_shown, reading=reading, model=None if live is None else live.model)
    for file in files:
        for text in opened(file).assumptions:
            _console.note(f"{file}: {text}")
    picture = track = None
    if live is not None:
        _console.say(window_words(live))
    if beside.images is not None:
        from dvskit.reconstruction import SteadyTimes, load_reconstructor, reconstruct

        made = load_reconstructor(beside.images)
        picture = partial(reconstruct, reconstructor=made, times=SteadyTimes())
    if beside.objects:
        from dvskit.tracking import Tracker, object_blocks

        track = partial(object_blocks, tracker=Tracker())
    from dvskit.render.view import ViewedRecording

    decide = None if live is None else partial(_decisions, live)
    return [
        ViewedRecording(file.name, partial(opened, file), decide, picture=picture, track=track)
        for file in files
    ]


def _decisions(live: Live, source: Source) -> Iterator[ShownDecision]:
    """Yield decisions on a recording, fitted if it has another size."""
    from dvskit.evaluation.live import decisions_on

    return map(_decided, decisions_on(live, source))


def _decided(now: LiveDecision) -> ShownDecision:
    from dvskit.render.view import ShownDecision

    name = now.answer or ""
    return ShownDecision(now.start_us, now.stop_us, name, now.best, now.confidence, now.rate)


def _decided_on(
    files: list[Path], cameras: CameraOptions, model: str, reading: Reading
) -> ViewedRecording:
    """Return the view of a model's decisions on live events. Raises ConfigError for a mixture."""
    from dvskit.render.view import Decisions, ViewedStream

    live, source = _live(model), one_source(files, cameras)
    stream, decisions = open_stream(source, live, reading), Decisions()
    _console.say(f"{name_of(source)}: {stream.how}; {window_words(live)}")
    return ViewedStream(name_of(source), _DecidedEvents(stream, decisions), decisions)


class _DecidedEvents:
    """The events of a stream, whose decisions are recorded meanwhile."""

    def __init__(self, stream: LiveStream, decisions: Decisions) -> None:
        self.size, self.close = stream.size, stream.close
        self._stream, self._decisions = stream, decisions

    def __iter__(self) -> Iterator[Events]:
        from dvskit.evaluation.live import follow

        try:
            for arrival, found in follow(self._stream.run, self._stream.arrivals):
                for decision in found:
                    self._decisions.add(_decided(decision))
                if arrival is not None:
                    yield arrival.events
        finally:
            self._decisions.done = True


# --- live events ----------------------------------------------------------------------------------


class ShownArrivals:
    """Live events for a page, read by a thread of its own; the iterator yields them.

    out      a file that all of them are written to, if it is given
    written  their number
    skipped  the number of events that a page too slow for them did not get

    The thread waits neither for the page nor for a decision, so that the file misses nothing.
    """

    def __init__(self, recording: Recording, out: Path | None, *, overwrite: bool = False) -> None:
        self.size, self.out = recording.size, out
        self.written = self.skipped = 0
        self._recording, self._overwrite = recording, overwrite
        self._closed = threading.Event()
        self._keeping = KeepingUp(
            self._blocks() if out is None else self._written(out), self._skip, self._end
        )
        self._keeping.start()

    def __iter__(self) -> Iterator[Events]:
        for block in self._keeping.until_quiet():
            yield Events.empty(self.size) if block is None else block

    @property
    def error(self) -> BaseException | None:
        """The error of reading or writing, which has ended both; None without one."""
        return self._keeping.error

    def close(self) -> None:
        """End reading and complete the file. A reader that waits for a pipe is left waiting."""
        self._end()
        self._keeping.join(_END_S)

    def notes(self) -> list[str]:
        """Return what was skipped, lost and assumed, a line each."""
        found = notes_on(self._recording)
        if self.error is not None:
            found.append(one_line(self.error))
        if self.skipped:
            found.append(f"not shown: {count_of(self.skipped, 'event')}, faster than the page"
                         + (f"; {self.out} has them" if self.out else ""))  # fmt: skip
        return found

    def _written(self, out: Path) -> Iterator[Events]:
        with open_sink(out, self.size, overwrite=self._overwrite) as sink:
            sink.keeps = True
            for block in self._blocks():
                sink.write(block)
                self.written = sink.count
                yield block

    def _blocks(self) -> Iterator[Events]:
        for block in self._recording:
            yield block
            if self._closed.is_set():
                return

    def _skip(self, count: int) -> None:
        self.skipped += count

    def _end(self) -> None:
        self._closed.set()
        if isinstance(self._recording, LiveRecording):
            self._recording.close()
