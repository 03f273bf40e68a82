"""A depth clip as frames: a person with drawn skin, clothes, light and wall."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, check_seed, check_whole, checked
from dvskit.events import Size, as_size
from dvskit.scenes import depth_kernels as paints
from dvskit.scenes.depth_clip import MARGIN_PX, DepthCamera, DepthClip
from dvskit.scenes.depth_kernels import (
    FOREARM,
    HAND,
    HEAD,
    NECK,
    THIGH,
    TORSO,
    UPPER_ARM,
    drift,
    spread,
    steady,
)

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
    slope     (T, H, W, 2) of the depth to the right and down: meters per meter
    onward    (T - 1, H, W, 2) motion of each pixel's point to the next frame, in pixels
    back      (T - 1, H, W, 2) motion of each pixel of the next frame back to this one
    center_px the optical axis, (x, y) on these pixels
    """

    outline: Array
    depth_m: Array
    slope: Array
    onward: Array
    back: Array
    center_px: tuple[float, float]


@lru_cache(maxsize=2)
def surface_of(clip: DepthClip) -> DepthSurface:
    """Return the surface of a clip."""
    depth = _without_holes(_with_margin(clip.depth_m))
    x, y = clip.center_px
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
    return DepthSurface(outline, depth, slope, onward, back, camera.center_px)


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
    # The border runs between pixels, half a pixel from the centers on both sides.
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
    meters_per_px = depth / focal_px
    slopes = []
    distance = np.clip(outline, 0, 5) / 5
    for axis in (1, 0):
        rise = np.gradient(depth, axis=axis) / meters_per_px
        # The camera measures depth worst at the rim; a limb is about round there.
        rim = (1 - distance) * np.gradient(outline, axis=axis)
        slopes.append(np.clip(rise * distance - 1.2 * rim, -_STEEPEST, _STEEPEST))
    blurred = [cv2.GaussianBlur(slope.astype(np.float32), (0, 0), 0.8) for slope in slopes]
    return np.stack(blurred, axis=-1)


DepthPicture = tuple[Array, Array]  # depth and outline


def _find_motion(
    first: DepthPicture, last: DepthPicture, camera: DepthCamera, onward: Array, back: Array
) -> None:
    """Fill in the motion between two frames, each (depth, outline), if it exceeds a pixel."""
    focal_px, center_px = camera
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
                center_px[0] + focal_px * there[:, 0] / there[:, 2] - columns,
                center_px[1] + focal_px * there[:, 1] / there[:, 2] - rows,
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
    """Return (N, 3) the positions of some pixels in meters: right, down, away."""
    (focal_px, center_px), z = camera, depth[rows, columns]
    x, y = (columns - center_px[0]) * z / focal_px, (rows - center_px[1]) * z / focal_px
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
    column, row, ahead = DepthCamera(clip.focal_px, clip.center_px).see(joints)
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
    middle = (float(np.median(np.nonzero(inside)[1])) - surface.center_px[0]) * pitch
    top = (surface.center_px[1] - rows[0]) * pitch
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
        x = (2 * columns - surface.center_px[0]) * z / clip.focal_px
        y = (2 * rows - surface.center_px[1]) * z / clip.focal_px
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


Frame = NDArray[np.float32]

_SIZE = Size(128, 128)
_MOST_PX = 1.0  # largest motion between frames, where the scene sets the times
_LEAST_FRAMES = 2  # per frame of the clip
_EDGE_PX = 1.4  # width of the outline between wall and body: the blur of a lens
_TEXTURE = 64  # pixels per side


