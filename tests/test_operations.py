"""Operations are those that loops over inputs, weights and borders count, one by one."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dvskit import layers
from dvskit.errors import ConfigError, DvskitError
from dvskit.evaluation import Operations, count_operations
from dvskit.evaluation.operations import COUNTING_RULE, counted
from dvskit.networks import ConvLIF, Layered
from dvskit.neurons import LI, LIF, RecurrentLIF, SignedLIF
from dvskit.training import Trained
from tests.laws import refused


def convolution_by_loops(x: np.ndarray, layer: nn.Conv2d) -> tuple[int, int]:
    """The operations of images (N, C, H, W): each product of an input and a weight, one by one."""
    weight = layer.weight.detach().numpy()
    (rows, columns), (down, right) = layer.padding, layer.stride
    (_, c, high, wide), outputs = x.shape, len(weight)
    group_in, group_out = c // layer.groups, outputs // layer.groups
    (tall, broad), (apart, aside) = layer.kernel_size, layer.dilation
    synaptic = dense = 0
    out_rows = (high + 2 * rows - apart * (tall - 1) - 1) // down + 1
    out_columns = (wide + 2 * columns - aside * (broad - 1) - 1) // right + 1
    for image in x:
        for o, i, j in product(range(outputs), range(out_rows), range(out_columns)):
            for k, a, b in product(range(group_in), range(tall), range(broad)):
                row, column = i * down + a * apart - rows, j * right + b * aside - columns
                if layer.padding_mode == "circular":
                    row, column = row % high, column % wide
                if 0 <= row < high and 0 <= column < wide:
                    dense += 1
                    value = image[o // group_out * group_in + k, row, column]
                    synaptic += bool(value != 0 and weight[o, k, a, b] != 0)
    return synaptic, dense


CONVOLUTIONS = {
    "padded": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "stride": 2, "padding": (0, 2)},
    "cut off": {"kernel_size": 2, "stride": 3},
    "dilated": {"kernel_size": (2, 3), "dilation": (2, 1), "padding": 1},
    "grouped": {"kernel_size": 3, "groups": 2, "padding": 1, "bias": False},
    "circular": {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
}


def inputs_of(shape: tuple[int, ...], kind: str, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    some = rng.random(shape) < 0.3
    high = {"spikes": 2, "counts": 5}[kind]
    values = rng.integers(1, high, shape) * (rng.integers(0, 2, shape) * 2 - 1)
    return torch.from_numpy((some * values).astype(np.float32))


@pytest.mark.parametrize(("kind", "of_torch"), [("spikes", False), ("counts", True)])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_costs_what_loops_count(name: str, of_torch: bool, kind: str) -> None:
    torch.manual_seed(1)
    made = (nn.Conv2d if of_torch else layers.Conv2d)(2, 4, **CONVOLUTIONS[name])
    with torch.no_grad():
        made.weight[0, 0, 0, 0] = 0  # pruned
    x = inputs_of((2, 3, 2, 5, 6), kind)
    module = nn.Sequential(nn.Flatten(0, 1), made) if of_torch else nn.Sequential(made)
    found = counted(module, [x[:, :1], x[:, 1:]])
    (layer,), seen = found.layers, (found.samples, found.steps)
    images = x.flatten(0, 1).numpy()
    assert (layer.synaptic, layer.dense) == convolution_by_loops(images, made)
    assert (layer.inputs, layer.active) == (x.numel(), int((x != 0).sum()))
    assert layer.of_spikes == (kind == "spikes")
    assert seen == (3, 2)


NETWORKS = {
    "conv-lif": ConvLIF(width=10, height=10, channels=(2, 3), kernel=3, classes=4),
    "residual": Layered(
        layers=("3C3p1", "bn", "plif", ["3C3p1", "bn", "plif"], "M2", "S2", "8", "alif", "10"),
        width=8, height=8,
    ),
    "recurrent": Layered(layers=("12", "recurrent-lif", "10", "li", "last"), width=5, height=5),
    "membranes": Layered(layers=("P2", "12", "lif", "10", "lif", "membrane", "each"), width=8,
                         height=8),
}  # fmt: skip


def seen_inputs(module: nn.Module, x: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """What each layer with weights is fed, as hooks of one's own see it."""
    seen: dict[str, list[torch.Tensor]] = {}
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_pre_hook(
                lambda _, given, name=name: seen.setdefault(name, []).append(given[0])
            )
    with torch.no_grad():
        module(x)
    return seen


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_counted_layer_by_layer(name: str) -> None:
    torch.manual_seed(3)
    network = NETWORKS[name]
    module = network.build().eval()
    x = inputs_of((2, 2, 2, network.height, network.width), "counts").abs()
    found = counted(module, [x])
    seen = seen_inputs(module, x)
    assert [layer.name for layer in found.layers] == list(seen)
    for layer in found.layers:
        part = dict(module.named_modules())[layer.name]
        given = seen[layer.name]
        if isinstance(part, nn.Conv2d):
            images = torch.cat([each.flatten(0, 1) for each in given]).numpy()
            assert (layer.synaptic, layer.dense) == convolution_by_loops(images, part)
        else:
            rows = torch.cat([each.reshape(-1, part.in_features) for each in given])
            assert layer.synaptic == int((rows != 0).sum()) * part.out_features
            assert layer.dense == rows.numel() * part.out_features
    assert found.uncounted == ()
    assert all(layer.updates == layer.outputs > 0 for layer in found.neurons)


