"""Training a network that names classes: from a configuration to a model with the best weights.

A finished run is judged again, not trained again. See `loop` for runs that are interrupted.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import chain, count, islice, repeat
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dvskit import layers
from dvskit.datasets import Split
from dvskit.errors import ConfigError, FittedWarning, warn
from dvskit.layers.dense import part_of_batch
from dvskit.models.doubt import Likeness, likeness_of, reject_on
from dvskit.models.inputs import AnyBatches, InputConfig
from dvskit.models.learned import ClipData, DataConfig, DepthData, Used, data_values, used_samples
from dvskit.models.model import Model, emulation_values, load_model, write_model
from dvskit.models.own_networks import (
    GivenSamples,
    check_answer,
    check_restorable,
    check_same_again,
    check_trains,
)
from dvskit.models.scores import (
    Result,
    judge_with_notes,
    logits_of,
    mean_interval,
    pick_device,
    result_of,
)
from dvskit.networks import NETWORKS, Layered, ModuleNetwork, Network
from dvskit.networks.kinds import is_custom
from dvskit.networks.model_folder import weights_of
from dvskit.networks.network import Maker, check_memory, lacking_arguments
from dvskit.training.checkpoint import Checkpoint, RunFolder, check_same_samples
from dvskit.training.config import Config, config_values
from dvskit.training.distributed import (
    ALONE,
    World,
    check_together,
    joined,
    keep_memory,
    training_precision,
)
from dvskit.training.loop import (
    LoopPlan,
    ProgressCallback,
    Task,
    TrainingRun,
    check_tensorboard,
    points_writer,
)
from dvskit.training.losses import (
    LOSSES,
    answer_of,
    check_loss,
    layer_not_finite,
    make_optimizer,
    rate_at,
    take_step,
)
from dvskit.training.sets import (
    Feed,
    RepeatedEpochs,
    TrainingSet,
    emulation_of,
    load_feed,
    sets_for,
)

_WARMING, _TIMED = 4, 8  # warm-up steps, then measured steps


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a run: the best model, its folder, the log, and scores on the test parts.

    `history` has a row of numbers for each epoch; `results` are by the name of the data:
    "samples" for those that are passed, else the names of the entries [[data]].

        samples = dvskit.datasets.open_samples("digits")
        network = dvskit.networks.ConvLIF(classes=3)
        loop = dvskit.training.LoopConfig(epochs=1, steps=1)
        trained = dvskit.training.train(network, samples, output="runs/trained", loop=loop)
        trained.results["samples"].accuracy  # of the test part
        trained.history[0]["loss"]  # of the first epoch
    """

    model: Model
    folder: Path
    history: tuple[Mapping[str, float], ...]
    results: Mapping[str, Result]

    def __repr__(self) -> str:
        scores = [f"{name} {100 * each.accuracy:.1f} %" for name, each in self.results.items()]
        tested = f"; test: {', '.join(scores)}" if scores else ""
        return f"<Trained {self.model!r} in {self.folder}{tested}>"


