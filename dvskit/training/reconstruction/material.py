"""Photographs and clips of each part, and the frames of scenes and clips drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import lru_cache
from itertools import chain, count, cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.upsample import Upsampled
from dvskit.errors import ConfigError, MissingFileError, did_you_mean
from dvskit.events import Size
from dvskit.scenes import (
    PERSON_GESTURES,
    LayerPath,
    LayerScene,
    PersonScene,
    PhotoExposure,
    PlaneScene,
    package_photographs,
    read_photograph,
)
from dvskit.scenes.planes import Patch, noise_texture, polygon_texture
from dvskit.training.reconstruction.config import KINDS, PARTS, SequencesConfig
from dvskit.video import open_frames

Frames = Iterable[tuple[int, NDArray[Any]]]

_CLIP_HEIGHT = 360  # larger clips are reduced: a crop is some 128 pixels
_PLANES_FPS, _PEOPLE_FPS = 200, 200
_TEXTURED, _TEXTURE_SIDE = 0.25, 256  # share of scenes of photographs with textures among them
_OF_CLIPS = 0.3  # share of scenes of photographs with frames of a clip instead
_PX_A_WINDOW = (0.3, 9.0)  # of the background, whatever the length of a window


@dataclass(frozen=True, slots=True)
class Material:
    """The photographs and the clips of one part, each by its name."""

    photographs: Mapping[str, Path]
    clips: Mapping[str, Path]


def materials(sequences: SequencesConfig) -> dict[str, Material]:
    """Return the material of each part; none is in two parts.

    Raises ConfigError for names and patterns that nothing has, and for parts without photographs or
    clips that their kinds need; MissingFileError.
    """
    drawn = sequences.photographs or sequences.crossings or sequences.planes
    photographs = _photographs(sequences) if drawn else {}
    clips = _clips(sequences) if sequences.clips else {}
    named = {"validation": sequences.validation_photographs, "judged": sequences.judged_photographs}
    patterns = {"validation": sequences.validation_clips, "judged": sequences.judged_clips}
    parts: dict[str, Material] = {}
    for part in PARTS[1:]:
        for name in named[part] if photographs else ():
            if name not in photographs:
                hint = did_you_mean(name, photographs)
                raise ConfigError(f"sequences.{part}_photographs: no photograph {name!r}; {hint}")
        chosen = {
            name: path
            for name, path in clips.items()
            if any(_ends_in(path, pattern) for pattern in patterns[part])
        }
        parts[part] = Material({n: p for n, p in photographs.items() if n in named[part]}, chosen)
    used = {name for part in parts.values() for name in (*part.photographs, *part.clips)}
    if len(used) < sum(len(each.photographs) + len(each.clips) for each in parts.values()):
        raise ConfigError("sequences: a photograph or a clip is both for validation and judged")
    rest = [{n: p for n, p in each.items() if n not in used} for each in (photographs, clips)]
    parts["train"] = Material(rest[0], rest[1])
    for part, has in parts.items():
        if (sequences.photographs or sequences.crossings) and not has.photographs:
            raise ConfigError(f"sequences: the part {part!r} has no photographs")
    if sequences.clips and not parts["train"].clips:
        raise ConfigError("sequences: no clip is left to learn from")
    return parts


def _photographs(sequences: SequencesConfig) -> dict[str, Path]:
    found = package_photographs()
    for file in map(Path, sequences.photograph_files):
        if not file.is_file():
            raise MissingFileError(file)
        found[file.stem] = file
    return found


def _clips(sequences: SequencesConfig) -> dict[str, Path]:
    found = {}
    for file in map(Path, sequences.clip_files):
        if not file.exists():
            raise MissingFileError(file)
        found["/".join(file.parts[-2:])] = file
    return found


def _ends_in(path: Path, pattern: str) -> bool:
    return fnmatch(path.as_posix(), f"*/{pattern}") or fnmatch(path.as_posix(), pattern)


def frames_of(
    kind: str, material: Material, rng: np.random.Generator, side: int, times: tuple[int, float]
) -> Frames:
    """Return the frames (side, side) of a kind, from 0 on, drawn from a generator.

    times  the duration in microseconds, and the mean length of a window in seconds

    Scenes with known motion have `moved(from_us, to_us)`.
    """
    seed, size, (duration_us, window_s) = int(rng.integers(1 << 31)), Size(side, side), times
    if kind in ("photographs", "crossings"):
        images = _pictures(material, rng)
        px_s = float(np.exp(rng.uniform(*np.log(_PX_A_WINDOW)))) / window_s
        return LayerScene.random(
            images, seed, size=size, duration_us=duration_us, px_s=px_s,
            camera_rests=kind == "crossings",
        )  # fmt: skip
    if kind == "planes":
        scene = PlaneScene.random(
            seed, size=size, fps=_PLANES_FPS, duration_us=duration_us, boxes=int(rng.integers(0, 4))
        )
        if material.photographs and rng.random() < 0.7:
            images = [_read(path) for path in material.photographs.values()]
            scene = replace(
                scene, patches=[_papered(patch, images, rng) for patch in scene.patches]
            )
        return scene
    if kind == "people":
        gesture = PERSON_GESTURES[int(rng.integers(len(PERSON_GESTURES)))]
        return PersonScene.random(
            gesture, seed, size=size, fps=_PEOPLE_FPS, duration_us=duration_us,
            close=bool(rng.random() < 0.3),
        )  # fmt: skip
    return _clip_frames(list(material.clips.values()), rng, side, duration_us)


def kind_of(sequences: SequencesConfig, has: Material, rng: np.random.Generator) -> str:
    """Return a kind, drawn by the shares; kinds without material are left out."""
    shares = np.array(sequences.shares)
    if not has.clips:
        shares[KINDS.index("clips")] = 0
    if not shares.any():
        raise ConfigError(
            "sequences: a part has no clips, and the shares of the other kinds are 0; name clips "
            "for it in sequences.validation_clips and sequences.judged_clips"
        )
    return KINDS[int(rng.choice(len(KINDS), p=shares / shares.sum()))]


def _pictures(material: Material, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Return photographs, frames of clips and textures for one scene."""
    images = [_read(path) for path in material.photographs.values()]
    if material.clips and rng.random() < _OF_CLIPS:
        paths = [*material.clips.values()]
        _, frames = _decoded(paths[int(rng.integers(len(paths)))])
        images = [frames[int(n)] for n in rng.integers(len(frames), size=3)]
    if rng.random() < _TEXTURED:
        some = rng.integers(len(images), size=2)
        return [images[int(n)] for n in some] + _textures(rng)
    return images


