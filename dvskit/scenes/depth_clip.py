"""Depth clips: the distance of each pixel of a person, frame by frame, and the joints.

In a whole depth picture the person is the nearest body, or the one with the skeleton.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError, MissingFileError, ShapeError, count_of
from dvskit.formats.image_list import MOST_PIXELS
from dvskit.formats.matlab import load_mat
from dvskit.formats.stored_array import load_arrays

Array = NDArray[np.float32]

KINECT_FOCAL_PX = 285.63  # of the depth camera of the first Kinect, at 320x240
KINECT_CENTER_PX = (160.0, 120.0)
KINECT_FPS = 30
NEAREST_M, FURTHEST_M = 0.2, 12.0
MARGIN_PX = 14
PICTURE = (240, 320)  # height, width of the camera's picture

_BEFORE_M, _BEHIND_M = 0.35, 0.3  # extent of a body in front of and behind its joints
_DEEP_M = 0.9  # from the nearest part of a body, arms stretched, to its back
_LEAST_PX = 400
_STEP_M = 0.12  # neighbors with a larger step belong to different bodies
_KNEES = 0.62  # of a standing person's height, from the top

KINECT_JOINTS = (
    "head", "neck", "spine", "hips",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot",
)  # fmt: skip
"""The order of joints, as in UTD-MHAD (Chen, Jafari, Kehtarnavaz, ICIP 2015)."""


class DepthCamera(NamedTuple):
    """A depth camera: focal length, and (x, y) of its optical axis, in pixels."""

    focal_px: float = KINECT_FOCAL_PX
    center_px: tuple[float, float] = KINECT_CENTER_PX

    def see(self, places_m: Array) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return column, row and distance of places (..., 3), y up; at least 0.2 m away."""
        ahead = np.maximum(places_m[..., 2], 0.2)
        column = self.center_px[0] + self.focal_px * places_m[..., 0] / ahead
        return column, self.center_px[1] - self.focal_px * places_m[..., 1] / ahead, ahead


@dataclass(frozen=True, eq=False)
class DepthClip:
    """A person as seen by a depth camera, without the background.

    depth_m    (T, H, W) float32, meters along the optical axis; NaN outside the person
    t_us       (T,) int64, increasing
    joints_m   (T, 20, 3) float32 in the camera's meters (x right, y up, z away from it), in the
               order of KINECT_JOINTS; or None
    focal_px   of the depth camera, in pixels
    center_px  (x, y) of the optical axis, in pixels of `depth_m`; it may lie outside
    name       for messages
    notes      omissions and changes made while reading, one line each

    The picture is not mirrored: the right hand is on the left. Raises ShapeError for arrays that do
    not fit each other, for a clip of fewer than two frames, and for depth outside 0.2 to 12 m.

        row, column = np.mgrid[:60, :40]
        person = np.hypot(row - 30, column - 20) < 15  # a ball, 2 m away
        depth = np.where(person, 2.0, np.nan).astype(np.float32)
        clip = dvskit.scenes.DepthClip(
            depth_m=np.stack([depth] * 5), t_us=np.arange(5) * 33_333, center_px=(20.0, 30.0)
        )
        len(clip), clip.duration_us  # 5, 133332
    """

    depth_m: Array
    t_us: NDArray[np.int64]
    joints_m: Array | None = None
    focal_px: float = KINECT_FOCAL_PX
    center_px: tuple[float, float] = KINECT_CENTER_PX
    name: str = "depth clip"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        depth, times, joints = self.depth_m, self.t_us, self.joints_m
        if depth.ndim != 3 or 0 in depth.shape:
            raise ShapeError(f"{self.name}: depth has shape {depth.shape}; it must be (T, H, W)")
        if times.shape != depth.shape[:1] or (np.diff(times) <= 0).any():
            raise ShapeError(
                f"{self.name}: t_us has shape {times.shape}; "
                f"it must be {len(depth)} increasing times"
            )
        if joints is not None and joints.shape != (len(depth), len(KINECT_JOINTS), 3):
            raise ShapeError(
                f"{self.name}: joints have shape {joints.shape}; "
                f"it must be {(len(depth), len(KINECT_JOINTS), 3)}: 20 joints for each frame"
            )
        if joints is not None and not np.isfinite(joints).all():
            raise ShapeError(f"{self.name}: joints are not numbers; pass joints_m=None")
        if len(depth) < 2:
            count = count_of(len(depth), "frame")
            raise ShapeError(f"{self.name}: {count} with a person; a clip needs two")
        if np.isnan(depth).all((1, 2)).any():
            raise ShapeError(f"{self.name}: a frame has no person (all NaN); remove it")
        low, high = float(np.nanmin(depth)), float(np.nanmax(depth))
        if not (low >= NEAREST_M and high <= FURTHEST_M):
            raise ShapeError(
                f"{self.name}: depth of {low:g} to {high:g} m is outside {NEAREST_M} to "
                f"{FURTHEST_M} m; is it in millimeters?"
            )

    def __len__(self) -> int:
        return len(self.depth_m)

    @property
    def duration_us(self) -> int:
        """The time from the first frame to the last."""
        return int(self.t_us[-1] - self.t_us[0])


