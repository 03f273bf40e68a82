"""`dvskit eval` on workers: each measures some of the recordings, and the counts are added."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from dvskit.cli import _console
from dvskit.cli._crew import NO_OUTPUT, Crew
from dvskit.cli._judging import Folder, JudgedInputs, PartName, open_folder
from dvskit.cli._trees import FileJob
from dvskit.errors import ConfigError, FormatError, count_of

if TYPE_CHECKING:
    from dvskit.evaluation.measuring import Findings, Measures

_Given = tuple[str, Path, PartName, JudgedInputs]


@lru_cache(maxsize=1)
def _opened(run: str, given: _Given) -> Folder:
    """Open a folder, once in each process of a run: the files of another run may have changed."""
    return open_folder(*given)


@dataclass(frozen=True, slots=True)
class Part:
    """Measures a batch of recordings, that of a job's number; `given` is for `open_folder`."""

    given: _Given
    measures: Measures
    samples: int = 0
    run: str = field(default_factory=lambda: uuid4().hex)

    def __call__(self, job: FileJob) -> tuple[Findings, dict[int, str]]:
        """Return the measures, and the damage of files so far."""
        from dvskit.evaluation.measuring import measure
        from dvskit.models.inputs import JUDGED_AT_ONCE

        opened = _opened(self.run, self.given)
        found = len(opened.judging.samples)
        if found != self.samples:
            raise FormatError(
                f"{job.file}: a worker found {count_of(found, 'sample')} and the command "
                f"{self.samples:,}; all machines need the same files"
            )
        start = job.number * JUDGED_AT_ONCE  # whole batches, since rounding depends on their size
        part = opened.judging.part(start, start + JUDGED_AT_ONCE)
        return measure(part, self.measures), {} if opened.files is None else opened.files.damage


def measured(opened: Folder, part: Part, crew: Crew) -> Findings:
    """Return the measures of all samples of a folder, taken in this process or by the crew.

    Raises ConfigError for still images on a crew: the draws of one depend on its place in the set.
    """
    from dvskit.evaluation.measuring import measure
    from dvskit.models.inputs import JUDGED_AT_ONCE

    if crew == Crew():
        total, done = sum(map(len, part.measures.corrupt.values())), 0
        with _console.Bars() as bars:

            def show(kind: str) -> None:
                nonlocal done
                done += 1
                bars.show("corrupting", total, "levels", done, kind)

            return measure(opened.judging, part.measures, show)
    if opened.files is None:
        raise ConfigError("--jobs and --cluster are for recordings; leave them out for images")
    samples = len(opened.judging.samples)
    work = Part(part.given, part.measures, samples, part.run)
    jobs = [
        FileJob(part.given[1], NO_OUTPUT, 0, number)
        for number in range(-(-samples // JUDGED_AT_ONCE))
    ]
    parts: list[Findings] = []
    for result in crew.results(work, jobs):
        if result.reason:
            raise (ConfigError if result.usage else FormatError)(result.reason)
        found, damage = result.value
        parts.append(found)
        opened.files.damage.update(damage)
    return sum(parts[1:], parts[0])
