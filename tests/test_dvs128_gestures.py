"""The shipped network of DVS128 Gesture: people of a seed that its training never saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvskit.datasets import DrawnSamples, open_samples
from dvskit.evaluation import evaluate
from dvskit.models import Model, load_model
from dvskit.scenes import PERSON_GESTURES


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("dvs128-gestures")


def test_it_has_the_sets_classes_and_decides_within_one_and_a_half_seconds(model: Model) -> None:
    assert model.classes == PERSON_GESTURES
    assert model.size == (128, 128)
    assert model.input.bins * model.input.bin_us == 1_450_000


@pytest.mark.slow
def test_it_names_what_drawn_people_of_another_seed_do(model: Model) -> None:
    people = DrawnSamples(1, seed=2026, gestures=PERSON_GESTURES[:-1], fps=100)
    assert evaluate(model, people).accuracy >= 0.8  # of 10; the card has 95 %


@pytest.mark.slow
def test_it_sees_a_wave_of_the_right_hand_in_real_videos(model: Model, data: Path) -> None:
    clips = open_samples(data / "gestures" / "videos", size=(128, 128))
    waves = clips.only([row for row in clips.rows if row.label == "right_hand_wave"])
    assert evaluate(model, waves).accuracy >= 0.5  # of 6
