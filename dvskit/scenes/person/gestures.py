"""The movements of the eleven classes of DVS128 Gesture (Amir et al. 2017).

Arms are described relative to the body, (outward, up, forward) from the shoulder, so descriptions
of the right arm hold for the left. Clockwise is as the person sees it: from the top the right arm
goes outward, the left arm inward. Seen from the front, both turn counter-clockwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dvskit.scenes.person.body import LEFT, RIGHT, Array, Build, Moves
from dvskit.scenes.person.rhythm import Rhythm, Swing, wander, wander3

Rng = np.random.Generator
Part = Callable[[Array, Moves], None]  # fills in the movements of its limbs at times in seconds


def towards(*parts: float | Array) -> Array:
    """Return (T, 3) of outward, up and forward, each a number or (T,)."""
    return np.stack(np.broadcast_arrays(*parts), -1).astype(float)


def _turned(outward: Array | float, raised: Array | float) -> Array:
    """Return an arm's direction, `raised` radians from hanging, `outward` from straight ahead."""
    level = np.sin(raised)
    return towards(level * np.sin(outward), -np.cos(raised), level * np.cos(outward))


def resting(arm: int, rng: Rng, build: Build) -> Part:
    """An idle arm: it hangs, rests on hip or belly, or is held behind the back."""
    breath = [wander(rng, rng.uniform(0.005, 0.045)) for _ in range(3)]
    how = rng.choice(4, p=[0.78, 0.08, 0.08, 0.06])
    out, ahead = rng.uniform(0.05, 0.3), rng.uniform(-0.08, 0.12)
    if how == 0:
        upper, fore = (
            (out, -1.0, ahead),
            (out * rng.uniform(-0.3, 0.9), -1.0, ahead + rng.uniform(0.05, 0.4)),
        )
    elif how == 1:  # on the hip
        upper, fore = (0.62, -0.75, -0.25), (-0.6, -0.6, 0.35)
    elif how == 2:  # on the belly
        upper, fore = (0.25, -0.95, 0.1), (-0.75, rng.uniform(-0.4, 0.1), 0.5)
    else:
        upper, fore = (0.25, -0.9, -0.3), (-0.8, -0.4, -0.4)
    curl = rng.uniform(0.1, 0.6)

    def fill(t: Array, moves: Moves) -> None:
        a, b, c = (each(t) for each in breath)
        moves.upper[:, arm] = towards(upper[0] + a, upper[1], upper[2] + b)
        moves.fore[:, arm] = towards(fore[0] + a, fore[1], fore[2] + b + c)
        moves.curl[:, arm] = curl

    return fill


class _Wave(NamedTuple):
    """A way to wave: ranges of angles in radians, and its frequency among people.

    raised, outward     of the upper arm       lean, ahead    of the forearm, outward and forward
    arm, forearm, hand  amplitude of each swing
    """

    share: float
    raised: tuple[float, float]
    outward: tuple[float, float]
    lean: tuple[float, float]
    ahead: tuple[float, float]
    arm: tuple[float, float]
    forearm: tuple[float, float]
    hand: tuple[float, float]


_WAVES = (
    # next to the head or the shoulder, about the elbow
    _Wave(0.6, (0.15, 1.25), (0.5, 1.5), (-0.35, 0.55), (0.05, 0.8), (0, 0.1), (0.08, 0.55),
          (0, 0.45)),
    # high, with the whole arm
    _Wave(0.17, (1.5, 2.5), (0.7, 1.5), (-0.35, 0.55), (0.05, 0.8), (0.08, 0.3), (0.1, 0.5),
          (0, 0.35)),
    # with the wrist alone
    _Wave(0.11, (0.2, 1.4), (0.4, 1.5), (-0.35, 0.55), (0.05, 0.8), (0, 0.03), (0, 0.1),
          (0.35, 0.75)),
    # away to the side
    _Wave(0.04, (1.2, 2.0), (1.0, 1.6), (0.4, 1.1), (0.05, 0.8), (0.1, 0.35), (0.1, 0.4),
          (0.1, 0.4)),
    # in front of the body, the forearm towards the camera
    _Wave(0.08, (0.1, 0.6), (0.0, 0.9), (-0.35, 0.55), (0.6, 1.6), (0, 0.1), (0.15, 0.5),
          (0.1, 0.6)),
)  # fmt: skip


