"""Train a folder of samples to a model.

In this order: open and inspect the folder, choose a configuration (`folder_choices`), emulate the
clips, count the steps that fit into the time (`folder_time`), train until the deadline
(`labels.train_sets`), judge the model, write its card.
"""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from dvskit import _files
from dvskit._checks import check_number
from dvskit._threads import thread_count
from dvskit.datasets import Cache, ImageSamples, open_samples
from dvskit.errors import ConfigError, count_of, one_line
from dvskit.models.doubt import Reject
from dvskit.models.learned import RecordingData, used_samples
from dvskit.models.model import load_model
from dvskit.models.scores import (
    Result,
    headlines,
    judge_with_notes,
    started_together,
    torch_threads,
)
from dvskit.training.checkpoint import (
    check_place,
    check_same_samples,
    check_same_values,
    config_on_disk,
)
from dvskit.training.config import Config, changed_config, config_values, files_of
from dvskit.training.folder_choices import (
    PEOPLE_MODEL,
    ChosenSetting,
    FolderContents,
    choose,
    choose_start,
    inspect_samples,
    with_steps,
)
from dvskit.training.folder_time import (
    ClipEmulation,
    JudgedSample,
    PartsLeftOut,
    RunTime,
    TooLittleTimeError,
    by_person,
    result_of_left_out,
    steps_in_time,
)
from dvskit.training.labels import Trained, train_sets, with_earlier_samples
from dvskit.training.loop import Progress
from dvskit.training.sets import (
    EMULATED,
    FolderNote,
    TrainingSet,
    judged_part,
    load_sets,
    split_in_files,
)

