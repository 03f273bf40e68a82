"""Train on a folder of clips in a process of its own, and follow it."""

from __future__ import annotations

import csv
import threading
import time
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

from dvskit._files import visible
from dvskit.errors import ConfigError, DvskitError, count_of, did_you_mean, one_line
from dvskit.teach.clip_folder import ClipFolder
from dvskit.teach.train_process import TrainProcess

_MINUTES = 2.0
_OPTIONS = {"minutes": (0.2, 600.0), "seed": (0, 2**31 - 1)}
_SLOW_FPS = 12  # a hand moves by its width between two pictures
_JUDGING_S = 6.0  # about, to judge and to draw the card
_CLIP_WORDS = ("clip", "clips")


class TeachTraining:
    """Trainings on a ClipFolder: `dvskit train FOLDER`, one at a time.

    output  the folder of the models: output/NAME-1, output/NAME-2, ...

    A training goes on if this process is killed: the next TeachTraining on the folder follows it,
    or continues it from its last checkpoint if it has ended too. Raises ConfigError for an output
    within the folder.
    """

    def __init__(self, folder: ClipFolder, output: str | PathLike[str]) -> None:
        root = folder.path.resolve()
        if root in (Path(output).resolve(), *Path(output).resolve().parents):
            raise ConfigError(f"{output}: lies in the folder of clips; name another output")
        self._folder, self._output = folder, Path(output)
        self._lock = threading.RLock()
        self._process = TrainProcess(folder.path)
        self._look()

    @property
    def model(self) -> Path | None:
        """The folder of the newest finished model."""
        with self._lock:
            self._look()
            found = self._process.about.get("model")
        return Path(found) if found and (Path(found) / "model.toml").is_file() else None

    def start(self, options: Mapping[str, Any] | None = None) -> None:
        """Begin a new training.

        options  "minutes" for the whole run (default 2), "seed" (0)

        Raises ConfigError while one runs, for unknown options and values out of range, for a
        damaged clip, for fewer than two classes, and for a class without clips.
        """
        given = _checked(options or {})
        with self._lock:
            if self._process.running:
                raise ConfigError("a training is running; stop it first")
            self._look()
            slow = self._check_clips()
            folder = self._folder.path.resolve()
            self._process.forget_result()
            self._process.note(
                arguments=["train", str(folder), "--minutes", str(given["minutes"]),
                           "--seed", str(given["seed"]), "--json"],
                output=str(self._next_output(folder.name)), minutes=given["minutes"], ended="",
                slow=slow,
            )  # fmt: skip
            self._run()

    def resume(self) -> None:
        """Continue a stopped or failed training. Raises ConfigError if there is none."""
        with self._lock:
            self._look()
            if self._process.about.get("ended") not in ("stopped", "failed"):
                raise ConfigError("there is no stopped training to continue; start one")
            self._run()

    def stop(self) -> None:
        """Stop the training; `resume` continues it. Does nothing if none runs."""
        with self._lock:
            if self._process.running:
                self._process.note(ended="stopped")
                self._process.end()

    def close(self) -> None:
        """End the process of a running training; the next TeachTraining continues it."""
        with self._lock:
            self._process.end()

    def state(self) -> dict[str, Any]:
        """Return the state of the newest training, as values for JSON.

        stage         "none", "reading" (clips are emulated), "training", "judging", "finished",
                      "stopped" or "failed"
        running       whether a process works on it
        step, steps   of the training; 0 before it is known
        seconds_left  about, for the whole run; None if unknown or not running
        curve         a row for each epoch: {"step": 30, "loss": 0.7, "accuracy": 0.8 or None}
        result        in plain words, "3 of 4 clips it had not seen were recognised"; "" before
        held_out      whether the judged clips were not trained on; False before
        classes, confusion   names, and counts [true][answer]; [] before the end
        warnings      lines for people
        error         why it failed, one line; "" else
        model         the folder of the newest finished model, as text; None if there is none
        """
        with self._lock:
            self._look()
            process, model = self._process, self.model
            about, running = process.about, process.running
            found = _Log(Path(about.get("output", "")), running)
            notes = process.notes
            result = process.result if about.get("ended") == "finished" else {}
        stage = about.get("ended") or (found.stage if about else "none")
        left = found.seconds_left(about["began"] + 60 * about["minutes"]) if running else None
        return {
            "stage": stage,
            "running": running,
            "step": found.steps if result else found.step,
            "steps": found.steps,
            "seconds_left": left,
            "curve": found.curve,
            "result": _words(result) if result else "",
            "held_out": bool(result) and result["accuracy"] is not None,
            "classes": result.get("classes", []),
            "confusion": result.get("confusion", []),
            "warnings": [*_slow(about.get("slow", 0)), *_notes(notes), *_doubts(result)],
            "error": about.get("error", "") if stage == "failed" else "",
            "model": None if model is None else str(model),
        }

    def _run(self) -> None:
        about = self._process.about
        self._process.note(ended="", error="", began=time.time())
        try:
            self._process.start([*about["arguments"], "-o", about["output"]])
        except DvskitError as error:
            self._process.note(ended="failed", error=one_line(error))
            raise

    def _look(self) -> None:
        """Note the end of a training, finished or failed; continue one that ended by a kill."""
        process = self._process
        if not process.about or process.about.get("ended") or process.running:
            return
        if process.result:
            process.note(ended="finished", model=process.about["output"])
        elif process.exit_code is not None:
            process.note(ended="failed", error=_error(process.notes, process.exit_code))
        else:  # a process that was killed started it
            self._run()

    def _check_clips(self) -> int:
        """Return the number of clips with too few pictures a second.

        Raises ConfigError for clips that cannot be trained on.
        """
        folder, clips = self._folder, self._folder.clips()
        # Recordings of events count too: `dvskit train` takes both.
        counts = {label: len(visible(folder.path / label)) for label in folder.classes()}
        for clip in clips:
            if clip.damage:
                raise ConfigError(f"clip {clip.file}: {clip.damage}; delete it, record another")
        for label, count in counts.items():
            if not count:
                raise ConfigError(f"class {label}: has no clips; record some, or delete it")
        if len(counts) < 2:
            raise ConfigError("there are fewer than two classes with clips; add another class")
        return sum(clip.fps < _SLOW_FPS for clip in clips)

    def _next_output(self, name: str) -> Path:
        number = 1
        while (self._output / f"{name}-{number}").exists():
            number += 1
        return (self._output / f"{name}-{number}").absolute()


