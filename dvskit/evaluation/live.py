"""Decisions on a live stream: one after each bin, on the window that ends with it.

for decision in decide("dvs128-gestures", dvskit.open_events("person.raw")):
    print(decision.stop_us, decision.answer or "nothing", decision.confidence)

run = Live(load_model("dvs128-gestures")).start((240, 180))       # for events from your own source
decisions = run.push(events)                                      # those on completed bins

Arrivals are events with the time at which they came: from playback, camera frames or a socket.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dvskit.datasets import Emulation, likely_size, on_sensor
from dvskit.emulator import Emulator
from dvskit.emulator.params import as_params
from dvskit.evaluation.decisions import Recorded, most_likely, recorded_for
from dvskit.events import Events, Size, Source, as_size
from dvskit.formats.keeping_up import KeepingUp, Pace
from dvskit.layers import Sequence, Stateful
from dvskit.layers.sequence import ends_time
from dvskit.models.doubt import Reject
from dvskit.models.inputs import (
    SensorFit,
    blocks_on_sensor,
    describe_source,
    input_of,
    is_weighed,
    representation_of,
)
from dvskit.models.model import Model, as_model
from dvskit.models.scores import logits_of, torch_threads
from dvskit.video import FrameSource

_LATEST_US = (1 << 63) - 1
_WARM_EVENTS = (0, 1000, 20_000)


@dataclass(frozen=True, slots=True)
class LiveDecision:
    """The decision on the window that ends with a bin.

    start_us, stop_us  the bin, half-open
    events             the number of events in the bin
    steps              bins of the window so far, at most the model's number of bins
    rate               events per second in the window, as the network sees them
    probabilities      of each class: the softmax of the logits
    nothing            why no class is named, "few events" or "unsure": see `Reject`; else ""
    delay_s            seconds from the arrival that completed the bin to the decision

        decisions = list(dvskit.evaluation.decide("nmnist-signed-lif", "digits/0/00001.bin"))
        last = decisions[-1]
        last.answer, last.confidence  # a class or None, from 0 to 1
        last.nothing  # why there is no answer, else ""
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
        """The most likely class, or None if the model names no class."""
        return None if self.nothing else self.best


@dataclass(frozen=True, slots=True)
class Live:
    """A model on streams: frozen parameters; `start` begins a pass.

    model   the deciding model
    reject  the limits below which no class is named; default: the model's own

    Bins have the model's length and begin at the first event. Each bin, also an empty one, is
    followed by a decision on the window that ends with it. The window has as many bins as the
    model's, fewer at the start of the stream. The states of the network persist from bin to bin,
    and its readout covers the steps of the window. The decision after the first window equals that
    of `classify`, to rounding; later ones differ, because neurons remember events from before the
    window. A network of your own steps likewise if it has run(x, state), as
    `dvskit.layers.Stateful`, and answers at each step: the decision is the mean of the answers in
    the window. Other networks, and those with bins that depend on each other, judge each window
    from rest, as `classify` does.

    After a whole window without an event the network is at rest, and bins begin again at the next
    event.

        live = dvskit.evaluation.Live(dvskit.models.load_model("nmnist-signed-lif"))
        run = live.start((34, 34))
        events = dvskit.load_events("digits/0/00001.bin")
        for block in (events[:2000], events[2000:]):  # as they arrive from a camera
            for decision in run.push(block):
                decision.answer, decision.confidence  # a class or None, from 0 to 1
    """

    model: Model
    reject: Reject | None = None

    def start(self, size: tuple[int, int] | None = None) -> LiveRun:
        """Return a pass over events of a sensor of `size`, default the model's.

        Events of another size are fitted to it: see `dvskit.filters.Fit`. Loops are compiled here,
        before the first event. Raises GeometryError for an invalid size.
        """
        return LiveRun(self, self.model.size if size is None else as_size(size))


