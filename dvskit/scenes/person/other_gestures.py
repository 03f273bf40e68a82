"""Movements besides the ten named gestures: the class "other" of DVS128 Gesture.

Each movement fills in the limbs that it moves; the other arms rest.
"""

from __future__ import annotations

import numpy as np

from dvskit.scenes.person.body import LEFT, RIGHT, Array, Build, Moves, unit
from dvskit.scenes.person.gestures import Part, Rng, resting, towards
from dvskit.scenes.person.rhythm import Rhythm, Swing, knock, wander, wander3

ARMS = (RIGHT, LEFT)


def _which(rng: Rng, both: float) -> tuple[int, ...]:
    return ARMS if rng.random() < both else (int(rng.integers(2)),)


def _between(
    rng: Rng,
    build: Build,
    ends: tuple[Array, Array],
    hz: tuple[float, float],
    arms: tuple[int, ...],
) -> Part:
    """Wrists move to and fro between two positions, in turn or together."""
    beat, swing = Rhythm.drawn(rng, hz), Swing.drawn(rng, 2.5, 0.6)
    apart = np.pi if rng.random() < 0.35 else 0.0
    elbow = np.array([rng.uniform(0.3, 1.2), -0.7])
    bow, curl, drift = rng.uniform(-0.12, 0.12, 3), rng.uniform(0, 1), wander3(rng, (0.02,) * 3)
    palm = rng.uniform(-1.3, 1.6)

    def fill(t: Array, moves: Moves) -> None:
        for arm in arms:
            angle = beat.angle(t) + (apart if arm == LEFT else 0.0)
            way = swing(angle)[:, None] * beat.amplitude(t)[:, None]
            place = 0.5 * (ends[0] + ends[1]) + 0.5 * way * (ends[1] - ends[0])
            place = place + bow * (1 - way**2) + drift(t)
            moves.bring(arm, place, elbow, build, palm)
            moves.curl[:, arm] = curl

    return fill


def _place(rng: Rng, *ranges: tuple[float, float]) -> Array:
    return np.array([rng.uniform(*each) for each in ranges])


def _punch(rng: Rng, build: Build) -> Part:
    near = _place(rng, (-0.1, 0.1), (-0.2, 0.0), (0.15, 0.25))
    far = _place(rng, (-0.2, 0.2), (-0.1, 0.2), (0.42, 0.52))
    return _between(rng, build, (near, far), (0.7, 2.5), _which(rng, 0.6))


def _lift(rng: Rng, build: Build) -> Part:
    """Arms go up and down, in front of the body or at its sides: also dumb-bells and flapping."""
    far = build.upper_arm + build.forearm
    low = unit(_place(rng, (0.1, 0.9), (-1.0, -0.3), (0.0, 0.8))) * far * rng.uniform(0.6, 0.99)
    high = unit(_place(rng, (0.0, 0.9), (0.2, 1.0), (0.0, 0.6))) * far * rng.uniform(0.6, 0.99)
    return _between(rng, build, (low, high), (0.5, 1.8), _which(rng, 0.75))


def _swipe(rng: Rng, build: Build) -> Part:
    left = _place(rng, (-0.5, -0.2), (-0.3, 0.25), (0.3, 0.45))
    right = _place(rng, (0.1, 0.5), (-0.4, 0.3), (0.2, 0.4))
    return _between(rng, build, (left, right), (0.5, 1.7), _which(rng, 0.15))


def _throw(rng: Rng, build: Build) -> Part:
    back = _place(rng, (0.05, 0.3), (0.1, 0.4), (-0.2, 0.1))
    front = _place(rng, (-0.4, 0.1), (-0.4, 0.1), (0.35, 0.5))
    return _between(rng, build, (back, front), (0.5, 1.3), _which(rng, 0.1))


def _salute(rng: Rng, build: Build) -> Part:
    """A hand goes to the head, mouth, ear or heart, or beckons there."""
    goal = _place(rng, (-0.18, 0.02), (-0.15, 0.3), (0.14, 0.28))
    start = _place(rng, (0.0, 0.25), (-0.5, -0.25), (0.05, 0.3))
    return _between(rng, build, (start, goal), (0.4, 1.4), _which(rng, 0.2))


