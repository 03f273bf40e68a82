"""Networks as graphs of the neuromorphic intermediate representation (NIR), and from them.

    write_nir(network, "net.nir", leave_out=["mean"])
    graph = to_nir(layers, (2, 34, 34))
    layers = from_nir("net.nir")                     # a Sequence, without a readout
    network = Sequence(layers, MeanMembrane())

NIR describes neurons in continuous time (Pedersen et al. 2024). A time step here is an Euler step
of dt_s seconds there, as snntorch and norse read it:

    tau dv/dt = v_leak - v + r i     beta = 1 - dt / tau     gain = r dt / tau     rest = v_leak
    tau_syn di/dt = -i + w_in x      alpha = 1 - dt / tau_syn, and w_in dt / tau_syn = 1
    dv/dt = r i   (IF)               beta = 1, gain = r, without dt, as the peers read it

and not beta = exp(-dt / tau). Only dt / tau counts: both sides must use the same dt_s.

Readers of NIR differ, so a graph can be written for one of them: `to_nir(reader="norse")`.

    reader    decay               differs in                             use
    snntorch  1 - 1e-4 / tau      no SumPool2d, IF leaks                 dt_s=1e-4, the default here
    norse     1 - dt / tau        ignores r, skips AvgPool2d             from_nir(graph, dt=dt_s)
    sinabs    exp(-1 / tau)       ignores r and dt, no AvgPool2d, one    nir.read(path, type_check=
                                  value for all neurons of a layer,      False), spike_fn =
                                  soft reset, several spikes a step      SingleSpike, reset_fn =
                                                                         MembraneReset()

A graph for a reader has only nodes that it reads, with gains in the weights; dense layers are
convolutions of the whole image, as Flatten takes the batch along there. Sum its outputs over the
steps where the network has a mean as readout. Spikes are then the same, bit for bit if the weighted
sums before the neurons are, as after `quantize`. Without a reader, a graph follows NIR alone.

Resets. From version 1.0.6 on, a spike sets NIR's neurons to v_reset: reset="hard" with v_reset =
rest. Before, the threshold was subtracted: reset="soft". Resets without a counterpart in the
installed version are written to the node's metadata, which `from_nir` reads and others ignore;
LeftOutWarning reports them. NIR's neurons spike at v > v_threshold, ours also at v = threshold, so
v_threshold is the next number below.

Surrogates, detach_reset, and the set of learned values belong to training and are not written.

Values of a graph are computed in the precision of its file, as snntorch does, so both have the same
neurons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import fields
from itertools import pairwise
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor, nn

from dvskit._checks import check_choice, check_number
from dvskit._files import whole_file
from dvskit.errors import (
    ConfigError,
    FormatError,
    LeftOutWarning,
    MissingFileError,
    one_line,
    warn,
)
from dvskit.layers import (
    AvgPool2d,
    Conv2d,
    Delays,
    Flatten,
    LastMembrane,
    Linear,
    MeanMembrane,
    Readout,
    Sequence,
    SpikeCount,
    SumPool2d,
)
from dvskit.networks.folding import (
    Row,
    Weighted,
    binary_row,
    folded_row,
    scaled_weights,
    shapes_of,
    with_pools,
)
from dvskit.networks.network import (
    Shape,
    check_plain_neurons,
    input_shape,
    named_row,
    optional_package,
    silence,
)
from dvskit.neurons import (
    IF,
    LI,
    LIF,
    Neurons,
    SynapticLIF,
)
from dvskit.neurons.dynamics import Dynamics

Array = np.ndarray[Any, Any]
Layer = TypeVar("Layer", bound=nn.Module)
Reader = Literal["snntorch", "norse", "sinabs"]
DT_S = 1e-4
"""The time step that snntorch assumes, in seconds."""
_ENDLESS, _SHORTEST = 1e30, 1e-3  # time constants that keep all of a potential, and nothing of it


def to_nir(
    module: Sequence,
    shape: Shape | None = None,
    *,
    dt_s: float = DT_S,
    leave_out: Collection[str] = (),
    reader: Reader | None = None,
) -> Any:
    """Return a network as a nir.NIRGraph, its layers as nodes between input and output.

    shape      of one time step of one sample: (channels, rows, columns) or (numbers,); None if
               the network knows it
    dt_s       seconds per time step in the graph
    leave_out  names of layers that are not written, such as an encoding of the input
    reader     the library that the graph is for, "snntorch", "norse" or "sinabs"; None for any

    Nodes have the names of the layers. Convolutions, Linear, AvgPool2d, SumPool2d, Flatten, Delays,
    IF, LIF, PLIF (with its current time constants), SynapticLIF and LI can be written. Batch
    normalization and voting become part of the weights; Dropout is left out. A delay is a node
    beside others, each with the weights of its inputs. Neurons without memory (beta = 0) that spike
    several times a step or downwards become binary ones (`folding.binary_row`). MeanMembrane and
    SpikeCount are an integrator, I; LastMembrane needs no node. Values have the dtype of the
    weights. Raises ConfigError for other layers and neurons, naming the layer and a fix, and
    without the package nir.

        neurons = dvskit.neurons.LIF(reset="hard")
        module = dvskit.layers.Sequence(dvskit.layers.Linear(100, 10), neurons)
        graph = dvskit.networks.to_nir(module, (100,), dt_s=1e-3)
        list(graph.nodes)  # ["input", "0", "1", "output"]
    """
    nir = optional_package("nir", "to_nir")
    shape = input_shape(module, shape, "to_nir")
    check_number("dt_s", dt_s, above=0, owner="to_nir")
    check_choice("reader", reader, (None, *get_args(Reader)), owner="to_nir")
    shapes = shapes_of(module, shape)
    row = binary_row(folded_row(module, shapes, leave_out, pools=reader is not None))
    if reader is not None:
        row = _for_reader(row, reader, shapes)
    x = silence(module, 1, 1, *(shapes[row[0][0]] if row else shape))
    writer = _Writer(nir, dt_s, x, reader)
    with torch.no_grad():
        for name, layer in row:
            before = tuple(x.shape[2:])
            x = x if isinstance(layer, Readout) else layer(x)
            writer.add(name.replace(".", "_"), layer, before, tuple(x.shape[2:]))
    return writer.graph(tuple(x.shape[2:]))


def write_nir(
    module: Sequence,
    path: str | PathLike[str],
    shape: Shape | None = None,
    *,
    dt_s: float = DT_S,
    leave_out: Collection[str] = (),
    reader: Reader | None = None,
    overwrite: bool = False,
) -> None:
    """Write a network as a NIR file (HDF5), which nir.read and `from_nir` read; see `to_nir`.

    Raises the errors of `to_nir`; OutputError if the file exists and `overwrite` is false.

        neurons = dvskit.neurons.LIF(reset="hard")
        module = dvskit.layers.Sequence(dvskit.layers.Linear(100, 10), neurons)
        dvskit.networks.write_nir(module, "network.nir", (100,))
        again = dvskit.networks.from_nir("network.nir")
    """
    graph = to_nir(module, shape, dt_s=dt_s, leave_out=leave_out, reader=reader)
    with whole_file(path, overwrite=overwrite) as partial:
        optional_package("nir", "write_nir").write(partial, graph)


def _for_reader(row: Row, reader: Reader, shapes: Mapping[str, Shape]) -> Row:
    """Return a row of layers that a reader reads, for batches too."""
    made: Row = []
    grid: Shape | None = None  # of the images in front of a dense layer
    for name, layer in with_pools(row, AvgPool2d if reader == "snntorch" else SumPool2d):
        if isinstance(layer, Neurons) and layer.dynamics.tensors() and reader != "snntorch":
            raise ConfigError(
                f"to_nir: layer {name} has values per neuron, and {reader} reads one for all "
                "neurons of a layer; take numbers"
            )
        if isinstance(layer, Flatten):
            grid = shapes[name][1:]
            continue
        if isinstance(layer, Linear) and grid is not None:
            weight = layer.weight.reshape(len(layer.weight), -1, *grid)
            dense = Conv2d(weight.shape[1], len(weight), (grid[0], grid[1]))
            dense.weight, dense.bias = nn.Parameter(weight), layer.bias
            layer, grid = dense, (1, 1)
        made.append((name, layer))
    if made and isinstance(made[-1][1], MeanMembrane | SpikeCount | LastMembrane):
        name, layer = made.pop()
        kind = type(layer).__name__
        warn(f"to_nir: {name}, {kind}, is left out, as {reader} has no readout", LeftOutWarning)
    if reader == "norse":  # v + dt / tau (i - v): the current is multiplied by 1 - beta
        for at, ((name, layer), (_, neurons)) in enumerate(pairwise(list(made))):
            if isinstance(layer, Weighted) and isinstance(neurons, LIF | LI) and neurons.beta < 1:
                made[at] = name, scaled_weights(layer, 1 / (1 - float(neurons.beta)))
    return made


class _Writer:
    """Makes a graph of layers, in time steps of dt seconds, for inputs like x (1, 1, ...)."""

    def __init__(self, nir: Any, dt: float, x: Tensor, reader: Reader | None) -> None:
        self._nir, self._dt, self._reader = nir, dt, reader
        self._dtype = np.dtype(np.float64 if x.dtype == torch.float64 else np.float32)
        shape = np.array(x.shape[2:])
        self._nodes: dict[str, Any] = {"input": nir.Input(input_type={"input": shape})}
        self._edges: list[tuple[str, str]] = []
        self._ends = ["input"]  # the nodes whose outputs are added in front of the next one
        self._delays: tuple[str, Delays] | None = None  # in front of the next layer with weights

    def graph(self, shape: Shape) -> Any:
        """Return the graph, with outputs of a shape. Raises ConfigError for delays at the end."""
        if self._delays is not None:
            self._add_delayed("output", nn.Identity(), shape, shape)
        self._append("output", self._nir.Output(output_type={"output": np.array(shape)}))
        about = {"dt_s": float(self._dt)} | ({"reader": self._reader} if self._reader else {})
        fits = self._reader != "sinabs"  # it reads no values of three dimensions
        return self._nir.NIRGraph(self._nodes, self._edges, metadata=about, type_check=fits)

    def add(self, name: str, layer: nn.Module, before: Shape, behind: Shape) -> None:
        """Add a layer between two shapes. Raises ConfigError if NIR has no node for it."""
        name += "_" * (name in self._nodes or name == "output")
        if isinstance(layer, LastMembrane):
            return  # the last output
        if isinstance(layer, Delays):
            self._delays = name, layer
        elif self._delays is None or isinstance(layer, Flatten | AvgPool2d | SumPool2d):
            taps = self._delays[1].taps if self._delays else 1
            before, behind = ((each[0] // taps, *each[1:]) for each in (before, behind))
            self._append(name, self.node(name, layer, before, behind))
        else:
            self._add_delayed(name, layer, before, behind)

    def _append(self, name: str, node: Any) -> None:
        self._nodes[name] = node
        self._edges += [(end, name) for end in self._ends]
        self._ends = [name]

    def _add_delayed(self, name: str, layer: nn.Module, before: Shape, behind: Shape) -> None:
        """Add a node with its weights for each delay; their outputs are added."""
        assert self._delays is not None
        (label, delays), self._delays = self._delays, None
        if not isinstance(layer, Weighted) or getattr(layer, "groups", 1) != 1:
            raise ConfigError(
                f"to_nir: layer {label}, Delays, must stand in front of a convolution or dense "
                f"layer, not of {name}, {type(layer).__name__}"
            )
        before = before[0] // delays.taps, *before[1:]
        starts, ends = list(self._ends), []
        for tap, weight in enumerate(layer.weight.chunk(delays.taps, 1)):
            part = deepcopy(layer)
            part.weight = nn.Parameter(weight)
            if isinstance(part, Conv2d):
                part.in_channels = weight.shape[1]
            if tap and part.bias is not None:
                part.bias = nn.Parameter(torch.zeros_like(part.bias))
            self._ends = starts
            if tap:
                late = np.full(before, tap * delays.spacing * self._dt, self._dtype)
                self._append(f"{label}_{tap}", self._nir.Delay(delay=late))
            place = f"{name}_{tap}" if tap else name
            self._append(place, self.node(place, part, before, behind))
            ends += self._ends
        self._ends = ends

    def node(self, name: str, layer: nn.Module, before: Shape, behind: Shape) -> Any:
        """Return the node of a layer between two shapes. Raises ConfigError if NIR has none."""
        if isinstance(layer, MeanMembrane | SpikeCount):
            about = {"readout": type(layer).__name__}
            return self._nir.I(r=np.ones(before, self._dtype), metadata=about)
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
        raise ConfigError(f"to_nir: layer {name} is {_text(layer)}")

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
        dynamics = layer.dynamics
        late = dynamics.reset in ("none", "delayed") and dynamics.spikes
        others = {f"has reset={dynamics.reset!r}; take 'hard'": late}
        check_plain_neurons("to_nir", name, layer, others)
        shape = (1,) if self._reader == "sinabs" else shape
        if (
            dynamics.resolution is not None
            and not np.isin(self._full(dynamics.beta, shape), (0, 1)).all()
        ):
            warn(
                f"to_nir: layer {name} rounds potentials to a resolution, which NIR lacks; few "
                "spikes differ, and none if the network is quantized with potentials='float'",
                LeftOutWarning,
            )
        if dynamics.alpha is not None and self._reader in ("norse", "sinabs"):
            raise ConfigError(
                f"to_nir: layer {name}: {self._reader} reads no SynapticLIF; take LIF"
            )
        beta, gain = (self._full(value, shape) for value in (dynamics.beta, dynamics.gain))
        rest = self._full(dynamics.rest or 0.0, shape)
        gain = np.ones(shape) if dynamics.gain is None else gain
        is_if = (beta == 1).all() and not rest.any() and dynamics.alpha is None and dynamics.spikes
        if is_if and self._reader in (None, "norse"):
            return self._spiking(name, "IF", dynamics, {"r": gain.astype(self._dtype)}, shape)
        tau = self._tau(name, "beta", beta)
        r = gain * tau / self._dt if self._reader in (None, "snntorch") else np.ones(shape)
        values = {"r": r.astype(self._dtype), "v_leak": rest.astype(self._dtype)}
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
        if self._reader != "sinabs":  # others spike above the threshold, not at it
            threshold = np.nextafter(threshold, self._dtype.type(-np.inf))
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

    def _tau(self, name: str, what: str, kept: Array) -> Array:
        """Return tau that gives `kept` back to readers, if one does, else one near it."""
        kept = kept.astype(self._dtype)
        endless = kept >= 1
        if endless.any() and self._reader in (None, "norse"):
            raise ConfigError(
                f"to_nir: layer {name} has {what} = 1, an infinite time constant, which NIR has "
                f"for IF only; take IF, or {what} below 1"
            )
        with np.errstate(divide="ignore"):
            if self._reader == "sinabs":
                tau = np.maximum(-1 / np.log(kept.astype(np.float64)), _SHORTEST)
            else:
                tau = self._dt / (1 - kept.astype(np.float64))
        tau = np.where(endless, _ENDLESS, tau).astype(self._dtype)
        best, found = tau, self._kept(tau) == kept
        up, down = tau, tau
        for _ in range(4):
            up, down = np.nextafter(up, up + 1), np.nextafter(down, 0 * down)
            for near in (up, down):
                fits = self._kept(near) == kept
                best, found = np.where(fits & ~found, near, best), found | fits
        return np.asarray(best)

    def _kept(self, tau: Array) -> Array:
        """Return the share of a potential that a reader keeps in a step."""
        if self._reader == "sinabs":
            return torch.exp(-1.0 / torch.from_numpy(tau)).numpy()
        return np.asarray(1 - self._dt / tau)

    def _full(self, value: float | Tensor | None, shape: Shape) -> Array:
        number = torch.as_tensor(0.0 if value is None else value, dtype=torch.float64).detach()
        return np.array(number.cpu().expand(shape).numpy())

    def _array(self, tensor: Tensor) -> Array:
        return tensor.detach().cpu().numpy().astype(self._dtype)  # a copy


def _text(layer: nn.Module) -> str:
    """Return the kind of a layer that NIR lacks, and a fix."""
    kind = type(layer).__name__
    if isinstance(layer, Readout):
        return f"{kind}, a readout, which NIR lacks; pass leave_out=[its name] and read out there"
    advice = {
        "Membrane": "leave it out, or write its neurons",
        "ResidualBlock": "take its layers in a row; only those can be written",
        "MaxPool2d": "take AvgPool2d or SumPool2d",
        "BatchNorm2d": "put it behind a convolution",
        "ThresholdBatchNorm2d": "put it behind a convolution",
        "LayerNorm": "take tdbn behind a convolution of the whole image, such as 192C8",
        "LogCounts": "leave out the layers up to it, and encode the input by them",
        "ReLU": "take neurons, or convert it with to_spiking",
    }.get(kind, "leave it out, or take a layer of dvskit.layers")
    return f"{kind}, which NIR lacks; {advice}"


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
    reader = graph.metadata.get("reader")
    if reader is not None:
        raise ConfigError(
            f"from_nir: the graph was written for {reader!r}; write it without a reader"
        )
    if dt_s is None:
        dt_s = float(np.asarray(graph.metadata.get("dt_s", DT_S)))
    check_number("dt_s", dt_s, above=0, owner="from_nir")
    check_choice("reset", reset, (None, "soft", "hard"), owner="from_nir")
    reader = _Reader(dt_s, reset, dtype)
    return named_row([(name, reader.layer(name, node)) for name, node in _row(nir, graph)])


def _read(nir: Any, path: str | PathLike[str]) -> Any:
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
    edges = set(graph.edges)
    for ends in zip(*edges, strict=True):  # the first nodes of all edges, then the second ones
        name, count = Counter(ends).most_common(1)[0]
        if count > 1:
            raise ConfigError(
                f"from_nir: node {prefix}{name} has more than one input or output; only nodes in a "
                "row can be read: build the branches or loops as ResidualBlock or RecurrentLIF"
            )
    behind = dict(edges)
    starts = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    if len(starts) != 1:
        raise ConfigError(f"from_nir: the graph has {len(starts)} inputs; it must have one")
    found: list[tuple[str, Any]] = []
    here, seen = starts[0], {starts[0]}
    while here in behind and behind[here] not in seen:
        here = behind[here]
        seen.add(here)
        node = graph.nodes[here]
        if isinstance(node, nir.NIRGraph):
            found += _row(nir, node, f"{prefix}{here}.")
        elif not isinstance(node, nir.Output):
            found.append((prefix + here, node))
    left = [name for name in graph.nodes if name not in seen]
    if left or here in behind:
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
            "I": _readout,
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
            self._threshold(node),
            gain=self._gain(np.asarray(node.r)),
            reset=self._how_reset(name, node, np.zeros(())),
        )

    def _leaky(self, name: str, node: Any) -> nn.Module:
        tau, rest = np.asarray(node.tau), np.asarray(node.v_leak)
        return LIF(
            self._kept(name, "tau", tau),
            self._threshold(node),
            gain=self._gain(np.asarray(node.r) * self._dt / tau),
            rest=self._value(rest) if rest.any() else None,
            reset=self._how_reset(name, node, rest),
        )

    def _synaptic(self, name: str, node: Any) -> nn.Module:
        tau, tau_syn = np.asarray(node.tau_mem), np.asarray(node.tau_syn)
        _check_at_0(name, "v_leak", node.v_leak)
        of_current = np.asarray(node.w_in) * self._dt / tau_syn
        return SynapticLIF(
            self._kept(name, "tau_mem", tau),
            self._threshold(node),
            alpha=self._kept(name, "tau_syn", tau_syn),
            gain=self._gain(np.asarray(node.r) * self._dt / tau * of_current),
            reset=self._how_reset(name, node, np.zeros(())),
        )

    def _integrator(self, name: str, node: Any) -> nn.Module:
        tau = np.asarray(node.tau)
        _check_at_0(name, "v_leak", node.v_leak)
        gain = self._gain(np.asarray(node.r) * self._dt / tau)
        return LI(self._kept(name, "tau", tau), gain=gain)

    def _threshold(self, node: Any) -> float | Tensor:
        """Return the least potential above v_threshold: neurons here spike at their threshold."""
        kind = np.float64 if self._dtype == torch.float64 else np.float32
        return self._value(np.nextafter(np.asarray(node.v_threshold, kind), kind(np.inf)))

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


def _readout(name: str, node: Any) -> nn.Module:
    written = node.metadata.get("readout", b"")
    written = written.decode() if isinstance(written, bytes) else written
    kinds = {each.__name__: each for each in (MeanMembrane, SpikeCount)}
    if written in kinds:
        return kinds[written]()
    return LI(1.0, gain=torch.from_numpy(np.array(node.r)))


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
