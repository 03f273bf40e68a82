"""Folded, binary, converted and integer networks: each has the function of the network it is of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from dvskit.errors import ConfigError
from dvskit.layers import AvgPool2d, Conv2d, Flatten, Sequence, SumPool2d
from dvskit.models import InputConfig, Model, load_model, save_model
from dvskit.networks import GestureNet, Layered, fold, quantize, to_spiking, unit_of
from dvskit.networks.folding import binary_row, folded_row, listed, shapes_of, with_pools
from dvskit.neurons import IF, LIF, BurstLIF, Neurons
from tests.laws import refused

SHAPE = (2, 34, 34)
FOLDED = ("AvgPool2d", "BatchNorm2d", "ThresholdBatchNorm2d", "Voting", "Dropout")


def counts(steps=8, batch=3, shape=SHAPE, rate=0.5):
    generator = torch.Generator().manual_seed(4)
    return torch.poisson(torch.full((steps, batch, *shape), rate), generator)


def made(*words, shape=SHAPE, classes=10):
    """A network with weights that all count, after its normalization has seen inputs."""
    torch.manual_seed(1)
    size = {"inputs": shape[0], "height": shape[1], "width": shape[2]}
    module = Layered(layers=words, classes=classes, gain=2.0, **size).build()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 2.0)
                part.bias.uniform_(-0.5, 0.5)
    for _ in range(5):
        module(counts(shape=shape))
    return module.eval()


NETWORKS = {
    "pool, norm": ("8C5", "P2", "tdbn", "lif", "12C3p1", "bn", "S2", "signed-lif", "D0.2", "10"),
    "strides": ("6C5s2p2", "P3s2", "tdbn alpha=2", "lif", "T3s2", "8C3", "S2s1", "burst-lif", "10"),
    "votes": ("P2", "8C5s2", "tdbn", "plif", "T2", "30", "plif decay_input=false", "60", "V3",
              "lif", "20", "V2", "max"),
    "largest": ("log", "8C5", "M2", "relu", "24", "ln", "lif reset=hard refractory=1", "10"),
}  # fmt: skip


@pytest.mark.parametrize("words", NETWORKS.values(), ids=NETWORKS)
def test_a_folded_network_has_the_answers_of_the_network(words):
    module = made(*words)
    folded = fold(module)
    kinds = {type(layer).__name__ for layer in folded}
    left = {"AvgPool2d"} if "P2" in words[:1] else set()  # in front of its first convolution
    assert kinds & set(FOLDED) == left
    with torch.no_grad():
        ours, theirs = folded(counts()), module(counts())
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert theirs.std() > 0.01
    again = folded.network.build()
    again.load_state_dict(folded.state_dict())
    assert again.network.layers == folded.network.layers


def test_neurons_of_a_folded_network_spike_as_before():
    module = made(*NETWORKS["pool, norm"]).double()
    folded, spikes = fold(module), []
    for each in (module, folded):
        found = []
        spikes.append(found)
        for part in each.modules():
            if isinstance(part, Neurons):
                part.register_forward_hook(lambda _, __, out, found=found: found.append(out))
        each(counts().double())
    assert [each.shape for each in spikes[0]] == [each.shape for each in spikes[1]]
    assert all(torch.equal(*pair) for pair in zip(*spikes, strict=True))
    assert all(0.01 < each.abs().mean() < 0.9 for each in spikes[0])


def test_the_gesture_network_folds_with_its_learned_time_constants():
    module = GestureNet(width=32, height=32, channels=4, blocks=3, hidden=16, classes=5).build()
    module(counts(shape=(2, 32, 32)))
    module.eval()
    x = counts(shape=(2, 32, 32))
    torch.testing.assert_close(fold(module)(x), module(x), atol=1e-4, rtol=1e-4)


def test_what_no_list_of_layers_has_is_an_error_that_names_it():
    odd = Sequence(Conv2d(2, 4, (3, 5)), LIF(), Flatten())
    with refused(ConfigError, "layer 0, Conv2d"):
        fold(odd, SHAPE)
    per_channel = Sequence(Conv2d(2, 4, 3), LIF(torch.full((4, 1, 1), 0.5)))
    with refused(ConfigError, "layer 1", "beta"):
        fold(per_channel, SHAPE)
    with refused(ConfigError, "shape"):
        fold(per_channel)


@pytest.mark.parametrize("kind", [AvgPool2d, SumPool2d])
def test_pools_of_one_kind_have_the_answers_of_both(kind):
    module = made("P2", "T2", "8C5", "lif", "S2", "12C3", "lif", "P2", "T2s2", "10")
    row = folded_row(module, shapes_of(module, SHAPE))
    other = listed(with_pools(row, kind), SHAPE)
    pools = [layer for layer in other if isinstance(layer, AvgPool2d | SumPool2d)]
    assert len(pools) == 3
    assert {type(layer) for layer in pools} == {kind}
    assert torch.allclose(other(counts()), listed(row, SHAPE)(counts()), atol=1e-5)


def test_neurons_without_memory_become_binary_ones_with_the_same_answers():
    words = ("8C5", "P2", "tdbn", "burst-lif beta=0 most=3 threshold_off=0.5", "T3", "P2", "12C3",
             "tdbn", "burst-lif beta=0 most=2 threshold=0.75", "S2", "T2s2", "30",
             "signed-lif beta=0", "lif", "10")  # fmt: skip
    module = made(*words)
    row = folded_row(module, shapes_of(module, SHAPE))
    binary = listed(binary_row(row), SHAPE)
    neurons = [layer for layer in binary if isinstance(layer, Neurons)]
    assert [part.dynamics.signed or part.dynamics.most > 1 for part in neurons[:2]] == [False] * 2
    assert neurons[2].dynamics.signed  # neurons stand behind it, not weights
    assert binary.conv1.out_channels == 6 * 8
    with torch.no_grad():
        torch.testing.assert_close(binary(counts()), module(counts()), atol=1e-4, rtol=1e-4)


# --- whole numbers


def integers(module, x):
    """The readout of a network of `quantize` by integer arithmetic: conv-lif-...-dense-mean."""
    x = x.numpy().astype(np.int64)
    for layer in module:
        if isinstance(layer, Conv2d | nn.Linear):
            unit = unit_of(layer)
            weight, bias = (np.rint(part.detach().double().numpy() / unit).astype(np.int64)
                            for part in (layer.weight, layer.bias))  # fmt: skip
            x = convolved(x, weight, bias, layer) if weight.ndim == 4 else x @ weight.T + bias
        elif isinstance(layer, SumPool2d):
            k = layer.kernel_size
            rows, columns = (side // k * k for side in x.shape[3:])
            x = x[..., :rows, :columns]
            x = x.reshape(*x.shape[:3], rows // k, k, columns // k, k).sum((4, 6))
        elif isinstance(layer, Neurons):
            x = fired(x, layer)
        elif isinstance(layer, nn.Module) and type(layer).__name__ == "Flatten":
            x = x.reshape(*x.shape[:2], -1)
    return unit, x.sum(0)


def convolved(x, weight, bias, layer):
    edge, step, size = layer.padding[0], layer.stride[0], weight.shape[-1]
    x = np.pad(x, [(0, 0)] * 3 + [(edge, edge)] * 2)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (3, 4))
    windows = windows[:, :, :, ::step, ::step]
    return np.einsum("tbcijkl,ockl->tboij", windows, weight) + bias[:, None, None]


def fired(x, layer):
    unit, decay = layer.resolution, round(layer.beta * 256)
    up = round(layer.threshold / unit)
    down = round(layer.threshold_off / unit) if layer.dynamics.signed else None
    v, spikes = np.zeros_like(x[0]), []
    for current in x:
        kept = np.sign(v) * (np.abs(v) * decay >> 8)  # toward 0
        h = kept + current
        s = np.clip(h // up, 0, layer.dynamics.most)
        v = h - up * s
        if down is not None:
            low = np.clip(-h // down, 0, layer.dynamics.most)
            s, v = s - low, v + down * low
        if layer.reset == "hard":
            v = np.where(s == 0, h, 0)
        spikes.append(s)
    return np.stack(spikes)


@pytest.mark.parametrize(
    "words",
    [
        (
            "8C5",
            "P2",
            "tdbn",
            "lif reset=hard",
            "12C3p1",
            "P2",
            "tdbn",
            "signed-lif beta=0.9",
            "10",
        ),
        ("P2", "8C5s2", "tdbn", "burst-lif", "S2", "30", "signed-lif threshold_off=0.3", "10"),
    ],
)
@pytest.mark.parametrize("bits", [8, 4])
def test_a_network_in_whole_numbers_computes_what_integers_do(words, bits):
    module = made(*words)
    whole = quantize(module, bits)
    x = counts(steps=20)
    unit, total = integers(whole, x)
    with torch.no_grad():
        answer = whole(x)
    assert torch.equal((answer.double() * len(x) / unit).round().long(), torch.from_numpy(total))
    assert answer.std() > 0
    for layer in whole:
        if isinstance(layer, Conv2d | nn.Linear):
            steps = layer.weight / unit_of(layer)
            assert torch.equal(steps, steps.round())
            least = 2.0 ** (bits - 1) * unit_of(layer) / layer.weight.abs().max()
            assert least > 0.25  # the bits are used
    error = (whole(x) - module(x)).square().mean() / module(x).var()
    assert error < (0.1 if bits == 8 else 1.5)


def test_a_network_in_whole_numbers_is_saved_with_half_of_its_bytes(tmp_path):
    module = quantize(made("8C5", "P2", "tdbn", "lif reset=hard", "10"))
    names = tuple("abcdefghij")
    model = Model("whole", module.network, module, InputConfig(bins=8, bin_us=1000), names)
    save_model(tmp_path / "whole", model)
    again = load_model(tmp_path / "whole")
    assert torch.equal(again.module(counts()), module(counts()))
    plain = dataclasses.replace(model, module=made("8C6s2", "lif reset=hard resolution=0.5", "10"))
    plain = dataclasses.replace(plain, network=plain.module.network)
    save_model(tmp_path / "plain", plain)
    sizes = [
        (tmp_path / name / "weights.safetensors").stat().st_size for name in ("whole", "plain")
    ]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("8C5", "relu", "10"), ["relu1", "ReLU", "to_spiking"]),
        (("8C5", "lif", "20", "ln", "lif", "10"), ["norm1", "LayerNorm", "tdbn"]),
        (("log", "8C5", "lif", "10"), ["log1", "LogCounts"]),
        (("8C5", "alif", "10"), ["alif1", "ALIF"]),
        (("8C5", "lif refractory=2", "10"), ["lif1", "refractory"]),
    ],
)
def test_what_has_no_form_in_whole_numbers_is_refused_with_its_name(words, names):
    with refused(ConfigError, *names):
        quantize(made(*words))
    with refused(ConfigError, "bits = 9"):
        quantize(made("8C5", "lif", "10"), 9)


def test_weights_without_a_common_unit_are_refused():
    with refused(ConfigError, "quantize"):
        unit_of(made("8C5", "lif", "10").conv1)


# --- from rectifiers


IMAGE = (1, 28, 28)
RELU = ("8C5", "P2", "bn", "relu", "12C3", "bn", "relu", "P2", "30", "relu", "D0.2", "10")


def images(count=96):
    generator = torch.Generator().manual_seed(7)
    return torch.rand(1, count, *IMAGE, generator=generator)


@pytest.fixture(scope="module")
def rectifiers():
    module = made(*RELU, shape=IMAGE)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
            part.reset_running_stats()
    module.train()
    module(images())
    return module.eval()


def distance(module, spiking):
    """The error of the answers, in units of the spread of samples."""
    x = images(200)[:, 96:]
    with torch.no_grad():
        right = module(x)
        return ((spiking(x) - right).std() / (right - right.mean(0)).std()).item()


@pytest.mark.parametrize("most", [1, 4])
def test_more_steps_bring_a_spiking_network_nearer_to_that_of_rectifiers(rectifiers, most):
    found = []
    for steps in (8, 32, 128):
        spiking = to_spiking(rectifiers, [images()], steps=steps, most=most, percentile=100)
        kinds = {type(layer) for layer in spiking if isinstance(layer, Neurons)}
        assert kinds == {IF if most == 1 else BurstLIF}
        found.append(distance(rectifiers, spiking))
    assert found[2] < found[1] < found[0]
    assert found[2] < 0.1


def test_graded_spikes_of_many_levels_give_the_answers_of_the_rectifiers(rectifiers):
    found = []
    for most in (4, 16, 256):
        spiking = to_spiking(rectifiers, [images()], steps=1, most=most, percentile=100)
        assert "repeat" not in " ".join(name for name, _ in spiking.named_children())
        found.append(distance(rectifiers, spiking))
    assert found[2] < found[1] < found[0]
    assert found[2] < 0.1


def test_delays_memory_and_layer_norms_keep_their_steps():
    module = made("S2", "log", "T2", "8C5s2", "tdbn", "relu", "T2", "12C3", "relu", "20", "ln",
                  "signed-lif", "T2", "10")  # fmt: skip
    spiking = to_spiking(module, [counts(batch=12)], steps=1, most=256, percentile=100)
    others = [word for word in spiking.network.layers if not word.startswith("burst-lif")]
    first = ["S2", "log", "T2", "8C5s2", "T2", "12C3", "20", "ln", "signed-lif beta=0.7", "T2"]
    assert others == [*first, "10", "mean"]
    with torch.no_grad():
        ours, theirs = spiking(counts()), module(counts())
    assert ((ours - theirs).std() / theirs.std()).item() < 0.15
    parts, states = [], None
    for part in counts().split(3):
        out, states = spiking.run(part, states)
        parts.append(out)
    torch.testing.assert_close(parts[-1], ours)


@pytest.mark.parametrize(
    ("words", "given", "names"),
    [
        (("8C5", "lif", "10"), {}, ["ReLU"]),
        (("8C5", "relu", "20", "ln", "relu", "10"), {}, ["norm1", "LayerNorm", "steps=1"]),
        (("8C5", "M2", "relu", "10"), {}, ["relu1", "convolution"]),
        (("8C5", "relu", "8C3", "lif", "8C3", "relu", "10"), {}, ["lif1", "LIF"]),
        (("8C5", "relu", "10"), {"steps": 0}, ["steps = 0"]),
        (("8C5", "relu", "10"), {"percentile": 0}, ["percentile = 0"]),
    ],
)
def test_networks_that_cannot_be_converted_are_refused_with_the_layer(words, given, names):
    with refused(ConfigError, *names):
        to_spiking(made(*words), [counts()], **given)


def test_samples_that_cannot_be_balanced_on_are_refused():
    with refused(ConfigError, "8 steps", "steps=1", "most=32"):
        to_spiking(made("8C5", "relu", "10"), [counts()])
    with refused(ConfigError, "samples"):
        to_spiking(made("8C5", "relu", "10"), [])