class LiveRun:
    """One pass over a stream: it holds the states and the events of the unfinished bin.

    Decisions do not depend on how the events are cut into blocks, nor on an earlier pass.

        live = dvskit.evaluation.Live(dvskit.models.load_model("nmnist-signed-lif"))
        run = live.start()  # on the model's own sensor
        decisions = run.push(dvskit.load_events("digits/0/00001.bin"))  # one for each complete bin
        decisions += run.rest()  # the bin that the stream left unfinished
    """

    def __init__(self, live: Live, size: Size) -> None:
        model = live.model
        self.model, self.fit = model, SensorFit(size, model.size)
        self.reject = model.reject if live.reject is None else live.reject
        self._weight = 1.0 if self.fit.weight is None else self.fit.weight
        self._network = stepping(model, self.fit.weight)
        self._start_us: int | None = None  # of the unfinished bin; None before the first event
        self._waiting: list[Events] = []  # the events of the unfinished bin
        self._counts: deque[int] = deque(maxlen=model.input.bins)  # of the latest finished bins
        self._warm_up()

    @property
    def resting(self) -> bool:
        """Whether there were no events yet, or none for a whole window."""
        return self._start_us is None

    def push(
        self, events: Events, *, until_us: int | None = None, arrived: float | None = None
    ) -> list[LiveDecision]:
        """Take the next events of the stream; return the decisions on the completed bins.

        until_us  all events before this time have arrived, so that bins up to it are complete
        arrived   arrival of the events, in time.perf_counter() seconds; default: now
        """
        return list(self.pushed(events, until_us=until_us, arrived=arrived))

    def pushed(
        self, events: Events, *, until_us: int | None = None, arrived: float | None = None
    ) -> Iterator[LiveDecision]:
        """Yield the decisions of `push` one by one, for events of many bins.

        Take all of them; the events are stored only then.
        """
        arrived = time.perf_counter() if arrived is None else arrived
        events, at = self.fit(events), 0
        while True:
            if self._start_us is None:
                if at == len(events):
                    return
                self._start_us = int(events.t[at])
            stop_us = self._start_us + self.model.input.bin_us
            # There are no events beyond the latest time.
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
        """Return the decision on the unfinished bin, at the end of a stream."""
        if not self._waiting:
            return []
        return [self._decide(time.perf_counter() if arrived is None else arrived)]

    def quiet(self, arrived: float | None = None) -> list[LiveDecision]:
        """Return the decisions on a window without events, after a clock found it complete.

        The network is then at rest, and bins begin again at the next event.
        """
        arrived = time.perf_counter() if arrived is None else arrived
        found = []
        while self._start_us is not None:
            found.append(self._decide(arrived))
        return found

    def _decide(self, arrived: float) -> LiveDecision:
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
        """Run once on test events, so that the first step is not slower."""
        size = self.model.size
        for count in _WARM_EVENTS:  # few and many events are counted by different loops
            at = np.arange(count)
            self._network.step(
                Events(t=np.zeros(count, np.int64), x=at % size.width,
                       y=at // size.width % size.height, p=at % 2 == 0, size=size),
                0,
            )  # fmt: skip
        self._restart()


def decide(
    model: Model | str | PathLike[str], recording: Recorded, *, reject: Reject | None = None
) -> Iterator[LiveDecision]:
    """Return the decisions on a stream, one after each of its bins: see `Live`.

    model      a Model, a model's folder, or the name of a shipped one
    recording  Events, a Source, an event file, or a clip: a video, a folder of images or a depth
               clip is emulated as the model's training clips were. Decisions are made lazily,
               while events arrive; the last is on the bin with the last event
    reject     the limits below which no class is named; default: the model's own

    A recording of another sensor is fitted, with a FittedWarning after its last event. Raises
    FormatError for a clip without events, and the errors of `load_model`, `open_events` and
    `emulate`.

        for decision in dvskit.evaluation.decide("nmnist-signed-lif", "digits/0/00001.bin"):
            decision.stop_us, decision.best, decision.confidence
    """
    live = Live(as_model(model), reject)
    return decisions_on(live, recorded_for(live.model, recording), warn=True)


def decisions_on(live: Live, source: Source, *, warn: bool = False) -> Iterator[LiveDecision]:
    """Yield the decisions on the events of a source; with `warn` a FittedWarning at the end."""
    size = likely_size(source, live.model.size)
    run = live.start(size)
    for block in blocks_on_sensor(source, size):
        yield from run.pushed(block)
    yield from run.rest()
    if warn:
        run.fit.warn(describe_source(source))


_OF_EACH_BIN_ALONE = ("counts", "binary", "signed")  # bins do not depend on each other


def stepping(model: Model, weight: float | None) -> RunningOn | WindowByWindow:
    """Return a stepper over a stream: with lasting states if possible, else window by window.

    weight  of each event, if the stream was fitted to the model's sensor
    """
    if model.input.representation in _OF_EACH_BIN_ALONE and _runs_on(model):
        return RunningOn(model, weight)
    return WindowByWindow(model, weight)


def _runs_on(model: Model) -> bool:
    """Return whether a network runs step by step to answers at each step, or to its readout."""
    module = model.module
    if isinstance(module, Sequence) or not isinstance(module, Stateful):
        return isinstance(module, Sequence)
    size, (device, dtype) = model.size, _place_of(model)
    step = torch.zeros(1, 1, model.input.channels, size.height, size.width)
    with torch.inference_mode():
        answer, _ = module.eval().run(step.to(device, dtype))
    return answer.ndim == 3  # one answer for all steps so far cannot be cut to a window


def _place_of(model: Model) -> tuple[torch.device, torch.dtype]:
    weights = next(model.module.parameters(), torch.zeros(0))
    return weights.device, weights.dtype


class RunningOn:
    """Steps a network with lasting states; its readout sees the last `bins` steps.

    The layers before the readout (a mean over time, a count or the time of spikes) are stepped with
    each bin; the readout is applied to the latest steps. Without a readout the answer is their
    mean.
    """

    def __init__(self, model: Model, weight: float | None) -> None:
        self._one = replace(model.input, bins=1)
        self._represent = representation_of(self._one)
        self._weight = weight if is_weighed(model.input) else None
        self._body: Any = model.module.eval()
        self._readout: Sequence | None = None
        if isinstance(self._body, Sequence) and ends_time(self._body):
            end = next(at for at, layer in enumerate(self._body) if ends_time(layer))
            self._body, self._readout = self._body[:end], self._body[end:]
        self._device, self._dtype = _place_of(model)
        self._states: Any = None
        self._latest: deque[Tensor] = deque(maxlen=model.input.bins)

    def step(self, events: Events, start_us: int) -> Tensor:
        """Take the events of the next bin, which begins at `start_us`; return logits (classes,)."""
        with torch.inference_mode(), torch_threads(1):  # waking further threads takes longer
            given = self._represent(events, start_us=start_us).to(self._device, self._dtype)
            if self._weight is not None:
                given = given * self._weight
            out, self._states = self._body.run(given[None], self._states)  # T = 1, B = 1
            self._latest.append(out[0])
            steps = torch.stack(tuple(self._latest))
            answer = steps.mean(0) if self._readout is None else self._readout(steps)
            return answer[0].float().cpu()

    def restart(self) -> None:
        """Return to rest."""
        self._states = None
        self._latest.clear()


class WindowByWindow:
    """Judges, after each bin, the window that ends with it, from rest, as `classify` does.

    For networks that cannot run on, and for representations whose bins depend on each other. Each
    decision costs a whole window.
    """

    def __init__(self, model: Model, weight: float | None) -> None:
        self._model, self._weight = model, weight
        self._latest: deque[Events] = deque(maxlen=model.input.bins)

    def step(self, events: Events, start_us: int) -> Tensor:
        """Take the events of the next bin, which begins at `start_us`; return logits (classes,)."""
        self._latest.append(events)
        given, seen = self._model.input, Events.concatenate(self._latest, events.sensor_size)
        if not len(seen):  # no evidence for any class
            return torch.zeros(len(self._model.classes))
        first_us = start_us - (len(self._latest) - 1) * given.bin_us
        with torch_threads(1):  # waking further threads takes longer
            tensor = input_of(given, seen, self._weight, first_us)
            self._model.module.eval()
            return logits_of(self._model.module, tensor[:, None])[0]

    def restart(self) -> None:
        """Return to rest."""
        self._latest.clear()


@dataclass(frozen=True, slots=True)
class Arrival:
    """Events that arrived together, or a notice that none did.

    until_us  all events before this time have arrived; None if that is not known
    at        the arrival, in time.perf_counter() seconds
    behind_s  delay against the schedule, in seconds
    quiet     whether no events came for so long that the network returns to rest
    """

    events: Events
    until_us: int | None
    at: float
    behind_s: float = 0.0
    quiet: bool = False


def played(blocks: Iterable[Events], tick_us: int, pace: Pace) -> Iterator[Arrival]:
    """Yield the events of a recording in real time, one arrival at the end of each `tick_us`.

    Ticks begin at the first event; ticks without events are included.
    """
    stop_us: int | None = None
    held: list[Events] = []
    for block in blocks:
        at = 0
        while at < len(block):
            if stop_us is None:
                pace.wait(int(block.t[0]))
                stop_us = int(block.t[0]) + tick_us
            end = at + int(np.searchsorted(block.t[at:], stop_us))
            held.append(block[at:end].copy())
            at = end
            if end < len(block):
                late = pace.wait(stop_us)
                yield Arrival(
                    Events.concatenate(held, block.sensor_size), stop_us, pace.now(), late
                )
                held, stop_us = [], stop_us + tick_us
    rest = Events.concatenate(held) if held else None
    if rest is not None and len(rest):
        late = pace.wait(int(rest.t[-1]))
        yield Arrival(rest, None, pace.now(), late)


def filmed(frames: FrameSource, how: Emulation, pace: Pace | None) -> Iterator[Arrival]:
    """Yield the events of each frame when it is shown, as an emulated camera sees it.

    frames  at the sensor's size: see `dvskit.datasets.files.frames_for`
    pace    None for a camera, whose frames set the pace
    """
    emulator = Emulator(as_params(how.params), how.seed)
    run = emulator.start(frames.size, transfer=frames.transfer, scale_is_known=True)
    now = time.perf_counter if pace is None else pace.now
    for t_us, frame in frames:
        late = 0.0 if pace is None else pace.wait(t_us)
        yield Arrival(run.step(t_us, frame), t_us, now(), late)
    yield Arrival(run.finish(), None, now())


def piped(blocks: Iterable[Events]) -> Iterator[Arrival]:
    """Yield blocks as they are read; the writer of the pipe waits during each decision."""
    for block in blocks:
        yield Arrival(block, _last_us(block), time.perf_counter())


def received(keeping: KeepingUp, size: Size, quiet_s: float) -> Iterator[Arrival]:
    """Yield blocks as they arrive, each with its arrival time, on a sensor of `size`.

    They wait in memory during decisions, up to a limit. After every `quiet_s` seconds without a
    block, a quiet Arrival is yielded.
    """
    for block in keeping.until_quiet(quiet_s):
        now = time.perf_counter()
        if block is None:
            yield Arrival(Events.empty(size), None, now, quiet=True)
            continue
        keeping.new_triggers()  # they have no use here and would take memory
        came, events = keeping.arrived, on_sensor(block, size)
        yield Arrival(events, _last_us(events), came, now - came)


def _last_us(block: Events) -> int | None:
    return int(block.t[-1]) if len(block) else None


def follow(
    run: LiveRun, arrivals: Iterable[Arrival]
) -> Iterator[tuple[Arrival | None, list[LiveDecision]]]:
    """Yield each arrival with the decisions on the bins it completes; None at the stream's end."""
    for arrival in arrivals:
        if arrival.quiet:
            yield arrival, run.quiet(arrival.at)
        else:
            yield (arrival, run.push(arrival.events, until_us=arrival.until_us, arrived=arrival.at))
    yield None, run.rest()
