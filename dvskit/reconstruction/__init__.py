"""Images from events: a complementary filter, recurrent networks, and ONNX networks of others."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dvskit.reconstruction.complementary import ComplementaryFilter
from dvskit.reconstruction.exposure import AutoExposure, Exposure
from dvskit.reconstruction.image_times import (
    EventsPerPixel,
    GivenTimes,
    ImageTimes,
    SteadyTimes,
    listed_times,
)
from dvskit.reconstruction.named import load_reconstructor
from dvskit.reconstruction.reconstructed import Reconstructed, reconstruct
from dvskit.reconstruction.reconstructor import ReconstructionPass, Reconstructor
from dvskit.reconstruction.scores import ImageScores, judge, score_images

if TYPE_CHECKING:
    from dvskit.reconstruction.model import (
        ReconstructionModel,
        load_reconstruction_model,
        to_onnx,
    )
    from dvskit.reconstruction.network import ReconstructionNetwork
    from dvskit.reconstruction.network_reconstructor import NetworkReconstructor
    from dvskit.reconstruction.onnx_network import OnnxReconstructor
    from dvskit.reconstruction.voxels import VoxelInput
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
    "NetworkReconstructor": "network_reconstructor",
    "OnnxReconstructor": "onnx_network",
    "ReconstructionModel": "model",
    "ReconstructionNetwork": "network",
    "SavedImages": "writing",
    "SeenEvents": "writing",
    "VoxelInput": "voxels",
    "load_reconstruction_model": "model",
    "save_images": "writing",
    "to_onnx": "model",
}

if not TYPE_CHECKING:  # which would accept any name

    def __getattr__(name: str) -> Any:
        if name in _SLOW:
            return getattr(import_module(f"{__name__}.{_SLOW[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
