"""Emulated sequences and their batches: photographs, clips and scenes, drawn from a seed.

A sequence holds voxel grids, the frames at their ends, and the motion between them. Batches are cut
and turned at random, and emulated in processes beside the training.
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import lru_cache
from itertools import chain, count, cycle
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit import _interrupt
from dvskit.datasets import Cache
from dvskit.datasets.cache import key_of
from dvskit.emulator import Emulator, EmulatorParams
from dvskit.emulator.model import RESULTS_VERSION
from dvskit.emulator.upsample import Upsampled
from dvskit.errors import ConfigError, MissingFileError, did_you_mean
from dvskit.events import Size
from dvskit.reconstruction.network import EventWindow, VoxelInput
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
from dvskit.training.reconstruction.config import (
    KINDS,
    PARTS,
    ReconstructionConfig,
    SequencesConfig,
)
from dvskit.video import open_frames
from dvskit.video.light import transfer_in

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
    photographs: dict[str, Path] = {}
    if drawn:
        own = {file.stem: file for file in _existing(sequences.photograph_files)}
        photographs = package_photographs() | own
    clip_files = _existing(sequences.clip_files if sequences.clips else ())
    clips = {"/".join(file.parts[-2:]): file for file in clip_files}
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


def _existing(files: Iterable[str]) -> list[Path]:
    """Return files, or folders, as paths. Raises MissingFileError."""
    paths = list(map(Path, files))
    for path in paths:
        if not path.exists():
            raise MissingFileError(path)
    return paths


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


_VERSION = 2  # increase it with any change of the sequences of a seed
_WHITE = {"uint8": 255.0, "uint16": 65535.0}
_HOT, _HOT_FRACTION, _HOT_HZ = 0.3, 5e-4, (5.0, 200.0)  # hot pixels, in some of the sequences
_SHORTEST_US = 1000  # of a window
_SPREADS = (0.05, 0.2, 0.7)  # of the logarithm of the lengths of windows in a sequence
_INTERVAL_US = 10_000  # longest between the frames of a scene; clips have no end


class EmulatedSequence(NamedTuple):
    """Consecutive windows of one scene.

    voxels  (n, bins, H, W) float16
    frames  (n + 1, H, W) uint8, at the start and at the end of each window
    back    (n, H, W, 2) float16, the displacement of each pixel's content to the frame before, x
            and y in pixels; NaN where it is unknown or hidden there
    """

    voxels: NDArray[np.float16]
    frames: NDArray[np.uint8]
    back: NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class SequenceMaker:
    """Sequences by part and number. The same number gives the same sequence in any process.

    config     of the sequences                bins  of the voxel grids
    materials  photographs and clips by part   seed  of the run
    """

    config: SequencesConfig
    bins: int
    materials: dict[str, Material]
    seed: int
    cache: Cache

    def sequence(self, part: str, number: int) -> EmulatedSequence:
        """Return a sequence from the cache, or emulate it and keep it there."""
        key = self._key(part, number)
        kept = self.cache.get(key)
        if kept is None:
            kept = self.emulated(part, number)._asdict()
            self.cache.put(key, kept)
        return EmulatedSequence(**kept)

    def kind(self, part: str, number: int) -> str:
        """Return the kind of a sequence."""
        return kind_of(self.config, self.materials[part], self._rng(part, number))

    def emulated(self, part: str, number: int) -> EmulatedSequence:
        """Return a sequence, emulated."""
        config, rng = self.config, self._rng(part, number)
        material = self.materials[part]
        kind = kind_of(config, material, rng)
        params = _sensor(config, rng)
        windows = _Windows.drawn(config, rng)
        times = windows.longest_us, windows.mean_s
        frames = frames_of(kind, material, rng, config.side, times)
        return _emulated(frames, windows, params, int(rng.integers(1 << 31)), self.bins)

    def _rng(self, part: str, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, PARTS.index(part), number, 0x5E))

    def _key(self, part: str, number: int) -> str:
        # Numbers of sequences and room on disk change no sequence.
        config = replace(self.config, train=1, validation=1, judged=1, cache_gb=1.0)
        has = self.materials[part]
        files = [
            (name, path.stat().st_size)
            for group in (has.photographs, has.clips)
            for name, path in sorted(group.items())
        ]
        return key_of(
            "reconstruction", _VERSION, RESULTS_VERSION, replace(config, clip_files=(),
            photograph_files=(), clips=0.0), config.clips, files, self.bins, self.seed, part, number
        )  # fmt: skip


def _sensor(config: SequencesConfig, rng: np.random.Generator) -> EmulatorParams:
    on = _log_uniform(rng, config.threshold_on)
    off = on * float(rng.uniform(*config.off_ratio))
    sigma = on * float(rng.uniform(*config.sigma_ratio))
    refractory = round(rng.uniform(*config.refractory_us))
    if rng.random() < config.clean:
        return EmulatorParams(threshold_on=on, threshold_off=off, threshold_sigma=sigma)
    hot = rng.random() < _HOT
    least, most = config.shot_hz
    return EmulatorParams(
        threshold_on=on,
        threshold_off=off,
        threshold_sigma=sigma,
        refractory_us=refractory,
        shot_hz=least + (most - least) * float(rng.uniform()) ** 2,
        leak_hz=float(rng.uniform(*config.leak_hz)),
        cutoff_hz=_log_uniform(rng, config.cutoff_hz),
        hot_fraction=float(rng.uniform(0, _HOT_FRACTION)) if hot else 0.0,
        hot_hz=_log_uniform(rng, _HOT_HZ) if hot else 0.0,
    )


def _log_uniform(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(ends))))


class _Windows(NamedTuple):
    """When windows end: at times, or when they hold as many events per pixel."""

    number: int
    ends_us: NDArray[np.int64]
    events: float

    @classmethod
    def drawn(cls, config: SequencesConfig, rng: np.random.Generator) -> _Windows:
        shortest, longest = np.log(config.window_ms)
        spread = rng.choice(_SPREADS)
        lengths = np.exp(rng.uniform(shortest, longest) + rng.normal(0, spread, config.windows))
        by_count = rng.random() < config.by_count
        events = _log_uniform(rng, config.events_per_pixel) if by_count else np.inf
        if by_count:
            lengths[:] = config.window_ms[1]
        ends = np.cumsum(np.maximum(lengths * 1000, _SHORTEST_US)).astype(np.int64)
        return cls(config.windows, ends, float(events))

    @property
    def mean_s(self) -> float:
        """The mean length of a window in seconds."""
        return float(self.ends_us[-1]) / self.number * 1e-6

    @property
    def longest_us(self) -> int:
        # Each window ends at a frame, which may be up to an interval later.
        return int(self.ends_us[-1]) + (self.number + 1) * _INTERVAL_US


def _emulated(
    frames: Frames, windows: _Windows, params: EmulatorParams, seed: int, bins: int
) -> EmulatedSequence:
    """Emulate frames until all windows have ended, each at a frame."""
    grid, voxels = VoxelInput(bins=bins), []
    along = iter(frames)
    t_us, frame = next(along)
    size = Size(frame.shape[1], frame.shape[0])
    window = EventWindow(size)
    emulation = Emulator(params, seed).start(
        size, transfer=transfer_in(frames), threads=1, scale_is_known=True
    )
    emulation.step(t_us, frame)
    images, times = [_as_bytes(frame)], [t_us]
    for length_us in np.diff(windows.ends_us, prepend=0).tolist():
        count = 0
        while t_us < times[-1] + length_us and count < windows.events * frame.size:
            t_us, frame = next(along)
            events = emulation.step(t_us, frame)
            window.add(events)
            count += len(events)
        voxels.append(grid(window.take()).astype(np.float16))
        images.append(_as_bytes(frame))
        times.append(t_us)
    back = np.stack([*_displacements(frames, times, images[0].shape)])
    return EmulatedSequence(np.stack(voxels), np.stack(images), back)


def _displacements(
    frames: Frames, times: list[int], shape: tuple[int, ...]
) -> Iterator[NDArray[np.float16]]:
    moved: Any = getattr(frames, "moved", None)
    for before, after in itertools.pairwise(times):
        if moved is None:
            yield np.full((*shape, 2), np.nan, np.float16)
        else:
            # To 1/32 pixel: round numbers take less space when compressed.
            yield (np.round(moved(after, before) * 32) / 32).astype(np.float16)


def _as_bytes(frame: NDArray[Any]) -> NDArray[np.uint8]:
    white = _WHITE.get(frame.dtype.name, 1.0)
    return np.rint(np.clip(frame * (255.0 / white), 0, 255)).astype(np.uint8)


_MOST_WAITING = 3  # batches


class SequenceBatch(NamedTuple):
    """Sequences of one length, from first to last window; see `EmulatedSequence`.

    voxels (B, n, bins, H, W), frames (B, n + 1, 1, H, W) from 0 to 1, back (B, n, H, W, 2): float32
    """

    voxels: Tensor
    frames: Tensor
    back: Tensor


@dataclass(frozen=True, slots=True)
class _Job:
    """One sequence of a batch; `crop` and `draw` are None for a whole one, in its middle."""

    part: str
    number: int
    crop: int
    draw: tuple[int, ...] | None


class SequenceFeed:
    """The batches of a run; a context, which ends its processes.

    Every draw depends only on the seed, the epoch and the sequence. Raises ConfigError for the
    material.
    """

    def __init__(self, config: ReconstructionConfig) -> None:
        self.config = config
        cache = Cache(limit_gb=config.sequences.cache_gb)
        self.maker = SequenceMaker(
            config.sequences, config.network.bins, materials(config.sequences), config.seed, cache
        )
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.config.loop.processes:
            # Spawned: a fork would copy locks that threads hold.
            self._pool = ProcessPoolExecutor(
                self.config.loop.processes, get_context("spawn"), _begin, (self.maker,)
            )
            with _no_script():
                self._pool.submit(int)  # starts all processes
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)

    @property
    def batches(self) -> int:
        """The number of batches of an epoch."""
        return -(-self.config.sequences.train // self.config.loop.batch)

    def epoch(self, number: int, first: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of an epoch from batch `first` on."""
        seed, loop = self.config.seed, self.config.loop
        rng = np.random.default_rng((seed, number, 0xEB))
        order = rng.permutation(self.config.sequences.train).tolist()
        jobs = [
            [
                _Job("train", each, loop.crop, (seed, number, each, 0xC7))
                for each in order[at:][: loop.batch]
            ]
            for at in range(0, len(order), loop.batch)
        ]
        yield from self._made(jobs[first:])

    def whole(self, part: str) -> Iterator[SequenceBatch]:
        """Yield the sequences of a part one by one, unchanged but cut to a size that fits."""
        side = self.config.sequences.side
        side -= side % self.config.network.multiple
        count: int = getattr(self.config.sequences, part)
        yield from self._made([[_Job(part, number, side, None)] for number in range(count)])

    def _made(self, batches: list[list[_Job]]) -> Iterator[SequenceBatch]:
        if self._pool is None:
            for jobs in batches:
                yield _joined([_done(self.maker, job) for job in jobs])
            return
        waiting: deque[list[Future[EmulatedSequence]]] = deque()
        for jobs in batches:
            waiting.append([self._pool.submit(_work, job) for job in jobs])
            if len(waiting) > _MOST_WAITING:
                yield _joined([each.result() for each in waiting.popleft()])
        for futures in waiting:
            yield _joined([each.result() for each in futures])


