"""The article's claims: an input decays, and the shipped network reads digits."""

from __future__ import annotations

import importlib

import pytest
import torch

from dvskit.datasets import read_images
from dvskit.models import load_model
from tests.tree import SAMPLES


@pytest.fixture
def figures(monkeypatch):
    monkeypatch.syspath_prepend(str(SAMPLES))
    return importlib.import_module("article_figures")


def test_an_input_of_0_8_decays_and_does_not_fire(figures):
    decided, fired = figures.potentials(torch.tensor([0.0, 0.8, 0.0, 0.0]), beta=0.5)
    assert decided.tolist() == pytest.approx([0, 0.8, 0.4, 0.2])
    assert not fired.any()


@pytest.mark.slow
def test_the_shipped_network_reads_digits(data):
    images = read_images(data / "mnist", "t10k")
    model = load_model("article-mnist")
    shown = torch.tensor(images.pixels[:2000, None]).float() / 255
    with torch.inference_mode():
        held = model.module(shown.expand(25, -1, -1, -1, -1))  # membranes (T, B, 10)
    right = (held.mean(0).argmax(1).numpy() == images.labels[:2000]).mean()
    assert right >= 0.96  # 97.4 % of all 10,000; its standard error for 2,000 is 0.4 points
