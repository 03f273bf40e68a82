"""A clip: frames with their times, and the losses while reading it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dvskit.errors import ConfigError, VideoError, count_of
from dvskit.events import Size
from dvskit.video.light import Light, checked_light

_LISTED = 5


class SuspectedLossError(Exception):
    """Frames may be lost; decoding with one thread finds out which."""


@dataclass(slots=True)
class FrameLosses:
    """The losses of one pass over a clip.

    strict  raise a VideoError for the first loss
    count   number of losses, of which the first few are listed in `problems`
    frames  number of frames known to be lost
    doubtful  number of further frames, up to the next key frame, that may show damage
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
                f"{self.path}: {problem}; pass strict=False (--salvage) to skip and count "
                "damaged frames"
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
    notes        on the conversion of the frames and their limits, a line each
    damage       the losses of the latest pass; false without any
    container_start_us  container time of the first frame, if there is one
    """

    size: Size
    frame_count: int | None = None
    notes: tuple[str, ...] = ()
    damage: FrameLosses | None = None
    container_start_us: int | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (t_us, frame): int microseconds, and (height, width) gray."""

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (t_us, image) for display: the same frames, in their colours.

        An image is (height, width, 3) uint8 RGB, gamma-coded, if the frame has colours, else gray.
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
        self._light = checked_light(light)
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
    if not 1e-3 <= fps <= 1e6:
        raise ConfigError(f"fps = {fps} is outside 0.001..1000000")
    return Fraction(fps).limit_denominator(1_000_000)


def nth_time_us(number: int, fps: Fraction) -> int:
    """Return the time of frame `number` at a steady rate."""
    return round(number * 1_000_000 / fps)
