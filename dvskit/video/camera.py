"""Cameras, through OpenCV: frames as they arrive; old ones are dropped if they arrive too fast."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import Empty, Full, Queue
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import VideoError
from dvskit.events import as_size
from dvskit.formats.image_list import silent_opencv
from dvskit.video.light import gray_of
from dvskit.video.source import FrameSource

_WAITING = 2  # frames that may wait, which bounds the delay
_PATIENCE_S = 5.0


class Capture(Protocol):
    """The used part of cv2.VideoCapture."""

    def read(self) -> tuple[bool, Any]:
        """Wait for a frame; return whether there was one, and the frame."""

    def release(self) -> None:
        """Close the camera."""


def _capture(device: int) -> Capture:
    """Open a camera without OpenCV's messages on stderr: errors are raised."""
    with silent_opencv():
        return cv2.VideoCapture(device)


class CameraFrames(FrameSource):
    """Gray frames (H, W) uint8 of a camera, at their times of arrival; read once.

    device   the number of the camera
    capture  an opened cv2.VideoCapture instead, or an object with its `read` and `release`

    A frame that arrives while two others wait replaces the older one, so that the delay is bounded;
    `dropped` counts those. Times are microseconds since the first frame. `stop` ends the clip.
    Raises VideoError for a camera that cannot be opened or stops sending.

        import cv2

        frames = dvskit.video.CameraFrames(capture=cv2.VideoCapture("video.mp4"))
        for block in dvskit.emulate(frames):    # CameraFrames(0) is the first camera
            frames.stop()
        frames.dropped    # frames that arrived too fast
    """

    def __init__(self, device: int = 0, *, capture: Capture | None = None) -> None:
        self.device = device
        self._capture = _capture(device) if capture is None else capture
        self.dropped = 0
        self._stopped = threading.Event()
        self._error: VideoError | None = None
        self._waiting: Queue[tuple[int, NDArray[Any]] | None] = Queue(_WAITING)
        good, first = self._capture.read()
        if not good:
            self._capture.release()
            raise VideoError(f"camera {device}: cannot be opened; is it connected, and not in use?")
        self._began = time.monotonic_ns()
        self._first = gray_of(first, bgr=True)
        self.size = as_size((self._first.shape[1], self._first.shape[0]))

    def stop(self) -> None:
        """End the clip after the waiting frames."""
        self._stopped.set()

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        if self._stopped.is_set():
            raise VideoError(f"camera {self.device}: is closed; open it again")
        yield 0, self._first
        thread = threading.Thread(target=self._grab, daemon=True)
        thread.start()
        try:
            while True:
                try:
                    item = self._waiting.get(timeout=_PATIENCE_S)
                except Empty:
                    raise VideoError(
                        f"camera {self.device}: sent no frame for {_PATIENCE_S:.0f} s"
                    ) from None
                if item is None:
                    return
                yield item[0], gray_of(item[1], bgr=True)
        finally:
            self._stopped.set()
            thread.join(_PATIENCE_S)
            self._capture.release()

    def _grab(self) -> None:
        while not self._stopped.is_set():
            good, image = self._capture.read()
            if not good:
                break
            self._put(((time.monotonic_ns() - self._began) // 1000, image))
        self._put(None, final=True)

    def _put(self, item: tuple[int, NDArray[Any]] | None, *, final: bool = False) -> None:
        while True:
            try:
                self._waiting.put_nowait(item)
                return
            except Full:
                if final:
                    self._waiting.put(item)
                    return
                try:
                    self._waiting.get_nowait()
                    self.dropped += 1
                except Empty:
                    pass
