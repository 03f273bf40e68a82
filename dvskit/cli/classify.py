"""`dvskit classify`: the classes of recordings and still images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from dvskit.cli import _console
from dvskit.cli._crew import NO_OUTPUT, Crew
from dvskit.cli._judging import fits_noted, say_passed_over
from dvskit.cli._live import Living, classify_live
from dvskit.cli._live_stream import live_source
from dvskit.cli._options import Json, ModelOption, Reading, Spikes, argument
from dvskit.cli._remote import address_of, listed, staged
from dvskit.cli._trees import FileJob
from dvskit.errors import (
    ConfigError,
    DvskitError,
    FittedWarning,
    FormatError,
    count_of,
    one_line,
)
from dvskit.formats import is_standard
from dvskit.formats.addresses import ADDRESSES, scheme_of
from dvskit.formats.found import (
    CLIPS,
    PathKind,
    find_recordings,
    identify,
    identify_named,
    readable_suffixes,
)
from dvskit.formats.table import CLIP_SUFFIXES

if TYPE_CHECKING:
    from dvskit.evaluation import Classified
    from dvskit.models import Model


@fits_noted()
def classify(
    files: list[Path] | None = argument(
        "Event files, videos, depth clips, folders of them, images, - for standard input, or "
        f"an address ({ADDRESSES}). With --live: one recording or video."
    ),
    *,
    model: ModelOption,
    living: Living = Living(),
    json: Json = False,
    reading: Reading = Reading(),
    spikes: Spikes = Spikes(),
    crew: Crew = Crew(),
) -> None:
    """Classify recordings, videos, depth clips and images, and show the model's confidence.

    A recording is cut into windows of the model's length; the mean over the windows decides.
    Videos and depth clips are emulated first, with the settings the model was trained with.
    Several recordings give a table, or with --json an array in place of an object; --jobs and
    --cluster share them, and do not change the output.
    An image is centred in the model's input and encoded as spikes.

    With --live the model decides after each bin, on the window that ends with it. The answer is
    "nothing" if the model is not sure or nothing moves.
    """
    reading.check()
    files = files or []
    living.check()
    if living.live:
        _check_live(spikes, crew)
        source = live_source(files, living.cameras, reading)
        classify_live(source, living.start(_load(model)), reading, as_json=json)
        return
    if not files:
        raise ConfigError("name recordings or images to classify; or --live and a source")
    recordings = _recordings(files)
    _check_options(recordings, reading, spikes)
    if recordings == files[:1]:
        crew.check_one("name several recordings, or a folder")
        found = _Judge(_load(model), reading, spikes).fetched(files[0])
        _say_unlooked(str(files[0]), found.unlooked)
        _say_unlike(files[0], found)
        if json:
            _console.print_json(_values(files[0], found))
        else:
            _print_one(found)
        return
    _judge_all(_Work(model, reading, spikes), recordings, crew, json)


def _check_live(spikes: Spikes, crew: Crew) -> None:
    """Raise ConfigError for options that --live has not."""
    if crew != Crew():
        raise ConfigError("--jobs and --cluster are for many files; leave them out with --live")
    if spikes != Spikes():
        raise ConfigError(
            "--encoder and --seed apply to still images only; leave them out with --live"
        )


def _is_image(file: Path) -> bool:
    return identify(file) is PathKind.IMAGE and file.is_file()


def _check_options(files: list[Path], reading: Reading, spikes: Spikes) -> None:
    """Raise ConfigError for options of recordings with only images, and the other way round."""
    images = [file for file in files if _is_image(file)]
    if len(images) == len(files):
        reading.refuse_for_images(files[0])
    if not images and spikes != Spikes():
        raise ConfigError("--encoder and --seed apply to still images only; leave them out")


def _load(model: str) -> Model:
    from dvskit.models import load_model

    return load_model(model)


@lru_cache(maxsize=1)
def _loaded(model: str, run: str) -> Model:
    """Load a model, once in each process of a run: the files of another run may have changed."""
    return _load(model)


class _Judged(NamedTuple):
    """What a worker returns: the decisions, or the error; notes, and arguments of showwarning."""

    found: Classified | None
    said: tuple[str | tuple[Warning | str, type[Warning], str, int], ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Work:
    """Judges the file of a job, and keeps the messages for the command."""

    model: str
    reading: Reading
    spikes: Spikes
    run: str = field(default_factory=lambda: uuid4().hex)

    def __call__(self, job: FileJob) -> _Judged:
        said: list[Any] = []
        judge = _Judge(
            _loaded(self.model, self.run), self.reading, self.spikes,
            lambda text: said.append(_console.shown(text)),
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("always", FittedWarning)
            warnings.showwarning = lambda *given: said.append(given[:4])
            try:
                return _Judged(judge.fetched(job.file), tuple(said))
            except DvskitError as error:
                return _Judged(None, tuple(said), _console.shown(one_line(error)))
            finally:
                _console.stand_ins.clear()


def _check_crew(crew: Crew, files: list[Path]) -> None:
    """Raise ConfigError if other processes cannot read a file."""
    live = [file for file in files if is_standard(file) or scheme_of(file)]
    if crew != Crew() and live:
        raise ConfigError(f"{live[0]}: cannot be mixed with files; give it alone")


def _judge_all(work: _Work, recordings: list[Path], crew: Crew, json: bool) -> None:
    """Judge several recordings. Raises FormatError, after the others, if some cannot be judged."""
    _check_crew(crew, recordings)
    model = _loaded(work.model, work.run)
    jobs = [FileJob(file, NO_OUTPUT, 0, number) for number, file in enumerate(recordings)]
    results = crew.results(work, jobs)
    table = None if json else _Table(recordings, model)
    judged: list[dict[str, Any]] = []
    unlooked = failed = 0
    for file, result in zip(recordings, results, strict=True):
        found, said, why = result.value or _Judged(None, (), f"{file}: {result.reason}")
        for text in said:
            if isinstance(text, str):
                _console.note(text)
            else:
                warnings.showwarning(*text)
        if found is None:
            failed += 1
            judged.append({"file": _console.shown(str(file)), "error": why})
            _console.note(why)
            continue
        unlooked += found.unlooked
        judged.append(_values(file, found))
        _say_unlike(file, found)
        if table is not None:
            table.print(file, found)
    if json:
        _console.print_json(judged)
    _say_unlooked(count_of(len(recordings), "recording"), unlooked)
    if failed:
        raise FormatError(
            f"{failed} of {count_of(len(recordings), 'recording')} could not be "
            "classified: see above"
        )


def _say_unlooked(what: str, count: int) -> None:
    if count:
        _console.note(f"{what}: not used: {count_of(count, 'event')} after the last whole window")


def _say_unlike(file: Path, found: Classified) -> None:
    if found.unlike:
        _console.note(
            f"{file}: is unlike all samples that the model learned from: {found.unlike}; its "
            "answer may be meaningless"
        )


def _recordings(files: list[Path]) -> list[Path]:
    recordings: list[Path] = []
    for file in files:
        address = address_of(file)
        if address is None:
            found = find_recordings(file)
            recordings += found.recordings
            say_passed_over(found.others)
        else:
            there = listed(address, {*readable_suffixes(), *CLIP_SUFFIXES})
            recordings += there.files
            say_passed_over(there.others)
    return recordings


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges recordings, videos and images with a model.

    An image counts as one window without events.
    """

    model: Model
    reading: Reading
    spikes: Spikes
    note: Callable[[str], None] = _console.note

    def fetched(self, file: Path) -> Classified:
        """Judge a file, or that at an address."""
        with staged(file, None, force=False) as (local, _):
            return self(local)

    def __call__(self, file: Path) -> Classified:
        """Judge a recording, a video or an image."""
        from dvskit.evaluation import Classified, Decision, classify_image, classify_windows
        from dvskit.evaluation.decisions import emulated_clip

        if _is_image(file):
            given, spikes = self.model.input, self.spikes
            shares = classify_image(self.model, file, encoder=spikes.encoder, seed=spikes.seed)
            return Classified((Decision(0, given.bins * given.bin_us, 0, shares),), 0)
        if self.reading.from_ is None and identify_named(file) in CLIPS:
            events, damage = emulated_clip(self.model, file, strict=not self.reading.salvage)
            if damage:
                self.note(f"{file}: {damage}")
            return classify_windows(self.model, events)
        recording = self.reading.open(file)
        try:
            return classify_windows(self.model, recording)
        finally:
            if recording.damage:
                self.note(f"{file}: {recording.damage}")


