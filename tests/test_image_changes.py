"""Still images changed at random: what no change, one change, and a seed give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dvskit.datasets import ImageChanges
from dvskit.errors import ConfigError
from dvskit.training import ImageData
from dvskit.training.config import Config, config_from, config_values
from dvskit.training.sets import load_feed
from tests.laws import refused
from tests.test_images import idx

ALL = ImageChanges(
    shift_px=2, rotate_deg=10, zoom=0.1, shear_deg=8, warp_px=1.5, flip_x=0.5, erase=0.2
)


def blobs(count: int = 6, rows: int = 20, columns: int = 26) -> Tensor:
    """Smooth images, dark at their edges: nothing is lost by moving them, little by bilinear."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    middles = torch.linspace(-2, 2, count)
    return torch.stack([
        torch.exp(-((x - columns / 2 - m) ** 2 + 2 * (y - rows / 2 + m / 2) ** 2) / 18)
        for m in middles
    ])  # fmt: skip


def changed(changes: ImageChanges, images: Tensor, seed: int = 0) -> Tensor:
    return changes(images, np.random.default_rng(seed))


def middle_of(images: Tensor) -> Tensor:
    """The center of mass, (N, 2): x, y."""
    rows, columns = images.shape[1:]
    whole = images.sum((1, 2))
    x = (images.sum(1) * torch.arange(columns)).sum(1) / whole
    return torch.stack((x, (images.sum(2) * torch.arange(rows)).sum(1) / whole), 1)


def test_no_change_and_the_smallest_moves_leave_images_as_they_were() -> None:
    assert torch.equal(changed(ImageChanges(), blobs()), blobs())
    tiny = ImageChanges(shift_px=1e-6, rotate_deg=1e-6, zoom=1e-6, shear_deg=1e-6, warp_px=1e-6)
    assert torch.allclose(changed(tiny, blobs()), blobs(), atol=1e-5)


@pytest.mark.parametrize("changes", [ALL, ImageChanges(warp_px=2), ImageChanges(erase=0.5)])
def test_an_image_depends_on_its_own_numbers_and_not_on_those_behind_it(
    changes: ImageChanges,
) -> None:
    whole = changed(changes, blobs())
    assert torch.equal(changed(changes, blobs()[:2]), whole[:2])
    assert torch.equal(changed(changes, blobs()), whole)
    assert not torch.equal(changed(changes, blobs(), seed=1), whole)
    same = blobs()[:1].expand(6, -1, -1)
    each = changed(changes, same)
    assert len({image.numpy().tobytes() for image in each}) == 6


def test_shifts_are_uniform_within_their_bound_and_leave_the_shape() -> None:
    images = blobs(1).expand(400, -1, -1)
    moved = middle_of(changed(ImageChanges(shift_px=3), images)) - middle_of(images)
    assert float(moved.abs().max()) == pytest.approx(3, abs=0.1)
    assert torch.allclose(moved.mean(0), torch.zeros(2), atol=0.3)  # 3 sqrt(3) / 20 is 3 errors
    assert torch.allclose(moved.std(0), torch.full((2,), 3 / 3**0.5), atol=0.2)


@pytest.mark.parametrize(
    ("changes", "grows"), [(ImageChanges(zoom=0.2), True), (ImageChanges(rotate_deg=30), False)]
)
def test_zoom_changes_the_area_and_turning_does_not(changes: ImageChanges, grows: bool) -> None:
    images = blobs(1).expand(200, -1, -1)
    factor = changed(changes, images).sum((1, 2)) / images.sum((1, 2))
    least, most = (0.8**2, 1.2**2) if grows else (1, 1)
    assert float(factor.min()) == pytest.approx(least, abs=0.03 if grows else 0.01)
    assert float(factor.max()) == pytest.approx(most, abs=0.03 if grows else 0.01)


def test_flips_come_as_often_as_they_are_meant_to() -> None:
    images = (blobs(1) * torch.linspace(0, 1, 26)).expand(1000, -1, -1)
    found = changed(ImageChanges(flip_x=0.3), images)
    flipped = [torch.equal(image, images[0].flip(-1)) for image in found]
    kept = [torch.equal(image, images[0]) for image in found]
    assert sum(flipped) + sum(kept) == 1000
    assert sum(flipped) == pytest.approx(300, abs=45)


def test_what_is_erased_is_a_rectangle_no_larger_than_was_said() -> None:
    images = torch.ones(300, 30, 20)
    black = changed(ImageChanges(erase=0.25), images) == 0
    shares = black.float().mean((1, 2))
    assert float(shares.max()) == pytest.approx(0.25, abs=0.04)
    assert float(shares.mean()) == pytest.approx(0.125, abs=0.02)
    for image in black:
        rows, columns = image.any(1).sum(), image.any(0).sum()
        assert image.sum() == rows * columns


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"shift_px": -1}, "shift_px = -1"),
        ({"zoom": 1.0}, "zoom = 1.0"),
        ({"erase": float("nan")}, "erase = nan"),
        ({"flip_x": True}, "flip_x = True"),
    ],
)
def test_bounds_out_of_range_are_refused(given: dict[str, float], named: str) -> None:
    with refused(ConfigError, named):
        ImageChanges(**given)


def test_events_and_images_take_each_their_own_changes() -> None:
    with pytest.raises(ConfigError, match=r"unknown key data.poisson.augment.drop; "):
        config_from({"data": [{"kind": "images", "augment": {"drop": 0.1}}]})


def test_a_configuration_changes_what_is_learned_from_and_not_what_is_judged(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(1)
    for part, count in (("train", 40), ("t10k", 10)):
        idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28)))
        idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 10)

    def config(augment: ImageChanges) -> Config:
        entry = ImageData(path=str(tmp_path), encoder="direct", count=8, augment=augment)
        return Config(data=(entry,))

    plain, varied = (load_feed(config(changes)) for changes in (ImageChanges(), ALL))
    assert config_from(config_values(config(ALL))) == config(ALL)
    assert not torch.equal(next(plain.train.epoch(0))[0], next(varied.train.epoch(0))[0])
    for part in ("validation", "test"):
        pairs = zip(
            getattr(plain, part)["direct"].epoch(0), getattr(varied, part)["direct"].epoch(0),
            strict=True,
        )  # fmt: skip
        assert all(torch.equal(a, b) for (a, _), (b, _) in pairs)
