"""Random changes of training samples: a filter for each, and mixtures of two.

Mixing counts the times of both samples from their first events, as `Vary` does. The selected events
of each keep their place and time. The returned share weights the labels: share for the first, the
rest for the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit.errors import ConfigError, GeometryError
from dvskit.events import Events, Filter
from dvskit.filters.base import Chain, select
from dvskit.filters.chance import DropEvents, Noise, SpatialJitter, TemporalJitter
from dvskit.filters.mask import DropArea, DropPixels
from dvskit.filters.pixel_map import Affine, Flip, Roll, RollShare, Rotate, Shear
from dvskit.filters.timing import (
    DropTime,
    StartAt,
    SwapPolarity,
    TimeReversal,
    TimeScale,
    TimeShift,
)

_SEEDS = 2**63 - 1
_PROBES = 4096


class Varied(Chain):
    """The draw of `Vary` for a sample: a filter, and its effects on class names.

    `flipped_x`, `flipped_y` and `reversed` are true where a label may have to change.

        drawn = dvskit.filters.Vary(flip_x=1.0).draw(np.random.default_rng(0))
        events = drawn(dvskit.load_events("events.raw"))
        label = "left wave" if drawn.flipped_x else "right wave"    # 'left wave'
    """

    __slots__ = ()

    @property
    def flipped_x(self) -> bool:
        """Whether left and right are swapped: a left-hand wave becomes a right-hand wave."""
        return any(isinstance(each, Flip) and "x" in each.axis for each in self.filters)

    @property
    def flipped_y(self) -> bool:
        """Whether top and bottom are swapped."""
        return any(isinstance(each, Flip) and "y" in each.axis for each in self.filters)

    @property
    def reversed(self) -> bool:
        """Whether time runs backwards: a clockwise turn becomes counter-clockwise."""
        return any(isinstance(each, TimeReversal) for each in self.filters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vary:
    """Bounds of random changes of samples, like another camera position or speed.

    `draw` returns the filter for a sample. Each change is drawn uniformly up to its bound; 0 is no
    change. Times of the result count from the sample's first event, which is at 0.

    shift_px, rotate_deg, zoom, shear_deg   to either side, all at once, about the middle; zoom 0.1
                             is a scale of 0.9 to 1.1. Events that leave the sensor are dropped
    roll_px                  to either side; events that leave enter on the other side
    flip_x, flip_y, swap_polarity, reverse_time   the probability of each
    time_scale, later_us     to either side; time_scale 0.1 is a factor of 0.9 to 1.1
    drop, drop_pixels        the largest share of events, of pixels, dropped at random
    drop_area                the largest share of the sensor's area, dropped as a rectangle of its
                             proportions
    drop_time                the largest share of `duration_us`, dropped as one span
    jitter_px, jitter_us     the largest standard deviation
    noise_hz                 the most noise events per second and pixel
    duration_us              the length of samples; needed for drop_time only

    Raises ConfigError.

        vary = dvskit.filters.Vary(shift_px=8, rotate_deg=10, time_scale=0.2, drop=0.1)
        rng = np.random.default_rng(0)
        events = dvskit.load_events("events.raw")
        versions = [vary.draw(rng)(events) for _ in range(4)]    # four samples of one recording
    """

    shift_px: float = checked(check_number, 0, 32767, default=0.0)
    rotate_deg: float = checked(check_number, 0, 180, default=0.0)
    zoom: float = checked(check_number, 0, 0.99, default=0.0)
    shear_deg: float = checked(check_number, 0, 80, default=0.0)
    roll_px: float = checked(check_number, 0, 32767, default=0.0)
    flip_x: float = checked(check_number, 0, 1, default=0.0)
    flip_y: float = checked(check_number, 0, 1, default=0.0)
    swap_polarity: float = checked(check_number, 0, 1, default=0.0)
    reverse_time: float = checked(check_number, 0, 1, default=0.0)
    time_scale: float = checked(check_number, 0, 0.99, default=0.0)
    later_us: float = checked(check_number, 0, 1e12, default=0.0)
    drop: float = checked(check_number, 0, 1, default=0.0)
    drop_pixels: float = checked(check_number, 0, 1, default=0.0)
    drop_area: float = checked(check_number, 0, 1, default=0.0)
    drop_time: float = checked(check_number, 0, 1, default=0.0)
    jitter_px: float = checked(check_number, 0, 1e3, default=0.0)
    jitter_us: float = checked(check_number, 0, 1e5, default=0.0)
    noise_hz: float = checked(check_number, 0, 1e6, default=0.0)
    duration_us: int = checked(check_whole, default=0)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.drop_time and not self.duration_us:
            raise ConfigError(
                "Vary: drop_time is a share of duration_us; pass the length of samples"
            )

    @staticmethod
    def nda(magnitude: float = 1.0, *, flip_x: float = 0.5) -> NDA:
        """Return the policy of Li et al. 2022, see `NDA`."""
        return NDA(magnitude, flip_x)

    def draw(self, rng: np.random.Generator) -> Varied:
        """Return a filter for a sample. The same state of the generator gives the same filter.

        The number of draws is constant, so that enabling one more change leaves the others as they
        are.
        """
        side = dict(zip(_SIDES, rng.uniform(-1, 1, len(_SIDES)).tolist(), strict=True))
        upto = dict(zip(_UPTO, rng.uniform(0, 1, len(_UPTO)).tolist(), strict=True))
        seeds = rng.integers(0, _SEEDS, 5).tolist()
        drawn = {name: getattr(self, name) * share for name, share in (side | upto).items()
                 if name not in _PLACES}  # fmt: skip
        happens = {name: upto[name] < getattr(self, name) for name in _CHANCES}
        return Varied(
            StartAt(0),
            *self._times(drawn, happens, upto["place_time"]),
            *self._pixels(drawn, happens, side, upto, seeds),
            *self._events(drawn, happens, seeds),
        )

    def _times(
        self, drawn: dict[str, float], happens: dict[str, bool], place: float
    ) -> list[Filter]:
        found: list[Filter] = []
        if self.time_scale:
            found.append(TimeScale(1 + drawn["time_scale"], 0))
        if happens["reverse_time"]:
            found.append(TimeReversal())
        if self.later_us:
            found.append(TimeShift(round(drawn["later_us"])))
        if self.drop_time:
            length = drawn["drop_time"] * self.duration_us
            start_us = round(place * (self.duration_us - length))
            found.append(DropTime(start_us, start_us + round(length)))
        return found

    def _pixels(
        self, drawn: dict[str, float], happens: dict[str, bool], side: dict[str, float],
        upto: dict[str, float], seeds: list[int],
    ) -> list[Filter]:  # fmt: skip
        found: list[Filter] = []
        if self.shift_px or self.rotate_deg or self.zoom or self.shear_deg:
            found.append(self._affine(drawn, side))
        if self.roll_px:
            found.append(Roll(*(round(self.roll_px * side[name]) for name in ("roll_x", "roll_y"))))
        axes = "x" * happens["flip_x"] + "y" * happens["flip_y"]
        if axes:
            found.append(Flip(axes))  # type: ignore[arg-type]
        if self.drop_area:
            across = math.sqrt(drawn["drop_area"])
            found.append(DropArea(upto["place_x"] * (1 - across), upto["place_y"] * (1 - across),
                                  across, across))  # fmt: skip
        if self.drop_pixels:
            found.append(DropPixels(drawn["drop_pixels"], seeds[0]))
        return found

    def _events(
        self, drawn: dict[str, float], happens: dict[str, bool], seeds: list[int]
    ) -> list[Filter]:
        found: list[Filter] = [SwapPolarity()] if happens["swap_polarity"] else []
        if self.drop:
            found.append(DropEvents(drawn["drop"], seeds[1]))
        if self.jitter_px:
            found.append(SpatialJitter(drawn["jitter_px"], seeds[2]))
        if self.jitter_us:
            found.append(TemporalJitter(drawn["jitter_us"], seeds[3]))
        if self.noise_hz:
            found.append(Noise(drawn["noise_hz"], seed=seeds[4]))
        return found

    def _affine(self, drawn: dict[str, float], side: dict[str, float]) -> Affine:
        angle, scale = math.radians(drawn["rotate_deg"]), 1 + drawn["zoom"]
        across, along = scale * math.cos(angle), scale * math.sin(angle)
        shear = math.tan(math.radians(drawn["shear_deg"]))
        return Affine(
            across, across * shear - along, along, along * shear + across,
            self.shift_px * side["shift_x"], self.shift_px * side["shift_y"],
        )  # fmt: skip


_SIDES = ("shift_x", "shift_y", "rotate_deg", "zoom", "shear_deg", "roll_x", "roll_y", "time_scale",
          "later_us")  # fmt: skip
_CHANCES = ("flip_x", "flip_y", "swap_polarity", "reverse_time")
_UPTO = (*_CHANCES, "drop", "drop_pixels", "drop_area", "drop_time", "jitter_px", "jitter_us",
         "noise_hz", "place_x", "place_y", "place_time")  # fmt: skip
_PLACES = ("shift_x", "shift_y", "roll_x", "roll_y", "place_x", "place_y", "place_time", *_CHANCES)


@dataclass(frozen=True, slots=True)
class NDA:
    """A policy of random changes: Li et al. 2022, Neuromorphic Data Augmentation.

    A sample is flipped with the probability `flip_x`, and gets one of four changes, equally likely.
    At magnitude 1: rolled by up to 5/48 of the sensor, turned by up to 30 degrees, sheared along x
    by up to 30 degrees, or a square of up to 8/48 of it dropped; other magnitudes, up to 2, scale
    these. The policy also mixes two samples: see `cut_mix`. Times count from the first event, at 0.

        policy = dvskit.filters.NDA(magnitude=1.5)
        drawn = policy.draw(np.random.default_rng(0))
        events = drawn(dvskit.load_events("events.raw"))
    """

    magnitude: float = checked(check_number, 0, 2, default=1.0)
    flip_x: float = checked(check_number, 0, 1, default=0.5)

    def __post_init__(self) -> None:
        check_fields(self)

    def draw(self, rng: np.random.Generator) -> Varied:
        """Return a filter for a sample. The same state of the generator gives the same filter."""
        chance, which, first, second, size = rng.random(5).tolist()
        one, two = (2 * each - 1 for each in (first, second))
        far = self.magnitude
        flip = [Flip("x")] if chance < self.flip_x else []
        side = size * far * 8 / 48
        changes: tuple[Filter, ...] = (
            RollShare(one * far * 5 / 48, two * far * 5 / 48),
            Rotate(one * far * 30),
            Shear(one * far * 30),
            DropArea(first * (1 - side), second * (1 - side), side, side),
        )
        return Varied(StartAt(0), *flip, changes[int(which * len(changes))])


def event_mix(
    first: Events, second: Events, rng: np.random.Generator, *, blobs: int = 3, beta: float = 1.0
) -> tuple[Events, float]:
    """Mix by a random mask in x, y and time: Shen, Zhao, Zeng 2023, EventMix.

    A mixture of `blobs` random 3-D normal densities covers the sensor and the time of both samples.
    The second sample's events are used where it is high, the first's elsewhere; the share of that
    volume is drawn from Beta(beta, beta). Returns the events and the share of them from the first
    sample (1.0 if there are none). Raises GeometryError for unequal sensors, ConfigError.

        one, two = (dvskit.load_events(f"digits/{name}/00001.bin") for name in "01")
        mixed, share = dvskit.filters.event_mix(one, two, np.random.default_rng(0))
        target = torch.tensor([share, 1 - share, 0.0])    # the label of the mixture
    """
    _check(first, second, beta)
    check_whole("blobs", blobs, 1)
    share = rng.beta(beta, beta)
    means = rng.uniform(0, 1, (blobs, 3))
    deviations = rng.uniform(0.1, 0.5, (blobs, 3))
    turned = np.linalg.qr(rng.normal(size=(blobs, 3, 3)))[0]
    probes = rng.uniform(0, 1, (_PROBES, 3))

    def density(points: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(len(points))
        for mean, deviation, turn in zip(means, deviations, turned, strict=True):
            away = (points - mean) @ turn / deviation
            total += np.exp(-0.5 * (away * away).sum(1)) / deviation.prod()
        return total

    least = np.quantile(density(probes), share)
    start_us, stop_us = _span(first, second)
    length = max(stop_us - start_us, 1)

    def place(events: Events) -> NDArray[np.float64]:
        width, height = events.sensor_size
        return np.stack(
            [(events.x + 0.5) / width, (events.y + 0.5) / height, (events.t - start_us) / length], 1
        )

    return _mixed(first, density(place(first)) < least, second, density(place(second)) >= least)


def cut_mix(
    first: Events, second: Events, rng: np.random.Generator, *, beta: float = 1.0
) -> tuple[Events, float]:
    """Paste a rectangle of the second sample into the first: Yun et al. 2019, CutMix, as in NDA.

    The rectangle has the sensor's proportions, a random middle, and an area of 1 - Beta(beta, beta)
    of it, less the part beyond the edges. Returns the events and the share of the sensor's area
    from the first sample. Raises GeometryError for unequal sensors, ConfigError.

        one, two = (dvskit.load_events(f"digits/{name}/00001.bin") for name in "01")
        mixed, share = dvskit.filters.cut_mix(one, two, np.random.default_rng(0))
        target = torch.tensor([share, 1 - share, 0.0])    # the label of the mixture
    """
    _check(first, second, beta)
    across = math.sqrt(1 - rng.beta(beta, beta))
    sides = []
    for count, at in zip(first.sensor_size, rng.uniform(0, 1, 2), strict=True):
        low, high = (round(count * (at + end * across / 2)) for end in (-1, 1))
        sides.append((max(low, 0), min(high, count)))
    (left, right), (top, bottom) = sides

    def inside(events: Events) -> NDArray[np.bool_]:
        x, y = events.x, events.y
        return np.asarray((x >= left) & (x < right) & (y >= top) & (y < bottom))

    area = (right - left) * (bottom - top) / (first.sensor_size.width * first.sensor_size.height)
    return _mixed(first, ~inside(first), second, inside(second))[0], 1 - area


def _check(first: Events, second: Events, beta: float) -> None:
    if first.sensor_size != second.sensor_size:
        raise GeometryError(
            f"a sample of {first.sensor_size} and one of {second.sensor_size} cannot mix; "
            "fit them to one size"
        )
    check_number("beta", beta, above=0)


def _span(first: Events, second: Events) -> tuple[int, int]:
    ends = [(int(each.t[0]), int(each.t[-1])) for each in (first, second) if len(each)]
    return (min(a for a, _ in ends), max(b for _, b in ends)) if ends else (0, 0)


def _mixed(
    first: Events, of_first: NDArray[np.bool_], second: Events, of_second: NDArray[np.bool_]
) -> tuple[Events, float]:
    one, two = select(first, of_first), select(second, of_second)
    order = np.argsort(np.concatenate([one.t, two.t]), kind="stable")
    t, x, y, p = (
        np.concatenate([getattr(one, name), getattr(two, name)])[order] for name in "txyp"
    )
    mixed = Events.from_checked(t, x, y, p, first.sensor_size)
    return mixed, len(one) / len(mixed) if len(mixed) else 1.0
