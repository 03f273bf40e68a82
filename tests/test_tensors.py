"""Counts per bin, polarity and pixel: nothing is lost or merged, in any window, dtype and block."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events, Size
from dvskit.tensors import Binary, Counts, Signed, bin_events
from tests.laws import refused, rows_of, scattered

SIZE = (13, 7)
DTYPES = [torch.uint8, torch.int16, torch.int32, torch.float32]
KINDS: list[Any] = [Counts, Binary, Signed]
LATEST_US = (1 << 63) - 1


def random_events(count: int, seed: int, start_us: int = 1_000, span_us: int = 50_000) -> Events:
    events = scattered(count, SIZE, span_us=span_us, seed=seed)
    return Events(t=events.t + start_us, x=events.x, y=events.y, p=events.p, size=SIZE)


def crowded(count: int, seed: int) -> Events:
    """Many events on few pixels: bytes wrap, and threads have something to do."""
    rng = np.random.default_rng(seed)
    return Events(
        t=np.sort(rng.integers(0, 100_000, count)),
        x=rng.integers(0, 6, count) ** 2 // 2,
        y=rng.integers(0, SIZE[1], count),
        p=rng.integers(0, 4, count) > 0,
        size=SIZE,
    )


def at_one_pixel(count: int, *, on: bool = True) -> Events:
    """Events of one instant at pixel (3, 2)."""
    flat = np.zeros(count, np.int64)
    return Events(t=flat, x=flat + 3, y=flat + 2, p=(flat == 0) == on, size=SIZE)


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


def slow_twin(
    events: Events, *, bins: int = 0, bin_us: int = 0, start_us: int | None = None
) -> torch.Tensor:
    """Count the events one by one in bins whose borders are exact fractions."""
    start = int(events.t[0]) if start_us is None else start_us
    span = int(events.t[-1]) + 1 - start
    width = Fraction(bin_us) if bin_us else Fraction(span, bins)
    counts = torch.zeros(bins or -(-span // bin_us), 2, SIZE[1], SIZE[0], dtype=torch.int32)
    for t, x, y, p in rows_of(events):
        k = int((t - start) // width)
        if 0 <= k < len(counts):
            counts[k, int(p), y, x] += 1
    return counts


def plain_sum(events: Events, bin_us: int, bins: int) -> NDArray[np.int64]:
    """Count many events in bins from 0 on."""
    counts = np.zeros((bins, 2, SIZE[1], SIZE[0]), np.int64)
    np.add.at(counts, (events.t // bin_us, events.p.astype(int), events.y, events.x), 1)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize(
    "window",
    [
        {"bins": 7},
        {"bins": 6_000},
        {"bin_us": 333},
        {"bin_us": 10**9},
        {"bins": 9, "bin_us": 7_001},
        {"bins": 70, "bin_us": 1_000, "start_us": -10_000},
        {"bins": 3, "start_us": 500},
    ],
    ids=str,
)
def test_each_event_is_in_its_bin_in_any_dtype_however_the_stream_is_cut(window: Any) -> None:
    events = random_events(500, seed=3)
    expected = slow_twin(events, **window)
    assert int(expected.sum()) == 500
    for source in (events, *(Blocks(events, length) for length in (1, 64, 5_000))):
        counts = bin_events(source, **window)
        assert counts.dtype == torch.int32
        assert torch.equal(counts, expected)
    start_us = window.pop("start_us", None)
    for dtype in DTYPES:
        counts = Counts(**window, dtype=dtype)(Blocks(events, 64), start_us=start_us)
        assert counts.dtype == dtype
        assert torch.equal(counts.int(), expected)


def test_a_whole_window_needs_one_pass_only() -> None:
    source = Blocks(random_events(100, seed=4), 10)
    bin_events(source, bins=60, bin_us=1_000, start_us=0)
    assert source.passes == 1


@pytest.mark.parametrize("kind", [bin_events, *KINDS])
def test_a_fixed_window_refuses_what_is_outside_unless_told_to_ignore_it(kind: Any) -> None:
    events = random_events(1_000, seed=5, start_us=0, span_us=10_000)
    inside = events.between(2_000, 5_000)

    def counted(events: Events, outside: Any) -> torch.Tensor:
        window = {"bins": 3, "bin_us": 1_000, "outside": outside}
        if kind is bin_events:
            return bin_events(events, start_us=2_000, **window)
        return kind(**window)(events, start_us=2_000)

    with refused(ShapeError, f"{1_000 - len(inside):,} events", "[2000, 5000)", "ignore"):
        counted(events, "error")
    assert torch.equal(counted(events, "ignore"), counted(inside, "error"))
    assert int(counted(events, "ignore").count_nonzero()) > 0


def test_no_events_give_empty_bins_and_those_of_an_instant_share_the_first() -> None:
    assert bin_events(Events.empty(SIZE), bins=4).shape == (4, 2, SIZE[1], SIZE[0])
    assert bin_events(Events.empty(SIZE), bin_us=10).shape == (0, 2, SIZE[1], SIZE[0])
    assert int(bin_events(Events.empty(SIZE), bins=4, bin_us=10).sum()) == 0
    counts = bin_events(at_one_pixel(3), bins=3)
    assert counts[0, 1, 2, 3] == counts.sum() == 3


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_crowded_pixels_are_counted_whatever_the_blocks_and_signed_is_on_less_off(
    dtype: torch.dtype,
) -> None:
    events = crowded(40_000, seed=2)
    expected = plain_sum(events, 33_334, 3)
    assert expected.max() > 300  # a byte has wrapped
    window = {"bins": 3, "bin_us": 33_334, "dtype": dtype}
    for block in (100, 7_777, 40_000):
        source = Blocks(events, block)
        assert np.array_equal(Counts(**window)(source, start_us=0), expected)
        both = Counts(**window, channels=1)(source, start_us=0)
        assert np.array_equal(both, expected.sum(1, keepdims=True))
        signed = Signed(**window)(source, start_us=0)
        assert np.array_equal(signed[:, 0], expected[:, 1] - expected[:, 0])


@pytest.mark.parametrize("channels", [1, 2])
def test_binary_is_one_exactly_where_counts_are_not_zero(channels: Any) -> None:
    events = random_events(300, seed=3)
    counts = Counts(bins=5, channels=channels)(events)
    for dtype in (torch.uint8, torch.float32):
        binary = Binary(bins=5, channels=channels, dtype=dtype)(Blocks(events, 70))
        assert torch.equal(binary, (counts > 0).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_a_pixel_is_counted_to_the_most_of_its_dtype_and_refused_above(dtype: torch.dtype) -> None:
    most = torch.iinfo(dtype).max
    counts = Counts(bins=1, dtype=dtype)
    for block in (max(1, most // 400), 90 + most // 400, 1 << 20):
        assert int(counts(Blocks(at_one_pixel(most), block))[0, 1, 2, 3]) == most
        for more in (1, 300):
            with refused(ShapeError, f"{more} events", most):
                counts(Blocks(at_one_pixel(most + more), block))
    assert int(counts(at_one_pixel(most))[0, 1, 2, 3]) == most
    with refused(ShapeError, "3 events", most):
        counts(at_one_pixel(most + 3))


@pytest.mark.parametrize("on", [True, False])
def test_a_signed_value_beyond_its_dtype_is_refused(on: bool) -> None:
    events = at_one_pixel((1 << 15) + 1, on=on)
    with refused(ShapeError, "2 events", 32767):
        Signed(bins=1, dtype=torch.int16)(events)
    assert abs(int(Signed(bins=1)(events).sum())) == len(events)


def result(chosen: Any, events: Any, start_us: int | None = None, out: Any = None) -> Any:
    """Return a tensor, or the text of the error that events do not fit."""
    try:
        return chosen(events, start_us=start_us, out=out)
    except ShapeError as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    "window",
    [
        {"bins": 7},
        {"bin_us": 333},
        {"bins": 6, "bin_us": 4_000, "start_us": 9_000},
        {"bins": 3, "bin_us": 10, "start_us": 1 << 40},
        {"bins": 3, "start_us": 1 << 40},
        {"bins": 3, "bin_us": 10, "start_us": -(1 << 63)},
        {"bins": 3, "bin_us": 1 << 59, "start_us": LATEST_US},
        {"bins": 70, "bin_us": 1_000, "start_us": -10_000},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("outside", "channels", "dtype"),
    [("error", 1, DTYPES[0]), ("ignore", 2, DTYPES[1]), ("error", 2, DTYPES[2]),
     ("ignore", 1, DTYPES[3])],
)  # fmt: skip
def test_few_events_at_once_are_counted_as_a_stream_of_them_is(
    window: dict[str, int], outside: Any, channels: Any, dtype: torch.dtype
) -> None:
    start_us = window.get("start_us")
    window = {name: value for name, value in window.items() if name != "start_us"}
    counts = Counts(**window, outside=outside, channels=channels, dtype=dtype)
    for events in (random_events(1, 1), random_events(500, 2), crowded(6_000, seed=3)):
        expected = result(counts, Blocks(events, 1 << 20), start_us)
        found = result(counts, events, start_us)
        if isinstance(expected, str):
            assert found == expected
            continue
        assert torch.equal(found, expected)
        batch = torch.full((len(expected), 3, *expected.shape[1:]), 9, dtype=dtype)
        assert result(counts, events, start_us, batch[:, 1]).data_ptr() == batch[:, 1].data_ptr()
        assert torch.equal(batch[:, 1], expected)
        assert bool((batch[:, 0] == 9).all() and (batch[:, 2] == 9).all())  # nothing beside it


def test_few_events_at_both_ends_of_int64_are_in_their_bins() -> None:
    for start in (-(1 << 63) + 1, LATEST_US - 9):
        t = [start, start + 3, start + 4, start + 9]
        events = Events(t=t, x=[3] * 4, y=[1] * 4, p=[1, 0, 1, 1], size=SIZE)
        for counts in (Counts(bins=5), Counts(bin_us=2), Counts(bins=5, bin_us=2)):
            assert counts(events)[:, :, 1, 3].tolist() == [[0, 1], [1, 0], [0, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, ["bins", "bin_us"]),
        ({"bins": 0}, ["bins = 0"]),
        ({"bin_us": -5}, ["bin_us = -5"]),
        ({"bins": 2.0}, ["bins = 2.0"]),
        ({"bins": 2, "outside": "ignor"}, ["'ignor'", "'ignore'"]),
        ({"bins": 1, "dtype": torch.bfloat16}, ["bfloat16", "int16"]),
    ],
)
def test_a_window_or_dtype_that_cannot_be_is_refused_when_it_is_made(
    kind: Any, wrong: dict[str, Any], named: list[str]
) -> None:
    with refused(ConfigError, *named):
        kind(**wrong)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Counts(bins=1, channels=3), ["channels = 3"]),  # type: ignore[arg-type]
        (lambda: Signed(bins=1, dtype=torch.uint8), ["uint8"]),
        (lambda: Counts(bin_us=5).shape(SIZE), ["bins"]),
        (lambda: Counts(bins=1 << 40, bin_us=1)(Events.empty(SIZE)), ["GiB"]),
        (lambda: bin_events(random_events(10, seed=6), bins=1 << 50), [1 << 50]),
    ],
)
def test_what_no_tensor_can_hold_is_refused(call: Any, named: list[Any]) -> None:
    with refused((ConfigError, ShapeError), *named):
        call()
