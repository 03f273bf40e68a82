"""Images from events: a complementary filter, recurrent networks, and ONNX networks of others."""

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

__all__ = [
    "AutoExposure",
    "ComplementaryFilter",
    "EventsPerPixel",
    "Exposure",
    "GivenTimes",
    "ImageTimes",
    "Reconstructed",
    "ReconstructionPass",
    "Reconstructor",
    "SteadyTimes",
    "listed_times",
    "load_reconstructor",
    "reconstruct",
]
