"""Images from events: a complementary filter, recurrent networks, and ONNX networks of others."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dvskit.reconstruction.complementary import ComplementaryFilter
from dvskit.reconstruction.image_times import (
    AutoExposure,
    EventsPerPixel,
    Exposure,
    GivenTimes,
    ImageTimes,
    SteadyTimes,
    listed_times,
)
from dvskit.reconstruction.reconstructed import (
    Reconstructed,
    ReconstructionPass,
    Reconstructor,
    load_reconstructor,
    reconstruct,
)
from dvskit.reconstruction.scores import ImageScores, judge, score_images

if TYPE_CHECKING:
    from dvskit.reconstruction.network import (
        NetworkReconstructor,
        ReconstructionModel,
        ReconstructionNetwork,
        VoxelInput,
        load_reconstruction_model,
        to_onnx,
    )
    from dvskit.reconstruction.onnx import OnnxReconstructor
    from dvskit.reconstruction.writing import SavedImages, SeenEvents, save_images

__all__ = [
    "AutoExposure",
    "ComplementaryFilter",
    "EventsPerPixel",
    "Exposure",
    "GivenTimes",
    "ImageScores",
    "ImageTimes",
    "NetworkReconstructor",
    "OnnxReconstructor",
    "Reconstructed",
    "ReconstructionModel",
    "ReconstructionNetwork",
    "ReconstructionPass",
    "Reconstructor",
    "SavedImages",
    "SeenEvents",
    "SteadyTimes",
    "VoxelInput",
    "judge",
    "listed_times",
    "load_reconstruction_model",
    "load_reconstructor",
    "reconstruct",
    "save_images",
    "score_images",
    "to_onnx",
]

# Modules that load torch or matplotlib, by the names they define.
_SLOW = {
    "NetworkReconstructor": "network",
    "OnnxReconstructor": "onnx",
    "ReconstructionModel": "network",
    "ReconstructionNetwork": "network",
    "SavedImages": "writing",
    "SeenEvents": "writing",
    "VoxelInput": "network",
    "load_reconstruction_model": "network",
    "save_images": "writing",
    "to_onnx": "network",
}

if not TYPE_CHECKING:  # which would accept any name

    def __getattr__(name: str) -> Any:
        if name in _SLOW:
            return getattr(import_module(f"{__name__}.{_SLOW[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
