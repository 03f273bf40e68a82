"""The interface of all learning rules; BPTT, the reference for the others; losses and distances."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit.errors import ShapeError
from dvskit.neurons import driver
from dvskit.neurons.dynamics import detached

Loss = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class Stepped(Protocol):
    """A network that runs step by step; its state is passed in and returned.

    Networks of `dvskit.learning`, layers and neurons have this method.

        class Average(torch.nn.Module):
            def step(self, x, state=None, /):
                mean = x if state is None else 0.9 * state + 0.1 * x
                return mean, mean

        outputs = dvskit.learning.predict(Average(), torch.rand(20, 8, 5))  # (20, 8, 5)
    """

    def step(self, x: Tensor, state: Any = None, /) -> tuple[Tensor, Any]:
        """Return the output of one time step and the state after it; None starts at rest."""


@runtime_checkable
class Rule(Protocol):
    """A learning rule around a network. Rules are interchangeable without other changes.

        network = dvskit.learning.RecurrentNetwork(20, 3, lif=50)
        rule = dvskit.learning.EProp(network, dvskit.learning.cross_entropy)  # or BPTT
        optimizer = torch.optim.Adam(rule.parameters())
        x, labels = torch.rand(30, 4, 20), torch.tensor([0, 1, 2, 0])  # a batch of 4
        state = rule.start(4)
        for x_t in x:
            output, state = rule.step(state, x_t, labels)  # (4, 3)
        rule.finish(state)
        optimizer.step()
        optimizer.zero_grad()

    Gradients are added to the parameters' `.grad`, as `Tensor.backward` does; they are sums of the
    loss over batch and time. The rule keeps no state.
    """

    def start(self, batch: int) -> Any:
        """Return the state before the first time step of `batch` samples."""

    def step(self, state: Any, x: Tensor, target: Tensor | None = None) -> tuple[Tensor, Any]:
        """Return the output of one time step and the state after it; no target, no loss."""

    def finish(self, state: Any) -> None:
        """Add the gradients that are known only after the last time step."""


def teach(rule: Rule, x: Tensor, targets: Iterable[Tensor | None]) -> tuple[Tensor, Any]:
    """Run a rule over whole sequences, from rest: its gradients are in `.grad` afterwards.

    x        (T, B, ...), the inputs
    targets  one per time step, such as a tensor (T, B, ...); None for a step without a loss.
             `labels.expand(T, B)` gives each step the same class numbers

    Returns the outputs (T, B, ...), without a graph, and the last state; `state.loss` is the sum of
    the losses.

        network = dvskit.layers.Sequence(dvskit.layers.Linear(5, 3), dvskit.neurons.LI())
        rule = dvskit.learning.BPTT(network, dvskit.learning.cross_entropy)
        optimizer = torch.optim.Adam(rule.parameters())
        labels = torch.tensor([0, 1, 2, 0])
        outputs, state = dvskit.learning.teach(rule, torch.rand(20, 4, 5), labels.expand(20, 4))
        optimizer.step()  # state.loss is the sum over 20 steps and 4 samples
    """
    wanted = list(targets)
    driver.check_shape(rule, x, "(T, B, ...) with T >= 1", x.ndim > 1 and len(x) > 0)
    if len(wanted) != len(x):
        raise ShapeError(
            f"{len(wanted)} targets for {len(x)} time steps; give one per step, for example with "
            "labels.expand(T, B), and None for a step without a loss"
        )
    state, outputs = rule.start(x.shape[1]), []
    for x_t, target in zip(x, wanted, strict=True):
        output, state = rule.step(state, x_t, target)
        outputs.append(output.detach())
    rule.finish(state)
    return torch.stack(outputs), state


def predict(network: Stepped, x: Tensor) -> Tensor:
    """Return the outputs (T, B, ...) of a network for inputs (T, B, ...), from rest.

    No gradients are kept. `network` is anything with `step`: see `Stepped`.

        network = dvskit.learning.RecurrentNetwork(20, 3, lif=50)
        outputs = dvskit.learning.predict(network, torch.rand(30, 4, 20))  # (30, 4, 3)
    """
    driver.check_shape(network, x, "(T, B, ...) with T >= 1", x.ndim > 1 and len(x) > 0)
    state, outputs = None, []
    with torch.no_grad():
        for x_t in x:
            output, state = network.step(x_t, state)
            outputs.append(output)
    return torch.stack(outputs)


def check_input(network: nn.Module, x: Tensor, shape: tuple[int, ...], batch: int | None) -> None:
    """Raise ShapeError unless `x` is (B, *shape) and floating-point, B as in the state."""
    wanted = ", ".join(map(str, ("B" if batch is None else batch, *shape)))
    fits = tuple(x.shape[1:]) == shape and len(x) > 0 and batch in (None, len(x))
    driver.check_input(network, x, f"({wanted}) at each step", fits, "convert with .float()")


def loss_and_slope(loss: Loss, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return a loss and its derivative with respect to the output, both without a graph."""
    with torch.enable_grad():
        y = output.detach().requires_grad_()
        value = loss(y, target)
        (slope,) = torch.autograd.grad(value, y)
    return value.detach(), slope


