"""The state of the pixels between two frames, as kernel arguments; options of the kernels.

Log intensity is in units of 2^-24 e-fold, time in microseconds since the run began, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from dvskit.emulator.level_kernels import LogMap

Array = NDArray[Any]
F = TypeVar("F", bound=Callable[..., Any])

# Kernels allocate nothing, so they need no reference counting (_nrt), a tenth of the time. Divisors
# are never 0 where it matters (error_model). Kernels that only loops call need no unpacking of
# Python arguments, a quarter of the compiled code. Indices in the busiest loops are unsigned: numba
# tests signed ones for wraparound.
_OPTIONS: dict[str, Any] = {
    "cache": True, "nogil": True, "_nrt": False, "error_model": "numpy", "no_cfunc_wrapper": True
}  # fmt: skip
_INNER = _OPTIONS | {"no_cpython_wrapper": True}

kernel: Callable[[F], F] = njit(**_OPTIONS)  # called from Python
inner: Callable[[F], F] = njit(**_INNER)  # called from loops only
merged: Callable[[F], F] = njit(
    **_INNER | {"forceinline": True}
)  # compiled separately, then inlined
inlined: Callable[[F], F] = njit(**_OPTIONS | {"inline": "always"})  # a few lines, used many times

BLOCK = 16  # pixels per block
TILE = 4096  # pixels per tile of noise, for any number of threads
PARTS = TILE // BLOCK  # blocks of a tile
TOGETHER = 4  # tiles whose pixels are followed together, for any number of threads
# The position in a slice of pixels, seven numbers: the tile; 1 if the noise of the tile is drawn,
# -1 if there was no room for the noise; the block; the start of the tile's hits; and the numbers of
# lanes, of events reserved for the lanes, and of blocks to check after the lanes.
RESUME = 7
RUN = 256  # most pixels moved together
LATER = 1024  # blocks checked together after their events
BATCH = 32  # candidates of noise drawn together
NEVER = 1e300
CALM, CALM_STALE = NEVER, 2 * NEVER

# Rows of `seen`, with an entry per pixel of a run: the levels at both ends, the photoreceptor's lag
# and the remainder of its past after the interval; its distance from the later level at the end;
# the largest excess over ON and OFF; the highest less the lowest signal.
SEEN, PITCH = 8, RUN + 8  # not a power of 2, which would share one set of the cache
LEVEL, NEXT, LAG, KEPT, LEFT, HIGH, LOW, SWING = range(0, SEEN * PITCH, PITCH)


def _prefetch(context: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of an element that is read or written soon."""

    def ask(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(array)(context, builder, given[0]).data
        pointer = builder.gep(data, [given[1]])
        byte = builder.bitcast(pointer, cgutils.voidptr_t)
        word = ir.IntType(32)
        asked = ir.FunctionType(ir.VoidType(), [byte.type, word, word, word])
        # Read access; keep in all cache levels; data cache.
        how = [word(0), word(3), word(1)]
        builder.call(
            builder.module.declare_intrinsic("llvm.prefetch", (byte.type,), asked), [byte, *how]
        )
        return context.get_dummy_value()

    return types.void(array, types.intp), ask


prefetch: Any = intrinsic(_prefetch)


def aligned(length: int) -> Array:
    """Return a float64 array of zeros, aligned to a cache line."""
    room = np.zeros(length + 8)
    start = -room.ctypes.data % 64 // 8
    return room[start : start + length]


class SensorModel(NamedTuple):
    """The sensor's parameters in units of 2^-24 e-fold, and microseconds.

    pole, tau2     time constants of the photoreceptor at white and of the follower, 0 for none
    jitter         of a leak, as a part of it; refractory: how long a pixel is held in reset
    leak           events per microsecond of a pixel that sees no change
    shot, law      the most events per microsecond of shot noise, and its share by light, see
                   `shot_share`; dark: see `light_of`
    on, off        thresholds
    hot            events per microsecond of a hot pixel
    log_map        see `level_of`
    """

    pole: float
    tau2: float
    refractory: float
    jitter: float
    shot: float
    law: tuple[float, float, float]
    dark: float
    leak: float
    on: float
    off: float
    hot: float
    log_map: LogMap
    seed: int


class Pixels(NamedTuple):
    """Arrays of the pixels (n,) and of their blocks.

    v, u    float32, signals of photoreceptor and source follower, less the level that the pixel
            sees; u is of length 0 without a follower
    ref     int32, the reference at `begun`; it falls by `leak` from then on
    begun   float64, the last reset of the pixel; if in the future, the pixel is held in reset until
            then, and ref is the level at that time
    on, off float32, thresholds
    leak    float32, units per microsecond; `factor`: without jitter
    since   of each block: the time of v and u; CALM if they equal the levels of the block,
            CALM_STALE if noise has reset pixels since, so that ref and leak are to be set
    calmed  of each block: when it was found to be calm
    quiet   of each block: a time before which it does not fire without change
    soonest of each block: the shortest time from a reset to a leak event
    """

    v: Array
    u: Array
    ref: Array
    begun: Array
    on: Array
    off: Array
    leak: Array
    factor: Array
    since: Array
    calmed: Array
    quiet: Array
    soonest: Array

    @classmethod
    def of(cls, size: int, *, follower: bool) -> Pixels:
        """Return the arrays of this many pixels."""
        blocks = -(-size // BLOCK)
        ref, begun = np.zeros(size, np.int32), np.zeros(size)
        v, on, off, leak, factor = np.zeros((5, size), np.float32)
        calmed, quiet, soonest = np.zeros((3, blocks))
        u = np.zeros(size if follower else 0, np.float32)
        since = np.full(blocks, CALM)
        return cls(v, u, ref, begun, on, off, leak, factor, since, calmed, quiet, soonest)

    def part(self, first: int, stop: int) -> Pixels:
        """Return pixels first..stop, whole blocks, as views."""
        blocks = slice(first // BLOCK, -(-stop // BLOCK))
        return Pixels(
            *(each[first:stop] for each in self[:8]), *(each[blocks] for each in self[8:])
        )


class Weights(NamedTuple):
    """Rates of shot noise by pixel and polarity; see `weigh_noise`.

    chances uint8 and excess float32, of choices 2 * pixel + polarity; caps float64, of tiles
    """

    chances: Array
    excess: Array
    caps: Array

    @classmethod
    def of(cls, size: int) -> Weights:
        """Return the arrays of this many pixels, 0 for no noise."""
        return cls(
            np.zeros(2 * size, np.uint8), np.zeros(2 * size, np.float32), np.zeros(-(-size // TILE))
        )

    def part(self, first: int, stop: int) -> Weights:
        """Return pixels first..stop, whole tiles, as views."""
        choices = slice(2 * first, 2 * stop)
        tiles = slice(first // TILE, -(-stop // TILE))
        return Weights(self.chances[choices], self.excess[choices], self.caps[tiles])


class Tables(NamedTuple):
    """By code, in float64: its level and intensity; of length 0 if codes are levels.

    tau   the photoreceptor's time constant, 0 for none
    lag   tau / interval; kept: the share of a difference left after the interval
    """

    level: Array
    light: Array
    tau: Array
    lag: Array
    kept: Array


class Scratch(NamedTuple):
    """Scratch memory of a thread's kernel: for a tile, but `loud`, `who` and `seen` for a run.

    changed uint8, whether a pixel's code changed; words: `changed`, eight pixels at a time
    wakes   uint8, blocks to be moved
    loud    uint8, pixels that may fire; who: uint16, their indices in the run
    seen    float64, see `SEEN`
    luck, bits  float64 and uint64: random numbers of a batch of candidates
    later   int64, blocks without change that were moved anyway
    """

    changed: Array
    words: Array
    wakes: Array
    loud: Array
    who: Array
    seen: Array
    luck: Array
    bits: Array
    later: Array

    @classmethod
    def of(cls) -> Scratch:
        """Return the arrays."""
        changed, wakes = np.zeros(TILE, np.uint8), np.zeros(PARTS, np.uint8)
        loud, who = np.zeros(RUN, np.uint8), np.zeros(RUN + 1, np.uint16)
        luck, bits = np.zeros(BATCH), np.zeros(BATCH, np.uint64)
        return cls(
            changed,
            changed.view(np.uint64),
            wakes,
            loud,
            who,
            aligned(SEEN * PITCH),
            luck,
            bits,
            np.zeros(LATER + 1, np.int64),
        )


class Hits(NamedTuple):
    """Noise events of some tiles in one interval, sorted by pixel, then time.

    t       microseconds after the interval's start
    choice  2 * pixel of its tile + polarity
    start   (PARTS + 1,) the start of each block's hits of the last tile, after earlier tiles' hits
    free    scratch of the same length as t
    """

    t: Array
    choice: Array
    start: Array
    free: Array

    @classmethod
    def of(cls, room: int) -> Hits:
        """Return room for this many."""
        start = np.zeros(PARTS + 1, np.int64)
        return cls(np.empty(room), np.empty(room, np.int32), start, np.empty(room))

    def grown(self) -> Hits:
        """Return hits with twice the room, and the same content."""
        more = Hits.of(2 * self.t.size)
        more.t[: self.t.size], more.choice[: self.t.size] = self.t, self.choice
        more.start[:] = self.start
        return more


# Related kernel arguments: plain tuples, because a named tuple takes 2 us more per call.
Step = tuple[int, int, float, float]
"""Index of the first pixel of a slice, the frame's number, and the interval's start and stop."""
Codes = tuple[Array, Array]
"""Codes of two consecutive frames."""
Sensor = tuple[Tables, SensorModel, Pixels]
"""The firing rule, and the state of the pixels."""
Noise = tuple[Array, Weights]
"""Pixels, sorted, that fire at random; and the rates of shot noise."""
Run = tuple[int, int, int]
"""A tile, the first of some blocks of it, and their number."""
