"""Samples split for training, validation and test.

A split depends on names and seed only, not on the location or order of files. Samples of one group
(a person) stay together; `split_by_share` raises if they would not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from dvskit._arguments import check_arguments
from dvskit.datasets.grouped_split import check_leaks, grouped_parts, place_of, units_of
from dvskit.datasets.samples import ImageSamples, Sample, Samples, class_names
from dvskit.errors import ConfigError, count_of

_DRAWS = 100  # of groups, until each class is in training

Set = TypeVar("Set", Samples, ImageSamples)


class Split(NamedTuple):
    """Samples for training, validation and test.

    They are rows: properties of samples, without their events.

        samples = dvskit.datasets.open_samples("digits")
        split = dvskit.datasets.split_by_share(samples, validation=0.1, test=0.2).rows
        len(split.train), len(split.validation), len(split.test)  # 42, 6, 12
    """

    train: list[Sample]
    validation: list[Sample]
    test: list[Sample]


class SplitSamples(NamedTuple, Generic[Set]):
    """Samples, or images, for training, validation and test.

    All parts have the classes of the whole set, so class numbers are the same.

        samples = dvskit.datasets.open_samples("digits")
        split = dvskit.datasets.split_by_share(samples, validation=0.1, test=0.2)
        len(split.train), len(split.validation), len(split.test)  # 42, 6, 12
        events, label = split.test[0]
    """

    train: Set
    validation: Set
    test: Set

    @property
    def rows(self) -> Split:
        """The rows of the samples of each part."""
        return Split(*(list(part.rows) for part in self))


@check_arguments
def split_by_share(
    samples: Set, *, validation: float, test: float, seed: int = 0
) -> SplitSamples[Set]:
    """Split each class by shares of all samples, as `split_samples` does.

    Raises ConfigError for impossible shares, and for a leak: a group, equal files or overlapping
    spans in two parts.

        samples = dvskit.datasets.open_samples("digits")
        split = dvskit.datasets.split_by_share(samples, validation=0.1, test=0.2)
        len(split.train), len(split.validation), len(split.test)  # 42, 6, 12
    """
    split = split_samples(samples.rows, validation=validation, test=test, seed=seed)
    listed = any(row.part for row in samples.rows)
    _check_parts(samples, split, validation, 0.0 if listed else test)
    return _chosen(samples, split)


@check_arguments
def split_by_group(
    samples: Set, *, validation: float, test: float, seed: int = 0
) -> SplitSamples[Set]:
    """Split whole groups, so that each person is in one part.

    `validation` and `test` are shares of all samples, met as closely as whole groups allow, in each
    class too. Each part with a share gets a group, and each class is in training. Files with equal
    bytes stay together. The parts of the set itself are ignored.

    Raises ConfigError for samples without a group, for fewer groups than parts, and if a class
    would not be in training.

        samples = dvskit.datasets.open_samples("gestures")
        split = dvskit.datasets.split_by_group(samples, validation=0.0, test=0.5)
        {row.group for row in split.test.rows}  # one person
    """
    _check_shares(validation, test)
    _check_groups(samples)
    units = units_of(samples.rows)
    shares = (1 - validation - test, validation, test)
    wanted = sum(share > 0 for share in shares)
    if len(units) < wanted:
        names = ", ".join(sorted({str(row.group) for row in samples.rows}))
        raise ConfigError(
            f"{count_of(len(units), 'separable group')} ({names}) for "
            f"{count_of(wanted, 'part')}; set one of the shares to 0, or take leave_one_group_out "
            "or split_by_share"
        )
    rng = np.random.default_rng(seed)
    for _ in range(_DRAWS):
        parts = grouped_parts(units, shares, rng, largest_first=False)
        if {row.label for row in parts[0]} == {row.label for row in samples.rows}:
            break
    split = Split(*parts)
    _check_parts(samples, split, validation, test)
    return _chosen(samples, split)


def split_as_listed(samples: Set, *, validation: float = 0.0, seed: int = 0) -> SplitSamples[Set]:
    """Split by the parts of the set itself: its lists, or folders train, validation and test.

    If it has no validation part, `validation` is a share of its training part, in whole groups if
    groups are known. Raises ConfigError for samples without a part, and for a leak.

        digits = dvskit.datasets.open_samples("digits")
        rows = [
            row._replace(part="train" if number % 4 else "test")
            for number, row in enumerate(digits.rows)
        ]
        split = dvskit.datasets.split_as_listed(dvskit.datasets.FileSamples(rows), validation=0.1)
        [len(part) for part in split]  # [41, 4, 15]
    """
    for row in samples.rows:
        if row.part is None:
            raise ConfigError(
                f"{row.where}: belongs to no part of the set; use split_by_group or split_by_share"
            )
    parts = Split(*([r for r in samples.rows if r.part == part] for part in Split._fields))
    if validation and parts.validation:
        raise ConfigError(
            f"validation = {validation}, but the set lists {len(parts.validation):,} samples for "
            "it; remove the share"
        )
    if validation:
        train, chosen = _validation_of(parts.train, validation, np.random.default_rng(seed))
        parts = Split(train, chosen, parts.test)
    _check_parts(samples, parts, validation, 0.0)
    return _chosen(samples, parts)


@check_arguments
def k_fold(
    samples: Set, folds: int, *, validation: float = 0.0, seed: int = 0
) -> list[SplitSamples[Set]]:
    """Return `folds` splits; each sample is tested in one of them.

    Classes and counts are as even as possible. Known groups, spans of one file, and files of equal
    bytes stay together. `validation` is a share of the remaining samples. Raises ConfigError for
    fewer than two folds, for more than groups or files, and if a class would not be in training.

        samples = dvskit.datasets.open_samples("digits")
        folds = dvskit.datasets.k_fold(samples, 5)
        [len(fold.test) for fold in folds]  # [12, 12, 12, 12, 12]
    """
    units = units_of(samples.rows)
    if not 2 <= folds <= len(units):
        raise ConfigError(
            f"folds = {folds} of {len(units):,} separable groups or files; it must be "
            f"2..{len(units):,}"
        )
    rng = np.random.default_rng(seed)
    tested = grouped_parts(units, (1 / folds,) * folds, rng, largest_first=True)
    return [_with_test(samples, test, validation, (seed, fold)) for fold, test in enumerate(tested)]


@check_arguments
def leave_one_group_out(
    samples: Set, *, validation: float = 0.0, seed: int = 0
) -> list[SplitSamples[Set]]:
    """Return a split for each group, by name: it is the test part, all others are for training.

    `validation` is a share of the others, in whole groups. Raises ConfigError for samples without a
    group, for a single group, for equal files in two groups, and if a class would not be in
    training.

        samples = dvskit.datasets.open_samples("gestures")
        splits = dvskit.datasets.leave_one_group_out(samples)
        [len(split.test) for split in splits]  # [9, 9]: one split for each person
    """
    _check_groups(samples)
    groups = sorted({str(row.group) for row in samples.rows})
    if len(groups) < 2:
        raise ConfigError(f"one group, {groups[0]}, leaves none for training; give more")
    return [
        _with_test(samples, [r for r in samples.rows if r.group == group], validation, (seed, k))
        for k, group in enumerate(groups)
    ]


def _with_test(
    samples: Set, test: Sequence[Sample], validation: float, seed: tuple[int, int]
) -> SplitSamples[Set]:
    kept = set(test)
    rest = [row for row in samples.rows if row not in kept]
    rng = np.random.default_rng(seed)
    train, chosen = _validation_of(rest, validation, rng)
    split = Split(train, chosen, sorted(test, key=place_of))
    _check_parts(samples, split, validation, 0.0)
    return _chosen(samples, split)


def _validation_of(
    rows: Sequence[Sample], share: float, rng: np.random.Generator
) -> tuple[list[Sample], list[Sample]]:
    """Return the rest and a share of samples, in whole groups if they are known."""
    _check_shares(share, 0.0)
    units = units_of(rows)
    if share and len(units) < 2:
        raise ConfigError(f"validation = {share} of one group or file; give more, or remove it")
    train, chosen = grouped_parts(units, (1 - share, share), rng, largest_first=False)
    return train, chosen


def _check_shares(validation: float, test: float) -> None:
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ConfigError(
            f"validation = {validation} and test = {test} must be at least 0, with a sum below 1"
        )


def _check_groups(samples: Samples | ImageSamples) -> None:
    unknown = [row for row in samples.rows if row.group is None]
    if unknown:
        raise ConfigError(
            f"{unknown[0].where}: its group is not known, as of {len(unknown):,} of "
            f"{count_of(len(samples), 'sample')}; open them with a rule, such as "
            "open_samples(..., group=r'_s(\\d+)'), or with a column of groups"
        )


def _check_parts(
    samples: Samples | ImageSamples, split: Split, validation: float, test: float
) -> None:
    """Raise ConfigError for empty parts, classes missing in training, and leaks."""
    for name, share, part in (
        ("validation", validation, split.validation),
        ("test", test, split.test),
    ):
        if share and not part:
            raise ConfigError(
                f"{name} = {share} of {count_of(len(samples), 'sample')} is none; give more "
                "samples or a larger share"
            )
    missing = {row.label for row in samples.rows} - {row.label for row in split.train}
    if missing:
        label = min(missing)
        groups = sorted({row.group or row.name for row in samples.rows if row.label == label})
        raise ConfigError(
            f"class {label} would not be in training: it is in {', '.join(groups[:3])}"
            f"{', ...' * (len(groups) > 3)} alone; add samples of it, or remove the class"
        )
    check_leaks(split)


def _chosen(samples: Set, split: Iterable[Sequence[Sample]]) -> SplitSamples[Set]:
    return SplitSamples(*(samples.only(part) for part in split))


@check_arguments
def split_samples(samples: Sequence[Sample], *, validation: float, test: float, seed: int) -> Split:
    """Split each class into train, validation and test, by a seed.

    `validation` and `test` are shares of all samples; each class gives its share, rounded so that
    the totals are right to one sample. If samples have a part, it decides on the test part, and
    `validation` is a share of the rest. Raises ConfigError for shares below 0 or without samples
    left for training.

        rows = dvskit.datasets.open_samples("digits").rows
        split = dvskit.datasets.split_samples(rows, validation=0.1, test=0.2, seed=0)
        len(split.train), len(split.validation), len(split.test)  # 42, 6, 12
    """
    _check_shares(validation, test)
    rng = np.random.default_rng(seed)
    parts = Split([], [], [])
    done = 0
    if any(sample.part for sample in samples):
        kept = [sample for sample in samples if sample.part == "test"]
        parts.test.extend(sorted(kept, key=place_of))
        samples = [sample for sample in samples if sample.part != "test"]
        test = 0.0
    for kind in class_names(samples):
        members = sorted((sample for sample in samples if sample.label == kind), key=place_of)
        order = [members[i] for i in rng.permutation(len(members))]
        # Rounding the running total keeps the error of the sum below one sample.
        held = round((done + len(order)) * test) - round(done * test)
        chosen = round((done + len(order)) * validation) - round(done * validation)
        parts.test.extend(order[:held])
        parts.validation.extend(order[held : held + chosen])
        parts.train.extend(order[held + chosen :])
        done += len(order)
    return parts
