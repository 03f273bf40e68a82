"""Batches of sequences, cut and turned at random, emulated in processes beside the training."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from types import ModuleType, TracebackType
from typing import NamedTuple, Self

import cv2
import numpy as np
import torch
from torch import Tensor

from dvskit import _interrupt
from dvskit.datasets import Cache
from dvskit.training.reconstruction.config import ReconstructionConfig
from dvskit.training.reconstruction.material import materials
from dvskit.training.reconstruction.sequences import EmulatedSequence, SequenceMaker

_MOST_WAITING = 3  # batches


class SequenceBatch(NamedTuple):
    """Sequences of one length, from first to last window; see `EmulatedSequence`.

    voxels (B, n, bins, H, W), frames (B, n + 1, 1, H, W) from 0 to 1, back (B, n, H, W, 2): float32
    """

    voxels: Tensor
    frames: Tensor
    back: Tensor


@dataclass(frozen=True, slots=True)
class _Job:
    """One sequence of a batch; `crop` and `draw` are None for a whole one, in its middle."""

    part: str
    number: int
    crop: int
    draw: tuple[int, ...] | None


class SequenceFeed:
    """The batches of a run; a context, which ends its processes.

    Every draw depends only on the seed, the epoch and the sequence. Raises ConfigError for the
    material.
    """

    def __init__(self, config: ReconstructionConfig) -> None:
        self.config = config
        cache = Cache(limit_gb=config.sequences.cache_gb)
        self.maker = SequenceMaker(
            config.sequences, config.network.bins, materials(config.sequences), config.seed, cache
        )
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.config.loop.processes:
            # Spawned: a fork would copy locks that threads hold.
            self._pool = ProcessPoolExecutor(
                self.config.loop.processes, get_context("spawn"), _begin, (self.maker,)
            )
            with _no_script():
                self._pool.submit(int)  # starts all processes
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)

    @property
    def batches(self) -> int:
        """The number of batches of an epoch."""
        return -(-self.config.sequences.train // self.config.loop.batch)

    def epoch(self, number: int, first: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of an epoch from batch `first` on."""
        seed, loop = self.config.seed, self.config.loop
        rng = np.random.default_rng((seed, number, 0xEB))
        order = rng.permutation(self.config.sequences.train).tolist()
        jobs = [
            [
                _Job("train", each, loop.crop, (seed, number, each, 0xC7))
                for each in order[at:][: loop.batch]
            ]
            for at in range(0, len(order), loop.batch)
        ]
        yield from self._made(jobs[first:])

    def whole(self, part: str) -> Iterator[SequenceBatch]:
        """Yield the sequences of a part one by one, unchanged but cut to a size that fits."""
        side = self.config.sequences.side
        side -= side % self.config.network.multiple
        count: int = getattr(self.config.sequences, part)
        yield from self._made([[_Job(part, number, side, None)] for number in range(count)])

    def _made(self, batches: list[list[_Job]]) -> Iterator[SequenceBatch]:
        if self._pool is None:
            for jobs in batches:
                yield _joined([_done(self.maker, job) for job in jobs])
            return
        waiting: deque[list[Future[EmulatedSequence]]] = deque()
        for jobs in batches:
            waiting.append([self._pool.submit(_work, job) for job in jobs])
            if len(waiting) > _MOST_WAITING:
                yield _joined([each.result() for each in waiting.popleft()])
        for futures in waiting:
            yield _joined([each.result() for each in futures])


@contextmanager
def _no_script() -> Iterator[None]:
    """Hide the script that runs: spawned processes import it, and would train, too."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


_maker: SequenceMaker | None = None  # of a process of the pool


def _begin(maker: SequenceMaker) -> None:
    """Prepare a process: one native thread, and it ends with its parent."""
    global _maker
    for number in _interrupt.STOPPING:
        if number != signal.SIGTERM:  # the parent handles them
            signal.signal(number, signal.SIG_IGN)
    _interrupt.end_with_parent()
    os.environ["DVSKIT_THREADS"] = "1"
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _maker = maker


def _work(job: _Job) -> EmulatedSequence:
    assert _maker is not None
    return _done(_maker, job)


def _done(maker: SequenceMaker, job: _Job) -> EmulatedSequence:
    sequence = maker.sequence(job.part, job.number)
    if job.draw is None:
        offset = (sequence.frames.shape[1] - job.crop) // 2
        return cut(sequence, offset, offset, job.crop)
    rng = np.random.default_rng(job.draw)
    room = sequence.frames.shape[1] - job.crop + 1
    part = cut(sequence, int(rng.integers(room)), int(rng.integers(room)), job.crop)
    return turned(part, *(bool(each) for each in rng.integers(0, 2, 3)))


def cut(sequence: EmulatedSequence, left: int, top: int, side: int) -> EmulatedSequence:
    """Return a square part of a sequence."""
    rows, columns = slice(top, top + side), slice(left, left + side)
    voxels, frames, back = sequence
    return EmulatedSequence(
        voxels[..., rows, columns], frames[:, rows, columns], back[:, rows, columns]
    )


def turned(sequence: EmulatedSequence, flip_x: bool, flip_y: bool, swap: bool) -> EmulatedSequence:
    """Return a sequence flipped along x or y, then with x and y exchanged: 8 ways in all."""
    voxels, frames, back = sequence
    if flip_x:
        voxels, frames, back = voxels[..., ::-1], frames[..., ::-1], back[:, :, ::-1] * (-1, 1)
    if flip_y:
        voxels, frames, back = voxels[..., ::-1, :], frames[:, ::-1], back[:, ::-1] * (1, -1)
    if swap:
        voxels, frames = voxels.swapaxes(-1, -2), frames.swapaxes(-1, -2)
        back = back.swapaxes(1, 2)[..., ::-1]
    return EmulatedSequence(
        np.ascontiguousarray(voxels), np.ascontiguousarray(frames), back.astype(np.float16)
    )


def _joined(sequences: list[EmulatedSequence]) -> SequenceBatch:
    voxels, frames, back = (
        torch.from_numpy(np.stack(arrays).astype(np.float32))
        for arrays in zip(*sequences, strict=True)
    )
    return SequenceBatch(voxels, frames[:, :, None] / 255, back)
