"""Confusion matrices, with class names fitted to the width."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from numpy.typing import NDArray

from dvskit.errors import ShapeError
from dvskit.render._drawing import drawable, families
from dvskit.render.plots.fitting import write_below
from dvskit.render.plots.pixel_map import colour_bar
from dvskit.render.plots.spikes import as_array
from dvskit.render.plots.style import FONT, PAPER, Plot, Style, note

LINE = 1.25  # line height, relative to that of a letter
_MOST_KEYS = 24  # more classes make a key longer than the matrix
_LEFT_PT = 3.0  # of the key
_LEAST_SHARE = 0.5  # least share of the width for the matrix; below it names become numbers
_LEAST_NAME_PT = 5.0  # smaller text cannot be read in print
_SIZE_STEP_PT = 0.5
_UPRIGHT = 0.93  # relative size of a matrix with horizontal names that is as good
_BELOW = 0.15  # value of height below the matrix, relative to its side

Width = Callable[[str], float]
_BAR = 0.065  # room for the colour bar, relative to the matrix's width
_LEAST_COUNT_PT = 4.0  # smaller counts cannot be read
_IN_CELL = 0.8  # share of a cell's side for its count


class KeyColumn(NamedTuple):
    """Lines of text, and their distance in points from the left of the page."""

    start_pt: float
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Naming:
    """The naming of classes.

    rows, columns   labels beside the rows and below the columns, "" for none
    upright         whether the columns' names are vertical
    size_pt         the font size
    side_pt         the resulting width of the matrix, approximately
    bar_below       whether the colour bar is below the matrix, which leaves its width to names
    key             columns of text that explain the numbers; empty if there are none
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    upright: bool
    size_pt: float
    side_pt: float
    bar_below: bool
    key: tuple[KeyColumn, ...] = ()


def name_classes(names: Sequence[str], style: Style, width: Width) -> Naming:
    """Return the naming of classes; `width` measures text of `style.small_pt`.

    The matrix is as large as possible. Names are broken into up to three lines, and those of the
    columns are vertical if that helps. If less than half of the page's width is left to the matrix,
    the colour bar goes below it, then the names get smaller, and finally numbers replace them, with
    a key.
    """
    for bar_below, size in _places(style):
        measured = _scaled(width, size / style.small_pt)
        best: tuple[float, Naming] | None = None
        for found in _in_place(names, bar_below, size, style, measured):
            worth = found.side_pt
            if found.upright:
                worth = _UPRIGHT * worth - _BELOW * _widest(found.columns, measured)
            if best is None or worth > best[0]:
                best = worth, found
        if best is not None and best[1].side_pt >= _LEAST_SHARE * style.width_pt:
            return best[1]
    return _numbered(names, style, width)


def _places(style: Style) -> Iterator[tuple[bool, float]]:
    """Yield bar positions and font sizes, the best first."""
    if style.narrow:
        yield True, style.small_pt
        return
    yield False, style.small_pt
    steps = int((style.small_pt - _LEAST_NAME_PT) / _SIZE_STEP_PT)
    for step in range(max(0, steps) + 1):
        yield True, style.small_pt - step * _SIZE_STEP_PT


def _scaled(width: Width, factor: float) -> Width:
    return lambda text: factor * width(text)


def _in_place(
    names: Sequence[str], bar_below: bool, size: float, style: Style, width: Width
) -> Iterator[Naming]:
    """Yield the layouts with whole names at their cells."""
    room_pt = _room_pt(style, bar_below)
    ways = [_all_broken(names, lines, width) for lines in (1, 2, 3)]
    for rows in dict.fromkeys(ways):
        side = room_pt - _widest(rows, width)
        cell = side / len(names)
        if side <= 0 or LINE * size * _most_lines(rows) > cell:
            continue
        for columns in dict.fromkeys(ways):
            if _widest(columns, width) + 0.5 * size <= cell:
                yield Naming(rows, columns, False, size, side, bar_below)
            if LINE * size * _most_lines(columns) <= cell:
                yield Naming(rows, columns, True, size, side, bar_below)


