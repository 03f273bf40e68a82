"""Layers of leaky integrate-and-fire neurons, their variants, and neurons by name.

Names stand in layer lists and configurations: "lif beta=0.9".
"""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import replace
from typing import Any, Self, Unpack

import torch
from torch import Tensor, nn

from dvskit._checks import check_number, check_whole
from dvskit.errors import ConfigError, ShapeError
from dvskit.neurons.driver import Backend, NeuronOptions, Neurons, broadcasts
from dvskit.neurons.dynamics import (
    ATAN,
    Dynamics,
    NeuronState,
    NeuronStep,
    Potential,
    Reset,
    Surrogate,
    Value,
    advance,
    take_step,
)
from dvskit.neurons.operator import run_fused
from dvskit.registry import Registry


def lif_step(
    state: NeuronState, current: Tensor, *, beta: Value, threshold: Value, **parts: Any
) -> tuple[Tensor, NeuronState]:
    """Advance leaky integrate-and-fire neurons by one time step.

    h = rest + beta (v - rest) + gain current;
    s = [h >= threshold] - [h <= -threshold_off], in {-1, 0, +1}, and 0 while the neuron waits;
    soft reset: v = h - (threshold - rest) [s = 1] + (threshold_off + rest) [s = -1].

    parts  threshold_off, gain, rest, refractory, reset, surrogate, detach_reset; alpha for neurons
           with a synaptic current, kappa and rho for adaptive ones: see `dvskit.neurons.dynamics`

    `current` has any shape; returns spikes of its shape and dtype, and the new state. Each value is
    a number or a tensor that broadcasts against `current`. The first `state` is
    `NeuronState.rest(current)`, v = 0. Values are not checked.

        currents = torch.rand(20, 8, 10)
        state = dvskit.neurons.NeuronState.rest(currents[0])
        for current in currents:
            # spikes (8, 10)
            spikes, state = dvskit.neurons.lif_step(state, current, beta=0.9, threshold=1.0)
    """
    return advance(Dynamics(beta=beta, threshold=threshold, **parts), state, current)


class LIFOptions(NeuronOptions, total=False):
    """Options of `LIF` and of the layers made of it."""

    gain: float | Tensor | None
    rest: float | Tensor | None


class LIF(Neurons):
    """A layer of leaky integrate-and-fire neurons: (T, ...) currents in, (T, ...) spikes out.

    The equations are those of `lif_step`. A finite `threshold_off` makes the neuron signed: it also
    emits -1 where the potential falls to -threshold_off. Arguments and errors are those of
    `Neurons`; `PLIF` learns a beta that stays in its range.

        neurons = dvskit.neurons.LIF(beta=0.9, threshold=1.0)
        current = 0.5 * torch.rand(20, 8, 10)  # 20 steps, a batch of 8, 10 neurons
        spikes = neurons(current)  # (20, 8, 10), 0 or 1
        spikes, state = neurons.run(current)
        more, state = neurons.run(current, state)  # continues at step 20
    """

    beta: float | Tensor
    threshold: float | Tensor
    threshold_off: float | Tensor
    gain: float | Tensor | None
    rest: float | Tensor | None

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        gain: float | Tensor | None = None,
        rest: float | Tensor | None = None,
        refractory: int = 0,
        resolution: float | None = None,
    ) -> None:
        values: dict[str, Value | None]
        values = {"beta": beta, "threshold": threshold, "threshold_off": threshold_off}
        values |= {"gain": gain, "rest": rest}
        how: Any = {"refractory": refractory, "resolution": resolution}
        super().__init__(values, reset, surrogate, detach_reset, backend, **how)

    @classmethod
    def from_rc(
        cls,
        *,
        tau_us: float,
        dt_us: float,
        resistance: float = 1.0,
        rest: float = 0.0,
        threshold: float = 1.0,
        threshold_off: float | None = None,
        reset: Reset = "soft",
        **layer: Any,
    ) -> Self:
        """Return a layer from the constants of a membrane: tau dv/dt = rest - v + resistance i.

        A step lasts `dt_us`, with a constant current; beta = exp(-dt / tau) and gain = resistance
        (1 - beta) are then exact. Potentials, such as `rest` and `threshold`, are in units of
        resistance times current. threshold_off None is the default of the layer. Other arguments of
        the layer are passed on. Raises ConfigError unless times and resistance are above 0; for IF,
        which has no leak.
        """
        if issubclass(cls, IF):
            raise ConfigError(f"{cls.__name__}: it has no leak, so no tau_us; use LIF.from_rc")
        for name, value in (("tau_us", tau_us), ("dt_us", dt_us), ("resistance", resistance)):
            check_number(name, value, above=0, owner=cls.__name__)
        beta = math.exp(-dt_us / tau_us)
        gain = resistance * -math.expm1(-dt_us / tau_us)
        layer |= {"beta": beta, "threshold": threshold, "reset": reset}
        layer |= {"gain": gain, "rest": rest or None}
        if threshold_off is not None:
            layer["threshold_off"] = threshold_off
        return cls(**layer)


