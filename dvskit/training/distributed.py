"""The processes that train one network together, and the precision and the memory of each.

torchrun --nproc-per-node 2 -m dvskit train CONFIG
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dvskit.datasets.batch_plan import rows_of
from dvskit.errors import ConfigError, ProcessError
from dvskit.layers import BatchNorm2d
from dvskit.layers.dense import BatchPart
from dvskit.models.scores import has_fast_bfloat16, started_together

T = TypeVar("T")
_PATIENCE = timedelta(hours=2)  # the others wait while one process judges the test parts


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run: this one is number `rank` of `size`; number 0 leads.

    A process takes every size-th row of each batch, from row `rank` on. If a batch has fewer rows
    than there are processes, all take all rows. Only the leader writes and prints.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """The `part` argument of `dvskit.datasets.Batches.epoch`."""
        return self.rank, self.size

    def rows(self, count: int) -> slice:
        """Return the rows of this process in a batch of `count`."""
        rows = rows_of(self.part, count)
        return slice(rows.start, rows.stop, rows.step)

    def part_of(self, count: int) -> BatchPart | None:
        """Return the part of this process in a batch of `count`, None for all of it."""
        if self.size == 1 or count < self.size:
            return None
        return BatchPart(self.rank, self.size, count, self.add)

    def add(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all processes. Raises ProcessError."""
        if self.size > 1:
            with _named():
                dist.all_reduce(tensor)

    def add_gradients(self, weights: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Replace gradients by their sums over all processes; return the sum of the losses."""
        if self.size == 1:
            return loss
        found = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([*(each.reshape(-1).float() for each in found), loss.detach().reshape(1)])
        self.add(flat)
        at = 0
        for each in found:
            each.copy_(flat[at : at + each.numel()].view_as(each))
            at += each.numel()
        return flat[-1]

    def from_main(self, value: T) -> T:
        """Return the leader's value in all processes. Raises ProcessError."""
        if self.size == 1:
            return value
        box = [value]
        with _named():
            dist.broadcast_object_list(box, 0)
        return box[0]


ALONE = World()
"""One process."""


@contextmanager
def _named() -> Iterator[None]:
    """Turn torch's errors about an ended process into ProcessError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            "another process of the run has ended or cannot be reached; its own message gives the "
            "reason. Start all of them again; the run continues from its checkpoint"
        ) from error


def is_main_process() -> bool:
    """Return whether this process leads those that torchrun started.

    Without torchrun it is true.

        if dvskit.training.is_main_process():
            print("written once, not by each process")
    """
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def joined() -> Iterator[World]:
    """Yield the processes that torchrun started with this one; ALONE without torchrun.

    They communicate by gloo on CPUs and by NCCL on GPUs, one GPU each. An existing process group is
    used as it is. Raises ProcessError if the processes do not find each other.
    """
    if dist.is_available() and dist.is_initialized():
        yield World(dist.get_rank(), dist.get_world_size())
        return
    if started_together() == 1:
        yield ALONE
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    # Some builds of torch have no such modules.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    with _named():
        found, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
        # After a restart by torchrun the store still holds the addresses of the processes before.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = PrefixStore(f"attempt {attempt}", found)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    yield World(dist.get_rank(), dist.get_world_size())
    # After an error it stays until the process ends: destroying it could wait for the others.
    dist.destroy_process_group()


def check_together(module: nn.Module, world: World) -> None:
    """Raise ConfigError for torch layers that would normalize each part of a batch by itself."""
    for name, layer in module.named_modules():
        if (
            world.size > 1
            and isinstance(layer, nn.modules.batchnorm._BatchNorm)
            and not isinstance(layer, BatchNorm2d | nn.SyncBatchNorm)
        ):
            raise ConfigError(
                f"layer {name}, {type(layer).__name__}, takes its statistics over one process's "
                "part of a batch; use dvskit.layers.BatchNorm2d, or train in one process"
            )


def training_precision(device: torch.device, precision: str = "auto") -> torch.autocast:
    """Return the autocast of a training step: bfloat16, or none.

    precision  "float32", "bfloat16", or "auto": bfloat16 if it is fast
    """
    enabled = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt(3)
_LARGEST = 2**31 - 1
_ASKED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")


def keep_memory() -> bool:
    """Make this process keep the memory that it frees, and reuse it.

    By default the C library of Linux returns large blocks to the system when they are freed;
    finding and clearing the pages of new blocks costs several times as much as writing to them, and
    a training step allocates the same large tensors each time. `train` calls this function; call it
    once before a training loop of your own. The process then holds its peak memory until it ends.

    Returns whether it took effect: with glibc on Linux, unless the environment sets
    MALLOC_MMAP_THRESHOLD_ or the like.

        dvskit.training.keep_memory()  # True on most Linux systems
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    if any(name in os.environ for name in _ASKED):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = mallopt(_MMAP_THRESHOLD, _LARGEST) or mallopt(_MMAP_MAX, 0)  # the second in old glibc
    return bool(kept and mallopt(_TRIM_THRESHOLD, _LARGEST))
