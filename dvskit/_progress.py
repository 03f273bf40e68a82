"""Progress of long work: a bar in a notebook or on a terminal, and nothing elsewhere.

dvskit.save_events(dvskit.progress(dvskit.emulate("clip.mp4")), "clip.raw")
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from html import escape
from importlib import import_module
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from dvskit.errors import count_of, printable
from dvskit.events import (
    Events,
    EventsSource,
    ReadableSource,
    Source,
    SourcePart,
    about,
    as_source,
    file_name,
)
from dvskit.events.sources import inside
from dvskit.events.window import check_window

_EVERY_S = 0.1  # interval between updates of a notebook's bar
_BLOCK_EVENTS = 1 << 20  # of events in memory, so that the bar moves


class ProgressState(NamedTuple):
    """Progress of work: `done` of `total` (None: unknown) `unit`s, a remark, elapsed time."""

    title: str
    done: float
    total: float | None
    unit: str
    remark: str
    seconds: float
    ended: bool

    @property
    def words(self) -> str:
        """The figures as text, such as "12/40 frames, 3 events, 0:02 to go"."""
        of = "" if self.total is None else f"/{self.total:,.0f}"
        parts = [f"{self.done:,.0f}{of} {self.unit}".strip(), self.remark]
        if self.ended:
            parts.append(f"in {self.seconds:.1f} s")
        elif self.total and 0 < self.done < self.total and self.seconds > 1:
            left = round(self.seconds * (self.total / self.done - 1))
            parts.append(f"{_clock(left)} to go")
        return ", ".join(part for part in parts if part)


def _clock(seconds: int) -> str:
    """Return 0:05, 12:30 or 2:00:00."""
    hours, minutes = f"{seconds // 3600}:" if seconds >= 3600 else "", seconds // 60 % 60
    return f"{hours}{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


class Display(Protocol):
    """A place to show a bar."""

    def show(self, state: ProgressState) -> None:
        """Show the progress; the last time with `ended`."""


class Nowhere:
    """Shows nothing."""

    def show(self, state: ProgressState) -> None:
        """Show nothing."""


class Notebook:
    """Shows a bar in a notebook's cell; `display` shows HTML and returns its update."""

    def __init__(self, display: Callable[[str], Callable[[str], None]] | None = None) -> None:
        self._display = _ipython_display if display is None else display
        self._update: Callable[[str], None] | None = None

    def show(self, state: ProgressState) -> None:
        """Show or update the bar."""
        if self._update is None:
            self._update = self._display(bar_html(state))
        else:
            self._update(bar_html(state))


