# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Painting a body of rounded parts over a backdrop, seen from the front.

A part is a row of numbers, see `PartColumn`. Each pixel of a part has a cover (0 to 1, by the
distance to the outline), a depth and a brightness. Surfaces that pass through one another blend
over `_SOFT_M`, so brightness never jumps from one frame to the next.
"""

from __future__ import annotations

from enum import IntEnum
from math import floor, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class PartKind(IntEnum):
    """The kind of a row of parts."""

    LIMB = 0
    TORSO = 1
    HEAD = 2
    SHADOW = 3


class PartColumn(IntEnum):
    """The columns of a part. Positions are in pixels, depths and lengths in meters.

    A limb is a bar from A to B with round ends, RADIUS thick, thicker by BULGE in the middle. A
    torso extends from A (between the shoulders) to B (its lower rim) with the half widths of a
    profile. A head is an ellipsoid about A with the half axes RADIUS_A and RADIUS_B. A shadow
    darkens by TONE everything behind a limb (WEIGHT = 0), or only the wall (WEIGHT = 1), over SOFT
    pixels.
    """

    KIND = 0
    A_X = 1
    A_Y = 2
    A_Z = 3
    RADIUS_A = 4
    B_X = 5
    B_Y = 6
    B_Z = 7
    RADIUS_B = 8
    TONE = 9
    CLOTH = 10  # index of the texture; -1 for none
    WEIGHT = 11  # the texture's contrast
    LENGTH = 12  # from A to B, in meters
    GIRTH = 13  # radius in meters, for the texture around a limb
    SPIN = 14  # turn of the texture around a limb; yaw of a torso and a head
    BULGE = 15  # pixels; a torso's slope of the shoulders; a head's pitch
    FLAT = 16  # 0 is round, 1 is lit as if flat; a torso's thickness in meters; a head's roll
    SCALE = 17  # pixels per meter
    SOFT = 18  # a shadow's; a torso's lift of the cloth on the right of the picture, in meters
    LIFT = 19  # a torso's lift of the cloth on the left of the picture, in meters


COLUMNS = len(PartColumn)
WALL_M = 1000.0  # the depth of the backdrop
_SOFT_M = 0.015

_KIND, _TONE, _CLOTH, _WEIGHT = 0, 9, 10, 11  # of `PartColumn`
_TEXELS = 160.0  # of a cloth, per meter


@njit(cache=True, nogil=True, error_model="numpy")
def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _fading(value: float) -> float:
    """Return 1 up to 0, then a decreasing value, nearly exp(-value)."""
    below = 1 + 0.5 * max(value, 0.0)
    return 1 / (below * below)


@njit(cache=True, nogil=True, error_model="numpy")
def _weave(cloth: Floats, along: float, across: float) -> float:
    """Return a periodic texture's value by bilinear interpolation between its texels.

    Its side is a power of 2.
    """
    last = cloth.shape[0] - 1
    row, column = along * _TEXELS, across * _TEXELS
    top, left = floor(row), floor(column)
    down, right = row - top, column - left
    i, j = int(top) & last, int(left) & last
    k, m = (i + 1) & last, (j + 1) & last
    upper = cloth[i, j] * (1 - right) + cloth[i, m] * right
    lower = cloth[k, j] * (1 - right) + cloth[k, m] * right
    return upper * (1 - down) + lower * down


@njit(cache=True, nogil=True, error_model="numpy")
def _lit(nx: float, ny: float, nz: float, light: Floats) -> float:
    """Return the light on a surface that faces (nx, ny, nz): right, up, to the camera.

    `light` is the lamp's direction, the ambient share and the reach of light around edges.
    """
    lamp = (nx * light[0] + ny * light[1] + nz * light[2] + light[4]) / (1 + light[4])
    return light[3] + (1 - light[3]) * max(lamp, 0.0)


Canvas = tuple[Floats, Floats]
"""color and depth, (H, W) each."""
Look = tuple[Floats, Floats, Floats, Floats]
"""cloth: (M, side, side) textures about 0, 160 texels a meter; profile: half widths of the torso in
meters; light: lamp's direction (3), ambient share, reach around; face: see `_skin_of_head`."""


