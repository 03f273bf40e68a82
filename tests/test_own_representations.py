"""Representations of your own: by name, the same tensor everywhere as from calling them."""

from __future__ import annotations

import runpy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dvskit
from dvskit import evaluation, training
from dvskit.datasets import Batches, Cache
from dvskit.errors import ConfigError, DvskitError, ShapeError
from dvskit.events import Events
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
from dvskit.training import Config, InputConfig, LoopConfig, Model, load_config, load_model
from dvskit.training.input_config import representation_of
from tests.bars import bars, config_for, moving_bar  # noqa: F401 (a fixture)
from tests.drawn_samples import DrawnSamples
from tests.examples import example_of
from tests.test_cli import usage_error
from tests.test_tensors import SIZE, Blocks, random_events

PACKAGE = Path(__file__).parent / "extension_package" / "garden"
EVENTS = random_events(900, seed=4)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """`on_minus_off` of the package, and a class; both are forgotten afterwards."""
    monkeypatch.setattr(REPRESENTATIONS, "_parts", dict(REPRESENTATIONS))
    runpy.run_path(str(PACKAGE / "representations.py"))
    register_representation("three", Three)


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


@pytest.mark.parametrize("start_us", [None, 0, 5_000, 70_000])
@pytest.mark.parametrize("length", [1, 64, 900])
def test_a_function_gives_the_same_tensor_however_the_stream_is_cut(
    length: int, start_us: int | None
) -> None:
    twin = Signed(bins=7, bin_us=8_000, outside="ignore")(EVENTS, start_us=start_us).float()
    mine = made(outside="ignore")
    assert torch.equal(mine(EVENTS, start_us=start_us), twin)
    assert torch.equal(mine(Blocks(EVENTS, length), start_us=start_us), twin)
    batch = torch.full((7, 2, 1, *reversed(SIZE)), 9.0)
    assert mine(EVENTS, start_us=start_us, out=batch[:, 1]).shape == mine.shape(SIZE)
    assert torch.equal(batch[:, 1], twin)
    assert bool((batch[:, 0] == 9).all())


def test_events_outside_the_window_of_a_function_are_an_error_unless_ignored() -> None:
    with pytest.raises(ShapeError, match=r"events are outside the window \[1\d+, \d+\) us.*ignore"):
        made(bins=2)(EVENTS)
    first = int(EVENTS.t[0])
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
    assert repr(made()) == "on_minus_off(bins=7, bin_us=8000, scale=1.0)"


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("on_minus", {}, "unknown representation 'on_minus'; did you mean 'on_minus_off'"),
        ("on_minus_off", {"bin": 3}, "on_minus_off has no parameter 'bin'; did you mean 'bins'"),
        ("on_minus_off", {"bins": "5"}, "on_minus_off: bins = '5' is str; give int"),
        ("on_minus_off", {"bins": 0}, "on_minus_off: bins=0 is not a whole number"),
        ("on_minus_off", {"scale": True}, "on_minus_off: scale = True is bool; give float"),
        ("on_minus_off", {"outside": "x"}, "on_minus_off: unknown outside='x'"),
        ("three", {}, "three needs bins"),
        ("three", {"bins": 2, "dtype": "float8"}, "unknown dtype 'float8'"),
    ],
)
def test_wrong_parameters_are_one_line(name: str, parameters: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        representation_from(name, **parameters)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


class NoShape:
    def __call__(self, events: Any) -> None: ...


class NoStart(NoShape):
    def shape(self, size: Any) -> tuple[int, ...]:
        return (1,)


class NoDtype(NoStart):
    def __call__(self, events: Any, *, start_us=None, out=None) -> None: ...


class ManyNames(NoDtype):
    def __init__(self, **parameters: Any) -> None: ...


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (lambda: None, "takes no events; register a function of events, mine(events, *, bins=5"),
        (lambda *, bins=5: None, "the first parameter, bins=5, does not take events"),
        (lambda bins=5: None, "the first parameter, bins=5, does not take events"),
        (lambda *events: None, "the first parameter, *events, does not take events"),
        (lambda events, *rest: None, "*rest cannot be passed by name; give each parameter"),
        (lambda events, **more: None, "**more cannot be passed by name"),
        (lambda events, start_us: None, "dvskit handles start_us for functions; leave it out"),
        (lambda events, *, out=None: None, "dvskit handles out for functions"),
        (5, "is 5, which takes no events"),
        (Counts(bins=5), "dvskit handles start_us"),
        (NoShape, "NoShape has no shape(size); add it, or register a function of events"),
        (NoStart, "NoStart.__call__ must take (self, events, *, start_us=None, out=None)"),
        (ManyNames, "**parameters cannot be passed by name"),
    ],
)
def test_other_kinds_are_refused_at_registration(kind: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        register_representation("bad", kind)
    assert words in str(caught.value)
    assert str(caught.value).startswith("representation 'bad'")
    assert "bad" not in REPRESENTATIONS


def test_a_name_is_taken_once() -> None:
    for name in ("counts", "three"):
        with pytest.raises(ConfigError, match=f"a representation named '{name}' is registered alr"):
            register_representation(name, lambda events: None)


def test_a_class_without_dtype_is_refused_when_it_is_made() -> None:
    register_representation("no_dtype", NoDtype)
    with pytest.raises(ConfigError, match="'no_dtype': NoDtype has no dtype; add one"):
        representation_from("no_dtype")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (lambda events: np.zeros(3), "returns ndarray; return a float32 tensor: torch.from_nu"),
        (lambda events: torch.zeros(3).int(), r"returns torch.int32; .*: tensor.float\(\)"),
        (lambda events: None, "returns NoneType; return a float32 tensor"),
        (lambda events: events.t[7], "'wrong': IndexError: index 7 is out of bounds"),
    ],
)
def test_what_a_function_does_wrong_names_it(kind: Any, words: str) -> None:
    register_representation("wrong", kind)
    with pytest.raises(DvskitError, match=words):
        representation_from("wrong")(EVENTS[:3])
    with pytest.raises(DvskitError, match="'wrong'"):
        representation_from("wrong").shape(SIZE)


