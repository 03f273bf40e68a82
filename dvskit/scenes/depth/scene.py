"""A depth clip as frames: a person with drawn skin, clothes, light and wall."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, check_seed, check_whole, checked
from dvskit.events import Size, as_size
from dvskit.scenes.depth import paint_kernels as paints
from dvskit.scenes.depth.clip import DepthClip
from dvskit.scenes.depth.surface import bones_of, head_to_hips, surface_of

Frame = NDArray[np.float32]

_SIZE = Size(128, 128)
_MOST_PX = 1.0  # largest motion between frames, where the scene sets the times
_LEAST_FRAMES = 2  # per frame of the clip
_EDGE_PX = 1.4  # width of the outline between wall and body: the blur of a lens
_TEXTURE = 64  # pixels per side


@dataclass(frozen=True, eq=False)
class DepthScene:
    """A person in a depth clip, lit; iterating gives (t_us, frame), frames (H, W) float32, 0 to 1.

    clip         the depth clip
    size         of the frames, in pixels
    fps          frames per second; None for as many as needed to move at most a pixel between
                 frames
    seed         draws the patterns of wall and cloth
    speed        1 is as recorded, 2 twice as fast
    flip         swap left and right: a right hand's gesture becomes a left hand's
    reach        from the top of the head to the hips, in picture heights
    centre_x, top   of the body's middle and of the head's top, in picture sizes
    azimuth, elevation   of the lamp, degrees: 0 is at the camera, 90 right or above
    ambient      share of ambient light
    specular     of skin
    skin, hair, shirt, trousers, wall    reflectances, 0 to 1
    sleeve       length of the sleeves: 0.5 half the upper arm, 1 the elbow, 2 the wrist
    texture      contrast of the cloth's folds and pattern
    stripes      contrast of the shirt's stripes, 0 for none
    print_contrast   of a patch on the chest, against the shirt: -1 is black
    wall_texture     contrast of the wall's pattern
    shadow       largest share of the wall's light that the person blocks

    A frame depends on the fields and its time alone. Raises ConfigError for values out of range and
    GeometryError for an impossible size.

        row, column = np.mgrid[:60, :40]
        depth = np.where(np.hypot(row - 30, column - 20) < 15, 2.0, np.nan).astype(np.float32)
        clip = dvskit.scenes.DepthClip(depth_m=np.stack([depth] * 5), t_us=np.arange(5) * 33_333)
        scene = dvskit.scenes.DepthScene(clip, size=dvskit.Size(64, 64))
        t_us, frame = next(iter(scene))  # 0, (64, 64) float32
    """

    clip: DepthClip
    size: Size = _SIZE
    fps: int | None = checked(check_whole, 1, 100_000, default=None)
    seed: int = checked(check_seed, default=0)
    speed: float = checked(check_number, 0.05, 20, default=1.0)
    flip: bool = False
    reach: float = checked(check_number, 0.05, 10, default=0.66)
    centre_x: float = checked(check_number, -2, 3, default=0.5)
    top: float = checked(check_number, -5, 3, default=0.16)
    azimuth: float = checked(check_number, -90, 90, default=30.0)
    elevation: float = checked(check_number, -90, 90, default=40.0)
    ambient: float = checked(check_number, 0, 1, default=0.4)
    specular: float = checked(check_number, 0, 1, default=0.1)
    skin: float = checked(check_number, 0.01, 1, default=0.6)
    hair: float = checked(check_number, 0.01, 1, default=0.1)
    shirt: float = checked(check_number, 0.01, 1, default=0.4)
    trousers: float = checked(check_number, 0.01, 1, default=0.15)
    wall: float = checked(check_number, 0.01, 1, default=0.3)
    sleeve: float = checked(check_number, 0, 2, default=0.5)
    texture: float = checked(check_number, 0, 0.5, default=0.06)
    stripes: float = checked(check_number, 0, 0.5, default=0.0)
    print_contrast: float = checked(check_number, -0.95, 2, default=0.0)
    wall_texture: float = checked(check_number, 0, 0.5, default=0.05)
    shadow: float = checked(check_number, 0, 0.9, default=0.15)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_size(self.size))
        check_fields(self)

    @classmethod
    def random(
        cls,
        clip: DepthClip,
        seed: int,
        *,
        size: tuple[int, int] = _SIZE,
        fps: int | None = None,
        flip: bool | None = None,
    ) -> DepthScene:
        """Return a scene with light, clothes, skin, wall, place, scale and speed drawn from `seed`.

        flip  None draws it; the caller must rename the gesture if its name changes with it.

        The same clip and seed give the same scene at every size and rate.
        """
        rng = np.random.default_rng((seed, 0xD3))
        draw = rng.uniform
        flipped = bool(rng.random() < 0.5)
        before_dark = rng.random() < 0.5
        skin, wall = (
            (draw(0.42, 0.75), draw(0.07, 0.25))
            if before_dark
            else (draw(0.12, 0.4), draw(0.55, 0.9))
        )
        # An arm as bright as its background makes no events.
        shirt = _apart(draw, 0.06, 0.85, (wall, skin))
        return cls(
            clip=clip,
            size=as_size(size),
            fps=fps,
            seed=seed,
            speed=float(np.exp(draw(np.log(0.8), np.log(1.25)))),
            flip=flipped if flip is None else flip,
            reach=draw(0.58, 0.74),
            centre_x=draw(0.42, 0.58),
            top=draw(0.1, 0.22),
            azimuth=draw(-60, 60),
            elevation=draw(10, 70),
            ambient=draw(0.3, 0.65),
            specular=draw(0.0, 0.15),
            skin=skin,
            wall=wall,
            shirt=shirt,
            trousers=_apart(draw, 0.05, 0.6, (wall,)),
            hair=draw(0.04, 0.25),
            sleeve=(0.4, 0.55, 0.7, 1.2, 1.9, 1.9)[int(rng.integers(6))],
            texture=draw(0.0, 0.12),
            stripes=draw(0.1, 0.35) if rng.random() < 0.2 else 0.0,
            print_contrast=draw(-0.7, 0.8) if rng.random() < 0.35 else 0.0,
            wall_texture=draw(0.0, 0.15),
            shadow=draw(0.05, 0.3) if rng.random() < 0.5 else 0.0,
        )

    @property
    def duration_us(self) -> int:
        """The duration of the scene: the clip's duration over the speed."""
        return int(self.clip.duration_us / self.speed)

    def __iter__(self) -> Iterator[tuple[int, Frame]]:
        return self.frames()

    def times_us(self) -> Iterator[int]:
        """Yield the times of the frames: from 0 to the clip's end."""
        if self.fps is not None:
            count = self.duration_us * self.fps // 1_000_000 + 1
            yield from (n * 1_000_000 // self.fps for n in range(count))
            return
        times = (self.clip.t_us - self.clip.t_us[0]) / self.speed
        for k, furthest in enumerate(_furthest(self.clip) * _placed(self)[1]):
            frames = max(_LEAST_FRAMES, math.ceil(furthest / _MOST_PX))
            yield from (int(t) for t in np.linspace(times[k], times[k + 1], frames, endpoint=False))
        yield self.duration_us

    def frames(self, times_us: Iterable[int] | None = None) -> Iterator[tuple[int, Frame]]:
        """Yield (t_us, frame) at the given times, or at those of `times_us()`.

        Times may come in any order; those outside the clip show its first or its last frame.
        """
        drawn = _Drawn(self)
        for t_us in self.times_us() if times_us is None else times_us:
            yield t_us, drawn.frame(t_us)


def _apart(
    draw: Callable[[float, float], float], low: float, high: float, others: tuple[float, ...]
) -> float:
    """Draw a log-uniform reflectance that differs from others by at least 0.35 e-folds."""
    while True:
        drawn = math.exp(draw(math.log(low), math.log(high)))
        if all(abs(math.log(drawn / other)) > 0.35 for other in others):
            return drawn


def _placed(scene: DepthScene) -> tuple[NDArray[np.float64], float]:
    """Return the affine map from pixels of a frame to pixels of the surface, and its scale."""
    size = scene.size
    column, top, hips = head_to_hips(scene.clip)
    offset = np.subtract(surface_of(scene.clip).centre_px, scene.clip.centre_px)
    scale = scene.reach * size.height / (hips - top)
    side = -1 if scene.flip else 1
    # Pixel centres are at whole numbers; a picture begins at -0.5.
    x0 = scene.centre_x * size.width - 0.5
    y0 = scene.top * size.height - 0.5
    column, top = column + offset[0], top + offset[1]
    return np.array(
        [[side / scale, 0, column - side * x0 / scale], [0, 1 / scale, top - y0 / scale]]
    ), scale


@lru_cache(maxsize=2)
def _furthest(clip: DepthClip) -> NDArray[np.float64]:
    """Return (T - 1,) the pixels of the clip that its fastest part covers to the next frame.

    The fastest twenty pixels are ignored: the search has outliers.
    """
    surface = surface_of(clip)
    lengths = np.hypot(surface.onward[..., 0], surface.onward[..., 1])
    lengths[surface.outline[:-1] < 0] = 0
    lengths = lengths.reshape(len(lengths), -1)
    return np.partition(lengths, -20, axis=1)[:, -20].astype(np.float64)


class _Drawn:
    """The parts of a scene's frames. Keeps the light of the last few frames of the clip."""

    def __init__(self, scene: DepthScene) -> None:
        self.scene = scene
        clip = scene.clip
        self.surface = surface_of(clip)
        self.bones = bones_of(clip)
        rng = np.random.default_rng((scene.seed, 0x7E))
        self.wall = _wall(scene, rng)
        self.texture = _texture(rng)
        self.paints = _paints(scene, rng)
        self.camera = np.array((clip.focal_px, *self.surface.centre_px), np.float32)
        self.matrix, self.scale = _placed(scene)
        self.light = lru_cache(maxsize=4)(self._light)
        self.times = clip.t_us - clip.t_us[0]

    def _light(self, k: int) -> Frame:
        light = np.empty(self.surface.depth_m.shape[1:], np.float32)
        own = self.surface
        seen = own.depth_m[k], own.outline[k], own.slope[k]
        paints.paint(seen, self.camera, self.bones[k], self.paints, self.texture, light)
        return light

    def frame(self, t_us: int) -> Frame:
        """Return the frame at a time."""
        when = min(max(t_us * self.scene.speed, 0.0), float(self.times[-1]))
        k = min(int(np.searchsorted(self.times, when, side="right")) - 1, len(self.times) - 2)
        share = (when - self.times[k]) / (self.times[k + 1] - self.times[k])
        surface = self.surface
        drawn = np.empty((*surface.depth_m.shape[1:], 2), np.float32)
        paints.between(
            surface.outline[k : k + 2], surface.depth_m[k : k + 2],
            np.stack([self.light(k), self.light(k + 1)]),
            (surface.onward[k], surface.back[k]), share, drawn,
        )  # fmt: skip
        distance, light = cv2.split(self._shown(drawn))
        cover = np.clip(distance * np.float32(self.scale / _EDGE_PX) + np.float32(0.5), 0, 1)
        wall = self._lit_wall(cover)
        return np.asarray(wall + (light - wall) * cover, np.float32)

    def _shown(self, drawn: Frame) -> Frame:
        image: Any = drawn
        if self.scale < 0.8:  # otherwise light between the frame's pixels would be lost
            image = cv2.GaussianBlur(image, (0, 0), 0.4 / self.scale)
        return np.asarray(
            cv2.warpAffine(
                image, self.matrix, tuple(self.scene.size),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )  # fmt: skip

    def _lit_wall(self, cover: Frame) -> Frame:
        """Return the wall under the person's shadow: soft, and away from the lamp."""
        scene = self.scene
        if scene.shadow == 0:
            return self.wall
        height, width = cover.shape
        small = max(1, height // 32)
        coarse = cv2.resize(cover, (width // small, height // small), interpolation=cv2.INTER_AREA)
        coarse = cv2.GaussianBlur(coarse, (0, 0), 0.05 * height / small)
        side = math.sin(math.radians(scene.azimuth)) * (-1 if scene.flip else 1)
        shift = (-0.12 * height * side, 0.12 * height * math.sin(math.radians(scene.elevation)))
        move = np.array(
            [
                [coarse.shape[1] / width, 0, -shift[0] * coarse.shape[1] / width],
                [0, coarse.shape[0] / height, -shift[1] * coarse.shape[0] / height],
            ]
        )
        dark = cv2.warpAffine(
            coarse, move, (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.asarray(self.wall * (1 - scene.shadow * dark), np.float32)


def _wall_pattern(rng: np.random.Generator, size: Size) -> Frame:
    """Return (H, W) smooth noise of three grains, given in picture heights."""
    total = np.zeros((size.height, size.width), np.float32)
    for weight, grain in ((0.6, 0.35), (0.3, 0.1), (0.1, 0.03)):
        small = [max(2, round(px / (grain * size.height)) + 1) for px in total.shape]
        coarse = rng.standard_normal(small, dtype=np.float32)
        fine: Any = cv2.resize(coarse, (size.width, size.height), interpolation=cv2.INTER_CUBIC)
        total += weight * ((fine - fine.mean()) / (fine.std() + 1e-6))
    return total


def _wall(scene: DepthScene, rng: np.random.Generator) -> Frame:
    pattern = _wall_pattern(rng, scene.size)
    light = np.linspace(1.05, 0.85, scene.size.height, dtype=np.float32)[:, None]
    wall = scene.wall * light * np.maximum(0.2, 1 + scene.wall_texture * pattern)
    wall = np.clip(wall, 0.005, 1).astype(np.float32)
    return np.ascontiguousarray(wall[:, ::-1] if scene.flip else wall)


def _texture(rng: np.random.Generator) -> Frame:
    """Return periodic noise of two grain sizes."""
    noise = rng.standard_normal((2, _TEXTURE, _TEXTURE)).astype(np.float32)
    rough = [
        cv2.GaussianBlur(np.pad(layer, 16, mode="wrap"), (0, 0), sigma)[16:-16, 16:-16]
        for layer, sigma in zip(noise, (1.2, 4.0), strict=True)
    ]
    mixed = np.asarray(sum(layer / layer.std() for layer in rough))
    return np.asarray(mixed / mixed.std(), np.float32)


def _paints(scene: DepthScene, rng: np.random.Generator) -> Frame:
    made = np.zeros(paints.PAINTS, np.float32)
    made[paints.SKIN], made[paints.HAIR] = scene.skin, scene.hair
    made[paints.SHIRT], made[paints.TROUSERS] = scene.shirt, scene.trousers
    made[paints.SLEEVE], made[paints.TEXTURE] = scene.sleeve, scene.texture
    made[paints.STRIPES], made[paints.STRIPE_M] = scene.stripes, rng.uniform(0.06, 0.14)
    made[paints.PRINT], made[paints.GRAIN] = scene.print_contrast, rng.uniform(0.015, 0.03)
    made[paints.PRINT_X], made[paints.PRINT_Y] = rng.uniform(0.05, 0.11, 2)
    made[paints.SPECULAR], made[paints.AMBIENT] = scene.specular, scene.ambient
    azimuth, elevation = math.radians(scene.azimuth), math.radians(scene.elevation)
    made[paints.LAMP_X] = math.sin(azimuth) * math.cos(elevation)
    made[paints.LAMP_Y] = -math.sin(elevation)
    made[paints.LAMP_Z] = -math.cos(azimuth) * math.cos(elevation)
    return made
