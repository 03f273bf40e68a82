"""Train, evaluate, save and load models; the only place that picks a device.

config = load_config("samples/nmnist.toml", {"data.recordings.path": "nmnist"})
train(module, samples, output="runs/own")                # any torch.nn.Module
train_folder("gestures", output="runs/mine", minutes=5)   # chooses the settings, with reasons
result = train(config)                                   # a model folder, a log, a checkpoint
model = load_model("nmnist-signed-lif")                  # a shipped model, or a folder
classify(model, dvskit.load_events("digit.bin"))         # {"0": 0.01, ...}
classify_windows(model, recording).windows               # one decision per window
for decision in decide(model, recording): ...            # one per bin, while events arrive
sweep(config, {"network.beta": [0.5, 0.7]}, seeds=5)     # a table with errors, and sweep.csv
evaluate(model, "nmnist").accuracy                       # on samples it was not trained on
evaluate("article-mnist", "mnist").accuracy              # on the test images of IDX files
evaluate_over_time("nmnist-signed-lif", "nmnist").settled_us   # time until decisions settle
evaluate_corrupted("nmnist-signed-lif", "nmnist", "noise")     # a Result per noise level
count_operations("nmnist-signed-lif", "nmnist").energy_j       # joules per sample
keep_memory()                                            # before a training loop of your own
"""

from dvskit.training.config import Config, DataConfig, InputConfig, LoopConfig
from dvskit.training.corruption import CORRUPTIONS, Corrupted, CorruptionKind, evaluate_corrupted
from dvskit.training.decisions import (
    Classified,
    Decision,
    classify,
    classify_image,
    classify_spans,
    classify_windows,
)
from dvskit.training.evaluation import Result, evaluate
from dvskit.training.folder_run import FolderRun, train_folder
from dvskit.training.live import Live, LiveDecision, LiveRun, decide
from dvskit.training.loop import Trained, train
from dvskit.training.model_tables import Reject
from dvskit.training.models import Model, find_model, load_model, save_model, shipped_models
from dvskit.training.observation import Observed, observe, spiking_layers, weighted_layers
from dvskit.training.operations import LayerOperations, NeuronUpdates, Operations, count_operations
from dvskit.training.over_time import OverTime, evaluate_over_time
from dvskit.training.own import model_of
from dvskit.training.preparing import Onlooker
from dvskit.training.progress import Progress, progress_bar
from dvskit.training.reject_choice import choose_reject
from dvskit.training.sweeping import Combination, Sweep, SweepRun, sweep
from dvskit.training.toml_config import load_config, write_config
from dvskit.training.world import keep_memory, leads

__all__ = [
    "CORRUPTIONS",
    "Classified",
    "Combination",
    "Config",
    "Corrupted",
    "CorruptionKind",
    "DataConfig",
    "Decision",
    "FolderRun",
    "InputConfig",
    "LayerOperations",
    "Live",
    "LiveDecision",
    "LiveRun",
    "LoopConfig",
    "Model",
    "NeuronUpdates",
    "Observed",
    "Onlooker",
    "Operations",
    "OverTime",
    "Progress",
    "Reject",
    "Result",
    "Sweep",
    "SweepRun",
    "Trained",
    "choose_reject",
    "classify",
    "classify_image",
    "classify_spans",
    "classify_windows",
    "count_operations",
    "decide",
    "evaluate",
    "evaluate_corrupted",
    "evaluate_over_time",
    "find_model",
    "keep_memory",
    "leads",
    "load_config",
    "load_model",
    "model_of",
    "observe",
    "progress_bar",
    "save_model",
    "shipped_models",
    "spiking_layers",
    "sweep",
    "train",
    "train_folder",
    "weighted_layers",
    "write_config",
]
