"""Many runs of one configuration: each combination of values of keys, for each seed."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from os import PathLike
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from dvskit._tables import toml_text
from dvskit.errors import ConfigError, ModelError
from dvskit.models.learned import used_samples
from dvskit.models.model import load_model
from dvskit.models.scores import mean_interval, started_together
from dvskit.training.checkpoint import RunFolder, check_same_samples, write_table
from dvskit.training.config import Config, changed_config, config_values, load_config
from dvskit.training.labels import start_of, train, with_earlier_samples
from dvskit.training.loop import Progress
from dvskit.training.losses import check_loss
from dvskit.training.sets import load_sets, split_in_files

_LONGEST_NAME = 100  # of a folder
_OF_RUNS = {"seed": "set seeds instead", "output": "each run has its own folder in it"}


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A run of a sweep: number `number` of `count`, from 0.

    values  of its keys, as TOML

        config = dvskit.training.Config(
            output="runs/sweep",
            network=dvskit.networks.ConvLIF(classes=3),
            data=(dvskit.training.RecordingData(path="digits"),),
            loop=dvskit.training.LoopConfig(epochs=1, steps=1),
        )

        def show(run, now):
            print(f"{run.number + 1} of {run.count}: {run.title}, {now.remark}")

        swept = dvskit.training.sweep(config, {"network.beta": [0.5, 0.7]}, progress=show)
    """

    number: int
    count: int
    values: Mapping[str, str]
    config: Config

    @property
    def title(self) -> str:
        """Its values and seed, such as "loop.epochs=3, seed 2"."""
        return ", ".join([*_pairs(self.values), f"seed {self.config.seed}"])


@dataclass(frozen=True, slots=True)
class Score:
    """The accuracy of a run's model.

    accuracy     the mean over its test parts; without any, that of validation
    interval_95  the 95 % interval of the accuracy, by the number of samples; nan without test parts
    validation   the validation accuracy of its epoch
    """

    accuracy: float
    interval_95: tuple[float, float]
    validation: float


@dataclass(frozen=True, slots=True)
class Combination:
    """The scores of one combination of values, one per seed.

    values  of its keys, as TOML

        config = dvskit.training.Config(
            output="runs/sweep",
            network=dvskit.networks.ConvLIF(classes=3),
            data=(dvskit.training.RecordingData(path="digits"),),
            loop=dvskit.training.LoopConfig(epochs=1, steps=1),
        )
        first = dvskit.training.sweep(config, {"network.beta": [0.5, 0.7]}).combinations[0]
        first.values  # {"network.beta": "0.5"}
        first.accuracy, first.interval_95  # from 0 to 1
    """

    values: Mapping[str, str]
    scores: Mapping[int, Score]

    @property
    def accuracy(self) -> float:
        """The mean over the seeds."""
        return fmean(score.accuracy for score in self.scores.values())

    @property
    def standard_error_over_seeds(self) -> float:
        """The standard error of that mean, from the spread over seeds; nan for one seed.

        sqrt(sum (a_i - mean)^2 / (n - 1) / n)
        """
        found = [score.accuracy for score in self.scores.values()]
        return stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan

    @property
    def interval_95(self) -> tuple[float, float]:
        """The 95 % interval of one run, by its number of samples: the mean over the seeds."""
        low, high = zip(*(score.interval_95 for score in self.scores.values()), strict=True)
        return fmean(low), fmean(high)

    @property
    def validation(self) -> float:
        """The mean validation accuracy of the chosen epochs."""
        return fmean(score.validation for score in self.scores.values())


