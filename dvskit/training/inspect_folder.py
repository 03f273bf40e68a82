"""Inspect a folder of samples, and choose the configuration to train on it, with reasons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import one_thread, thread_count
from dvskit.datasets import FileSamples, Sample, Samples, SplitSamples, likely_size
from dvskit.datasets.kinds import DEPTH_CLIPS, RECORDINGS
from dvskit.errors import ConfigError, FormatError, count_of, one_line
from dvskit.events import Size
from dvskit.filters import Vary
from dvskit.formats import open_events
from dvskit.networks import Layered
from dvskit.networks.network import Network
from dvskit.scenes import read_depth_clip
from dvskit.training.config import Config, DataConfig, LoopConfig
from dvskit.training.feed import mirrored
from dvskit.training.input_config import POINTS, InputConfig
from dvskit.training.models import Model, with_classes
from dvskit.training.sets import parts_of
from dvskit.video import open_frames

_MEASURED = 24  # samples that are read to measure sizes and durations


@dataclass(frozen=True, slots=True)
class FolderContents:
    """The content of a folder, or of a list, of labelled samples.

    samples    all of them, opened
    classes    the number of samples of each class
    groups     the people, by name; () if they are not known
    sizes      of the sensors or pictures in the samples that were read, with the count of each
    durations  of the samples that were read, microseconds (n,) int64
    """

    samples: FileSamples
    classes: Mapping[str, int]
    groups: tuple[str, ...]
    sizes: Mapping[Size, int]
    durations: NDArray[np.int64]

    @property
    def clips(self) -> int:
        """The number of emulated samples: videos, folders of images, depth clips."""
        return sum(kind != RECORDINGS.name for kind in self.samples.kinds)

    @property
    def kind(self) -> str:
        """The kind of the entry [[data]] that opens them."""
        if DEPTH_CLIPS.name in self.samples.kinds:
            return "depth"
        if self.clips == len(self.samples):
            return "videos"
        return "mixed" if self.clips else "recordings"

    @property
    def words(self) -> str:
        """One line for people."""
        kinds = Counter(self.samples.kinds)
        what = " and ".join(count_of(count, kind) for kind, count in sorted(kinds.items()))
        sizes = ", ".join(map(str, sorted(self.sizes)[:3])) + ", ..." * (len(self.sizes) > 3)
        low, high = (self.durations.min() / 1e6, self.durations.max() / 1e6)
        few, many = min(self.classes.values()), max(self.classes.values())
        each = f"{few:,}" if few == many else f"{few:,} to {many:,}"
        people = f", {count_of(len(self.groups), 'person', 'people')}" if self.groups else ""
        length, count = f"{low:.2g} to {high:.2g} s", len(self.classes)
        return f"{what} of {sizes}, {length}; {count} classes of {each}{people}"


def inspect_samples(
    samples: FileSamples, folder: str | PathLike[str], *, without: tuple[str, ...] = ()
) -> FolderContents:
    """Read some samples of an opened folder, or list, whole.

    without  names of samples to skip

    Raises ConfigError for fewer than two classes, FormatError if no sample that was read has a
    duration, and the errors of reading.
    """
    rows = [row for row in samples.rows if row.name not in without]
    classes = dict(sorted(Counter(row.label for row in rows).items()))
    if len(classes) < 2:
        raise ConfigError(
            f"{folder}: one class, {', '.join(classes) or 'none'}; give a folder for each of two "
            "or more classes"
        )
    read = [rows[k] for k in np.unique(np.linspace(0, len(rows) - 1, _MEASURED).astype(int))]
    kinds = dict(zip(samples.rows, samples.kinds, strict=True))
    depth = [row for row in rows if kinds[row] == DEPTH_CLIPS.name]
    if depth and len(depth) < len(rows):
        other = next(row for row in rows if kinds[row] != DEPTH_CLIPS.name)
        raise FormatError(
            f"{depth[0].where}: is a depth clip, next to a {kinds[other]}, {other.where}; give "
            "depth clips their own folder (a damaged depth clip counts as a recording)"
        )

    def measured(row: Sample) -> tuple[Size, int]:
        return _measured(row, kinds[row], samples.reading.strict)

    with ThreadPoolExecutor(thread_count()) as pool:
        found = list(pool.map(measured, read))
    durations = np.array([duration for _, duration in found if duration > 0], np.int64)
    if not len(durations):
        raise FormatError(f"{folder}: the samples that were read have no duration; check them")
    groups = {row.group for row in rows}
    return FolderContents(
        samples,
        classes,
        () if None in groups else tuple(sorted(map(str, groups))),
        Counter(size for size, _ in found),
        durations,
    )


def _measured(row: Sample, kind: str, strict: bool) -> tuple[Size, int]:
    """Return the size and the duration of a sample, in microseconds."""
    path: Path = row.file
    if kind == DEPTH_CLIPS.name:
        seen = read_depth_clip(path)
        return Size(*seen.depth_m.shape[:0:-1]), int(seen.t_us[-1] - seen.t_us[0])
    with one_thread():
        if kind == RECORDINGS.name:
            recording = open_events(path, strict=strict)
            events = recording.between(*row.span or (None, None)).load()
            length = int(events.t[-1] - events.t[0]) + 1 if len(events) else 0
            return likely_size(recording, recording.size), length
        clip = open_frames(path, strict=strict)
        times = [t_us for t_us, _ in clip]
    start, stop = row.span or (0, 1 << 62)
    return clip.size, min(times[-1], stop) - max(times[0], start) if times else 0


BATCH = 24
CLIP_SIDE = 128  # of the sensor, where sizes differ or are larger
_GRID = 16  # the least size that pixels are summed to
_LONGEST_US = 4_000_000
_SLOWER, _MUCH_SLOWER = 1.2, 1.6  # how much slower other people may be, after many or few people
_PEOPLE = 5  # fewer do not show how much people differ
_FEW = 10  # samples of a class; with fewer, none is held out for the test
_MANY = 200  # training samples; with so many, some choose the best epoch
CLIP_THRESHOLD = 0.3
_DEPTH_SENSOR = "DVS128"
_BLUR = 0.04  # of the side: arms and clothes are thicker or thinner

_Noted = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class ChosenSetting:
    """A chosen part of a configuration: its name, its value and the reason, in one line."""

    what: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.what:<9} {self.value}: {self.why}"


@dataclass(frozen=True, slots=True)
class ChosenConfig:
    """A configuration, the choices that led to it, and its samples, split by it."""

    config: Config
    choices: tuple[ChosenSetting, ...]
    parts: SplitSamples[Samples]


def choose(contents: FolderContents, config: Config, start: Model | None = None) -> ChosenConfig:
    """Return the configuration to train on a folder.

    config  its name, seed, output and start, and one entry [[data]] with path, salvage and
            without; all else is chosen
    start   the model whose weights the run begins with; it sets size, window and network

    The number of steps is that of a run without a time limit. Raises ConfigError for a start
    that takes points.
    """
    choices: list[ChosenSetting] = []

    def noted(*choice: str) -> None:
        choices.append(ChosenSetting(*choice))

    given, network = _network(contents, start, noted)
    entry, parts = _split(contents, replace(config.data[0], kind=contents.kind), config.seed, noted)
    entry = replace(
        _seen(contents, entry, noted),
        count=BATCH,
        balanced=max(contents.classes.values()) > 1.5 * min(contents.classes.values()),
        augment=_augment(contents, given, network, noted),
        mirrored=not _without_mirror(contents),
    )
    train = len(parts.train)
    steps = min(max(300, math.ceil(60 * train / BATCH)), 3000)
    seen = f"{count_of(train, 'sample')} to train on"
    noted("steps", f"at most {steps:,} of {BATCH} samples each", seen)
    keep = "best" if len(parts.validation) else "last"
    loop = LoopConfig(learning_rate=3e-3, weight_decay=2e-2, keep=keep, precision="float32")
    whole = replace(
        config,
        network=network,
        input=given,
        data=(entry,),
        loop=with_steps(replace(loop, freeze=steps // 10 if start else 0), steps),
    )
    return ChosenConfig(whole, tuple(choices), parts)


def with_steps(loop: LoopConfig, steps: int) -> LoopConfig:
    """Return a loop of about `steps` steps in ten epochs, under a third of them frozen."""
    each = max(1, round(steps / 10))
    return replace(loop, epochs=10, steps=each, freeze=min(loop.freeze, 10 * each // 3))


def _network(
    contents: FolderContents, start: Model | None, noted: _Noted
) -> tuple[InputConfig, Network]:
    if start is not None:
        if start.input.representation == POINTS:
            raise ConfigError(f"--from {start.name}: takes points; name a model that takes bins")
        network = with_classes(start.network, len(contents.classes))
        noted(
            "network",
            f"from {start.name}, with a new last layer",
            f"it takes {_window_words(start.input)} of {start.size}",
        )
        return start.input, network
    width, height = _size(contents, noted)
    given = _window(contents, noted)
    pool = max(1, max(width, height) // _GRID)
    fire, leave = "signed-lif", "D0.15"
    layers = (
        *((f"S{pool}",) if pool > 1 else ()),
        *("T3", "16C5s2p2", "tdbn", fire, "32C3s2p1", "tdbn", fire, leave, "64", "ln", fire),
        *(leave, "T5", "64", "ln", fire, leave, "T5s2", "64", "ln", fire),
        *(leave, str(len(contents.classes)), "max"),
    )
    noted(
        "network",
        "2 convolutions and 3 dense layers of signed LIF neurons with delays",
        f"blocks of {pool}x{pool} pixels are summed; the largest output of any step is the answer",
    )
    network = Layered(
        layers=layers, width=width, height=height, classes=len(contents.classes), beta=0.5, gain=1.0
    )
    return given, network


def _size(contents: FolderContents, noted: _Noted) -> tuple[int, int]:
    sizes = set(contents.sizes)
    only = next(iter(sizes))
    if len(sizes) == 1 and not contents.clips and min(only) >= 12 and max(only) <= CLIP_SIDE:
        noted("size", str(only), "the size of all recordings that were read")
        return only.width, only.height
    what = (
        "clips are emulated at this size"
        if contents.clips == len(contents.samples)
        else "all samples are fitted to it"
    )
    noted("size", f"{CLIP_SIDE}x{CLIP_SIDE}", f"{what}; larger ones recognise gestures no better")
    return CLIP_SIDE, CLIP_SIDE


def _window(contents: FolderContents, noted: _Noted) -> InputConfig:
    length = float(np.quantile(contents.durations, 0.9))
    slower = (_MUCH_SLOWER if _few_people(contents) else _SLOWER) if length > 500_000 else 1.0
    window = min(slower * length, _LONGEST_US)
    bins = int(np.clip(round(window / 100_000), 10, 40)) if window > 500_000 else 20
    bin_us = max(1, math.ceil(window / bins / 10) * 10)
    given = InputConfig(bins=bins, bin_us=bin_us)
    why = "9 of 10 samples fit into it" + ", of slower people too" * (slower > 1)
    if length > _LONGEST_US:
        why = "the samples are longer; training and test use their first window"
    noted("window", _window_words(given), why)
    return given


def _window_words(given: InputConfig) -> str:
    return f"{given.bins} bins of {given.bin_us / 1000:g} ms"


def _split(
    contents: FolderContents, entry: DataConfig, seed: int, noted: _Noted
) -> tuple[DataConfig, SplitSamples[Samples]]:
    """Return the entry with its shares, and the samples split by it."""
    why = ""
    for split, value, reason in _splits(contents):
        tried = replace(entry, **split)  # type: ignore[arg-type]
        try:
            parts = parts_of(_grouped(contents, tried), tried, seed)
        except ConfigError as error:
            why = f" ({one_line(error)})"
            continue
        if len(parts.validation):
            reason += "; validation chooses the best epoch"
        else:
            reason += "; the last epoch's weights are kept"
        tested = sorted({str(row.group) for row in parts.test.rows if row.group})
        named = f" ({', '.join(tested)})" if 0 < len(tested) <= 3 else ""
        counts = "/".join(f"{len(part):,}" for part in parts)
        noted("split", f"{value}{named}, {counts} for training, validation and test", reason + why)
        return tried, parts
    raise ConfigError(f"{entry.path}: cannot be trained on{why}")


def _grouped(contents: FolderContents, entry: DataConfig) -> Samples:
    """Return the samples of a folder, without groups if the entry has none."""
    if entry.group != "none" or not any(row.group for row in contents.samples.rows):
        return contents.samples
    rows = [row._replace(group=None) for row in contents.samples.rows]
    return FileSamples(rows, contents.samples.reading)


def _splits(contents: FolderContents) -> Iterator[tuple[dict[str, object], str, str]]:
    """Yield keys of the entry, their value as text and the reason; the best first."""
    count, least = sum(contents.classes.values()), min(contents.classes.values())
    many = 0.1 if count >= _MANY else 0.0
    if any(row.part for row in contents.samples.rows):
        listed = {row.part for row in contents.samples.rows}
        share = 0.0 if "validation" in listed else many
        yield (
            {"by": "listed", "validation": share, "test": 0.0},
            "as listed",
            "the folders name the parts",
        )
    people = len(contents.groups)
    if people > 1:
        share = many if people > 5 else 0.0
        shares = {"by": "group", "validation": share, "test": max(0.2, 1 / people)}
        yield shares, "whole people held out", "the test uses people the network never saw"
    if least >= _FEW and people < 2:
        reason = "a fifth of each class is held out"
        if people:
            reason += "; all are of one person, so the accuracy does not hold for others"
        yield {"by": "share", "group": "none", "validation": many, "test": 0.2}, "by class", reason
    reason = f"a class has only {count_of(least, 'sample')}, too few to hold some out"
    yield {"by": "share", "group": "none", "validation": 0.0, "test": 0.0}, "none", reason


def _seen(contents: FolderContents, entry: DataConfig, noted: _Noted) -> DataConfig:
    if not contents.clips:
        return entry
    if contents.kind == "depth":
        noted(
            "sensor",
            f"{_DEPTH_SENSOR}; each clip has its own clothes, wall and light",
            "depth clips have no brightness",
        )
        return replace(entry, preset=_DEPTH_SENSOR)
    noted(
        "sensor",
        f"ideal, threshold {CLIP_THRESHOLD:g}, whole picture",
        "video noise stays below the threshold, and no side is cut off",
    )
    return replace(entry, threshold=CLIP_THRESHOLD, whole=True)


def _few_people(contents: FolderContents) -> bool:
    """Return whether samples and people are too few to show how much people differ."""
    return len(contents.groups) < _PEOPLE and sum(contents.classes.values()) < _MANY


def _without_mirror(contents: FolderContents) -> list[str]:
    return [name for name in contents.classes if not mirrored(name, tuple(contents.classes))]


def _augment(contents: FolderContents, given: InputConfig, network: Network, noted: _Noted) -> Vary:
    side = min(network.width, network.height)
    window = given.window_us
    names = _without_mirror(contents)
    flips = "left-right flips, with the classes" if not names else "no flips"
    why = "each class has its mirror class" if not names else f"{names[0]} has no mirror class"
    few = _few_people(contents)
    noted("augment", f"place, scale, tilt, speed, polarity, blur, lost events; {flips}", why)
    return Vary(
        shift_px=round((0.11 if few else 0.08) * side, 1),
        rotate_deg=8.0 if few else 6.0,
        zoom=0.2 if few else 0.12,
        time_scale=0.35 if few else 0.18,
        later_us=round(0.06 * window),
        drop=0.4,
        jitter_px=round(_BLUR * side, 1),
        swap_polarity=0.5,
        flip_x=0.0 if names else 0.5,
    )
