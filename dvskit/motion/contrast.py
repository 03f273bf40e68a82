"""Motion from the contrast of the image of warped events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from math import ceil, log2, sqrt
from typing import ClassVar, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_known
from dvskit.errors import ConfigError, EventsError
from dvskit.events import Events, Size
from dvskit.motion import contrast_kernels as kernels
from dvskit.streams import Intrinsics

Column = NDArray[np.float32]
Parameters = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Places:
    """Places on the sensor, in pixels: columns (n,) float32."""

    x: Column
    y: Column


class MotionModel(ABC):
    """How events move.

    parameters  names of the parameters, with their units
    s           (n,) float32, seconds of each event from the reference time
    """

    parameters: ClassVar[tuple[str, ...]]

    def __init__(
        self, x: Column, y: Column, s: Column, size: Size, camera: Intrinsics | None
    ) -> None:
        self._x, self._y, self.s, self._size, self._camera = x, y, s, size, camera

    def border(self, s: float) -> MotionModel:
        """Return the model of events at the border of the sensor, in turn, at a time."""
        along, down = (np.arange(0.0, side - 0.5, max(1, side // 16)) for side in self._size)
        right, low = self._size.width - 1.0, self._size.height - 1.0
        x = np.concatenate([along, np.full_like(down, right), right - along, np.zeros_like(down)])
        y = np.concatenate([np.zeros_like(along), down, np.full_like(along, low), low - down])
        at = np.full(len(x), s, np.float32)
        return type(self)(x.astype(np.float32), y.astype(np.float32), at, self._size, self._camera)

    @abstractmethod
    def moved(self, parameters: Parameters) -> Places:
        """Return where the events would be at the reference time."""

    @abstractmethod
    def pulled(self, parameters: Parameters, places: Places, slopes: Places) -> Parameters:
        """Return the derivatives of a function of `places`, from those by x and y: `slopes`."""

    @abstractmethod
    def velocities(self) -> NDArray[np.float32]:
        """Return the velocities x and y of each event per unit of each parameter, (2, k, n).

        They are those of a motion that begins: of first order.
        """

    @abstractmethod
    def homography(self, parameters: Parameters, s: float) -> NDArray[np.float64]:
        """Return the matrix (3, 3) that moves pixels without distortion back by s seconds."""

    def checked(self, parameters: Parameters) -> Parameters:
        """Return parameters as an array. Raises ConfigError unless there are k finite numbers."""
        given = np.asarray(parameters, np.float64)
        if given.shape != (len(self.parameters),) or not np.isfinite(given).all():
            raise ConfigError(
                f"start must be {len(self.parameters)} finite numbers: {', '.join(self.parameters)}"
            )
        return given


class Translation(MotionModel):
    """All events move alike: vx, vy in px/s."""

    parameters = ("vx_px_s", "vy_px_s")

    def moved(self, parameters: Parameters) -> Places:
        """Return where the events would be at the reference time."""
        to_x, to_y = np.empty_like(self._x), np.empty_like(self._x)
        kernels.move_steadily(self._x, self._y, self.s, parameters, to_x, to_y)
        return Places(to_x, to_y)

    def pulled(self, parameters: Parameters, places: Places, slopes: Places) -> Parameters:
        """Return the derivatives by vx and vy."""
        pulled: Parameters = kernels.pull_steadily(self.s, slopes.x, slopes.y)
        return pulled

    def velocities(self) -> NDArray[np.float32]:
        """Return the velocities per unit of each parameter."""
        one, none = np.ones_like(self.s), np.zeros_like(self.s)
        return np.array([[one, none], [none, one]])

    def homography(self, parameters: Parameters, s: float) -> NDArray[np.float64]:
        """Return the matrix of a shift."""
        return _shift(*(-s * parameters))


class Similarity(MotionModel):
    """Events move, turn about the middle of the sensor, and zoom from it.

    The turn is in rad/s from x to y, clockwise in the picture; the zoom in 1/s, above 0 for growth.
    """

    parameters = ("vx_px_s", "vy_px_s", "turn_rad_s", "zoom_1_s")

    def __init__(
        self, x: Column, y: Column, s: Column, size: Size, camera: Intrinsics | None
    ) -> None:
        self._middle = np.float32((size.width - 1) / 2), np.float32((size.height - 1) / 2)
        super().__init__(x - self._middle[0], y - self._middle[1], s, size, camera)

    def moved(self, parameters: Parameters) -> Places:
        """Return where the events would be at the reference time."""
        to_x, to_y = np.empty_like(self._x), np.empty_like(self._x)
        kernels.move_similar(self._x, self._y, self.s, parameters, to_x, to_y)
        return Places(to_x + self._middle[0], to_y + self._middle[1])

    def pulled(self, parameters: Parameters, places: Places, slopes: Places) -> Parameters:
        """Return the derivatives by all parameters."""
        pulled: Parameters = kernels.pull_similar(
            self._x, self._y, self.s, parameters, slopes.x, slopes.y
        )
        return pulled

    def velocities(self) -> NDArray[np.float32]:
        """Return the velocities per unit of each parameter."""
        one, none = np.ones_like(self.s), np.zeros_like(self.s)
        return np.array([[one, none, -self._y, self._x], [none, one, self._x, self._y]])

    def homography(self, parameters: Parameters, s: float) -> NDArray[np.float64]:
        """Return the matrix of a turn and zoom about the middle, and a shift."""
        vx, vy, turn, zoom = -s * parameters
        along, across = np.exp(zoom) * np.cos(turn), np.exp(zoom) * np.sin(turn)
        turned = np.array([[along, -across, 0], [across, along, 0], [0, 0, 1]])
        x, y = (float(each) for each in self._middle)
        return np.asarray(_shift(x + vx, y + vy) @ turned @ _shift(-x, -y))


class Rotation(MotionModel):
    """The camera turns: angular velocity about its axes x (right), y (down) and z (ahead), rad/s.

    The warp is exact: undistorted directions are rotated and divided by z.
    """

    parameters = ("wx_rad_s", "wy_rad_s", "wz_rad_s")

    def __init__(
        self, x: Column, y: Column, s: Column, size: Size, camera: Intrinsics | None
    ) -> None:
        check_camera("rotation", camera)
        assert camera is not None
        directions, at = _directions(size, camera), (y.astype(np.intp), x.astype(np.intp))
        super().__init__(directions[0][at], directions[1][at], s, size, camera)
        self._lens = np.array(camera[:4], np.float64)

    def moved(self, parameters: Parameters) -> Places:
        """Return where the events would be at the reference time, without lens distortion."""
        to_x, to_y = np.empty_like(self._x), np.empty_like(self._x)
        kernels.move_turned(self._x, self._y, self.s, parameters, self._lens, to_x, to_y)
        return Places(to_x, to_y)

    def pulled(self, parameters: Parameters, places: Places, slopes: Places) -> Parameters:
        """Return the derivatives by the angular velocity."""
        pulled: Parameters = kernels.pull_turned(
            places.x, places.y, self.s, parameters, self._lens, slopes.x, slopes.y
        )
        return pulled

    def velocities(self) -> NDArray[np.float32]:
        """Return the velocities per unit of each parameter."""
        x, y = self._x, self._y
        fx, fy = np.float32(self._lens[0]), np.float32(self._lens[1])
        along, across = [x * y, -(1 + x * x), y], [1 + y * y, -x * y, -x]
        return np.array([fx * np.array(along), fy * np.array(across)])

    def homography(self, parameters: Parameters, s: float) -> NDArray[np.float64]:
        """Return K R K^-1."""
        assert self._camera is not None
        matrix = self._camera.matrix
        return np.asarray(matrix @ cv2.Rodrigues(s * parameters)[0] @ np.linalg.inv(matrix))


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


@lru_cache(maxsize=2)
def _directions(size: Size, camera: Intrinsics) -> NDArray[np.float32]:
    """Return the undistorted directions x / z and y / z of all pixels, (2, H, W); NaN for none."""
    y, x = np.mgrid[: size.height, : size.width].astype(np.float64)
    ideal_x, ideal_y, found = camera.directions(x, y)
    directions = np.stack([ideal_x, ideal_y]).astype(np.float32)
    directions[:, ~found] = np.nan
    directions.flags.writeable = False
    return directions


MODELS: dict[str, type[MotionModel]] = {
    "translation": Translation,
    "rotation": Rotation,
    "similarity": Similarity,
}


def check_camera(name: str, camera: Intrinsics | None) -> None:
    """Raise ConfigError for a rotation without the calibration of the camera."""
    if name == "rotation" and camera is None:
        raise ConfigError(
            "a rotation needs the calibration of the camera: pass camera=, such as read_camera of "
            "a file with fx fy cx cy k1 k2 p1 p2 k3"
        )


def model_of(
    name: str, events: Events, reference_us: float, camera: Intrinsics | None
) -> MotionModel:
    """Return a model of events by its name. Raises ConfigError, for a rotation without camera."""
    check_known("model", name, MODELS)
    x, y = events.x.astype(np.float32), events.y.astype(np.float32)
    s = ((events.t - reference_us) * 1e-6).astype(np.float32)
    return MODELS[name](x, y, s, events.sensor_size, camera)


Image = NDArray[np.float32]

# With the spread of the votes, 0.5, a Gaussian of 1.5 cells. Sharper images depend on the grid of
# the pixels: over windows where events move less than 3 pixels, they favor some velocities.
_BLUR = 1.4


class CellGrid(NamedTuple):
    """An image of cells, and where contrast is measured in it.

    corner  the place (x, y) of its upper left corner, in pixels    cell  width of cells in pixels
    mask    (rows, columns) float32, 1 where contrast is measured
    area    over which it is averaged, in cells
    """

    corner: tuple[float, float]
    cell: float
    mask: Image
    area: float


Objective = Callable[[Image, CellGrid], tuple[float, Image]]


def blurred_by(sigma: float, image: Image) -> Image:
    """Return an image blurred by a Gaussian, in cells; outside there is 0."""
    blurred = cv2.GaussianBlur(image, (_taps(sigma),) * 2, sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)


def _taps(sigma: float) -> int:
    return 2 * ceil(3 * sigma) + 1


def variance(image: Image, frame: CellGrid) -> tuple[float, Image]:
    """Return the variance of the blurred image, and its derivative by each cell of `image`."""
    blurred = blurred_by(_BLUR, image)
    blurred *= frame.mask
    mean = cv2.sumElems(blurred)[0] / frame.area
    contrast = cv2.norm(blurred, cv2.NORM_L2SQR) / frame.area - mean * mean
    blurred -= np.float32(mean) * frame.mask
    weights = blurred_by(_BLUR, blurred)
    weights *= 2 / frame.area
    return contrast, weights


def gradient(image: Image, frame: CellGrid) -> tuple[float, Image]:
    """Return the mean squared gradient of the blurred image, and its derivative by each cell."""
    blurred = blurred_by(_BLUR, image)
    total, pulls = 0.0, []
    for kernel in (_ACROSS, _ACROSS.T):
        slope = cv2.filter2D(blurred, -1, kernel, borderType=cv2.BORDER_CONSTANT) * frame.mask
        total += cv2.norm(slope, cv2.NORM_L2SQR)
        pulls.append(cv2.filter2D(slope, -1, -kernel, borderType=cv2.BORDER_CONSTANT))
    weights = blurred_by(_BLUR, np.add(*pulls, dtype=np.float32))
    weights *= 2 / frame.area
    return total / frame.area, weights


_ACROSS = np.array([[-0.5, 0, 0.5]], np.float32)
OBJECTIVES: dict[str, Objective] = {"variance": variance, "gradient": gradient}


@cache
def chance(objective: str) -> tuple[float, float]:
    """Return what chance gives: the contrast of an event a cell, and how far it varies.

    Events at random places have the first as their contrast, times their number, divided by the
    area; over motions it varies by the second, divided by the square root of the area.
    """
    side = 4 * _taps(_BLUR)
    area = 1e9  # the mean does not matter
    frame = CellGrid((0.0, 0.0), 1.0, np.ones((side, side), np.float32), area)
    image = np.zeros_like(frame.mask)
    at, sign = np.full(1, side / 2, np.float32), np.ones(1, np.float32)
    kernels.vote(at, at, sign, image, frame.corner, 1.0)
    contrast, weights = OBJECTIVES[objective](image, frame)
    return contrast * area, float(np.linalg.norm(weights) / 2 / contrast)


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
        self._block = max(_LEAST_BLOCK_PX, events.sensor_size.width / _BLOCKS)
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
        for column, side in zip((places.x, places.y), self._events.sensor_size, strict=True):
            low = max(float(np.nanmin(column, initial=np.inf)), -_FAR * side)
            high = min(float(np.nanmax(column, initial=-np.inf)), (1 + _FAR) * side)
            ends.append((low - _MARGIN * cell, max(ceil((high - low) / cell), 1) + 2 * _MARGIN))
        (left, columns), (top, rows) = ends
        size = self._events.sensor_size
        area = size.width * size.height / cell**2
        return CellGrid((left, top), cell, np.ones((rows, columns), np.float32), area)

    def covered(self, parameters: Parameters, frame: CellGrid) -> CellGrid:
        """Return the frame for the part that the sensor sees during the whole window.

        Elsewhere an image holds the more events, the less they move: it favors slow motions.
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
        sides = [
            int(side / self._block) + 1
            for side in (events.sensor_size.height, events.sensor_size.width)
        ]
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