@dataclass(frozen=True, slots=True)
class Sweep:
    """The results of a sweep; `str` gives a table. `folder` holds sweep.csv and the runs.

    `combinations` are in the order of the values, the last key varying fastest.

        config = dvskit.training.Config(
            output="runs/sweep",
            network=dvskit.networks.ConvLIF(classes=3),
            data=(dvskit.training.RecordingData(path="digits"),),
            loop=dvskit.training.LoopConfig(epochs=1, steps=1),
        )
        swept = dvskit.training.sweep(config, {"network.beta": [0.5, 0.7]})
        len(swept.combinations)  # 2
        print(swept)  # a table
    """

    folder: Path
    combinations: tuple[Combination, ...]

    def __str__(self) -> str:
        titles = ("accuracy", "standard error over seeds", "95 % interval of one run", "runs")
        rows = [[*self.combinations[0].values, *titles]]
        for each in self.combinations:
            found = (each.accuracy, each.standard_error_over_seeds, *each.interval_95)
            mean, error, low, high = ("-" if math.isnan(x) else f"{100 * x:.2f}" for x in found)
            interval = "-" if low == "-" else f"{low} to {high} %"
            figures = (f"{mean} %", error, interval, str(len(each.scores)))
            rows.append([*each.values.values(), *figures])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        )


