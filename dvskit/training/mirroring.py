"""What a class is called in a mirror, by its name: a wave of the left hand is one of the right."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIDES = {"left": "right", "right": "left", "clockwise": "counterclockwise",
          "counterclockwise": "clockwise"}  # fmt: skip
_SYMMETRIC = ("both", "two", "clap", "clapping", "jump", "jumping", "nod", "bow", "up", "down",
              "squat", "push", "pull")  # fmt: skip
_AGAINST = re.compile(r"(counter|anti)[ _-]?(?=clockwise)", re.IGNORECASE)


def mirrored(name: str, classes: Sequence[str]) -> str | None:
    """Return the class, one of `classes`, that another is in a mirror; None where no name says it.

    right_wave is left_wave, clockwise counter_clockwise; what both arms do, or what goes up or
    down, is itself.
    """
    plain = {_words(each): each for each in classes}
    words = _words(name)
    swapped = tuple(_SIDES.get(word, word) for word in words)
    if swapped != words:
        return plain.get(swapped)
    return name if set(words) & set(_SYMMETRIC) else None


def _words(name: str) -> tuple[str, ...]:
    against = _AGAINST.sub("counter", name.casefold())
    return tuple(word for word in re.split(r"[^a-z0-9]+", against) if word)