class Terminal:
    """Shows a bar on stderr during the work, and removes it at the end."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def show(self, state: ProgressState) -> None:
        """Show or update the bar."""
        if self._bar is None and not state.ended:
            self._bar = _rich_bar(state)
            self._task = self._bar.add_task(state.title, total=state.total, remark="")
            self._bar.start()
        if self._bar is not None:
            self._bar.update(self._task, completed=state.done, remark=state.remark)
            if state.ended:
                self._bar.stop()


class Bar:
    """A progress bar: a context manager, called with the total done so far and a remark."""

    def __init__(
        self, title: str, total: float | None = None, unit: str = "", *,
        display: Display | None = None,
    ) -> None:  # fmt: skip
        self._state = ProgressState(printable(title), 0, total, unit, "", 0.0, False)
        self._display = find_display() if display is None else display
        self._begun = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        self._display.show(self._state)
        return self

    def __call__(self, done: float, remark: str = "") -> None:
        """Update the total done so far."""
        now = time.monotonic()
        self._state = self._state._replace(
            done=done, remark=printable(remark), seconds=now - self._begun
        )
        if now - self._shown >= _EVERY_S:
            self._shown = now
            self._display.show(self._state)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = time.monotonic() - self._begun
        self._display.show(self._state._replace(seconds=seconds, ended=True))


def find_display() -> Display:
    """Return the display in use: a notebook, a terminal, or none."""
    # A notebook has IPython loaded already; others need not load it.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is not None:
        return Notebook()
    return Terminal() if sys.stderr is not None and sys.stderr.isatty() else Nowhere()


def bar_html(state: ProgressState) -> str:
    """Return a bar as HTML."""
    bar = ""
    if state.total:
        share = min(1.0, state.done / state.total)
        bar = f'<progress value="{share:.4f}" style="width:200px;margin:0 10px"></progress>'
    elif not state.ended:
        bar = '<progress style="width:200px;margin:0 10px"></progress>'
    return (
        '<div style="font-size:13px;display:flex;align-items:center">'
        f"<span>{escape(state.title)}:&#160;</span>{bar}<span>{escape(state.words)}</span></div>"
    )


def _ipython_display(html: str) -> Callable[[str], None]:
    ipython: Any = import_module("IPython.display")
    handle = ipython.display(ipython.HTML(html), display_id=True)
    return lambda newer: handle.update(ipython.HTML(newer))


def _rich_bar(state: ProgressState) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )

    class _Rate(ProgressColumn):
        def render(self, task: Task) -> str:
            return f"{task.speed:,.0f}/s" if task.speed else ""

    total = f"/{state.total:,.0f}" if state.total else ""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f}" + f"{total} {state.unit}"),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )


class WatchedSource(ReadableSource):
    """A Source with a bar that shows the progress of each pass over it."""

    def __init__(self, source: Source, title: str, display: Display | None) -> None:
        self.source = source
        self.size = source.size
        self._title, self._display = title, display

    def __iter__(self) -> Iterator[Events]:
        events = 0
        _, total, unit = self._how_far(0)
        with Bar(self._title, total, unit, display=self._display) as bar:
            for block in self._blocks():
                yield block
                events += len(block)
                done, _, unit = self._how_far(events)
                bar(done, "" if unit == "events" else count_of(events, "event"))

    def between(self, start_us: int | None = None, stop_us: int | None = None) -> WatchedSource:
        """Return the part with start_us <= t < stop_us of the source, with a bar too."""
        whole = self.source
        if isinstance(whole, ReadableSource):
            part: Source = whole.between(start_us, stop_us)
        else:
            part = SourcePart(whole, *check_window(start_us, stop_us))
        return WatchedSource(part, self._title, self._display)

    def about(self) -> list[tuple[str, str]]:
        """Return the description of the source."""
        return about(self.source)

    def _how_far(self, events: int) -> tuple[float, float | None, str]:
        ask = getattr(
            inside(self.source), "how_far", None
        )  # the progress of a filter is that of its source
        if ask is not None:
            known: tuple[float, float | None, str] = ask()
            return known
        total = len(self.source.events) if isinstance(self.source, EventsSource) else None
        return events, total, "events"

    def _blocks(self) -> Iterator[Events]:
        if not isinstance(self.source, EventsSource):
            yield from self.source
            return
        events = self.source.events
        for first in range(0, len(events), _BLOCK_EVENTS):
            yield events[first : first + _BLOCK_EVENTS]


def progress(
    events_or_source: Events | Source, title: str | None = None, *, display: Display | None = None
) -> WatchedSource:
    """Return a Source that shows its progress while it is read: in a notebook, on a terminal.

    Its events are those of the source. If the source has a known length (events in memory, an
    emulated clip), the bar has an end.

    title    the text before the bar; the name of the file by default
    display  a place to show the bar instead, with `show(state)`

    Raises EventsError for an argument that is neither Events nor a Source.

        clip = dvskit.emulate("video.mp4", "noisy", seed=2)
        dvskit.save_events(dvskit.progress(clip, "emulating"), "noisier.raw")
    """
    source = as_source(events_or_source)
    if title is None:
        title = file_name(source) or "events"
    return WatchedSource(source, title, display)
