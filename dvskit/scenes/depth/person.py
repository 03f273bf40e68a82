"""The person in a whole depth picture: the body that is nearest, or the one with the skeleton."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

PICTURE = (240, 320)  # height, width of the camera's picture

_BEFORE_M, _BEHIND_M = 0.35, 0.3  # what a body reaches beyond its joints
_DEEP_M = 0.9  # from the nearest part of a body, arms stretched, to its back
_LEAST_PX = 400
_STEP_M = 0.12  # neighbours further apart are not of one body
_KNEES = 0.62  # of a standing person's height, from the top


def find_person(
    depth_m: NDArray[np.float32],
    joints_m: NDArray[np.float32] | None,
    focal_px: float,
    centre_px: tuple[float, float],
) -> NDArray[np.float32]:
    """Return (T, H, W) depth of the person alone, from head to knees, NaN elsewhere.

    With joints: what is connected at the joints' distances. Without: the nearest connected body.
    """
    if joints_m is None:
        found = np.stack([_nearest_body(frame) for frame in depth_m])
        rows = np.flatnonzero(found.any((0, 2)))
        knees = int(rows[0] + _KNEES * (rows[-1] + 1 - rows[0])) if len(rows) else 0
        # A body that the picture itself cuts off has its knees below it.
        if len(rows) and rows[-1] < depth_m.shape[1] - 1:
            found[:, knees:] = False
    else:
        found = np.stack([_around(*both) for both in zip(depth_m, joints_m, strict=True)])
        knee = joints_m[:, (13, 17)].reshape(-1, 3)
        knee = knee[knee[:, 2] > 0.2]
        if len(knee):
            row = centre_px[1] - focal_px * np.median(knee[:, 1] / knee[:, 2])
            found[:, max(0, int(np.ceil(row))) :] = False
    return np.where(found, depth_m, np.float32(np.nan))


def as_seen(
    depth_m: NDArray[np.float32],
    joints_m: NDArray[np.float32],
    focal_px: float,
    centre_px: tuple[float, float],
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[str, ...]]:
    """Return picture and joints as a camera sees her, her right on the left, and what was changed.

    Some recorders mirror the picture, or the joints, or both. Joints that fit the picture better
    the other way round are turned; then both are, if her right shoulder is on the right.
    """
    notes = []
    other = joints_m * np.array((-1, 1, 1), np.float32)
    fits = [_on_depth(depth_m, each, focal_px, centre_px) for each in (joints_m, other)]
    if fits[1] > fits[0] + 0.02:
        joints_m = other
        notes.append("the joints are a mirror image of the picture and were turned")
    tracked = joints_m[:, 8, 2] > 0.2
    apart = joints_m[tracked, 8, 0] - joints_m[tracked, 4, 0]
    if len(apart) and np.median(apart) > 0:
        depth_m, joints_m = depth_m[:, :, ::-1], joints_m * np.array((-1, 1, 1), np.float32)
        notes.append("the picture is a mirror image, by the shoulders, and was turned")
    return depth_m, joints_m, tuple(notes)


def _on_depth(
    depth_m: NDArray[np.float32],
    joints_m: NDArray[np.float32],
    focal_px: float,
    centre_px: tuple[float, float],
) -> float:
    """Return the share of the joints that lie near a surface of the picture."""
    z = np.maximum(joints_m[..., 2], 0.2)
    column = np.rint(centre_px[0] + focal_px * joints_m[..., 0] / z).astype(int)
    row = np.rint(centre_px[1] - focal_px * joints_m[..., 1] / z).astype(int)
    inside = (column >= 0) & (column < depth_m.shape[2]) & (row >= 0) & (row < depth_m.shape[1])
    frame = np.broadcast_to(np.arange(len(z))[:, None], z.shape)
    seen = depth_m[frame[inside], row[inside], column[inside]]
    with np.errstate(invalid="ignore"):
        near = np.abs(seen - joints_m[..., 2][inside]) < 0.25
    return float(near.sum() / z.size)


def _around(depth_m: NDArray[np.float32], joints_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    distance = joints_m[:, 2]
    if not (distance > 0.2).any():  # the tracker had lost her
        return np.zeros(depth_m.shape, np.bool_)
    distance = distance[distance > 0.2]
    with np.errstate(invalid="ignore"):
        near = (depth_m > distance.min() - _BEFORE_M) & (depth_m < distance.max() + _BEHIND_M)
    return _largest(near)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part and what else is large in `mask`, such as a lone hand."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return np.zeros(mask.shape, np.bool_)
    area = stats[1:, cv2.CC_STAT_AREA]
    best = int(np.argmax(area))
    if area[best] < _LEAST_PX:
        return np.zeros(mask.shape, np.bool_)
    beside = cv2.dilate((labels == 1 + best).astype(np.uint8), np.ones((13, 13), np.uint8))
    kept = [
        1 + k
        for k in range(count - 1)
        if k == best or (area[k] >= 12 and beside[labels == 1 + k].any())
    ]
    return np.asarray(np.isin(labels, kept))


def _nearest_body(depth_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where the nearest body is: not parted by steps in depth, and not the floor."""
    filled = np.nan_to_num(depth_m, nan=0.0)
    seen = filled > 0
    nearest = cv2.erode(np.where(seen, filled, 99.0).astype(np.float32), np.ones((3, 3)))
    whole = (seen & (filled - nearest < _STEP_M)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(whole)
    bodies = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= _LEAST_PX]
    if not bodies:
        return np.zeros(depth_m.shape, np.bool_)
    distance = {k: float(np.percentile(filled[labels == k], 30)) for k in bodies}
    nearest_body = min(bodies, key=lambda k: distance[k])
    low = float(np.percentile(filled[labels == nearest_body], 1)) - 0.05
    return _largest(seen & (filled >= low) & (filled <= low + _DEEP_M))
