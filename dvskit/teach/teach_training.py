"""Train on a folder of clips in a process of its own, which outlives this one, and follow it."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from dvskit import _files
from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit._files import visible
from dvskit._tables import read_table
from dvskit._toml import parse_toml
from dvskit.errors import ConfigError, DvskitError, ProcessError
from dvskit.teach.clip_folder import ClipFolder
from dvskit.teach.hidden import own_folder, take_lock, writing
from dvskit.teach.plain_words import (
    OTHER_CLIPS,
    SLOW_FPS,
    UNKNOWN_ERROR,
    clip_words,
    doubt_words,
    error_words,
    result_words,
    start_words,
    warning_words,
)

_DVSKIT = (sys.executable, "-m", "dvskit")
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
_PATIENCE_S = 10.0  # for an interrupted process to end


class TrainProcess:
    """The latest training of a folder: its command, and the process that runs it.

    The files lie in FOLDER/.training: run.json (the values in `about`), result.json (the output of
    the command), notes.txt (its messages), and a lock that the process holds until it ends.
    """

    def __init__(self, folder: Path) -> None:
        self._path = own_folder(folder / ".training")
        self._process: subprocess.Popen[bytes] | None = None
        self.about = _read(self._path / "run.json")

    @property
    def running(self) -> bool:
        """Whether a process works on it, started by this process or by an earlier one."""
        if self._process is not None:
            return self._process.poll() is None
        held = take_lock(self._path / "lock")
        if held is not None:
            os.close(held)
        return held is None

    @property
    def exit_code(self) -> int | None:
        """The exit code of a process that this one started; None if it runs, or was not."""
        return None if self._process is None else self._process.poll()

    @property
    def result(self) -> dict[str, Any]:
        """The result of a finished training; {} before."""
        return _read(self._path / "result.json")

    def forget_result(self) -> None:
        """Remove the result, before `about` changes to another training."""
        (self._path / "result.json").unlink(missing_ok=True)

    @property
    def notes(self) -> list[str]:
        """The messages of the command so far, a line each."""
        try:
            text = (self._path / "notes.txt").read_text("utf-8", "replace")
        except OSError:
            return []
        return text.splitlines()

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The notes of the command that have a kind: see `dvskit.training.folder.RunNotes`."""
        output = self.about.get("output")
        return list(_read(Path(output) / "notes.json").get("notes", [])) if output else []

    def note(self, **about: Any) -> None:
        """Change values of `about`, on disk too."""
        self.about |= about
        _files.write_whole(self._path / "run.json", json.dumps(self.about), overwrite=True)

    def start(self, arguments: list[str]) -> None:
        """Run `dvskit` with these arguments. Raises ConfigError while another process runs."""
        with writing(self._path):
            held = take_lock(self._path / "lock")
        if held is None:
            raise ConfigError("a training is running; stop it first")
        try:
            with (
                writing(self._path),
                (self._path / "result.json").open("wb") as result,
                (self._path / "notes.txt").open("wb") as notes,
            ):
                self._process = subprocess.Popen(
                    [*_DVSKIT, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=result,
                    stderr=notes,
                    pass_fds=() if sys.platform == "win32" else (held,),
                )
        finally:
            os.close(held)
        self.note(pid=self._process.pid)

    def end(self) -> None:
        """Interrupt the process, and wait until it has ended; after ten seconds kill it.

        Raises ProcessError if it still runs ten seconds later.
        """
        began = time.monotonic()
        while self.running:
            waited = time.monotonic() - began
            if waited > 2 * _PATIENCE_S:
                raise ProcessError(f"process {self.about.get('pid')} does not end; end it yourself")
            self._signal(_KILL if waited > _PATIENCE_S else signal.SIGTERM)
            time.sleep(0.05)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(OSError):  # it has just ended
            if self._process is not None:
                self._process.send_signal(number)
            elif "pid" in self.about:  # it holds the lock, so the number is still its own
                os.kill(self.about["pid"], number)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


_JUDGING_S = 6.0  # about, to judge and to draw the card


class TeachTraining:
    """Trainings on a ClipFolder: `dvskit train FOLDER`, one at a time.

    output  the folder of the models: output/NAME-1, output/NAME-2, ...

    A training goes on if this process is killed: the next TeachTraining on the folder follows it,
    or continues it from its last checkpoint if it has ended too. Raises ConfigError for an output
    within the folder.

        with dvskit.teach.ClipFolder("gestures") as folder:
            training = dvskit.teach.TeachTraining(folder, "taught")
            training.start({"minutes": 1, "seed": 1})  # returns at once
            state = training.state()
            state["stage"], state["running"]  # ("reading", True)
            training.stop()  # `resume` continues it
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
        given = read_table(TrainingOptions, options or {})
        with self._lock:
            if self._process.running:
                raise ConfigError("a training is running; stop it first")
            self._look()
            counts = self._check_clips()
            folder = self._folder.path.resolve()
            output = self._next_output(folder.name)
            with writing(output):  # so that the run keeps its notes from the beginning
                output.mkdir(parents=True)
            self._process.forget_result()
            self._process.note(
                arguments=["train", str(folder), "--minutes", str(given.minutes),
                           "--seed", str(given.seed), "--json"],
                output=str(output), minutes=given.minutes, ended="",
                clips=self._clips_key(), **counts,
            )  # fmt: skip
            self._run()

    def resume(self) -> None:
        """Continue a stopped or failed training.

        Raises ConfigError if there is none, or if clips have changed since it began.
        """
        with self._lock:
            self._look()
            if self._process.about.get("ended") not in ("stopped", "failed"):
                raise ConfigError("there is no stopped training to continue; start one")
            if self._has_other_clips():
                raise ConfigError(OTHER_CLIPS)
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
        result        in plain words, "3 of 4 clips it had not seen were recognized"; "" before
        start         its first weights, in plain words; "" before they are known
        held_out      whether the judged clips were not trained on; False before
        classes, confusion   names, and counts [true][answer]; [] before the end
        warnings      in plain words, a sentence or two each
        error         why it failed, in plain words; "" else
        report        the last line of the failed command, for a report of the fault; "" else
        model         the folder of the newest finished model, as text; None if there is none
        """
        with self._lock:
            self._look()
            process, model = self._process, self.model
            about, running = process.about, process.running
            found = _Log(Path(about.get("output", "")), running)
            notes = process.findings
            lines = process.notes
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
            "result": result_words(result) if result else "",
            "start": start_words(notes),
            "held_out": bool(result) and result["accuracy"] is not None,
            "classes": result.get("classes", []),
            "confusion": result.get("confusion", []),
            "warnings": [*clip_words(about), *warning_words(notes), *doubt_words(result)],
            "error": about.get("error", "") if stage == "failed" else "",
            "report": lines[-1] if stage == "failed" and lines else "",
            "model": None if model is None else str(model),
        }

    def _run(self) -> None:
        about = self._process.about
        self._process.note(ended="", error="", began=time.time())
        try:
            self._process.start([*about["arguments"], "-o", about["output"]])
        except DvskitError:
            self._process.note(ended="failed", error=UNKNOWN_ERROR)
            raise

    def _look(self) -> None:
        """Note the end of a training, finished or failed; continue one that ended by a kill."""
        process = self._process
        if not process.about or process.about.get("ended") or process.running:
            return
        if process.result:
            process.note(ended="finished", model=process.about["output"])
        elif process.exit_code is not None:
            process.note(ended="failed", error=error_words(process.findings))
        elif self._has_other_clips():
            process.note(ended="failed", error=OTHER_CLIPS)
        else:  # a process that was killed started it
            self._run()

    def _clips_key(self) -> str:
        """Return what identifies the files of all classes."""
        root = self._folder.path
        found = [each for label in self._folder.classes() for each in visible(root / label)]
        names = (f"{each.relative_to(root)} {each.stat().st_mtime_ns}" for each in found)
        return hashlib.sha256(os.fsencode("\n".join(names))).hexdigest()

    def _has_other_clips(self) -> bool:
        return self._process.about.get("clips", "") not in ("", self._clips_key())

    def _check_clips(self) -> dict[str, int]:
        """Return the number of clips with too few pictures a second, and of those cut at the end.

        Raises ConfigError for clips that cannot be trained on.
        """
        folder, clips = self._folder, self._folder.clips()
        # Recordings of events count too: `dvskit train` takes both.
        counts = {label: len(visible(folder.path / label)) for label in folder.classes()}
        for clip in clips:
            if clip.damage:
                raise ConfigError(f"clip “{clip.file}” is damaged; delete it, and record another")
        for label, count in counts.items():
            if not count:
                raise ConfigError(f"class “{label}” has no clips; record some, or delete it")
        if len(counts) < 2:
            raise ConfigError("there are fewer than two classes with clips; add another class")
        return {
            "slow": sum(clip.fps < SLOW_FPS for clip in clips),
            "cut": sum(clip.cut for clip in clips),
        }

    def _next_output(self, name: str) -> Path:
        number = 1
        while (self._output / f"{name}-{number}").exists():
            number += 1
        return (self._output / f"{name}-{number}").absolute()


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """The options of a training: minutes for the whole run, and its seed."""

    minutes: float = checked(check_number, 0.2, 600, default=2.0)
    seed: int = checked(check_whole, 0, 2**31 - 1, default=0)

    def __post_init__(self) -> None:
        check_fields(self)


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
            loop = parse_toml(config.read_text("utf-8"))["loop"]
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
