"""Many files: which have to be done, their progress, and the messages."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import typer

from dvskit import _interrupt
from dvskit._files import check_parent, not_written, unfinished
from dvskit._progress import Bar
from dvskit.cli import _console
from dvskit.cli._crew import Crew
from dvskit.cli._jobs import JobResult, Work, WorkersGoneError, do_jobs
from dvskit.cli._manifest import Manifest
from dvskit.cli._remote import address_of, check_writable, existing
from dvskit.cli._trees import (
    MANIFEST,
    Failure,
    FileJob,
    Inputs,
    JobPlan,
    find_jobs,
    skipped_note,
)
from dvskit.errors import ConfigError, OutputError, count_of, one_line

_LEFT_OVER_S = 3600.0  # without a change, until an unfinished file counts as abandoned
_AT_LEAST_MB = 100  # of inputs, to show megabytes


class ManyFiles:
    """The files of a command's words, written into a folder.

    inputs   the kind of inputs
    words    files, folders and patterns
    folder   the folder of the outputs
    options  the hash of the command's options
    force    whether existing outputs are replaced
    """

    def __init__(
        self, inputs: Inputs, words: list[str], folder: Path, *, options: str, force: bool
    ) -> None:
        self._inputs, self._words, self._folder = inputs, words, folder
        self._options, self._force = options, force
        self._address = address_of(folder)
        self._plan = JobPlan()
        self._written: list[FileJob] = []
        self._there: list[FileJob] = []
        self._wrong: list[tuple[FileJob, JobResult]] = []
        self._notes: dict[str, list[Path]] = defaultdict(list)  # of finished outputs
        self._announced: set[str] = set()
        self._shares: dict[FileJob, float] = {}
        self._gone = ""  # the reason if all workers are out of reach
        self._done_bytes = 0
        self._scale = 1.0

    def do(self, work: Work, ending: str, crew: Crew) -> None:
        """Do work(job) for each file with a crew's workers, and print the messages.

        Outputs get the suffix `ending`. Raises typer.Exit if some fail and after Ctrl-C, and
        DvskitError if nothing can be done.
        """
        _check_folder(self._folder)
        self._manifest = Manifest(self._folder, self._options)
        self._plan = find_jobs(self._words, self._folder, self._inputs, ending)
        self._keep_manifest()
        todo = self._to_do()
        made = self._make_folders(todo)
        todo = [job for job in todo if self._address or job.out.parent.is_dir()]
        if todo:
            self._manifest.store()  # which checks that it can be
        try:
            whole = not todo or self._work(work, todo, crew)
        finally:
            for folder in reversed(made):
                with suppress(OSError):  # not empty
                    folder.rmdir()
            if todo:
                self._manifest.store()
        self._report()
        if not whole:
            self._stopped()
        self._end()

    def _keep_manifest(self) -> None:
        """Fail the job, if any, that would replace the manifest."""
        for job in self._plan.jobs:
            if job.out.parent == self._folder and job.out.name.casefold() == MANIFEST:
                self._plan.jobs.remove(job)
                reason = f"its output would replace {job.out}, the list of outputs; rename it"
                self._plan.failures.append(Failure(job.file, reason))
                return

    def _to_do(self) -> list[FileJob]:
        """Return the jobs without an output, or all with --force.

        Raises OutputError if an output was made with other options.
        """
        if self._force:
            return self._plan.jobs
        todo: list[FileJob] = []
        found = None if self._address is None else existing(self._address)
        for job in self._plan.jobs:
            there = job.out.is_file() if found is None else job.out in found
            (self._there if there else todo).append(job)
        made_with = {job: self._manifest.made_with(job.out) for job in self._there}
        others = [job for job, options in made_with.items() if options not in (None, self._options)]
        if others:
            raise OutputError(
                f"{others[0].out}: was made with other options ({count_of(len(others), 'file')} "
                f"in {self._folder}); choose another folder, or --force replaces all"
            )
        for count, one, more in (
            (list(made_with.values()).count(None),
             f"is not in {MANIFEST}, so its options are unknown",
             f"are not in {MANIFEST}, so their options are unknown"),
            (sum(_is_older(job.out, job.file) for job in self._there),
             "is older than its input", "are older than their inputs"),
        ):  # fmt: skip
            if count:
                said = f"{count_of(count, 'existing file')} {one if count == 1 else more}"
                _console.note(f"{self._folder}: {said}; --force replaces all")
        return todo

    def _make_folders(self, todo: list[FileJob]) -> list[Path]:
        """Make the folders of the outputs; return the new ones, outer ones first."""
        if self._address is not None:
            return []
        made = [] if self._folder.is_dir() else [self._folder]
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise not_written(self._folder, error) from error
        for folder in dict.fromkeys(job.out.parent for job in todo):
            missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
            try:
                folder.mkdir(parents=True, exist_ok=True)
                made += reversed(missing)
            except OSError as error:
                self._plan.failures += [
                    Failure(job.file, f"{folder}: {error.strerror or error}")
                    for job in todo if job.out.parent == folder
                ]  # fmt: skip
        return made

    def _work(self, work: Work, todo: list[FileJob], crew: Crew) -> bool:
        """Do the jobs; return whether all are done, False if they were stopped."""
        _remove_left_over(todo)
        workers = crew.workers(len(todo))
        total = sum(job.bytes for job in todo) / 1e6
        self._scale, unit = (1e6, "MB") if total >= _AT_LEAST_MB else (1e3, "kB")
        title = f"{' '.join(self._words[:1])}{' ...' * (len(self._words) > 1)} -> {self._folder}"
        with (
            _console.progress(title, total * 1e6 / self._scale, unit) as bar,
            closing(do_jobs(todo, work, workers)) as messages,
        ):
            try:
                for message in messages:
                    if message is None:
                        self._show(bar)
                    else:
                        self._take(*message)
            except WorkersGoneError as error:
                self._gone = one_line(error)
        ended = len(self._written) + len(self._wrong)
        return ended == len(todo) and not any(result.no_room for _, result in self._wrong)

    def _take(self, job: FileJob, what: str, value: Any) -> None:
        if what == "share":
            self._shares[job] = max(value, self._shares.get(job, 0.0))
        elif what == "end":
            self._ended(job, value)
        elif value not in self._announced:
            self._announced.add(value)
            _console.say(value)

    def _ended(self, job: FileJob, result: JobResult) -> None:
        self._shares.pop(job, None)
        if not (result.no_room or result.usage):
            self._manifest.add(job, result)
        self._done_bytes += job.bytes
        if result.reason:
            self._wrong.append((job, result))
        else:
            self._written.append(job)
            for text in result.notes:
                self._notes[text].append(job.out)

    def _show(self, bar: Bar) -> None:
        done = self._done_bytes + sum(job.bytes * got for job, got in self._shares.items())
        ended = len(self._written) + len(self._wrong)
        of = len(self._plan.jobs) - len(self._there)
        failed = f", {len(self._wrong)} failed" if self._wrong else ""
        bar(done / self._scale, f"{ended:,} of {count_of(of, 'file')}{failed}")

    def _report(self) -> None:
        """Print notes, equal ones of several files in one line, and list the failures."""
        if self._plan.others:
            _console.note(skipped_note(self._plan.others, self._inputs))
        place = {job.out: number for number, job in enumerate(self._plan.jobs)}
        # Jobs end in any order; messages are in that of the inputs.
        self._wrong.sort(key=lambda wrong: place[wrong[0].out])
        notes = [(min(files, key=place.__getitem__), text) for text, files in self._notes.items()]
        for first, text in sorted(notes, key=lambda note: place[note[0]]):
            count = len(self._notes[text])
            more = f" and {count - 1:,} more" if count > 1 else ""
            _console.note(f"{first}{more}: {text}")
        reasons = {result.reason for _, result in self._wrong}
        if len(reasons) == 1 and not self._written and all(each.usage for _, each in self._wrong):
            raise ConfigError(reasons.pop())
        for job, result in self._wrong:
            if result.usage:  # not before it is known that the options suit other files
                self._manifest.add(job, result)
            if not result.no_room:
                _console.failed(f"{job.file}: {result.reason}", result.trace)
        for failure in self._plan.failures:
            _console.failed(f"{failure.file}: {failure.reason}")

    def _stopped(self) -> None:
        whole, of = len(self._written) + len(self._there), self._count()
        done = f"{whole:,} of {count_of(of, 'file')} are done"
        said = f"{done}; run the same command again to continue"
        for job, result in self._wrong:
            if result.no_room:
                raise OutputError(f"{job.out}: {result.reason}; {said}")
        if self._gone:
            raise OutputError(f"{self._gone}; {said}")
        _interrupt.advise(said)
        raise KeyboardInterrupt

    def _count(self) -> int:
        failures = {failure.file for failure in self._plan.failures}
        return len({job.file for job in self._plan.jobs} | failures)

    def _end(self) -> None:
        wrong = len(self._plan.failures) + len(self._wrong)
        there = f", {len(self._there):,} skipped as they exist (--force replaces all)"
        said = f"{self._folder}: {count_of(len(self._written), 'file')} written"
        said += there * bool(self._there)
        if wrong:
            _console.tell(f"error: {wrong:,} of {count_of(self._count(), 'file')} failed; {said}")
            raise typer.Exit(1)
        _console.say(said)


def _check_folder(folder: Path) -> None:
    """Raise OutputError unless the folder exists or can be made."""
    address = address_of(folder)
    if address is not None:
        check_writable(address)
        return
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder for several outputs")
    check_parent(folder)


def _is_older(out: Path, file: Path) -> bool:
    try:
        return out.stat().st_mtime_ns < file.stat().st_mtime_ns
    except OSError:
        return False


def _remove_left_over(jobs: list[FileJob]) -> None:
    """Remove unfinished outputs of a killed run; recent ones may belong to a running command."""
    outs = {job.out for job in jobs}
    for folder in {out.parent for out in outs}:
        for path, target in unfinished(folder):
            with suppress(OSError):
                if target in outs and time.time() - path.stat().st_mtime > _LEFT_OVER_S:
                    path.unlink()
                    _console.note(f"{path}: removed; a killed run left it unfinished")