def train(
    config: Config | str | PathLike[str] | Network | nn.Module,
    samples: GivenSamples | None = None,
    *,
    input: InputConfig | None = None,
    progress: ProgressCallback | None = None,
    note: Callable[[str], None] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    tensorboard: bool = False,
    **fields: Any,
) -> Trained:
    """Train a network by a configuration, or any torch.nn.Module.

    config       a configuration, or its file; or a network: a module that maps (T, B, ...) to
                 logits (B, classes), or a description of one
    samples      the samples to learn from, in place of the configuration's sets; or their
                 parts (`dvskit.datasets.SplitSamples`)
    input        how events become the input, in place of the configuration's or InputConfig()
    fields       of the configuration, in place of its own or of the default: `output` (of a module
                 runs/<its class>), `loop`, `seed`, `name`; and `data`, a tuple of one DataConfig
                 without a path, for the split and random changes of the samples:
                 train(module, samples, output="runs/mine", loop=LoopConfig(epochs=3))
    progress     called about once a second and at the end of each epoch
    note         called with each line about an assumption made when opening the samples
    metrics      your own scores, {name: function(logits (N, classes), labels (N,)) -> number},
                 computed on each validation part at the end of each epoch: columns `<part>_<name>`
                 of log.csv, and `<name>`, their mean. They do not choose the epoch
    tensorboard  whether the loss and rate of each step and the scores of each epoch are written to
                 `output`/tensorboard; needs the package tensorboard

    `config.output` then holds the model, config.toml, log.csv and a checkpoint, written after each
    epoch and every five minutes within one. The run keeps the weights of the epoch with the best
    validation accuracy: the mean over the entries [[data]] with a validation part; of equals, the
    epoch with the least loss. Only these weights are judged on the test parts. The same call
    continues an interrupted run. On Linux the process keeps its used memory (`keep_memory`).

    A module is trained in place. Its input has the size of the first sample, unless a
    `dvskit.networks.ModuleNetwork` describes it. Each call begins at rest: networks of snntorch and
    spikingjelly reset their states at the start of forward. `load_model(folder, networks={"MyNet":
    MyNet})` loads your own networks. A class that needs arguments gives a UserWarning: train
    `ModuleNetwork(module=MyNet, width=, height=, classes=, arguments={"hidden": 16})`, or load with
    networks={"MyNet": lambda: MyNet(16)}. A network that could not be saved is an error.

    Processes that torchrun started train one network on a part of each batch each, and all return
    the same result. Batches, random draws, dropout, batch normalization and losses are those of one
    process, except for rounding. Only the first process writes, and calls `progress` and `note`. On
    several machines each reads the data from the configuration's paths; the output is on the first.

    Raises OutputError, with the difference, if `output` holds a run with another configuration or
    other samples; ModelError for a damaged checkpoint; ConfigError and FormatError for the data;
    ProcessError if another process of the run has ended.

        samples = dvskit.datasets.open_samples("digits")
        network = dvskit.networks.ConvLIF(classes=3)
        loop = dvskit.training.LoopConfig(epochs=1, steps=1)
        trained = dvskit.training.train(network, samples, output="runs/mine", loop=loop)
        trained.results["samples"].accuracy  # from 0 to 1
    """
    given = fields if input is None else {**fields, "input": input}
    config, sets = sets_for(config, samples, given)
    return train_sets(
        config, sets, progress=progress, note=note, metrics=metrics, tensorboard=tensorboard
    )


def train_sets(
    config: Config,
    sets: Sequence[TrainingSet] | None,
    *,
    progress: ProgressCallback | None = None,
    note: Callable[[str], None] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    tensorboard: bool = False,
    deadline: float = math.inf,
) -> Trained:
    """Train by a configuration on its sets, opened and split, as `train` does; None opens them.

    deadline  as in `TrainingRun.train`, in one process. After a run that it ends, config.toml holds
              the number of epochs
    """
    check_metrics(metrics or {})
    if tensorboard:
        check_tensorboard()
    with joined() as world, ExitStack() as stack:
        folder = RunFolder(Path(config.output), config_values(config))
        at = world.from_main(folder.load() if world.is_main else None)
        assert at is not None
        if not world.is_main:
            progress, note, tensorboard = None, None, False
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", FittedWarning)  # the first process gives them
        feed = load_feed(config, sets)
        if note is not None:
            for line in feed.notes:
                note(line)
        keep_memory()
        stack.enter_context(torch.random.fork_rng())  # the caller's generator stays as it was
        task = LabelsTask(config, feed, metrics or {}, world)
        used = with_earlier_samples(task.start, used_samples(feed.split))
        if world.is_main:
            if at.has_begun:
                check_same_samples(folder.path, used)
            folder.begin(used)
        points = points_writer(folder.path, task.plan.done(at)) if tensorboard else None
        if points is not None:
            stack.callback(points.close)
        main = folder if world.is_main else None
        TrainingRun(task, at, main, progress, points, world).train(deadline)
        if not task.plan.has_ended(at):
            config = replace(config, loop=replace(config.loop, stop=at.epoch))
            folder.write_config(config_values(config))
        return _finish(config, task, at, used)


class LabelBatch(NamedTuple):
    """Inputs (T, B, ...) and labels (B,): this process's part of a batch of `whole` samples."""

    inputs: Tensor
    labels: Tensor
    whole: int


