"""What reading makes of mutated files of a kind in tests/mutation_parsers.py.

foreign   any exception but a DvskitError, a warning, or an error of more than one line
silent    of files with checksums: another value than that of the sound files, and nothing said

Files without checksums hold other values after many mutations, which nothing can notice: these are
counted in `Verdict.false`.
"""

from __future__ import annotations

import shutil
import time
import traceback
from itertools import chain
from pathlib import Path

from dvskit.errors import DvskitError
from tests.mutation_judge import Verdict, last_lines
from tests.mutation_kinds import KINDS, mutate
from tests.mutation_parsers import Parser
from tests.mutation_text import mutate_text


class ParserBench:
    """Sound files, their value, and what mutations of one of them at a time give."""

    def __init__(self, parser: Parser, folder: Path) -> None:
        self._parser, work = parser, folder / parser.name
        shutil.rmtree(work, ignore_errors=True)  # of a child that died
        work.mkdir()
        self._path = parser.make(work)
        self._sound = parser.read(self._path)
        if self._sound != parser.read(self._path):
            raise ValueError(f"{parser.name}: two readings of the sound files differ")
        patterns = parser.targets
        found = chain.from_iterable(map(self._path.glob, patterns)) if patterns else [self._path]
        self._targets = [(path, path.read_bytes()) for path in sorted(found)]

    def judge(self, number: int, *, keep: Path | None = None) -> Verdict:
        """Judge mutation `number`; the files take turns. `keep` gets the mutated file."""
        target, data = self._targets[number % len(self._targets)]
        number_there = number // len(self._targets)
        kind = "text" if self._parser.text else list(KINDS)[number_there % len(KINDS)]
        mutated = mutate_text if self._parser.text else lambda *given: mutate(*given).data
        target.write_bytes(mutated(data, number_there))
        verdict, begun = Verdict(number, kind), time.perf_counter()
        try:
            self._read(verdict)
        finally:
            verdict.seconds = time.perf_counter() - begun
            if keep is not None:
                shutil.copyfile(target, keep)
            target.write_bytes(data)
        return verdict

    def _read(self, verdict: Verdict) -> None:
        try:
            value, said = self._parser.read(self._path)
        except DvskitError as error:
            verdict.story = f"{type(error).__name__}: {error}"
            if "\n" in str(error):
                verdict.faults.append(("foreign", f"of more than one line: {str(error)[:200]!r}"))
            return
        except BaseException:
            verdict.faults.append(("foreign", last_lines(traceback.format_exc())))
            return
        same = (value, said) == self._sound
        verdict.story = said or ("the same value" if same else "another value")
        if value != self._sound[0] and said == self._sound[1]:
            verdict.false = 1
            if self._parser.checked:
                verdict.faults.append(("silent", "another value, and nothing said"))
