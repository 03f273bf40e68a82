"""Choose the configuration to train on a folder of samples by its content, with reasons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from torch import nn

from dvskit.datasets import FileSamples, Samples, SplitSamples
from dvskit.errors import ConfigError, count_of, one_line
from dvskit.filters import Vary
from dvskit.models.entries import DataConfig, parts_of
from dvskit.models.inputs import POINTS, InputConfig
from dvskit.models.model import Model
from dvskit.models.run_samples import used_samples
from dvskit.networks import Layered
from dvskit.networks.network import Network
from dvskit.training.config import Config, LoopConfig
from dvskit.training.feed import mirrored
from dvskit.training.inspect_folder import FolderContents
from dvskit.training.left_out import parts_to_leave_out
from dvskit.training.repeated import layers_before_dense
from dvskit.training.start import common_samples, with_classes

BATCH = 24
CLIP_SIDE = 128  # of the sensor, where sizes differ or are larger
_GRID = 16  # the least size that pixels are summed to
_LONGEST_US = 4_000_000
_SLOWER, _MUCH_SLOWER = 1.2, 1.6  # how much slower other people may be, after many or few people
_PEOPLE = 5  # fewer do not show how much people differ
_FEW = 10  # samples of a class; with fewer, none is held out for the test
_MANY = 200  # samples; with so many, some are held out for the test and to choose the best epoch
_DRAWN = 2  # epochs, of ten, with changes of their own: the outputs of fixed layers are kept
_STRETCH = 1.5  # how much longer bins may be than those that a start learned from
CLIP_THRESHOLD = 0.45
_DEPTH_SENSOR = "DVS128"
_BLUR = 0.04  # of the side: arms and clothes are thicker or thinner

_Noted = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class ChosenSetting:
    """A chosen part of a configuration: its name, its value and the reason, in one line.

    kind  of the reason of a start, as in `folder_notes`; "" for other parts
    """

    what: str
    value: str
    why: str
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.what:<9} {self.value}: {self.why}"


@dataclass(frozen=True, slots=True)
class ChosenConfig:
    """A configuration, the choices that led to it, and its samples, split by it.

    left_out  the most parts that are left out of trainings of their own, to judge it; 0: none
    """

    config: Config
    choices: tuple[ChosenSetting, ...]
    parts: SplitSamples[Samples]
    left_out: int


def choose(contents: FolderContents, config: Config, start: Model | None = None) -> ChosenConfig:
    """Return the configuration to train on a folder.

    config  its name, seed, output and start, and one entry [[data]] with path, salvage and
            without; all else is chosen
    start   the model with the first weights of the run; it sets size, window and network

    The number of steps is that of a run without a time limit. Raises ConfigError for a start
    that takes points.
    """
    choices: list[ChosenSetting] = []

    def noted(*choice: str) -> None:
        choices.append(ChosenSetting(*choice))

    given, network = _network(contents, start, noted)
    entry, parts, left_out = _split(
        contents, replace(config.data[0], kind=contents.kind), config.seed, noted
    )
    entry = replace(
        _seen(contents, entry, noted),
        count=BATCH,
        balanced=max(contents.classes.values()) > 1.5 * min(contents.classes.values()),
        augment=_augment(contents, given, network, noted),
        mirrored=not _without_mirror(contents),
    )
    if left_out and start is not None and common_samples(start, used_samples(parts)):
        left_out = 0
        noted("judged", "by no sample", f"{start.name} learned from some of them")
    train = len(parts.train)
    dense = start is not None and _keeps_convolutions(start)
    least, each = (200, 20) if dense else (300, 60)
    steps = min(max(least, math.ceil(each * train / BATCH)), 3000)
    seen = f"{count_of(train, 'sample')} to train on"
    noted("steps", f"at most {steps:,} of {BATCH} samples each", seen)
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
    return ChosenConfig(whole, tuple(choices), parts, left_out)


def with_steps(loop: LoopConfig, steps: int) -> LoopConfig:
    """Return a loop of about `steps` steps in ten epochs."""
    return replace(loop, epochs=10, steps=max(1, round(steps / 10)))


def _network(
    contents: FolderContents, start: Model | None, noted: _Noted
) -> tuple[InputConfig, Network]:
    if start is not None:
        if start.input.representation == POINTS:
            raise ConfigError(f"start = {start.name!r} takes points; name a model that takes bins")
        network = with_classes(start.network, len(contents.classes))
        length, _ = _window_us(contents)
        stretch = min(max(length / start.input.window_us, 1.0), _STRETCH)
        given = replace(start.input, bin_us=round(start.input.bin_us * stretch / 10) * 10)
        kept = "its convolutions stay, " if _keeps_convolutions(start) else ""
        noted(
            "network",
            f"from {start.name}, with a new last layer",
            f"{kept}it takes {start.size} in {_window_words(given)}"
            + ", slower than it learned from" * (stretch > 1),
        )
        return given, network
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
    window, slower = _window_us(contents)
    longer = window / slower > _LONGEST_US
    window = min(window, _LONGEST_US)
    bins = int(np.clip(round(window / 100_000), 10, 40)) if window > 500_000 else 20
    bin_us = max(1, math.ceil(window / bins / 10) * 10)
    given = InputConfig(bins=bins, bin_us=bin_us)
    why = "9 of 10 samples fit into it" + ", of slower people too" * (slower > 1)
    if longer:
        why = "the samples are longer; training and test use their first window"
    noted("window", _window_words(given), why)
    return given


def _window_us(contents: FolderContents) -> tuple[float, float]:
    """Return how long nine of ten samples take, of slower people too, and how much slower."""
    length = float(np.quantile(contents.durations, 0.9))
    slower = (_MUCH_SLOWER if _few_people(contents) else _SLOWER) if length > 500_000 else 1.0
    return slower * length, slower


def _keeps_convolutions(model: Model) -> bool:
    return any(isinstance(part, nn.Conv2d) for part in layers_before_dense(model.module))


def _window_words(given: InputConfig) -> str:
    return f"{given.bins} bins of {given.bin_us / 1000:g} ms"


def _split(
    contents: FolderContents, entry: DataConfig, seed: int, noted: _Noted
) -> tuple[DataConfig, SplitSamples[Samples], int]:
    """Return the entry with its shares, the samples split by it, and the parts to leave out."""
    why = ""
    for way in _splits(contents):
        tried, reason = replace(entry, **way.keys), way.why  # type: ignore[arg-type]
        try:
            parts = parts_of(_grouped(contents, tried), tried, seed)
            left_out = len(parts_to_leave_out(parts.train, seed)) if way.leaves_out else 0
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
        noted(
            "split", f"{way.value}{named}, {counts} for training, validation and test", reason + why
        )
        return tried, parts, left_out
    raise ConfigError(f"{entry.path}: cannot be trained on{why}")


def _grouped(contents: FolderContents, entry: DataConfig) -> Samples:
    """Return the samples of a folder, without groups if the entry has none."""
    if entry.group != "none" or not any(row.group for row in contents.samples.rows):
        return contents.samples
    rows = [row._replace(group=None) for row in contents.samples.rows]
    return FileSamples(rows, contents.samples.reading)


class _Way(NamedTuple):
    """A way to split: keys of the entry, their value as text, the reason.

    leaves_out  whether trainings that leave a part out judge it
    """

    keys: dict[str, object]
    value: str
    why: str
    leaves_out: bool = False


def _splits(contents: FolderContents) -> Iterator[_Way]:
    """Yield ways to split, the best first."""
    count, least = sum(contents.classes.values()), min(contents.classes.values())
    many = 0.1 if count >= _MANY else 0.0
    if any(row.part for row in contents.samples.rows):
        listed = {row.part for row in contents.samples.rows}
        share = 0.0 if "validation" in listed else many
        keys = {"by": "listed", "validation": share, "test": 0.0}
        yield _Way(keys, "as listed", "the folders name the parts")
    people = len(contents.groups)
    alone = "; all are of one person, so the accuracy does not hold for others" * (people == 1)
    by_class: dict[str, object] = {"by": "share", "group": "none"}
    nothing: dict[str, object] = {"validation": 0.0, "test": 0.0}
    if count < _MANY:
        if people > 1:
            reason = "each trains once more without them, to judge it by people it never saw"
            keys = {"by": "group", **nothing}
            yield _Way(keys, "all people, each left out in turn", reason, leaves_out=True)
        reason = f"each trains once more without it, to judge it by samples it never saw{alone}"
        keys = {**by_class, **nothing}
        yield _Way(keys, "all, a third left out in turn", reason, leaves_out=True)
    elif people > 1:
        keys = {"by": "group", "validation": many if people > 5 else 0.0}
        keys["test"] = max(0.2, 1 / people)
        yield _Way(keys, "whole people held out", "the test uses people the network never saw")
    elif least >= _FEW:
        keys = {**by_class, "validation": many, "test": 0.2}
        yield _Way(keys, "by class", f"a fifth of each class is held out{alone}")
    reason = f"a class has only {count_of(least, 'sample')}, too few to hold some out"
    yield _Way({**by_class, **nothing}, "none", reason)


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