def test_a_shape_that_depends_on_the_events_is_refused_in_batches() -> None:
    def batch(least: int) -> None:
        register_representation(f"long{least}", lambda events: torch.zeros(least + len(events)))
        made = representation_from(f"long{least}")
        list(Batches(DrawnSamples(2), made, size=(8, 6)).epoch(0))

    with pytest.raises(ShapeError, match=r"'long-2' returns \(0,\), nothing"):
        batch(-2)
    with pytest.raises(ShapeError, match=r"'long0': out is .*; its shape must not depend on the"):
        batch(0)


def test_no_events_give_zeros_in_the_shape_of_others() -> None:
    def transform(events: Events, *, bins=4, bin_us=2_000) -> torch.Tensor:
        assert len(events), "tonic's transforms fail on no events"
        array = events.to_array("tonic")
        frames = np.zeros((bins, *events.size[::-1]), np.float32)
        np.add.at(frames, (array["t"] // bin_us, array["y"], array["x"]), 1)
        return torch.from_numpy(frames)

    register_representation("transform", transform)
    mine = representation_from("transform", outside="ignore")
    assert mine.shape((640, 480)) == (4, 480, 640)
    assert torch.equal(mine(EVENTS[:0]), torch.zeros(4, *SIZE[::-1]))
    assert torch.equal(mine(EVENTS, start_us=10**9), torch.zeros(4, *SIZE[::-1]))
    assert mine(EVENTS).sum() == len(EVENTS.between(EVENTS.t[0], EVENTS.t[0] + 8_000))


def test_batches_are_what_the_function_gives_for_each_sample() -> None:
    samples, mine = DrawnSamples(5, draws=False), made(outside="ignore")
    for representation in (mine, Three(bins=4, bin_us=900)):
        batches = Batches(samples, representation, size=(8, 6), batch_size=5, shuffle=False)
        ((tensor, _),) = batches.epoch(0)
        assert tensor.dtype == representation.dtype
        for number in range(5):
            assert torch.equal(tensor[:, number], representation(samples.events(number)))


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


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [("on_minus_off", 1, {"scale": 0.5}), ("three", 3, {}), ("time_surface", 2, {"tau_us": 3000})],
)
def test_a_model_learns_is_saved_and_decides_on_the_tensor_of_the_representation(
    bars: Path,  # noqa: F811
    tmp_path: Path,
    name: str,
    channels: int,
    parameters: dict[str, Any],
) -> None:
    taken = replace(INPUT, representation=name, channels=channels, parameters=parameters)
    config = replace(
        config_for(bars, tmp_path / "run"),
        network=replace(NETWORK, inputs=channels),
        input=taken,
        loop=LoopConfig(epochs=1, steps=2),
    )
    trained = training.train(config)
    text = (tmp_path / "run" / "model.toml").read_text()
    assert ("[input.parameters]" in text) == bool(parameters)
    model = load_model(tmp_path / "run")
    assert model.input == trained.model.input == taken
    assert load_config(tmp_path / "run" / "config.toml") == config
    events = moving_bar(True, seed=99)
    made = {"on_minus_off": representation_from("on_minus_off", bins=6, bin_us=1_500, scale=0.5),
            "three": Three(bins=6, bin_us=1_500),
            "time_surface": TimeSurface(bins=6, bin_us=1_500, tau_us=3_000)}[name]  # fmt: skip
    assert torch.equal(representation_of(taken)(events).float(), made(events).float())
    with torch.no_grad():
        shares = model.module(made(events).float()[:, None]).softmax(1)[0].tolist()
    assert list(evaluation.classify(model, events).values()) == pytest.approx(shares)


def test_live_decisions_use_the_representation_however_the_stream_is_cut() -> None:
    torch.manual_seed(2)
    model = Model("m", NETWORK, NETWORK.build().eval(), INPUT, ("a", "b"))
    events = moving_bar(True, seed=5)
    decisions = list(evaluation.decide(model, events))
    run = evaluation.Live(model).start(events.size)
    found = [each for part in np.split(np.arange(280), [3, 90, 91]) for each in run.push(
        events[int(part[0]) : int(part[-1]) + 1])]  # fmt: skip
    assert [*found, *run.rest()] == decisions
    window = representation_of(INPUT)(events)[:, None]
    shares = model.module(window).softmax(1)[0].tolist()
    assert list(decisions[5].probabilities.values()) == pytest.approx(shares)


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
    ("name", "parameters", "channels", "words"),
    [
        ("time_surface", "", 2, "input: time_surface needs tau_us"),
        ("time_surface", "tau = 3", 2, "input: time_surface has no parameter 'tau'; did you mean"),
        ("time_surface", "tau_us = 'x'", 2, "input: TimeSurface: tau_us is 'x'; a time in"),
        ("time_surface", "tau_us = 3\nbins = 4", 2, "input.parameters.bins: the input sets it, to"),
        ("on_minus_off", "bin_us = 4", 1, "15500; set input.bin_us instead"),
        ("on_minus_off", "outside = 'error'", 1, "to 'ignore'; leave it out"),
        ("on_minus_off", "scale = 'x'", 1, "input: on_minus_off: scale = 'x' is str; give float"),
        ("on_minus_off", "scale = {a = 1}", 1, "input.parameters.scale is dict; give a number"),
        ("on_minus_off", "", 2, "gives (4, 1, 16, 16); network 'layers' takes (bins, channels, he"),
        ("counts", "", 3, 'images alone set input.representation = "" and network.inputs = 3'),
        ("counts", "", 0, "network.inputs"),
        ("tore", "dtype = 'uint8'", 8, "input: tore has no parameter 'dtype'"),
    ],
)
def test_an_input_that_cannot_be_is_refused_with_the_configuration(
    tmp_path: Path, name: str, parameters: str, channels: int, words: str
) -> None:
    if channels == 0:
        words = "layers: inputs = 0 is below 1"
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, name, parameters, channels)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parameters_are_a_table_and_networks_say_how_many_channels_they_take() -> None:
    with pytest.raises(ConfigError, match=r"input.parameters = 3 is not a table; write \[input"):
        InputConfig(parameters=3)
    with pytest.raises(ConfigError, match="network 'conv-lif' takes 2; only networks of layers"):
        Config(network=ConvLIF(), input=replace(INPUT, representation="three", channels=3))
    with pytest.raises(ConfigError, match=r"'layers' takes 1; make network.inputs equal"):
        Config(network=NETWORK, input=replace(INPUT, channels=2))


