"""The surface of a person in a depth clip, without the flicker of the camera, and the bones.

The outline is kept as its signed distance in pixels, smoothed in space and time. Pictures between
two frames are drawn from the motion of each point of the surface (`surface_kernels`). The bones
assign each pixel to a part of the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.scenes.depth.clip import MARGIN_PX, DepthCamera, DepthClip
from dvskit.scenes.depth.paint_kernels import FOREARM, HAND, HEAD, NECK, THIGH, TORSO, UPPER_ARM
from dvskit.scenes.depth.surface_kernels import drift, spread, steady

Array = NDArray[np.float32]

_OUT_PX = 12  # largest distance of the outline that is kept
_SPECK_PX = 40
_HOLE_PX = 12
_REACH = 8  # frames before and after that temporal smoothing uses
_OUTLINE_SLACK_PX, _OUTLINE_JUMP_PX = 0.35, 1.0
_DEPTH_SLACK_M, _DEPTH_JUMP_M = 0.006, 0.04
_SLOPE_SLACK, _SLOPE_JUMP = 0.06, 0.3
_MOVED_M = 0.05
_MOVED_PX = 1.2
_MOST_POINTS = 420
_STEEPEST = 2.5
_ARMS = (5, 6, 7, 9, 10, 11)  # joints that trackers lose in fast motion
_TRUNK = (0, 1, 2, 3, 4, 8, 12, 13, 16, 17)
_FLESH_M = 0.06  # largest depth of a joint below the surface
_HEAD_HIGH_M = 0.11  # from the middle of the head to its top


@dataclass(frozen=True, eq=False)
class DepthSurface:
    """The drawn properties of a clip, each (T, H, W) float32, on the clip's pixels and a margin.

    outline   signed distance to the outline in pixels, positive inside
    depth_m   beyond the outline, that of the nearest pixel inside
    slope     (T, H, W, 2) of the depth to the right and down: metres per metre
    onward    (T - 1, H, W, 2) motion of each pixel's point to the next frame, in pixels
    back      (T - 1, H, W, 2) motion of each pixel of the next frame back to this one
    centre_px the optical axis, (x, y) on these pixels
    """

    outline: Array
    depth_m: Array
    slope: Array
    onward: Array
    back: Array
    centre_px: tuple[float, float]


@lru_cache(maxsize=2)
def surface_of(clip: DepthClip) -> DepthSurface:
    """Return the surface of a clip."""
    depth = _without_holes(_with_margin(clip.depth_m))
    x, y = clip.centre_px
    camera = DepthCamera(clip.focal_px, (x + MARGIN_PX, y + MARGIN_PX))
    outline = _held(
        np.stack([_outline(~np.isnan(frame)) for frame in depth]),
        _OUTLINE_JUMP_PX, _OUTLINE_SLACK_PX,
    )  # fmt: skip
    depth = _without_thin_changes(np.stack([_smooth(frame) for frame in depth]))
    depth = _held(depth, _DEPTH_JUMP_M, _DEPTH_SLACK_M)
    slope = np.stack([_slope(*both, clip.focal_px) for both in zip(depth, outline, strict=True)])
    slope = _held(slope, _SLOPE_JUMP, _SLOPE_SLACK)
    onward = np.zeros((len(depth) - 1, *depth.shape[1:], 2), np.float32)
    back = np.zeros_like(onward)
    for k in range(len(depth) - 1):
        frames = (depth[k], outline[k]), (depth[k + 1], outline[k + 1])
        _find_motion(*frames, camera, onward[k], back[k])
    return DepthSurface(outline, depth, slope, onward, back, camera.centre_px)


def _with_margin(depth: Array) -> Array:
    """Add a margin around the person; below, the cut-off body is continued as it is."""
    sides = ((0, 0), (MARGIN_PX, 0), (MARGIN_PX, MARGIN_PX))
    return np.pad(depth, sides, constant_values=np.nan)


def _held(values: Array, jump: float, slack: float) -> Array:
    flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    return np.asarray(steady(flat, _REACH, jump, slack).reshape(values.shape), np.float32)


def _without_holes(depth: Array) -> Array:
    """Fill pixels missing in one frame but present around it in time or space; drop specks."""
    filled = depth.copy()
    before, here, after = depth[:-2], depth[1:-1], depth[2:]
    with np.errstate(invalid="ignore"):
        lost = np.isnan(here) & (np.abs(before - after) < 0.08)
    filled[1:-1][lost] = ((before + after) / 2)[lost]
    for k, frame in enumerate(filled):
        body = (~np.isnan(frame)).astype(np.uint8)
        closed = cv2.morphologyEx(body, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        closed = _but_small(closed, _SPECK_PX)
        closed = 1 - _but_small(1 - closed, _HOLE_PX)
        if not closed.any():
            closed = body
        values = _extended(frame, body > 0)
        filled[k] = np.where(closed > 0, values, np.nan)
    return filled


def _without_thin_changes(depth: Array) -> Array:
    """Replace borders within the body by the mean of nearby frames where they differ thinly.

    An arm in front of the body changes a patch at a time. A camera that wavers at the pixels of a
    border changes lines of a pixel or two.
    """
    frames = len(depth)
    total = np.concatenate([np.zeros_like(depth[:1]), depth]).cumsum(0, dtype=np.float64)
    made = depth.copy()
    for k, frame in enumerate(depth):
        first, last = max(0, k - _REACH), min(frames, k + _REACH + 1)
        usual = ((total[last] - total[first]) / (last - first)).astype(np.float32)
        other = (np.abs(frame - usual) > _DEPTH_JUMP_M / 4).astype(np.uint8)
        thick = cv2.morphologyEx(other, cv2.MORPH_OPEN, np.ones((4, 4), np.uint8))
        kept = cv2.dilate(thick, np.ones((3, 3), np.uint8))
        np.copyto(made[k], usual, where=(other > 0) & (kept == 0))
    return made


def _but_small(mask: NDArray[Any], least_px: int) -> NDArray[np.uint8]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    kept = stats[:, cv2.CC_STAT_AREA] >= least_px
    kept[0] = False
    return np.asarray(kept[labels], np.uint8)


def _extended(values: Array, inside: NDArray[np.bool_]) -> Array:
    """Give each pixel outside the value of the nearest pixel inside."""
    return np.where(inside, values, values.reshape(-1)[_nearest(inside)])


def _nearest(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the flat index of the nearest pixel inside, for each pixel."""
    _, labels = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.flatnonzero(inside)
    index = np.zeros(int(labels.max()) + 1, np.intp)
    index[labels.reshape(-1)[places]] = places
    return np.asarray(index[labels])


