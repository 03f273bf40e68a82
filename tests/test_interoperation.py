"""Networks in NIR files, in ONNX and as snntorch's layers: the same spikes on the other side."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from dvskit.errors import (
    ConfigError,
    FormatError,
    LeftOutWarning,
    MissingFileError,
    OutputError,
    ShapeError,
)
from dvskit.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    FirstSpike,
    Flatten,
    Linear,
    MaxPool2d,
    MeanMembrane,
    Membrane,
    ResidualBlock,
    Sequence,
    SumPool2d,
)
from dvskit.networks import (
    ConvLIF,
    Layered,
    from_nir,
    from_snntorch,
    onnx_start,
    snntorch_state,
    to_nir,
    to_snntorch,
    write_nir,
    write_onnx,
    write_onnx_step,
)
from dvskit.neurons import (
    ALIF,
    IF,
    LI,
    LIF,
    PLIF,
    ATan,
    BurstLIF,
    RecurrentLIF,
    SignedLIF,
    SynapticLIF,
    spike,
)
from tests.laws import refused

nir = pytest.importorskip("nir")
NIR_SAYS_HARD = "v_reset" in {field.name for field in fields(nir.LIF)}  # from 1.0.6 on
# What a version of NIR does not say is tested by itself.
ignore_resets = pytest.mark.filterwarnings("ignore:to_nir. layer:UserWarning")


def numbers(*shape, seed=99, scale=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=dtype)


def louder(layers, seed=1, scale=1.5):
    """Weights with which all layers spike often."""
    with torch.no_grad():
        for at, part in enumerate(layers.parameters()):
            if part.ndim > 1:
                fan_in = part[0].numel()
                part.copy_(numbers(*part.shape, seed=seed + at, scale=scale / fan_in**0.5))
            elif part.ndim == 1:
                part.fill_(0.1)
    return layers


def convolutional(reset="hard"):
    return louder(
        Sequence(
            Conv2d(2, 6, 3, stride=2, padding=1),
            LIF(0.9, reset=reset),
            AvgPool2d(2),
            Conv2d(6, 8, 3, bias=False),
            SynapticLIF(0.8, alpha=0.7, reset=reset),
            Flatten(),
            Linear(8 * 2 * 2, 10),
            LIF(0.7, 0.8, reset=reset),
        ),
        scale=4,
    )


def dense(*neurons, sizes=(20, 30, 10), scale=1.5):
    layers = []
    for at, neuron in enumerate(neurons):
        layers += [Linear(sizes[at], sizes[at + 1]), neuron]
    return louder(Sequence(*layers), scale=scale)


def assert_alike(ours, theirs, least=0.02):
    assert ours.shape == theirs.shape
    assert torch.equal(ours, theirs)
    assert least < ours.mean() < 0.9  # many spikes, and many steps without


def reset_state(peer):
    from snntorch import utils

    utils.reset(peer)


def peer_spikes(peer, x):
    """Return the spikes of snntorch's layers, step by step from rest."""
    reset_state(peer)
    return torch.stack([peer(step) for step in x])


# ---- NIR


@pytest.mark.slow
@ignore_resets
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_a_network_through_a_nir_file_has_the_same_spikes(tmp_path, reset):
    layers = convolutional(reset)
    write_nir(layers, tmp_path / "net.nir", (2, 16, 16))
    back = from_nir(tmp_path / "net.nir")
    x = numbers(12, 3, 2, 16, 16)
    assert_alike(layers(x), back(x))
    assert [type(layer) for layer in back] == [type(layer) for layer in layers]


@pytest.mark.slow
@ignore_resets
def test_each_value_comes_back(tmp_path):
    threshold = torch.linspace(0.5, 1.5, 10)
    layers = dense(
        LIF(0.6, 2.0, gain=0.5, rest=0.25, reset="hard"),
        IF(threshold, gain=0.5, reset="hard"),
        LI(torch.linspace(0.5, 0.9, 5)),
        sizes=(20, 30, 10, 5),
        scale=4,
    )
    write_nir(layers, tmp_path / "net.nir", (20,), dt_s=1e-3)
    back = from_nir(tmp_path / "net.nir")  # dt_s is that of the file
    first, second, last = back[1], back[3], back[5]
    assert (first.beta, first.threshold, first.rest) == (np.float32(0.6), 2.0, 0.25)
    assert first.gain == pytest.approx(0.5, rel=1e-6)
    assert type(second) is IF
    assert torch.equal(second.threshold, threshold)
    torch.testing.assert_close(last.beta, layers[5].beta)
    x = numbers(30, 2, 20)
    assert_alike(layers[:4](x), back[:4](x))
    torch.testing.assert_close(back(x), layers(x))


