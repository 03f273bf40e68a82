"""SpikeProp: backpropagation through exact times of spikes (Bohte, Kok & La Poutré 2002).

Potentials are sums of alpha kernels. Between two arrivals a potential is (p + q x) exp(-x / tau),
with x the time since the last arrival. Such a piece has one peak at most, and the peak alone
decides whether it reaches the threshold. Newton's method then finds the crossing from below, and
cannot pass it. There is no time step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit.encoders.values import generator_from
from dvskit.errors import ConfigError, ShapeError

_NEWTON_STEPS = 60  # 5 to 10 suffice, about 30 where a potential barely touches the threshold


@dataclass(frozen=True, slots=True)
class Synapses:
    """The synapses between two layers: one per delay for each pair of neurons.

    A spike through a delay d adds weight * alpha(t - t_spike - d) to the potential, with alpha(s) =
    (s / tau) exp(1 - s / tau) for s > 0, which peaks at 1 for s = tau. The neuron spikes once, when
    its potential first reaches `threshold`. Times, delays and `tau` share one unit.

    The derivative of a spike time is divided by the slope of the potential at the crossing. It
    grows without bound where the potential barely touches the threshold. A `least_slope` above 0
    replaces every smaller slope in gradients; 0 is the exact derivative.

        synapses = dvskit.learning.Synapses(delays=(1.0, 5.0), tau=7.0)
        synapses.alpha(torch.tensor([0.0, 7.0, 14.0]))  # [0, 1, 0.74]
    """

    delays: tuple[float, ...] = tuple(float(delay) for delay in range(1, 17))
    tau: float = checked(check_number, above=0, default=7.0)
    threshold: float = checked(check_number, above=0, default=1.0)
    least_slope: float = checked(check_number, 0, default=0.0)

    def __post_init__(self) -> None:
        if not self.delays or not all(math.isfinite(d) and d >= 0 for d in self.delays):
            raise ConfigError(f"Synapses: delays = {self.delays} must be finite and at least 0")
        check_fields(self)

    def alpha(self, s: Tensor) -> Tensor:
        """Return the response at time `s` after the arrival of a spike; 0 before. Any shape."""
        x = s.clamp(min=0) / self.tau
        return x * torch.exp(1 - x)

    def alpha_slope(self, s: Tensor) -> Tensor:
        """Return the derivative of `alpha` at `s`; 0 at s = 0, where it jumps."""
        x = s.clamp(min=0) / self.tau
        return torch.where(s > 0, (1 - x) * torch.exp(1 - x) / self.tau, torch.zeros_like(x))

    def since_arrival(self, times: Tensor, spikes: Tensor) -> Tensor:
        """Return the times from arrivals to spikes (B, M): (B, M, N, delays); -inf for none."""
        delays = times.new_tensor(self.delays)
        spikes = spikes.masked_fill(spikes == math.inf, -math.inf)  # inf - inf would be NaN
        return spikes[:, :, None, None] - (times[:, None, :, None] + delays)


def first_spikes(times: Tensor, weight: Tensor, synapses: Synapses) -> Tensor:
    """Return the first spike times of neurons for input spikes at `times`; inf for no spike.

    `times` (B, N) are input spikes, one per neuron, inf for none; `weight` (M, N, L) has one number
    for each pair of neurons and delay. Returns (B, M) of the same dtype, float32 or float64.

    Times and gradients are exact up to rounding (Bohte, Kok & La Poutré 2002): with u' the slope of
    the potential at the spike t, dt/dweight = -alpha / u', and dt/dtime is (sum of weight alpha') /
    u'. A neuron that does not spike passes no gradient: raise its weights (`SpikeProp.wake`).
    Memory grows with B M N L. Raises ConfigError for times that are NaN or -inf.

        synapses = dvskit.learning.Synapses(delays=(1.0, 2.0), tau=7.0)
        weight = torch.full((1, 3, 2), 0.4, requires_grad=True)  # 1 neuron, 3 inputs, 2 delays
        times = torch.tensor([[0.0, 1.0, torch.inf]])
        spikes = dvskit.learning.first_spikes(times, weight, synapses)
        spikes.sum().backward()  # weight.grad (1, 3, 2) is 0 for the silent input
    """
    fits = times.ndim == 2 and weight.ndim == 3 and times.shape[1] == weight.shape[1]
    if not fits or weight.shape[2] != len(synapses.delays):
        raise ShapeError(
            f"first_spikes: times {tuple(times.shape)} and weight {tuple(weight.shape)} do not fit "
            f"{len(synapses.delays)} delays; they are (B, N) and (M, N, {len(synapses.delays)})"
        )
    if times.dtype != weight.dtype or times.dtype not in (torch.float32, torch.float64):
        raise ShapeError(
            f"first_spikes: times are {times.dtype}, the weight is {weight.dtype}; both must be "
            "float32 or float64"
        )
    if not bool((times > -math.inf).all()):
        raise ConfigError("first_spikes: a time is NaN or -inf; use inf for no spike")
    return cast(
        Tensor,
        _FirstSpikes.apply(times, weight, synapses),  # type: ignore[no-untyped-call]
    )


class _FirstSpikes(Function):
    @staticmethod
    def forward(ctx: Any, times: Tensor, weight: Tensor, synapses: Synapses) -> Tensor:
        spikes = _find(times, weight, synapses)
        ctx.save_for_backward(times, weight, spikes)
        ctx.synapses = synapses
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        times, weight, spikes = ctx.saved_tensors
        synapses: Synapses = ctx.synapses
        since = synapses.since_arrival(times, spikes)  # (B, M, N, L)
        pull = (weight * synapses.alpha_slope(since)).sum(3)  # (B, M, N)
        delta = -divided_by_slope(gradients[0], pull.sum(2), synapses)
        at_times = -torch.einsum("bm,bmn->bn", delta, pull)
        at_weight = torch.einsum("bm,bmnl->mnl", delta, synapses.alpha(since))
        return at_times, at_weight, None


def divided_by_slope(value: Tensor, slope: Tensor, synapses: Synapses) -> Tensor:
    """Return value / slope; 0 for neurons that do not spike, which have slope 0."""
    # Rounding may make the slope of a potential that barely touches the threshold negative.
    rounding = torch.finfo(slope.dtype).eps * synapses.threshold / synapses.tau
    least = max(synapses.least_slope, rounding)
    slope_or_1 = torch.where(slope == 0, 1, slope.clamp(min=least))
    return torch.where(slope == 0, 0, value / slope_or_1)


def _find(times: Tensor, weight: Tensor, synapses: Synapses) -> Tensor:
    """Return the first times (B, M) at which potentials reach the threshold; inf for never."""
    arrivals, p, q = _pieces(times, weight, synapses)
    if p.shape[1] == 0:
        return times.new_full((len(times), len(weight)), math.inf)
    tau, threshold = synapses.tau, synapses.threshold
    after = torch.cat((arrivals[:, 1:], torch.full_like(arrivals[:, :1], math.inf)), 1)
    length = (after - arrivals)[:, :, None]  # of each piece, (B, K, 1)
    rising = q > 0
    # (p + q x) exp(-x / tau) peaks at x = tau - p / q. With q <= 0 it is highest at its start
    # or stays below 0.
    peak = torch.where(rising, tau - p / torch.where(rising, q, 1), 0)
    peak = torch.minimum(peak.clamp(min=0), length)
    reached = (p + q * peak) * torch.exp(-peak / tau) >= threshold
    piece = reached.to(torch.uint8).argmax(1, keepdim=True)  # the first
    p, q, peak = (each.gather(1, piece)[:, 0] for each in (p, q, peak))
    spikes = arrivals.gather(1, piece[:, 0]) + _crossing(p, q, peak, synapses)
    return torch.where(reached.any(1), spikes, math.inf)


def _pieces(times: Tensor, weight: Tensor, synapses: Synapses) -> tuple[Tensor, Tensor, Tensor]:
    """Return the arrivals in order (B, K), and p and q (B, K, M) of the piece after each.

    The contribution of one arrival decays like (p, q) -> ((p + q gap), q) exp(-gap / tau) to a
    later one. The sums over all earlier arrivals double their reach in each of log2(K) passes.
    """
    delays = times.new_tensor(synapses.delays)
    arrivals, order = (times[:, :, None] + delays).flatten(1).sort(1)
    q = weight.flatten(1).T[order] * (math.e / synapses.tau)  # (K, M) -> (B, K, M)
    missing = arrivals == math.inf
    q = q.masked_fill(missing[:, :, None], 0)
    # An arrival that never comes is put at the last one: it adds nothing there.
    last = (
        arrivals.masked_fill(missing, -math.inf).amax(1, keepdim=True) if q.shape[1] else arrivals
    )
    arrivals = torch.where(missing, torch.where(last == -math.inf, 0, last), arrivals)
    p, reach = torch.zeros_like(q), 1
    while reach < q.shape[1]:
        gap = (arrivals[:, reach:] - arrivals[:, :-reach])[:, :, None]
        decay = torch.exp(-gap / synapses.tau)
        earlier_p, earlier_q = p[:, :-reach], q[:, :-reach]
        p = torch.cat((p[:, :reach], p[:, reach:] + (earlier_p + earlier_q * gap) * decay), 1)
        q = torch.cat((q[:, :reach], q[:, reach:] + earlier_q * decay), 1)
        reach *= 2
    return arrivals, p, q


def _crossing(p: Tensor, q: Tensor, peak: Tensor, synapses: Synapses) -> Tensor:
    """Return the x in [0, peak] where (p + q x) exp(-x / tau) reaches the threshold.

    This is the root of p + q x - threshold exp(x / tau), which is concave: Newton's method from the
    left stays on the left and rises to the root.
    """
    x = torch.zeros_like(p)
    for _ in range(_NEWTON_STEPS):
        held = synapses.threshold * torch.exp(x / synapses.tau)
        below, slope = held - (p + q * x), q - held / synapses.tau
        ahead = (below > 0) & (slope > 0)
        x_next = torch.where(ahead, x + below / torch.where(ahead, slope, 1), x)
        x_next = torch.minimum(x_next, peak)
        if bool((x_next == x).all()):
            break
        x = x_next
    return x


def time_error(actual: Tensor, desired: Tensor, *, silent_at: float) -> Tensor:
    """Return E = 1/2 sum (t_actual - t_desired)^2 over neurons and batch; both are (B, M).

    A neuron that did not spike (inf) counts as a spike at `silent_at`; that part has no gradient.

        actual = torch.tensor([[10.0, torch.inf]])
        dvskit.learning.time_error(actual, torch.tensor([[12.0, 38.0]]), silent_at=40.0)  # 4
    """
    if actual.shape != desired.shape:
        raise ShapeError(
            f"time_error: actual times {tuple(actual.shape)} and desired {tuple(desired.shape)} "
            "must have the same shape"
        )
    counted = torch.where(actual == math.inf, silent_at, actual)
    return 0.5 * ((counted - desired) ** 2).sum()


def spikeprop_gradients(
    times: Tensor, weights: Sequence[Tensor], desired: Tensor, synapses: Synapses
) -> list[Tensor]:
    """Return dE/dweight of each layer in the written form of the rule, for E of `time_error`.

    For an output neuron j, delta_j = (t_desired - t_actual) / u_j'; for a hidden neuron i, delta_i
    = sum over j of delta_j (sum over delays of w_ij alpha'(t_j - t_i - d)) / u_i'. u' is the slope
    of the neuron's potential at its spike, sum of w alpha'. Then dE/dw_ij = delta_j alpha(t_j - t_i
    - d), summed over the batch, and the step is minus a learning rate times it. Neurons that do not
    spike have delta 0. (Slopes are those of the response with respect to the later spike, t_j; with
    respect to the earlier one they have the opposite sign.)

    `times` (B, N) are the input spikes, `weights` the layers' (M, N, L), `desired` (B, M) the times
    of the last layer. Autograd through `first_spikes` gives the same result.

        synapses = dvskit.learning.Synapses(delays=(1.0, 2.0), tau=7.0)
        weights = [torch.full((4, 3, 2), 0.4), torch.full((1, 4, 2), 0.4)]
        times, desired = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[9.0]])
        gradients = dvskit.learning.spikeprop_gradients(times, weights, desired, synapses)
        [gradient.shape for gradient in gradients]  # [(4, 3, 2), (1, 4, 2)]
    """
    spikes = [times]
    for weight in weights:
        spikes.append(first_spikes(spikes[-1], weight, synapses).detach())
    gradients: list[Tensor] = []
    error_in = torch.where(spikes[-1] == math.inf, 0, desired - spikes[-1])
    for weight, before, after in zip(
        reversed(weights), reversed(spikes[:-1]), reversed(spikes[1:]), strict=True
    ):
        since = synapses.since_arrival(before, after)  # (B, M, N, L)
        pull = (weight.detach() * synapses.alpha_slope(since)).sum(3)
        delta = divided_by_slope(error_in, pull.sum(2), synapses)
        gradients.append((delta[:, :, None, None] * synapses.alpha(since)).sum(0))
        error_in = (delta[:, :, None] * pull).sum(1)
    return gradients[::-1]


class SpikePropLayer(nn.Module):
    """A layer of neurons that spike once: input times (B, inputs) in, spike times (B, outputs) out.

    `weight` (outputs, inputs, delays) is drawn uniformly from [0, 2 m) such that simultaneous
    inputs drive an average neuron to `drive` times its threshold. `generator` is a torch.Generator
    or a seed; the default is torch's generator.

        layer = dvskit.learning.SpikePropLayer(3, 5, dvskit.learning.Synapses(tau=7.0), generator=1)
        times = layer(torch.tensor([[0.0, 2.0, 6.0]]))  # (1, 5), in the unit of tau
        layer.weight.shape  # (5, 3, 16)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        synapses: Synapses,
        *,
        generator: torch.Generator | int | None = None,
        drive: float = 2.0,
    ) -> None:
        super().__init__()
        check_whole("inputs", inputs, 1, owner="SpikePropLayer")
        check_whole("outputs", outputs, 1, owner="SpikePropLayer")
        check_number("drive", drive, above=0, owner="SpikePropLayer")
        self.synapses = synapses
        drawn_by = generator_from(generator, "SpikePropLayer")
        drawn = torch.rand(outputs, inputs, len(synapses.delays), generator=drawn_by)
        mean = drive * synapses.threshold / (inputs * _highest(synapses))
        self.weight = nn.Parameter(2 * mean * drawn)

    def forward(self, times: Tensor) -> Tensor:
        """Return the spike times (B, outputs) for input times (B, inputs); inf for no spike."""
        return first_spikes(times, self.weight, self.synapses)

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        outputs, inputs, _ = self.weight.shape
        return f"{inputs}, {outputs}, {self.synapses}"


