"""From joints in space to painted parts: perspective, thickness and clothes."""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np

from dvskit.scenes.person.body import LEFT, RIGHT, SIDES, Array, Build, Joints
from dvskit.scenes.person.look import Image, Look, View
from dvskit.scenes.person.painting_kernels import COLUMNS, PartColumn, PartKind

SHIRT, SLEEVE, TROUSERS, NO_CLOTH = 0, 1, 2, -1
_HEM = 1.12  # the shirt's hem, in lengths of the trunk
_SHORTEST = 0.08  # a shirt with shorter sleeves has none


def profile(build: Build, look: Look) -> Image:
    """Return the half widths of the trunk, in metres, in even steps from above the shoulders."""
    down = np.array([-0.07, -0.045, -0.02, 0.02, 0.06, 0.12, 0.25, 0.38, 0.48, 0.6])
    wide = np.array([0.052, 0.072, 0.112, 0.158, 0.176, 0.176, 0.163, 0.152, 0.16, 0.172])
    waist = build.girth ** np.clip((down - 0.05) / 0.3, 0.1, 1.0)
    loose = look.loose ** np.clip(down / 0.2, 0.0, 1.0)
    wide = wide * build.shoulder / 0.18 * waist**0.7 * loose
    steps = np.linspace(-0.07, _HEM * build.trunk, 129)
    near = np.exp(-0.5 * ((steps[:, None] - steps) / 0.015) ** 2)  # no corners
    return np.asarray(near @ np.interp(steps, down, wide) / near.sum(1), np.float32)


class PersonCamera:
    """Maps positions in space to (x, y) in pixels, depth in metres and pixels per metre."""

    def __init__(self, view: View, width: int, height: int) -> None:
        turn, rise, roll = radians(view.turn), radians(view.rise), radians(view.roll)
        about_y = np.array([[cos(turn), 0, sin(turn)], [0, 1, 0], [-sin(turn), 0, cos(turn)]])
        about_x = np.array([[1, 0, 0], [0, cos(rise), sin(rise)], [0, -sin(rise), cos(rise)]])
        about_z = np.array([[cos(roll), sin(roll), 0], [-sin(roll), cos(roll), 0], [0, 0, 1]])
        self.turns = (-turn, rise, roll)  # yaw, pitch and roll that it adds to its view
        self.matrix = about_z @ about_x @ about_y
        self.focal = height / view.height_m * view.distance_m
        self.distance = view.distance_m
        self.middle = (0.5 * width + view.x * height, view.y * height)

    def see(self, places: Array) -> tuple[Array, Array, Array, Array]:
        """Return x, y, depth and scale of places (..., 3)."""
        turned = places @ self.matrix.T
        depth = np.maximum(self.distance + turned[..., 2], 0.15)
        scale = self.focal / depth
        x = self.middle[0] + scale * turned[..., 0]
        return x, self.middle[1] - scale * turned[..., 1], depth, scale


class _Rows:
    """Parts under construction: each is (T, COLUMNS)."""

    def __init__(self, camera: PersonCamera, times: int) -> None:
        self.camera, self.times, self.made = camera, times, [np.empty((0, 0))][:0]

    def add(self, **columns: Array | float) -> Array:
        """Add a part with the named columns (in lower case); return it."""
        row = np.zeros((self.times, COLUMNS))
        row[:, PartColumn.CLOTH] = NO_CLOTH
        for name, value in columns.items():
            row[:, PartColumn[name.upper()]] = value
        self.made.append(row)
        return row

    def limb(
        self, ends: tuple[Array, Array], radii: tuple[float, float], tone: float,
        **columns: Array | float,
    ) -> Array:  # fmt: skip
        """Add a limb from one end to the other; radii in metres."""
        (ax, ay, az, a_scale), (bx, by, bz, b_scale) = (self.camera.see(each) for each in ends)
        length = np.sqrt(((ends[1] - ends[0]) ** 2).sum(-1))
        named: dict[str, Array | float] = {
            "a_x": ax, "a_y": ay, "a_z": az, "radius_a": radii[0] * a_scale,
            "b_x": bx, "b_y": by, "b_z": bz, "radius_b": radii[1] * b_scale,
            "tone": tone, "length": length, "girth": sum(radii) / 2,
            "scale": 0.5 * (a_scale + b_scale),
        }  # fmt: skip
        return self.add(**(named | columns))

    def array(self) -> Array:
        """Return all parts, (T, parts, COLUMNS)."""
        return np.stack(self.made, 1)