def _checked(options: Mapping[str, Any]) -> dict[str, float]:
    given: dict[str, float] = {"minutes": _MINUTES, "seed": 0}
    for key, value in options.items():
        if key not in _OPTIONS:
            raise ConfigError(f"unknown option {key!r}; {did_you_mean(key, _OPTIONS)}")
        low, high = _OPTIONS[key]
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not low <= value <= high or (key == "seed" and value != int(value)):
            raise ConfigError(f"{key} = {value!r} is not a number of {low:g} to {high:g}")
        given[key] = int(value) if key == "seed" else float(value)
    return given


class _Log:
    """What a run's folder shows of its progress.

    steps  of the training, and of those that leave a part of the clips out and are judged by it
    """

    def __init__(self, output: Path, running: bool) -> None:
        self._each = self._epochs = 0
        self._rows: list[dict[str, str]] = []
        parts: dict[str, bool] = {}  # judged?
        since = time.time()
        with suppress(OSError, ValueError, KeyError):
            config = output / "config.toml"
            loop = tomllib.loads(config.read_text("utf-8"))["loop"]
            self._each, self._epochs = loop["steps"], loop.get("stop") or loop["epochs"]
            since = config.stat().st_mtime
            self._rows = _table(output / "log.csv")
            since = max(since, (output / "log.csv").stat().st_mtime)
            parts = {row["part"]: bool(row["answer"]) for row in _table(output / "judged.csv")}
            if any(parts.values()):
                since = max(since, (output / "judged.csv").stat().st_mtime)
        self._parts, self._judged = len(parts), sum(parts.values())
        self._epoch_s = 0.0
        if self._rows:
            self._epoch_s = sum(float(row["seconds"]) for row in self._rows) / len(self._rows)
        self._gone = max(0.0, time.time() - since) if running else 0.0

    @property
    def steps(self) -> int:
        return self._each * self._epochs * (1 + self._parts)

    @property
    def stage(self) -> str:
        if not self.steps:
            return "reading"
        return "training" if len(self._rows) < self._epochs else "judging"

    @property
    def step(self) -> int:
        """The step, within an epoch or a part by the time that the ones before took."""
        within = int(self._each * self._gone / self._epoch_s) if self._epoch_s else 0
        done, most = len(self._rows) * self._each, self._each
        if self.stage == "judging":
            whole = self._each * self._epochs
            done, most = done + self._judged * whole, whole * (self._judged < self._parts)
        return min(done + max(0, min(within, most - 1)), self.steps)

    @property
    def curve(self) -> list[dict[str, Any]]:
        return [
            {
                "step": (number + 1) * self._each,
                "loss": float(row["loss"]),
                "accuracy": float(row["accuracy"]) if row.get("accuracy") else None,
            }
            for number, row in enumerate(self._rows)
        ]

    def seconds_left(self, end: float) -> float:
        """Return the seconds to the end of the run, at most to `end`, a time."""
        left = end - time.time()
        if self._epoch_s:
            epochs = self._epochs - len(self._rows) + self._epochs * (self._parts - self._judged)
            left = min(epochs * self._epoch_s - self._gone + _JUDGING_S, max(left, _JUDGING_S))
        return round(max(left, 1.0), 1)


