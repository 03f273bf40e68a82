"""Motion from the contrast of the image of warped events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.errors import EventsError, check_known
from dvskit.events import Events
from dvskit.motion import contrast_kernels as kernels
from dvskit.motion.models import Parameters, Places, model_of
from dvskit.streams import Intrinsics

Objective = Literal["variance", "gradient"]
ModelName = Literal["translation", "rotation", "similarity"]
Image = NDArray[np.float32]

LEAST_EVENTS = 50
_BLUR = 0.87  # cells: with the spread of the votes, 0.5, a Gaussian of 1 cell
_MARGIN = 8  # cells around the sensor
_AS_GOOD = 0.98  # of the best contrast
_WORTH = 0.85  # of the best contrast in coarse cells: a start that is refined
# The coarse search: events, and blocks across the width of the sensor.
_COARSE_EVENTS, _BLOCKS = 2000, 60
_LEAST_BLOCK_PX = 4.0
# Steps of a block to either side, for each parameter, by the number of parameters.
_REACH = {2: (10, 10), 3: (6, 6, 4), 4: (4, 4, 2, 2)}
_PEAKS = 2
_FINER = 2.5  # from one size of cells to the next


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """The motion of the events in a window.

    model           "translation", "rotation" or "similarity"
    parameters      (k,) float64: px/s, rad/s or 1/s, as `names` say
    names           of the parameters, with their units
    t_us            the reference time, the middle of the window
    contrast        of the image of warped events           contrast_at_rest  without motion
    evaluations     of the contrast and its derivatives
    converged       whether the search ended at a maximum
    rival           (k,) another maximum, at least 0.98 times as good; None if there is none
    """

    model: str
    parameters: Parameters
    names: tuple[str, ...]
    t_us: int
    contrast: float
    contrast_at_rest: float
    evaluations: int
    converged: bool
    rival: Parameters | None


@check_arguments
def maximise_contrast(
    events: Events,
    model: ModelName = "translation",
    *,
    camera: Intrinsics | None = None,
    objective: Objective = "variance",
    start: Parameters | None = None,
) -> Motion:
    """Return the motion for which the image of warped events has the largest contrast.

    After Gallego et al. 2018, "A unifying contrast maximization framework". Events are moved to
    where they would be in the middle of the window, counted between pixels, and blurred by a
    Gaussian of 1 px.

    model      "translation": vx, vy; "similarity": also turn and zoom, in the picture; "rotation"
               of the camera, which needs `camera`
    camera     its calibration
    objective  "variance" of the image, or the mean squared "gradient"
    start      parameters where the search also starts, such as those of the window before

    A search over coarse images gives the other starts. Raises EventsError for fewer than 50
    events, and events all at one time; ConfigError for a rotation without camera.
    """
    check_known("objective", objective, _OBJECTIVES)
    first, last = _span(events)
    middle = (first + last) / 2
    quarter = events.between(round(middle - (last - first) / 8), round(middle + (last - first) / 8))
    whole = _Window(events, model, middle, camera, objective)
    starts = [] if start is None else [np.asarray(start, np.float64)]
    for part in (whole, _Window(quarter, model, middle, camera, objective)):
        starts += [part.refined(peak) for peak in part.peaks()]
    found = whole.best(starts)
    rivals = [
        each.parameters for each in found[1:]
        if each.contrast >= _AS_GOOD * found[0].contrast
        and whole.apart(each.parameters, found[0].parameters)
    ]  # fmt: skip
    rest = np.zeros(len(whole.model.parameters))
    return Motion(
        model, found[0].parameters, whole.model.parameters, round(middle), found[0].contrast,
        whole.contrast(rest)[0], whole.evaluations, found[0].converged,
        rivals[0] if rivals else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    parameters: Parameters
    contrast: float
    converged: bool


class _Window:
    """The contrast of some events as a function of the parameters."""

    def __init__(
        self, events: Events, model: ModelName, middle_us: float, camera: Intrinsics | None,
        objective: Objective,
    ) -> None:  # fmt: skip
        self._events, self._measure = events, _OBJECTIVES[objective]
        self.model = model_of(model, events, middle_us, camera)
        self._sign = np.where(events.p, np.float32(1), np.float32(-1))
        self.evaluations = 0
        self._block = max(_LEAST_BLOCK_PX, events.size.width / _BLOCKS)
        along, across = self.model.velocities()
        self._velocities = np.nan_to_num(along), np.nan_to_num(across)
        # A change of a parameter by its unit moves the events by about a pixel over the window.
        spread = np.sqrt(np.mean(np.square(self._velocities), (0, 1)))
        duration_s = max(float(np.ptp(self.model.s)) if len(events) else 0.0, 1e-6)
        self._units = 1 / np.maximum(spread * np.sqrt(2) * duration_s, 1e-12)

    def contrast(self, parameters: Parameters, cell: float = 1) -> tuple[float, Parameters]:
        """Return the contrast in cells of some pixels, and its derivatives."""
        self.evaluations += 1
        places = self.model.moved(parameters)
        width, height = self._events.size
        sides = ceil(height / cell) + 2 * _MARGIN, ceil(width / cell) + 2 * _MARGIN
        image, margin = np.zeros(sides, np.float32), _MARGIN + 0.5 / cell
        kernels.vote(places.x, places.y, self._sign, image, margin, cell)
        contrast, weights = self._measure(image)
        slopes = Places(np.empty_like(places.x), np.empty_like(places.y))
        kernels.slopes(places.x, places.y, self._sign, weights, margin, cell, slopes.x, slopes.y)
        return contrast, self.model.pulled(parameters, places, slopes)

    def climbed(self, start: Parameters, cell: float) -> _Found:
        """Return the maximum near a start."""
        from scipy.optimize import minimize

        scale = max(self.contrast(start, cell)[0], 1e-12)

        def negative(steps: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            contrast, slope = self.contrast(steps * self._units, cell)
            return -contrast / scale, -slope * self._units / scale

        result = minimize(
            negative, start / self._units, jac=True, method="BFGS",
            options={"gtol": 1e-4, "maxiter": 50},
        )  # fmt: skip
        # 2 is a loss of precision: the contrast is as large as float32 resolves.
        return _Found(result.x * self._units, -result.fun * scale, result.status in (0, 2))

    def refined(self, start: Parameters) -> Parameters:
        """Return the maximum near a start, in smaller and smaller cells, but those of a pixel."""
        cell = self._block / 2
        while cell > 1.5:
            start = self.climbed(start, cell).parameters
            cell /= _FINER
        return start

    def best(self, starts: list[Parameters]) -> list[_Found]:
        """Return the maxima near those starts that are worth it, the best first."""
        ranked = sorted(((self.contrast(each)[0], n) for n, each in enumerate(starts)))[::-1]
        chosen: list[Parameters] = []
        for contrast, number in ranked:
            each = starts[number]
            if contrast < _WORTH * ranked[0][0] or not all(self.apart(each, c) for c in chosen):
                continue
            chosen.append(each)
        found = [self.climbed(each, 1) for each in chosen[:_PEAKS]]
        return sorted(found, key=lambda each: -each.contrast)

    def apart(self, one: Parameters, other: Parameters) -> bool:
        """Return whether two motions move the events more than two pixels apart."""
        return bool(np.abs((one - other) / self._units).max() > 2)

    def peaks(self) -> list[Parameters]:
        """Return the best motions of a coarse search."""
        if not len(self._events):
            return []
        events = self._events
        part = slice(None, None, ceil(len(events) / _COARSE_EVENTS))
        reach = _REACH[len(self._units)]
        ways = [
            np.arange(-r, r + 1) * self._block * u for r, u in zip(reach, self._units, strict=True)
        ]
        trials = np.stack([each.ravel() for each in np.meshgrid(*ways, indexing="ij")], 1)
        sides = [int(side / self._block) + 1 for side in (events.size.height, events.size.width)]
        scores = kernels.score_trials(
            events.x[part].astype(np.float32), events.y[part].astype(np.float32),
            self.model.s[part], events.p[part].astype(np.intp),
            self._velocities[0][part], self._velocities[1][part], trials,
            np.zeros((2, *sides), np.int32), self._block,
        ).reshape([len(each) for each in ways])  # fmt: skip
        from scipy.ndimage import maximum_filter

        peaks = np.where(scores == maximum_filter(scores, 3, mode="constant"), scores, 0)
        order = np.argsort(-peaks, axis=None, kind="stable")[:_PEAKS]
        return [trials[number] for number in order]


def _span(events: Events) -> tuple[int, int]:
    if len(events) < LEAST_EVENTS:
        raise EventsError(
            f"{len(events)} events are too few for a motion; take a window with at least "
            f"{LEAST_EVENTS}"
        )
    first, last = int(events.t[0]), int(events.t[-1])
    if first == last:
        raise EventsError(f"all {len(events)} events are at {first} us; take a longer window")
    return first, last


def _blurred(image: Image) -> Image:
    blurred = cv2.GaussianBlur(image, (7, 7), _BLUR, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)


def _variance(image: Image) -> tuple[float, Image]:
    """Return the variance of the blurred image, and its derivative by each pixel of `image`."""
    blurred = _blurred(image)
    blurred -= blurred.mean()
    weights = _blurred(blurred)
    weights *= 2 / image.size
    return float(np.vdot(blurred, blurred)) / image.size, weights


def _gradient(image: Image) -> tuple[float, Image]:
    """Return the mean squared gradient of the blurred image, and its derivative by each pixel."""
    blurred = _blurred(image)
    total = 0.0
    pulls = []
    for kernel in (_ACROSS, _ACROSS.T):
        slope = cv2.filter2D(blurred, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        total += float(np.vdot(slope, slope))
        pulls.append(cv2.filter2D(slope, -1, -kernel, borderType=cv2.BORDER_CONSTANT))
    weights = _blurred(np.add(*pulls, dtype=np.float32))
    weights *= 2 / image.size
    return total / image.size, weights


_ACROSS = np.array([[-0.5, 0, 0.5]], np.float32)
_OBJECTIVES: dict[str, Callable[[Image], tuple[float, Image]]] = {
    "variance": _variance,
    "gradient": _gradient,
}
