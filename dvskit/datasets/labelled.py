"""Samples read into memory: events or counts, with the numbers of their classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import le
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit._threads import run_parts
from dvskit.datasets.samples import Sample, Samples, class_names, class_numbers
from dvskit.errors import FormatError, GeometryError, ShapeError
from dvskit.events import Events, Size, Source
from dvskit.formats import Recording, open_events
from dvskit.tensors import bin_events


@dataclass(frozen=True, slots=True)
class Binned:
    """Samples as tensors: counts (N, T, 2, H, W), labels (N,) int64, names of the classes.

    Counts are uint8, or float32 where events of some samples weigh more or less than 1.
    """

    counts: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Samples as events: one Events each, labels (N,) int64, names of the classes.

    weights  what an event of each counts, where recordings were fitted to another sensor; () is 1
    """

    events: tuple[Events, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    weights: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.events)

    def weight(self, row: int) -> float | None:
        """Return what an event of a sample counts; None where none of them is weighed."""
        return self.weights[row] if self.weights else None

    def part(self, rows: slice) -> Labelled:
        """Return some of the samples."""
        return Labelled(self.events[rows], self.labels[rows], self.classes, self.weights[rows])


def load_labelled(
    samples: Sequence[Sample],
    classes: Sequence[str] | None = None,
    *,
    size: Size | None = None,
    read: Callable[[Path], Recording] = open_events,
) -> Labelled:
    """Read the events of samples. `classes` gives the order of labels; sorted names without it.

    `read` opens a file; one that does not say its sensor's size has `size`, if that holds it.

    Raises FormatError for a label that is not among the classes, a bad file, and a span without
    events.
    """
    names = class_names(samples) if classes is None else tuple(classes)
    labels = class_numbers(samples, names)
    return Labelled(tuple(_load(sample, size, read) for sample in samples), labels, names)


def labelled_from(samples: Samples) -> Labelled:
    """Read the events of any Samples, on all threads, into memory. Raises what reading raises."""
    found: dict[int, Events] = {}

    def read(number: int) -> None:
        found[number] = samples.events(number)

    run_parts(read, len(samples))
    events = tuple(found[number] for number in range(len(samples)))
    return Labelled(events, samples.labels, samples.classes)


def _load(sample: Sample, size: Size | None, read: Callable[[Path], Recording]) -> Events:
    recording = read(sample.file)
    start, stop = sample.span or (None, None)
    events = recording.between(start, stop).load() if sample.span else recording.load()
    if sample.span and not len(events):
        raise FormatError(
            f"{sample.path}: no events from {start} to {stop} us, which are labelled {sample.label}"
        )
    return events if size is None else on_sensor(events, likely_size(recording, size))


def likely_size(source: Source, size: Size) -> Size:
    """Return the size of a recording: `size` where it is only inferred from events that fit it."""
    inferred = getattr(getattr(source, "recording", source), "size_origin", None) == "data"
    return size if inferred and all(map(le, source.size, size)) else source.size


def on_sensor(events: Events, size: Size) -> Events:
    """Return events on a sensor that holds them, each where it is."""
    return Events.from_checked(events.t, events.x, events.y, events.p, size)


def bin_labelled(data: Labelled, *, bins: int, bin_us: int) -> Binned:
    """Bin each recording from its first event; events behind bins * bin_us are left out.

    Raises GeometryError for recordings of different sizes, ShapeError for counts above 255 where
    no events are weighed.
    """
    sizes = {events.size for events in data.events}
    if len(sizes) > 1:
        raise GeometryError(
            f"recordings of {' and '.join(map(str, sorted(sizes)))}; put them on one size first: "
            "dvskit.filters.Fit"
        )
    counts = [
        window_counts(events, data.weight(row), bins=bins, bin_us=bin_us)
        for row, events in enumerate(data.events)
    ]
    stacked = torch.stack(counts) if counts else torch.empty(0, bins, 2, 1, 1, dtype=torch.uint8)
    return Binned(stacked, torch.from_numpy(data.labels), data.classes)


def window_counts(
    events: Events, weight: float | None, *, bins: int, bin_us: int, start_us: int | None = None
) -> Tensor:
    """Return the counts of `count_window`; with a weight, as float32 of any height, times it."""
    if weight is None:
        return count_window(events, bins=bins, bin_us=bin_us, start_us=start_us)
    counts = bin_events(events, bins=bins, bin_us=bin_us, start_us=start_us, outside="ignore")
    return counts.float() * weight


def count_window(events: Events, *, bins: int, bin_us: int, start_us: int | None = None) -> Tensor:
    """Return counts (bins, 2, H, W) uint8 from `start_us`, else from the first event on.

    Events outside bins * bin_us are left out. Raises ShapeError for a count above 255.
    """
    counts = bin_events(events, bins=bins, bin_us=bin_us, start_us=start_us, outside="ignore")
    if counts.numel() and int(counts.max()) > 255:
        raise ShapeError(
            f"{int(counts.max())} events of one polarity in one pixel and bin; "
            "255 fit: take shorter bins"
        )
    return counts.to(torch.uint8)
