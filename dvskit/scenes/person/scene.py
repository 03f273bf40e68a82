"""A drawn person before a wall who makes a gesture, by name and seed, or moves like a skeleton.

Skeletons are those of Kinect: 20 joints in meters, in the order of KINECT_JOINTS, x to the right of
the picture, y up, z away from the camera, so the person's right hand is on the left. They are
repaired and smoothed in time, joint by joint. Only the directions of the bones are used; their
lengths are those of the drawn body.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit._checks import (
    check_fields,
    check_known,
    check_number,
    check_whole,
    checked,
    checked_dataclass,
)
from dvskit.errors import ShapeError
from dvskit.events import Size, as_size
from dvskit.scenes.depth_clip import KINECT_JOINTS
from dvskit.scenes.person.body import LEFT, RIGHT, SIDES, Array, Build, Joints, Moves, joints, unit
from dvskit.scenes.person.figure import Look, PersonCamera, View, backdrop, cloths, parts, profile
from dvskit.scenes.person.gestures import (
    Part,
    circling,
    clapping,
    doing_otherwise,
    drumming,
    resting,
    rolling,
    strumming,
    wander,
    wander3,
    waving,
)
from dvskit.scenes.person.person_kernels import paint

LARGEST_SEED = 2**62

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
"""The classes of DVS128 Gesture in their order; sides and turns are the person's own."""

MIRRORED = {
    "right_hand_wave": "left_hand_wave",
    "right_arm_clockwise": "left_arm_counter_clockwise",
    "right_arm_counter_clockwise": "left_arm_clockwise",
}
MIRRORED |= {left: right for right, left in MIRRORED.items()}

_OF_MSR = (19, 2, 3, 6, 0, 7, 9, 11, 1, 8, 10, 12, 4, 13, 15, 17, 5, 14, 16, 18)
_PARENTS = (1, 2, 3, 3, 1, 4, 5, 6, 1, 8, 9, 10, 3, 12, 13, 14, 3, 16, 17, 18)
_JUMP_M = 0.3  # no limb returns from this distance to the median of five frames
_LEAST_S = 0.035  # smoothing in time: faster motion of a skeleton is noise


def mirrored(gesture: str) -> str:
    """Return the gesture seen in a mirror: the other arm, and the other direction."""
    return MIRRORED.get(gesture, gesture)


class PersonMotion(Protocol):
    """The movement of a body over time."""

    def moves(self, t_s: Array, build: Build) -> Moves:
        """Return the movements at times (T,) in seconds; each depends on its time alone."""
        ...


@checked_dataclass(frozen=True)
class GestureMotion:
    """One of PERSON_GESTURES, as made by a person drawn from the seed.

    speed    1 is the drawn person's own      start_s  where in the gesture the clip begins
    rest_s   rest of the arms at the start    rise_s   duration of the transition to the gesture; 0:
                                                       the gesture runs from the start

    Raises ConfigError for an unknown gesture and values out of range.
    """

    gesture: str
    seed: int = checked(check_whole, 0, LARGEST_SEED)
    speed: float = checked(check_number, 0, 100, default=1.0)
    start_s: float = checked(check_number, -1e6, 1e6, default=0.0)
    rest_s: float = checked(check_number, 0, 1e6, default=0.0)
    rise_s: float = checked(check_number, 0, 1e6, default=0.0)

    def __post_init__(self) -> None:
        check_known("gesture", self.gesture, PERSON_GESTURES)
        check_fields(self)

    def moves(self, t_s: Array, build: Build) -> Moves:
        """Return the movements of the person at times (T,) in seconds."""
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
        """Rest first, then go over smoothly to the movements, the arms ahead and outward."""
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
    """Add the movement of the rest of the body: it sways, and the trunk follows the arms."""
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


