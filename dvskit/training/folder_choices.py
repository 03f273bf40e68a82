"""What is in a folder of labeled samples, and the configuration to train on it, with reasons.

`inspect_samples` reads some samples, `choose_start` picks the model to begin with, and `choose` all
other settings.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from dvskit._threads import one_thread, thread_count
from dvskit.datasets import (
    Cache,
    Emulation,
    FileSamples,
    Sample,
    Samples,
    SplitSamples,
    k_fold,
    likely_size,
)
from dvskit.datasets.files import DEPTH_CLIPS, RECORDINGS, used_clip
from dvskit.errors import ConfigError, DvskitError, FormatError, count_of, one_line
from dvskit.events import Size
from dvskit.filters import Vary
from dvskit.formats import open_events
from dvskit.models.doubt import activity_of
from dvskit.models.inputs import POINTS, InputConfig, judged_batches
from dvskit.models.learned import DATA_KINDS, FileData, is_among, parts_of, used_samples
from dvskit.models.model import Model, load_model
from dvskit.models.scores import logits_of
from dvskit.networks import Layered, Network
from dvskit.scenes import read_depth_clip
from dvskit.training.config import Config, LoopConfig, files_of
from dvskit.training.labels import common_samples, layers_before_dense, with_classes
from dvskit.training.sets import EMULATED, FolderNote, load_sets, mirrored, network_size
from dvskit.video import FrameSource

PEOPLE_MODEL, NEW_WEIGHTS = "dvs128-gestures", "new weights"
BATCH = 24
CLIP_SIDE = 128  # of the sensor, where sizes differ or are larger
CLIP_THRESHOLD = 0.45
_DEPTH_SENSOR = "DVS128"

_MEASURED = 24  # samples that are read to measure sizes and durations
_FEW_CLIPS = 5  # samples of a class
_VIEW = (32, 24)  # pixels of a background
# Correlation of two clips. Clips of one person in one place reach 0.96, of two people in one place
# 0.86; drawn people in different places at most 0.66.
_SAME_BACKGROUND = 0.8

_GESTURE_US = 500_000  # samples shorter than that show none
_LOOKED_AT, _LEAST_LOOKED_AT = 12, 4  # samples that decide on the start

_GRID = 16  # the least size that pixels are summed to
_LONGEST_US = 4_000_000
_SLOWER, _MUCH_SLOWER = 1.2, 1.6  # how much slower other people may be, after many or few people
_PEOPLE = 5  # fewer do not show how much people differ
_FEW = 10  # samples of a class; with fewer, none is held out for the test
_MANY = 200  # samples; with so many, some are held out for the test and to choose the best epoch
_MOST_PEOPLE, _THIRDS = 5, 3  # parts that are left out in turn
_DRAWN = 2  # epochs, of ten, with changes of their own: the outputs of fixed layers are kept
_STRETCH = 1.5  # how much longer bins may be than those that a start learned from
_BLUR = 0.04  # of the side: arms and clothes are thicker or thinner


@dataclass(frozen=True, slots=True)
class FolderContents:
    """The content of a folder, or of a list, of labeled samples.

    samples    all of them that are used, opened
    classes    the number of samples of each class
    groups     the people, by name; () if they are not known
    sizes      of the sensors or pictures in the samples that were read, with the count of each
    durations  of the samples that were read, microseconds (n,) int64
    alike      classes in which all videos that were read, two or more, show one background
    """

    samples: FileSamples
    classes: Mapping[str, int]
    groups: tuple[str, ...]
    sizes: Mapping[Size, int]
    durations: NDArray[np.int64]
    alike: tuple[str, ...] = ()

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
    def length_us(self) -> float:
        """The time that nine of ten samples take."""
        return float(np.quantile(self.durations, 0.9))

    @property
    def has_few_people(self) -> bool:
        """Whether samples and people are too few to show how much people differ."""
        return len(self.groups) < _PEOPLE and sum(self.classes.values()) < _MANY

    @property
    def without_mirror(self) -> list[str]:
        """The classes without a mirror class."""
        return [name for name in self.classes if not mirrored(name, tuple(self.classes))]

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

    @property
    def warnings(self) -> list[FolderNote]:
        """Notes on what may keep a model from recognizing other samples."""
        what = "clips" if self.clips == len(self.samples) else "samples"
        few = [name for name, count in self.classes.items() if count < _FEW_CLIPS]
        return [
            *self._warning(
                "few clips", few,
                f"fewer than {_FEW_CLIPS} {what}: record more, of several people, if others are to "
                "be recognized", wanted=_FEW_CLIPS,
            ),
            *self._warning(
                "one background", self.alike,
                "one background in all clips that were looked at: record some at another place, or "
                "the model may learn the place",
            ),
        ]  # fmt: skip

    def _warning(
        self, kind: str, classes: Sequence[str], has: str, **values: int
    ) -> Iterator[FolderNote]:
        """Yield a note on what classes have, if there are any."""
        every = len(classes) == len(self.classes)
        shown = ", ".join(classes[:3]) + f" and {len(classes) - 3} more" * (len(classes) > 3)
        who = f"class {shown} has" if len(classes) == 1 else f"classes {shown} have"
        if classes:
            text = f"{'each class has' if every else who} {has}"
            yield FolderNote(text, kind, classes=list(classes), all=every, **values)


def inspect_samples(
    samples: FileSamples, folder: str | PathLike[str], *, without: tuple[str, ...] = ()
) -> FolderContents:
    """Read some samples of an opened folder, or list, whole.

    without  names of samples to skip, as in an entry [[data]]

    Raises ConfigError for fewer than two classes, FormatError if no sample that was read has a
    duration, and the errors of reading.
    """
    if without:
        used = [row for row in samples.rows if not is_among(row, without)]
        samples = FileSamples(used, samples.reading)
    rows = samples.rows
    classes = dict(sorted(Counter(row.label for row in rows).items()))
    if len(classes) < 2:
        raise ConfigError(
            f"{folder}: one class, {', '.join(classes) or 'none'}; give a folder for each of two "
            "or more classes"
        )
    kinds = dict(zip(rows, samples.kinds, strict=True))
    depth = [row for row in rows if kinds[row] == DEPTH_CLIPS.name]
    if depth and len(depth) < len(rows):
        other = next(row for row in rows if kinds[row] != DEPTH_CLIPS.name)
        raise FormatError(
            f"{depth[0].where}: is a depth clip, next to a {kinds[other]}, {other.where}; give "
            "depth clips their own folder (a damaged depth clip counts as a recording)"
        )
    some = [rows[k] for k in _spread(len(rows), _MEASURED)]
    with ThreadPoolExecutor(thread_count()) as pool:
        strict = [samples.reading.strict] * len(some)
        found = list(pool.map(_measure, some, map(kinds.__getitem__, some), strict))
    durations = np.array([each.duration for each in found if each.duration > 0], np.int64)
    if not len(durations):
        raise FormatError(f"{folder}: the samples that were read have no duration; check them")
    groups = {row.group for row in rows}
    return FolderContents(
        samples,
        classes,
        () if None in groups else tuple(sorted(map(str, groups))),
        Counter(each.size for each in found),
        durations,
        _alike(some, found),
    )


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` numbers below `count`, evenly spaced."""
    return [*map(int, np.unique(np.linspace(0, count - 1, most).astype(int)))]


