# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The light from each pixel of a person, and the motion of the surface between two depth pictures.

`paint` gives cloth, skin and hair under a lamp; `between` moves two pictures their shares of the
way, and joins them. `steady` removes flicker. `drift` finds motion by point drift, after Myronenko
and Song 2010 (Point Set Registration: Coherent Point Drift): the points of the second picture are
drawn from Gaussians about the moved points of the first; their width shrinks from step to step. In
place of the paper's linear system, each point moves by the mean motion of its neighbors, weighted
by a Gaussian that narrows as well. This keeps limbs whole.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

# Parts that bones belong to: the last column of `bones`.
HEAD, NECK, TORSO, UPPER_ARM, FOREARM, HAND, THIGH = range(7)
TRUNK = 2  # the bone of the spine

# Indices in `paints`.
SKIN, HAIR, SHIRT, TROUSERS, SLEEVE, TEXTURE, GRAIN, PRINT, PRINT_X, PRINT_Y = range(10)
SPECULAR, AMBIENT, LAMP_X, LAMP_Y, LAMP_Z, STRIPES, STRIPE_M, PAINTS = range(10, 18)

_BAND_PX = 3.0  # around the outline, which moves with it
_NOWHERE = np.float32(1e9)
_ALIKE_M, _APART_M = 0.05, 0.12  # layers closer than this are one; further apart, two
_FAR_OUT = np.float32(-3.0)


@njit(cache=True, nogil=True)
def _step(value: float, soft: float) -> float:
    """Return 0 well below 0, 1 well above, smooth between."""
    part = min(max(0.5 + value / (2 * soft), 0.0), 1.0)
    return part * part * (3 - 2 * part)


@njit(cache=True, nogil=True)
def _tile(texture: Array, x: float, y: float) -> float:
    """Return a periodic (N, N) texture at a position in its pixels; N is a power of two."""
    mask = len(texture) - 1
    left, top = math.floor(x), math.floor(y)
    fx, fy = x - left, y - top
    a, b, c, d = left & mask, (left + 1) & mask, top & mask, (top + 1) & mask
    above = texture[c, a] * (1 - fx) + texture[c, b] * fx
    below = texture[d, a] * (1 - fx) + texture[d, b] * fx
    return above * (1 - fy) + below * fy


@njit(cache=True, nogil=True)
def _cloth(paints: Array, texture: Array, x: float, y: float) -> float:
    """Return the factor of a cloth at a position on it, in meters."""
    scale = 1 / paints[GRAIN]
    factor = 1 + paints[TEXTURE] * _tile(texture, x * scale, y * scale)
    if paints[STRIPES] > 0:
        factor *= 1 + paints[STRIPES] * math.sin(2 * math.pi * y / paints[STRIPE_M])
    return max(0.2, factor)


@njit(cache=True, nogil=True)
def _albedo(
    part: int, u: float, along: float, across: float, paints: Array, texture: Array
) -> float:
    """Return the reflectance at a bone: `u` of 1 along it, meters along and across it."""
    skin = paints[SKIN]
    if part == HEAD:  # along: up from the middle of the head
        face = math.sqrt((across / 0.066) ** 2 + ((along + 0.02) / 0.09) ** 2)
        hair = _step(face - 1, 0.2) * _step(along + 0.03, 0.03)
        brow = 1 - 0.35 * math.exp(-(((along - 0.005) / 0.016) ** 2))
        mouth = 1 - 0.2 * math.exp(-(((along + 0.075) / 0.012) ** 2 + (across / 0.035) ** 2))
        return paints[HAIR] * hair + skin * brow * mouth * (1 - hair)
    if part == NECK:
        return 0.85 * skin
    if part == HAND:
        return skin
    if part == THIGH:
        return paints[TROUSERS] * (
            1 + 0.5 * paints[TEXTURE] * _tile(texture, across * 60, along * 40)
        )
    if part == TORSO:
        shirt = paints[SHIRT] * _cloth(paints, texture, across, along)
        if paints[PRINT] != 0:
            inside = _step(paints[PRINT_X] - abs(across), 0.015)
            inside *= _step(paints[PRINT_Y] - abs(along - 0.2), 0.015)
            shirt *= 1 + paints[PRINT] * inside
        collar = _step(0.035 - along, 0.015) * _step(0.06 - abs(across), 0.015)
        shirt = shirt * (1 - collar) + 0.85 * skin * collar
        belt = _step(u - 1.04, 0.04)
        return shirt * (1 - belt) + paints[TROUSERS] * belt
    worn = u if part == UPPER_ARM else 1 + u
    sleeve = _step(paints[SLEEVE] - worn, 0.08)
    if sleeve == 0:
        return skin
    return (
        sleeve * paints[SHIRT] * _cloth(paints, texture, across, along + 0.4) + (1 - sleeve) * skin
    )


