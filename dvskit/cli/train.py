"""`dvskit train` and `teach`: a model from a folder, by a configuration, or in the browser."""

from __future__ import annotations

import shlex
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit.cli import _console
from dvskit.cli._batch import NO_OUTPUT, Crew, Prepared
from dvskit.cli._inputs import FileJob
from dvskit.cli._judging import result_values, score_lines
from dvskit.cli._options import (
    REQUIRED,
    BrowserOption,
    Json,
    PortOption,
    Setting,
    argument,
    model_names,
    option,
    output,
)
from dvskit.errors import ConfigError, count_of

if TYPE_CHECKING:
    from dvskit.datasets import Samples
    from dvskit.training import Config, Progress, SweepRun


_RUNS = ("sweep", "seeds", "tensorboard")  # options of classifiers by a configuration
_SCRATCH = "scratch"  # as --start: new weights


@dataclass(frozen=True, slots=True)
class StartOptions:
    """The start of a training, and its output.

    minutes  Only for a folder: the time for the whole run, emulation included.
    start    Begin with the weights of a model: a folder or a shipped model's name; the last layer
             is new if the classes differ. The default for a folder that shows people is
             dvs128-gestures; scratch means new weights.
    seed     The seed of all random draws.
    salvage  Only for a folder: read the whole parts of damaged files, leave out unreadable files.
    set_     Change a key of the configuration, such as loop.epochs=3, or of one of its sets,
             data.NAME.path=FOLDER; may be repeated.
    """

    output: Path | None = output("The folder of the model.", shown="runs/NAME")
    minutes: float | None = option(shown="5", min=0.01)
    start: str | None = option(metavar="MODEL", shown=False, autocompletion=model_names)
    seed: int | None = option(min=0, shown="0")
    salvage: bool = False
    set_: list[Setting] | None = option(metavar="KEY=VALUE")

    @property
    def weights(self) -> str | None:
        """The model to begin with, "" for new weights; None if it is not given."""
        return "" if self.start == _SCRATCH else self.start


@dataclass(frozen=True, slots=True)
class Runs:
    """Options only for a configuration.

    tensorboard  Also write the loss of each step and the scores of each epoch for TensorBoard, to
                 the folder tensorboard in the output; needs pip install tensorboard.
    sweep        Train with each of these values of a key, and with each combination for several
                 keys; each run has its own folder. The same command continues after an
                 interruption.
    seeds        Train N times, with consecutive seeds from the configuration's on, for means and
                 errors.
    """

    tensorboard: bool = False
    sweep: list[Setting] | None = option(metavar="KEY=A,B,...")
    seeds: int | None = option(metavar="N", shown=False)


def train(
    source: Path = argument(default=REQUIRED, metavar="FOLDER|CONFIG"),
    begin: StartOptions = StartOptions(),
    runs: Runs = Runs(),
    json: Json = False,
    crew: Crew = Crew(),
) -> None:
    """Train a classifier.

    Interrupt it at any time (Ctrl-C, a signal, a power cut) and run the same command again: it
    continues from its last checkpoint, to the same weights. A finished run is judged again, not
    trained again. Another command into the same output is refused.

    A folder's settings are chosen by its content; config.toml in the output holds them. All clips
    of one person (p1_t2.avi, user03/...) stay together. Of fewer than 200 samples the model learns
    from all, and further trainings that leave people out judge it; of more, some are kept for a
    test. Both use people the network never saw.

    A configuration with task = "reconstruction", as samples/reconstruct.toml, trains a network that
    makes images from events.

    On several processors, GPUs or machines: torchrun --nproc-per-node 2 -m dvskit train CONFIG.
    --jobs and --cluster only emulate: they fill the cache with the videos and depth clips of a
    configuration first, in processes or on machines that see the same cache (DVSKIT_CACHE).
    torchrun --max-restarts 3 starts all processes again if one ends early. The run continues from
    its checkpoint to the same weights.

    source  A folder with a folder of videos, recordings or depth clips for each class, a list of
            such files, or a configuration (.toml); samples/ has some.{added}
    """
    overrides = dict(begin.set_ or ())
    if source.suffix.lower() != ".toml":
        why = "needs a configuration, such as the config.toml in the output of a folder's training"
        _console.refuse((*_RUNS, "jobs", "cluster"), why)
        _train_folder(source, begin, overrides, as_json=json)
        return
    _console.refuse(("json",), "only for a folder; dvskit eval prints JSON too")
    why = "only for a folder; a configuration has loop.epochs, and salvage of each [[data]]"
    _console.refuse(("minutes", "salvage"), why)
    for key, text in (("output", begin.output), ("start", begin.weights)):
        if text is not None:
            overrides[key] = dumps(str(text))  # quoted: a folder may be called 1
    if begin.seed is not None:
        overrides["seed"] = str(begin.seed)
    _train_config(source, overrides, runs, crew)


