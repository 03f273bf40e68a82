"""Sequences of layers, run over all of time, in chunks or step by step; states; and readouts.

A state is what a layer carries from one chunk of time to the next. It is passed in and returned,
never kept on the layer. Readouts end time, (T, B, C) -> (B, C). After each chunk or step, their
`run` returns the answer so far: what `forward` returns for all steps up to there. A live decision
thus costs one step.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dvskit._checks import check_number, check_whole
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers.dense import Delays, Linear, check_step
from dvskit.layers.images import (
    BatchNorm2d,
    Conv2d,
    MaxPool2d,
    can_merge,
    pooled_convolution,
)
from dvskit.neurons import Neurons, NeuronState
from dvskit.neurons.driver import check_input
from dvskit.neurons.dynamics import TensorState


class Membrane(nn.Module):
    """Neurons that return their membrane: (T, ...) currents in, (T, ...) potentials out.

    The potential of a step is h of `dvskit.neurons.dynamics`, before the reset. The neurons still
    spike and reset; a step with a spike shows the potential that caused it. As the last layer it
    gives membranes (T, B, classes) for a loss at each step; before a MeanMembrane or LastMembrane,
    one answer. Computed in plain torch (`Neurons.trace`), in float32 (float64 for float64), since
    half precision gives poor logits. Gradients flow through potentials and states.

        last = dvskit.layers.Membrane(dvskit.neurons.LIF(beta=0.9))
        potentials = last(torch.rand(20, 8, 10))  # (20, 8, 10), for a loss at each step
        potentials.max() > 1  # True: above the threshold, where a neuron spiked
    """

    def __init__(self, neurons: Neurons) -> None:
        super().__init__()
        self.neurons = neurons

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials (T, ...) at each step of `x` (T, ...), from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: NeuronState | None = None) -> tuple[Tensor, NeuronState]:
        """Return the potentials (T, ...) at each step of `x`, and the state after it."""
        check_input(self, x, "(T, ...) with T >= 1", len(x.shape) > 0 and len(x) > 0)
        traced = self.neurons.trace(x, state)
        return traced.h, traced.state


class Readout(nn.Module):
    """A layer that reduces time: (T, B, ...) -> (B, ...).

    A subclass writes `run`, which returns the answer so far and the state:

        class Median(dvskit.layers.Readout):
            def run(self, x, state=None):
                seen = x if state is None else torch.cat((state, x))
                return seen.median(0).values, seen

        Median()(torch.rand(20, 8, 10)).shape  # (8, 10)
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Return the answer (B, ...) for all steps of `x` (T, B, ...). ShapeError for T = 0."""
        out: Tensor = self.run(x)[0]
        return out

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the answer for all steps so far, and the state after `x` (T, B, ...)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SumState(TensorState):
    """The sum (B, ...) over the steps so far, and their number."""

    total: Tensor
    steps: int


class SpikeCount(Readout):
    """The sum over time, in float32 or float64: the number of spikes; an OFF spike counts -1.

    (T, B, ...) -> (B, ...).

        spikes = (torch.rand(20, 8, 10) < 0.3).float()
        counts = dvskit.layers.SpikeCount()(spikes)  # (8, 10), about 6 each
    """

    def run(self, x: Tensor, state: SumState | None = None) -> tuple[Tensor, SumState]:
        """Return the counts (B, ...) so far, and the state after `x` (T, B, ...)."""
        state = _add(self, x, state)
        return state.total, state


class MeanMembrane(Readout):
    """The mean over time in float32 (float64 for float64), for example of membranes.

    (T, B, ...) -> (B, ...).

        network = dvskit.layers.Sequence(dvskit.neurons.LI(0.95), dvskit.layers.MeanMembrane())
        logits = network(torch.rand(20, 8, 10))  # (8, 10)
    """

    def run(self, x: Tensor, state: SumState | None = None) -> tuple[Tensor, SumState]:
        """Return the mean (B, ...) over the steps so far, and the state after `x` (T, B, ...)."""
        state = _add(self, x, state)
        return state.total / state.steps, state


class LastMembrane(Readout):
    """The last step, for example of a leaky integrator, which remembers earlier steps.

    (T, B, ...) -> (B, ...), in the dtype of the input.

        network = dvskit.layers.Sequence(dvskit.neurons.LI(0.95), dvskit.layers.LastMembrane())
        logits = network(torch.rand(20, 8, 10))  # (8, 10)
    """

    def run(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Return the last step (B, ...) of `x` (T, B, ...); there is no state."""
        _check(self, x, None)
        return x[-1], None


