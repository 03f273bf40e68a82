"""Networks as layers of snntorch, and from them.

    peer = to_snntorch(layers)                # nn.Sequential of nn.Linear, snntorch.Leaky, ...
    snntorch.utils.reset(peer)                # after `import snntorch.utils`
    spikes = torch.stack([peer(x) for x in currents])

Same: snntorch.Leaky with reset_delay=False computes beta v + x and subtracts the threshold in the
step of the spike, as LIF does. With reset_delay=True, its default, it does so a step later, as
LIF(reset="delayed") does. Synaptic is SynapticLIF likewise, and its "zero" is the hard reset; with
reset_delay=True it also silences a Synaptic in the step after a spike, as refractory=1 does. Spikes
and membranes are the same, bit for bit; with a delayed "zero" only the spikes are.

Different:
- If a membrane is still above the threshold after its reset (h > 2 threshold, reset by
  subtraction), snntorch subtracts the threshold again before the next spike, and adds it back only
  if there is one: spikes of strong currents differ.
- Delayed resets run in plain torch, step by step: 2 to 9 times slower than the kernel.
- Its own surrogates spike at v > threshold, ours at v >= threshold. `to_snntorch` passes ours as
  spike_grad, with the same rule.
- Its reset is differentiated with reset_delay=False: gradients are those of detach_reset=False.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dvskit._checks import check_choice
from dvskit.errors import ConfigError
from dvskit.layers import AvgPool2d, Conv2d, Flatten, Linear, Membrane, Sequence
from dvskit.networks.network import (
    check_plain_neurons,
    layers_in_a_row,
    named_row,
    optional_package,
)
from dvskit.neurons import (
    LI,
    LIF,
    Neurons,
    SynapticLIF,
)
from dvskit.neurons.dynamics import spike

DelayedReset = Literal["exact", "immediate"]

_RESETS = {"soft": "subtract", "delayed": "subtract", "hard": "zero", "none": "none"}
_VALUES = {"threshold", "graded_spikes_factor", "reset_mechanism_val", "beta", "alpha"}
_NUMBERS = {0: "soft", 1: "hard", 2: "none"}  # the numbers of snntorch


def to_snntorch(module: Sequence, *, leave_out: Collection[str] = ()) -> nn.Sequential:
    """Return a network as an nn.Sequential of torch's and snntorch's layers, with the same names.

    It takes one time step (B, ...) per call, and its neurons keep their state (init_hidden=True)
    until snntorch.utils.reset. Weights are copies. Conv2d, Linear, AvgPool2d, Flatten, IF, LIF,
    PLIF without decay_input, and SynapticLIF have a counterpart. Dropout and the layers named in
    `leave_out`, such as a readout, are left out. Raises ConfigError for other layers and neurons,
    naming the layer and a fix, and without the package snntorch.

        module = dvskit.layers.Sequence(dvskit.layers.Linear(100, 10), dvskit.neurons.LIF())
        theirs = dvskit.networks.to_snntorch(module)
        spikes = theirs(torch.rand(8, 100))  # (8, 10), one time step
    """
    snntorch = optional_package("snntorch", "to_snntorch")
    layers = layers_in_a_row(module, leave_out)
    return nn.Sequential(
        OrderedDict(
            (name.replace(".", "_"), _their_layer(snntorch, name, layer)) for name, layer in layers
        )
    )


def snntorch_state(module: Sequence) -> dict[str, Tensor]:
    """Return the weights as the state dict of a network written as in snntorch's tutorials.

    Layers with weights are fc1, fc2, ... (conv1, ... for convolutions) and neurons lif1, lif2, ...,
    each kind numbered on its own: fc1.weight, fc1.bias, lif1.beta, lif1.threshold,
    lif1.reset_mechanism_val, lif1.graded_spikes_factor; and lif1.alpha for SynapticLIF. Neurons
    inside a Membrane are written like others; tensors are copies. Load it into neurons with
    reset_delay=False, or True for a delayed reset: a state dict does not contain the choice. Raises
    ConfigError as `to_snntorch` does, and for layers with weights but no name there.

        module = dvskit.layers.Sequence(dvskit.layers.Linear(100, 10), dvskit.neurons.LIF())
        state = dvskit.networks.snntorch_state(module)
        state["fc1.weight"].shape, state["lif1.beta"]  # (10, 100), 0.9
    """
    state: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for name, layer in layers_in_a_row(module, ()):
        layer = layer.neurons if isinstance(layer, Membrane) else layer
        values: Mapping[str, Tensor]
        if isinstance(layer, Conv2d | Linear):
            kind = "conv" if isinstance(layer, Conv2d) else "fc"
            values = layer.state_dict()
        elif isinstance(layer, Neurons):
            kind, values = "lif", _their_values(name, layer)
        elif not any(True for _ in layer.parameters()):
            continue
        else:
            raise ConfigError(
                f"snntorch_state: layer {name}, {type(layer).__name__}, has weights without a name "
                "in snntorch's tutorials; save module.state_dict() instead"
            )
        counts[kind] = counts.get(kind, 0) + 1
        for what, value in values.items():
            state[f"{kind}{counts[kind]}.{what}"] = value.detach().clone()
    return state


def from_snntorch(source: Any, *, delayed_reset: DelayedReset = "exact") -> Sequence:
    """Return the layers of a snntorch network, in the order in which they were made.

    source         an nn.Module with the parts nn.Linear, nn.Conv2d, nn.AvgPool2d, nn.Flatten,
                   snntorch.Leaky and Synaptic, run in the order of named_children(); or a state
                   dict of such a module with linear layers and neurons
    delayed_reset  for neurons that subtract the threshold a step later (reset_delay=True, the
                   default of snntorch): "exact", LIF(reset="delayed") with the same spikes, or
                   "immediate", LIF(reset="soft"), which the fused kernels run. Spikes then differ:
                   the membrane after a spike is threshold (1 - beta) higher. For those of a
                   Synaptic that reset to zero likewise: "exact" has refractory=1

    A state dict has no reset_delay, so its neurons count as delayed; neurons with an alpha are
    Synaptic. Learned values of a module stay learned. The surrogate is always ATan(2.0). Raises
    ConfigError for other layers.

        import snntorch

        theirs = torch.nn.Sequential(torch.nn.Linear(100, 10), snntorch.Leaky(beta=0.9))
        module = dvskit.networks.from_snntorch(theirs)
        spikes = module(torch.rand(20, 8, 100))  # (20, 8, 10)
    """
    choices = get_args(DelayedReset)
    check_choice("delayed_reset", delayed_reset, choices, owner="from_snntorch")
    if isinstance(source, nn.Module):
        layers = [(name, _our_layer(name, part, delayed_reset)) for name, part in _parts(source)]
    else:
        layers = _of_state(source, delayed_reset)
    return named_row([(name, layer) for name, layer in layers if layer is not None])


def _their_layer(snntorch: Any, name: str, layer: nn.Module) -> nn.Module:
    if isinstance(layer, Conv2d):
        return _convolution(nn.Conv2d, layer)
    if isinstance(layer, Linear):
        return _dense(nn.Linear, layer.weight, layer.bias)
    if type(layer) is AvgPool2d:
        return nn.AvgPool2d(layer.kernel_size, layer.stride)
    if isinstance(layer, Flatten):
        return nn.Flatten()
    if not isinstance(layer, Neurons):
        raise ConfigError(
            f"to_snntorch: layer {name}, {type(layer).__name__}, has no counterpart; pass "
            f"leave_out=[{name!r}] and replace it there"
        )
    values = _their_values(name, layer)
    dynamics = layer.dynamics
    given = {what: values[what] for what in ("alpha", "beta", "threshold") if what in values}
    kind = snntorch.Synaptic if "alpha" in given else snntorch.Leaky
    neurons: nn.Module = kind(
        **given,
        **{f"learn_{what}": isinstance(getattr(layer, what, None), nn.Parameter) for what in given},
        spike_grad=partial(spike, surrogate=dynamics.surrogate),
        reset_mechanism=_RESETS[dynamics.reset],
        reset_delay=dynamics.reset == "delayed",
        init_hidden=True,
    )
    return neurons


def _their_values(name: str, layer: Neurons) -> dict[str, Tensor]:
    """Return the values of a Leaky or Synaptic state dict. Raises ConfigError if neither fits."""
    dynamics = layer.dynamics
    others = {
        "is not of its kinds; take LIF": isinstance(layer, LI),
        "has a gain; multiply the weights in front of it instead": dynamics.gain is not None,
        "has a rest; subtract it from thresholds and biases instead": dynamics.rest is not None,
    }
    check_plain_neurons("to_snntorch", name, layer, others)
    same = "soft" if dynamics.reset == "delayed" else dynamics.reset
    number = next(key for key, reset in _NUMBERS.items() if reset == same)
    values = {
        "threshold": dynamics.threshold,
        "graded_spikes_factor": 1.0,
        "reset_mechanism_val": number,
        "beta": dynamics.beta,
        "alpha": dynamics.alpha,
    }
    return {
        what: torch.as_tensor(value).detach().clone()
        for what, value in values.items()
        if value is not None
    }


def _parts(module: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Return the computing parts of a module, in the order in which they were made."""
    found = []
    for name, part in module.named_children():
        # Neurons with a layer inside, such as RLeaky, are not a chain of their parts.
        own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
        if any(True for _ in part.children()) and not own:
            found += _parts(part, f"{prefix}{name}.")
        else:
            found.append((prefix + name, part))
    return found


