"""The motion over a recording or a live stream, window by window, and events without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_known
from dvskit.errors import ConfigError
from dvskit.events import Events, ReadableSource, Source, as_source
from dvskit.events.even_blocks import even_blocks
from dvskit.motion import contrast_kernels as kernels
from dvskit.motion.contrast import (
    LEAST_EVENTS,
    MODELS,
    ModelName,
    Motion,
    ObjectiveName,
    check_camera,
    maximize_contrast,
    model_of,
)
from dvskit.streams import Intrinsics


@dataclass(frozen=True, slots=True, eq=False)
class MotionTable:
    """The motion in each of n windows.

    model                    "translation", "rotation" or "similarity"
    names                    of the k parameters, with their units
    start_us, stop_us, t_us  (n,) int64: the first event, the last one, and the middle between
    parameters               (n, k) float64; NaN for windows of too few events
    contrast, contrast_at_rest  (n,) float64, of the image of warped events, and without motion
    evaluations, events      (n,) int64: numbers of evaluations of the contrast, and of events
    converged, still         (n,) bool, as in `Motion`; both False for windows of too few events

        events = dvskit.load_events("davis").between(0, 200_000)
        motions = dvskit.motion.motion_over_time(events, window_us=50_000)
        motions.names, motions.parameters.shape  # (("vx_px_s", "vy_px_s"), (4, 2))
        columns = motions.columns()  # of a table: columns["t_us"], columns["vx_px_s"], ...
        motions.unknown  # 0: each window has enough events
    """

    model: str
    names: tuple[str, ...]
    start_us: NDArray[np.int64]
    stop_us: NDArray[np.int64]
    t_us: NDArray[np.int64]
    parameters: NDArray[np.float64]
    contrast: NDArray[np.float64]
    contrast_at_rest: NDArray[np.float64]
    evaluations: NDArray[np.int64]
    events: NDArray[np.int64]
    converged: NDArray[np.bool_]
    still: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.t_us)

    @property
    def unknown(self) -> int:
        """The number of windows of too few events."""
        return int(np.isnan(self.parameters).any(1).sum())

    def held(self) -> NDArray[np.float64]:
        """Return the parameters, (n, k), with those of the window before in place of NaN."""
        known = np.isfinite(self.parameters).all(1)
        latest = np.maximum.accumulate(np.where(known, np.arange(len(self)), -1))
        return np.where(latest[:, None] >= 0, self.parameters[latest], 0.0)

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Return the columns of a table, by name: times, a column a parameter, and the others."""
        of_names = dict(zip(self.names, self.parameters.T, strict=True))
        others = ("contrast", "contrast_at_rest", "evaluations", "events", "converged", "still")
        times = {name: getattr(self, name) for name in ("t_us", "start_us", "stop_us")}
        return times | of_names | {name: getattr(self, name) for name in others}


def motion_over_time(
    events_or_source: Events | Source,
    model: ModelName = "translation",
    *,
    window_us: int | None = None,
    count: int | None = None,
    camera: Intrinsics | None = None,
    objective: ObjectiveName = "variance",
    on_window: Callable[[int, int], None] | None = None,
) -> MotionTable:
    """Return the motion in windows of a duration, or of a number of events.

    window_us  duration of a window, from the first event on; spans without events are left out
    count      events of a window; the last one may have fewer
    on_window  called after each window with the number of windows and the time of its last event

    A window's search also starts at the motion of the window before. Windows do not depend on the
    blocks of the source; memory is bounded by the window. Windows of fewer than 50 events, or all
    at one time, have NaN as parameters. Raises ConfigError unless one of window_us and count is
    given, and as `maximize_contrast` does.

        recording = dvskit.open_events("davis")
        motions = dvskit.motion.motion_over_time(
            recording.load()[:20_000], "rotation", count=5000, camera=recording.intrinsics()
        )
        motions.t_us, motions.parameters  # (4,) int64, (4, 3) float64 in rad/s
    """
    names = _checked(model, window_us, count, camera)
    rows: list[tuple[int, int, Motion]] = []
    for row in _rows(as_source(events_or_source), model, window_us, count, camera, objective):
        rows.append(row)
        if on_window is not None:
            on_window(len(rows), row[1])

    def column(name: str) -> NDArray[Any]:
        return np.array([getattr(motion, name) for _, _, motion in rows])

    starts, stops = (np.array([row[n] for row in rows], np.int64) for n in (0, 1))
    return MotionTable(
        model, names, starts, stops, starts + (stops - starts) // 2,
        column("parameters").reshape(-1, len(names)), column("contrast").astype(np.float64),
        column("contrast_at_rest").astype(np.float64), column("evaluations").astype(np.int64),
        column("events").astype(np.int64), column("converged").astype(np.bool_),
        column("still").astype(np.bool_),
    )  # fmt: skip


def _checked(
    model: str, window_us: int | None, count: int | None, camera: Intrinsics | None
) -> tuple[str, ...]:
    """Return the names of the parameters. Raises ConfigError."""
    check_known("model", model, MODELS)
    check_camera(model, camera)
    if (window_us is None) == (count is None):
        raise ConfigError("a motion over time needs either window_us= or count=")
    return MODELS[model].parameters