def _cross(rng: Rng, build: Build) -> Part:
    """Both arms cross in front of the chest, or open wide from it."""
    inner = _place(rng, (-0.45, -0.2), (-0.3, 0.25), (0.25, 0.36))
    outer = _place(rng, (0.2, 0.5), (-0.3, 0.3), (0.1, 0.35))
    return _between(rng, build, (inner, outer), (0.5, 1.8), ARMS)


def _jack(rng: Rng, build: Build) -> Part:
    """A jumping jack, or its arms alone."""
    beat, swing = Rhythm.drawn(rng, (0.6, 1.4)), Swing.drawn(rng, 0.8)
    low, high, legs = rng.uniform(0.15, 0.5), rng.uniform(1.8, 2.9), rng.choice([0.0, 1.0, 1.0])

    def fill(t: Array, moves: Moves) -> None:
        way = 0.5 + 0.5 * swing(beat.angle(t))
        raised = low + (high - low) * way
        for arm in ARMS:
            moves.upper[:, arm] = towards(np.sin(raised), -np.cos(raised), 0.15)
            moves.fore[:, arm] = towards(np.sin(raised + 0.15), -np.cos(raised + 0.15), 0.2)
            moves.palm[:, arm] = (0.0, 0.2, 1.0)
        hop = legs * np.abs(np.sin(beat.angle(t)))
        moves.feet[:, :, 0] += (0.22 * legs * way)[:, None]
        moves.feet[:, :, 1] += (0.06 * hop)[:, None]
        moves.sway[:, 1] += 0.08 * hop - 0.05 * legs * way

    return fill


def _bow(rng: Rng, build: Build) -> Part:
    """The trunk bends, forward or aside, or turns to and fro."""
    beat, swing = Rhythm.drawn(rng, (0.35, 1.2)), Swing.drawn(rng)
    aside, forward, turn = rng.permutation([rng.uniform(0.2, 0.5), 0.0, rng.uniform(0, 0.15)])
    lies = [resting(arm, rng, build) for arm in ARMS]

    def fill(t: Array, moves: Moves) -> None:
        for lie in lies:
            lie(t, moves)
        way = swing(beat.angle(t)) * beat.amplitude(t)
        moves.lean[:, 0] += 0.7 * aside * way
        moves.lean[:, 1] += 1.3 * forward * (0.5 + 0.5 * way)
        moves.yaw += 1.4 * turn * way
        moves.look[:, 1] += 0.5 * forward * way

    return fill


def _nod(rng: Rng, build: Build) -> Part:
    """The head nods, shakes or rolls; shoulders may shrug."""
    beat, swing = Rhythm.drawn(rng, (0.6, 2.4)), Swing.drawn(rng)
    sizes = rng.permutation([rng.uniform(0.25, 0.6), rng.uniform(0, 0.1), rng.uniform(0, 0.1)])
    shrug = rng.uniform(0.02, 0.07) if rng.random() < 0.4 else 0.0
    lies = [resting(arm, rng, build) for arm in ARMS]

    def fill(t: Array, moves: Moves) -> None:
        for lie in lies:
            lie(t, moves)
        way = swing(beat.angle(t)) * beat.amplitude(t)
        moves.look += way[:, None] * sizes
        moves.shrug += (shrug * (0.5 + 0.5 * way))[:, None]

    return fill


def _step(rng: Rng, build: Build) -> Part:
    """Steps on the spot or from side to side, arms swinging; also a squat and a kick."""
    beat, swing = Rhythm.drawn(rng, (0.6, 1.8)), Swing.drawn(rng, 1.0)
    aside, knee, swung, squat = (
        rng.uniform(0, 0.12),
        rng.uniform(0, 0.3),
        rng.uniform(0.1, 0.6),
        0.0,
    )
    if rng.random() < 0.25:
        knee, squat = 0.0, rng.uniform(0.1, 0.3)
    bent = rng.uniform(0.1, 1.4)

    def fill(t: Array, moves: Moves) -> None:
        way = swing(beat.angle(t)) * beat.amplitude(t)
        moves.sway[:, 0] += aside * way
        moves.sway[:, 1] -= squat * (0.5 + 0.5 * way)
        for arm, side in ((RIGHT, -1.0), (LEFT, 1.0)):
            up = knee * np.maximum(side * way, 0.0) ** 1.5
            moves.feet[:, arm, 1] += up
            moves.feet[:, arm, 2] += 0.6 * up
            swing_of_arm = -side * swung * way
            moves.upper[:, arm] = towards(0.15, -np.cos(swing_of_arm), np.sin(swing_of_arm))
            ahead = swing_of_arm + bent
            moves.fore[:, arm] = towards(0.05, -np.cos(ahead), np.sin(ahead))

    return fill


