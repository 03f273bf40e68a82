"""Drawn people, moved by gestures or recorded skeletons, seen by a sensor like a DVS128."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_known, check_number, check_seed, check_whole
from dvskit.datasets.files import SEEDS, emulated
from dvskit.datasets.folders import grouped
from dvskit.datasets.samples import Sample, Samples
from dvskit.emulator import EmulatorParams
from dvskit.emulator.model import RESULTS_VERSION
from dvskit.errors import FormatError, one_line
from dvskit.events import Events, Size, as_size
from dvskit.formats.content import content_digest, digest_of
from dvskit.formats.found import is_depth_clip
from dvskit.formats.stored_array import load_arrays
from dvskit.scenes import PERSON_GESTURES, PersonScene, read_depth_clip
from dvskit.scenes.person import frames_with_skeleton, from_msr_action3d

DRAWING = 4  # raise it when a seed gives another person than before

Sensor = Callable[[np.random.Generator], EmulatorParams]


def sensor_like_dvs128(rng: np.random.Generator) -> EmulatorParams:
    """Return a random sensor like a DVS128, with noise, as different users may have set it.

    Thresholds, mismatch, bandwidth, leak, shot noise and refractory period are drawn from the
    published values of DVS128s and DAVIS cameras (Lichtsteiner et al. 2008, Nozaki and Delbruck
    2017, Hu et al. 2021), and wider, since sensitive settings with ten events per pixel at an edge
    are common.

        params = dvskit.datasets.sensor_like_dvs128(np.random.default_rng(0))
        params.threshold_on, params.threshold_off  # different for each draw
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

    seed         of all random draws
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


class DrawnSamples(PeopleSamples):
    """People drawn from a seed, each making a gesture, each seen by its own simulated sensor.

    rows, classes, labels  as in `Samples`; names are <gesture>/<number>
    count        of each gesture
    gestures     of `dvskit.scenes.PERSON_GESTURES`; default: all
    close        share of samples in which the camera is close to the hands
    seed, size, duration_us, fps, sensor  as in `PeopleSamples`

    Sample k of a gesture is the same person for any count. Raises ConfigError.

        samples = dvskit.datasets.DrawnSamples(
            100, seed=1, gestures=("hand_clap", "arm_roll"), size=(32, 32), duration_us=100_000
        )
        len(samples)  # 200
        events, label = samples[0]  # 100 ms on a sensor of 32x32, "hand_clap"
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
        check_whole("count", count, 1)
        check_seed("seed", seed)
        check_number("close", close, 0, 1)
        for gesture in gestures:
            check_known("gesture", gesture, PERSON_GESTURES)
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


_MSR_FPS = 15
_WRISTS = (6, 10)
_HIPS = 3


class Skeleton(NamedTuple):
    """A recorded skeleton: joints (T, 20, 3) in meters, and the times of its frames."""

    joints_m: NDArray[np.float64]
    t_us: NDArray[np.int64]


class _Clip(NamedTuple):
    """A recorded skeleton that is not read yet, and what its bytes are."""

    row: Sample
    content: str
    read: Callable[[], Skeleton]


class SkeletonSamples(PeopleSamples):
    """Drawn people moved by recorded skeletons, each seen by its own simulated sensor.

    rows, classes, labels  as in `Samples`; names are <class>/<clip>/<number>, groups the recorded
                 persons, if names identify them; `notes` reports how
    path         a folder of depth clips with skeletons, `<class>/<clip>`, like UTD-MHAD's; or an
                 .npz with arrays `<class>/<clip>` of skeletons of MSR Action3D, (frames, 20, 3 or
                 4) at 15 frames per second; its clips without a skeleton are left out, with a note
    count        people drawn for each skeleton
    actions      the classes; default: all
    duration_us  of each sample: the part of the clip in which the hands move most, or all of it
    seed, size, fps, sensor  as in `PeopleSamples`

    Missing joints are filled in, see `dvskit.scenes.PersonScene.from_joints`. Raises ConfigError,
    FormatError for a path without skeletons, and for an invalid skeleton when it is read.

        draw = np.random.default_rng(0)
        joints = draw.normal(size=(20, 3)) + 0.1 * draw.normal(size=(30, 20, 3)).cumsum(0)
        np.savez("skeletons.npz", **{"wave/a01_s01_e01": joints})
        samples = dvskit.datasets.SkeletonSamples("skeletons.npz", 2, seed=1, size=(32, 32))
        samples.rows[0].name, samples.classes  # a wave of the first skeleton, ("wave",)
    """

    def __init__(
        self,
        path: str | PathLike[str],
        count: int = 1,
        *,
        seed: int,
        actions: Sequence[str] = (),
        size: tuple[int, int] = (128, 128),
        duration_us: int = 1_450_000,
        fps: int = 200,
        sensor: Sensor = sensor_like_dvs128,
    ) -> None:
        check_whole("count", count, 1)
        check_seed("seed", seed)
        check_whole("duration_us", duration_us, 1)
        root = Path(path)
        clips, left_out = _clips_in_folder(root) if root.is_dir() else _clips_in_archive(root)
        rows, notes = grouped([clip.row for clip in clips], "auto")
        self.notes = [*notes, *left_out]
        clips = [clip._replace(row=row) for clip, row in zip(clips, rows, strict=True)]
        for action in actions:
            check_known("class", action, {row.label for row in rows})
        self._clips = [
            clip for clip in clips for _ in range(count) if not actions or clip.row.label in actions
        ]
        super().__init__(
            clip.row._replace(name=f"{clip.row.name}/{number % count}")
            for number, clip in enumerate(self._clips)
        )
        self.count, self.seed, self.size, self.fps = count, seed, as_size(size), fps
        self.duration_us, self.sensor = duration_us, sensor

    def _scene(self, number: int, rng: np.random.Generator) -> PersonScene:
        skeleton = liveliest(self._clips[number].read(), self.duration_us)
        whole = int(skeleton.t_us[-1] - skeleton.t_us[0])
        return PersonScene.from_joints(
            skeleton.joints_m,
            skeleton.t_us,
            int(rng.integers(SEEDS)),
            size=self.size,
            fps=self.fps,
            duration_us=min(self.duration_us, whole),
        )

    def _rng(self, number: int) -> np.random.Generator:
        words = digest_of((self._clips[number].row.name, str(number % self.count)))
        return np.random.default_rng((self.seed, int(words[:15], 16)))

    def fingerprint(self, number: int) -> str:
        """Return a digest of the skeleton, the seed, the sample's name and all parameters."""
        return self._digest("skeleton", self._clips[number].content, self.rows[number].name)


