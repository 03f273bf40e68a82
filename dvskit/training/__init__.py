"""Train networks: from a configuration, a folder or a module to a model.

config = load_config("samples/nmnist.toml", {"data.recordings.path": "nmnist"})
train(module, samples, output="runs/own")                # any torch.nn.Module
train_folder("gestures", output="runs/mine", minutes=5)   # chooses the settings, with reasons
result = train(config)                                   # a model folder, a log, a checkpoint
sweep(config, {"network.beta": [0.5, 0.7]}, seeds=5)     # a table with errors, and sweep.csv
keep_memory()                                            # before a training loop of your own

`dvskit.models` saves and loads models; `dvskit.evaluation` evaluates them and lets them decide.
"""

from dvskit.models.learned import (
    DataConfig,
    DepthData,
    DrawnData,
    ImageData,
    MixedData,
    RecordingData,
    SaccadeData,
    SkeletonData,
    VideoData,
)
from dvskit.training.config import Config, LoopConfig, load_config, write_config
from dvskit.training.distributed import is_main_process, keep_memory
from dvskit.training.folder import Callbacks, FolderRun, train_folder
from dvskit.training.labels import Trained, train
from dvskit.training.loop import Progress, progress_bar
from dvskit.training.sweeping import Combination, Sweep, SweepRun, sweep

__all__ = [
    "Callbacks",
    "Combination",
    "Config",
    "DataConfig",
    "DepthData",
    "DrawnData",
    "FolderRun",
    "ImageData",
    "LoopConfig",
    "MixedData",
    "Progress",
    "RecordingData",
    "SaccadeData",
    "SkeletonData",
    "Sweep",
    "SweepRun",
    "Trained",
    "VideoData",
    "is_main_process",
    "keep_memory",
    "load_config",
    "progress_bar",
    "sweep",
    "train",
    "train_folder",
    "write_config",
]
