"""Emulated sequences: voxel grids, the frames at their ends, and the motion between them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.datasets import Cache
from dvskit.datasets.cache import key_of
from dvskit.emulator import Emulator, EmulatorParams
from dvskit.emulator.model import RESULTS_VERSION
from dvskit.events import Size
from dvskit.reconstruction.voxels import EventWindow, VoxelInput
from dvskit.training.reconstruction.config import PARTS, SequencesConfig
from dvskit.training.reconstruction.material import Frames, Material, frames_of, kind_of
from dvskit.video.light import transfer_in

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
