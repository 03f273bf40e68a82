""" "Nothing happens" as an answer: what is withheld, and how its thresholds are chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit import load_events
from dvskit.errors import ConfigError
from dvskit.evaluation import Reject, choose_reject, classify_windows
from dvskit.models import load_model
from dvskit.models.doubt import reject_by
from dvskit.training import Trained
from tests.laws import refused


def drawn(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(count), rng.random(count) < 0.7


@pytest.mark.parametrize(("count", "lost"), [(3, 0.0), (40, 0.05), (1000, 0.3), (1000, 0.0)])
def test_the_confidence_is_the_largest_that_loses_no_more_than_asked(
    count: int, lost: float
) -> None:
    confidence, right = drawn(count)
    chosen = reject_by(confidence, right, np.zeros(0), lost)
    good = np.sort(confidence[right])
    assert (good < chosen.confidence).sum() <= lost * len(good)
    # The next larger one that could be told in three figures loses more.
    larger = chosen.confidence + 0.01
    assert (good < larger).sum() > lost * len(good) or larger > good.max()


def test_the_rate_is_half_of_what_nearly_all_recordings_reach() -> None:
    confidence, right = drawn(50)
    rates = np.linspace(20_000, 90_000, 101)
    chosen = reject_by(confidence, right, rates, 0.05)
    assert chosen.events_per_second == 10_300  # half of 20,700, rounded down to three figures


def test_without_right_decisions_or_rates_the_default_stands() -> None:
    none = np.zeros(0)
    assert reject_by(none, none.astype(bool), none, 0.05) == Reject()
    wrong = reject_by(np.array([0.9, 0.8]), np.array([False, False]), np.array([0.0, 0.0]), 0.05)
    assert (wrong.confidence, wrong.events_per_second) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("confidence", "rate", "least", "floor", "why"),
    [
        (0.6, 100.0, 0.6, 100.0, ""),
        (0.6, 100.0, 0.61, 0.0, "unsure"),
        (0.6, 99.0, 0.5, 100.0, "few events"),
        (0.6, 0.0, 0.0, 0.0, "few events"),
    ],
)
def test_why_a_decision_is_withheld(
    confidence: float, rate: float, least: float, floor: float, why: str
) -> None:
    assert Reject(least, floor).why(confidence, rate) == why


@pytest.mark.parametrize(
    ("confidence", "rate"),
    [(-0.1, 1), (1.1, 1), (float("nan"), 1), (0.5, -1.0), (0.5, float("inf")), (0.5, float("nan"))],
)
def test_a_confidence_or_a_rate_that_is_none_is_refused(confidence: float, rate: float) -> None:
    with refused(ConfigError, confidence if rate == 1 else rate):
        Reject(confidence, rate)


# -- what a run chooses


def test_a_run_writes_what_its_validation_part_chooses(trained: Trained, bars: Path) -> None:
    model = load_model(trained.folder)
    assert model.reject == trained.model.reject
    assert "validation decisions" in model.reject.how
    assert choose_reject(model, bars) == model.reject
    rates, sure = [], []
    for used in model.used:
        if used.part == "validation":
            events = load_events(bars / used.label / used.name)
            window = classify_windows(model, events).windows[0]
            rates.append(window.events / (model.input.bins * model.input.bin_us / 1e6))
            if window.best == used.label:
                sure.append(window.probabilities[window.best])
    assert len(rates) > 2
    floor = np.quantile(rates, 0.01) / 2
    assert 0.99 * floor <= model.reject.events_per_second <= floor
    assert model.reject.confidence <= min(sure) + 1e-6  # of so few none may be lost
    assert model.reject.confidence > 0.99 * min(sure)


def test_another_share_or_part_may_be_chosen_by(trained: Trained, bars: Path) -> None:
    all_of_them = choose_reject(trained.model, bars, split="all", lost=0.5)
    assert "of 20 validation recordings" in all_of_them.how
    assert all_of_them.confidence >= choose_reject(trained.model, bars, split="all").confidence
    with refused(ConfigError, "lost"):
        choose_reject(trained.model, bars, lost=1.0)
    with refused(ConfigError, "'valid'"):
        choose_reject(trained.model, bars, split="valid")