def _all_broken(names: Sequence[str], most: int, width: Width) -> tuple[str, ...]:
    """Return names in at most this many lines, each in as few as keep the maximum width."""
    room = _widest([broken(name, most, width) for name in names], width)
    ways = ([broken(name, lines, width) for lines in range(1, most + 1)] for name in names)
    return tuple(next(way for way in found if _widest([way], width) <= room) for found in ways)


def broken(name: str, lines: int, width: Width) -> str:
    """Return a name in at most this many lines, broken at " ", "-" and "_", minimally wide."""
    ends = [at + 1 for at, letter in enumerate(name[:-1]) if at and letter in " -_"]
    if lines < 2 or not ends:
        return name
    ways = [f"{name[:end].rstrip(' ')}\n{broken(name[end:], lines - 1, width)}" for end in ends]
    return min([name, *ways], key=lambda text: (_widest([text], width), text.count("\n")))


def _widest(texts: Sequence[str], width: Width) -> float:
    return max((width(line) for text in texts for line in text.split("\n")), default=0.0)


def _most_lines(texts: Sequence[str]) -> int:
    return 1 + max(text.count("\n") for text in texts)


def _numbered(names: Sequence[str], style: Style, width: Width) -> Naming:
    """Return numbers for names, fewer if there is no room for all, and their key."""
    count = len(names)
    short = all(
        len(name) <= len(str(count)) for name in names
    )  # relative size that is as good as numbers
    numbers = list(names) if short else [str(i + 1) for i in range(count)]
    digits = _widest(numbers, width) / style.small_pt  # width of numbers of one point
    side = _room_pt(style, style.narrow) - digits * style.small_pt
    needs = max(LINE, digits + 0.5)  # distance of numbers, relative to their size
    size = min(style.small_pt, max(_LEAST_NAME_PT, side / count / needs))
    step = next(n for n in (1, 2, 5, 10, count) if n * side / count >= needs * size or n == count)
    shown = tuple(text if i % step == 0 else "" for i, text in enumerate(numbers, not short))
    entries = [f"{number} {name}" for number, name in zip(numbers, names, strict=True)]
    key = () if short or count > _MOST_KEYS else in_columns(entries, style, width)
    return Naming(shown, shown, False, size, side, style.narrow, key)


def in_columns(entries: Sequence[str], style: Style, width: Width) -> tuple[KeyColumn, ...]:
    """Return entries in as many columns as fit on the page; longer ones are cut."""
    room = style.width_pt - 2 * _LEFT_PT
    gap = 1.5 * style.small_pt
    for count in range(len(entries), 0, -1):
        rows = math.ceil(len(entries) / count)
        parts = [entries[i : i + rows] for i in range(0, len(entries), rows)]
        wide = [max(map(width, part)) + gap for part in parts]
        if sum(wide) - gap <= room:
            break
    else:
        parts, wide = [[_cut(text, room, width) for text in entries]], [room]
    starts = [0.0, *accumulate(wide)]
    return tuple(
        KeyColumn(_LEFT_PT + start, tuple(part)) for start, part in zip(starts, parts, strict=False)
    )


def _cut(text: str, room_pt: float, width: Width) -> str:
    """Return text unchanged, or cut to the available width with an ellipsis."""
    if width(text) <= room_pt:
        return text
    kept = len(text)
    while kept > 1 and width(text[:kept].rstrip() + "…") > room_pt:
        kept -= 1
    return text[:kept].rstrip() + "…"