def from_msr_action3d(joints: ArrayLike) -> Array:
    """Return a skeleton of MSR Action3D (Li, Zhang, Liu 2010) in the layout of this module.

    joints  (T, 20, 3) or (T, 20, 4) with the confidence: its own order of joints, x mirrored

    Returns (T, 20, 3) meters. Raises ShapeError.
    """
    given = np.asarray(joints, dtype=float)
    if given.ndim != 3 or given.shape[1] != 20 or given.shape[2] not in (3, 4):
        raise ShapeError(f"joints have shape {given.shape}; it must be (frames, 20, 3 or 4)")
    return np.asarray(given[:, _OF_MSR, :3] * [-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Mended:
    """A skeleton without gaps, and the number of filled gaps, interpolated linearly.

    joints   (T, 20, 3) meters
    missing  frames without a skeleton: all joints 0, or one not a number
    jumps    joints that were elsewhere for a frame or two, or off the end of their bone
    """

    joints: Array
    missing: int
    jumps: int


def mend(joints: ArrayLike) -> Mended:
    """Return a skeleton in which missing frames and jumping joints are filled in, and counted.

    joints  (T, 20, 3) meters

    Raises ShapeError for another shape, and if fewer than two frames have a skeleton.
    """
    given = np.array(joints, dtype=float)
    if given.ndim != 3 or given.shape[1:] != (20, 3):
        raise ShapeError(
            f"joints have shape {given.shape}; it must be (frames, 20, 3) in meters: "
            "from_msr_action3d converts that set's, joints[..., :3] drops a confidence"
        )
    known = frames_with_skeleton(given)
    if known.sum() < 2:
        raise ShapeError(
            f"{known.sum()} of {len(given)} frames have a skeleton (finite, not all 0); "
            "two are needed"
        )
    whole = np.broadcast_to(known[:, None], given.shape[:2]).copy()
    filled = _filled(given, whole)
    steady = whole & ~_elsewhere(filled)
    filled = _filled(given, steady)
    bones = np.linalg.norm(filled - filled[:, _PARENTS], axis=-1)
    good = steady & ~(bones > 1.5 * np.median(bones, 0) + 0.1)
    # A joint that is wrong in most frames cannot be filled in.
    good |= whole & (good.mean(0) < 0.6)
    return Mended(_filled(given, good), int((~known).sum()), int((whole & ~good).sum()))


def frames_with_skeleton(joints: Array) -> NDArray[np.bool_]:
    """Return (T,) whether all `joints` (T, J, 3 or 4) of a frame are finite and not all 0."""
    return np.asarray(np.isfinite(joints).all((1, 2)) & joints.any((1, 2)))


def _filled(joints: Array, good: NDArray[np.bool_]) -> Array:
    frames = np.arange(len(joints))
    filled = joints.copy()
    for joint in range(joints.shape[1]):
        at = good[:, joint]
        if at.all() or not at.any():
            continue
        for axis in range(3):
            known = joints[at, joint, axis]
            filled[:, joint, axis] = np.interp(frames, frames[at], known)
    return filled


def _elsewhere(joints: Array) -> NDArray[np.bool_]:
    padded = np.pad(joints, ((2, 2), (0, 0), (0, 0)), mode="edge")
    around = np.stack([padded[n : n + len(joints)] for n in range(5)])
    away = np.linalg.norm(joints - np.median(around, 0), axis=-1)
    return np.asarray(away > _JUMP_M)


@dataclass(frozen=True, eq=False)
class SkeletonMotion:
    """The motion of a body by a recorded skeleton.

    joints  (T, 20, 3) meters, as returned by `mend`       t_s  (T,) seconds, increasing

    Between its frames the skeleton moves smoothly: a Gaussian mean in time, 0.6 frames wide and at
    least 35 ms, applied twice (Tukey's twicing), so swings up to 3 Hz keep nine tenths of their
    size.
    """

    joints: Array
    t_s: Array
    mended: Mended | None = None

    @classmethod
    def of(cls, joints_m: ArrayLike, t_us: ArrayLike) -> SkeletonMotion:
        """Return the motion of a skeleton (T, 20, 3) with the times (T,) of its frames in us.

        The skeleton is repaired; `mended` reports the repairs. Raises ShapeError.
        """
        times = np.asarray(t_us)
        mended = mend(joints_m)
        if times.shape != (len(mended.joints),) or times.dtype.kind not in "iuf":
            raise ShapeError(
                f"t_us is {times.dtype} of shape {times.shape}; it must be "
                f"({len(mended.joints)},) microseconds, one per frame"
            )
        seconds = (times - times[0]) / 1e6
        if not (np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()):
            number = int(np.argmin(np.diff(seconds) > 0)) + 1
            raise ShapeError(f"t_us does not increase at frame {number}; give frames later times")
        return cls(mended.joints, seconds, mended)

    def places(self, t_s: Array) -> Array:
        """Return the joints (N, 20, 3) at times (N,) in seconds; constant beyond the ends."""
        flat = self.joints.reshape(len(self.joints), -1)
        width = max(_LEAST_S, 0.6 * float(np.median(np.diff(self.t_s))))

        def smooth(at: Array, values: Array) -> Array:
            near = np.exp(-0.5 * ((at[:, None] - self.t_s) / width) ** 2) + 1e-300
            return np.asarray(near @ values / near.sum(1, keepdims=True))

        twice = flat + (flat - smooth(self.t_s, flat))
        at = np.clip(np.asarray(t_s, float), self.t_s[0], self.t_s[-1])
        return smooth(at, twice).reshape(-1, 20, 3)

    def moves(self, t_s: Array, build: Build) -> Moves:
        """Return the movements of a body with some build at times (N,) in seconds."""
        place = dict(zip(KINECT_JOINTS, np.moveaxis(self.places(t_s), 1, 0), strict=True))
        usual = dict(zip(KINECT_JOINTS, np.median(self.joints, 0), strict=True))
        moves = Moves.still(len(place["head"]))
        scale = build.trunk / max(float(np.linalg.norm(usual["neck"] - usual["hips"])), 0.1)
        spine = unit(place["neck"] - place["hips"])
        moves.lean = np.stack([np.arcsin(spine[:, 0]), np.arctan2(-spine[:, 2], spine[:, 1])], 1)
        across = unit(place["left_shoulder"] - place["right_shoulder"])
        moves.yaw = np.arctan2(across[:, 2], across[:, 0])
        moves.tilt = np.arcsin(np.clip(across[:, 1] + 0.5 * spine[:, 0], -0.9, 0.9))
        moves.sway = scale * (place["hips"] - usual["hips"])
        nod = unit(place["head"] - place["neck"])
        moves.look[:, 1] = 0.5 * (np.arctan2(-nod[:, 2], nod[:, 1]) - moves.lean[:, 1])
        moves.look[:, 2] = 0.7 * (np.arcsin(nod[:, 0]) - moves.lean[:, 0])
        for arm, side in ((RIGHT, "right"), (LEFT, "left")):
            _arm(moves, arm, [place[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist")])
            step = scale * (place[f"{side}_ankle"] - usual[f"{side}_ankle"])
            moves.feet[:, arm] = step * [SIDES[arm], 1.0, -1.0]
        return moves


def _arm(moves: Moves, arm: int, places: list[Array]) -> None:
    """Set an arm from its shoulder, elbow and wrist in space."""
    cos_yaw, sin_yaw = np.cos(moves.yaw), np.sin(moves.yaw)

    def beside(bone: Array) -> Array:
        outward = SIDES[arm] * (bone[:, 0] * cos_yaw + bone[:, 2] * sin_yaw)
        forward = bone[:, 0] * sin_yaw - bone[:, 2] * cos_yaw
        return unit(np.stack([outward, bone[:, 1], forward], 1))

    shoulder, elbow, wrist = places
    moves.upper[:, arm], moves.fore[:, arm] = beside(elbow - shoulder), beside(wrist - elbow)
    # a hanging hand looks inward, a raised one forward
    raised = 0.5 + 0.5 * np.tanh(3 * (moves.fore[:, arm, 1] + 0.4))
    moves.palm[:, arm] = np.stack([raised - 1.0, -0.3 * raised, raised - 0.2], 1)


Frame = NDArray[np.uint16]

_SIZE = Size(128, 128)
_BLOCK = 64  # frames that are laid out at once


@dataclass(frozen=True)
class PersonScene:
    """A person who faces the camera and makes a gesture; iterating gives (t_us, frame).

    gesture      one of PERSON_GESTURES, as the frames show it
    size         of the frames, in pixels; the view scales with the height
    fps          frames per second; a fast hand moves some 3 pixels of 128 in 1/200 s
    duration_us  frames lie at 0 <= t < duration_us
    seed         draws the motion, if none is given
    look, view, build   see `Look`, `View` and `Build`
    motion       of the body; None for the gesture, drawn from the seed
    in_mirror    frames show the mirrored gesture, with left and right exchanged

    Frames are (H, W) uint16, 65535 is white: slow movements pass between the steps of 8 bits.
    A frame depends on the fields and on its time alone. Raises ConfigError for values out of range
    and an unknown gesture, GeometryError for an impossible size.

        scene = dvskit.scenes.PersonScene.random("hand_clap", seed=1, size=(64, 64))
        t_us, frame = next(iter(scene))  # 0, (64, 64) uint16
        events = dvskit.emulate(scene).load()
    """

    transfer: ClassVar[str] = "linear"  # frames hold light, not codes of it
    gesture: str = "right_hand_wave"
    size: Size = _SIZE
    fps: int = checked(check_whole, 1, 100_000, default=200)
    duration_us: int = checked(check_whole, default=1_450_000)
    seed: int = checked(check_whole, 0, LARGEST_SEED, default=0)
    look: Look = field(default_factory=Look)
    view: View = field(default_factory=View)
    build: Build = field(default_factory=Build)
    motion: PersonMotion | None = None
    in_mirror: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_size(self.size))
        check_known("gesture", self.gesture, PERSON_GESTURES)
        check_fields(self)

    @classmethod
    def random(
        cls,
        gesture: str,
        seed: int,
        *,
        size: tuple[int, int] = (128, 128),
        fps: int = 200,
        duration_us: int = 1_450_000,
        close: bool = False,
    ) -> PersonScene:
        """Return a scene with person, clothes, wall, light, place and motion drawn from `seed`.

        The same gesture and seed give the same scene at every size and rate. Three in ten rest
        first and begin in view. `close` brings the camera near to the hand that moves most or, if
        none does, to the head.
        """
        check_known("gesture", gesture, PERSON_GESTURES)
        check_whole("seed", seed, 0, LARGEST_SEED)
        rng = np.random.default_rng((seed, PERSON_GESTURES.index(gesture)))
        scene = cls(
            gesture=gesture,
            size=as_size(size),
            fps=fps,
            duration_us=duration_us,
            seed=seed,
            look=Look.drawn(rng),
            view=View.drawn(rng),
            build=Build.drawn(rng),
        )
        if rng.random() < 0.3:
            rest_s, rise_s = rng.uniform(0, 0.5), rng.uniform(0.2, 0.6)
            motion = GestureMotion(gesture, seed, rest_s=rest_s, rise_s=rise_s)
            scene = replace(scene, motion=motion)
        return replace(scene, view=_near(scene._busiest(), rng)) if close else scene

    @classmethod
    def from_joints(
        cls,
        joints_m: ArrayLike,
        t_us: ArrayLike,
        seed: int,
        *,
        gesture: str = "other",
        size: tuple[int, int] = (128, 128),
        fps: int = 200,
        duration_us: int | None = None,
    ) -> PersonScene:
        """Return a scene of a person drawn from `seed`, moved by a recorded skeleton.

        joints_m     (T, 20, 3) meters, as in `scenes.person.motion`; gaps are filled in
        t_us         (T,) times of its frames
        gesture      its class, of PERSON_GESTURES
        duration_us  None for the whole recording; after its end the body stands still

        `scene.motion.mended` reports the gaps. Raises ShapeError, ConfigError.
        """
        motion = SkeletonMotion.of(joints_m, t_us)
        drawn = cls.random(gesture, seed, size=size, fps=fps)
        whole = round(float(motion.t_s[-1]) * 1e6)
        return replace(
            drawn, motion=motion, duration_us=whole if duration_us is None else duration_us
        )

    def flipped(self) -> PersonScene:
        """Return the mirrored scene, named after the gesture seen there."""
        return replace(self, gesture=mirrored(self.gesture), in_mirror=not self.in_mirror)

    def joints(self, times_us: Iterable[int] | None = None) -> Joints:
        """Return the positions of the joints at the given times, or at those of `times_us()`.

        Meters; x to the right of the picture, y up, z away from the camera, before any mirror.
        """
        times = np.array(list(self.times_us() if times_us is None else times_us), float) / 1e6
        return joints(self._motion().moves(times, self.build), self.build)

    def __iter__(self) -> Iterator[tuple[int, Frame]]:
        return self.frames()

    def times_us(self) -> Iterator[int]:
        """Yield the times of the frames, from 0 to below duration_us."""
        count = -(-self.duration_us * self.fps // 1_000_000)
        return (n * 1_000_000 // self.fps for n in range(count))

    def frames(self, times_us: Iterable[int] | None = None) -> Iterator[tuple[int, Frame]]:
        """Yield (t_us, frame) at the given times, or at those of `times_us()`, in any order."""
        width, height = self.size
        wall = backdrop(self.look, height, width)
        painted = cloths(self.look), profile(self.build, self.look)
        lit = *painted, self.look.light(), self.look.face()
        blur = max(1.0, self.view.blur * height)
        canvas = np.empty_like(wall), np.empty_like(wall)
        times = iter(self.times_us() if times_us is None else times_us)
        while block := list(islice(times, _BLOCK)):
            body = self.joints(block)
            rows = parts(body, self.build, self.look, self.view, width, height).astype(np.float32)
            for t_us, row in zip(block, rows, strict=True):
                frame = np.empty((height, width), np.uint16)
                paint(wall, row, lit, blur, canvas, frame)
                yield t_us, np.ascontiguousarray(frame[:, ::-1]) if self.in_mirror else frame

    def _motion(self) -> PersonMotion:
        if self.motion is not None:
            return self.motion
        return GestureMotion(mirrored(self.gesture) if self.in_mirror else self.gesture, self.seed)

    def _busiest(self) -> NDArray[np.float64]:
        """Return the position of the hand that moves most, else of the head: x, y in meters."""
        body = self.joints(range(0, 2_000_000, 50_000))
        palms = body.knuckles.mean(2)
        spread = palms.std(0).sum(-1)
        if spread.max() < 0.04:
            return np.asarray(body.head.mean(0))
        return np.asarray(palms[:, int(spread.argmax())].mean(0))


def _near(place: NDArray[np.float64], rng: np.random.Generator) -> View:
    """Return a view with a position (x, y, z in meters) large and somewhere in the middle."""
    distance = rng.uniform(0.75, 1.6)
    view = View(
        height_m=rng.uniform(0.36, 0.75) * distance / max(distance + place[2], 0.3),
        distance_m=distance,
        x=0.0,
        y=0.0,
        turn=rng.normal(0, 7),
        rise=rng.normal(0, 4),
        roll=rng.normal(0, 4),
        blur=rng.uniform(0.006, 0.03),
    )
    x, y, _, _ = PersonCamera(view, 0, 1).see(place)
    return replace(view, x=rng.uniform(-0.3, 0.3) - float(x), y=rng.uniform(0.3, 0.7) - float(y))
