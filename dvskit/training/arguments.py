"""What people pass for a model and for a recording: names, paths, sources."""

from __future__ import annotations

from os import PathLike

from dvskit.errors import ModelError
from dvskit.events import Events, Source, as_source
from dvskit.formats import open_events
from dvskit.training.models import Model, load_model


def as_model(model: Model | str | PathLike[str]) -> Model:
    """Return a model: as given, or loaded by its name or its folder. Raises ModelError."""
    if isinstance(model, str | PathLike):
        return load_model(model)
    if isinstance(model, Model):
        return model
    raise ModelError(
        f"{type(model).__name__} is no model; pass load_model(...), a shipped model's name or a "
        "folder first, and the events second"
    )


def as_recording(recording: Events | Source | str | PathLike[str]) -> Source:
    """Return a Source: as given, of Events, or of an event file.

    Raises EventsError for anything else, and what opening the file raises.
    """
    if isinstance(recording, str | PathLike):
        return open_events(recording)
    return as_source(recording)