def sweep(
    config: Config | str | PathLike[str],
    keys: Mapping[str, Sequence[Any]] | None = None,
    *,
    seeds: int | Sequence[int] = 1,
    progress: Callable[[SweepRun, Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
    tensorboard: bool = False,
) -> Sweep:
    """Train with each combination of the values of `keys`, for each seed.

        config = dvskit.training.Config(
            output="runs/sweep",
            network=dvskit.networks.ConvLIF(classes=3),
            data=(dvskit.training.RecordingData(path="digits"),),
            loop=dvskit.training.LoopConfig(epochs=1, steps=1),
        )
        keys = {"network.beta": [0.5, 0.7]}
        print(dvskit.training.sweep(config, keys))  # a row for each value

    keys         as the overrides of `load_config`, with a list of values each: a number, a list, a
                 boolean, or a text, which is read as TOML if it is TOML
    seeds        how many, from the configuration's seed on, or which
    progress     called as that of `train`, with the run
    note         called with each line about an assumption, which is the same for all runs
    tensorboard  as in `train`, for each run

    Each run has a folder in `config.output`, such as loop.learning_rate=0.001/seed-1. The same call
    skips finished runs and continues interrupted ones. sweep.csv, written after each run, has a row
    for each combination: its values, the mean accuracy, its standard error over seeds, the interval
    of one run, and the accuracy of each seed.

    Before the first run, raises ConfigError for keys and values as in `load_config`, for a loss
    that does not fit a network, for the keys seed and output, and in several processes; then the
    errors of `train`.
    """
    config = config if isinstance(config, Config) else load_config(config)
    runs = _planned(config, keys or {}, seeds)
    folder, found = Path(config.output), dict[tuple[str, ...], dict[int, Score]]()
    combinations: tuple[Combination, ...] = ()
    for run in runs:
        scores = _finished(run.config)
        if scores is None:
            scores = _trained(run, progress, note, tensorboard)
            note = None  # it was called with the lines, which are the same for all runs
        found.setdefault(tuple(run.values.values()), {})[run.config.seed] = _score_of(scores)
        combinations = tuple(
            Combination(dict(zip(run.values, values, strict=True)), scores)
            for values, scores in found.items()
        )
        write_table(folder / "sweep.csv", [*map(_row, combinations)])
    return Sweep(folder, combinations)


def _planned(
    config: Config, keys: Mapping[str, Sequence[Any]], seeds: int | Sequence[int]
) -> list[SweepRun]:
    """Return all runs, checked without data. Raises ConfigError."""
    if started_together() > 1:
        raise ConfigError("a sweep runs in one process; start it without torchrun")
    numbers = range(config.seed, config.seed + seeds) if isinstance(seeds, int) else list(seeds)
    if not numbers or len(set(numbers)) < len(numbers):
        raise ConfigError(f"seeds = {seeds}: give a number of at least 1, or seeds without repeats")
    texts = {key: _texts(key, values) for key, values in keys.items()}
    plan = [
        (dict(zip(texts, values, strict=True)), seed)
        for values in product(*texts.values())
        for seed in numbers
    ]
    folders = _folders([values for values, _ in plan[:: len(numbers)]])
    runs = []
    for number, (values, seed) in enumerate(plan):
        place = Path(config.output) / folders[number // len(numbers)] / f"seed-{seed}"
        given = {**values, "seed": str(seed), "output": toml_text(place.as_posix())}
        runs.append(SweepRun(number, len(plan), values, changed_config(config, given)))
    for run in runs[:: len(numbers)]:
        with torch.random.fork_rng():
            check_loss(run.config.network.build(), run.config.loop.loss)
    return runs


def _texts(key: str, values: Sequence[Any]) -> list[str]:
    if key in _OF_RUNS:
        raise ConfigError(f"{key}: cannot be swept: {_OF_RUNS[key]}")
    if isinstance(values, str) or not values:
        raise ConfigError(f"{key} = {values!r}: give a list of values")
    texts = [value if isinstance(value, str) else toml_text(value) for value in values]
    if len(set(texts)) < len(texts):
        raise ConfigError(f"{key} = {', '.join(texts)}: name each value once")
    return texts


def _folders(combinations: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a unique folder name for each combination."""
    names = [re.sub(r"[^\w.,=+-]+", "_", ",".join(_pairs(values))) for values in combinations]
    found = []
    for name, values in zip(names, combinations, strict=True):
        if len(name) > _LONGEST_NAME or names.count(name) > 1:
            digest = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:8]
            name = f"{name[: _LONGEST_NAME - 9]}-{digest}"
        found.append(name)
    return found


def _pairs(values: Mapping[str, str]) -> Iterator[str]:
    return (f"{key}={text.strip(chr(34))}" for key, text in values.items())


def _finished(config: Config) -> Mapping[str, Any] | None:
    """Return the scores of a finished run, else None.

    Raises OutputError for a run with another configuration or other samples, and ModelError.
    """
    folder = Path(config.output)
    if not RunFolder(folder, config_values(config)).is_finished():
        return None
    split = split_in_files(load_sets(config))
    used = with_earlier_samples(start_of(config, split), used_samples(split))
    check_same_samples(folder, used)
    scores: Mapping[str, Any] = load_model(folder).about["scores"]
    return scores


def _trained(
    run: SweepRun,
    progress: Callable[[SweepRun, Progress], None] | None,
    note: Callable[[str], None] | None,
    tensorboard: bool,
) -> Mapping[str, Any]:
    trained = train(
        run.config,
        progress=None if progress is None else partial(progress, run),
        note=note,
        tensorboard=tensorboard,
    )
    scores: Mapping[str, Any] = trained.model.about["scores"]
    return scores


def _score_of(scores: Mapping[str, Any]) -> Score:
    ending = "_samples"
    parts = [name.removesuffix(ending) for name in scores if name.endswith(ending)]
    chosen = [
        float(value)
        for name, value in scores.items()
        if name.startswith("validation_") and name.endswith("_accuracy")
    ]
    if not chosen:
        raise ModelError("a model of the sweep has no scores; remove its folder")
    if not parts:
        return Score(fmean(chosen), (math.nan, math.nan), fmean(chosen))
    shares = [float(scores[f"{part}_accuracy"]) for part in parts]
    intervals = [tuple(scores[f"{part}_interval_95"]) for part in parts]
    return Score(fmean(shares), mean_interval(shares, intervals), fmean(chosen))


def _row(each: Combination) -> dict[str, object]:
    """Return the row of a combination in sweep.csv."""
    low, high = each.interval_95
    figures = {
        "accuracy": each.accuracy,
        "standard_error_over_seeds": each.standard_error_over_seeds,
        "interval_95_low": low,
        "interval_95_high": high,
        "validation_accuracy": each.validation,
    }
    known = {name: "" if math.isnan(value) else value for name, value in figures.items()}
    alone = {f"seed_{seed}": each.scores[seed].accuracy for seed in sorted(each.scores)}
    return {**each.values, "runs": len(each.scores), **known, **alone}
