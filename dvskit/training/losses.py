"""Losses of training: functions of the network's answer and the classes.

Each loss belongs to a readout, so that training improves the deciding quantity:

    loss           readout               minimized
    "mean"         any                   the cross-entropy of the logits; for "each" its mean over
                                         the steps
    "each-step"    "each"                the cross-entropy at each step, summed over the steps
    "count"        "count", of spikes    the cross-entropy of the spike count of each output
    "first-spike"  "first", of spikes    the cross-entropy of -t / tau, with t the steps before
                                         each output's first spike

"count" is snntorch's ce_count_loss (Eshraghian et al. 2023, "Training spiking neural networks using
lessons from deep learning"), "first-spike" the cross-entropy of negative spike times (Comsa et al.
2020, "Temporal coding in spiking neural networks with alpha synaptic function").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit.errors import ConfigError
from dvskit.layers import FirstSpike, Readout, Sequence, SpikeCount, checkpointed
from dvskit.neurons import Neurons
from dvskit.training.config import LoopConfig
from dvskit.training.distributed import ALONE, World

LossFunction = Callable[[Tensor, Tensor, float], Tensor]
"""loss(answer (B, classes) or (T, B, classes), labels (B,), label smoothing) -> a number, nats."""


def mean_loss(answer: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the mean cross-entropy of logits (B, classes), or of each step's (T, B, classes)."""
    if answer.ndim == 3:
        labels, answer = labels.repeat(len(answer)), answer.flatten(0, 1)  # (T, B, C) -> (T*B, C)
    if answer.dtype != torch.float64:
        answer = answer.float()
    return functional.cross_entropy(answer, labels, label_smoothing=smoothing)


def each_step_loss(answer: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy of each step's logits (T, B, classes), summed over the steps.

    The mean over the batch, as of membranes in snntorch's tutorials (Eshraghian et al. 2023).
    Raises ConfigError for a network with one answer for all steps.
    """
    if answer.ndim != 3:
        raise ConfigError(
            "loop.loss = 'each-step', but the network answers once; end its layers with 'each', or "
            "set loop.loss = 'mean'"
        )
    return mean_loss(answer, labels, smoothing) * len(answer)


LOSSES: Mapping[str, LossFunction] = {
    "mean": mean_loss,
    "each-step": each_step_loss,
    "count": mean_loss,
    "first-spike": mean_loss,
}
"""The losses by name; `check_loss` checks that a network has the readout."""
_OF_SPIKES: Mapping[str, tuple[type[Readout], str]] = {
    "count": (SpikeCount, "count"),
    "first-spike": (FirstSpike, "first"),
}


def check_loss(module: nn.Module, loss: str) -> None:
    """Raise ConfigError, with the fix, for a network without the readout of a loss."""
    if loss not in _OF_SPIKES:
        return
    kind, word = _OF_SPIKES[loss]
    layers = list(module) if isinstance(module, Sequence) else []
    if not layers or not isinstance(layers[-1], kind):
        found = type(layers[-1] if layers else module).__name__
        raise ConfigError(
            f"loop.loss = {loss!r}, but the network's answer comes from {found}; end its layers "
            f"with neurons and {word!r}, such as '10', 'lif', {word!r}, or set loop.loss = 'mean'"
        )
    before = layers[-2] if len(layers) > 1 else None
    if not (isinstance(before, Neurons) and before.spiking):
        raise ConfigError(
            f"loop.loss = {loss!r}, but the layer before {word!r}, {type(before).__name__}, does "
            f"not spike; put neurons there: 'lif', {word!r}"
        )


def answer_of(module: nn.Module, inputs: Tensor, loop: LoopConfig) -> Tensor:
    """Return a network's answer to inputs (T, B, C, H, W), in training.

    With chunk_steps, only the states between chunks of time are kept for the backward pass. Raises
    ConfigError for a network that cannot run in chunks.
    """
    if not loop.chunk_steps:
        answer: Tensor = module(inputs)
        return answer
    if not isinstance(module, Sequence):
        raise ConfigError(
            f"loop.chunk_steps = {loop.chunk_steps}, but {type(module).__name__} cannot run in "
            "chunks of time; set it to 0"
        )
    return checkpointed(module, inputs, chunk=loop.chunk_steps)[0]


_OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
}
_SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}


def make_optimizer(module: nn.Module, loop: LoopConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a module's weights."""
    return _OPTIMIZERS[loop.optimizer](
        module.parameters(), lr=loop.learning_rate, betas=loop.betas, weight_decay=loop.weight_decay
    )


def rate_at(loop: LoopConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step in a run of `steps` steps."""
    return loop.learning_rate * _SCHEDULES[loop.schedule](step / steps)


def take_step(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    *,
    rate: float,
    clip_norm: float = 0.0,
    world: World = ALONE,
) -> float:
    """Change the weights by the gradient of a loss, clipped to `clip_norm` (0: no limit).

    Each of several processes has its part of the loss. Returns the sum of the parts; NaN, without a
    change, for a gradient that is not finite.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    whole = world.add_gradients(weights, loss)
    if clip_norm:
        norm = torch.nn.utils.clip_grad_norm_(weights, clip_norm)
    else:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norm = torch.stack([each.norm() for each in gradients]).norm()
    if not math.isfinite(norm):  # spikes, and so the loss, stay finite with weights that are not
        return math.nan
    optimizer.step()
    return float(whole.detach())


def layer_not_finite(module: nn.Module, inputs: Tensor) -> str:
    """Return the name and the kind of the first layer with values that are not finite, or ""."""
    found: list[str] = []

    def look(name: str, layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        seen = [output]
        if isinstance(layer, Neurons):  # spikes are finite where the potential is not
            state = layer.run(*given)[1]
            seen += [state.v, *(state.own or {}).values()]
        if not all(bool(each.isfinite().all()) for each in seen if isinstance(each, Tensor)):
            found.append(f"{name}, {type(layer).__name__}")

    hooks = [
        part.register_forward_hook(partial(look, name))
        for name, part in module.named_modules()
        if isinstance(part, Neurons) or not any(part.children())
    ]
    try:
        with torch.no_grad():
            module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""
