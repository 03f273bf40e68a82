"""The input of a calibration: events of each pixel, frames there, and the light between them.

Light between distant frames is interpolated along the motion, estimated in both directions by
`video.motion_search`. Each pixel is sampled at its
moved place in the previous and in the next frame, weighted by the distance in time (Jiang et al.
2018, Super SloMo, eq. 4). Where the two disagree, as at occlusions, the light is unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.row_kernels import Numbers, PixelEvents
from dvskit.emulator.upsample import steps_of
from dvskit.errors import EventsError, ShapeError, VideoError, count_of
from dvskit.events import Events, Size, Source
from dvskit.streams import Frame
from dvskit.video.light import Light, Transfer, decoded, transfer_in
from dvskit.video.motion_search import LEAST_SIDE, TwoWaySearch
from dvskit.video.source import gray_picture

_MOST_EVENTS = 20_000_000
_MOST_NUMBERS = 32_000_000  # digital numbers of frames that are kept: pixels times frames
_MOST_BYTES = 1 << 27  # of whole images that are kept
_TILE = 8  # side in pixels: the pixels of a tile are resampled together in a bootstrap
_DEPTHS = (1023, 4095, 65535)
_SEARCHED_EVENTS = 30_000
_STEP_PX = 0.5
_MOST_STEPS = 16
_MOST_LOOKED_AT = 24_000_000  # pixels times intervals whose motion is estimated
_MOST_FILLED = 16_000_000  # digital numbers kept: pixels times frames
_PROBES = 8  # intervals checked for motion of more than a step
_CHUNK = 1024  # pixels
_COLUMNS = 1024  # OpenCV's limit is 32767
_ALIKE = 0.06  # of the light: the difference of two that agree
_ALIKE_NUMBERS = 2.5  # or this many digital numbers

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FrameSamples:
    """Frames at some pixels.

    pixels   int64 (P,): y * width + x
    t        float64 (F,): microseconds, the middle of each exposure
    numbers  float32 (P, F): intensity, 0..255
    sure     uint8 (P, F): whether the light is known between a frame and the previous frame; of
             length 0 if the light is known everywhere
    images   the first frames, whole: (height, width), `scale` digital numbers a unit
    exposure_us  the usual exposure time; 0 if unknown
    """

    pixels: NDArray[np.int64]
    t: NDArray[np.float64]
    numbers: NDArray[np.float32]
    note: str | None
    sure: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 0), np.uint8))
    images: tuple[NDArray[Any], ...] = ()
    scale: float = 1.0
    exposure_us: float = 0.0

    def shown(self, later_us: float = 0.0) -> Numbers:
        """Return shifted times, and numbers, as kernel arguments."""
        return Numbers(self.t + later_us, self.numbers, self.sure)

    def image(self, number: int) -> NDArray[np.float32]:
        """Return one of the images in digital numbers, 0..255."""
        return np.asarray(self.images[number] * self.scale, np.float32)

    def busiest(self, events: PixelEvents, most: int) -> tuple[int, int]:
        """Return the first and last image of up to `most` intervals with the most events."""
        count = len(self.images) - 1
        if count < 1:
            return 0, 0
        most = min(count, most)
        summed = np.cumsum([0, *np.histogram(events.t, self.t[: count + 1])[0]])
        first = int(np.argmax(summed[most:] - summed[: summed.size - most]))
        return first, first + most

    @property
    def interval_us(self) -> float:
        """The usual time from frame to frame."""
        return float(np.median(np.diff(self.t)))


@dataclass(frozen=True, slots=True)
class PixelRecord:
    """A recording: its events by pixel, and its frames if any."""

    size: Size
    events: PixelEvents
    start_us: int
    stop_us: int
    whole: bool  # whether only the first events were read

    def tiles(self, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tile index of each pixel."""
        x, y = pixels % self.size.width, pixels // self.size.width
        return np.asarray(y // _TILE * -(-self.size.width // _TILE) + x // _TILE)


@dataclass(frozen=True, slots=True)
class PixelView:
    """Some pixels: their events, and the frames there."""

    events: PixelEvents
    seen: FrameSamples

    @classmethod
    def of(cls, observed: PixelRecord, seen: FrameSamples) -> PixelView:
        """Return the view of the pixels in the frames."""
        return cls(observed.events.of(seen.pixels), seen)

    def later(self, later_us: float) -> PixelView:
        """Return the view with shifted frames."""
        return PixelView(self.events, dataclasses.replace(self.seen, t=self.seen.t + later_us))

    def some(self) -> PixelView:
        """Return a random subset of the pixels with some 30,000 events."""
        seen, events = self.seen, self.events
        order = np.random.default_rng(1).permutation(seen.pixels.size)
        counts = np.diff(events.starts)[order]
        many = 1 + int(np.searchsorted(np.cumsum(counts), _SEARCHED_EVENTS))
        some = np.sort(order[:many])
        part = dataclasses.replace(
            seen,
            pixels=seen.pixels[some],
            numbers=seen.numbers[some],
            sure=seen.sure[some] if seen.sure.size else seen.sure,
        )
        return PixelView(events.of(some), part)


def observe(recording: Source) -> PixelRecord:
    """Read the events of a recording, 20 million at most.

    Raises EventsError if there are none.
    """
    blocks, count = [], 0
    for block in recording:
        blocks.append(block)
        count += len(block)
        if count >= _MOST_EVENTS:
            break
    events = Events.concatenate(blocks, recording.size)
    if len(events) < 2 or events.duration_us == 0:
        raise EventsError(
            f"the recording has {count_of(len(events), 'event')} in {events.duration_us} us; "
            "a calibration needs more, over a longer time"
        )
    size = events.sensor_size
    order = np.empty(len(events), np.int64)
    starts = np.empty(size.width * size.height + 1, np.int64)
    pixel = events.y.astype(np.int32) * size.width + events.x
    k.sort_by_pixel(pixel, size.width * size.height, order, starts)
    by_pixel = PixelEvents(events.t[order], events.p[order], starts)
    return PixelRecord(size, by_pixel, int(events.t[0]), int(events.t[-1]), count < _MOST_EVENTS)


def see(
    frames: Iterable[Any], observed: PixelRecord, later_us: float = 0.0, light: Light = "linear"
) -> FrameSamples | None:
    """Sample the frames at all pixels, or at a random subset that fits.

    frames    of (t_us, image) or Frame; images (height, width) or RGB, uint8, uint16 or float
    later_us  is added to their stamps
    light     "linear": integer images are codes of the frames' transfer function, except those
              of a Frame, which are light; "luma": codes are taken as they are

    Returns None without frames. Raises ShapeError for frames of another size than the sensor,
    VideoError for decreasing times and for times that do not overlap the events.
    """
    size = observed.size
    transfer: Transfer = "linear" if light == "luma" else transfer_in(frames)
    pixels = np.random.default_rng(0).permutation(size.width * size.height)
    times: list[float] = []
    exposures: list[float] = []
    kept: list[NDArray[Any]] = []
    images: list[NDArray[Any]] = []
    for number, frame in enumerate(frames):
        t, exposure, image = _timed(frame, number, size)
        if isinstance(frame, Frame):
            transfer = "linear"  # sensors count light
        t += later_us
        if times and t <= times[-1]:
            raise VideoError(f"frame {number} is at {t:.0f} us, not after {times[-1]:.0f} us")
        times.append(t)
        exposures.append(exposure)
        if len(images) == number and (number + 1) * image.nbytes <= _MOST_BYTES:
            images.append(image.copy())  # a reader may fill the same buffer with the next frame
        kept.append(image.reshape(-1)[pixels])
        while pixels.size * len(kept) > _MOST_NUMBERS and pixels.size > 256:
            pixels = pixels[: pixels.size // 2]
            kept = [each[: pixels.size] for each in kept]
    if not kept:
        return None
    if len(kept) < 2:
        raise VideoError("there is 1 frame; thresholds need at least two")
    _check_overlap(times, observed)
    order = np.argsort(pixels)
    codes = np.ascontiguousarray(np.stack(kept)[:, order].T)
    scale, note = _scale(codes)
    if codes.dtype.kind != "f" and transfer != "linear":
        white, scale = 255.0 / scale, 255.0
        codes = decoded(codes / white, transfer)
        images = [decoded(each / white, transfer).astype(np.float32) for each in images]
    return FrameSamples(
        pixels[order].astype(np.int64), np.array(times), (codes * scale).astype(np.float32), note,
        images=tuple(images), scale=scale, exposure_us=float(np.median(exposures)),
    )  # fmt: skip


def _timed(frame: Any, number: int, size: Size) -> tuple[float, float, NDArray[Any]]:
    exposure = 0.0
    if isinstance(frame, Frame):
        exposure = float(frame.stop_us - frame.t_us)
        t, image = frame.t_us + 0.5 * exposure, frame.image
    else:
        t, image = float(frame[0]), np.asarray(frame[1])
    if image.ndim == 3 and image.shape[2] == 3:
        image = gray_picture(image, number)
    if image.shape != (size.height, size.width):
        raise ShapeError(
            f"frame {number} has shape {image.shape}; the sensor is {size}, so (height, width) = "
            f"{(size.height, size.width)} is expected"
        )
    return t, exposure, image


def _check_overlap(times: list[float], observed: PixelRecord) -> None:
    if times[-1] <= observed.start_us or times[0] >= observed.stop_us:
        raise VideoError(
            f"the frames ({times[0]:.0f} to {times[-1]:.0f} us) and the events "
            f"({observed.start_us} to {observed.stop_us} us) do not overlap; give both one clock"
        )


def _scale(codes: NDArray[Any]) -> tuple[float, str | None]:
    """Return digital numbers, 0 to 255, per unit of the codes, and assumptions made."""
    if codes.dtype == np.uint8:
        return 1.0, None
    if codes.dtype.kind == "f":
        if not np.isfinite(codes).all() or codes.min(initial=0) < 0:
            raise ShapeError("float frames must be finite and at least 0; 1.0 is white")
        return 255.0, None
    if codes.dtype.kind not in "iu":
        raise ShapeError(f"frames are {codes.dtype}; uint8, uint16 or float are expected")
    top = next((depth for depth in _DEPTHS if codes.max(initial=0) <= depth), 65535)
    note = None
    if top != _DEPTHS[-1]:
        note = f"frames are {codes.dtype}, none brighter than {codes.max()}: {top} taken as white"
    return 255.0 / top, note


class ImageMotion:
    """The motion from one image to the next: float32 (height, width), digital numbers."""

    def __init__(self, first: Floats, last: Floats) -> None:
        self._first, self._last = first, last
        room = np.zeros((*first.shape, 2), np.float32)
        self._onward, self._back = room, room
        if min(first.shape) < LEAST_SIDE or np.array_equal(first, last):
            return
        search = TwoWaySearch()
        self._onward, self._back = search(_for_search(first), _for_search(last))

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


def motion_from(seen: FrameSamples, number: int) -> ImageMotion:
    """Return the motion from an image to the next."""
    return ImageMotion(seen.image(number), seen.image(number + 1))


def fill_light(seen: FrameSamples, observed: PixelRecord) -> FrameSamples | None:
    """Return frames with interpolated light in a busy part; None if nothing moves enough.

    Uses a random subset of pixels that fits, and a part of the frames if there are many. Unknown
    light is marked.
    """
    width, height = observed.size
    most = max(_PROBES, _MOST_LOOKED_AT // (width * height))
    first, last = seen.busiest(observed.events, most)
    probes = {int(n) for n in np.linspace(first, last - 1, _PROBES)} if last > first else set()
    probed: dict[int, ImageMotion] = {}
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
        while pixels.size * len(numbers) > _MOST_FILLED and pixels.size > 256:
            pixels = pixels[: pixels.size // 2]
            numbers, sure = ([each[: pixels.size] for each in kept] for kept in (numbers, sure))
    order = np.argsort(pixels)
    shown, trusted = (np.stack(kept)[:, order].T for kept in (numbers, sure))
    light = np.ascontiguousarray(shown, np.float32)
    _sharpen(np.array(times), light, seen.exposure_us)
    return FrameSamples(
        pixels[order], np.array(times), light, seen.note, np.ascontiguousarray(trusted)
    )


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