def _values(file: Path, found: Classified) -> dict[str, Any]:
    name = _console.shown(str(file))
    if _is_image(file):
        return {"file": name, "class": found.best, "probabilities": found.probabilities}
    windows = [
        {
            "start_us": each.start_us,
            "stop_us": each.stop_us,
            "events": each.events,
            "class": each.best,
            "probabilities": each.probabilities,
        }
        for each in found.windows
    ]
    return {
        "file": name,
        "class": found.best,
        "probabilities": found.probabilities,
        "windows": windows,
        "unlike_training": found.unlike or None,
        "events_not_looked_at": found.unlooked,
    }


def _print_one(found: Classified) -> None:
    shares, count = found.probabilities, len(found.windows)
    first = found.windows[0]
    length = _console.describe_us(first.stop_us - first.start_us)
    mean = f", the mean of {count_of(count, 'window')} of {length}" if count > 1 else ""
    _console.put(f"{found.best} ({100 * shares[found.best]:.1f} %){mean}")
    for name in sorted(shares, key=lambda name: -shares[name])[1:4]:
        _console.put(f"  or {name} ({100 * shares[name]:.1f} %)")
    if count > 1:
        _console.put("windows from the first event on:")
    for each in found.windows if count > 1 else ():
        at = _console.describe_us(each.start_us - first.start_us)
        _console.put(f"  {at:>12}  {each.best} ({100 * each.probabilities[each.best]:.1f} %)")


class _Table:
    """Prints a line for each recording; columns are as wide as their longest possible entry."""

    def __init__(self, recordings: list[Path], model: Model) -> None:
        names = [_console.shown(str(file)) for file in recordings]
        self._name = max(len("recording"), *map(len, names))
        self._class = max(len("class"), *(len(name) for name in model.classes))
        _console.put(self._line("recording", "class", "sure", "or", "", "windows"))

    def print(self, file: Path, found: Classified) -> None:
        """Print the line of a recording."""
        shares = found.probabilities
        best, *others = sorted(shares, key=lambda name: -shares[name])
        second = others[0] if others else ""
        sure, less = (f"{100 * shares[name]:.1f} %" if name else "" for name in (best, second))
        _console.put(
            self._line(_console.shown(str(file)), best, sure, second, less, str(len(found.windows)))
        )

    def _line(self, name: str, best: str, sure: str, second: str, less: str, count: str) -> str:
        wide = self._class
        columns = f"{name:<{self._name}}  {best:<{wide}}  {sure:>7}  {second:<{wide}}  {less:>7}"
        return f"{columns}  {count:>7}"
