"""The article's figures: what their words claim is so, and one command makes the page."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from PIL import Image

from dvskit.datasets import read_images
from dvskit.training import load_model
from tests.tree import SAMPLES


@pytest.fixture
def figures(monkeypatch):
    monkeypatch.syspath_prepend(str(SAMPLES))
    return importlib.import_module("article_figures")


def fired_ms(figures, steps, weight):
    current = torch.zeros(round(900 / figures.STEP_MS))
    current[[round(at / figures.STEP_MS) for at in figures.INPUTS_MS]] = weight
    return np.flatnonzero(figures.potentials(current, np.exp(-1 / steps))[1]) * figures.STEP_MS


def test_the_three_neurons_fire_when_the_article_says(figures):
    never, once, packed = (fired_ms(figures, *each) for each in figures.NEURONS)
    assert len(never) == 0
    assert once.tolist() == [635]
    assert len(packed) >= 2
    assert any(packed <= 200)
    assert all((packed <= 200) | ((packed >= 600) & (packed <= 800)))


def test_an_input_of_0_8_decays_and_does_not_fire(figures):
    decided, fired = figures.potentials(torch.tensor([0.0, 0.8, 0.0, 0.0]), beta=0.5)
    assert decided.tolist() == pytest.approx([0, 0.8, 0.4, 0.2])
    assert not fired.any()


@pytest.mark.campaign
def test_one_command_makes_the_page_and_its_figures(figures, tmp_path, monkeypatch, capsys):
    article = importlib.import_module("article")
    monkeypatch.setattr("sys.argv", ["article.py", str(tmp_path)])
    article.main()
    page = (tmp_path / "index.html").read_text("utf-8")
    names = [each.name for each in article.shown(None)]
    assert len(set(names)) == len(names) == 9
    for name in names:
        assert f'<img src="{name}"' in page
        picture = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert min(picture.shape) > 300
        assert picture.std() > 10
    assert "1/200 is 0.005" in page
    assert len(capsys.readouterr().out.split()) == 10


@pytest.mark.slow
def test_the_shipped_network_reads_digits(data):
    images = read_images(data / "mnist", "t10k")
    model = load_model("article-mnist")
    shown = torch.tensor(images.pixels[:2000, None]).float() / 255
    with torch.inference_mode():
        held = model.module(shown.expand(25, -1, -1, -1, -1))  # membranes (T, B, 10)
    right = (held.mean(0).argmax(1).numpy() == images.labels[:2000]).mean()
    assert right >= 0.96  # 97.4 % of all 10,000; its standard error for 2,000 is 0.4 points
