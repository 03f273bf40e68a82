"""Clips -> counts of the events that an emulated sensor would give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit._threads import run_parts
from dvskit.emulator.params import EmulatorParams
from dvskit.emulator.source import Batch
from dvskit.errors import ShapeError
from dvskit.tensors.bins import Outside, check_bins


@check_arguments
def bin_clips(
    clips: ArrayLike | Tensor,
    t_us: ArrayLike,
    *,
    bins: int,
    bin_us: int,
    start_us: int | None = None,
    params: EmulatorParams | str | Sequence[EmulatorParams] | None = None,
    seed: int = 0,
    outside: Outside = "error",
) -> Tensor:
    """Emulate clips and count their events in bins, without making the events.

    clips  (B, T, H, W), t_us (T,) or (B, T), params and seed as `emulate_batch` takes them

    Returns (B, bins, 2, H, W) int32, equal to binning the events of each clip with `bin_events`:
    bin k holds start_us + k * bin_us <= t < start_us + (k + 1) * bin_us, with start_us the time of
    the clip's first frame unless given. Raises what the two raise.

        clips = np.random.default_rng(0).integers(0, 255, (4, 10, 32, 32), np.uint8)    # B, T, H, W
        t_us = np.arange(10) * 10_000
        counts = dvskit.tensors.bin_clips(clips, t_us, bins=9, bin_us=10_001)    # (4, 9, 2, 32, 32)
    """
    check_bins(bins, bin_us, outside)
    batch = Batch(clips, t_us, params, seed)
    shape = (len(batch), bins, 2, batch.height, batch.width)
    counts = np.zeros(shape, np.int32)
    missed = [0] * len(batch)

    def count(number: int) -> None:
        run = batch.start(number)
        start = int(batch.t_us[number, 0]) if start_us is None else start_us
        missed[number] = sum(
            run.count(t, frame, counts[number], start, bin_us) for t, frame in batch.frames(number)
        )

    run_parts(count, len(batch))
    if any(missed) and outside == "error":
        raise ShapeError(
            f"{sum(missed):,} events are outside the {bins} bins of {bin_us} us; widen them, or "
            'pass outside="ignore"'
        )
    return torch.from_numpy(counts)