def read_depth_clip(path: str | PathLike[str]) -> DepthClip:
    """Return the clip of a file, cropped to the person.

    .npz  `depth` (T, H, W) uint8 with 0 for the background, else near_mm + (depth - 1) step_mm;
          `near_mm`, `step_mm`; `corner` (x, y) of the crop in the 320x240 picture; optional
          `joints_m` (T, 20, 3)
    .mat  of UTD-MHAD, `<name>_depth.mat`: `d_depth` (240, 320, T) millimeters, the whole picture,
          in which the person is found; optional joints from `d_skel` (20, 3, T) of
          `<name>_skeleton.mat` in the same folder. The person is cut off below the knees.

    30 frames per second. Frames without a person are left out and counted in `notes`; the others
    keep their times. Raises FormatError for a file of another kind, a missing key or no person,
    ShapeError for arrays that do not fit each other, MissingFileError.

        depth = np.zeros((5, 60, 40), np.uint8)
        depth[:, 10:50, 10:30] = 1  # a person at near_mm
        np.savez("clip.npz", depth=depth, near_mm=2000.0, step_mm=10.0, corner=(140, 90))
        clip = dvskit.scenes.read_depth_clip("clip.npz")
        clip.depth_m.shape  # (5, 40, 20), meters; cropped to the person
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(path, "a depth clip is an .npz or a *_depth.mat")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_npz(path)
    if suffix == ".mat":
        return _read_mat(path)
    raise FormatError(f"{path}: {suffix or 'no suffix'} is not a depth clip; use .npz or .mat")


def _read_npz(path: Path) -> DepthClip:
    held = load_arrays(path, most=MOST_PIXELS)
    for key in ("depth", "near_mm", "step_mm", "corner"):
        if key not in held:
            raise FormatError(
                f"{path}: has no {key!r} (it has {', '.join(sorted(held)) or 'nothing'}); "
                "a depth clip has depth, near_mm, step_mm and corner"
            )
    stored_depth = held["depth"]
    if stored_depth.ndim != 3 or stored_depth.dtype != np.uint8:
        raise ShapeError(
            f"{path}: depth is {stored_depth.dtype} {stored_depth.shape}; it must be (T, H, W) "
            "uint8"
        )
    _check_count(path, stored_depth)
    for key, count in (("near_mm", 1), ("step_mm", 1), ("corner", 2)):
        if held[key].size != count or held[key].dtype.kind not in "iuf":
            raise ShapeError(f"{path}: {key} has shape {held[key].shape}; it must have {count}")
    steps = np.arange(-1, 255)
    near, step = int(held["near_mm"].item()), int(held["step_mm"].item())
    depth_m = _meters(np.where(steps < 0, 0, near + steps * step))[stored_depth]
    left, top = held["corner"].tolist()
    center = (KINECT_CENTER_PX[0] - left, KINECT_CENTER_PX[1] - top)
    return _checked(path, depth_m, held.get("joints_m"), center, ())


def _read_mat(path: Path) -> DepthClip:
    depth = _mat_array(path, "d_depth")
    if depth.ndim == 2:  # MATLAB drops a last dimension of one
        depth = depth[..., None]
    if depth.ndim != 3 or depth.shape[:2] != PICTURE or depth.dtype.kind not in "iuf":
        raise ShapeError(
            f"{path}: d_depth is {depth.dtype} {depth.shape}; it must be {(*PICTURE, 'T')}"
        )
    millimeters = depth.transpose(2, 0, 1)  # (H, W, T) -> (T, H, W)
    _check_count(path, millimeters)
    beside = path.with_name(path.name.removesuffix("_depth.mat") + "_skeleton.mat")
    joints: Array | None = None
    notes: tuple[str, ...] = (f"no {beside.name}: parts of the body are assigned by height",)
    if beside != path and beside.is_file():
        stored = _mat_array(beside, "d_skel")
        if stored.shape != (len(KINECT_JOINTS), 3, len(millimeters)):
            raise ShapeError(
                f"{beside}: d_skel has shape {stored.shape}; it must be "
                f"(20, 3, {len(millimeters)}), as {path.name} has {len(millimeters)} frames"
            )
        joints = stored.transpose(2, 0, 1).astype(np.float32)  # (20, 3, T) -> (T, 20, 3)
    depth_m = _meters(millimeters)
    if joints is not None:
        depth_m, joints, notes = _as_seen(depth_m, joints)
    depth_m = _find_person(depth_m, joints)
    return _checked(path, depth_m, joints, KINECT_CENTER_PX, notes)


def _mat_array(path: Path, key: str) -> NDArray[np.generic]:
    """Return a variable of a MATLAB file, of any version, with its shape in MATLAB."""
    held = load_mat(path, [key])
    if key not in held:
        raise FormatError(f"{path}: has no variable {key!r}; is it a file of UTD-MHAD?")
    return held[key]


def _check_count(path: Path, depth: NDArray[np.generic]) -> None:
    frames, height, width = depth.shape
    if frames * (height + MARGIN_PX) * (width + 2 * MARGIN_PX) > MOST_PIXELS:
        raise ShapeError(
            f"{path}: {frames:,} frames of {width}x{height} have more than {MOST_PIXELS:,} pixels "
            "with their margins; cut the clip"
        )


def _meters(millimeters: NDArray[np.generic]) -> Array:
    meters = np.asarray(millimeters, np.float32) / np.float32(1000)
    return np.where(meters > 0, meters, np.float32(np.nan))


def _checked(
    path: Path,
    depth_m: Array,
    joints_m: NDArray[np.generic] | None,
    center_px: tuple[float, float],
    notes: tuple[str, ...],
) -> DepthClip:
    """Return a clip of the frames with a person, cropped to the person."""
    seen = ~np.isnan(depth_m)
    whole = np.flatnonzero(seen.any((1, 2)))
    if len(whole) < len(depth_m):
        count = f"{len(depth_m) - len(whole)} of {len(depth_m)} frames"
        if len(whole) < 2:
            raise FormatError(f"{path}: {count} hold no person; is it a clip of one?")
        notes += (f"{count} hold no person and were left out",)
    elif len(whole) < 2:
        raise FormatError(f"{path}: {count_of(len(whole), 'frame')}; motion needs at least two")
    rows, columns = (np.flatnonzero(seen.any(axes)) for axes in ((0, 2), (0, 1)))
    top, left = int(rows[0]), int(columns[0])
    clip = DepthClip(
        depth_m[whole, top : rows[-1] + 1, left : columns[-1] + 1],
        whole * 1_000_000 // KINECT_FPS,
        name=str(path),
        center_px=(center_px[0] - left, center_px[1] - top),
        notes=notes,
    )
    if joints_m is None:
        return clip
    if joints_m.shape != (len(depth_m), len(KINECT_JOINTS), 3):
        raise ShapeError(
            f"{path}: joints_m has shape {joints_m.shape}; it must be {(len(depth_m), 20, 3)}"
        )
    return replace(clip, joints_m=joints_m[whole].astype(np.float32))


def _find_person(depth_m: Array, joints_m: Array | None) -> Array:
    """Return (T, H, W) depth of the person alone, from head to knees, NaN elsewhere.

    With joints: the part connected at their distances. Without: the nearest connected body.
    """
    if joints_m is None:
        found = np.stack([_nearest_body(frame) for frame in depth_m])
        rows = np.flatnonzero(found.any((0, 2)))
        knees = int(rows[0] + _KNEES * (rows[-1] + 1 - rows[0])) if len(rows) else 0
        # A body cut off by the picture itself has its knees below it.
        if len(rows) and rows[-1] < depth_m.shape[1] - 1:
            found[:, knees:] = False
    else:
        found = np.stack([_around(*both) for both in zip(depth_m, joints_m, strict=True)])
        knee = joints_m[:, (13, 17)].reshape(-1, 3)
        knee = knee[knee[:, 2] > 0.2]
        if len(knee):
            row = KINECT_CENTER_PX[1] - KINECT_FOCAL_PX * np.median(knee[:, 1] / knee[:, 2])
            found[:, max(0, int(np.ceil(row))) :] = False
    return np.where(found, depth_m, np.float32(np.nan))


def _as_seen(depth_m: Array, joints_m: Array) -> tuple[Array, Array, tuple[str, ...]]:
    """Return unmirrored picture and joints, the right hand on the left, and notes on the changes.

    Some recorders mirror the picture, the joints, or both. Joints that fit the mirrored picture
    better are mirrored. Then both are mirrored if the right shoulder is on the right.
    """
    notes = []
    other = joints_m * np.array((-1, 1, 1), np.float32)
    fits = [_on_depth(depth_m, each) for each in (joints_m, other)]
    if fits[1] > fits[0] + 0.02:
        joints_m = other
        notes.append("the joints were mirrored and have been flipped to fit the picture")
    tracked = joints_m[:, 8, 2] > 0.2
    apart = joints_m[tracked, 8, 0] - joints_m[tracked, 4, 0]
    if len(apart) and np.median(apart) > 0:
        depth_m, joints_m = depth_m[:, :, ::-1], joints_m * np.array((-1, 1, 1), np.float32)
        notes.append("the picture was mirrored, as the shoulders show, and has been flipped")
    return depth_m, joints_m, tuple(notes)


def _on_depth(depth_m: Array, joints_m: Array) -> float:
    """Return the share of joints that are near a surface of the picture."""
    column, row, z = DepthCamera().see(joints_m)
    column, row = np.rint(column).astype(int), np.rint(row).astype(int)
    inside = (column >= 0) & (column < depth_m.shape[2]) & (row >= 0) & (row < depth_m.shape[1])
    frame = np.broadcast_to(np.arange(len(z))[:, None], z.shape)
    seen = depth_m[frame[inside], row[inside], column[inside]]
    with np.errstate(invalid="ignore"):
        near = np.abs(seen - joints_m[..., 2][inside]) < 0.25
    return float(near.sum() / z.size)


def _around(depth_m: Array, joints_m: Array) -> NDArray[np.bool_]:
    distance = joints_m[:, 2]
    if not (distance > 0.2).any():  # the tracker had lost the person
        return np.zeros(depth_m.shape, np.bool_)
    distance = distance[distance > 0.2]
    with np.errstate(invalid="ignore"):
        near = (depth_m > distance.min() - _BEFORE_M) & (depth_m < distance.max() + _BEHIND_M)
    return _largest(near)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of `mask`, and other large ones, such as a lone hand."""
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


def _nearest_body(depth_m: Array) -> NDArray[np.bool_]:
    """Return the mask of the nearest body: without steps in depth, and without the floor."""
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
