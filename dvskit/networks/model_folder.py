"""The folder of a model: where it lies, its table, and its weights, checked.

The header of weights.safetensors is compared with the network's shapes before memory is allocated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dvskit._files import MOST_TOML, open_regular, read_regular, shipped_folders
from dvskit._toml import parse_toml
from dvskit.errors import ModelError, count_of, did_you_mean, one_line

MODEL_TOML, WEIGHTS = "model.toml", "weights.safetensors"
DIGEST = "weights_sha256"  # a key of model.toml
TASKS: Mapping[str, str] = {"reconstruction": "dvskit reconstruct --model"}
"""Values of `task` in model.toml, each with its command; a classifier has no `task`."""
_KINDS = {"F": "floats", "B": "truths", "I": "whole numbers", "U": "whole numbers"}


def find_model(
    name_or_path: str | PathLike[str], task: str | None = None, others: Iterable[str] = ()
) -> Path:
    """Return the folder of a model: a path, else a shipped model's name. Raises ModelError.

    task    of the shipped models that the message names
    others  more names that the command takes, for the message

        folder = dvskit.models.find_model("dvs128-gestures")  # or a path, such as "runs/mine"
        model = dvskit.models.load_model(folder)
    """
    path = Path(name_or_path)
    if (path / MODEL_TOML).is_file():
        return path
    if path.is_dir():
        raise ModelError(f"{path}: holds no {MODEL_TOML}; give a folder that training wrote")
    every = shipped_folders(MODEL_TOML)
    if str(name_or_path) in every:
        return every[str(name_or_path)]
    known = [*shipped_models(task), *others]
    hint = did_you_mean(str(name_or_path), known) if known else "no model is shipped here"
    raise ModelError(f"{name_or_path}: neither a model folder nor a shipped model; {hint}")


def shipped_models(task: str | None = None) -> dict[str, Path]:
    """Return the folders of shipped models by name, from a checkout or a package.

    task  "reconstruction", or None for classifiers

        list(dvskit.models.shipped_models())  # ["dvs128-gestures", ...]
    """
    return {
        name: folder
        for name, folder in shipped_folders(MODEL_TOML).items()
        if read_toml(folder / MODEL_TOML).get("task") == task
    }


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a model.toml. Raises ModelError."""
    try:
        return parse_toml(read_regular(path, MOST_TOML).decode("utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: is not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise ModelError(f"{path}: is not TOML: {one_line(error)}") from error


def check_header(path: Path, expected: Mapping[str, Tensor]) -> None:
    """Raise ModelError unless the header of a weights file names tensors of the expected shapes.

    Dtypes may differ only in their size: float16 for float32, for example.
    """
    try:
        with open_regular(path), safe_open(path, "pt") as file:
            parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            found = {key: (tuple(x.get_shape()), x.get_dtype()) for key, x in parts.items()}
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path}: does not fit model.toml: it cannot be read: {one_line(error)[:200]}; "
            "copy both again, or train again"
        ) from error
    wrong = [f"it has no {key}" for key in expected if key not in found]
    wrong += [f"{key[:80]} is not in the network" for key in found if key not in expected]
    for key, tensor in expected.items():
        shape, kind = found.get(key, (None, ""))
        if shape is None or is_lazy(tensor):  # takes the shape of its weights
            continue
        meant = tuple(tensor.shape)
        if shape != meant:
            wrong.append(f"{key} is {shape}, but the network has {meant}")
        elif _kind_of(tensor) != _KINDS.get(kind.removeprefix("B")[:1] or "B"):
            wrong.append(f"{key} is {kind}, but must be {_kind_of(tensor)}")
    if wrong:
        more = f"; {len(wrong) - 1:,} more tensors are wrong" if len(wrong) > 1 else ""
        raise ModelError(f"{path}: does not fit model.toml: {wrong[0]}{more}")


def _kind_of(tensor: Tensor) -> str:
    if tensor.is_floating_point():
        return _KINDS["F"]
    return _KINDS["B"] if tensor.dtype == torch.bool else _KINDS["I"]


def load_weights(path: Path, module: nn.Module, digest: object = None) -> None:
    """Load weights, from a file that `check_header` passes, into a module. Raises ModelError.

    digest  that of the file, as `packed` returned it; None for a model without one
    """
    try:
        with open_regular(path) as file:
            data = file.read()
        given = load(data)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read: {one_line(error)[:200]}") from error
    new = {key: value for key, value in module.state_dict().items() if not is_lazy(value)}
    infinite = {key for key, value in new.items() if not value.isfinite().all()}
    module.load_state_dict(given)
    check_finite(module.state_dict(), str(path), infinite)
    if digest is not None and digest != sha256(data).hexdigest():
        raise ModelError(
            f"{path}: is not the file that {MODEL_TOML} was written with: it is damaged, or of "
            "another model; copy both again, or run the training again"
        )


def packed(module: nn.Module) -> tuple[bytes, str]:
    """Return the weights of a module as a file, and its digest, which model.toml holds."""
    data = save({key: _halved(value) for key, value in weights_of(module).items()})
    return data, sha256(data).hexdigest()


def _halved(value: Tensor) -> Tensor:
    """Return weights of few bits in bfloat16, if that holds all of them exactly."""
    short = value.to(torch.bfloat16)
    fits = value.ndim > 1 and value.dtype == torch.float32 and torch.equal(short.float(), value)
    return short if fits else value


def check_finite(weights: Mapping[str, Tensor], where: str, infinite: Collection[str] = ()) -> None:
    """Raise ModelError for weights that are not finite, and for variances below 0.

    infinite  names of tensors that may hold infinities, as in a new network
    """
    for key, value in weights.items():
        bad = value.isnan() if key in infinite else ~value.isfinite()
        if key.rpartition(".")[2] == "running_var":
            bad |= value < 0
        if bool(bad.any()):
            raise ModelError(
                f"{where}: {key} holds {count_of(int(bad.sum()), 'impossible number')} among "
                f"{value.numel():,} (not finite, or a variance below 0): the file is damaged, or "
                "the training diverged; train again with a lower learning rate"
            )


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a module as they are saved: copies on the CPU."""
    return {
        key: value.detach().cpu().clone().contiguous() for key, value in module.state_dict().items()
    }
