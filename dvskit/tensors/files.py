"""Write tensors to files atomically."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit._files import whole_file
from dvskit.errors import OutputError, did_you_mean

_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")


@check_arguments
def save_tensor(
    tensor: Tensor,
    path: str | PathLike[str],
    *,
    name: str = "tensor",
    notes: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a tensor to a file in the format of its suffix.

    .npy          an array, for numpy.load; uncompressed, so that it can be memory-mapped
    .npz          an array `name` in a compressed archive, for numpy.load
    .pt, .pth     the tensor itself, for torch.load, also with weights_only=True
    .safetensors  a tensor `name`, with `notes`, for safetensors.torch.load_file

    The file is written whole or not at all. Raises OutputError for another suffix, for an existing
    file unless `overwrite`, and for errors of the operating system.

        events = dvskit.load_events("events.raw")
        counts = dvskit.tensors.bin_events(events, bins=20)
        dvskit.tensors.save_tensor(counts, "counts.npy")
        np.load("counts.npy", mmap_mode="r").shape    # (20, 2, 128, 128)
    """
    suffix = tensor_suffix(path)
    with whole_file(path, overwrite=overwrite) as partial:
        try:
            _write(tensor.detach().cpu().contiguous(), partial, suffix, name, notes)
        except (SafetensorError, RuntimeError) as error:  # write errors of torch and safetensors
            raise OutputError(f"{path}: {error}; choose another place") from error


def tensor_suffix(path: str | PathLike[str]) -> str:
    """Return the suffix that selects the format. Raises OutputError for any other."""
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise OutputError(
            f"{path}: the suffix selects the format; {did_you_mean(suffix, _SUFFIXES)}"
        )
    return suffix


def _write(
    tensor: Tensor, path: Path, suffix: str, name: str, notes: Mapping[str, str] | None
) -> None:
    if suffix == ".safetensors":
        # save_file writes to a name of its own, which stays if the process is killed.
        path.write_bytes(save({name: tensor}, dict(notes or {})))
        return
    with path.open("wb") as file:  # given a path, torch would store the name of the partial file
        if suffix == ".npy":
            np.save(file, tensor.numpy(), allow_pickle=False)
        elif suffix == ".npz":
            np.savez_compressed(file, **{name: tensor.numpy()})  # type: ignore[arg-type]
        else:
            torch.save(tensor, file)