def waving(arm: int, rng: Rng, build: Build) -> Part:
    """A wave: the forearm is up and swings about the elbow, the open hand follows."""
    beat, swing = Rhythm.drawn(rng, (1.1, 3.4)), Swing.drawn(rng)
    kind = _WAVES[rng.choice(len(_WAVES), p=[wave.share for wave in _WAVES])]
    raised, outward, lean, ahead, with_arm, with_forearm, with_hand = (
        rng.uniform(*each) for each in kind[1:]
    )
    most = 1.6 if rng.random() < 0.25 else 0.7  # some show the edge of the hand
    turn_of_palm, lag = rng.uniform(-most, most), rng.uniform(0.2, 1.1)
    curl, spread = rng.uniform(0.0, 0.35) ** 1.5 * 2, rng.uniform(0.0, 1.0) ** 1.5
    flap = rng.uniform(0, 0.35) if rng.random() < 0.3 else 0.0
    cocked = rng.uniform(0.2, 0.8) * ahead  # the wrist is bent back to keep the hand upright
    place = wander(rng, 0.04)

    def fill(t: Array, moves: Moves) -> None:
        angle, size = beat.angle(t), beat.amplitude(t)
        way = swing(angle) * size
        still = place(t)
        moves.upper[:, arm] = _turned(outward + still, raised + with_arm * way + still)
        side = lean + still + (with_forearm + 0.6 * with_arm) * way
        moves.fore[:, arm] = towards(np.sin(side), np.cos(side), ahead)
        palm = turn_of_palm + 0.2 * way
        moves.palm[:, arm] = towards(np.sin(palm), -0.8 * ahead, np.cos(palm))
        # the thumb is on the inner side: towards it is inward
        moves.turn[:, arm] = -with_hand * swing(angle - lag) * size
        moves.flex[:, arm] = flap * swing(angle - 0.5) + 0.1 - cocked
        moves.curl[:, arm] = np.clip(curl + flap * 0.5 * way, 0, 1)
        moves.spread[:, arm] = spread

    return fill


def circling(arm: int, turn: int, rng: Rng, build: Build) -> Part:
    """A big circle of the stretched arm; `turn` is 1 for clockwise as the person sees it."""
    beat = Rhythm.drawn(rng, (0.75, 2.1), unsteady=0.8)
    if arm == LEFT:
        turn = -turn  # outward is to the person's left
    span = build.upper_arm + build.forearm
    bent = rng.random() < 0.15
    if bent:  # smaller circles in front of or next to the body, the elbow bent
        wide = span * rng.uniform(0.36, 0.58)
        middle = span * np.array(
            [rng.uniform(0.0, 0.4), rng.uniform(-0.3, 0.3), rng.uniform(0.3, 0.75)]
        )
    else:
        wide = span * rng.uniform(0.6, 1.05)
        middle = span * np.array(
            [rng.uniform(0.0, 0.3), rng.uniform(-0.12, 0.15), rng.uniform(0.12, 0.6)]
        )
    oval = rng.uniform(0.75, 1.2)
    tip, oblique = rng.uniform(-0.5, 0.5), rng.uniform(0, 2 * np.pi)
    inner = rng.uniform(0.1, 0.35) * span  # moves forward when it passes the chest
    uneven = rng.uniform(0.0, 0.35), rng.uniform(0, 2 * np.pi)
    elbow = rng.uniform((-0.1, -1.0), (1.0, -0.4))
    curl = rng.choice([rng.uniform(0, 0.3), rng.uniform(0.7, 1.0)])
    palm = rng.uniform(-1.3, 1.6)
    trail, drift = rng.uniform(-0.3, 0.3), wander3(rng, (0.02, 0.02, 0.02))

    def fill(t: Array, moves: Moves) -> None:
        angle = turn * beat.angle(t)
        angle = angle + turn * uneven[0] * np.sin(beat.angle(t) + uneven[1])
        size = wide * beat.amplitude(t)
        out, up = size * np.sin(angle), oval * size * np.cos(angle)
        depth = 0.5 * tip * size * np.cos(angle - oblique) + inner * (0.5 - 0.5 * np.sin(angle))
        place = middle + towards(out, up, depth) + drift(t)
        moves.bring(arm, place, elbow, build, palm)
        moves.turn[:, arm] = trail
        moves.curl[:, arm] = curl

    return fill


