"""Events and images without the motion of the camera."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError
from dvskit.events import Events, ReadableSource, Source, as_source
from dvskit.motion import contrast_kernels as kernels
from dvskit.motion.contrast import Motion
from dvskit.motion.models import check_camera, model_of
from dvskit.motion.over_time import MotionTable
from dvskit.streams import Intrinsics

_PAD = 2  # pixels around the sensor: votes reach beyond it


def warped_image(
    events: Events, motion: Motion, *, camera: Intrinsics | None = None
) -> NDArray[np.float32]:
    """Return the image of the events, moved to where they would be at `motion.t_us`.

    Returns (H, W) float32: ON events count 1 and OFF events -1, each shared between the nearest
    nine pixels. Pass events[events.p] for ON alone. For a rotation it is an image without lens
    distortion. Raises ConfigError for a rotation without camera.

        events = dvskit.load_events("davis")[:5000]
        motion = dvskit.motion.maximise_contrast(events)
        image = dvskit.motion.warped_image(events, motion)  # (90, 120) float32: sharp edges
    """
    model = model_of(motion.model, events, motion.t_us, camera)
    places = model.moved(model.checked(motion.parameters))
    width, height = events.size
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