def _rows(
    source: Source, model: ModelName, window_us: int | None, count: int | None,
    camera: Intrinsics | None, objective: ObjectiveName,
) -> Iterator[tuple[int, int, Motion]]:  # fmt: skip
    """Yield the first and the last time of each window, and its motion."""
    names, start = MODELS[model].parameters, None
    for window in even_blocks(source, count=count, duration_us=window_us):
        first, last = int(window.t[0]), int(window.t[-1])
        if len(window) >= LEAST_EVENTS and last > first:
            motion = maximize_contrast(
                window, model, camera=camera, objective=objective, start=start
            )
            start = motion.parameters
        else:
            unknown = np.full(len(names), np.nan)
            motion = Motion(model, unknown, names, first, np.nan, np.nan, 0, False, None, False,
                            len(window))  # fmt: skip
        yield first, last, motion


_PAD = 2  # pixels around the sensor: votes reach beyond it


def warped_image(
    events: Events, motion: Motion, *, camera: Intrinsics | None = None
) -> NDArray[np.float32]:
    """Return the image of the events, moved to where they would be at `motion.t_us`.

    Returns (H, W) float32: ON events count 1 and OFF events -1, each shared between the nearest
    nine pixels. Pass events[events.p] for ON alone. For a rotation it is an image without lens
    distortion. Raises ConfigError for a rotation without camera.

        events = dvskit.load_events("davis")[:5000]
        motion = dvskit.motion.maximize_contrast(events)
        image = dvskit.motion.warped_image(events, motion)  # (90, 120) float32: sharp edges
    """
    model = model_of(motion.model, events, motion.t_us, camera)
    places = model.moved(model.checked(motion.parameters))
    width, height = events.sensor_size
    image = np.zeros((height + 2 * _PAD, width + 2 * _PAD), np.float32)
    sign = np.where(events.p, np.float32(1), np.float32(-1))
    kernels.vote(places.x, places.y, sign, image, (-_PAD - 0.5, -_PAD - 0.5), 1.0)
    return image[_PAD:-_PAD, _PAD:-_PAD]


class Stabilized(ReadableSource):
    """Events moved to where they would be if the camera had kept its first pose.

    motions  the motion over the same recording, from `motion_over_time`
    camera   its calibration, for a rotation; events are then without lens distortion
    left_by_undistortion, left_by_motion
             numbers of events of the latest pass that leave the sensor: by undistortion alone, and
             only by the motion

    The result is a source of the same size. A pass yields all events but those that leave. The
    motion changes halfway between the middles of two windows; windows of too few events keep the
    motion of the window before. Raises ConfigError for a rotation without camera and for no
    windows.

        events = dvskit.load_events("davis").between(0, 200_000)
        motions = dvskit.motion.motion_over_time(events, window_us=50_000)
        steady = dvskit.motion.Stabilized(events, motions)  # a source, read block by block
        moved = steady.load()
        steady.left_by_motion  # 2,772 events
    """

    def __init__(
        self, events_or_source: Events | Source, motions: MotionTable, *,
        camera: Intrinsics | None = None,
    ) -> None:  # fmt: skip
        check_camera(motions.model, camera)
        if not len(motions):
            raise ConfigError("there are no motions to stabilize by; take a longer part")
        self.source = as_source(events_or_source)
        self.size = self.source.size
        self.left_by_undistortion = self.left_by_motion = 0
        self._model, self._camera = motions.model, camera
        middles = (motions.t_us[1:] - motions.t_us[:-1]) // 2 + motions.t_us[:-1]
        self._starts_us = np.concatenate([motions.start_us[:1], middles])
        self._matrices = [np.eye(3)]
        self._parameters = motions.held()
        still = model_of(motions.model, Events.empty(self.size), 0, camera)
        for parameters, duration in zip(self._parameters, np.diff(self._starts_us), strict=False):
            step = still.homography(parameters, float(duration) * 1e-6)
            self._matrices.append(self._matrices[-1] @ step)

    def __iter__(self) -> Iterator[Events]:
        self.left_by_undistortion = self.left_by_motion = 0
        for block in self.source:
            numbers = np.searchsorted(self._starts_us[1:], block.t, "right")  # their windows
            borders = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(block)]
            parts = [
                self._moved(block[first:stop], int(numbers[first]))
                for first, stop in pairwise(borders)
                if stop > first
            ]
            yield Events.concatenate(parts, size=self.size)

    def _moved(self, events: Events, number: int) -> Events:
        """Return the events of one window in their places at the start of all."""
        model = model_of(self._model, events, float(self._starts_us[number]), self._camera)
        places = model.moved(self._parameters[number])
        ones = np.ones(len(events))
        x, y, z = self._matrices[number] @ np.stack([places.x, places.y, ones])
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = np.floor(x / z + 0.5), np.floor(y / z + 0.5)
        keep = (z > 0) & self._inside(x, y)
        self._count(events[~keep])
        return Events.from_checked(
            events.t[keep], x[keep].astype(np.int16), y[keep].astype(np.int16), events.p[keep],
            self.size,
        )  # fmt: skip

    def _count(self, outside: Events) -> None:
        """Count events that leave the sensor, by whether they leave without motion, too."""
        model = model_of(self._model, outside, 0, self._camera)
        places = model.moved(np.zeros(len(model.parameters)))
        x, y = np.floor(places.x + 0.5), np.floor(places.y + 0.5)
        by_motion = int(np.count_nonzero(self._inside(x, y)))
        self.left_by_motion += by_motion
        self.left_by_undistortion += len(outside) - by_motion

    def _inside(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which whole places are on the sensor; those that are NaN are not."""
        return np.asarray((x >= 0) & (x < self.size.width) & (y >= 0) & (y < self.size.height))