class LabelsTask(Task[LabelBatch]):
    """A network that learns the labels of samples."""

    def __init__(
        self,
        config: Config,
        feed: Feed,
        metrics: Mapping[str, Metric] | None = None,
        world: World = ALONE,
    ) -> None:
        loop = config.loop
        self.config, self.feed, self.world = config, feed, world
        self.seed, self.clip_norm, self.metrics = config.seed, loop.clip_norm, metrics or {}
        self.device = pick_device()
        torch.manual_seed(config.seed)
        self.module = build_module(config, self.device, world)
        check_loss(self.module, loop.loss)
        check_together(self.module, world)
        self.start = start_of(config, feed.split)
        if self.start is not None:
            load_start(self.module, self.start, feed.train.classes)
        self.fixed = FixedLayers(self.module) if loop.trained_layers == "dense" else None
        self._first = None if self.fixed is None else self.fixed.first
        self._learner = self.module if self.fixed is None else self.fixed.rest
        self._epochs = RepeatedEpochs(feed.train, loop.drawn_epochs, self._first, self.device)
        self.optimizer = make_optimizer(self.module, loop)
        self.plan = LoopPlan(
            epochs=loop.epochs, batches=len(feed.train), stop=loop.stop, patience=loop.patience,
            keep=loop.keep,
        )  # fmt: skip

    def set_training(self) -> None:
        """Set the module to training, but the layers that stay to evaluation."""
        self.module.train()
        if self.fixed is not None:
            self.fixed.set_evaluation()

    def batches(self, epoch: int, first: int) -> Iterator[LabelBatch]:
        """Yield this process's parts of the batches of an epoch from batch `first` on."""
        sizes = self.feed.train.sizes()[first:]
        batches = self._epochs.epoch(epoch, first=first, part=self.world.part)
        for (inputs, labels), whole in zip(batches, sizes, strict=True):
            yield LabelBatch(inputs, labels, whole)

    def losses(self, batch: LabelBatch) -> Iterator[Tensor]:
        """Yield the loss of a batch; of several processes, this one's part of it."""
        loop, part = self.config.loop, self.world.part_of(batch.whole)
        inputs, labels = batch.inputs.to(self.device).float(), batch.labels.to(self.device)
        with part_of_batch(part):
            with training_precision(self.device, loop.precision):
                answer = answer_of(self._learner, inputs, loop)
            loss = LOSSES[loop.loss](answer, labels, loop.label_smoothing)
            if self.world.size > 1:  # the sum of these is the mean over the batch
                loss = loss * (1 / self.world.size if part is None else part.count / batch.whole)
            yield loss

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return rate_at(self.config.loop, step, self.plan.steps)

    def scores(self, average: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the scores of the module on the validation parts."""
        return scores_of(self.module, self.feed.validation, self.metrics, self.world)

    def fault(self, batch: LabelBatch) -> str:
        """Return the first layer with values that are not finite."""
        layer = layer_not_finite(self._learner, batch.inputs.to(self.device).float())
        return layer and f"; the first layer with values that are not finite is {layer}"

    def seconds_a_step(self) -> float:
        """Return the mean seconds per step of the run, from some steps.

        The steps train the network, so use this only on a task that is thrown away.
        """
        loop = self.config.loop
        self.set_training()
        different = RepeatedEpochs(self.feed.train, 0, self._first, self.device)
        new = self._seconds(chain.from_iterable(map(different.epoch, count())))
        if not loop.drawn_epochs or self._first is None:
            return new
        again = self._seconds(repeat(next(self._epochs.epoch(0))))
        return again + (new - again) * min(loop.drawn_epochs / loop.epochs, 1.0)

    def _seconds(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """Return the mean seconds per step of the first batches, while they are made."""
        began, rate = 0.0, self.config.loop.learning_rate
        for done, (inputs, labels) in enumerate(islice(batches, _WARMING + _TIMED)):
            if done == _WARMING:  # loops are compiled and prefetched batches used up
                began = time.monotonic()
            for loss in self.losses(LabelBatch(inputs, labels, len(labels))):
                take_step(self.optimizer, loss, rate=rate, clip_norm=self.clip_norm)
        return (time.monotonic() - began) / _TIMED


def build_module(config: Config, device: torch.device, world: World) -> nn.Module:
    """Return the module of a run on a device, with the same weights in all processes.

    Raises ConfigError for a network too large for memory. A network of the caller's own also
    raises it for a wrong answer, or if it could not be loaded again.
    """
    network = config.network
    if not is_custom(network):
        check_memory(network)
        return network.build().to(device)
    module = network.build().to(device)
    check_answer(network, module, config.input)
    check_restorable(network, module)
    check_same_again(network, module, config.input)
    check_trains(network, module, config.input)
    if world.is_main and isinstance(network, ModuleNetwork):
        _warn_of_loading(network, module)
    if world.size > 1:  # the caller may have drawn other weights in each process
        module.load_state_dict(world.from_main(weights_of(module)))
    return module


def _warn_of_loading(network: ModuleNetwork, module: nn.Module) -> None:
    """Warn if the class of a module needs arguments that the model's file does not hold."""
    kind = NETWORKS.get(network.name, type(module))
    if network.module is module and (
        lacks := lacking_arguments(network.name, kind, network.arguments)
    ):
        warn(f"load_model cannot make network {network.name!r} alone: {lacks}", UserWarning)


def _finish(config: Config, task: LabelsTask, at: Checkpoint, used: tuple[Used, ...]) -> Trained:
    """Judge the best weights on the test parts, once, and save the model."""
    feed, world, folder = task.feed, task.world, Path(config.output)
    task.module.load_state_dict(at.best)
    module = task.module.eval()
    model = Model(config.name, config.network, module, config.input, feed.train.classes)
    test: dict[str, Result] = {}
    if world.is_main:
        test = {name: judge_with_notes(module, each) for name, each in feed.test.items()}
    test = world.from_main(test)
    clips = [entry for entry in config.data if isinstance(entry, ClipData)]
    clips.sort(key=lambda entry: isinstance(entry, DepthData))
    about: dict[str, Any] = {
        **({} if task.start is None else {"start": task.start.name}),
        "seed": config.seed,
        "reject": asdict(reject_on(module, feed.validation.values(), config.input)),
        **({"emulation": emulation_values(emulation_of(clips[0], config))} if clips else {}),
        "data": list(map(_public_values, config.data)),
        "scores": _score_values(config, at, test),
    }
    model = replace(model, about=about, used=used, likeness=_likeness(task))
    if world.is_main:
        write_model(folder, model)
    return Trained(model, folder, tuple(at.history), test)


def _public_values(entry: DataConfig) -> dict[str, Any]:
    """Return the values that make the split of an entry again, without its path."""
    values = data_values(entry)
    return {key: value for key, value in values.items() if key not in ("path", "augment")}


def _score_values(config: Config, at: Checkpoint, test: Mapping[str, Result]) -> dict[str, Any]:
    epoch = at.epoch - 1 if config.loop.keep == "last" else at.best_epoch
    best = at.history[epoch]
    scores: dict[str, Any] = {"epoch": epoch, "epochs": config.loop.epochs}
    scores |= {f"validation_{k}": best[k] for k in best if k.endswith("_accuracy")}
    for name, result in test.items():
        scores[f"{name}_accuracy"] = result.accuracy
        scores[f"{name}_samples"] = result.samples
        scores[f"{name}_interval_95"] = list(result.interval_95)
    return scores


def _likeness(task: LabelsTask) -> Likeness | None:
    """Return the likeness to the samples of a run; layers that stay keep that of the start."""
    if task.fixed is not None and task.start is not None and task.start.likeness is not None:
        return task.start.likeness
    if not task.world.is_main:
        return None
    return likeness_of(task.module, task.feed.train, task.config.input)


Metric = Callable[[Tensor, Tensor], float]
"""metric(logits (N, classes) float32, labels (N,) int64) -> one number of a validation part.

Both are copies on the CPU, and torch's generator is restored afterwards, so a metric cannot change
a run.
"""
_TAKEN = ("epoch", "loss", "rate", "seconds", "accuracy", "accuracy_low", "accuracy_high",
          "validation_loss")  # fmt: skip


def check_metrics(metrics: Mapping[str, Metric]) -> None:
    """Raise ConfigError for a metric that is not callable or has the name of a log column."""
    for name, metric in metrics.items():
        if not callable(metric):
            raise ConfigError(
                f"metric {name!r} is {type(metric).__name__}; give a function of logits and labels"
            )
        if name in _TAKEN or not name:
            raise ConfigError(
                f"metric {name!r}: log.csv has {', '.join(_TAKEN)} already; give it another name"
            )


def answers_of(
    module: nn.Module, batches: AnyBatches, world: World = ALONE
) -> tuple[Tensor, Tensor]:
    """Return a module's logits (N, classes) float32 and the labels (N,) of epoch 0 of batches.

    In evaluation mode. Each of several processes computes its part, and all get all results.
    """
    was_training = module.training
    module.eval()
    sizes = batches.sizes()
    logits = torch.zeros(sum(sizes), len(batches.classes))
    labels = torch.zeros(sum(sizes), dtype=torch.int64)
    start = 0
    for size, (counts, numbers) in zip(sizes, batches.epoch(0, part=world.part), strict=True):
        if world.is_main or size >= world.size:  # the first process computes undivided batches
            rows = world.rows(size)
            logits[start : start + size][rows] = logits_of(module, counts)
            labels[start : start + size][rows] = numbers
        start += size
    module.train(was_training)
    world.add(logits)
    world.add(labels)
    return logits, labels


def scores_of(
    module: nn.Module,
    parts: Mapping[str, AnyBatches],
    metrics: Mapping[str, Metric],
    world: World = ALONE,
) -> dict[str, float]:
    """Return the scores of a module on validation parts, by name, and their means.

    Each part has `<part>_accuracy`, `<part>_loss` and `<part>_<metric>`; the means over the parts
    are `accuracy`, `validation_loss` and `<metric>`. `accuracy_low` and `accuracy_high` are the
    ends of the 95 % interval of `accuracy`. Each of several processes judges its share.
    """
    scores: dict[str, float] = {}
    means: dict[str, list[float]] = {}
    intervals: list[tuple[float, float]] = []
    for part, batches in parts.items():
        logits, labels = answers_of(module, batches, world)
        result = result_of(batches.classes, logits, labels)
        intervals.append(result.interval_95)
        found = {"accuracy": result.accuracy, "loss": result.loss}
        found |= {
            name: _number_of(name, part, metric, logits, labels) for name, metric in metrics.items()
        }
        for name, value in found.items():
            scores[f"{part}_{name}"] = value
            means.setdefault("validation_loss" if name == "loss" else name, []).append(value)
    scores |= {name: sum(values) / len(values) for name, values in means.items()}
    if intervals:
        low, high = mean_interval(means["accuracy"], intervals)
        scores |= {"accuracy_low": low, "accuracy_high": high}
    return scores


def _number_of(name: str, part: str, metric: Metric, logits: Tensor, labels: Tensor) -> float:
    with torch.no_grad(), torch.random.fork_rng():
        value = metric(logits.clone(), labels.clone())
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(
            f"metric {name!r} gave {type(value).__name__} for {part}; return one number"
        ) from None


def start_of(config: Config, split: Split) -> Model | None:
    """Return the model that a run starts with, if any; `split` holds the run's samples in files.

    Raises ModelError if there is no such model, ConfigError if it was trained on or chosen by
    recordings that now choose or judge.
    """
    if not config.start:
        return None
    start = load_model(config.start, networks=maker_of(config.network))
    leaked = _leaked(start.used, used_samples(split))
    if leaked:
        raise ConfigError(
            f"start = {config.start!r} learned from {len(leaked):,} of the recordings that this "
            f"run is chosen or judged by, such as {leaked[0].name}; split them as its run did (the "
            "same seed and shares), or leave out start"
        )
    return start


def maker_of(network: Network) -> dict[str, Maker]:
    """Return `networks` for `load_model` with the caller's own network; {} for others."""
    if isinstance(network, ModuleNetwork):
        module: Any = network.module
        made = isinstance(module, nn.Module)
        return {network.name: (lambda **arguments: deepcopy(module)) if made else module}
    return {network.name: type(network)} if is_custom(network) else {}


def load_start(module: nn.Module, start: Model, classes: Sequence[str]) -> None:
    """Load a model's weights into a fresh module, without the last layer if the classes differ.

    Raises ConfigError if the networks differ.
    """
    same = tuple(classes) == start.classes
    kept = set() if same else set(dict(parameters_of_last(module)))
    given, own = start.module.state_dict(), module.state_dict()
    wrong = [
        key
        for key in {**own, **given}
        if key not in kept
        and (key not in own or key not in given or own[key].shape != given[key].shape)
    ]
    if wrong:
        raise ConfigError(
            f"start = {start.name!r}: its network is another one ({wrong[0]} differs); copy the "
            "[network] and [input] of its model.toml, with your own classes"
        )
    module.load_state_dict(given | {key: own[key] for key in kept})


def parameters_of_last(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the names and weights of the last layer with weights, which gives the logits."""
    last = [
        name for name, part in module.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)
    ][-1:]
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[0] in last:
            yield name, parameter


def with_classes(network: Network, classes: int) -> Network:
    """Return a network whose last layer has as many outputs as there are classes.

    Raises ConfigError for a list of layers without a dense layer at the end.
    """
    if not isinstance(network, Layered):
        return replace(network, classes=classes)  # type: ignore[type-var]
    words, votes = list(network.layers), 1
    for at in range(len(words) - 1, -1, -1):
        word = words[at]
        if isinstance(word, str) and word.startswith("V") and word[1:].isdecimal():
            votes = int(word[1:])
        elif isinstance(word, str) and word.removeprefix("F").isdecimal():
            words[at] = str(classes * votes)
            return replace(network, layers=tuple(words), classes=classes)
    raise ConfigError("layers: no dense layer at the end for other classes; add one")


def with_earlier_samples(start: Model | None, used: Sequence[Used]) -> tuple[Used, ...]:
    """Return the recordings of a run, followed by further recordings of its start model.

    The start's validation recordings count as trained on, since its weights depend on them.
    """
    known = {_what(row) for row in used}
    before = [] if start is None else [row for row in start.used if row.part != "test"]
    return (*used, *(row._replace(part="train") for row in before if _what(row) not in known))


def common_samples(start: Model, used: Sequence[Used]) -> list[Used]:
    """Return the samples that a model learned from or was chosen by."""
    before = {_what(row) for row in start.used if row.part != "test"}
    return [row for row in used if _what(row) in before]


def _leaked(before: Sequence[Used], now: Sequence[Used]) -> list[Used]:
    """Return the samples that judge now and were used before, or choose now and were trained on."""
    part = {_what(row): row.part for row in before if row.part != "test"}
    bad = {("train", "validation"), ("train", "test"), ("validation", "test")}
    return [row for row in now if (part.get(_what(row)), row.part) in bad]


def _what(row: Used) -> tuple[str, tuple[int, int] | None]:
    return row.fingerprint, row.span


def layers_before_dense(module: nn.Module) -> list[nn.Module]:
    """Return the layers with weights or means before the first dense one; [] if there is none."""
    found: list[nn.Module] = []
    for part in module.modules():
        if isinstance(part, nn.Linear):
            return found
        if not any(part.children()) and part.state_dict():
            found.append(part)
    return []


class FixedLayers:
    """The layers of a module that a run does not change: those before the first dense one.

    first  these layers and those between them, one module; None if the module is no Sequence
    rest   the module that a run changes: all other layers, or the whole module

    Raises ConfigError if there are none.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = layers_before_dense(module)
        if not self._layers:
            raise ConfigError(
                'loop.trained_layers = "dense": the network has no layer with weights before a '
                'dense one; set it to "all"'
            )
        for each in self._layers:
            each.requires_grad_(False)
        self.first: layers.Sequence | None = None
        self.rest = module
        if isinstance(module, layers.Sequence):
            parts = list(module.named_children())
            fixed = set(map(id, self._layers))
            count = 1 + max(
                k for k, (_, part) in enumerate(parts) if fixed & set(map(id, part.modules()))
            )
            self.first = layers.Sequence(OrderedDict(parts[:count]))
            self.rest = layers.Sequence(OrderedDict(parts[count:]))

    def set_evaluation(self) -> None:
        """Set the layers to evaluation: batch normalization keeps its means, dropout is off."""
        for each in [self.first] if self.first is not None else self._layers:
            each.eval()
