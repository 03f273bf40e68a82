"""Samples that are not to be parted, and how they are dealt out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import fsum

import numpy as np

from dvskit.datasets.leaks import contents
from dvskit.datasets.samples import Sample


def place_of(sample: Sample) -> tuple[str, tuple[int, int], str]:
    """Return what samples of a class are put in order by: names, not where files lie."""
    return sample.name.rpartition("/")[2], sample.span or (0, 0), sample.name


def units_of(rows: Sequence[Sample]) -> list[list[Sample]]:
    """Return samples in lists that are not to be parted, in order of names.

    Those of one group are one; those without, of one file; and those whose files hold the same.
    """
    parent = list(range(len(rows)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first: dict[tuple[str, str], int] = {}
    for number, (row, content) in enumerate(zip(rows, contents(rows), strict=True)):
        keys = [("content", content)] + ([("group", row.group)] if row.group is not None else [])
        for key in keys:
            parent[root(number)] = root(first.setdefault(key, number))
    found: dict[int, list[Sample]] = defaultdict(list)
    for number, row in enumerate(rows):
        found[root(number)].append(row)
    units = [sorted(unit, key=place_of) for unit in found.values()]
    return sorted(units, key=lambda unit: (place_of(unit[0]), unit[0].label))


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
