"""Emulate the frames and compare counts, polarities and places of events with the recording.

The agreement validates the estimates. If the frames do not explain single events, it also gives
estimates: ON and OFF thresholds match the numbers of ON and OFF events of an emulation with those
of the recording, and the log map and the low-pass maximize the correlation of their places.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration.observed import FrameSamples, PixelRecord, motion_from
from dvskit.emulator.calibration.response import OFFSET
from dvskit.emulator.calibration.table import Agreement, Estimate, params_of, unknown
from dvskit.emulator.params import EmulatorParams
from dvskit.emulator.source import emulate
from dvskit.emulator.upsample import Upsampled
from dvskit.events import Events, cut
from dvskit.video.motion_search import LEAST_SIDE

BIN_US = 5000
_SIGMA_PX = 1.0
_MOST_NUMBERS = 40_000_000  # pixels times frames that are emulated
_APART_US, _OFFSET, _CHANGED = 30_000, 10.0, 0.1  # of log (I + offset)
_CHUNK = 4_000_000  # pixels times bins compared at once
_SEARCHED_NUMBERS = 4_000_000  # pixels times frames emulated per candidate
# If single events are explained this well (scatter, as a part of the threshold), interpolated
# frames, which are blurred, may lack this much of the logarithm of counts; otherwise less.
_EXPLAINED, _LACK, _APART = 0.07, 0.25, 0.1
_OFFSETS: tuple[float | None, ...] = (None, 2.0, 5.0, 10.0, 20.0, 40.0)
_CUTOFFS = (0.0, 300.0, 100.0, 40.0)
_BETTER = 0.005  # least significant gain of a correlation
_CHANCE = 1.5  # least gain of a correlation, times the square root of the number of events
_TURNS = 8
_NEAR = 0.02  # of the counts
_FALL, _SHARE = 1.4, 1.2  # exponents by which counts fall with thresholds, and their ratio
_LEAST, _MOST = 0.02, 5.0
_DOUBT = 0.15  # of a threshold: frames blur, and do not show the pixels' initial state
_ALIKE = 0.01  # of a correlation: candidates this close may be right
_LEAST_EVENTS, _LEAST_CORRELATION = 500, 0.2  # least agreement for thresholds to be reported
_START = 0.3
_FACTOR = 0.7  # relative standard error of a log offset and a low-pass

Images = list[tuple[int, NDArray[np.float16]]]
"""(t_us, image), 1.0 being white."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Frames to emulate, with interpolated ones, and the recorded events of their span.

    frames  of (t_us, image), float16, 1.0 being white
    ahead   frames before the first one, extrapolated from its motion
    edges   (n + 1,) microseconds, between which `live` (n, height, width) marks changing light
    """

    frames: Images
    recorded: Events
    ahead: Images
    edges: NDArray[np.int64]
    live: NDArray[np.bool_]

    @property
    def start_us(self) -> int:
        """The time of the first frame."""
        return self.frames[0][0]

    @property
    def stop_us(self) -> int:
        """The time of the last frame."""
        return self.frames[-1][0]

    def emulated(
        self, params: EmulatorParams, later_us: float = 0.0, *, running: bool = False
    ) -> Events:
        """Return the events of an emulation of the frames, shifted in time, within their span.

        running  whether the sensor runs before the first frame, as in the recording, not from it on
        """
        shown = [*self.ahead, *self.frames] if running else self.frames
        moved = [(t + round(later_us), image) for t, image in shown]
        events = Events.concatenate(list(emulate(moved, params)), self.recorded.sensor_size)
        return cut(events, self.start_us, self.stop_us)

    def counts(self, events: Events) -> NDArray[np.int64]:
        """Return the numbers of ON and OFF events where the light changes: few are noise."""
        number = np.searchsorted(self.edges, events.t, "right") - 1
        number = np.clip(number, 0, len(self.live) - 1)
        there = self.live[number, events.y, events.x]
        on = int(np.count_nonzero(events.p & there))
        return np.array([on, int(np.count_nonzero(there)) - on])

    def agreement(self, emulated: Events) -> Agreement:
        """Return the agreement of an emulation with the recording."""
        count = len(self.recorded)
        return Agreement(
            len(emulated) / count,
            self.correlation(emulated),
            float(np.mean(self.recorded.p)),
            float(np.mean(emulated.p)) if len(emulated) else math.nan,
            count,
            (self.stop_us - self.start_us) * 1e-6,
        )

    def correlation(self, emulated: Events) -> float:
        """Return the correlation of signed, smoothed voxels."""
        width, height = self.recorded.sensor_size
        bins = -(-(self.stop_us - self.start_us) // BIN_US)
        step = max(1, _CHUNK // (width * height))
        sums = np.zeros(5)
        for first in range(0, bins, step):
            some = min(step, bins - first)
            a, b = (
                _voxels(each, self.start_us + first * BIN_US, some)
                for each in (self.recorded, emulated)
            )
            sums += np.array([a.sum(), b.sum(), a @ a, b @ b, a @ b])
        a_sum, b_sum, aa, bb, ab = sums / (bins * width * height)
        spread = math.sqrt(max(0.0, aa - a_sum**2) * max(0.0, bb - b_sum**2))
        return float((ab - a_sum * b_sum) / spread) if spread else 0.0


def stage(
    observed: PixelRecord, seen: FrameSamples, most_numbers: int = _MOST_NUMBERS
) -> Stage | None:
    """Return the frames to emulate; a busy part if not all.

    None if the frames are too small, or without recorded events.
    """
    width, height = observed.size
    if min(width, height) < LEAST_SIDE:
        return None
    most = max(2, most_numbers // (width * height))
    first, _ = seen.busiest(observed.events, most - 1)
    frames: Images = []
    for t, image in Upsampled(_from(seen, first), observed.size):
        if len(frames) >= most:
            break
        frames.append((t, image.astype(np.float16)))
    if len(frames) < 2:
        return None
    recorded = _recorded(observed, frames[0][0], frames[-1][0])
    ahead = _ahead(seen, first, len(frames))
    return Stage(frames, recorded, ahead, *_changes(frames)) if len(recorded) else None


def _changes(frames: Images) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return times some 30 ms apart, and where the light changes between them."""
    times = np.array([t for t, _ in frames])
    numbers = [0]
    for number in range(1, len(frames)):
        if times[number] - times[numbers[-1]] >= _APART_US or number == len(frames) - 1:
            numbers.append(number)
    live = []
    for first, last in pairwise(numbers):
        a, b = (
            np.log(np.float32(255) * frames[n][1].astype(np.float32) + _OFFSET)
            for n in (first, last)
        )
        middle = frames[(first + last) // 2][1].astype(np.float32)
        half = np.log(np.float32(255) * middle + _OFFSET)
        most = np.maximum(np.abs(a - b), np.maximum(np.abs(half - a), np.abs(half - b)))
        moved = (most > _CHANGED).astype(np.uint8)
        live.append(cv2.dilate(moved, np.ones((3, 3), np.uint8)) > 0)
    return times[numbers], np.stack(live)


def _ahead(seen: FrameSamples, first: int, most: int) -> Images:
    """Return frames of the interval before a given one, extrapolated with its motion."""
    motion = motion_from(seen, first)
    interval = seen.t[first + 1] - seen.t[first]
    start, steps = round(float(seen.t[first])), max(2, min(motion.steps, most))
    found = []
    for n in range(steps, 0, -1):
        made = motion.before(n / steps) / np.float32(255.0)
        found.append((start - round(n / steps * interval), made.astype(np.float16)))
    return found


def _from(seen: FrameSamples, first: int) -> Any:
    before = None
    for t, image in zip(seen.t[first : len(seen.images)], seen.images[first:], strict=True):
        if before is None or round(t) > before:
            before = round(float(t))
            yield before, np.asarray(image * (seen.scale / 255.0), np.float32)


def _recorded(observed: PixelRecord, start_us: int, stop_us: int) -> Events:
    events, width = observed.events, observed.size.width
    inside = np.flatnonzero((events.t >= start_us) & (events.t < stop_us))
    inside = inside[np.argsort(events.t[inside], kind="stable")]
    pixel = np.searchsorted(events.starts, inside, "right") - 1
    return Events(
        t=events.t[inside], x=pixel % width, y=pixel // width, p=events.p[inside],
        size=observed.size,
    )  # fmt: skip


def _voxels(events: Events, start_us: int, bins: int) -> NDArray[np.float64]:
    width, height = events.sensor_size
    part = cut(events, start_us, start_us + bins * BIN_US)
    place = (part.t - start_us) // BIN_US * (width * height) + part.y.astype(int) * width + part.x
    signed = np.bincount(place, np.where(part.p, 1.0, -1.0), bins * width * height)
    planes = signed.reshape(bins, height, width).astype(np.float32)
    for plane in planes:
        plane[:] = cv2.GaussianBlur(plane, (0, 0), _SIGMA_PX)
    return planes.reshape(-1).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Found:
    """Parameters whose emulation matches the recorded counts, and their agreement.

    sooner_us  how much earlier frames are placed to offset the delay of the low-pass
    """

    params: EmulatorParams
    agreement: Agreement
    sooner_us: float = 0.0


def matched(stage: Stage, params: EmulatorParams, sooner_us: float = 0.0) -> _Found:
    """Return the parameters with thresholds that match the ON and OFF counts."""
    wanted = stage.counts(stage.recorded) + 1.0
    on, off = params.threshold_on, params.threshold_off
    relative = params.threshold_sigma / (0.5 * (on + off))
    for _ in range(_TURNS):
        sigma = relative * 0.5 * (on + off)
        params = dataclasses.replace(
            params, threshold_on=on, threshold_off=off, threshold_sigma=sigma
        )
        emulated = stage.emulated(params, -sooner_us, running=True)
        given = stage.counts(emulated) + 1.0
        more = np.log(given / wanted)
        if np.abs(more).max() < _NEAR:
            break
        whole = math.log(given.sum() / wanted.sum())
        part = (more[0] - more[1]) / _SHARE
        on, off = (
            float(np.clip(each * math.exp(whole / _FALL + sign * 0.5 * part), _LEAST, _MOST))
            for each, sign in ((on, 1.0), (off, -1.0))
        )
    return _Found(params, stage.agreement(emulated), sooner_us)


def search(stage: Stage, params: EmulatorParams, light: float) -> tuple[_Found, list[_Found]]:
    """Return the best of several log maps and low-passes, each with matched thresholds, and all.

    light  usual, (I + 20) / 275: a low-pass at white is slower by it
    """
    best = matched(stage, params)
    tried = [best]
    enough = max(_BETTER, _CHANCE / math.sqrt(len(stage.recorded)))
    for name, values in (("log_offset", _OFFSETS), ("cutoff_hz", _CUTOFFS)):
        for value in values:
            if value == getattr(best.params, name):
                continue
            changed = dataclasses.replace(best.params, **{name: value})  # type: ignore[arg-type]
            tried.append(matched(stage, changed, _delay_us(changed, light)))
            if _gained(tried[-1], best) > enough:
                best = tried[-1]
    return best, tried


def _gained(found: _Found, other: _Found) -> float:
    return found.agreement.correlation - other.agreement.correlation


def _delay_us(params: EmulatorParams, light: float) -> float:
    return 1e6 / (2 * math.pi * params.cutoff_hz * light) if params.cutoff_hz else 0.0


def closed(
    observed: PixelRecord,
    seen: FrameSamples,
    table: tuple[Estimate, ...],
    scatter: float,
    light: float,
) -> tuple[tuple[Estimate, ...], Agreement | None]:
    """Return the table, and the agreement of an emulation with it; None if unknown.

    The table is the coarse one if single events give no thresholds, or thresholds with wrong
    counts. scatter: the unexplained change from event to event; infinite if unknown.
    """
    whole = stage(observed, seen)
    if whole is None:
        return table, None
    params = params_of(table)[0]
    if math.isfinite(scatter):
        if _agrees(whole, params, table, scatter):
            return table, whole.agreement(whole.emulated(params))
    else:
        params = dataclasses.replace(params, threshold_on=_START, threshold_off=_START)
    part = stage(observed, seen, _SEARCHED_NUMBERS) or whole
    best, tried = search(part, params, light)
    if part.stop_us - part.start_us < 0.9 * (whole.stop_us - whole.start_us):
        best = matched(whole, best.params, best.sooner_us)
    count = int(whole.counts(whole.recorded).sum())
    if count < _LEAST_EVENTS or best.agreement.correlation < _LEAST_CORRELATION:
        return table, whole.agreement(whole.emulated(params_of(table)[0]))
    found = coarse_table(table, best, tried, count)
    emulated = whole.emulated(params_of(found)[0], -best.sooner_us)
    return found, whole.agreement(emulated)


def _agrees(
    stage: Stage, params: EmulatorParams, table: tuple[Estimate, ...], scatter: float
) -> bool:
    """Return whether counts at changing light agree within the errors of the thresholds."""
    emulated = stage.counts(stage.emulated(params, running=True)) + 1.0
    apart = np.abs(np.log(emulated / (stage.counts(stage.recorded) + 1.0))).max()
    named = [each for each in table if each.name in ("threshold_on", "threshold_off")]
    claimed = max((each.uncertainty or 0.0) / (each.value or 1.0) for each in named)
    allowed = max(_LACK if scatter < _EXPLAINED else _APART, 1.5 * _FALL * claimed)
    return bool(apart < allowed)


def coarse_table(
    table: tuple[Estimate, ...], best: _Found, tried: list[_Found], samples: int
) -> tuple[Estimate, ...]:
    """Return the table with the estimates from counts and correlation."""
    nearest = max(tried, key=lambda each: each.agreement.correlation)
    alike = [each.params for each in tried if _gained(each, nearest) > -_ALIKE]
    new = []
    for each in table:
        value = getattr(best.params, each.name, None)
        if each.name in ("threshold_on", "threshold_off"):
            assert value is not None
            spread = float(np.std([math.log(getattr(p, each.name) / value) for p in alike]))
            how = "coarse: emulated ON and OFF counts agree with those recorded"
            error = value * math.hypot(_DOUBT, spread)
            new.append(Estimate(each.name, value, error, samples, how))
        elif each.name in ("log_offset", "cutoff_hz") and not _same(each, value):
            new.append(_by_correlation(each.name, value, samples))
        elif each.name == OFFSET and best.sooner_us and each.value is not None:
            error = math.hypot(each.uncertainty or 0.0, 0.5 * best.sooner_us)
            moved = each.value - best.sooner_us
            new.append(dataclasses.replace(each, value=moved, uncertainty=error))
        else:
            new.append(each)
    return tuple(new)


def _same(each: Estimate, value: float | None) -> bool:
    """Return whether the coarse search keeps the estimates from single events."""
    known = each.value is not None and bool(value)
    return known and abs(math.log(value / each.value)) < 1e-3  # type: ignore[operator]


def _by_correlation(name: str, value: float | None, samples: int) -> Estimate:
    if not value:
        what = "lin-log agrees" if name == "log_offset" else "no low-pass agrees"
        return unknown(name, f"coarse: {what} as well as any other", samples)
    how = "coarse: signed events in 5 ms correlate best"
    return Estimate(name, value, _FACTOR * value, samples, how)
