"""Events of one polarity, and polarities swapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Step
from dvskit.filters.parameters import check_choice
from dvskit.filters.selecting import select


@dataclass(frozen=True, slots=True)
class Polarity(CallableFilter):
    """Keep events of one polarity: "on" or "off"."""

    keep: Literal["on", "off"]

    def __post_init__(self) -> None:
        check_choice(self, "keep", ("on", "off"))

    def start(self, size: Size) -> PolarityStep:
        """Return the step of one pass."""
        return PolarityStep(self.keep == "on", size)


class PolarityStep(Step):
    """A pass of a `Polarity`."""

    def __init__(self, on: bool, size: Size) -> None:
        super().__init__(size)
        self._on = on

    def __call__(self, events: Events) -> Events:
        """Return the events of the polarity."""
        kept = select(events, events.p if self._on else ~events.p)
        self.dropped += len(events) - len(kept)
        return kept


@dataclass(frozen=True, slots=True)
class SwapPolarity(CallableFilter):
    """Make ON events OFF events, and the other way about."""

    def start(self, size: Size) -> SwapPolarityStep:
        """Return the step of one pass."""
        return SwapPolarityStep(size)


class SwapPolarityStep(Step):
    """A pass of a `SwapPolarity`."""

    def __call__(self, events: Events) -> Events:
        """Return the events; times and pixels are shared with those given."""
        return Events.from_checked(events.t, events.x, events.y, ~events.p, self.size)