@contextmanager
def _no_script() -> Iterator[None]:
    """Hide the script that runs: spawned processes import it, and would train, too."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


_maker: SequenceMaker | None = None  # of a process of the pool


def _begin(maker: SequenceMaker) -> None:
    """Prepare a process of the pool: one native thread."""
    global _maker
    _interrupt.begin_worker(threads=1)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _maker = maker


def _work(job: _Job) -> EmulatedSequence:
    assert _maker is not None
    return _done(_maker, job)


def _done(maker: SequenceMaker, job: _Job) -> EmulatedSequence:
    sequence = maker.sequence(job.part, job.number)
    if job.draw is None:
        offset = (sequence.frames.shape[1] - job.crop) // 2
        return cut(sequence, offset, offset, job.crop)
    rng = np.random.default_rng(job.draw)
    room = sequence.frames.shape[1] - job.crop + 1
    part = cut(sequence, int(rng.integers(room)), int(rng.integers(room)), job.crop)
    return turned(part, *(bool(each) for each in rng.integers(0, 2, 3)))


def cut(sequence: EmulatedSequence, left: int, top: int, side: int) -> EmulatedSequence:
    """Return a square part of a sequence."""
    rows, columns = slice(top, top + side), slice(left, left + side)
    voxels, frames, back = sequence
    return EmulatedSequence(
        voxels[..., rows, columns], frames[:, rows, columns], back[:, rows, columns]
    )


def turned(sequence: EmulatedSequence, flip_x: bool, flip_y: bool, swap: bool) -> EmulatedSequence:
    """Return a sequence flipped along x or y, then with x and y exchanged: 8 ways in all."""
    voxels, frames, back = sequence
    if flip_x:
        voxels, frames, back = voxels[..., ::-1], frames[..., ::-1], back[:, :, ::-1] * (-1, 1)
    if flip_y:
        voxels, frames, back = voxels[..., ::-1, :], frames[:, ::-1], back[:, ::-1] * (1, -1)
    if swap:
        voxels, frames = voxels.swapaxes(-1, -2), frames.swapaxes(-1, -2)
        back = back.swapaxes(1, 2)[..., ::-1]
    return EmulatedSequence(
        np.ascontiguousarray(voxels), np.ascontiguousarray(frames), back.astype(np.float16)
    )


def _joined(sequences: list[EmulatedSequence]) -> SequenceBatch:
    voxels, frames, back = (
        torch.from_numpy(np.stack(arrays).astype(np.float32))
        for arrays in zip(*sequences, strict=True)
    )
    return SequenceBatch(voxels, frames[:, :, None] / 255, back)