def _train_config(config: Path, overrides: dict[str, str], runs: Runs, crew: Crew) -> None:
    from dvskit.models.scores import near_chance
    from dvskit.training import is_main_process
    from dvskit.training import train as run
    from dvskit.training.config import config_from, toml_values

    values = toml_values(config, overrides)
    if "task" in values:
        _console.refuse((*_RUNS, "jobs", "cluster"), "only for classifiers")
        _train_reconstruction(values)
        return
    resolved = config_from(values)
    if crew != Crew() and is_main_process():
        _emulate_sets(config, resolved, crew)
    sweeps, tensorboard = runs.sweep or (), runs.tensorboard
    if sweeps or runs.seeds is not None:
        seeds = 1 if runs.seeds is None else runs.seeds
        run_sweep(resolved, sweeps, seeds, tensorboard=tensorboard)
        return
    with _console.Bars() as bars:
        follow = _follow(bars, resolved.name)
        trained = run(resolved, progress=follow, note=_console.note, tensorboard=tensorboard)
    if not is_main_process():  # only the first of torchrun's processes prints
        return
    for name, result in trained.results.items():
        near = near_chance(result)
        print(f"{name}: {near}\n{name}: {result}" if near else f"{name}: {result}")
        for text in result.notes:
            _console.note(text)
    _say_finished(trained.folder, len(trained.history), bars, "classify FILE")


def _emulate_sets(file: Path, config: Config, crew: Crew) -> None:
    """Let a crew emulate the clips of a configuration that the cache does not have.

    A clip that fails is left to the training, which reports it.
    """
    from dvskit._tables import to_toml
    from dvskit.datasets import Cache
    from dvskit.formats.index_cache import cache_folder
    from dvskit.training.config import config_values

    text, folder = to_toml(config_values(config)), cache_folder().absolute() / "samples"
    work, cache = Prepared(partial(_sets, text, folder), _emulate_clip), Cache(folder)
    jobs = [
        FileJob(file, NO_OUTPUT, 0, number)
        for number, (samples, place) in enumerate(work.prepared())
        if not cache.holds(samples, place)
    ]
    if jobs:
        with _console.progress("emulating", len(jobs), "clips") as show:
            for done, _ in enumerate(crew.results(work, jobs), 1):
                show(done)


def _sets(config: str, folder: Path) -> list[tuple[Samples, int]]:
    """Return the clips of a configuration: their sets, and places in them."""
    from dvskit.datasets import Cache
    from dvskit.training.config import config_from
    from dvskit.training.sets import emulated, load_sets

    return emulated(load_sets(config_from(tomllib.loads(config))), Cache(folder))


def _emulate_clip(clips: list[tuple[Samples, int]], job: FileJob) -> None:
    samples, place = clips[job.number]
    samples.events(place)


def _train_reconstruction(values: dict[str, Any]) -> None:
    from dvskit.training.reconstruction import train_reconstruction
    from dvskit.training.reconstruction.config import reconstruction_config_from

    resolved = reconstruction_config_from(values)
    _console.announce_compiling()
    with _console.Bars() as bars:
        follow = _follow(bars, resolved.name)
        trained = train_reconstruction(resolved, progress=follow, note=_console.note)
    for name, score in trained.scores.items():
        print(f"{name}: {score:.4f}")
    use = "reconstruct FILE -o out.mp4"
    _say_finished(trained.folder, len(trained.history), bars, use)


