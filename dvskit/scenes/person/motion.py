"""What moves a drawn person: a gesture by its name and a seed, or a recorded skeleton."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from dvskit.errors import ConfigError, did_you_mean
from dvskit.scenes.person.body import LEFT, RIGHT, Array, Build, Moves
from dvskit.scenes.person.gestures import (
    Part,
    circling,
    clapping,
    drumming,
    resting,
    rolling,
    strumming,
    waving,
)
from dvskit.scenes.person.other_gestures import doing_otherwise
from dvskit.scenes.person.rhythm import wander, wander3
from dvskit.scenes.ranges import LARGEST_SEED, check_ranges

PERSON_GESTURES = (
    "hand_clap",
    "right_hand_wave",
    "left_hand_wave",
    "right_arm_clockwise",
    "right_arm_counter_clockwise",
    "left_arm_clockwise",
    "left_arm_counter_clockwise",
    "arm_roll",
    "air_drums",
    "air_guitar",
    "other",
)
"""The classes of DVS128 Gesture in its own order; sides and turns are the person's own."""

MIRRORED = {
    "right_hand_wave": "left_hand_wave",
    "right_arm_clockwise": "left_arm_counter_clockwise",
    "right_arm_counter_clockwise": "left_arm_clockwise",
}
MIRRORED |= {left: right for right, left in MIRRORED.items()}


def mirrored(gesture: str) -> str:
    """Return what a gesture is in a mirror: the other arm, and the other way round."""
    return MIRRORED.get(gesture, gesture)


class Motion(Protocol):
    """What a body does over time."""

    def moves(self, t_s: Array, build: Build) -> Moves:
        """Return what it does at times (T,) in seconds; a time's moves depend on it alone."""
        ...


@dataclass(frozen=True)
class GestureMotion:
    """One of PERSON_GESTURES, as somebody makes it whom the seed draws.

    speed    1 is the drawn one's own         start_s  where in it the clip begins
    rest_s   how long the arms rest first     rise_s   how long they then take to be at it; 0: they
                                                       are from the first

    Raises ConfigError for an unknown gesture and values out of range.
    """

    gesture: str
    seed: int
    speed: float = 1.0
    start_s: float = 0.0
    rest_s: float = 0.0
    rise_s: float = 0.0

    def __post_init__(self) -> None:
        checked_gesture(self.gesture)
        limits = {"seed": (0, LARGEST_SEED), "speed": (0, 100), "start_s": (-1e6, 1e6),
                  "rest_s": (0, 1e6), "rise_s": (0, 1e6)}  # fmt: skip
        check_ranges(self, limits)

    def moves(self, t_s: Array, build: Build) -> Moves:
        """Return what the person does at times (T,) in seconds."""
        rng = np.random.default_rng((self.seed, PERSON_GESTURES.index(self.gesture), 1))
        t = self.start_s + self.speed * np.asarray(t_s, float)
        moves = Moves.still(len(t))
        for part in _parts(self.gesture, rng, build):
            part(t, moves)
        if self.rise_s:
            self._begin(np.asarray(t_s, float), moves, build)
        _accompany(rng, t, moves)
        return moves

    def _begin(self, t_s: Array, moves: Moves, build: Build) -> None:
        """Let the body rest first and go over to its moves smoothly, the arms ahead and outward."""
        rng = np.random.default_rng((self.seed, PERSON_GESTURES.index(self.gesture), 2))
        resting_moves = Moves.still(len(t_s))
        for arm in (RIGHT, LEFT):
            resting(arm, rng, build)(t_s, resting_moves)
        share = np.clip((t_s - self.rest_s) / self.rise_s, 0, 1)
        share = share * share * (3 - 2 * share)
        way = np.multiply.outer(4 * share * (1 - share), (0.35, 0.0, 0.45))
        for item in fields(moves):
            there, rest = getattr(moves, item.name), getattr(resting_moves, item.name)
            part = share.reshape(-1, *[1] * (there.ndim - 1))
            there[:] = rest + part * (there - rest)
            if item.name in ("upper", "fore"):
                there += way[:, None]


def checked_gesture(gesture: str) -> str:
    """Return the gesture's name. Raises ConfigError if it is none of PERSON_GESTURES."""
    if gesture not in PERSON_GESTURES:
        raise ConfigError(
            f"unknown gesture {gesture!r}; {did_you_mean(str(gesture), PERSON_GESTURES)}"
        )
    return gesture


def _parts(gesture: str, rng: np.random.Generator, build: Build) -> list[Part]:
    rest = [resting(arm, rng, build) for arm in (RIGHT, LEFT)]
    arm = LEFT if gesture.startswith("left") else RIGHT
    if gesture.endswith("wave"):
        return [rest[1 - arm], waving(arm, rng, build)]
    if gesture.endswith("clockwise"):
        turn = -1 if gesture.endswith("counter_clockwise") else 1
        return [rest[1 - arm], circling(arm, turn, rng, build)]
    make = {
        "hand_clap": clapping,
        "arm_roll": rolling,
        "air_drums": drumming,
        "air_guitar": strumming,
        "other": doing_otherwise,
    }[gesture]
    return [*rest, make(rng, build)]


def _accompany(rng: np.random.Generator, t: Array, moves: Moves) -> None:
    """Add what the rest of the body does: it sways, and the trunk gives way to the arms."""
    lively = rng.choice([0.3, 1.0, 2.2], p=[0.4, 0.45, 0.15])
    moves.sway += lively * wander3(rng, (0.008, 0.003, 0.006))(t)
    moves.lean += lively * np.stack([wander(rng, size)(t) for size in (0.008, 0.012)], -1)
    moves.yaw += lively * wander(rng, 0.02)(t)
    moves.look += lively * wander3(rng, (0.05, 0.03, 0.02))(t)
    moves.look += rng.normal(0, (0.12, 0.08, 0.05))
    moves.yaw += rng.normal(0, 0.1)
    give = rng.uniform(0.0, 1.0, 4)
    out = (moves.upper + moves.fore) / 2
    side, turn = out[:, LEFT, 0] - out[:, RIGHT, 0], out[:, LEFT, 2] - out[:, RIGHT, 2]
    up = out[:, LEFT, 1] - out[:, RIGHT, 1]
    moves.yaw -= 0.09 * give[0] * turn
    moves.lean[:, 0] -= 0.05 * give[1] * (side + 0.5 * up)
    moves.tilt += 0.07 * give[1] * up
    moves.sway[:, 0] -= 0.025 * give[2] * side
    both = out.sum(1)
    moves.sway[:, 1] += 0.012 * give[3] * both[:, 1]
    moves.lean[:, 1] -= 0.03 * give[3] * both[:, 2]
    moves.look[:, 1] += 0.04 * give[3] * both[:, 1]
