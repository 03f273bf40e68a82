"""Networks from graphs of the neuromorphic intermediate representation (NIR).

    layers = from_nir("net.nir")                     # a Sequence, without a readout
    network = Sequence(layers, MeanMembrane())

`dvskit.networks.nir_writing` describes the discretisation of time and the resets. Values are
computed in the precision of the file, as snntorch does, so both have the same neurons.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, FormatError, MissingFileError, check_positive, one_line
from dvskit.layers import AvgPool2d, Conv2d, Flatten, Linear, Sequence, SumPool2d
from dvskit.networks.exchange import named_row, optional_package
from dvskit.networks.nir_writing import DT_S
from dvskit.neurons import IF, LI, LIF, SynapticLIF

Array = np.ndarray[Any, Any]
Layer = TypeVar("Layer", bound=nn.Module)


@check_arguments
def from_nir(
    source: Any,
    *,
    dt_s: float | None = None,
    reset: Literal["soft", "hard"] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Sequence:
    """Return the layers of a NIR file or nir.NIRGraph with its nodes in a row.

    source  a path, or the graph
    dt_s    seconds per time step; None: as written by `to_nir`, else 1e-4 as in snntorch
    reset   of all neurons; None: as written by `to_nir`, else that of the installed NIR: "hard"
            from version 1.0.6 on, "soft" before
    dtype   of the weights

    Supports Conv2d, Linear, Affine, AvgPool2d, SumPool2d, Flatten, IF, LIF, CubaLIF and LI. Values
    that are the same for all neurons of a node become a number, others a tensor. Raises
    ConfigError, naming the node, for anything else, and without the package nir; FormatError for a
    file that nir cannot read.

        neurons = dvskit.neurons.LIF(0.9, reset="hard")
        module = dvskit.layers.Sequence(dvskit.layers.Linear(100, 10), neurons)
        graph = dvskit.networks.to_nir(module, (100,))
        again = dvskit.networks.from_nir(graph)  # a Sequence of the same layers
        spikes = again(torch.rand(20, 8, 100))  # (20, 8, 10)
    """
    nir = optional_package("nir", "from_nir")
    graph = source if isinstance(source, nir.NIRGraph) else _read(nir, source)
    if dt_s is None:
        dt_s = float(np.asarray(graph.metadata.get("dt_s", DT_S)))
    check_positive("from_nir", dt_s=dt_s)
    if reset not in (None, "soft", "hard"):
        raise ConfigError(f"from_nir: reset = {reset!r} is unknown; choices: hard, soft")
    reader = _Reader(dt_s, reset, dtype)
    return named_row([(name, reader.layer(name, node)) for name, node in _row(nir, graph)])


def _read(nir: Any, path: str | PathLike[str]) -> Any:
    if not isinstance(path, str | PathLike):
        raise ConfigError(f"from_nir takes a path or a nir.NIRGraph, not {type(path).__name__}")
    if not Path(path).is_file():
        raise MissingFileError(path)
    try:
        graph = nir.read(path)
    except Exception as error:  # nir and h5py raise many kinds
        raise FormatError(f"{fspath(path)}: nir cannot read it: {one_line(error)}") from error
    if not isinstance(graph, nir.NIRGraph):
        raise FormatError(f"{fspath(path)} holds one {type(graph).__name__}, not a graph of nodes")
    return graph


def _row(nir: Any, graph: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the nodes of a graph from input to output, including those of nested graphs."""
    behind: dict[str, list[str]] = {name: [] for name in graph.nodes}
    before: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for first, second in set(graph.edges):
        behind[first].append(second)
        before[second].append(first)
    for name in graph.nodes:
        if len(behind[name]) > 1 or len(before[name]) > 1:
            raise ConfigError(
                f"from_nir: node {prefix}{name} has more than one input or output; only nodes in a "
                "row can be read: build the branches or loops as ResidualBlock or RecurrentLIF"
            )
    starts = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    if len(starts) != 1:
        raise ConfigError(f"from_nir: the graph has {len(starts)} inputs; it must have one")
    found: list[tuple[str, Any]] = []
    here, seen = starts[0], {starts[0]}
    while behind[here] and behind[here][0] not in seen:
        here = behind[here][0]
        seen.add(here)
        node = graph.nodes[here]
        if isinstance(node, nir.NIRGraph):
            found += _row(nir, node, f"{prefix}{here}.")
        elif not isinstance(node, nir.Output):
            found.append((prefix + here, node))
    left = [name for name in graph.nodes if name not in seen]
    if left or behind[here]:
        raise ConfigError(
            f"from_nir: nodes {', '.join(left or seen)} are not in a row from the input to the "
            "output; only nodes in a row can be read"
        )
    return found


