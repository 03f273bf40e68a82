"""Training of networks that make images from events, on emulated scenes and clips alone.

config = load_reconstruction_config("samples/reconstruct.toml", {"loop.epochs": "3"})
train_reconstruction(config)             # a model folder, a log, a checkpoint

A sequence is a scene or a clip, emulated by a sensor of its own: the voxel grids of consecutive
windows, the frames at their ends, and the motion between them where it is known.
"""

from dvskit.training.reconstruction.config import (
    ReconstructionConfig,
    ReconstructionLoop,
    SequencesConfig,
    load_reconstruction_config,
)
from dvskit.training.reconstruction.images import TrainedReconstruction, train_reconstruction

__all__ = [
    "ReconstructionConfig",
    "ReconstructionLoop",
    "SequencesConfig",
    "TrainedReconstruction",
    "load_reconstruction_config",
    "train_reconstruction",
]
