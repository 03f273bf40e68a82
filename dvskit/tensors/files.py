"""Tensors in files, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

Write = Callable[[Tensor, Path, str, dict[str, str]], None]


@check_arguments
def save_tensor(
    tensor: Tensor,
    path: str | PathLike[str],
    *,
    name: str = "tensor",
    notes: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a tensor to a file, as its suffix says.

    .npy          an array, for numpy.load; not compressed, so that it may be mapped into memory
    .npz          an array `name` in a compressed archive, for numpy.load
    .pt, .pth     the tensor itself, for torch.load, with weights_only=True too
    .safetensors  a tensor `name`, with `notes`, for safetensors.torch.load_file

    The file is there whole or not at all. Raises OutputError for another suffix, where it exists
    already and `overwrite` is false, and for what the operating system refuses.
    """
    write = _WRITERS[tensor_suffix(path)]
    with whole_file(path, overwrite=overwrite) as partial:
        try:
            write(tensor.detach().cpu().contiguous(), partial, name, dict(notes or {}))
        except (SafetensorError, RuntimeError) as error:  # torch's and safetensors' of writing
            raise OutputError(f"{path}: {error}; choose another place") from error


def tensor_suffix(path: str | PathLike[str]) -> str:
    """Return the suffix that tells how a tensor is written. Raises OutputError for any other."""
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise OutputError(
            f"{path}: its suffix tells how a tensor is written; {did_you_mean(suffix, _WRITERS)}"
        )
    return suffix


def _write_npy(tensor: Tensor, path: Path, name: str, notes: dict[str, str]) -> None:
    with path.open("wb") as file:
        np.save(file, tensor.numpy(), allow_pickle=False)


def _write_npz(tensor: Tensor, path: Path, name: str, notes: dict[str, str]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **{name: tensor.numpy()})  # type: ignore[arg-type]


def _write_torch(tensor: Tensor, path: Path, name: str, notes: dict[str, str]) -> None:
    with path.open("wb") as file:  # by name, torch would write that of the partial file into it
        torch.save(tensor, file)


def _write_safetensors(tensor: Tensor, path: Path, name: str, notes: dict[str, str]) -> None:
    # save_file writes under a name of its own, which stays where the process is killed.
    path.write_bytes(save({name: tensor}, notes))


_WRITERS: dict[str, Write] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".pt": _write_torch,
    ".pth": _write_torch,
    ".safetensors": _write_safetensors,
}
