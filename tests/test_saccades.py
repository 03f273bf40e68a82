"""Emulated saccades beside real N-MNIST recordings that the numbers were not fitted on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from dvskit import load_events
from dvskit.datasets import read_images
from dvskit.emulator.saccades import NOMINAL, emulate_moved, emulate_saccades, vary
from dvskit.events import Events, Size
from dvskit.tensors import bin_events

SIZE = Size(34, 34)
FIRST_JUDGED = 401  # recordings before were fitted
DIGITS = 100

Counts = NDArray[np.float64]


def count(events: Events) -> Counts:
    """Counts (32, 2, H, W) in bins of 10 ms."""
    return bin_events(events, bins=32, bin_us=10_000, start_us=0, outside="ignore").numpy() * 1.0


def correlation(a: Counts, b: Counts) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


class Pairs(NamedTuple):
    """The same digits (N, 32, 2, H, W), recorded and emulated without variation."""

    real: Counts
    emulated: Counts


@pytest.fixture(scope="module")
def pairs(data: Path) -> Pairs:
    files = sorted((data / "nmnist-700").glob("*/*.bin"), key=lambda file: int(file.stem))
    chosen = [file for file in files if int(file.stem) >= FIRST_JUDGED][:DIGITS]
    images = read_images(data / "mnist", "train").pixels
    real = [count(load_events(file)) for file in chosen]
    made = [count(emulate_moved(images[int(f.stem) - 1], SIZE, seed=int(f.stem))) for f in chosen]
    return Pairs(np.stack(real), np.stack(made))


@pytest.mark.slow
def test_an_emulated_digit_correlates_with_its_own_recording(pairs: Pairs) -> None:
    own = [correlation(a, b) for a, b in zip(*pairs, strict=True)]
    rolled = np.roll(pairs.emulated, 1, axis=0)
    others = [correlation(a, b) for a, b in zip(pairs.real, rolled, strict=True)]
    assert np.mean(own) > 0.74
    assert np.quantile(own, 0.05) > 0.65
    assert np.mean(others) < np.mean(own) - 0.3


@pytest.mark.slow
def test_the_mean_of_emulated_digits_is_that_of_their_recordings(pairs: Pairs) -> None:
    assert correlation(pairs.real.mean(axis=0), pairs.emulated.mean(axis=0)) > 0.93


@pytest.mark.slow
def test_as_many_events_of_each_polarity_are_emulated_as_recorded(pairs: Pairs) -> None:
    events = [counts.sum() for counts in pairs]
    on = [counts[:, :, 1].sum() / counts.sum() for counts in pairs]
    assert events[1] == pytest.approx(events[0], rel=0.1)
    assert on[1] == pytest.approx(on[0], abs=0.03)


def test_events_come_when_recorded_ones_do(pairs: Pairs) -> None:
    real, made = (counts.sum(axis=(0, 3, 4)) / counts.sum() for counts in pairs)
    assert correlation(real, made) > 0.95
    assert np.abs(real - made).sum() < 0.2  # at most a tenth of the events at other times


def test_as_many_places_are_active_and_the_busiest_are_as_busy(pairs: Pairs) -> None:
    totals = [counts.sum(axis=1) for counts in pairs]  # (N, 2, H, W)
    active = [(total > 0).sum() for total in totals]
    busiest = [total.max(axis=(1, 2, 3)).mean() for total in totals]
    assert active[1] == pytest.approx(active[0], rel=0.1)
    assert busiest[1] == pytest.approx(busiest[0], rel=0.15)


def test_the_edge_that_arrives_is_off_as_in_recordings(pairs: Pairs) -> None:
    stations = np.array(NOMINAL.stations_px)
    y, x = np.mgrid[: SIZE.height, : SIZE.width]
    for saccade, fastest_ms in enumerate(NOMINAL.fastest_ms):
        bins = slice(round(fastest_ms / 10) - 1, round(fastest_ms / 10) + 1)
        way = stations[saccade + 1] - stations[saccade]
        ahead = (way[0] * x + way[1] * y) / np.hypot(*way)
        for counts in pairs:
            off, on = counts[:, bins].sum(axis=(0, 1))
            lead = (ahead * off).sum() / off.sum() - (ahead * on).sum() / on.sum()
            assert lead > 0.5, (saccade, lead)  # px


def test_the_background_is_on_and_as_frequent_as_in_recordings(pairs: Pairs) -> None:
    beside = [counts[..., [0, 1, 32, 33]].sum(axis=(0, 1, 3, 4)) for counts in pairs]
    for off, on in beside:
        assert off < 0.1 * on
    assert beside[1][1] == pytest.approx(beside[0][1], rel=0.3)


def stroke() -> NDArray[np.uint8]:
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 12:16] = 255
    return image


def test_saccades_without_leak_leave_nothing_to_chance_and_with_it_only_the_background() -> None:
    still = replace(NOMINAL, leak_hz=0.0)
    assert emulate_moved(stroke(), SIZE, still, seed=1) == emulate_moved(stroke(), SIZE, still)
    assert emulate_moved(stroke(), SIZE, seed=1) != emulate_moved(stroke(), SIZE, seed=2)
    nothing = np.zeros((28, 28), np.uint8)
    assert not len(emulate_moved(nothing, SIZE, still))
    background = emulate_moved(nothing, SIZE)
    assert background.p.all()
    assert len(background) == pytest.approx(0.316 * 34 * 34 * NOMINAL.leak_hz, rel=0.3)


def test_frames_of_4_ms_give_what_frames_of_1_ms_do() -> None:
    still = replace(NOMINAL, leak_hz=0.0)
    coarse, fine = (
        count(emulate_moved(stroke(), SIZE, still, frame_ms=frame_ms)) for frame_ms in (4, 1)
    )
    assert correlation(coarse, fine) > 0.98
    assert coarse.sum() == pytest.approx(fine.sum(), rel=0.02)


def test_saccades_vary_around_the_nominal_ones_within_their_bounds() -> None:
    rng = np.random.default_rng(0)
    drawn = [vary(NOMINAL, rng) for _ in range(300)]
    for name, low, high in (
        ("blur_px", 0.6, 1.5),
        ("pedestal", 0.7, 1.4),
        ("scale", 0.94, 1.06),
        ("threshold_on", 0.8 * 0.9, 1.25 * 1.11),
        ("threshold_off", 0.8 * 0.9, 1.25 * 1.11),
    ):
        values = [getattr(one, name) / getattr(NOMINAL, name) for one in drawn]
        assert low <= min(values) < 0.97, name
        assert 1.03 < max(values) <= high, name
    stations = np.array([one.stations_px for one in drawn])
    assert np.allclose(stations.mean(axis=0), NOMINAL.stations_px, atol=0.1)


def test_emulated_saccades_follow_their_seed_and_look_like_a_recording() -> None:
    events = emulate_saccades(stroke(), SIZE, (1, 2))
    assert events == emulate_saccades(stroke(), SIZE, (1, 2))
    assert events != emulate_saccades(stroke(), SIZE, (1, 3))
    speeds = np.histogram(events.t, bins=[0, 90_000, 200_000, 316_000])[0]
    assert speeds.min() > 100  # each of the three saccades is seen