@njit(cache=True, nogil=True, fastmath=True)
def _bone_of(px: float, py: float, z: float, bones: Array, axes: Array) -> int:
    """Return the bone whose flesh contains a place, or the nearest bone."""
    least = np.float32(1e9)
    best = 0
    for b in range(len(bones)):
        qx, qy, qz = px - bones[b, 0], py - bones[b, 1], z - bones[b, 2]
        u = (qx * axes[b, 0] + qy * axes[b, 1] + qz * axes[b, 2]) * axes[b, 3]
        u = min(max(u, np.float32(0.0)), np.float32(1.0))
        qx -= u * axes[b, 0]
        qy -= u * axes[b, 1]
        qz -= u * axes[b, 2]
        far = math.sqrt(qx * qx + qy * qy + qz * qz) - bones[b, 6]
        if far < least:
            least = far
            best = b
    return best


DepthSurface = tuple[Array, Array, Array]
"""depth (H, W) in meters, outline (H, W), pixels inside the body, and slope (H, W, 2)."""


@njit(cache=True, nogil=True)
def paint(
    surface: DepthSurface, camera: Array, bones: Array, paints: Array, texture: Array, light: Array
) -> None:
    """Fill `light` (H, W) with the reflected light of each pixel within 4 px of the body, 0 to 1.

    camera   (focal_px, center_x, center_y)
    bones    (B, 8): start (3) and end (3) in meters, right, down and away; radius; part
    paints   (PAINTS,)
    texture  (N, N) periodic, of zero mean and unit deviation
    """
    depth, outline, slope = surface
    height, width = depth.shape
    axes = np.empty((len(bones), 4), np.float32)  # of each bone, and one over its square
    for b in range(len(bones)):
        square = np.float32(1e-9)
        for c in range(3):
            axes[b, c] = bones[b, 3 + c] - bones[b, c]
            square += axes[b, c] ** 2
        axes[b, 3] = 1 / square
    for y in range(height):
        for x in range(width):
            if outline[y, x] < -4:
                light[y, x] = 0
                continue
            z = depth[y, x]
            px, py = (x - camera[1]) * z / camera[0], (y - camera[2]) * z / camera[0]
            best = _bone_of(px, py, z, bones, axes)
            part = int(bones[best, 7])
            if part == TORSO:
                best = TRUNK  # one cloth covers all of it
            ax, ay, az = axes[best, 0], axes[best, 1], axes[best, 2]
            length = math.sqrt(ax * ax + ay * ay + az * az) + 1e-6
            qx, qy, qz = px - bones[best, 0], py - bones[best, 1], z - bones[best, 2]
            along = (qx * ax + qy * ay + qz * az) / length
            flat = math.hypot(ax, ay) + 1e-6
            across = (qy * ax - qx * ay) / flat
            albedo = _albedo(part, along / length, along, across, paints, texture)
            gx, gy = slope[y, x, 0], slope[y, x, 1]
            norm = 1 / math.sqrt(gx * gx + gy * gy + 1)
            facing = (gx * paints[LAMP_X] + gy * paints[LAMP_Y] - paints[LAMP_Z]) * norm
            diffuse = max(facing, 0.0)
            sky = paints[AMBIENT] * (0.8 - 0.2 * gy * norm)
            shine = 0.0
            if part == HEAD or part == HAND or part == FOREARM:
                # Between the lamp and the eye, which is at (0, 0, -1).
                hx, hy, hz = paints[LAMP_X], paints[LAMP_Y], paints[LAMP_Z] - 1
                half = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-6
                glint = max((gx * hx + gy * hy - hz) * norm / half, 0.0)
                shine = paints[SPECULAR] * glint**12
            light[y, x] = albedo * (sky + (1 - paints[AMBIENT]) * diffuse) + shine


