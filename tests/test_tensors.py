"""Laws of bin_events: nothing lost, nothing merged, cuts do not matter."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch

from dvskit.errors import ShapeError
from dvskit.events import Events, Size
from dvskit.tensors import bin_events

SIZE = (13, 7)


def random_events(count: int, seed: int, start_us: int = 1_000, span_us: int = 50_000) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        t=np.sort(rng.integers(start_us, start_us + span_us, count)),
        x=rng.integers(0, SIZE[0], count),
        y=rng.integers(0, SIZE[1], count),
        p=rng.integers(0, 2, count).astype(bool),
        size=SIZE,
    )


class Blocks:
    """A Source that cuts events into blocks of `length`, with an empty one at each end."""

    def __init__(self, events: Events, length: int) -> None:
        self.events, self.length, self.size, self.passes = events, length, Size(*SIZE), 0

    def __iter__(self) -> Iterator[Events]:
        self.passes += 1
        yield self.events[:0]
        for start in range(0, len(self.events), self.length):
            yield self.events[start : start + self.length]
        yield self.events[:0]


def slow_twin(events: Events, bins: int, width: Fraction, start_us: int) -> torch.Tensor:
    counts = torch.zeros(bins, 2, SIZE[1], SIZE[0], dtype=torch.int32)
    for t, x, y, p in zip(events.t, events.x, events.y, events.p, strict=True):
        k = int((int(t) - start_us) // width)
        if 0 <= k < bins:
            counts[k, int(p), int(y), int(x)] += 1
    return counts


WINDOWS = [
    {"bins": 1},
    {"bins": 7},
    {"bins": 60_000},
    {"bin_us": 1_000},
    {"bin_us": 333},
    {"bin_us": 10**9},
    {"bins": 9, "bin_us": 7_001},
    {"bins": 70, "bin_us": 1_000, "start_us": -10_000},
    {"bins": 3, "start_us": 500},
]


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_no_event_is_lost(window: dict[str, int]) -> None:
    events = random_events(3_000, seed=1)
    counts = bin_events(events, **window)
    assert counts.dtype == torch.int32
    assert counts.shape[1:] == (2, SIZE[1], SIZE[0])
    assert int(counts.sum()) == len(events)
    assert int(counts[:, 1].sum()) == int(events.p.sum())
    per_pixel = np.zeros((SIZE[1], SIZE[0]), np.int64)
    np.add.at(per_pixel, (events.y, events.x), 1)
    assert np.array_equal(counts.sum(dim=(0, 1)).numpy(), per_pixel)


@pytest.mark.parametrize("bins", [1, 2, 7, 31, 999])
def test_bins_cut_the_span_exactly_as_fractions_do(bins: int) -> None:
    events = random_events(400, seed=bins)
    width = Fraction(events.duration_us + 1, bins)
    expected = slow_twin(events, bins, width, int(events.t[0]))
    assert torch.equal(bin_events(events, bins=bins), expected)


@pytest.mark.parametrize("bin_us", [1, 10, 997, 60_000])
def test_bins_of_a_length_equal_the_slow_twin(bin_us: int) -> None:
    events = random_events(200, seed=bin_us, span_us=3_000)
    bins = events.duration_us // bin_us + 1
    expected = slow_twin(events, bins, Fraction(bin_us), int(events.t[0]))
    assert torch.equal(bin_events(events, bin_us=bin_us), expected)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 7, 64, 5_000])
@pytest.mark.parametrize("window", WINDOWS[1:], ids=str)
def test_the_tensor_is_the_same_however_the_stream_is_cut(
    window: dict[str, int], length: int
) -> None:
    events = random_events(900, seed=3)
    assert torch.equal(bin_events(Blocks(events, length), **window), bin_events(events, **window))


def test_a_whole_window_needs_one_pass_only() -> None:
    source = Blocks(random_events(100, seed=4), 10)
    bin_events(source, bins=60, bin_us=1_000, start_us=0)
    assert source.passes == 1


def test_a_fixed_window_refuses_what_is_outside_unless_told_to_ignore_it() -> None:
    events = random_events(1_000, seed=5, start_us=0, span_us=10_000)
    with pytest.raises(ShapeError, match=r"events are outside the window \[2000, 5000\) us"):
        bin_events(events, bins=3, bin_us=1_000, start_us=2_000)
    counts = bin_events(events, bins=3, bin_us=1_000, start_us=2_000, outside="ignore")
    assert torch.equal(counts, slow_twin(events, 3, Fraction(1_000), 2_000))
    assert int(counts.sum()) == len(events.between(2_000, 5_000))


def test_no_events_give_empty_bins() -> None:
    assert bin_events(Events.empty(SIZE), bins=4).shape == (4, 2, SIZE[1], SIZE[0])
    assert bin_events(Events.empty(SIZE), bin_us=10).shape == (0, 2, SIZE[1], SIZE[0])
    assert int(bin_events(Events.empty(SIZE), bins=4, bin_us=10).sum()) == 0


def test_events_at_one_instant_share_the_first_bin() -> None:
    events = Events(t=[5, 5, 5], x=[1, 1, 1], y=[2, 2, 2], p=[1, 1, 0], size=SIZE)
    counts = bin_events(events, bins=3)
    assert counts[0, 1, 2, 1] == 2
    assert counts[0, 0, 2, 1] == 1
    assert int(counts.sum()) == 3


def test_times_near_the_end_of_int64_are_binned_exactly() -> None:
    late = (1 << 63) - 10
    events = Events(t=[late, late + 5, late + 8], x=[0, 1, 2], y=[0] * 3, p=[1] * 3, size=SIZE)
    counts = bin_events(events, bin_us=3)
    assert [int(k) for k in counts.sum(dim=(1, 2, 3))] == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither bins nor bin_us"),
        ({"bins": 0}, "bins=0"),
        ({"bin_us": -5}, "bin_us=-5"),
        ({"bins": 2.0}, "bins=2.0 is not a whole number"),
        ({"bins": 2, "outside": "ignor"}, "did you mean 'ignore'"),
        ({"bins": 1 << 50}, "take fewer"),
    ],
)
def test_a_window_that_cannot_be_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        bin_events(random_events(10, seed=6), **arguments)  # type: ignore[arg-type]