class SignedLIF(LIF):
    """A LIF layer that also spikes downwards (-1); with equal thresholds it is odd in its input.

    (T, ...) currents in, (T, ...) spikes -1, 0 or 1 out. Everything else is as in `LIF`.

        neurons = dvskit.neurons.SignedLIF(beta=0.9, threshold=1.0, threshold_off=1.0)
        current = torch.randn(20, 8, 10)
        spikes = neurons(current)  # (20, 8, 10), -1, 0 or 1
        torch.equal(neurons(-current), -spikes)  # True
    """

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = 1.0,
        **options: Unpack[LIFOptions],
    ) -> None:
        if not isinstance(threshold_off, Tensor) and threshold_off == math.inf:
            raise ConfigError("SignedLIF: threshold_off = inf never spikes downwards; use LIF")
        super().__init__(beta, threshold, threshold_off, **options)


class IF(LIF):
    """A layer of integrate-and-fire neurons: LIF without a leak, beta = 1.

    (T, ...) currents in, (T, ...) spikes out. Everything else is as in `LIF`.

        neurons = dvskit.neurons.IF(threshold=1.0)
        spikes = neurons(torch.full((100, 1), 0.25))  # (100, 1)
        spikes.sum()  # 25: the rate is the current divided by the threshold
    """

    def __init__(
        self,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        *,
        gain: float | Tensor | None = None,
        **options: Unpack[NeuronOptions],
    ) -> None:
        super().__init__(1.0, threshold, threshold_off, gain=gain, **options)


class ALIF(Neurons):
    """A layer of adaptive leaky integrate-and-fire neurons: (T, ...) currents to (T, ...) spikes.

    A spike raises the threshold by kappa, and the rise decays by rho per step: th = threshold +
    kappa a, then a = rho a + |s|. The threshold of downward spikes does not adapt. (Bellec et al.
    2020, e-prop, with beta for their alpha and kappa for their beta; they detach the reset.) Spikes
    pass a gradient to the adaptation even with detach_reset. Everything else is as in `LIF`.

        neurons = dvskit.neurons.ALIF(beta=0.95, kappa=0.2, rho=0.99)
        current = torch.full((300, 1), 0.2)  # constant, so only the threshold changes
        spikes = neurons(current)  # (300, 1)
        spikes[:100].sum(), spikes[200:].sum()  # (9, 6): fewer spikes later
    """

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        *,
        kappa: float | Tensor = 0.1,
        rho: float | Tensor = 0.97,
        **options: Unpack[NeuronOptions],
    ) -> None:
        values = {"beta": beta, "threshold": threshold, "threshold_off": threshold_off}
        values |= {"kappa": kappa, "rho": rho}
        super().__init__(values, **options)


