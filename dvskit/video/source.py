"""Clips, which are frames with their times: in memory, and losses while reading them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit._checks import check_choice, check_number
from dvskit.errors import (
    ConfigError,
    ScaleWarning,
    ShapeError,
    UnitWarning,
    VideoError,
    count_of,
    warn,
)
from dvskit.events import Events, ReadableSource, Size, as_size
from dvskit.video.light import LIGHTS, Light, Transfer, gray_of, transfer_in

_COLORS = (3, 4)  # RGB and RGBA
_CHANNELS = (1, *_COLORS)
_PLAIN_MODES = ("1", "L", "F", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I;16N")
WHITE = {"uint8": 255, "uint16": 65535}  # 1.0 in floats
_BRIGHT = 16.0  # floats beyond it count as digital numbers, unlike 1.0 for white
_BRIGHT_WHOLE = 2.0  # the same for whole numbers; linear light may be a few times white
_DIM = {"uint8": 1, "uint16": 4095}  # whole clips below it appear to have fewer bits
_LOOKED_AT = 16  # frames checked per clip
_WHITES = (1, 255, 1023, 4095, 65535)  # of 1, 8, 10, 12 and 16 bits


def as_array(pictures: Any) -> NDArray[Any]:
    """Return one image or many as an array, without copying if possible.

    Raises ShapeError for a tensor that has a gradient or is not in CPU memory.
    """
    if isinstance(pictures, np.ndarray):
        return pictures
    if isinstance(pictures, str | PathLike):
        raise ShapeError(
            f"a frame is an image, not {str(pictures)!r}; pass PIL.Image.open(path) of each, or "
            "only the path of their folder"
        )
    if hasattr(pictures, "convert") and hasattr(pictures, "mode"):
        return _of_pil(pictures)
    if hasattr(pictures, "requires_grad"):
        return _of_tensor(pictures)
    try:
        return np.asarray(pictures)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(pictures).__name__
        raise ShapeError(f"the frames are {kind}, which NumPy cannot take: {error}") from None


def _of_pil(image: Any) -> NDArray[Any]:
    if image.mode == "I":  # the mode of 16-bit images before Pillow 12
        array = np.asarray(image)
        if array.min() < 0 or array.max() > WHITE["uint16"]:
            raise ShapeError("a PIL image of mode I exceeds 0..65535; pass it as floats 0..1")
        return array.astype(np.uint16)
    if image.mode not in _PLAIN_MODES:
        clear = "A" in image.mode or "a" in image.mode or "transparency" in image.info
        image = image.convert("RGBA" if clear else "RGB")
    array = np.asarray(image)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _of_tensor(tensor: Any) -> NDArray[Any]:
    if tensor.requires_grad:
        raise ShapeError(
            "the frames require a gradient, but events have none; pass frames.detach()"
        )
    if tensor.device.type != "cpu":
        raise ShapeError(f"the frames are on {tensor.device}; pass frames.cpu()")
    try:
        return np.asarray(tensor.numpy())
    except (TypeError, RuntimeError):
        raise ShapeError(f"the frames are {tensor.dtype}; pass frames.float()") from None


def gray_picture(picture: Any, number: int, white: float | None = None) -> NDArray[Any]:
    """Return image `number` of a clip as gray (height, width), at its own precision.

    picture  (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4), on black; or channels first if they
             cannot be last; of NumPy, PyTorch, PIL, or lists
    white    the value of white, if values do not fill their dtype: integers become uint16, 65535
             for white, floats 1.0. None: 255 in uint8, 65535 in uint16, 1.0 in floats

    Colors become Y' = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), as for images in files;
    black and white (bool) become 0 and 255. Raises ShapeError.

        red = np.zeros((3, 48, 64), np.uint8)    # channels first, as torch has them
        red[0] = 200
        gray = dvskit.video.gray_picture(red, 0)    # (48, 64) uint8
        gray[0, 0]                                  # 60 = 0.299 x 200
    """
    array = _scaled(as_array(picture), white)
    if array.ndim == 2:
        return array
    if array.ndim != 3:
        raise ShapeError(
            f"frame {number} has shape {array.shape}; (height, width) is expected, or "
            "(height, width, 3) for RGB"
        )
    return _luma(_channels_last(array, number))


def is_colored(shape: tuple[int, ...]) -> bool:
    """Return whether an image of that shape has colors."""
    return len(shape) == 3 and (shape[-1] in _COLORS or (shape[-1] != 1 and shape[0] in _COLORS))


def _scaled(array: NDArray[Any], white: float | None) -> NDArray[Any]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if white is None or white == WHITE.get(array.dtype.name, 1 if array.dtype.kind == "f" else 0):
        return array
    if array.dtype.kind not in "iuf":
        raise ShapeError(f"frames are {array.dtype}; numbers are expected")
    scaled = array / np.float64(white)
    if array.dtype.kind == "f":
        return scaled
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 65535), np.uint16)  # still codes


def _channels_last(array: NDArray[Any], number: int) -> NDArray[Any]:
    if array.shape[-1] in _CHANNELS:
        return array
    if array.shape[0] in _CHANNELS:
        return np.moveaxis(array, 0, -1)
    raise ShapeError(
        f"frame {number} has shape {array.shape}; (height, width) is expected, or "
        "(height, width, 3) for RGB: keep one channel or their mean, as frame.mean(-1)"
    )


def _luma(array: NDArray[Any]) -> NDArray[Any]:
    channels = array.shape[-1]
    if channels == 1:
        return array[..., 0]
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype.name not in WHITE:
        raise ShapeError(
            f"colors are {array.dtype}; uint8, uint16 or float are expected: "
            "frames.astype(np.uint8), or pass white=255"
        )
    gray = gray_of(np.ascontiguousarray(array[..., :3]))
    if channels == 3:
        return gray
    seen = gray * (array[..., 3] / np.float32(WHITE.get(array.dtype.name, 1)))
    return np.asarray(seen if array.dtype.kind == "f" else np.rint(seen), array.dtype)


class ScaleCheck:
    """Checks the frames of one clip; gives a ScaleWarning once if their scale appears wrong.

    Call `see` for each frame, and `end` after the last one.

        check = dvskit.video.ScaleCheck()
        for t_us, frame in dvskit.video.open_frames("video.mp4"):
            check.see(frame)
        check.end()       # no warning: frames of 0..255 in uint8
        check.is_sure     # True
    """

    def __init__(self) -> None:
        self._kind: str | None = None
        self._top = 0.0
        self._done = False

    @property
    def is_sure(self) -> bool:
        """Whether further frames cannot change the result; floats may always increase."""
        return self._done or self._kind == "float"

    def see(self, frame: NDArray[Any]) -> None:
        """Check a frame; warn if floats are far above 1.0."""
        if self._done or not frame.size:
            return
        self._kind = "float" if frame.dtype.kind == "f" else frame.dtype.name
        if self._kind != "float" and self._kind not in _DIM:
            self._done = True
            return
        self._top = max(self._top, float(frame.max()))
        if self._kind == "float" and self._is_far_from_white(frame):
            self._done = True
            fix = f"divide by {_white(self._top)}, or pass white={_white(self._top)} to emulate"
            warn(
                f"float frames reach {self._top:,.6g}, but 1.0 is white: {fix} "
                "(white=1 if they are meant to be this bright)",
                ScaleWarning,
            )
        elif self._kind != "float" and self._top > _DIM[self._kind]:
            self._done = True

    def _is_far_from_white(self, frame: NDArray[Any]) -> bool:
        if self._top <= _BRIGHT_WHOLE:
            return False
        return self._top > _BRIGHT or bool(np.array_equal(frame, np.rint(frame)))

    def end(self) -> None:
        """Warn if all frames together used only the lowest values of their dtype."""
        if self._done or not self._top or self._kind not in _DIM:
            return
        most = np.iinfo(self._kind).max
        warn(
            f"{self._kind} frames reach {self._top:,.0f}, but {most:,} is white: "
            f"pass white={_white(self._top)} to emulate (white={most} if they are meant to be "
            "so dark)",
            ScaleWarning,
        )


def look_at_scale(picture: Callable[[int], NDArray[Any]], count: int) -> None:
    """Give a ScaleWarning if a clip of `count` frames, accessed by index, has the wrong scale.

    A few frames are checked; all of them before the clip counts as too dark.
    """
    check = ScaleCheck()
    for number in range(0, count, -(-count // _LOOKED_AT) or 1):
        check.see(picture(number))
    for number in range(count):
        if check.is_sure:
            return
        check.see(picture(number))
    check.end()


def _white(top: float) -> int:
    """Return the white of frames that reach `top`: resampling may exceed it a little."""
    return next((white for white in _WHITES if top <= 1.1 * white), round(top))


_LISTED = 5
_NO_TIMES = "the frames have no times; pass fps=240, or t_us=[...] in microseconds"
_SMALL_PX = 16  # a gray clip may have few columns, but rarely 16 rows or more and 3 or 4 columns


class SuspectedLossError(Exception):
    """Frames may be lost; decoding with one thread finds out which."""


@dataclass(slots=True)
class FrameLosses:
    """The losses of one pass over a clip.

    strict  raise a VideoError for the first loss
    count   number of losses, of which the first few are listed in `problems`
    frames  number of frames known to be lost
    doubtful  number of further frames, up to the next key frame, that may show damage

    It is false without a loss.

        from pathlib import Path

        dvskit.video.write_images(dvskit.open_events("davis"), "damaged")
        Path("damaged/frame_000003.png").write_bytes(b"")
        frames = dvskit.video.ImageFolder("damaged", strict=False)
        events = dvskit.emulate(frames).load()
        str(frames.damage)    # 'damaged in 1 place, 1 frame left out: ...'
    """

    path: Path
    strict: bool
    count: int = 0
    frames: int = 0
    doubtful: int = 0
    problems: list[str] = field(default_factory=list)

    def lose(self, problem: str, *, frames: int = 0) -> None:
        """Count a loss; raise VideoError in strict mode."""
        if self.strict:
            raise VideoError(
                f"{self.path}: {problem}; pass strict=False to skip and count damaged frames"
            )
        self.count += 1
        self.frames += frames
        if len(self.problems) < _LISTED:
            self.problems.append(problem)

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        if not self:
            return "no damage"
        more = self.count - len(self.problems)
        listed = "; ".join(self.problems) + (f"; and {more} more" if more else "")
        gone = f", {count_of(self.frames, 'frame')} left out" if self.frames else ""
        doubt = (
            f", {count_of(self.doubtful, 'frame')} up to the next key frame may show it"
            if self.doubtful
            else ""
        )
        return f"damaged in {count_of(self.count, 'place')}{gone}{doubt}: {listed}"


class SuspectedLosses(FrameLosses):
    """Raises SuspectedLossError for any possible loss."""

    def lose(self, problem: str, *, frames: int = 0) -> None:
        """Raise SuspectedLossError."""
        raise SuspectedLossError(problem)


class FrameSource(ABC):
    """Frames in time order: starts over at each iteration.

    size         of each frame
    frame_count  the number of frames, if known without decoding
    transfer     what integer frames are codes of; float frames are linear light, 1.0 for white
    notes        on the conversion of the frames and their limits, a line each
    damage       the losses of the latest pass; false without any
    container_start_us  container time of the first frame, if there is one

        class Brightening(dvskit.video.FrameSource):
            size = dvskit.Size(64, 48)

            def __iter__(self):
                for k in range(1, 20):
                    yield k * 10_000, np.full((48, 64), 10 * k, np.uint8)

        events = dvskit.emulate(Brightening()).load()
        events.p.all()    # True: all are ON
    """

    size: Size
    frame_count: int | None = None
    transfer: Transfer = "srgb"
    notes: tuple[str, ...] = ()
    damage: FrameLosses | None = None
    container_start_us: int | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (t_us, frame): int microseconds, and (height, width) gray."""

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (t_us, image) for display: the same frames, in their colors.

        An image is (height, width, 3) uint8 RGB, gamma-coded, if the frame has colors, else gray.
        """
        yield from self


class FileFrames(FrameSource):
    """A clip on disk; subclasses define `_look`, which inspects it.

    fps     a steady rate instead of the clip's own times
    light   "luma": gray as coded; "linear": float32 of linear light
    strict  whether damage raises; otherwise damaged parts are skipped and listed in `damage`
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        fps: float | None = None,
        light: Light = "luma",
        strict: bool = True,
    ) -> None:
        self.path = Path(path)
        self.strict = strict
        check_choice("light", light, LIGHTS)
        self._light = light
        self._fps = checked_fps(fps)
        self.damage = self._no_losses()
        self._look()

    @abstractmethod
    def _look(self) -> None:
        """Set size and notes of the clip. Raises VideoError if it is not one."""

    def _no_losses(self) -> FrameLosses:
        """Return the losses of a new pass."""
        return FrameLosses(self.path, self.strict)

    def _fits(self, image: NDArray[Any], name: str, losses: FrameLosses) -> bool:
        """Return whether an image has the clip's size; count it as lost otherwise."""
        height, width = image.shape[:2]
        if (width, height) != self.size:
            losses.lose(f"{name} is {width}x{height}, the first was {self.size}", frames=1)
        return (width, height) == self.size


