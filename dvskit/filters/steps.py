"""Steps: passes of a filter, and the numbers of events that they drop and add."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from dvskit.events import Events, Filter, Size


class Step(ABC):
    """One pass of a filter: called with each block in turn, it returns the filtered events.

    size     size of the sensor of the filtered events
    dropped  number of events dropped so far
    added    number of events added so far

    The input equals the output plus `dropped`, less `added`, plus the events held back until
    `finish`. A filter's `start(size)` returns a new step for each pass. The filter holds
    parameters and never changes; the step holds the state. A block may be empty and may end
    anywhere: the result must not depend on that. This base class is optional. dvskit counts the
    events of other callables.

        class OnStep(dvskit.filters.Step):
            def __call__(self, events):
                kept = events[events.p]
                self.dropped += len(events) - len(kept)
                return kept

        step = OnStep(dvskit.Size(128, 128))
        on = [step(block) for block in dvskit.open_events("events.raw")]
        step.dropped    # the number of OFF events
    """

    def __init__(self, size: Size) -> None:
        self.size = size
        self.dropped = 0
        self.added = 0

    @abstractmethod
    def __call__(self, events: Events) -> Events:
        """Return the filtered events of this block and of those held back before."""

    def finish(self) -> Events:
        """Return the events still held back after the last block; called once."""
        return Events.empty(self.size)


class Blockwise(Step):
    """A pass that holds nothing back: `work` filters a block, and the loss is counted."""

    def __init__(self, work: Callable[[Events], Events], size: Size) -> None:
        super().__init__(size)
        self._work = work

    def __call__(self, events: Events) -> Events:
        """Return the filtered events of a block."""
        given = self._work(events)
        self.dropped += len(events) - len(given)
        return given


class CountedStep(Step):
    """A pass of a step that does not count: the events that went in, less those that came out."""

    def __init__(self, step: Callable[[Events], Events], size: Size) -> None:
        super().__init__(step(Events.empty(size)).size)
        self._step, self._lost = step, 0

    def __call__(self, events: Events) -> Events:
        """Return the result of the step."""
        return self._counted(len(events), self._step(events))

    def finish(self) -> Events:
        """Return the events that the step holds back, if it has `finish`."""
        return self._counted(0, finish(self._step, self.size))

    def _counted(self, taken: int, given: Events) -> Events:
        self._lost += taken - len(given)
        self.dropped, self.added = max(self._lost, 0), max(-self._lost, 0)
        return given


def begin(chosen: Filter, size: Size) -> Step:
    """Return the step of one pass, which counts the events that it drops and adds."""
    step = chosen.start(size)
    return step if isinstance(step, Step) else CountedStep(step, size)


def finish(step: Callable[[Events], Events], size: Size) -> Events:
    """Return the events that a step holds back at the end of a stream; empty without `finish`.

    Call it once, after the last block. `size` is the sensor size of the filtered events.

        jitter = dvskit.filters.TemporalJitter(500)
        events = dvskit.load_events("events.raw")
        step = jitter.start(events.size)
        early = step(events)
        late = dvskit.filters.finish(step, events.size)    # those that could still change places
    """
    rest = getattr(step, "finish", None)
    return Events.empty(size) if rest is None else rest()


class Tally(NamedTuple):
    """The number of events that a filter has dropped and added in a pass.

    `FilteredSource.tally` and `Chain`'s steps return one for each filter.

        both = dvskit.filters.chain(dvskit.filters.Polarity("on"), dvskit.filters.Noise(0.5))
        source = both(dvskit.open_events("events.raw"))
        noisy = source.load()
        dropped = {str(each.filter): each.dropped for each in source.tally()}
    """

    filter: Filter
    dropped: int
    added: int


def tally_of(chosen: Filter, step: Any) -> list[Tally]:
    """Return the numbers of events that a step has dropped and added, per filter in it."""
    if hasattr(step, "tally"):
        return list(step.tally())
    return [Tally(chosen, step.dropped, step.added)]
