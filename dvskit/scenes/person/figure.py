"""A dressed person: skin, clothes, hair, light and wall, the camera, and the parts to paint.

Reflectances and brightness run from 0 (black) to 1 (white), linear in light. Cloth and wall are
painted from a seed, the same at every size of the picture: positions of waves and boxes are in
picture heights. From joints in space, `parts` makes painted parts: perspective, thickness, clothes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, radians, sin

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_choice, check_fields, check_number, check_seed, checked
from dvskit.scenes.person.body import LEFT, RIGHT, SIDES, Array, Build, Joints
from dvskit.scenes.person.person_kernels import COLUMNS, PartColumn, PartKind

Image = NDArray[np.float32]

PATTERNS = ("plain", "stripes", "bands", "checks", "dots", "print")
WALLS = ("plain", "panels", "bricks", "curtain", "room")
_TEXTURE = 128  # texels of a cloth, each way; a power of 2; 160 texels per meter


@dataclass(frozen=True)
class View:
    """The camera's view of the person; angles in degrees.

    height_m    height of the picture at the person
    distance_m  from the camera: nearer gives more perspective
    x, y        position of the middle of the shoulders: picture heights right of the middle, down
    turn        of the person, to the person's right
    rise        of the camera: it looks down
    roll        of the picture, clockwise
    blur        width of an edge in picture heights; at least a pixel

    Raises ConfigError for values out of range.
    """

    height_m: float = checked(check_number, 0.05, 20, default=1.3)
    distance_m: float = checked(check_number, 0.7, 100, default=2.5)
    x: float = checked(check_number, -9, 9, default=0.0)
    y: float = checked(check_number, -9, 9, default=0.42)
    turn: float = checked(check_number, -180, 180, default=0.0)
    rise: float = checked(check_number, -60, 60, default=0.0)
    roll: float = checked(check_number, -180, 180, default=0.0)
    blur: float = checked(check_number, 0, 0.2, default=0.008)

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> View:
        """Return a view as in DVS128 Gesture: head to hips, about two thirds of the height."""
        height = rng.uniform(1.02, 1.45)
        return cls(
            height_m=height,
            distance_m=rng.uniform(1.6, 3.5),
            x=rng.normal(0, 0.06),
            y=rng.uniform(0.36, 0.5),
            turn=rng.normal(0, 7),
            rise=rng.normal(0, 4),
            roll=rng.normal(0, 1.5),
            blur=rng.uniform(0.006, 0.016),
        )


@dataclass(frozen=True)
class Look:
    """Tones, clothes, face, light and wall; `seed` draws folds, patterns and objects on the wall.

    skin, hair, shirt, trousers, wall    reflectances
    sleeves      share of the arm that the shirt covers: 0, 0.3 (short) to 0.97 (long)
    loose        1 is a close shirt, 1.3 a wide one
    pattern, pattern_contrast    of the shirt, one of PATTERNS
    folds        contrast of the cloth's folds
    hairline     0.1 low to 0.9; 2 is bald                hair_length    0 short, 1 to the shoulders
    beard, glasses, watch    darkness, 0 to 1
    lamp_turn, lamp_height   direction of the light: degrees right of the camera, above it
    ambient      share of ambient light                   reach    how far the lamp reaches around
    bright       of a white surface that faces the lamp
    shadow, wall_shadow      darkness of shadows on the body and on the wall
    walls, wall_contrast     the wall's pattern, one of WALLS

    Raises ConfigError for values out of range.
    """

    seed: int = checked(check_seed, default=0)
    skin: float = checked(check_number, 0, 1, default=0.5)
    hair: float = checked(check_number, 0, 1, default=0.06)
    shirt: float = checked(check_number, 0, 1, default=0.15)
    trousers: float = checked(check_number, 0, 1, default=0.1)
    wall: float = checked(check_number, 0, 1, default=0.7)
    sleeves: float = checked(check_number, 0, 1, default=0.3)
    loose: float = checked(check_number, 0.8, 2, default=1.1)
    pattern: str = checked(check_choice, PATTERNS, default="plain")
    pattern_contrast: float = checked(check_number, 0, 1, default=0.4)
    folds: float = checked(check_number, 0, 1, default=0.12)
    hairline: float = checked(check_number, -1, 3, default=0.5)
    hair_length: float = checked(check_number, 0, 1, default=0.0)
    beard: float = checked(check_number, 0, 1, default=0.0)
    glasses: float = checked(check_number, 0, 1, default=0.0)
    watch: float = checked(check_number, 0, 1, default=0.0)
    lamp_turn: float = checked(check_number, -180, 180, default=-25.0)
    lamp_height: float = checked(check_number, -90, 90, default=55.0)
    ambient: float = checked(check_number, 0, 1, default=0.45)
    reach: float = checked(check_number, 0, 1, default=0.3)
    bright: float = checked(check_number, 0, 1, default=0.9)
    shadow: float = checked(check_number, 0, 1, default=0.25)
    wall_shadow: float = checked(check_number, 0, 1, default=0.1)
    walls: str = checked(check_choice, WALLS, default="plain")
    wall_contrast: float = checked(check_number, 0, 1, default=0.06)

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Look:
        """Return a random look."""
        u = rng.uniform
        skin = float(np.exp(u(np.log(0.12), np.log(0.62))))
        wall = _apart(rng, skin, (0.05, 0.95), 0.25)
        shirt = _apart(rng, skin, (0.02, 0.95), 0.25)
        sleeves = rng.choice([0.0, u(0.22, 0.45), u(0.6, 0.8), u(0.93, 0.98)],
                             p=[0.06, 0.48, 0.08, 0.38])  # fmt: skip
        long_hair = rng.random() < 0.3
        return cls(
            seed=int(rng.integers(2**62)),
            skin=skin,
            hair=float(np.exp(u(np.log(0.02), np.log(0.35)))),
            shirt=shirt,
            trousers=float(np.exp(u(np.log(0.02), np.log(0.5)))),
            wall=wall,
            sleeves=float(sleeves),
            loose=u(0.98, 1.3),
            pattern=str(rng.choice(PATTERNS, p=[0.5, 0.1, 0.1, 0.08, 0.07, 0.15])),
            pattern_contrast=u(0.1, 0.75),
            folds=u(0.02, 0.22),
            hairline=float(rng.choice([u(0.3, 0.65), 2.0], p=[0.9, 0.1])),
            hair_length=u(0.4, 1.0) if long_hair else 0.0,
            beard=0.0 if long_hair else float(rng.choice([0.0, u(0.3, 1.0)], p=[0.7, 0.3])),
            glasses=float(rng.choice([0.0, u(0.3, 0.9)], p=[0.65, 0.35])),
            watch=float(rng.choice([0.0, u(0.4, 1.0)], p=[0.6, 0.4])),
            lamp_turn=u(-80, 80),
            lamp_height=u(15, 80),
            ambient=u(0.25, 0.75),
            reach=u(0.1, 0.7),
            bright=u(0.55, 1.0),
            shadow=u(0.0, 0.5),
            wall_shadow=float(rng.choice([0.0, u(0.05, 0.45)], p=[0.5, 0.5])),
            walls=str(rng.choice(WALLS, p=[0.45, 0.14, 0.08, 0.08, 0.25])),
            wall_contrast=u(0.0, 0.15),
        )

    def light(self) -> Image:
        """Return the lamp's direction (right, up, to the camera), ambient share and reach."""
        turn, up = radians(self.lamp_turn), radians(self.lamp_height)
        direction = (cos(up) * sin(turn), sin(up), cos(up) * cos(turn))
        return np.array([*direction, self.ambient, self.reach], np.float32)

    def face(self) -> Image:
        """Return hair's tone, hairline, beard, glasses and the lips' darkness, for the painter."""
        return np.array(
            [self.bright * self.hair, self.hairline, self.beard, self.glasses, 0.35], np.float32
        )


