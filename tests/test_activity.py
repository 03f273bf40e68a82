"""The distance of an input from those that a model learned from, by the activity of its layers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dvskit.errors import FittedWarning, ModelError
from dvskit.evaluation import classify_windows
from dvskit.models import load_model
from dvskit.models.doubt import (
    Likeness,
    activity_of,
    fit_likeness,
    read_likeness,
    write_likeness,
)


def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(108, 2)
    )


class Steps(torch.nn.Module):
    """Inputs (T, B, C, H, W) -> logits (B, 2), of each step alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = network()

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        times, count = given.shape[:2]
        return self.layers(given.flatten(0, 1)).unflatten(0, (times, count)).mean(0)


class Drawn:
    """Batches of Poisson counts of some rate."""

    def __init__(self, rate: float, count: int = 180, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.counts = torch.from_numpy(rng.poisson(rate, (4, count, 2, 8, 8)).astype(np.float32))

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        assert number == 0
        for each in self.counts.split(50, 1):
            yield each, torch.zeros(each.shape[1], dtype=torch.int64)


def activities(module: torch.nn.Module, batches: Drawn) -> list[torch.Tensor]:
    with activity_of(module) as passes, torch.inference_mode():
        for sample in batches.counts.split(1, 1):
            module(sample)
    return passes


def test_the_activity_is_the_logarithm_of_the_mean_output_of_each_channel():
    module, batches = Steps().eval(), Drawn(0.3, 2)
    first, second = activities(module, batches)
    for k, found in enumerate((first, second)):
        output = torch.relu(module.layers[0](batches.counts[:, k]))
        expected = torch.log(output.mean((0, 2, 3)) + 1e-3)
        torch.testing.assert_close(found, expected.detach())
    assert not any(each._forward_hooks for each in module.modules())


def test_the_distance_is_that_of_mahalanobis_with_the_limit_at_1():
    module, learned = Steps().eval(), Drawn(0.3)
    known = fit_likeness(module, learned)  # type: ignore[arg-type]
    assert known is not None
    rows = torch.stack(activities(module, learned)).double().numpy()
    fitted, others = rows[:120], rows[120:]
    scaled = (fitted - fitted.mean(0)) / fitted.std(0, ddof=1)
    covariance = 0.7 * scaled.T @ scaled / 120 + 0.3 * np.eye(3)
    inverse = np.linalg.inv(covariance)

    def plain(row: np.ndarray) -> float:
        about = (row - fitted.mean(0)) / fitted.std(0, ddof=1)
        return float(np.sqrt(about @ inverse @ about))

    limit = 1.5 * np.quantile([plain(row) for row in others], 0.99)
    for row in rows[::9]:
        found = known.distance(torch.from_numpy(row).float())
        assert found == pytest.approx(plain(row) / limit, rel=1e-3)
    same = [known.unlike(each) for each in activities(module, Drawn(0.3, 60, seed=5))]
    assert same == [""] * 60
    assert all(known.unlike(each) for each in activities(module, Drawn(3.0, 20, seed=6)))


def test_few_samples_and_networks_without_activations_have_no_likeness():
    assert fit_likeness(Steps().eval(), Drawn(0.3), 23) is None  # type: ignore[arg-type]
    flat = torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.Linear(128, 2))
    assert fit_likeness(flat.eval(), Drawn(0.3)) is None  # type: ignore[arg-type]


def test_a_likeness_is_read_as_it_was_written_and_damage_is_an_error(tmp_path: Path):
    known = Likeness(torch.arange(3.0), torch.eye(3))
    write_likeness(tmp_path, known)
    again = read_likeness(tmp_path)
    assert again is not None
    assert torch.equal(again.mean, known.mean)
    assert torch.equal(again.scale, known.scale)
    with pytest.raises(ModelError, match="describes 3 channels, and the network has 4"):
        again.distance(torch.zeros(4))
    file = tmp_path / "likeness.safetensors"
    whole = file.read_bytes()
    for wrong in (whole[:40], b"", whole.replace(b"mean", b"maen")):
        file.write_bytes(wrong)
        with pytest.raises(ModelError, match=r"likeness\.safetensors: is no likeness of a model"):
            read_likeness(tmp_path)
    write_likeness(tmp_path, Likeness(torch.zeros(3), torch.eye(3) * np.inf))
    with pytest.raises(ModelError, match="not finite"):
        read_likeness(tmp_path)
    write_likeness(tmp_path, None)
    assert read_likeness(tmp_path) is None


@pytest.mark.slow(seconds=6)
def test_waves_are_like_the_people_of_the_gesture_model_and_a_street_is_not(data: Path):
    model = load_model("dvs128-gestures")
    for wave in sorted((data / "gestures" / "dvs128" / "right_hand_wave").iterdir()):
        assert classify_windows(model, wave).unlike == ""
    with pytest.warns(FittedWarning):
        street = classify_windows(model, data / "davis" / "davis346_street.aedat4").unlike
    assert street.startswith("it excites the network in other ways, ")
    assert 1.2 < float(street.split(", ")[1].split()[0]) < 3
