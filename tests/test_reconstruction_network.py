"""The network that makes images from events: its windows, its files, and its ONNX export."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dvskit.errors import ConfigError, ModelError
from dvskit.events import Events
from dvskit.networks.model_folder import find_model, shipped_models
from dvskit.reconstruction import (
    GivenTimes,
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
from dvskit.reconstruction.network_reconstructor import padded
from dvskit.training import load_model
from dvskit.training.reconstruction.run import save_reconstruction_model

SIZE = (37, 21)
TIMES = [20_000, 45_000, 45_500, 90_000, 130_000]


def events(count: int = 4000, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 100_000, count))  # none in the last window
    x, y = (rng.integers(0, side, count) for side in SIZE)
    return Events(t=t, x=x, y=y, p=rng.random(count) < 0.5, size=SIZE)


def model(**given) -> ReconstructionModel:
    torch.manual_seed(1)
    network = ReconstructionNetwork(**{"channels": (4, 3, 2)} | given)
    return ReconstructionModel("tiny", network, network.build().eval())


def images(reconstructor, stream: Events, chunk: int = 10**6) -> np.ndarray:
    """The images at TIMES, from blocks of `chunk` events."""
    on, found, done = reconstructor.start(stream.size), [], 0
    for t_us in TIMES:
        stop = int(np.searchsorted(stream.t, t_us, "right"))
        for at in range(done, stop, chunk):
            on.add(stream[at : min(at + chunk, stop)])
        done = stop
        found.append(on.image(t_us))
    return np.stack(found)


def test_stateful_windows_give_the_images_of_one_unrolled_pass():
    made, stream = model(), events()
    edges = np.searchsorted(stream.t, [-1, *TIMES], "right")
    states, expected = None, []
    with torch.no_grad():
        for begin, stop in itertools.pairwise(edges):
            voxels = torch.from_numpy(VoxelInput(bins=5)(stream[begin:stop]))
            given = padded(voxels[None], made.network.multiple)
            image, states = made.module(given, states)
            expected.append(image[0, 0, : SIZE[1], : SIZE[0]].numpy())
    found = images(NetworkReconstructor(made), stream)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.shape == (len(TIMES), SIZE[1], SIZE[0])
    assert found.dtype == np.float32
    assert np.abs(np.diff(found, axis=0)).max() > 1e-4


def test_many_windows_at_once_give_the_images_of_one_after_the_other():
    module = model().module
    voxels = torch.randn(5, 2, 5, 16, 24)
    with torch.no_grad():
        found, after = module.windows(voxels[2:], module.windows(voxels[:2])[1])
        states = None
        for window in voxels:
            image, states = module(window, states)
    torch.testing.assert_close(found[-1], image)
    for one, two in zip(after, states, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("chunk", [1, 7, 640])
def test_images_do_not_depend_on_how_the_stream_is_cut(chunk):
    stream, on = events(600), NetworkReconstructor(model())
    np.testing.assert_array_equal(images(on, stream, chunk), images(on, stream))


def test_a_second_pass_begins_anew():
    stream, on = events(), NetworkReconstructor(model())
    np.testing.assert_array_equal(images(on, stream), images(on, stream))


def test_reconstruct_takes_the_network_and_leaves_the_threads_as_they_are():
    threads = torch.get_num_threads()
    clip = reconstruct(events(), NetworkReconstructor(model()), GivenTimes(TIMES[:3]))
    found = list(clip)
    assert [t_us for t_us, _ in found] == TIMES[:3]
    assert found[0][1].shape == (SIZE[1], SIZE[0])
    assert torch.get_num_threads() == threads


def test_voxels_are_padded_to_multiples_with_zeros():
    voxels = torch.ones(1, 5, 21, 37)
    assert padded(voxels, 1) is voxels
    larger = padded(voxels, 8)
    assert larger.shape == (1, 5, 24, 40)
    assert larger.sum() == voxels.sum()


def test_the_onnx_export_gives_the_images_of_torch(tmp_path: Path):
    made, stream = model(), events()
    to_onnx(made, tmp_path / "net.onnx", size=SIZE)
    other = OnnxReconstructor(tmp_path / "net.onnx", convention=VoxelInput(bins=5))
    found = images(other, stream)
    np.testing.assert_allclose(found, images(NetworkReconstructor(made), stream), atol=1e-4)


def test_a_saved_model_is_loaded_unchanged_by_its_folder(tmp_path: Path):
    made, stream = model(), events()
    save_reconstruction_model(tmp_path / "net", made)
    loaded = load_reconstruction_model(tmp_path / "net")
    assert loaded.network == made.network
    assert "tiny" in repr(loaded)
    again = load_reconstructor(str(tmp_path / "net"))
    np.testing.assert_array_equal(images(again, stream), images(NetworkReconstructor(made), stream))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('other = "x"\n', "unknown key 'other'"),
        ("", "name is missing"),
        ('name = "x"\nseed = "one"\n', "seed = one is str"),
        ('name = "x"\nsteps = true\n', "steps = True is bool"),
    ],
)
def test_a_wrong_table_is_refused_with_its_path(tmp_path: Path, line, words):
    save_reconstruction_model(tmp_path, model())
    head = 'task = "reconstruction"\n' + (line if line else "")
    name = "" if "name" in line or not line else 'name = "x"\n'
    table = "[network]\nchannels = [4, 3, 2]\n"
    (tmp_path / "model.toml").write_text(head + name + table, "utf-8")
    with pytest.raises(ModelError, match=words) as caught:
        load_reconstruction_model(tmp_path)
    assert "model.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("channels = [4, 3, 3]", "does not fit model.toml"),
        ("chanels = [4]", "unknown key network.chanels"),
        ("channels = 4", "give a list of whole numbers"),
        ('channels = ["4"]', "give whole numbers"),
        ("bins = 5.0", "give whole numbers"),
        ("channels = [0]", "channels = 0 is outside"),
        ("channels = []", "give 1 to 8 numbers"),
        ("channels = [1000000]", "channels = 1000000 is outside"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(tmp_path: Path, network, words):
    save_reconstruction_model(tmp_path, model())
    text = f'task = "reconstruction"\nname = "x"\n[network]\n{network}\n'
    (tmp_path / "model.toml").write_text(text, "utf-8")
    with pytest.raises(ModelError, match=words):
        load_reconstruction_model(tmp_path)


def test_damaged_weights_are_refused(tmp_path: Path):
    save_reconstruction_model(tmp_path, model())
    weights = tmp_path / "weights.safetensors"
    values = load_file(weights)
    values[next(iter(values))].view(-1)[0] = torch.nan
    save_file(values, weights)
    with pytest.raises(ModelError, match="not finite"):
        load_reconstruction_model(tmp_path)
    weights.write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"does not fit model.toml"):
        load_reconstruction_model(tmp_path)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path):
    made = model()
    with torch.no_grad():
        next(made.module.parameters()).view(-1)[0] = torch.inf
    with pytest.raises(ModelError, match="not finite"):
        save_reconstruction_model(tmp_path, made)
    assert not (tmp_path / "model.toml").exists()


def test_a_classifier_makes_no_images_and_the_reverse_in_one_line(tmp_path: Path):
    with pytest.raises(ModelError, match="makes no images from events"):
        load_reconstructor("fashion-mnist")
    save_reconstruction_model(tmp_path, model())
    with pytest.raises(ModelError, match=r"is no classifier.*dvskit reconstruct --model") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_shipped_models_are_listed_by_their_task(tmp_path: Path, monkeypatch):
    classifiers = shipped_models()
    assert "fashion-mnist" in classifiers
    networks = shipped_models("reconstruction")
    assert not set(networks) & set(classifiers)
    for name, folder in networks.items():
        assert load_reconstruction_model(name).name == name
        assert find_model(name) == folder
    with pytest.raises(ConfigError, match=r"unknown reconstructor 'fliter'.*filter"):
        load_reconstructor("fliter")
