"""One object on its way: two Kalman filters with constant velocity, and a smoothed box."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dvskit.tracking.look import ObjectLook

_NEW_SPEED = 150.0  # px/s, the standard deviation of an unknown velocity
_GROW = 0.3  # share of the difference by which a box follows in a window
_SHRINK, _SHRINK_PART = 0.1, 0.003  # the same, when it is seen as a whole, and in part
_LESS, _MORE = 0.08, 0.2  # shares of the size by which the sides of the whole object may differ
_WHOLE = 0.8  # a smaller share of the known width or height is a part of the object


@dataclass(slots=True)
class Along:
    """An object along one axis: position, velocity, their covariance, and the size of the box.

    In px, px/s and s.
    """

    x: float
    size: float
    v: float = 0.0
    xx: float = 4.0
    xv: float = 0.0
    vv: float = _NEW_SPEED**2

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

    def correct(self, off: float, ago: float) -> None:
        """Take in that the object was `off` pixels from its path, `ago` seconds before now."""
        of_x, of_v = self.xx - ago * self.xv, self.xv - ago * self.vv
        total = of_x - ago * of_v + self._noise**2
        self.x += of_x / total * off
        self.v += of_v / total * off
        self.xx -= of_x * of_x / total
        self.xv -= of_x * of_v / total
        self.vv -= of_v * of_v / total

    @property
    def reach(self) -> float:
        """The standard deviation of a measurement from its prediction."""
        return math.sqrt(self.xx + self._noise**2)

    @property
    def _noise(self) -> float:
        """The standard deviation of a measurement."""
        return max(0.7, 0.03 * self.size)

    def off(self, low: float, high: float) -> float:
        """Return how far the seen sides of an object are from its prediction.

        A part of the object is only off as far as it sticks out of the box.
        """
        if high - low >= _WHOLE * self.size:
            return (low + high - self.low - self.high) / 2
        return min(low - self.low, 0.0) + max(high - self.high, 0.0)

    def is_whole(self, low: float, high: float) -> bool:
        """Return whether sides are about as far apart as those of the object."""
        change = high - low - self.size
        return -max(1.5, _LESS * self.size) <= change <= max(1.5, _MORE * self.size)

    def is_less(self, low: float, high: float) -> bool:
        """Return whether the object is too small for sides."""
        return high - low - self.size > max(1.5, _MORE * self.size)

    def resize(self, low: float, high: float, *, grow: bool) -> None:
        """Let the size follow that of a box with these sides."""
        change = min(high - low - self.size, math.inf if grow else 0.0)
        part = high - low < _WHOLE * self.size
        self.size += change * (_GROW if change > 0 else _SHRINK_PART if part else _SHRINK)

    def adopt(self, low: float, high: float) -> None:
        """Start again with a box with these sides, at the same velocity."""
        self.x, self.size = (low + high) / 2, high - low
        self.xx, self.xv = 4.0, 0.0


@dataclass(slots=True, eq=False)
class Object:
    """An object that is followed.

    number    its id, -1 before it counts as one
    seen_us   the latest time with events
    hits      number of windows with events; events: those of the latest window
    usual     usual number of events of a window
    twin      windows that it has been in the place of an older one
    blind     windows that it was not recognised among others
    shown     share of it that was last seen, smoothed
    on        share of ON pixels, smoothed
    misfit    how long its pixels have not fitted its box
    look      of its pixels, once it was seen as a whole
    way       "seen", "hidden" (goes on unseen) or "still" (has stopped)
    """

    x: Along
    y: Along
    seen_us: int
    number: int = -1
    hits: int = 1
    events: int = 0
    usual: float = 0.0
    way: str = "seen"
    twin: int = 0
    blind: int = 0
    shown: float = 1.0
    on: float = 0.5
    misfit: float = 0.0
    from_xy: tuple[float, float] = (0.0, 0.0)
    look: ObjectLook | None = None