def test_the_command_line_takes_it_with_its_parameters(run: Any, tmp_path: Path) -> None:
    import dvskit

    dvskit.save_events(EVENTS, tmp_path / "a.npz")
    words = ("--as", "on_minus_off:scale=2", "--bins", "7", "--bin", "8ms")
    assert run("convert", "a.npz", "c.npy", *words)[0] == 0
    assert np.array_equal(np.load(tmp_path / "c.npy"), made(scale=2)(EVENTS).numpy())
    said = usage_error(run("convert", "a.npz", "d.npy", "--as", "on_minus_off:scale=true"))
    assert "scale = True is bool; give float" in said


def test_the_example_in_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dvskit.save_events(EVENTS, "events.raw")
    namespace: dict[str, Any] = {"dvskit": dvskit}
    example = example_of(register_representation).replace('"on_minus_off"', '"example"')
    exec(compile(example, "example", "exec"), namespace)
    twin = Signed(bins=8, bin_us=10_000, outside="ignore")(EVENTS)
    assert torch.equal(namespace["tensor"], twin.float())


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_of_a_function_that_are_not_finite_are_an_error_with_their_place(
    value: float,
) -> None:
    def broken(events: Events) -> torch.Tensor:
        tensor = torch.zeros(2, 3, 4)
        tensor[1, 0, 2] = value
        return tensor

    register_representation("broken", broken)
    with pytest.raises(ConfigError, match=rf"'broken': value {value:g} at \(1, 0, 2\); return fin"):
        representation_from("broken")(EVENTS)