@dataclass(frozen=True, eq=False)
class DepthScene:
    """A person in a depth clip, lit; iterating gives (t_us, frame), frames (H, W) float32, 0 to 1.

    clip         the depth clip
    size         of the frames, in pixels
    fps          frames per second; None for as many as needed to move at most a pixel between
                 frames
    seed         draws the patterns of wall and cloth
    speed        1 is as recorded, 2 twice as fast
    flip         swap left and right: a right hand's gesture becomes a left hand's
    reach        from the top of the head to the hips, in picture heights
    center_x, top   of the body's middle and of the head's top, in picture sizes
    azimuth, elevation   of the lamp, degrees: 0 is at the camera, 90 right or above
    ambient      share of ambient light
    specular     of skin
    skin, hair, shirt, trousers, wall    reflectances, 0 to 1
    sleeve       length of the sleeves: 0.5 half the upper arm, 1 the elbow, 2 the wrist
    texture      contrast of the cloth's folds and pattern
    stripes      contrast of the shirt's stripes, 0 for none
    print_contrast   of a patch on the chest, against the shirt: -1 is black
    wall_texture     contrast of the wall's pattern
    shadow       largest share of the wall's light that the person blocks

    A frame depends on the fields and its time alone. Raises ConfigError for values out of range and
    GeometryError for an impossible size.

        row, column = np.mgrid[:60, :40]
        depth = np.where(np.hypot(row - 30, column - 20) < 15, 2.0, np.nan).astype(np.float32)
        clip = dvskit.scenes.DepthClip(depth_m=np.stack([depth] * 5), t_us=np.arange(5) * 33_333)
        scene = dvskit.scenes.DepthScene(clip, size=dvskit.Size(64, 64))
        t_us, frame = next(iter(scene))  # 0, (64, 64) float32
    """

    clip: DepthClip
    size: Size = _SIZE
    fps: int | None = checked(check_whole, 1, 100_000, default=None)
    seed: int = checked(check_seed, default=0)
    speed: float = checked(check_number, 0.05, 20, default=1.0)
    flip: bool = False
    reach: float = checked(check_number, 0.05, 10, default=0.66)
    center_x: float = checked(check_number, -2, 3, default=0.5)
    top: float = checked(check_number, -5, 3, default=0.16)
    azimuth: float = checked(check_number, -90, 90, default=30.0)
    elevation: float = checked(check_number, -90, 90, default=40.0)
    ambient: float = checked(check_number, 0, 1, default=0.4)
    specular: float = checked(check_number, 0, 1, default=0.1)
    skin: float = checked(check_number, 0.01, 1, default=0.6)
    hair: float = checked(check_number, 0.01, 1, default=0.1)
    shirt: float = checked(check_number, 0.01, 1, default=0.4)
    trousers: float = checked(check_number, 0.01, 1, default=0.15)
    wall: float = checked(check_number, 0.01, 1, default=0.3)
    sleeve: float = checked(check_number, 0, 2, default=0.5)
    texture: float = checked(check_number, 0, 0.5, default=0.06)
    stripes: float = checked(check_number, 0, 0.5, default=0.0)
    print_contrast: float = checked(check_number, -0.95, 2, default=0.0)
    wall_texture: float = checked(check_number, 0, 0.5, default=0.05)
    shadow: float = checked(check_number, 0, 0.9, default=0.15)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_size(self.size))
        check_fields(self)

    @classmethod
    def random(
        cls,
        clip: DepthClip,
        seed: int,
        *,
        size: tuple[int, int] = _SIZE,
        fps: int | None = None,
        flip: bool | None = None,
    ) -> DepthScene:
        """Return a scene with light, clothes, skin, wall, place, scale and speed drawn from `seed`.

        flip  None draws it; the caller must rename the gesture if its name changes with it.

        The same clip and seed give the same scene at every size and rate.
        """
        rng = np.random.default_rng((seed, 0xD3))
        draw = rng.uniform
        flipped = bool(rng.random() < 0.5)
        before_dark = rng.random() < 0.5
        skin, wall = (
            (draw(0.42, 0.75), draw(0.07, 0.25))
            if before_dark
            else (draw(0.12, 0.4), draw(0.55, 0.9))
        )
        # An arm as bright as its background makes no events.
        shirt = _apart(draw, 0.06, 0.85, (wall, skin))
        return cls(
            clip=clip,
            size=as_size(size),
            fps=fps,
            seed=seed,
            speed=float(np.exp(draw(np.log(0.8), np.log(1.25)))),
            flip=flipped if flip is None else flip,
            reach=draw(0.58, 0.74),
            center_x=draw(0.42, 0.58),
            top=draw(0.1, 0.22),
            azimuth=draw(-60, 60),
            elevation=draw(10, 70),
            ambient=draw(0.3, 0.65),
            specular=draw(0.0, 0.15),
            skin=skin,
            wall=wall,
            shirt=shirt,
            trousers=_apart(draw, 0.05, 0.6, (wall,)),
            hair=draw(0.04, 0.25),
            sleeve=(0.4, 0.55, 0.7, 1.2, 1.9, 1.9)[int(rng.integers(6))],
            texture=draw(0.0, 0.12),
            stripes=draw(0.1, 0.35) if rng.random() < 0.2 else 0.0,
            print_contrast=draw(-0.7, 0.8) if rng.random() < 0.35 else 0.0,
            wall_texture=draw(0.0, 0.15),
            shadow=draw(0.05, 0.3) if rng.random() < 0.5 else 0.0,
        )

    @property
    def duration_us(self) -> int:
        """The duration of the scene: the clip's duration over the speed."""
        return int(self.clip.duration_us / self.speed)

    def __iter__(self) -> Iterator[tuple[int, Frame]]:
        return self.frames()

    def times_us(self) -> Iterator[int]:
        """Yield the times of the frames: from 0 to the clip's end."""
        if self.fps is not None:
            count = self.duration_us * self.fps // 1_000_000 + 1
            yield from (n * 1_000_000 // self.fps for n in range(count))
            return
        times = (self.clip.t_us - self.clip.t_us[0]) / self.speed
        for k, furthest in enumerate(_furthest(self.clip) * _placed(self)[1]):
            frames = max(_LEAST_FRAMES, math.ceil(furthest / _MOST_PX))
            yield from (int(t) for t in np.linspace(times[k], times[k + 1], frames, endpoint=False))
        yield self.duration_us

    def frames(self, times_us: Iterable[int] | None = None) -> Iterator[tuple[int, Frame]]:
        """Yield (t_us, frame) at the given times, or at those of `times_us()`.

        Times may come in any order; those outside the clip show its first or its last frame.
        """
        drawn = _Drawn(self)
        for t_us in self.times_us() if times_us is None else times_us:
            yield t_us, drawn.frame(t_us)


def _apart(
    draw: Callable[[float, float], float], low: float, high: float, others: tuple[float, ...]
) -> float:
    """Draw a log-uniform reflectance that differs from others by at least 0.35 e-folds."""
    while True:
        drawn = math.exp(draw(math.log(low), math.log(high)))
        if all(abs(math.log(drawn / other)) > 0.35 for other in others):
            return drawn


def _placed(scene: DepthScene) -> tuple[NDArray[np.float64], float]:
    """Return the affine map from pixels of a frame to pixels of the surface, and its scale."""
    size = scene.size
    column, top, hips = head_to_hips(scene.clip)
    offset = np.subtract(surface_of(scene.clip).center_px, scene.clip.center_px)
    scale = scene.reach * size.height / (hips - top)
    side = -1 if scene.flip else 1
    # Pixel centers are at whole numbers; a picture begins at -0.5.
    x0 = scene.center_x * size.width - 0.5
    y0 = scene.top * size.height - 0.5
    column, top = column + offset[0], top + offset[1]
    return np.array(
        [[side / scale, 0, column - side * x0 / scale], [0, 1 / scale, top - y0 / scale]]
    ), scale


@lru_cache(maxsize=2)
def _furthest(clip: DepthClip) -> NDArray[np.float64]:
    """Return (T - 1,) the pixels of the clip that its fastest part covers to the next frame.

    The fastest twenty pixels are ignored: the search has outliers.
    """
    surface = surface_of(clip)
    lengths = np.hypot(surface.onward[..., 0], surface.onward[..., 1])
    lengths[surface.outline[:-1] < 0] = 0
    lengths = lengths.reshape(len(lengths), -1)
    return np.partition(lengths, -20, axis=1)[:, -20].astype(np.float64)


class _Drawn:
    """The parts of a scene's frames. Keeps the light of the last few frames of the clip."""

    def __init__(self, scene: DepthScene) -> None:
        self.scene = scene
        clip = scene.clip
        self.surface = surface_of(clip)
        self.bones = bones_of(clip)
        rng = np.random.default_rng((scene.seed, 0x7E))
        self.wall = _wall(scene, rng)
        self.texture = _texture(rng)
        self.paints = _paints(scene, rng)
        self.camera = np.array((clip.focal_px, *self.surface.center_px), np.float32)
        self.matrix, self.scale = _placed(scene)
        self.light = lru_cache(maxsize=4)(self._light)
        self.times = clip.t_us - clip.t_us[0]

    def _light(self, k: int) -> Frame:
        light = np.empty(self.surface.depth_m.shape[1:], np.float32)
        own = self.surface
        seen = own.depth_m[k], own.outline[k], own.slope[k]
        paints.paint(seen, self.camera, self.bones[k], self.paints, self.texture, light)
        return light

    def frame(self, t_us: int) -> Frame:
        """Return the frame at a time."""
        when = min(max(t_us * self.scene.speed, 0.0), float(self.times[-1]))
        k = min(int(np.searchsorted(self.times, when, side="right")) - 1, len(self.times) - 2)
        share = (when - self.times[k]) / (self.times[k + 1] - self.times[k])
        surface = self.surface
        drawn = np.empty((*surface.depth_m.shape[1:], 2), np.float32)
        paints.between(
            surface.outline[k : k + 2], surface.depth_m[k : k + 2],
            np.stack([self.light(k), self.light(k + 1)]),
            (surface.onward[k], surface.back[k]), share, drawn,
        )  # fmt: skip
        distance, light = cv2.split(self._shown(drawn))
        cover = np.clip(distance * np.float32(self.scale / _EDGE_PX) + np.float32(0.5), 0, 1)
        wall = self._lit_wall(cover)
        return np.asarray(wall + (light - wall) * cover, np.float32)

    def _shown(self, drawn: Frame) -> Frame:
        image: Any = drawn
        if self.scale < 0.8:  # otherwise light between the frame's pixels would be lost
            image = cv2.GaussianBlur(image, (0, 0), 0.4 / self.scale)
        return np.asarray(
            cv2.warpAffine(
                image, self.matrix, tuple(self.scene.size),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )  # fmt: skip

    def _lit_wall(self, cover: Frame) -> Frame:
        """Return the wall under the person's shadow: soft, and away from the lamp."""
        scene = self.scene
        if scene.shadow == 0:
            return self.wall
        height, width = cover.shape
        small = max(1, height // 32)
        coarse = cv2.resize(cover, (width // small, height // small), interpolation=cv2.INTER_AREA)
        coarse = cv2.GaussianBlur(coarse, (0, 0), 0.05 * height / small)
        side = math.sin(math.radians(scene.azimuth)) * (-1 if scene.flip else 1)
        shift = (-0.12 * height * side, 0.12 * height * math.sin(math.radians(scene.elevation)))
        move = np.array(
            [
                [coarse.shape[1] / width, 0, -shift[0] * coarse.shape[1] / width],
                [0, coarse.shape[0] / height, -shift[1] * coarse.shape[0] / height],
            ]
        )
        dark = cv2.warpAffine(
            coarse, move, (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.asarray(self.wall * (1 - scene.shadow * dark), np.float32)


def _wall_pattern(rng: np.random.Generator, size: Size) -> Frame:
    """Return (H, W) smooth noise of three grains, given in picture heights."""
    total = np.zeros((size.height, size.width), np.float32)
    for weight, grain in ((0.6, 0.35), (0.3, 0.1), (0.1, 0.03)):
        small = [max(2, round(px / (grain * size.height)) + 1) for px in total.shape]
        coarse = rng.standard_normal(small, dtype=np.float32)
        fine: Any = cv2.resize(coarse, (size.width, size.height), interpolation=cv2.INTER_CUBIC)
        total += weight * ((fine - fine.mean()) / (fine.std() + 1e-6))
    return total


def _wall(scene: DepthScene, rng: np.random.Generator) -> Frame:
    pattern = _wall_pattern(rng, scene.size)
    light = np.linspace(1.05, 0.85, scene.size.height, dtype=np.float32)[:, None]
    wall = scene.wall * light * np.maximum(0.2, 1 + scene.wall_texture * pattern)
    wall = np.clip(wall, 0.005, 1).astype(np.float32)
    return np.ascontiguousarray(wall[:, ::-1] if scene.flip else wall)


def _texture(rng: np.random.Generator) -> Frame:
    """Return periodic noise of two grain sizes."""
    noise = rng.standard_normal((2, _TEXTURE, _TEXTURE)).astype(np.float32)
    rough = [
        cv2.GaussianBlur(np.pad(layer, 16, mode="wrap"), (0, 0), sigma)[16:-16, 16:-16]
        for layer, sigma in zip(noise, (1.2, 4.0), strict=True)
    ]
    mixed = np.asarray(sum(layer / layer.std() for layer in rough))
    return np.asarray(mixed / mixed.std(), np.float32)


def _paints(scene: DepthScene, rng: np.random.Generator) -> Frame:
    made = np.zeros(paints.PAINTS, np.float32)
    made[paints.SKIN], made[paints.HAIR] = scene.skin, scene.hair
    made[paints.SHIRT], made[paints.TROUSERS] = scene.shirt, scene.trousers
    made[paints.SLEEVE], made[paints.TEXTURE] = scene.sleeve, scene.texture
    made[paints.STRIPES], made[paints.STRIPE_M] = scene.stripes, rng.uniform(0.06, 0.14)
    made[paints.PRINT], made[paints.GRAIN] = scene.print_contrast, rng.uniform(0.015, 0.03)
    made[paints.PRINT_X], made[paints.PRINT_Y] = rng.uniform(0.05, 0.11, 2)
    made[paints.SPECULAR], made[paints.AMBIENT] = scene.specular, scene.ambient
    azimuth, elevation = math.radians(scene.azimuth), math.radians(scene.elevation)
    made[paints.LAMP_X] = math.sin(azimuth) * math.cos(elevation)
    made[paints.LAMP_Y] = -math.sin(elevation)
    made[paints.LAMP_Z] = -math.cos(azimuth) * math.cos(elevation)
    return made
