"""A body in space: from the movements of its limbs to the positions of its joints.

Positions are in meters: x to the right of the picture, y up, z away from the camera; the origin
lies between the shoulders at rest. The person faces the camera, so the right hand is on the left of
the picture. Arms are described relative to the body, the same for both: (outward, up, forward) from
the shoulder. Time is the first axis of arrays; of two arms the right is 0, the left is 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, checked

Array = NDArray[np.float64]

SIDES = np.array([-1.0, 1.0])  # of the right and the left arm in the picture
RIGHT, LEFT = 0, 1
FINGERS = 4
_AHEAD = np.array([0.0, 0.0, 1.0])
_HANGING_UPPER = (0.16, -0.98, 0.02)
_HANGING_FORE = (0.06, -0.97, 0.2)


@dataclass(frozen=True)
class Build:
    """The measures of a person, in meters.

    shoulder  half the distance of the shoulder joints     hip  half the distance of the hip joints
    girth     1 is the usual thickness of trunk and limbs

    Raises ConfigError for values out of range.
    """

    upper_arm: float = checked(check_number, 0.01, 3.0, default=0.29)
    forearm: float = checked(check_number, 0.01, 3.0, default=0.25)
    hand: float = checked(check_number, 0.01, 3.0, default=0.18)
    shoulder: float = checked(check_number, 0.01, 3.0, default=0.18)
    hip: float = checked(check_number, 0.01, 3.0, default=0.1)
    trunk: float = checked(check_number, 0.01, 3.0, default=0.5)
    thigh: float = checked(check_number, 0.01, 3.0, default=0.43)
    shin: float = checked(check_number, 0.01, 3.0, default=0.42)
    neck: float = checked(check_number, 0.01, 3.0, default=0.12)
    head: float = checked(check_number, 0.01, 3.0, default=0.115)
    girth: float = checked(check_number, 0.01, 3.0, default=1.0)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def front(self) -> float:
        """Distance of the chest in front of the shoulder joints, in meters."""
        return float(0.11 * self.girth**0.7)

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Build:
        """Return a random build, from a child of twelve to a tall adult."""
        tall = rng.uniform(0.86, 1.1)
        stout = rng.uniform(0.82, 1.35)

        def near(usual: float, spread: float = 0.06) -> float:
            return usual * tall * float(np.exp(rng.normal(0, 0.5) * spread))

        return cls(
            upper_arm=near(0.29),
            forearm=near(0.25),
            hand=near(0.18),
            shoulder=near(0.175, 0.1) * stout**0.2,
            hip=near(0.1, 0.1),
            trunk=near(0.5),
            thigh=near(0.43),
            shin=near(0.42),
            neck=near(0.125, 0.15),
            head=0.115 * tall**0.5 * float(np.exp(rng.normal(0, 0.04))),
            girth=stout,
        )


@dataclass
class Moves:
    """The movements of a body at T times.

    sway      (T, 3) of the hips, meters        lean   (T, 2) to the right of the picture, forward
    yaw       (T,) left shoulder back           tilt   (T,) left shoulder up; radians
    look      (T, 3) yaw, pitch (down) and roll of the head against the trunk, radians
    shrug     (T, 2) meters up
    upper, fore, palm   (T, 2, 3) directions of upper arm, forearm and palm, relative to the body
    flex, turn          (T, 2) the wrist's bend towards the palm and towards the thumb, radians
    curl, spread        (T, 2) of the fingers: 0 open, 1 a fist; 1 is spread
    feet      (T, 2, 3) displacement of the feet, meters outward, up, forward
    """

    sway: Array
    lean: Array
    yaw: Array
    tilt: Array
    look: Array
    shrug: Array
    upper: Array
    fore: Array
    palm: Array
    flex: Array
    turn: Array
    curl: Array
    spread: Array
    feet: Array

    @classmethod
    def still(cls, times: int) -> Moves:
        """Return a body that stands with hanging arms."""
        moves = cls(**{name: np.zeros((times, *shape)) for name, shape in _SHAPES.items()})
        moves.curl[:], moves.spread[:] = 0.25, 0.3
        moves.upper[:] = _HANGING_UPPER
        moves.fore[:] = _HANGING_FORE
        moves.palm[:] = (-1.0, 0.0, -0.3)
        return moves

    def bring(
        self, arm: int, target: Array, elbow: Array, build: Build, turned: float | None = None
    ) -> None:
        """Move the wrist to a position, see `reach`; optionally turn the palm, see `palm_of`."""
        upper, fore = reach(target, elbow, build)
        self.upper[:, arm], self.fore[:, arm] = upper, fore
        if turned is not None:
            self.palm[:, arm] = palm_of(upper, fore, turned)


_SHAPES: dict[str, tuple[int, ...]] = {
    "sway": (3,), "lean": (2,), "yaw": (), "tilt": (), "look": (3,), "shrug": (2,),
    "upper": (2, 3), "fore": (2, 3), "palm": (2, 3), "flex": (2,), "turn": (2,), "curl": (2,),
    "spread": (2,), "feet": (2, 3),
}  # fmt: skip


@dataclass
class Joints:
    """The positions of a body at T times: (T, 3), or (T, 2, 3) for pairs, in meters.

    knuckles, middles, tips   (T, 2, 4, 3) of the fingers from the index on
    thumb     (T, 2, 3, 3) its three joints
    head_turn (T, 3) yaw, pitch (down), roll of the head, radians
    yaw       (T,) of the trunk
    """

    chest: Array
    hips: Array
    neck: Array
    head: Array
    head_turn: Array
    yaw: Array
    shoulder: Array
    elbow: Array
    wrist: Array
    knuckles: Array
    middles: Array
    tips: Array
    thumb: Array
    leg: Array = field(repr=False)
    knee: Array = field(repr=False)
    ankle: Array = field(repr=False)


def unit(vectors: Array) -> Array:
    """Return vectors (..., 3) of length 1."""
    length = np.sqrt((vectors * vectors).sum(-1, keepdims=True))
    return np.asarray(vectors / np.maximum(length, 1e-9))


def reach(target: Array, elbow: Array, build: Build) -> tuple[Array, Array]:
    """Return the directions of upper arm and forearm that bring the wrist to a position.

    target  (T, 3) meters from the shoulder; a position out of reach is approached on a smooth curve
    elbow   (2,) outward and up: the direction of the elbow while the arm points forward. It is
            carried along, on the shortest way, to the direction of the arm: overhead the elbow of a
            hanging arm is in front, at the side it is behind

    The law of cosines gives the position of the elbow along the line to the wrist.
    """
    target = _before_the_chest(target, build)
    upper, fore = build.upper_arm, build.forearm
    longest, least = 0.995 * (upper + fore), abs(upper - fore) + 0.3 * fore
    far = np.sqrt((target * target).sum(-1))
    line = target / np.maximum(far, 1e-6)[:, None]
    # A soft minimum and maximum: an elbow at its limit would jerk.
    far = longest - _softplus(longest - far, 0.02)
    far = least + _softplus(far - least, 0.02)
    along = (upper**2 + far**2 - fore**2) / (2 * far)
    aside = np.sqrt(np.maximum(upper**2 - along**2, 1e-6))
    at_front = unit(np.array([elbow[0], elbow[1], 0.0]))
    turn = (line @ at_front) / (1.05 + line[:, 2])
    out = unit(at_front - turn[:, None] * (line + _AHEAD))
    bent = unit(along[:, None] * line + aside[:, None] * out)
    return bent, unit(far[:, None] * line - upper * bent)


def _before_the_chest(target: Array, build: Build) -> Array:
    """Return the positions of a wrist, moved forward if they would lie inside the body."""
    out, up, ahead = np.moveaxis(np.asarray(target, float), -1, 0)
    inside = 0.25 * (1 - np.tanh((out - 0.02) / 0.05)) * (1 - np.tanh((up - 0.05) / 0.05))
    least = build.front + 0.05
    ahead = ahead + inside * (least + _softplus(ahead - least, 0.02) - ahead)
    # No arm reaches through the shoulder itself: the wrist passes in front of it.
    ahead = ahead + _softplus(0.16 - np.sqrt(out**2 + up**2 + ahead**2), 0.03)
    return np.stack([out, up, ahead], -1)


def palm_of(upper: Array, fore: Array, turned: Array | float) -> Array:
    """Return the direction of the palm of a bent arm, (T, 3), for a turn of the forearm.

    turned  0 with the thumb on top of a level forearm, pi / 2 with the palm down (pronation)
    """
    hinge = unit(np.cross(upper, fore))
    turned = np.asarray(turned)[..., None]
    return np.asarray(np.cos(turned) * hinge + np.sin(turned) * np.cross(fore, hinge))


def _softplus(x: Array, width: float) -> Array:
    return np.asarray(width * np.logaddexp(0.0, x / width))


def joints(moves: Moves, build: Build) -> Joints:
    """Return the positions of the joints for some movements."""
    side, forward = moves.lean.T
    cos_yaw, sin_yaw = np.cos(moves.yaw), np.sin(moves.yaw)
    zero = np.zeros_like(side)
    spine = unit(np.stack([np.sin(side), np.cos(side) * np.cos(forward), -np.sin(forward)], 1))
    hips = np.array([0.0, -build.trunk, 0.0]) + moves.sway
    chest = hips + build.trunk * spine
    slope = np.sin(moves.tilt) - 0.5 * np.sin(side)  # of the line between the shoulders
    level, facing = (
        np.stack(each, 1) for each in ([cos_yaw, zero, sin_yaw], [sin_yaw, zero, -cos_yaw])
    )
    up = np.zeros_like(facing)
    up[:, 1] = 1.0

    def placed(arms: Array) -> Array:
        """Return (T, 2, 3) or (T, 2, N, 3) from (outward, up, forward) to the camera's axes."""
        side = SIDES.reshape(1, 2, *[1] * (arms.ndim - 3))
        axes = [each.reshape(-1, *[1] * (arms.ndim - 2), 3) for each in (level, up, facing)]
        outward = (side * arms[..., 0])[..., None] * axes[0]
        return np.asarray(outward + arms[..., 1:2] * axes[1] + arms[..., 2:] * axes[2])

    upper, fore, palm = unit(moves.upper), unit(moves.fore), moves.palm
    raised = _softplus(upper[..., 1] + 0.15, 0.15)  # the collar bone rises with the arm
    lift = moves.shrug + 0.06 * np.minimum(raised, 1.2)
    wide = build.shoulder - 0.025 * raised
    lift = lift + wide * SIDES * slope[:, None]
    base = np.stack([wide, lift, 0.05 * np.maximum(upper[..., 2], 0)], -1)
    shoulder = chest[:, None] + placed(base)
    elbow = shoulder + build.upper_arm * placed(upper)
    wrist = elbow + build.forearm * placed(fore)
    hand = _hand(fore, palm, moves, build)
    knuckles, middles, tips, thumb = (wrist[:, :, None] + placed(each) for each in hand)
    neck = chest + 0.35 * build.neck * spine
    look = moves.look + np.stack([moves.yaw, 0.5 * forward, 0.5 * side], 1)
    nod = unit(
        np.stack([np.sin(look[:, 2]), np.cos(look[:, 2]), -0.35 * np.sin(look[:, 1]) - 0.12], 1)
    )
    head = neck + (0.65 * build.neck + 0.95 * build.head) * nod
    leg, knee, ankle = _legs(moves, hips, build)
    return Joints(
        chest, hips, neck, head, look, moves.yaw, shoulder, elbow, wrist, knuckles, middles, tips,
        thumb, leg, knee, ankle,
    )  # fmt: skip


