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
from dvskit.reconstruction.scores import ImageScores, judge, score_images

__all__ = [
    "AutoExposure",
    "ComplementaryFilter",
    "EventsPerPixel",
    "Exposure",
    "GivenTimes",
    "ImageScores",
    "ImageTimes",
    "Reconstructed",
    "ReconstructionPass",
    "Reconstructor",
    "SteadyTimes",
    "judge",
    "listed_times",
    "load_reconstructor",
    "reconstruct",
    "score_images",
]
