"""Hand shapes shown to a camera nearby: rock, paper, scissors, and others."""

from __future__ import annotations

import numpy as np

from dvskit.scenes.person.body import Array, Build, Moves
from dvskit.scenes.person.gestures import Part, Rng, towards
from dvskit.scenes.person.rhythm import Rhythm, Swing, wander, wander3

HAND_SHAPES = ("rock", "paper", "scissors", "other_shape")
"""Shapes of one hand; "other_shape" is any but the three: a pointing finger, three fingers, ..."""

# Stretched fingers, from the index on, and whether the thumb is: what is none of the three.
_OTHERS = (
    ((1, 0, 0, 0), False), ((1, 0, 0, 0), True), ((0, 0, 0, 0), True), ((1, 1, 1, 0), False),
    ((1, 1, 1, 0), True), ((1, 0, 0, 1), False), ((0, 0, 0, 1), True), ((0, 0, 0, 1), False),
)  # fmt: skip


def showing(shape: str, arm: int, rng: Rng, build: Build) -> Part:
    """A hand holds a shape before the camera, turns a little, and mostly shakes."""
    curl, fold, spread = _fingers(shape, rng)
    # Of the forearm in the picture: 0 is up, pi / 2 outward.
    lean, ahead = rng.uniform(-0.7, 1.8), rng.uniform(-0.2, 0.9)
    facing = rng.choice([0.0, np.pi]) + rng.normal(0, 0.35)  # palm or back of the hand
    if rng.random() < 0.1:
        facing = rng.uniform(0, 2 * np.pi)
    beat, swing = Rhythm.drawn(rng, (0.6, 4.0)), Swing.drawn(rng)
    size = rng.uniform(0.0, 0.3) * min(1.0, 1.6 / beat.hz) * (rng.random() < 0.9)
    along, across, turning = rng.uniform(-1, 1, 3)
    place, twist = wander3(rng, (0.015, 0.015, 0.01)), wander(rng, rng.uniform(0, 0.25))
    roam = wander(rng, rng.uniform(0.02, 0.15), (0.2, 1.5))
    upper = np.array([rng.uniform(0.1, 0.9), rng.uniform(-1.0, 0.1), rng.uniform(0.1, 0.7)])
    flex, turn = rng.uniform(-0.5, 0.4), rng.uniform(-0.3, 0.3)
    unrest = [wander(rng, rng.uniform(0, 0.06), (0.5, 2.0)) for _ in fold]

    def fill(t: Array, moves: Moves) -> None:
        way = size * swing(beat.angle(t)) * beat.amplitude(t)
        angle = lean + across * way + roam(t)
        fore = towards(np.sin(angle), np.cos(angle), ahead + along * way)
        normal = facing + twist(t) + turning * way
        level = towards(np.cos(angle), -np.sin(angle), 0.0)
        moves.upper[:, arm] = upper + 0.3 * towards(across * way, along * way, 0.0)
        moves.fore[:, arm] = fore
        moves.palm[:, arm] = (
            np.cos(normal)[:, None] * (0.0, 0.0, 1.0) + np.sin(normal)[:, None] * level
        )
        moves.sway += place(t)
        moves.flex[:, arm], moves.turn[:, arm] = flex, turn + 0.4 * turning * way
        moves.curl[:, arm], moves.spread[:, arm] = curl, spread
        for finger, own in enumerate(unrest):
            moves.fold[:, arm, finger] = fold[finger] + own(t)

    return fill


def _fingers(shape: str, rng: Rng) -> tuple[float, list[float], float]:
    """Return the curl of the hand, what each finger adds to it, and the spread."""
    if shape == "rock":
        curl = rng.uniform(0.82, 1.0)
        return curl, list(rng.normal(0, 0.04, 4)), rng.uniform(0, 0.3)
    if shape == "paper":
        curl = rng.uniform(0.0, 0.15)
        return curl, list(rng.normal(0, 0.04, 4)), rng.uniform(0.1, 1.5)
    stretched, thumb = (1, 1, 0, 0), False
    if shape == "other_shape":
        if rng.random() < 0.2:  # half open
            return rng.uniform(0.3, 0.6), list(rng.normal(0, 0.1, 4)), rng.uniform(0, 0.6)
        stretched, thumb = _OTHERS[rng.integers(len(_OTHERS))]
    curl = rng.uniform(0.0, 0.2) if thumb else rng.uniform(0.75, 1.0)
    wanted = [rng.uniform(0.0, 0.15) if each else rng.uniform(0.8, 1.0) for each in stretched]
    return curl, [each - curl for each in wanted], rng.uniform(0.5, 1.8)