@njit(cache=True, nogil=True, error_model="numpy")
def _lay(canvas: Canvas, y: int, x: int, cover: float, z: float, value: float) -> None:
    color, depth = canvas
    share = cover * _clip((depth[y, x] - z) / _SOFT_M + 0.5)
    if share > 0:
        color[y, x] = color[y, x] * (1 - share) + value * share
        if share > 0.5 and z < depth[y, x]:
            depth[y, x] = z


@njit(cache=True, nogil=True, error_model="numpy")
def _bounds(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the range of pixels between two positions, clipped to the picture."""
    first = int(max(0.0, min(floor(low), size)))
    return first, int(max(0.0, min(floor(high) + 1, size)))


@njit(cache=True, nogil=True, error_model="numpy")
def _paint_limb(part: Floats, cloth: Floats, light: Floats, blur: float, canvas: Canvas) -> None:
    color, depth = canvas
    ax, ay, az, ra = part[1], part[2], part[3], part[4]
    bx, by, bz, rb = part[5], part[6], part[7], part[8]
    bulge, flat, scale = part[15], part[16], part[17]
    dx, dy = bx - ax, by - ay
    square = dx * dx + dy * dy + 1e-6
    length = sqrt(square)
    far = max(ra, rb) + max(bulge, 0.0) + blur
    shadow = part[_KIND] == 3
    soft = part[18] if shadow else blur
    far += soft
    left, right = _bounds(min(ax, bx) - far, max(ax, bx) + far, color.shape[1])
    top, bottom = _bounds(min(ay, by) - far, max(ay, by) + far, color.shape[0])
    which = int(part[_CLOTH])
    for y in range(top, bottom):
        qy = y + 0.5 - ay
        start, stop = left, right
        if abs(dy) > 0.5:  # only where the row crosses the band along the limb
            middle, half = ax + dx * qy / dy, far * length / abs(dy)
            start = max(start, int(max(middle - half - 0.5, -1.0)))
            stop = min(stop, int(max(middle + half + 1.5, 0.0)))
        for x in range(start, stop):
            qx = x + 0.5 - ax
            across = dx * qy - dy * qx
            if across * across > far * far * square:
                continue
            h = _clip((qx * dx + qy * dy) / square)
            ox, oy = qx - h * dx, qy - h * dy
            r = max(ra + (rb - ra) * h + 4 * bulge * h * (1 - h), 1e-3)
            away = sqrt(ox * ox + oy * oy)
            cover = _clip((r - away) / soft + 0.5) * min(1.0, 2 * r / soft)
            if cover <= 0:
                continue
            z = az + (bz - az) * h
            if shadow:
                wall = depth[y, x] > 0.5 * WALL_M
                if part[_WEIGHT] == 1:
                    behind = 1.0 if wall else 0.0
                else:
                    behind = 0.0 if wall else _clip((depth[y, x] - z - 0.03) / 0.06)
                smooth = cover * cover * (3 - 2 * cover)
                color[y, x] *= 1 - part[_TONE] * smooth * behind
                continue
            nx, ny = ox / r, -oy / r
            out = nx * nx + ny * ny
            if out > 1:
                nx, ny, out = nx / sqrt(out), ny / sqrt(out), 1.0
            nz = sqrt(1 - out)
            z -= r * nz / scale
            value = part[_TONE] * _lit(
                nx * (1 - flat), ny * (1 - flat), nz + (1 - nz) * flat, light
            )
            if which >= 0:
                side = min(max(across / (length * r), -1.0), 1.0)
                around = part[13] * (side * (1 + 0.57 * side * side) + part[14])
                value *= 1 + part[_WEIGHT] * _weave(cloth[which], h * part[12], around)
            _lay((color, depth), y, x, cover, z, value)


@njit(cache=True, nogil=True, error_model="numpy")
def _paint_torso(
    part: Floats, cloth: Floats, profile: Floats, light: Floats, blur: float, canvas: Canvas
) -> None:
    """Paint a torso; `profile` are its half widths in meters from 0.07 m above A down to B."""
    color, depth = canvas
    ax, ay, az = part[1], part[2], part[3]
    dx, dy = part[5] - ax, part[6] - ay
    length = sqrt(dx * dx + dy * dy + 1e-6)
    ex, ey = dx / length, dy / length
    scale, yaw, slope = part[17], part[14], part[15]
    above = 0.07 / part[12]
    widest = profile.max() * scale + blur
    far = length * (1 + above) + blur
    left, right = _bounds(
        min(ax, part[5]) - widest - 0.3 * far,
        max(ax, part[5]) + widest + 0.3 * far,
        color.shape[1],
    )
    top, bottom = _bounds(
        min(ay, part[6]) - above * length - widest * 0.5 - blur,
        max(ay, part[6]) + 0.5 * widest + blur,
        color.shape[0],
    )
    steps = profile.size - 1
    which = int(part[_CLOTH])
    for y in range(top, bottom):
        for x in range(left, right):
            qx, qy = x + 0.5 - ax, y + 0.5 - ay
            s = qx * ey - qy * ex
            v = (qx * ex + qy * ey) / length
            reach = (v + slope * s / length * _fading(3 * v) + above) / (1 + above)
            if reach < 0 or reach > 1.2:
                continue
            at = min(reach, 0.9999) * steps
            n = int(at)
            w1, w2 = profile[n], profile[n + 1]
            half = max(scale * (w1 + (at - n) * (w2 - w1)), 1e-3)
            if abs(s) > half + 5 * blur:
                continue
            rise = scale * (w2 - w1) * steps / (length * (1 + above))
            cover = _clip((half - abs(s)) / (blur * sqrt(1 + rise * rise)) + 0.5)
            cover *= _clip((1 - reach) * (1 + above) * length / blur + 0.5)
            if cover <= 0:
                continue
            side = min(max(s / half, -1.0), 1.0)
            nx = side * (0.35 + 0.65 * side * side)
            nz = sqrt(max(1 - nx * nx, 0.0))
            z = az + (part[7] - az) * v - part[16] * sqrt(1 - side * side * abs(side))
            z += s / scale * yaw
            nx, nz = nx - yaw * nz, nz + yaw * nx
            # the chest faces up a little, the belly down
            ny = 0.25 - 0.5 * _clip(v)
            value = part[_TONE] * _lit(nx, ny, nz, light)
            if which >= 0:
                lift = 0.5 * (part[18] * (1 + side) + part[19] * (1 - side)) * _fading(2 * v)
                value *= 1 + part[_WEIGHT] * _weave(
                    cloth[which], v * part[12] + lift, s / scale + 0.12 * yaw
                )
            _lay((color, depth), y, x, cover, z, value)


@njit(cache=True, nogil=True, error_model="numpy")
def _spot(x: float, y: float, wide: float, high: float) -> float:
    """Return 1 inside an ellipse about the origin, falling to 0 outside."""
    d = x * x / (wide * wide) + y * y / (high * high)
    return _clip(1.6 - d)


@njit(cache=True, nogil=True, error_model="numpy")
def _skin_of_head(hx: float, hy: float, hz: float, tone: float, face: Floats) -> float:
    """Return the reflectance of a position on the head: right of the picture, up, to the front.

    `face` are the tone of hair, the hairline's height, beard, glasses and the lips' darkness.
    """
    value = tone
    if hz > 0:
        value *= 1 - 0.25 * _clip(hz) * _spot(abs(hx) - 0.36, hy - 0.12, 0.3, 0.2)
        value *= 1 - 0.3 * _spot(hx, hy + 0.3, 0.2, 0.06)
        value *= 1 + 0.12 * _spot(hx, hy + 0.05, 0.1, 0.3)
        beard = face[2] * _clip((-0.22 - hy) * 6 + 0.5)
        value += (face[0] - value) * beard
        value *= 1 - face[4] * _spot(hx, hy + 0.52, 0.26, 0.06)
        eye = _spot(abs(hx) - 0.36, hy - 0.1, 0.12, 0.06)
        value *= 1 - 0.75 * eye
        brow = _spot(abs(hx) - 0.37, hy - 0.3, 0.2, 0.045)
        value += (face[0] - value) * 0.8 * brow
        if face[3] > 0:
            d = sqrt((abs(hx) - 0.37) ** 2 / 0.09 + (hy - 0.1) ** 2 / 0.05)
            rim = _clip(1.3 - abs(d - 1) * 6)
            value *= 1 - face[3] * rim
    line = face[1] - 0.3 * hx * hx - 1.2 * max(0.5 - hz, 0.0)
    hair = _clip((hy - line) * 7 + 0.5)
    return value + (face[0] - value) * hair


@njit(cache=True, nogil=True, error_model="numpy")
def _paint_head(part: Floats, face: Floats, light: Floats, blur: float, canvas: Canvas) -> None:
    color, depth = canvas
    ax, ay, az, wide, high = part[1], part[2], part[3], part[4], part[8]
    yaw, pitch, roll, scale = part[14], part[15], part[16], part[17]
    far = max(wide, high) + blur
    left, right = _bounds(ax - far, ax + far, color.shape[1])
    top, bottom = _bounds(ay - far, ay + far, color.shape[0])
    cr, sr = np.cos(roll), np.sin(roll)
    cy, sy = np.cos(yaw), np.sin(yaw)
    cp, sp = np.cos(pitch), np.sin(pitch)
    for y in range(top, bottom):
        for x in range(left, right):
            qx, qy = x + 0.5 - ax, ay - y - 0.5
            u, v = (qx * cr - qy * sr) / wide, (qy * cr + qx * sr) / high
            # narrower towards the chin
            u *= 1 + 0.16 * max(-v, 0.0)
            k = sqrt(u * u + v * v)
            cover = _clip((1 - k) * min(wide, high) / blur + 0.5)
            if cover <= 0:
                continue
            out = min(k, 1.0)
            if k > 1:
                u, v = u / k, v / k
            w = sqrt(max(1 - out * out, 0.0))
            hx, hz = u * cy - w * sy, u * sy + w * cy
            hy, hz = v * cp + hz * sp, hz * cp - v * sp
            value = _skin_of_head(hx, hy, hz, part[_TONE], face)
            value *= _lit(u * cr + v * sr, v * cr - u * sr, w, light)
            _lay((color, depth), y, x, cover, az - w * wide / scale, value)


@njit(cache=True, nogil=True, error_model="numpy")
def paint(
    backdrop: Floats, parts: Floats, look: Look, blur: float, canvas: Canvas,
    out: NDArray[np.uint16],
) -> None:  # fmt: skip
    """Paint parts (N, COLUMNS), in their order, over a backdrop (H, W) of brightness 0 to 1.

    blur    width of an edge, in pixels
    canvas  (H, W) each, working memory
    out     (H, W); 65535 is a brightness of 1
    """
    (cloth, profile, light, face), (color, depth) = look, canvas
    height, width = backdrop.shape
    for y in range(height):
        for x in range(width):
            color[y, x] = backdrop[y, x]
            depth[y, x] = WALL_M
    for n in range(parts.shape[0]):
        part = parts[n]
        kind = int(part[_KIND])
        if kind == 1:
            _paint_torso(part, cloth, profile, light, blur, canvas)
        elif kind == 2:
            _paint_head(part, face, light, blur, canvas)
        else:
            _paint_limb(part, cloth, light, blur, canvas)
    for y in range(height):
        for x in range(width):
            out[y, x] = int(_clip(color[y, x]) * 65535 + 0.5)