class SynapticLIF(Neurons):
    """A layer of leaky integrate-and-fire neurons with synapses: (T, ...) currents to spikes.

    The current decays by alpha = exp(-dt / tau_synapse) per step: i = alpha i + current. A spike
    leaves it as it is. Everything else is as in `LIF`.

        neurons = dvskit.neurons.SynapticLIF(beta=0.9, alpha=0.8)
        current = torch.zeros(20, 1)
        current[0] = 0.5  # one input, which the synapse spreads over time
        neurons(current).nonzero()[:, 0]  # [2]: a spike in step 2
    """

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        *,
        alpha: float | Tensor = 0.8,
        gain: float | Tensor | None = None,
        **options: Unpack[NeuronOptions],
    ) -> None:
        values: dict[str, Value | None]
        values = {"beta": beta, "threshold": threshold, "threshold_off": threshold_off}
        values |= {"alpha": alpha, "gain": gain}
        super().__init__(values, **options)


class PLIF(Neurons):
    """A layer of leaky integrate-and-fire neurons with a learned time constant.

    beta = 1 - sigmoid(w) with the learned parameter `w`; initially 1 / (1 - beta) = tau, in time
    steps above 1 (Fang et al. 2021, parametric LIF). With `decay_input` the current is multiplied
    by 1 - beta, as in the paper; without it the equations are those of `LIF`. `shape` is that of w:
    () is one time constant for the layer, (C, 1, 1) one per channel. Everything else is as in
    `LIF`.

        neurons = dvskit.neurons.PLIF(tau=5.0, shape=(16, 1, 1))  # one time constant per channel
        spikes = neurons(torch.rand(20, 8, 16, 12, 12))
        spikes.sum().backward()
        neurons.w.grad.shape  # (16, 1, 1)
    """

    threshold: float | Tensor
    threshold_off: float | Tensor

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        *,
        decay_input: bool = True,
        shape: tuple[int, ...] = (),
        **options: Unpack[NeuronOptions],
    ) -> None:
        check_number("tau", tau, above=1, owner="PLIF")
        super().__init__({"threshold": threshold, "threshold_off": threshold_off}, **options)
        self.w = nn.Parameter(torch.full(shape, -math.log(tau - 1)))
        self.decay_input = decay_input

    def _given(self) -> dict[str, Any]:
        share = torch.sigmoid(self.w)
        gain = share if self.decay_input else None
        return {**super()._given(), "beta": 1 - share, "gain": gain}

    @property
    def tau(self) -> Tensor:
        """The current time constants 1 / (1 - beta), in time steps."""
        return 1 / torch.sigmoid(self.w.detach())

    def extra_repr(self) -> str:
        """Return the arguments for the repr; the time constant as its shape."""
        return f"w={tuple(self.w.shape)}, decay_input={self.decay_input}, {super().extra_repr()}"


class LI(Neurons):
    """A layer of leaky integrators: (T, ...) currents in, (T, ...) potentials out.

    v_t = beta v_{t-1} + gain x_t is returned in the dtype of the input. gain None is 1. Everything
    else is as in `LIF`.

        readout = dvskit.neurons.LI(beta=0.5)
        readout(torch.tensor([[1.0], [0.0], [0.0]]))  # [[1], [0.5], [0.25]]
    """

    beta: float | Tensor
    gain: float | Tensor | None

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        backend: Backend = "auto",
        *,
        gain: float | Tensor | None = None,
    ) -> None:
        super().__init__({"beta": beta, "gain": gain}, "none", Potential(), backend=backend)

    def _given(self) -> dict[str, Any]:
        return {**super()._given(), "threshold": 1.0}

    def extra_repr(self) -> str:
        """Return the arguments for the repr; of tensors the shape."""
        return super().extra_repr().split(", reset=")[0]


