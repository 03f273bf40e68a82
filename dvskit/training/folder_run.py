"""Train a folder of samples to a model: inspect, choose, emulate, train for a time, judge.

The model folder holds a card: README.md and its pictures.
"""

from __future__ import annotations

import math
import shlex
import time
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path

import torch

from dvskit import _files
from dvskit._arguments import check_arguments
from dvskit._threads import thread_count
from dvskit.datasets import ImageSamples
from dvskit.errors import ConfigError, FittedWarning
from dvskit.training.checkpoint import (
    check_same_samples,
    check_same_text,
    check_same_values,
    config_on_disk,
)
from dvskit.training.config import Config, DataConfig
from dvskit.training.device import torch_threads
from dvskit.training.distributed import started_together
from dvskit.training.feed import load_feed, split_in_files
from dvskit.training.folder_clips import Callbacks, Prepared, Time, prepare
from dvskit.training.inputs import judged_batches
from dvskit.training.inspect_folder import BATCH, ChosenSetting, FolderContents, with_steps
from dvskit.training.loop import Trained, check_place, train_sets
from dvskit.training.model_tables import Reject, used_samples
from dvskit.training.models import load_model, with_earlier_samples
from dvskit.training.running import Progress, TrainingRun, Watch
from dvskit.training.scores import Result, headlines, judge_with_notes, logits_of
from dvskit.training.sets import TrainingSet
from dvskit.training.toml_config import config_values, to_toml, write_config

MINUTES = 5.0
_SPARE = 0.06  # of the time, as a reserve
_EMULATING = 0.5  # of the time, at most, until the last clip is emulated
_CARD_S = 4.0  # to draw the pictures and end the process
_SLOWEST = 8.0  # the largest slowdown by a busy machine
_JUDGED_STEPS = 0.5  # time to judge a batch, in training steps
_LEAST_STEPS = 20
_NOT_INDEPENDENT = (
    "The interval assumes independent samples. Samples of one person are alike, so it is too "
    "narrow."
)


@dataclass(frozen=True, slots=True)
class FolderRun:
    """The result of training on a folder.

    trained  the model, its folder and the log
    result   the accuracy on held-out samples. If none are held out it is the accuracy on training
             samples, and `held_out` is False
    choices  the choices, with their reasons
    seconds  of the whole run
    """

    trained: Trained
    result: Result
    held_out: bool
    choices: tuple[ChosenSetting, ...]
    seconds: float


