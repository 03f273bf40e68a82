"""Events -> tensors of counts per time bin, polarity and pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit._threads import run_parts
from dvskit.emulator.batch import Batch
from dvskit.emulator.params import EmulatorParams
from dvskit.errors import ShapeError, did_you_mean
from dvskit.events import Events, Size, Source, as_source, cut
from dvskit.tensors.counts_kernels import add_counts

Outside = Literal["error", "ignore"]

_LARGEST = 1 << 62  # products of times and bins stay below this: exact in int64


@dataclass(frozen=True, slots=True)
class _Window:
    """Bins of equal length: bin k holds start_us <= t < stop_us with
    (t - start_us) * numerator // denominator == k."""

    start_us: int
    stop_us: int
    bins: int
    numerator: int
    denominator: int


@check_arguments
def bin_events(
    events: Events | Source,
    *,
    bins: int | None = None,
    bin_us: int | None = None,
    start_us: int | None = None,
    outside: Outside = "error",
) -> Tensor:
    """Count events per time bin, polarity and pixel: nothing lost, nothing merged.

    bins             [start_us, t_last] is cut in `bins` parts, equal to a microsecond
    bin_us           as many bins of `bin_us` microseconds as reach the last event
    bins and bin_us  the window [start_us, start_us + bins * bin_us)

    `start_us` is the time of the first event unless given. Returns (bins, 2, H, W) int32; channel 0
    is OFF, channel 1 ON. The sum is the number of events; how a Source is cut does not matter. A
    Source is read twice (once for its times) unless bins, bin_us and start_us are all given.

    Raises ShapeError if neither bins nor bin_us is given, if one is below 1, and for events outside
    the window, unless outside="ignore".
    """
    _check(bins, bin_us, outside)
    source = as_source(events)
    window = _find_window(source, bins, bin_us, start_us)
    counts = _zeros(window.bins, source.size)
    missed = 0
    for block in source:
        inside = cut(block, window.start_us, window.stop_us)
        missed += len(block) - len(inside)
        add_counts(
            inside.t,
            inside.x,
            inside.y,
            inside.p,
            window.start_us,
            window.numerator,
            window.denominator,
            counts,
        )
    _refuse_missed(missed, outside, f"the window [{window.start_us}, {window.stop_us}) us")
    return torch.from_numpy(counts)


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
    """
    _check(bins, bin_us, outside)
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
    _refuse_missed(sum(missed), outside, f"the {bins} bins of {bin_us} us")
    return torch.from_numpy(counts)


def _refuse_missed(missed: int, outside: Outside, window: str) -> None:
    if missed and outside == "error":
        raise ShapeError(
            f'{missed:,} events are outside {window}; widen it, or pass outside="ignore"'
        )


def _check(bins: int | None, bin_us: int | None, outside: str) -> None:
    if bins is None and bin_us is None:
        raise ShapeError("neither bins nor bin_us is given; give one of them, or both")
    for name, value in (("bins", bins), ("bin_us", bin_us)):
        if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
            raise ShapeError(f"{name}={value} is not a whole number of at least 1")
    if outside not in ("error", "ignore"):
        raise ShapeError(
            f"unknown outside={outside!r}; {did_you_mean(outside, ('error', 'ignore'))}"
        )


def _find_window(
    source: Source, bins: int | None, bin_us: int | None, start_us: int | None
) -> _Window:
    first, last = start_us, None
    if bins is None or bin_us is None or start_us is None:
        first, last = _find_span(source)
    start = int(start_us) if start_us is not None else first if first is not None else 0
    span = 0 if last is None else max(0, last - start + 1)  # [start, last], the last included
    if bin_us is not None:
        bins = -(-span // bin_us) if bins is None else int(bins)
        window = _Window(start, start + bins * int(bin_us), bins, 1, int(bin_us))
    else:
        bins = int(bins or 0)  # _check has seen that it is given
        window = _Window(start, start + span, bins, bins, max(1, span))
    if (window.stop_us - start) * window.numerator + window.denominator >= _LARGEST:
        raise ShapeError(
            f"{window.bins} bins over {window.stop_us - start} us are too many to count exactly; "
            "take fewer bins"
        )
    return window


def _find_span(source: Source) -> tuple[int | None, int | None]:
    first = last = None
    for block in source:
        if len(block):
            first = int(block.t[0]) if first is None else first
            last = int(block.t[-1])
    return first, last


def _zeros(bins: int, size: Size) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    shape = (bins, 2, size.height, size.width)
    try:
        return np.zeros(shape, np.int32)
    except (MemoryError, ValueError) as error:
        gib = 8 * bins * size.height * size.width / 2**30
        raise ShapeError(
            f"{bins} bins on {size} take {gib:,.1f} GiB, which cannot be had; "
            "take fewer or longer bins"
        ) from error