@dataclass(frozen=True, slots=True)
class MaxState(TensorState):
    """The largest entries (B, ...) of the steps so far."""

    largest: Tensor


class MaxMembrane(Readout):
    """The largest value over time of each output: for membranes, the best moment of each class.

    It is the readout of Cramer et al. 2020 ("The Heidelberg spiking data sets"). For networks over
    points, (points, B, ...), it makes the result independent of their order (Qi et al. 2017,
    "PointNet"). The gradient goes to the largest entry; equal ones share it.

        network = dvskit.layers.Sequence(dvskit.neurons.LI(0.95), dvskit.layers.MaxMembrane())
        logits = network(torch.rand(20, 8, 10))  # (8, 10)
    """

    def run(self, x: Tensor, state: MaxState | None = None) -> tuple[Tensor, MaxState]:
        """Return the largest (B, ...) of the steps so far, and the state after `x` (T, B, ...)."""
        _check(self, x, None if state is None else state.largest)
        largest = x.amax(0)
        if state is not None:
            largest = torch.maximum(state.largest, largest)
        return largest, MaxState(largest)


@dataclass(frozen=True, slots=True)
class FirstSpikeState(TensorState):
    """Which neurons have been silent so far (1, else 0), and for how many steps."""

    silent: Tensor
    waited: Tensor


class FirstSpike(Readout):
    """Time of the first spike as logits: minus the steps before it, divided by `tau`.

    With q_t = prod_{u <= t} (1 - s_u), which is 1 while a neuron has been silent and 0 from its
    first spike on, the steps before the first spike are sum_t q_t (all T if a neuron never spikes),
    and logits = -sum_t q_t / tau. Earlier spikes give larger logits. Only ON spikes count.

    q_t is the survival function in discrete time. Its derivative by s_u is the change from adding
    or removing that one spike: -(t1 - u) before the first spike at t1, -(t2 - t1) at it, where t2
    is the next spike or T, and 0 after it. From there the surrogate gradient of the neurons goes on
    (Neftci, Mostafa and Zenke 2019). `tau` is in steps: the softmax of two classes whose first
    spikes are `tau` steps apart has odds of e.

        spikes = torch.zeros(10, 1, 2)
        spikes[3, 0, 0] = 1  # the first neuron spikes in step 3, the second never
        dvskit.layers.FirstSpike(tau=2.0)(spikes)  # [[-1.5, -5]]
    """

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        check_number("tau", tau, above=0, owner="FirstSpike")
        self.tau = float(tau)

    def run(
        self, x: Tensor, state: FirstSpikeState | None = None
    ) -> tuple[Tensor, FirstSpikeState]:
        """Return the logits (B, ...) so far, and the state after the spikes `x` (T, B, ...)."""
        _check(self, x, None if state is None else state.silent)
        # clamp passes the gradient at 0 and 1 in some releases of torch only.
        on = torch.where((x >= 0) & (x <= 1), x, x.detach().clamp(0, 1)).to(_sum_dtype(x))
        silent = _running_product(1 - on)
        if state is None:
            state = FirstSpikeState(torch.ones_like(on[0]), torch.zeros_like(on[0]))
        silent = silent * state.silent
        waited = state.waited + silent.sum(0)
        return -waited / self.tau, FirstSpikeState(silent[-1], waited)

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        return f"tau={self.tau}"


def _running_product(x: Tensor) -> Tensor:
    """Return the cumulative product over the steps of `x` (T, ...)."""
    if torch.compiler.is_compiling():  # for export: ONNX has no cumulative product
        return torch.stack(list(accumulate(x.unbind(0), torch.mul)))
    return torch.cumprod(x, 0)


def _add(readout: Readout, x: Tensor, state: SumState | None) -> SumState:
    _check(readout, x, None if state is None else state.total)
    total = x.sum(0, dtype=_sum_dtype(x))
    if state is None:
        return SumState(total, x.shape[0])
    return SumState(state.total + total, state.steps + x.shape[0])


def _check(readout: Readout, x: Tensor, state: Tensor | None) -> None:
    check_input(readout, x, "(T, B, ...) with T >= 1", x.ndim > 1 and len(x) > 0)
    check_step(readout, x, state)