@ignore_resets
def test_snntorch_reads_a_nir_file_to_the_same_spikes(tmp_path):
    pytest.importorskip("nirtorch")
    from snntorch.import_nir import import_from_nir

    layers = convolutional()
    write_nir(layers, tmp_path / "net.nir", (2, 16, 16))
    peer = import_from_nir(nir.read(tmp_path / "net.nir"))
    x = numbers(40, 1, 2, 16, 16)  # its Flatten takes the batch along: one sample
    with torch.no_grad():
        theirs = torch.stack([peer(step)[0] for step in x])
    assert_alike(layers(x), theirs.reshape(40, 1, 10))


def test_a_graph_written_by_hand_is_an_euler_integration_of_the_neurons():
    generator = np.random.default_rng(3)
    n, dt = 12, 2e-3
    tau, r = generator.uniform(5e-3, 3e-2, n), generator.uniform(2, 9, n)
    weight = generator.normal(size=(n, 7))
    node = nir.LIF(tau=tau, r=r, v_leak=np.full(n, 0.25), v_threshold=np.full(n, 1.25))
    if NIR_SAYS_HARD:
        node.v_reset = np.full(n, 0.25)
    graph = nir.NIRGraph.from_list(nir.Linear(weight=weight), node)
    layers = from_nir(graph, dt_s=dt, reset="hard", dtype=torch.float64)
    x = generator.normal(size=(50, 1, 7))
    v, spikes = np.full(n, 0.25), []
    for step in x[:, 0]:
        v = v + dt / tau * (0.25 - v + r * (weight @ step))
        spikes.append(v > 1.25)
        v = np.where(spikes[-1], 0.25, v)
    assert_alike(layers(torch.from_numpy(x))[:, 0], torch.tensor(np.array(spikes)).double())


def test_what_a_version_of_nir_does_not_say_of_resets_is_kept_and_warned_of(tmp_path):
    other, said = ("soft", "hard") if NIR_SAYS_HARD else ("hard", "soft")
    with pytest.warns(LeftOutWarning, match=f"layer 0 .*{other}"):
        write_nir(Sequence(LIF(0.9, reset=other)), tmp_path / "net.nir", (3,))
    assert from_nir(tmp_path / "net.nir")[0].reset == other
    assert from_nir(to_nir(Sequence(LIF(0.9, reset=said)), (3,)))[0].reset == said


as_nir = partial(to_nir, shape=(4,))


@pytest.mark.parametrize(
    ("convert", "layer", "named"),
    [
        (as_nir, SignedLIF(), ""),
        (as_nir, ALIF(), "ALIF"),
        (as_nir, RecurrentLIF(nn.Linear(4, 4)), "RecurrentLIF"),
        (as_nir, LIF(refractory=2), "refractory"),
        (as_nir, LIF(reset="none"), "none"),
        (as_nir, LIF(1.0, rest=0.5), "beta = 1"),
        (as_nir, Membrane(LIF()), "Membrane"),
        (as_nir, ResidualBlock(Linear(4, 4)), "ResidualBlock"),
        (to_snntorch, SignedLIF(), "SignedLIF"),
        (to_snntorch, BurstLIF(), "BurstLIF"),
        (to_snntorch, LIF(rest=0.5, threshold=1.0), "rest"),
        (to_snntorch, SumPool2d(2), "SumPool2d"),
    ],
)
def test_what_others_lack_is_refused_by_the_name_of_the_layer(convert, layer, named):
    pytest.importorskip("snntorch")
    with refused(ConfigError, "layer 0", named):
        convert(Sequence(layer))
    with refused(ConfigError, "layer lif1"):
        to_nir(ConvLIF().build(), leave_out=["mean"])


