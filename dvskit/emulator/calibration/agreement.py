"""How well an emulation of the frames agrees with the recording: counts, polarities, places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration.motion import Motion
from dvskit.emulator.calibration.observed import Observed, Seen
from dvskit.emulator.calibration.table import Agreement
from dvskit.emulator.params import EmulatorParams
from dvskit.emulator.source import emulate
from dvskit.emulator.upsample import LEAST_SIDE, Upsampled
from dvskit.events import Events

BIN_US = 5000
_SIGMA_PX = 1.0
_MOST_NUMBERS = 40_000_000  # pixels times frames that are emulated
_APART_US, _OFFSET, _CHANGED = 30_000, 10.0, 0.1  # of log (I + offset)
_CHUNK = 4_000_000  # pixels times bins that are compared at once


@dataclass(frozen=True, slots=True)
class Stage:
    """Frames with frames between them to emulate, and what was recorded over their span.

    frames  of (t_us, image), float16, 1.0 being white
    ahead   frames ahead of the first one, if what moves there moved so before
    edges   (n + 1,) microseconds, between which `live` (n, height, width) says where light changes
    """

    frames: list[tuple[int, NDArray[np.float16]]]
    recorded: Events
    ahead: list[tuple[int, NDArray[np.float16]]]
    edges: NDArray[np.int64]
    live: NDArray[np.bool_]

    @property
    def start_us(self) -> int:
        """When the first frame is."""
        return self.frames[0][0]

    @property
    def stop_us(self) -> int:
        """When the last frame is."""
        return self.frames[-1][0]

    def emulated(
        self, params: EmulatorParams, later_us: float = 0.0, *, running: bool = False
    ) -> Events:
        """Return the events of an emulation of the frames, placed so much later, in their span.

        running  whether the sensor runs ahead of the first frame, as that of the recording did,
                 rather than to begin with it
        """
        shown = [*self.ahead, *self.frames] if running else self.frames
        moved = [(t + round(later_us), image) for t, image in shown]
        events = Events.concatenate(list(emulate(moved, params)), self.recorded.size)
        return _between(events, self.start_us, self.stop_us)

    def counts(self, events: Events) -> NDArray[np.int64]:
        """Return the number of ON and of OFF events where the light changes: little of it noise."""
        number = np.searchsorted(self.edges, events.t, "right") - 1
        number = np.clip(number, 0, len(self.live) - 1)
        there = self.live[number, events.y, events.x]
        on = int(np.count_nonzero(events.p & there))
        return np.array([on, int(np.count_nonzero(there)) - on])

    def agreement(self, emulated: Events) -> Agreement:
        """Return how well an emulation agrees."""
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
        width, height = self.recorded.size
        bins = -(-(self.stop_us - self.start_us) // BIN_US)
        step = max(1, _CHUNK // (width * height))
        sums = np.zeros(5)
        for first in range(0, bins, step):
            some = min(step, bins - first)
            a, b = (
                _voxels(each, self.start_us + first * BIN_US, some)
                for each in (self.recorded, emulated)
            )
            sums += [a.sum(), b.sum(), a @ a, b @ b, a @ b]
        a_sum, b_sum, aa, bb, ab = sums / (bins * width * height)
        spread = math.sqrt(max(0.0, aa - a_sum**2) * max(0.0, bb - b_sum**2))
        return float((ab - a_sum * b_sum) / spread) if spread else 0.0


def stage(observed: Observed, seen: Seen, most_numbers: int = _MOST_NUMBERS) -> Stage | None:
    """Return what is emulated of the frames, where most happens if that is not all.

    None where the frames are too small, or nothing was recorded meanwhile.
    """
    width, height = observed.size
    if min(width, height) < LEAST_SIDE:
        return None
    most = max(2, most_numbers // (width * height))
    first = _busiest(observed, seen, most)
    frames: list[tuple[int, NDArray[np.float16]]] = []
    for t, image in Upsampled(_from(seen, first), observed.size):
        if len(frames) >= most:
            break
        frames.append((t, image.astype(np.float16)))
    if len(frames) < 2:
        return None
    recorded = _recorded(observed, frames[0][0], frames[-1][0])
    ahead = _ahead(seen, first, len(frames))
    return Stage(frames, recorded, ahead, *_changes(frames)) if len(recorded) else None


def _changes(
    frames: list[tuple[int, NDArray[np.float16]]],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return times some 30 ms apart, and where the light changes from one to the next."""
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


def _ahead(seen: Seen, first: int, most: int) -> list[tuple[int, NDArray[np.float16]]]:
    """Return frames of the interval ahead of one, if all moves on as behind it."""
    motion = Motion(seen.image(first), seen.image(first + 1))
    interval = seen.t[first + 1] - seen.t[first]
    start, steps = round(float(seen.t[first])), max(2, min(motion.steps, most))
    found = []
    for n in range(steps, 0, -1):
        made = motion.before(n / steps) / np.float32(255.0)
        found.append((start - round(n / steps * interval), made.astype(np.float16)))
    return found


def _busiest(observed: Observed, seen: Seen, most: int) -> int:
    """Return the first of as many frames as are emulated at most, with the most events."""
    count = len(seen.images)
    if count <= most:
        return 0
    events = np.histogram(observed.events.t, seen.t[:count])[0]
    summed = np.concatenate([[0], np.cumsum(events)])
    return int(np.argmax(summed[most - 1 :] - summed[: count - most + 1]))


def _from(seen: Seen, first: int) -> Any:
    before = None
    for t, image in zip(seen.t[first : len(seen.images)], seen.images[first:], strict=True):
        if before is None or round(t) > before:
            before = round(float(t))
            yield before, np.asarray(image * (seen.scale / 255.0), np.float32)


def _recorded(observed: Observed, start_us: int, stop_us: int) -> Events:
    events, width = observed.events, observed.size.width
    inside = np.flatnonzero((events.t >= start_us) & (events.t < stop_us))
    inside = inside[np.argsort(events.t[inside], kind="stable")]
    pixel = np.searchsorted(events.starts, inside, "right") - 1
    return Events(
        t=events.t[inside], x=pixel % width, y=pixel // width, p=events.p[inside],
        size=observed.size,
    )  # fmt: skip


def _between(events: Events, start_us: int, stop_us: int) -> Events:
    first, last = np.searchsorted(events.t, [start_us, stop_us])
    return events[int(first) : int(last)]


def _voxels(events: Events, start_us: int, bins: int) -> NDArray[np.float64]:
    width, height = events.size
    part = _between(events, start_us, start_us + bins * BIN_US)
    place = (part.t - start_us) // BIN_US * (width * height) + part.y.astype(int) * width + part.x
    signed = np.bincount(place, np.where(part.p, 1.0, -1.0), bins * width * height)
    planes = signed.reshape(bins, height, width).astype(np.float32)
    for plane in planes:
        plane[:] = cv2.GaussianBlur(plane, (0, 0), _SIGMA_PX)
    return planes.reshape(-1).astype(np.float64)