@njit(cache=True, nogil=True)
def _land(
    depth: Array, outline: Array, flow: Array, share: float, near: Array, moved: Array
) -> None:
    """Move each pixel `share` of its flow; of pixels that land on one place, the nearest stays.

    Fills `near` (H, W) with the depth of the nearest, _NOWHERE where no pixel lands, and `moved`
    (H, W, 2).
    """
    height, width = depth.shape
    near[:] = _NOWHERE
    moved[:] = 0
    for y in range(height):
        for x in range(width):
            if outline[y, x] < -_BAND_PX:
                continue
            # Depth beyond the outline yields to any body.
            own = depth[y, x] + (np.float32(0.0) if outline[y, x] > -0.5 else np.float32(0.3))
            dx, dy = share * flow[y, x, 0], share * flow[y, x, 1]
            if dx == 0 and dy == 0:
                if own < near[y, x]:
                    near[y, x] = own
                    moved[y, x, 0] = 0
                    moved[y, x, 1] = 0
                continue
            left, top = math.floor(x + dx), math.floor(y + dy)
            for row in range(top, top + 2):
                for column in range(left, left + 2):
                    if not (0 <= row < height and 0 <= column < width):
                        continue
                    off = abs(x + dx - column) + abs(y + dy - row)
                    if own + 0.03 * off < near[row, column]:
                        near[row, column] = own + 0.03 * off
                        moved[row, column, 0] = dx
                        moved[row, column, 1] = dy


@njit(cache=True, nogil=True)
def _close(near: Array, moved: Array, out_near: Array, out_moved: Array) -> None:
    """Fill gaps between neighbors that move apart: pixels with 3 of 4 neighbors."""
    height, width = near.shape
    for y in range(height):
        for x in range(width):
            out_near[y, x] = near[y, x]
            out_moved[y, x, 0] = moved[y, x, 0]
            out_moved[y, x, 1] = moved[y, x, 1]
            if near[y, x] < _NOWHERE or not (0 < y < height - 1 and 0 < x < width - 1):
                continue
            count = 0
            best = _NOWHERE
            dx = dy = np.float32(0.0)
            for side in range(4):
                row = y + (1 if side == 0 else -1 if side == 1 else 0)
                column = x + (1 if side == 2 else -1 if side == 3 else 0)
                if near[row, column] < _NOWHERE:
                    count += 1
                    best = min(best, near[row, column])
                    dx += moved[row, column, 0]
                    dy += moved[row, column, 1]
            if count >= 3:
                out_near[y, x] = best
                out_moved[y, x, 0] = dx / count
                out_moved[y, x, 1] = dy / count


@njit(cache=True, nogil=True)
def _sample(image: Array, x: float, y: float) -> float:
    height, width = image.shape
    x = min(max(x, 0.0), width - 1.001)
    y = min(max(y, 0.0), height - 1.001)
    left, top = int(x), int(y)
    fx, fy = x - left, y - top
    above = image[top, left] * (1 - fx) + image[top, left + 1] * fx
    below = image[top + 1, left] * (1 - fx) + image[top + 1, left + 1] * fx
    return above * (1 - fy) + below * fy


@njit(cache=True, nogil=True)
def _taken(
    outline: Array, light: Array, x: int, y: int, dx: float, dy: float
) -> tuple[float, float]:
    """Return the distance, limited to 3 px, and the light of the source of a pixel."""
    if dx == 0 and dy == 0:
        distance, shine = outline[y, x], light[y, x]
    else:
        distance, shine = _sample(outline, x - dx, y - dy), _sample(light, x - dx, y - dy)
    return max(_FAR_OUT, min(-_FAR_OUT, distance)), shine


