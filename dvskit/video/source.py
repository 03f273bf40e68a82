"""A clip: frames with their times, and what could not be read of it."""

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
    """Something may be lost; one thread alone can tell what."""


@dataclass(slots=True)
class FrameLosses:
    """The losses of one pass over a clip.

    strict  raise a VideoError for the first loss
    count   how many there were, of which the first few are listed in `problems`
    frames  how many frames are known to be gone with them
    doubtful  how many more may show their damage, up to the next key frame
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
                f"{self.path}: {problem}; pass strict=False (--salvage) to go on without what is "
                "damaged and count it"
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
    """Raises SuspectedLossError for whatever may be lost."""

    def lose(self, problem: str, *, frames: int = 0) -> None:
        """Raise SuspectedLossError."""
        raise SuspectedLossError(problem)


class FrameSource(ABC):
    """Frames in time order: starts anew at each iteration.

    size         of each frame
    frame_count  how many there are, as far as it is known without decoding
    notes        what was done with the pictures, and what to know of them, a line each
    damage       what the latest pass left out; false where it left out nothing
    container_start_us  when the container shows the first frame, where there is one that says
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
        """Yield (t_us, picture) to be looked at: the same frames, in their colours.

        A picture is (height, width, 3) uint8 RGB, gamma-coded, where the frame has colours, and
        else gray as a frame.
        """
        yield from self


class FileFrames(FrameSource):
    """A clip on disk: who derives from it gives `_look`, which sees what is there.

    fps     a steady rate in place of the clip's own times
    light   "luma": gray as it is coded; "linear": float32 of linear light
    strict  whether damage raises; else what is damaged is left out, and `damage` says what
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
        """Take size and notes of the clip. Raises VideoError for what is none."""

    def _no_losses(self) -> FrameLosses:
        """Return the losses of a pass that begins."""
        return FrameLosses(self.path, self.strict)


def checked_fps(fps: float | None) -> Fraction | None:
    """Return a rate as a fraction, None for None. Raises ConfigError for one that cannot be."""
    if fps is None:
        return None
    if not 1e-3 <= fps <= 1e6:
        raise ConfigError(f"fps = {fps} is outside 0.001..1000000")
    return Fraction(fps).limit_denominator(1_000_000)


def nth_time_us(number: int, fps: Fraction) -> int:
    """Return the time of frame `number` at a steady rate."""
    return round(number * 1_000_000 / fps)