@check_arguments
def train_folder(
    folder: str | PathLike[str],
    *,
    output: str | PathLike[str] | None = None,
    minutes: float = MINUTES,
    start: str = "",
    seed: int = 0,
    salvage: bool = False,
    changes: Mapping[str, str] | None = None,
    callbacks: Callbacks | None = None,
) -> FolderRun:
    """Train a classifier on a folder, or a list, of labelled recordings and videos, or depth clips.

    The configuration is chosen by the content of the folder: see `choose`. All clips of one person
    stay in one part if people are known.

    output   the folder of the run, default runs/<the folder's name>: the model, its card
             (README.md), confusion.png, curves.png, log.csv and config.toml, which trains it again
    minutes  for the whole run. Emulation takes at most about half of them; if that is too short for
             all clips, some of each class and person are used. The run takes as many steps as fit
             by the measured time of a step, and ends an epoch early if it is slower. config.toml
             holds clips and steps: it gives the same weights on the same machine with the same
             number of threads (half of torch's)
    start    a model folder, or a shipped model's name; the run begins with its weights. The last
             layer is new if the classes differ
    salvage  whether damaged files are salvaged and files that cannot be opened are skipped
    changes  of the chosen configuration, as in `load_config`

    The same call continues an interrupted run, with its first steps and clips; a finished run is
    judged again, not trained again. Raises ConfigError for fewer than two classes and for too few
    `minutes`, OutputError if `output` holds another run, and the errors of opening, `choose` and
    `train`.
    """
    began, computed = time.monotonic(), time.process_time()
    callbacks = callbacks or Callbacks()
    if not minutes > 0:
        raise ConfigError(f"minutes = {minutes} is not above 0")
    if started_together() > 1:
        raise ConfigError("torchrun: train the folder in one process, then its config.toml in many")
    asked = _asked(Path(folder), output, start, seed, salvage)
    check_place(Path(asked.output))
    end = began + 60 * minutes
    before = _before(asked)
    if before is not None:
        without = before.data[0].without
        asked = replace(asked, data=(replace(asked.data[0], without=without),))
    # A run that has begun keeps its clips, so there is no limit.
    limit = None if before is not None else Time(began, began + 60 * _EMULATING * minutes, end)
    ready = prepare(asked, changes or {}, callbacks, limit, partial(_check_same, before))
    # Train on half of the threads: others make batches, and each layer waits for its slowest one.
    half = max(1, min(torch.get_num_threads(), thread_count() // 2))
    with torch_threads(half):
        if before is not None:
            config = before
            steps = config.loop.epochs * config.loop.steps
            callbacks.say(f"steps     {steps:,}: the run in {config.output} began with them")
            trained = train_sets(config, ready.sets, progress=callbacks.progress)
        else:
            # On a busy machine a second of CPU time takes several seconds.
            slow = (time.monotonic() - began) / max(time.process_time() - computed, 1e-3)
            card_s = _CARD_S * min(max(slow, 1.0), _SLOWEST)
            until = end - card_s - _SPARE * 60 * minutes
            config, judging_s = _in_time(ready, Time(began, until, end), callbacks)
            trained = _train_until(config, ready.sets, end - card_s - judging_s, callbacks)
        result, held_out = _judged(trained, ready.sets)
    seconds = time.monotonic() - began
    run = FolderRun(trained, result, held_out, ready.choices, seconds)
    write_card(run, config, ready.contents)
    return run


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


def _before(asked: Config) -> Config | None:
    """Return the configuration of the run in the output folder, None if there is none.

    Raises OutputError for a run with other arguments.
    """
    folder = Path(asked.output)
    before = config_on_disk(folder)
    if before is None:
        return None
    had, now = config_values(before), config_values(asked)
    same = {**had, "name": asked.name, "seed": asked.seed}
    same.pop("start", None)
    same |= {key: now[key] for key in ("start",) if key in now}
    if len(before.data) == 1:
        entry = {**had["data"][0], "salvage": asked.data[0].salvage}
        entry["path"] = _same_path(before, asked)
        same["data"] = [entry]
    check_same_values(folder, tomllib.loads(to_toml(had)), same)
    return before


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

    Raises ConfigError if there is no time for a few steps.
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
    parts = one.parts
    last = judging * (len(parts.test) or len(parts.train))
    every = last + 10 * judging * len(parts.validation)  # in ten epochs
    least, now = min(wanted, _LEAST_STEPS), time.monotonic()
    possible = int((time_.until - every - now) / each)
    if possible < least:
        kept = time_.end - time_.until  # for the card and the reserve
        needed = (now - time_.began + every + least * each + kept) / (1 - _SPARE) / 60
        raise ConfigError(
            f"there is too little time to train: a step takes {each:.2g} s; --minutes "
            f"{_rounded_up(needed)} leaves time for {least}. Emulated events are kept"
        )
    steps = min(wanted, possible)
    if steps < wanted:
        callbacks.say(f"steps     {steps:,}: as many as the time allows, {each:.2g} s each")
    if steps < wanted:
        config = replace(config, loop=with_steps(config.loop, steps))
    return config, last


def _rounded_up(minutes: float) -> str:
    return f"{(math.ceil(10 * minutes) + 1) / 10:.1f}"  # 0.1 more, to start the process


class _NoTimeError(Exception):
    """Another epoch would end too late."""


def _train_until(
    config: Config, sets: Sequence[TrainingSet], end: float, callbacks: Callbacks
) -> Trained:
    """Train, and stop after an epoch if another one would end later than `end`.

    config.toml then holds the number of epochs, so that it trains the same weights again.
    """
    folder, at = Path(config.output), [time.monotonic()]

    def follow(now: Progress) -> None:
        callbacks.progress(now)
        if now.step % (now.steps // now.epochs):
            return
        at.append(time.monotonic())
        if 0 < now.step < now.steps and at[-1] + (at[-1] - at[-2]) > end:
            raise _NoTimeError(now.epoch + 1)

    try:
        return train_sets(config, sets, progress=follow)
    except _NoTimeError as late:
        (epochs,) = late.args
    config = replace(config, loop=replace(config.loop, stop=epochs))
    write_config(config, folder / "config.toml")
    callbacks.note(
        f"the machine is slower than measured: it takes {epochs} of {config.loop.epochs} epochs"
    )
    return train_sets(config, sets)


def _judged(trained: Trained, sets: Sequence[TrainingSet]) -> tuple[Result, bool]:
    """Return the result on held-out samples, else on training samples, and which it is."""
    if trained.results:
        return next(iter(trained.results.values())), True
    (one,) = sets
    assert not isinstance(one.parts.train, ImageSamples)
    model, samples = trained.model, one.parts.train
    result = judge_with_notes(model.module, judged_batches(samples, model.input, model.size))
    return replace(result, seen=len(samples)), False


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
    (entry,) = config.data
    data, reject = Path(entry.path).name, trained.model.reject
    folder, same = (_from_here(path) for path in (trained.folder, trained.folder / "config.toml"))
    again = [_from_here(entry.path), "-o", "OUTPUT"]
    again += ["--seed", str(config.seed), *["--salvage"] * entry.salvage]
    if config.start:
        again += ["--from", shlex.quote(config.start)]
    for each in run.choices:
        if each.what == "asked":
            again += ["--set", shlex.quote("=".join(each.value.split(" = ", 1)))]
    lines = [
        f"# {trained.model.name}",
        "",
        f"Recognises {len(result.classes)} classes: {', '.join(result.classes)}.",
        "",
        f"    dvskit classify FILE --model {folder}",
        "",
        "TrainingRun the commands of this page where the training was started.",
        "",
        "## Accuracy",
        "\n\n".join(f"{line[0].upper()}{line[1:]}." for line in headlines(result)),
        *(["", _NOT_INDEPENDENT] if contents.groups else []),
        "",
        *(["These samples took no part in training or in any choice.", ""] if run.held_out else []),
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
