"""Spike-timing-dependent plasticity: synapses that spike before their neuron grow.

The change of a weight is a sum over pairs of spikes, W(t_post - t_pre). Two traces, one on each
side of the synapse, count the pairs as time goes on (Morrison, Diesmann & Gerstner 2008). Of a
connection the rule needs one operation: for each weight, the sum of a product of both neurons over
all its synapses. This is the weight gradient of the layer, so any layer can have one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, cast, get_args, runtime_checkable

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from dvskit._checks import check_choice, check_fields, check_number, check_whole, checked
from dvskit.errors import ConfigError, ShapeError


@runtime_checkable
class Connection(Protocol):
    """How the weights of a layer join its presynaptic and postsynaptic neurons.

    One weight per neuron, which joins it to the input of the same number:

        class OneToOne:
            def correlate(self, pre, post, shape):
                return (pre * post).sum(0)  # (B, N) -> (N,)

        rule = dvskit.learning.STDP(connection=OneToOne())
        spikes = (torch.rand(100, 4, 10) < 0.1).float()
        weight, state = rule.run(spikes, spikes.roll(2, 0), torch.full((10,), 0.5))  # (10,)
    """

    def correlate(self, pre: Tensor, post: Tensor, shape: torch.Size) -> Tensor:
        """Return, for each weight of `shape`, the sum of pre * post over its synapses."""


@dataclass(frozen=True, slots=True)
class Dense:
    """Full connections, as in torch.nn.Linear: weight (M, N).

    Spikes are `pre` (B, N) and `post` (B, M).

        rule = dvskit.learning.STDP(connection=dvskit.learning.Dense())
        pre = (torch.rand(100, 4, 20) < 0.1).float()
        post = (torch.rand(100, 4, 10) < 0.1).float()
        weight, state = rule.run(pre, post, torch.full((10, 20), 0.5))  # (10, 20)
    """

    def correlate(self, pre: Tensor, post: Tensor, shape: torch.Size) -> Tensor:
        """Return the sums (M, N) over the batch of post[..., m] pre[..., n]."""
        fits = len(shape) == 2 and pre.ndim == post.ndim > 0 and pre.shape[:-1] == post.shape[:-1]
        if not fits or (post.shape[-1], pre.shape[-1]) != tuple(shape):
            raise ShapeError(
                f"Dense: pre {tuple(pre.shape)} and post {tuple(post.shape)} do not fit a weight "
                f"of shape {tuple(shape)}; they are (B, N) and (B, M) for a weight (M, N)"
            )
        return post.reshape(-1, shape[0]).T @ pre.reshape(-1, shape[1])


@dataclass(frozen=True, slots=True)
class Convolution:
    """A 2-d convolution, as in torch.nn.Conv2d with one group: weight (M, C, height, width).

    A weight serves one synapse at each output position: its change is the sum over them.

        rule = dvskit.learning.STDP(connection=dvskit.learning.Convolution(padding=1))
        pre = (torch.rand(20, 4, 2, 9, 9) < 0.1).float()
        post = (torch.rand(20, 4, 8, 9, 9) < 0.1).float()
        weight, state = rule.run(pre, post, torch.full((8, 2, 3, 3), 0.5))  # (8, 2, 3, 3)
    """

    stride: int = checked(check_whole, 1, default=1)
    padding: int = checked(check_whole, default=0)
    dilation: int = checked(check_whole, 1, default=1)

    def __post_init__(self) -> None:
        check_fields(self)

    def correlate(self, pre: Tensor, post: Tensor, shape: torch.Size) -> Tensor:
        """Return the sums (M, C, h, w) of `pre` (B, C, H, W) and `post` (B, M, H', W')."""
        if pre.ndim != 4 or len(shape) != 4 or post.shape != self._out_shape(pre.shape, shape):
            raise ShapeError(
                f"{self}: pre {tuple(pre.shape)} and post {tuple(post.shape)} do not fit a weight "
                f"of shape {tuple(shape)}; they must be (B, C, H, W) and the output of its conv2d"
            )
        # The sums are the weight gradient of a convolution: ten times as fast as over patches.
        how = (self.stride, self.padding, self.dilation)
        sums = conv2d_weight(pre, shape, post, *how)  # type: ignore[no-untyped-call]
        return cast(Tensor, sums)

    def _out_shape(self, pre: torch.Size, weight: torch.Size) -> tuple[int, ...]:
        if pre[1] != weight[1]:
            return ()
        sides = [
            (pre[dim] + 2 * self.padding - self.dilation * (weight[dim] - 1) - 1) // self.stride + 1
            for dim in (2, 3)
        ]
        return (pre[0], weight[0], *sides)


Pairing = Literal["all", "nearest"]

_DENSE = Dense()


@dataclass(frozen=True, slots=True)
class Window:
    """The learning window: the weight change of a pair of spikes by their distance in steps.

    W(d) = a_plus exp(-d / tau_plus) for d > 0 (presynaptic first), -a_minus exp(d / tau_minus) for
    d < 0, and 0 for d = 0: spikes of the same step are no pair. d = t_post - t_pre, in steps. An
    infinite tau is a window without decay. Negative a reverse the rule (anti-Hebbian).

        window = dvskit.learning.Window(a_plus=0.01, a_minus=0.012, tau_plus=20.0, tau_minus=20.0)
        window(torch.tensor([-20.0, 0.0, 20.0]))  # [-0.0044, 0, 0.0037]
        rule = dvskit.learning.STDP(window)
    """

    a_plus: float = checked(check_number, default=0.01)
    a_minus: float = checked(check_number, default=0.012)
    tau_plus: float = checked(check_number, above=0, most=math.inf, default=20.0)
    tau_minus: float = checked(check_number, above=0, most=math.inf, default=20.0)

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, d: Tensor) -> Tensor:
        """Return W(d) for differences `d` in steps, of any shape and a floating-point dtype."""
        grows = self.a_plus * torch.exp(-d.clamp(min=0) / self.tau_plus)
        shrinks = -self.a_minus * torch.exp(d.clamp(max=0) / self.tau_minus)
        return torch.where(d > 0, grows, torch.where(d < 0, shrinks, torch.zeros_like(d)))


@dataclass(frozen=True, slots=True)
class Triplet:
    """The contribution of a third spike: the full triplet rule of Pfister & Gerstner (2006).

    A postsynaptic spike then changes a weight by x (a_plus + triplet.a_plus y'), a presynaptic one
    by -y (a_minus + triplet.a_minus x'). x' and y' are slow traces of the presynaptic and the
    postsynaptic spikes, with time constants tau_pre and tau_post in steps.

        triplet = dvskit.learning.Triplet(a_plus=0.006, a_minus=0.0, tau_pre=100.0, tau_post=125.0)
        rule = dvskit.learning.STDP(triplet=triplet)
        pre, post = torch.ones(20, 1, 3), torch.ones(20, 1, 2)
        weight, state = rule.run(pre, post, torch.full((2, 3), 0.5))  # (2, 3)
    """

    a_plus: float = checked(check_number, default=0.01)
    a_minus: float = checked(check_number, default=0.0)
    tau_pre: float = checked(check_number, above=0, most=math.inf, default=100.0)
    tau_post: float = checked(check_number, above=0, most=math.inf, default=125.0)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class STDPState:
    """Decayed sums of earlier spikes on each side; slow ones for a triplet rule only.

    `pre` has the shape of a step of presynaptic spikes, `post` that of postsynaptic ones.

        rule = dvskit.learning.STDP()
        pre, post, weight = torch.zeros(4, 20), torch.zeros(4, 10), torch.full((10, 20), 0.5)
        state = rule.start(pre, post, weight)
        change, state = rule.step(state, pre + 1, post, weight)  # (10, 20), 0 without partners
        state.pre.shape, state.post.shape  # (4, 20), (4, 10)
    """

    pre: Tensor
    post: Tensor
    slow_pre: Tensor | None = None
    slow_post: Tensor | None = None

    @property
    def traces(self) -> tuple[Tensor, ...]:
        """The sums that there are, in the order of the fields."""
        slow = (self.slow_pre, self.slow_post)
        return (self.pre, self.post, *(trace for trace in slow if trace is not None))


@dataclass(frozen=True, slots=True)
class STDP:
    """Spike-timing-dependent plasticity of one connection. Frozen; traces are passed in and out.

        rule = dvskit.learning.STDP(dvskit.learning.Window(a_plus=0.01))
        neurons, weight = dvskit.neurons.LIF(), torch.rand(10, 20)
        pre = (torch.rand(100, 1, 20) < 0.05).float()  # 100 steps, a batch of 1
        membranes, state = None, rule.start(pre[0], torch.zeros(1, 10), weight)
        for x in pre:
            post, membranes = neurons.step(x @ weight.T, membranes)  # (1, 10)
            change, state = rule.step(state, x, post, weight)
            weight += change

    With x and y the traces of earlier spikes, which `window` describes, dw = sum of a_plus x post -
    a_minus y pre over batch and synapses; then x and y take in the spikes of this step.
    `pairing="all"` thus counts W(d) for every pair of spikes except those of the same step;
    "nearest" pairs each spike with the last spike before it on the other side (a trace restarts at
    each spike).

    Weights stay within [w_min, w_max]. softness = 0 is the additive rule: full changes, clipped at
    the bounds. Otherwise growth is multiplied by (w_max - w)^softness and shrinking by (w -
    w_min)^softness: 1 is the multiplicative rule (Gütig et al. 2003).

    `offset` subtracts a_plus offset from every weight of a neuron that spikes, so synapses without
    recent spikes shrink (Diehl & Cook 2015: x_tar). `triplet` adds the triplet rule.
    """

    window: Window = Window()
    connection: Connection = _DENSE
    pairing: Pairing = checked(check_choice, get_args(Pairing), default="all")
    w_min: float = checked(check_number, -math.inf, math.inf, default=0.0)
    w_max: float = checked(check_number, -math.inf, math.inf, default=1.0)
    softness: float = checked(check_number, 0, default=0.0)
    offset: float = checked(check_number, default=0.0)
    triplet: Triplet | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.w_min < self.w_max:
            raise ConfigError(f"STDP: w_min = {self.w_min} is not below w_max = {self.w_max}")
        if self.softness and not (math.isfinite(self.w_min) and math.isfinite(self.w_max)):
            raise ConfigError(
                "STDP: soft bounds must be finite; set w_min and w_max, or softness=0"
            )

    def start(self, pre: Tensor, post: Tensor, weight: Tensor) -> STDPState:
        """Return the state before any spike, in the dtype and on the device of `weight`."""
        x, y = (weight.new_zeros(side.shape, requires_grad=False) for side in (pre, post))
        return STDPState(x, y) if self.triplet is None else STDPState(x, y, x, y)

    def step(
        self, state: STDPState, pre: Tensor, post: Tensor, weight: Tensor
    ) -> tuple[Tensor, STDPState]:
        """Return the change of `weight` by the spikes of one time step, and the new state.

        `pre` and `post` are the spikes (0 or 1, any dtype) as the connection takes them: (B, N) and
        (B, M) for Dense, (B, C, H, W) and (B, M, H', W') for Convolution. The change has the shape
        and dtype of `weight`, which is not modified; it is summed over the batch (divide the
        window's a by B for the mean). weight + change is within the bounds, up to rounding. Runs
        outside of autograd. A NaN spike makes weights NaN.
        """
        with torch.no_grad():
            self._check(state, pre, post, weight)
            pre, post, w = pre.to(weight.dtype), post.to(weight.dtype), weight.detach()
            state = self._decayed(state)
            grown, shrunk = self._sums(state, pre, post, w)
            if self.softness:
                # The offset can make `grown` negative: shrinking respects the lower bound.
                up, down = self.w_max - w, w - self.w_min
                up, down = (room.clamp(min=0) ** self.softness for room in (up, down))
                change = grown * torch.where(grown > 0, up, down)
                change = change + shrunk * torch.where(shrunk > 0, up, down)
            else:
                change = grown + shrunk
            change = (w + change).clamp(self.w_min, self.w_max) - w
            return change, self._taken_in(state, pre, post)

    def run(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: STDPState | None = None
    ) -> tuple[Tensor, STDPState]:
        """Return the weight after the spikes `pre` (T, B, ...), `post` (T, B, ...), and the state.

        Each step changes the weight that the next one sees. `weight` itself is not modified.
        Running in chunks, each from the state of the one before, gives the weights of the whole,
        bit for bit.
        """
        if pre.ndim < 2 or post.ndim < 2 or len(pre) != len(post):
            raise ShapeError(
                f"STDP: pre {tuple(pre.shape)} and post {tuple(post.shape)} must be spikes of the "
                "same T steps, time first"
            )
        if state is None:
            state = self.start(pre.new_empty(pre.shape[1:]), post.new_empty(post.shape[1:]), weight)
        weight = weight.detach().clone()
        for before, after in zip(pre, post, strict=True):
            change, state = self.step(state, before, after, weight)
            weight += change
        return weight, state

    def _sums(
        self, state: STDPState, pre: Tensor, post: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the changes by the postsynaptic spikes, and those by the presynaptic ones."""
        x, y, rule = state.pre, state.post, self.triplet
        grow, shrink = self.window.a_plus * post, -self.window.a_minus * pre
        if rule is not None and state.slow_pre is not None and state.slow_post is not None:
            grow = grow + rule.a_plus * post * state.slow_post
            shrink = shrink - rule.a_minus * pre * state.slow_pre
        grown = self.connection.correlate(x, grow, weight.shape)
        if self.offset:
            floor = torch.full_like(x, self.offset)
            grown = grown - self.connection.correlate(
                floor, self.window.a_plus * post, weight.shape
            )
        return grown, self.connection.correlate(shrink, y, weight.shape)

    def _decayed(self, state: STDPState) -> STDPState:
        fast, slow = self.window, self.triplet
        taus = [fast.tau_plus, fast.tau_minus]
        taus += [] if slow is None else [slow.tau_pre, slow.tau_post]
        pairs = zip(state.traces, taus, strict=True)
        return STDPState(*(trace * math.exp(-1 / tau) for trace, tau in pairs))

    def _taken_in(self, state: STDPState, pre: Tensor, post: Tensor) -> STDPState:
        pairs = zip(state.traces, (pre, post, pre, post), strict=False)
        if self.pairing == "nearest":
            return STDPState(*(torch.where(new != 0, new, trace) for trace, new in pairs))
        return STDPState(*(trace + new for trace, new in pairs))

    def _check(self, state: STDPState, pre: Tensor, post: Tensor, weight: Tensor) -> None:
        if not weight.is_floating_point():
            raise ShapeError(f"STDP: the weight is {weight.dtype}; it must be floating-point")
        sides = (("pre", state.pre, pre), ("post", state.post, post))
        for name, trace, spikes in sides:
            if trace.shape != spikes.shape or trace.dtype != weight.dtype:
                raise ShapeError(
                    f"STDP: the state's {name} is {trace.dtype} of shape {tuple(trace.shape)}, the "
                    f"spikes have shape {tuple(spikes.shape)} and the weight is {weight.dtype}; "
                    "start with start(pre, post, weight)"
                )
        if (self.triplet is None) != (state.slow_pre is None):
            raise ShapeError("STDP: the state is from a rule with another `triplet`; use start()")
