"""Batches of encoded images, each encoded at once: nothing is done image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit.datasets.ahead import made_ahead
from dvskit.datasets.encode import Encode
from dvskit.datasets.samples import Stills, named
from dvskit.datasets.shares import WHOLE, Share, batch_sizes, planned, rows_of
from dvskit.errors import ConfigError, GeometryError

_AHEAD = 2
# What a seed is for: no two draws are alike.
_ORDER, _BATCH = range(2)


@dataclass(frozen=True, eq=False)
class StillBatches:
    """Batches of encoded images for training and for evaluation, the same ones for a seed.

    shares   of stills, each with an `Encode`; they follow each other in each batch
    seed     of the order and of all that is drawn
    shuffle  draw the order anew for each epoch; without, it is that of the sets
    steps    batches of an epoch, all full; unless given as `Batches` has them

    It is what `Batches` is for shares of stills, but a batch draws its spikes together: they depend
    on which images it has. An image that is shown as it is, at each step alike, stands in memory
    once. Raises ConfigError for shares of anything else, and of classes that differ.
    """

    shares: Sequence[Share]
    seed: int = field(default=0, kw_only=True)
    shuffle: bool = field(default=True, kw_only=True)
    steps: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for share in self.shares:
            if not isinstance(share.encode, Encode):
                raise ConfigError("StillBatches takes shares of stills with an Encode; see Batches")
            if share.samples.classes != self.classes:
                raise ConfigError(
                    f"classes {', '.join(self.classes)} in one share and "
                    f"{', '.join(share.samples.classes)} in another; make them equal"
                )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in order of the labels."""
        return self.shares[0].samples.classes

    def sizes(self) -> list[int]:
        """Return how many samples each batch of an epoch has."""
        return batch_sizes(self.shares, self.steps)

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return len(self.sizes())

    def epoch(
        self, number: int, *, first: int = 0, part: tuple[int, int] = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch: tensors (T, B, C, H, W) and labels (B,) int64.

        first  how many to leave out at the beginning, for a run that goes on
        part   as `Batches.epoch` has it; all of a batch is encoded, as it is drawn together

        A thread makes them ahead. Raises what reading and encoding an image raises.
        """
        sizes = self.sizes()
        plan = planned(self.shares, sizes, (self.seed, _ORDER, number) if self.shuffle else None)

        def fill(made: list[tuple[Tensor, Tensor]], batch: int, row: int) -> None:
            chosen = plan.batch(first + batch)
            made.append(self._made(chosen, (self.seed, _BATCH, number, first + batch)))

        lists = made_ahead(
            [1] * (len(sizes) - first),
            lambda batch: list[tuple[Tensor, Tensor]](),
            fill,
            threads=1,
            ahead=_AHEAD,
        )
        with closing(lists):
            for made, size in zip(lists, sizes[first:], strict=True):
                tensor, labels = made[0]
                rows = rows_of(part, size)
                taken = slice(rows.start, None, rows.step)
                yield tensor[:, taken], labels[taken]

    def _made(
        self, chosen: Sequence[NDArray[np.int64]], seed: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        parts, labels = [], []
        for number, (share, numbers) in enumerate(zip(self.shares, chosen, strict=True)):
            if len(numbers):
                rng = np.random.default_rng((*seed, number))
                assert isinstance(share.encode, Encode)
                assert isinstance(share.samples, Stills)
                parts.append(_encoded(share.encode, share.samples, numbers, rng))
                labels.append(torch.from_numpy(share.samples.labels[numbers]))
        if len(parts) == 1:
            return parts[0], labels[0]
        return torch.cat([part.float() for part in parts], 1), torch.cat(labels)


def _encoded(
    encode: Encode, stills: Stills, numbers: NDArray[np.int64], rng: np.random.Generator
) -> Tensor:
    """Return the spikes of some stills. Raises GeometryError with the name of one too large."""
    images = stills.images(numbers)
    try:
        return encode.many(images, rng)
    except GeometryError as error:
        width, height = encode.size
        for number, image in zip(numbers, images, strict=True):
            if image.shape[0] > height or image.shape[1] > width:
                raise named(error, stills.rows[number]) from error
        raise
