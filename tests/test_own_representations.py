"""Representations of your own: by name, the same tensor everywhere as from calling them."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dvskit
from dvskit import training
from dvskit.datasets import Batches, Cache
from dvskit.errors import ConfigError, DvskitError, ShapeError
from dvskit.events import Events
from dvskit.models import InputConfig
from dvskit.models.inputs import representation_of
from dvskit.networks import ConvLIF, Layered
from dvskit.tensors import (
    Counts,
    Representation,
    Signed,
    TimeSurface,
    register_representation,
    representation_from,
)
from dvskit.tensors.names import REPRESENTATIONS, parameters_of
from dvskit.training import Config, load_config
from tests.drawn_samples import DrawnSamples
from tests.laws import forgotten, refused, refused_command
from tests.test_tensors import SIZE, Blocks, random_events

PACKAGE = Path(__file__).parent / "extension_package" / "garden"
EVENTS = random_events(900, seed=4)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """`on_minus_off` of the package, and a class."""
    with forgotten(REPRESENTATIONS):
        runpy.run_path(str(PACKAGE / "representations.py"))
        register_representation("three", Three)
        yield


@dataclass(frozen=True, kw_only=True)
class Three:
    """Three channels: OFF, ON and both, of any dtype."""

    bins: int
    bin_us: int = 10_000
    dtype: torch.dtype = torch.int32

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        return self.bins, 3, size[1], size[0]

    def __call__(
        self, events: Any, *, start_us: int | None = None, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        counts = Counts(bins=self.bins, bin_us=self.bin_us, outside="ignore")
        both = counts(events, start_us=start_us)
        tensor = torch.cat([both, both.sum(1, keepdim=True)], 1).to(self.dtype)
        return tensor if out is None else out.copy_(tensor)


def made(**given: Any) -> Representation:
    return representation_from("on_minus_off", **{"bins": 7, "bin_us": 8_000, **given})


@pytest.mark.parametrize("start_us", [None, 5_000, 70_000])
def test_a_function_gives_the_same_tensor_however_the_stream_is_cut(start_us: int | None) -> None:
    twin = Signed(bins=7, bin_us=8_000, outside="ignore")(EVENTS, start_us=start_us).float()
    mine = made(outside="ignore")
    assert torch.equal(mine(EVENTS, start_us=start_us), twin)
    for length in (1, 64, 900):
        assert torch.equal(mine(Blocks(EVENTS, length), start_us=start_us), twin)
    batch = torch.full((7, 2, 1, *reversed(SIZE)), 9.0)
    assert mine(EVENTS, start_us=start_us, out=batch[:, 1]).shape == mine.shape(SIZE)
    assert torch.equal(batch[:, 1], twin)
    assert bool((batch[:, 0] == 9).all())


def test_events_outside_the_window_of_a_function_are_an_error_unless_ignored() -> None:
    first = int(EVENTS.t[0])
    with refused(ShapeError, f"[{first}, {first + 16_000})", "ignore"):
        made(bins=2)(EVENTS)
    inside = EVENTS.between(first, first + 16_000)
    assert torch.equal(made(bins=2, outside="ignore")(EVENTS), made(bins=2)(inside))


def test_a_function_without_a_window_gets_all_events_from_the_start_on() -> None:
    def last_us(events: Events, *, powers=1) -> torch.Tensor:
        return torch.full((powers,), float(events.t[-1]))

    register_representation("last_us", last_us)
    assert parameters_of("last_us") == {"powers": False}
    late = representation_from("last_us")(EVENTS, start_us=20_000)
    assert late == EVENTS.t[-1] - 20_000
    assert representation_from("last_us")(EVENTS[:0]) == 0


def test_parameters_are_those_of_the_signature() -> None:
    own = {"bins": False, "bin_us": False, "scale": False, "outside": False}
    assert parameters_of("on_minus_off") == own
    assert parameters_of("three") == {"bins": True, "bin_us": False, "dtype": False}
    assert representation_from("three", bins=2, dtype="uint8") == Three(bins=2, dtype=torch.uint8)
    assert torch.equal(made(scale=3)(EVENTS), 3 * made()(EVENTS))
    register_representation("named", lambda events, *, name="a": torch.zeros(len(name)))
    assert representation_from("named", name="abc").shape(SIZE) == (3,)


@pytest.mark.parametrize(
    ("name", "parameters", "named"),
    [
        ("on_minus_off", {"bin": 3}, ["on_minus_off", "'bin'", "'bins'"]),
        ("on_minus_off", {"bins": "5"}, ["on_minus_off", "bins = '5'", "int"]),
        ("on_minus_off", {"bins": 0}, ["on_minus_off", "bins = 0"]),
        ("on_minus_off", {"scale": True}, ["on_minus_off", "scale = True", "float"]),
        ("on_minus_off", {"outside": "x"}, ["on_minus_off", "outside = 'x'"]),
        ("three", {}, ["three", "bins"]),
        ("three", {"bins": 2, "dtype": "float8"}, ["'float8'"]),
    ],
)
def test_wrong_parameters_are_refused(name: str, parameters: Any, named: list[str]) -> None:
    with refused(ConfigError, *named):
        representation_from(name, **parameters)


class NoDtype:
    def shape(self, size: Any) -> tuple[int, ...]:
        return (1,)

    def __call__(self, events: Any, *, start_us=None, out=None) -> None: ...


def test_a_class_without_dtype_is_refused_when_it_is_made() -> None:
    register_representation("no_dtype", NoDtype)
    with refused(ConfigError, "'no_dtype'", "NoDtype", "dtype"):
        representation_from("no_dtype")


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (lambda events: np.zeros(3), "ndarray"),
        (lambda events: torch.zeros(3).int(), "torch.int32"),
        (lambda events: None, "NoneType"),
        (lambda events: events.t[7], "IndexError"),
        (lambda events: torch.tensor([[0.0, 0.0], [0.0, np.nan]]), "nan at (1, 1)"),
    ],
)
def test_what_a_function_does_wrong_names_it(kind: Any, named: str) -> None:
    register_representation("wrong", kind)
    with refused(DvskitError, "'wrong'", named):
        representation_from("wrong")(EVENTS[:3])
    with refused(DvskitError, "'wrong'"):
        representation_from("wrong").shape(SIZE)


@pytest.mark.parametrize(("least", "named"), [(-2, "(0,)"), (0, "out is")])
def test_a_shape_that_depends_on_the_events_is_refused_in_batches(least: int, named: str) -> None:
    register_representation("long", lambda events: torch.zeros(least + len(events)))
    with refused(ShapeError, "'long'", named):
        list(Batches(DrawnSamples(2), representation_from("long"), size=(8, 6)).epoch(0))


def test_no_events_give_zeros_in_the_shape_of_others() -> None:
    def transform(events: Events, *, bins=4, bin_us=2_000) -> torch.Tensor:
        assert len(events), "tonic's transforms fail on no events"
        array = events.to_array("tonic")
        frames = np.zeros((bins, *events.sensor_size[::-1]), np.float32)
        np.add.at(frames, (array["t"] // bin_us, array["y"], array["x"]), 1)
        return torch.from_numpy(frames)

    register_representation("transform", transform)
    mine = representation_from("transform", outside="ignore")
    assert mine.shape((640, 480)) == (4, 480, 640)
    assert torch.equal(mine(EVENTS[:0]), torch.zeros(4, *SIZE[::-1]))
    assert torch.equal(mine(EVENTS, start_us=10**9), torch.zeros(4, *SIZE[::-1]))
    assert mine(EVENTS).sum() == len(EVENTS.between(EVENTS.t[0], EVENTS.t[0] + 8_000))


def test_a_cache_keeps_the_events_so_that_changed_code_counts(tmp_path: Path) -> None:
    def read(factor: float, samples: DrawnSamples) -> torch.Tensor:
        def scaled(events: Events, *, bins=3, bin_us=900) -> torch.Tensor:
            counts = Counts(bins=bins, bin_us=bin_us)(events, start_us=0)
            return factor * counts

        register_representation("scaled", scaled)
        mine = representation_from("scaled", outside="ignore")
        cache = Cache(tmp_path)
        batches = Batches(samples, mine, size=(8, 6), batch_size=5, shuffle=False, cache=cache)
        return next(iter(batches.epoch(0)))[0]

    samples, again = DrawnSamples(5, draws=False), DrawnSamples(5, draws=False)
    once, twice = read(1.0, samples), read(2.0, again)
    assert float(once.sum()) > 0
    assert torch.equal(twice, 2 * once)
    assert (samples.reads, again.reads) == ([1] * 5, [0] * 5)


NETWORK = Layered(
    layers=("4C3", "lif", "2"), width=16, height=16, inputs=1, classes=2, beta=0.8
)  # fmt: skip
INPUT = InputConfig(bins=6, bin_us=1_500, channels=1, representation="on_minus_off")


TOML = """
[network]
layers = ["4C3", "lif", "2"]
width = 16
height = 16
classes = 2
inputs = {channels}
[input]
bins = 4
channels = {channels}
representation = "{name}"
[input.parameters]
{parameters}
"""


def load(folder: Path, name: str, parameters: str = "", channels: int = 2) -> Config:
    (folder / "c.toml").write_text(TOML.format(name=name, parameters=parameters, channels=channels))
    return load_config(folder / "c.toml")


def test_a_configuration_passes_parameters_to_any_representation(tmp_path: Path) -> None:
    assert load(tmp_path, "counts").input.parameters == {}
    faded = load(tmp_path, "time_surface", "tau_us = 3000")
    assert representation_of(faded.input) == TimeSurface(bins=4, bin_us=15_500, tau_us=3000,
                                                         outside="ignore")  # fmt: skip
    tore = load(tmp_path, "tore", "latest = 3", channels=6)
    assert representation_of(tore.input).shape((16, 16)) == (4, 6, 16, 16)
    training.write_config(faded, tmp_path / "again.toml")
    changed = load_config(tmp_path / "again.toml", {"input.parameters.tau_us": "10"})
    assert changed.input == replace(faded.input, parameters={"tau_us": 10})
    assert replace(faded.input, parameters={"a": [1, [2]]}).parameters == {"a": (1, (2,))}


@pytest.mark.parametrize(
    ("name", "parameters", "channels", "named"),
    [
        ("time_surface", "", 2, "tau_us"),
        ("time_surface", "tau_us = 'x'", 2, "tau_us = 'x'"),
        ("time_surface", "tau_us = 3\nbins = 4", 2, "input.parameters.bins"),
        ("on_minus_off", "bin_us = 4", 1, "input.bin_us"),
        ("on_minus_off", "outside = 'error'", 1, "'ignore'"),
        ("on_minus_off", "scale = {a = 1}", 1, "input.parameters.scale"),
        ("on_minus_off", "", 2, "(4, 1, 16, 16)"),
        ("counts", "", 3, "network.inputs = 3"),
        ("counts", "", 0, "inputs = 0"),
        ("tore", "dtype = 'uint8'", 8, "'dtype'"),
    ],
)
def test_an_input_that_cannot_be_is_refused_with_the_configuration(
    tmp_path: Path, name: str, parameters: str, channels: int, named: str
) -> None:
    with refused(ConfigError, named):
        load(tmp_path, name, parameters, channels)


def test_parameters_are_a_table_and_networks_say_how_many_channels_they_take() -> None:
    with refused(ConfigError, "parameters = 3"):
        InputConfig(parameters=3)
    with refused(ConfigError, "'conv-lif'", "2"):
        Config(network=ConvLIF(), input=replace(INPUT, representation="three", channels=3))
    with refused(ConfigError, "'layers'", "network.inputs"):
        Config(network=NETWORK, input=replace(INPUT, channels=2))


def test_the_command_line_takes_it_with_its_parameters(run: Any, tmp_path: Path) -> None:
    dvskit.save_events(EVENTS, tmp_path / "a.npz")
    words = ("--as", "on_minus_off:scale=2", "--bins", "7", "--bin", "8ms")
    assert run("convert", "a.npz", "c.npy", *words)[0] == 0
    assert np.array_equal(np.load(tmp_path / "c.npy"), made(scale=2)(EVENTS).numpy())
    wrong = run("convert", "a.npz", "d.npy", "--as", "on_minus_off:scale=true")
    refused_command(wrong, "scale = True", "float")
