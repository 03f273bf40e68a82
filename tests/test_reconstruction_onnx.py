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
from dvskit.reconstruction.network import VoxelInput
from dvskit.reconstruction.onnx import PRESETS, OnnxReconstructor
from tests.image_networks import (
    E2VID_NAMES,
    FIRE_NAMES,
    E2vidShaped,
    FireShaped,
    export,
    seeded,
)
from tests.laws import refused, scattered

SIZE = (21, 13)  # no multiple of anything
STEP_US, WINDOWS = 1000, 6


MOVING = scattered(1500, SIZE, span_us=WINDOWS * STEP_US)


def windows(events: Events) -> list[Events]:
    """The windows that end at STEP_US, 2 STEP_US, ..., the ends included."""
    ends = np.searchsorted(events.t, [k * STEP_US for k in range(WINDOWS + 1)], "right")
    ends[0] = 0
    return [events[a:b] for a, b in pairwise(ends)]


def images(network: OnnxReconstructor, events: Events) -> NDArray[np.float32]:
    run = network.start(events.sensor_size)
    out = []
    for number, window in enumerate(windows(events), 1):
        run.add(window)
        out.append(run.image(number * STEP_US))
    return np.stack(out)


def padded(events: Events, step: int, how: VoxelInput) -> list[Tensor]:
    width, height = events.sensor_size
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


@pytest.mark.parametrize(
    ("kind", "names", "convention", "step"),
    [(FireShaped, FIRE_NAMES, "firenet+", 1), (E2vidShaped, E2VID_NAMES, "e2vid", 8)],
)
def test_a_network_of_others_gives_the_images_of_torch(tmp_path, kind, names, convention, step):
    path = export(seeded(kind), tmp_path / "other.onnx", names)
    network = OnnxReconstructor(path, convention=convention)
    assert network.states == dict(zip(names[0][1:], names[1][1:], strict=True))
    found = images(network, MOVING)
    expected = by_torch(seeded(kind), padded(MOVING, step, PRESETS[convention].voxels))
    assert found.shape == (WINDOWS, SIZE[1], SIZE[0])
    assert np.ptp(found) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_network_of_fixed_sides_takes_smaller_sensors_and_refuses_larger_ones(tmp_path):
    path = export(seeded(FireShaped), tmp_path / "fixed.onnx", FIRE_NAMES, free=False)
    network = OnnxReconstructor(path, convention="firenet+")
    found = images(network, MOVING)
    assert found.shape == (WINDOWS, SIZE[1], SIZE[0])
    with refused(ConfigError, "height of 16", 17):
        network.start((24, 17))
    with refused(ConfigError, "width of 24", 25):
        network.start((25, 16))


def test_states_are_in_order_or_given_by_name(tmp_path):
    class Crossed(nn.Module):
        def forward(self, a: Tensor, x: Tensor, b: Tensor) -> tuple[Tensor, ...]:
            return b + x[:, :4], x.mean(1, True) + a.mean(1, True), a + x[:, :3]

    given = torch.zeros(1, 3, 8, 8), torch.zeros(1, 5, 8, 8), torch.zeros(1, 4, 8, 8)
    path = export(Crossed(), tmp_path / "a.onnx", (["a", "x", "b"], ["q", "y", "p"]), given=given)
    states = {"a": "p", "b": "q"}
    network = OnnxReconstructor(path, states=states, convention="firenet+")
    found, expected, rest = images(network, MOVING), [], [torch.zeros(1, 3, *SIZE[::-1])] * 2
    rest[1] = torch.zeros(1, 4, *SIZE[::-1])
    for voxels in padded(MOVING, 1, VoxelInput()):
        rest[1], image, rest[0] = Crossed()(rest[0], voxels, rest[1])
        expected.append(image[0, 0].numpy())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for wrong, named in ((None, "states={input"), ({"a": "z"}, "'z'"), ({"a": "p"}, "'b'")):
        with refused(ConfigError, named):
            OnnxReconstructor(path, states=wrong)
    with refused(ConfigError, "'q'", "(1, 3, 13, 21)", "states={input"):
        images(OnnxReconstructor(path, states={"a": "q", "b": "p"}, convention="firenet"), MOVING)


def one_input(tmp_path: Path, forward: object, *, channels: int = 5) -> Path:
    module = type("Given", (nn.Module,), {"forward": forward})()
    path = tmp_path / "one.onnx"
    return export(module, path, (["x"], ["y"]), given=(torch.zeros(1, channels, 8, 8),))


def test_a_network_without_states_needs_the_word_of_the_user(tmp_path):
    path = one_input(tmp_path, lambda self, x: x.mean(1, True))
    with refused(ConfigError, path, "'x'", "states={}"):
        OnnxReconstructor(path)
    found = images(OnnxReconstructor(path, states={}), MOVING)
    voxels = PRESETS["e2vid"].voxels(windows(MOVING)[0])
    np.testing.assert_allclose(found[0], voxels.mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("forward", "named"),
    [
        (lambda self, x: x[:, :2] * 2, "output"),
        (lambda self, x: x.mean((1, 2, 3)), "output"),
        (lambda self, x: x[:, :1, ::2, ::2], "(1, 1, 16, 24)"),
    ],
)
def test_a_network_without_an_image_of_the_sensor_is_refused(tmp_path, forward, named):
    path = one_input(tmp_path, forward)
    with refused(ConfigError, path, named):
        images(OnnxReconstructor(path, states={}), MOVING)


def test_voxels_and_images_that_do_not_fit_are_refused(tmp_path):
    path = one_input(tmp_path, lambda self, x: x.mean(1, True), channels=3)
    with refused(ConfigError, path, "VoxelInput(bins="):
        OnnxReconstructor(path, states={})
    assert OnnxReconstructor(path, states={}, convention=VoxelInput(bins=3)).voxels.bins == 3
    path = one_input(tmp_path, lambda self, x: x.sum(1, True) / x.abs().sum(1, True))
    with refused(ShapeError, "1000 us"):
        images(OnnxReconstructor(path, states={}), MOVING[::50])


def test_files_that_are_not_networks_are_named(tmp_path, monkeypatch):
    text = tmp_path / "text.onnx"
    text.write_text("not a network")
    for path in (text, tmp_path / "none.onnx", tmp_path):
        with refused(FormatError, path):
            OnnxReconstructor(path)
    with refused(ConfigError, "'e2vd'", "'e2vid'"):
        OnnxReconstructor(text, convention="e2vd")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with refused(ConfigError, "pip install onnxruntime"):
        OnnxReconstructor(text)


def test_a_network_is_named_by_its_file_and_its_convention(tmp_path):
    fire = export(seeded(FireShaped), tmp_path / "fire.onnx", FIRE_NAMES)
    network = load_reconstructor(f"{fire}:firenet+")
    assert isinstance(network, OnnxReconstructor)
    assert network.voxels == VoxelInput()
    assert load_reconstructor(str(fire)).voxels == VoxelInput(normalized=True)
    with refused(ConfigError, "'firnet'", "'firenet'"):
        load_reconstructor(f"{fire}:firnet")
