"""What is known of the pixels between two frames, as the kernels take it.

Log intensity is in units of 2^-24 e-fold, time in microseconds since the run began, in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 16  # pixels that are left alone together
TILE = 4096  # pixels whose noise is drawn together, whatever the number of threads
PARTS = TILE // BLOCK  # blocks of a tile
TOGETHER = 4  # tiles whose pixels are followed together, whatever the number of threads
# Where a slice of pixels goes on: the tile; 1 if its noise is drawn, -1 if that had no room; the
# block; where the tile's begin among the hits; how many lanes are taken, what room is kept for
# their events, and how many blocks are to be looked at behind them.
RESUME = 7
RUN = 256  # pixels that are moved together at most
LATER = 1024  # blocks that are looked at behind their events, together
BATCH = 32  # candidates of noise that are drawn together
NEVER = 1e300
CALM, CALM_STALE = NEVER, 2 * NEVER

# Places in `seen`, for each pixel of a run: the levels it sees at both ends, the photoreceptor's
# lag and what is left of its past behind the interval; how far off the later level it ends; by how
# much ON and OFF are exceeded at most; the highest less the lowest signal.
SEEN, PITCH = 8, RUN + 8  # not a power of 2: they would share one set of the cache
LEVEL, NEXT, LAG, KEPT, LEFT, HIGH, LOW, SWING = range(0, SEEN * PITCH, PITCH)


def aligned(length: int) -> Array:
    """Return a float64 array of zeros that begins with a cache line."""
    room = np.zeros(length + 8)
    start = -room.ctypes.data % 64 // 8
    return room[start : start + length]


class Model(NamedTuple):
    """The sensor's numbers: units of 2^-24 e-fold, and microseconds.

    pole, tau2     time constants of the photoreceptor at white and of the follower, 0 for none
    jitter         of a leak, as a part of it; refractory: how long a pixel is held in reset
    shot, leak     events a microsecond, of a dark pixel and of one that sees no change
    on, off        thresholds
    hot            events a microsecond of a hot pixel
    offset, knee, slope  of the log map, see `level_of`
    """

    pole: float
    tau2: float
    refractory: float
    jitter: float
    shot: float
    leak: float
    on: float
    off: float
    hot: float
    offset: float
    knee: float
    slope: float
    seed: int


class Pixels(NamedTuple):
    """Arrays of the pixels (n,) and of their blocks.

    v, u    float32, signals behind photoreceptor and source follower, less the level that the pixel
            sees; u is of length 0 without a follower
    ref     int32, the reference at `begun`; it falls by `leak` from then on
    begun   float64, when the pixel was last reset; it is held in reset up to then if that is to
            come, and ref is then what it sees at that time
    on, off float32, thresholds
    leak    float32, units a microsecond; `factor`: what it is without jitter
    since   of each block: the time of v and u; CALM if they are what the block sees, CALM_STALE
            if noise has reset pixels since: their ref and leak are to be set
    calmed  of each block: when it was found to be calm
    quiet   of each block: a time ahead of which it does not fire if it sees no change
    soonest of each block: how long behind a reset a leak takes to make an event at least
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
        """Return the arrays of so many pixels."""
        blocks = -(-size // BLOCK)
        ref, begun = np.zeros(size, np.int32), np.zeros(size)
        v, on, off, leak, factor = np.zeros((5, size), np.float32)
        calmed, quiet, soonest = np.zeros((3, blocks))
        u = np.zeros(size if follower else 0, np.float32)
        since = np.full(blocks, CALM)
        return cls(v, u, ref, begun, on, off, leak, factor, since, calmed, quiet, soonest)

    def part(self, first: int, stop: int) -> Pixels:
        """Return pixels first..stop, whole blocks of them, as views."""
        blocks = slice(first // BLOCK, -(-stop // BLOCK))
        return Pixels(
            *(each[first:stop] for each in self[:8]), *(each[blocks] for each in self[8:])
        )


class Weights(NamedTuple):
    """How often pixels and polarities make shot noise; see `weigh_noise`.

    chances uint8 and excess float32, of choices 2 * pixel + polarity; caps float64, of tiles
    """

    chances: Array
    excess: Array
    caps: Array

    @classmethod
    def of(cls, size: int) -> Weights:
        """Return the arrays of so many pixels, 0 for no noise."""
        return cls(
            np.zeros(2 * size, np.uint8), np.zeros(2 * size, np.float32), np.zeros(-(-size // TILE))
        )

    def part(self, first: int, stop: int) -> Weights:
        """Return pixels first..stop, whole tiles of them, as views."""
        choices = slice(2 * first, 2 * stop)
        tiles = slice(first // TILE, -(-stop // TILE))
        return Weights(self.chances[choices], self.excess[choices], self.caps[tiles])


class Tables(NamedTuple):
    """By code, in float64: its level and intensity; of length 0 where codes are levels.

    tau   the photoreceptor's time constant, 0 for none
    lag   tau / interval; kept: what is left of a difference behind the interval
    """

    level: Array
    light: Array
    tau: Array
    lag: Array
    kept: Array


class Scratch(NamedTuple):
    """What a thread's kernel works in: of a tile, but for `loud`, `who` and `seen`, of a run.

    changed uint8, whether a pixel's code changed; words: the same, eight at a time
    wakes   uint8, which blocks are to be moved
    loud    uint8, which pixels may fire; who: their places in the run
    seen    float64, see `SEEN`
    luck, bits  float64 and uint64: random numbers of a batch of candidates
    later   int64, blocks that saw no change and were moved all the same
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
        loud, who = np.zeros(RUN, np.uint8), np.zeros(RUN + 1, np.int64)
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
    """Noise events of some tiles in one interval, in order of pixels, those of a pixel of time.

    t       microseconds behind the interval's start
    choice  2 * pixel of its tile + polarity
    start   (PARTS + 1,) where each block's of the last tile begin, behind those of earlier ones
    free    scratch of the same length as t
    """

    t: Array
    choice: Array
    start: Array
    free: Array

    @classmethod
    def of(cls, room: int) -> Hits:
        """Return room for so many."""
        start = np.zeros(PARTS + 1, np.int64)
        return cls(np.empty(room), np.empty(room, np.int32), start, np.empty(room))

    def grown(self) -> Hits:
        """Return twice the room, which holds what this one does."""
        more = Hits.of(2 * self.t.size)
        more.t[: self.t.size], more.choice[: self.t.size] = self.t, self.choice
        more.start[:] = self.start
        return more


# What goes together to the kernels: plain tuples, as one with names takes 2 us a call more.
Step = tuple[int, int, float, float]
"""Number of the first pixel of a slice, the frame's number, and the interval's start and stop."""
Codes = tuple[Array, Array]
"""Codes of two frames that follow each other."""
Sensor = tuple[Tables, Model, Pixels]
"""What decides how pixels fire, and where they are."""
Noise = tuple[Array, Weights]
"""Pixels, in order, that fire at random; and how often pixels make shot noise."""
Run = tuple[int, int, int]
"""A tile, the first of some blocks of it, and how many they are."""
