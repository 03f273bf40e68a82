"""The networks that come along: shapes, weights, gradients, states, and what takes their place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dvskit import models, training
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers import MaxMembrane, Voting
from dvskit.networks import (
    ConvLIF,
    GestureNet,
    Layered,
    MotionLIF,
    Network,
    PointNet,
    ResidualLIF,
    network_from,
    network_values,
    to_nir,
)
from dvskit.neurons import SignedLIF
from tests.laws import refused

CONV = ConvLIF(width=21, height=18, classes=3, channels=(4, 6), kernel=3, dropout=0.0)
MOTION = MotionLIF(width=24, height=20, pool=2, channels=(3, 4), kernel=3, hidden=5, classes=3)
RESIDUAL = ResidualLIF(width=16, height=12, pool=2, channels=(3, 4), classes=3, dropout=0.0)
MEMBRANES = replace(RESIDUAL, added="membranes", neurons="signed-lif", blocks=2)
GESTURES = GestureNet(
    width=16, height=12, channels=4, blocks=2, hidden=6, votes=2, classes=3, dropout=0.0, gain=30.0
)
POINTS = PointNet(width=16, height=12, widths=(5, 7), hidden=6, classes=3, dropout=0.0)
OF_TENSORS = [CONV, MOTION, RESIDUAL, MEMBRANES, GESTURES]
EACH = [*OF_TENSORS, POINTS]
ALL: list[Any] = [*EACH, *(replace(network, neurons="relu") for network in OF_TENSORS)]


def label(network: Any) -> str:
    return f"{network.name}-{getattr(network, 'neurons', '')}"


def inputs(network: Network, steps: int = 6, batch: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(network, PointNet):
        return torch.rand(8 * steps, batch, 4, generator=generator)
    shape = (steps, batch, 2, network.height, network.width)
    return torch.randint(0, 3, shape, generator=generator).float()


def exact(network: Network) -> Any:
    """A network in evaluation whose sums are exact, so that no spike hangs on a rounding."""
    fields = {"beta": 0.5} if hasattr(network, "beta") else {"betas": [0.5, 0.5, 0.5]}
    if isinstance(network, PointNet):
        fields = {}
    torch.manual_seed(1)
    module: Any = network_from({**network_values(network), **fields}).build()
    with torch.no_grad():
        for _ in range(30):  # until norms know the currents
            module(inputs(network))
        module.eval()
        for weight in module.parameters():
            weight.copy_((weight * 64).round() / 64)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("network", ALL, ids=label)
def test_logits_have_one_row_a_sample_and_the_loss_reaches_every_weight(network: Any) -> None:
    torch.manual_seed(2)
    module: Any = network.build()
    logits = module(inputs(network))
    assert logits.shape == (3, 3)
    functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    for name, weight in module.named_parameters():
        assert weight.grad is not None, name
        # What stands in front of a normalization in training is not moved by its bias.
        if not (name.endswith("bias") and "conv" in name):
            assert float(weight.grad.abs().sum()) > 0, name


@pytest.mark.slow
@pytest.mark.parametrize("network", ALL, ids=label)
def test_step_by_step_gives_what_the_whole_gives(network: Any) -> None:
    module, x = exact(network), inputs(network)
    states, whole = None, module(x)
    for step in x:
        out, states = module.step(step, states)
    torch.testing.assert_close(out, whole, rtol=1e-4, atol=1e-4)
    _, states = module.run(x[:2])
    second, _ = module.run(x[2:], states)
    torch.testing.assert_close(second, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("network", ALL, ids=label)
def test_a_seed_builds_the_same_weights_and_plain_values_the_same_network(
    network: Any, tmp_path: Path
) -> None:
    modules = []
    for _ in range(2):
        torch.manual_seed(7)
        modules.append(network.build())
    x = inputs(network)
    assert torch.equal(modules[0].eval()(x), modules[1].eval()(x))
    assert network_from(network_values(network)) == network
    points = isinstance(network, PointNet)
    given = models.InputConfig(representation="point_set" if points else "counts")
    config = training.Config(network=network, input=given)
    training.write_config(config, tmp_path / "a.toml")
    assert training.load_config(tmp_path / "a.toml") == config


@pytest.mark.slow
@pytest.mark.parametrize("network", OF_TENSORS, ids=label)
def test_recordings_and_stills_in_one_batch_give_what_each_gives_alone(network: Any) -> None:
    module = exact(network)
    events = inputs(network, batch=2)
    stills = (inputs(network, batch=3, seed=1) > 1).float()  # encoded: spikes of 0 and 1
    together = module(torch.cat([events, stills], 1))
    alone = torch.cat([module(events), module(stills)])
    assert alone.std() > 0
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def slow_twin(network: ConvLIF, weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Convolve, pool, spike and read out, one step and one layer after another."""
    lif = SignedLIF(network.beta, network.threshold, network.threshold, backend="torch")
    for layer in ("conv1", "conv2"):
        steps = [
            functional.avg_pool2d(
                functional.conv2d(step, weights[f"{layer}.weight"], weights[f"{layer}.bias"]), 2
            )
            for step in x
        ]
        x = lif(torch.stack(steps))
    read = [
        functional.linear(step.flatten(1), weights["readout.weight"], weights["readout.bias"])
        for step in x
    ]
    return torch.stack(read).mean(0)


