"""The bones of a person in a clip, which assign each pixel to a part of the body."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.scenes.depth.clip import Camera, DepthClip
from dvskit.scenes.depth.paint_kernels import FOREARM, HAND, HEAD, NECK, THIGH, TORSO, UPPER_ARM
from dvskit.scenes.depth.surface import Surface, surface_of
from dvskit.scenes.depth.surface_kernels import steady

Array = NDArray[np.float32]

_ARMS = (5, 6, 7, 9, 10, 11)  # joints that trackers lose in fast motion
_TRUNK = (0, 1, 2, 3, 4, 8, 12, 13, 16, 17)
_FLESH_M = 0.06  # largest depth of a joint below the surface
_HEAD_HIGH_M = 0.11  # from the middle of the head to its top


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
    column, row, ahead = Camera(clip.focal_px, clip.centre_px).see(joints)
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


def _standing(clip: DepthClip, surface: Surface) -> Array:
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


def _on_the_body(clip: DepthClip, surface: Surface, joints: Array) -> Array:
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
