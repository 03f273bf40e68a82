"""dvskit: event cameras in Python.

Every sensor of brightness change becomes one stream of (x, y, t, polarity), and everything else is
a function of that stream.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dvskit._progress import progress
from dvskit.errors import DvskitError, explained
from dvskit.events import Events, Filter, Sink, Size, Source
from dvskit.formats import (
    load_events,
    merge,
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
        evaluation,
        filters,
        formats,
        layers,
        learning,
        models,
        motion,
        networks,
        neurons,
        reconstruction,
        render,
        scenes,
        tensors,
        tracking,
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
    "evaluation",
    "filters",
    "formats",
    "layers",
    "learning",
    "load_events",
    "merge",
    "models",
    "motion",
    "networks",
    "neurons",
    "open_events",
    "progress",
    "reconstruction",
    "register_format",
    "render",
    "save_events",
    "scenes",
    "tensors",
    "tracking",
    "training",
    "video",
]

_FROM_EMULATOR = ("Emulator", "EmulatorParams", "emulate")


if not TYPE_CHECKING:  # which would accept any name

    def __getattr__(name: str) -> Any:
        # Kernels and torch are loaded when first used, so that importing dvskit stays light.
        try:
            if name in _FROM_EMULATOR:
                return getattr(import_module("dvskit.emulator"), name)
            if name in __all__:
                return import_module(f"dvskit.{name}")
        except ModuleNotFoundError as error:
            raise explained(error) from None
        raise AttributeError(f"module 'dvskit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