def confusion(counts: Any, classes: Sequence[str], *, style: Style = PAPER) -> Plot:
    """Plot a matrix of counts (classes, classes): rows the true class, columns the answer.

    The colour is the share of the row; the numbers are counts, omitted if cells are too small to
    read them. Names of classes are broken into lines, made vertical or smaller to fit the width;
    names that do not fit are replaced by numbers with a key below (of up to 24).
    `dvskit.evaluation.evaluate` returns both arguments, as `result.confusion` and `result.classes`.
    Raises ShapeError for another shape, and for counts that are not whole or below 0.

        counts = np.array([[18, 2, 0], [1, 17, 2], [0, 1, 19]])
        figure = dvskit.render.plots.confusion(counts, ["zero", "one", "two"])
        dvskit.render.plots.save(figure, "confusion.pdf")
    """
    array = as_array(counts)
    n = len(classes)
    if array.shape != (n, n) or n < 1:
        raise ShapeError(f"counts of shape {array.shape} for {n} classes; ({n}, {n}) is expected")
    if array.dtype.kind not in "iu" or array.min() < 0:
        raise ShapeError("counts must be whole numbers of at least 0")
    share = array / np.maximum(1, array.sum(1, keepdims=True))
    names = [drawable(" ".join(str(name).split())) for name in classes]  # on one line each
    fonts = families("".join(names))
    naming = name_classes(names, style, _measure(style.small_pt, fonts))
    height_pt = _height_pt(naming, style, fonts)
    with (
        style.drawing(height_pt / style.width_pt) as figure,
        mpl.rc_context({"font.family": fonts}),
    ):
        if naming.key:
            write_below(figure, naming.key, style.small_pt, spacing=LINE)
        axes = figure.add_subplot()
        picture = axes.imshow(share, cmap=style.shares_map(), vmin=0, vmax=1)
        axes.spines[:].set_visible(True)
        colour_bar(figure, axes, picture, style, "share of the true class", below=naming.bar_below)
        axes.set(xlabel="answer", ylabel="true class")
        right, total = int(np.trace(array)), int(array.sum())
        score = (f"{right:,} of {total:,} right", f"{100 * right / max(1, total):.1f} %")
        note(axes, style, *(score if total else ("no samples",)))
        _write_names(axes, naming, fonts)
        figure.named[axes] = naming.size_pt
        _write_counts(axes, array, picture.to_rgba(share), naming.side_pt / n, style)
    return figure


def _measure(size_pt: float, fonts: Sequence[str] = (FONT,)) -> Callable[[str], float]:
    """Return a function that measures the width of text of a size in points."""
    font, paths = FontProperties(family=list(fonts), size=size_pt), TextToPath()
    # The same text is measured many times.
    return cache(lambda text: float(paths.get_text_width_height_descent(text, font, False)[0]))


def _room_pt(style: Style, bar_below: bool) -> float:
    """Return the widths of the matrix and of the row names, given the text around them."""
    room = style.width_pt - 2.6 * style.font_pt
    return room if bar_below else (room - 5.0 * style.font_pt) / (1 + _BAR)


def _height_pt(naming: Naming, style: Style, fonts: Sequence[str]) -> float:
    """Return the height of a figure whose matrix is as wide as possible."""
    names = _most_lines(naming.columns) * naming.size_pt
    if naming.upright:
        names = max(map(_measure(naming.size_pt, fonts), "\n".join(naming.columns).split("\n")))
    bar = 3.7 * style.font_pt if naming.bar_below else 0.0
    key = (len(naming.key[0].lines) * LINE + 0.6) * style.small_pt if naming.key else 0.0
    return naming.side_pt + names + 4.0 * style.font_pt + bar + key


def _write_names(axes: Axes, naming: Naming, fonts: list[str]) -> None:
    count = len(naming.rows)
    words: dict[str, Any] = {"linespacing": 1.1, "fontfamily": fonts}
    axes.set_yticks(range(count), naming.rows, multialignment="right", **words)
    axes.set_xticks(
        range(count), naming.columns, rotation=90 if naming.upright else 0, **words,
        multialignment="right" if naming.upright else "center",
    )  # fmt: skip


def _write_counts(
    axes: Axes, counts: NDArray[Any], colours: NDArray[Any], cell_pt: float, style: Style
) -> None:
    widest = _measure(1.0)(str(counts.max()))
    size = min(style.small_pt, _IN_CELL * cell_pt / max(widest, 1.2))
    if size < _LEAST_COUNT_PT:
        return
    for (row, column), count in np.ndenumerate(counts):
        if count:
            # Black or white, whichever contrasts with the cell.
            bright = float(colours[row, column, :3] @ (0.299, 0.587, 0.114)) > 0.55
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size,
                      color="#1b1d26" if bright else "#ffffff", in_layout=False)  # fmt: skip
