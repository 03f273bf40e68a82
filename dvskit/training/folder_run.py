"""From a folder of samples to a model: look, choose, emulate, train for so many minutes, judge.

The model has a card: README.md beside it, with its pictures.
"""

from __future__ import annotations

import shlex
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import torch

from dvskit import _files
from dvskit._arguments import check_arguments
from dvskit._threads import thread_count
from dvskit.datasets import Cache, Sample, Samples, Stills
from dvskit.datasets.kept_samples import CachedSamples
from dvskit.errors import ConfigError, DvskitError, FittedWarning, OutputError, one_line
from dvskit.training.choosing import Choice, choose, with_steps
from dvskit.training.config import Config, DataConfig
from dvskit.training.evaluation import Result, evaluate
from dvskit.training.feed import load_feed
from dvskit.training.looking import Look, look_at
from dvskit.training.loop import Trained, check_place, checkpoint_of, train
from dvskit.training.model_tables import Reject
from dvskit.training.models import load_model
from dvskit.training.progress import Progress
from dvskit.training.running import Run, Watch
from dvskit.training.sets import EMULATED, TrainingSet, load_sets
from dvskit.training.toml_config import changed_config, config_values, load_config, to_toml
from dvskit.training.world import started_together, torch_threads

MINUTES = 5.0
_SPENT = 0.85  # of the time, on all but the unforeseen
_CARD_S = 8.0  # judging begins, pictures are drawn
_LEAST_STEPS = 20


