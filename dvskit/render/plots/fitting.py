"""Fit text to the page as the renderer measures it: notes broken, ticks thinned.

The room for a plot's text depends on its width, its numbers and the fonts. So the layout is made,
measured, and repeated until nothing changes: matplotlib's constrained layout alone lets text
overlap.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import AutoLocator, FixedLocator, LogLocator, MaxNLocator
from matplotlib.transforms import Bbox

_MOST_ROUNDS = 12
_SQUARE_ROUNDS = 2
_ALONG = 0.45  # gap between tick labels along x, relative to a letter's height
_UP = 0.1  # gap between lines of tick labels
_FOOT_PT = 2.0  # gap below text at the foot, and half of it above
_STEPS = [1, 2, 2.5, 5, 10]
_PAD_PT = 4.0  # gap between axes and the text above them


class Note(NamedTuple):
    """Text above axes that may be broken between parts."""

    axes: Axes
    parts: tuple[str, ...]
    color: str
    size_pt: float


def _dots(figure: Figure) -> float:
    """Return the number of dots per point."""
    return float(figure.dpi / 72)


def _width_pt(figure: Figure, text: str, size_pt: float) -> float:
    """Return the width of text in points."""
    words = Text(0, 0, text, fontsize=size_pt)
    words.set_figure(figure)
    box = words.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    return float(box.width / _dots(figure))


def write_below(
    figure: Figure, columns: Sequence[tuple[float, Sequence[str]]], size_pt: float, *,
    spacing: float,
) -> None:  # fmt: skip
    """Write columns (points from the left, lines of text) at the foot, and reserve their space."""
    width_pt, height_pt = figure.get_size_inches() * 72
    step = spacing * size_pt
    rows = max(len(lines) for _, lines in columns)
    for start, lines in columns:
        # Each line separately: in one text, lines are farther apart below descenders.
        for row, line in enumerate(lines):
            up = _FOOT_PT + 0.25 * size_pt + (rows - 1 - row) * step
            words = figure.text(start / width_pt, up / height_pt, line, fontsize=size_pt)
            words.set_in_layout(False)
    foot = (rows * step + 2 * _FOOT_PT) / height_pt
    figure.get_layout_engine().set(rect=(0.0, foot, 1.0, 1.0 - foot))  # type: ignore[union-attr, call-arg]


def legend_above(axes: Axes, columns: int = 0) -> None:
    """Put the legend above the axes, where it hides nothing: in a row, unless columns are given."""
    count = columns or len(axes.get_legend_handles_labels()[1])
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=count).set_gid(f"{count}")


def settle(figure: Figure, notes: list[Note], kept: Collection[Axes] = ()) -> None:
    """Lay a figure out so that no note is too long and no ticks but those kept overlap."""
    axes_of = [
        axis for axes in all_axes(figure) if axes not in kept for axis in (axes.xaxis, axes.yaxis)
    ]
    engine = figure.get_layout_engine()
    square = any(axes.get_aspect() == 1 for axes in figure.axes)
    # Text too long for any layout would leave no room for the axes.
    while _break_labels(figure) or _narrow_legends(figure):
        pass
    still, before = 0, [("", 0.0) for _ in notes]
    # Square pixels leave room that their color bar then takes: the layout needs some iterations
    # until nothing moves, but drawing runs only one.
    for _ in range(_MOST_ROUNDS):
        engine.execute(figure)  # type: ignore[union-attr]
        _place(figure)
        _hold_numbers(axes_of)
        broken = _break_labels(figure) or _narrow_legends(figure)
        written = [_break_note(figure, note) for note in notes]
        thinned = [_thin(figure, axis) for axis in axes_of]
        still = 0 if broken or any(thinned) or written != before else still + 1
        before = written
        if still > (_SQUARE_ROUNDS if square else 0):
            return


def all_axes(figure: Figure) -> Iterator[Axes]:
    """Yield the axes of a figure, and their inset axes."""
    for axes in figure.axes:
        yield axes
        yield from _set_into(axes)


def _set_into(axes: Axes) -> list[Axes]:
    return [child for child in axes.child_axes if isinstance(child, Axes)]


def _place(figure: Figure) -> None:
    """Move axes to their final position: square pixels use only a part of their room."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for axes in all_axes(figure):
        locator = axes.get_axes_locator()
        axes.apply_aspect(None if locator is None else locator(axes, renderer))


def _hold_numbers(axes_of: Sequence[Axis]) -> None:
    """Fix the number of ticks: matplotlib's number depends on the layout, which depends on them."""
    for axis in axes_of:
        locator = axis.get_major_locator()
        if isinstance(locator, AutoLocator):
            axis.set_major_locator(
                MaxNLocator(int(np.clip(axis.get_tick_space(), 1, 9)), steps=_STEPS)
            )


