"""DECOLLE: each layer learns online from its own loss, without gradients of other layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._checks import LONGEST_US, check_fields, check_number, check_whole, checked
from dvskit.encoders.values import generator_from
from dvskit.errors import ConfigError
from dvskit.layers import Conv2d as TimedConv2d
from dvskit.learning import rule
from dvskit.learning.rule import Loss
from dvskit.neurons import ATan, Surrogate, spike
from dvskit.neurons.dynamics import check_surrogate


@dataclass(frozen=True, slots=True, kw_only=True)
class DecolleNeurons:
    """Constants of the neurons of a DecolleLayer (Kaiser et al. 2020).

    alpha      membrane kept per step (P)          beta   synaptic current kept per step (Q)
    gamma      refractory trace kept per step (R)  rho    how strongly R inhibits spikes
    gain       factor on the inputs: P is an average of them, and small for few spikes
    surrogate  the derivative of a spike with respect to U

        neurons = dvskit.learning.DecolleNeurons(alpha=0.95, beta=0.9)  # slower than the defaults
        layer = dvskit.learning.DecolleLayer(torch.nn.Linear(20, 50), neurons=neurons)
    """

    alpha: float = checked(check_number, 0, below=1, default=0.9)
    beta: float = checked(check_number, 0, below=1, default=0.85)
    gamma: float = checked(check_number, 0, below=1, default=0.65)
    rho: float = checked(check_number, 0, default=1.0)
    gain: float = checked(check_number, default=10.0)
    surrogate: Surrogate = checked(check_surrogate, default=ATan(1.0))

    def __post_init__(self) -> None:
        check_fields(self)


class DecolleLayerState(NamedTuple):
    """The state of a layer: P and Q in the shape of its inputs, R in that of its neurons.

    It is a named tuple of float tensors with the batch first.

        layer = dvskit.learning.DecolleLayer(torch.nn.Linear(20, 50))
        spikes, state = layer.step(torch.ones(4, 20))  # spikes (4, 50)
        state.p.shape, state.r.shape  # (4, 20), (4, 50)
    """

    p: Tensor
    q: Tensor
    r: Tensor


class DecolleLayer(nn.Module):
    """A dense or convolutional layer of spiking neurons (Kaiser et al. 2020).

        layer = dvskit.learning.DecolleLayer(torch.nn.Conv2d(2, 16, 5, padding=2), pool=2)
        state = None
        for x in (torch.rand(20, 4, 2, 34, 34) < 0.1).float():
            spikes, state = layer.step(x, state)  # (4, 16, 17, 17)

    At each time step:

        P_t = alpha P_{t-1} + (1 - alpha) Q_{t-1};   Q_t = beta Q_{t-1} + (1 - beta) gain x_t
        U_t = W P_t - rho R_{t-1};   S_t = [U_t >= 0];   R_t = gamma R_{t-1} + (1 - gamma) S_t

    weights  nn.Linear or nn.Conv2d, bias included; before nn.Linear the inputs are flattened
    pool     side of blocks of neurons; only the largest U of a block is passed on, so the layer's
             spikes are those of max pooling

    R passes no gradient.
    """

    def __init__(
        self,
        weights: nn.Linear | nn.Conv2d,
        *,
        pool: int = 1,
        neurons: DecolleNeurons | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(weights, nn.Linear | nn.Conv2d):
            raise ConfigError(
                f"DecolleLayer: {type(weights).__name__} is neither nn.Linear nor nn.Conv2d"
            )
        if isinstance(weights, TimedConv2d):
            raise ConfigError(
                "DecolleLayer: dvskit.layers.Conv2d takes all time steps at once, but a "
                "DecolleLayer runs one step; take torch.nn.Conv2d"
            )
        most = 1 if isinstance(weights, nn.Linear) else LONGEST_US
        check_whole("pool", pool, 1, most, owner="DecolleLayer")
        self.weights, self.pool = weights, pool
        self.neurons = DecolleNeurons() if neurons is None else neurons

    def step(
        self, x: Tensor, state: DecolleLayerState | None = None
    ) -> tuple[Tensor, DecolleLayerState]:
        """Return the spikes of one time step for inputs (B, ...), and the new state."""
        _, spikes, after = self.advance(x, state)
        return spikes, after

    def advance(
        self, x: Tensor, state: DecolleLayerState | None = None
    ) -> tuple[Tensor, Tensor, DecolleLayerState]:
        """Do `step`, and also return U (B, ...), pooled like the spikes, as the second value."""
        c = self.neurons
        if isinstance(self.weights, nn.Linear):
            x = x.flatten(1)
        current = (1 - c.beta) * c.gain * x
        if state is None:
            p, q = torch.zeros_like(x), current
        else:
            p, q = c.alpha * state.p + (1 - c.alpha) * state.q, c.beta * state.q + current
        u = self.weights(p)
        r = torch.zeros_like(u) if state is None else state.r
        u = u - c.rho * r
        r = c.gamma * r + (1 - c.gamma) * (u >= 0).to(u.dtype)
        if self.pool > 1:
            u = functional.max_pool2d(u, self.pool)
        return u, spike(u, c.surrogate), DecolleLayerState(p, q, r.detach())


class DecolleNetwork(nn.Module):
    """DecolleLayers in sequence, each with a readout y = G S + b that is drawn once and fixed.

    layers     the layers; each takes the spikes of the one before
    outputs    number of readouts of each layer
    shape      of the inputs of a time step, without the batch: (2, H, W), or (inputs,)
    gain       of the readouts: uniform numbers within gain / sqrt(number of spikes they read). Few
               simultaneous spikes need more than 1, mainly with cross entropy
    generator  of the readouts: a torch.Generator or a seed; the default is torch's generator

    `step` returns the last layer's readout, which is the network's output. `weights` of the layers
    learn; the readouts G are buffers.

        layers = [
            dvskit.learning.DecolleLayer(torch.nn.Conv2d(2, 8, 5, padding=2), pool=2),
            dvskit.learning.DecolleLayer(torch.nn.Linear(8 * 6 * 6, 50)),
        ]
        network = dvskit.learning.DecolleNetwork(layers, outputs=3, shape=(2, 12, 12))
        output, state = network.step(torch.ones(4, 2, 12, 12))  # (4, 3)
    """

    def __init__(
        self,
        layers: Sequence[DecolleLayer],
        outputs: int,
        shape: Sequence[int],
        *,
        gain: float = 1.0,
        generator: torch.Generator | int | None = None,
    ) -> None:
        super().__init__()
        check_number("gain", gain, above=0, owner="DecolleNetwork")
        shape = tuple(shape)
        for number, layer in enumerate(layers):
            if not isinstance(layer, DecolleLayer):
                raise ConfigError(
                    f"DecolleNetwork: layer {number} is {layer!r}; it must be a DecolleLayer "
                    "around a torch.nn.Linear or Conv2d"
                )
        check_whole("outputs", outputs, 1, owner="DecolleNetwork")
        check_whole("the number of layers", len(layers), 1, owner="DecolleNetwork")
        self.layers, self.outputs = nn.ModuleList(layers), outputs
        self.shape = shape
        drawn = generator_from(generator, "DecolleNetwork")
        for number, spikes in enumerate(self._spikes()):
            bound = gain / math.sqrt(spikes)
            readout = (2 * torch.rand(outputs, spikes, generator=drawn) - 1) * bound
            self.register_buffer(f"readout{number}", readout.to(layers[number].weights.weight))

    def _spikes(self) -> list[int]:
        """Return, for each layer, the number of spikes that its readout reads."""
        layers = self.rows()
        x, found = layers[0].weights.weight.new_zeros(1, *self.shape), []
        with torch.no_grad():
            for number, layer in enumerate(layers):
                shape = tuple(x.shape[1:])
                try:
                    x, _ = layer.step(x)
                except RuntimeError as error:
                    raise ConfigError(
                        f"DecolleNetwork: layer {number}, {layer.weights}, does not take inputs "
                        f"of {shape}: {str(error).splitlines()[0]}"
                    ) from None
                found.append(x[0].numel())
        return found

    def rows(self) -> list[DecolleLayer]:
        """Return the layers in order, starting at the inputs."""
        return [cast(DecolleLayer, layer) for layer in self.layers]

    def readout(self, number: int, spikes: Tensor) -> Tensor:
        """Return the readout (B, outputs) of a layer for its spikes (B, ...)."""
        weights: Tensor = getattr(self, f"readout{number}")
        return spikes.flatten(1) @ weights.T

    def step(
        self, x: Tensor, state: tuple[DecolleLayerState, ...] | None = None
    ) -> tuple[Tensor, tuple[DecolleLayerState, ...]]:
        """Return the last readout (B, outputs) for inputs (B, *shape), and the new state."""
        self.check(x, None if state is None else len(state[0].p))
        after = []
        for number, layer in enumerate(self.rows()):
            x, own = layer.step(x, None if state is None else state[number])
            after.append(own)
        return self.readout(len(self.layers) - 1, x), tuple(after)

    def check(self, x: Tensor, batch: int | None) -> None:
        """Raise ShapeError for inputs that are not (B, *shape)."""
        rule.check_input(self, x, self.shape, batch)


@dataclass(frozen=True, slots=True)
class Activity:
    """A cost that keeps the potentials of a layer near the threshold (Kaiser et al. 2020).

    high  cost of the mean of [U + 0.01]+: too active      low  of [0.1 - mean U]+: too quiet

    Means are over the neurons of a sample; costs are sums over samples, like losses.

        layer = dvskit.learning.DecolleLayer(torch.nn.Linear(20, 50))
        network = dvskit.learning.DecolleNetwork([layer], outputs=3, shape=(20,))
        activity = dvskit.learning.Activity(high=0.01, low=0.001)
        rule = dvskit.learning.DECOLLE(network, activity=activity)
        activity.cost(torch.randn(4, 50))  # a scalar
    """

    high: float = checked(check_number, 0, default=0.0)
    low: float = checked(check_number, 0, default=0.0)

    def __post_init__(self) -> None:
        check_fields(self)

    def cost(self, u: Tensor) -> Tensor:
        """Return the cost of potentials (B, ...) as a scalar."""
        u = u.flatten(1)
        high = (u + 0.01).clamp(min=0).mean(1)
        low = (0.1 - u.mean(1)).clamp(min=0)
        return (self.high * high + self.low * low).sum()


@dataclass(frozen=True, slots=True)
class DECOLLEState:
    """The state of DECOLLE.

    network   the state of each layer         loss      the sum of the losses so far, (layers,)
    readouts  the last output of each layer's readout, (layers, B, outputs)

        layers = [dvskit.learning.DecolleLayer(torch.nn.Linear(n, 50)) for n in (20, 50)]
        network = dvskit.learning.DecolleNetwork(layers, outputs=3, shape=(20,))
        rule = dvskit.learning.DECOLLE(network)
        x, targets = torch.ones(30, 4, 20), torch.zeros(30, 4, 3)
        outputs, state = dvskit.learning.teach(rule, x, targets)
        state.loss.shape, state.readouts.shape  # (2,), (2, 4, 3)
    """

    network: tuple[DecolleLayerState, ...] | None
    loss: Tensor
    readouts: Tensor


class DECOLLE(nn.Module):
    """Deep continuous local learning (Kaiser, Mostafa & Neftci 2020).

        layers = [dvskit.learning.DecolleLayer(torch.nn.Linear(n, 50)) for n in (20, 50)]
        network = dvskit.learning.DecolleNetwork(layers, outputs=3, shape=(20,))
        rule = dvskit.learning.DECOLLE(network, dvskit.learning.cross_entropy)
        labels = torch.tensor([0, 1, 2, 0])
        x = (torch.rand(30, 4, 20) < 0.2).float()  # 30 steps, a batch of 4
        outputs, state = dvskit.learning.teach(rule, x, labels.expand(30, 4))  # (30, 4, 3)

    At each time step, the fixed random readout of each layer is compared with the target, and the
    layer's weights get the gradient of this local loss alone:

        dL/dW = sum_t (G^T dL_t/dy_t * sigma'(U_t)) P_t^T

    This is the exact gradient of the sum of the local losses if no gradient flows from a layer into
    the one before, nor through R: P depends on no weight of the layer.

    network   a DecolleNetwork; the weights of its layers are learned
    loss      of one time step and layer, (output, target) -> a scalar
    activity  keeps potentials near the threshold; None: no such cost

    It is called like every `Rule`. The output is that of the last layer; `state.readouts` are those
    of all layers. Gradients are in `.grad` after each `step`, and an optimizer may step then. P, Q
    and R are the only memory of the past.
    """

    def __init__(
        self,
        network: DecolleNetwork,
        loss: Loss = rule.squared_error,
        *,
        activity: Activity | None = None,
    ) -> None:
        super().__init__()
        self.network, self.loss, self.activity = network, loss, activity

    def start(self, batch: int) -> DECOLLEState:
        """Return the state before the first time step of `batch` samples."""
        check_whole("batch", batch, 1)
        layers = self.network.rows()
        zeros = layers[0].weights.weight.detach().new_zeros
        return DECOLLEState(
            None, zeros(len(layers)), zeros(len(layers), batch, self.network.outputs)
        )

    def step(
        self, state: DECOLLEState, x: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, DECOLLEState]:
        """Return the output (B, outputs) and the new state; a target adds to the gradients."""
        self.network.check(x, state.readouts.shape[1])
        layers, readouts, losses = [], [], []
        for number, layer in enumerate(self.network.rows()):
            before = None if state.network is None else state.network[number]
            with torch.set_grad_enabled(target is not None):
                u, spikes, after = layer.advance(x.detach(), before)
                y = self.network.readout(number, spikes)
                if target is not None:
                    losses.append(self._learn(u, y, target))
            layers.append(DecolleLayerState(*(each.detach() for each in after)))
            readouts.append(y.detach())
            x = spikes
        loss = state.loss + torch.stack(losses) if losses else state.loss
        return readouts[-1], DECOLLEState(tuple(layers), loss, torch.stack(readouts))

    def finish(self, state: DECOLLEState) -> None:
        """Do nothing: all gradients are known after each step."""

    def _learn(self, u: Tensor, y: Tensor, target: Tensor) -> Tensor:
        value = self.loss(y, target)
        whole = value if self.activity is None else value + self.activity.cost(u)
        if whole.requires_grad:  # False if a layer is frozen
            whole.backward()  # type: ignore[no-untyped-call]
        return value.detach()