@ignore_resets
def test_readouts_are_left_out_if_asked_and_networks_know_their_input():
    layers = ("4C5", "S2", "lif", "D0.5", "10")
    module = Layered(layers=layers, width=12, height=10).build()
    graph = to_nir(module, leave_out=["mean"])
    kinds = [type(node).__name__ for node in graph.nodes.values()]
    assert kinds == ["Input", "Conv2d", "SumPool2d", "LIF", "Flatten", "Affine", "Output"]
    assert graph.nodes["input"].input_type["input"].tolist() == [2, 10, 12]
    back = Sequence(from_nir(graph), MeanMembrane())
    x = numbers(5, 2, 2, 10, 12, scale=3)
    torch.testing.assert_close(back(x), module.eval()(x))
    with refused(ConfigError, "'men'", "'mean'"):
        to_nir(module, leave_out=["men"])
    with refused(ConfigError, "shape"):
        to_nir(back)
    with pytest.raises(ShapeError):
        to_nir(back[:1], (3, 10, 12))


def graph_of(edges, **nodes):
    """Return a graph of nodes of three inputs, with its ends."""
    ends = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    return nir.NIRGraph(nodes={**ends, **nodes}, edges=edges)


ROW = [("input", "a"), ("a", "output")]
LOOP = [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")]
ONES, ZEROS = np.ones(3), np.zeros(3)
WEIGHTS = nir.Linear(weight=np.ones((3, 3), np.float32))


@pytest.mark.parametrize(
    ("edges", "nodes", "dt_s", "named"),
    [
        (LOOP, {"a": WEIGHTS, "b": WEIGHTS}, 1e-3, "more than one"),
        (ROW, {"a": nir.Delay(ONES)}, 1e-3, "Delay"),
        (ROW, {"a": nir.LI(tau=5e-5 * ONES, r=ONES, v_leak=ZEROS)}, 1e-3, "5e-05"),
        (ROW, {"a": nir.LI(tau=ONES, r=ONES, v_leak=ONES)}, 1e-3, "v_leak"),
        (ROW, {"a": WEIGHTS}, 0.0, "dt_s = 0"),
    ],
)
def test_graphs_that_are_no_row_of_known_nodes_are_refused(edges, nodes, dt_s, named):
    with refused(ConfigError, named):
        from_nir(graph_of(edges, **nodes), dt_s=dt_s)


def test_files_that_are_no_graph_are_refused(tmp_path):
    (tmp_path / "text.nir").write_text("no graph")
    with refused(FormatError, "text.nir"):
        from_nir(tmp_path / "text.nir")
    with refused(MissingFileError, "nothing.nir"):
        from_nir(tmp_path / "nothing.nir")
    with refused(OutputError, "text.nir"):
        write_nir(Sequence(Linear(4, 4)), tmp_path / "text.nir", (4,))


@pytest.mark.parametrize(
    ("package", "convert"),
    [("nir", lambda: from_nir("net.nir")), ("snntorch", lambda: to_snntorch(Sequence(LIF())))],
)
def test_a_missing_package_is_named(monkeypatch, package, convert):
    monkeypatch.setitem(sys.modules, package, None)
    with refused(ConfigError, f"pip install {package}"):
        convert()


# ---- ONNX


def everything():
    """All that has a state, and layers of each kind."""
    block = ResidualBlock(Sequence(Conv2d(4, 4, 3, padding=1), PLIF(2.0)))
    return louder(
        Sequence(
            Conv2d(2, 4, 3),
            AvgPool2d(2),
            SignedLIF(0.9),
            BatchNorm2d(4),
            block,
            MaxPool2d(2),
            Flatten(),
            Linear(16, 8),
            SynapticLIF(0.8, alpha=0.7),
            Dropout(0.5),
            Linear(8, 8),
            ALIF(0.8),
            RecurrentLIF(nn.Linear(8, 8), refractory=2, rest=0.1),
            Linear(8, 5),
            MeanMembrane(),
        ),
        scale=3,
    )


@pytest.fixture(scope="module")
def onnxruntime():
    pytest.importorskip("onnxscript")
    return pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_one_step_in_onnx_after_another_gives_the_network_s_answers(tmp_path, onnxruntime, capfd):
    layers = everything()
    assert layers.training
    write_onnx_step(layers, tmp_path / "step.onnx", (2, 10, 10), batch=3)
    assert capfd.readouterr() == ("", "")
    assert layers.training
    assert all(part.backend == "auto" for part in layers.modules() if hasattr(part, "backend"))
    session = onnxruntime.InferenceSession(str(tmp_path / "step.onnx"))
    states = onnx_start(layers, (2, 10, 10), batch=3)
    assert {"2.v", "4.body.1.v", "8.i", "11.a", "12.s", "12.waiting", "14.total"} <= set(states)
    assert (states["12.v"] == np.float32(0.1)).all()
    outputs = [each.name for each in session.get_outputs()]
    assert outputs == ["out", *(f"{name}.next" for name in states)]
    layers.eval()
    x, expected, inner = numbers(8, 3, 2, 10, 10), None, None
    for step in x:
        out, *after = session.run(None, {"x": step.numpy(), **states})
        states = dict(zip(states, after, strict=True))
        expected, inner = layers.step(step, inner)
        np.testing.assert_allclose(out, expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    assert torch.equal(torch.from_numpy(states["12.s"]), inner.parts[12].s)
    assert torch.equal(torch.from_numpy(states["12.waiting"]), inner.parts[12].waiting)
    assert inner.parts[12].waiting.any()  # it has spiked


def test_onnx_starts_at_rest():
    start = onnx_start(Sequence(LIF(rest=0.5), FirstSpike()), (3,))
    values = {name: value.ravel().tolist() for name, value in start.items()}
    assert values == {"0.v": [0.5] * 3, "1.silent": [1.0] * 3, "1.waited": [0.0] * 3}


@pytest.mark.slow
def test_all_steps_in_one_onnx_graph_give_the_network_s_answer(tmp_path, onnxruntime):
    onnx, path = pytest.importorskip("onnx"), tmp_path / "whole.onnx"
    layers = louder(
        Sequence(
            Conv2d(2, 4, 3),
            LIF(0.9),
            SumPool2d(2),
            Flatten(),
            Linear(16, 6),
            SignedLIF(),
            FirstSpike(2.0),
        ),
        scale=3,
    )
    write_onnx(layers, path, (2, 6, 6), steps=4, batch=2)
    x = numbers(4, 2, 2, 6, 6)
    (out,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), layers(x).detach())
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}  # nothing but ONNX's own operators
    assert {each.domain: each.version for each in model.opset_import}[""] == 18
    with refused(OutputError, path):
        write_onnx(layers, path, (2, 6, 6), steps=4)
    with refused(ConfigError, "steps = 0"):
        write_onnx(layers, tmp_path / "other.onnx", (2, 6, 6), steps=0)
    assert list(tmp_path.iterdir()) == [path]


