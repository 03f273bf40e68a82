"""Record gray frames as a lossless video, written as they come."""

from __future__ import annotations

import threading
from typing import Any

from numpy.typing import NDArray

from dvskit.errors import ConfigError, DvskitError, VideoError, count_of
from dvskit.teach.clip_files import Clip, ClipFacts
from dvskit.teach.clip_folder import LEAST_US, ClipFolder
from dvskit.video.lossless import LosslessWriter


class ClipRecorder:
    """Records one clip of a class and a person into a ClipFolder; several may run at once.

    size  (width, height) of the frames

    The clip is FFV1 in Matroska with the frames' own times in microseconds, from 0 on. Each frame
    is written when the next one is added, into a hidden file that `ClipFolder` recovers after a
    kill. Raises ConfigError for an unknown class or an invalid name, OutputError.

        with dvskit.teach.ClipFolder("recorded") as folder:
            folder.add_class("wave")
            recorder = dvskit.teach.ClipRecorder(folder, "wave", "anna", size=(128, 128))
            for t_us, frame in dvskit.video.open_frames("video.mp4"):  # or those of a camera
                recorder.add(t_us, frame)
            clip = recorder.finish()  # wave/anna_t1.mkv: 200 frames in 1.99 s
    """

    def __init__(self, folder: ClipFolder, label: str, person: str, size: tuple[int, int]) -> None:
        self._folder, self._lock, self._open = folder, threading.Lock(), True
        self._partial = folder.begin(label, person)
        try:
            self._writer = LosslessWriter(self._partial, size)
        except BaseException:
            folder.drop(self._partial)
            raise

    @property
    def frames(self) -> int:
        """The number of frames so far."""
        return self._writer.frames

    @property
    def seconds(self) -> float:
        """The time from the first frame to the last."""
        return (self._writer.last_us - self._writer.first_us) / 1e6

    def add(self, t_us: int, frame: NDArray[Any]) -> None:
        """Add a frame (H, W) uint8 at a time in microseconds, later than the one before.

        Raises VideoError for a time that does not increase, ShapeError for another shape or dtype;
        the recording can go on. Raises OutputError if it cannot be written.
        """
        with self._lock:
            self._check_open()
            self._writer.add(t_us, frame)

    def finish(self) -> Clip:
        """End the recording; return the clip.

        Raises VideoError if it is shorter than 0.2 s; it is discarded then.
        """
        with self._lock:
            self._check_open()
            if not self.frames or self.seconds * 1e6 < LEAST_US:
                self._discard()
                raise VideoError(
                    f"the recording has {count_of(self.frames, 'frame')} in {self.seconds:.2g} s; "
                    f"record at least {LEAST_US / 1e6:g} s"
                )
            self._open = False
            try:
                self._writer.close()
                facts = ClipFacts(self.frames, self.seconds, "")
                clip = self._folder.keep(self._partial, self._partial, facts)
            except DvskitError:  # the disk may be full; the frames so far are not lost
                self._folder.leave(self._partial)
                raise
            self._folder.drop(self._partial)
            return clip

    def discard(self) -> None:
        """End the recording without a clip. Does nothing after `finish`."""
        with self._lock:
            if self._open:
                self._discard()

    def _discard(self) -> None:
        self._open = False
        self._writer.abandon()
        self._folder.drop(self._partial)

    def _check_open(self) -> None:
        if not self._open:
            raise ConfigError("the recording has ended; begin another one")
