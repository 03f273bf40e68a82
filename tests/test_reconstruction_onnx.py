"""Image networks of others, from ONNX files."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dvskit.errors import ConfigError, FormatError, ShapeError
from dvskit.events import Events
from dvskit.reconstruction import load_reconstructor
from dvskit.reconstruction.onnx_network import CONVENTIONS, OnnxReconstructor
from dvskit.reconstruction.voxels import VoxelInput
from tests.image_networks import (
    E2VID_NAMES,
    FIRE_NAMES,
    E2vidShaped,
    FireShaped,
    export,
    seeded,
)

SIZE = (21, 13)  # no multiple of anything
STEP_US, WINDOWS = 1000, 6


def moving(size: tuple[int, int] = SIZE, count: int = 1500) -> Events:
    """Events all over the sensor, at times in `WINDOWS` windows of `STEP_US`."""
    random = np.random.default_rng(5)
    t = np.sort(random.integers(0, WINDOWS * STEP_US, count))
    x, y = random.integers(0, size[0], count), random.integers(0, size[1], count)
    return Events(t=t, x=x, y=y, p=random.random(count) < 0.6, size=size)


def windows(events: Events) -> list[Events]:
    """The windows that end at STEP_US, 2 STEP_US, ..., the ends included."""
    ends = np.searchsorted(events.t, [k * STEP_US for k in range(WINDOWS + 1)], "right")
    ends[0] = 0
    return [events[a:b] for a, b in pairwise(ends)]


def images(network: OnnxReconstructor, events: Events, chunk: int = 10**6) -> NDArray[np.float32]:
    run = network.start(events.size)
    out = []
    for number, window in enumerate(windows(events), 1):
        for first in range(0, len(window), chunk):
            run.add(window[first : first + chunk])
        out.append(run.image(number * STEP_US))
    return np.stack(out)


def padded(events: Events, step: int, how: VoxelInput) -> list[Tensor]:
    width, height = events.size
    grown = ((0, 0), (0, -height % step), (0, -width % step))
    return [torch.from_numpy(np.pad(how(each), grown))[None] for each in windows(events)]


def by_torch(network: nn.Module, voxels: list[Tensor]) -> NDArray[np.float32]:
    states = network.rest(*voxels[0].shape[2:])  # type: ignore[operator]
    out = []
    with torch.no_grad():
        for each in voxels:
            image, *states = network(each, *states)
            out.append(image[0, 0, : SIZE[1], : SIZE[0]].numpy())
    return np.stack(out)


@pytest.fixture(scope="module")
def fire(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(seeded(FireShaped), tmp_path_factory.mktemp("fire") / "fire.onnx", FIRE_NAMES)


@pytest.fixture(scope="module")
def e2vid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("e2vid") / "e2vid.onnx"
    return export(seeded(E2vidShaped), path, E2VID_NAMES)


@pytest.mark.slow(seconds=3)
def test_a_firenet_shaped_network_gives_the_images_of_torch(fire):
    network = OnnxReconstructor(fire, convention="firenet+")
    assert network.states == {"h1": "h1.next", "h2": "h2.next"}
    found = images(network, moving())
    expected = by_torch(seeded(FireShaped), padded(moving(), 1, VoxelInput()))
    assert found.shape == (WINDOWS, SIZE[1], SIZE[0])
    assert np.ptp(found) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow(seconds=3)
def test_an_e2vid_shaped_network_is_padded_to_multiples_of_8_and_its_image_cropped(e2vid):
    network = OnnxReconstructor(e2vid, convention="e2vid")
    assert len(network.states) == 6
    found = images(network, moving())
    expected = by_torch(seeded(E2vidShaped), padded(moving(), 8, VoxelInput(normalised=True)))
    assert found.shape == (WINDOWS, SIZE[1], SIZE[0])
    np.testing.assert_allclose(found, expected, atol=1e-4)


class Unrolled(nn.Module):
    """All windows in one pass: voxels of each, and the images of all."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *voxels: Tensor) -> Tensor:
        states = self.network.rest(*voxels[0].shape[2:])
        out = []
        for each in voxels:
            image, *states = self.network(each, *states)
            out.append(image)
        return torch.cat(out)


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize(("kind", "names", "step"), [(FireShaped, FIRE_NAMES, 1),
                                                     (E2vidShaped, E2VID_NAMES, 8)])  # fmt: skip