def add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """Add to a parameter's `.grad`, unless the parameter is frozen."""
    if not parameter.requires_grad:
        return
    if parameter.grad is None:
        parameter.grad = gradient.clone()
    else:
        parameter.grad += gradient


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return 1/2 sum (output - target)^2, for regression.

    The sum is over all entries, such as (B, outputs) of one time step.

        dvskit.learning.squared_error(torch.ones(4, 3), torch.zeros(4, 3))  # 6
    """
    if output.shape != target.shape:
        raise ShapeError(
            f"the target is {tuple(target.shape)}, the output {tuple(output.shape)}; both must "
            "have the same shape"
        )
    return 0.5 * (output - target).square().sum()


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Return the sum over the batch of the cross entropy of softmax(output), for classification.

    output  (B, C), logits        target  (B,) int64, class numbers, or (B, C), probabilities

        output = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        dvskit.learning.cross_entropy(output, torch.tensor([0, 2]))  # 0.24 + 1.10
    """
    return functional.cross_entropy(output, target, reduction="sum")


class FilterState(NamedTuple):
    """The state of a DoubleExponential, in the shape of its input."""

    rising: Tensor
    falling: Tensor


@dataclass(frozen=True, slots=True)
class DoubleExponential:
    """A causal filter that rises and falls exponentially, with a peak of 1.

        kernel = dvskit.learning.DoubleExponential(rise=5.0, decay=10.0)
        spikes = torch.zeros(100, 1)
        spikes[10] = 1
        response = kernel.run(spikes)  # (100, 1)
        response.max(), response.argmax()  # (1, 16): the peak is 6 steps after the spike

    At each time step:

        r_t = p r_{t-1} + y_t;   f_t = q f_{t-1} + r_t;   output g f_t
        p = exp(-1 / rise), q = exp(-1 / decay), g such that one spike's response peaks at 1

    rise, decay  time constants, in time steps; they may be equal (the alpha function)
    """

    rise: float = checked(check_number, above=0, default=5.0)
    decay: float = checked(check_number, above=0, default=10.0)
    p: float = field(init=False, repr=False, compare=False, default=0.0)
    q: float = field(init=False, repr=False, compare=False, default=0.0)
    gain: float = field(init=False, repr=False, compare=False, default=1.0)

    def __post_init__(self) -> None:
        check_fields(self)
        p, q = math.exp(-1 / self.rise), math.exp(-1 / self.decay)
        object.__setattr__(self, "p", p)
        object.__setattr__(self, "q", q)
        object.__setattr__(self, "gain", 1 / _peak(self.rise, self.decay))

    def step(self, y: Tensor, state: FilterState | None = None) -> tuple[Tensor, FilterState]:
        """Return the filtered value of one time step, in the shape of `y`, and the new state."""
        if state is None:
            rising = falling = y
        else:
            rising = self.p * state.rising + y
            falling = self.q * state.falling + rising
        return self.gain * falling, FilterState(rising, falling)

    def run(self, y: Tensor) -> Tensor:
        """Return y (T, ...) filtered over time, from rest."""
        state, filtered = None, []
        for y_t in y:
            out, state = self.step(y_t, state)
            filtered.append(out)
        return torch.stack(filtered) if filtered else y.clone()


def _peak(rise: float, decay: float) -> float:
    """Return the largest value of the response to one spike.

    The response m - 1 steps after the spike is (q^m - p^m) / (q - p), or m q^(m - 1) where p = q.
    """
    apart = 1 / rise - 1 / decay
    highest = rise if apart == 0 else math.log(decay / rise) / apart  # for a real m

    def response(m: int) -> float:
        ratio = m if apart == 0 else math.expm1(-apart * m) / math.expm1(-apart)
        return math.exp(-(m - 1) / decay) * ratio

    return max(response(max(1, math.floor(highest))), response(max(1, math.ceil(highest))))


