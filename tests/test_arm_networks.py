"""The sample that compares networks on arm gestures goes on, and keeps what `evaluate` knows."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dvskit
from dvskit.evaluation import evaluate
from dvskit.models import load_model
from tests.tree import SAMPLES

SCRIPT = SAMPLES / "arm_networks.py"


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for k, gesture in enumerate(("push", "wave")):
        (tmp_path / "clips" / gesture).mkdir(parents=True)
        for person in (1, 2):
            count = 3_000
            x, y = (rng.integers(64 * k, 64 * k + 64, count) for _ in range(2))
            events = dvskit.Events(
                t=np.sort(rng.integers(0, 2_400_000, count)) + 77,
                x=x, y=y, p=rng.random(count) < 0.5, size=(128, 128),
            )  # fmt: skip
            dvskit.save_events(events, tmp_path / "clips" / gesture / f"s{person}_t1.npz")
    return tmp_path / "clips"


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> dict[str, Any]:
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, words)])
    try:
        return runpy.run_path(str(SCRIPT), run_name="__main__")
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_runs_are_listed_once_and_the_kept_model_answers_as_it_was_judged(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = (recordings, "--out", out, "--steps", 2, "--networks", "burst,ann,points")
    run(monkeypatch, *words, "--people", 2)
    first = (out / "results.csv").read_text()
    assert len(first.splitlines()) == 1 + 3
    run(monkeypatch, *words)
    assert (out / "results.csv").read_text().startswith(first)
    assert len((out / "results.csv").read_text().splitlines()) == 1 + 6
    names = run(monkeypatch, *words, "--keep", "burst")
    model = load_model(out / "burst")
    assert len(model.used) == 4
    clips = names["read_clips"]([recordings])
    wrong = names["judge"]("burst", model.module, clips, np.arange(4))
    assert evaluate(model, recordings, split="all").accuracy == 1 - len(wrong) / 4
    run(monkeypatch, *words, "--keep", "ann", "--people", 2)
    assert evaluate(load_model(out / "ann"), recordings).samples == 2  # hers alone
