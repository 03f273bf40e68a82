"""Scores of a run on its validation parts, also by several processes together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from dvskit.errors import ConfigError
from dvskit.models.inputs import AnyBatches
from dvskit.models.scores import logits_of, mean_interval, result_of
from dvskit.training.distributed import ALONE, World

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
