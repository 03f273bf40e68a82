"""Train, save and load models; the only place that picks a device.

config = load_config("samples/nmnist.toml", {"data.recordings.path": "nmnist"})
train(module, samples, output="runs/own")                # any torch.nn.Module
train_folder("gestures", output="runs/mine", minutes=5)   # chooses the settings, with reasons
result = train(config)                                   # a model folder, a log, a checkpoint
sweep(config, {"network.beta": [0.5, 0.7]}, seeds=5)     # a table with errors, and sweep.csv
model = load_model("nmnist-signed-lif")                  # a shipped model, or a folder
keep_memory()                                            # before a training loop of your own

`dvskit.evaluation` evaluates models and lets them decide.
"""

from dvskit.networks.model_folder import find_model, shipped_models
from dvskit.training.config import Config, DataConfig, LoopConfig
from dvskit.training.device import keep_memory
from dvskit.training.distributed import is_main_process
from dvskit.training.folder_card import FolderRun
from dvskit.training.folder_clips import Callbacks
from dvskit.training.folder_run import train_folder
from dvskit.training.input_config import InputConfig
from dvskit.training.loop import Trained, train
from dvskit.training.models import Model, load_model, save_model
from dvskit.training.own import model_of
from dvskit.training.running import Progress, progress_bar
from dvskit.training.sweeping import Combination, Sweep, SweepRun, sweep
from dvskit.training.toml_config import load_config, write_config

__all__ = [
    "Callbacks",
    "Combination",
    "Config",
    "DataConfig",
    "FolderRun",
    "InputConfig",
    "LoopConfig",
    "Model",
    "Progress",
    "Sweep",
    "SweepRun",
    "Trained",
    "find_model",
    "is_main_process",
    "keep_memory",
    "load_config",
    "load_model",
    "model_of",
    "progress_bar",
    "save_model",
    "shipped_models",
    "sweep",
    "train",
    "train_folder",
    "write_config",
]
