"""Train on a folder of clips in a process of its own, and follow it."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from dvskit.teach.clip_folder import ClipFolder


class TeachTraining:
    """Trainings on a ClipFolder: `dvskit train FOLDER`, one at a time.

    output  the folder of the models: output/NAME-1, output/NAME-2, ...

    A training goes on if this process ends, by kill or power cut: the next TeachTraining with the
    same output follows it, or continues it from its last checkpoint.
    """

    def __init__(self, folder: ClipFolder, output: str | PathLike[str]) -> None:
        raise NotImplementedError

    @property
    def model(self) -> Path | None:
        """The folder of the newest finished model."""
        raise NotImplementedError

    def start(self, options: Mapping[str, Any] | None = None) -> None:
        """Begin a new training.

        options  "minutes" for the whole run (default 2), "seed" (0)

        Raises ConfigError while one runs, for unknown options, and for fewer than two classes with
        clips, with the class in the message.
        """
        raise NotImplementedError

    def resume(self) -> None:
        """Continue a stopped or failed training. Raises ConfigError if there is none."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop the training; `resume` continues it. Does nothing if none runs."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return the state of the newest training, as values for JSON.

        stage         "none", "reading" (clips are emulated), "training", "judging", "finished",
                      "stopped" or "failed"
        running       whether a process works on it
        step, steps   of the training; 0 before it is known
        seconds_left  about, for the whole run; None if unknown or not running
        curve         a row for each epoch: {"step": 30, "loss": 0.7, "accuracy": 0.8 or None}
        result        in plain words, "3 of 4 clips it had not seen were recognised"; "" before
        held_out      whether the judged clips were not trained on
        classes, confusion   names, and counts [true][answer]; [] before the end
        warnings      lines for people
        error         why it failed, one line; "" else
        model         the folder of the model; None before the end
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the process of a running training; the next TeachTraining continues it."""
        raise NotImplementedError
