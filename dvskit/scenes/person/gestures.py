"""The movements of the eleven classes of DVS128 Gesture (Amir et al. 2017), in human timing.

Cycles drift, grow and shrink, and are not sines. All are functions of time alone, made of sines
drawn by a generator, so a movement can be evaluated at any time and in any order.

Arms are described relative to the body, (outward, up, forward) from the shoulder, so descriptions
of the right arm hold for the left. Clockwise is as the person sees it: from the top the right arm
goes outward, the left arm inward. Seen from the front, both turn counter-clockwise. A movement of
the class "other" fills in the limbs that it moves; the other arms rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dvskit.scenes.person.body import LEFT, RIGHT, Array, Build, Moves, unit

Signal = Callable[[Array], Array]


def wander(rng: np.random.Generator, size: float, hz: tuple[float, float] = (0.12, 0.9)) -> Signal:
    """Return a smooth random movement of standard deviation `size` about 0."""
    rates = np.exp(rng.uniform(np.log(hz[0]), np.log(hz[1]), 4))
    phases = rng.uniform(0, 2 * np.pi, 4)
    weights = rng.uniform(0.4, 1.0, 4) / rates**0.5
    weights *= size * np.sqrt(2 / (weights * weights).sum())

    def at(t: Array) -> Array:
        waves = np.sin(2 * np.pi * np.multiply.outer(t, rates) + phases)
        return np.asarray((waves * weights).sum(-1))

    return at


def wander3(rng: np.random.Generator, sizes: tuple[float, float, float]) -> Signal:
    """Return three smooth random movements, (T, 3)."""
    parts = [wander(rng, size) for size in sizes]
    return lambda t: np.stack([part(t) for part in parts], -1)


@dataclass(frozen=True)
class Rhythm:
    """Cycles of a movement with a mean rate `hz`.

    angle(t)      the phase of the cycle, in radians; never runs backwards
    amplitude(t)  the size of the movement, 1 on average
    """

    hz: float
    phase: float
    drift: Signal
    swell: Signal

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, hz: tuple[float, float], unsteady: float = 1.0
    ) -> Rhythm:
        """Return a rhythm between two rates; `unsteady` scales the variation between cycles."""
        rate = float(np.exp(rng.uniform(*np.log(hz))))
        drift = wander(rng, unsteady * rng.uniform(0.05, 0.3), (0.2, max(0.25, 0.7 * rate)))
        swell = wander(rng, unsteady * rng.uniform(0.02, 0.13), (0.2, max(0.25, 0.7 * rate)))
        return cls(rate, rng.uniform(0, 2 * np.pi), drift, swell)

    def angle(self, t: Array) -> Array:
        """Return the angle of the cycle at times in seconds."""
        return 2 * np.pi * self.hz * t + self.phase + self.drift(t)

    def amplitude(self, t: Array) -> Array:
        """Return the amplitude at times in seconds."""
        return np.maximum(1 + self.swell(t), 0.3)


@dataclass(frozen=True)
class Swing:
    """To and fro between -1 and 1, like a hand.

    hold  0 is a sine, 3 stays at both ends      lean  faster in one direction than the other
    """

    hold: float
    lean: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, hold: float = 1.6, lean: float = 0.45) -> Swing:
        """Return a random swing, with at most these values."""
        return cls(rng.uniform(0.05, hold), rng.uniform(-lean, lean))

    def __call__(self, angle: Array) -> Array:
        """Return the position of the swing at angles of its cycle."""
        wave = np.sin(angle + self.lean * np.sin(angle))
        return np.asarray(np.tanh(self.hold * wave) / np.tanh(self.hold))


def knock(angle: Array, sharp: float) -> Array:
    """Return a beat: 0 at rest above most of the time, 1 at the stroke; sharper with `sharp`."""
    return np.asarray(np.exp(sharp * (np.cos(angle) - 1)))


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