@njit(cache=True, nogil=True)
def between(
    outlines: Array, depths: Array, lights: Array, motion: tuple[Array, Array], share: float,
    drawn: Array,
) -> None:  # fmt: skip
    """Fill `drawn` (H, W, 2), distance and light, at `share` of the way between two frames.

    outlines, depths, lights are (2, H, W); `motion`, (H, W, 2) each, is from the first to the
    second and from the second to the first. Where both frames show one layer, the result is their
    mean. Where they show two, the nearer one wins in the middle and fades towards the frame without
    it. At a share of 0 or 1 the result is that frame itself.
    """
    height, width = depths.shape[1:]
    onward, back = motion
    near = np.empty((2, height, width), np.float32)
    moved = np.empty((2, height, width, 2), np.float32)
    raw_near = np.empty((height, width), np.float32)
    raw_moved = np.empty((height, width, 2), np.float32)
    _land(depths[0], outlines[0], onward, share, raw_near, raw_moved)
    _close(raw_near, raw_moved, near[0], moved[0])
    _land(depths[1], outlines[1], back, 1 - share, raw_near, raw_moved)
    _close(raw_near, raw_moved, near[1], moved[1])
    for y in range(height):
        for x in range(width):
            if near[0, y, x] == _NOWHERE and near[1, y, x] == _NOWHERE:
                drawn[y, x, 0] = _FAR_OUT
                drawn[y, x, 1] = 0
                continue
            d0 = d1 = _FAR_OUT
            l0 = l1 = np.float32(0.0)
            if near[0, y, x] < _NOWHERE:
                d0, l0 = _taken(outlines[0], lights[0], x, y, moved[0, y, x, 0], moved[0, y, x, 1])
            if near[1, y, x] < _NOWHERE:
                d1, l1 = _taken(outlines[1], lights[1], x, y, moved[1, y, x, 0], moved[1, y, x, 1])
            apart = abs(near[0, y, x] - near[1, y, x])
            two = min(max((apart - _ALIKE_M) / (_APART_M - _ALIKE_M), 0.0), 1.0)
            if near[0, y, x] < near[1, y, x]:
                front = 1 - min(1.0, 2 * (1 - share))
            else:
                front = min(1.0, 2 * share)
            weight = (1 - two) * share + two * front
            drawn[y, x, 0] = (1 - weight) * d0 + weight * d1
            # An absent layer adds no light.
            w0 = (1 - weight) * min(max(d0 + 1.5, 0.0), 1.0)
            w1 = weight * min(max(d1 + 1.5, 0.0), 1.0)
            if w0 + w1 > 0:
                drawn[y, x, 1] = (w0 * l0 + w1 * l1) / (w0 + w1)
            else:
                drawn[y, x, 1] = l0 if share < 0.5 else l1


STEPS = 8
_WIDE, _NARROW = 0.12, 0.025  # meters, of the Gaussians: the motion of a hand in a frame
_STIFF, _SOFT = 0.12, 0.05  # meters, of the neighborhood that moves as one
_STRAYS = 0.3  # share of a point's weight for points without a counterpart
_REST = 0.3  # weight of points known to stand still
_DOUBT = 0.05


@njit(cache=True, nogil=True, fastmath=True)
def drift(points: Array, moves: Array, targets: Array) -> Array:
    """Return (N, 3) the motion of each of `points` (N, 3) onto `targets` (M, 3), in meters.

    Points excluded by `moves` (N,) stand still. All are float32.
    """
    n, m = len(points), len(targets)
    moved = np.zeros((n, 3), np.float32)
    pulled = np.empty((n, 3), np.float32)
    weights = np.empty(n, np.float32)
    share = np.empty(n, np.float32)
    near = np.empty((n, n), np.float32)
    for i in range(n):
        for j in range(n):
            square = np.float32(0.0)
            for c in range(3):
                square += (points[i, c] - points[j, c]) ** 2
            near[i, j] = square
    for step in range(STEPS):
        part = step / (STEPS - 1)
        width = _WIDE * (_NARROW / _WIDE) ** part
        reach = _STIFF * (_SOFT / _STIFF) ** part
        sharp = np.float32(0.5 / (width * width))
        pulled[:] = 0
        weights[:] = 0
        for j in range(m):
            total = np.float32(_STRAYS)
            for i in range(n):
                square = np.float32(0.0)
                for c in range(3):
                    square += (points[i, c] + moved[i, c] - targets[j, c]) ** 2
                square *= sharp
                share[i] = math.exp(-square) if square < 8 else np.float32(0.0)
                total += share[i]
            for i in range(n):
                if share[i] > 0:
                    weight = share[i] / total
                    weights[i] += weight
                    for c in range(3):
                        pulled[i, c] += weight * (targets[j, c] - points[i, c])
        sharp = np.float32(0.5 / (reach * reach))
        for i in range(n):
            if not moves[i]:
                continue
            x = y = z = np.float32(0.0)
            total = np.float32(_DOUBT)
            for j in range(n):
                square = near[i, j] * sharp
                if square > 5:
                    continue
                weight = math.exp(-square)
                if not moves[j]:
                    total += _REST * weight
                    continue
                total += weight * weights[j]
                x += weight * pulled[j, 0]
                y += weight * pulled[j, 1]
                z += weight * pulled[j, 2]
            moved[i, 0], moved[i, 1], moved[i, 2] = x / total, y / total, z / total
    return moved