def _our_layer(name: str, part: nn.Module, delayed: DelayedReset) -> nn.Module | None:
    kind = type(part).__name__
    if isinstance(part, nn.Dropout | nn.Identity):
        return None
    if isinstance(part, nn.Linear):
        return _dense(Linear, part.weight, part.bias)
    if isinstance(part, nn.Conv2d):
        return _convolution(Conv2d, part)
    if isinstance(part, nn.AvgPool2d) and not part.padding and isinstance(part.kernel_size, int):
        return AvgPool2d(part.kernel_size, int(part.stride))  # type: ignore[arg-type]
    if isinstance(part, nn.Flatten) and (part.start_dim, part.end_dim) == (1, -1):
        return Flatten()
    if kind in ("Leaky", "Synaptic"):
        values = {**dict(part.named_buffers()), **dict(part.named_parameters())}
        odd = [what for what in ("inhibition", "state_quant") if getattr(part, what, False)]
        if odd:
            raise ConfigError(f"from_snntorch: {name}, {kind}, has {odd[0]}, which LIF lacks")
        return _neurons(name, values, bool(part.reset_delay) and delayed == "exact")
    raise ConfigError(
        f"from_snntorch: {name}, {kind}, has no counterpart here; remove it, or build the "
        "network of dvskit.layers and load its weights"
    )


