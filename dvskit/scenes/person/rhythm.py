"""Human timing: cycles that drift, grow and shrink, and are not sines.

All are functions of time alone, made of sines drawn by a generator, so a movement can be evaluated
at any time and in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Signal = Callable[[Array], Array]


def wander(rng: np.random.Generator, size: float, hz: tuple[float, float] = (0.12, 0.9)) -> Signal:
    """Return a smooth random movement of standard deviation `size` about 0."""
    rates = np.exp(rng.uniform(np.log(hz[0]), np.log(hz[1]), 4))
    phases = rng.uniform(0, 2 * np.pi, 4)
    weights = rng.uniform(0.4, 1.0, 4) / rates**0.5
    weights *= size * np.sqrt(2 / (weights * weights).sum())

    def at(t: Array) -> Array:
        waves = np.sin(2 * np.pi * np.multiply.outer(t, rates) + phases)
        return np.asarray((waves * weights).sum(-1))

    return at


def wander3(rng: np.random.Generator, sizes: tuple[float, float, float]) -> Signal:
    """Return three smooth random movements, (T, 3)."""
    parts = [wander(rng, size) for size in sizes]
    return lambda t: np.stack([part(t) for part in parts], -1)


@dataclass(frozen=True)
class Rhythm:
    """Cycles of a movement with a mean rate `hz`.

    angle(t)      the phase of the cycle, in radians; never runs backwards
    amplitude(t)  the size of the movement, 1 on average
    """

    hz: float
    phase: float
    drift: Signal
    swell: Signal

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, hz: tuple[float, float], unsteady: float = 1.0
    ) -> Rhythm:
        """Return a rhythm between two rates; `unsteady` scales the variation between cycles."""
        rate = float(np.exp(rng.uniform(*np.log(hz))))
        drift = wander(rng, unsteady * rng.uniform(0.05, 0.3), (0.2, max(0.25, 0.7 * rate)))
        swell = wander(rng, unsteady * rng.uniform(0.02, 0.13), (0.2, max(0.25, 0.7 * rate)))
        return cls(rate, rng.uniform(0, 2 * np.pi), drift, swell)

    def angle(self, t: Array) -> Array:
        """Return the angle of the cycle at times in seconds."""
        return 2 * np.pi * self.hz * t + self.phase + self.drift(t)

    def amplitude(self, t: Array) -> Array:
        """Return the amplitude at times in seconds."""
        return np.maximum(1 + self.swell(t), 0.3)


@dataclass(frozen=True)
class Swing:
    """To and fro between -1 and 1, like a hand.

    hold  0 is a sine, 3 stays at both ends      lean  faster in one direction than the other
    """

    hold: float
    lean: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, hold: float = 1.6, lean: float = 0.45) -> Swing:
        """Return a random swing, with at most these values."""
        return cls(rng.uniform(0.05, hold), rng.uniform(-lean, lean))

    def __call__(self, angle: Array) -> Array:
        """Return the position of the swing at angles of its cycle."""
        wave = np.sin(angle + self.lean * np.sin(angle))
        return np.asarray(np.tanh(self.hold * wave) / np.tanh(self.hold))


def knock(angle: Array, sharp: float) -> Array:
    """Return a beat: 0 at rest above most of the time, 1 at the stroke; sharper with `sharp`."""
    return np.asarray(np.exp(sharp * (np.cos(angle) - 1)))
