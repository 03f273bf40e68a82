"""Delays: a slow twin, chunks of time, and words for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dvskit.errors import ConfigError, ShapeError
from dvskit.layers import Delays, Linear, Sequence
from dvskit.networks import Layered, onnx_start, write_onnx_step
from dvskit.neurons import LIF


def spikes(steps: int = 9, batch: int = 2, inputs: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-1, 2, (steps, batch, inputs), generator=generator).float()


def slow_twin(layer: Delays, x: Tensor) -> Tensor:
    out = x.new_zeros(*x.shape[:2], layer.taps * x.shape[2], *x.shape[3:])
    for t in range(len(x)):
        for k in range(layer.taps):
            if t - k * layer.spacing >= 0:
                channels = slice(k * x.shape[2], (k + 1) * x.shape[2])
                out[t, :, channels] = x[t - k * layer.spacing]
    return out


@pytest.mark.parametrize(("taps", "spacing"), [(1, 1), (3, 1), (3, 2), (2, 7), (4, 6)])
def test_each_channel_gives_what_came_in_its_delay_ago(taps: int, spacing: int) -> None:
    layer = Delays(taps, spacing)
    for x in (spikes(), spikes(inputs=8).reshape(9, 2, 2, 2, 2)):
        assert torch.equal(layer(x), slow_twin(layer, x))


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunks_of_time_give_what_the_whole_gives(chunk: int) -> None:
    torch.manual_seed(2)
    layers, x = Sequence(Delays(3, 2), Linear(9, 4), LIF(0.5), Delays(2)), spikes()
    states, parts = None, []
    for part in x.split(chunk):
        out, states = layers.run(part, states)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts), layers(x))
    assert states is not None
    assert not states.detach().parts[0].past.requires_grad


@pytest.mark.slow
def test_words_say_delays_and_norms_of_numbers(tmp_path: Path) -> None:
    words = ("T2", "6C1", "lif", "T3s2", "5", "ln", "lif", "T2", "3", "max")
    network = Layered(layers=words, width=4, height=3, classes=3)
    module = network.build()
    x = spikes(5, 2, 24).reshape(5, 2, 2, 3, 4)
    assert module(x).shape == (2, 3)
    assert [(part.taps, part.spacing) for part in module if isinstance(part, Delays)] == [
        (2, 1),
        (3, 2),
        (2, 1),
    ]
    module(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    assert onnx_start(module)["delays2.past"].shape == (4, 1, 6, 3, 4)
    pytest.importorskip("onnxscript")
    session = pytest.importorskip("onnxruntime").InferenceSession
    write_onnx_step(module, tmp_path / "step.onnx")
    states, session = onnx_start(module), session(tmp_path / "step.onnx")
    for step in x[:, :1].numpy():
        out, *after = session.run(None, {"x": step, **states})
        states = dict(zip(states, after, strict=True))
    torch.testing.assert_close(torch.from_numpy(out), module(x[:, :1]).detach())


def test_what_fits_no_synapses_is_refused() -> None:
    with pytest.raises(ConfigError, match="taps = 0"):
        Delays(0)
    layer = Delays(3, 2)
    with pytest.raises(ShapeError, match=r"\(T, B, C, ...\), .*\(9, 6\)"):
        layer(spikes().flatten(1))
    _, state = layer.run(spikes())
    with pytest.raises(ShapeError, match="start a new batch"):
        layer.run(spikes(batch=3), state)
    with pytest.raises(ConfigError, match="it takes the outputs of a dense layer"):
        Layered(layers=("4C3", "ln", "10"))
    with pytest.raises(ConfigError, match="'T0'"):
        Layered(layers=("T0", "10"))
