"""Samples split into those to train on, to choose by, and to report on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dvskit.datasets.samples import Sample, class_names
from dvskit.errors import ConfigError


class Split(NamedTuple):
    """Samples to train on, to choose by, and to report on."""

    train: list[Sample]
    validation: list[Sample]
    test: list[Sample]


def split_samples(samples: Sequence[Sample], *, validation: float, test: float, seed: int) -> Split:
    """Split each class into train, validation and test, by a seed.

    `validation` and `test` are shares of all; each class gives its share, rounded so that the
    totals are right to one sample. The split depends on the seed and on class and file names, not
    on the folder they lie in nor on the order of `samples`. Where samples say what they are kept
    for, that decides what is tested, and `validation` is a share of the rest.
    Raises ConfigError for shares below 0 or that leave nothing to train on.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ConfigError(
            f"validation = {validation} and test = {test}: shares of at least 0 whose sum is "
            "below 1 are meant"
        )
    rng = np.random.default_rng(seed)
    parts = Split([], [], [])
    done = 0
    if any(sample.part for sample in samples):
        kept = [sample for sample in samples if sample.part == "test"]
        parts.test.extend(sorted(kept, key=_place))
        samples = [sample for sample in samples if sample.part != "test"]
        test = 0.0
    for kind in class_names(samples):
        members = sorted((sample for sample in samples if sample.label == kind), key=_place)
        order = [members[i] for i in rng.permutation(len(members))]
        # Rounding the running total keeps the error of the sum below one sample.
        held = round((done + len(order)) * test) - round(done * test)
        chosen = round((done + len(order)) * validation) - round(done * validation)
        parts.test.extend(order[:held])
        parts.validation.extend(order[held : held + chosen])
        parts.train.extend(order[held + chosen :])
        done += len(order)
    return parts


def _place(sample: Sample) -> tuple[str, tuple[int, int]]:
    return sample.name.rpartition("/")[2], sample.span or (0, 0)