class _Reader:
    """Makes layers of nodes, in time steps of dt seconds."""

    def __init__(self, dt: float, reset: str | None, dtype: torch.dtype) -> None:
        self._dt, self._reset, self._dtype = dt, reset, dtype

    def layer(self, name: str, node: Any) -> nn.Module:
        """Return the layer of a node. Raises ConfigError if there is none."""
        known: dict[str, Callable[[str, Any], nn.Module]] = {
            "Conv2d": self._convolution,
            "Linear": self._dense,
            "Affine": self._dense,
            "AvgPool2d": lambda name, node: _pool(AvgPool2d, name, node),
            "SumPool2d": lambda name, node: _pool(SumPool2d, name, node),
            "Flatten": _flatten,
            "IF": self._integrate_and_fire,
            "LIF": self._leaky,
            "CubaLIF": self._synaptic,
            "LI": self._integrator,
        }
        kind = type(node).__name__
        if kind not in known:
            raise ConfigError(
                f"from_nir: node {name} is {kind}, for which there is no layer; remove it from "
                f"the graph; supported nodes are {', '.join(known)}"
            )
        return known[kind](name, node)

    def _convolution(self, name: str, node: Any) -> nn.Module:
        weight = np.asarray(node.weight)
        padding = node.padding
        groups = int(node.groups)
        layer = Conv2d(
            weight.shape[1] * groups,
            weight.shape[0],
            tuple(weight.shape[2:]),
            _pair(node.stride),
            padding if isinstance(padding, str) else _pair(padding),
            _pair(node.dilation),
            groups,
        )
        return self._filled(layer, weight, node.bias)

    def _dense(self, name: str, node: Any) -> nn.Module:
        weight, bias = np.asarray(node.weight), getattr(node, "bias", None)
        if weight.ndim != 2:
            raise ConfigError(
                f"from_nir: node {name} has weights of shape {weight.shape}; they must have two "
                "dimensions"
            )
        layer = Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        return self._filled(layer, weight, bias)

    def _filled(self, layer: Any, weight: Array, bias: Any) -> nn.Module:
        layer.weight = nn.Parameter(torch.tensor(weight, dtype=self._dtype))
        if bias is not None:
            layer.bias = nn.Parameter(torch.tensor(np.asarray(bias), dtype=self._dtype))
        return layer  # type: ignore[no-any-return]

    def _integrate_and_fire(self, name: str, node: Any) -> nn.Module:
        return IF(
            self._value(node.v_threshold),
            gain=self._gain(np.asarray(node.r)),
            reset=self._how_reset(name, node, np.zeros(())),
        )

    def _leaky(self, name: str, node: Any) -> nn.Module:
        tau = np.asarray(node.tau)
        return LIF(
            self._kept(name, "tau", tau),
            self._value(node.v_threshold),
            gain=self._gain(np.asarray(node.r) * self._dt / tau),
            rest=self._rest(node),
            reset=self._how_reset(name, node, np.asarray(node.v_leak)),
        )

    def _synaptic(self, name: str, node: Any) -> nn.Module:
        tau, tau_syn = np.asarray(node.tau_mem), np.asarray(node.tau_syn)
        _check_at_0(name, "v_leak", node.v_leak)
        of_current = np.asarray(node.w_in) * self._dt / tau_syn
        return SynapticLIF(
            self._kept(name, "tau_mem", tau),
            self._value(node.v_threshold),
            alpha=self._kept(name, "tau_syn", tau_syn),
            gain=self._gain(np.asarray(node.r) * self._dt / tau * of_current),
            reset=self._how_reset(name, node, np.zeros(())),
        )

    def _integrator(self, name: str, node: Any) -> nn.Module:
        tau = np.asarray(node.tau)
        _check_at_0(name, "v_leak", node.v_leak)
        gain = self._gain(np.asarray(node.r) * self._dt / tau)
        return LI(self._kept(name, "tau", tau), gain=gain)

    def _kept(self, name: str, what: str, tau: Array) -> float | Tensor:
        kept = 1 - self._dt / tau
        if not ((kept >= 0) & (kept <= 1)).all():
            raise ConfigError(
                f"from_nir: node {name} has {what} = {tau.min()} s, shorter than a time step of "
                f"{self._dt} s; pass the dt_s that the graph was written for"
            )
        return self._value(kept)

    def _gain(self, gain: Array) -> float | Tensor | None:
        # 1 up to the rounding of tau: without it each step has one rounding less, as in snntorch.
        return None if np.allclose(gain, 1, rtol=1e-6, atol=0) else self._value(gain)

    def _rest(self, node: Any) -> float | Tensor | None:
        rest = np.asarray(node.v_leak)
        return self._value(rest) if rest.any() else None

    def _how_reset(self, name: str, node: Any, rest: Array) -> Any:
        written = node.metadata.get("reset")
        if isinstance(written, bytes):
            written = written.decode()
        there = getattr(node, "v_reset", None)
        reset = self._reset or written or ("soft" if there is None else "hard")
        if reset == "hard" and there is not None and not np.allclose(np.asarray(there), rest):
            raise ConfigError(
                f"from_nir: node {name} has v_reset other than v_leak, but neurons here reset to "
                "v_leak; pass reset='soft', or change v_reset"
            )
        return reset

    def _value(self, value: Any) -> float | Tensor:
        """Return a number if all neurons have the same value, else a tensor."""
        array = np.asarray(value)
        if array.size and (array == array.flat[0]).all():
            return float(array.flat[0])
        return torch.tensor(array, dtype=self._dtype)


def _pool(kind: type[Layer], name: str, node: Any) -> Layer:
    kernel, stride, padding = (_pair(v) for v in (node.kernel_size, node.stride, node.padding))
    if kernel[0] != kernel[1] or stride[0] != stride[1] or any(padding):
        raise ConfigError(
            f"from_nir: node {name} pools {kernel} by {stride} with padding {padding}; only "
            "squares without padding are supported"
        )
    return kind(kernel[0], stride[0])


def _flatten(name: str, node: Any) -> nn.Module:
    given = node.input_type.get("input") if node.input_type else None
    last = -1 if given is None else len(np.asarray(given)) - 1
    if int(node.start_dim) != 0 or int(node.end_dim) not in (-1, last):
        raise ConfigError(
            f"from_nir: node {name} flattens dimensions {node.start_dim} to {node.end_dim} of a "
            "time step; it must flatten all of them, 0 to -1 (NIR counts without the batch)"
        )
    return Flatten()


def _pair(value: Any) -> tuple[int, int]:
    rows, columns = np.broadcast_to(np.asarray(value), (2,)).tolist()
    return int(rows), int(columns)


def _check_at_0(name: str, what: str, value: Any) -> None:
    if np.asarray(value).any():
        raise ConfigError(f"from_nir: node {name} has {what} other than 0; change it to 0")
