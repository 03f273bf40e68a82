"""What `dvskit eval` measures beyond accuracy: lines to print, values for JSON, panels to plot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvskit.render.plots import Measured
    from dvskit.training import OverTime

_ROWS = 10  # of a table of all steps


def over_time_lines(found: OverTime) -> Iterator[str]:
    """Yield how often a model is right after some of the steps, and when that has settled."""
    steps = len(found.results)
    every = -(-steps // _ROWS)
    shown = sorted({*range(every, steps + 1, every), found.settled, steps})
    yield "after       accuracy  standard error"
    for step in shown:
        result = found.results[step - 1]
        yield (
            f"{_time(found, step):10}  {100 * result.accuracy:6.2f} %  "
            f"{100 * result.standard_error:.2f}"
        )
    yield (
        f"after {_time(found, found.settled)} it is, and stays, within one standard error of the "
        "accuracy at the end"
    )


def _time(found: OverTime, step: int) -> str:
    if found.bin_us is None:
        return f"{step} step{'s' * (step > 1)}"
    return f"{step * found.bin_us / 1000:,g} ms"


def over_time_values(found: OverTime) -> dict[str, Any]:
    """Return how often a model is right after each step, for JSON."""
    return {
        "bin_us": found.bin_us,
        "accuracy": found.accuracy.tolist(),
        "standard_error": found.standard_error.tolist(),
        "settled_steps": found.settled,
        "settled_us": found.settled_us,
    }


def over_time_panel(found: OverTime) -> Measured:
    """Return how often a model is right after each step, to be plotted."""
    import numpy as np

    from dvskit.render.plots import Measured

    unit, label = (1.0, "steps seen")
    if found.bin_us is not None:
        unit, label = found.bin_us / 1000, "time seen (ms)"
    return Measured(
        unit * np.arange(1.0, len(found.results) + 1.0),
        found.accuracy,
        found.standard_error,
        label,
        chance=1 / len(found.results[-1].classes),
        mark=unit * found.settled,
        words=(
            f"{100 * found.accuracy[-1]:.1f} % at the end",
            f"within its error after {_time(found, found.settled)}",
        ),
    )