def checked_fps(fps: float | None) -> Fraction | None:
    """Return a rate as a fraction, None for None. Raises ConfigError if out of range."""
    if fps is None:
        return None
    check_number("fps", fps, 1e-3, 1e6)
    return Fraction(fps).limit_denominator(1_000_000)


def nth_time_us(number: int, fps: Fraction) -> int:
    """Return the time of frame `number` at a steady rate."""
    return round(number * 1_000_000 / fps)


class ArrayFrames(FrameSource):
    """Frames in memory, at times `t_us` (T,), whole microseconds, or at a steady `fps`.

    frames  (T, height, width), gray, or (T, height, width, 3 or 4), RGB or RGBA: an array, a
            tensor in CPU memory, or a list of images (arrays, tensors, PIL images).
            uint8, uint16 (65535 is white) or float (1.0 is white)
    white   the value of white if it differs, such as 255 for floats of 0..255

    Colors become gray as in `gray_picture`. Gives a ScaleWarning for frames that appear to have
    another scale, a UnitWarning for times that look like seconds. Raises ShapeError, VideoError.

        images = np.random.default_rng(0).random((20, 48, 64))    # T, H, W; 1.0 is white
        frames = dvskit.video.ArrayFrames(images, fps=100)
        events = dvskit.emulate(frames, "noisy").load()
    """

    def __init__(
        self,
        frames: Any,
        *,
        t_us: ArrayLike | None = None,
        fps: float | None = None,
        white: float | None = None,
    ) -> None:
        rate = checked_fps(fps)
        if (t_us is None) == (rate is None):
            raise VideoError("give either t_us or fps")
        if white is not None:
            check_number("white", white, above=0)
        self._frames, self._white = _clip(frames), white
        count = len(self._frames)
        self._times = (
            [nth_time_us(number, rate) for number in range(count)]
            if rate is not None
            else checked_times(t_us)
        )
        if len(self._times) != count:
            raise VideoError(f"{count_of(len(self._times), 'time')} for {count_of(count, 'frame')}")
        self.frame_count = count
        height, width = self._picture(0).shape if count else self._frames.shape[1:3]
        self.size = as_size((width, height))
        if count and is_colored(np.shape(as_array(self._frames[0]))):
            self.notes = ("colors are taken as RGB and turned gray (ITU-R BT.601)",)
        if white is None:
            look_at_scale(self._picture, count)

    def _picture(self, number: int) -> NDArray[Any]:
        return gray_picture(self._frames[number], number, self._white)

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        for number, t_us in enumerate(self._times):
            yield t_us, self._picture(number)


