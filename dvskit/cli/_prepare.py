"""`dvskit train` on workers: they emulate the clips of a configuration into the cache, before."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from dvskit.cli import _console
from dvskit.cli._crew import NO_OUTPUT, Crew
from dvskit.cli._trees import FileJob
from dvskit.formats.index_cache import cache_folder

if TYPE_CHECKING:
    from dvskit.datasets import Samples
    from dvskit.training import Config


@lru_cache(maxsize=1)
def _emulated(config: str, folder: Path, run: str) -> list[tuple[Samples, int]]:
    """Open the sets of a configuration, once in each process of a run."""
    from dvskit.datasets import Cache
    from dvskit.training.config import config_from
    from dvskit.training.sets import emulated, load_sets

    return emulated(load_sets(config_from(tomllib.loads(config))), Cache(folder))


@dataclass(frozen=True, slots=True)
class _Work:
    config: str
    folder: Path
    run: str = field(default_factory=lambda: uuid4().hex)

    def __call__(self, job: FileJob) -> None:
        samples, number = _emulated(self.config, self.folder, self.run)[job.number]
        samples.events(number)


def emulate_sets(file: Path, config: Config, crew: Crew) -> None:
    """Let a crew emulate the clips of a configuration that the cache does not have.

    A clip that fails is left to the training, which reports it.
    """
    from dvskit._tables import to_toml
    from dvskit.datasets import Cache
    from dvskit.training.config import config_values

    work = _Work(to_toml(config_values(config)), cache_folder().absolute() / "samples")
    cache = Cache(work.folder)
    places = enumerate(_emulated(work.config, work.folder, work.run))
    jobs = [
        FileJob(file, NO_OUTPUT, 0, number)
        for number, (samples, place) in places if not cache.holds(samples, place)
    ]  # fmt: skip
    if jobs:
        with _console.progress("emulating", len(jobs), "clips") as show:
            for done, _ in enumerate(crew.results(work, jobs), 1):
                show(done)