def _textures(rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Return two drawn textures."""
    shape = _TEXTURE_SIDE, _TEXTURE_SIDE
    drawn = noise_texture(rng, shape, grain_px=rng.uniform(3, 20)), polygon_texture(rng, shape)
    return [np.asarray(each * 255, np.uint8) for each in drawn]


@lru_cache(maxsize=64)
def _read(path: Path) -> NDArray[np.uint8]:
    return read_photograph(path)


def _papered(patch: Patch, images: Sequence[NDArray[np.uint8]], rng: np.random.Generator) -> Patch:
    """Return a rectangle with a part of a photograph on it."""
    rows, columns = patch.texture.shape
    image = images[int(rng.integers(len(images)))]
    scale = max(rows / image.shape[0], columns / image.shape[1], float(rng.uniform(0.3, 1)))
    to = max(columns, round(image.shape[1] * scale)), max(rows, round(image.shape[0] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    large = np.asarray(cv2.resize(image, to, interpolation=way), np.float32) / 255
    top = int(rng.integers(0, large.shape[0] - rows + 1))
    left = int(rng.integers(0, large.shape[1] - columns + 1))
    return replace(patch, texture=large[top : top + rows, left : left + columns])


@lru_cache(maxsize=3)
def _decoded(path: Path) -> tuple[list[int], NDArray[np.uint8]]:
    """Return the times and the gray frames of a clip, at most 360 rows."""
    times, images = [], []
    for t_us, frame in open_frames(path):
        image = frame if frame.dtype == np.uint8 else np.asarray(frame >> 8, np.uint8)
        scale = min(1.0, _CLIP_HEIGHT / image.shape[0])
        to = round(image.shape[1] * scale), round(image.shape[0] * scale)
        times.append(t_us)
        images.append(cv2.resize(image, to, interpolation=cv2.INTER_AREA))
    if len(times) < 2:
        raise ConfigError(f"{path}: has fewer than two frames")
    return times, np.stack(images).astype(np.uint8)


def _clip_frames(
    paths: Sequence[Path], rng: np.random.Generator, side: int, duration_us: int
) -> Frames:
    """Return a square of a clip that wanders, from a random moment on, slower or faster.

    At an end of the clip, time turns back. The frames have no end, and an exposure of their own.
    """
    times, images = _decoded(paths[int(rng.integers(len(paths)))])
    step_us = (times[-1] - times[0]) / (len(times) - 1) / float(np.exp(rng.uniform(-0.7, 0.7)))
    rows, columns = images.shape[1:]
    wanted = min(rows, columns, side * float(np.exp(rng.uniform(0, 1))))
    zoom = side / wanted
    path = LayerPath.random(rng, duration_us, px_s=float(rng.choice((0, 20, 60))), still=0.4)
    room = (np.array([columns, rows]) - wanted) / 2
    start = rng.uniform(-1, 1, 2) * room
    order = chain(range(len(images)), range(len(images) - 2, 0, -1))
    turns = list(order)
    codes = np.linspace(0, 1, 256, dtype=np.float32)
    brightness = PhotoExposure.drawn(rng).on(
        codes, codes[images[:: max(1, len(images) // 8), ::4, ::4]]
    )
    first = int(rng.integers(len(turns)))

    def squares() -> Iterator[tuple[int, NDArray[np.float32]]]:
        along = cycle(turns[first:] + turns[:first])
        for number in count():
            t_us = round(number * step_us)
            off = np.clip(start + path.at(t_us)[0][:2], -room, room)
            x, y = np.array([columns - 1, rows - 1]) / 2 + off - (side - 1) / 2 / zoom
            back = np.array([[1 / zoom, 0, x], [0, 1 / zoom, y]])
            reduced = _reduced(images[next(along)], zoom)
            yield t_us, np.asarray(
                cv2.warpAffine(
                    brightness[reduced], back, (side, side),
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                    borderMode=cv2.BORDER_REFLECT_101,
                )
            )  # fmt: skip

    return Upsampled(squares(), Size(side, side))


def _reduced(image: NDArray[np.uint8], zoom: float) -> NDArray[np.uint8]:
    """Return an image blurred as much as its reduction by `zoom` needs."""
    if zoom >= 1:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(1 / zoom**2 - 1)), np.uint8)
