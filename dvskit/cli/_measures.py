"""Measures of `dvskit eval` beyond accuracy: lines to print, values for JSON, panels to plot."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dvskit.cli._judging import aligned
from dvskit.errors import ConfigError, count_of

if TYPE_CHECKING:
    from dvskit.evaluation import Corrupted, Operations, OverTime, Result
    from dvskit.render.plots import Measured

_ROWS = 10  # of a table of all steps
_HEADS = ("accuracy", "95 % interval")


@dataclass(slots=True)
class Report:
    """Measured results: lines to print, values for JSON, panels to plot."""

    lines: list[str]
    values: dict[str, Any]
    panels: list[Measured] = field(default_factory=list)


def add_over_time(report: Report, found: OverTime) -> None:
    """Add the accuracy after each step."""
    report.lines += ["", *_over_time_lines(found)]
    report.values["over_time"] = {
        "bin_us": found.bin_us,
        "accuracy": found.accuracy.tolist(),
        "interval_95": found.interval_95.tolist(),
        "settled_steps": found.settled,
        "settled_us": found.settled_us,
    }
    report.panels.append(_over_time_panel(found))


def add_operations(report: Report, found: Operations) -> None:
    """Add the operations of a network per sample."""
    report.lines += ["", *_operations_lines(found)]
    report.values["operations"] = _operations_values(found)


def add_corrupted(report: Report, found: Sequence[Corrupted]) -> None:
    """Add the accuracy at each level of each kind of corruption."""
    values = report.values["corrupted"] = {}
    for each in found:
        _add_corruption(report, values, each)


def _over_time_lines(found: OverTime) -> Iterator[str]:
    """Yield the accuracy after some of the steps, and the time until it settles."""
    steps = len(found.results)
    every = -(-steps // _ROWS)
    shown = sorted({*range(every, steps + 1, every), found.settled, steps})
    rows = [("after", *_HEADS)]
    rows += [(_time(found, step), *_cells(found.results[step - 1])) for step in shown]
    yield from aligned(rows)
    yield (
        f"after {_time(found, found.settled)} the accuracy stays within the interval of the "
        "accuracy at the end"
    )


def _cells(result: Result) -> tuple[str, str]:
    from dvskit.models.scores import percent_texts

    share, low, high = percent_texts(result.accuracy, *result.interval_95)
    return f"{share} %", f"{low} to {high} %"


def _time(found: OverTime, step: int) -> str:
    if found.bin_us is None:
        return f"{count_of(step, 'step')}"
    return f"{step * found.bin_us / 1000:,g} ms"


def _over_time_panel(found: OverTime) -> Measured:
    from dvskit.render.plots import Measured

    unit, label = (1.0, "steps seen")
    if found.bin_us is not None:
        unit, label = found.bin_us / 1000, "time seen (ms)"
    return Measured(
        unit * np.arange(1.0, len(found.results) + 1.0),
        found.accuracy,
        found.interval_95,
        label,
        chance=1 / len(found.results[-1].classes),
        mark=unit * found.settled,
        words=(
            f"{100 * found.accuracy[-1]:.1f} % at the end",
            f"within its interval after {_time(found, found.settled)}",
        ),
    )


def corrupt_levels(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Return the levels of each kind in --corrupt: "noise", "noise=0,1,5", "all".

    "all" is each kind but "threshold", which does not apply to recordings. Raises ConfigError.
    """
    from dvskit.evaluation.corruption import CORRUPTIONS, check_levels

    found: dict[str, tuple[float, ...]] = {}
    for text in texts:
        kind, named, words = (part.strip() for part in text.partition("="))
        try:
            levels = [float(word) for word in words.split(",")] if named else None
        except ValueError:
            raise ConfigError(
                f"--corrupt {text!r} is not KIND or KIND=LEVEL,LEVEL,..., such as noise=0,1,5"
            ) from None
        kinds = [name for name in CORRUPTIONS if name != "threshold"] if kind == "all" else [kind]
        if kind == "all" and named:
            raise ConfigError("--corrupt all takes no levels; each kind has its own")
        for each in kinds:
            if each in found and kind != "all":
                raise ConfigError(f"--corrupt {each}: is given twice")
            found.setdefault(each, check_levels(each, levels))
    return found


