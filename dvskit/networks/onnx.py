"""Networks as ONNX files, to run without Python or torch: one time step, or all of them.

    write_onnx_step(network, "step.onnx")                    # live: states in, states out
    write_onnx(network, "whole.onnx", steps=20, batch=1)     # (T, B, ...) at once, from rest

The graph uses plain operators of opset 18, in one file, made by torch.onnx.export (which needs the
packages onnx and onnxscript; onnxruntime can run it). The network is written in evaluation mode.
Neurons are written as plain torch computes them: additions, products and comparisons in the same
order. Spikes are therefore the same, bit for bit, if the convolutions and weighted sums before them
are; each library adds those in another order.

A network step by step, its states from `onnx_start` on:

    session = onnxruntime.InferenceSession("step.onnx")
    states = onnx_start(network)                             # {"lif1.v": zeros, ...}
    for counts in bins:                                      # (B, ...) float32 arrays
        out, *after = session.run(None, {"x": counts, **states})
        states = dict(zip(states, after))
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dvskit._checks import check_whole
from dvskit._files import whole_file
from dvskit.errors import ConfigError, one_line
from dvskit.layers import Membrane, ResidualBlock, Sequence, Stateful, States
from dvskit.layers.dense import DelayState
from dvskit.layers.sequence import FirstSpikeState, MaxState, SumState
from dvskit.networks.network import Shape, input_shape, optional_package, plain_evaluation, silence
from dvskit.neurons import Neurons, NeuronState, RecurrentLIF
from dvskit.neurons.dynamics import map_tensors

OPSET = 18


def write_onnx(
    module: nn.Module,
    path: str | PathLike[str],
    shape: Shape | None = None,
    *,
    steps: int,
    batch: int = 1,
    overwrite: bool = False,
) -> None:
    """Write a network, or any module, over `steps` time steps, from rest, as an ONNX file.

    The graph takes "x" (steps, batch, *shape), in the dtype of the weights, and returns "out", the
    result of module(x) in evaluation. Its time steps are unrolled: its size and the time to write
    it grow with `steps`. For long or live input use `write_onnx_step`. `shape` is that of one time
    step of one sample, None if the network knows it. Raises ConfigError for numbers below 1, for a
    module that torch cannot export, and without the packages onnx and onnxscript; OutputError if
    the file exists and `overwrite` is false.

        module = dvskit.layers.Sequence(dvskit.layers.Linear(100, 10), dvskit.neurons.LIF())
        dvskit.networks.write_onnx(module, "network.onnx", (100,), steps=2)  # x (2, 1, 100)
    """
    check_whole("steps", steps, 1, owner="write_onnx")
    check_whole("batch", batch, 1, owner="write_onnx")
    shape = input_shape(module, shape, "write_onnx")
    x = silence(module, steps, batch, *shape)
    with plain_evaluation(module), whole_file(path, overwrite=overwrite) as partial:
        export("write_onnx", module, (x,), partial, (["x"], ["out"]))


def write_onnx_step(
    module: nn.Module,
    path: str | PathLike[str],
    shape: Shape | None = None,
    *,
    batch: int = 1,
    overwrite: bool = False,
) -> None:
    """Write one time step of a network, with its states as inputs and outputs, as an ONNX file.

    The graph takes "x" (batch, *shape), in the dtype of the weights, and the states by the names of
    `onnx_start`, such as "lif1.v". It returns "out", as module.step does (after a readout the
    answer for all steps so far), and the states after the step, in the same order, as
    "lif1.v.next". A module of your own needs run(x, state), as `dvskit.layers.Stateful`; its states
    are tensors that are 0 at rest, in tuples, lists, mappings or dataclasses. Raises the errors of
    `write_onnx`.

        module = dvskit.layers.Sequence(dvskit.layers.Linear(100, 10), dvskit.neurons.LIF())
        dvskit.networks.write_onnx_step(module, "step.onnx", (100,))
        start = dvskit.networks.onnx_start(module, (100,))  # the states before the first step
    """
    check_whole("batch", batch, 1, owner="write_onnx_step")
    shape = input_shape(module, shape, "write_onnx_step")
    x = silence(module, batch, *shape)
    with plain_evaluation(module), whole_file(path, overwrite=overwrite) as partial:
        states = _start(module, x)
        named = dict(_named(module, states))
        names = (["x", *named], ["out", *(f"{name}.next" for name in named)])
        export("write_onnx_step", _Step(module, states), (x, *named.values()), partial, names)


def onnx_start(
    module: nn.Module, shape: Shape | None = None, *, batch: int = 1
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the states at rest for the first step of `write_onnx_step`, by name.

    Names join the layer and the part of its state: v, i, a, waiting and s of neurons
    (`NeuronState`), the state variables of `CustomNeurons` by name, past of delays, total and
    steps, largest, or silent and waited, of readouts.

    `shape` and `batch` are those of `write_onnx_step`; arrays have the dtype of the weights.

        module = dvskit.layers.Sequence(dvskit.layers.Linear(100, 10), dvskit.neurons.LIF())
        states = dvskit.networks.onnx_start(module, (100,))
        {name: state.shape for name, state in states.items()}  # {"1.v": (1, 10)}
    """
    shape = input_shape(module, shape, "onnx_start")
    with plain_evaluation(module):
        states = _start(module, silence(module, batch, *shape))
        return {name: tensor.cpu().numpy() for name, tensor in _named(module, states)}


