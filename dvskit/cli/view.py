"""`dvskit view`: recordings in a browser, served only to this machine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dvskit import _interrupt
from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.cli._clips import open_shown
from dvskit.cli._live_stream import LiveStream, live_source, open_seen, open_stream, window_words
from dvskit.cli._live_view import ShownArrivals
from dvskit.cli._options import (
    CameraOptions,
    Force,
    Reading,
    argument,
    check_writable,
    model_names,
    option,
)
from dvskit.cli._serving import BrowserOption, PortOption, check_port, serve
from dvskit.cli.track import object_blocks
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, Source
from dvskit.formats.addresses import ADDRESSES, LiveAddress, LiveRecording, scheme_of

if TYPE_CHECKING:
    from dvskit.evaluation import Live, LiveDecision
    from dvskit.reconstruction import Reconstructed
    from dvskit.render.view import Decided, Decisions, Viewed


@dataclass(frozen=True, slots=True)
class BesideCloud:
    """Options of images and objects beside the events: --images and --objects."""

    images: str | None = option(
        "Show reconstructed images beside each cloud, by a --model of dvskit reconstruct, such as "
        "filter: 30 a second; beyond 240 every 2nd, 4th, ... is kept.",
        metavar="MODEL", shown=False,
    )  # fmt: skip
    objects: bool = option(
        "Follow moving objects, and show their paths.", "--objects", default=False
    )


@dataclass(frozen=True, slots=True)
class _LiveView:
    """Live events: the options --camera, --bias, --out and --force."""

    cameras: CameraOptions = field(default_factory=CameraOptions)
    out: Path | None = option(
        "Write all events of a camera (or udp://, ros://) to this file, too.",
        "-o", "--out", shown=False,
    )  # fmt: skip
    force: Force = False


def view(
    files: list[Path] | None = argument(
        "Event files, videos or folders of images, shown side by side. Without any the page is "
        f"empty; files can be dropped on it. One of - and an address ({ADDRESSES}) is shown live."
    ),
    model: str | None = option(
        "A model folder, or a shipped model's name: its decision and confidence are shown beside "
        "each cloud.",
        shown=False, autocompletion=model_names,
    ),
    live: _LiveView = _LiveView(),
    beside: BesideCloud = BesideCloud(),
    port: PortOption = 0,
    browser: BrowserOption = True,
    reading: Reading = Reading(),
) -> None:  # fmt: skip
    """Look at recordings of any length in the browser; Ctrl-C ends it.

    The page is served only to this machine. Its address is printed on standard output. More event
    files and videos can be dropped on it. Videos are emulated. Of live events the latest seconds
    are shown; a page that is too slow for them skips some, but --out misses none.
    """
    check_port(port)
    files = files or []
    if live.cameras.source() is not None or any(map(is_read_once, files)):
        if beside != BesideCloud():
            named = "--images" if beside.images is not None else "--objects"
            raise ConfigError(f"{named} needs a file; write the events to one first")
        if model is None:
            _show_live(files, live, reading, port, browser)
            return
        if live.out is not None:
            raise ConfigError("--out records without --model; leave out one of them")
        viewed: Sequence[Viewed] = [arriving(files, live.cameras, _live(model), reading)]
    elif live.out is not None:
        raise ConfigError("--out is for live events; dvskit convert writes those of a file")
    else:
        viewed = viewed_from(files, model, reading, beside)
    _serve(viewed, port, browser)


def _serve(viewed: Sequence[Viewed], port: int, browser: bool) -> None:
    from dvskit.render.view import ViewServer

    title = ", ".join(each.name for each in viewed) or "dvskit"
    with ViewServer(viewed, title=title, port=port) as served:
        serve(served, browser)


def _show_live(
    files: list[Path], live: _LiveView, reading: Reading, port: int, browser: bool
) -> None:
    """Show live events without a model, and write them to --out."""
    if live.out is not None and scheme_of(live.out) is not None:
        raise ConfigError(
            f"{LiveAddress(live.out)}: --out names a file; dvskit convert sends to programs"
        )
    if len(files) > 1:
        raise ConfigError(f"{files[0]}: live events are shown alone; name nothing else")
    file, recording = open_seen(files[0] if files else None, live.cameras, reading)
    if live.out is not None:
        if not isinstance(recording, LiveRecording):
            raise ConfigError(f"{file}: --out is for a camera, udp:// or ros://; dvskit convert "
                              "writes the events of a pipe")  # fmt: skip
        check_writable(live.out, None)
        check_output(live.out, overwrite=live.force)
        _console.announce_compiling()
    from dvskit.render.view import ViewedLive

    shown = ShownArrivals(recording, live.out, overwrite=live.force)
    name = str(recording.path)
    _console.say(f"{name}: shown as it comes" + (f", written to {live.out}" if live.out else ""))
    try:
        _serve([ViewedLive(name, shown, None)], port, browser)
    finally:
        shown.close()
        for text in shown.notes():
            _console.note(f"{name}: {text}")
        if live.out is not None and shown.error is None:
            _console.say(f"{live.out}: {count_of(shown.written, 'event')} on {shown.size}")
            _interrupt.advise(f"{live.out} holds the events so far")


def viewed_from(
    files: list[Path], model: str | None, reading: Reading, beside: BesideCloud = BesideCloud()
) -> Sequence[Viewed]:
    """Return the views of files. Raises the errors of opening."""
    return _recordings(files, reading, None if model is None else _live(model), beside)


def is_read_once(path: Path) -> bool:
    """Return whether a path is a pipe or an address, which cannot be read twice."""
    address = str(path)
    pipe = path.exists() and not path.is_file() and not path.is_dir()
    return address == "-" or scheme_of(address) is not None or pipe


def _live(model: str) -> Live:
    from dvskit.evaluation import Live
    from dvskit.models import load_model

    return Live(load_model(model))


def _recordings(
    files: list[Path], reading: Reading, live: Live | None, beside: BesideCloud
) -> Sequence[Viewed]:
    judge = None if live is None else live.model
    opened = functools.partial(open_shown, reading=reading, model=judge)
    for file in files:
        for text in opened(file).assumptions:
            _console.note(f"{file}: {text}")
    decide = None if live is None else _decide(live)
    if live is not None:
        _console.say(window_words(live))
    from dvskit.render.view import Viewed
    from dvskit.tracking import Tracker

    picture = None if beside.images is None else _pictured(beside.images)
    follow = functools.partial(object_blocks, tracker=Tracker()) if beside.objects else None
    return [
        Viewed(file.name, functools.partial(opened, file), decide, picture=picture, track=follow)
        for file in files
    ]


def _pictured(model: str) -> Callable[[Source], Reconstructed]:
    """Return a function that reconstructs images of a recording."""
    from dvskit.reconstruction import SteadyTimes, load_reconstructor, reconstruct

    made = load_reconstructor(model)
    return lambda source: reconstruct(source, made, SteadyTimes())


def _decide(live: Live) -> Callable[[Source], Iterator[Decided]]:
    """Return a function that decides on a recording, fitted if it has another size."""
    from dvskit.evaluation.live import decisions_on

    def decide(source: Source) -> Iterator[Decided]:
        return map(_decided, decisions_on(live, source))

    return decide


def _decided(now: LiveDecision) -> Decided:
    from dvskit.render.view import Decided

    name = now.answer or ""
    return Decided(now.start_us, now.stop_us, name, now.best, now.confidence, now.rate)


def arriving(files: list[Path], cameras: CameraOptions, live: Live, reading: Reading) -> Viewed:
    """Return the view of a model's decisions on live events. Raises ConfigError for a mixture."""
    from dvskit.render.view import Decisions, ViewedLive

    source = live_source(files, cameras, reading)
    stream, decisions = open_stream(source, live, reading), Decisions()
    _console.say(f"{source.name}: {stream.how}; {window_words(live)}")
    return ViewedLive(source.name, _Following(stream, decisions), decisions)


class _Following:
    """The events of a stream, whose decisions are recorded meanwhile."""

    def __init__(self, stream: LiveStream, decisions: Decisions) -> None:
        self.size = stream.size
        self._stream, self._decisions = stream, decisions

    def __iter__(self) -> Iterator[Events]:
        from dvskit.evaluation.arrivals import follow

        try:
            for arrival, found in follow(self._stream.run, self._stream.arrivals):
                for decision in found:
                    self._decisions.add(_decided(decision))
                if arrival is not None:
                    yield arrival.events
        finally:
            self._decisions.done = True

    def close(self) -> None:
        """End the stream."""
        self._stream.close()
