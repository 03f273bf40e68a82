"""Events of one polarity, and polarities swapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dvskit.events import Events, Size
from dvskit.filters.base import Blockwise, CallableFilter
from dvskit.filters.parameters import check_choice
from dvskit.filters.selecting import select


@dataclass(frozen=True, slots=True)
class Polarity(CallableFilter):
    """Keep events of one polarity: "on" or "off"."""

    keep: Literal["on", "off"]

    def __post_init__(self) -> None:
        check_choice(self, "keep", ("on", "off"))

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass."""
        on = self.keep == "on"
        return Blockwise(lambda events: select(events, events.p if on else ~events.p), size)


@dataclass(frozen=True, slots=True)
class SwapPolarity(CallableFilter):
    """Make ON events OFF events, and the other way about."""

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass; times and pixels are shared with those given."""
        return Blockwise(
            lambda events: Events.from_checked(events.t, events.x, events.y, ~events.p, size), size
        )
