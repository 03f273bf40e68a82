"""The commands that use a model."""

from __future__ import annotations

import shlex
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from dvskit.errors import ModelError


class SavedCommand(NamedTuple):
    """A command, and its purpose in a few words.

    `saved_commands` returns those of a model.

        model = dvskit.models.load_model("arm-gestures")
        folder = dvskit.models.save_model("my_model", model)
        for purpose, command in dvskit.teach.saved_commands(folder):
            print(f"{purpose}:  {command}")
    """

    purpose: str
    command: str


def saved_commands(
    model_folder: str | PathLike[str], *, video: str = "VIDEO", clips: str = "CLIPS"
) -> list[SavedCommand]:
    """Return the commands that use a model: on a video, on the camera, and to score it.

    video, clips  the reader's own video, and a folder with a folder of clips for each class

    Raises ModelError if the folder holds no model.

        model = dvskit.models.load_model("arm-gestures")
        folder = dvskit.models.save_model("saved_model", model)
        commands = dvskit.teach.saved_commands(folder, video="video.mp4")
        commands[0].purpose, commands[0].command.split()[1]  # ("classify a video", "classify")
    """
    folder = Path(model_folder)
    if not (folder / "model.toml").is_file():
        raise ModelError(f"{folder}: holds no model.toml; give a folder that training wrote")
    model = shlex.quote(str(folder))
    video, clips = shlex.quote(video), shlex.quote(clips)
    return [
        SavedCommand("classify a video", f"dvskit classify {video} --model {model}"),
        SavedCommand("answer live", f"dvskit classify --live --camera 0 --model {model}"),
        SavedCommand("score it on other clips", f"dvskit eval {model} {clips}"),
    ]
