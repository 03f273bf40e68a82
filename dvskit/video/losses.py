"""What could not be read of a clip: raised in strict mode, kept and counted otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dvskit.errors import VideoError

_LISTED = 5


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


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
        gone = f", {_counted(self.frames, 'frame')} left out" if self.frames else ""
        doubt = (
            f", {_counted(self.doubtful, 'frame')} up to the next key frame may show it"
            if self.doubtful
            else ""
        )
        return f"damaged in {_counted(self.count, 'place')}{gone}{doubt}: {listed}"


class SuspectedLosses(FrameLosses):
    """Raises SuspectedLossError for whatever may be lost."""

    def lose(self, problem: str, *, frames: int = 0) -> None:
        """Raise SuspectedLossError."""
        raise SuspectedLossError(problem)
