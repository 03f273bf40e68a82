"""Graphs for snntorch, norse and sinabs: the same spikes there, bit for bit, of whole batches."""

from __future__ import annotations

import contextlib
import io

import pytest
import torch
from torch import nn

from dvskit.errors import ConfigError, LeftOutWarning
from dvskit.layers import (
    BatchNorm2d,
    Conv2d,
    Delays,
    Flatten,
    Linear,
    MaxPool2d,
    MeanMembrane,
    Sequence,
)
from dvskit.networks import Layered, from_nir, quantize, to_nir, write_nir
from dvskit.neurons import LIF, Neurons, SignedLIF, SynapticLIF
from tests.laws import refused

nir = pytest.importorskip("nir")
STEPS, SIZE = 10, (2, 34, 34)
EXACT = {"snntorch": 1e-4, "norse": 1.0, "sinabs": 1.0}  # seconds a step with exact decays


def counts(batch=6):
    generator = torch.Generator().manual_seed(4)
    return torch.poisson(torch.full((STEPS, batch, *SIZE), 0.4), generator)


def exportable(*words):
    """A network of 8 bits whose potentials are not rounded, as no reader rounds them."""
    torch.manual_seed(3)
    module = Layered(layers=words, classes=10, gain=9.0).build()
    for _ in range(5):
        module(counts())
    return quantize(module.eval(), potentials="float")


NETWORKS = {
    "pools": ("8C5", "P2", "tdbn", "lif reset=hard beta=0.5", "P2", "12C3p1", "tdbn",
              "lif reset=hard beta=0.75", "24", "lif reset=hard beta=0.5", "10"),
    "no leak": ("S2", "8C5s2", "tdbn", "if reset=hard", "24", "if reset=hard", "10"),
    "no memory": ("8C5s2", "tdbn", "burst-lif beta=0 most=3", "12C3s2", "tdbn",
                  "signed-lif beta=0", "24", "lif reset=hard beta=0.5", "10"),
}  # fmt: skip


def outputs_of(module, x):
    """The outputs of each step, without the mean, and the spikes of all layers."""
    spikes = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: spikes.append(out))
        for layer in module
        if isinstance(layer, Neurons)
    ]
    with torch.no_grad():
        outputs = module[:-1](x)
    for hook in hooks:
        hook.remove()
    return outputs, spikes


def watched(peer, kinds, run):
    """What `run` returns, and the outputs of the layers of some kinds, step by step."""
    spikes = {}

    def keep(name):
        def hook(_, __, out):
            spikes.setdefault(name, []).append(out[0] if isinstance(out, tuple) else out)

        return hook

    hooks = [
        layer.register_forward_hook(keep(name))
        for name, layer in peer.named_modules()
        if type(layer).__name__ in kinds
    ]
    with torch.no_grad():
        outputs = run(peer)
    for hook in hooks:
        hook.remove()
    return outputs, [torch.stack(each) for each in spikes.values()]


def steps_of(x):
    def run(peer):
        state, outputs = None, []
        for step in x:
            out, state = peer(step, state)
            outputs.append(out)
        return torch.stack(outputs)

    return run


def in_snntorch(path, x):
    pytest.importorskip("nirtorch")
    from snntorch.import_nir import import_from_nir

    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        peer = import_from_nir(nir.read(path))
    return watched(peer, ("Leaky",), steps_of(x))


def in_norse(path, x):
    pytest.importorskip("norse")
    from norse.torch.utils.import_nir import from_nir

    peer = from_nir(nir.read(path), dt=1.0, ignore_warnings=True)
    return watched(peer, ("LIFBoxCell", "IAFCell"), steps_of(x))


def in_sinabs(path, x):
    pytest.importorskip("sinabs")  # pip install --no-deps sinabs pbr: it asks for an older nir
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.layers import LIF
    from sinabs.nir import from_nir

    peer = from_nir(nir.read(path, type_check=False), num_timesteps=STEPS)
    for layer in peer.modules():
        if isinstance(layer, LIF):
            layer.spike_fn, layer.reset_fn = SingleSpike, MembraneReset()

    def run(peer):
        outputs = peer(x.transpose(0, 1).flatten(0, 1))  # samples, and their steps
        return outputs[0] if isinstance(outputs, tuple) else outputs

    outputs, spikes = watched(peer, ("LIFSqueeze",), run)
    found = outputs, *(each[0] for each in spikes)
    first, *others = (each.unflatten(0, (-1, STEPS)).transpose(0, 1) for each in found)
    return first, others