def test_windows_one_by_one_give_the_images_of_one_unrolled_pass(kind, names, step, tmp_path):
    import onnxruntime

    path = export(seeded(kind), tmp_path / "step.onnx", names)
    voxels = padded(moving(), step, CONVENTIONS["e2vid"])[:3]
    every = [f"v{k}" for k in range(3)]
    whole = export(
        Unrolled(seeded(kind)), tmp_path / "whole.onnx", (every, ["images"]),
        given=tuple(voxels), free=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(whole), providers=["CPUExecutionProvider"])
    at_once = session.run(None, dict(zip(every, (v.numpy() for v in voxels), strict=True)))[0]
    one_by_one = images(OnnxReconstructor(path), moving())[:3]
    width, height = SIZE
    np.testing.assert_allclose(one_by_one, at_once[:, 0, :height, :width], atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_images_do_not_depend_on_how_the_stream_is_cut_or_on_an_earlier_pass(fire, chunk):
    network = OnnxReconstructor(fire)
    whole = images(network, moving())
    np.testing.assert_array_equal(images(network, moving(), chunk), whole)


def test_a_network_of_fixed_sides_takes_smaller_sensors_and_refuses_larger_ones(tmp_path):
    path = export(seeded(FireShaped), tmp_path / "fixed.onnx", FIRE_NAMES, free=False)
    network = OnnxReconstructor(path, convention="firenet+")
    found = images(network, moving())
    assert found.shape == (WINDOWS, SIZE[1], SIZE[0])
    with pytest.raises(ConfigError, match=r"takes a height of 16 pixels, the sensor has 17"):
        network.start((24, 17))
    with pytest.raises(ConfigError, match=r"takes a width of 24 pixels, the sensor has 25"):
        network.start((25, 16))


def test_states_are_found_by_shape_or_given_where_names_say_nothing(tmp_path):
    class Two(nn.Module):
        def forward(self, x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
            return x.mean(1, True) + a.mean(1, True), a + x[:, :3], b + x[:, :4]

    given = torch.zeros(1, 5, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 8, 8)
    names = ["x", "a", "b"], ["y", "p", "q"]
    path = export(Two(), tmp_path / "two.onnx", names, given=given)
    assert OnnxReconstructor(path).states == {"a": "p", "b": "q"}

    class Same(nn.Module):
        def forward(self, x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
            return x.mean(1, True) + b.mean(1, True), a + x[:, :3], b + a

    given = torch.zeros(1, 5, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    path = export(Same(), tmp_path / "same.onnx", names, given=given)
    with pytest.raises(ConfigError, match=r"several inputs have the same shape.*states=\{input"):
        OnnxReconstructor(path)
    named = OnnxReconstructor(path, states={"a": "p", "b": "q"})
    assert images(named, moving((8, 8))).shape == (WINDOWS, 8, 8)
    with pytest.raises(ConfigError, match="has no output 'z'; outputs: 'y'"):
        OnnxReconstructor(path, states={"a": "z"})
    with pytest.raises(ConfigError, match=r"no output becomes the input 'b' \(1, 3, \?, \?\)"):
        OnnxReconstructor(path, states={"a": "p"})


def one_input(tmp_path: Path, forward: object, *, channels: int = 5) -> Path:
    module = type("Given", (nn.Module,), {"forward": forward})()
    path = tmp_path / "one.onnx"
    return export(module, path, (["x"], ["y"]), given=(torch.zeros(1, channels, 8, 8),))


def test_a_network_without_states_needs_the_word_of_the_user(tmp_path):
    path = one_input(tmp_path, lambda self, x: x.mean(1, True))
    with pytest.raises(ConfigError, match=r"no state found in inputs 'x' .*; export it with its"):
        OnnxReconstructor(path)
    found = images(OnnxReconstructor(path, states={}), moving())
    np.testing.assert_allclose(
        found[0], CONVENTIONS["e2vid"](windows(moving())[0]).mean(0), atol=1e-6
    )


def test_wrong_networks_give_one_line(tmp_path):
    path = one_input(tmp_path, lambda self, x: x.mean(1, True), channels=3)
    with pytest.raises(ConfigError, match="no input has 5 channels, one for each bin"):
        OnnxReconstructor(path, states={})
    assert OnnxReconstructor(path, states={}, convention=VoxelInput(bins=3)).voxels.bins == 3
    path = one_input(tmp_path, lambda self, x: x[:, :2] * 2)
    with pytest.raises(ConfigError, match="no output is an image"):
        OnnxReconstructor(path, states={})
    path = one_input(tmp_path, lambda self, x: x.mean((1, 2, 3)))
    with pytest.raises(ConfigError, match="no output is an image"):
        OnnxReconstructor(path, states={})
    path = one_input(tmp_path, lambda self, x: x[:, :1, ::2, ::2])
    with pytest.raises(ConfigError, match=r"does not run on voxels \(1, 5, 64, 64\) with an image"):
        OnnxReconstructor(path, states={}).start(SIZE)
    path = one_input(tmp_path, lambda self, x: x.sum(1, True) / x.abs().sum(1, True))
    with pytest.raises(ShapeError, match="the image at 1000 us holds values that are not finite"):
        images(OnnxReconstructor(path, states={}), moving(count=30))


def test_files_that_are_not_networks_give_one_line(tmp_path, monkeypatch):
    text = tmp_path / "text.onnx"
    text.write_text("not a network")
    with pytest.raises(FormatError, match=r"text.onnx: is no ONNX file"):
        OnnxReconstructor(text)
    with pytest.raises(FormatError, match="does not exist"):
        OnnxReconstructor(tmp_path / "none.onnx")
    with pytest.raises(FormatError, match="is a folder"):
        OnnxReconstructor(tmp_path)
    with pytest.raises(ConfigError, match="unknown convention 'e2vd'; did you mean 'e2vid'"):
        OnnxReconstructor(text, convention="e2vd")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'dvskit\[onnx\]'") as raised:
        OnnxReconstructor(text)
    assert "\n" not in str(raised.value)


def test_a_network_is_named_by_its_file_and_its_convention(fire):
    network = load_reconstructor(f"{fire}:firenet+")
    assert isinstance(network, OnnxReconstructor)
    assert network.voxels == VoxelInput()
    assert load_reconstructor(str(fire)).voxels == VoxelInput(normalised=True)
    with pytest.raises(ConfigError, match="unknown convention 'firnet'; did you mean 'firenet'"):
        load_reconstructor(f"{fire}:firnet")
