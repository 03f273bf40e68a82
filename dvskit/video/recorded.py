"""The frames in a recording of events, as a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import VideoError
from dvskit.events import as_size
from dvskit.formats import Recording, RecordingPart, open_events
from dvskit.streams import Frame
from dvskit.video.light import luminance
from dvskit.video.source import FileFrames, nth_time_us

_MOST_OF_12_BITS = 4095


class RecordedFrames(FileFrames):
    """Frames of an event file or a bag, on the clock of its events.

    The time of a frame is the middle of its exposure, rounded down; `fps` replaces it. Colour
    becomes gray (Rec. 601), or with light="linear" float32 of linear light. A frame of another size
    than the first is damage: with strict=False it is skipped, and `damage` counts it. Frames of 10
    bits are scaled to 16. Raises VideoError for a recording without frames, and the errors of
    reading the recording.
    """

    def _look(self) -> None:
        self._recording = open_events(self.path, strict=self.strict)
        first = next(full_scale(self._recording), None)
        if first is None:
            raise VideoError(
                f"{self.path}: is an event file ({self._recording.format}) without frames; name a "
                "video (dvskit.open_events (dvskit convert) reads the events)"
            )
        height, width = first.image.shape[:2]
        self.size = as_size((width, height))
        top = int(first.image.max()) if first.image.dtype == np.uint16 else 0
        if 0 < top <= _MOST_OF_12_BITS and self._recording.white is None:
            self.notes = (
                f"the first of its 16-bit frames reaches {top:,} of 65,535, which is white",
            )

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        return self._pass(self._gray)

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the same frames as stored: RGB (height, width, 3) or gray."""
        return self._pass(lambda image: image)

    def _gray(self, image: NDArray[Any]) -> NDArray[Any]:
        if self._light == "linear":
            return luminance(image)
        return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))

    def _pass(
        self, made: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        self.damage = losses = self._no_losses()
        for number, frame in enumerate(full_scale(self._recording)):
            t_us = middle_us(frame) if self._fps is None else nth_time_us(number, self._fps)
            height, width = frame.image.shape[:2]
            if (width, height) != self.size:
                losses.lose(
                    f"the frame at {t_us} us is {width}x{height}, the first was {self.size}",
                    frames=1,
                )
                continue
            yield t_us, made(frame.image)


def full_scale(recording: Recording | RecordingPart) -> Iterator[Frame]:
    """Yield the frames of a recording, with those of fewer bits scaled to their whole dtype."""
    whole = recording.recording if isinstance(recording, RecordingPart) else recording
    for frame in recording.frames():
        if whole.white is None:
            yield frame
        else:
            most = np.iinfo(frame.image.dtype).max
            scaled = frame.image.astype(np.float64) * (most / whole.white)
            image = np.rint(np.minimum(scaled, most)).astype(frame.image.dtype)
            yield frame._replace(image=image)


def middle_us(frame: Frame) -> int:
    """Return the middle of a frame's exposure, in whole microseconds."""
    return (frame.t_us + frame.stop_us) // 2
