"""Many inputs of a command: --jobs and --cluster, the files to do, and the list of those done.

paths = Paths.from_words(words, out, RECORDINGS, camera=None, usage="name a recording")
write_events(_convert, paths, crew, {"to": to, "force": force})   # _convert(file, out, **options)
"""

from __future__ import annotations

import csv
import errno
import io
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import typer

from dvskit import _interrupt
from dvskit._files import check_parent, unfinished
from dvskit._progress import Bar
from dvskit._threads import thread_count
from dvskit.cli import _console, _remote
from dvskit.cli._clips import forget_clips
from dvskit.cli._inputs import MANIFEST, Failure, FileJob, Paths, find_jobs
from dvskit.cli._options import as_usage, option
from dvskit.cli._remote import Staging, address_of
from dvskit.cli._workers import (
    Cluster,
    JobResult,
    Processes,
    Work,
    WorkersGoneError,
    do_jobs,
    unnamed,
)
from dvskit.errors import ConfigError, DvskitError, OutputError, count_of, one_line
from dvskit.formats.for_writing import format_for_writing
from dvskit.formats.table import named_format

NO_OUTPUT = Path(os.devnull)  # of a job that returns a value
_LEFT_OVER_S = 3600.0  # without a change, until an unfinished file counts as abandoned
_AT_LEAST_MB = 100  # of inputs, to show megabytes
_COLUMNS = ("file", "input", "options", "events", "seconds", "host", "error")
_STORE_S = 10.0  # between stores at an address
_LINES = str.maketrans({"\n": "\\n", "\r": "\\r"})  # a row is one line, so that a cut one is found
_HELP = """
    For many inputs the tree of folders is kept. Existing outputs are skipped if they were made
    with the same options, and an error if not; --force replaces all. The output folder's
    manifest.csv lists each file with its options, events, seconds, machine and error. Failures
    are listed at the end. After Ctrl-C only complete files are left. The same command continues,
    and tries failed files again. Inputs and outputs may be addresses: s3://, gs://, https://.
"""

OUTPUT = "The output, instead of the last argument; for several inputs, the folder to write into."
Command = TypeVar("Command", bound=Callable[..., None])
Options = dict[str, Any]
One = Callable[..., int | None]
"""Makes an output of an input: one(file, out, **options), of which `force` is one.

It returns the number of events read or written, if known. A worker imports it by name.
"""


def suffix_option(suffixes: tuple[str, ...]) -> Any:
    """Return the option --to of commands whose outputs are no events; see `write_pictures`."""
    words = f"For many inputs: the outputs' suffix: {_listed(suffixes)}."
    return option(words, "--to", shown=suffixes[0][1:])


def _listed(suffixes: tuple[str, ...]) -> str:
    return ", ".join(each[1:] for each in suffixes)


def on_many(command: Command) -> Command:
    """Add the words about many inputs to the help of a command."""
    command.__doc__ = f"{command.__doc__}\n{_HELP}"
    return command