def _apart(rng: np.random.Generator, tone: float, ends: tuple[float, float], least: float) -> float:
    """Return a tone that mostly differs from another by at least `least` e-folds."""
    strict = rng.random() < 0.85
    while True:
        found = float(np.exp(rng.uniform(*np.log(ends))))
        found = found if rng.random() < 0.5 else rng.uniform(*ends)
        if not strict or abs(np.log(found / tone)) > least:
            return float(found)


def smooth_noise(rng: np.random.Generator, grain: tuple[float, float]) -> Image:
    """Return periodic (128, 128) noise of deviation 1; grain in texels down, across."""
    side = _TEXTURE
    noise = np.fft.rfft2(rng.standard_normal((side, side)))
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    noise *= np.exp(-0.5 * (2 * pi) ** 2 * ((down * grain[0]) ** 2 + (across * grain[1]) ** 2))
    noise[0, 0] = 0
    field = np.fft.irfft2(noise, (side, side))
    return np.asarray(field / (field.std() + 1e-12), np.float32)


def cloths(look: Look) -> Image:
    """Return the textures (3, 128, 128) of the shirt's body, its sleeves and the trousers."""
    rng = np.random.default_rng((look.seed, 3))
    folds = [
        0.7 * smooth_noise(rng, grain) + 0.5 * smooth_noise(rng, (2.0, 2.0))
        for grain in ((9.0, 4.0), (4.0, 7.0), (9.0, 4.0))
    ]
    pattern = _pattern(look, rng)
    sleeve = np.zeros_like(pattern) if look.pattern == "print" else pattern
    made = [look.folds * folds[0] + pattern, look.folds * folds[1] + sleeve, look.folds * folds[2]]
    return np.clip(np.stack(made), -0.85, 2.0).astype(np.float32)


