"""Counts, binary and signed: what they hold, what is conserved, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dvskit.errors import ShapeError
from dvskit.events import Events
from dvskit.tensors import Binary, Counts, Signed, bin_events
from tests.test_tensors import SIZE, Blocks, random_events, slow_twin
from tests.test_tensors_out import crowded

DTYPES = [torch.uint8, torch.int16, torch.int32, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 2])
def test_counts_equal_bin_events_in_any_dtype(dtype: torch.dtype, channels: Any) -> None:
    events = random_events(3_000, seed=1)
    expected = bin_events(events, bins=7)
    expected = expected.sum(1, keepdim=True) if channels == 1 else expected
    counts = Counts(bins=7, channels=channels, dtype=dtype)(events)
    assert counts.dtype == dtype
    assert torch.equal(counts.long(), expected.long())


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("block", [100, 1_000, 7_777, 40_000])
def test_counts_of_crowded_pixels_equal_a_plain_sum_whatever_the_blocks(
    block: int, channels: Any
) -> None:
    events = crowded(40_000, seed=2)
    counts = Counts(bins=3, bin_us=33_334, channels=channels, dtype=torch.int16)
    expected = np.zeros((3, 2, SIZE[1], SIZE[0]), np.int64)
    np.add.at(expected, (events.t // 33_334, events.p.astype(int), events.y, events.x), 1)
    expected = expected.sum(1, keepdims=True) if channels == 1 else expected
    found = counts(Blocks(events, block), start_us=0)
    assert int(found.max()) > 300  # a byte has wrapped
    assert np.array_equal(found.numpy(), expected)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("block", [1, 90, 1 << 20])
def test_a_pixel_is_counted_to_the_most_of_its_dtype_and_refused_above(
    dtype: torch.dtype, block: int
) -> None:
    most = torch.iinfo(dtype).max
    block = max(block, most // 400)
    counts = Counts(bins=1, dtype=dtype)

    def at_one_pixel(count: int) -> Blocks:
        flat = np.zeros(count, np.int64)
        return Blocks(Events(t=flat, x=flat + 3, y=flat + 2, p=flat == 0, size=SIZE), block)

    assert int(counts(at_one_pixel(most))[0, 1, 2, 3]) == most
    for more in (1, 2, 300):
        with pytest.raises(ShapeError, match=rf"^{more} events exceed {most} per bin"):
            counts(at_one_pixel(most + more))


@pytest.mark.parametrize("channels", [1, 2])
def test_binary_is_one_exactly_where_counts_are_not_zero(channels: Any) -> None:
    events = random_events(300, seed=3)
    binary = Binary(bins=5, channels=channels)(events)
    counts = Counts(bins=5, channels=channels)(events)
    assert torch.equal(binary, (counts > 0).to(torch.uint8))


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_signed_is_on_less_off_and_its_sum_too(dtype: torch.dtype) -> None:
    events = crowded(20_000, seed=4)
    signed = Signed(bins=5, dtype=dtype)(events)
    counts = bin_events(events, bins=5)
    assert torch.equal(signed.int()[:, 0], counts[:, 1] - counts[:, 0])
    assert int(signed.sum()) == int(events.p.sum()) - int((~events.p).sum())


def test_signed_is_odd_under_a_change_of_polarity() -> None:
    events = crowded(5_000, seed=5)
    turned = Events(t=events.t, x=events.x, y=events.y, p=~events.p, size=SIZE)
    assert torch.equal(Signed(bins=4)(turned), -Signed(bins=4)(events))


@pytest.mark.parametrize("on", [True, False])
def test_a_signed_value_beyond_its_dtype_is_refused(on: bool) -> None:
    flat = np.zeros((1 << 15) + 1, np.int64)
    events = Events(t=flat, x=flat, y=flat, p=(flat == 0) == on, size=SIZE)
    with pytest.raises(ShapeError, match=r"^2 events exceed 32767"):
        Signed(bins=1, dtype=torch.int16)(events)
    assert abs(int(Signed(bins=1)(events).sum())) == len(events)


def test_the_last_bin_is_kept_though_it_ends_behind_the_last_event() -> None:
    events = random_events(500, seed=6, start_us=0, span_us=10_000)
    counts = Counts(bin_us=3_000)(events, start_us=0)
    assert len(counts) == 4
    assert int(counts.sum()) == 500
    assert int(counts[3].sum()) == len(events.between(9_000, None))


def test_a_window_of_bins_refuses_or_ignores_what_is_outside() -> None:
    events = random_events(500, seed=7, start_us=0, span_us=10_000)
    missed = 500 - len(events.between(0, 6_000))
    for kind in (Counts, Binary, Signed):
        with pytest.raises(ShapeError, match=rf"{missed} events are outside the window \[0, 6000"):
            kind(bins=2, bin_us=3_000)(events, start_us=0)
    counts = Counts(bins=2, bin_us=3_000, outside="ignore")(events, start_us=0)
    assert torch.equal(counts, slow_twin(events, 2, 3_000, 0))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Counts, Binary, Signed])
def test_what_cannot_be_is_refused_when_it_is_made(kind: Any) -> None:
    with pytest.raises(ShapeError, match="neither bins nor bin_us"):
        kind()
    with pytest.raises(ShapeError, match="bins=0"):
        kind(bins=0)
    with pytest.raises(ShapeError, match="cannot hold counts; choices: uint8, int16"):
        kind(bins=1, dtype=torch.bfloat16)
    with pytest.raises(ShapeError, match="depends on the events; pass bins too"):
        kind(bin_us=5).shape(SIZE)
    with pytest.raises(ShapeError, match=r"takes .* GiB, more than is available"):
        kind(bins=1 << 40, bin_us=1)(Events.empty(SIZE))


def test_three_channels_and_unsigned_signs_are_refused() -> None:
    with pytest.raises(ShapeError, match="channels=3 is neither 1"):
        Counts(bins=1, channels=3)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="is unsigned"):
        Signed(bins=1, dtype=torch.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_threads_that_share_a_bin_count_as_one_does(
    dtype: torch.dtype, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVSKIT_THREADS", threads)
    monkeypatch.setattr("dvskit.tensors.bins._WORTH_A_THREAD", 100)
    events = crowded(4_000, seed=8)
    counts = Counts(bins=1, dtype=dtype)
    found = counts(Blocks(events, 1_500))
    expected = np.zeros((1, 2, SIZE[1], SIZE[0]), np.int64)
    np.add.at(expected, (0, events.p.astype(int), events.y, events.x), 1)
    assert np.array_equal(found.numpy(), expected)
    small = Events(t=[0] * 300, x=[1] * 300, y=[1] * 300, p=[1] * 300, size=(3, 2))
    if dtype == torch.uint8:  # shares of 100: it is the third that is too much
        with pytest.raises(ShapeError, match=r"^45 events exceed 255 per bin"):
            counts(small)
    many = Events(t=[0] * 900, x=[1] * 900, y=[2] * 900, p=[1] * 900, size=SIZE)
    if dtype == torch.uint8:
        with pytest.raises(ShapeError, match=r"^645 events exceed 255 per bin"):
            counts(many)
    else:
        assert int(counts(many).max()) == 900


LATEST_US = (1 << 63) - 1
FEW_WINDOWS: list[dict[str, int]] = [
    {"bins": 1},
    {"bins": 7},
    {"bins": 60_000},
    {"bin_us": 333},
    {"bins": 9, "bin_us": 7_001},
    {"bins": 6, "bin_us": 4_000},
    {"bins": 6, "bin_us": 4_000, "start_us": 9_000},
    {"bins": 3, "bin_us": 10, "start_us": 1 << 40},
    {"bins": 3, "start_us": 1 << 40},
    {"bins": 3, "bin_us": 10, "start_us": -(1 << 63)},
    {"bins": 3, "bin_us": 1 << 59, "start_us": LATEST_US},
    {"bins": 70, "bin_us": 1_000, "start_us": -10_000},
]


def result(counts: Counts, events: Any, start_us: int | None, out: torch.Tensor | None) -> Any:
    try:
        return counts(events, start_us=start_us, out=out)
    except ShapeError as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("window", FEW_WINDOWS, ids=str)
@pytest.mark.parametrize("outside", ["error", "ignore"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_few_events_at_once_are_counted_as_a_stream_of_them_is(
    window: dict[str, int], outside: Any, channels: Any, dtype: torch.dtype
) -> None:
    start_us = window.get("start_us")
    window = {name: value for name, value in window.items() if name != "start_us"}
    counts = Counts(**window, outside=outside, channels=channels, dtype=dtype)
    for events in (random_events(1, 1), random_events(500, 2), crowded(6_000, seed=3)):
        expected = result(counts, Blocks(events, 1 << 20), start_us, None)
        found = result(counts, events, start_us, None)
        if isinstance(expected, str):
            assert found == expected
            continue
        assert torch.equal(found, expected)
        batch = torch.full((len(expected), 3, *expected.shape[1:]), 9, dtype=dtype)
        assert result(counts, events, start_us, batch[:, 1]).data_ptr() == batch[:, 1].data_ptr()
        assert torch.equal(batch[:, 1], expected)
        assert bool((batch[:, 0] == 9).all() and (batch[:, 2] == 9).all())  # nothing beside it
        turned = torch.full((*expected.shape[:2], *expected.shape[:1:-1]), 9, dtype=dtype)
        assert torch.equal(counts(events, start_us=start_us, out=turned.mT), expected)


def test_few_events_at_both_ends_of_int64_are_in_their_bins() -> None:
    for start in (-(1 << 63) + 1, LATEST_US - 9):
        t = [start, start + 3, start + 4, start + 9]
        events = Events(t=t, x=[3] * 4, y=[1] * 4, p=[1, 0, 1, 1], size=SIZE)
        for counts in (Counts(bins=5), Counts(bin_us=2), Counts(bins=5, bin_us=2)):
            assert counts(events)[:, :, 1, 3].tolist() == [[0, 1], [1, 0], [0, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_few_events_at_one_pixel_are_counted_to_the_most_of_the_dtype(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dvskit.tensors.counts._FEW", 1 << 17)
    most = torch.iinfo(dtype).max
    flat = np.zeros(most + 300, np.int64)
    events = Events(t=flat, x=flat + 3, y=flat + 2, p=flat == 0, size=SIZE)
    counts = Counts(bins=1, dtype=dtype)
    assert int(counts(events[:most])[0, 1, 2, 3]) == most
    for more in (1, 300):
        with pytest.raises(ShapeError, match=rf"^{more} events exceed {most} per bin"):
            counts(events[: most + more])
