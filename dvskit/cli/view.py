"""`dvskit view`: recordings in a browser, served only to this machine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dvskit.cli import _console
from dvskit.cli._clips import open_shown
from dvskit.cli._live_stream import LiveStream, live_source, open_stream, window_words
from dvskit.cli._options import Reading, argument, model_names, option
from dvskit.cli._serving import BrowserOption, PortOption, check_port, serve
from dvskit.cli.track import object_blocks
from dvskit.errors import ConfigError
from dvskit.events import Events, Source

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


def view(
    files: list[Path] | None = argument(
        "Event files, videos or folders of images, shown side by side. Without any the page is "
        "empty; files can be dropped on it. With --model one of udp://HOST:PORT and - is shown "
        "live."
    ),
    model: str | None = option(
        "A model folder, or a shipped model's name: its decision and confidence are shown beside "
        "each cloud.",
        shown=False, autocompletion=model_names,
    ),
    camera: int | None = option(
        "With --model: emulate the view of a webcam and classify it; its number, from 0.",
        min=0, shown=False,
    ),
    beside: BesideCloud = BesideCloud(),
    port: PortOption = 0,
    browser: BrowserOption = True,
    reading: Reading = Reading(),
) -> None:  # fmt: skip
    """Look at recordings of any length in the browser; Ctrl-C ends it.

    The page is served only to this machine. Its address is printed on standard output. More event
    files and videos can be dropped on it. Videos are emulated.
    """
    check_port(port)
    viewed = viewed_from(files or [], camera, model, reading, beside)
    from dvskit.render.view import ViewServer

    title = ", ".join(each.name for each in viewed) or "dvskit"
    with ViewServer(viewed, title=title, port=port) as served:
        serve(served, browser)


def viewed_from(
    files: list[Path], camera: int | None, model: str | None, reading: Reading,
    beside: BesideCloud = BesideCloud(),
) -> Sequence[Viewed]:  # fmt: skip
    """Return the views. Raises the errors of opening, ConfigError for a mixture."""
    reading.check()
    live = None if model is None else _live(model)
    once = [file for file in files if is_read_once(file)]
    if live is None and camera is not None:
        raise ConfigError("--camera needs --model, whose decisions are shown")
    if live is None and once:
        raise ConfigError(
            f"{once[0]}: can be read only once; write it to a file first, or name a --model to "
            "classify it live"
        )
    if live is not None and (camera is not None or once):
        if beside != BesideCloud():
            named = "--images" if beside.images is not None else "--objects"
            raise ConfigError(f"{named} needs a file; write the events to one first")
        return [_arriving(files, camera, live, reading)]
    return _recordings(files, reading, live, beside)


def is_read_once(path: Path) -> bool:
    """Return whether a path is a pipe or an address, which cannot be read twice."""
    address = str(path)
    pipe = path.exists() and not path.is_file() and not path.is_dir()
    return address == "-" or address.startswith("udp:") or pipe


def _live(model: str) -> Live:
    from dvskit.evaluation import Live
    from dvskit.training import load_model

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


def _arriving(files: list[Path], camera: int | None, live: Live, reading: Reading) -> Viewed:
    from dvskit.render.view import Decisions, ViewedLive

    source = live_source(files, camera, reading)
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
