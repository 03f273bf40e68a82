"""`dvskit classify --live`: decisions while events arrive, in one line that is rewritten."""

from __future__ import annotations

import json
import shutil
import sys
import time
from array import array
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from dvskit import _interrupt
from dvskit.cli import _console
from dvskit.cli._live_stream import LiveSource, open_stream, window_words
from dvskit.cli._options import CameraOptions, Reading, option
from dvskit.errors import ConfigError, count_of, printable

if TYPE_CHECKING:
    from dvskit.evaluation import Live, LiveDecision, LiveRun
    from dvskit.evaluation.arrivals import Arrival
    from dvskit.models import Model

_BEHIND_S = 0.05  # shorter delays are not shown


@dataclass(frozen=True, slots=True)
class Living:
    """The options of live decisions.

    live    Decide after each bin, while events arrive. A recording or a video is played in real
            time; -, an address ({addresses}) and a camera (--camera) are live.
    reject  With --live: the least confidence, 0 to 1, at which a class is named.
    """

    live: bool = False
    cameras: CameraOptions = field(default_factory=CameraOptions)
    reject: float | None = option(metavar="SHARE", min=0.0, max=1.0, shown="the model's, else 0.5")

    def check(self) -> None:
        """Raise ConfigError for options of --live without it."""
        for name, value in (("--camera", self.cameras.camera), ("--reject", self.reject)):
            if value is not None and not self.live:
                raise ConfigError(f"{name} needs --live")

    def start(self, model: Model) -> Live:
        """Return a model on streams that names a class from --reject on."""
        from dvskit.evaluation import Live

        if self.reject is None:
            return Live(model)
        return Live(model, replace(model.reject, confidence=self.reject, how="--reject"))


def classify_live(source: LiveSource, live: Live, reading: Reading, *, as_json: bool) -> None:
    """Decide on a source until it ends, or until Ctrl-C, with exit code 130."""
    from dvskit.evaluation.arrivals import follow

    _console.announce_compiling()
    stream, summary = open_stream(source, live, reading), _Summary()
    _console.say(f"{source.name}: {stream.how}; {window_words(live)}; Ctrl-C ends it")
    lines = as_json or not sys.stdout.isatty()
    screen = _Lines(as_json=as_json) if lines else _Line(sys.stdout)
    stopped = False
    try:
        for arrival, decisions in follow(stream.run, stream.arrivals):
            summary.add(arrival, decisions)
            screen.show(stream.run, arrival, decisions)
    except KeyboardInterrupt:
        stopped = True
    finally:
        screen.close()
        stream.close()
    for text in stream.notes():
        _console.note(f"{source.name}: {text}")
    _console.say(summary.words)
    if stopped:
        _interrupt.advise("run the same command again to go on")
        raise KeyboardInterrupt


class _Lines:
    """Prints a line for each decision if there is no terminal: text, or a JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        self._words = None if as_json else _Words()

    def show(self, run: LiveRun, arrival: Arrival | None, decisions: list[LiveDecision]) -> None:
        for each in decisions:
            if self._words is None:
                _console.put(json.dumps(values_of(each), ensure_ascii=False))
            else:
                _console.put(self._words.of(run, arrival, each))

    def close(self) -> None:
        """Do nothing: each line is complete."""


class _Line:
    """One line of a terminal that is rewritten."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._words = out, _Words()
        self._moved = time.perf_counter()  # time of the latest event

    def show(self, run: LiveRun, arrival: Arrival | None, decisions: list[LiveDecision]) -> None:
        if arrival is not None and len(arrival.events):
            self._moved = arrival.at
        if decisions and not run.resting:
            self._write(self._words.of(run, arrival, decisions[-1]))
        elif run.resting:
            silent = time.perf_counter() - self._moved
            self._write(f"nothing (no events for {silent:.1f} s)")

    def _write(self, text: str) -> None:
        wide = shutil.get_terminal_size().columns - 1
        self._out.write(f"\r{printable(text)[:wide]}\x1b[K")
        self._out.flush()

    def close(self) -> None:
        self._out.write("\n")
        self._out.flush()


class _Words:
    """Formats decisions for people; times count from the first decision."""

    def __init__(self) -> None:
        self._first_us: int | None = None

    def of(self, run: LiveRun, arrival: Arrival | None, decision: LiveDecision) -> str:
        if self._first_us is None:
            self._first_us = decision.start_us
        since = (decision.stop_us - self._first_us) / 1e6
        given, wide = run.model.input, max(map(len, run.model.classes))
        best = f"{decision.best:<{wide}} ({100 * decision.confidence:3.0f} %)"
        said = (
            f"nothing: {decision.nothing:<10} {best}"
            if decision.nothing
            else f"{best:<{wide + 29}}"
        )
        text = f"{since:9.3f} s  {said}  {decision.rate:>11,.0f} events/s"
        text += (
            f"  delay {1e3 * decision.delay_s:.1f} ms after a bin of {given.bin_us / 1e3:g} ms, "
            f"window {given.window_us / 1e6:g} s"
        )
        if decision.steps < given.bins:
            text += f"  ({decision.steps} of {given.bins} bins seen)"
        if arrival is not None and arrival.behind_s > _BEHIND_S:
            text += f"  {arrival.behind_s:.1f} s behind"
        return text


def values_of(decision: LiveDecision) -> dict[str, Any]:
    """Return a decision as plain values for JSON."""
    return {
        "start_us": decision.start_us,
        "stop_us": decision.stop_us,
        "class": decision.answer,
        "nothing": decision.nothing,
        "confidence": decision.confidence,
        "probabilities": decision.probabilities,
        "events": decision.events,
        "events_per_second": decision.rate,
        "bins": decision.steps,
        "delay_ms": round(1e3 * decision.delay_s, 3),
    }


class _Summary:
    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._delays = array("d")
        self._events = 0
        self._behind_s = 0.0

    def add(self, arrival: Arrival | None, decisions: list[LiveDecision]) -> None:
        self._delays.extend(each.delay_s for each in decisions)
        if arrival is not None:
            self._events += len(arrival.events)
            self._behind_s = max(self._behind_s, arrival.behind_s)

    @property
    def words(self) -> str:
        seconds = time.perf_counter() - self._began
        text = (
            f"{count_of(len(self._delays), 'decision')} in {seconds:.1f} s, "
            f"{count_of(self._events, 'event')}"
        )
        if self._delays:
            middle, most = 1e3 * np.quantile(np.array(self._delays), [0.5, 0.95])
            text += (
                f"; delay after each bin {middle:.1f} ms (median), {most:.1f} ms (95 %), "
                f"{1e3 * max(self._delays):.1f} ms (longest)"
            )
        if self._behind_s > _BEHIND_S:
            text += f"; up to {self._behind_s:.1f} s behind"
        return text
