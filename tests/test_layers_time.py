"""Layers in chunks of time: state is passed and never kept, and long times fit in little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dvskit.errors import ConfigError, ShapeError
from dvskit.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    FirstSpike,
    Flatten,
    LastMembrane,
    Linear,
    MaxPool2d,
    MeanMembrane,
    Membrane,
    ResidualBlock,
    Sequence,
    SpikeCount,
    States,
    checkpointed,
)
from dvskit.neurons import LI, LIF, SignedLIF
from tests.laws import refused

STEPS = 9


def counts(steps: int = STEPS, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 3, (steps, batch, 2, 10, 10), generator=generator).float()


def exact(layers: nn.Module) -> Any:
    """Make all sums exact (weights in 64ths, membranes in halves): no spike hangs on a rounding."""
    with torch.no_grad():
        for weight in layers.parameters():
            weight.copy_((weight * 64).round() / 64)
    return layers


def spiking(*behind: nn.Module, norm: bool = False) -> Any:
    torch.manual_seed(1)
    residual = [Conv2d(4, 4, 3, padding=1), *([BatchNorm2d(4)] if norm else []), LIF(0.5)]
    front = Sequence(Conv2d(2, 4, 3), AvgPool2d(2), SignedLIF(0.5))
    return exact(
        Sequence(
            front, ResidualBlock(Sequence(*residual)), MaxPool2d(2), Flatten(), Linear(16, 5),
            SignedLIF(0.5), Dropout(0.4), *behind,
        )
    )  # fmt: skip


READOUTS: list[Callable[[], list[nn.Module]]] = [
    list,
    lambda: [SpikeCount()],
    lambda: [LastMembrane()],
    lambda: [FirstSpike()],
    lambda: [Linear(5, 3), MeanMembrane()],
    lambda: [MeanMembrane(), Linear(5, 3)],
]
every_readout = pytest.mark.parametrize(
    "readout", READOUTS, ids=lambda make: "-".join(type(each).__name__ for each in make()) or "none"
)


@pytest.mark.slow
@every_readout
@pytest.mark.parametrize("chunk", [2, 4])
def test_running_in_chunks_gives_what_the_whole_gives(
    readout: Callable[[], list[nn.Module]], chunk: int
) -> None:
    layers = spiking(*readout()).eval()
    whole, end = layers.run(counts())
    assert torch.equal(layers(counts()), whole)
    states, outs = None, []
    for part in counts().split(chunk):
        out, states = layers.run(part, states)
        outs.append(out)
    joined = outs[-1] if readout() else torch.cat(outs)
    torch.testing.assert_close(joined, whole, rtol=0, atol=1e-6)
    if not readout() or isinstance(readout()[0], SpikeCount):
        assert torch.equal(joined, whole)
    assert isinstance(states, States)
    assert torch.equal(states.parts[5].v, end.parts[5].v)


@pytest.mark.slow
@every_readout
def test_each_step_gives_the_answer_to_all_steps_so_far(
    readout: Callable[[], list[nn.Module]],
) -> None:
    layers = spiking(*readout()).eval()
    states = None
    for t, one in enumerate(counts()):
        out, states = layers.step(one, states)
        so_far = layers(counts()[: t + 1])
        expected = so_far if readout() else so_far[-1]
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_dropout_leaves_out_the_same_in_all_chunks() -> None:
    layers = spiking(MeanMembrane())
    torch.manual_seed(3)
    whole = layers(counts())
    torch.manual_seed(3)
    out, states = layers.run(counts()[:4])
    torch.manual_seed(99)
    out, _ = layers.run(counts()[4:], states)
    torch.testing.assert_close(out, whole, rtol=0, atol=1e-6)


def test_gradients_flow_through_the_states_until_they_are_detached() -> None:
    layers = spiking(SpikeCount()).eval()
    x = counts().requires_grad_()
    _, states = layers.run(x[:5])
    (through,) = torch.autograd.grad(layers.run(x[5:], states)[0].sum(), x, retain_graph=True)
    assert through[:5].abs().sum() > 0
    whole = layers.run(x)[0].sum()
    torch.testing.assert_close(torch.autograd.grad(whole, x)[0], through)
    (cut,) = torch.autograd.grad(layers.run(x[5:], states.detach())[0].sum(), x)
    assert cut[:5].abs().sum() == 0


def test_states_of_other_layers_or_another_batch_are_refused() -> None:
    layers = spiking(MeanMembrane()).eval()
    _, states = layers.run(counts())
    with pytest.raises(ShapeError, match="8 layers"):
        layers.run(counts(), States(states.parts[:2]))
    with pytest.raises(ShapeError, match="start a new batch from state=None"):
        layers.run(counts(batch=1), states)
    for layer in (Dropout(0.5), MeanMembrane(), SpikeCount(), FirstSpike()):
        _, state = layer.run(torch.zeros(3, 2, 4))
        with pytest.raises(ShapeError, match="start a new batch from state=None"):
            layer.run(torch.zeros(3, 1, 4), state)


def test_layers_work_in_torchs_sequential_and_are_refused_where_their_state_would_be_lost() -> None:
    inner = [Conv2d(2, 4, 3), AvgPool2d(2), SignedLIF(0.5), Flatten(), MeanMembrane()]
    plain = exact(nn.Sequential(*inner))
    assert torch.equal(plain(counts()), Sequence(*inner)(counts()))
    wrapped = Sequence(plain)
    assert torch.equal(wrapped(counts()), plain(counts()))
    with pytest.raises(ConfigError, match=r"Sequential holds SignedLIF \(2\) but has no run"):
        wrapped.run(counts())


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.Conv2d(2, 3, 3), "dvskit.layers.Conv2d"),
        (nn.Flatten(), "dvskit.layers.Flatten"),
        (nn.Dropout(0.5), "dvskit.layers.Dropout"),
        (nn.Conv1d(3, 3, 1), "Conv1d"),
        (nn.LSTM(3, 3), "RecurrentLIF"),
    ],
    ids=str,
)
def test_what_is_no_layer_over_time_is_refused_with_the_fix(layer: Any, named: str) -> None:
    with refused(ConfigError, "layer 1", named):
        Sequence(LIF(), layer)


@pytest.mark.parametrize("states", [(None, None), [None], torch.zeros(2, 5)], ids=type)
def test_states_of_another_kind_are_refused(states: Any) -> None:
    for layers in (spiking(MeanMembrane()), ResidualBlock(LIF())):
        with refused(ShapeError, "states"):
            layers.run(counts(), states)


def test_neurons_behind_a_readout_are_refused_and_slices_are_sequences() -> None:
    with refused(ConfigError, "layer 2", "LIF", "readout 1"):
        Sequence(Linear(3, 3), MeanMembrane(), LIF())
    layers = spiking(MeanMembrane())
    front = layers[:-1]
    assert isinstance(front, Sequence)
    assert front.eval()(counts()).shape == (STEPS, 2, 5)
    assert layers[0] is front[0]


@contextmanager
def saved_bytes() -> Iterator[dict[int, int]]:
    """Collect what is kept for a backward pass: of each block of memory, its size."""
    kept: dict[int, int] = {}
    alive = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        alive.append(storage)  # else its address would be given out again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


@pytest.mark.slow
@every_readout
@pytest.mark.parametrize("chunk", [4, 20])
def test_a_checkpointed_run_gives_the_same_output_states_and_gradients(
    readout: Callable[[], list[nn.Module]], chunk: int
) -> None:
    layers = spiking(*readout())
    outs, slopes = [], []
    for run in (layers.run, lambda x: checkpointed(layers, x, chunk=chunk)):
        torch.manual_seed(7)  # of dropout
        x = counts().requires_grad_()
        layers.zero_grad()
        out, states = run(x)
        out.square().sum().backward()
        outs += [(out, states.parts[5].v)]
        slopes += [[x.grad, *(p.grad for p in layers.parameters() if p.grad is not None)]]
    for first, second in zip(*outs, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    for first, second in zip(*slopes, strict=True):
        torch.testing.assert_close(first, second)
    layers.eval()
    whole, (_, states) = layers(counts()), layers.run(counts()[:3])
    out, _ = checkpointed(layers, counts()[3:], states, chunk=chunk)
    torch.testing.assert_close(out, whole if readout() else whole[3:], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_checkpointed_run_keeps_the_states_between_chunks_only() -> None:
    layers = spiking(SpikeCount()).eval()
    x = counts(steps=60)
    with saved_bytes() as whole:
        layers.run(x)
    with saved_bytes() as chunks:
        checkpointed(layers, x, chunk=6)
    given = x.untyped_storage().nbytes()
    assert sum(whole.values()) > 3 * given
    assert sum(chunks.values()) < 1.1 * given


FRONTS: list[list[nn.Module]] = [
    [SignedLIF(0.5)],
    [LIF(0.5, reset="hard"), MaxPool2d(2)],
    [LIF(0.5), Dropout(0.0), ResidualBlock(SignedLIF(0.5))],
    [Membrane(LIF(0.5))],
    [LI(0.5)],
    [],
]


@pytest.mark.slow
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(
    "front", FRONTS, ids=lambda front: "-".join(type(f).__name__ for f in front)
)
def test_what_is_kept_of_spikes_changes_no_gradient(
    front: list[nn.Module], pooled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(8)
    conv = Conv2d(4, 6, 3, stride=1 if pooled else 2, padding=1, groups=2)
    layers = Sequence(*front, conv, *([AvgPool2d(2)] if pooled else []))
    slopes = []
    for _ in range(2):
        x = torch.randn(4, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        layers.zero_grad()
        layers(x).square().sum().backward()
        slopes.append([x.grad, *(p.grad for p in layers.parameters())])
        monkeypatch.setattr("dvskit.layers.sequence._gives_spikes", lambda layer, given: False)
    assert all(torch.equal(*pair) for pair in zip(*slopes, strict=True))


def test_spikes_in_front_of_a_convolution_are_kept_in_a_byte_each() -> None:
    x = torch.randn(5, 2, 4, 8, 8).requires_grad_()
    with saved_bytes() as saved:
        Sequence(LIF(0.5), Conv2d(4, 1, 3))(x)
    assert x.numel() in saved.values()


def test_what_cannot_be_checkpointed_is_refused() -> None:
    layers = spiking(MeanMembrane(), norm=True)
    with pytest.raises(ConfigError, match=r"layer 1\.body\.1, BatchNorm2d, takes its statistics"):
        checkpointed(layers, counts(), chunk=3)
    checkpointed(layers.eval(), counts(), chunk=3)
    with pytest.raises(ConfigError, match="chunk = 0"):
        checkpointed(layers, counts(), chunk=0)
    with pytest.raises(ShapeError, match="T >= 1"):
        checkpointed(layers, counts(steps=0), chunk=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile itself
def test_torch_compiles_a_whole_network_and_its_state() -> None:
    layers = spiking(Linear(5, 3), MeanMembrane(), norm=True).eval()
    compiled = torch.compile(layers, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(counts()), layers(counts()))
    run = torch.compile(layers.run, backend="eager", fullgraph=True)
    _, states = run(counts()[:4])
    out, _ = run(counts()[4:], states.detach())
    torch.testing.assert_close(out, layers(counts()), rtol=0, atol=1e-6)
    torch.compiler.reset()