def test_the_module_computes_what_its_layers_do_one_after_another() -> None:
    module, x = exact(CONV), inputs(CONV)
    expected = slow_twin(replace(CONV, beta=0.5), module.state_dict(), x)
    assert expected.std() > 0
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-5)


WEIGHTS = {
    "conv-lif": 2 * 4 * 9 + 4 + 4 * 6 * 9 + 6 + 6 * 3 * 3 * 3 + 3,
    "motion-lif": 2 * 3 * 9 + 3 + 3 * 4 * 9 + 4 + 4 * 3 * 3 * 5 + 5 + 5 * 3 + 3,
    # Of each convolution also the weight and bias of its norm; the readout sees 4x2x2.
    "residual-lif": sum(9 * i * o + 3 * o for i, o in ((2, 3), (3, 3), (3, 3), (3, 4), (4, 4),
                                                       (4, 4))) + 4 * 2 * 2 * 3 + 3,
    # And a time constant of each of four layers of neurons.
    "gesture-net": 9 * 2 * 4 + 12 + 9 * 4 * 4 + 12 + 4 * 4 * 3 * 6 + 6 + 6 * 6 + 6 + 4,
    "point-net": 4 * 5 + 10 + 5 * 7 + 14 + 7 * 6 + 12 + 6 * 3 + 3,
}  # fmt: skip


@pytest.mark.parametrize("network", [CONV, MOTION, RESIDUAL, GESTURES, POINTS], ids=label)
def test_the_number_of_weights_is_that_of_the_description(network: Any) -> None:
    assert sum(weight.numel() for weight in network.build().parameters()) == WEIGHTS[network.name]


@pytest.mark.parametrize("network", OF_TENSORS, ids=label)
def test_the_ann_has_the_weights_of_the_spiking_network(network: Any) -> None:
    spiking = replace(network, neurons="lif").build().state_dict()
    relu = replace(network, neurons="relu").build().state_dict()
    assert {key: value.shape for key, value in spiking.items()} == {
        key: value.shape for key, value in relu.items()
    }


def test_the_ann_knows_no_order_of_time() -> None:
    module, x = exact(replace(MOTION, neurons="relu")), inputs(MOTION)
    torch.testing.assert_close(module(x), module(x.flip(0)), rtol=1e-4, atol=1e-4)
    steps = torch.stack([module(step[None]) for step in x])
    torch.testing.assert_close(module(x), steps.mean(0), rtol=1e-4, atol=1e-4)
    memory = exact(MOTION)
    assert (memory(x) - memory(x.flip(0))).abs().max() > 1e-3


def test_points_in_any_order_and_twice_are_the_same_cloud() -> None:
    module, x = exact(POINTS), inputs(POINTS)
    shuffled = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(3))]
    assert torch.equal(module(x), module(shuffled))
    assert torch.equal(module(x), module(torch.cat([x, x[:5]])))
    assert (module(x) - module(x + 0.1)).abs().max() > 1e-4
    late = x * torch.tensor([1, 1, 0.5, 1])
    assert (module(x) - module(late)).abs().max() > 1e-4


def test_the_largest_of_all_steps_is_the_largest_of_the_chunks() -> None:
    x = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(MaxMembrane()(x), x.max(0).values)
    first, state = MaxMembrane().run(x[:3])
    second, _ = MaxMembrane().run(x[3:], state)
    assert torch.equal(first, x[:3].max(0).values)
    assert torch.equal(second, x.max(0).values)
    alike = torch.ones(4, 1, 1, requires_grad=True)
    MaxMembrane()(alike).sum().backward()
    assert alike.grad is not None
    assert alike.grad.flatten().tolist() == [0.25] * 4


