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
from dvskit.datasets import Cache, open_samples
from dvskit.errors import ConfigError, OutputError, count_of, one_line
from dvskit.models.learned import RecordingData, used_samples
from dvskit.models.model import load_model
from dvskit.models.scores import (
    Result,
    headlines,
    joined,
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
    NEW_WEIGHTS,
    PEOPLE_MODEL,
    ChosenSetting,
    FolderContents,
    choose,
    choose_start,
    inspect_samples,
    window_words,
    with_steps,
)
from dvskit.training.folder_time import (
    CHOOSING,
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
    load_feed,
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
    answers   about samples that a training left out, if these give the result: the model itself
              learned from all samples
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
    answers: tuple[JudgedSample, ...] = ()
    missing: str = ""

    @property
    def people(self) -> dict[str, tuple[int, int]]:
        """The right answers, and all, about each person that a training left out."""
        return by_person(self.answers)

    @property
    def judged(self) -> str:
        """How the result was measured, one line; "" for a test part or training samples."""
        if not self.answers:
            return ""
        parts = len({each.part for each in self.answers})
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
    began: float | None = None,
    start: str | None = None,
    seed: int = 0,
    salvage: bool = False,
    changes: Mapping[str, str] | None = None,
    callbacks: Callbacks | None = None,
) -> FolderRun:
    """Train a classifier on a folder, or a list, of labeled recordings and videos, or depth clips.

    The configuration is chosen by the content of the folder: see `choose`. If the folder names
    parts (train, validation, test), the model learns from the first. Else of fewer than 200 samples
    it learns from all. Further trainings leave out each person in turn, or a third of the samples
    if people are not known, and judge it by them; judged.csv holds their answers. Of more samples,
    some are held out. All clips of one person stay together if people are known.

    output   the folder of the run, default runs/<the folder's name>: the model, its card
             (README.md), confusion.png, curves.png, log.csv, notes.json (see `RunNotes`) and
             config.toml, which trains it again
    minutes  for the whole run. Emulation takes at most about half of them; if that is too short for
             all clips, some of each class and person are used. The run takes as many steps as fit
             by the measured time of a step, and ends an epoch early if it is slower. config.toml
             holds clips and steps: it gives the same weights on the same machine with the same
             number of threads (half of torch's)
    began    when the minutes began, as of time.monotonic(); default: now. At least half of them are
             left for the run
    start    a model folder, or a shipped model's name: the run begins with its weights. Its
             convolutions stay, and the last layer is new if the classes differ. "": all weights are
             new. None: dvs128-gestures if the samples show people (by its `likeness`), else ""
    salvage  whether damaged files are salvaged and files that cannot be opened are skipped
    changes  of the chosen configuration, as in `load_config`, except for the other arguments

    The same call continues an interrupted run, with its first steps and clips; a finished run is
    judged again, not trained again. Raises ConfigError for fewer than two classes and for too few
    `minutes`, OutputError if `output` holds another run or other files that the run would replace,
    and the errors of opening, `choose` and `train`.

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
    earlier = config_on_disk(place)
    if earlier is None:
        _check_replaces_nothing(place)
    else:
        asked = _with_clips_of(asked, earlier, keeps_start=start is None)
    callbacks = callbacks or Callbacks()
    notes = RunNotes(place, callbacks.note, again=earlier is not None)
    call = _Call(
        asked,
        changes or {},
        earlier,
        # A run that goes on keeps its clips and its steps, however long they take.
        RunTime(minutes if earlier is None else math.inf, began),
        start is None,
        callbacks,
        notes,
    )
    with notes.errors():
        prepared = _prepare(call)
        notes.add(*_findings(prepared))
        run, config = _train_and_judge(call, prepared)
    write_card(run, config, prepared.contents, minutes)
    return run


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of `train_folder`.

    asked          a configuration with what the call asks for
    earlier        the configuration of the run that the call continues; None for a new run
    chooses_start  whether the start is chosen, not asked for
    notes          of the run; they reach the callback too
    """

    asked: Config
    changes: Mapping[str, str]
    earlier: Config | None
    limit: RunTime
    chooses_start: bool
    callbacks: Callbacks
    notes: RunNotes


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What to train: a configuration, its sets, what was inspected, and the choices.

    parts_left_out  the most parts that are left out of trainings of their own, to judge the model
    """

    config: Config
    sets: Sequence[TrainingSet]
    contents: FolderContents
    choices: tuple[ChosenSetting, ...]
    parts_left_out: int


def _prepare(call: _Call) -> _Prepared:
    """Open and inspect a folder, choose, and emulate; again without samples that cannot be used."""
    asked, limit, said = call.asked, call.limit, set[str]()
    path, salvage = files_of(asked).path, files_of(asked).salvage
    samples = open_samples(path, strict=not salvage)
    contents = inspect_samples(samples, path, without=files_of(asked).without)
    start = _start(call, contents)
    if start and call.earlier is None:
        asked = replace(asked, start=PEOPLE_MODEL if start[0].value == PEOPLE_MODEL else "")
    while True:
        chosen = choose(contents, asked, load_model(asked.start) if asked.start else None)
        config = _changed(chosen.config, call.changes)
        choices = (*start, *chosen.choices, *_choices_of(call.changes))
        for line in (f"{path}: {contents.words}", *map(str, choices)):
            if line not in said:
                call.callbacks.say(line)
            said.add(line)
        sets = load_sets(config)
        if not config.loop.steps:  # until each sample came once
            steps = len(load_feed(config, sets).train)
            config = replace(config, loop=replace(config.loop, steps=steps))
        if call.earlier is not None:
            _check_same(call.earlier, config, sets)
        emulation = ClipEmulation(sets, limit, salvage=salvage)
        emulation.run(call.callbacks.made)
        unusable = (*emulation.unreadable, *emulation.late)
        if not unusable:
            break
        for note in emulation.notes():
            call.notes(note)
        asked = _without(asked, sorted({row.title for row in unusable}))
        limit = RunTime(math.inf)  # other clips are emulated again if their size changes
        contents = inspect_samples(samples, path, without=files_of(asked).without)
    for text in (*(note for each in sets for note in each.notes), *contents.warnings):
        call.notes(text)
    same_split = _split_settings(config) == _split_settings(chosen.config)
    return _Prepared(config, sets, contents, choices, chosen.parts_left_out if same_split else 0)


def _start(call: _Call, contents: FolderContents) -> list[ChosenSetting]:
    """Return the choice of the start, that of the earlier run if one goes on; [] if it is asked."""
    if not call.chooses_start:
        return []
    if call.earlier is not None:
        return call.notes.chosen_start()
    return [choose_start(contents, call.asked, call.limit.at(CHOOSING))]


def _train_and_judge(call: _Call, prepared: _Prepared) -> tuple[FolderRun, Config]:
    """Train until the deadline, and judge; return the run and the configuration that it took."""
    sets, limit, callbacks = prepared.sets, call.limit, call.callbacks
    # Train on half of the threads: others make batches, and each layer waits for its slowest one.
    with torch_threads(max(1, min(torch.get_num_threads(), thread_count() // 2))):
        if call.earlier is None:
            config, deadline = steps_in_time(
                prepared.config,
                sets,
                limit,
                parts_left_out=prepared.parts_left_out,
                say=callbacks.say,
            )
            call.notes.write()
        else:
            config, deadline = call.earlier, math.inf
            steps = config.loop.epochs * config.loop.steps
            callbacks.say(f"steps     {steps:,}: the run in {config.output} began with them")
        parts = PartsLeftOut(config, sets[0], callbacks.progress)
        if call.earlier is None and prepared.parts_left_out:
            parts.begin()
        began = time.monotonic()
        trained = train_sets(config, sets, progress=parts.progress_of_run(), deadline=deadline)
        config = _config_on_disk_after(config, call.notes)
        parts.judge(config, until=limit.judged, part_s=time.monotonic() - began)
        result, held_out = _result(trained, config, sets, parts.rows)
    missing = parts.missing() if prepared.parts_left_out else None
    if missing is not None:
        call.notes(missing)
    seconds = time.monotonic() - limit.began
    answers, words = tuple(parts.rows), str(missing or "")
    run = FolderRun(trained, result, held_out, prepared.choices, seconds, answers, words)
    return run, config


def _config_on_disk_after(config: Config, note: Callable[[str], None]) -> Config:
    """Return the configuration that a training wrote; note if it stopped before its last epoch."""
    written = config_on_disk(Path(config.output)) or config
    epochs, planned = written.loop.stop, config.loop.epochs
    if epochs != config.loop.stop:
        text = f"the machine is slower than measured: it takes {epochs} of {planned} epochs"
        note(FolderNote(text, "slow machine", epochs=epochs, planned=planned))
    return written


def _result(
    trained: Trained, config: Config, sets: Sequence[TrainingSet], answers: Sequence[JudgedSample]
) -> tuple[Result, bool]:
    """Return the result on samples not learned from, else on training samples, and which it is."""
    if answers:
        return result_of_left_out(answers, trained.model.classes), True
    if trained.results:
        return next(iter(trained.results.values())), True
    results = []
    for each in sets:
        cache = Cache() if each.entry.kind in EMULATED else None
        batches = judged_part(each, each.parts.train, config, cache)
        results.append(judge_with_notes(trained.model.module, batches))
    return replace(joined(results), seen=sum(each.samples for each in results)), False


def _config_asked_for(
    folder: Path, output: str | PathLike[str] | None, start: str, seed: int, salvage: bool
) -> Config:
    """Return a configuration with what a call asks for; all else is chosen."""
    whole = folder.resolve()
    output = output or Path("runs") / (whole.stem if whole.is_file() else whole.name)
    return Config(
        name=Path(output).resolve().name,
        seed=seed,
        output=str(output),
        start=start,
        data=(RecordingData(path=str(folder), name="samples", salvage=salvage),),
    )


_REPLACED = ("README.md", "confusion.png", "curves.png", "log.csv", "model.toml")


def _check_replaces_nothing(folder: Path) -> None:
    """Raise OutputError if a folder without a run holds files that a run would replace."""
    found = [name for name in _REPLACED if (folder / name).exists()]
    if (folder / "notes.json").exists() and read_notes(folder / "notes.json") is None:
        found.append("notes.json")
    if found:
        raise OutputError(f"{folder}: holds a {found[0]} of something else; name another output")


def _changed(chosen: Config, changes: Mapping[str, str]) -> Config:
    """Return a chosen configuration with changes.

    Raises ConfigError if they change an argument of `train_folder`, by which others are chosen.
    """
    config = changed_config(chosen, changes)
    had, now = _arguments_of(chosen), _arguments_of(config)
    for name, value in now.items():
        if value != had[name]:
            raise ConfigError(f"changes: {name} is an argument of its own; pass {name}={value!r}")
    return _without(config, files_of(chosen).without)


def _arguments_of(config: Config) -> dict[str, object]:
    """Return the arguments of `train_folder` that a configuration holds."""
    entry = files_of(config)
    return {
        "folder": entry.path, "output": config.output, "start": config.start, "seed": config.seed,
        "salvage": entry.salvage,
    }  # fmt: skip


def _choices_of(changes: Mapping[str, str]) -> Iterator[ChosenSetting]:
    for key, text in changes.items():
        yield ChosenSetting("asked", f"{key} = {text}", "set by the command")


def _without(config: Config, titles: Sequence[str]) -> Config:
    """Return a configuration without samples, by their titles, in its first entry [[data]]."""
    first, others = files_of(config), config.data[1:]
    without = tuple(dict.fromkeys((*first.without, *titles)))
    return replace(config, data=(replace(first, without=without), *others))


def _split_settings(config: Config) -> tuple[object, ...]:
    """Return the settings that decide which samples a run learns from and chooses an epoch by."""
    first, others = files_of(config), config.data[1:]
    shares = first.by, first.group, first.validation, first.test, first.skip, first.limit
    return *shares, len(others), config.loop.keep


def _with_clips_of(asked: Config, earlier: Config, *, keeps_start: bool) -> Config:
    """Return what a call asks for, with the clips of the run that it continues.

    keeps_start  whether the start was chosen, not asked for
    """
    was, entry = files_of(earlier), files_of(asked)
    same = Path(was.path).resolve() == Path(entry.path).resolve()
    entry = replace(entry, path=was.path if same else entry.path, without=was.without)
    return replace(asked, start=earlier.start if keeps_start else asked.start, data=(entry,))


def _check_same(earlier: Config, config: Config, sets: Sequence[TrainingSet]) -> None:
    """Raise OutputError if the run that goes on had other arguments, samples or settings.

    The number of steps may differ, since it depends on the time.
    """
    folder, loop = Path(earlier.output), config.loop
    steps = earlier.loop.epochs * earlier.loop.steps
    if steps < loop.epochs * loop.steps:
        loop = with_steps(loop, steps)
    had, now = config_values(earlier), config_values(replace(config, loop=loop))
    # Settings follow from arguments and samples: these are named first.
    for key in ("name", "seed", "start"):
        check_same_values(folder, {key: had.get(key, "")}, {key: now.get(key, "")})
    start = load_model(config.start) if config.start else None
    used = used_samples(split_in_files(sets))
    check_same_samples(folder, with_earlier_samples(start, used))
    check_same_values(folder, had, now)


def _findings(prepared: _Prepared) -> Iterator[FolderNote]:
    """Yield notes on what the choices say already: the start, and that long samples are cut."""
    for choice in prepared.choices:
        if choice.kind:
            model = choice.value if choice.kind == "like" else ""
            yield FolderNote(str(choice), "start", model=model, why=choice.kind)
    window_s = prepared.config.input.window_us / 1e6
    if prepared.contents.length_us > 1e6 * window_s:
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
        self._kept = (read_notes(self._file) or []) if again else []
        if not again:
            self._file.unlink(missing_ok=True)

    def __call__(self, text: str) -> None:
        """Pass a note on, and keep it if it has a kind."""
        self._say(text)
        if isinstance(text, FolderNote):
            self.add(text)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Keep a TooLittleTimeError, too."""
        try:
            yield
        except TooLittleTimeError as error:
            self.add(FolderNote(one_line(error), "too little time", minutes=error.minutes))
            raise

    def add(self, *notes: FolderNote) -> None:
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

    def chosen_start(self) -> list[ChosenSetting]:
        """Return the choice of the start that an earlier run noted; [] if there is none."""
        for note in self._kept:
            if note["kind"] == "start":
                value = note["model"] or NEW_WEIGHTS
                why = str(note["text"]).partition(f" {value}: ")[2]
                return [ChosenSetting("start", value, why, note["why"])]
        return []