class _Measurement(NamedTuple):
    """The size of a sample, its duration in microseconds, and of a video its background.

    The background is (pixels,) float32, with a norm of 1: a small median over all frames.
    """

    size: Size
    duration: int
    background: NDArray[np.float32] | None = None


def _measure(row: Sample, kind: str, strict: bool) -> _Measurement:
    if kind == DEPTH_CLIPS.name:
        seen = read_depth_clip(row.file)
        return _Measurement(Size(*seen.depth_m.shape[:0:-1]), int(seen.t_us[-1] - seen.t_us[0]))
    with one_thread():
        if kind == RECORDINGS.name:
            recording = open_events(row.file, strict=strict)
            events = recording.between(*row.span or (None, None)).load()
            length = int(events.t[-1] - events.t[0]) + 1 if len(events) else 0
            return _Measurement(likely_size(recording, recording.size), length)
        frames, clip = used_clip(row.file, Emulation(), _small_frames, strict=strict)
    start, stop = row.span or (0, 1 << 62)
    if not frames:
        return _Measurement(clip.size, 0)
    duration = min(frames[-1][0], stop) - max(frames[0][0], start)
    return _Measurement(clip.size, duration, _background([small for _, small in frames]))


def _small_frames(clip: FrameSource) -> list[tuple[int, NDArray[np.float32]]]:
    """Return the times of frames, and the frames at the size of a background."""
    found = []
    for t_us, frame in clip:
        small = cv2.resize(frame.astype(np.float32), _VIEW, interpolation=cv2.INTER_AREA)
        found.append((t_us, np.asarray(small, np.float32)))
    return found


