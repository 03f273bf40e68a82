"""The box of a cloud with its grids, ticks and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.render._camera import TIME_LENGTH, BoxCamera, box_halves, clearance
from dvskit.render._drawing import CAP, Drawing, Segments, TextLine, mix, text_width
from dvskit.render._numbers import nice_step, tick_text, time_unit
from dvskit.render.colormap import Theme

_LEAST_UNITS = (290, 210)  # smaller pictures have no room for text


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the box: a title, and the map of its values (0 .. stop) to box coordinates."""

    title: str
    stop: float
    origin: float
    scale: float
    whole: bool

    def place(self, value: float) -> float:
        return self.origin + self.scale * value

    def ticks(self, count: float) -> list[tuple[float, str]]:
        """Return about `count` values and their labels."""
        step = nice_step(self.stop, count, whole=self.whole)
        last = math.floor(self.stop / step + 1e-9)
        return [(i * step, tick_text(i * step, step)) for i in range(last + 1)]


def box_axes(size: Size, span_us: int) -> tuple[Axis, Axis, Axis]:
    """Return the axes of time, y and x, in the order of the box."""
    unit, length = time_unit(span_us)
    stop = max(span_us, 1) / length
    pixel = 1 / max(size)
    return (
        Axis(f"time ({unit})", stop, -TIME_LENGTH / 2, TIME_LENGTH / stop, whole=unit == "µs"),
        Axis("y (px)", size.height, size.height * pixel / 2, -pixel, whole=True),
        Axis("x (px)", size.width, -size.width * pixel / 2, pixel, whole=True),
    )


@dataclass(frozen=True, slots=True, eq=False)
class LabelEdge:
    """The edge where an axis is labeled: its ends on the screen and the outward direction."""

    fixed: NDArray[np.float64]  # a corner on the edge, in box coordinates
    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    outward: NDArray[np.float64]

    @property
    def length_px(self) -> float:
        return float(np.hypot(*(self.stop - self.start)))


def label_edge(camera: BoxCamera, halves: NDArray[np.float64], axis: int) -> LabelEdge:
    """Return the outline edge along `axis` to label: the lowest, for the upright axis the leftmost.

    An edge is on the outline if one of its faces is turned to the camera and the other away. If
    there is none (`clearance` is below 0), the edge is one of a far face.
    """
    eye = camera.eye
    first, second = (i for i in range(3) if i != axis)
    center = camera.project(np.zeros((1, 3)))[0, :2]
    found: list[tuple[bool, float, LabelEdge]] = []
    for one, other in product((-1.0, 1.0), repeat=2):
        outline = (one * eye[first] > halves[first]) != (other * eye[second] > halves[second])
        fixed = np.zeros(3)
        fixed[first], fixed[second] = one * halves[first], other * halves[second]
        ends = np.stack([fixed, fixed])
        ends[:, axis] = (-halves[axis], halves[axis])
        screen = camera.project(ends)[:, :2]
        along = screen[1] - screen[0]
        outward = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
        middle = screen.mean(axis=0)
        if outward @ (middle - center) < 0:
            outward = -outward
        rank = -middle[0] if axis == 1 else middle[1]
        # Of two equally low edges, the right one: this does not depend on rounding or order.
        rank += 1e-6 * middle[0]
        found.append((outline, float(rank), LabelEdge(fixed, screen[0], screen[1], outward)))
    return max(found, key=lambda edge: edge[:2])[2]


@dataclass(frozen=True, slots=True)
class CloudStyle:
    """Colors of a picture of `size_px`, and pixels per unit: a tick label is 12.5 units high."""

    theme: Theme
    unit_px: float
    size_px: tuple[int, int]

    @property
    def worded(self) -> bool:
        width, height = self.size_px
        return width >= _LEAST_UNITS[0] * self.unit_px and height >= _LEAST_UNITS[1] * self.unit_px

    @property
    def tick_units(self) -> float:
        """The approximate distance of ticks, seen from the side: less in small pictures."""
        return min(max(0.07 * min(self.size_px) / self.unit_px, 34.0), 74.0)

    @property
    def compact(self) -> bool:
        """Whether the text above has to be small."""
        return self.size_px[0] < 700 * self.unit_px

    @property
    def pad_px(self) -> float:
        """The free space at the border."""
        return (12 if self.compact else 24) * self.unit_px


@dataclass(slots=True)
class _Placed:
    """Labels placed so far, which later ones must not cross."""

    words: list[TextLine] = field(default_factory=list)
    _taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def free(self, words: TextLine, gap: float) -> bool:
        """Return whether text fits with a gap to all others."""
        left, top, right, bottom = bounds(words)
        return not any(
            left < other[2] + gap and other[0] < right + gap
            and top < other[3] + gap / 2 and other[1] < bottom + gap / 2
            for other in self._taken
        )  # fmt: skip

    def add(self, words: TextLine) -> None:
        self.words.append(words)
        self._taken.append(bounds(words))


