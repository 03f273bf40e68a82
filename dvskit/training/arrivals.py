"""Events as they arrive: of what is played in real time, of a camera's frames, of a socket."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dvskit.datasets.clips import Emulation
from dvskit.emulator import Emulator
from dvskit.emulator.params import as_params
from dvskit.events import Events, Size
from dvskit.training.live import LiveDecision, LiveRun
from dvskit.video import FrameSource

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Arrival:
    """Events that came together, or the word that none did.

    until_us  whatever happened before it has come; None where that is not known
    at        when, a time of time.perf_counter()
    behind_s  how much later than it should have been
    quiet     whether so long a time has passed without events that the network is to rest
    """

    events: Events
    until_us: int | None
    at: float
    behind_s: float = 0.0
    quiet: bool = False


class Pace:
    """Waits until it is time: time stamps pass as fast as a clock does, from the first one on.

    Who comes late is not made to wait, and nothing is left out.
    """

    def __init__(
        self, now: Clock = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.now, self._sleep = now, sleep
        self._began: float | None = None
        self._first_us = 0

    def wait(self, t_us: int) -> float:
        """Wait until it is `t_us`; return how many seconds it is past that."""
        if self._began is None:
            self._began, self._first_us = self.now(), t_us
        due = self._began + (t_us - self._first_us) / 1e6
        left = due - self.now()
        if left > 0:
            self._sleep(left)
        return max(0.0, self.now() - due)


def played(blocks: Iterable[Events], tick_us: int, pace: Pace) -> Iterator[Arrival]:
    """Yield the events of a recording in real time, those of each `tick_us` when it is over.

    Ticks begin at the first event; those without events come too.
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
                yield Arrival(Events.concatenate(held, block.size), stop_us, pace.now(), late)
                held, stop_us = [], stop_us + tick_us
    rest = Events.concatenate(held) if held else None
    if rest is not None and len(rest):
        late = pace.wait(int(rest.t[-1]))
        yield Arrival(rest, None, pace.now(), late)


def filmed(frames: FrameSource, how: Emulation, pace: Pace | None) -> Iterator[Arrival]:
    """Yield the events of each frame of a clip when it is shown, as an emulated camera sees it.

    frames  at the sensor's size: see `dvskit.datasets.clips.frames_for`
    pace    None for a camera's, which come when they come
    """
    run = Emulator(as_params(how.params), how.seed).start(frames.size, scale_is_known=True)
    now = time.perf_counter if pace is None else pace.now
    for t_us, frame in frames:
        late = 0.0 if pace is None else pace.wait(t_us)
        yield Arrival(run.step(t_us, frame), t_us, now(), late)
    yield Arrival(run.finish(), None, now())


def piped(blocks: Iterable[Events]) -> Iterator[Arrival]:
    """Yield blocks as they are read: who writes them waits while one is decided on."""
    for block in blocks:
        yield Arrival(block, _last_us(block), time.perf_counter())


def received(blocks: Iterable[Events], size: Size, quiet_s: float) -> Iterator[Arrival]:
    """Yield blocks that come whether or not anyone waits for them, each with when it came.

    They are read by a thread of their own, and wait in memory while others are decided on.
    After `quiet_s` seconds without any there is an Arrival that says so, again and again.
    """
    waiting: queue.SimpleQueue[tuple[Events, float] | BaseException | None] = queue.SimpleQueue()

    def read() -> None:
        end: BaseException | None = None
        try:
            for block in blocks:
                waiting.put((block, time.perf_counter()))
        except BaseException as error:  # is raised where the blocks are waited for
            end = error
        waiting.put(end)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            found = waiting.get(timeout=quiet_s)
        except queue.Empty:
            yield Arrival(Events.empty(size), None, time.perf_counter(), quiet=True)
            continue
        if found is None:
            return
        if isinstance(found, BaseException):
            raise found
        block, came = found
        yield Arrival(block, _last_us(block), came, time.perf_counter() - came)


def _last_us(block: Events) -> int | None:
    return int(block.t[-1]) if len(block) else None


def follow(
    run: LiveRun, arrivals: Iterable[Arrival]
) -> Iterator[tuple[Arrival | None, list[LiveDecision]]]:
    """Yield each arrival with the decisions on the bins that it ends; None at the stream's end."""
    for arrival in arrivals:
        if arrival.quiet:
            yield arrival, run.quiet(arrival.at)
        else:
            yield (arrival, run.push(arrival.events, until_us=arrival.until_us, arrived=arrival.at))
    yield None, run.rest()