class SpikeProp(nn.Module):
    """Layers of neurons that spike once each, trained by the times of their spikes.

        synapses = dvskit.learning.Synapses(tau=7.0)
        network = dvskit.learning.SpikeProp([3, 5, 1], synapses, generator=1)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        inputs, desired = torch.tensor([[0.0, 2.0, 6.0]]), torch.tensor([[12.0]])
        for step in range(10):
            times = network.run(inputs)  # [(1, 5), (1, 1)]
            optimizer.zero_grad()
            dvskit.learning.time_error(times[-1], desired, silent_at=40.0).backward()
            optimizer.step()
            network.wake(times, by=0.01)

    `sizes` counts the neurons of each layer, inputs first. All layers share one `Synapses`. The
    gradient is exact: see `first_spikes`. A neuron that never spikes has no gradient and would not
    learn again; `wake` raises its weights.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        synapses: Synapses,
        *,
        generator: torch.Generator | int | None = None,
        drive: float = 2.0,
    ) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ConfigError(f"SpikeProp: sizes = {list(sizes)} must name inputs and outputs")
        drawn_by = generator_from(generator, "SpikeProp")
        self.layers = nn.ModuleList(
            SpikePropLayer(inputs, outputs, synapses, generator=drawn_by, drive=drive)
            for inputs, outputs in pairwise(sizes)
        )

    def forward(self, times: Tensor) -> Tensor:
        """Return the spike times (B, M) of the last layer for input times (B, N)."""
        return self.run(times)[-1]

    def run(self, times: Tensor) -> list[Tensor]:
        """Return the spike times (B, neurons) of each layer in turn, without the inputs."""
        spikes = []
        for layer in self.layers:
            times = layer(times)
            spikes.append(times)
        return spikes

    def wake(self, times: Sequence[Tensor], by: float) -> int:
        """Add `by` to the weights of the neurons silent in `times`, from `run`; count them.

        A neuron of the last layer is silent if it missed any input of the batch; a hidden one, if
        all.
        """
        woken = 0
        for layer, spikes in zip(self.layers, times, strict=True):
            missed = spikes.detach() == math.inf
            silent = missed.any(0) if layer is self.layers[-1] else missed.all(0)
            with torch.no_grad():
                cast(Tensor, layer.weight)[silent] += by
            woken += int(silent.sum())
        return woken


def _highest(synapses: Synapses) -> float:
    """Return the highest potential for one input with weight 1 through every delay."""
    until = max(synapses.delays) + 2 * synapses.tau
    t = torch.linspace(0, until, 1000, dtype=torch.float64)[:, None]
    return float(synapses.alpha(t - t.new_tensor(synapses.delays)).sum(1).max())
