# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Counter-based random numbers: a hash of seed, stream and two counters.

The mixer is that of SplitMix64 (Steele, Lea, Flood 2014), which passes BigCrush on counters.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
S11 = np.uint64(11)
TO_UNIT = 2.0**-53


@njit(cache=True, nogil=True)
def mix(z: int) -> int:
    """Return a uint64 that looks random, different for each z."""
    z = np.uint64(z)
    z = (z ^ (z >> _S30)) * _FIRST
    z = (z ^ (z >> _S27)) * _SECOND
    return z ^ (z >> _S31)


@njit(cache=True, nogil=True)
def bits(seed: int, stream: int, a: int, b: int) -> int:
    """Return 64 random bits (uint64) of a stream at counters a and b."""
    z = mix(np.uint64(seed) + np.uint64(stream) * GOLDEN)
    z = mix(z + np.uint64(a) * GOLDEN)
    return mix(z + np.uint64(b) * GOLDEN + GOLDEN)


@njit(cache=True, nogil=True)
def uniform(seed: int, stream: int, a: int, b: int) -> float:
    """Return a random number of (0, 1), both ends excluded."""
    return (np.float64(bits(seed, stream, a, b) >> S11) + 0.5) * TO_UNIT


@njit(cache=True, nogil=True)
def normal(seed: int, stream: int, a: int, b: int) -> float:
    """Return a random number of the normal distribution with mean 0 and variance 1.

    Box and Muller 1958; the second of each pair is discarded.
    """
    radius = math.sqrt(-2.0 * math.log(uniform(seed, stream, a, np.int64(2) * b)))
    return radius * math.cos(2.0 * math.pi * uniform(seed, stream, a, np.int64(2) * b + 1))


@njit(cache=True, nogil=True)
def normals(seed: int, stream: int, first: int, drawn: NDArray[np.float64]) -> None:
    """Fill `drawn` with normal random numbers at counters first, first + 1, ..."""
    for i in range(drawn.size):
        drawn[i] = normal(seed, stream, first + i, 0)


@njit(cache=True, nogil=True)
def uniforms(seed: int, stream: int, first: int, drawn: NDArray[np.float64]) -> None:
    """Fill `drawn` with random numbers of (0, 1) at counters first, first + 1, ..."""
    for i in range(drawn.size):
        drawn[i] = uniform(seed, stream, first + i, 0)
