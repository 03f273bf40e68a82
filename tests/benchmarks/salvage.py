"""What salvage makes of damaged files: the share of true events kept, and wrong events.

    python -m tests.benchmarks.salvage                    # 500 mutations of each sample
    python -m tests.benchmarks.salvage hdf5 npy --count 100

A sample of `tests/mutation_samples.py` is mutated (bits flipped, bytes cut out, spans overwritten)
and read with strict=False. An event is true if the sound file has it. Columns of the table:

kept      the share of true events in all readings, in percent
refused   files refused with an error of one line
silent    wrong events of files for which no damage is announced, and the number of these files
told      wrong events of files whose damage is announced
crashed   files at which the process died, took over 30 s, or raised anything but a DvskitError

A flipped bit of a file without checksums may give another possible event, which nothing can detect.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import dvskit
from dvskit.errors import DvskitError
from tests import mutation_kinds
from tests.mutation_judge import compare, with_steps
from tests.mutation_samples import SAMPLES, Sample

_EDITS = ("cut_end", "cut_middle", "flip_many", "flip_one", "noise", "ones", "zeros")
_LIMIT_S = 30.0

Rows = NDArray[np.int64]


class Outcome(NamedTuple):
    """The reading of one mutated file."""

    kept: int
    wrong: int
    announced: bool
    refused: bool = False


def _rows(recording: dvskit.formats.Recording, sample: Sample) -> Rows:
    events = recording.load()
    rows = np.stack([getattr(events, name).astype(np.int64) for name in "txyp"], axis=1)
    return with_steps(rows) if sample.steps else rows


def _read(path: Path, sample: Sample, original: Rows) -> Outcome:
    try:
        recording = dvskit.open_events(path, format=sample.format, strict=False)
        got = _rows(recording, sample)
    except DvskitError:
        return Outcome(0, 0, announced=True, refused=True)
    wrong, _ = compare(original, got, np.zeros(len(original), np.bool_))
    noted = any("left out" in note for note in recording.assumptions)
    return Outcome(len(got) - wrong, wrong, announced=bool(recording.damage) or noted)


def _mutated(data: bytes, number: int) -> bytes:
    rng, draft = Random(number), mutation_kinds.Draft(data)
    mutation_kinds.KINDS[_EDITS[number % len(_EDITS)]](draft, rng)
    return draft.finish("").data


class _Reader:
    """A process that reads files; another takes its place if it dies."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def read(self, path: Path, sample: Sample, original: Rows) -> Outcome | None:
        """Return what is read; None if the process dies, or takes too long."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, get_context("fork"))
        pending: Future[Outcome] = self._pool.submit(_read, path, sample, original)
        try:
            return pending.result(_LIMIT_S)
        except BrokenProcessPool:
            self._pool = None
        except TimeoutError:
            for process in list(self._pool._processes.values()):
                process.kill()
            self._pool = None
        except Exception as error:
            print(f"{sample.name}: {type(error).__name__}: {error}", flush=True)
        return None

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def _line(sample: Sample, count: int, folder: Path, reader: _Reader) -> str:
    data, path = sample.make(), folder / "a"
    path.write_bytes(data)
    original = _rows(dvskit.open_events(path, format=sample.format), sample)
    sums: Counter[str] = Counter()
    for number in range(count):
        path.write_bytes(_mutated(data, number))
        found = reader.read(path, sample, original)
        if found is None:
            sums["crashed"] += 1
            continue
        sums["kept"] += found.kept
        sums["refused"] += found.refused
        sums["told" if found.announced else "silent"] += found.wrong
        sums["files"] += bool(found.wrong and not found.announced)
    kept = 100 * sums["kept"] / (count * len(original))
    return (
        f"| {sample.name:14} | {kept:5.1f} | {sums['refused']:4} | {sums['silent']:6} in "
        f"{sums['files']:3} | {sums['told']:7} | {sums['crashed']:3} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="samples or formats; all without")
    parser.add_argument("--count", type=int, default=500)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| sample | kept, % | refused | silent | told | crashed |\n|---|---|---|---|---|---|")
    reader = _Reader()
    with tempfile.TemporaryDirectory() as folder:
        for sample in SAMPLES:
            wanted = not asked.names or sample.name in asked.names or sample.format in asked.names
            if wanted and sample.stream == "events":
                print(_line(sample, asked.count, Path(folder), reader), flush=True)
    reader.close()


if __name__ == "__main__":
    main()
