"""The first lines of a result: warnings, then the accuracy."""

from __future__ import annotations

import numpy as np

from dvskit.errors import count_of
from dvskit.training.accuracy_interval import wilson
from dvskit.training.evaluation import Result

_MARGIN = 0.02  # above chance; an accuracy within it is near chance


def headlines(result: Result) -> list[str]:
    """Return lines for people, the accuracy last.

    The lines before it warn if all samples were trained on or chosen by, and if guessing may be as
    good: see `near_chance`.
    """
    lines, what = [], "accuracy"
    if result.seen >= result.samples:
        what = "accuracy on training samples"
        lines.append(
            "nothing was held out: the model was trained on or chosen by "
            f"{_all(result.samples)}, and its accuracy on others is not known "
            "(dvskit eval MODEL OTHERS)"
        )
    near = near_chance(result)
    return [*lines, *([near] if near else []), f"{what} {result}"]


def near_chance(result: Result) -> str:
    """Return a warning if guessing may be as good as the model, else "".

    Guessing is right once in as many times as there are classes. An accuracy is near that if its
    95 % interval (`wilson`) begins less than 2 points above it.
    """
    classes = len(result.classes)
    low, _ = wilson(int(np.trace(result.confusion)), result.samples)
    if low > 1 / classes + _MARGIN:
        return ""
    return (
        f"accuracy is near chance (1/{classes} = {100 / classes:.1f} %): guessing may be as good, "
        f"on {count_of(result.samples, 'sample')}"
    )


def _all(count: int) -> str:
    return f"all {count:,} samples" if count > 1 else "the only sample"
