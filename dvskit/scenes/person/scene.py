"""A drawn person who makes a gesture in front of a wall: frames from a seed or a skeleton."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit._checks import check_fields, check_known, check_whole, checked
from dvskit.events import Size, as_size
from dvskit.scenes.person.body import Build, Joints, joints
from dvskit.scenes.person.figure import PersonCamera, parts, profile
from dvskit.scenes.person.look import Look, View, backdrop, cloths
from dvskit.scenes.person.motion import (
    LARGEST_SEED,
    PERSON_GESTURES,
    GestureMotion,
    PersonMotion,
    SkeletonMotion,
    mirrored,
)
from dvskit.scenes.person.painting_kernels import paint

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

        joints_m     (T, 20, 3) metres, as in `scenes.person.motion`; gaps are filled in
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

        Metres; x to the right of the picture, y up, z away from the camera, before any mirror.
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
        """Return the position of the hand that moves most, else of the head: x, y in metres."""
        body = self.joints(range(0, 2_000_000, 50_000))
        palms = body.knuckles.mean(2)
        spread = palms.std(0).sum(-1)
        if spread.max() < 0.04:
            return np.asarray(body.head.mean(0))
        return np.asarray(palms[:, int(spread.argmax())].mean(0))


def _near(place: NDArray[np.float64], rng: np.random.Generator) -> View:
    """Return a view with a position (x, y, z in metres) large and somewhere in the middle."""
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