ObjectiveName = Literal["variance", "gradient"]
ModelName = Literal["translation", "rotation", "similarity"]

LEAST_EVENTS = 50
_COARSE_EVENTS = 5000
_AS_GOOD = 0.98  # of the best contrast
_BY_CHANCE = 6.0  # standard deviations that the best of some hundred motions gains


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """The motion of the events in a window, from `maximize_contrast`.

    model             "translation", "rotation" or "similarity"
    parameters        (k,) float64, in the units of `names`: px/s, rad/s or 1/s
    names             of the parameters, with their units
    t_us              the reference time, the middle of the window
    contrast          of the image of warped events
    contrast_at_rest  of the image of events that are not moved
    evaluations       number of evaluations of the contrast and its derivatives
    converged         whether the search ended at a maximum
    rival             (k,) another maximum, at least 0.98 times as good; None if there is none
    still             whether the contrast rises by no more than chance gives: the scene rests, the
                      window is too short, or the events are noise; the motion is then the maximum
                      next to rest
    events            number of events in the window

        events = dvskit.load_events("davis")
        motion = dvskit.motion.maximize_contrast(events[:5000])
        dict(zip(motion.names, motion.parameters))  # {"vx_px_s": 29.4, "vy_px_s": 84.9}
        motion.gain  # 1.2: the contrast rises by a fifth
        motion.still, motion.t_us  # (False, 25942)
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
    still: bool
    events: int

    @property
    def gain(self) -> float:
        """The contrast, divided by that at rest."""
        return self.contrast / max(self.contrast_at_rest, 1e-30)


def maximize_contrast(
    events: Events,
    model: ModelName = "translation",
    *,
    camera: Intrinsics | None = None,
    objective: ObjectiveName = "variance",
    start: Parameters | None = None,
) -> Motion:
    """Return the motion for which the image of warped events has the largest contrast.

    After Gallego et al. 2018, "A unifying contrast maximization framework". Events are moved to
    where they would be in the middle of the window, counted between pixels, ON as 1 and OFF as -1,
    and blurred by a Gaussian of 1.5 px. The contrast is that of the part of the image that the
    sensor sees during the whole window.

    model      "translation" of the picture: vx, vy in px/s; "similarity": also its turn in rad/s,
               clockwise, and its zoom in 1/s; "rotation" of the camera about x (right), y (down)
               and z (ahead), in rad/s, which needs `camera`
    camera     its calibration
    objective  "variance" of the image, or the mean squared "gradient"
    start      parameters (k,) where the search also starts, such as those of the window before

    A search over coarse images gives the other starts. Raises EventsError for fewer than 50
    events, and events all at one time; ConfigError for a rotation without camera, and unless
    `start` is k finite numbers.

        recording = dvskit.open_events("davis")
        window = recording.load()[:5000]
        dvskit.motion.maximize_contrast(window).parameters  # about (29, 85) px/s
        camera = recording.intrinsics()
        turn = dvskit.motion.maximize_contrast(window, "rotation", camera=camera)
        turn.parameters  # (3,) float64 in rad/s
    """
    check_known("objective", objective, OBJECTIVES)
    first, last = _span(events)
    middle = (first + last) / 2

    def window(part: Events, most: int = _COARSE_EVENTS) -> ContrastWindow:
        part = part[:: ceil(len(part) / most)]
        return ContrastWindow(part, model_of(model, part, middle, camera), objective)

    whole, thin = window(events, len(events)), window(events)
    eighth = (last - first) / 8
    quarter = events.between(round(middle - eighth), round(middle + eighth))
    starts = _starts(thin, window(quarter) if len(quarter) >= LEAST_EVENTS else None)
    if not starts:
        raise ConfigError(
            f"the calibration has no directions for pixels of {events.sensor_size}; "
            "pass the right camera="
        )
    if start is not None:
        starts.insert(0, whole.model.checked(start))
    found = [whole.sharpest(each.parameters) for each in thin.maxima(starts)]
    found.sort(key=lambda each: -each.contrast)
    at_rest = np.zeros_like(found[0].parameters)
    rest = whole.contrast(at_rest, found[0].frame)[0]
    still = found[0].contrast - rest < _by_chance(events, found[0].frame, objective)
    if still:  # nothing speaks for a motion that is far from rest
        found = [whole.sharpest(at_rest)]
        rest = whole.contrast(at_rest, found[0].frame)[0]
    best = found[0]
    rivals = [
        each.parameters for each in found[1:]
        if each.contrast >= _AS_GOOD * best.contrast
        and whole.apart(each.parameters, [best.parameters])
    ]  # fmt: skip
    return Motion(
        model, best.parameters, whole.model.parameters, round(middle), best.contrast, rest,
        whole.evaluations + thin.evaluations, best.converged, rivals[0] if rivals else None,
        still, len(events),
    )  # fmt: skip


def _starts(thin: ContrastWindow, quarter: ContrastWindow | None) -> list[Parameters]:
    """Return the best motions of a coarse search, and one farther than it reaches.

    That is found in the middle quarter of the window, in which events move a quarter as far.
    """
    starts = thin.peaks()
    fast = quarter.peaks()[:1] if quarter is not None else []
    return starts + [
        quarter.refined(each).parameters for each in fast if quarter and thin.beyond(each)
    ]


def _by_chance(events: Events, frame: CellGrid, objective: str) -> float:
    """Return the rise of contrast that the best of some hundred motions gives by chance."""
    alone, varies = chance(objective)
    level = alone * len(events) / (events.sensor_size.width * events.sensor_size.height)
    return _BY_CHANCE * varies * level / sqrt(frame.area)


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