def _draw(rng: Rng, build: Build) -> Part:
    """A hand draws an x, an eight, a tick or a square in the air in front of the body."""
    beat = Rhythm.drawn(rng, (0.4, 1.3))
    arms = _which(rng, 0.15)
    middle, size = _place(rng, (-0.2, 0.2), (-0.3, 0.2), (0.3, 0.42)), rng.uniform(0.1, 0.3)
    orders = rng.permutation([1, 2, 3])[:2]
    phases, corner = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.1, 2.0)
    elbow = np.array([0.6, -0.8])
    curl = rng.uniform(0, 0.9)

    def fill(t: Array, moves: Moves) -> None:
        angle = beat.angle(t)
        x, y = (
            np.tanh(corner * np.sin(n * angle + p)) / np.tanh(corner)
            for n, p in zip(orders, phases, strict=True)
        )
        for arm in arms:
            place = middle + size * towards(x, y, 0.1 * x)
            moves.bring(arm, place, elbow, build, 1.2)
            moves.curl[:, arm] = curl

    return fill


def _hammer(rng: Rng, build: Build) -> Part:
    """One hand strikes, shakes, chops or beckons, and waits for the rest of its beat."""
    beat, sharp = Rhythm.drawn(rng, (0.6, 2.2)), rng.uniform(0.8, 5.0)
    arms = _which(rng, 0.2)
    high = _place(rng, (-0.1, 0.3), (-0.1, 0.4), (0.15, 0.4))
    low = high + _place(rng, (-0.15, 0.15), (-0.5, -0.2), (0.0, 0.2))
    elbow, curl = np.array([0.7, -0.8]), rng.uniform(0, 1)
    palm = rng.uniform(-0.5, 1.5)

    def fill(t: Array, moves: Moves) -> None:
        place = high + knock(beat.angle(t), sharp)[:, None] * (low - high)
        for arm in arms:
            moves.bring(arm, place, elbow, build, palm)
            moves.curl[:, arm] = curl

    return fill


def _roam(rng: Rng, build: Build) -> Part:
    """Hands move here and there, as in talking."""
    arms = _which(rng, 0.7)
    speed = rng.uniform(0.4, 2.2)
    paths = [
        (_place(rng, (-0.2, 0.35), (-0.45, 0.3), (0.15, 0.4)),
         [wander(rng, rng.uniform(0.05, 0.2), (0.2 * speed, speed)) for _ in range(3)],
         np.array([rng.uniform(0.3, 1.0), -0.7]), wander(rng, 0.3))
        for _ in ARMS
    ]  # fmt: skip
    palm = rng.uniform(-1.3, 1.6, 2)

    def fill(t: Array, moves: Moves) -> None:
        for arm in arms:
            middle, ways, elbow, flex = paths[arm]
            place = middle + np.stack([way(t) for way in ways], -1)
            place[:, 2] = np.maximum(place[:, 2], 0.12)
            moves.bring(arm, place, elbow, build, palm[arm])
            moves.flex[:, arm] = flex(t)

    return fill


def _stand(rng: Rng, build: Build) -> Part:
    """The person stands still."""
    return lambda t, moves: None


OTHERS = {
    _punch: 1.0, _lift: 2.0, _swipe: 1.2, _throw: 1.0, _salute: 1.2, _cross: 1.2, _jack: 1.0,
    _bow: 1.0, _nod: 0.8, _step: 1.2, _draw: 1.0, _hammer: 0.8, _roam: 1.2, _stand: 0.3,
}  # fmt: skip


def doing_otherwise(rng: Rng, build: Build) -> Part:
    """Another movement, drawn from all of these."""
    weights = np.array(list(OTHERS.values()))
    makers = list(OTHERS)
    return makers[rng.choice(len(makers), p=weights / weights.sum())](rng, build)