class BurstLIF(LIF):
    """A LIF layer of up to `most` spikes a step: (T, ...) currents in, (T, ...) counts out.

    h = beta v + x;  s = sum of [h >= k threshold] for k = 1 to `most`;  v = h - s threshold.

    One spike says little in a step of 100 ms; with counts a layer can replace a ReLU. With beta = 0
    a count is the rectified current in units of the threshold, rounded down. Layers learn from
    counts as those of Luo et al. 2024, "Integer-valued training and spike-driven inference spiking
    neural network"; the gradient is the sum of the surrogates of h - k threshold. most = 1 is LIF
    with a soft reset. A finite `threshold_off` makes counts of both signs. More than 8 spikes a
    step run in plain torch. Everything else is as in `LIF`. Raises ConfigError if most < 1.

        neurons = dvskit.neurons.BurstLIF(beta=0.0, most=4)
        neurons(torch.tensor([[0.5], [1.5], [2.5], [9.0]]))  # [[0], [1], [2], [4]]
    """

    beta: float | Tensor
    threshold: float | Tensor

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        most: int = 4,
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        threshold_off: float | Tensor = math.inf,
        resolution: float | None = None,
    ) -> None:
        check_whole("most", most, 1, owner=type(self).__name__)
        how: Any = {"resolution": resolution, "backend": backend}
        super().__init__(beta, threshold, threshold_off, "soft", surrogate, detach_reset, **how)
        self.most = most

    def _given(self) -> dict[str, Any]:
        return {**super()._given(), "most": self.most}

    def extra_repr(self) -> str:
        """Return the arguments for the repr; of tensors the shape."""
        return f"most={self.most}, {super().extra_repr()}"


class RecurrentLIF(LIF):
    """A layer of LIF neurons that feeds its spikes back: x_t + W s_{t-1} in place of x_t.

    recurrent  W: a module from spikes (B, ...) to currents of the same shape, such as nn.Linear, or
               one weight per neuron: a tensor that broadcasts against one time step (an
               nn.Parameter is learned)

    The state also has the spikes of the last step, `s`. Time steps run one after another, as each
    needs the spikes of the last.

        neurons = dvskit.neurons.RecurrentLIF(torch.nn.Linear(10, 10, bias=False), beta=0.9)
        spikes, state = neurons.run(torch.rand(20, 8, 10))  # (20, 8, 10)
        state.s.shape  # (8, 10): the spikes that the next step feeds back
    """

    def __init__(
        self,
        recurrent: nn.Module | Tensor,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        **options: Unpack[LIFOptions],
    ) -> None:
        if not isinstance(recurrent, nn.Module | Tensor):
            raise ConfigError(f"RecurrentLIF: recurrent = {recurrent!r} is no module and no tensor")
        super().__init__(beta, threshold, threshold_off, **options)
        if isinstance(recurrent, Tensor) and not isinstance(recurrent, nn.Parameter):
            self.register_buffer("recurrent", recurrent)
        else:
            self.recurrent = recurrent

    def _run_fused(
        self, dynamics: Dynamics, x: Tensor, state: NeuronState
    ) -> tuple[Tensor, NeuronState]:
        """Run the kernel on one step after another."""
        spikes = []
        for current in x.unbind(0):
            fed = (current + self._fed_back(current, state.s))[None]
            fired, inner = run_fused(dynamics, fed, replace(state, s=None))
            state = replace(inner, s=fired[0].to(inner.v.dtype))
            spikes.append(fired[0])
        return torch.stack(spikes), state

    def _take_step(self, dynamics: Dynamics, state: NeuronState, current: Tensor) -> NeuronStep:
        """Take one step in plain torch with the spikes of the last step as feedback."""
        step = take_step(dynamics, state, current + self._fed_back(current, state.s))
        s = step.spikes.to(step.state.v.dtype)
        return step._replace(state=replace(step.state, s=s))

    def _checked(self, dynamics: Dynamics, x: Tensor, state: NeuronState | None) -> NeuronState:
        given, step = self.recurrent, x.shape[1:]
        fits, size = True, step
        if isinstance(given, nn.Linear):
            fits, size = step[-1:] == (given.in_features,), given.weight.shape
        elif isinstance(given, Tensor):
            fits, size = broadcasts(given.shape, step), given.shape
        if not fits:
            raise ShapeError(
                f"RecurrentLIF: recurrent, of shape {tuple(size)}, does not take the spikes of one "
                f"step, {tuple(step)}; give torch.nn.Linear(N, N, bias=False) for N connected "
                "neurons, or a tensor (N,) with one weight per neuron"
            )
        return super()._checked(dynamics, x, state)

    def _fed_back(self, current: Tensor, s: Tensor | None) -> Tensor:
        """Return W s in the dtype of the currents."""
        if s is None:
            s = torch.zeros_like(current)
        s = s.to(current.dtype)
        fed = self.recurrent(s) if isinstance(self.recurrent, nn.Module) else self.recurrent * s
        if fed.shape != current.shape:
            raise ShapeError(
                f"RecurrentLIF: the recurrent part gives {tuple(fed.shape)} for spikes "
                f"{tuple(s.shape)}; it must keep the shape"
            )
        return fed.to(current.dtype)