def _train_folder(
    folder: Path, begin: StartOptions, changes: dict[str, str], *, as_json: bool
) -> None:
    began = time.monotonic() - time.process_time()
    from dvskit.training import Callbacks, train_folder

    _console.announce_compiling()
    with _console.Bars() as reading, _console.Bars() as bars:

        def made(done: int, total: int) -> None:
            reading.show("reading", total, "samples", done)
            if done == total:
                reading.close()

        follow = _follow(bars, folder.resolve().name)
        run = train_folder(
            folder,
            output=begin.output,
            minutes=5.0 if begin.minutes is None else begin.minutes,
            began=began,
            start=begin.weights,
            seed=begin.seed or 0,
            salvage=begin.salvage,
            changes=changes,
            callbacks=Callbacks(_console.say, _console.note, made, follow),
        )
    trained = run.trained
    if as_json:
        how = {"judged": run.judged or None, "people": run.people}
        _console.print_json({**result_values(run.result), **how})
    else:
        print("\n".join([*([run.judged] if run.judged else []), *score_lines(run.result)]))
    for text in run.result.notes:
        _console.note(text)
    _console.say(f"{trained.folder}: model, card (README.md), pictures; in {run.seconds:.0f} s")
    _say_finished(trained.folder, len(trained.history), bars, "classify FILE")


def _follow(bars: _console.Bars, name: str) -> Callable[[Progress], None]:

    def follow(now: Progress) -> None:
        bars.show(f"training {name}", now.steps, "steps", now.step, now.remark)
        if now.scores and not (_console.quiet or _console.on_terminal()):
            print(now.remark, file=sys.stderr, flush=True)  # for logs: one line per epoch

    return follow


def _say_finished(folder: Path, epochs: int, bars: _console.Bars, use: str) -> None:
    """Say how a model is used; note a run that was finished before, and so has shown no bar."""
    if not bars.any:
        _console.note(
            f"{folder}: was finished before ({count_of(epochs, 'epoch')}); to train again, name "
            "another output (-o FOLDER)"
        )
    _console.say(f"{folder}: try it: dvskit {use} --model {shlex.quote(str(folder))}")


def run_sweep(config: Config, sweeps: Sequence[Setting], seeds: int, *, tensorboard: bool) -> None:
    """Train all runs with a bar each, and print a table. Raises ConfigError before any run."""
    from dvskit.training import sweep

    with _console.Bars() as bars:

        def follow(run: SweepRun, now: Progress) -> None:
            title = f"run {run.number + 1} of {run.count}: {run.title}"
            bars.show(title, now.steps, "steps", now.step, now.remark)
            if now.scores:
                _console.log(f"{title}: {now.remark}")

        keys = _keys(sweeps)
        found = sweep(
            config,
            keys,
            seeds=seeds,
            progress=follow,
            note=_console.note,
            tensorboard=tensorboard,
        )
    print(found)
    _console.say(f"{found.folder}: a model per run, and sweep.csv, this table")


def _keys(sweeps: Sequence[Setting]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for key, values in sweeps:
        if not values:
            raise ConfigError(f"--sweep {key}=: names no values, such as {key}=1e-3,4e-3")
        if key in keys:
            raise ConfigError(f"--sweep {key}: occurs twice; name all its values at once")
        keys[key] = list(_split(values))
    return keys


def _split(text: str) -> Iterator[str]:
    """Yield the values between commas outside of brackets and quotes."""
    begun, depth, quoted = 0, 0, False
    for at, letter in enumerate(text):
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter == "[") - (letter == "]")
        if letter == "," and not depth and not quoted:
            yield text[begun:at].strip()
            begun = at + 1
    yield text[begun:].strip()


# --- teach ----------------------------------------------------------------------------------------


def teach(
    folder: Path = argument(default=Path("gestures")),
    output: Path = output("The folder of the trained models.", default=Path("runs"), shown=True),
    port: PortOption = 0,
    browser: BrowserOption = True,
) -> None:
    """Teach gestures in the browser: record clips, train, and see live answers; Ctrl-C ends it.

    The page is served only to this machine, and no data leaves it. Its address is printed on
    standard output. It takes the frames of the browser's camera, and videos. Clips are stored as
    FOLDER/CLASS/PERSON_t1.mkv, which dvskit train FOLDER takes, too. The next start has the same
    address if its port is free, so an open page goes on by itself.

    folder  The folder of the clips, which has a folder for each class; it is made if it is missing.
    """
    _console.check_torch()
    from dvskit.teach import ClipFolder, TeachTraining
    from dvskit.teach.server import TeachServer, address_file

    with ClipFolder(folder) as clips:
        for clip in clips.recovered:
            _console.say(f"recovered {clip.file}: its recording was interrupted")
        training = TeachTraining(clips, output)
        try:
            with TeachServer(clips, training, port=port, kept=address_file(folder)) as served:
                _console.serve(served.url, browser)
        finally:
            training.close()