def _sum_dtype(x: Tensor) -> torch.dtype:
    # Sums in half precision would stop at 256.
    return torch.float64 if x.dtype == torch.float64 else torch.float32


class State(Protocol):
    """The data that a layer carries to the next chunk of time: its method is `detach`.

    Detach it between two chunks of a long sequence, to limit the memory of the backward pass:

        network = dvskit.layers.Sequence(dvskit.layers.Linear(5, 5), dvskit.neurons.LIF())
        state = None
        for chunk in torch.rand(100, 8, 5).split(20):
            out, state = network.run(chunk, state)
            out.sum().backward()  # truncated backpropagation through time
            state = state.detach()
    """

    def detach(self) -> Any:
        """Return the same state without its graph: gradients stop here."""


@runtime_checkable
class Stateful(Protocol):
    """A layer whose output depends on earlier inputs: neurons, readouts, dropout.

    A module with this method works in a `Sequence`:

        class RunningSum(torch.nn.Module):
            def run(self, x, state=None):
                sums = x.cumsum(0) if state is None else state + x.cumsum(0)
                return sums, sums[-1]

        network = dvskit.layers.Sequence(dvskit.layers.Linear(5, 3), RunningSum())
        out, states = network.run(torch.rand(20, 8, 5))  # (20, 8, 3)
    """

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the output of `x` (T, ...) and the state after it; state=None starts from rest."""


@dataclass(frozen=True, slots=True)
class States:
    """The states of the layers of a Sequence, None for layers without; they belong to one batch.

    `parts` holds one state per layer, in order; `detach` detaches all of them.

        network = dvskit.layers.Sequence(dvskit.layers.Linear(5, 3), dvskit.neurons.LIF())
        out, states = network.run(torch.rand(20, 8, 5))
        states.parts[0], states.parts[1].v.shape  # (None, (8, 3))
    """

    parts: tuple[Any, ...]

    def detach(self) -> States:
        """Return the same states without their graph: gradients stop here."""
        return States(tuple(None if part is None else part.detach() for part in self.parts))


# Layers of torch that would take time for the batch or the batch for channels, or that keep a state
# on the module; with their replacements.
_KNOW_NO_TIME: dict[type[nn.Module], str] = {
    nn.Conv1d: "dvskit.layers.Conv2d with images of one row",
    nn.Conv2d: "dvskit.layers.Conv2d",
    nn.Conv3d: "dvskit.layers.Conv2d",
    nn.BatchNorm1d: "dvskit.layers.BatchNorm1d",
    nn.BatchNorm2d: "dvskit.layers.BatchNorm2d",
    nn.BatchNorm3d: "dvskit.layers.BatchNorm2d",
    nn.AvgPool2d: "dvskit.layers.AvgPool2d",
    nn.MaxPool2d: "dvskit.layers.MaxPool2d",
    nn.Flatten: "dvskit.layers.Flatten",
    **dict.fromkeys(
        (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
        "dvskit.layers.Dropout",
    ),
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU), "dvskit.neurons.RecurrentLIF"),
}


class Sequence(nn.Sequential):
    """Layers in sequence: (T, B, ...) in, (T, B, ...) out, or (B, ...) after a readout.

    Built and indexed like torch.nn.Sequential, from layers of dvskit.layers, neurons, and
    element-wise modules. State is passed, never kept:

        network = dvskit.layers.Sequence(
            dvskit.layers.Linear(100, 10), dvskit.neurons.LIF(), dvskit.layers.SpikeCount()
        )
        counts = network(torch.rand(20, 8, 100))  # (8, 10), from rest
        counts, states = network.run(torch.rand(20, 8, 100))
        counts, states = network.run(torch.rand(20, 8, 100), states)  # of all 40 steps
        counts, states = network.step(torch.rand(8, 100), states)  # one more step

    Running in chunks gives the result of the whole: spikes bit for bit if weighted sums are exact
    or are added in the same order, else up to rounding. A readout returns the answer for all steps
    so far.

    Two linear neighbors are computed as one, the same up to rounding: a convolution and the
    average pooling after it (`pooled_convolution`), and a Linear and the MeanMembrane after it,
    where taking the mean first costs T times less. If the first of the two has forward hooks, both
    are computed one by one so that the hooks run.

    Raises ConfigError for a layer of torch without time, and for neurons after a readout.
    """

    def __init__(self, *layers: Any) -> None:
        super().__init__(*layers)
        ended = ""
        for name, layer in self.named_children():
            if type(layer) in _KNOW_NO_TIME:
                why = "hides its state" if isinstance(layer, nn.RNNBase) else "ignores time"
                raise ConfigError(
                    f"Sequence: layer {name} is torch.nn.{type(layer).__name__}, which {why}; "
                    f"take {_KNOW_NO_TIME[type(layer)]}"
                )
            if ended and isinstance(layer, Stateful):
                raise ConfigError(
                    f"Sequence: layer {name}, {type(layer).__name__}, comes after the readout "
                    f"{ended}, which ends time; put the readout last"
                )
            ended = ended or (name if ends_time(layer) else "")

    def __getitem__(self, index: Any) -> Any:
        """Return a layer by its index, or those of a slice as a Sequence."""
        if isinstance(index, slice):
            return Sequence(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for `x` (T, B, ...), from rest."""
        for _, layer in _units(self):
            x = layer(x)
        return x

    def run(self, x: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Return the output for `x` (T, B, ...) and the states after it; None starts from rest.

        Raises ShapeError for states of another network or batch; ConfigError for a layer that holds
        neurons but does not return their state, such as torch's Sequential.
        """
        _check_states(self, states, len(self))
        parts: list[Any] = [None] * len(self) if states is None else list(states.parts)
        for index, layer in _units(self):
            if hasattr(layer, "run"):  # is Stateful; isinstance takes as long as a small layer
                x, parts[index] = layer.run(x, parts[index])
            else:
                _check_hides_no_state(layer)
                x = layer(x)
        return x, States(tuple(parts))

    def step(self, x: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Return the output (B, ...) of one time step `x` (B, ...), or of a readout so far."""
        out, states = self.run(x[None], states)
        return (out if ends_time(self) else out[0]), states


def _check_states(layer: nn.Module, states: Any, count: int) -> None:
    """Raise ShapeError unless `states` holds the states of `count` layers, or is None."""
    if states is not None and not (isinstance(states, States) and len(states.parts) == count):
        raise ShapeError(
            f"{type(layer).__name__}: states of {type(states).__name__}; pass the states of its "
            f"{count} layers that its own run returned, or None"
        )


def ends_time(layer: nn.Module) -> bool:
    """Return whether a layer maps (T, B, ...) to (B, ...): a readout, or a Sequence with one."""
    if isinstance(layer, nn.Sequential):
        return any(ends_time(part) for part in layer)
    return isinstance(layer, Readout)


def _check_hides_no_state(layer: Any) -> None:
    """Raise ConfigError if a layer holds neurons but does not return their state."""
    if not isinstance(layer, nn.Module) or not any(layer.children()):
        return
    for name, part in layer.named_modules():
        if isinstance(part, Stateful):
            raise ConfigError(
                f"Sequence: {type(layer).__name__} holds {type(part).__name__} ({name}) but has no "
                "run(x, state) that returns its state; take dvskit.layers.Sequence instead, or "
                "add that method"
            )


@dataclass(frozen=True, slots=True)
class _LinearOfMean:
    """A Linear and the mean after it, with the mean taken first: T times cheaper."""

    linear: Linear
    mean: MeanMembrane

    def __call__(self, x: Tensor) -> Tensor:
        return self.run(x)[0]

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        self.linear.check(x)
        mean, state = self.mean.run(x, state)
        # The mean is at least float32, which weights in half precision do not take. The answer is
        # float32 too, as when the weighted sums come first.
        return self.linear(mean.to(self.linear.weight.dtype)).to(mean.dtype), state


def _units(layers: nn.Sequential) -> Iterator[tuple[int, Any]]:
    """Yield the units to compute in order, neighbors merged, each with the index of its state."""
    parts = list(layers)
    index, spikes = 0, False
    while index < len(parts):
        layer, behind = parts[index], parts[index + 1] if index + 1 < len(parts) else None
        hooked = bool(layer._forward_hooks or layer._forward_pre_hooks)
        if behind is not None and not hooked and can_merge(layer, behind):
            yield index, partial(pooled_convolution, layer, behind, of_spikes=spikes)
            index += 2
        elif not hooked and isinstance(layer, Linear) and isinstance(behind, MeanMembrane):
            yield index + 1, _LinearOfMean(layer, behind)
            index += 2
        else:
            yield index, partial(layer, of_spikes=spikes) if isinstance(layer, Conv2d) else layer
            index += 1
        spikes = _gives_spikes(layer, spikes)


def _gives_spikes(layer: nn.Module, given: bool) -> bool:
    """Return whether a layer's output holds only -1, 0 and 1; `given`: whether its input does."""
    if isinstance(layer, Neurons):
        return layer.spiking
    return given and isinstance(layer, MaxPool2d | Delays)


class ResidualBlock(nn.Module):
    """body(x) + shortcut(x): (T, B, ...) -> (T, B, ...); the shortcut defaults to x itself.

        body = dvskit.layers.Sequence(
            dvskit.layers.Conv2d(16, 16, 3, padding=1), dvskit.neurons.LIF()
        )
        block = dvskit.layers.ResidualBlock(body)
        block(torch.rand(20, 8, 16, 9, 9).round()).shape  # (20, 8, 16, 9, 9), 0, 1 or 2

    The place of the neurons selects one of the known blocks:

        spikes added (SEW, Fang et al. 2021)            body: conv, norm, neuron, conv, norm, neuron
        membranes added (Hu et al. 2021, MS-ResNet)     body: neuron, conv, norm, neuron, conv, norm
        spikes of the sum (Zheng et al. 2021)           body: conv, norm, neuron, conv, norm; and a
                                                        neuron after the block

    With spikes added, the output is a small whole number instead of a spike. A shortcut is needed
    if the body changes the shape, such as Sequence(Conv2d(64, 128, 1, stride=2), BatchNorm2d(128)).
    State is passed as in Sequence, which `body` and `shortcut` are.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = _as_sequence(body)
        self.shortcut = Sequence() if shortcut is None else _as_sequence(shortcut)
        if ends_time(self.body) or ends_time(self.shortcut):
            raise ConfigError("ResidualBlock: a readout ends time; put it after the block")

    def forward(self, x: Tensor) -> Tensor:
        """Return body(x) + shortcut(x) of `x` (T, B, ...), from rest."""
        return _added(x, self.body(x), self.shortcut(x))

    def run(self, x: Tensor, state: States | None = None) -> tuple[Tensor, States]:
        """Return the sum for `x` (T, B, ...) and the states of body and shortcut after it."""
        _check_states(self, state, 2)
        body, shortcut = (None, None) if state is None else state.parts
        out, body = self.body.run(x, body)
        past, shortcut = self.shortcut.run(x, shortcut)
        return _added(x, out, past), States((body, shortcut))


def _added(x: Tensor, out: Tensor, past: Tensor) -> Tensor:
    if out.shape != past.shape:
        raise ShapeError(
            f"ResidualBlock: the body returns {tuple(out.shape)} for {tuple(x.shape)}, the "
            f"shortcut {tuple(past.shape)}; give a shortcut of the body's shape"
        )
    return out + past


def _as_sequence(layer: nn.Module) -> Sequence:
    return layer if isinstance(layer, Sequence) else Sequence(layer)


def checkpointed(
    layers: Sequence, x: Tensor, states: States | None = None, *, chunk: int
) -> tuple[Tensor, States]:
    """Return layers.run(x, states), keeping for the backward pass only the states between chunks.

    `x` (T, ...) is run in chunks of `chunk` steps. The backward pass runs each chunk again
    (torch.utils.checkpoint). Gradients equal those of layers.run and flow through the states.
    Memory is that of one chunk, the input and T / chunk states; time grows by up to half. A small
    multiple of the square root of T is a good chunk. Raises ConfigError while batch normalization
    is training, as its statistics cover all of time.

        layers = dvskit.layers.Sequence(dvskit.layers.Linear(5, 5), dvskit.neurons.LIF())
        out, states = dvskit.layers.checkpointed(layers, torch.rand(400, 8, 5), chunk=40)
        out.sum().backward()  # out is (400, 8, 5)
    """
    check_whole("chunk", chunk, 1, owner="checkpointed")
    check_input(layers, x, "(T, B, ...) with T >= 1", x.ndim > 1 and len(x) > 0)
    for name, layer in layers.named_modules():
        if isinstance(layer, BatchNorm2d) and layer.training:
            raise ConfigError(
                f"checkpointed: layer {name}, {type(layer).__name__}, takes its statistics over "
                "all of time while it is training; put it into .eval(), or pass layers without it"
            )
    outs = []
    for part in torch.split(x, chunk):
        out, states = checkpoint(layers.run, part, states, use_reentrant=False)
        outs.append(out)
    return (outs[-1] if ends_time(layers) else torch.cat(outs)), cast(States, states)
