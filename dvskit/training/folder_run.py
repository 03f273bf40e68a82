"""Train a folder of samples to a model: inspect, choose, emulate, train for a time, judge."""

from __future__ import annotations

import math
import time
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from dvskit._arguments import check_arguments
from dvskit._threads import thread_count
from dvskit._toml import to_toml
from dvskit.datasets import Cache, ImageSamples
from dvskit.errors import ConfigError, FittedWarning
from dvskit.models.device import started_together, torch_threads
from dvskit.models.entries import DataConfig
from dvskit.models.model import load_model
from dvskit.models.run_samples import used_samples
from dvskit.models.scores import Result, judge_with_notes, logits_of
from dvskit.training.checkpoint import (
    check_same_samples,
    check_same_text,
    check_same_values,
    config_on_disk,
)
from dvskit.training.choose_config import BATCH, with_steps
from dvskit.training.config import Config, config_values, write_config
from dvskit.training.feed import judged_part, load_feed, split_in_files
from dvskit.training.folder_card import FolderRun, write_card
from dvskit.training.folder_clips import Callbacks, Prepared, Time, prepare
from dvskit.training.folder_notes import FolderNote, RunNotes, TooLittleTimeError
from dvskit.training.left_out import (
    JudgedSample,
    counted,
    judge_left_out,
    not_judged,
    parts_left_out,
    plan_to_leave_out,
    result_of_left_out,
)
from dvskit.training.loop import Trained, check_place, train_sets
from dvskit.training.running import Progress, TrainingRun, Watch
from dvskit.training.sets import EMULATED, TrainingSet
from dvskit.training.start import with_earlier_samples

MINUTES = 5.0
_SPARE = 0.06  # of the time, as a reserve
_EMULATING = 0.5  # of the time, at most, until the last clip is emulated
_CARD_S = 4.0  # to draw the pictures and end the process
_SLOWEST = 8.0  # the largest slowdown by a busy machine
_JUDGED_STEPS = 0.5  # time to judge a batch, in training steps
_LEAST_STEPS = 20


