"""All measures of a judging together: parts of its samples can be measured apart and added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from dvskit.evaluation.corruption import Corrupted, judge_corrupted
from dvskit.evaluation.judging import Judging
from dvskit.evaluation.operations import Operations, operations_of
from dvskit.evaluation.over_time import OverTime, judge_over_time
from dvskit.models.inputs import Overlooked, overlooked_by
from dvskit.models.scores import Result, joined, judge


@dataclass(frozen=True, slots=True)
class Measures:
    """The measures to take besides the accuracy.

    corrupt  the levels of each kind of corruption
    seed     of the corruption
    """

    over_time: bool = False
    operations: bool = False
    corrupt: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """The measures of some samples; a sum is that of the samples of both, to equal counts."""

    result: Result
    overlooked: Overlooked | None
    over_time: OverTime | None
    operations: Operations | None
    corrupted: tuple[Corrupted, ...]

    def __add__(self, other: Findings) -> Findings:
        pairs = zip(self.corrupted, other.corrupted, strict=True)
        return Findings(
            joined((self.result, other.result)),
            self.overlooked and other.overlooked and self.overlooked + other.overlooked,
            self.over_time and other.over_time and replace(
                self.over_time, results=_each(self.over_time.results, other.over_time.results)
            ),
            self.operations and other.operations and self.operations + other.operations,
            tuple(replace(one, results=_each(one.results, more.results)) for one, more in pairs),
        )  # fmt: skip


def _each(some: tuple[Result, ...], others: tuple[Result, ...]) -> tuple[Result, ...]:
    return tuple(map(joined, zip(some, others, strict=True)))


def measure(
    judging: Judging, measures: Measures, show: Callable[[str], object] = lambda kind: None
) -> Findings:
    """Return the measures of an opened judging; `show` is called after each level of a corruption.

    Raises the errors of each measure.
    """
    batches = judging.batches()
    result = judge(judging.model.module, batches)
    over_time = judge_over_time(judging) if measures.over_time else None
    operations = operations_of(judging) if measures.operations else None
    corrupted = []
    for kind, levels in measures.corrupt.items():
        results = []
        for each in judge_corrupted(judging, kind, levels, measures.seed):
            results.append(each)
            show(kind)
        corrupted.append(Corrupted(kind, levels, tuple(results), measures.seed))
    return Findings(result, overlooked_by(batches), over_time, operations, tuple(corrupted))