def liveliest(skeleton: Skeleton, duration_us: int) -> Skeleton:
    """Return the part of a skeleton, of a duration, in which its wrists move most."""
    joints, times = skeleton
    if times[-1] - times[0] <= duration_us:
        return skeleton
    wrists = joints[:, _WRISTS] - joints[:, _HIPS, None]
    steps = np.linalg.norm(np.diff(wrists, axis=0), axis=-1).sum(1)
    way = np.concatenate([[0.0], np.cumsum(np.nan_to_num(steps))])
    ends = np.searchsorted(times, times + duration_us)
    firsts = np.flatnonzero(ends < len(times))
    first = int(firsts[np.argmax(way[ends[firsts]] - way[firsts])])
    part = slice(first, int(ends[first]) + 1)
    return Skeleton(joints[part], times[part])


def _clips_in_archive(path: Path) -> tuple[list[_Clip], list[str]]:
    """Return the skeletons of an archive, and a line for each clip without one."""
    arrays = load_arrays(path)
    empty = [name for name in sorted(arrays) if _is_empty(arrays[name])]
    if len(empty) == len(arrays) or any(name.count("/") != 1 for name in arrays):
        raise FormatError(f"{path}: holds no skeletons; it must have arrays named <class>/<clip>")
    content = content_digest(path)
    clips = [
        _Clip(
            Sample(name, name.partition("/")[0]),
            f"{content} {name}",
            partial(_read_from_archive, path, name),
        )
        for name in sorted(arrays.keys() - empty)
    ]
    return clips, [f"{path}: {name}: left out, it has no skeleton in any frame" for name in empty]


def _is_empty(joints: NDArray[np.float64]) -> bool:
    # Invalid skeletons raise when they are read.
    return (
        joints.ndim == 3
        and joints.shape[1] == 20
        and not frames_with_skeleton(joints[..., :3]).any()
    )


def _read_from_archive(path: Path, name: str) -> Skeleton:
    try:
        joints = from_msr_action3d(load_arrays(path, [name])[name])
    except ValueError as error:
        raise FormatError(f"{path}: {name}: {one_line(error)}") from error
    return Skeleton(joints, np.arange(len(joints)) * 1_000_000 // _MSR_FPS)


def _clips_in_folder(folder: Path) -> tuple[list[_Clip], list[str]]:
    paths = [path for path in sorted(folder.glob("*/*")) if is_depth_clip(path)]
    if not paths:
        raise FormatError(f"{folder}: holds no <class>/<clip> with a depth clip and its skeleton")
    clips = [
        _Clip(
            Sample(f"{path.parent.name}/{path.stem}", path.parent.name),
            content_digest(path),
            partial(_read_from_depth_clip, path),
        )
        for path in paths
    ]
    return clips, []


def _read_from_depth_clip(path: Path) -> Skeleton:
    clip = read_depth_clip(path)
    if clip.joints_m is None:
        raise FormatError(f"{path}: has no skeleton; its depth alone can be shaded")
    return Skeleton(np.asarray(clip.joints_m, float), clip.t_us)
