"""The configuration of a training for images from events, and its TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

from dvskit._checks import check_fields, check_number, check_seed, check_whole, checked
from dvskit._tables import read_table
from dvskit.errors import ConfigError
from dvskit.reconstruction.network import TASK, ReconstructionNetwork
from dvskit.training.config import toml_values

KINDS = ("photographs", "crossings", "planes", "people", "clips")
PARTS = ("train", "validation", "judged")


def _check_range(name: str, value: tuple[float, float], *, owner: str) -> None:
    least, most = value
    if not 0 <= least <= most < float("inf"):
        raise ConfigError(
            f"{owner}: {name} = {list(value)}; give [least, most], 0 <= least <= most"
        )


def _check_positive_range(name: str, value: tuple[float, float], *, owner: str) -> None:
    _check_range(name, value, owner=owner)
    check_number(name, value[0], above=0, owner=owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencesConfig:
    """The sequences to learn from, drawn from the run's seed.

    train, validation, judged  numbers of sequences: to learn from, to choose the epoch by, and for
                  the scores at the end
    windows       of a sequence              side     of the frames, in pixels
    photographs, crossings, planes, people, clips
                  relative shares of the kinds; crossings are photographs at rest, and things that
                  cross them
    photograph_files  images besides those that installed packages ship (`package_photographs`)
    clip_files    videos
    validation_photographs, validation_clips, judged_photographs, judged_clips
                  names of the photographs, such as "camera", and patterns of the ends of the clips'
                  paths, such as "p2_*.avi", of these two parts; all others are learned from
    window_ms     shortest and longest window of equal times
    events_per_pixel  fewest and most events of a window of equal counts
    by_count      share of the sequences with windows of equal counts, which end after the longest
                  window too
    threshold_on, off_ratio, sigma_ratio, shot_hz, leak_hz, cutoff_hz, refractory_us
                  least and most of a sequence's sensor (`EmulatorParams`); off_ratio and
                  sigma_ratio are threshold_off and threshold_sigma as parts of threshold_on
    clean         share of the sequences without noise, low-pass and refractory period
    cache_gb      most space on disk for emulated sequences, in dvskit's cache

    Raises ConfigError for values out of range.
    """

    train: int = checked(check_whole, 1, 10**7, default=1400)
    validation: int = checked(check_whole, 1, 10**6, default=48)
    judged: int = checked(check_whole, 1, 10**6, default=64)
    windows: int = checked(check_whole, 2, 10_000, default=20)
    side: int = checked(check_whole, 16, 4096, default=128)
    photographs: float = checked(check_number, 0, 1e6, default=0.5)
    crossings: float = checked(check_number, 0, 1e6, default=0.15)
    planes: float = checked(check_number, 0, 1e6, default=0.05)
    people: float = checked(check_number, 0, 1e6, default=0.1)
    clips: float = checked(check_number, 0, 1e6, default=0.2)
    photograph_files: tuple[str, ...] = ()
    clip_files: tuple[str, ...] = ()
    validation_photographs: tuple[str, ...] = ("coffee", "china")
    validation_clips: tuple[str, ...] = ()
    judged_photographs: tuple[str, ...] = ("rocket", "flower")
    judged_clips: tuple[str, ...] = ()
    window_ms: tuple[float, float] = checked(_check_positive_range, default=(15.0, 90.0))
    events_per_pixel: tuple[float, float] = checked(_check_positive_range, default=(0.1, 1.0))
    by_count: float = checked(check_number, 0, 1, default=0.2)
    threshold_on: tuple[float, float] = checked(_check_positive_range, default=(0.1, 0.6))
    off_ratio: tuple[float, float] = checked(_check_positive_range, default=(0.65, 1.25))
    sigma_ratio: tuple[float, float] = checked(_check_range, default=(0.0, 0.2))
    shot_hz: tuple[float, float] = checked(_check_range, default=(0.0, 4.0))
    leak_hz: tuple[float, float] = checked(_check_range, default=(0.0, 0.3))
    cutoff_hz: tuple[float, float] = checked(_check_positive_range, default=(40.0, 500.0))
    refractory_us: tuple[float, float] = checked(_check_range, default=(0.0, 1000.0))
    clean: float = checked(check_number, 0, 1, default=0.2)
    cache_gb: float = checked(check_number, 0.001, 1e6, default=20.0)

    def __post_init__(self) -> None:
        check_fields(self)
        if not sum(self.shares):
            raise ConfigError(f"SequencesConfig: the shares of {', '.join(KINDS)} are all 0")
        if self.clips and not self.clip_files:
            raise ConfigError(
                f"SequencesConfig: clips = {self.clips} needs videos, clip_files; or set it to 0"
            )
        common = {*self.validation_photographs} & {*self.judged_photographs}
        common |= {*self.validation_clips} & {*self.judged_clips}
        if common:
            raise ConfigError(f"SequencesConfig: {min(common)!r} is both for validation and judged")

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of KINDS."""
        return self.photographs, self.crossings, self.planes, self.people, self.clips


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionLoop:
    """Length and settings of training.

    epochs         in each, every sequence comes once, cut, flipped and turned at random
    batch          sequences of a step      crop   side of the part that is cut from them, in pixels
    chunk          consecutive windows of a step; the states go on from step to step of a sequence
    settle         first windows of a sequence over which the weight of the loss rises to 1; the
                   scores leave them out
    learning_rate  highest: it rises over the first `warmup` steps, then falls along a cosine to 0
    weight_decay   of AdamW                 clip_norm  largest norm of the gradient; 0: no limit
    ssim           weight of 1 - SSIM, over squares of 7 pixels, beside the mean absolute difference
    squared        weight of the mean squared difference, beside the absolute one: it counts large
                   areas of a wrong brightness more
    temporal       weight of the difference to the image before, moved by the known flow
    average        decay of the mean of the weights over the steps, which is judged and kept
    processes      that emulate sequences beside the training; 0: none. Results do not depend on it
    stop           epochs until the run ends, with the schedule of all epochs; 0: run all

    Raises ConfigError for values out of range.
    """

    epochs: int = checked(check_whole, 1, 10**6, default=34)
    batch: int = checked(check_whole, 1, 4096, default=4)
    crop: int = checked(check_whole, 16, 4096, default=64)
    chunk: int = checked(check_whole, 1, 10_000, default=20)
    settle: int = checked(check_whole, 0, 10_000, default=3)
    learning_rate: float = checked(check_number, 1e-9, 10, default=6e-3)
    warmup: int = checked(check_whole, 0, 10**7, default=20)
    weight_decay: float = checked(check_number, 0, 10, default=1e-4)
    clip_norm: float = checked(check_number, 0, 1e9, default=1.0)
    ssim: float = checked(check_number, 0, 1e3, default=0.5)
    squared: float = checked(check_number, 0, 1e3, default=0.0)
    temporal: float = checked(check_number, 0, 1e3, default=0.1)
    average: float = checked(check_number, 0, 0.999999, default=0.995)
    processes: int = checked(check_whole, 0, 1024, default=1)
    stop: int = checked(check_whole, 0, 10**6, default=0)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionConfig:
    """All settings of a run. With code and processor they determine its result.

    name       of the model
    seed       of all random draws
    output     the folder that the run writes
    network    the description
    start      the folder of a model of the same network, or a shipped model's name; the run begins
               with its weights. "": with new ones
    sequences  see `SequencesConfig`
    loop       see `ReconstructionLoop`
    """

    task: str = TASK
    name: str = "reconstruct"
    seed: int = checked(check_seed, default=0)
    output: str = "runs/reconstruct"
    start: str = ""
    network: ReconstructionNetwork = field(default_factory=ReconstructionNetwork)
    sequences: SequencesConfig = field(default_factory=SequencesConfig)
    loop: ReconstructionLoop = field(default_factory=ReconstructionLoop)

    def __post_init__(self) -> None:
        check_fields(self)
        sequences, loop = self.sequences, self.loop
        if loop.crop > sequences.side:
            raise ConfigError(f"loop.crop = {loop.crop} is above sequences.side = {sequences.side}")
        if loop.crop % self.network.multiple:
            raise ConfigError(
                f"loop.crop = {loop.crop} is no multiple of the network's {self.network.multiple}"
            )
        if sequences.windows % loop.chunk:
            raise ConfigError(
                f"sequences.windows = {sequences.windows} is no multiple of loop.chunk = "
                f"{loop.chunk}"
            )
        if loop.settle >= loop.chunk:
            raise ConfigError(
                f"loop.settle = {loop.settle} leaves no window of loop.chunk = {loop.chunk}"
            )

    @property
    def values(self) -> dict[str, Any]:
        """The configuration as nested tables."""
        return asdict(self)


def load_reconstruction_config(
    path: str | PathLike[str], overrides: Mapping[str, str] | None = None
) -> ReconstructionConfig:
    """Return the configuration in a TOML file, changed by `overrides` as in `load_config`.

    Raises MissingFileError, and ConfigError for a broken file, another task, unknown keys and
    values of the wrong type.
    """
    return reconstruction_config_from(toml_values(path, overrides))


def reconstruction_config_from(values: Mapping[str, Any]) -> ReconstructionConfig:
    """Return the configuration in nested tables. Raises ConfigError."""
    if values.get("task") != TASK:
        raise ConfigError(f"task = {values.get('task', '')!r}; give task = {TASK!r}")
    return read_table(ReconstructionConfig, values)