NEURONS: Registry[type[nn.Module]] = Registry(
    "neuron",
    {
        "if": IF,
        "lif": LIF,
        "signed-lif": SignedLIF,
        "alif": ALIF,
        "burst-lif": BurstLIF,
        "plif": PLIF,
        "synaptic-lif": SynapticLIF,
        "recurrent-lif": RecurrentLIF,
        "li": LI,
    },
)
OF_NETWORKS = ("beta", "threshold")
"""Parameters with the default of the network, if a class names them itself."""

# Words of other layers in `dvskit.networks.layered`, which stands below this part.
_OTHER_LAYERS = re.compile(
    r"[A-Z][\d.]+([a-z]\d+)*|relu|log|bn|tdbn|ln|membrane|mean|last|max|count|first|each"
)
_MISSING = inspect.Parameter.empty


def register_neuron(name: str, kind: type[nn.Module]) -> None:
    """Add neurons of your own for layer lists and for `neurons` of networks.

        class Quadratic(dvskit.neurons.CustomNeurons):
            def __init__(self, tau=10.0, **others):
                super().__init__({}, {"tau": tau}, **others)

            def integrate(self, current, v):
                return {"v": v + v * (v - 0.5) / self.tau + current}

        dvskit.neurons.register_neuron("quadratic", Quadratic)
        dvskit.networks.Layered(layers=("12C5", "quadratic tau=20", "10"))
        dvskit.networks.ConvLIF(neurons="quadratic")

    kind  a subclass of `CustomNeurons`, or another torch.nn.Module with run(x, state) that keeps
          the shape of x (T, B, ...): see `dvskit.layers.Stateful`

    Parameters with numbers, texts, booleans or None as defaults can be set in a layer list, also
    those that **others passes to a base class. `beta` and `threshold` default to those of the
    network if the class names them itself, and need no default. Layers are named after `name`:
    quadratic1. A model's file contains the name only, so register it before loading.

    Raises ConfigError for another kind, other parameters without a default, and a name that is
    taken or is the word of another layer.
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module) and hasattr(kind, "run")):
        raise ConfigError(
            f"neuron {name!r}: {kind!r} is not a class with run(x, state); take a subclass of "
            "neurons.CustomNeurons, or of torch.nn.Module with that method"
        )
    if isinstance(name, str) and _OTHER_LAYERS.fullmatch(name):
        raise ConfigError(f"neuron {name!r}: this is the word of another layer; take another name")
    for each in inspect.signature(kind).parameters.values():
        collects = each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        needed = each.default is _MISSING and not collects and each.name not in OF_NETWORKS
        if needed or (each.kind is each.POSITIONAL_ONLY and each.name in OF_NETWORKS):
            raise ConfigError(
                f"neuron {name!r}: {each.name} of {kind.__name__} has no default; give it one"
            )
    NEURONS.register(name, kind)


def options_of(kind: type[nn.Module]) -> dict[str, Any]:
    """Return the parameters that a layer list can set, with their defaults.

    Those of base classes follow where a class passes **others on.
    """
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        _, *parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        found = {**{each.name: each for each in parameters}, **found}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: each.default
        for name, each in found.items()
        if each.kind in by_name
        and (
            isinstance(each.default, bool | int | float | str | None)
            or (each.default is _MISSING and name in OF_NETWORKS)
        )
    }