@check_arguments
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
    """Train a classifier on a folder, or a list, of labelled recordings and videos, or depth clips.

    The configuration is chosen by the content of the folder: see `choose`. Of fewer than 200
    samples the model learns from all. Further trainings leave out each person in turn, or a third
    of the samples if people are not known, and judge it by them; judged.csv holds their answers.
    Of more samples, some are held out. All clips of one person stay together if people are known.

    output   the folder of the run, default runs/<the folder's name>: the model, its card
             (README.md), confusion.png, curves.png, log.csv, notes.json (see `folder_notes`) and
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
    began, computed = time.monotonic(), time.process_time()
    callbacks = callbacks or Callbacks()
    if not minutes > 0:
        raise ConfigError(f"minutes = {minutes} is not above 0")
    if started_together() > 1:
        raise ConfigError("torchrun: train the folder in one process, then its config.toml in many")
    asked = _asked(Path(folder), output, start or "", seed, salvage)
    check_place(Path(asked.output))
    end = began + 60 * minutes
    before = config_on_disk(Path(asked.output))
    if before is not None:
        if start is None:  # it was chosen
            asked = replace(asked, start=before.start)
        _check_same_asked(before, asked)
    if before is not None:
        without = before.data[0].without
        asked = replace(asked, data=(replace(asked.data[0], without=without),))
    notes = RunNotes(Path(asked.output), callbacks.note, again=before is not None)
    callbacks = replace(callbacks, note=notes)
    # A run that has begun keeps its clips, so there is no limit.
    limit = None if before is not None else Time(began, began + 60 * _EMULATING * minutes, end)
    with notes.errors():
        ready = prepare(
            asked, changes or {}, callbacks, limit, partial(_check_same, before),
            choose_start=start is None and before is None,
        )  # fmt: skip
    notes.keep(*_found(ready))
    # Train on half of the threads: others make batches, and each layer waits for its slowest one.
    half = max(1, min(torch.get_num_threads(), thread_count() // 2))
    with torch_threads(half), notes.errors():
        if before is not None:
            config = before
            steps = config.loop.epochs * config.loop.steps
            callbacks.say(f"steps     {steps:,}: the run in {config.output} began with them")
            follow = counted(callbacks.progress, 0, 1 + parts_left_out(Path(config.output)))
            trained = train_sets(config, ready.sets, progress=follow)
            answers = judge_left_out(config, ready.sets[0], progress=callbacks.progress)
        else:
            # On a busy machine a second of CPU time takes several seconds.
            slow = (time.monotonic() - began) / max(time.process_time() - computed, 1e-3)
            card_s = _CARD_S * min(max(slow, 1.0), _SLOWEST)
            until = end - card_s - _SPARE * 60 * minutes
            config, judging_s = _in_time(ready, Time(began, until, end), callbacks)
            notes.write()
            if ready.left_out:
                plan_to_leave_out(config, ready.sets[0])
            begun = time.monotonic()
            config, trained = _train_until(config, ready.sets, end - card_s - judging_s, callbacks)
            answers = judge_left_out(
                config, ready.sets[0], until=end - card_s, part_s=time.monotonic() - begun,
                progress=callbacks.progress,
            )  # fmt: skip
        result, held_out = _judged(trained, config, ready.sets, answers)
    seconds = time.monotonic() - began
    missing = _not_judged(ready, answers)
    if missing is not None:
        callbacks.note(missing)
    run = FolderRun(trained, result, held_out, ready.choices, seconds, answers, str(missing or ""))
    write_card(run, config, ready.contents)
    return run


def _not_judged(ready: Prepared, answers: Sequence[JudgedSample]) -> FolderNote | None:
    """Return a note on people, or samples, that no training left out for want of time."""
    samples = ready.sets[0].parts.train
    if not ready.left_out or isinstance(samples, ImageSamples):
        return None
    return not_judged(answers, samples)


def _found(ready: Prepared) -> Iterator[FolderNote]:
    """Yield what the choices say already: the start, and that long samples are cut."""
    for choice in ready.choices:
        if choice.kind:
            model = choice.value if choice.kind == "like" else ""
            yield FolderNote(str(choice), "start", model=model, why=choice.kind)
    window_s = ready.config.input.window_us / 1e6
    if float(np.quantile(ready.contents.durations, 0.9)) > 1e6 * window_s:
        text = f"some samples are longer than the window: their first {window_s:.2g} s count"
        yield FolderNote(text, "long clips", window_s=window_s)


def _asked(
    folder: Path, output: str | PathLike[str] | None, start: str, seed: int, salvage: bool
) -> Config:
    name = folder.resolve().stem
    return Config(
        name=Path(output).name if output is not None else name,
        seed=seed,
        output=str(output) if output is not None else f"runs/{name}",
        start=start,
        data=(DataConfig(path=str(folder), name="samples", salvage=salvage),),
    )


def _check_same_asked(before: Config, asked: Config) -> None:
    """Raise OutputError if the run in the output folder had other arguments."""
    folder = Path(asked.output)
    had, now = config_values(before), config_values(asked)
    same = {**had, "name": asked.name, "seed": asked.seed}
    same.pop("start", None)
    same |= {key: now[key] for key in ("start",) if key in now}
    if len(before.data) == 1:
        entry = {**had["data"][0], "salvage": asked.data[0].salvage}
        entry["path"] = _same_path(before, asked)
        same["data"] = [entry]
    check_same_values(folder, tomllib.loads(to_toml(had)), same)


def _same_path(before: Config, now: Config) -> str:
    """Return the path in the earlier configuration, if it is the same folder now."""
    was, is_ = before.data[0].path, now.data[0].path
    return was if Path(was).resolve() == Path(is_).resolve() else is_


def _check_same(before: Config | None, config: Config, sets: Sequence[TrainingSet]) -> None:
    """Raise OutputError if an earlier run had other samples or another configuration.

    The number of steps may differ, since it depends on the time.
    """
    if before is None:
        return
    folder, loop = Path(before.output), config.loop
    start = load_model(config.start) if config.start else None
    used = used_samples(split_in_files(sets))
    check_same_samples(folder, with_earlier_samples(start, used))
    steps = before.loop.epochs * before.loop.steps
    if steps < loop.epochs * loop.steps:
        loop = with_steps(loop, steps)
    entry = replace(config.data[0], path=_same_path(before, config))
    now = replace(config, loop=loop, data=(entry, *config.data[1:]))
    check_same_text(folder, to_toml(config_values(before)), config_values(now))


def _in_time(ready: Prepared, time_: Time, callbacks: Callbacks) -> tuple[Config, float]:
    """Return the configuration with as many of its steps as fit, and the seconds of judging.

    If not all fit, two trainings without a part get as many. Raises ConfigError if there is no time
    for a few steps.
    """
    config, one = ready.config, ready.sets[0]
    wanted = config.loop.epochs * config.loop.steps
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FittedWarning)  # the run gives them
        feed = load_feed(config, ready.sets)
        run = TrainingRun(config, feed, None, Watch(lambda at: None))
        each = run.seconds_a_step()
        # Judging compiles loops of its own: run it once here, so that the time is measured.
        counts, _ = next(iter(feed.known[0].epoch(0)))
        run.module.eval()
        logits_of(run.module, counts)
    judging = each * _JUDGED_STEPS / BATCH  # per sample
    last = judging * (len(one.parts.test) or len(one.parts.train))
    every = last + 10 * judging * len(one.parts.validation)  # in ten epochs
    least, now = min(wanted, _LEAST_STEPS), time.monotonic()
    possible = int((time_.until - every - now) / each)
    if possible < least:
        kept = time_.end - time_.until  # for the card and the reserve
        needed = (now - time_.began + every + least * each + kept) / (1 - _SPARE) / 60
        raise TooLittleTimeError(
            f"there is too little time to train: a step takes {each:.2g} s; --minutes "
            f"{_rounded_up(needed)} leaves time for {least}. Emulated events are kept",
            float(_rounded_up(needed)),
        )
    runs = 1 + min(ready.left_out, 2) if possible >= 3 * least else 1
    steps = min(wanted, possible // runs)
    if steps < wanted:
        callbacks.say(f"steps     {steps:,}: as many as the time allows, {each:.2g} s each")
        config = replace(config, loop=with_steps(config.loop, steps))
    return config, last


def _rounded_up(minutes: float) -> str:
    return f"{(math.ceil(10 * minutes) + 1) / 10:.1f}"  # 0.1 more, to start the process


class _NoTimeError(Exception):
    """Another epoch would end too late."""


def _train_until(
    config: Config, sets: Sequence[TrainingSet], end: float, callbacks: Callbacks
) -> tuple[Config, Trained]:
    """Train, and stop after an epoch if another one would end later than `end`.

    The configuration that is returned, and config.toml, then hold the number of epochs, so that
    they train the same weights again.
    """
    folder, at = Path(config.output), [time.monotonic()]
    show = counted(callbacks.progress, 0, 1 + parts_left_out(folder))

    def follow(now: Progress) -> None:
        show(now)
        if now.step % (now.steps // now.epochs):
            return
        at.append(time.monotonic())
        if 0 < now.step < now.steps and at[-1] + (at[-1] - at[-2]) > end:
            raise _NoTimeError(now.epoch + 1)

    try:
        return config, train_sets(config, sets, progress=follow)
    except _NoTimeError as late:
        (epochs,) = late.args
    config = replace(config, loop=replace(config.loop, stop=epochs))
    write_config(config, folder / "config.toml")
    text = f"the machine is slower than measured: it takes {epochs} of {config.loop.epochs} epochs"
    values = {"epochs": epochs, "planned": config.loop.epochs}
    callbacks.note(FolderNote(text, "slow machine", **values))
    return config, train_sets(config, sets)


def _judged(
    trained: Trained, config: Config, sets: Sequence[TrainingSet], answers: Sequence[JudgedSample]
) -> tuple[Result, bool]:
    """Return the result on samples not learned from, else on training samples, and which it is."""
    if answers:
        return result_of_left_out(answers, trained.model.classes), True
    if trained.results:
        return next(iter(trained.results.values())), True
    (one,) = sets
    assert not isinstance(one.parts.train, ImageSamples)
    model, samples = trained.model, one.parts.train
    cache = Cache() if one.entry.kind in EMULATED else None
    result = judge_with_notes(model.module, judged_part(one, samples, config, cache))
    return replace(result, seen=len(samples)), False
