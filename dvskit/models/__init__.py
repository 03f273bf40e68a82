"""Models on disk: a trained network with its input, its classes, and what it learned from.

model = load_model("nmnist-signed-lif")         # a shipped model, or a folder
save_model("mine", model_of(module, samples))   # any torch.nn.Module
list(shipped_models())                          # ["arm-gestures", "article-mnist", ...]

Loading runs no code of a model's folder. `dvskit.training` makes models; `dvskit.evaluation`
evaluates them and lets them decide.
"""

from dvskit.models.inputs import InputConfig
from dvskit.models.model import Model, load_model, model_of, save_model
from dvskit.networks.model_folder import find_model, shipped_models

__all__ = [
    "InputConfig",
    "Model",
    "find_model",
    "load_model",
    "model_of",
    "save_model",
    "shipped_models",
]
