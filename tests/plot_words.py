"""The words of a plot as they stand on the page, measured with the renderer.

    assert collisions(figure) == []

Every text that is drawn counts: ticks, labels, titles, notes, legends, what stands at a color bar.
Slanted words are measured along their slant.
"""

from __future__ import annotations

from dataclasses import dataclass
from unittest import mock

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

APART_PT = 0.5  # less between two words, and they read as one
_OUTSIDE_PT = 0.1  # letters are set on whole dots


@dataclass(frozen=True)
class Words:
    """A text and the corners (4, 2) of the box around it, in points from the lower left."""

    text: str
    corners: NDArray[np.float64]

    def meets(self, other: Words) -> bool:
        """Return whether two boxes come nearer than `APART_PT`: no line parts them (convex sets).

        A line that parts two rectangles, if there is one, is parallel to a side of one of them.
        """
        for box in (self, other):
            for side in (box.corners[1] - box.corners[0], box.corners[3] - box.corners[0]):
                across = side / np.hypot(*side)
                one, two = self.corners @ across, other.corners @ across
                if max(one.min() - two.max(), two.min() - one.max()) >= APART_PT:
                    return False
        return True


def drawn_words(figure: Figure) -> list[Words]:
    """Return the words of a figure that are drawn, and nothing that is hidden."""
    seen: dict[int, Text] = {}
    draw = Text.draw

    def noted(self: Text, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            seen[id(self)] = self
        return draw(self, renderer, *args, **kwargs)

    with mock.patch.object(Text, "draw", noted):
        figure.draw_without_rendering()
    return [_measured(text, 72 / figure.dpi) for text in seen.values()]


def _measured(text: Text, to_pt: float) -> Words:
    # The box around a slanted text has its middle, but not its size.
    middle = np.mean(Text.get_window_extent(text).get_points(), axis=0)
    angle = text.get_rotation()
    text.set_rotation(0)
    straight = Text.get_window_extent(text)
    text.set_rotation(angle)
    half = np.array([straight.width, straight.height]) / 2
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turned = corners @ np.array([[cos, sin], [-sin, cos]])
    return Words(text.get_text(), (middle + turned) * to_pt)


def collisions(figure: Figure, words: list[Words] | None = None) -> list[str]:
    """Return a line for each pair of words that meet, and each that leaves the figure."""
    words = drawn_words(figure) if words is None else words
    end = figure.get_size_inches() * 72
    low = np.array([one.corners.min(0) for one in words])
    high = np.array([one.corners.max(0) for one in words])
    # Only those whose upright boxes come near: matrices have a thousand words.
    near = ((low[:, None] < high[None] + APART_PT) & (low[None] < high[:, None] + APART_PT)).all(2)
    pairs = [(words[i], words[j]) for i, j in np.argwhere(np.triu(near, 1)).tolist()]
    found = [f"{one.text!r} meets {two.text!r}" for one, two in pairs if one.meets(two)]
    for one in words:
        beyond = max(-one.corners.min(), (one.corners - end).max())
        if beyond > _OUTSIDE_PT:
            found.append(f"{one.text!r} is {beyond:.1f} points outside")
    return found
