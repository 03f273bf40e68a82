"""How good the weights of an epoch are, on the validation parts: the scores of a row of the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from dvskit.errors import ConfigError
from dvskit.training.evaluation import answers_of, result_of
from dvskit.training.judged import AnyBatches
from dvskit.training.world import ALONE, World

Metric = Callable[[Tensor, Tensor], float]
"""metric(logits (N, classes) float32, labels (N,) int64) -> a number, of one validation part.

Both are copies on the processor, and torch's generator is put back behind it: nothing that a metric
does changes a run.
"""
_TAKEN = ("epoch", "loss", "rate", "seconds", "accuracy", "validation_loss")


def check_metrics(metrics: Mapping[str, Metric]) -> None:
    """Raise ConfigError for a metric that cannot be called, or is named as a column of the log."""
    for name, metric in metrics.items():
        if not callable(metric):
            raise ConfigError(
                f"metric {name!r} is {type(metric).__name__}; a function of logits and labels is "
                "meant"
            )
        if name in _TAKEN or not name:
            raise ConfigError(
                f"metric {name!r}: log.csv has {', '.join(_TAKEN)} already; give it another name"
            )


def scores_of(
    module: nn.Module,
    parts: Mapping[str, AnyBatches],
    metrics: Mapping[str, Metric],
    world: World = ALONE,
) -> dict[str, float]:
    """Return the scores of a module on validation parts, by name, and their means.

    Of each part `<part>_accuracy`, `<part>_loss` and `<part>_<metric>`; the means over the parts
    are `accuracy`, `validation_loss` and `<metric>`. Of several processes each judges its share.
    """
    scores: dict[str, float] = {}
    means: dict[str, list[float]] = {}
    for part, batches in parts.items():
        logits, labels = answers_of(module, batches, world)
        result = result_of(batches.classes, logits, labels)
        found = {"accuracy": result.accuracy, "loss": result.loss}
        found |= {
            name: _number_of(name, part, metric, logits, labels) for name, metric in metrics.items()
        }
        for name, value in found.items():
            scores[f"{part}_{name}"] = value
            means.setdefault("validation_loss" if name == "loss" else name, []).append(value)
    return scores | {name: sum(values) / len(values) for name, values in means.items()}


def _number_of(name: str, part: str, metric: Metric, logits: Tensor, labels: Tensor) -> float:
    with torch.no_grad(), torch.random.fork_rng():
        value = metric(logits.clone(), labels.clone())
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(
            f"metric {name!r} gave {type(value).__name__} for {part}; one number is meant"
        ) from None