def clapping(rng: Rng, build: Build) -> Part:
    """Both hands meet in front of the chest and move apart again.

    Heights and rates are those of 24 claps of UTD-MHAD (Chen, Jafari and Kehtarnavaz, ICIP 2015):
    2 cm below the shoulders in the median, a quarter more than 5 cm above, 1.7 to 5.8 Hz.
    """
    beat = Rhythm.drawn(rng, (0.9, 5.8))
    swing = Swing(rng.uniform(0.3, 2.2), rng.uniform(-0.5, 0.5))
    wide = rng.uniform(0.06, 0.34) * min(1.0, 2.6 / beat.hz)
    height = rng.uniform(-0.25, 0.15)
    ahead = rng.uniform(0.2, 0.42)
    slant, still = rng.normal(0, 0.22), rng.uniform(-0.8, 0.8) if rng.random() < 0.3 else 0.0
    middle = rng.uniform(-0.06, 0.06)
    thick = rng.uniform(0.018, 0.04)
    elbows = np.array([rng.uniform(0.2, 1.2), -1.0])
    bend, up = rng.uniform(-0.2, 0.6), rng.uniform(-0.5, 0.5)
    curl, spread, drift = (
        rng.uniform(0.0, 0.25),
        rng.uniform(0, 0.4),
        wander3(rng, (0.02, 0.02, 0.015)),
    )

    def fill(t: Array, moves: Moves) -> None:
        gap = wide * beat.amplitude(t) * (0.5 + 0.5 * swing(beat.angle(t)))
        where = drift(t)
        for arm, side in ((RIGHT, -1.0), (LEFT, 1.0)):
            own = gap * (1 + side * still)
            across = thick + own * np.cos(slant)
            place = towards(
                across - build.shoulder + side * (middle + where[:, 0]),
                height + side * own * np.sin(slant) + where[:, 1] - 0.15 * own,
                ahead + where[:, 2] - 0.25 * own - 0.5 * build.hand,
            )
            moves.bring(arm, place, elbows, build)
            moves.palm[:, arm] = towards(-1.0, side * 0.4 * slant, 0.15)
            # palms meet flat: the wrist compensates for the forearm's slant
            level = moves.fore[:, arm]
            inward = np.arctan2(-level[:, 0], np.hypot(level[:, 1], level[:, 2]))
            moves.flex[:, arm] = -inward * 0.85
            moves.turn[:, arm] = bend * 0.5 + 0.15 * side * up
            moves.curl[:, arm], moves.spread[:, arm] = curl, spread

    return fill


def rolling(rng: Rng, build: Build) -> Part:
    """The forearms rotate around one another in front of the chest."""
    beat = Rhythm.drawn(rng, (0.9, 3.2), unsteady=0.7)
    turn = 1.0 if rng.random() < 0.7 else -1.0
    radius = rng.uniform(0.06, 0.17) * min(1.0, (2.2 / beat.hz) ** 0.5)
    oval = rng.uniform(0.6, 1.2)
    height, ahead = rng.uniform(-0.28, 0.0), rng.uniform(0.2, 0.36)
    past = rng.uniform(-0.15, 0.03)  # how far the wrists reach beyond the middle
    elbows = np.array([1.0, rng.uniform(-0.4, 0.1) + 2 * height])  # level with the hands
    apart = np.pi + rng.uniform(-0.4, 0.4)
    curl, drift = (
        rng.choice([rng.uniform(0, 0.35), rng.uniform(0.7, 1.0)]),
        wander3(rng, (0.02, 0.02, 0.015)),
    )
    flex = rng.uniform(-0.2, 0.5)

    def fill(t: Array, moves: Moves) -> None:
        where, size = drift(t), radius * beat.amplitude(t)
        for arm, side in ((RIGHT, -1.0), (LEFT, 1.0)):
            angle = turn * beat.angle(t) + (apart if arm == LEFT else 0.0)
            place = towards(
                -build.shoulder - past + side * where[:, 0],
                height + size * np.cos(angle) + where[:, 1],
                ahead + oval * size * np.sin(angle) + where[:, 2],
            )
            moves.bring(arm, place, elbows, build)
            moves.palm[:, arm] = (0.0, -0.6, -0.8)
            moves.flex[:, arm] = flex
            moves.curl[:, arm] = curl

    return fill


