"""Video files, through PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from os import PathLike
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from dvskit._checks import check_choice
from dvskit.errors import VideoError, count_of
from dvskit.events import Size, as_size
from dvskit.video.container import UNTIMED, open_video
from dvskit.video.decoding import ShownFrame, VideoDecoding
from dvskit.video.light import (
    Light,
    Orientation,
    colour_frame,
    gray_frame,
    has_transparent_pixels,
    orientation_of,
    transfer_of,
)
from dvskit.video.source import (
    FileFrames,
    FrameLosses,
    SuspectedLossError,
    SuspectedLosses,
    nth_time_us,
)

Clock = Literal["first", "container"]


class VideoFrames(FileFrames):
    """Gray frames of a video file, at its own times, in display orientation.

    light   "luma": uint8, or uint16 for more than 8 bits, the file's own luma, gamma-coded;
            "linear": float32, the luminance of its colours as linear light, 1.0 for white
    clock   "first": time 0 is the first frame; "container": the times in the container
    strict  whether damage raises; otherwise damaged frames are skipped and listed in `damage`

    `fps` replaces the time stamps by a steady rate. `notes` describes the conversions of the frames
    and their limits, `container_start_us` is the container time of the first frame. Raises
    VideoError for a file that is not a video, or is damaged.

        frames = dvskit.video.VideoFrames("video.mp4", light="linear")
        t_us, frame = next(iter(frames))
        t_us, frame.shape, frame.dtype    # 0, (128, 128), float32
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        fps: float | None = None,
        light: Light = "luma",
        clock: Clock = "first",
        strict: bool = True,
    ) -> None:
        check_choice("clock", clock, get_args(Clock))
        self._clock = clock
        super().__init__(path, fps=fps, light=light, strict=strict)

    def _look(self) -> None:
        with open_video(self.path, exact=True) as video:
            if self._fps is None and video.format in UNTIMED:
                raise VideoError(f"{self.path}: raw {video.format} holds no times; pass fps=")
            decoding = VideoDecoding(video, self._no_losses(), timed=self._fps is None, exact=True)
            frames = iter(decoding)
            first = next(frames, None)
            if first is None:
                raise VideoError(f"{self.path}: holds no frame that can be decoded")
            stated = int(video.stream.frames)  # an unfinished header states any number
            self.frame_count = stated if 0 < stated <= self.path.stat().st_size else None
            if self._fps is None and video.format.endswith("_pipe") and next(frames, None):
                raise VideoError(f"{self.path}: frames without times; pass fps=")
            self.notes = (*video.notes, *self._look_at(first, decoding, video.stream))

    def _look_at(self, first: ShownFrame, decoding: VideoDecoding, stream: Any) -> list[str]:
        """Store size, orientation and time of the first frame; return notes on it."""
        start_s = decoding.first_s
        self.container_start_us = None if start_s is None else round(start_s * 1_000_000)
        self._turn, turned = orientation_of(first.frame)
        self.transfer = transfer_of(first.frame)
        self._coded = Size(first.frame.width, first.frame.height)
        self.size = as_size(self._turn.size(self._coded))
        return [text for text in (turned, *_notes(first.frame, stream)) if text] + (
            [f"not shown: {count_of(decoding.leading, 'frame')} before its first key frame"]
            if decoding.leading
            else []
        )

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        return self._pass(lambda frame: gray_frame(frame, self._light))

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the same frames as RGB, (height, width, 3) uint8; gray ones as (height, width)."""
        return self._pass(colour_frame)

    def _pass(self, picture: Callable[[Any], NDArray[Any]]) -> Iterator[tuple[int, NDArray[Any]]]:
        self.damage = losses = self._no_losses()
        done = 0
        if self.strict:
            try:
                for shown in self._shown(SuspectedLosses(self.path, True), exact=False):
                    yield self._time_us(shown), self._upright(picture(shown.frame))
                    done += 1
                return
            except SuspectedLossError:
                pass  # one thread continues where several failed: it knows the losses
        for shown in islice(self._shown(losses, exact=True), done, None):
            yield self._time_us(shown), self._upright(picture(shown.frame))

    def _shown(self, losses: FrameLosses, *, exact: bool) -> Iterator[ShownFrame]:
        """Yield the frames of one pass that have the size of the first."""
        with open_video(self.path, exact=exact) as video:
            for shown in VideoDecoding(video, losses, timed=self._fps is None, exact=exact):
                if self._has_size(shown, losses):
                    yield shown

    def _has_size(self, shown: ShownFrame, losses: FrameLosses) -> bool:
        size = Size(shown.frame.width, shown.frame.height)
        if size != self._coded:
            losses.lose(
                f"frame {shown.number} is {size}, the first was {self._coded} (bring all to one "
                "size first)",
                frames=1,
            )
        return size == self._coded

    def _time_us(self, shown: ShownFrame) -> int:
        if self._fps is not None:
            return nth_time_us(shown.number, self._fps)
        assert shown.t_us is not None  # a pass that needs times has raised already
        start_us = self.container_start_us or 0
        return shown.t_us + (start_us if self._clock == "container" else 0)

    def _upright(self, picture: NDArray[Any]) -> NDArray[Any]:
        return picture if self._turn == Orientation() else self._turn(picture)


def _notes(frame: Any, stream: Any) -> Iterator[str]:
    """Yield notes on a video, from its first frame."""
    shape = stream.sample_aspect_ratio
    if shape and shape != 1:
        yield (
            f"its pixels are {shape.numerator}:{shape.denominator}, not square: events are on its "
            f"{frame.width}x{frame.height} pixels as they are"
        )
    if frame.interlaced_frame:
        yield (
            "interlaced: odd and even lines have different times, which gives events at edges; "
            "deinterlace it first (ffmpeg -i IN -vf bwdif OUT)"
        )
    if has_transparent_pixels(frame):
        yield "transparent pixels are shown on black"
    elif str(stream.metadata.get("alpha_mode", "0")) == "1":
        yield "its transparency is ignored"
