"""A command that is killed at many moments, and the laws for what it leaves."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.numpy import load

from dvskit import _files
from tests.benchmarks.reliability_cases import Case
from tests.benchmarks.reliability_trials import Files, Moment, moments, run, tree

_OLD = b"an older output"
_SHOWN_S = 1.0  # an undisturbed run of a command that shows something until it is interrupted
_AGE_S = 200_000.0  # of what a killed run left, before the next run
_SAME_AGAIN = 2  # runs after kills that left the same
_VARYING = {"seconds", "host"}  # columns of tables


class Campaign:
    """Kills a command, and counts what is found.

    faults  what is wrong, with the moments
    """

    def __init__(self, case: Case, place: Path, rng: random.Random) -> None:
        self.case, self.rng = case, rng
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.folder = place / "trial"
        self._seen: Counter[object] = Counter()

    def run(self, count: int, number: Callable[[], int] = lambda: signal.SIGKILL) -> None:
        """Stop it at `count` moments by the signals that `number` gives."""
        if not self.undisturbed():
            return
        for at, moment in enumerate(moments(count, self.operations, self._seconds, self.rng)):
            old = self._old() if at % 2 else {}
            try:
                self.trial(replace(moment, number=number()), old)
            except TimeoutError as error:
                self.wrong(moment, old, str(error))

    def undisturbed(self) -> bool:
        """Run it twice to its end; return whether it can be stopped at moments."""
        ends = Moment(seconds=_SHOWN_S, number=signal.SIGINT) if self.case.endless else None
        self.begin({})
        first = run(self.case.start, self.case.words, self.folder, ends)
        self._whole = self._visible()
        self.code = 130 if self.case.endless else self.case.code
        if not self.case.outputs and first.code == 1:
            self.code = 1  # such as `dvskit cameras` without access to devices
        if first.code != self.code or not (self._whole or self.case.law == "own"):
            self.faults.append(f"undisturbed: code {first.code}: {first.err.strip()[-500:]}")
            return False
        self.begin({})
        again = run(self.case.start, self.case.words, self.folder, ends)
        self.operations, self._seconds = again.operations, min(first.seconds, again.seconds)
        if self.case.law != "own" and self._normal(self._visible()) != self._normal(self._whole):
            names = _differences(self._normal(self._visible()), self._normal(self._whole))
            self.faults.append(f"undisturbed: two runs differ in {', '.join(names)}")
        return True

    def _old(self) -> Files:
        law = self.case.law
        if law == "file":
            return dict.fromkeys(self.case.outputs, _OLD)
        if law == "folder":
            return dict.fromkeys(self._whole, _OLD)
        return {}

    def trial(self, moment: Moment, old: Files, *, again: bool = True) -> None:
        self.begin(old)
        words = self.case.words + ("--force",) * bool(old)
        ended = run(self.case.start, words, self.folder, moment)
        self.counts["kills" if ended.code == -9 else "ended"] += 1
        if ended.code not in (self.case.code, -9):
            self.wrong(moment, old, f"code {ended.code}: {ended.err.strip()[-300:]}")
        found = tree(self.folder)
        state, left = self.state(found, old), hidden(found, old)
        self.counts[state] += 1
        if state not in ("old", "new", "absent", "partly"):
            self.wrong(moment, old, state)
        if self.case.law not in ("own", "run"):
            unknown = [name for name in left if not self._is_known(name)]
            if unknown:
                self.wrong(moment, old, f"left {', '.join(unknown)}")
        signature = state, frozenset(_shape(name) for name in found), bool(old)
        self._seen[signature] += 1
        if again and (self._seen[signature] <= _SAME_AGAIN or self.case.law in ("own", "run")):
            self._again(moment, old, words)

    def _again(self, moment: Moment, old: Files, words: tuple[str, ...]) -> None:
        """Run the same command again, as if days later."""
        self.counts["runs after"] += 1
        past = time.time() - _AGE_S
        for path in self.folder.rglob("*"):
            if not path.is_symlink():
                os.utime(path, (past, past))
        replaces = self.case.law in ("file", "folder", "store") and words and "--force" not in words
        ended = run(self.case.start, (*words, "--force") if replaces else words, self.folder)
        if self.case.command == "demo" and "exists already" in ended.err:
            return  # each demo makes a new folder
        if ended.code != self.case.code:
            self.wrong(moment, old, f"then code {ended.code}: {ended.err.strip()[-300:]}")
        if self.case.law == "own":
            return
        now, new = self._normal(self._visible()), self._normal(self._whole)
        wrong = [
            name
            for name in _differences(now, new)
            if name != "outs/manifest.csv" or not _lacks_told(now, new, name, ended.err)
        ]
        if wrong:
            self.wrong(moment, old, f"then other {', '.join(wrong)}")
        silent = [name for name in hidden(tree(self.folder), {}) if not _is_told(name, ended.err)]
        if silent:
            self.wrong(moment, old, f"then still {', '.join(silent)}")

    def begin(self, old: Files) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name, data in old.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def _visible(self) -> Files:
        return {name: data for name, data in tree(self.folder).items() if not _is_hidden(name)}

    def state(self, found: Files, old: Files) -> str:
        """Return "old", "new", "absent", for several files also "partly"; else what is wrong."""
        found = {name: data for name, data in found.items() if not _is_hidden(name)}
        if self.case.law in ("own", "run"):
            return "partly" if found else "absent"
        now, new = self._normal(found), self._normal(self._whole)
        if now == new:
            return "new"
        if found == old:
            return "old" if old else "absent"
        if self.case.law == "folder":
            return f"a mixed folder: {', '.join(_differences(now, new))}"
        wrong = [name for name, data in found.items()
                 if data != old.get(name) and not self._is_whole(name, now, new)]  # fmt: skip
        gone = sorted(old.keys() - found.keys())
        return f"damaged {', '.join(wrong)}, gone {', '.join(gone)}" if wrong or gone else "partly"

    def _is_whole(self, name: str, now: dict[str, object], new: dict[str, object]) -> bool:
        if name.endswith("manifest.csv"):
            rows = now[name]
            assert isinstance(rows, tuple)
            return len(set(rows) - set(new.get(name, ()))) <= 1  # the last may be cut
        return name in new and now[name] == new[name]

    def _normal(self, files: Files) -> dict[str, object]:
        return {name: _normal(name, data) for name, data in files.items()}

    def _is_known(self, name: str) -> bool:
        path = self.folder / name
        folders = [each for each in (path, *path.parents) if each != self.folder]
        known = {part for each in folders for part, _ in _files.unfinished(each.parent)}
        return bool(known & set(folders)) or self.case.law == "store"

    def wrong(self, moment: Moment, old: Files, what: str) -> None:
        when = f"operation {moment.operation}" if moment.operation else f"{moment.seconds:.3f} s"
        self.faults.append(f"{when}{' torn' * moment.torn}{', old' * bool(old)}: {what}")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def hidden(found: Files, old: Files) -> list[str]:
    return sorted(name for name in found if _is_hidden(name) and name not in old)


def _lacks_told(now: dict[str, Any], new: dict[str, Any], name: str, text: str) -> bool:
    """Return whether a manifest lacks the outputs that came right before a kill, and this is told.

    An output is renamed before its row is written.
    """
    found, whole = set(now.get(name, ())), set(new[name])
    return found < whole and f"in {Path(name).name}" in text


def _is_told(name: str, text: str) -> bool:
    return any(part in text for part in name.split("/") if part.startswith("."))


def _shape(name: str) -> str:
    return "".join("#" if each in "0123456789abcdef" else each for each in name)


def _normal(name: str, data: bytes) -> object:
    """Return what two undisturbed runs have in common of a file."""
    if name.endswith("checkpoint.safetensors"):  # without the seconds of its history
        return {key: value.tobytes() for key, value in load(data).items()}
    if not name.endswith(("manifest.csv", "log.csv")):
        return data
    rows = list(csv.reader(data.decode("utf-8", "replace").splitlines()))
    keep = [at for at, column in enumerate(rows[0]) if column not in _VARYING] if rows else []
    made = [",".join(row[at] for at in keep if at < len(row)) for row in rows]
    return tuple(sorted(made) if name.endswith("manifest.csv") else made)


def _differences(found: dict[str, object], whole: dict[str, object]) -> list[str]:
    names = found.keys() | whole.keys()
    return sorted(name for name in names if found.get(name) != whole.get(name))
