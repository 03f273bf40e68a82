"""Fitted features in files, by name, on the command line and in models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from dvskit import evaluation, training
from dvskit.datasets import open_samples
from dvskit.errors import ConfigError, FormatError, MissingFileError, ModelError, OutputError
from dvskit.networks import ConvLIF, Layered
from dvskit.tensors import (
    FeatureCounts,
    FeatureLayer,
    Features,
    fit_features,
    load_features,
    representation_from,
    save_features,
)
from dvskit.training import Config, InputConfig, LoopConfig
from tests.bars import bars, config_for  # noqa: F401 (bars is a fixture)
from tests.test_tensors import random_events

LAYERS = [
    FeatureLayer(n_features=3, patch=3, tau_us=4_000),
    FeatureLayer(n_features=2, patch=5, tau_us=9_000, surfaces="joined"),
]


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Features, Path]:
    features, path = fit_features(random_events(600, seed=1), LAYERS), tmp_path / "f.safetensors"
    save_features(features, path)
    return features, path


def test_features_are_read_as_they_were_saved(kept: tuple[Features, Path]) -> None:
    features, path = kept
    again, events = load_features(path), random_events(300, seed=2)
    assert repr(again) == repr(features)
    assert [each.missed for each in again.layers] == [each.missed for each in features.layers]
    assert np.array_equal(again.layers[0].thresholds, features.layers[0].thresholds)
    assert np.array_equal(again.transform(events), features.transform(events))
    with pytest.raises(OutputError, match="exists already"):
        save_features(features, path)
    save_features(fit_features(events, LAYERS[0]), path, overwrite=True)
    assert len(load_features(path).layers) == 1  # not that of the file before


def test_a_file_gives_counts_by_name(kept: tuple[Features, Path]) -> None:
    features, path = kept
    events = random_events(300, seed=3)
    chosen = representation_from("features", fitted=str(path), bins=2)
    assert chosen.shape(events.size) == (2, 2, 7, 13)
    assert torch.equal(chosen(events), FeatureCounts(fitted=features, bins=2)(events))


def damaged(features: Features, way: str) -> bytes:
    fitted, told = features.layers[0], {"n_features": 3, "patch": 3, "tau_us": 4e3, "missed": 0.1}
    weights, thresholds = fitted.weights.copy(), fitted.thresholds
    if way == "nan":
        weights[0, 0] = np.nan
    elif way == "length":
        weights *= 2
    elif way == "shape":
        weights = weights[:, :2]
    elif way == "dtype":
        thresholds = thresholds.astype(np.float64)
    elif way == "key":
        told["tau"] = 3
    elif way == "patch":
        told["patch"] = 4
    elif way == "missed":
        told["missed"] = 7
    layers = json.dumps([] if way == "empty" else [told])
    tensors = {"weights.0": np.ascontiguousarray(weights), "thresholds.0": thresholds}
    if way == "tensor":
        del tensors["thresholds.0"]
    return save(tensors, {} if way == "about" else {"dvskit features": layers})


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("nan", "weights.0 holds values that are not finite"),
        ("length", "features of another length than 1"),
        ("shape", r"weights.0 is \(2, 2, 1, 9\) of float32, not \(2, 3, 1, 9\)"),
        ("dtype", "thresholds.0 is .* of float64"),
        ("key", "'tau'"),
        ("patch", "patch=4 has no middle"),
        ("missed", "missed = 7.0 is no share"),
        ("empty", "it has no layers"),
        ("tensor", "thresholds.0"),
        ("about", "it has no dvskit features"),
        ("cut", "holds no features"),
        ("text", "holds no features"),
    ],
)
def test_a_damaged_file_is_an_error_of_one_line(
    kept: tuple[Features, Path], way: str, message: str
) -> None:
    features, path = kept
    whole = path.read_bytes()
    path.write_bytes(
        whole[:-9] if way == "cut" else b"features" if way == "text" else damaged(features, way)
    )
    with pytest.raises(FormatError, match=message) as raised:
        representation_from("features", fitted=str(path))
    assert str(raised.value).startswith(f"{path}: holds no features: ")
    assert "\n" not in str(raised.value)


def test_a_missing_file_names_the_way_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file; write it with dvskit"):
        load_features(tmp_path / "none.safetensors")
    with pytest.raises(FormatError, match="is a folder; name a file of dvskit"):
        load_features(tmp_path)
    with pytest.raises(ConfigError, match="features needs fitted"):
        representation_from("features")


def config_of(folder: Path, output: Path, fitted: Path) -> Config:
    given: dict[str, Any] = {"bins": 4, "bin_us": 2_500, "channels": 8}
    parameters = {"fitted": str(fitted)}
    network = Layered(layers=("4C5", "P2", "lif", "2"), width=16, height=16, inputs=8, classes=2)
    return replace(
        config_for(folder, output),
        network=network,
        input=InputConfig(representation="features", parameters=parameters, **given),
        loop=LoopConfig(epochs=2, steps=4, learning_rate=0.01),
    )


@pytest.mark.slow(seconds=10)
def test_a_model_holds_its_features_and_is_complete(
    bars: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    fitted = tmp_path / "bars.safetensors"
    layer = FeatureLayer(n_features=4, patch=5, tau_us=3_000)
    save_features(fit_features(open_samples(bars), layer), fitted)
    trained = training.train(config_of(bars, tmp_path / "run", fitted))
    fitted.unlink()
    (tmp_path / "run").rename(tmp_path / "moved")
    model = training.load_model(tmp_path / "moved")
    again = evaluation.evaluate(model, bars)
    judged = trained.results["recordings"]
    assert again.loss == pytest.approx(judged.loss)
    training.save_model(tmp_path / "copy", model)
    toml, features = (tmp_path / "copy" / name for name in ("model.toml", "features.safetensors"))
    assert 'fitted = "features.safetensors"' in toml.read_text()
    events = open_samples(bars).events(0)
    copied = evaluation.classify(tmp_path / "copy", events)
    assert copied == evaluation.classify(model, events)
    features.write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"features\.safetensors: holds no features"):
        training.load_model(tmp_path / "copy")
    toml.write_text(toml.read_text().replace("features.safetensors", "../other.safetensors"))
    with pytest.raises(ModelError, match=r"must be 'features\.safetensors', beside it"):
        training.load_model(tmp_path / "copy")


def test_a_network_takes_as_many_channels_as_there_are_features(
    bars: Path,  # noqa: F811
    kept: tuple[Features, Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"gives \(4, 2, 16, 16\)"):
        config_of(bars, tmp_path / "run", kept[1])
    pooled = InputConfig(
        representation="features", parameters={"fitted": str(kept[1]), "cell_px": 2}
    )
    with pytest.raises(ConfigError, match=r"gives \(20, 2, 17, 17\)"):
        Config(network=ConvLIF(), input=pooled)
