"""dvskit: event cameras in Python.

Everything that sees brightness change becomes one stream of (x, y, t, polarity), and everything
else is a function of that stream.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dvskit.errors import DvskitError
from dvskit.events import Events, Filter, Sink, Size, Source
from dvskit.formats import (
    Recording,
    RecordingPart,
    load_events,
    open_events,
    register_format,
    save_events,
)
from dvskit.streams import Frame, Imu, Labels, Triggers

if TYPE_CHECKING:
    from dvskit import (
        datasets,
        emulator,
        encoders,
        filters,
        formats,
        networks,
        neurons,
        render,
        scenes,
        tensors,
        training,
        video,
    )
    from dvskit.emulator import Emulator, EmulatorParams, emulate

__version__ = "0.1.0"

__all__ = [
    "DvskitError",
    "Emulator",
    "EmulatorParams",
    "Events",
    "Filter",
    "Frame",
    "Imu",
    "Labels",
    "Sink",
    "Size",
    "Source",
    "Triggers",
    "__version__",
    "datasets",
    "emulate",
    "emulator",
    "encoders",
    "filters",
    "formats",
    "load_events",
    "networks",
    "neurons",
    "open_events",
    "register_format",
    "render",
    "save_events",
    "scenes",
    "tensors",
    "training",
    "video",
]

_FROM_EMULATOR = ("Emulator", "EmulatorParams", "emulate")


def __getattr__(name: str) -> Any:
    # Kernels and torch are loaded when first used, so that importing dvskit stays light.
    if name in _FROM_EMULATOR:
        return getattr(import_module("dvskit.emulator"), name)
    if name in __all__:
        return import_module(f"dvskit.{name}")
    raise AttributeError(f"module 'dvskit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def _events_html(events: Events) -> str:
    return import_module("dvskit.render.notebook").events_html(events)  # type: ignore[no-any-return]


def _recording_html(recording: Recording | RecordingPart) -> str:
    notebook = import_module("dvskit.render.notebook")
    return notebook.recording_html(recording)  # type: ignore[no-any-return]


# How a notebook shows them is drawn with what stands below them: it is given to them here, where
# everything meets, and loaded when something is shown.
Events._repr_html_ = _events_html  # type: ignore[attr-defined]
Recording._repr_html_ = RecordingPart._repr_html_ = _recording_html  # type: ignore[attr-defined]