def parts(joints: Joints, build: Build, look: Look, view: View, width: int, height: int) -> Array:
    """Return the parts (T, parts, COLUMNS) of a dressed body, in the order of painting."""
    camera = PersonCamera(view, width, height)
    rows = _Rows(camera, len(joints.yaw))
    if look.wall_shadow:
        _shadows_on_the_wall(rows, joints, look)
    _legs(rows, joints, build, look)
    _head_and_neck(rows, joints, build, look)
    _trunk(rows, joints, build, look)
    if look.shadow:
        _shadows_on_the_body(rows, joints, look)
    for arm in (RIGHT, LEFT):
        _arm(rows, joints, build, look, arm)
        _hand(rows, joints, build, look, arm)
    return rows.array()


def _between(a: Array, b: Array, share: float) -> Array:
    return np.asarray(a + share * (b - a))


def _legs(rows: _Rows, joints: Joints, build: Build, look: Look) -> None:
    thick = build.girth**0.5
    tone, folds = look.bright * look.trousers, {"cloth": TROUSERS, "weight": 1.0}
    for leg in (RIGHT, LEFT):
        rows.limb((joints.knee[:, leg], joints.ankle[:, leg]), (0.065 * thick, 0.05), tone, **folds)
        rows.limb(
            (joints.leg[:, leg], joints.knee[:, leg]), (0.077 * thick, 0.06 * thick), tone, **folds
        )
    behind = [0.0, 0.0, 0.05]  # the shirt's
    pelvis = joints.leg + behind
    rows.limb((pelvis[:, RIGHT], pelvis[:, LEFT]), (0.075 * thick, 0.075 * thick), tone, flat=0.4)
    waist = _between(joints.chest, joints.hips, 0.9) + behind
    rows.limb(
        (waist, joints.hips + behind), (0.115 * thick, 0.115 * thick), tone, flat=0.4, **folds
    )


def _head_and_neck(rows: _Rows, joints: Joints, build: Build, look: Look) -> None:
    size, skin, hair = build.head, look.bright * look.skin, look.bright * look.hair
    head, yaw = joints.head, joints.head_turn[:, 0]
    down = joints.neck - head
    down /= np.sqrt((down * down).sum(-1, keepdims=True))
    back = np.stack([-np.sin(yaw), 0 * yaw, np.cos(yaw)], 1)
    if look.hairline < 1:
        nape = head + 0.4 * size * back + (0.05 + 1.5 * look.hair_length) * size * down
        crown = head - 0.22 * size * down + 0.25 * size * back
        wide = 0.74 + 0.12 * (look.hair_length > 0)
        rows.limb(
            (crown, nape), (wide * size, (0.6 + 0.35 * look.hair_length) * size), hair, flat=0.2
        )
    rows.limb((joints.chest + 0.01, _between(joints.neck, head, 0.55)), (0.062, 0.052), 0.85 * skin)
    x, y, z, scale = rows.camera.see(head)
    across = np.stack([np.cos(yaw), np.zeros_like(yaw), np.sin(yaw)], 1)
    for side in SIDES:
        ear = head + side * 0.68 * size * across + 0.05 * size * down
        rows.limb((ear, ear + 0.18 * size * down), (0.13 * size, 0.1 * size), 0.9 * skin)
    turns = joints.head_turn + rows.camera.turns
    rows.add(
        kind=PartKind.HEAD, a_x=x, a_y=y, a_z=z, radius_a=0.7 * size * scale, radius_b=size * scale,
        tone=skin, spin=turns[:, 0], bulge=turns[:, 1], flat=turns[:, 2], scale=scale,
    )  # fmt: skip


def _trunk(rows: _Rows, joints: Joints, build: Build, look: Look) -> None:
    tone = look.bright * look.shirt
    chest, rim = joints.chest, _between(joints.chest, joints.hips, _HEM)
    level = joints.shoulder[:, LEFT] - joints.shoulder[:, RIGHT]
    lifts = joints.shoulder[:, :, 1] - chest[:, None, 1]
    torso = rows.limb((chest, rim), (0.0, 0.0), tone, kind=PartKind.TORSO, cloth=SHIRT, weight=1.0)
    torso[:, PartColumn.LENGTH] = _HEM * build.trunk
    torso[:, PartColumn.SPIN] = joints.yaw + rows.camera.turns[0]
    torso[:, PartColumn.BULGE] = level[:, 1] / level[:, 0]
    torso[:, PartColumn.FLAT] = build.front * look.loose**0.3
    torso[:, PartColumn.SOFT], torso[:, PartColumn.LIFT] = (
        0.7 * lifts[:, LEFT],
        0.7 * lifts[:, RIGHT],
    )
    for arm in (RIGHT, LEFT):
        root = chest + 0.25 * (joints.shoulder[:, arm] - chest) + [0, 0.02, 0]
        bare = look.sleeves < _SHORTEST
        end = _between(root, joints.shoulder[:, arm], 0.7 if bare else 1.0)
        thick = 0.04 if bare else 0.054 * build.girth**0.4
        rows.limb((root, end), (0.05, thick), tone, flat=0.2, cloth=SLEEVE, weight=0.5)


