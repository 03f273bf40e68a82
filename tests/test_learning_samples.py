"""The guides to the learning rules run, small, and what they show is learned."""

from __future__ import annotations

import gzip
import re
import runpy

import numpy as np
import pytest
import torch

from tests.tree import SAMPLES


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are small: threads would wait for one another
    yield
    torch.set_num_threads(before)


def names_of(guide):
    return runpy.run_path(str(SAMPLES / f"{guide}.py"))


@pytest.mark.slow
def test_a_neuron_learns_times_of_classes_and_a_network_xor(tmp_path, capsys):
    guide = names_of("spikeprop_neuron")
    guide["main"](tmp_path, steps=60, xor_steps=3)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ["100.0%", "100.0%"]
    assert (tmp_path / "spikeprop-neuron.png").stat().st_size > 10_000
    course, desired = guide["xor"](300, seed=5)
    assert (course.after - desired).abs().max() < 1
    assert (course.before - desired).abs().max() > 3


@pytest.mark.slow
def test_a_neuron_finds_the_hidden_pattern(tmp_path, capsys):
    guide = names_of("stdp_pattern")
    guide["main"](tmp_path, duration_ms=500)
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert (tmp_path / "stdp-pattern.png").stat().st_size > 10_000


def stripes(count, seed):
    """Digits that are not: upright stripes are a 0, level ones a 1, at places drawn at random."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    pixels = np.zeros((count, 28, 28), np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        for place in generator.integers(4, 24, 2):
            line = image.T if label else image
            line[4:24, place - 1 : place + 2] = 255
    return pixels, labels.astype(np.uint8)


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + array.tobytes(), 1))


@pytest.mark.slow
def test_the_digits_guide_runs_from_files_to_its_score(tmp_path, capsys, monkeypatch):
    for part, count in (("train", 120), ("t10k", 40)):
        pixels, labels = stripes(count, count)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", pixels)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels)
    guide = names_of("stdp_mnist")
    for name, small in (("KEPT_BACK", 40), ("LEARNING_STEPS", 20), ("NEURONS", 8)):
        monkeypatch.setitem(guide["main"].__globals__, name, small)
    guide["main"](tmp_path, tmp_path)
    out = capsys.readouterr().out
    assert "of the 40 images kept back" in out
    assert re.search(r"right about .* % of 40 \(95 % interval .* %\) test images", out)
    assert (tmp_path / "stdp-features.png").stat().st_size > 2_000
