"""`dvskit train` of a network that makes images from events, and its model in other commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvskit.reconstruction import NetworkReconstructor, load_reconstructor
from tests.reconstruction_runs import write_tiny_run


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    return write_tiny_run(tmp_path)


@pytest.mark.slow(seconds=10)
def test_train_writes_a_model_that_makes_images_and_no_classes(tiny: Path, run):
    short = ("--set", "loop.epochs=1", "--set", "sequences.train=2", "-o", "mine")
    code, out, error = run("train", tiny, *short)
    assert code == 0, error
    assert "judged_ssim: " in out
    assert "train: 2 sequences; " in error
    assert "judged: 1 sequences; second" in error
    assert "epoch 1 of 1, loss" in error
    assert "dvskit reconstruct FILE -o out.mp4 --model mine" in error
    folder = tiny.parent / "mine"
    names = {file.name for file in folder.iterdir()}
    assert names == {
        "README.md", "checkpoint.safetensors", "config.toml", "log.csv", "model.toml",
        "weights.safetensors",
    }  # fmt: skip
    assert "SSIM" in (folder / "README.md").read_text("utf-8")
    assert isinstance(load_reconstructor("mine"), NetworkReconstructor)
    code, out, error = run("classify", "none.npz", "--model", "mine")
    assert code != 0
    assert "is no classifier" in error
    assert "dvskit reconstruct --model" in error
    code, out, error = run("train", tiny, *short)
    assert code == 0
    assert "was finished before (1 epoch)" in error
    code, out, error = run("train", folder / "config.toml", "--set", "loop.epochs=3")
    assert code == 1
    assert "loop.epochs = 1, now 3" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "loop.epoch=3"), "unknown key loop.epoch; did you mean"),
        (("--set", "task=segmentation"), "task = 'segmentation'; give task = 'reconstruction'"),
        (("--seeds", "2"), "are only for classifiers"),
        (("--from", "reconstruct"), "start = 'reconstruct': its network is another one"),
        (("--minutes", "2"), "are only for a folder"),
        (("--set", "sequences.clips=1", "--set", "sequences.clip_files=['a.mp4']"), "a.mp4"),
    ],
)
def test_wrong_options_are_refused_in_one_line(tiny: Path, run, words, said):
    code, out, error = run("train", tiny, *words)
    assert code != 0
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert out == ""