MINUTES = 5.0
_NOT_INDEPENDENT = (
    "The interval assumes independent samples. Samples of one person are alike, so it is too "
    "narrow."
)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Callbacks during `train_folder`; none of them changes the run.

    say       called with a line on a finding or a choice
    note      called with a line on an assumption, or on skipped samples
    made      called with the number of emulated samples and of all samples
    progress  as in `train`

        callbacks = dvskit.training.Callbacks(
            say=print, progress=lambda now: print(f"{now.step} of {now.steps} steps")
        )
        callbacks.say("12 videos of 2 people")  # prints the line
        callbacks.made(3, 12)  # the default does nothing
    """

    say: Callable[[str], None] = lambda text: None
    note: Callable[[str], None] = lambda text: None
    made: Callable[[int, int], None] = lambda done, total: None
    progress: Callable[[Progress], None] = lambda now: None


@dataclass(frozen=True, slots=True)
class FolderRun:
    """The result of training on a folder.

    trained   the model, its folder and the log
    result    the accuracy on samples that the judged model never saw. If there are none it is the
              accuracy on training samples, and `held_out` is False
    choices   the choices, with their reasons
    seconds   of the whole run
    left_out  the answers about samples that a training left out, if these give the result: the
              model itself learned from all samples
    missing   the people, or the number of samples, that no training left out because there was no
              time left, and the fix; "" if each was left out

        short = {"loop.epochs": "1", "loop.steps": "1"}  # without changes the run takes minutes
        run = dvskit.training.train_folder("digits", output="runs/folder", changes=short)
        run.result.accuracy, run.held_out  # of samples that the judged model never saw
        run.choices[1].what, run.choices[1].why  # a setting, and the reason for its value
    """

    trained: Trained
    result: Result
    held_out: bool
    choices: tuple[ChosenSetting, ...]
    seconds: float
    left_out: tuple[JudgedSample, ...] = ()
    missing: str = ""

    @property
    def people(self) -> dict[str, tuple[int, int]]:
        """The right answers, and all, about each person that a training left out."""
        return by_person(self.left_out)

    @property
    def judged(self) -> str:
        """How the result was measured, one line; "" for a test part or training samples."""
        if not self.left_out:
            return ""
        parts = len({each.part for each in self.left_out})
        what = "samples" if not self.people else "people"
        each = ", ".join(f"{name} {right} of {of}" for name, (right, of) in self.people.items())
        return (
            f"judged by {count_of(parts, 'training')} that left {what} out; the model learned "
            f"from all{': ' * bool(each)}{each}"
        )


def train_folder(
    folder: str | PathLike[str],
    *,
    output: str | PathLike[str] | None = None,
    minutes: float = MINUTES,
    start: str | None = None,
    seed: int = 0,
    salvage: bool = False,
    changes: Mapping[str, str] | None = None,
    callbacks: Callbacks | None = None,
) -> FolderRun:
    """Train a classifier on a folder, or a list, of labeled recordings and videos, or depth clips.

    The configuration is chosen by the content of the folder: see `choose`. Of fewer than 200
    samples the model learns from all. Further trainings leave out each person in turn, or a third
    of the samples if people are not known, and judge it by them; judged.csv holds their answers.
    Of more samples, some are held out. All clips of one person stay together if people are known.

    output   the folder of the run, default runs/<the folder's name>: the model, its card
             (README.md), confusion.png, curves.png, log.csv, notes.json (see `RunNotes`) and
             config.toml, which trains it again
    minutes  for the whole run. Emulation takes at most about half of them; if that is too short for
             all clips, some of each class and person are used. The run takes as many steps as fit
             by the measured time of a step, and ends an epoch early if it is slower. config.toml
             holds clips and steps: it gives the same weights on the same machine with the same
             number of threads (half of torch's)
    start    a model folder, or a shipped model's name: the run begins with its weights. Its
             convolutions stay, and the last layer is new if the classes differ. "": all weights are
             new. None: dvs128-gestures if the samples show people (by its `likeness`), else ""
    salvage  whether damaged files are salvaged and files that cannot be opened are skipped
    changes  of the chosen configuration, as in `load_config`

    The same call continues an interrupted run, with its first steps and clips; a finished run is
    judged again, not trained again. Raises ConfigError for fewer than two classes and for too few
    `minutes`, OutputError if `output` holds another run, and the errors of opening, `choose` and
    `train`.

        short = {"loop.epochs": "1", "loop.steps": "1"}  # without changes the run takes minutes
        run = dvskit.training.train_folder("digits", output="runs/folder", changes=short)
        run.result.accuracy  # from 0 to 1
        model = run.trained.model  # also in runs/folder
    """
    check_number("minutes", minutes, above=0)
    if started_together() > 1:
        raise ConfigError("torchrun: train the folder in one process, then its config.toml in many")
    asked = _config_asked_for(Path(folder), output, start or "", seed, salvage)
    place = Path(asked.output)
    check_place(place)
    before = config_on_disk(place)
    if before is not None:
        asked = _with_clips_of(asked, before, keeps_start=start is None)
    # A run that goes on keeps its clips and its steps, however long they take.
    limit = RunTime(minutes if before is None else math.inf)
    callbacks = callbacks or Callbacks()
    notes = RunNotes(place, callbacks.note, again=before is not None)
    callbacks = replace(callbacks, note=notes)
    with notes.errors():
        chooses_start = start is None and before is None
        plan = _prepare(asked, before, changes or {}, limit, callbacks, chooses_start)
        notes.keep(*_findings(plan))
        run, config = _train_and_judge(plan, before, limit, notes, callbacks)
    write_card(run, config, plan.contents)
    return run


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to train: a configuration, its sets, what was inspected, and the choices.

    left_out  the most parts that are left out of trainings of their own, to judge it
    """

    config: Config
    sets: Sequence[TrainingSet]
    contents: FolderContents
    choices: tuple[ChosenSetting, ...]
    left_out: int


def _prepare(
    asked: Config,
    before: Config | None,
    changes: Mapping[str, str],
    limit: RunTime,
    callbacks: Callbacks,
    chooses_start: bool,
) -> _Plan:
    """Open and inspect a folder, choose, and emulate; again without samples that cannot be used.

    before         the configuration of the run that this one continues
    chooses_start  whether a shipped model may be the start, in place of that of `asked`
    """
    path, salvage = files_of(asked).path, files_of(asked).salvage
    samples = open_samples(path, strict=not salvage)
    start: list[ChosenSetting] = []
    said: set[str] = set()
    while True:
        without = files_of(asked).without
        contents = inspect_samples(samples, path, without=without)
        if chooses_start and not start:
            start.append(choose_start(contents, asked, limit.start_chosen))
            if start[0].value == PEOPLE_MODEL:
                asked = replace(asked, start=PEOPLE_MODEL)
        chosen = choose(contents, asked, load_model(asked.start) if asked.start else None)
        config = _without(changed_config(chosen.config, changes), without)
        choices = (*start, *chosen.choices, *_choices_of(changes))
        for line in (f"{path}: {contents.words}", *map(str, choices)):
            if line not in said:
                callbacks.say(line)
            said.add(line)
        sets = load_sets(config)
        if before is not None:
            _check_same(before, config, sets)
        emulation = ClipEmulation(sets, limit, salvage=salvage)
        emulation.run(callbacks.made)
        unusable = sorted({row.name for row in (*emulation.wrong, *emulation.late)})
        if not unusable:
            break
        for note in emulation.notes():
            callbacks.note(note)
        asked, limit = _without(asked, unusable), RunTime(math.inf)
    for text in (*(note for each in sets for note in each.notes), *contents.warnings):
        callbacks.note(text)
    judges = _judging_settings(config) == _judging_settings(chosen.config)
    return _Plan(config, sets, contents, choices, chosen.left_out if judges else 0)


def _train_and_judge(
    plan: _Plan, before: Config | None, limit: RunTime, notes: RunNotes, callbacks: Callbacks
) -> tuple[FolderRun, Config]:
    """Train until the deadline, and judge; return the run and the configuration that it took."""
    # Train on half of the threads: others make batches, and each layer waits for its slowest one.
    with torch_threads(max(1, min(torch.get_num_threads(), thread_count() // 2))):
        if before is None:
            config, deadline = steps_in_time(
                plan.config, plan.sets, limit, left_out=plan.left_out, say=callbacks.say
            )
            notes.write()
        else:
            config, deadline = before, math.inf
            steps = config.loop.epochs * config.loop.steps
            callbacks.say(f"steps     {steps:,}: the run in {config.output} began with them")
        parts = PartsLeftOut(config, plan.sets[0], callbacks.progress)
        if before is None and plan.left_out:
            parts.plan()
        began = time.monotonic()
        follow = parts.progress_of(0)
        trained = train_sets(config, plan.sets, progress=follow, deadline=deadline)
        config = _config_taken(config, callbacks)
        parts.judge(config, until=limit.judged, part_s=time.monotonic() - began)
        result, held_out = _result(trained, config, plan.sets, parts.rows)
    missing = parts.missing() if plan.left_out else None
    if missing is not None:
        callbacks.note(missing)
    seconds = time.monotonic() - limit.began
    answers, words = tuple(parts.rows), str(missing or "")
    run = FolderRun(trained, result, held_out, plan.choices, seconds, answers, words)
    return run, config


def _config_taken(config: Config, callbacks: Callbacks) -> Config:
    """Return the configuration that a training took: it may have stopped before its last epoch."""
    taken = config_on_disk(Path(config.output)) or config
    epochs, planned = taken.loop.stop, config.loop.epochs
    if epochs != config.loop.stop:
        text = f"the machine is slower than measured: it takes {epochs} of {planned} epochs"
        callbacks.note(FolderNote(text, "slow machine", epochs=epochs, planned=planned))
    return taken


def _result(
    trained: Trained, config: Config, sets: Sequence[TrainingSet], answers: Sequence[JudgedSample]
) -> tuple[Result, bool]:
    """Return the result on samples not learned from, else on training samples, and which it is."""
    if answers:
        return result_of_left_out(answers, trained.model.classes), True
    if trained.results:
        return next(iter(trained.results.values())), True
    (one,) = sets
    samples = one.parts.train
    assert not isinstance(samples, ImageSamples)
    cache = Cache() if one.entry.kind in EMULATED else None
    batches = judged_part(one, samples, config, cache)
    return replace(judge_with_notes(trained.model.module, batches), seen=len(samples)), False


def _config_asked_for(
    folder: Path, output: str | PathLike[str] | None, start: str, seed: int, salvage: bool
) -> Config:
    """Return a configuration with what a call asks for; all else is chosen."""
    name = folder.resolve().stem
    return Config(
        name=Path(output).name if output is not None else name,
        seed=seed,
        output=str(output) if output is not None else f"runs/{name}",
        start=start,
        data=(RecordingData(path=str(folder), name="samples", salvage=salvage),),
    )


def _choices_of(changes: Mapping[str, str]) -> Iterator[ChosenSetting]:
    for key, text in changes.items():
        yield ChosenSetting("asked", f"{key} = {text}", "set by the command")


def _without(config: Config, names: Sequence[str]) -> Config:
    """Return a configuration without some samples in its first entry [[data]]."""
    first, others = files_of(config), config.data[1:]
    without = tuple(dict.fromkeys((*first.without, *names)))
    return replace(config, data=(replace(first, without=without), *others))


def _judging_settings(config: Config) -> tuple[object, ...]:
    """Return the settings that decide which samples judge, and that none chooses an epoch."""
    first, others = files_of(config), config.data[1:]
    shares = first.by, first.group, first.validation, first.test, first.skip, first.limit
    return *shares, len(others), config.seed, config.loop.keep


def _with_clips_of(asked: Config, before: Config, *, keeps_start: bool) -> Config:
    """Return what a call asks for, with the clips of the run that it continues.

    keeps_start  whether the start was chosen, not asked for
    """
    was, entry = files_of(before), files_of(asked)
    same = Path(was.path).resolve() == Path(entry.path).resolve()
    entry = replace(entry, path=was.path if same else entry.path, without=was.without)
    return replace(asked, start=before.start if keeps_start else asked.start, data=(entry,))


def _check_same(before: Config, config: Config, sets: Sequence[TrainingSet]) -> None:
    """Raise OutputError if the run that goes on had other arguments, samples or settings.

    The number of steps may differ, since it depends on the time.
    """
    folder, loop = Path(before.output), config.loop
    steps = before.loop.epochs * before.loop.steps
    if steps < loop.epochs * loop.steps:
        loop = with_steps(loop, steps)
    had, now = config_values(before), config_values(replace(config, loop=loop))
    # Settings follow from arguments and samples: these are named first.
    for key in ("name", "seed", "start"):
        check_same_values(folder, {key: had.get(key, "")}, {key: now.get(key, "")})
    start = load_model(config.start) if config.start else None
    used = used_samples(split_in_files(sets))
    check_same_samples(folder, with_earlier_samples(start, used))
    check_same_values(folder, had, now)


def _findings(plan: _Plan) -> Iterator[FolderNote]:
    """Yield notes on what the choices say already: the start, and that long samples are cut."""
    for choice in plan.choices:
        if choice.kind:
            model = choice.value if choice.kind == "like" else ""
            yield FolderNote(str(choice), "start", model=model, why=choice.kind)
    window_s = plan.config.input.window_us / 1e6
    if plan.contents.length_us > 1e6 * window_s:
        text = f"some samples are longer than the window: their first {window_s:.2g} s count"
        yield FolderNote(text, "long clips", window_s=window_s)


class RunNotes:
    """Calls `say` with notes, and keeps those that have a kind in notes.json of a run's folder.

    again  whether an earlier run in the folder goes on: its notes stay

    notes.json holds them for other programs: {"notes": [{"kind", "text", values}]}.

    few clips        of `classes` (`all`: of every class), fewer than `wanted`
    one background   in `classes` (`all`: in every class)
    skipped files    `count` of another kind           unreadable files `count`, with salvage
    short of time    `used` of `total` clips; `minutes` use all
    slow machine     `epochs` of `planned` were taken  long clips       only `window_s` count
    not judged       `people` ([]: unknown), with `samples`, for which no time was left
    start            `model` ("": new weights) and `why`: like, unlike, short, known or unread
    too little time  the run ended; `minutes` are enough
    """

    def __init__(self, folder: Path, say: Callable[[str], None], *, again: bool) -> None:
        self._file, self._say = folder / "notes.json", say
        self._kept = self._read() if again else []
        if not again:
            self._file.unlink(missing_ok=True)

    def __call__(self, text: str) -> None:
        """Pass a note on, and keep it."""
        self._say(text)
        if isinstance(text, FolderNote):
            self.keep(text)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Keep a TooLittleTimeError, too."""
        try:
            yield
        except TooLittleTimeError as error:
            self.keep(FolderNote(one_line(error), "too little time", minutes=error.minutes))
            raise

    def keep(self, *notes: FolderNote) -> None:
        """Keep notes without passing them on; on disk once the run's folder exists."""
        found = [{"kind": each.kind, "text": str(each), **each.values} for each in notes]
        self._kept += [each for each in found if each not in self._kept]
        if self._file.parent.is_dir():
            self.write()

    def write(self) -> None:
        """Write notes.json, and make the folder if it is missing. Raises OutputError."""
        _files.make_folder(self._file.parent)
        text = json.dumps({"notes": self._kept}, indent=1, ensure_ascii=False)
        _files.write_whole(self._file, text, overwrite=True)

    def _read(self) -> list[dict[str, Any]]:
        """Return the notes in the file; [] if it is missing or damaged."""
        try:
            return list(json.loads(self._file.read_text("utf-8"))["notes"])
        except (OSError, ValueError, TypeError, KeyError):
            return []


def write_card(run: FolderRun, config: Config, contents: FolderContents) -> None:
    """Write README.md, confusion.png and curves.png to a model's folder, replacing earlier ones."""
    from dvskit.render import plots  # here because Matplotlib takes long to load

    folder, result = run.trained.folder, run.result
    plots.save(
        plots.confusion(result.confusion, result.classes), folder / "confusion.png", overwrite=True
    )
    plots.save(plots.curves(folder), folder / "curves.png", overwrite=True)
    _files.write_whole(folder / "README.md", _card_text(run, config, contents), overwrite=True)


def _card_text(run: FolderRun, config: Config, contents: FolderContents) -> str:
    trained, result = run.trained, run.result
    entry = files_of(config)
    data, reject = Path(entry.path).name, trained.model.reject
    folder, same = (_from_here(path) for path in (trained.folder, trained.folder / "config.toml"))
    again = [_from_here(entry.path), "-o", "OUTPUT"]
    again += ["--seed", str(config.seed), *["--salvage"] * entry.salvage]
    again += ["--start", shlex.quote(config.start or "scratch")]
    for each in run.choices:
        if each.what == "asked":
            again += ["--set", shlex.quote("=".join(each.value.split(" = ", 1)))]
    lines = [
        f"# {trained.model.name}",
        "",
        f"Recognizes {len(result.classes)} classes: {', '.join(result.classes)}.",
        "",
        f"    dvskit classify FILE --model {folder}",
        "",
        "Run the commands of this page where the training was started.",
        "",
        "## Accuracy",
        "\n\n".join(f"{line[0].upper()}{line[1:]}." for line in headlines(result)),
        *(
            ["", f"{run.judged[0].upper()}{run.judged[1:]}. `judged.csv` has the answers."]
            if run.judged
            else []
        ),
        *(["", f"{run.missing[0].upper()}{run.missing[1:]}."] if run.missing else []),
        *(["", _NOT_INDEPENDENT] if contents.groups else []),
        "",
        *(
            ["These samples took no part in training or in any choice.", ""]
            if run.held_out and not run.judged
            else []
        ),
        "![Confusion matrix](confusion.png) ![Curves](curves.png)",
        "",
        "## Data and choices",
        f"{data}: {contents.words}. `split.csv` lists the part of each sample.",
        "",
        *(f"- {each.what}, {each.value}: {each.why}" for each in run.choices),
        f"- steps taken: {len(trained.history) * config.loop.steps:,}, in "
        f"{sum(row['seconds'] for row in trained.history):.0f} s",
        "",
        "## Train it again",
        f"    dvskit train {' '.join(again)}",
        "",
        f"This measures the time again. `dvskit train {same} -o OUTPUT` takes the same steps.",
        "",
        "## Limits",
        "Every input gets one of these classes. Only the first window counts, "
        f"{config.input.bins} bins of {config.input.bin_us / 1000:g} ms from the first event on. "
        f"{_reject_words(reject)}",
    ]
    return "\n".join(lines) + "\n"


def _from_here(path: str | Path) -> str:
    """Return a path as a shell takes it, relative to the working directory if it lies in it."""
    absolute, here = Path(path).absolute(), Path.cwd()
    return shlex.quote(str(absolute.relative_to(here) if here in absolute.parents else path))


def _reject_words(reject: Reject) -> str:
    how = reject.how or "the default"
    return (
        f"Live, no class is named below a confidence of {reject.confidence:g} or "
        f"{reject.events_per_second:g} events a second ({how})."
    )