def _table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def _words(result: Mapping[str, Any]) -> str:
    """Return a result in plain words."""
    right = sum(row[k] for k, row in enumerate(result["confusion"]))
    total = result["samples"]
    were = "was" if right == 1 else "were"
    what = count_of(total, *_CLIP_WORDS)
    if result["accuracy"] is None:
        return (
            f"{right:,} of {what} {were} recognised, but it learned from these; record more of "
            "each class, or another person, to test it on others"
        )
    people = [f"{name} {of[0]} of {of[1]}" for name, of in (result["people"] or {}).items()]
    by = f" by a training without this person: {', '.join(people)}" if len(people) > 1 else ""
    return f"{right:,} of {what} it had not seen {were} recognised{by}"


def _notes(lines: list[str]) -> list[str]:
    mark = "dvskit: note: "
    found = [line.removeprefix(mark) for line in lines if line.startswith(mark)]
    return [(line[:1].upper() + line[1:]).replace("--minutes", "minutes") for line in found]


def _slow(clips: int) -> list[str]:
    """Return a warning about clips with too few pictures a second."""
    if not clips:
        return []
    have = "has" if clips == 1 else "have"
    return [
        f"{count_of(clips, *_CLIP_WORDS)} {have} fewer than {_SLOW_FPS} pictures a second, too few "
        "for fast movements; use more light, or close other programs"
    ]


def _doubts(result: Mapping[str, Any]) -> list[str]:
    """Return a warning if guessing may be as good as the model."""
    if not result or result["accuracy"] is None:
        return []
    low, chance = result["interval_95"][0], 1 / len(result["classes"])
    if low > chance:
        return []
    return [
        "Guessing may be as good: there are too few clips to know, or the classes look alike; "
        "record more of each"
    ]


def _error(lines: list[str], code: int) -> str:
    mark = "dvskit: error: "
    said = [line.removeprefix(mark) for line in lines if line.startswith(mark)]
    if said and "holds a run on other samples" in said[-1]:
        return "clips were added, moved or deleted since this training began; start another one"
    if said:
        return said[-1].replace("--minutes", "minutes")
    last = f": {lines[-1]}" if lines else ""
    return f"the training ended with exit code {code}{last}; continue it, or start another one"
