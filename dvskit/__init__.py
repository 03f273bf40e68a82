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
from dvskit.events.columns import set_html_writer
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
    from dvskit.emulator.calibration import calibrate

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
    "calibrate",
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

_SLOW = {
    "Emulator": "dvskit.emulator",
    "EmulatorParams": "dvskit.emulator",
    "calibrate": "dvskit.emulator.calibration",
    "emulate": "dvskit.emulator",
}


if not TYPE_CHECKING:  # which would accept any name

    def __getattr__(name: str) -> Any:
        # Kernels and torch are loaded when first used, so that importing dvskit stays light.
        try:
            if name in _SLOW:
                return getattr(import_module(_SLOW[name]), name)
            if name in __all__:
                return import_module(f"dvskit.{name}")
        except ModuleNotFoundError as error:
            raise explained(error) from None
        raise AttributeError(f"module 'dvskit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def _html_of(shown: Any) -> str:
    html: str = import_module("dvskit.render.notebook").html(shown)
    return html


set_html_writer(_html_of)