def test_what_is_counted_does_not_depend_on_the_batches() -> None:
    torch.manual_seed(0)
    module = NETWORKS["conv-lif"].build()
    x = inputs_of((4, 6, 2, 10, 10), "counts").abs()
    x[:, 1:] = x[:, 1:].clamp(max=1)  # the others alone would be taken for spikes
    whole = counted(module, [x])
    assert not whole.layers[0].of_spikes
    for cut in ([x[:, k : k + 1] for k in range(6)], [x[:, :5], x[:, 5:]]):
        assert counted(module, cut) == whole


def test_spikes_are_additions_also_behind_max_pooling_and_not_behind_the_mean() -> None:
    torch.manual_seed(0)
    x = inputs_of((4, 2, 2, 8, 8), "spikes")
    for pool, of_spikes in ((layers.MaxPool2d(2), True), (layers.AvgPool2d(2), False)):
        module = nn.Sequential(SignedLIF(), pool, layers.Conv2d(2, 3, 3))
        (layer,) = counted(module, [2 * x]).layers
        assert layer.of_spikes == of_spikes


def test_neurons_are_counted_apart_and_silent_ones_have_no_sparsity() -> None:
    module = nn.Sequential(layers.Linear(5, 5), LIF(), nn.ReLU(), LI(), layers.Membrane(LIF()))
    with torch.no_grad():
        module[0].weight.copy_(torch.eye(5))
        module[0].bias.zero_()
    x = inputs_of((4, 3, 5), "spikes").clamp(min=0)
    spikes, rectified, silent, membrane = counted(module, [x]).neurons
    active = int(x.sum())
    assert (spikes.updates, spikes.outputs, spikes.active) == (60, 60, active)
    assert (rectified.kind, rectified.updates, rectified.active) == ("ReLU", 0, active)
    assert (silent.kind, silent.updates, silent.active) == ("LI", 60, None)
    assert (membrane.kind, membrane.updates, membrane.active) == ("LIF", 60, None)
    assert np.isnan(Operations((), (), 1, 1, 0, 0).sparsity)


def test_weights_of_another_kind_are_named_and_not_passed_over() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixing = nn.Parameter(torch.eye(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.mixing

    module = nn.Sequential(Own(), RecurrentLIF(torch.full((4,), 0.1)), layers.Linear(4, 2))
    assert counted(module, [torch.ones(2, 3, 4)]).uncounted == ("0", "1.recurrent")


def test_the_network_is_left_as_it_was() -> None:
    module = NETWORKS["conv-lif"].build().train()
    x = torch.ones(2, 1, 2, 10, 10)
    with torch.no_grad():
        before = module.eval()(x)
    module.train()
    counted(module, [x])
    assert module.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    with torch.no_grad():
        torch.testing.assert_close(module.eval()(x), before, rtol=0, atol=0)
    with refused(ConfigError, "one"):
        counted(module, [])
    with pytest.raises(DvskitError):
        counted(module, [torch.ones(2, 1, 2, 5, 5)])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_energy_and_means_follow_from_the_counts(trained: Trained, bars: Path) -> None:
    found = count_operations(trained.model, bars)
    assert (found.samples, found.steps) == (6, 6)
    conv1, conv2, readout = found.layers
    assert found.dense == 6 * (14 * 14 * 4 * 9 * 2 + 5 * 5 * 4 * 9 * 4 + 2 * 2 * 4 * 2)
    assert found.macs * 6 == conv1.synaptic
    assert found.acs * 6 == conv2.synaptic + readout.synaptic
    assert found.energy_j == pytest.approx(0.9e-12 * found.acs + 4.6e-12 * found.macs)
    assert found.dense_energy_j == pytest.approx(4.6e-12 * found.dense)
    assert found.updates == 6 * (7 * 7 * 4 + 2 * 2 * 4)
    weights = sum(each.numel() for each in trained.model.module.parameters())
    assert (found.weights, found.bytes) == (weights, 4 * weights)
    assert 0 < found.sparsity < 1
    assert found.synaptic < found.dense


def test_eval_prints_operations_with_their_rule_and_source(
    run, trained: Trained, bars: Path
) -> None:
    code, out, _ = run("eval", trained.folder, bars, "--operations")
    found = count_operations(trained.model, bars)
    assert code == 0
    assert f"{found.acs:,.0f} " in out
    assert f"{found.macs:,.0f} " in out
    code, out, _ = run("eval", trained.folder, bars, "--operations", "--json")
    values = json.loads(out)["operations"]
    assert values["energy_j"] == pytest.approx(found.energy_j)
    assert values["layers"][1]["synaptic"] == found.layers[1].synaptic / 6
    assert values["counting_rule"] == COUNTING_RULE
