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

from dvskit import evaluation, models, training
from dvskit.datasets import open_samples
from dvskit.errors import ConfigError, FormatError, MissingFileError, ModelError, OutputError
from dvskit.models import InputConfig
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
from dvskit.training import Config, LoopConfig
from tests.bars import bars, config_for  # noqa: F401 (bars is a fixture)
from tests.laws import refused
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
    with refused(OutputError, path):
        save_features(features, path)
    save_features(fit_features(events, LAYERS[0]), path, overwrite=True)
    assert len(load_features(path).layers) == 1  # not that of the file before


def test_a_file_gives_counts_by_name(kept: tuple[Features, Path]) -> None:
    features, path = kept
    events = random_events(300, seed=3)
    chosen = representation_from("features", fitted=str(path), bins=2)
    assert chosen.shape(events.sensor_size) == (2, 2, 7, 13)
    assert torch.equal(chosen(events), FeatureCounts(fitted=features, bins=2)(events))


def written(features: Features, *, of: str = "", **changes: Any) -> bytes:
    """The file of a layer with changes: of its description, or of its tensors, by name."""
    fitted = features.layers[0]
    described = {"n_features": 3, "patch": 3, "tau_us": 4e3, "missed": 0.1}
    tensors = {"weights.0": fitted.weights.copy(), "thresholds.0": fitted.thresholds}
    for name, value in changes.items():
        if f"{name}.0" not in tensors:
            described[name] = value
        elif value is None:
            del tensors[f"{name}.0"]
        else:
            tensors[f"{name}.0"] = np.ascontiguousarray(value(tensors[f"{name}.0"]))
    layers = json.dumps([] if of == "no layers" else [described])
    return save(tensors, {} if of == "others" else {"dvskit features": layers})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights": lambda each: each * np.nan}, "weights.0"),
        ({"weights": lambda each: each * 2}, "length"),
        ({"thresholds": lambda each: each.astype(np.float64)}, "float64"),
        ({"thresholds": None}, "thresholds.0"),
        ({"tau": 3}, "'tau'"),
        ({"missed": 7}, "missed = 7.0"),
        ({"of": "no layers"}, "layers"),
        ({"of": "others"}, "dvskit features"),
    ],
)
def test_a_damaged_file_is_an_error(
    kept: tuple[Features, Path], change: dict[str, Any], named: str
) -> None:
    features, path = kept
    path.write_bytes(written(features))
    load_features(path)
    path.write_bytes(written(features, **change))
    with refused(FormatError, path, named):
        representation_from("features", fitted=str(path))


def test_cut_other_and_missing_files_are_errors(kept: tuple[Features, Path]) -> None:
    path = kept[1]
    for content in (path.read_bytes()[:-9], b"features"):
        path.write_bytes(content)
        with refused(FormatError, path):
            load_features(path)
    with refused(MissingFileError, "none.safetensors"):
        load_features(path.parent / "none.safetensors")
    with refused(FormatError, path.parent):
        load_features(path.parent)
    with refused(ConfigError, "fitted"):
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
    model = models.load_model(tmp_path / "moved")
    again = evaluation.evaluate(model, bars)
    judged = trained.results["recordings"]
    assert again.loss == pytest.approx(judged.loss)
    models.save_model(tmp_path / "copy", model)
    toml, features = (tmp_path / "copy" / name for name in ("model.toml", "features.safetensors"))
    assert 'fitted = "features.safetensors"' in toml.read_text()
    events = open_samples(bars).events(0)
    copied = evaluation.classify(tmp_path / "copy", events)
    assert copied == evaluation.classify(model, events)
    features.write_bytes(b"damaged")
    with refused(ModelError, features):
        models.load_model(tmp_path / "copy")
    toml.write_text(toml.read_text().replace("features.safetensors", "../other.safetensors"))
    with refused(ModelError, "'features.safetensors'"):
        models.load_model(tmp_path / "copy")


def test_a_network_takes_as_many_channels_as_there_are_features(
    bars: Path,  # noqa: F811
    kept: tuple[Features, Path],
    tmp_path: Path,
) -> None:
    with refused(ConfigError, "(4, 2, 16, 16)"):
        config_of(bars, tmp_path / "run", kept[1])
    pooled = InputConfig(
        representation="features", parameters={"fitted": str(kept[1]), "cell_px": 2}
    )
    with refused(ConfigError, "(20, 2, 17, 17)"):
        Config(network=ConvLIF(), input=pooled)
