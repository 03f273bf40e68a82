"""Samples that are not to be parted, and how they are dealt out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import fsum

import numpy as np

from dvskit.datasets.leaks import contents, span_of
from dvskit.datasets.samples import Sample


def place_of(sample: Sample) -> tuple[str, tuple[int, int], str]:
    """Return what samples of a class are put in order by: names, not where files lie."""
    return sample.name.rpartition("/")[2], sample.span or (0, 0), sample.name


def units_of(rows: Sequence[Sample]) -> list[list[Sample]]:
    """Return samples in lists that are not to be parted, in order of names.

    Those of one group are one, and those that share time of one file, under whatever name. Where
    groups are not known, all of a file is one.
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
    """Yield the numbers of samples, two by two, that are not to be parted."""
    of_group: dict[str, int] = {}
    of_content: dict[str, list[int]] = defaultdict(list)
    for number, (row, content) in enumerate(zip(rows, contents(rows), strict=True)):
        of_content[content].append(number)
        if row.group is not None:
            yield of_group.setdefault(row.group, number), number
    for numbers in of_content.values():
        numbers.sort(key=lambda number: span_of(rows[number]))
        latest = numbers[0]  # which ends behind all others so far
        for number in numbers[1:]:
            start, stop = span_of(rows[number])
            end = span_of(rows[latest])[1]
            if start < end or rows[number].group is None:
                yield latest, number
            latest = number if stop > end else latest


def dealt(
    units: Sequence[Sequence[Sample]],
    shares: Sequence[float],
    rng: np.random.Generator,
    *,
    largest_first: bool,
) -> list[list[Sample]]:
    """Return the samples of each part: whole units, drawn in turn, each to where most is missing.

    What is missing of a class is counted in shares of the class, so that rare ones count as much,
    and all samples together count as one class more.
    No part with a share stays empty while there are units.
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
            # Exactly rounded, so that ties are ties on all machines.
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