@dataclass(frozen=True, slots=True)
class Crew:
    """How many inputs are processed at a time, and where.

    jobs     For many inputs: how many are processed at a time; each needs its own memory.
    cluster  For many inputs: the Dask scheduler of the machines that process them, such as
             tcp://host:8786. All need the same folders at the same paths.
    """

    jobs: int | None = option(
        min=1, shown="one a processor; of classify, eval and train one, in this process"
    )
    cluster: str | None = option(metavar="ADDRESS", shown="this machine")

    def check_one(self, fix: str) -> None:
        """Raise ConfigError, with the fix, if one input is not for this crew."""
        if self.cluster is not None:
            raise ConfigError(f"--cluster is for many inputs; {fix}")

    def workers(self, jobs: int) -> Processes | Cluster:
        """Return the workers for a number of jobs. Raises as `Cluster` does."""
        if self.cluster is not None:
            return Cluster(self.cluster, self.jobs)
        processors = thread_count()
        processes = min(self.jobs or processors, jobs)
        return Processes(processes, max(1, processors // processes))

    def results(self, work: Work, jobs: Sequence[FileJob]) -> Iterator[JobResult]:
        """Yield the results of jobs in their order; without the options, of this process.

        Jobs differ by their numbers. Raises as `workers` does, WorkersGoneError, OutputError for a
        full disk, and KeyboardInterrupt after Ctrl-C.
        """
        if self == Crew():
            yield from (_done_here(work, job) for job in jobs)
            return
        ended: dict[FileJob, JobResult] = {}
        waited = iter(jobs)
        job = next(waited, None)
        with closing(do_jobs(jobs, work, self.workers(len(jobs)))) as messages:
            for of, said in filter(None, messages):
                if isinstance(said, JobResult):
                    if said.no_room:
                        raise OutputError(f"{of.file}: {said.reason}")
                    ended[of] = said
                    while job in ended:
                        yield ended.pop(job)
                        job = next(waited, None)
        if job is not None:
            raise KeyboardInterrupt


def _done_here(work: Work, job: FileJob) -> JobResult:
    try:
        return JobResult(value=work(job))
    except DvskitError as error:
        return JobResult(unnamed(job, one_line(error)), isinstance(error, ConfigError))


@dataclass(frozen=True, slots=True)
class Prepared:
    """Does jobs with what `prepare` returns, which each process of a run calls once.

    The processes of a cluster live longer than a run, and files may change between two runs.
    """

    prepare: Callable[[], Any]
    work: Callable[[Any, FileJob], Any]
    run: str = field(default_factory=lambda: uuid4().hex)

    def __call__(self, job: FileJob) -> Any:
        """Return work(prepared, job)."""
        return self.work(self.prepared(), job)

    def prepared(self) -> Any:
        """Return what is prepared in this process."""
        if self.run not in _prepared:
            _prepared.clear()
            _prepared[self.run] = self.prepare()
        return _prepared[self.run]


_prepared: dict[str, Any] = {}  # of the latest run in this process


# --- one input or many ----------------------------------------------------------------------------


def write_events(
    one: One, paths: Paths, crew: Crew, options: Options, *, usual: str = "",
    of_many: One | None = None,
) -> None:  # fmt: skip
    """Write events of one input, or of many.

    options  by name, with `to`, the format, and `force`
    usual    the suffix of the outputs of many without --to; empty if it is required
    of_many  takes the place of `one` for many inputs
    """
    if paths.is_one():
        run_one(one, paths, crew, options)
        return
    ending, to = _events_suffix(options["to"], usual)
    _run_many(of_many or one, paths, crew, options | {"to": to}, ending)


def write_pictures(
    one: One, paths: Paths, crew: Crew, options: Options, *, to: str | None,
    suffixes: tuple[str, ...], single: str,
) -> None:  # fmt: skip
    """Write pictures of one input, also into a folder, or of many.

    to        the suffix of the outputs of many inputs, one of `suffixes`; by default the first
    single    an option for one input only
    """
    if paths.is_one(folder=to is None):
        if to is not None:
            raise ConfigError("--to is for many inputs; the suffix of -o sets the kind of one")
        run_one(one, paths, crew, options)
        return
    _console.refuse((single,), "for one input; leave it out for several")
    suffix = suffixes[0] if to is None else f".{to.lower().removeprefix('.')}"
    if suffix not in suffixes:
        raise ConfigError(f"--to {to}: for several inputs, name one of {_listed(suffixes)}")
    _run_many(one, paths, crew, options, suffix)


def run_one(one: One, paths: Paths, crew: Crew, options: Options) -> None:
    """Make the output of one input. Raises ConfigError for --cluster, and a folder elsewhere."""
    crew.check_one("name a folder for the outputs, with -o")
    if paths.out.endswith("/") and address_of(paths.out):
        raise ConfigError(f"{paths.out}: no folder of one input can be written there; name a file")
    with Staging() as staging:
        out = staging.output(Path(paths.out), force=options["force"])
        file = staging.inputs(Path(paths.inputs[0])) if paths.inputs else None
        one(file, out, **options)


def _events_suffix(to: str | None, usual: str) -> tuple[str, str | None]:
    """Return the suffix of outputs, and the format; --to may give either. Raises ConfigError."""
    if to is None:
        if not usual:
            raise ConfigError("name the output format with --to, such as --to aedat4")
        return usual, None
    if to.startswith("."):
        return to, None
    with as_usage("--to"):
        row = named_format(to, "w")[0]
        if "w" not in row.can:
            format_for_writing("x", to)  # raises the error
    return row.suffixes[0], to


@dataclass(frozen=True, slots=True)
class _OneOfMany:
    """Makes the output of a job."""

    one: One
    options: Options

    def __call__(self, job: FileJob) -> int | None:
        # The run may replace every output: a new one is of a lost worker that did the same job.
        with Staging() as staging:
            out, file = staging.output(job.out, force=True), staging.inputs(job.file)
            try:
                return self.one(file, out, **self.options, force=True)
            finally:
                forget_clips()


# --- many files -----------------------------------------------------------------------------------


def _run_many(one: One, paths: Paths, crew: Crew, options: Options, ending: str) -> None:
    """Make the outputs of many inputs, and print the messages.

    Raises typer.Exit if some fail and after Ctrl-C, and DvskitError if nothing can be done.
    """
    force, folder = options["force"], Path(paths.out)
    rest = {name: value for name, value in options.items() if name != "force"}
    _check_folder(folder)
    manifest = Manifest(folder, options_hash(f"{one.__module__}.{one.__qualname__}", rest))
    plan = find_jobs(paths.inputs, folder, paths.kind, ending)
    run = _Run(paths, folder, plan.jobs, plan.failures, manifest)
    todo = plan.jobs if force else run.without_outputs()
    made = run.make_folders(todo)
    todo = [job for job in todo if run.address or job.out.parent.is_dir()]
    if todo:
        manifest.store()  # which checks that it can be
    try:
        if todo:
            run.do(_OneOfMany(one, rest), todo, crew)
    finally:
        for each in reversed(made):
            with suppress(OSError):  # not empty
                each.rmdir()
        if todo:
            manifest.store()
    if plan.others:
        _console.note(plan.skipped())
    run.report()


class _Run:
    """A run over many files, and what became of them."""

    def __init__(
        self, paths: Paths, folder: Path, jobs: list[FileJob], failures: list[Failure],
        manifest: Manifest,
    ) -> None:  # fmt: skip
        self.paths, self.folder, self.address = paths, folder, address_of(folder)
        self.jobs, self.failures, self.manifest = jobs, failures, manifest
        self.there: list[FileJob] = []
        self.ended: dict[FileJob, JobResult] = {}
        self.shares: dict[FileJob, float] = {}  # of running jobs
        self.ended_bytes = self.failed = 0
        self.stopped = False
        self.gone = ""  # the reason if all workers are out of reach

    def without_outputs(self) -> list[FileJob]:
        """Return the jobs that have no output. Raises OutputError for one of other options."""
        found = None if self.address is None else _remote.existing(self.address)
        self.there = [
            job for job in self.jobs
            if (job.out.is_file() if found is None else job.out in found)
        ]  # fmt: skip
        made_with = [self.manifest.made_with(job.out) for job in self.there]
        others = [
            job.out for job, options in zip(self.there, made_with, strict=True)
            if options not in (None, self.manifest.options)
        ]  # fmt: skip
        if others:
            raise OutputError(
                f"{others[0]}: was made with other options ({count_of(len(others), 'file')} in "
                f"{self.folder}); choose another folder, or --force replaces all"
            )
        older = sum(_is_older(job.out, job.file) for job in self.there)
        for count, words in (
            (made_with.count(None), f"not in {MANIFEST}, so of unknown options"),
            (older, "older than the input"),
        ):
            if count:
                said = f"{count_of(count, 'existing file')} {words}"
                _console.note(f"{self.folder}: {said}; --force replaces all")
        there = set(self.there)
        return [job for job in self.jobs if job not in there]

    def make_folders(self, todo: list[FileJob]) -> list[Path]:
        """Make the folders of the outputs; return the new ones, outer ones first."""
        if self.address is not None:
            return []
        made: list[Path] = []
        for folder in dict.fromkeys(job.out.parent for job in todo):
            missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
            try:
                folder.mkdir(parents=True, exist_ok=True)
                made += reversed(missing)
            except OSError as error:
                why = f"{folder}: {error.strerror or error}"
                self.failures += [
                    Failure(job.file, why) for job in todo if job.out.parent == folder
                ]
        return made

    def do(self, work: Work, todo: list[FileJob], crew: Crew) -> None:
        """Do the jobs, with a bar of their bytes."""
        _remove_left_over(todo)
        total = sum(job.bytes for job in todo)
        scale, unit = (1e6, "MB") if total >= _AT_LEAST_MB * 1e6 else (1e3, "kB")
        words = self.paths.inputs
        title = f"{words[0]}{' ...' * (len(words) > 1)} -> {self.folder}"
        with (
            _console.progress(title, total / scale, unit) as bar,
            closing(do_jobs(todo, work, crew.workers(len(todo)))) as messages,
        ):
            try:
                for message in messages:
                    if message is None:
                        self._show(bar, scale, len(todo))
                    elif isinstance(message[1], JobResult):
                        self._end(message[0], message[1])
                    elif isinstance(message[1], float):
                        before = self.shares.get(message[0], 0.0)
                        self.shares[message[0]] = max(message[1], before)
            except WorkersGoneError as error:
                self.gone = one_line(error)
        self.stopped = len(self.ended) < len(todo) or any(
            result.no_room for result in self.ended.values()
        )

    def _end(self, job: FileJob, result: JobResult) -> None:
        self.shares.pop(job, None)
        self.ended[job] = result
        self.ended_bytes += job.bytes
        self.failed += bool(result.reason)
        if not (result.no_room or result.usage):
            self.manifest.add(job, result)

    def _show(self, bar: Bar, scale: float, count: int) -> None:
        done = self.ended_bytes + sum(job.bytes * share for job, share in self.shares.items())
        failed = f", {self.failed} failed" if self.failed else ""
        bar(done / scale, f"{len(self.ended):,} of {count_of(count, 'file')}{failed}")

    def report(self) -> None:
        """Print notes, equal ones of several files in one line, and list the failures.

        Jobs end in any order; messages are in that of the inputs. Raises typer.Exit if some failed,
        and the error or interrupt that stopped the run.
        """
        results = [(job, self.ended[job]) for job in self.jobs if job in self.ended]
        wrong = [(job, result) for job, result in results if result.reason]
        written = len(results) - len(wrong)
        notes: dict[str, list[Path]] = defaultdict(list)
        for job, result in results:
            for said in result.notes if not result.reason else ():
                notes[str(said)].append(job.out)
        for said, (first, *more) in notes.items():
            others = f" and {len(more):,} more" if more else ""
            _console.note(f"{first}{others}: {said}")
        reasons = {result.reason for _, result in wrong}
        if len(reasons) == 1 and not written and all(result.usage for _, result in wrong):
            raise ConfigError(reasons.pop())
        for job, result in wrong:
            if result.usage:  # not before it is known that the options suit other files
                self.manifest.add(job, result)
            if not result.no_room:
                _console.failed(f"{job.file}: {result.reason}", result.trace)
        for failure in self.failures:
            _console.failed(f"{failure.file}: {failure.reason}")
        files = {failure.file for failure in self.failures} | {job.file for job in self.jobs}
        if self.stopped:
            self._stop(f"{written + len(self.there):,} of {count_of(len(files), 'file')} are done")
        there = f", {len(self.there):,} skipped as they exist (--force replaces all)"
        said = f"{self.folder}: {count_of(written, 'file')} written{there * bool(self.there)}"
        failed = len(wrong) + len(self.failures)
        if failed:
            _console.tell(f"error: {failed:,} of {count_of(len(files), 'file')} failed; {said}")
            raise typer.Exit(1)
        _console.say(said)

    def _stop(self, done: str) -> None:
        said = f"{done}; run the same command again to continue"
        for job, result in self.ended.items():
            if result.no_room:
                raise OutputError(f"{job.out}: {result.reason}; {said}")
        if self.gone:
            raise OutputError(f"{self.gone}; {said}")
        _interrupt.advise(said)
        raise KeyboardInterrupt


def _check_folder(folder: Path) -> None:
    """Raise OutputError unless the folder exists or can be made."""
    address = address_of(folder)
    if address is not None:
        _remote.check_writable(address)
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


# --- manifest.csv, the list of the outputs in a folder --------------------------------------------


def options_hash(command: str, options: Mapping[str, Any]) -> str:
    """Return the hash of a command's options, and of the content of files that they name."""
    import hashlib  # here because OpenSSL loads slowly

    digest = hashlib.sha256(command.encode())
    for name, value in sorted(_flat(options)):
        digest.update(f"\n{name}={value!r}".encode(errors="surrogatepass"))
        if isinstance(value, str | Path) and Path(value).suffix and Path(value).is_file():
            digest.update(Path(value).read_bytes())
    return digest.hexdigest()[:16]


def _flat(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the options, in place of dataclasses those in their fields."""
    for name, value in options.items():
        if is_dataclass(value):
            yield from _flat({each.name: getattr(value, each.name) for each in fields(value)})
        else:
            yield name, value


class Manifest:
    """The manifest of a folder, for jobs with options of one hash: a row a job.

    The last row of a file counts; one without an error gives the options that made the file. A row
    is appended by one write, and a row that a killed run has cut is removed. At an address, which
    cannot be appended to, the file is replaced every ten seconds and by `store`. Raises OutputError
    for another file of this name.
    """

    def __init__(self, folder: Path, options: str) -> None:
        self.options = options
        self._folder, self._path = folder, folder / MANIFEST
        self._made_with: dict[str, str] = {}
        self._address, self._stored_s = address_of(self._path), time.monotonic()
        self._rows = b""  # at an address
        self._read()

    def store(self) -> None:
        """Store the rows at an address. Raises OutputError."""
        if self._address is not None:
            _remote.store(self._rows or _HEADER, self._address)
            self._stored_s = time.monotonic()

    def made_with(self, out: Path) -> str | None:
        """Return the hash of the options that made an output; None if it is not listed."""
        return self._made_with.get(self._name(out))

    def add(self, job: FileJob, result: JobResult) -> None:
        """Append the end of a job. Raises OutputError."""
        events = "" if result.value is None else result.value
        file_in = _console.shown(str(job.file))
        row = (self._name(job.out), file_in, self.options, events, f"{result.seconds:.3f}",
               result.host, result.reason)  # fmt: skip
        if self._address is not None:
            self._rows = (self._rows or _HEADER) + _line(row)
            if time.monotonic() - self._stored_s > _STORE_S:
                self.store()
            return
        try:
            with self._path.open("ab", buffering=0) as file:
                lines = (b"" if file.tell() else _HEADER) + _line(row)
                if file.write(lines) < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._failed(error) from error

    def _name(self, out: Path) -> str:
        return out.relative_to(self._folder).as_posix().translate(_LINES)

    def _read(self) -> None:
        try:
            if self._address is not None:
                data = _remote.read(self._address)
            else:
                data = self._path.read_bytes() if self._path.exists() else b""
            if not (data.startswith(_HEADER) or _HEADER.startswith(data)):
                raise OutputError(
                    f"{self._path}: is not a list of files that dvskit wrote; move it, or choose "
                    "another folder"
                )
            whole = data[: data.rfind(b"\n") + 1]
            self._rows = whole
            if whole != data and self._address is None:
                os.truncate(self._path, len(whole))
        except OSError as error:
            raise self._failed(error) from error
        for line in whole.decode("utf-8", "surrogateescape").split("\n")[1:]:
            with suppress(csv.Error):  # a damaged row lists nothing
                for row in csv.reader([line]):
                    if len(row) == len(_COLUMNS) and not row[-1]:
                        self._made_with[row[0]] = row[2]

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path}: {error.strerror or error}; run the same command again to continue"
        )


def _line(cells: tuple[object, ...]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow([str(cell).translate(_LINES) for cell in cells])
    return text.getvalue().encode("utf-8", "surrogateescape")


_HEADER = _line(_COLUMNS)