class TimedFrames(FrameSource):
    """Pairs of (t_us, image) as a clip: read once if they come from an iterator.

    Images are handled as in `ArrayFrames`. Gives a ScaleWarning, raises ShapeError and VideoError.

    pairs  (t_us, image) each, with times in whole microseconds
    size   (width, height) of the images
    white  the value of white, as in `ArrayFrames`
    kind   the type name of the container, for display
    once   whether they can be read only once

        pairs = [(k * 10_000, np.full((48, 64), 10 * k, np.uint8)) for k in range(1, 20)]
        frames = dvskit.video.TimedFrames(pairs, dvskit.Size(64, 48))
        dvskit.video.write_video(frames, "brighter.mp4", fps=100)
    """

    def __init__(
        self, pairs: Iterable[tuple[int, Any]], size: Size, white: float | None = None
    ) -> None:
        self.size, self._pairs, self._white = size, pairs, white
        self.frame_count = len(pairs) if isinstance(pairs, Sized) else None
        self.transfer = transfer_in(pairs)
        self.once = isinstance(pairs, Iterator)
        self.kind = "generator" if self.once else type(pairs).__name__
        self._used = False

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        if self._used and self.once:
            raise VideoError("the frames came from an iterator, which is used up; pass a list")
        self._used = True
        check = ScaleCheck()
        for number, (t_us, picture) in enumerate(self._pairs):
            frame = gray_picture(picture, number, self._white)
            if self._white is None:
                check.see(frame)
            yield t_us, frame
        check.end()


