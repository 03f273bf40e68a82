"""Choose the configuration to train on an inspected folder, each choice with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dvskit.datasets import FileSamples
from dvskit.errors import ConfigError, count_of, one_line
from dvskit.filters import Vary
from dvskit.networks import Layered
from dvskit.networks.network import Network
from dvskit.training.config import POINTS, Config, DataConfig, InputConfig, LoopConfig
from dvskit.training.feed import mirrored
from dvskit.training.looking import Look
from dvskit.training.models import Model, with_classes
from dvskit.training.sets import parts_of

BATCH = 24
_SIDE = 128  # of the sensor, where sizes differ or are larger
_GRID = 16  # the least size that pixels are summed to
_LONGEST_US = 4_000_000
_SLOWER, _MUCH_SLOWER = 1.2, 1.6  # how much slower other people may be, after many or few people
_PEOPLE = 5  # fewer do not show how much people differ
_FEW = 10  # samples of a class; with fewer, none is held out for the test
_MANY = 200  # training samples; with so many, some choose the best epoch
_THRESHOLD = 0.3
_DEPTH_SENSOR = "DVS128"
_BLUR = 0.04  # of the side: arms and clothes are thicker or thinner

_Noted = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen part of a configuration: its name, its value and the reason, in one line."""

    what: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.what:<9} {self.value}: {self.why}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A configuration, and the choices that led to it."""

    config: Config
    choices: tuple[Choice, ...]


def choose(look: Look, config: Config, start: Model | None = None) -> Chosen:
    """Return the configuration to train on a folder.

    config  its name, seed, output and start, and one entry [[data]] with path, salvage and
            without; all else is chosen
    start   the model whose weights the run begins with; it sets size, window and network

    The number of steps is that of a run without a time limit. Raises ConfigError for a start
    that takes points.
    """
    choices: list[Choice] = []

    def noted(*choice: str) -> None:
        choices.append(Choice(*choice))

    given, network = _network(look, start, noted)
    entry, keep = _split(look, replace(config.data[0], kind=look.kind), config.seed, noted)
    entry = replace(
        _seen(look, entry, noted),
        count=BATCH,
        balanced=max(look.classes.values()) > 1.5 * min(look.classes.values()),
        augment=_augment(look, given, network, noted),
        mirrored=not _without_mirror(look),
    )
    train = len(parts_of(_opened(look, entry), entry, config.seed).train)
    steps = min(max(300, math.ceil(60 * train / BATCH)), 3000)
    seen = f"{count_of(train, 'sample')} to train on"
    noted("steps", f"at most {steps:,} of {BATCH} samples each", seen)
    loop = LoopConfig(learning_rate=3e-3, weight_decay=2e-2, keep=keep, precision="float32")
    whole = replace(
        config,
        network=network,
        input=given,
        data=(entry,),
        loop=with_steps(replace(loop, freeze=steps // 10 if start else 0), steps),
    )
    return Chosen(whole, tuple(choices))


def with_steps(loop: LoopConfig, steps: int) -> LoopConfig:
    """Return a loop of about `steps` steps in ten epochs, under a third of them frozen."""
    each = max(1, round(steps / 10))
    return replace(loop, epochs=10, steps=each, freeze=min(loop.freeze, 10 * each // 3))


def _network(look: Look, start: Model | None, noted: _Noted) -> tuple[InputConfig, Network]:
    if start is not None:
        if start.input.representation == POINTS:
            raise ConfigError(f"--from {start.name}: takes points; name a model that takes bins")
        network = with_classes(start.network, len(look.classes))
        noted(
            "network",
            f"from {start.name}, with a new last layer",
            f"it takes {_window_words(start.input)} of {start.size}",
        )
        return start.input, network
    width, height = _size(look, noted)
    given = _window(look, noted)
    pool = max(1, max(width, height) // _GRID)
    fire, leave = "signed-lif", "D0.15"
    layers = (
        *((f"S{pool}",) if pool > 1 else ()),
        *("T3", "16C5s2p2", "tdbn", fire, "32C3s2p1", "tdbn", fire, leave, "64", "ln", fire),
        *(leave, "T5", "64", "ln", fire, leave, "T5s2", "64", "ln", fire),
        *(leave, str(len(look.classes)), "max"),
    )
    noted(
        "network",
        "2 convolutions and 3 dense layers of signed LIF neurons with delays",
        f"blocks of {pool}x{pool} pixels are summed; the largest output of any step is the answer",
    )
    network = Layered(
        layers=layers, width=width, height=height, classes=len(look.classes), beta=0.5, gain=1.0
    )
    return given, network


def _size(look: Look, noted: _Noted) -> tuple[int, int]:
    sizes = set(look.sizes)
    only = next(iter(sizes))
    if len(sizes) == 1 and not look.clips and min(only) >= 12 and max(only) <= _SIDE:
        noted("size", str(only), "the size of all recordings that were read")
        return only.width, only.height
    what = (
        "clips are emulated at this size"
        if look.clips == len(look.samples)
        else "all samples are fitted to it"
    )
    noted("size", f"{_SIDE}x{_SIDE}", f"{what}; larger ones recognise gestures no better")
    return _SIDE, _SIDE


def _window(look: Look, noted: _Noted) -> InputConfig:
    length = float(np.quantile(look.durations, 0.9))
    slower = (_MUCH_SLOWER if _few_people(look) else _SLOWER) if length > 500_000 else 1.0
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


def _split(look: Look, entry: DataConfig, seed: int, noted: _Noted) -> tuple[DataConfig, str]:
    """Return the entry with its split, and the epoch whose weights are kept: best or last."""
    why = ""
    for split, value, reason in _splits(look):
        tried = replace(entry, **split)  # type: ignore[arg-type]
        try:
            parts = parts_of(_opened(look, tried), tried, seed)
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
        return tried, "best" if len(parts.validation) else "last"
    raise ConfigError(f"{entry.path}: cannot be trained on{why}")


def _opened(look: Look, entry: DataConfig) -> FileSamples:
    """Return the samples of a folder, without groups if the entry has none."""
    if entry.group != "none":
        return look.samples
    rows = [row._replace(group=None) for row in look.samples.rows]
    return FileSamples(rows, look.samples.reading)


def _splits(look: Look) -> Iterator[tuple[dict[str, object], str, str]]:
    """Yield keys of the entry, their value as text and the reason; the best first."""
    count, least = sum(look.classes.values()), min(look.classes.values())
    many = 0.1 if count >= _MANY else 0.0
    if any(row.part for row in look.samples.rows):
        listed = {row.part for row in look.samples.rows}
        share = 0.0 if "validation" in listed else many
        yield (
            {"by": "listed", "validation": share, "test": 0.0},
            "as listed",
            "the folders name the parts",
        )
    people = len(look.groups)
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


def _seen(look: Look, entry: DataConfig, noted: _Noted) -> DataConfig:
    if not look.clips:
        return entry
    if look.kind == "depth":
        noted(
            "sensor",
            f"{_DEPTH_SENSOR}; each clip has its own clothes, wall and light",
            "depth clips have no brightness",
        )
        return replace(entry, preset=_DEPTH_SENSOR)
    noted(
        "sensor",
        f"ideal, threshold {_THRESHOLD:g}, whole picture",
        "video noise stays below the threshold, and no side is cut off",
    )
    return replace(entry, threshold=_THRESHOLD, whole=True)


def _few_people(look: Look) -> bool:
    """Return whether samples and people are too few to show how much people differ."""
    return len(look.groups) < _PEOPLE and sum(look.classes.values()) < _MANY


def _without_mirror(look: Look) -> list[str]:
    return [name for name in look.classes if not mirrored(name, tuple(look.classes))]


def _augment(look: Look, given: InputConfig, network: Network, noted: _Noted) -> Vary:
    side = min(network.width, network.height)
    window = given.window_us
    names = _without_mirror(look)
    flips = "left-right flips, with the classes" if not names else "no flips"
    why = "each class has its mirror class" if not names else f"{names[0]} has no mirror class"
    few = _few_people(look)
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
