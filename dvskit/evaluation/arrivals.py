"""Events with their arrival times: from playback in real time, camera frames or a socket."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dvskit.datasets import Emulation, on_sensor
from dvskit.emulator import Emulator
from dvskit.emulator.params import as_params
from dvskit.evaluation.live import LiveDecision, LiveRun
from dvskit.events import Events, Size
from dvskit.formats.keeping_up import KeepingUp, Pace
from dvskit.video import FrameSource


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
                yield Arrival(Events.concatenate(held, block.size), stop_us, pace.now(), late)
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