def _add_corruption(report: Report, values: dict[str, Any], found: Corrupted) -> None:
    from dvskit.evaluation import CORRUPTIONS
    from dvskit.render.plots import Measured

    kind = CORRUPTIONS[found.kind]
    accuracy = [result.accuracy for result in found.results]
    interval = [result.interval_95 for result in found.results]
    rows = [("level", *_HEADS)]
    for level, result in zip(found.levels, found.results, strict=True):
        rows.append((f"{level:g}", *_cells(result)))
    report.lines += ["", f"{found.kind}: {kind.label}", *aligned(rows)]
    values[found.kind] = {
        "label": kind.label,
        "seed": found.seed,
        "levels": list(found.levels),
        "accuracy": accuracy,
        "interval_95": interval,
    }
    chance = 1 / len(found.results[0].classes)
    report.panels.append(
        Measured(
            np.array(found.levels), np.array(accuracy), np.array(interval), kind.label,
            chance=chance, factors=kind.factors,
        )
    )  # fmt: skip


def _operations_lines(found: Operations) -> Iterator[str]:
    """Yield the operations of a network per sample, by layer and in total, with the rule."""
    from dvskit.evaluation.operations import COUNTING_RULE, ENERGY_SOURCE

    steps = count_of(found.steps, "step")
    yield f"operations per sample (mean of {found.samples:,}), over {steps}"
    rows = [("layer", "inputs", "not 0", "synaptic", "dense", "")]
    for layer in found.layers:
        shares = [layer.inputs, layer.synaptic, layer.dense]
        inputs, synaptic, dense = (f"{n / found.samples:,.0f}" for n in shares)
        active = f"{100 * layer.active / layer.inputs:.2f} %"
        rows.append(
            (layer.name, inputs, active, synaptic, dense, "AC" if layer.of_spikes else "MAC")
        )
    rows.append(("all", "", "", f"{found.synaptic:,.0f}", f"{found.dense:,.0f}", ""))
    yield from aligned(rows)
    share = f", {100 * found.synaptic / found.dense:.2f} % of dense" if found.dense else ""
    yield (
        f"{found.acs:,.0f} additions (AC) and {found.macs:,.0f} multiply-accumulates (MAC){share}"
    )
    quiet = "" if math.isnan(found.sparsity) else f"; {100 * found.sparsity:.2f} % of outputs are 0"
    yield f"{found.updates:,.0f} neuron updates{quiet}"
    yield (
        f"energy: {_joules(found.energy_j)} (dense {_joules(found.dense_energy_j)}); neuron "
        f"updates, counted as MACs, {_joules(found.update_energy_j)} more"
    )
    yield f"{found.weights:,} weights; {count_of(found.bytes, 'byte')} with all other stored values"
    if found.uncounted:
        yield f"not counted (unknown layers): {', '.join(found.uncounted)}"
    yield from textwrap.wrap(f"Counting: {COUNTING_RULE}", 96)
    yield from textwrap.wrap(f"Energy: {ENERGY_SOURCE}.", 96)


def _joules(energy: float) -> str:
    for unit, size in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9)):
        if energy >= size:
            return f"{energy / size:.3g} {unit}"
    return f"{energy / 1e-12:.3g} pJ"


def _operations_values(found: Operations) -> dict[str, Any]:
    from dvskit.evaluation.operations import AC_J, COUNTING_RULE, ENERGY_SOURCE, MAC_J

    counts = ("inputs", "active", "synaptic", "dense")
    layers = [
        {"name": layer.name, "kind": layer.kind}
        | {name: getattr(layer, name) / found.samples for name in counts}
        | {"of_spikes": layer.of_spikes}
        for layer in found.layers
    ]
    energies = ("energy_j", "dense_energy_j", "update_energy_j")
    return {
        "samples": found.samples,
        "steps": found.steps,
        "layers": layers,
        **{name: getattr(found, name) for name in ("acs", "macs", "dense")},
        "neuron_updates": found.updates,
        "activation_sparsity": None if math.isnan(found.sparsity) else found.sparsity,
        **{name: getattr(found, name) for name in energies},
        "ac_j": AC_J,
        "mac_j": MAC_J,
        "weights": found.weights,
        "bytes": found.bytes,
        "uncounted": list(found.uncounted),
        "counting_rule": COUNTING_RULE,
        "energy_source": ENERGY_SOURCE,
    }
