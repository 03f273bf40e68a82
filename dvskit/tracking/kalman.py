"""One object on its way: two Kalman filters with constant velocity, and a smoothed box."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_NEW_SPEED = 150.0  # px/s, the standard deviation of an unknown velocity
_GROW, _SHRINK = 0.2, 0.01  # shares of the difference by which a box follows in a step
_WHOLE = 0.8  # a smaller share of the known width or height is a part of the object


@dataclass(slots=True)
class Along:
    """An object along one axis: position, velocity, their covariance, and the size of the box.

    px, px/s and s; `shown` is the share of the size that was last seen, smoothed
    """

    x: float
    size: float
    v: float = 0.0
    xx: float = 4.0
    xv: float = 0.0
    vv: float = _NEW_SPEED**2
    shown: float = 1.0

    @property
    def low(self) -> float:
        """The lower side of the box."""
        return self.x - self.size / 2

    @property
    def high(self) -> float:
        """The upper side of the box."""
        return self.x + self.size / 2

    def predict(self, dt: float, accel: float) -> None:
        """Move on by `dt` seconds; `accel` is the standard deviation of the acceleration."""
        q = accel * accel
        self.x += self.v * dt
        self.xx += 2 * dt * self.xv + dt * dt * self.vv + q * dt**4 / 4
        self.xv += dt * self.vv + q * dt**3 / 2
        self.vv += q * dt * dt

    def correct(self, off: float, noise: float) -> None:
        """Take in that the object is `off` pixels from its prediction."""
        total = self.xx + noise * noise
        gain_x, gain_v = self.xx / total, self.xv / total
        self.x += gain_x * off
        self.v += gain_v * off
        self.vv -= gain_v * self.xv
        self.xv -= gain_x * self.xv
        self.xx -= gain_x * self.xx

    def reach(self, noise: float) -> float:
        """Return the standard deviation of a measurement from its prediction."""
        return math.sqrt(self.xx + noise * noise)

    def off(self, low: float, high: float) -> float:
        """Return how far an object whose sides were seen is from its prediction.

        A part of the object is only off as far as it sticks out of the box.
        """
        if high - low >= _WHOLE * self.size:
            return (low + high - self.low - self.high) / 2
        return min(low - self.low, 0.0) + max(high - self.high, 0.0)

    def see(self, low: float, high: float, gate: float, noise: float, *, shared: bool) -> None:
        """Take in where the sides were seen.

        A side beyond `gate` is not the object's own: something hides it, or another object is
        there. If both are seen and their distance is the known size, their middle counts; if not,
        the side nearer to its prediction does.
        """
        at_low, at_high = low - self.low, high - self.high
        change = at_high - at_low
        whole = abs(change) <= max(1.0, (1 - _WHOLE) * self.size)
        near = min(at_low, at_high, key=abs)
        if not shared and (whole or (change > 0 and abs(near) > gate)):
            self.correct((at_low + at_high) / 2, noise)
        elif abs(near) <= gate:
            self.correct(near, noise)
        if not shared:
            self.size += (_GROW if change > 0 else _SHRINK) * change
            self.shown += 0.3 * (min((high - low) / self.size, 1.0) - self.shown)


@dataclass(slots=True)
class Object:
    """An object that is followed.

    number    its id, -1 before it counts as one
    born_us, seen_us  the first time, and the latest with events
    hits      number of windows with events; events: those of the latest window
    usual     usual number of events of a window
    twin      windows that it has been in the place of an older one
    way       "seen", "hidden" (goes on unseen) or "still" (has stopped)
    """

    x: Along
    y: Along
    born_us: int
    seen_us: int
    number: int = -1
    hits: int = 1
    events: int = 0
    usual: float = 0.0
    way: str = "seen"
    twin: int = 0
    from_xy: tuple[float, float] = field(default=(0.0, 0.0))