class _Step(nn.Module):
    """A step with tensors as inputs and outputs."""

    def __init__(self, module: nn.Module, states: Any) -> None:
        super().__init__()
        self.module, self.states = module, states

    def forward(self, x: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
        given = iter(parts)
        states = map_tensors(self.states, lambda _: next(given))
        out, states = _step(self.module, x, states)
        return out, *(tensor for _, tensor in _named(self.module, states))


def export(
    caller: str,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Any,
    names: tuple[list[str], list[str]],
) -> None:
    """Write a module as an ONNX file: its inputs, and the names of inputs and outputs.

    caller  of the messages. Raises ConfigError.
    """
    for package in ("onnx", "onnxscript"):
        optional_package(package, caller)
    if "external_data" not in inspect.signature(torch.onnx.export).parameters:
        raise ConfigError(
            f"{caller}: torch {torch.__version__} is too old to write ONNX; "
            "pip install --upgrade torch"
        )
    log = logging.getLogger("torch.onnx")
    level = log.level
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # warnings of the exporter about itself
        log.setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                module.eval(),
                inputs,
                path,
                input_names=names[0],
                output_names=names[1],
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except RuntimeError as error:  # of the exporter, in many lines
            raise ConfigError(
                f"{caller}: torch.onnx.export fails: {one_line(error.__cause__ or error)[:200]}"
            ) from error
        finally:
            log.setLevel(level)


def _start(module: nn.Module, x: Tensor) -> Any:
    """Return the states at rest for steps like `x` (B, ...)."""
    if not isinstance(module, Stateful):
        raise ConfigError(
            f"write_onnx_step: {type(module).__name__} has no run(x, state), as "
            "dvskit.layers.Stateful; add it, or take write_onnx"
        )
    with torch.no_grad():
        _, states = _step(module, x, None)
        if isinstance(module, Sequence):
            return _rest(module, states)
        start = map_tensors(states, torch.zeros_like)
        ones = torch.ones_like(x)
        begun, same = (_step(module, ones, state)[0] for state in (None, start))
    if not torch.allclose(begun, same, equal_nan=True):
        raise ConfigError(
            f"write_onnx_step: the states of {type(module).__name__} are not tensors that are 0 at "
            "rest; change its run, or take write_onnx"
        )
    return start


def _step(module: Any, x: Tensor, states: Any) -> tuple[Tensor, Any]:
    """Return the answer of a step (B, ...), or so far, and the states after it."""
    if isinstance(module, Sequence):
        return module.step(x, states)
    out, states = module.run(x[None], states)
    return (out[0] if out.ndim == 3 else out), states


def _rest(layer: nn.Module, state: Any) -> Any:
    """Return the initial state with the layout of `state`."""
    if isinstance(state, States):
        parts: list[nn.Module] = list(layer.children())
        if isinstance(layer, ResidualBlock):
            parts = [layer.body, layer.shortcut]
        pairs = zip(parts, state.parts, strict=True)
        return States(tuple(_rest(part, inner) for part, inner in pairs))
    if isinstance(state, NeuronState):
        neurons = layer.neurons if isinstance(layer, Membrane) else layer
        assert isinstance(neurons, Neurons)
        rest = neurons.initial_state(state.v)
        looped = isinstance(neurons, RecurrentLIF)
        return replace(rest, s=torch.zeros_like(rest.v)) if looped else rest
    if isinstance(state, SumState):
        steps: Any = torch.tensor(0)  # in a graph the number of steps is a tensor too
        return SumState(torch.zeros_like(state.total), steps)
    if isinstance(state, MaxState):
        return MaxState(torch.full_like(state.largest, -torch.inf))
    if isinstance(state, FirstSpikeState):
        return FirstSpikeState(torch.ones_like(state.silent), torch.zeros_like(state.waited))
    if state is None or isinstance(state, DelayState):
        return map_tensors(state, torch.zeros_like)
    raise ConfigError(
        f"write_onnx_step: {type(layer).__name__} has a state {type(state).__name__} with an "
        "unknown start; take write_onnx, or layers of dvskit.layers"
    )


def _named(layer: nn.Module | None, state: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a state with their names, layer and part: "lif1.v"."""
    if isinstance(state, Tensor):
        yield prefix.removesuffix(".") or "state", state
    for name, part, inner in _parts_of(layer, state):
        yield from _named(part, inner, f"{prefix}{name}.")


def _parts_of(layer: nn.Module | None, state: Any) -> list[tuple[str, nn.Module | None, Any]]:
    """Return the parts of a state by name, with their layers if they have some."""
    if isinstance(state, States):
        layers: Any = enumerate([None] * len(state.parts))
        if isinstance(layer, Sequence | ResidualBlock):
            layers = layer.named_children()
        pairs = zip(layers, state.parts, strict=True)
        return [(str(name), part, inner) for (name, part), inner in pairs]
    if is_dataclass(state):
        values = {each.name: getattr(state, each.name) for each in fields(state)}
        own = values.pop("own", None) or {}  # of custom neurons, by name
        return [(name, None, inner) for name, inner in (*values.items(), *own.items())]
    if isinstance(state, Mapping):
        return [(str(name), None, inner) for name, inner in state.items()]
    if isinstance(state, tuple | list):
        return [(str(number), None, inner) for number, inner in enumerate(state)]
    return []