@dataclass(frozen=True, slots=True)
class VanRossum:
    """The van Rossum distance: 1/2 sum over time of (alpha * (S - S_target))^2.

    `kernel` is alpha, a DoubleExponential (Zenke & Ganguli 2018). It has memory, so this loss has a
    state; other losses are plain functions.

        distance = dvskit.learning.VanRossum(dvskit.learning.DoubleExponential(5.0, 10.0))
        spikes, target = torch.zeros(100, 1, 1), torch.zeros(100, 1, 1)
        spikes[20], target[23] = 1, 1  # 3 steps late
        distance.distance(spikes, target)  # (1, 1): [[0.92]]
    """

    kernel: DoubleExponential = field(default_factory=DoubleExponential)

    def error(
        self, spikes: Tensor, target: Tensor | None, state: FilterState | None = None
    ) -> tuple[Tensor, FilterState]:
        """Return alpha * (S - S_target) of one step, 0 without a target; and the new state."""
        if target is None:
            return self.kernel.step(torch.zeros_like(spikes), state)
        _check_same_shape(spikes, target)
        return self.kernel.step(spikes - target.to(spikes.dtype), state)

    def step(
        self, spikes: Tensor, target: Tensor | None, state: FilterState | None = None
    ) -> tuple[Tensor, FilterState]:
        """Return the loss of one time step, summed over the batch, and the state after it."""
        error, state = self.error(spikes, target, state)
        return 0.5 * error.square().sum(), state

    def distance(self, spikes: Tensor, target: Tensor) -> Tensor:
        """Return the distance (B, N) of whole spike trains (T, B, N), from rest."""
        _check_same_shape(spikes, target)
        return 0.5 * self.kernel.run(spikes - target).square().sum(0)


def _check_same_shape(spikes: Tensor, target: Tensor) -> None:
    if spikes.shape != target.shape:
        raise ShapeError(
            f"the target spikes are {tuple(target.shape)}, the output's "
            f"{tuple(spikes.shape)}; both must have the same shape"
        )


@dataclass(frozen=True, slots=True)
class BPTTState:
    """The state of BPTT: the network's state with its graph, and the losses.

    network  the state of the network        pending  losses that are not differentiated yet
    loss     the sum of all losses so far, without a graph
    filters  the state of a loss with memory, such as VanRossum
    steps    number of time steps so far

        network = dvskit.layers.Sequence(dvskit.layers.Linear(5, 3), dvskit.neurons.LIF())
        rule = dvskit.learning.BPTT(network)
        outputs, state = dvskit.learning.teach(rule, torch.rand(20, 8, 5), torch.zeros(20, 8, 3))
        state.steps  # 20
        state.loss / 8  # the loss of a sample, over all steps
    """

    network: Any
    pending: Tensor | None
    loss: Tensor
    filters: Any = None
    steps: int = 0


class BPTT(nn.Module):
    """Backpropagation through time with surrogate gradients, called like every `Rule`.

    network  any module with step(x, state) -> (output, state); its parameters are learned
    loss     of one time step, (output, target) -> a scalar; or VanRossum
    every    differentiate and cut the graph after this many time steps (truncated BPTT): memory for
             `every` steps, and the optimizer may step between. None: once, in `finish`

    Memory grows with the number of steps between two cuts.

        network = dvskit.layers.Sequence(dvskit.layers.Linear(5, 3), dvskit.neurons.LIF())
        rule = dvskit.learning.BPTT(network, dvskit.learning.squared_error, every=10)
        x, targets = torch.rand(20, 8, 5), torch.zeros(20, 8, 3)
        outputs, state = dvskit.learning.teach(rule, x, targets)  # outputs (20, 8, 3)
        network[0].weight.grad.shape  # (3, 5)
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss | VanRossum = squared_error,
        *,
        every: int | None = None,
    ) -> None:
        super().__init__()
        if every is not None:
            check_whole("every", every, 1, owner="BPTT")
        self.network: Any = network
        self.loss = loss
        self.every = every

    def start(self, batch: int) -> BPTTState:
        """Return the state before the first time step; the first input sets the batch."""
        check_whole("batch", batch, 1)
        like = next(self.network.parameters(), torch.zeros(()))
        return BPTTState(None, None, like.new_zeros((), requires_grad=False))

    def step(
        self, state: BPTTState, x: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, BPTTState]:
        """Return the output for the inputs of one time step, with its graph, and the new state."""
        output, network = self.network.step(x, state.network)
        pending, filters, total = state.pending, state.filters, state.loss
        value = None
        if isinstance(self.loss, VanRossum):
            value, filters = self.loss.step(output, target, filters)
        elif target is not None:
            value = self.loss(output, target)
        if value is not None:
            pending = value if pending is None else pending + value
            total = total + value.detach()
        after = BPTTState(network, pending, total, filters, state.steps + 1)
        if self.every is not None and after.steps % self.every == 0:
            self.finish(after)
            network, filters = detached(after.network), detached(after.filters)
            after = replace(after, network=network, filters=filters, pending=None)
        return output, after

    def finish(self, state: BPTTState) -> None:
        """Differentiate the losses since the last cut, and add to the parameters' `.grad`."""
        if state.pending is not None and state.pending.requires_grad:
            state.pending.backward()  # type: ignore[no-untyped-call]
