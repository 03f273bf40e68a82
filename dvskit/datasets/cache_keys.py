"""Names of what is kept in the cache: from content and parameters, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch

from dvskit.errors import ConfigError

_VERSION = 1  # of what is computed: a change makes all that is kept out of date


def key_of(*parts: object) -> str:
    """Return the key of `parts`: 64 hexadecimal digits, the same in every process.

    The version of dvskit is part of it. Raises ConfigError for what `describe` cannot tell.
    """
    from dvskit import __version__

    return hashlib.sha256(describe((_VERSION, __version__, *parts)).encode()).hexdigest()


def describe(value: object) -> str:
    """Return a text that two values share only if they are equal in type and content.

    Numbers, texts, dtypes, arrays, dataclasses of these, tuples, lists, mappings, and functions and
    classes that a module has by name. Raises ConfigError for anything else, such as a lambda, whose
    content cannot be told.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, Enum):
        return f"{_name(type(value))}.{value.name}"
    if isinstance(value, np.generic | np.ndarray):
        array = np.ascontiguousarray(value)
        if array.dtype.hasobject:
            raise ConfigError(f"an array of {array.dtype} has no content to name it by")
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        return f"array:{array.dtype.str}{np.shape(value)}{digest}"
    if isinstance(value, torch.Tensor):
        return f"tensor:{value.dtype}{describe(value.detach().cpu().contiguous().numpy())}"
    if isinstance(value, torch.dtype | torch.device | np.dtype):
        return f"{type(value).__name__}:{value}"
    if isinstance(value, PathLike):
        return f"path:{fspath(value)!r}"
    return _describe_whole(value)


def _describe_whole(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"{_name(type(value))}({','.join(describe(each) for each in value)})"
    if isinstance(value, Mapping):
        pairs = sorted(f"{describe(name)}={describe(each)}" for name, each in value.items())
        return f"{_name(type(value))}({','.join(pairs)})"
    if is_dataclass(value) and not isinstance(value, type):
        told = [f"{each.name}={describe(getattr(value, each.name))}" for each in fields(value)]
        return f"{_name(type(value))}({','.join(told)})"
    if callable(value) and "<" not in getattr(value, "__qualname__", "<"):
        return f"named:{_name(value)}"
    raise ConfigError(
        f"{value!r} cannot be told from others of its kind, so that nothing made by it can be "
        "kept; use a dataclass or a function of a module, or no cache"
    )


def _name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"