def bounds(words: TextLine) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of text, with room for descenders."""
    top = words.baseline - CAP * words.size_px
    width = text_width(words.text, words.size_px)
    return words.left, top, words.left + width, words.baseline + 0.2 * words.size_px


def _beside(
    at: NDArray[np.float64], outward: NDArray[np.float64], text: str, size_px: float, color: str
) -> TextLine:
    """Return text just outside of a point; its position varies smoothly with the direction."""
    width, height = text_width(text, size_px), CAP * size_px
    across, down = np.clip(1.4 * outward, -1, 1) / 2
    middle = at + np.array([across * width, down * height])
    return TextLine(
        text, float(middle[0] - width / 2), float(middle[1] + height / 2), size_px, color
    )


def draw_box(camera: BoxCamera, size: Size, span_us: int, style: CloudStyle) -> Drawing:
    """Return the three far faces with their grids and, if style.worded, the axis labels.

    A grid depends only on the camera's distance, so that it stays when the box is turned. Labels
    without room are omitted. Those of an axis seen end-on fade out: they would cover the events.
    """
    halves, axes, unit = box_halves(size), box_axes(size, span_us), style.unit_px
    sharp = camera.scale / camera.distance
    ticks = [axes[i].ticks(2 * halves[i] * sharp / (style.tick_units * unit)) for i in range(3)]
    grid, rims = _far_faces(camera, halves, axes, ticks)
    theme = style.theme
    drawing: Drawing = [Segments(grid, theme.grid, unit), Segments(rims, theme.line, unit)]
    if not style.worded:
        return drawing
    placed = _Placed()
    for i in range(3):
        edge = label_edge(camera, halves, i)
        length, full = edge.length_px, 2 * halves[i] * sharp  # and seen from the side
        shown = min(1.0, (length / unit - 30) / 10, (length / full - 0.16) / 0.08)
        shown = min(shown, clearance(camera, halves, i) / 0.25)
        if shown <= 0:
            continue
        points = np.repeat(edge.fixed[None], len(ticks[i]), axis=0)
        points[:, i] = [axes[i].place(value) for value, _ in ticks[i]]
        at = camera.project(points)[:, :2]
        faint, text, line = (
            mix(color, theme.ground, shown) for color in (theme.faint, theme.text, theme.line)
        )
        faded = replace(theme, faint=faint, text=text, line=line)
        texts = [name for _, name in ticks[i]]
        marks = _label(edge, axes[i].title, (at, texts), replace(style, theme=faded), placed)
        ends = np.concatenate([edge.start, edge.stop])
        # It may belong to no far face: without a line the labels would float.
        if np.abs(rims - ends).max(axis=1).min() >= 0.1:
            marks = np.concatenate([marks, ends[None]])
        drawing.append(Segments(marks, faded.line, unit))
    return [*drawing, *placed.words]


def _label(
    edge: LabelEdge, title: str, ticks: tuple[NDArray[np.float64], list[str]], style: CloudStyle,
    placed: _Placed,
) -> NDArray[np.float64]:  # fmt: skip
    """Place the labels of ticks, (n, 2), and the title of an axis; return the tick marks."""
    unit, theme, out = style.unit_px, style.theme, edge.outward
    labels = [
        _beside(at + out * 10 * unit, out, text, 12.5 * unit, theme.faint)
        for at, text in zip(*ticks, strict=True)
    ]
    for label in _that_fit(labels, placed, 7 * unit):
        placed.add(label)
    reach = max(_reach(label, edge) for label in labels) + 7 * unit
    width, height = text_width(title, 14.5 * unit), CAP * 14.5 * unit
    reach += (width * abs(out[0]) + height * abs(out[1])) / 2
    for _ in range(8):
        middle = (edge.start + edge.stop) / 2 + out * reach
        left, baseline = float(middle[0] - width / 2), float(middle[1] + height / 2)
        words = TextLine(title, left, baseline, 14.5 * unit, theme.text)
        if placed.free(words, 6 * unit):
            placed.add(words)
            break
        reach += 6 * unit
    return np.concatenate([ticks[0], ticks[0] + out * 5 * unit], axis=1)


def _that_fit(labels: list[TextLine], placed: _Placed, gap: float) -> list[TextLine]:
    """Return every, every 2nd, 5th, 10th, ... label so that none touches another."""
    chosen = labels[:1]
    for stride in (1, 2, 5, 10, 20, 50):
        alone = _Placed()
        fits = True
        for label in labels[::stride]:
            fits = fits and alone.free(label, gap)
            alone.add(label)
        if fits:
            chosen = labels[::stride]
            break
    return [label for label in chosen if placed.free(label, gap)]


def _reach(label: TextLine, edge: LabelEdge) -> float:
    """Return how far a label extends beyond its edge."""
    left, top, right, bottom = bounds(label)
    outs = [
        (u - edge.start[0]) * edge.outward[0] + (v - edge.start[1]) * edge.outward[1]
        for u in (left, right) for v in (top, bottom)
    ]  # fmt: skip
    return float(max(outs))


def _far_faces(
    camera: BoxCamera,
    halves: NDArray[np.float64],
    axes: tuple[Axis, Axis, Axis],
    ticks: list[list[tuple[float, str]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lines of the grids and of the borders of the three far faces: (n, 4) each."""
    back = np.where(camera.turn[2] >= 0, -halves, halves)  # turned away from the camera
    grid, rims = [], []
    for along, across in permutations(range(3), 2):
        line = np.stack([back, back])
        line[:, along] = (-halves[along], halves[along])
        for value, _ in ticks[across]:
            line[:, across] = axes[across].place(value)
            grid.append(line.copy())
        for side in (-1.0, 1.0):
            line[:, across] = side * halves[across]
            rims.append(line.copy())
    return _seen(camera, grid), _seen(camera, rims)


def _seen(camera: BoxCamera, lines: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    points = np.concatenate(lines)  # (2 n, 3)
    return camera.project(points)[:, :2].reshape(-1, 4)
