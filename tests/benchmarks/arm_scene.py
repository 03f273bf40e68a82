"""A flat person who waves: the scene that the calibration's claims are measured with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_fields, checked, in_range
from dvskit.errors import ConfigError, check_known
from dvskit.events import Size, as_size
from tests.benchmarks.arm_figure import (
    Image,
    Parts,
    Point,
    Sprite,
    Tones,
    draw_parts,
    paste,
    wall_pattern,
)
from tests.benchmarks.arm_motion import GESTURES, Limbs, Pose, hanging, pose

Frame = NDArray[np.uint8]

_SIZE = Size(240, 180)

_CYCLE_HZ = {
    "hand wave": (1.2, 2.2),
    "arm clockwise": (0.8, 1.4),
    "arm counter-clockwise": (0.8, 1.4),
    "arm up-down": (0.6, 1.1),
    "hand clap": (1.0, 2.0),
}


@dataclass(frozen=True)
class ArmScene:
    """A person who faces the camera and makes one gesture; iterating gives (t_us, frame).

    gesture        one of GESTURES; "clockwise" is as seen in the picture
    size           of the frames, in pixels; the person's size follows the height
    fps            frames per second
    duration_us    frames lie at 0 <= t < duration_us
    seed           draws the wall's and the shirt's pattern and the noise
    arm            the person's own: the right arm is on the left of the picture
    cycle_hz       gestures per second
    phase          where in the gesture the clip begins, in turns
    amplitude      1 is the usual size of the movement, 0 to 1.2
    centre_x       the middle of the chest, in picture widths
    shoulder_y     the height of the shoulders from the top, in picture heights
    head           the height of the head, in picture heights
    arm_length     1 is the usual length in proportion to the head
    skin, shirt, trousers, hair, wall    reflectances, 0 to 1
    texture        the contrast of the wall's pattern, 0 to 1
    long_sleeves   whether the forearm is covered
    sway           how far the body moves to and fro, in head heights
    noise          standard deviation of the camera's noise, in gray levels of 255

    A frame depends on the fields and on its time alone. Raises ConfigError for values out of range
    and GeometryError for an impossible size.
    """

    gesture: str = "hand wave"
    size: Size = _SIZE
    fps: int = checked(in_range, 1, 100_000, default=200)
    duration_us: int = checked(in_range, 0, 10**15, default=2_000_000)
    seed: int = checked(in_range, 0, 2**63, default=0)
    arm: Literal["left", "right"] = "right"
    cycle_hz: float = checked(in_range, 0, 100, default=1.4)
    phase: float = checked(in_range, -1e6, 1e6, default=0.0)
    amplitude: float = checked(in_range, 0, 1.2, default=1.0)
    centre_x: float = checked(in_range, -1, 2, default=0.5)
    shoulder_y: float = checked(in_range, -1, 2, default=0.52)
    head: float = checked(in_range, 0.02, 1, default=0.15)
    arm_length: float = checked(in_range, 0.5, 1.5, default=1.0)
    skin: float = checked(in_range, 0, 1, default=0.72)
    shirt: float = checked(in_range, 0, 1, default=0.45)
    trousers: float = checked(in_range, 0, 1, default=0.14)
    hair: float = checked(in_range, 0, 1, default=0.1)
    wall: float = checked(in_range, 0, 1, default=0.3)
    texture: float = checked(in_range, 0, 1, default=0.05)
    long_sleeves: bool = False
    sway: float = checked(in_range, 0, 1, default=0.03)
    noise: float = checked(in_range, 0, 255, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_size(self.size))
        check_known("gesture", self.gesture, GESTURES)
        if self.arm not in ("left", "right"):
            raise ConfigError(f"arm {self.arm!r} is neither 'left' nor 'right'")
        check_fields(self)

    @classmethod
    def random(
        cls,
        gesture: str,
        seed: int,
        *,
        size: tuple[int, int] = (240, 180),
        fps: int = 200,
        duration_us: int = 2_000_000,
    ) -> ArmScene:
        """Return a scene with person, speed, place and light drawn from `seed`.

        The same gesture and seed give the same scene at every size and rate.
        """
        check_known("gesture", gesture, GESTURES)
        rng = np.random.default_rng((seed, GESTURES.index(gesture)))
        draw = rng.uniform
        before_dark = rng.random() < 0.5
        return cls(
            gesture=gesture,
            size=as_size(size),
            fps=fps,
            duration_us=duration_us,
            seed=seed,
            arm="left" if rng.random() < 0.5 else "right",
            cycle_hz=draw(*_CYCLE_HZ[gesture]),
            phase=draw(0, 1),
            amplitude=draw(0.8, 1.15),
            centre_x=draw(0.45, 0.55),
            shoulder_y=draw(0.48, 0.57),
            head=draw(0.135, 0.16),
            arm_length=draw(0.92, 1.06),
            # Skin and wall are kept apart: an arm of the wall's brightness makes no events.
            skin=draw(0.5, 0.8) if before_dark else draw(0.25, 0.42),
            wall=draw(0.14, 0.28) if before_dark else draw(0.62, 0.8),
            shirt=draw(0.4, 0.85) if before_dark else draw(0.12, 0.42),
            trousers=draw(0.08, 0.5),
            hair=draw(0.05, 0.2),
            texture=draw(0.01, 0.05),
            long_sleeves=bool(rng.random() < 0.4),
            sway=draw(0.0, 0.05),
            noise=draw(0.0, 1.0),
        )

    def __iter__(self) -> Iterator[tuple[int, Frame]]:
        return self.frames()

    def times_us(self) -> Iterator[int]:
        """Yield the times of the frames, from 0 to below duration_us."""
        count = -(-self.duration_us * self.fps // 1_000_000)
        return (n * 1_000_000 // self.fps for n in range(count))

    def frames(self, times_us: Iterable[int] | None = None) -> Iterator[tuple[int, Frame]]:
        """Yield (t_us, frame) at the given times, or at those of `times_us()`.

        A frame is (H, W) uint8. Times may come in any order and at any distance.
        """
        rng = np.random.default_rng(self.seed)
        limbs = Limbs(1.4 * self.arm_length, 1.15 * self.arm_length, 0.95)
        head_px = self.head * self.size.height
        tones = Tones(255 * self.skin, 255 * self.shirt, 255 * self.trousers, 255 * self.hair)
        parts = draw_parts(limbs, head_px, tones, self.long_sleeves, rng)
        wall = self._wall(rng)
        for t_us in self.times_us() if times_us is None else times_us:
            picture = wall.copy()
            self._paint(picture, t_us / 1e6, parts, limbs)
            if self.noise:
                grain = np.random.default_rng((self.seed, t_us))
                picture += self.noise * grain.standard_normal(picture.shape, np.float32)
            yield t_us, np.rint(np.clip(picture, 0, 255)).astype(np.uint8)

    def _wall(self, rng: np.random.Generator) -> Image:
        pattern = wall_pattern(rng, self.size)
        light = np.linspace(1.1, 0.85, self.size.height, dtype=np.float32)[:, None]
        return np.clip(255 * self.wall * light * (1 + self.texture * pattern), 0, 255)

    def _paint(self, picture: Image, t: float, parts: Parts, limbs: Limbs) -> None:
        head_px = self.head * self.size.height
        roll = 0.4 * self.sway * sin(2 * pi * 0.4 * t + 1)
        chest = (
            self.centre_x * self.size.width + head_px * self.sway * sin(2 * pi * 0.55 * t),
            self.shoulder_y * self.size.height + head_px * 0.3 * self.sway * sin(2 * pi * 0.3 * t),
        )
        paste(picture, parts.body, chest, roll)
        turns = self.phase + self.cycle_hz * t
        moving = {"right": -1, "left": 1}[self.arm]
        for outward in (-moving, moving):
            if outward == moving or self.gesture == "hand clap":
                arm = pose(self.gesture, turns, self.amplitude, limbs, outward)
            else:
                arm = hanging(limbs)
            joint = (
                chest[0] + outward * limbs.shoulder * head_px,
                chest[1] + outward * roll * limbs.shoulder * head_px,
            )
            _paste_arm(picture, parts, arm, limbs, (joint, outward, head_px))


def _paste_arm(
    picture: Image,
    parts: Parts,
    arm: Pose,
    limbs: Limbs,
    frame: tuple[tuple[float, float], int, float],
) -> None:
    """Draw an arm; `frame` is its shoulder in pixels, its side (-1 is mirrored) and the head."""
    shoulder, outward, head_px = frame

    def bone(sprite: Sprite, start: Point, end: Point, length: float) -> None:
        dx, dy = end[0] - start[0], end[1] - start[1]
        joint = (shoulder[0] + outward * start[0] * head_px, shoulder[1] + start[1] * head_px)
        paste(
            picture,
            sprite,
            joint,
            atan2(dy, outward * dx),
            stretch=hypot(dx, dy) / length,
            mirror=outward,
        )

    tip = (arm.wrist[0] + cos(arm.hand), arm.wrist[1] + sin(arm.hand))
    # The upper arm lies behind, and a cuff covers the wrist.
    bone(parts.upper_arm, (0.0, 0.0), arm.elbow, limbs.upper)
    bone(parts.hand, arm.wrist, tip, 1.0)
    bone(parts.forearm, arm.elbow, arm.wrist, limbs.fore)