def drumming(rng: Rng, build: Build) -> Part:
    """Fists with invisible sticks beat up and down, elbows bent."""
    beat = Rhythm.drawn(rng, (1.3, 4.2))
    apart = np.pi if rng.random() < 0.75 else rng.choice([0.0, 0.5 * np.pi])
    ratio = rng.choice([1.0, 1.0, 1.0, 0.5])  # the other hand may beat half as often
    swing = Swing(rng.uniform(0.05, 1.5), rng.uniform(-0.7, 0.7))
    tall = rng.uniform(0.05, 0.17) if rng.random() < 0.85 else rng.uniform(0.17, 0.28)
    tall *= min(1.0, 2.8 / beat.hz)
    sizes = np.array([1.0, rng.uniform(0.6, 1.2)])
    height, ahead = rng.uniform(-0.36, -0.1), rng.uniform(0.24, 0.44)
    open_ = rng.uniform(-0.12, 0.16)
    roam = [
        wander(rng, float(rng.choice([0.0, rng.uniform(0.02, 0.1)])), (0.3, 1.1)) for _ in range(2)
    ]
    elbows = np.array([rng.uniform(0.2, 1.0), -1.0])
    curl, wrist = rng.uniform(0.6, 1.0), rng.uniform(0.0, 0.6)
    palm = (rng.uniform(-1.0, -0.4), -0.7, 0.1)
    lag = rng.uniform(0.3, 0.9)

    def fill(t: Array, moves: Moves) -> None:
        for arm in (RIGHT, LEFT):
            angle = beat.angle(t) * (ratio if arm == LEFT else 1.0) + (
                apart if arm == LEFT else 0.0
            )
            size = tall * sizes[arm] * beat.amplitude(t)
            up = swing(angle)
            place = towards(
                open_ + roam[arm](t),
                height + size * up,
                ahead - 0.35 * size * up - 0.1 * np.abs(roam[arm](t)),
            )
            moves.bring(arm, place, elbows, build)
            moves.palm[:, arm] = palm
            moves.flex[:, arm] = -wrist * swing(angle - lag)
            moves.curl[:, arm] = curl

    return fill


def strumming(rng: Rng, build: Build) -> Part:
    """One hand strums at the belly, the other holds the neck of an invisible guitar."""
    beat, swing = Rhythm.drawn(rng, (1.3, 4.6)), Swing.drawn(rng, 1.2)
    strum, hold = (RIGHT, LEFT) if rng.random() < 0.85 else (LEFT, RIGHT)
    size = rng.uniform(0.04, 0.15) * min(1.0, 3.0 / beat.hz)
    if rng.random() < 0.12:
        size *= 1.8
    slant = rng.uniform(-0.5, 0.7)
    belly = np.array([rng.uniform(-0.22, 0.02), rng.uniform(-0.5, -0.26), rng.uniform(0.14, 0.26)])
    neck = np.array([rng.uniform(0.02, 0.3), rng.uniform(-0.38, -0.04), rng.uniform(0.18, 0.4)])
    along = wander(rng, float(rng.choice([0.0, rng.uniform(0.02, 0.09)])), (0.3, 1.4))
    fret, fret_size = wander(rng, 1.0, (0.8, 3.0)), rng.uniform(0.02, 0.25)
    wrist, curl = rng.uniform(0.0, 0.5), rng.uniform(0.3, 0.9)
    elbow = np.array([rng.uniform(0.5, 1.2), -0.6])
    under = np.array([rng.uniform(0.1, 0.7), -1.0])
    drift = wander3(rng, (0.012, 0.012, 0.008))

    def fill(t: Array, moves: Moves) -> None:
        angle = beat.angle(t)
        way = swing(angle) * size * beat.amplitude(t)
        place = (
            belly + towards(way * np.sin(slant), way * np.cos(slant), -0.2 * np.abs(way)) + drift(t)
        )
        moves.bring(strum, place, elbow, build)
        moves.palm[:, strum] = (-0.2, -0.3, -1.0)
        moves.turn[:, strum] = wrist * swing(angle - 0.6)
        moves.curl[:, strum] = curl
        slide = along(t)
        place = neck + towards(slide, 0.45 * slide, 0.0) + 0.6 * drift(t)
        moves.bring(hold, place, under, build)
        moves.palm[:, hold] = (-0.3, 0.5, -0.6)
        moves.flex[:, hold] = 0.3 + fret_size * fret(t)
        moves.curl[:, hold] = np.clip(0.5 + fret_size * fret(t), 0, 1)

    return fill
