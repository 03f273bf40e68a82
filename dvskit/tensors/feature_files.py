"""Fitted features in safetensors files; reading one runs no code, and checks all of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dvskit._arguments import check_arguments
from dvskit._files import open_regular, write_whole
from dvskit.errors import DvskitError, FormatError, MissingFileError, one_line
from dvskit.tensors.features import FeatureLayer, Features, FittedLayer

_KEY = "dvskit features"
_LENGTH = 1e-3  # the largest difference of a feature's length from 1


@check_arguments
def save_features(
    features: Features, path: str | PathLike[str], *, overwrite: bool = False
) -> None:
    """Write features to a safetensors file, whole or not at all: see `load_features`.

    Raises OutputError for an existing file unless `overwrite`, and for errors of the operating
    system.

        digit = dvskit.load_events("digits/1/00001.bin")
        layer = dvskit.tensors.FeatureLayer(n_features=8, patch=5)
        features = dvskit.tensors.fit_features(digit, layer)
        dvskit.tensors.save_features(features, "saved.safetensors")
    """
    tensors, layers = {}, []
    for number, each in enumerate(features.layers):
        tensors[f"weights.{number}"] = np.ascontiguousarray(each.weights)
        tensors[f"thresholds.{number}"] = np.ascontiguousarray(each.thresholds)
        layers.append({**asdict(each.layer), "missed": each.missed})
    write_whole(path, save(tensors, {_KEY: json.dumps(layers)}), overwrite=overwrite)


@check_arguments
def load_features(path: str | PathLike[str]) -> Features:
    """Return the features in a file of `save_features`.

    Raises MissingFileError without the file, FormatError for any other content.

        digit = dvskit.load_events("digits/1/00001.bin")
        layer = dvskit.tensors.FeatureLayer(n_features=8, patch=5)
        fitted = dvskit.tensors.fit_features(digit, layer)
        dvskit.tensors.save_features(fitted, "features.safetensors")
        features = dvskit.tensors.load_features("features.safetensors")
        features.count    # 16
    """
    try:
        about = Path(path).stat()
    except FileNotFoundError as error:
        raise MissingFileError(path, "write it with dvskit.tensors.save_features") from error
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    if Path(path).is_dir():
        raise FormatError(f"{path}: is a folder; name a file of dvskit.tensors.save_features")
    return _loaded(str(path), about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=8)  # a representation is made anew for each live decision
def _loaded(path: str, _changed_ns: int, _bytes: int) -> Features:
    try:
        with open_regular(path), safe_open(path, "np") as file:
            stored = json.loads((file.metadata() or {})[_KEY])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return _features(stored, tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, DvskitError) as error:
        missing = isinstance(error, KeyError)
        problem = f"it has no {error.args[0]}" if missing else one_line(error)[:200]
        raise FormatError(
            f"{path}: holds no features: {problem}; write it with dvskit.tensors.save_features"
        ) from error


def _features(stored: list[dict[str, Any]], tensors: dict[str, NDArray[Any]]) -> Features:
    layers: list[FittedLayer] = []
    for number, values in enumerate(stored):
        missed = float(values.pop("missed"))
        layer = FeatureLayer(**values)
        shape = layer.shape(layers[-1].channels if layers else 2)
        weights, thresholds = (tensors[f"{key}.{number}"] for key in ("weights", "thresholds"))
        for key, array, wanted in (
            ("weights", weights, shape),
            ("thresholds", thresholds, shape[:2]),
        ):
            if array.shape != wanted or array.dtype != np.float32:
                raise ValueError(
                    f"{key}.{number} is {array.shape} of {array.dtype}, not {wanted} of float32"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"{key}.{number} holds values that are not finite")
        lengths = np.sqrt((weights.astype(np.float64) ** 2).sum((2, 3)))
        if abs(lengths - 1).max() > _LENGTH:
            raise ValueError(f"weights.{number} holds features of another length than 1")
        if not (isfinite(missed) and 0 <= missed <= 1):
            raise ValueError(f"missed = {missed} is no share")
        layers.append(FittedLayer(layer, weights, thresholds, missed))
    if not layers:
        raise ValueError("it has no layers")
    return Features(tuple(layers))
