"""Samples split for training, validation and test, and the detection of leaks.

A split depends on names and seed only, not on the location or order of files. Samples of one group
(a person) stay together; `split_by_share` raises if they would not. A leak is data used both for
training and for evaluation, under any name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from math import fsum
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar, get_args

import numpy as np

from dvskit._checks import check_number
from dvskit.datasets.files import known_kind
from dvskit.datasets.samples import ImageSamples, Part, Sample, Samples, class_names
from dvskit.errors import ArgumentError, ConfigError, count_of
from dvskit.formats.content import content_digest

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
    return _checked_split(samples, split, validation, 0.0 if listed else test)


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
    units = _units_of(samples.rows)
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
        parts = _grouped_parts(units, shares, rng, largest_first=False)
        if {row.label for row in parts[0]} == {row.label for row in samples.rows}:
            break
    split = Split(*parts)
    return _checked_split(samples, split, validation, test)


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
    return _checked_split(samples, parts, validation, 0.0)


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
    units = _units_of(samples.rows)
    if not 2 <= folds <= len(units):
        raise ConfigError(
            f"folds = {folds} of {len(units):,} separable groups or files; it must be "
            f"2..{len(units):,}"
        )
    rng = np.random.default_rng(seed)
    tested = _grouped_parts(units, (1 / folds,) * folds, rng, largest_first=True)
    return [_with_test(samples, test, validation, (seed, fold)) for fold, test in enumerate(tested)]


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
    split = Split(train, chosen, sorted(test, key=_place_of))
    return _checked_split(samples, split, validation, 0.0)


def _validation_of(
    rows: Sequence[Sample], share: float, rng: np.random.Generator
) -> tuple[list[Sample], list[Sample]]:
    """Return the rest and a share of samples, in whole groups if they are known."""
    _check_shares(share, 0.0)
    units = _units_of(rows)
    if share and len(units) < 2:
        raise ConfigError(f"validation = {share} of one group or file; give more, or remove it")
    train, chosen = _grouped_parts(units, (1 - share, share), rng, largest_first=False)
    return train, chosen


def _check_shares(validation: float, test: float) -> None:
    check_number("validation", validation, 0)
    check_number("test", test, 0)
    check_number("validation + test", validation + test, below=1)


def _check_groups(samples: Samples | ImageSamples) -> None:
    unknown = [row for row in samples.rows if row.group is None]
    if unknown:
        raise ConfigError(
            f"{unknown[0].where}: its group is not known, as of {len(unknown):,} of "
            f"{count_of(len(samples), 'sample')}; open them with a rule, such as "
            "open_samples(..., group=r'_s(\\d+)'), or with a column of groups"
        )


def _checked_split(samples: Set, split: Split, validation: float, test: float) -> SplitSamples[Set]:
    """Return the samples of a split.

    Raises ConfigError for empty parts, classes missing in training, and leaks.
    """
    shares = zip(("validation", "test"), (validation, test), split[1:], strict=True)
    for name, share, part in shares:
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
    return SplitSamples(*(samples.only(part) for part in split))


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
        parts.test.extend(sorted(kept, key=_place_of))
        samples = [sample for sample in samples if sample.part != "test"]
        test = 0.0
    for kind in class_names(samples):
        members = sorted((sample for sample in samples if sample.label == kind), key=_place_of)
        order = [members[i] for i in rng.permutation(len(members))]
        # Rounding the running total keeps the error of the sum below one sample.
        held = round((done + len(order)) * test) - round(done * test)
        chosen = round((done + len(order)) * validation) - round(done * validation)
        parts.test.extend(order[:held])
        parts.validation.extend(order[held : held + chosen])
        parts.train.extend(order[held + chosen :])
        done += len(order)
    return parts


# -- leaks


class Leak(NamedTuple):
    """Two samples in two parts of a split, and the data they have in common.

    `common` names the data: a person, equal bytes, or overlapping spans.

        rows = dvskit.datasets.open_samples("gestures").rows
        leak = dvskit.datasets.find_leaks([rows[:1], [], rows[1:]])[0]
        leak.first.name, leak.second.name  # ("arm_roll/p1_t1.mp4", "arm_roll/p1_t2.mp4")
        leak.common  # "are of group p1"
    """

    first: Sample
    first_part: Part
    second: Sample
    second_part: Part
    common: str

    def __str__(self) -> str:
        return (
            f"{self.first.title} ({self.first_part}) and "
            f"{self.second.title} ({self.second_part}) {self.common}"
        )


def find_leaks(parts: Sequence[Sequence[Sample]]) -> list[Leak]:
    """Return data that is in two parts at once: a group, equal bytes, or overlapping spans.

    parts  samples for training, validation and test

    Each leak names the first two samples that share data. Files are compared by their bytes,
    whatever their names; only files of equal length are read. Drawn samples are compared by name.

        rows = dvskit.datasets.open_samples("gestures").rows
        leaks = dvskit.datasets.find_leaks([rows[::2], [], rows[1::2]])
        len(leaks)  # 2: the takes of each person are in two parts
    """
    names: tuple[Part, ...] = get_args(Part)
    if len(parts) != len(names):
        raise ArgumentError(
            f"find_leaks: takes three parts, for training, validation and test, not {len(parts)}; "
            "pass [] for an empty one"
        )
    part_of = [name for name, part in zip(names, parts, strict=True) for _ in part]
    rows = [row for part in parts for row in part]
    found: dict[str, Leak] = {}
    for link in _links(rows):
        first, second = sorted(link.numbers)
        if link.common and part_of[first] != part_of[second]:
            leak = Leak(rows[first], part_of[first], rows[second], part_of[second], link.common)
            found.setdefault(link.data, leak)
    return list(found.values())


def check_leaks(parts: Sequence[Sequence[Sample]]) -> None:
    """Raise ConfigError for the first leak, if there is any: see `find_leaks`.

    `parts` are the samples for training, validation and test.

        samples = dvskit.datasets.open_samples("gestures")
        split = dvskit.datasets.split_by_group(samples, validation=0.0, test=0.5)
        dvskit.datasets.check_leaks(split.rows)  # None: no person is in two parts
    """
    leaks = find_leaks(parts)
    if leaks:
        more = f" ({len(leaks) - 1:,} more such pairs)" if len(leaks) > 1 else ""
        raise ConfigError(f"a split that leaks: {leaks[0]}{more}; {_fix(leaks[0])}")


def _fix(leak: Leak) -> str:
    if leak.common.startswith("are of group"):
        return (
            "split_by_group keeps groups whole; if groups do not matter, open the samples with "
            "group=None"
        )
    return "remove one of them, or keep them together with split_by_group or k_fold"


# -- samples that must stay together


class _Link(NamedTuple):
    """Two samples that must stay together: their numbers, and their data in common.

    data    the group or the content
    common  the same for messages; "" if it is only one file
    """

    numbers: tuple[int, int]
    data: str
    common: str


def _links(rows: Sequence[Sample]) -> Iterator[_Link]:
    """Yield pairs of samples that connect all samples that must stay together.

    Overlapping spans of equal bytes are connected, and samples of one file without a group.
    """
    of_group: dict[str, int] = {}
    of_content: dict[str, list[int]] = defaultdict(list)
    for number, (row, content) in enumerate(zip(rows, _contents(rows), strict=True)):
        of_content[content].append(number)
        if row.group is not None:
            first = of_group.setdefault(row.group, number)
            yield _Link((first, number), f"group {row.group}", f"are of group {row.group}")
    for content, numbers in of_content.items():
        # In order of start, a span that overlaps an earlier one overlaps that of the latest end.
        numbers.sort(key=lambda number: (_span_of(rows[number]), rows[number].name))
        latest = numbers[0]
        for number in numbers[1:]:
            start, stop = _span_of(rows[number])
            end = _span_of(rows[latest])[1]
            is_one_file = rows[latest].path == rows[number].path
            common = "overlap in one file" if is_one_file else "hold the same bytes"
            if start < end or rows[number].group is None:
                yield _Link((latest, number), content, common if start < end else "")
            latest = number if stop > end else latest


def _span_of(sample: Sample) -> tuple[int, int]:
    """Return the span of a sample in microseconds; for a whole file, one that contains all."""
    return (-(1 << 62), 1 << 62) if sample.span is None else sample.span


def _contents(samples: Sequence[Sample]) -> list[str]:
    """Return an identifier per sample, equal for files of equal bytes.

    Raises MissingFileError, FormatError for files that cannot be read.
    """
    paths = {sample.path for sample in samples if sample.path is not None}
    by_length: dict[int, list[Path]] = defaultdict(list)
    keys: dict[Path, str] = {}
    for path in paths:
        if path.is_dir():
            keys[path] = known_kind(path).content(path)
        elif path.exists():
            by_length[path.stat().st_size].append(path)
        else:
            content_digest(path)  # raises the error of reading
    for several in by_length.values():
        for path in several:
            keys[path] = str(path) if len(several) == 1 else content_digest(path)
    return [f"drawn {s.name}" if s.path is None else keys[s.path] for s in samples]


def _place_of(sample: Sample) -> tuple[str, tuple[int, int], str]:
    """Return the sort key of samples of a class: names, not folders."""
    return sample.name.rpartition("/")[2], sample.span or (0, 0), sample.name


def _units_of(rows: Sequence[Sample]) -> list[list[Sample]]:
    """Return samples in lists that must stay together, in order of names.

    Samples of one group stay together, as do overlapping spans of one file and of its copies.
    Without groups, all samples of a file stay together.
    """
    parent = list(range(len(rows)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for link in _links(rows):
        first, second = map(root, link.numbers)
        parent[second] = first
    found: dict[int, list[Sample]] = defaultdict(list)
    for number, row in enumerate(rows):
        found[root(number)].append(row)
    units = [sorted(unit, key=_place_of) for unit in found.values()]
    return sorted(units, key=lambda unit: (_place_of(unit[0]), unit[0].label))


def _grouped_parts(
    units: Sequence[Sequence[Sample]],
    shares: Sequence[float],
    rng: np.random.Generator,
    *,
    largest_first: bool,
) -> list[list[Sample]]:
    """Return the samples of each part: whole units, in random order, each to the neediest part.

    The deficit of a part is counted per class in shares of the class, so rare classes count as much
    as others; all samples together count as one more class. A part with a share gets at least one
    unit while there are units.
    """
    order = [units[number] for number in rng.permutation(len(units))]
    if largest_first:
        order.sort(key=len, reverse=True)
    totals = Counter(row.label for unit in units for row in unit)
    parts: list[list[Sample]] = [[] for _ in shares]
    counts = [Counter[str]() for _ in shares]  # of each class in each part

    def need(part: int, unit: Counter[str]) -> tuple[float, int]:
        # Summed exactly, so that ties are ties on all machines.
        lack = [
            count * (shares[part] - counts[part][label] / totals[label])
            for label, count in unit.items()
        ]
        lack.append(unit.total() * (shares[part] - len(parts[part]) / totals.total()))
        return fsum(lack), -len(parts[part])

    wanted = [part for part, share in enumerate(shares) if share > 0]
    for done, unit in enumerate(order):
        labels = Counter(row.label for row in unit)
        empty = [part for part in wanted if not parts[part]]
        takers = empty if len(order) - done <= len(empty) else wanted
        part = max(takers, key=partial(need, unit=labels))
        counts[part] += labels
        parts[part] += unit
    return [sorted(part, key=lambda row: (row.label, _place_of(row))) for part in parts]
