"""Drawn samples: people seen by a sensor like a DVS128, and shaded depth clips."""

from __future__ import annotations

import zipfile
from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Self

import numpy as np

from dvskit._arguments import check_arguments
from dvskit.datasets.clips import emulated
from dvskit.datasets.samples import Sample, Samples
from dvskit.emulator import EmulatorParams
from dvskit.emulator.model import RESULTS_VERSION
from dvskit.errors import ConfigError, did_you_mean
from dvskit.events import Events, Size, as_size
from dvskit.formats.content import digest_of
from dvskit.scenes import PERSON_GESTURES, DepthScene, PersonScene, read_depth_clip

SEEDS = 1 << 62
DRAWING = 3  # raise it when a seed gives another person than before
DEPTH_SIZE = Size(128, 128)
"""The default sensor of depth clips."""

Sensor = Callable[[np.random.Generator], EmulatorParams]


def sensor_like_dvs128(rng: np.random.Generator) -> EmulatorParams:
    """Return a random sensor like a DVS128, with noise, as different users may have set it.

    Thresholds, mismatch, bandwidth, leak, shot noise and refractory period are drawn from published
    values of DVS128s and DAVIS cameras (Lichtsteiner et al. 2008, Nozaki and Delbruck 2017, Hu et
    al. 2021), and wider: the settings of a camera are not known, and sensitive settings, with ten
    events per pixel at an edge, are common.
    """

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    threshold = between(0.09, 0.4)
    return EmulatorParams(
        threshold_on=threshold,
        threshold_off=threshold * between(0.7, 1.4),
        threshold_sigma=min(rng.uniform(0.01, 0.05), 0.25 * threshold),
        linear_below=rng.uniform(2, 40),
        cutoff_hz=between(40, 600),
        leak_hz=between(0.01, 0.5),
        leak_spread=rng.uniform(0.05, 0.6),
        leak_jitter=0.1,
        shot_hz=between(0.03, 4),
        refractory_us=int(between(50, 3000)),
        hot_fraction=max(0.0, rng.uniform(-0.001, 0.001)),
        hot_hz=between(5, 100),
        latency_us=12,
        jitter_us=rng.uniform(0, 300),
    )


class PeopleSamples(Samples):
    """Drawn people, each seen by its own simulated sensor; `_rng` determines each sample.

    seed         of all drawing
    size         of the sensor, (width, height)
    duration_us  of each sample, at most
    fps          frames per second that the sensor sees
    sensor       draws the sensor of a sample: see `sensor_like_dvs128`
    """

    draws = False
    seed: int
    size: Size
    duration_us: int
    fps: int
    sensor: Sensor

    @abstractmethod
    def _rng(self, number: int) -> np.random.Generator:
        """Return the generator of a sample."""

    @abstractmethod
    def _scene(self, number: int, rng: np.random.Generator) -> PersonScene:
        """Return the scene of a sample, drawn by its generator."""

    def scene(self, number: int) -> PersonScene:
        """Return the scene of a sample: its person, view and motion."""
        return self._scene(number, self._rng(number))

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample, its first frame at time 0."""
        drawn = self._rng(number)
        scene = self._scene(number, drawn)
        return emulated(scene, self.sensor(drawn), int(drawn.integers(SEEDS)))[0]

    def before(self, sensor: Sensor) -> Self:
        """Return the same people, seen by sensors that another function draws."""
        other = copy(self)
        other.sensor = sensor
        return other

    def _digest(self, kind: str, content: str, *given: object) -> str:
        """Return a digest of the content of a sample, its sensor and all parameters."""
        sensor = f"{self.sensor.__module__}.{self.sensor.__qualname__}"
        drawn = f"{kind} {DRAWING} {RESULTS_VERSION}"
        own = (self.seed, self.size, self.duration_us, self.fps)
        return digest_of((drawn, content, sensor, *map(str, (*own, *given))))


@check_arguments
class DrawnSamples(PeopleSamples):
    """People drawn from a seed, each making a gesture, each seen by its own simulated sensor.

    rows, classes, labels  as in `Samples`; names are <gesture>/<number>
    count        of each gesture
    seed         of all drawing; the same seed gives the same samples whatever `count` is
    gestures     of `dvskit.scenes.PERSON_GESTURES`; default: all
    size         of the sensor, (width, height)
    duration_us  of each sample
    fps          frames per second that the sensor sees
    close        share of samples in which the camera is close to the hands
    sensor       draws the sensor of a sample: see `sensor_like_dvs128`

    Sample k of a gesture is always the same person; use another seed or a larger count for others.
    Raises ConfigError.
    """

    def __init__(
        self,
        count: int,
        *,
        seed: int,
        gestures: Sequence[str] = PERSON_GESTURES,
        size: tuple[int, int] = (128, 128),
        duration_us: int = 1_450_000,
        fps: int = 200,
        close: float = 0.0,
        sensor: Sensor = sensor_like_dvs128,
    ) -> None:
        if count < 1 or seed < 0 or not 0 <= close <= 1:
            raise ConfigError(
                f"count = {count}, seed = {seed}, close = {close}; they must be at least 1, at "
                "least 0 and 0 to 1"
            )
        for gesture in gestures:
            if gesture not in PERSON_GESTURES:
                raise ConfigError(
                    f"unknown gesture {gesture!r}; {did_you_mean(gesture, PERSON_GESTURES)}"
                )
        rows = [Sample(f"{name}/{k:05}", name) for name in gestures for k in range(count)]
        super().__init__(rows, [name for name in PERSON_GESTURES if name in gestures])
        self.count, self.seed, self.size, self.fps = count, seed, as_size(size), fps
        self.duration_us, self.close, self.sensor = duration_us, close, sensor

    def _scene(self, number: int, rng: np.random.Generator) -> PersonScene:
        seed, near = int(rng.integers(SEEDS)), bool(rng.random() < self.close)
        return PersonScene.random(
            self.rows[number].label,
            seed,
            size=self.size,
            fps=self.fps,
            duration_us=self.duration_us,
            close=near,
        )

    def _rng(self, number: int) -> np.random.Generator:
        row = self.rows[number]
        gesture = PERSON_GESTURES.index(row.label)
        return np.random.default_rng((self.seed, gesture, int(row.name.rpartition("/")[2])))

    def fingerprint(self, number: int) -> str:
        """Return a digest of the seed, the sample's name and all parameters."""
        return self._digest("drawn", self.rows[number].name, self.close)


def is_depth_clip(path: Path) -> bool:
    """Return whether a file is a depth clip: an .npz with `depth`, or UTD-MHAD's *_depth.mat."""
    if path.suffix.lower() == ".mat":
        return path.stem.lower().endswith("_depth") and path.is_file()
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "depth.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def emulate_depth_clip(path: Path, params: EmulatorParams, size: Size | None, seed: int) -> Events:
    """Return the events of a depth clip, shaded: looks, light and place are drawn from `seed`.

    size  of the sensor; default: DEPTH_SIZE. Raises the errors of reading the clip.
    """
    looks, noise = np.random.default_rng(seed).integers(SEEDS, size=2).tolist()
    chosen = DEPTH_SIZE if size is None else size
    scene = DepthScene.random(read_depth_clip(path), looks, size=chosen, flip=False)
    return emulated(scene, params, noise)[0]
