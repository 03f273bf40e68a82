"""Light between distant frames, interpolated along the motion.

Motion from frame to frame is estimated by dense inverse search (Kroeger et al. 2016, OpenCV's
DISOpticalFlow), in both directions. Between two frames each pixel is sampled at its moved place in
the previous and in the next frame, weighted by the distance in time (Jiang et al. 2018, Super
SloMo, eq. 4). Where the two disagree, as at occlusions, the light is unknown.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration.observed import Observed, Seen
from dvskit.emulator.upsample import LEAST_SIDE, steps_of

_STEP_PX = 0.5
_MOST_STEPS = 16
_MOST_LOOKED_AT = 24_000_000  # pixels times intervals whose motion is estimated
_MOST_NUMBERS = 16_000_000  # digital numbers kept: pixels times frames
_PROBES = 8  # intervals checked for motion of more than a step
_CHUNK = 1024  # pixels
_COLUMNS = 1024  # OpenCV's limit is 32767
_ALIKE = 0.06  # of the light: the difference of two that agree
_ALIKE_NUMBERS = 2.5  # or this many digital numbers

Floats = NDArray[np.float32]


class Motion:
    """The motion from one image to the next: float32 (height, width), digital numbers."""

    def __init__(self, first: Floats, last: Floats) -> None:
        self._first, self._last = first, last
        room = np.zeros((*first.shape, 2), np.float32)
        self._onward, self._back = room, room
        if min(first.shape) < LEAST_SIDE or np.array_equal(first, last):
            return
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        a, b = (_for_search(each) for each in (first, last))
        self._onward = np.array(search.calc(a, b, room.copy()), np.float32)
        self._back = np.array(search.calc(b, a, room.copy()), np.float32)

    @property
    def steps(self) -> int:
        """The number of steps in the motion, of half a pixel each, 16 at most."""
        return min(_MOST_STEPS, steps_of(self._onward, self._back, _STEP_PX))

    def before(self, share: float) -> Floats:
        """Return the image a share of an interval before the first one, with constant motion."""
        height, width = self._first.shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        place = np.stack([x, y], -1) + np.float32(share) * self._onward
        return _sample(self._first, place.reshape(-1, 2)).reshape(height, width)

    def between(
        self, steps: int, pixels: NDArray[np.int64]
    ) -> tuple[list[Floats], NDArray[np.bool_]]:
        """Return the light of some pixels after each step but the last, and where it is known."""
        shares = [n / steps for n in range(1, steps)]
        found = [self._at(share, pixels) for share in shares or [0.5]]
        known = np.logical_and.reduce([each for _, each in found])
        return [light for light, _ in found] if shares else [], known

    def _at(self, share: float, pixels: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
        s, width = np.float32(share), self._first.shape[1]
        onward = self._onward.reshape(-1, 2)[pixels]
        back = self._back.reshape(-1, 2)[pixels]
        place = np.stack([pixels % width, pixels // width], 1).astype(np.float32)
        to_first = np.asarray(s * s * back - (1 - s) * s * onward, np.float32)
        to_last = np.asarray((1 - s) * (1 - s) * onward - s * (1 - s) * back, np.float32)
        ahead = _sample(self._first, place + to_first)
        behind = _sample(self._last, place + to_last)
        apart = np.abs(ahead - behind)
        known = apart <= _ALIKE * np.minimum(ahead, behind) + _ALIKE_NUMBERS
        return np.asarray((1 - s) * ahead + s * behind, np.float32), known


def motion_from(seen: Seen, number: int) -> Motion:
    """Return the motion from an image to the next."""
    return Motion(seen.image(number), seen.image(number + 1))


def fill(seen: Seen, observed: Observed) -> Seen | None:
    """Return frames with interpolated light in a busy part; None if nothing moves enough.

    Uses a random subset of pixels that fits, and a part of the frames if there are many. Unknown
    light is marked.
    """
    width, height = observed.size
    most = max(_PROBES, _MOST_LOOKED_AT // (width * height))
    first, last = seen.busiest(observed.events, most)
    probes = {int(n) for n in np.linspace(first, last - 1, _PROBES)} if last > first else set()
    probed: dict[int, Motion] = {}
    for number in sorted(probes):
        probed[number] = motion_from(seen, number)
        if probed[number].steps > 1:
            break
    else:
        return None
    pixels = np.random.default_rng(4).permutation(seen.pixels)
    numbers, sure = [seen.image(first).reshape(-1)[pixels]], [np.ones(pixels.size, np.uint8)]
    times = [seen.t[first]]
    for number in range(first, last):
        motion = probed.pop(number) if number in probed else motion_from(seen, number)
        steps = motion.steps
        lights, known = motion.between(steps, pixels)
        interval = seen.t[number + 1] - seen.t[number]
        times += [seen.t[number] + (n + 1) / steps * interval for n in range(steps)]
        numbers += [*lights, seen.image(number + 1).reshape(-1)[pixels]]
        sure += steps * [known.astype(np.uint8)]
        while pixels.size * len(numbers) > _MOST_NUMBERS and pixels.size > 256:
            pixels = pixels[: pixels.size // 2]
            numbers, sure = ([each[: pixels.size] for each in kept] for kept in (numbers, sure))
    order = np.argsort(pixels)
    shown, trusted = (np.stack(kept)[:, order].T for kept in (numbers, sure))
    light = np.ascontiguousarray(shown, np.float32)
    _sharpen(np.array(times), light, seen.exposure_us)
    return Seen(pixels[order], np.array(times), light, seen.note, np.ascontiguousarray(trusted))


def _sharpen(t: NDArray[np.float64], light: Floats, exposure_us: float) -> None:
    """Undo, to first order, the averaging of light over an exposure.

    Averaging once more removes as much as averaging once did (van Cittert 1931). In place:
    light (P, F) at t (F,), linear in time between frames.
    """
    inside = (t - 0.5 * exposure_us >= t[0]) & (t + 0.5 * exposure_us <= t[-1])
    if exposure_us <= 0 or not inside.any():
        return
    steps = np.diff(t)
    ends = []
    for at in (t[inside] - 0.5 * exposure_us, t[inside] + 0.5 * exposure_us):
        place = np.clip(np.searchsorted(t, at, "right") - 1, 0, t.size - 2)
        ends.append((place, at - t[place]))
    for first in range(0, len(light), _CHUNK):
        part = light[first : first + _CHUNK].astype(np.float64)
        summed = np.cumsum(0.5 * (part[:, 1:] + part[:, :-1]) * steps, 1)
        summed = np.pad(summed, ((0, 0), (1, 0)))
        low, high = (
            summed[:, n]
            + gone * (part[:, n] + 0.5 * gone / steps[n] * (part[:, n + 1] - part[:, n]))
            for n, gone in ends
        )
        sharp = 2 * part[:, inside] - (high - low) / exposure_us
        light[first : first + _CHUNK, inside] = np.maximum(sharp, 0)


def _for_search(image: Floats) -> NDArray[np.uint8]:
    # The square root gives dark texture the contrast of light texture.
    return np.asarray(np.rint(np.sqrt(np.clip(image, 0, 255) * 255)), np.uint8)


def _sample(image: Floats, place: Floats) -> Floats:
    """Return the image at places (n, 2) of x and y; the border extends beyond the image."""
    rows = -(-len(place) // _COLUMNS)
    padded = np.pad(place, ((0, rows * _COLUMNS - len(place)), (0, 0)))
    x, y = (np.ascontiguousarray(padded[:, n].reshape(rows, _COLUMNS)) for n in (0, 1))
    # Bilinear sampling would flatten the texture, and so reduce thresholds.
    found = cv2.remap(image, x, y, cv2.INTER_CUBIC, None, cv2.BORDER_REPLICATE)
    return np.asarray(np.maximum(found.reshape(-1)[: len(place)], 0), np.float32)
