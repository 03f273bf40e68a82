"""The input of a calibration: the events of each pixel, and the frames there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.row_kernels import PixelEvents, Shown
from dvskit.errors import EventsError, ShapeError, VideoError, count_of
from dvskit.events import Events, Size, Source
from dvskit.streams import Frame

_MOST_EVENTS = 20_000_000
_MOST_NUMBERS = 32_000_000  # digital numbers of frames that are kept: pixels times frames
_MOST_BYTES = 1 << 27  # of whole images that are kept
_TILE = 8  # side in pixels: the pixels of a tile are resampled together in a bootstrap
_GRAY = np.array([0.299, 0.587, 0.114])
_DEPTHS = (1023, 4095, 65535)


@dataclass(frozen=True, slots=True)
class Seen:
    """Frames at some pixels.

    pixels   int64 (P,): y * width + x
    t        float64 (F,): microseconds, the middle of each exposure
    numbers  float32 (P, F): intensity, 0..255
    sure     uint8 (P, F): whether the light is known between a frame and the previous one; of
             length 0 if it is everywhere
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

    def shown(self, later_us: float = 0.0) -> Shown:
        """Return shifted times, and numbers, as kernel arguments."""
        return Shown(self.t + later_us, self.numbers, self.sure)

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
class Observed:
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


def observe(recording: Source) -> Observed:
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
    size = events.size
    order = np.empty(len(events), np.int64)
    starts = np.empty(size.width * size.height + 1, np.int64)
    pixel = events.y.astype(np.int32) * size.width + events.x
    k.sort_by_pixel(pixel, size.width * size.height, order, starts)
    by_pixel = PixelEvents(events.t[order], events.p[order], starts)
    return Observed(size, by_pixel, int(events.t[0]), int(events.t[-1]), count < _MOST_EVENTS)


def see(frames: Iterable[Any], observed: Observed, later_us: float = 0.0) -> Seen | None:
    """Sample the frames at all pixels, or at a random subset that fits.

    frames    of (t_us, image) or Frame; images (height, width) or RGB, uint8, uint16 or float
    later_us  is added to their stamps

    Returns None without frames. Raises ShapeError for frames of another size than the sensor,
    VideoError for decreasing times and for times that do not overlap the events.
    """
    size = observed.size
    pixels = np.random.default_rng(0).permutation(size.width * size.height)
    times: list[float] = []
    exposures: list[float] = []
    kept: list[NDArray[Any]] = []
    images: list[NDArray[Any]] = []
    for number, frame in enumerate(frames):
        t, exposure, image = _timed(frame, number, size)
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
    return Seen(
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
        image = np.rint(image @ _GRAY).astype(image.dtype)
    if image.shape != (size.height, size.width):
        raise ShapeError(
            f"frame {number} has shape {image.shape}; the sensor is {size}, so (height, width) = "
            f"{(size.height, size.width)} is expected"
        )
    return t, exposure, image


def _check_overlap(times: list[float], observed: Observed) -> None:
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
