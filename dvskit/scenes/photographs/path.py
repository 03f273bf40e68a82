"""The motion of a flat layer in the picture: it slides, turns and zooms, with pauses and starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError

_SHAKE_HZ = (1.0, 12.0)
_SEGMENT_S = (0.05, 0.4)
_CROSSING_S, _STOPPED = (0.1, 0.8), 0.15  # segments, and the share of those at rest


@dataclass(frozen=True, eq=False)
class LayerPath:
    """Place, angle and zoom of a layer over time, with their exact rates.

    t_s    (n + 1,) increasing borders of the segments; the first and last go on beyond
    start  (4,) at t_s[0]: x and y in pixels, angle in radians, logarithm of the zoom
    rates  (n, 2, 4) rates at the start and the end of each segment, per second, linear between
    shake  (k, 4) sines in x and y: frequency in Hz, phase in radians, amplitudes in pixels

    The position is continuous; rates that differ at a border are a sudden start or stop.

        path = dvskit.scenes.LayerPath(
            t_s=[0.0, 0.5], start=[0, 0, 0, 0], rates=[[[40, 0, 0, 0], [40, 0, 0, 0]]]
        )
        place, rates = path.at(250_000)  # 10 px to the right, at 40 px/s
    """

    t_s: Any
    start: Any
    rates: Any
    shake: Any = ()

    def __post_init__(self) -> None:
        shapes = {"t_s": (-1,), "start": (4,), "rates": (-1, 2, 4), "shake": (-1, 4)}
        for name, shape in shapes.items():
            table = np.asarray(getattr(self, name), np.float64)
            if not table.size and name == "shake":
                table = np.zeros((0, 4))
            fits = table.ndim == len(shape) and table.shape[1:] == shape[1:]
            if (
                not fits
                or (shape[0] > 0 and len(table) != shape[0])
                or not np.isfinite(table).all()
            ):
                raise ConfigError(
                    f"LayerPath: {name} of shape {table.shape} must be {shape}, finite"
                )
            object.__setattr__(self, name, table)
        if len(self.t_s) != len(self.rates) + 1 or not (np.diff(self.t_s) > 0).all():
            raise ConfigError("LayerPath: t_s must be increasing times, one more than rates")

    @classmethod
    def random(
        cls, rng: np.random.Generator, duration_us: int, *, px_s: float, still: float = 0.2
    ) -> LayerPath:
        """Return a path at about `px_s` pixels per second, from a generator.

        still  the share of segments in which the layer rests

        Half of the segments begin with the rate of the segment before, the others suddenly.
        """
        t_s = [0.0]
        while t_s[-1] < duration_us * 1e-6:
            t_s.append(t_s[-1] + rng.uniform(*_SEGMENT_S))
        spread = px_s * np.array([1, 1, 0.005, 0.0025])
        mean = spread * rng.normal(0, 0.4, 4)
        rates = np.empty((len(t_s) - 1, 2, 4))
        before = mean
        for pair in rates:
            sudden = rng.random() < 0.5
            pair[0] = mean + spread * rng.normal(0, 0.7, 4) if sudden else before
            pair[1] = mean + spread * rng.normal(0, 0.7, 4)
            if rng.random() < still:
                pair[:] = 0
            before = pair[1]
        moving = rates.any((1, 2))
        if moving.any():
            rates[moving, :, 3] -= rates[moving, :, 3].mean()  # the zoom comes back
        count = int(rng.integers(0, 3))
        shake = np.stack(
            [
                rng.uniform(*_SHAKE_HZ, count), rng.uniform(0, 2 * np.pi, count),
                rng.normal(0, 2, count), rng.normal(0, 2, count),
            ],
            1,
        )  # fmt: skip
        return cls(t_s, np.zeros(4), rates, shake)

    @classmethod
    def crossing(
        cls, rng: np.random.Generator, duration_us: int, *, size: tuple[int, int], px_s: float
    ) -> LayerPath:
        """Return the path of a thing that crosses a frame of `size`, from a generator.

        It keeps its direction at about `px_s` pixels per second, and is near the middle of the
        frame at some time of the duration. It may slow down, stop and start suddenly.
        """
        t_s = [0.0]
        while t_s[-1] < duration_us * 1e-6:
            t_s.append(t_s[-1] + rng.uniform(*_CROSSING_S))
        angle = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.3)
        pace = px_s * float(np.exp(rng.normal(0, 0.4)))
        rates = np.zeros((len(t_s) - 1, 2, 4))
        ends = rng.uniform(0.6, 1.4, rates.shape[:2])
        ends[rng.random(len(ends)) < _STOPPED] = 0
        ends[1:, 0] = np.where(rng.random(len(ends) - 1) < 0.5, ends[:-1, 1], ends[1:, 0])
        rates[..., 0], rates[..., 1] = pace * np.cos(angle) * ends, pace * np.sin(angle) * ends
        rates[..., 3] = rng.normal(0, 0.05)
        bob = [(rng.uniform(1, 4), rng.uniform(0, 6), 0, rng.normal(0, 1))] * (rng.random() < 0.5)
        path = cls(t_s, np.zeros(4), rates, bob)
        met, _ = path.at(rng.uniform(0, duration_us))
        path.start[:2] = rng.uniform(-0.35, 0.35, 2) * size - met[:2]
        path.start[2] = rng.normal(0, 0.2)
        return path

    @cached_property
    def _segments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the place at the start of each segment, and the slope of its rates, (n, 4)."""
        lengths = np.diff(self.t_s)[:, None]
        steps = self.rates.mean(1) * lengths
        return self.start + np.cumsum(steps, 0) - steps, (
            self.rates[:, 1] - self.rates[:, 0]
        ) / lengths

    def at(self, t_us: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the place (4,) at a time, and its rates (4,) per second."""
        t = t_us * 1e-6
        places, slopes = self._segments
        number = min(max(int(self.t_s.searchsorted(t, "right")) - 1, 0), len(slopes) - 1)
        since, first, slope = t - self.t_s[number], self.rates[number, 0], slopes[number]
        place = places[number] + first * since + slope * (since * since / 2)
        rate = first + slope * since
        for hz, phase, *amplitudes in self.shake:
            turn = 2 * np.pi * hz
            place[:2] += np.multiply(amplitudes, np.sin(turn * t + phase) - np.sin(phase))
            rate[:2] += np.multiply(amplitudes, turn * np.cos(turn * t + phase))
        return place, rate
