"""The samples of learning run from end to end, made tiny, and learn."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dvskit.models.scores import wilson
from dvskit.tensors import load_features
from tests.tree import SAMPLES


def sample(name, monkeypatch):
    spec = importlib.util.spec_from_file_location(name, SAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # its dataclasses ask for it
    spec.loader.exec_module(module)
    return module


def assert_picture(path):
    picture = np.asarray(Image.open(path).convert("L"))
    assert min(picture.shape) > 200
    assert picture.std() > 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule", "words"),
    [
        ("eprop_pattern", "eprop", "--iterations 20 --steps 60 --learning-rate 2e-2"),
        ("superspike_pattern", "superspike", "--iterations 12 --steps 60"),
    ],
)
def test_a_pattern_is_learned(name, rule, words, tmp_path, monkeypatch):
    out = tmp_path / "pattern.png"
    losses = sample(name, monkeypatch).main([*words.split(), "--rule", rule, "--out", str(out)])
    assert losses[-1] < 0.7 * losses[0]
    assert_picture(out)


def write_bars(folder):
    """Two digits of 8 recordings each: an upright and a lying bar of events that come and go."""
    rng = np.random.default_rng(0)
    for digit in range(2):
        (folder / str(digit)).mkdir()
        for number in range(8):
            t = np.sort(rng.integers(0, 300_000, 400))
            along, across = rng.integers(4, 30, 400), rng.integers(14, 20, 400)
            x, y = (along, across) if digit else (across, along)
            p = rng.integers(0, 2, 400) * 128
            words = np.stack([x, y, p + t // 65536, t // 256 % 256, t % 256], axis=1)
            (folder / str(digit) / f"{number}.bin").write_bytes(words.astype(np.uint8).tobytes())


@pytest.mark.slow
def test_digits_are_learned_by_every_rule(tmp_path, monkeypatch):
    folder, out = tmp_path / "digits", tmp_path / "digits.png"
    folder.mkdir()
    write_bars(folder)
    made = sample("learning_nmnist", monkeypatch)
    monkeypatch.setattr(made, "CLASSES", 2)
    results = made.main([str(folder), "--epochs", "1", "--bins", "8", "--out", str(out)])
    assert [each.plan.name for each in results] == [plan.name for plan in made.PLANS]
    for each in results:
        assert 0 <= each.tested <= 1
        assert each.judged == 4 or each.judged == 5
        assert each.interval_95 == wilson(round(each.tested * each.judged), each.judged)
    assert_picture(out)


@pytest.mark.slow(seconds=10)
def test_features_without_labels_tell_digits_apart(tmp_path, monkeypatch):
    folder, out = tmp_path / "digits", tmp_path / "out"
    folder.mkdir()
    write_bars(folder)
    made = sample("feast_nmnist", monkeypatch)
    monkeypatch.setattr(made, "PENALTIES", (0.01, 0.1))
    monkeypatch.setattr(made, "FEAST", replace(made.FEAST, n_features=8))
    monkeypatch.setattr(made, "HOTS", (made.HOTS[0], replace(made.HOTS[1], n_features=8)))
    before = torch.get_num_threads()
    results = made.main([str(folder), "--out", str(out)])
    torch.set_num_threads(before)  # the sample sets it to 1
    for each in results:
        assert each.judged in (4, 5)
        assert each.penalty in (0.01, 0.1)
    assert {each.name: each.length for each in results} == {
        "counts, pixels": 2 * 34 * 34, "counts, cells": 2 * 36, "random": 16 * 36,
        "FEAST": 16 * 36, "HOTS": 8 * 36,
    }  # fmt: skip
    assert results[3].right == results[3].judged
    assert_picture(out / "feast.png")
    assert load_features(out / "hots.safetensors").count == 8