def read_notes(file: Path) -> list[dict[str, Any]] | None:
    """Return the notes in a notes.json; None if the file is missing, damaged or another one."""
    try:
        return list(json.loads(file.read_text("utf-8"))["notes"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_card(run: FolderRun, config: Config, contents: FolderContents, minutes: float) -> None:
    """Write README.md, confusion.png and curves.png to a model's folder, replacing earlier ones.

    minutes  that were given to the run
    """
    from dvskit.render import plots  # here because Matplotlib takes long to load

    folder, result = run.trained.folder, run.result
    plots.save(
        plots.confusion(result.confusion, result.classes), folder / "confusion.png", overwrite=True
    )
    plots.save(plots.curves(folder), folder / "curves.png", overwrite=True)
    text = _card_text(run, config, contents, minutes)
    _files.write_whole(folder / "README.md", text, overwrite=True)


def _card_text(run: FolderRun, config: Config, contents: FolderContents, minutes: float) -> str:
    trained, result, entry = run.trained, run.result, files_of(config)
    folder, same = (_from_here(path) for path in (trained.folder, trained.folder / "config.toml"))
    again = [_from_here(entry.path), f"-o OUTPUT --minutes {minutes:g} --seed {config.seed}"]
    again += ["--salvage"] * entry.salvage
    again += ["--start", shlex.quote(config.start or "scratch")]
    for each in run.choices:
        if each.what == "asked":
            again += ["--set", shlex.quote("=".join(each.value.split(" = ", 1)))]
    epochs = trained.history
    seconds = sum(row["seconds"] for row in epochs)
    taken = f"- steps taken: {len(epochs) * config.loop.steps:,}, in {seconds:.0f} s"
    reject = trained.model.reject
    paragraphs = (
        f"# {trained.model.name}",
        f"Recognizes {len(result.classes)} classes: {', '.join(result.classes)}.",
        f"    dvskit classify FILE --model {folder}",
        "Run the commands of this page where the training was started.",
        "## Accuracy\n" + "\n\n".join(map(_sentence, headlines(result))),
        run.judged and f"{_sentence(run.judged)} `judged.csv` has the answers.",
        run.missing and _sentence(run.missing),
        _NOT_INDEPENDENT if contents.groups else "",
        "These samples took no part in training or in any choice."
        if run.held_out and not run.judged
        else "",
        "![Confusion matrix](confusion.png) ![Curves](curves.png)",
        f"## Data and choices\n{Path(entry.path).name}: {contents.words}. "
        "`split.csv` lists the part of each sample.",
        "\n".join((*(f"- {each.what}, {each.value}: {each.why}" for each in run.choices), taken)),
        f"## Train it again\n    dvskit train {' '.join(again)}",
        f"This measures the time again. `dvskit train {same} -o OUTPUT` takes the same steps.",
        "## Limits\nEvery input gets one of these classes. Only the first window counts, "
        f"{window_words(config.input)} from the first event on. Live, no class is named below a "
        f"confidence of {reject.confidence:g} or {reject.events_per_second:g} events a second "
        f"({reject.how or 'the default'}).",
    )
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _from_here(path: str | Path) -> str:
    """Return a path as a shell takes it, relative to the working directory if it lies in it."""
    absolute, here = Path(path).absolute(), Path.cwd()
    return shlex.quote(str(absolute.relative_to(here) if here in absolute.parents else path))