def _hand(fore: Array, palm: Array, moves: Moves, build: Build) -> tuple[Array, ...]:
    """Return knuckles, middles, tips and thumb from the wrist, relative to the body."""
    palm = palm + 1e-3
    normal = unit(palm - (palm * fore).sum(-1, keepdims=True) * fore)
    thumb = np.cross(normal, fore)
    flex, turn = moves.flex[..., None], moves.turn[..., None]
    ahead = np.cos(turn) * fore + np.sin(turn) * thumb
    thumb = np.cos(turn) * thumb - np.sin(turn) * fore
    ahead, normal = (
        np.cos(flex) * ahead + np.sin(flex) * normal,
        np.cos(flex) * normal - np.sin(flex) * ahead,
    )
    size = build.hand
    curl, spread = moves.curl[..., None, None], moves.spread[..., None, None]
    k = np.arange(FINGERS, dtype=float)[:, None]
    a, n, s = (each[..., None, :] for each in (ahead, normal, thumb))  # (T, 2, 1, 3)
    knuckles = size * ((0.52 - 0.035 * (k - 1) ** 2 * 0.5) * a + (0.18 - 0.118 * k) * s)
    fan = spread * (0.3 - 0.2 * k)
    way = unit(a + fan * s)
    lengths = size * np.array([0.46, 0.5, 0.47, 0.36])[:, None]
    first, second = 1.5 * curl, 3.3 * curl
    middles = knuckles + 0.55 * lengths * (np.cos(first) * way + np.sin(first) * n)
    tips = middles + 0.45 * lengths * (np.cos(second) * way + np.sin(second) * n)
    root = size * (0.16 * ahead + 0.16 * thumb)
    curl1, spread1 = moves.curl[..., None], moves.spread[..., None]
    out = unit(
        (0.55 + 0.5 * spread1) * (1 - 0.6 * curl1) * thumb
        + 0.8 * ahead
        + (0.15 + 0.9 * curl1) * normal
    )
    bend = root + 0.24 * size * out
    end = bend + 0.19 * size * unit(out + 0.5 * ahead - 0.9 * curl1 * thumb)
    return knuckles, middles, tips, np.stack([root, bend, end], 2)


def _legs(moves: Moves, hips: Array, build: Build) -> tuple[Array, Array, Array]:
    """Return hip joints, knees and ankles: feet stay in place, knees bend forward."""
    outward = np.array([[1.0, 0, 0], [1.0, 0, 0]]) * SIDES[:, None]
    leg = hips[:, None] + build.hip * outward
    stand = np.array([0.0, -build.trunk - build.thigh - build.shin + 0.005, 0.0])
    feet = moves.feet * [1.0, 1.0, -1.0]
    feet = np.stack([feet[..., 0] * SIDES, feet[..., 1], feet[..., 2]], -1)
    ankle = stand + 1.25 * build.hip * outward + feet
    line = ankle - leg
    far = np.sqrt((line * line).sum(-1, keepdims=True))
    way = line / far
    far = np.minimum(far, 0.999 * (build.thigh + build.shin))
    along = (build.thigh**2 + far**2 - build.shin**2) / (2 * far)
    aside = np.sqrt(np.maximum(build.thigh**2 - along**2, 0))
    front = np.array([0.0, 0.0, -1.0])
    out = unit(front - (way * front).sum(-1, keepdims=True) * way)
    return leg, leg + along * way + aside * out, leg + far * way
