"""The search for the motion with the largest contrast, in the events of a window."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

import cv2
import numpy as np

from dvskit.events import Events
from dvskit.motion import contrast_kernels as kernels
from dvskit.motion.models import MotionModel, Parameters, Places
from dvskit.motion.objectives import OBJECTIVES, CellGrid

_MARGIN = 12  # cells around the places of the events
_FAR = 1.0  # widths of the sensor beside it: events farther away are left out
_EDGE = 2  # cells inside the covered part: their blur reaches beyond it
_LEAST_COVERED = 0.25  # of the sensor
# The coarse search: events, and blocks across the width of the sensor.
_TRIAL_EVENTS, _BLOCKS = 1000, 60
_LEAST_BLOCK_PX = 4.0
# Steps of a block to either side, for each parameter, by the number of parameters.
_REACH = {2: (10, 10), 3: (6, 6, 4), 4: (4, 4, 2, 2)}
_PEAKS, _REFINED = 5, 2  # of the coarse search, and those that are refined
_WORTH = 0.85  # of the best contrast in coarse cells: a start that is refined
_STEP = 6.0  # cells over the window: such a motion changes the contrast by about its own size
_ROUGH, _EXACT = 1e-2, 3e-4  # the relative contrast by such a step, where a climb ends
_LONGEST_CLIMB = 2.0  # such steps


@dataclass(frozen=True, slots=True, eq=False)
class Maximum:
    """A maximum of contrast, and the image in which it was measured."""

    parameters: Parameters
    contrast: float
    converged: bool
    frame: CellGrid


class ContrastWindow:
    """The contrast of some events as a function of the parameters."""

    def __init__(self, events: Events, model: MotionModel, objective: str) -> None:
        self._events, self.model, self._measure = events, model, OBJECTIVES[objective]
        self._sign = np.where(events.p, np.float32(1), np.float32(-1))
        self.evaluations = 0
        self._block = max(_LEAST_BLOCK_PX, events.size.width / _BLOCKS)
        # A change of a parameter by its unit moves the events by a pixel over the window.
        self._velocities = np.nan_to_num(self.model.velocities())  # (2, k, n)
        speeds = np.sqrt(np.square(self._velocities).sum(0).mean(1))
        self._units = 1 / np.maximum(speeds * max(float(np.ptp(model.s)), 1e-6), 1e-12)

    def contrast(self, parameters: Parameters, frame: CellGrid) -> tuple[float, Parameters]:
        """Return the contrast in an image, and its derivatives by the parameters."""
        self.evaluations += 1
        places = self.model.moved(parameters)
        image, corner, cell = np.zeros_like(frame.mask), frame.corner, frame.cell
        kernels.vote(places.x, places.y, self._sign, image, corner, cell)
        contrast, weights = self._measure(image, frame)
        slopes = Places(np.empty_like(places.x), np.empty_like(places.y))
        kernels.slopes(places.x, places.y, self._sign, weights, corner, cell, slopes.x, slopes.y)
        return contrast, self.model.pulled(parameters, places, slopes)

    def frame(self, parameters: Parameters, cell: float) -> CellGrid:
        """Return an image around all events, in their places for a motion."""
        places, ends = self.model.moved(parameters), []
        for column, side in zip((places.x, places.y), self._events.size, strict=True):
            low = max(float(np.nanmin(column, initial=np.inf)), -_FAR * side)
            high = min(float(np.nanmax(column, initial=-np.inf)), (1 + _FAR) * side)
            ends.append((low - _MARGIN * cell, max(ceil((high - low) / cell), 1) + 2 * _MARGIN))
        (left, columns), (top, rows) = ends
        size = self._events.size
        area = size.width * size.height / cell**2
        return CellGrid((left, top), cell, np.ones((rows, columns), np.float32), area)

    def covered(self, parameters: Parameters, frame: CellGrid) -> CellGrid:
        """Return the frame for the part that the sensor sees during the whole window.

        Elsewhere an image holds the more events, the less they move: it favours slow motions.
        Of fast motions it is the part for half the window, or a quarter.
        """
        for part in (1.0, 0.5, 0.25):
            mask = np.ones(frame.mask.shape, np.uint8)
            for s in (float(self.model.s[0]), float(self.model.s[-1])):
                border = self.model.border(part * s).moved(parameters)
                points = (np.stack([border.x, border.y], 1) - frame.corner) / frame.cell
                inside = np.zeros_like(mask)
                known = points[np.isfinite(points).all(1)].clip(-1e4, 1e4).astype(np.int32)
                if len(known):
                    cv2.fillPoly(inside, [known], 1)
                mask &= inside
            inner = np.asarray(cv2.erode(mask, np.ones((2 * _EDGE + 1,) * 2)), np.float32)
            if (area := float(inner.sum())) >= _LEAST_COVERED * frame.area:
                return frame._replace(mask=inner, area=area)
        return frame

    def climbed(self, start: Parameters, frame: CellGrid, exact: float) -> Maximum:
        """Return the maximum near a start."""
        from scipy.optimize import minimize

        scale = max(self.contrast(start, frame)[0], 1e-30)
        units = self._units * frame.cell * _STEP

        def negative(steps: Parameters) -> tuple[float, Parameters]:
            contrast, slope = self.contrast(steps * units, frame)
            return -contrast / scale, -slope * units / scale

        begin = start / units
        result = minimize(
            negative, begin, jac=True, method="BFGS", options={"gtol": exact, "maxiter": 50}
        )
        if np.abs(result.x - begin).max() > _LONGEST_CLIMB:
            return Maximum(start, scale, False, frame)
        # 2 is a loss of precision: the contrast is as large as float32 resolves.
        done = result.status in (0, 2)
        return Maximum(result.x * units, -result.fun * scale, done, frame)

    def refined(self, start: Parameters) -> Maximum:
        """Return the maximum near a start, from cells of half a block to those of two pixels."""
        cell = self._block / 2
        for _ in range(ceil(log2(self._block / _LEAST_BLOCK_PX)) + 1):
            best = self.climbed(start, self.frame(start, cell), _ROUGH)
            start, cell = best.parameters, cell / 2
        return best

    def sharpest(self, start: Parameters) -> Maximum:
        """Return the maximum near a start in cells of a pixel, without those at the border."""
        return self.climbed(start, self.covered(start, self.frame(start, 1)), _EXACT)

    def maxima(self, starts: list[Parameters]) -> list[Maximum]:
        """Return the maxima near those starts that are worth it, the best first."""
        cell = self._block / 2
        ranked = [self.contrast(each, self.frame(each, cell))[0] for each in starts]
        least = max(ranked) - (1 - _WORTH) * abs(max(ranked))
        chosen: list[Parameters] = []
        for n in np.argsort(ranked)[::-1]:
            if ranked[n] >= least and self.apart(starts[n], chosen):
                chosen.append(starts[n])
        found = [self.refined(each) for each in chosen[:_REFINED]]
        return sorted(found, key=lambda each: -each.contrast)

    def apart(self, one: Parameters, others: list[Parameters]) -> bool:
        """Return whether a motion moves the events more than two pixels from all others."""
        return all(np.abs((one - other) / self._units).max() > 2 for other in others)

    def beyond(self, parameters: Parameters) -> bool:
        """Return whether a motion is out of reach of the coarse search."""
        steps = np.abs(parameters / self._units) / self._block
        return bool((steps > _REACH[len(steps)]).any())

    def peaks(self) -> list[Parameters]:
        """Return the best motions of a coarse search."""
        from scipy.ndimage import maximum_filter

        events, part = self._events, slice(None, None, ceil(len(self._events) / _TRIAL_EVENTS))
        ways = [np.arange(-r, r + 1.0) for r in _REACH[len(self._units)]]
        trials = np.stack([each.ravel() for each in np.meshgrid(*ways, indexing="ij")], 1)
        sides = [int(side / self._block) + 1 for side in (events.size.height, events.size.width)]
        shifts = self._velocities[:, :, part] * self.model.s[part]
        shifts *= self._units.astype(np.float32)[:, None]  # in blocks, for a trial of 1
        places = self.model.moved(np.zeros(len(self._units)))
        x, y = places.x[part] / np.float32(self._block), places.y[part] / np.float32(self._block)
        scores = kernels.score_trials(
            x, y, events.p[part].astype(np.uint8), shifts[0], shifts[1], trials,
            np.zeros((2, *sides), np.int32),
        ).reshape([len(each) for each in ways])  # fmt: skip
        peaks = np.where(scores == maximum_filter(scores, 3, mode="constant"), scores, 0)
        order = np.argsort(-peaks, axis=None, kind="stable")[:_PEAKS]
        return [trials[n] * self._units * self._block for n in order if peaks.flat[n]]