def _narrow_legends(figure: Figure) -> bool:
    """Reduce the columns of legends above axes that leave the page; return whether any changed."""
    found = False
    for axes in all_axes(figure):
        legend = axes.get_legend()
        columns = int(legend.get_gid() or 1) if legend is not None else 1
        if columns > 1 and legend.get_window_extent().x0 < _dots(figure):  # type: ignore[union-attr]
            legend_above(axes, columns - 1)
            found = True
    return found


def _break_labels(figure: Figure) -> bool:
    """Break axis labels that would leave the page at a space; return whether any changed."""
    found = False
    for axes in all_axes(figure):
        box, end = axes.get_window_extent(), figure.bbox
        for axis, middle, most in (
            (axes.xaxis, (box.x0 + box.x1) / 2, end.x1), (axes.yaxis, (box.y0 + box.y1) / 2, end.y1)
        ):  # fmt: skip
            text, size = axis.label.get_text(), float(axis.label.get_fontsize())
            room = 2 * min(middle, most - middle) / _dots(figure) - 2.0
            if text and _width_pt(figure, text, size) > room and " " in text:
                axis.set_label_text(_halved(text))
                found = True
    return found


def _halved(text: str) -> str:
    """Return text with its longest line broken at the space nearest to its middle."""
    lines = text.split("\n")
    longest = max((line for line in lines if " " in line), key=len)
    spaces = [at for at, letter in enumerate(longest) if letter == " "]
    at = min(spaces, key=lambda place: abs(place - len(longest) / 2))
    lines[lines.index(longest)] = longest[:at] + "\n" + longest[at + 1 :]
    return "\n".join(lines)


def _break_note(figure: Figure, note: Note) -> tuple[str, float]:
    """Write a note in as few lines as fit; return it, and its height above the axes."""
    axes = note.axes
    box = axes.get_window_extent()
    end = float(figure.bbox.x1) - _dots(figure)
    legend = axes.get_legend()
    if legend is not None and legend.get_window_extent().y0 >= box.y1 - _dots(figure):
        end = float(legend.get_window_extent().x0) - 3 * _dots(figure)
    room_pt = (end - box.x0) / _dots(figure)
    lines = [""]
    for part in note.parts:
        joined = f"{lines[-1]}, {part}" if lines[-1] else part
        if lines[-1] and _width_pt(figure, joined, note.size_pt) > room_pt:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1] = joined
    text = "\n".join(lines)
    # The label of the highest tick of a color bar extends above it.
    over = box.x0 + _width_pt(figure, text, note.size_pt) * _dots(figure) > box.x1
    beside = any(child.get_window_extent().x0 > box.x1 for child in _set_into(axes))
    pad = _PAD_PT + (0.6 * note.size_pt if over and beside else 0.0)
    axes.set_title(text, color=note.color, fontsize=note.size_pt, pad=pad)
    return text, pad


def _thin(figure: Figure, axis: Axis) -> bool:
    """Label fewer ticks of an axis if labels overlap; return whether any changed."""
    shown = _named_ticks(axis)
    along = 0 if isinstance(axis, XAxis) else 1
    places = sorted((box.get_points()[:, along].tolist() for _, box, _ in shown))
    size = max((size for _, _, size in shown), default=0.0) * _dots(figure)
    gap = size * (_ALONG if along == 0 else _UP)
    if all(one[1] + gap <= two[0] for one, two in pairwise(places)):
        return False
    _name_fewer(axis, sorted(at for at, _, _ in shown))
    return True


def _named_ticks(axis: Axis) -> list[tuple[float, Bbox, float]]:
    """Return for each visible labeled tick: its position, the box of its label, and its size."""
    axis.get_ticklabels()  # updates the ticks
    low, high = sorted(axis.get_view_interval())
    edge = 1e-9 * (high - low)
    found = []
    for tick in axis.get_major_ticks():
        for label in (tick.label1, tick.label2):
            inside = low - edge <= tick.get_loc() <= high + edge
            if inside and label.get_visible() and label.get_text():
                box = label.get_window_extent()
                found.append((float(tick.get_loc()), box, float(label.get_fontsize())))
    return found


def _name_fewer(axis: Axis, places: list[float]) -> None:
    locator = axis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(nbins=max(1, len(places) - 2), min_n_ticks=1)
        kept = [at for at in locator() if min(places) <= at <= max(places)]
        if len(kept) < len(places):
            return
    if isinstance(locator, LogLocator):
        powers = [at for at in places if at > 0 and f"{at:.6e}".startswith("1.000000")]
        if 2 <= len(powers) < len(places):
            locator.set_params(subs=(1.0,))
            return
    axis.set_major_locator(FixedLocator(places[::2] if len(places) > 2 else places[:1]))
