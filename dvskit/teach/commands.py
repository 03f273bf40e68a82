"""The commands that use a model."""

from __future__ import annotations

from os import PathLike


def saved_commands(model_folder: str | PathLike[str]) -> list[tuple[str, str]]:
    """Return the commands that use a model, each with its purpose in a few words.

    They classify a video, classify the camera live, and score the model on other clips. VIDEO and
    CLIPS stand for the reader's own. Raises ModelError if the folder holds no model.
    """
    raise NotImplementedError