def _pattern(look: Look, rng: np.random.Generator) -> Image:
    across, down = np.meshgrid(np.arange(_TEXTURE), np.arange(_TEXTURE))
    count = int(rng.integers(5, 18))
    duty = rng.uniform(-0.6, 0.6)

    def edge(wave: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(3 * (wave - duty), -1, 1)

    rows = edge(np.sin(2 * pi * count * down / _TEXTURE))
    columns = edge(np.sin(2 * pi * count * across / _TEXTURE))
    if look.pattern == "stripes":
        drawn = columns
    elif look.pattern == "bands":
        drawn = rows
    elif look.pattern == "checks":
        drawn = 0.5 * (rows + columns)
    elif look.pattern == "dots":
        drawn = np.clip(4 * (rows + columns) - 5, -1, 1)
    elif look.pattern == "print":
        drawn = _print(rng, across, down)
    else:
        drawn = np.zeros((_TEXTURE, _TEXTURE))
    return np.asarray(look.pattern_contrast * drawn, np.float32)


def _print(
    rng: np.random.Generator, across: NDArray[np.int64], down: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return a picture printed on the chest: blobs and lines of letters within a rectangle."""
    x = (across + _TEXTURE // 2) % _TEXTURE - _TEXTURE / 2  # texel 0 is at the breastbone
    wide, high, top = rng.uniform(8, 18), rng.uniform(5, 16), rng.uniform(18, 34)
    inside = np.clip(wide - abs(x), 0, 1) * np.clip(high - abs(down - top - high), 0, 1)
    marks = np.sign(smooth_noise(rng, (1.5, 2.0)) + rng.uniform(-0.5, 0.5))
    return np.asarray(inside * marks * rng.choice([-1.0, 1.0]))


def backdrop(look: Look, height: int, width: int) -> Image:
    """Return the brightness of the wall (height, width); a seed gives the same at every size."""
    rng = np.random.default_rng((look.seed, 4))
    x = (np.arange(width) + 0.5 - width / 2)[None, :] / height
    y = (np.arange(height) + 0.5)[:, None] / height
    tone = np.ones((height, width))
    for _ in range(14):
        cycles = rng.uniform(0.5, 3) ** 2
        turn, phase = rng.uniform(0, 2 * pi), rng.uniform(0, 2 * pi)
        wave = np.cos(2 * pi * cycles * (x * cos(turn) + y * sin(turn)) + phase)
        tone += 0.35 * look.wall_contrast * wave / cycles**0.3
    tone *= _wall_pattern(look, rng, x, y)
    slope = rng.normal(0, 0.18, 2)
    tone *= np.exp(slope[0] * x + slope[1] * (y - 0.5))
    return np.clip(look.bright * look.wall * tone, 0.004, 1.0).astype(np.float32)


def _box(
    x: NDArray[np.float64], y: NDArray[np.float64], box: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    """Return 1 inside a box (left, top, right, bottom), 0 outside, with edges a pixel wide."""
    step = y[1, 0] - y[0, 0] if len(y) > 1 else 1.0
    across = np.clip(np.minimum(x - box[0], box[2] - x) / step + 0.5, 0, 1)
    return np.asarray(across * np.clip(np.minimum(y - box[1], box[3] - y) / step + 0.5, 0, 1))


def _wall_pattern(
    look: Look, rng: np.random.Generator, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    u, depth = rng.uniform, 2.5 * look.wall_contrast + 0.05
    drawn = np.ones(np.broadcast_shapes(x.shape, y.shape))
    if look.walls == "panels":
        for edge in np.arange(-1.5 + u(0, 0.4), 1.5, u(0.25, 0.6)):
            drawn -= depth * _box(x, y, (edge, -1, edge + u(0.006, 0.02), 2))
    elif look.walls == "bricks":
        step = u(0.05, 0.12)
        for row in range(int(1 / step) + 1):
            drawn -= depth * _box(x, y, (-9, row * step, 9, row * step + 0.008))
            for edge in np.arange(-1.5 + (row % 2) * step, 1.5, 2 * step):
                drawn -= depth * _box(x, y, (edge, row * step, edge + 0.008, (row + 1) * step))
    elif look.walls == "curtain":
        drawn += depth * np.sin(2 * pi * (u(4, 14) * x + 0.3 * np.sin(u(2, 6) * x + u(0, 6))))
    elif look.walls == "room":
        for _ in range(int(rng.integers(1, 6))):
            left, top, wide, high = u(-0.7, 0.5), u(-0.2, 0.9), u(0.05, 0.6), u(0.05, 0.7)
            box = (left, top, left + wide, top + high)
            rim = tuple(np.add(box, np.multiply(0.015, (1, 1, -1, -1))))
            tone, frame = np.exp(rng.normal(0, 0.5, 2))
            drawn += (drawn * frame - drawn) * _box(x, y, box)
            drawn += (drawn * tone / frame - drawn) * _box(x, y, rim)
    return np.maximum(drawn, 0.05)


SHIRT, SLEEVE, TROUSERS, NO_CLOTH = 0, 1, 2, -1
_HEM = 1.12  # the shirt's hem, in lengths of the trunk
_SHORTEST = 0.08  # a shirt with shorter sleeves has none


def profile(build: Build, look: Look) -> Image:
    """Return the half widths of the trunk, in meters, in even steps from above the shoulders."""
    down = np.array([-0.07, -0.045, -0.02, 0.02, 0.06, 0.12, 0.25, 0.38, 0.48, 0.6])
    wide = np.array([0.052, 0.072, 0.112, 0.158, 0.176, 0.176, 0.163, 0.152, 0.16, 0.172])
    waist = build.girth ** np.clip((down - 0.05) / 0.3, 0.1, 1.0)
    loose = look.loose ** np.clip(down / 0.2, 0.0, 1.0)
    wide = wide * build.shoulder / 0.18 * waist**0.7 * loose
    steps = np.linspace(-0.07, _HEM * build.trunk, 129)
    near = np.exp(-0.5 * ((steps[:, None] - steps) / 0.015) ** 2)  # no corners
    return np.asarray(near @ np.interp(steps, down, wide) / near.sum(1), np.float32)


class PersonCamera:
    """Maps positions in space to (x, y) in pixels, depth in meters and pixels per meter."""

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
        """Add a limb from one end to the other; radii in meters."""
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
    """Return the distance of a shadow from its object, on a surface `gap_m` behind, in meters."""
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
