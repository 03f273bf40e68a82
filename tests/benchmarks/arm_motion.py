"""How an arm moves in each gesture: joints as a function of the turns made since the start.

Lengths are in head heights, angles in radians. A pose is written for an arm whose shoulder is at
the origin, with x pointing away from the body and y pointing down.
"""

from __future__ import annotations

from collections.abc import Callable
from math import acos, atan2, cos, hypot, pi, sin
from typing import NamedTuple


class Limbs(NamedTuple):
    """Lengths in head heights; `shoulder` is from the middle of the chest to the joint."""

    upper: float
    fore: float
    shoulder: float


class Pose(NamedTuple):
    """Where an arm is seen: its elbow, its wrist and the angle at which the hand points.

    A bone that points out of the picture is seen shorter than it is.
    """

    elbow: tuple[float, float]
    wrist: tuple[float, float]
    hand: float


Motion = Callable[[float, float, Limbs], Pose]


def _along(angle: float, length: float) -> tuple[float, float]:
    return length * cos(angle), length * sin(angle)


def _chain(upper: float, fore: float, hand: float, limbs: Limbs) -> Pose:
    """Return the pose whose upper arm, forearm and hand point at three angles."""
    elbow = _along(upper, limbs.upper)
    step = _along(fore, limbs.fore)
    return Pose(elbow, (elbow[0] + step[0], elbow[1] + step[1]), hand)


def _reach(wrist: tuple[float, float], bend: float, limbs: Limbs) -> Pose:
    """Return the pose that brings the wrist to a point, the elbow hanging on the lower side.

    The law of cosines gives the angle between the upper arm and the line to the wrist. A point out
    of reach is approached as near as the arm goes. The hand is bent from the forearm by `bend`.
    """
    far = hypot(*wrist)
    far = min(max(far, 1.001 * abs(limbs.upper - limbs.fore)), 0.999 * (limbs.upper + limbs.fore))
    corner = (limbs.upper**2 + far**2 - limbs.fore**2) / (2 * limbs.upper * far)
    line = atan2(wrist[1], wrist[0])
    elbow = _along(line + acos(corner), limbs.upper)
    end = _along(line, far)
    fore = atan2(end[1] - elbow[1], end[0] - elbow[0])
    return Pose(elbow, end, fore + bend)


def _wave(turns: float, amplitude: float, limbs: Limbs) -> Pose:
    """The forearm swings about an upright position; the hand trails behind it."""
    swing = 2 * pi * turns
    fore = -0.44 * pi + 0.6 * amplitude * sin(swing)
    return _chain(
        0.27 * pi + 0.06 * amplitude * sin(swing + 0.5),
        fore,
        fore + 0.4 * amplitude * sin(swing - 0.9),
        limbs,
    )


def _circle(turns: float, amplitude: float, limbs: Limbs) -> Pose:
    """The wrist runs around a circle beside the shoulder, clockwise where x points right."""
    span = limbs.upper + limbs.fore
    run = 2 * pi * turns
    reach = 0.36 * amplitude * span
    return _reach((0.55 * span + reach * cos(run), reach * sin(run)), 0.25 * sin(run), limbs)


def _lift(turns: float, amplitude: float, limbs: Limbs) -> Pose:
    """The long arm rises sideways from the hip to above the head and sinks again."""
    swing = 2 * pi * turns
    upper = pi / 2 - (0.46 * pi - 0.36 * pi * amplitude * cos(swing))
    fore = upper - 0.12 - 0.18 * amplitude * sin(swing)
    return _chain(upper, fore, fore + 0.25 * amplitude * sin(swing), limbs)


def _clap(turns: float, amplitude: float, limbs: Limbs) -> Pose:
    """The hand runs between the middle of the chest and a place before its own shoulder.

    The elbow stays low, so the forearm points at the camera and looks shorter when hands part.
    """
    gap = amplitude * (0.5 + 0.5 * cos(2 * pi * turns))
    elbow = _along((0.45 - 0.05 * gap) * pi, 0.95 * limbs.upper)
    wrist = (0.22 + 0.65 * gap - limbs.shoulder, 0.8 - 0.1 * gap)
    return Pose(elbow, wrist, (-0.55 + 0.15 * gap) * pi)


_MOTIONS: dict[str, Motion] = {
    "hand wave": _wave,
    "arm clockwise": _circle,
    "arm counter-clockwise": _circle,
    "arm up-down": _lift,
    "hand clap": _clap,
}
GESTURES = tuple(_MOTIONS)


def pose(gesture: str, turns: float, amplitude: float, limbs: Limbs, outward: int) -> Pose:
    """Return the pose of an arm after `turns` cycles of a gesture.

    `outward` is +1 where the arm is on the right side of the picture, -1 on the left: the caller
    mirrors the pose there, and a mirror turns clockwise around.
    """
    if gesture == "arm clockwise":
        turns *= outward
    elif gesture == "arm counter-clockwise":
        turns *= -outward
    return _MOTIONS[gesture](turns, amplitude, limbs)


def hanging(limbs: Limbs) -> Pose:
    """Return the pose of an arm at rest beside the body."""
    return _chain(0.45 * pi, 0.49 * pi, 0.5 * pi, limbs)
