"""Recordings of any sensor size, put on the one that a network takes: said, counted, weighed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

from dvskit.datasets import Batches, likely_size, on_sensor
from dvskit.errors import FittedWarning
from dvskit.events import Events, ReadableSource, Size, Source, as_size
from dvskit.filters import Fit
from dvskit.filters.fit import Placement


class Fitted(NamedTuple):
    """Events on the sensor that a network takes.

    weight   what each counts there, as `dvskit.filters.Placement.weight` says
    how      one line for people
    dropped  how many were left out at the edges

    Where the size was right, `weight` and `how` are None.
    """

    events: Events
    weight: float | None = None
    how: str | None = None
    dropped: int = 0


def fit_events(events: Events, size: Size) -> Fitted:
    """Return events on a sensor of `size`, as `dvskit.filters.Fit` puts them there."""
    if events.size == size:
        return Fitted(events)
    step = Fit(size).start(events.size)
    fitted = step(events)
    return Fitted(fitted, step.placement.weight, str(step.placement), step.dropped)


class FittedSource(ReadableSource):
    """A Source on the sensor that a network takes; `weight` is what each event counts there.

    It counts in each pass what it says behind it.
    """

    def __init__(self, source: Source, size: Size) -> None:
        self.size = size
        self.source = source
        self._from = likely_size(source, size)
        self._total = 0
        self._step = Fit(size).start(self._from)
        self.weight = None if self._from == size else self._step.placement.weight

    @property
    def how(self) -> str | None:
        """How events are fitted, for people; None where the size is right."""
        return None if self.weight is None else str(self._step.placement)

    @property
    def dropped(self) -> int:
        """How many events of the latest pass were left out at the edges."""
        return self._step.dropped

    def __iter__(self) -> Iterator[Events]:
        self._total, self._step = 0, Fit(self.size).start(self._from)
        for block in self.source:
            self._total += len(block)
            yield self._step(on_sensor(block, self._from))

    def say(self, what: str) -> None:
        """Give a FittedWarning of the latest pass, which names it as `what`, if it was fitted."""
        if self.weight is not None:
            if getattr(self.source, "size_origin", None) == "data":
                what = f"{what}, its size inferred from its events,"
            _warn(what, str(self._step.placement), self._step.dropped, self._total)


def fit_recording(events: Events, size: Size, what: str) -> Fitted:
    """Return the events of one recording on a sensor of `size`.

    Gives a FittedWarning, which names the recording as `what`, where they were on another.
    """
    fitted = fit_events(events, size)
    if fitted.how is not None:
        _warn(what, fitted.how, fitted.dropped, len(events))
    return fitted


def say_fitted(batches: Batches) -> None:
    """Give a FittedWarning of each other size that samples of batches had, counting all of them."""
    for size, found in batches.fitted.items():
        how = str(Placement.of(size, as_size(batches.size)))
        what = f"{found.samples:,} recording{'s' if found.samples > 1 else ''}"
        _warn(what, how, found.dropped, found.total)


def _warn(what: str, how: str, dropped: int, total: int) -> None:
    warnings.warn(FittedWarning(what, how, dropped, total), stacklevel=4)
