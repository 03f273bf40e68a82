"""Batches of encoded images: the same as image by image, drawn by the seed, each image once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dvskit.datasets import BatchShare, Encode, FolderImages, IdxImages, ImageBatches
from dvskit.errors import ConfigError
from tests.test_images import digits  # noqa: F401 (a fixture)


@pytest.mark.parametrize(
    ("encoder", "channels"),
    [
        *((name, k) for name in ("latency", "log_latency", "delta", "direct") for k in (1, 2)),
        ("rank_order", 1),
        ("population", 2),
    ],
)
def test_images_encoded_together_are_those_encoded_one_by_one(
    digits: IdxImages,  # noqa: F811
    encoder: str,
    channels: int,
) -> None:
    encode = Encode(encoder, 7, (30, 29), channels)
    batches = ImageBatches([BatchShare(samples=digits, count=5, encode=encode)], shuffle=False)
    found = list(batches.epoch(0))
    assert [len(labels) for _, labels in found] == batches.sizes() == [5, 5, 5, 1]
    assert torch.cat([labels for _, labels in found]).tolist() == digits.labels.tolist()
    together = torch.cat([tensor for tensor, _ in found], 1)
    rng = np.random.default_rng(0)
    for number in range(len(digits)):
        alone = encode(digits.image(number), rng)
        assert alone.shape == (7, channels, 29, 30)
        assert torch.equal(together[:, number], alone)


def test_direct_images_are_the_brightness_at_each_step_and_stand_in_memory_once(
    digits: IdxImages,  # noqa: F811
) -> None:
    encode = Encode("direct", 25, (28, 28), 1)
    tensor, _ = next(ImageBatches([BatchShare(samples=digits, count=4, encode=encode)]).epoch(0))
    assert tensor.stride(0) == 0
    one = encode(digits.image(3), np.random.default_rng(0))
    assert np.array_equal(one[24, 0].numpy(), digits.image(3).astype(np.float32) / 255)
    with pytest.raises(ConfigError, match="'population' has two neurons per pixel"):
        Encode("population", 25, (28, 28), 1)
    with pytest.raises(ConfigError, match="channels = 3 must be 1 or 2"):
        Encode("direct", 25, (28, 28), 3)


def test_delta_spikes_for_each_tenth_that_an_image_fades_in() -> None:
    image = np.array([[255, 128, 40, 20, 0]], np.uint8)
    spikes = Encode("delta", 20, (5, 1), 1)(image, np.random.default_rng(0))
    assert spikes.sum(0).tolist() == [[[10, 5, 1, 0, 0]]]
    assert spikes.max() == 1
    assert spikes[:, 0, 0, 0].nonzero().flatten().tolist() == list(range(1, 20, 2))


def test_a_seed_draws_order_and_spikes_and_an_epoch_can_begin_further_on(
    digits: IdxImages,  # noqa: F811
) -> None:
    share = BatchShare(samples=digits, count=6, encode=Encode("poisson", 5, (28, 28)))

    def epoch(seed: int, number: int, first: int = 0) -> list[torch.Tensor]:
        return [x for x, _ in ImageBatches([share], seed=seed).epoch(number, first=first)]

    once = epoch(1, 0)
    assert all(map(torch.equal, once, epoch(1, 0)))
    assert not torch.equal(once[0], epoch(2, 0)[0])
    assert not torch.equal(once[0], epoch(1, 1)[0])
    assert all(map(torch.equal, once[2:], epoch(1, 0, first=2)))
    part, rows = next(ImageBatches([share], seed=1).epoch(0, part=(1, 2)))
    assert torch.equal(part, once[0][:, 1::2])
    assert len(rows) == 3
    labels = torch.cat([y for _, y in ImageBatches([share], seed=1).epoch(0)])
    assert sorted(labels.tolist()) == sorted(digits.labels.tolist())


def test_shares_follow_each_other_in_each_batch(digits: IdxImages) -> None:  # noqa: F811
    shares = [
        BatchShare(samples=digits, count=3, encode=Encode("direct", 4, (28, 28))),
        BatchShare(samples=digits.choose([2, 0]), count=2, encode=Encode("latency", 4, (28, 28))),
    ]
    batches = ImageBatches(shares, shuffle=False)
    assert batches.sizes() == [5] * 6
    tensor, labels = next(batches.epoch(0))
    assert labels.tolist() == [0, 1, 2, 2, 0]
    assert torch.equal(tensor[:, 3], shares[1].encode(digits.image(2), np.random.default_rng(0)))
    with pytest.raises(ConfigError, match="use Batches"):
        ImageBatches([BatchShare(samples=digits, count=1, encode=lambda image, rng: image)])


def test_images_of_any_sizes_stand_in_the_middle(tmp_path: Path) -> None:
    for kind, size in (("a", (6, 4)), ("b", (3, 5))):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "0.png"), np.full(size, 255, np.uint8))
    share = BatchShare(
        samples=FolderImages(tmp_path), count=2, encode=Encode("direct", 2, (8, 8), 1)
    )
    tensor, _ = next(ImageBatches([share], shuffle=False).epoch(0))
    assert tensor[0].flatten(1).sum(1).tolist() == [24, 15]
    assert tensor[1, 0, 0, 1, 2] == 1