# ---- snntorch


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_snntorch_s_layers_have_the_same_spikes_and_membranes(reset):
    snntorch = pytest.importorskip("snntorch")
    layers = convolutional(reset)
    if reset == "soft":  # weaker currents: below twice the threshold
        for at, scale in ((0, 0.27), (3, 0.8), (6, 1.1)):
            louder(layers[at : at + 1], scale=scale)
    peer = to_snntorch(layers)
    assert [type(peer[1]), type(peer[4])] == [snntorch.Leaky, snntorch.Synaptic]
    x, states = numbers(20, 3, 2, 16, 16), None
    reset_state(peer)
    spikes = 0
    for step in x:
        ours, states = layers.step(step, states)
        assert torch.equal(peer(step), ours)
        # Processors round sums and products of both in their own ways: to the last bits.
        for at in (1, 4, 7):
            torch.testing.assert_close(peer[at].mem, states.parts[at].v, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(peer[4].syn, states.parts[4].i, rtol=1e-5, atol=1e-5)
        spikes += ours.sum()
    assert spikes > 10
    assert_alike(from_snntorch(peer)(x).detach(), layers(x).detach(), least=0)
    with refused(ConfigError, "state dict"):
        from_snntorch(peer.state_dict())


@pytest.mark.parametrize("delayed", [False, True])
def test_the_article_s_network_has_the_same_weights_and_spikes_on_both_sides(delayed):
    snntorch = pytest.importorskip("snntorch")
    words = ("1000", "lif", "10", "lif", "membrane", "each")
    ours = Layered(width=28, height=28, inputs=1, beta=0.95, gain=1, layers=words).build()
    state = snntorch_state(louder(ours, scale=3 if delayed else 1))
    given = {"beta": 0.95, "reset_delay": delayed, "init_hidden": True}
    parts = {"fc1": nn.Linear(784, 1000), "lif1": snntorch.Leaky(**given)}
    parts |= {"fc2": nn.Linear(1000, 10), "lif2": snntorch.Leaky(**given)}
    peer = nn.Sequential(OrderedDict(parts))
    assert list(peer.state_dict()) == list(state)
    peer.load_state_dict(state)
    x = numbers(15, 3, 784, scale=0.15).abs()
    with torch.no_grad():
        spikes = peer_spikes(peer, x)
    # A state dict does not say when resets are.
    rest = {} if delayed else {"delayed_reset": "immediate"}
    for back in (from_snntorch(peer), from_snntorch(peer.state_dict(), **rest)):
        assert_alike(back(x).detach(), spikes, least=0.001)
        assert delayed or list(snntorch_state(back)) == list(state)


@pytest.mark.parametrize(
    ("kind", "mechanism", "seed", "scale"),
    [
        ("Leaky", "subtract", 1, 0.7),
        ("Leaky", "zero", 2, 3.0),
        ("Leaky", "none", 3, 0.7),
        ("Synaptic", "subtract", 1, 3.0),
        ("Synaptic", "zero", 2, 0.7),
    ],
)
def test_delayed_resets_have_the_same_spikes_membranes_and_gradients(kind, mechanism, seed, scale):
    snntorch = pytest.importorskip("snntorch")
    torch.manual_seed(seed)
    given = {"beta": torch.rand(30), "threshold": 0.5 + torch.rand(30), "init_hidden": True}
    given |= {"alpha": 0.7} if kind == "Synaptic" else {}
    given |= {"spike_grad": partial(spike, surrogate=ATan(2.0))}
    peer = nn.Sequential(getattr(snntorch, kind)(**given, reset_mechanism=mechanism))
    assert peer[0].reset_delay  # its default
    weights = numbers(200, 2, 30, seed=seed + 50)
    inputs = [numbers(200, 2, 30, seed=seed, scale=scale).requires_grad_() for _ in range(2)]
    reset_state(peer)
    theirs, membranes = [], []
    for step in inputs[0]:
        theirs.append(peer(step))
        membranes.append(peer[0].mem)
    ours = from_snntorch(peer)
    spikes = ours(inputs[1])
    assert torch.equal(spikes, torch.stack(theirs))
    assert 0.02 < spikes.mean() < 0.9
    if mechanism == "zero":  # snntorch's membranes and gradients are those before the reset
        return
    assert torch.equal(ours[0].trace(inputs[1]).v, torch.stack(membranes))
    for found in (spikes, torch.stack(theirs)):
        (found * weights).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-5)
    if mechanism == "subtract":
        inputs[1].grad = None
        back = peer_spikes(to_snntorch(ours), inputs[1])
        assert torch.equal(back, spikes)
        (back * weights).sum().backward()
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-5)


