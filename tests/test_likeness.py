"""What a result and an answer are worth: unlike recordings are noted, cautions come first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dvskit.datasets import Emulation, FileSamples, Sample
from dvskit.datasets.kinds import SampleReading
from dvskit.emulator import EmulatorParams
from dvskit.evaluation import Result, classify_windows
from dvskit.events import Events
from dvskit.formats import save_events
from dvskit.training import InputConfig, Trained, load_model
from dvskit.training.inputs import input_of
from dvskit.training.model_tables import Likeness, likeness_from, measures_of
from dvskit.training.scores import headlines, near_chance
from tests.bars import SIZE, moving_bar


def everywhere(count: int) -> Events:
    """Events on all pixels of the bars' sensor, for as long as a bar moves."""
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, SIZE[0], count), rng.integers(0, SIZE[1], count)
    return Events(t=np.sort(rng.integers(0, 8_400, count)), x=x, y=y, p=x > y, size=SIZE)


def twin(counts: torch.Tensor, given: InputConfig) -> tuple[float, float]:
    """Spread and density from their definitions, of counts (bins, C, H, W) of 32x32 pixels."""
    shares, cells, events = [], 0, 0.0
    for one in counts.numpy():
        filled = {(y // 2, x // 2) for _, y, x in np.argwhere(one)}
        cells, events = cells + len(filled), events + one.sum()
        if filled:
            shares.append(len(filled) / 256)
    return float(np.mean(shares)), events / (cells * given.bin_us / 1e6)


def test_spread_and_density_are_as_defined():
    given = InputConfig(bins=7, bin_us=2_000)
    rng = np.random.default_rng(5)
    counts = torch.from_numpy(rng.poisson(0.02, (7, 2, 32, 32)).astype(np.float32))
    counts[2] = 0
    spread, density = measures_of(counts[:, None], given)
    assert (float(spread), float(density)) == pytest.approx(twin(counts, given), rel=1e-5)


@pytest.mark.slow
def test_what_is_unlike_all_training_samples_is_noted_and_what_is_like_them_is_not(
    trained: Trained, tmp_path: Path, run
):
    like, unlike = tmp_path / "like.npz", tmp_path / "unlike.npz"
    save_events(moving_bar(True, 999), like)
    save_events(everywhere(5_000), unlike)
    code, _, err = run("classify", like, "--model", trained.folder)
    assert (code, err) == (0, "")
    code, _, err = run("classify", unlike, "--model", trained.folder)
    assert code == 0
    assert err.startswith(f"dvskit: note: {unlike}: is unlike all samples that the model learned ")
    code, out, err = run("classify", like, unlike, "--model", trained.folder, "--json")
    first, second = json.loads(out)
    assert (code, first["unlike_training"]) == (0, None)
    assert second["unlike_training"] == "more of the picture moves"
    assert err.count("is unlike") == 1
    held = [moving_bar(k % 2 == 0, 1_000 + k) for k in range(40)]
    assert not any(classify_windows(trained.model, each).unlike for each in held)
    assert likeness_from(load_model(trained.folder).about) is not None
    assert likeness_from(load_model("nmnist-signed-lif").about) is None


@pytest.mark.slow(seconds=20)
def test_gestures_of_another_person_are_like_those_learned_from_and_street_scenes_are_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path))
    given, size = InputConfig(bins=40, bin_us=100_000), (128, 128)
    params = EmulatorParams(threshold_on=0.3, threshold_off=0.3)
    how = SampleReading(Emulation(params=params, size=size, whole=True))

    def inputs(files: list[Path]) -> list[torch.Tensor]:
        samples = FileSamples([Sample(file.name, "", path=file) for file in files], how)
        return [input_of(given, samples.events(k), None) for k in range(len(files))]

    gestures, scenes = data / "gestures" / "videos", data / "video"
    first = inputs(sorted(gestures.glob("*/p1_t[12].avi")))
    ranges = [measures_of(each[:, None], given) for each in first]
    spread, density = (
        (min(map(float, each)), max(map(float, each))) for each in zip(*ranges, strict=True)
    )
    known = Likeness(spread, density)
    second = inputs(sorted(gestures.glob("*/p2_t1.avi")))
    assert [known.unlike(each, given) for each in second] == [""] * 3
    others = inputs(sorted(scenes.glob("*.mp4")))
    assert len(others) == 3
    assert all(known.unlike(each, given) for each in others)


def result(right: int, samples: int, classes: int, seen: int = 0) -> Result:
    confusion = np.zeros((classes, classes), np.int64)
    confusion[0, 0], confusion[0, 1] = right, samples - right
    return Result(tuple(map(str, range(classes))), confusion, 1.0, seen=seen)


@pytest.mark.parametrize(
    ("right", "samples", "classes", "near"),
    [(6, 56, 14, True), (31, 56, 14, False), (4, 9, 3, True), (9, 9, 3, False), (0, 5, 2, True),
     (52, 100, 2, True), (70, 100, 2, False), (500, 5000, 10, True), (900, 5000, 10, False)],
)  # fmt: skip
def test_an_accuracy_near_chance_says_so_first(right, samples, classes, near):
    found = result(right, samples, classes)
    assert bool(near_chance(found)) == near
    first, *others = headlines(found)
    assert first.startswith("accuracy is near chance (1/" if near else "accuracy ")
    assert len(others) == near
    if classes == 14 and near:
        assert "(1/14 = 7.1 %)" in first


def test_an_accuracy_on_training_samples_is_never_the_headline():
    lines = headlines(result(3, 3, 3, seen=3))
    assert lines[0].startswith("nothing was held out: ")
    assert lines[-1].startswith("accuracy on training samples ")
    assert headlines(result(9, 9, 3, seen=2))[-1].startswith("accuracy ")
