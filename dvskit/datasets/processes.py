"""Batches made by processes, started by torch's DataLoader, which also carries the tensors.

`Batches` uses the first part; BatchesDataset and EpochBatches serve a DataLoader of your own.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dvskit._arguments import check_arguments
from dvskit.datasets.rows import Row
from dvskit.datasets.shares import Plan, rows_of
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.datasets.loader import Batches

Answer = tuple[Tensor, list[Row]] | Exception


class _Answers(Dataset[Answer]):
    """Whole batches, or the reason for a missing one; each process has its own copy of the data.

    The data is copied, not forked: at a fork another thread may hold a lock.
    """

    def __init__(self, packed: bytes) -> None:
        self._packed = packed
        self._batches: Batches | None = None
        self._plan: tuple[int, Plan] | None = None

    def __getitem__(self, place: tuple[int, int, tuple[int, int]]) -> Answer:
        epoch, batch, part = place
        try:
            if self._batches is None:
                self._batches = pickle.loads(self._packed)
            if self._plan is None or self._plan[0] != epoch:
                self._plan = epoch, self._batches.plan(epoch)
            batches = self._batches
            count = len(rows_of(part, batches.sizes()[batch]))
            tensor = _shared(batches.shape(count), batches.dtype)
            return tensor, batches.make(epoch, batch, self._plan[1], part, tensor)
        except Exception as error:
            return that_travels(error)


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return an uninitialised tensor in memory that is shared with another process."""
    size = prod(shape) * dtype.itemsize
    # As in torch's own collate: a tensor that is shared later is copied.
    new_shared: Any = torch.UntypedStorage._new_shared
    whole = torch.empty(0, dtype=torch.uint8).set_(new_shared(size, device="cpu"))
    return whole.view(dtype).view(shape)


def that_travels(error: Exception) -> Exception:
    """Return an error that can be sent to another process, of the nearest possible type."""
    with suppress(Exception):  # the constructor of an error may need any arguments
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    text = str(error)
    made: Exception = RuntimeError(text)
    for kind in type(error).__mro__:
        with suppress(Exception):
            candidate = kind(text)
            if isinstance(candidate, Exception) and str(candidate) == text:
                made = candidate
                break
    for note in getattr(error, "__notes__", ()):
        made.add_note(note)
    return made


class Workers:
    """Processes that make batches, from one epoch to the next. Raises ConfigError."""

    def __init__(self, batches: Batches) -> None:
        try:
            packed = pickle.dumps(batches)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"the parts of the batches cannot be sent to other processes ({error}); "
                "use threads instead"
            ) from error
        self._count = len(batches)
        self._order: list[tuple[int, int, tuple[int, int]]] = []  # of the current epoch
        self._loader = DataLoader(
            _Answers(packed),
            batch_size=None,
            sampler=self._order,
            num_workers=batches.processes,
            prefetch_factor=max(1, -(-batches.ahead // batches.processes)),
            persistent_workers=True,
            pin_memory=batches.pin_memory,
        )

    def epoch(self, number: int, part: tuple[int, int]) -> Iterator[tuple[Tensor, list[Row]]]:
        """Yield the batches of an epoch. Raises the error of a batch in its place."""
        self._order[:] = [(number, batch, part) for batch in range(self._count)]
        for answer in self._loader:
            if isinstance(answer, Exception):
                raise answer
            yield answer


class Place(NamedTuple):
    """A row of a batch of an epoch."""

    epoch: int
    batch: int
    row: int


@check_arguments
class BatchesDataset(Dataset[tuple[Tensor, int]]):
    """The samples of `Batches`, for torch's DataLoader: the same batches, made by its processes.

        data = BatchesDataset(batches)
        loader = DataLoader(data, batch_sampler=EpochBatches(batches), collate_fn=data.collate,
                            num_workers=2)
        for counts, labels in loader: ...                # the next epoch at each pass

    data[place] gives the tensor of a sample (T, ...), without the batch, and its label. Without
    chance, data[number] gives a sample by its number too, so any sampler works.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self._plans: dict[int, Plan] = {}

    def __len__(self) -> int:
        return sum(self.batches.sizes())

    def __getitem__(self, place: Place | int) -> tuple[Tensor, int]:
        """Return the tensor and the label of a place or, without chance, of a number.

        Raises ConfigError for a number if the epoch matters, and the errors of reading.
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
                f"sample {number} depends on its epoch, which is not known; pass "
                "batch_sampler=EpochBatches(batches) to the DataLoader"
            )
        if not 0 <= number < len(shares[0].samples):
            raise IndexError(f"sample {number} of {len(shares[0].samples)}")
        return self.batches.fill_number(number, out)

    def collate(self, samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        """Return a batch, (T, B, ...) as in `Batches`, and labels (B,) int64."""
        tensors, labels = zip(*samples, strict=True)
        return torch.stack(tensors, self.batches.batch_axis), torch.tensor(labels)


@check_arguments
class EpochBatches(Sampler[list[Place]]):
    """The samples of each batch, for torch's DataLoader: a pass is an epoch.

    epoch  the number of the next pass; set it to resume a training run
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
