"""Decisions on a stream while it comes: one after each bin, from the window that ends with it.

for decision in decide("dvs128-gestures", dvskit.open_events("person.raw")):
    print(decision.stop_us, decision.answer or "nothing", decision.confidence)

run = Live(load_model("dvs128-gestures")).start((240, 180))     # for events that you get yourself
decisions = run.push(events)                                      # those of the bins that are over
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from os import PathLike

import numpy as np
import torch

from dvskit._arguments import check_arguments
from dvskit.events import Events, as_size, file_name
from dvskit.filters import Fit
from dvskit.training.decisions import Recorded, most_likely, stepping
from dvskit.training.inputs import FittedSource, as_recording
from dvskit.training.model_tables import Reject
from dvskit.training.models import Model, as_model

_LATEST_US = (1 << 63) - 1
_WARM_EVENTS = (0, 1000, 20_000)


@dataclass(frozen=True, slots=True)
class LiveDecision:
    """What a model takes the window for that ends with a bin.

    start_us, stop_us  the bin, half-open
    events             how many it holds
    steps              bins of the window so far: the model's number of them from its first on
    rate               events per second in the window, as the network sees them
    probabilities      of each class: the softmax of the logits
    nothing            why no class is named, "few events" or "unsure": see `Reject`; else ""
    delay_s            seconds from the arrival of what told that the bin is over to the decision
    """

    start_us: int
    stop_us: int
    events: int
    steps: int
    rate: float
    probabilities: dict[str, float]
    nothing: str
    delay_s: float = field(compare=False)

    @property
    def best(self) -> str:
        """The most likely class."""
        return most_likely(self.probabilities)

    @property
    def confidence(self) -> float:
        """The probability of the most likely class."""
        return self.probabilities[self.best]

    @property
    def answer(self) -> str | None:
        """The most likely class, or None where nothing happens that the model would name."""
        return None if self.nothing else self.best


@check_arguments
@dataclass(frozen=True, slots=True)
class Live:
    """A model on streams: frozen parameters; `start` begins a pass.

    model   what decides
    reject  below what it names no class; the model's own unless given

    Bins have the model's length and begin at the first event. After each, empty ones too, there is
    a decision on the window that ends with it, of as many bins as the model has (fewer behind the
    first event). The states of the network run on from bin to bin, and its readout, such as the
    mean, is over the steps of the window: the decision behind the first window is that of
    `classify`, to rounding, and later ones differ from it in that neurons remember what came ahead
    of the window. A network that cannot step (none of layers of dvskit, or one whose bins depend on
    each other) judges each window from rest, as `classify` does.

    After a whole window without an event the network is at rest, and bins begin anew at the next
    one: how long a gap is does not matter.
    """

    model: Model
    reject: Reject | None = None

    def start(self, size: tuple[int, int] | None = None) -> LiveRun:
        """Return a pass over events of a sensor of `size`, the model's unless given.

        Events of another size are fitted to it: see `dvskit.filters.Fit`. What must be compiled is
        compiled here, ahead of the first event. Raises GeometryError for no size.
        """
        given = self.model.size if size is None else as_size(size)
        fit = Fit(self.model.size).start(given)
        return LiveRun(self, fit, None if given == self.model.size else fit.placement.weight)


class LiveRun:
    """One pass over a stream: it holds the states, and the events of the bin that is not over.

    Decisions do not depend on how the events are handed over, nor on an earlier pass.
    """

    def __init__(self, live: Live, fit: Callable[[Events], Events], weight: float | None) -> None:
        model = live.model
        self.model, self._fit = model, fit
        self.reject = model.reject if live.reject is None else live.reject
        self._weight = 1.0 if weight is None else weight
        self._network = stepping(model, weight)
        self._start_us: int | None = None  # of the bin that is not over; None ahead of an event
        self._waiting: list[Events] = []  # what it holds
        self._counts: deque[int] = deque(maxlen=model.input.bins)  # of the bins ahead of it
        self._warm_up()

    @property
    def resting(self) -> bool:
        """Whether there was no event yet, or none for a whole window."""
        return self._start_us is None

    def push(
        self, events: Events, *, until_us: int | None = None, arrived: float | None = None
    ) -> list[LiveDecision]:
        """Take the next events of the stream; return the decisions on the bins that are over.

        until_us  whatever happened before it has come, so that bins up to it are over
        arrived   when the events came, a time of time.perf_counter(); now unless given
        """
        return list(self.pushed(events, until_us=until_us, arrived=arrived))

    def pushed(
        self, events: Events, *, until_us: int | None = None, arrived: float | None = None
    ) -> Iterator[LiveDecision]:
        """Yield what `push` returns, each decision when it is asked for, of events of many bins.

        The events have been taken when all were asked for.
        """
        arrived = time.perf_counter() if arrived is None else arrived
        events, at = self._fit(events), 0
        while True:
            if self._start_us is None:
                if at == len(events):
                    return
                self._start_us = int(events.t[at])
            stop_us = self._start_us + self.model.input.bin_us
            # Beyond the latest time there is no event.
            found = np.searchsorted(events.t[at:], min(stop_us, _LATEST_US))
            end = at + int(found) if stop_us <= _LATEST_US else len(events)
            if at < end:
                self._waiting.append(events[at:end])
            if end == len(events) and (until_us is None or until_us < stop_us):
                if at < end:
                    self._waiting[-1] = self._waiting[-1].copy()  # the caller's arrays may change
                return
            at = end
            yield self._decide(arrived)

    def rest(self, arrived: float | None = None) -> list[LiveDecision]:
        """Return the decision on the bin that is not over, at the end of a stream."""
        if not self._waiting:
            return []
        return [self._decide(time.perf_counter() if arrived is None else arrived)]

    def quiet(self, arrived: float | None = None) -> list[LiveDecision]:
        """Return the decisions on a window without events, when a clock tells that it has passed.

        The network is then at rest, and bins begin anew at the next event.
        """
        arrived = time.perf_counter() if arrived is None else arrived
        found = []
        while self._start_us is not None:
            found.append(self._decide(arrived))
        return found

    def _decide(self, arrived: float) -> LiveDecision:
        """Decide on the bin that is over, and go on to the next one."""
        start_us = self._start_us or 0
        events = Events.concatenate(self._waiting, self.model.size)
        logits = self._network.step(events, start_us)
        shares = torch.softmax(logits, 0).tolist()
        self._counts.append(len(events))
        bins, bin_us = len(self._counts), self.model.input.bin_us
        rate = self._weight * sum(self._counts) * 1e6 / (bins * bin_us)
        decision = LiveDecision(
            start_us,
            start_us + bin_us,
            len(events),
            bins,
            rate,
            dict(zip(self.model.classes, shares, strict=True)),
            self.reject.why(max(shares), rate),
            time.perf_counter() - arrived,
        )
        self._waiting, self._start_us = [], start_us + bin_us
        if bins == self.model.input.bins and not any(self._counts):
            self._restart()
        return decision

    def _restart(self) -> None:
        self._start_us, self._waiting = None, []
        self._counts.clear()
        self._network.restart()

    def _warm_up(self) -> None:
        """Do once, on events that are forgotten, what takes longer the first time."""
        size = self.model.size
        for count in _WARM_EVENTS:  # few and many events are counted by different loops
            at = np.arange(count)
            self._network.step(
                Events(t=np.zeros(count, np.int64), x=at % size.width,
                       y=at // size.width % size.height, p=at % 2 == 0, size=size),
                0,
            )  # fmt: skip
        self._restart()


@check_arguments
def decide(
    model: Model | str | PathLike[str], recording: Recorded, *, reject: Reject | None = None
) -> Iterator[LiveDecision]:
    """Return the decisions on a stream, one after each of its bins: see `Live`.

    model      a Model, a model's folder, or the name of a shipped one
    recording  Events, a Source, or an event file. They are made while they are asked for, as the
               events come; behind the last event there is one on the bin that holds it
    reject     below what no class is named; the model's own unless given

    A recording of another sensor is fitted, with a FittedWarning behind its last event. Raises what
    `load_model` and `open_events` raise.
    """
    live = Live(as_model(model), reject)
    fitted = FittedSource(as_recording(recording), live.model.size)

    def decisions() -> Iterator[LiveDecision]:
        yield from decisions_on(live, fitted)
        fitted.say(file_name(fitted.source) or "the recording")

    return decisions()


def decisions_on(live: Live, fitted: FittedSource) -> Iterator[LiveDecision]:
    """Yield the decisions on the events of a source that fits them itself."""
    run = start_on(live, fitted)
    for block in fitted:
        yield from run.pushed(block)
    yield from run.rest()


def start_on(live: Live, fitted: FittedSource) -> LiveRun:
    """Return a pass over the events of a source that fits them itself."""
    return LiveRun(live, lambda events: events, fitted.weight)
