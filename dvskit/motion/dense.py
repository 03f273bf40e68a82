"""Dense optical flow: of windows of events by contrast maximization, and between frames."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_known, check_number, check_whole, checked
from dvskit.errors import ConfigError, VideoError
from dvskit.events import Events, Size, Source
from dvskit.events.even_blocks import EvenBlocks, even_blocks
from dvskit.events.sources import as_source
from dvskit.motion import contrast_kernels as kernels
from dvskit.motion.contrast import LEAST_EVENTS, blurred_by, maximize_contrast
from dvskit.motion.event_flow import Flow, FlowStep
from dvskit.streams import Frame
from dvskit.video.light import gray_of
from dvskit.video.motion_search import LEAST_SIDE, MotionSearch, SearchPreset

FlowImage = NDArray[np.float32]
Nodes = NDArray[np.float64]

PER_PIXEL = 0.7  # events of a window: 30,240 at 240x180
# The middle of a long window: a camera in a hand changes its velocity within 100 ms, and then no
# constant flow fits the events. It has an event for each four pixels, or as many as there are.
_MIDDLE_US, _LEAST_PER_PIXEL = 60_000, 0.25
_PATCH_PX, _LEAST_PATCH_PX, _MOST_PATCH_PX = 16, 4, 512
# Reference times in units of the window, and their weights. A flow that piles events up at one
# time spreads them at the others.
_REFERENCES = ((-0.5, 1), (0.0, 2), (0.5, 1))
_BLUR = 0.87  # cells: with the spread of the votes, 0.5, a Gaussian of 1 cell
_MARGIN_PX = 24
_PATCHES_PER_CELL = 32  # at the coarse levels, where cells are larger than a pixel
_NEIGHBORHOOD_PX = 8.0  # in which the density of events is measured
_LEAST_DENSITY = 0.05  # of the mean
# Weights against the contrast, which is 1 for events at rest: of differences of the flow between
# neighbors, and of differences of its slopes, in pixels over the window.
_SLOPES, _BENDS = 0.05, 0.5
_SOFT_PX = 0.05  # differences below which the penalties are quadratic
_ITERATIONS = 20  # at each level
# The least gain of contrast, if no translation raises it: by chance small sensors gain more.
_LEAST_GAIN, _BY_CHANCE = 1.1, 15.0  # of any sensor; over the root of the number of pixels


def dense_flow(
    events: Events,
    *,
    patch_px: int = _PATCH_PX,
    smoothness: float = 1.0,
    start: FlowImage | None = None,
) -> FlowImage:
    """Return the velocity of the picture at each pixel, in the middle of a window of events.

    After Shiba et al. 2022, "Secrets of event-based optical flow". Events are moved along the flow
    to the start, the middle and the end of the window, and the flow is sought for which the three
    images of moved events have the largest variance. The flow has a value every `patch_px` pixels,
    and is bilinear between them. It is found on coarse patches first. Differences between
    neighbors and, more strongly, changes of the slope of the flow count against it: they keep
    events from piling up, and extend the flow over places with few events.

    patch_px    4 to 512: smaller patches follow the outlines of objects, but need more events
    smoothness  0.01 to 100 times the usual penalty
    start       flow (H, W, 2) where the search may also start, such as that of the window before

    Returns (H, W, 2) float32, x and y in px/s. It is NaN where no event is within `patch_px` pixels
    to the side and up or down. ON and OFF are kept apart; one of them alone will do.

        events = dvskit.filters.Crop(30, 20, 64, 64)(dvskit.load_events("davis"))
        flow = dvskit.motion.dense_flow(events.between(0, 40_000), patch_px=32)
        flow.shape  # (64, 64, 2)
        flow[32, 32]  # about (32, 84) px/s

    Windows in which edges move by 2 to 15 pixels are best: about 30,000 events at 240x180. Of a
    window longer than 60 ms only the middle is used, since velocities change in it: 60 ms, or more
    if they hold fewer events than a quarter of the pixels. The flow is 0 at all pixels if neither a
    translation nor the flow itself raises the contrast by more than noise does: the scene rests,
    moves too little, or the events are noise. Where the motion turns within the part used, the flow
    may still be wrong by more than no flow at all.

    Raises EventsError for fewer than 50 events, and events all at one time; ConfigError for values
    out of range and for a start of another shape.
    """
    check_whole("patch_px", patch_px, _LEAST_PATCH_PX, _MOST_PATCH_PX)
    check_number("smoothness", smoothness, 0.01, 100)
    shape = (events.sensor_size.height, events.sensor_size.width, 2)
    if start is not None and np.shape(start) != shape:
        raise ConfigError(f"start of shape {np.shape(start)} must be a flow {shape}, in px/s")
    near, events = _near(events, patch_px), _middle(events)
    steady = maximize_contrast(events)  # checks the events, too
    window = _Window(events, smoothness)
    step = patch_px
    while 2 * step < max(events.sensor_size):
        step *= 2
    starts = [
        np.full((*_sides(events.sensor_size, step), 2), steady.parameters * window.duration_s)
    ]
    if start is not None:
        starts.append(_sampled(start, step) * window.duration_s)
    window.level(step)
    nodes = window.climbed(min(starts, key=lambda each: window.cost(each)[0]))
    while step > patch_px:
        nodes = _between(nodes, step, _sides(events.sensor_size, step // 2), step // 2)
        step //= 2
        window.level(step)
        nodes = window.climbed(nodes)
    least = max(_LEAST_GAIN, 1 + _BY_CHANCE / sqrt(shape[0] * shape[1]))
    if steady.still and -window.cost(nodes)[0] < least:
        nodes = np.zeros_like(nodes)
    flow = _between(nodes, step, shape[:2], 1) / window.duration_s
    flow[~near] = np.nan
    return flow.astype(np.float32)


def flow_over_time(
    events: Events | Source,
    *,
    count: int | None = None,
    duration_us: int | None = None,
    at_us: Iterable[int] | None = None,
    patch_px: int = _PATCH_PX,
    smoothness: float = 1.0,
) -> Iterator[tuple[int, FlowImage]]:
    """Yield (t_us, flow) of each window of a stream, with the flow of `dense_flow` at t_us.

    count        events of a window, 7 for 10 pixels if no duration is given either; the last window
                 starts earlier, to have as many
    duration_us  of a window
    at_us        increasing times: a window of `duration_us` around each; otherwise windows follow
                 each other, and t_us is halfway between the first and the last event

    `patch_px` and `smoothness` are those of `dense_flow`. The search starts at the flow of the
    window before, too. Windows with fewer than 50 events, or all at one time, give NaN everywhere.
    Memory is bounded by a window and a block of the stream. Raises ConfigError for `at_us` without
    `duration_us` or not increasing.

        events = dvskit.filters.Crop(30, 20, 48, 48)(dvskit.load_events("davis"))
        windows = dvskit.motion.flow_over_time(
            events, duration_us=40_000, at_us=[100_000, 500_000], patch_px=32
        )
        for t_us, flow in windows:
            flow[24, 24]  # the middle pixel: (53, 59), then (47, -79) px/s
    """
    source = as_source(events)
    flow_of = FlowOfWindows(patch_px, smoothness)
    for t_us, window in _windows(source, count, duration_us, at_us):
        yield t_us, flow_of(window)


class FlowOfWindows:
    """The dense flow of windows in sequence; each search also starts at the flow before."""

    def __init__(self, patch_px: int = _PATCH_PX, smoothness: float = 1.0) -> None:
        self._patch_px, self._smoothness = patch_px, smoothness
        self._before: FlowImage | None = None

    def __call__(self, window: Events) -> FlowImage:
        """Return the flow of the next window; NaN everywhere for too few events."""
        if len(window) < LEAST_EVENTS or window.t[0] == window.t[-1]:
            return np.full(
                (window.sensor_size.height, window.sensor_size.width, 2), np.nan, np.float32
            )
        self._before = dense_flow(
            window, patch_px=self._patch_px, smoothness=self._smoothness, start=self._before
        )
        return self._before


def usual_count(size: Size) -> int:
    """Return the number of events of a window on a sensor."""
    return max(LEAST_EVENTS, round(PER_PIXEL * size.width * size.height))


def whole_window(held: Events, window: Events, count: int) -> Events:
    """Return a window of `count` events: the last one of a stream begins within the one before."""
    return window if len(window) >= count else Events.concatenate([held, window])[-count:]


def _windows(
    source: Source, count: int | None, duration_us: int | None, at_us: Iterable[int] | None
) -> Iterator[tuple[int, Events]]:
    """Yield the windows of a stream and their times."""
    if at_us is None:
        if count is None and duration_us is None:
            count = usual_count(source.size)
        held = Events.empty(source.size)
        for part in even_blocks(source, count=count, duration_us=duration_us):
            held = part if count is None else whole_window(held, part, count)
            if len(held):
                yield (int(held.t[0]) + int(held.t[-1])) // 2, held
        return
    if duration_us is None or count is not None:
        raise ConfigError("windows around given times need duration_us, and no count")
    blocks, held, last = iter(source), Events.empty(source.size), None
    for t_us in at_us:
        if last is not None and t_us <= last:
            raise ConfigError(f"at_us must increase; {t_us} comes after {last}")
        last, first = t_us, t_us - duration_us // 2
        parts = [held.between(first)]
        while not len(held) or held.t[-1] < first + duration_us:
            block = next(blocks, None)
            if block is None:
                break
            if len(block):
                held = block
                parts.append(held.between(first))
        held = Events.concatenate(parts, source.size)
        yield t_us, held.between(None, first + duration_us)


class _Window:
    """The contrast of events moved along a flow, and the penalties of the flow.

    A flow is in pixels over the window, at nodes (rows, columns, 2).
    """

    def __init__(self, events: Events, smoothness: float) -> None:
        first, last = int(events.t[0]), int(events.t[-1])
        self.duration_s = (last - first) * 1e-6
        self._size, self._smoothness = events.sensor_size, smoothness
        self._x, self._y = events.x.astype(np.float32), events.y.astype(np.float32)
        middle = (first + last) / 2
        self._parts = ((events.t - middle) / (last - first)).astype(np.float32)
        self._sign = _balanced(events)

    def level(self, step: float) -> None:
        """Use patches of some width, and cells that suit them."""
        self._step, self._cell = step, max(1.0, step / _PATCHES_PER_CELL)
        margin = ceil(_MARGIN_PX / self._cell)
        edge = -(margin * self._cell + 0.5)  # half a pixel outside of the margin
        self._corner = (edge, edge)
        width, height = self._size
        self._shape = ceil(height / self._cell) + 2 * margin, ceil(width / self._cell) + 2 * margin
        rest = self._contrast(np.zeros((*_sides(self._size, step), 2)))[0]
        self._unit = max(rest, 1e-6)  # 0 if ON and OFF cancel at every pixel

    def climbed(self, nodes: Nodes) -> Nodes:
        """Return the flow of the least cost near a start."""
        from scipy.optimize import minimize

        def flat(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            cost, slopes = self.cost(values.reshape(nodes.shape))
            return cost, slopes.ravel()

        result = minimize(
            flat, nodes.ravel(), jac=True, method="L-BFGS-B",
            options={"maxiter": _ITERATIONS, "ftol": 1e-6},
        )  # fmt: skip
        climbed: Nodes = result.x.reshape(nodes.shape)
        return climbed

    def cost(self, nodes: Nodes) -> tuple[float, Nodes]:
        """Return the penalties less the contrast, and the derivatives by all nodes."""
        contrast, slopes = self._contrast(nodes)
        cost, slopes = -contrast / self._unit, slopes / -self._unit
        width, height = self._size
        share = self._smoothness * self._step / (width * height)
        for weight, penalty in (
            (_SLOPES * share, kernels.variation),
            (_BENDS * share, kernels.bending),
        ):
            pulled = np.zeros_like(nodes)
            cost += weight * penalty(nodes, _SOFT_PX, pulled)
            slopes += weight * pulled
        return cost, slopes

    def _contrast(self, nodes: Nodes) -> tuple[float, Nodes]:
        x, y, sign, count = self._x, self._y, self._sign, len(self._x)
        flow_x, flow_y, slope_x, slope_y = np.empty((4, count), np.float32)
        kernels.interpolate(x, y, nodes, self._step, flow_x, flow_y)
        total, pull_x, pull_y = 0.0, np.zeros(count, np.float32), np.zeros(count, np.float32)
        for reference, weight in _REFERENCES:
            away = self._parts - np.float32(reference)
            to_x, to_y = x - away * flow_x, y - away * flow_y
            image = np.zeros(self._shape, np.float32)
            kernels.vote(to_x, to_y, sign, image, self._corner, self._cell)
            image = blurred_by(_BLUR, image)
            total += weight * kernels.squares(image)
            image = blurred_by(_BLUR, image)
            kernels.slopes(to_x, to_y, sign, image, self._corner, self._cell, slope_x, slope_y)
            away *= np.float32(-2 * weight)
            pull_x += away * slope_x
            pull_y += away * slope_y
        slopes = np.zeros_like(nodes)
        kernels.gather(x, y, pull_x, pull_y, self._step, slopes)
        return total, slopes


def _middle(events: Events) -> Events:
    """Return the middle of a long window; all of it, if all events there are at one time."""
    if not len(events):
        return events
    middle = (int(events.t[0]) + int(events.t[-1])) / 2
    pixels = events.sensor_size.width * events.sensor_size.height
    least = min(max(LEAST_EVENTS, round(_LEAST_PER_PIXEL * pixels)), len(events))
    away_us = np.abs(events.t - middle)
    reach_us = max(_MIDDLE_US / 2, float(np.partition(away_us, least - 1)[least - 1]))
    part = events[away_us <= reach_us]
    return part if part.t[0] < part.t[-1] else events


def _balanced(events: Events) -> NDArray[np.float32]:
    """Return the sign of each event over the root of the density around it.

    Contrast grows with the square of the density: without this, few edges would outweigh all else.
    """
    width, height = events.sensor_size
    counts = np.zeros((height, width), np.float32)
    np.add.at(counts, (events.y, events.x), np.float32(1))
    density = blurred_by(_NEIGHBORHOOD_PX, counts)[events.y, events.x]
    density *= width * height / len(events)
    weights = np.asarray(1 / np.sqrt(density + np.float32(_LEAST_DENSITY)), np.float32)
    return np.where(events.p, weights, -weights)


def _sides(size: Size, step: float) -> tuple[int, int]:
    """Return the rows and columns of nodes."""
    return max(ceil((size.height - 1) / step), 1) + 1, max(ceil((size.width - 1) / step), 1) + 1


def _between(nodes: Nodes, step: float, sides: tuple[int, int], spacing: float) -> Nodes:
    """Return the flow at (rows, columns) places, `spacing` pixels apart."""
    rows, columns = np.mgrid[: sides[0], : sides[1]] * spacing
    x = np.minimum(columns.ravel(), (nodes.shape[1] - 1) * step)
    y = np.minimum(rows.ravel(), (nodes.shape[0] - 1) * step)
    at = np.empty((2, len(x)))
    kernels.interpolate(x, y, nodes, step, at[0], at[1])
    return np.moveaxis(at.reshape(2, *sides), 0, -1)


def _sampled(flow: FlowImage, step: float) -> Nodes:
    """Return a flow at the nodes; its mean where it is NaN."""
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[tuple(map(slice, _sides(Size(width, height), step)))] * step
    at = np.minimum(rows, height - 1).astype(int), np.minimum(columns, width - 1).astype(int)
    known: NDArray[np.bool_] = np.isfinite(flow[..., 0])
    mean = flow[known].mean(0) if known.any() else np.zeros(2)
    return np.where(known[at][..., None], flow[at], mean).astype(np.float64)


def _near(events: Events, reach_px: int) -> NDArray[np.bool_]:
    """Return the pixels (H, W) with an event within some pixels to the side and up or down."""
    seen = np.zeros((events.sensor_size.height, events.sensor_size.width), np.uint8)
    seen[events.y, events.x] = 1
    square = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    near: NDArray[np.bool_] = cv2.dilate(seen, square) > 0
    return near


@dataclass(frozen=True, slots=True)
class DenseFlow:
    """Velocity from the dense flow of windows of `count` events: see `dense_flow`.

    The last window begins earlier, to have as many events. `count` is 50 or more; None stands for 7
    events for 10 pixels. Other values raise ConfigError.

        events = dvskit.filters.Crop(30, 20, 64, 64)(dvskit.load_events("davis"))
        window = events.between(0, 40_000)
        method = dvskit.motion.DenseFlow(count=len(window))
        for flow in dvskit.motion.flow_blocks(window, method):
            flow.vx, flow.vy  # (n,) float32 in px/s, of the n events in flow.events
    """

    count: int | None = checked(check_whole, 50, 10_000_000, default=None)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size) -> FlowStep:
        """Return the step of one pass."""
        return _DenseStep(self, size)


class _DenseStep:
    """A pass of a `DenseFlow`: it holds back the events of a window, and keeps those before."""

    def __init__(self, method: DenseFlow, size: Size) -> None:
        self._size, self._count = size, method.count or usual_count(size)
        self._cut = EvenBlocks(self._count)
        self._held, self._flow_of = Events.empty(size), FlowOfWindows()

    def __call__(self, events: Events) -> Flow:
        return self._flow(self._cut.push(events))

    def finish(self) -> Flow:
        return self._flow(self._cut.rest())

    def _flow(self, blocks: Iterable[Events]) -> Flow:
        found = []
        for block in blocks:
            self._held = whole_window(self._held, block, self._count)
            velocity = self._flow_of(self._held)[block.y, block.x]
            found.append(Flow(block, velocity[:, 0], velocity[:, 1]))
        return Flow.concatenate(found, self._size)


class FrameFlow(NamedTuple):
    """The flow from one frame to the next.

    start_us, stop_us  the times of both frames: the middle of their exposures
    flow               (H, W, 2) float32, x and y in px/s at the pixels of the first frame
    x, y               position of the first frame's upper left pixel on the sensor

        found = next(dvskit.motion.frame_flow(dvskit.open_events("davis").frames()))
        found.start_us, found.stop_us  # (0, 40000)
        moved_px = found.flow * (found.stop_us - found.start_us) * 1e-6  # (90, 120, 2)
    """

    start_us: int
    stop_us: int
    flow: NDArray[np.float32]
    x: int = 0
    y: int = 0


def frame_flow(
    frames: Iterable[Frame], at_us: Iterable[int] | None = None, *, preset: SearchPreset = "medium"
) -> Iterator[FrameFlow]:
    """Yield the flow between frames in sequence, by OpenCV's dense inverse search.

    frames  in order of time, such as `recording.frames()`
    at_us   increasing times: of the pairs of frames only those around them are used, each once;
            None for all
    preset  "fast" or "medium"

    After Kroeger et al. 2016, "Fast optical flow using dense inverse search". Raises VideoError for
    fewer than two frames, and for frames of less than 12 pixels a side; ConfigError for another
    preset.

        frames = dvskit.open_events("davis").frames()
        for found in dvskit.motion.frame_flow(frames, at_us=[20_000, 500_000], preset="fast"):
            found.flow  # (90, 120, 2) float32 in px/s, around 20 ms and around 500 ms
    """
    check_known("preset", preset, get_args(SearchPreset))
    search = MotionSearch(preset)
    wanted = None if at_us is None else sorted(at_us)
    before: Frame | None = None
    count = 0
    for frame in frames:
        count += 1
        if before is not None and before.image.shape[:2] == frame.image.shape[:2]:
            start_us, stop_us = _middle_us(before), _middle_us(frame)
            if stop_us > start_us and _is_wanted(wanted, start_us, stop_us):
                yield _flow_between(search, before, frame)
        before = frame
    if count < 2:
        raise VideoError(
            f"flow between frames needs two at least, not {count}; plane_flow needs events only"
        )


def _middle_us(frame: Frame) -> int:
    return frame.t_us + (frame.stop_us - frame.t_us) // 2


def _is_wanted(wanted: list[int] | None, start_us: int, stop_us: int) -> bool:
    return wanted is None or bisect_left(wanted, start_us) < bisect_left(wanted, stop_us)


def _flow_between(search: MotionSearch, before: Frame, frame: Frame) -> FrameFlow:
    if min(before.image.shape[:2]) < LEAST_SIDE:
        height, width = before.image.shape[:2]
        raise VideoError(
            f"flow needs frames of {LEAST_SIDE} pixels a side; these are {width}x{height}"
        )
    start_us, stop_us = _middle_us(before), _middle_us(frame)
    moved = search(_gray(before.image), _gray(frame.image))
    flow: NDArray[np.float32] = moved * np.float32(1e6 / (stop_us - start_us))
    return FrameFlow(start_us, stop_us, flow, before.x, before.y)


def _gray(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a frame as uint8, (H, W)."""
    gray = gray_of(image)
    return np.asarray(gray >> 8, np.uint8) if gray.dtype == np.uint16 else gray
