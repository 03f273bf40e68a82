"""Networks as graphs of the neuromorphic intermediate representation (NIR), for other libraries.

    write_nir(network, "net.nir", leave_out=["mean"])
    graph = to_nir(layers, (2, 34, 34))

NIR describes neurons in continuous time (Pedersen et al. 2024). A time step here is an Euler step
of dt_s seconds there, as snntorch and norse read it:

    tau dv/dt = v_leak - v + r i     beta = 1 - dt / tau     gain = r dt / tau     rest = v_leak
    tau_syn di/dt = -i + w_in x      alpha = 1 - dt / tau_syn, and w_in dt / tau_syn = 1
    dv/dt = r i   (IF)               beta = 1, gain = r, without dt, as the peers read it

and not beta = exp(-dt / tau), as sinabs reads it. Only dt / tau counts: both sides must use the
same dt_s. snntorch uses 1e-4, the default here, and then has the same spikes, bit for bit if the
weighted sums before its neurons are. But it reads IF as a leaky neuron, and its Flatten flattens
the batch too, so it runs one sample at a time. norse takes dt=dt_s but ignores r; it has the same
spikes for LIF with gain = 1 - beta.

Resets. From version 1.0.6 on, a spike sets NIR's neurons to v_reset: reset="hard" with v_reset =
rest. Before, the threshold was subtracted: reset="soft". Resets without a counterpart in the
installed version are written to the node's metadata, which `from_nir` reads and others ignore;
LeftOutWarning reports them. NIR's neurons spike at v > v_threshold, ours also at v = threshold.

Surrogates, detach_reset, and the set of learned values belong to training and are not written.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from itertools import pairwise
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit._files import whole_file
from dvskit.errors import ConfigError, LeftOutWarning, check_positive, warn
from dvskit.layers import AvgPool2d, Conv2d, Flatten, Linear, Readout, Sequence, SumPool2d
from dvskit.networks.exchange import (
    Shape,
    input_shape,
    layers_in_a_row,
    optional_package,
    plain_evaluation,
    silence,
)
from dvskit.neurons import ALIF, LI, BurstLIF, CustomNeurons, Neurons, RecurrentLIF
from dvskit.neurons.dynamics import Dynamics

DT_S = 1e-4
"""The time step that snntorch assumes, in seconds."""


@check_arguments
def to_nir(
    module: Sequence,
    shape: Shape | None = None,
    *,
    dt_s: float = DT_S,
    leave_out: Collection[str] = (),
) -> Any:
    """Return a network as a nir.NIRGraph, its layers as nodes in a row between input and output.

    shape      of one time step of one sample: (channels, rows, columns) or (numbers,); None if
               the network knows it
    dt_s       seconds per time step in the graph
    leave_out  names of layers that are not written, such as a readout, which NIR lacks

    Nodes have the names of the layers. Convolutions, Linear, AvgPool2d, SumPool2d, Flatten, IF,
    LIF, PLIF (with its current time constants), SynapticLIF and LI can be written; Dropout is left
    out. Values have the dtype of the weights. Raises ConfigError for other layers and neurons,
    naming the layer and a fix, and without the package nir.

        neurons = dvskit.neurons.LIF(reset="hard")
        module = dvskit.layers.Sequence(dvskit.layers.Linear(100, 10), neurons)
        graph = dvskit.networks.to_nir(module, (100,), dt_s=1e-3)
        list(graph.nodes)  # ["input", "0", "1", "output"]
    """
    nir = optional_package("nir", "to_nir")
    shape = input_shape(module, shape, "to_nir")
    check_positive("to_nir", dt_s=dt_s)
    x = silence(module, 1, 1, *shape)
    writer = _Writer(nir, dt_s, x.dtype)
    nodes: dict[str, Any] = {"input": nir.Input(input_type={"input": np.array(shape)})}
    with plain_evaluation(module), torch.no_grad():
        for name, layer in layers_in_a_row(module, leave_out, "to_nir"):
            before = x.shape[2:]
            x = layer(x) if not isinstance(layer, Readout) else x
            name = name.replace(".", "_")
            name += "_" * (name in nodes or name == "output")
            nodes[name] = writer.node(name, layer, tuple(before), tuple(x.shape[2:]))
    nodes["output"] = nir.Output(output_type={"output": np.array(x.shape[2:])})
    names = list(nodes)
    edges = list(pairwise(names))
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata={"dt_s": float(dt_s)})


@check_arguments
def write_nir(
    module: Sequence,
    path: str | PathLike[str],
    shape: Shape | None = None,
    *,
    dt_s: float = DT_S,
    leave_out: Collection[str] = (),
    overwrite: bool = False,
) -> None:
    """Write a network as a NIR file (HDF5), which nir.read and `from_nir` read; see `to_nir`.

    Raises the errors of `to_nir`; OutputError if the file exists and `overwrite` is false.

        neurons = dvskit.neurons.LIF(reset="hard")
        module = dvskit.layers.Sequence(dvskit.layers.Linear(100, 10), neurons)
        dvskit.networks.write_nir(module, "network.nir", (100,))
        again = dvskit.networks.from_nir("network.nir")
    """
    graph = to_nir(module, shape, dt_s=dt_s, leave_out=leave_out)
    with whole_file(path, overwrite=overwrite) as partial:
        optional_package("nir", "write_nir").write(partial, graph)


class _Writer:
    """Makes nodes of layers, in time steps of dt seconds and arrays of one dtype."""

    def __init__(self, nir: Any, dt: float, dtype: torch.dtype) -> None:
        self._nir, self._dt = nir, dt
        self._dtype = np.dtype(np.float64 if dtype == torch.float64 else np.float32)

    def node(self, name: str, layer: nn.Module, before: Shape, behind: Shape) -> Any:
        """Return the node of a layer between two shapes. Raises ConfigError if NIR has none."""
        if isinstance(layer, Conv2d):
            return self._convolution(name, layer, before)
        if isinstance(layer, Linear):
            weight = self._array(layer.weight)
            if layer.bias is None:
                return self._nir.Linear(weight=weight)
            return self._nir.Affine(weight=weight, bias=self._array(layer.bias))
        if isinstance(layer, AvgPool2d | SumPool2d) and type(layer) in (AvgPool2d, SumPool2d):
            pool = getattr(self._nir, type(layer).__name__)(
                kernel_size=np.array([layer.kernel_size] * 2),
                stride=np.array([layer.stride] * 2),
                padding=np.array([0, 0]),
            )
            pool.input_type = {"input": np.array(before)}
            pool.output_type = {"output": np.array(behind)}
            return pool
        if isinstance(layer, Flatten):
            kind = {"input": np.array(before)}
            return self._nir.Flatten(input_type=kind, start_dim=0, end_dim=-1)
        if isinstance(layer, Neurons):
            return self._neurons(name, layer, behind)
        raise ConfigError(f"to_nir: layer {name} is {_said(layer)}")

    def _convolution(self, name: str, layer: Conv2d, before: Shape) -> Any:
        if layer.padding_mode != "zeros":
            raise ConfigError(
                f"to_nir: layer {name}, Conv2d, pads by {layer.padding_mode!r}; NIR has 'zeros'"
            )
        bias = layer.bias
        zeros = np.zeros(layer.out_channels, self._dtype)
        return self._nir.Conv2d(
            input_shape=before[1:],
            weight=self._array(layer.weight),
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=zeros if bias is None else self._array(bias),
        )

    def _neurons(self, name: str, layer: Neurons, shape: Shape) -> Any:
        if isinstance(layer, ALIF | BurstLIF | CustomNeurons | RecurrentLIF):
            raise ConfigError(f"to_nir: layer {name} is {_said(layer)}")
        dynamics = layer.dynamics
        _check_neurons(name, dynamics)
        beta, gain = (self._full(value, shape) for value in (dynamics.beta, dynamics.gain))
        rest = self._full(dynamics.rest or 0.0, shape)
        gain = np.ones(shape) if dynamics.gain is None else gain
        if (beta == 1).all() and not rest.any() and dynamics.alpha is None and dynamics.spikes:
            return self._spiking(name, "IF", dynamics, {"r": gain.astype(self._dtype)}, shape)
        tau = self._tau(name, "beta", beta)
        values = {
            "r": (gain * tau / self._dt).astype(self._dtype),
            "v_leak": rest.astype(self._dtype),
        }
        if isinstance(layer, LI):
            return self._nir.LI(tau=tau, **values)
        if dynamics.alpha is None:
            return self._spiking(name, "LIF", dynamics, values | {"tau": tau}, shape)
        tau_syn = self._tau(name, "alpha", self._full(dynamics.alpha, shape))
        values |= {"tau_mem": tau, "tau_syn": tau_syn, "w_in": tau_syn / self._dtype.type(self._dt)}
        return self._spiking(name, "CubaLIF", dynamics, values, shape)

    def _spiking(
        self, name: str, kind: str, dynamics: Dynamics, values: dict[str, Any], shape: Shape
    ) -> Any:
        node = getattr(self._nir, kind)
        threshold = self._full(dynamics.threshold, shape).astype(self._dtype)
        says_hard = "v_reset" in {field.name for field in fields(node)}
        if says_hard:
            rest = self._full(dynamics.rest or 0.0, shape)
            values = values | {"v_reset": rest.astype(self._dtype)}
        if (dynamics.reset == "hard") != says_hard:
            other = "hard" if says_hard else "soft"
            warn(
                f"to_nir: layer {name} has a {dynamics.reset} reset, which the installed version "
                f"of NIR lacks; from_nir restores it, other readers reset it as {other}; "
                f"build it with reset={other!r} to get the same spikes there",
                LeftOutWarning,
            )
        return node(v_threshold=threshold, metadata={"reset": dynamics.reset}, **values)

    def _tau(self, name: str, what: str, kept: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return tau near dt / (1 - kept) that gives `kept` back to readers, if one does."""
        kept = kept.astype(self._dtype)
        if (kept >= 1).any():
            raise ConfigError(
                f"to_nir: layer {name} has {what} = 1, an infinite time constant, which NIR has "
                f"for IF only; take IF, or {what} below 1"
            )
        tau = (self._dt / (1 - kept.astype(np.float64))).astype(self._dtype)
        best, found = tau, 1 - self._dt / tau == kept
        up, down = tau, tau
        for _ in range(4):
            up, down = np.nextafter(up, up + 1), np.nextafter(down, 0 * down)
            for near in (up, down):
                fits = 1 - self._dt / near == kept
                best, found = np.where(fits & ~found, near, best), found | fits
        return np.asarray(best)

    def _full(self, value: float | Tensor | None, shape: Shape) -> np.ndarray[Any, Any]:
        number = torch.as_tensor(0.0 if value is None else value, dtype=torch.float64).detach()
        return np.array(number.cpu().expand(shape).numpy())

    def _array(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        return tensor.detach().cpu().numpy().astype(self._dtype)  # a copy


def _check_neurons(name: str, dynamics: Dynamics) -> None:
    if dynamics.signed:
        raise ConfigError(
            f"to_nir: layer {name} also spikes downwards, which NIR lacks; train with LIF, with "
            "threshold_off = inf"
        )
    if dynamics.refractory:
        raise ConfigError(
            f"to_nir: layer {name} has a refractory time, which NIR lacks; take refractory=0"
        )
    if dynamics.reset in ("none", "delayed") and dynamics.spikes:
        raise ConfigError(
            f"to_nir: layer {name} has reset={dynamics.reset!r}, unlike NIR's neurons; take 'hard'"
        )


def _said(layer: nn.Module) -> str:
    """Return the kind of a layer that NIR lacks, and a fix."""
    kind = type(layer).__name__
    if isinstance(layer, Readout):
        return f"{kind}, a readout, which NIR lacks; pass leave_out=[its name] and read out there"
    if isinstance(layer, ALIF | BurstLIF | CustomNeurons | RecurrentLIF):
        return f"{kind}, which NIR lacks; take LIF"
    advice = {
        "Membrane": "leave it out, or write its neurons",
        "ResidualBlock": "take its layers in a row; only those can be written",
        "MaxPool2d": "take AvgPool2d or SumPool2d",
        "BatchNorm2d": "put its weights into the convolution in front of it",
        "ThresholdBatchNorm2d": "put its weights into the convolution in front of it",
    }.get(kind, "leave it out, or take a layer of dvskit.layers")
    return f"{kind}, which NIR lacks; {advice}"
