"""Splitting of samples that must stay together, and detection of leaks.

A leak is data used both for training and for evaluation, under any name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import fsum
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from dvskit.datasets.files import known_kind
from dvskit.datasets.samples import Part, Sample
from dvskit.errors import ArgumentError, ConfigError
from dvskit.formats.content import content_digest


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
            f"{_said(self.first)} ({self.first_part}) and {_said(self.second)} "
            f"({self.second_part}) {self.common}"
        )


def _said(sample: Sample) -> str:
    return sample.name + sample.times


class _Placed(NamedTuple):
    sample: Sample
    part: Part


def find_leaks(parts: Sequence[Sequence[Sample]]) -> list[Leak]:
    """Return data that is in two parts at once: a group, equal bytes, or overlapping spans.

    parts  samples for training, validation and test

    Each leak names the first two samples that share data. Files are compared by their bytes,
    whatever their names; only files of equal length are read. Drawn samples are compared by name.

        rows = dvskit.datasets.open_samples("gestures").rows
        leaks = dvskit.datasets.find_leaks([rows[::2], [], rows[1::2]])
        len(leaks)  # 2: the takes of each person are in two parts
    """
    if len(parts) != len(get_args(Part)):
        raise ArgumentError(
            f"find_leaks: takes three parts, for training, validation and test, not {len(parts)}; "
            "pass [] for an empty one"
        )
    placed = [
        _Placed(sample, part)
        for part, samples in zip(get_args(Part), parts, strict=True)
        for sample in samples
    ]
    return [*_split_groups(placed), *_shared_content(placed)]


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


def _split_groups(placed: Iterable[_Placed]) -> Iterator[Leak]:
    first: dict[str, _Placed] = {}
    told = set()
    for each in placed:
        group = each.sample.group
        if group is None or group in told:
            continue
        other = first.setdefault(group, each)
        if other.part != each.part:
            told.add(group)
            yield Leak(*other, *each, f"are of group {group}")


def _shared_content(placed: Sequence[_Placed]) -> Iterator[Leak]:
    by_content: dict[str, list[_Placed]] = defaultdict(list)
    for each, key in zip(placed, contents([each.sample for each in placed]), strict=True):
        by_content[key].append(each)
    for several in by_content.values():
        if len({each.part for each in several}) == 1:
            continue
        first = _first_overlap(several)
        if first is not None:
            yield first


def _first_overlap(several: Sequence[_Placed]) -> Leak | None:
    """Return the first two samples of equal content, in two parts, with overlapping spans."""
    # In order of start, spans that overlap an open one follow it directly.
    waiting: dict[Part, tuple[int, _Placed]] = {}
    for each in sorted(several, key=lambda each: (span_of(each.sample), each.sample.name)):
        start, stop = span_of(each.sample)
        for part, (end, other) in waiting.items():
            if part != each.part and start < end:
                same_file = other.sample.path == each.sample.path
                common = "overlap in one file" if same_file else "hold the same bytes"
                pair = sorted((other, each), key=lambda placed: get_args(Part).index(placed.part))
                return Leak(*pair[0], *pair[1], common)
        if stop > waiting.get(each.part, (start, each))[0]:
            waiting[each.part] = stop, each
    return None


def span_of(sample: Sample) -> tuple[int, int]:
    """Return the span of a sample in microseconds; for a whole file, one that contains all."""
    return (-(1 << 62), 1 << 62) if sample.span is None else sample.span


def contents(samples: Sequence[Sample]) -> list[str]:
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


def place_of(sample: Sample) -> tuple[str, tuple[int, int], str]:
    """Return the sort key of samples of a class: names, not folders."""
    return sample.name.rpartition("/")[2], sample.span or (0, 0), sample.name


def units_of(rows: Sequence[Sample]) -> list[list[Sample]]:
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

    for first, second in _joined(rows):
        parent[root(second)] = root(first)
    found: dict[int, list[Sample]] = defaultdict(list)
    for number, row in enumerate(rows):
        found[root(number)].append(row)
    units = [sorted(unit, key=place_of) for unit in found.values()]
    return sorted(units, key=lambda unit: (place_of(unit[0]), unit[0].label))


def _joined(rows: Sequence[Sample]) -> Iterator[tuple[int, int]]:
    """Yield pairs of sample numbers that must stay together."""
    of_group: dict[str, int] = {}
    of_content: dict[str, list[int]] = defaultdict(list)
    for number, (row, content) in enumerate(zip(rows, contents(rows), strict=True)):
        of_content[content].append(number)
        if row.group is not None:
            yield of_group.setdefault(row.group, number), number
    for numbers in of_content.values():
        numbers.sort(key=lambda number: span_of(rows[number]))
        latest = numbers[0]  # the sample with the latest end so far
        for number in numbers[1:]:
            start, stop = span_of(rows[number])
            end = span_of(rows[latest])[1]
            if start < end or rows[number].group is None:
                yield latest, number
            latest = number if stop > end else latest


def grouped_parts(
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
    given: list[Counter[str]] = [Counter() for _ in shares]
    parts: list[list[Sample]] = [[] for _ in shares]
    wanted = [part for part, share in enumerate(shares) if share > 0]
    for done, unit in enumerate(order):
        counts = Counter(row.label for row in unit)
        empty = [part for part in wanted if not parts[part]]
        open_parts = empty if len(order) - done <= len(empty) else wanted

        def missing(
            part: int, unit: Sequence[Sample] = unit, counts: Counter[str] = counts
        ) -> tuple[float, int]:
            # Rounded exactly, so that ties are ties on all machines.
            lack = [
                count * (shares[part] - given[part][label] / totals[label])
                for label, count in counts.items()
            ]
            lack.append(len(unit) * (shares[part] - len(parts[part]) / totals.total()))
            return fsum(lack), -len(parts[part])

        part = max(open_parts, key=missing)
        given[part] += counts
        parts[part] += unit
    return [sorted(part, key=lambda row: (row.label, place_of(row))) for part in parts]
