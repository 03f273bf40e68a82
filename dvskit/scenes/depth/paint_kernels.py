# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The light that comes from each pixel of a person: cloth, skin and hair under a lamp."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

# What a bone belongs to: the last column of `bones`.
HEAD, NECK, TORSO, UPPER_ARM, FOREARM, HAND, THIGH = range(7)
TRUNK = 2  # the bone of the spine

# Places in `paints`.
SKIN, HAIR, SHIRT, TROUSERS, SLEEVE, TEXTURE, GRAIN, PRINT, PRINT_X, PRINT_Y = range(10)
SPECULAR, AMBIENT, LAMP_X, LAMP_Y, LAMP_Z, STRIPES, STRIPE_M, PAINTS = range(10, 18)


@njit(cache=True, nogil=True)
def _step(value: float, soft: float) -> float:
    """Return 0 well below 0, 1 well above, smooth between."""
    part = min(max(0.5 + value / (2 * soft), 0.0), 1.0)
    return part * part * (3 - 2 * part)


@njit(cache=True, nogil=True)
def _tile(texture: Array, x: float, y: float) -> float:
    """Return a periodic (N, N) texture at a place in its own pixels, N a power of two."""
    mask = len(texture) - 1
    left, top = math.floor(x), math.floor(y)
    fx, fy = x - left, y - top
    a, b, c, d = left & mask, (left + 1) & mask, top & mask, (top + 1) & mask
    above = texture[c, a] * (1 - fx) + texture[c, b] * fx
    below = texture[d, a] * (1 - fx) + texture[d, b] * fx
    return above * (1 - fy) + below * fy


@njit(cache=True, nogil=True)
def _cloth(paints: Array, texture: Array, x: float, y: float) -> float:
    """Return a cloth's factor at a place of it, in metres."""
    scale = 1 / paints[GRAIN]
    factor = 1 + paints[TEXTURE] * _tile(texture, x * scale, y * scale)
    if paints[STRIPES] > 0:
        factor *= 1 + paints[STRIPES] * math.sin(2 * math.pi * y / paints[STRIPE_M])
    return max(0.2, factor)


@njit(cache=True, nogil=True)
def _albedo(
    part: int, u: float, along: float, across: float, paints: Array, texture: Array
) -> float:
    """Return the reflectance at a bone: `u` of 1 along it, metres along and across it."""
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
    """Return which bone's flesh a place is in, or the nearest to it."""
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


Surface = tuple[Array, Array, Array]
"""depth (H, W) in metres, outline (H, W), pixels inside the body, and slope (H, W, 2)."""


@njit(cache=True, nogil=True)
def paint(
    surface: Surface, camera: Array, bones: Array, paints: Array, texture: Array, light: Array
) -> None:
    """Fill `light` (H, W) with what each pixel within 4 px of the body reflects, 0 to 1.

    camera   (focal_px, centre_x, centre_y)
    bones    (B, 8): start (3) and end (3) in metres, right, down and away; radius; part
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
                best = TRUNK  # one cloth goes over all of it
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