@dataclass(frozen=True, slots=True)
class FolderRun:
    """What training on a folder left.

    trained  the model, its folder and the log
    result   how often it is right about what was held out; where that is nothing, about what it
             was trained on, and `held_out` is False
    choices  what was chosen, and why
    seconds  that all took
    """

    trained: Trained
    result: Result
    held_out: bool
    choices: tuple[Choice, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Onlooker:
    """Who is told what goes on; none of it changes the run.

    say       a line on what was found and chosen
    note      a line on what was taken for granted, or left out
    made      how many samples of how many are ready to be learned from
    progress  how far the training is
    """

    say: Callable[[str], None] = lambda text: None
    note: Callable[[str], None] = lambda text: None
    made: Callable[[int, int], None] = lambda done, total: None
    progress: Callable[[Progress], None] = lambda now: None


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
    onlooker: Onlooker | None = None,
) -> FolderRun:
    """Train a classifier on a folder, or a list, of labelled recordings and videos, or depth clips.

    All that a configuration says is chosen by what is in the folder: see `choose`. People are kept
    whole where they are known.

    output   the folder of the run, runs/<the folder's name> unless given: the model, its card
             (README.md), confusion.png, curves.png, log.csv and config.toml, which trains it again
    minutes  that all may take: the time of a step is measured, and as many steps are taken as
             there is time for. Their number stands in config.toml: with it, on the same machine and
             as many threads (half of torch's are taken here), the weights are the same again
    start    a model, a folder or a shipped one's name, whose weights it begins with, but for
             those of the last layer where the classes are others
    salvage  whether damaged files are read as far as they are whole, or left out
    changes  of the configuration that was chosen, as `load_config` takes them

    An interrupted run goes on when it is asked for again. Raises ConfigError for fewer than two
    classes and for `minutes` that are not above 0, OutputError where `output` holds another run,
    and what opening, `choose` and `train` raise.
    """
    began, tell = time.monotonic(), onlooker or Onlooker()
    if not minutes > 0:
        raise ConfigError(f"minutes = {minutes} is not above 0")
    if started_together() > 1:
        raise ConfigError("torchrun: train the folder in one process, then its config.toml in many")
    root = Path(folder)
    name = root.resolve().stem
    asked = Config(
        name=Path(output).name if output is not None else name,
        seed=seed,
        output=str(output) if output is not None else f"runs/{name}",
        start=start,
        data=(DataConfig(path=str(root), name="samples", salvage=salvage),),
    )
    check_place(Path(asked.output))
    config, sets, look, choices = _prepared(asked, changes or {}, tell)
    # On half of the threads: others make batches, and each layer waits for the slowest of all.
    half = max(1, min(torch.get_num_threads(), thread_count() // 2))
    with torch_threads(half):
        end = began + 60 * _SPENT * minutes
        config = _as_before(config) or _in_time(config, sets, end, tell)
        trained = train(config, progress=tell.progress)
        result, held_out = _judged(trained, sets)
    seconds = time.monotonic() - began
    run = FolderRun(trained, result, held_out, choices, seconds)
    write_card(run, config, look)
    return run


def _prepared(
    asked: Config, changes: Mapping[str, str], tell: Onlooker
) -> tuple[Config, Sequence[TrainingSet], Look, tuple[Choice, ...]]:
    """Look, choose, and make ready what is learned from; once more without what cannot be."""
    model = load_model(asked.start) if asked.start else None
    (entry,) = asked.data
    while True:
        look = look_at(entry.path, salvage=entry.salvage, without=entry.without)
        chosen = choose(look, replace(asked, data=(entry,)), model)
        config = changed_config(chosen.config, changes) if changes else chosen.config
        asked_for = (Choice("asked", f"{key} = {text}", "in place of what was chosen")
                     for key, text in changes.items())  # fmt: skip
        choices = (*chosen.choices, *asked_for)
        for line in (f"{entry.path}: {look.words}", *map(str, choices)):
            tell.say(line)
        sets = load_sets(config)
        wrong = _make_ready(sets, entry.salvage, tell)
        if not wrong:
            break
        for row, why in wrong.items():
            tell.note(f"{row.where}: left out: {why}")
        entry = replace(entry, without=(*entry.without, *sorted(row.name for row in wrong)))
    for text in (note for each in sets for note in each.notes):
        tell.note(text)
    return config, sets, look, choices


def _make_ready(sets: Sequence[TrainingSet], salvage: bool, tell: Onlooker) -> dict[Sample, str]:
    """Emulate all videos, so that their events are kept; return those that cannot be, and why.

    Raises what reading raises unless what is damaged is salvaged; then recordings are read as well.
    """
    cache, wrong = Cache(), {}
    every: list[tuple[Samples, int]] = []
    for each in sets:
        emulated = each.entry.kind in EMULATED
        if not (emulated or each.entry.salvage):
            continue
        for part in each.parts:
            assert not isinstance(part, Stills)
            kept = CachedSamples(part, cache) if emulated else part
            every += [(kept, number) for number in range(len(part))]

    def make(place: tuple[Samples, int]) -> None:
        samples, number = place
        try:
            samples.events(number)
        except DvskitError as error:
            if not salvage:
                raise
            wrong[samples.rows[number]] = one_line(error)

    with ThreadPoolExecutor(thread_count()) as pool:
        for done, _ in enumerate(pool.map(make, every), 1):
            tell.made(done, len(every))
    return wrong


def _as_before(config: Config) -> Config | None:
    """Return the configuration of a run that has begun, its number of steps; None where none has.

    Raises OutputError for a run of another configuration.
    """
    file = Path(config.output) / "config.toml"
    if not checkpoint_of(config).exists() or not file.exists():
        return None
    before = load_config(file)
    if _but_steps(before) != _but_steps(config):
        raise OutputError(
            f"{config.output}: holds a run of another configuration (its config.toml); name "
            "another output, or remove it"
        )
    return before


def _but_steps(config: Config) -> str:
    loop = with_steps(replace(config.loop, freeze=0), 1)
    return to_toml(config_values(replace(config, loop=loop)))


def _in_time(config: Config, sets: Sequence[TrainingSet], end: float, tell: Onlooker) -> Config:
    """Return the configuration with as many steps as there is time for, at most those it has."""
    wanted = config.loop.epochs * config.loop.steps
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FittedWarning)  # the run gives them
        run = Run(config, load_feed(config, sets), None, Watch(lambda at: None))
        each = run.seconds_a_step()
    possible = int((end - _CARD_S - time.monotonic()) / each)
    steps = min(wanted, max(_LEAST_STEPS, possible))
    if possible < steps:
        tell.note(
            f"there is no time for {steps} steps, {each:.2g} s each; they are taken anyway. "
            "Another run (-o) of more --minutes has what was emulated already"
        )
    elif steps < wanted:
        tell.say(f"steps     {steps:,}: as many as there is time for, {each:.2g} s each")
    return config if steps >= wanted else replace(config, loop=with_steps(config.loop, steps))


def _judged(trained: Trained, sets: Sequence[TrainingSet]) -> tuple[Result, bool]:
    """Return how often a model is right about what was held out, else what it was trained on."""
    if trained.results:
        return next(iter(trained.results.values())), True
    (one,) = sets
    assert not isinstance(one.parts.train, Stills)
    result = evaluate(trained.model, one.parts.train, split="all")
    return replace(result, seen=0, notes=result.notes[1:]), False  # who asks is told so anyway


def write_card(run: FolderRun, config: Config, look: Look) -> None:
    """Write README.md, confusion.png and curves.png to a model's folder, over earlier ones."""
    from dvskit.render import plots  # only who trains draws: Matplotlib takes long to load

    folder, result = run.trained.folder, run.result
    plots.save(
        plots.confusion(result.confusion, result.classes), folder / "confusion.png", overwrite=True
    )
    plots.save(plots.curves(folder), folder / "curves.png", overwrite=True)
    _files.write_whole(folder / "README.md", _card_text(run, config, look), overwrite=True)


def _card_text(run: FolderRun, config: Config, look: Look) -> str:
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
    judged = (
        "of samples that it was neither trained on nor chosen by"
        if run.held_out
        else "of the samples that it was trained on, which says nothing about others: none were "
        "held out"
    )
    lines = [
        f"# {trained.model.name}",
        "",
        f"Tells {len(result.classes)} classes apart: {', '.join(result.classes)}.",
        "",
        f"    dvskit classify FILE --model {folder}",
        "",
        "The commands of this page run in the folder in which the training was started.",
        "",
        "## How often it is right",
        f"{result}, {judged}.",
        "",
        "![Confusion matrix](confusion.png) ![Curves](curves.png)",
        "",
        "## Data and choices",
        f"{data}: {look.words}. `split.csv` lists what each was used for.",
        "",
        *(f"- {each.what}, {each.value}: {each.why}" for each in run.choices),
        f"- steps taken: {config.loop.epochs * config.loop.steps:,}, in {run.seconds:.0f} s, "
        "looking, reading and judging included",
        "",
        "## Train it again",
        f"    dvskit train {' '.join(again)}",
        "",
        f"measures its time anew; `dvskit train {same} -o OUTPUT` takes the same steps.",
        "",
        "## Limits",
        "Whatever it is shown is called one of its classes. The first window counts, "
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
