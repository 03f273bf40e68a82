"""The shipped gesture network, on clips of seeds that its training never saw."""

from __future__ import annotations

import pytest

import dvskit
from dvskit.events import read_all
from dvskit.scenes import GESTURES, ArmScene
from dvskit.training import classify, load_model


@pytest.fixture(scope="module")
def model():
    return load_model("rendered-gestures")


def test_its_classes_are_the_gestures_that_can_be_drawn(model):
    assert sorted(model.classes) == sorted(GESTURES)
    assert model.size == ArmScene().size


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 2026])
@pytest.mark.parametrize("gesture", GESTURES)
def test_it_names_the_gesture_of_a_freshly_drawn_clip(model, gesture, seed):
    scene = ArmScene.random(gesture, seed, fps=100, duration_us=1_500_000)
    answer = classify(model, read_all(dvskit.emulate(scene)))
    assert max(answer, key=lambda name: answer[name]) == gesture
