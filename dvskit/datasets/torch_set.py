"""Batches for torch's own DataLoader and its worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dvskit.datasets.loader import Batches
from dvskit.datasets.rows import Row
from dvskit.datasets.shares import Plan
from dvskit.errors import ConfigError


class Place(NamedTuple):
    """A row of a batch of an epoch."""

    epoch: int
    batch: int
    row: int


class BatchesDataset(Dataset[tuple[Tensor, int]]):
    """The samples of `Batches`, for torch's DataLoader: the same batches, made by its processes.

        data = BatchesDataset(batches)
        loader = DataLoader(data, batch_sampler=EpochBatches(batches), collate_fn=data.collate,
                            num_workers=2)
        for counts, labels in loader: ...                # the next epoch at each pass

    data[place] gives the tensor of a sample (T, ...), without the batch, and its label. Where no
    chance enters, data[number] gives a sample by its number too, so that any sampler will do.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self._plans: dict[int, Plan] = {}

    def __len__(self) -> int:
        return sum(self.batches.sizes())

    def __getitem__(self, place: Place | int) -> tuple[Tensor, int]:
        """Return the tensor and the label of a place or, where no chance enters, of a number.

        Raises ConfigError for a number where the epoch matters, and what reading the sample raises.
        """
        out = self.batches.empty()
        if isinstance(place, tuple):
            epoch, batch, row = place
            made = self.batches.fill(self._plan(epoch), epoch, batch, row, out)
        else:
            made = self._fill_number(place, out)
        self.batches.note([made])
        return out, made.label

    def _plan(self, epoch: int) -> Plan:
        plan = self._plans.get(epoch)
        if plan is None:
            plan = self.batches.plan(epoch)
            self._plans = {epoch: plan}
        return plan

    def _fill_number(self, number: int, out: Tensor) -> Row:
        shares = self.batches.shares
        if len(shares) > 1 or shares[0].chance:
            raise ConfigError(
                f"sample {number} of which epoch? What is drawn for it depends on that; pass "
                "batch_sampler=EpochBatches(batches) to the DataLoader"
            )
        if not 0 <= number < len(shares[0].samples):
            raise IndexError(f"sample {number} of {len(shares[0].samples)}")
        return self.batches.fill_number(number, out)

    def collate(self, samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        """Return a batch, (T, B, ...) as `Batches` has it, and labels (B,) int64."""
        tensors, labels = zip(*samples, strict=True)
        return torch.stack(tensors, self.batches.batch_axis), torch.tensor(labels)


class EpochBatches(Sampler[list[Place]]):
    """Says which samples each batch has, for torch's DataLoader: a pass is an epoch.

    epoch  the number of the next pass; set it to go on with a training that was interrupted
    """

    def __init__(self, batches: Batches, *, epoch: int = 0) -> None:
        self._sizes = batches.sizes()
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[list[Place]]:
        epoch = self.epoch
        self.epoch += 1
        for batch, size in enumerate(self._sizes):
            yield [Place(epoch, batch, row) for row in range(size)]