def test_neighbors_vote_for_a_class() -> None:
    x = torch.tensor([[[1.0, 0, 1, 1], [0, 0, 0, 1]]])
    assert Voting(2)(x).tolist() == [[[0.5, 1], [0, 0.5]]]
    assert Voting(4)(x[0]).tolist() == [[0.75], [0.25]]
    with refused(ShapeError, "(T, B, K * 3)"):
        Voting(3)(x)
    with refused(ConfigError, "votes = 0"):
        Voting(0)
    with refused(ConfigError, "multiple of 4"):
        Layered(layers=("10", "lif", "V4"))
    voted = Layered(layers=("8", "relu", "20", "V2", "max"), width=4, height=4).build()
    assert voted(torch.ones(2, 3, 2, 4, 4)).shape == (3, 10)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"name": "conv-lif", "neurons": "relo"}, ["'relo'", "'relu'"]),
        ({"name": "residual-lif", "added": "spike"}, ["'spike'", "'spikes'"]),
        ({"name": "residual-lif", "channels": []}, ["channels = ()"]),
        ({"name": "residual-lif", "pool": 200}, ["200", "128x128"]),
        ({"name": "residual-lif", "dropout": 1.0}, ["dropout = 1.0"]),
        ({"name": "residual-lif", "beta": 1.5}, ["beta = 1.5"]),
        ({"name": "gesture-net", "blocks": 8}, ["8", "128x128"]),
        ({"name": "gesture-net", "votes": 0}, ["votes = 0"]),
        ({"name": "gesture-net", "beta": 1.0}, ["beta = 1.0"]),
        ({"name": "point-net", "widths": []}, ["widths = ()"]),
        ({"name": "point-net", "dropout": -0.1}, ["dropout = -0.1"]),
        ({"name": "point-net", "neurons": "lif"}, ["network.neurons"]),
        ({"name": "point-nte"}, ["'point-net'"]),
        ({"bta": 0.5}, ["network.bta", "'beta'"]),
        ({"name": "conv-lif", "layers": ["10"]}, ["'conv-lif'", "layers"]),
        ({"channels": [1, 2, 3]}, ["channels"]),
        ({"width": 8}, ["8x34"]),
        ({"name": "motion-lif", "neurons": "LIF"}, ["'LIF'"]),
        ({"beta": 1.5}, ["beta = 1.5"]),
        ({"kernel": "5"}, ["network.kernel = '5'"]),
        ({"channels": 12}, ["channels = 12"]),
        ({"threshold": 0}, ["threshold = 0"]),
        ({"name": "motion-lif", "betas": 0.5}, ["betas = 0.5"]),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], named: list[str]) -> None:
    with refused(ConfigError, *named):
        network_from(values)


def test_a_table_without_a_name_is_a_list_of_layers_or_the_default() -> None:
    assert network_from({"layers": ["20", "lif", 10]}) == Layered(layers=("20", "lif", "10"))
    assert network_from({}) == ConvLIF()


@pytest.mark.parametrize(
    ("kind", "network", "given", "named"),
    [
        (ShapeError, POINTS, torch.zeros(5, 2, 3), ["(5, 2, 3)", "(N, B, 4)"]),
        (ShapeError, CONV, torch.zeros(5, 2, 4), ["(5, 2, 4)", "(T, B, 2, 18, 21)"]),
        (ShapeError, CONV, torch.zeros(5, 3, 2, 21, 18), ["(T, B, 2, 18, 21)"]),
    ],
)
def test_inputs_of_another_shape_are_refused_with_the_right_one(
    kind: Any, network: Any, given: Any, named: list[str]
) -> None:
    with refused(kind, *named):
        network.build()(given)


@pytest.mark.filterwarnings("ignore:to_nir. layer:UserWarning")
def test_what_nir_lacks_is_refused() -> None:
    pytest.importorskip("nir")
    alif, relu = replace(GESTURES, neurons="alif"), replace(CONV, neurons="relu")
    for network in (POINTS, alif, RESIDUAL, relu):
        with refused(ConfigError, "to_nir"):
            to_nir(network.build(), leave_out=["mean"] if network is not POINTS else ["max"])