def test_other_neurons_and_options_of_snntorch_are_refused():
    snntorch = pytest.importorskip("snntorch")
    looped = snntorch.RLeaky(beta=0.9, linear_features=4, reset_delay=False)
    net = nn.Sequential(nn.Linear(3, 4), looped)
    for module, named in ((net, "1, RLeaky"), (nn.Sequential(nn.Tanh()), "0, Tanh")):
        with refused(ConfigError, named):
            from_snntorch(module)
    lapicque = nn.Sequential(snntorch.Lapicque(beta=0.9))
    for module, named in ((net, "1 has"), (lapicque, "0 has")):
        with refused(ConfigError, named):
            from_snntorch(module.state_dict(), delayed_reset="immediate")
    for option, named in (
        ({"graded_spikes_factor": 2.0}, "0 has"),
        ({"learn_graded_spikes_factor": True}, "0 has"),
        ({"state_quant": torch.round}, "state_quant"),
        ({"threshold": 0.0}, "threshold = 0.0"),
    ):
        with refused(ConfigError, named):
            from_snntorch(nn.Sequential(snntorch.Leaky(beta=0.9, **option)))
    with refused(ConfigError, "'refuse'", "exact", "immediate"):
        from_snntorch(nn.Sequential(snntorch.Leaky(beta=0.8)), delayed_reset="refuse")


def test_decays_that_snntorch_clips_are_clipped():
    snntorch = pytest.importorskip("snntorch")
    decays = {"beta": torch.tensor([-0.1, 0.5, 1.2]), "alpha": torch.tensor([1.5, 0.5, -1.0])}
    peer = snntorch.Synaptic(**decays, init_hidden=True, learn_beta=True)
    ours = from_snntorch(nn.Sequential(peer))
    x = numbers(30, 2, 3)
    assert_alike(ours(x).detach(), peer_spikes(peer, x).detach())
    assert isinstance(ours[0].beta, nn.Parameter)
