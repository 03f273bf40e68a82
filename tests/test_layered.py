"""Layered: networks written as lists of layers, their errors, and that they train as others do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dvskit import evaluation, models, training
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    FirstSpike,
    Flatten,
    Linear,
    LogCounts,
    MaxPool2d,
    MeanMembrane,
    Membrane,
    ResidualBlock,
    SpikeCount,
    SumPool2d,
    ThresholdBatchNorm2d,
)
from dvskit.networks import ConvLIF, Layered, network_from, network_values
from dvskit.neurons import ALIF, IF, LI, LIF, PLIF, RecurrentLIF, SignedLIF, SynapticLIF
from tests.bars import config_for
from tests.laws import refused

ARTICLE = Layered(
    width=28, height=28, inputs=1, beta=0.95, gain=1,
    layers=("1000", "lif", "10", "lif", "membrane", "each"),
)  # fmt: skip


def counts(network: Layered, steps: int = 5, batch: int = 3) -> Tensor:
    shape = (steps, batch, network.inputs, network.height, network.width)
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))


def small(*layers: Any, **fields: Any) -> Layered:
    return Layered(**{"layers": layers, "width": 12, "height": 10, "classes": 3, **fields})


def test_the_default_is_the_network_that_comes_along() -> None:
    torch.manual_seed(1)
    layered = Layered().build()
    torch.manual_seed(1)
    conv_lif = ConvLIF(dropout=0.0).build()
    x = counts(Layered())
    assert conv_lif(x).std() > 0
    assert torch.equal(layered(x), conv_lif(x))


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (("4C3", "P2", "S2", "M2", "3"), [Conv2d, AvgPool2d, SumPool2d, MaxPool2d, Flatten]),
        (("4C3s2p1", "bn", "tdbn", "D0.2", "3"), [Conv2d, BatchNorm2d, ThresholdBatchNorm2d]),
        (("F4", "if", "lif", "signed-lif", "3"), [Flatten, Linear, IF, LIF, SignedLIF, Linear]),
        (("4", "alif", "plif", "synaptic-lif", "3"), [Flatten, Linear, ALIF, PLIF, SynapticLIF]),
        (("4", "recurrent-lif", "li", 3), [Flatten, Linear, RecurrentLIF, LI, Linear]),
        (("3", "mean"), [Flatten, Linear, MeanMembrane]),
        (("3", "if", "count"), [Flatten, Linear, IF, SpikeCount]),
        (("3", "if", "first tau=5"), [Flatten, Linear, IF, FirstSpike]),
        (("3", "alif", "membrane"), [Flatten, Linear, Membrane, MeanMembrane]),
        ((("2C3p1", "bn", "lif"), "3"), [ResidualBlock, Flatten, Linear, MeanMembrane]),
    ],
    ids=str,
)
def test_each_word_is_its_layer_and_the_module_runs(
    words: tuple[Any, ...], kinds: list[type]
) -> None:
    network = small(*words)
    module = network.build()
    for part, kind in zip(module, kinds, strict=False):
        assert type(part) is kind
    assert module(counts(network)).shape == (3, 3)
    states = None
    for step in counts(network):
        out, states = module.step(step, states)
    assert out.shape == (3, 3)


def test_numbers_and_parameters_of_words_are_those_of_their_layers() -> None:
    network = small(
        "log", "4C3s2p1", "lif", "M3s1", "tdbn alpha=0.5", "5", "signed-lif beta=0.25 threshold=2",
        "D0.25", "3", "plif reset=hard", "first tau=5", beta=0.75, threshold=1.5,
    )  # fmt: skip
    module: Any = network.build()
    assert (module.conv1.kernel_size, module.conv1.stride, module.conv1.padding) == (
        (3, 3), (2, 2), (1, 1),
    )  # fmt: skip
    assert (module.lif1.beta, module.lif1.threshold) == (0.75, 1.5)
    assert (module.pool1.kernel_size, module.pool1.stride) == (3, 1)
    assert (module.norm1.alpha, module.norm1.threshold) == (0.5, 1.5)
    lif = module.lif2
    assert (lif.beta, lif.threshold, lif.threshold_off) == (0.25, 2, 2)
    assert isinstance(module.dropout1, Dropout)
    assert module.dropout1.p == 0.25
    assert isinstance(module.log1, LogCounts)
    assert module.plif1.reset == "hard"
    torch.testing.assert_close(module.plif1.dynamics.beta, torch.tensor(0.75))
    assert module.first.tau == 5


def test_gain_is_on_all_weights_but_those_of_the_last_layer() -> None:
    words = ("4C3p1", "lif", ("4C3p1", "lif"), "3")
    torch.manual_seed(2)
    plain = small(*words, gain=1.0).build()
    torch.manual_seed(2)
    grown = small(*words, gain=3.0).build().state_dict()
    for name, weight in plain.state_dict().items():
        factor = 3 if name.endswith("weight") and not name.startswith("dense1") else 1
        assert torch.equal(grown[name], weight * factor), name


def test_the_membranes_of_dense_networks_are_given_at_each_step() -> None:
    torch.manual_seed(3)
    module: Any = ARTICLE.build()
    x = counts(ARTICLE).float()
    membranes = module(x)
    assert membranes.shape == (5, 3, 10)
    hidden, v, s = module[:3](x), torch.zeros(3, 10), torch.zeros(3, 10)
    for t in range(5):  # the membrane ahead of the reset, which takes what the last spike left
        v = 0.95 * (v - s) + module.dense2(hidden[t])
        torch.testing.assert_close(membranes[t], v)
        s = (v >= 1).float()
    assert float(s.sum()) > 0
    membranes.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_membranes_are_those_of_every_kind_of_neuron() -> None:
    x = torch.randn(20, 3, 4, generator=torch.Generator().manual_seed(0))
    recurrent = RecurrentLIF(torch.full((4,), 0.5))
    plain = (IF(), LIF(0.5), SignedLIF(0.5, reset="hard"), ALIF(), SynapticLIF(), PLIF())
    for neurons in (*plain, recurrent):
        spikes = neurons(x)
        potentials, state = Membrane(neurons).run(x)
        if not isinstance(neurons, ALIF):
            assert torch.equal(potentials >= 1, spikes > 0), neurons
        torch.testing.assert_close(state.v, neurons.run(x)[1].v)
    torch.testing.assert_close(Membrane(LI(0.5))(x), LI(0.5)(x))
    assert Membrane(LIF())(x.bfloat16()).dtype == torch.float32
    with refused(ShapeError, "T >= 1"):
        Membrane(LIF())(x[:0])
    with refused(ShapeError):
        Membrane(LIF()).run(x[:, :2], state)


def test_a_network_survives_being_written_as_toml(tmp_path: Path) -> None:
    network = small("4C3p1", "lif beta=0.5", ["4C3p1", ["4C3p1", "bn"], "lif"], "P2", 3)
    assert network.layers[2] == ("4C3p1", ("4C3p1", "bn"), "lif")
    assert network_from(network_values(network)) == network
    config = training.Config(network=network)
    training.write_config(config, tmp_path / "a.toml")
    assert training.load_config(tmp_path / "a.toml") == config
    overrides = {"network.layers": '["5C3", ["lif"], "3"]'}
    changed = training.load_config(tmp_path / "a.toml", overrides).network
    assert isinstance(changed, Layered)
    assert changed.layers == ("5C3", ("lif",), "3")


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        (["4C3", "P2", "lfi", "3"], ["layers[2] = 'lfi'", "'li'"]),
        (["4C3", "P2", "9C6", "3"], ["layers[2] = '9C6'", "4x4x5", "-1x0"]),
        (["4C0", "3"], ["layers[0] = '4C0'", "12C5"]),
        (["P2s0", "3"], ["'P2s0'"]),
        (["0", "3"], ["'0'"]),
        (["3", "4C3"], ["layers[1] = '4C3'", "3 numbers"]),
        (["recurrent-lif", "3"], ["a dense layer"]),
        (["lif beat=0.5", "3"], ["'beat'", "'beta'"]),
        (["bn alpha=1", "3"], ["'alpha'"]),
        (["lif beta=2", "3"], ["layers[0] = 'lif beta=2'", "from 0 to 1"]),
        (["lif beta=x", "3"], ["'x'"]),
        (["lif beta", "3"], ["beta=0.9"]),
        (["3", "first tau=0"], ["tau = 0"]),
        (["4C3 s2", "3"], ["'s2'"]),
        (["membrane", "3"], ["membrane"]),
        (["3", "mean", "lif"], ["layers[1] = 'mean'", "layers[2] = 'lif'"]),
        (["4C3", "5"], ["'5'", "classes = 3"]),
        (["4C3"], ["4x8x10", "classes = 3"]),
        (["4C3", ["4C3"], "3"], ["layers[1] = [1 layers]", "4x8x10", "4x6x8"]),
        (["4C3", ["4C3p1", "zif"], "3"], ["layers[1][1] = 'zif'"]),
        (["4C3", ["4C3p1", "mean"], "3"], ["layers[1][1] = 'mean'"]),
        ([3.5], ["layers[0] = 3.5"]),
        (["4C3", [], "3"], ["layers[1] = []"]),
        ("4C3", ["layers = '4C3'"]),
    ],
    ids=str,
)
def test_errors_name_the_layer_its_index_the_shape_and_the_fix(layers: Any, named: Any) -> None:
    with refused(ConfigError, *named):
        network_from({"name": "layers", "layers": layers, "width": 12, "height": 10, "classes": 3})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"inputs": 0}, "inputs = 0"),
        ({"beta": 1.5}, "beta = 1.5"),
        ({"gain": 0}, "gain = 0"),
        ({"width": "12"}, "width = '12'"),
        ({"layer": []}, "'layers'"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, Any], named: str) -> None:
    with refused(ConfigError, named):
        network_from({"name": "layers", **fields})


def test_counts_of_another_shape_are_refused() -> None:
    with refused(ShapeError, "(T, B, 1, 28, 28)"):
        ARTICLE.build()(torch.zeros(5, 2, 2, 28, 28))


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers",
    [
        ["4C3", "lif", ["4C3p1", "bn", "lif"], "P2", "2"],
        ["16", "lif", "2", "lif", "membrane", "each"],
    ],
    ids=["residual", "each"],
)
def test_layers_train_are_saved_and_come_back(bars: Path, tmp_path: Path, layers: Any) -> None:
    network = Layered(layers=layers, width=16, height=16, classes=2)
    config = replace(config_for(bars, tmp_path / "run", epochs=3), network=network)
    trained = training.train(config)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    back = models.load_model(trained.folder)
    assert back.network == network
    x = counts(network)
    assert torch.equal(back.module(x), trained.model.module(x))
    assert evaluation.evaluate(back, bars, split="all").accuracy > 0.7
    names = list(evaluation.spiking_layers(back))
    assert names == (["lif1", "block1.body.lif1"] if layers[0] == "4C3" else ["lif1"])


def test_training_falls_back_to_float32_where_bfloat16_is_not_faster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dvskit.models import scores
    from dvskit.training.distributed import training_precision

    module = small("4C3", "lif", "3").build()
    x = counts(small("3"))
    for vendor, flags, dtype in (
        ("AuthenticAMD", "avx2", torch.float32),
        ("AuthenticAMD", "avx512_bf16", torch.bfloat16),
        ("GenuineIntel", "avx512_bf16", torch.float32),
        ("GenuineIntel", "avx512_bf16 amx_bf16", torch.bfloat16),
    ):
        (tmp_path / "cpuinfo").write_text(f"vendor_id : {vendor}\nflags : fpu {flags} sse")
        monkeypatch.setattr(scores, "_CPUINFO", tmp_path / "cpuinfo")
        with training_precision(torch.device("cpu")):
            assert module[0](x.float()).dtype == dtype