def _clip(frames: Any) -> Any:
    """Return frames as an array or a list of images. Raises ShapeError, VideoError."""
    if isinstance(frames, Sequence) and not isinstance(frames, str | bytes):
        if not frames:
            raise VideoError("the clip has no frames")
        return frames
    array = as_array(frames)
    shape = array.shape
    if len(shape) not in (3, 4):
        one = "; a single image has no changes" * (len(shape) == 2)
        raise ShapeError(
            f"frames have shape {shape}; (T, height, width) is expected, or (T, height, width, 3) "
            f"for RGB{one}"
        )
    if len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) >= _SMALL_PX:
        raise ShapeError(
            f"frames have shape {shape}, which looks like one color image; a clip is "
            "(T, height, width) or (T, height, width, 3), and for such a narrow gray clip pass "
            "frames[..., None]"
        )
    return array


def checked_times(t_us: Any) -> list[int]:
    """Return times of frames as whole microseconds. Raises VideoError for invalid times."""
    times = as_array(t_us)
    if times.ndim != 1 or (times.size and times.dtype.kind not in "iuf"):
        raise VideoError(
            f"t_us is {times.dtype} of shape {times.shape}; microseconds (T,) are expected"
        )
    if times.dtype.kind == "f" and times.size:
        broken = times[~(times == np.rint(times)) | ~np.isfinite(times)]
        if broken.size:
            raise VideoError(
                f"t_us holds {broken[0]}, which is not a whole microsecond; for seconds, pass "
                "t_us=[round(t * 1e6) for t in seconds]"
            )
        if 0 < np.abs(times).max() < 1000:
            warn(
                f"t_us goes to {times[-1]} us, which looks like seconds; pass "
                "t_us=[round(t * 1e6) for t in seconds]",
                UnitWarning,
            )
    return [int(t) for t in times.tolist()]