@njit(cache=True, nogil=True)
def spread(
    depth: Array, inside: Array, places: tuple[Array, Array], flow: Array, near_m: float, out: Array
) -> None:
    """Fill `out` (H, W, 2) from the flow (N, 2) of some pixels, each at a row and a column.

    A pixel takes the mean of pixels within 3 px at about the same depth.
    """
    height, width = depth.shape
    rows, columns = places
    weights = np.zeros((height, width), np.float32)
    out[:] = 0
    for i in range(len(rows)):
        row, column = rows[i], columns[i]
        for y in range(max(0, row - 3), min(height, row + 4)):
            for x in range(max(0, column - 3), min(width, column + 4)):
                if not inside[y, x]:
                    continue
                apart = (depth[y, x] - depth[row, column]) / near_m
                square = ((x - column) ** 2 + (y - row) ** 2) / 4 + apart * apart
                weight = math.exp(-square)
                weights[y, x] += weight
                out[y, x, 0] += weight * flow[i, 0]
                out[y, x, 1] += weight * flow[i, 1]
    for y in range(height):
        for x in range(width):
            if weights[y, x] > 1e-6:
                out[y, x, 0] /= weights[y, x]
                out[y, x, 1] /= weights[y, x]


@njit(cache=True, nogil=True, fastmath=True)
def steady(values: Array, reach: int, jump: float, slack: float) -> Array:
    """Return (T, N) values averaged over `reach` frames each way, and then held.

    The average excludes values that differ by much more than `jump`: motion. Weights fall with the
    distance in time like a Gaussian's, to its two sigma, and by (1 + (difference / jump)^2)^-2. The
    remaining flicker is held: the result follows only values outside a band of +-slack around it.
    """
    frames, count = values.shape
    mean = np.empty_like(values)
    total = np.empty(count, np.float32)
    weights = np.empty(count, np.float32)
    sharp = np.float32(1 / (jump * jump))
    one = np.float32(1.0)
    for k in range(frames):
        total[:] = 0
        weights[:] = 0
        for j in range(max(0, k - reach), min(frames, k + reach + 1)):
            window = np.float32(math.exp(-2.0 * (j - k) ** 2 / max(1, reach * reach)))
            for n in range(count):
                apart = values[j, n] - values[k, n]
                weight = one + apart * apart * sharp
                weight = window / (weight * weight)
                weights[n] += weight
                total[n] += weight * values[j, n]
        for n in range(count):
            mean[k, n] = total[n] / weights[n]
    _hold(mean, np.float32(slack))
    return mean


@njit(cache=True, nogil=True)
def _hold(values: Array, slack: float) -> None:
    """Let each of (T, N) values follow only values outside a band of +-slack around the last."""
    frames, count = values.shape
    # It begins in the middle of the first values, up to the frame where they exceed the band.
    low, high = values[0].copy(), values[0].copy()
    open_ = np.ones(count, np.bool_)
    for k in range(1, frames):
        for n in range(count):
            if open_[n]:
                least, most = min(low[n], values[k, n]), max(high[n], values[k, n])
                if most - least > 2 * slack:
                    open_[n] = False
                else:
                    low[n], high[n] = least, most
    held = (low + high) / 2
    for k in range(frames):
        for n in range(count):
            held[n] = min(max(held[n], values[k, n] - slack), values[k, n] + slack)
            values[k, n] = held[n]