def _of_state(
    state: Mapping[str, Tensor], delayed: DelayedReset
) -> list[tuple[str, nn.Module | None]]:
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, _, what = key.rpartition(".")
        groups.setdefault(name, {})[what] = value
    layers: list[tuple[str, nn.Module | None]] = []
    for name, values in groups.items():
        alone = not any(other.startswith(f"{name}.") for other in groups)
        if "beta" in values and values.keys() <= _VALUES and alone:
            layers.append((name, _neurons(name, values, delayed == "exact")))
        elif "beta" not in values and "weight" in values and values["weight"].ndim == 2:
            layers.append((name, _dense(Linear, values["weight"], values.get("bias"))))
        else:
            raise ConfigError(
                f"from_snntorch: {name or 'the state dict'} has {', '.join(values)}, which is no "
                "linear layer, Leaky or Synaptic; pass the module, not its state dict, or build "
                "the network of dvskit.layers and load its weights"
            )
    return layers


def _convolution(kind: type[nn.Conv2d], of: nn.Conv2d) -> nn.Conv2d:
    layer = kind(
        of.in_channels, of.out_channels, of.kernel_size,  # type: ignore[arg-type]
        of.stride, of.padding, of.dilation, of.groups,  # type: ignore[arg-type]
        of.bias is not None, of.padding_mode, dtype=of.weight.dtype,
    )  # fmt: skip
    layer.load_state_dict(of.state_dict())
    return layer


def _dense(kind: type[nn.Linear], weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = kind(weight.shape[1], weight.shape[0], bias is not None, dtype=weight.dtype)
    values = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    layer.load_state_dict(values)
    return layer


def _neurons(name: str, values: Mapping[str, Tensor], delayed: bool) -> LIF | SynapticLIF:
    reset = _NUMBERS.get(int(values.get("reset_mechanism_val", torch.tensor(0))))
    factor = values.get("graded_spikes_factor", torch.tensor(1.0))
    if reset is None or not bool((factor == 1).all()) or isinstance(factor, nn.Parameter):
        raise ConfigError(
            f"from_snntorch: {name} has an unknown reset, or spikes of a learned size or another "
            "than 1; neurons here support neither"
        )
    if delayed and reset == "soft":
        reset = "delayed"
    threshold, beta = _value(values["threshold"]), _value(values["beta"], decay=True)
    given: dict[str, Any] = {"reset": reset}
    try:
        if "alpha" not in values:
            return LIF(beta, threshold, **given)
        alpha, silent = _value(values["alpha"], decay=True), delayed and reset == "hard"
        return SynapticLIF(beta, threshold, alpha=alpha, refractory=int(silent), **given)
    except ConfigError as error:
        raise ConfigError(f"from_snntorch: {name}: {error}") from None


def _value(value: Tensor, *, decay: bool = False) -> float | Tensor:
    """Return a value as neurons take it; a decay between 0 and 1, where snntorch clips it."""
    taken = value.detach().clamp(0, 1) if decay else value.detach().clone()
    if isinstance(value, nn.Parameter):
        return nn.Parameter(taken)
    return taken.item() if taken.numel() == 1 else taken