def frames_in_memory(
    given: Any, *, fps: float | None, t_us: ArrayLike | None, white: float | None
) -> FrameSource:
    """Return frames in memory as a clip.

    given  an array, a tensor or a list of images, or an iterator of them, with `fps` or `t_us`;
           or an iterable of (t_us, image), without. Raises ConfigError, ShapeError, VideoError.
    """
    if isinstance(given, Events | ReadableSource):
        raise ConfigError(f"{type(given).__name__}: these are events already; pass frames")
    untimed = fps is not None or t_us is not None
    if hasattr(given, "shape"):  # an array of any library
        if not untimed:
            raise ConfigError(_NO_TIMES)
        return ArrayFrames(given, fps=fps, t_us=t_us, white=white)
    if not isinstance(given, Iterable):
        raise ShapeError(f"{type(given).__name__} has no frames; give a path, an array or a list")
    again = iter(given)
    try:
        first = next(again)
    except StopIteration:
        raise VideoError("the clip has no frames") from None
    timed = isinstance(first, tuple | list) and len(first) == 2 and np.ndim(first[0]) == 0
    if untimed and timed:
        raise ConfigError("the frames are (t_us, frame) with times; omit fps and t_us")
    if not untimed and not timed:
        raise ConfigError(_NO_TIMES)
    once = again is given
    if untimed and not once:
        return ArrayFrames(given, fps=fps, t_us=t_us, white=white)
    if white is not None:
        check_number("white", white, above=0)
    height, width = gray_picture(first[1] if timed else first, 0, white).shape
    pairs = itertools.chain([first], again) if once else given
    if untimed:
        pairs = _with_times(pairs, fps, t_us)
    return TimedFrames(pairs, as_size((width, height)), white)


def _with_times(
    pictures: Iterable[Any], fps: float | None, t_us: ArrayLike | None
) -> Iterator[tuple[int, Any]]:
    rate = checked_fps(fps)
    if t_us is None and rate is not None:
        return ((nth_time_us(number, rate), each) for number, each in enumerate(pictures))
    if rate is not None:
        raise VideoError("give either t_us or fps")
    return _paired(checked_times(t_us), pictures)


def _paired(times: list[int], pictures: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    number = -1
    for number, picture in enumerate(pictures):
        if number == len(times):
            raise VideoError(f"{len(times)} times for more frames; give one of each")
        yield times[number], picture
    if number + 1 < len(times):
        raise VideoError(f"{count_of(len(times), 'time')} for {count_of(number + 1, 'frame')}")