def _outline(inside: NDArray[np.bool_]) -> Array:
    body = inside.astype(np.uint8)
    within = cv2.distanceTransform(body, cv2.DIST_L2, 5)
    beyond = cv2.distanceTransform(1 - body, cv2.DIST_L2, 5)
    # The border runs between pixels, half a pixel from the centres on both sides.
    distance = np.where(inside, within - 0.5, 0.5 - beyond).astype(np.float32)
    distance = np.clip(distance, -_OUT_PX, _OUT_PX)
    return np.asarray(cv2.GaussianBlur(distance, (0, 0), 1.2), np.float32)


def _smooth(frame: Array) -> Array:
    """Smooth depth without crossing steps: values that differ by much more than 4 cm stay apart."""
    whole = _extended(frame, ~np.isnan(frame)).astype(np.float32)
    smooth: Any = cv2.medianBlur(whole, 5)
    for _ in range(2):
        smooth = cv2.bilateralFilter(smooth, 7, 0.04, 2.0)
    return np.asarray(smooth, np.float32)


def _slope(depth: Array, outline: Array, focal_px: float) -> Array:
    """Return (H, W, 2) the slope of the depth to the right and down, rounded at the outline."""
    metres_per_px = depth / focal_px
    slopes = []
    distance = np.clip(outline, 0, 5) / 5
    for axis in (1, 0):
        rise = np.gradient(depth, axis=axis) / metres_per_px
        # The camera measures depth worst at the rim; a limb is about round there.
        rim = (1 - distance) * np.gradient(outline, axis=axis)
        slopes.append(np.clip(rise * distance - 1.2 * rim, -_STEEPEST, _STEEPEST))
    blurred = [cv2.GaussianBlur(slope.astype(np.float32), (0, 0), 0.8) for slope in slopes]
    return np.stack(blurred, axis=-1)