def _arm(rows: _Rows, joints: Joints, build: Build, look: Look, arm: int) -> None:
    skin, tone = look.bright * look.skin, look.bright * look.shirt
    shoulder, elbow, wrist = joints.shoulder[:, arm], joints.elbow[:, arm], joints.wrist[:, arm]
    thick = build.girth**0.5 * (build.upper_arm / 0.29) ** 0.5
    rows.limb((elbow, wrist), (0.041 * thick, 0.027 * thick), skin, bulge=0.0)
    if look.watch and arm == look.seed % 2:
        rows.limb(
            (_between(elbow, wrist, 0.9), _between(elbow, wrist, 0.96)),
            (0.03 * thick, 0.029 * thick),
            look.bright * 0.5 * (1 - look.watch),
        )
    length = build.upper_arm + build.forearm
    covered = look.sleeves * length
    cloth = {"cloth": SLEEVE, "weight": 1.0}
    wide = thick * look.loose
    if covered < build.upper_arm:
        rows.limb((shoulder, elbow), (0.05 * thick, 0.04 * thick), skin)
    if look.sleeves >= _SHORTEST:
        share = min(covered / build.upper_arm, 1.0)
        rows.limb(
            (shoulder, _between(shoulder, elbow, share)),
            (0.056 * thick * look.loose**0.4, (0.056 - 0.01 * share) * wide), tone, **cloth,
        )  # fmt: skip
    if covered > build.upper_arm + 0.03:
        share = (covered - build.upper_arm) / build.forearm
        rows.limb(
            (elbow, _between(elbow, wrist, share)),
            (0.046 * wide, (0.046 - 0.013 * share) * wide), tone, spin=1.0, **cloth,
        )  # fmt: skip


def _hand(rows: _Rows, joints: Joints, build: Build, look: Look, arm: int) -> None:
    skin, size = look.bright * look.skin, build.hand
    wrist, thumb = joints.wrist[:, arm], joints.thumb[:, arm]
    for finger in range(joints.knuckles.shape[2]):
        knuckle, middle, tip = (
            each[:, arm, finger] for each in (joints.knuckles, joints.middles, joints.tips)
        )
        rows.limb((wrist, knuckle), (0.1 * size, 0.075 * size), skin, flat=0.5)
        rows.limb((knuckle, middle), (0.058 * size, 0.052 * size), skin, flat=0.2)
        rows.limb((middle, tip), (0.052 * size, 0.042 * size), skin, flat=0.2)
    rows.limb((thumb[:, 0], thumb[:, 1]), (0.09 * size, 0.065 * size), skin, flat=0.4)
    rows.limb((thumb[:, 1], thumb[:, 2]), (0.062 * size, 0.05 * size), skin, flat=0.2)


def _cast(look: Look, gap_m: float) -> Array:
    """Return the distance of a shadow from its object, on a surface `gap_m` behind, in metres."""
    x, y, z = (float(each) for each in look.light()[:3])
    return gap_m * np.array([-x, -y, 0.0]) / max(z, 0.35)


def _shadows_on_the_body(rows: _Rows, joints: Joints, look: Look) -> None:
    shift = _cast(look, 0.07)
    for arm in (RIGHT, LEFT):
        bones = (
            (joints.shoulder[:, arm], joints.elbow[:, arm], 0.05),
            (joints.elbow[:, arm], joints.wrist[:, arm], 0.045),
            (joints.wrist[:, arm], joints.knuckles[:, arm, 1:3].mean(1), 0.04),
        )
        for start, end, radius in bones:
            row = rows.limb(
                (start + shift, end + shift), (radius, radius), look.shadow, kind=PartKind.SHADOW
            )
            row[:, PartColumn.SOFT] = 0.05 * row[:, PartColumn.SCALE]


def _shadows_on_the_wall(rows: _Rows, joints: Joints, look: Look) -> None:
    shift = _cast(look, 0.35 + 0.5 * ((look.seed // 7) % 64) / 64)
    bones = [(joints.chest, joints.hips, 0.17), (joints.neck, joints.head, 0.09)]
    for arm in (RIGHT, LEFT):
        bones += [
            (joints.shoulder[:, arm], joints.elbow[:, arm], 0.05),
            (joints.elbow[:, arm], joints.tips[:, arm, 1], 0.045),
        ]
    for start, end, radius in bones:
        row = rows.limb(
            (start + shift, end + shift), (radius, radius), look.wall_shadow, kind=PartKind.SHADOW,
            weight=1.0,
        )  # fmt: skip
        row[:, PartColumn.SOFT] = 0.16 * row[:, PartColumn.SCALE]
