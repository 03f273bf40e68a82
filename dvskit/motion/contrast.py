"""Motion from the contrast of the image of warped events."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Literal

import numpy as np

from dvskit._checks import check_known
from dvskit.errors import ConfigError, EventsError
from dvskit.events import Events
from dvskit.motion.contrast_search import ContrastWindow
from dvskit.motion.models import Parameters, model_of
from dvskit.motion.objectives import OBJECTIVES, CellGrid, chance
from dvskit.streams import Intrinsics

ObjectiveName = Literal["variance", "gradient"]
ModelName = Literal["translation", "rotation", "similarity"]

LEAST_EVENTS = 50
_COARSE_EVENTS = 5000
_AS_GOOD = 0.98  # of the best contrast
_BY_CHANCE = 6.0  # standard deviations that the best of some hundred motions gains


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """The motion of the events in a window, from `maximise_contrast`.

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
        motion = dvskit.motion.maximise_contrast(events[:5000])
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


def maximise_contrast(
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
        dvskit.motion.maximise_contrast(window).parameters  # about (29, 85) px/s
        camera = recording.intrinsics()
        turn = dvskit.motion.maximise_contrast(window, "rotation", camera=camera)
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
            f"the calibration has no directions for pixels of {events.size}; pass the right camera="
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
    level = alone * len(events) / (events.size.width * events.size.height)
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