READERS = {"snntorch": in_snntorch, "norse": in_norse, "sinabs": in_sinabs}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("words", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("reader", READERS)
def test_each_reader_has_the_same_spikes_for_a_whole_batch(reader, words, tmp_path):
    module, x = exportable(*words), counts()
    path = tmp_path / "net.nir"
    with pytest.warns(LeftOutWarning, match="mean"):
        write_nir(module, path, reader=reader, dt_s=EXACT[reader])
    outputs, spikes = READERS[reader](path, x)
    expected, ours = outputs_of(module, x)
    assert torch.equal(outputs.reshape(expected.shape), expected)
    assert len(spikes) == len(ours)
    for theirs, each in zip(spikes, ours, strict=True):
        assert 0.005 < each.abs().mean() < 0.9
        if each[0].numel() == theirs[0].numel():  # not those of several thresholds
            assert torch.equal(theirs.reshape(each.shape), each)


@pytest.mark.filterwarnings("ignore:to_nir. layer:UserWarning")
def test_norms_become_weights_and_a_mean_becomes_an_integrator():
    torch.manual_seed(1)
    layers = Sequence(
        Conv2d(2, 4, 5), BatchNorm2d(4), LIF(0.5, reset="hard"), Flatten(), Linear(3600, 3),
        MeanMembrane(),
    )  # fmt: skip
    for _ in range(3):
        layers(counts())
    layers.eval()
    graph = to_nir(layers, SIZE)
    kinds = [type(node).__name__ for node in graph.nodes.values()]
    assert kinds == ["Input", "Conv2d", "LIF", "Flatten", "Affine", "I", "Output"]
    back = from_nir(graph)
    assert isinstance(back[-1], MeanMembrane)
    torch.testing.assert_close(back(counts()), layers(counts()))
    assert layers(counts()).std() > 0


def test_a_delay_is_a_node_beside_others_whose_weighted_outputs_are_added():
    torch.manual_seed(1)
    layers = Sequence(Delays(3, 2), Conv2d(6, 4, 5), LIF(0.5, reset="hard"))
    graph = to_nir(layers, SIZE, dt_s=1e-3)
    delays = {name: node for name, node in graph.nodes.items() if type(node).__name__ == "Delay"}
    assert [float(node.delay.max()) for node in delays.values()] == pytest.approx([2e-3, 4e-3])
    ends = [start for start, end in graph.edges if end == "2"]
    assert len(ends) == 3
    x, total = counts(), 0
    by_end = {end: start for start, end in graph.edges if end in ends}
    for end in ends:
        node, start = graph.nodes[end], by_end[end]
        late = round(float(delays[start].delay.max()) / 1e-3) if start in delays else 0
        moved = torch.cat([torch.zeros_like(x[:late]), x[: len(x) - late]])
        weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
        total = total + nn.functional.conv2d(moved.flatten(0, 1), weight, bias)
    with torch.no_grad():
        expected = layers[:2](x).flatten(0, 1)
    torch.testing.assert_close(total, expected, atol=1e-5, rtol=1e-4)


def test_an_encoding_in_front_is_left_out_and_the_graph_begins_behind_it():
    module = Layered(layers=("S2", "log", "4C5", "lif reset=hard", "3", "last"), classes=3).build()
    with refused(ConfigError, "log1", "LogCounts", "leave out"):
        to_nir(module)
    graph = to_nir(module, leave_out=["pool1", "log1"])
    assert graph.nodes["input"].output_type["output"].tolist() == [2, 17, 17]
    assert list(graph.nodes)[-1] == "output"


@pytest.mark.parametrize(
    ("layers", "given", "names"),
    [
        (Sequence(Conv2d(2, 4, 3), SignedLIF(0.5)), {}, ["layer 1", "SignedLIF", "beta = 0"]),
        (Sequence(Conv2d(2, 4, 3), MaxPool2d(2)), {}, ["layer 1", "MaxPool2d"]),
        (Sequence(Delays(2), LIF(0.5)), {}, ["layer 0", "Delays", "LIF"]),
        (Sequence(Delays(2)), {}, ["layer 0", "Delays", "output"]),
        (
            Sequence(Conv2d(2, 4, 3), LIF(torch.full((4, 1, 1), 0.5))),
            {"reader": "norse"},
            ["layer 1", "norse", "numbers"],
        ),
        (Sequence(Conv2d(2, 4, 3), SynapticLIF(0.5)), {"reader": "norse"}, ["layer 1", "norse"]),
        (Sequence(Conv2d(2, 4, 3)), {"reader": "lava"}, ["reader = 'lava'", "norse"]),
    ],
)
@pytest.mark.filterwarnings("ignore:to_nir. layer:UserWarning")
def test_what_no_graph_holds_is_refused_with_the_layer_and_a_fix(layers, given, names):
    with refused(ConfigError, *names):
        to_nir(layers, SIZE, **given)


@pytest.mark.filterwarnings("ignore:to_nir. layer:UserWarning")
def test_a_graph_for_one_reader_is_not_taken_for_another():
    graph = to_nir(Sequence(Conv2d(2, 4, 3), LIF(0.5, reset="hard")), SIZE, reader="norse")
    with refused(ConfigError, "norse", "without a reader"):
        from_nir(graph)


def test_potentials_that_are_rounded_are_reported():
    module = Sequence(Conv2d(2, 4, 3), LIF(0.5, reset="hard", resolution=0.25))
    with pytest.warns(LeftOutWarning, match="layer 1.*rounds"):
        to_nir(module, SIZE)