Frame = tuple[Array, Array]


def _find_motion(
    first: Frame, last: Frame, camera: DepthCamera, onward: Array, back: Array
) -> None:
    """Fill in the motion between two frames, each (depth, outline), if it exceeds a pixel."""
    focal_px, centre_px = camera
    inside = [outline > 0 for _, outline in (first, last)]
    apart = np.abs(first[0] - last[0]) > _MOVED_M
    moved = (inside[0] | inside[1]) & apart
    moved |= (inside[0] != inside[1]) & (np.abs(first[1] - last[1]) > _MOVED_PX)
    opened = cv2.morphologyEx(moved.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    specks = _but_small(opened, 10)
    if not specks.any():
        return
    moving = cv2.dilate(specks, np.ones((5, 5), np.uint8)) > 0
    around = cv2.dilate(specks, np.ones((11, 11), np.uint8)) > 0
    points = [_thinned(around & each) for each in inside]
    if min(len(rows) for rows, _ in points) < 5:
        return
    spots = [
        _metric(depth, *place, camera)
        for (depth, _), place in zip((first, last), points, strict=True)
    ]
    for way, (frame, out) in enumerate(((first, onward), (last, back))):
        rows, columns = points[way]
        step = drift(spots[way], moving[rows, columns], spots[1 - way])
        there = spots[way] + step
        flow = np.stack(
            [
                centre_px[0] + focal_px * there[:, 0] / there[:, 2] - columns,
                centre_px[1] + focal_px * there[:, 1] / there[:, 2] - rows,
            ],
            axis=1,
        ).astype(np.float32)
        spread(frame[0], inside[way], (rows, columns), flow, 0.04, out)
        out[:] = out.reshape(-1, 2)[_nearest(inside[way])]


def _thinned(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of every second pixel of a mask, or of fewer."""
    rows, columns = np.nonzero(mask)
    kept = (rows % 2 == 0) & (columns % 2 == 0)
    rows, columns = rows[kept], columns[kept]
    fewer = -(-len(rows) // _MOST_POINTS)
    return (rows[::fewer], columns[::fewer]) if fewer > 1 else (rows, columns)


def _metric(
    depth: Array, rows: NDArray[np.intp], columns: NDArray[np.intp], camera: DepthCamera
) -> Array:
    """Return (N, 3) the positions of some pixels in metres: right, down, away."""
    (focal_px, centre_px), z = camera, depth[rows, columns]
    x, y = (columns - centre_px[0]) * z / focal_px, (rows - centre_px[1]) * z / focal_px
    return np.stack([x, y, z], axis=1).astype(np.float32)


@lru_cache(maxsize=2)
def bones_of(clip: DepthClip) -> Array:
    """Return (T, B, 8) bones for `paint`: start, end (right, down, away), radius, part.

    Without joints they are those of a standing person of the height seen in the clip, without
    arms: the arms get the clothes of the body.
    """
    surface = surface_of(clip)
    joints = clip.joints_m
    if joints is None:
        joints = np.repeat(_standing(clip, surface)[None], len(clip), 0)
        return _bones(joints * (1, -1, 1), arms=False)
    joints = _tracked(joints)
    down = joints * np.array((1, -1, 1), np.float32)  # y points down in pictures
    down = _on_the_body(clip, surface, down)
    trunk, limbs = (down[:, each].reshape(len(clip), -1) for each in (_TRUNK, _ARMS))
    down[:, _TRUNK] = steady(trunk, 8, 0.15, 0.008).reshape(len(clip), -1, 3)
    down[:, _ARMS] = steady(limbs, 4, 0.06, 0.008).reshape(len(clip), -1, 3)
    return _bones(down, arms=True)


def head_to_hips(clip: DepthClip) -> tuple[float, float, float]:
    """Return the column of the body's middle, and the rows of the head's top and of the hips.

    In pixels of the clip, as the middle over the whole clip.
    """
    joints = clip.joints_m
    if joints is None:
        joints = _standing(clip, surface_of(clip))[None]
    joints = _tracked(joints)
    column, row, ahead = DepthCamera(clip.focal_px, clip.centre_px).see(joints)
    top = row[:, 0] - clip.focal_px * _HEAD_HIGH_M / ahead[:, 0]
    middle = column[:, (1, 3)].mean(1)
    hips = float(np.median(row[:, 3]))
    return float(np.median(middle)), min(float(np.median(top)), hips - 5), hips


def _tracked(joints: Array) -> Array:
    """Fill frames in which the tracker lost the person with the joints of the nearest frame."""
    known = np.flatnonzero((joints[..., 2] > 0.2).all(1))
    if not len(known):
        return joints
    nearest = np.abs(np.arange(len(joints))[:, None] - known).argmin(1)
    return np.asarray(joints[known[nearest]], np.float32)


def _standing(clip: DepthClip, surface: DepthSurface) -> Array:
    """Return the joints (20, 3), y up, of a person that fills the clip's outline, head to knees."""
    inside: Any = np.median(surface.outline, axis=0) > 0
    if not inside.any():
        inside = (surface.outline > 0).any(0)
    rows = np.flatnonzero(inside.any(1))
    z = float(np.median(surface.depth_m[:, inside]))
    pitch = z / clip.focal_px
    middle = (float(np.median(np.nonzero(inside)[1])) - surface.centre_px[0]) * pitch
    top = (surface.centre_px[1] - rows[0]) * pitch
    high = min(max((rows[-1] + 1 - rows[0]) * pitch, 0.6), 1.4)  # head to knees
    joints = np.zeros((20, 3), np.float32)
    joints[:] = middle, top - high, z
    for index, share in ((0, 0.085), (1, 0.22), (2, 0.5), (3, 0.58)):
        joints[index, 1] = top - share * high
    for side, first in ((1, 4), (-1, 8)):
        joints[first : first + 4] = middle + side * 0.15, top - 0.27 * high, z
        joints[first + 8] = middle + side * 0.09, top - 0.62 * high, z
        joints[first + 9] = middle + side * 0.1, top - high, z
    return joints


def _on_the_body(clip: DepthClip, surface: DepthSurface, joints: Array) -> Array:
    """Move arm joints off the body onto it: at most 6 cm below the surface."""
    joints = joints.copy()
    for k, (outline, depth) in enumerate(zip(surface.outline, surface.depth_m, strict=True)):
        rows, columns = np.nonzero(outline[::2, ::2] > 0)
        z = depth[::2, ::2][rows, columns]
        x = (2 * columns - surface.centre_px[0]) * z / clip.focal_px
        y = (2 * rows - surface.centre_px[1]) * z / clip.focal_px
        points = np.stack([x, y, z], axis=1)
        if not len(points):
            continue
        for joint in _ARMS:
            square = ((points - joints[k, joint]) ** 2).sum(1)
            nearest = int(np.argmin(square))
            far = float(np.sqrt(square[nearest]))
            if far > _FLESH_M:
                joints[k, joint] += (points[nearest] - joints[k, joint]) * (1 - _FLESH_M / far)
    return joints


def _bones(joints: Array, *, arms: bool) -> Array:
    head, neck, hips = joints[:, 0], joints[:, 1], joints[:, 3]
    up = head - neck
    up = up / (np.linalg.norm(up, axis=1, keepdims=True) + 1e-6)
    made = [
        (head, head + 0.09 * up, 0.095, HEAD),
        (neck + 0.03 * up, head - 0.1 * up, 0.05, NECK),
        (neck, hips, 0.15, TORSO),
    ]
    for first in (4, 8):
        shoulder, elbow, wrist, hand = (joints[:, first + n] for n in range(4))
        made.append(((2 * shoulder + neck) / 3, (shoulder + 2 * hips) / 3, 0.1, TORSO))
        if arms:
            reach = hand - wrist
            reach = reach / (np.linalg.norm(reach, axis=1, keepdims=True) + 1e-6)
            made += [
                (shoulder, elbow, 0.055, UPPER_ARM),
                (elbow, wrist, 0.045, FOREARM),
                (wrist + 0.02 * reach, wrist + 0.14 * reach, 0.05, HAND),
            ]
        made.append((joints[:, first + 8], joints[:, first + 9], 0.09, THIGH))
    bones = np.empty((len(joints), len(made), 8), np.float32)
    for b, (start, end, radius, part) in enumerate(made):
        bones[:, b, :3], bones[:, b, 3:6] = start, end
        bones[:, b, 6:] = radius, part
    return bones
