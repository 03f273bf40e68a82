"""Whether the training on a folder starts with a shipped model: if the samples show people."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import numpy as np

from dvskit.datasets import Cache, Samples
from dvskit.errors import DvskitError
from dvskit.models.inputs import judged_batches
from dvskit.models.likeness import activity_of
from dvskit.models.model import Model
from dvskit.models.run_samples import used_samples
from dvskit.models.scores import logits_of
from dvskit.training.choose_config import ChosenSetting
from dvskit.training.config import Config
from dvskit.training.sets import EMULATED, TrainingSet, network_size
from dvskit.training.start import common_samples

PEOPLE_MODEL = "dvs128-gestures"
_LOOKED_AT, _LEAST = 12, 4  # samples


def starts_with(
    start: Model, config: Config, whole: TrainingSet, until: float | None
) -> ChosenSetting:
    """Return the choice of a start, which has a likeness, for samples: its name, or "new weights".

    config  for a run with this start       until  a value of time.monotonic(): stop reading then

    A start that learned from one of the samples is not chosen, because these judge the model.
    """
    samples = whole.parts.train
    assert isinstance(samples, Samples)
    known = common_samples(start, used_samples(whole.parts.rows))
    if known:
        return new_weights(f"{start.name} learned from {known[0].name}", "known")
    far: list[float] = []
    for number in np.unique(np.linspace(0, len(samples) - 1, _LOOKED_AT).astype(int)):
        if until is not None and len(far) >= _LEAST and time.monotonic() > until:
            break
        far += _distances(start, config, whole, samples.choose([number]))
    if not far:
        return new_weights("no sample could be read", "unread")
    distance = statistics.median(far)
    seen = f"the people that {start.name} knows (distance {distance:.2g}, limit 1)"
    if distance > 1:
        return new_weights(f"the samples are unlike {seen}", "unlike")
    return ChosenSetting("start", start.name, f"the samples are like {seen}", "like")


def new_weights(why: str, kind: str) -> ChosenSetting:
    """Return the choice of no start."""
    return ChosenSetting("start", "new weights", why, kind)


def _distances(start: Model, config: Config, whole: TrainingSet, one: Samples) -> Iterator[float]:
    """Yield the distance of a sample; nothing for one that cannot be read."""
    assert start.likeness is not None
    if whole.entry.kind in EMULATED:
        one = one.cached(Cache())
    try:
        with activity_of(start.module) as passes:
            for counts, _ in judged_batches(one, config.input, network_size(config)).epoch(0):
                logits_of(start.module, counts)
    except DvskitError:  # reported when it is emulated, or left out
        return
    yield from map(start.likeness.distance, passes)