def _background(frames: Sequence[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """Return the median of frames about its mean, with a norm of 1; None for one gray."""
    median = np.median(np.stack(frames), 0).ravel()
    about = median - median.mean()
    norm = np.linalg.norm(about)
    return np.asarray(about / norm, np.float32) if norm > 1e-3 * np.abs(median).max() else None


def _alike(rows: Sequence[Sample], found: Sequence[_Measurement]) -> tuple[str, ...]:
    """Return the classes of two or more videos of one background."""
    views: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for row, each in zip(rows, found, strict=True):
        if each.background is not None:
            views[row.label].append(each.background)
    return tuple(
        label
        for label, seen in views.items()
        if len(seen) > 1 and float((np.stack(seen) @ np.stack(seen).T).min()) > _SAME_BACKGROUND
    )


@dataclass(frozen=True, slots=True)
class ChosenSetting:
    """A chosen part of a configuration: its name, its value and the reason, in one line.

    kind  of the reason of a start, as in `RunNotes`; "" for other parts
    """

    what: str
    value: str
    why: str
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.what:<9} {self.value}: {self.why}"


def choose_start(contents: FolderContents, config: Config, until: float) -> ChosenSetting:
    """Return the choice of a shipped model to start with, if the samples show people.

    config  as in `choose`       until  a value of time.monotonic(): stop reading samples then

    The value is the model's name, or "new weights". A model that learned from one of the samples is
    not chosen, because these judge the model.
    """

    def new_weights(why: str, kind: str) -> ChosenSetting:
        return ChosenSetting("start", NEW_WEIGHTS, why, kind)

    if contents.length_us < _GESTURE_US:
        return new_weights("the samples are too short for gestures", "short")
    start = load_model(PEOPLE_MODEL)
    if start.likeness is None:
        return new_weights(f"{start.name} has no likeness.safetensors", "unread")
    config = choose(contents, replace(config, start=start.name), start).config
    (whole,) = load_sets(config)
    known = common_samples(start, used_samples(whole.parts.rows))
    if known:
        return new_weights(f"{start.name} learned from {known[0].name}", "known")
    samples = whole.parts.train
    assert isinstance(samples, Samples)
    far: list[float] = []
    for number in _spread(len(samples), _LOOKED_AT):
        if len(far) < _LEAST_LOOKED_AT or time.monotonic() <= until:
            far += _distances(start, config, samples.choose([number]))
    if not far:
        return new_weights("no sample could be read", "unread")
    distance = statistics.median(far)
    people = f"the people that {start.name} knows (distance {distance:.2g}, limit 1)"
    if distance > 1:
        return new_weights(f"the samples are unlike {people}", "unlike")
    return ChosenSetting("start", start.name, f"the samples are like {people}", "like")


def _distances(start: Model, config: Config, one: Samples) -> Iterator[float]:
    """Yield the distance of a sample; nothing for one that cannot be read."""
    assert start.likeness is not None
    if config.data[0].kind in EMULATED:
        one = one.cached(Cache())
    try:
        with activity_of(start.module) as passes:
            for counts, _ in judged_batches(one, config.input, network_size(config)).epoch(0):
                logits_of(start.module, counts)
    except DvskitError:  # reported when it is emulated, or left out
        return
    yield from map(start.likeness.distance, passes)


@dataclass(frozen=True, slots=True)
class ChosenConfig:
    """A configuration, the choices that led to it, and its samples, split by it.

    parts_left_out  the most parts that are left out of trainings of their own, to judge it; 0: none
    """

    config: Config
    choices: tuple[ChosenSetting, ...]
    parts: SplitSamples[Samples]
    parts_left_out: int


def choose(contents: FolderContents, config: Config, start: Model | None = None) -> ChosenConfig:
    """Return the configuration to train on a folder.

    config  its name, seed, output and start, and one entry [[data]] with path, salvage and
            without; all else is chosen
    start   the model with the first weights of the run; it sets size, window and network

    The number of steps is that of a run without a time limit. Raises ConfigError for a start
    that takes points.
    """
    choices = _Choices()
    if start is None:
        given, network = _new_network(contents, choices)
    else:
        given, network = _network_of(start, contents, choices)
    entry, parts, parts_left_out = _split(
        contents, _entry(contents, files_of(config)), config.seed, choices
    )
    entry = replace(
        entry,
        **_sensor(contents, choices),
        count=BATCH,
        balanced=max(contents.classes.values()) > 1.5 * min(contents.classes.values()),
        augment=_augment(contents, given, network, choices),
        mirrored=not contents.without_mirror,
    )
    if parts_left_out and start is not None and common_samples(start, used_samples(parts)):
        parts_left_out = 0
        choices.add("judged", "by no sample", f"{start.name} learned from some of them")
    train = len(parts.train)
    dense = start is not None and _keeps_convolutions(start)
    least, each = (200, 20) if dense else (300, 60)
    steps = 10 * round(min(max(least, math.ceil(each * train / BATCH)), 3000) / 10)
    words = f"{count_of(train, 'sample')} to train on"
    choices.add("steps", f"at most {steps:,} of {BATCH} samples each", words)
    loop = LoopConfig(
        learning_rate=1e-3 if dense else 3e-3,
        weight_decay=2e-2,
        keep="best" if len(parts.validation) else "last",
        precision="float32",
        trained_layers="dense" if dense else "all",
        drawn_epochs=_DRAWN if dense else 0,
    )
    whole = replace(
        config, network=network, input=given, data=(entry,), loop=with_steps(loop, steps)
    )
    return ChosenConfig(whole, tuple(choices), parts, parts_left_out)


class _Choices(list[ChosenSetting]):
    def add(self, what: str, value: str, why: str) -> None:
        self.append(ChosenSetting(what, value, why))


def with_steps(loop: LoopConfig, steps: int) -> LoopConfig:
    """Return a loop of at most `steps` steps, ten or more, in ten epochs."""
    return replace(loop, epochs=10, steps=max(1, steps // 10))


def _network_of(
    start: Model, contents: FolderContents, choices: _Choices
) -> tuple[InputConfig, Network]:
    """Return the input and the network of a start, for other classes and slower people."""
    if start.input.representation == POINTS:
        raise ConfigError(f"start = {start.name!r} takes points; name a model that takes bins")
    length, _ = _window_us(contents)
    stretch = min(max(length / start.input.window_us, 1.0), _STRETCH)
    given = replace(start.input, bin_us=round(start.input.bin_us * stretch / 10) * 10)
    kept = "its convolutions stay, " if _keeps_convolutions(start) else ""
    choices.add(
        "network",
        f"from {start.name}, with a new last layer",
        f"{kept}it takes {start.size} in {window_words(given)}"
        + ", slower than it learned from" * (stretch > 1),
    )
    return given, with_classes(start.network, len(contents.classes))


def _keeps_convolutions(model: Model) -> bool:
    return any(isinstance(part, nn.Conv2d) for part in layers_before_dense(model.module))


def _new_network(contents: FolderContents, choices: _Choices) -> tuple[InputConfig, Network]:
    width, height = _size(contents, choices)
    given = _window(contents, choices)
    pool = max(1, max(width, height) // _GRID)
    fire, leave = "signed-lif", "D0.15"
    layers = (
        *((f"S{pool}",) if pool > 1 else ()),
        *("T3", "16C5s2p2", "tdbn", fire, "32C3s2p1", "tdbn", fire, leave, "64", "ln", fire),
        *(leave, "T5", "64", "ln", fire, leave, "T5s2", "64", "ln", fire),
        *(leave, str(len(contents.classes)), "max"),
    )
    choices.add(
        "network",
        "2 convolutions and 3 dense layers of signed LIF neurons with delays",
        f"blocks of {pool}x{pool} pixels are summed; the largest output of any step is the answer",
    )
    network = Layered(
        layers=layers, width=width, height=height, classes=len(contents.classes), beta=0.5, gain=1.0
    )
    return given, network


def _size(contents: FolderContents, choices: _Choices) -> tuple[int, int]:
    sizes = set(contents.sizes)
    only = next(iter(sizes))
    if len(sizes) == 1 and not contents.clips and min(only) >= 12 and max(only) <= CLIP_SIDE:
        choices.add("size", str(only), "the size of all recordings that were read")
        return only.width, only.height
    what = (
        "clips are emulated at this size"
        if contents.clips == len(contents.samples)
        else "all samples are fitted to it"
    )
    why = f"{what}; larger ones recognize gestures no better"
    choices.add("size", f"{CLIP_SIDE}x{CLIP_SIDE}", why)
    return CLIP_SIDE, CLIP_SIDE


def _window(contents: FolderContents, choices: _Choices) -> InputConfig:
    window, slower = _window_us(contents)
    longer = window / slower > _LONGEST_US
    window = min(window, _LONGEST_US)
    bins = int(np.clip(round(window / 100_000), 10, 40)) if window > 500_000 else 20
    given = InputConfig(bins=bins, bin_us=max(1, math.ceil(window / bins / 10) * 10))
    why = "9 of 10 samples fit into it" + ", of slower people too" * (slower > 1)
    if longer:
        why = "the samples are longer; training and test use their first window"
    choices.add("window", window_words(given), why)
    return given


def _window_us(contents: FolderContents) -> tuple[float, float]:
    """Return how long nine of ten samples take, of slower people too, and how much slower."""
    slower = _MUCH_SLOWER if contents.has_few_people else _SLOWER
    slower = slower if contents.length_us > 500_000 else 1.0
    return slower * contents.length_us, slower


def window_words(given: InputConfig) -> str:
    """Return the bins of an input, for people."""
    return f"{given.bins} bins of {given.bin_us / 1000:g} ms"


def _entry(contents: FolderContents, asked: FileData) -> Any:
    """Return the entry of the folder's kind, with what a call asks for."""
    kind = DATA_KINDS[contents.kind]
    return kind(**{key: getattr(asked, key) for key in ("name", "path", "salvage", "without")})


def _split(
    contents: FolderContents, entry: FileData, seed: int, choices: _Choices
) -> tuple[FileData, SplitSamples[Samples], int]:
    """Return the entry with its shares, the samples split by it, and the parts to leave out."""
    why = ""
    for way in _splits(contents):
        tried, reason = replace(entry, **way.keys), way.why
        try:
            parts = parts_of(_grouped(contents, tried), tried, seed)
            left_out = len(parts_to_leave_out(parts.train, seed)) if way.leaves_parts_out else 0
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
        choices.add(
            "split", f"{way.value}{named}, {counts} for training, validation and test", reason + why
        )
        return tried, parts, left_out
    raise ConfigError(f"{entry.path}: cannot be trained on{why}")


def _grouped(contents: FolderContents, entry: FileData) -> Samples:
    """Return the samples of a folder, without groups if the entry has none."""
    if entry.group != "none" or not any(row.group for row in contents.samples.rows):
        return contents.samples
    rows = [row._replace(group=None) for row in contents.samples.rows]
    return FileSamples(rows, contents.samples.reading)


def parts_to_leave_out(samples: Samples, seed: int) -> list[SplitSamples[Samples]]:
    """Return a split for each part of the samples; the part is the test part of its split.

    Known people stay whole; of more than five, several are in a part. Raises ConfigError if a class
    would not be in training, and for fewer than two people or three samples.
    """
    people = {row.group for row in samples.rows}
    count = _THIRDS if None in people else min(len(people), _MOST_PEOPLE)
    return k_fold(samples, count, seed=seed)


class _Way(NamedTuple):
    """A way to split: keys of the entry, their value as text, the reason.

    leaves_parts_out  whether trainings that leave a part out judge it
    """

    keys: dict[str, Any]
    value: str
    why: str
    leaves_parts_out: bool = False


def _splits(contents: FolderContents) -> Iterator[_Way]:
    """Yield ways to split, the best first."""
    count, least = sum(contents.classes.values()), min(contents.classes.values())
    many = 0.1 if count >= _MANY else 0.0
    listed = {row.part for row in contents.samples.rows} - {None, ""}
    if listed:
        keys = {"by": "listed", "validation": 0.0 if "validation" in listed else many, "test": 0.0}
        yield _Way(keys, "as listed", "the folders name the parts")
    people = len(contents.groups)
    alone = "; all are of one person, so the accuracy does not hold for others" * (people == 1)
    by_class = {"by": "share", "group": "none"}
    nothing = {"validation": 0.0, "test": 0.0}
    if count < _MANY:
        if people > 1:
            reason = "each trains once more without them, to judge it by people it never saw"
            keys = {"by": "group", **nothing}
            yield _Way(keys, "all people, each left out in turn", reason, leaves_parts_out=True)
        reason = f"each trains once more without it, to judge it by samples it never saw{alone}"
        keys = {**by_class, **nothing}
        yield _Way(keys, "all, a third left out in turn", reason, leaves_parts_out=True)
    elif people > 1:
        keys = {"by": "group", "validation": many if people > 5 else 0.0}
        keys["test"] = max(0.2, 1 / people)
        yield _Way(keys, "whole people held out", "the test uses people the network never saw")
    elif least >= _FEW:
        keys = {**by_class, "validation": many, "test": 0.2}
        yield _Way(keys, "by class", f"a fifth of each class is held out{alone}")
    reason = f"a class has only {count_of(least, 'sample')}, too few to hold some out"
    yield _Way({**by_class, **nothing}, "none", reason)


def _sensor(contents: FolderContents, choices: _Choices) -> dict[str, Any]:
    """Return the keys of the entry for the sensor that sees clips."""
    if not contents.clips:
        return {}
    if contents.kind == "depth":
        value = f"{_DEPTH_SENSOR}; each clip has its own clothes, wall and light"
        choices.add("sensor", value, "depth clips have no brightness")
        return {"preset": _DEPTH_SENSOR}
    value = f"ideal, threshold {CLIP_THRESHOLD:g}, whole picture"
    choices.add("sensor", value, "video noise stays below the threshold, and no side is cut off")
    return {"threshold": CLIP_THRESHOLD, "whole": True}


def _augment(
    contents: FolderContents, given: InputConfig, network: Network, choices: _Choices
) -> Vary:
    side = min(network.width, network.height)
    names, few = contents.without_mirror, contents.has_few_people
    flips = "left-right flips, with the classes" if not names else "no flips"
    why = "each class has its mirror class" if not names else f"{names[0]} has no mirror class"
    value = f"place, scale, tilt, speed, polarity, blur, lost events; {flips}"
    choices.add("augment", value, why)
    return Vary(
        shift_px=round((0.11 if few else 0.08) * side, 1),
        rotate_deg=8.0 if few else 6.0,
        zoom=0.2 if few else 0.12,
        time_scale=0.35 if few else 0.18,
        later_us=round(0.06 * given.window_us),
        drop=0.4,
        jitter_px=round(_BLUR * side, 1),
        swap_polarity=0.5,
        flip_x=0.0 if names else 0.5,
    )
