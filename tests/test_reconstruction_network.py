"""The network that makes images from events: its windows, its files, and its ONNX export."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dvskit.errors import ModelError
from dvskit.models import load_model
from dvskit.networks.model_folder import find_model, shipped_models
from dvskit.reconstruction import (
    NetworkReconstructor,
    OnnxReconstructor,
    ReconstructionModel,
    ReconstructionNetwork,
    VoxelInput,
    load_reconstruction_model,
    load_reconstructor,
    reconstruct,
    to_onnx,
)
from dvskit.reconstruction.network import padded
from dvskit.training.reconstruction.images import save_reconstruction_model
from tests.laws import refused, scattered

SIZE = (37, 21)
TIMES = [20_000, 45_000, 45_500, 90_000, 130_000]


EVENTS = scattered(4000, SIZE)  # until 100 ms: none in the last window


def model(**given) -> ReconstructionModel:
    torch.manual_seed(1)
    network = ReconstructionNetwork(**{"channels": (4, 3, 2)} | given)
    return ReconstructionModel("tiny", network, network.build().eval())


def images(reconstructor) -> np.ndarray:
    """The images at TIMES."""
    return np.stack([image for _, image in reconstruct(EVENTS, reconstructor, TIMES).images()])


def test_stateful_windows_give_the_images_of_one_unrolled_pass():
    made, threads = model(), torch.get_num_threads()
    edges = np.searchsorted(EVENTS.t, [-1, *TIMES], "right")
    states, expected = None, []
    with torch.no_grad():
        for begin, stop in itertools.pairwise(edges):
            voxels = torch.from_numpy(VoxelInput(bins=5)(EVENTS[begin:stop]))
            given = padded(voxels[None], made.network.multiple)
            image, states = made.module(given, states)
            expected.append(image[0, 0, : SIZE[1], : SIZE[0]].clip(0, 1).numpy())
    found = images(NetworkReconstructor(made))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.shape == (len(TIMES), SIZE[1], SIZE[0])
    assert found.dtype == np.float32
    assert np.abs(np.diff(found, axis=0)).max() > 1e-4
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_the_onnx_export_gives_the_images_of_torch(tmp_path: Path):
    made = model()
    to_onnx(made, tmp_path / "net.onnx", size=SIZE)
    other = OnnxReconstructor(tmp_path / "net.onnx", convention="e2vid+")
    np.testing.assert_allclose(images(other), images(NetworkReconstructor(made)), atol=1e-4)


def test_a_saved_model_is_loaded_unchanged_by_its_folder(tmp_path: Path):
    made = model()
    save_reconstruction_model(tmp_path / "net", made)
    loaded = load_reconstruction_model(tmp_path / "net")
    assert loaded.network == made.network
    assert "tiny" in repr(loaded)
    again = load_reconstructor(str(tmp_path / "net"))
    np.testing.assert_array_equal(images(again), images(NetworkReconstructor(made)))


NETWORK = "[network]\nchannels = [4, 3, 2]\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f'name = "x"\nother = "x"\n{NETWORK}', "unknown key other"),
        (NETWORK, "name"),
        (f"name = 3\n{NETWORK}", "name = 3"),
        (f'name = "x"\nseed = "one"\n{NETWORK}', "seed = 'one'"),
        ('name = "x"\n', "network"),
        ('name = "x"\n[network]\nchannels = [4, 3, 3]\n', "weights"),
        ('name = "x"\n[network]\nchanels = [4]\n', "network.chanels"),
        ('name = "x"\n[network]\nchannels = 4\n', "network.channels"),
        ('name = "x"\n[network]\nbins = 5.0\n', "network.bins"),
        ('name = "x"\n[network]\nchannels = [0]\n', "channels = 0"),
        ('name = "x"\n[network]\nchannels = []\n', "channels = []"),
        ('name = "x"\n[network]\nchannels = [1000000]\n', "channels = 1000000"),
    ],
)
def test_a_wrong_description_is_refused_with_its_path(tmp_path: Path, text, named):
    save_reconstruction_model(tmp_path, model())
    (tmp_path / "model.toml").write_text(f'task = "reconstruction"\n{text}', "utf-8")
    with refused(ModelError, str(tmp_path), named):
        load_reconstruction_model(tmp_path)


def test_damaged_weights_are_neither_loaded_nor_saved(tmp_path: Path):
    made, weights = model(), tmp_path / "weights.safetensors"
    save_reconstruction_model(tmp_path, made)
    values = load_file(weights)
    values[next(iter(values))].view(-1)[0] = torch.nan
    save_file(values, weights)
    with refused(ModelError, weights):
        load_reconstruction_model(tmp_path)
    weights.write_bytes(b"damaged")
    with refused(ModelError, weights):
        load_reconstruction_model(tmp_path)
    with torch.no_grad():
        next(made.module.parameters()).view(-1)[0] = torch.inf
    with refused(ModelError, made.name):
        save_reconstruction_model(tmp_path / "other", made)
    assert not (tmp_path / "other").exists()


def test_a_classifier_makes_no_images_and_the_reverse(tmp_path: Path):
    with refused(ModelError, "fashion-mnist"):
        load_reconstructor("fashion-mnist")
    save_reconstruction_model(tmp_path, model())
    with refused(ModelError, tmp_path, "dvskit reconstruct --model"):
        load_model(tmp_path)


def test_shipped_models_are_listed_by_their_task():
    classifiers, networks = shipped_models(), shipped_models("reconstruction")
    assert "fashion-mnist" in classifiers
    assert not set(networks) & set(classifiers)
    for name, folder in networks.items():
        assert load_reconstruction_model(name).name == name
        assert find_model(name) == folder
