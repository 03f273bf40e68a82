"""What training makes small: a function of the network's answer and the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional

from dvskit.errors import ConfigError
from dvskit.layers import Sequence, checkpointed
from dvskit.training.config import LoopConfig

Loss = Callable[[Tensor, Tensor, float], Tensor]
"""loss(answer (B, classes) or (T, B, classes), labels (B,), label smoothing) -> a number, nats."""


def mean_loss(answer: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the mean cross-entropy of logits (B, classes), or of each step's (T, B, classes)."""
    if answer.ndim == 3:
        labels, answer = labels.repeat(len(answer)), answer.flatten(0, 1)  # (T, B, C) -> (T*B, C)
    return functional.cross_entropy(answer.float(), labels, label_smoothing=smoothing)


def each_step_loss(answer: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy of each step's logits (T, B, classes), summed over the steps.

    The mean over the batch, as of membranes in snntorch's tutorials (Eshraghian et al. 2023).
    Raises ConfigError for a network that answers once.
    """
    if answer.ndim != 3:
        raise ConfigError(
            "loop.loss = 'each-step', but the network answers once; end its layers with 'each', or "
            "take loop.loss = 'mean'"
        )
    return mean_loss(answer, labels, smoothing) * len(answer)


LOSSES: Mapping[str, Loss] = {"mean": mean_loss, "each-step": each_step_loss}
"""The losses by name."""


def answer_of(module: nn.Module, inputs: Tensor, loop: LoopConfig) -> Tensor:
    """Return a network's answer to inputs (T, B, C, H, W), in training.

    With chunk_steps only the states between chunks of time are kept for the backward pass. Raises
    ConfigError for a network that cannot be run in chunks.
    """
    if not loop.chunk_steps:
        answer: Tensor = module(inputs)
        return answer
    if not isinstance(module, Sequence):
        raise ConfigError(
            f"loop.chunk_steps = {loop.chunk_steps}, but {type(module).__name__} cannot be run in "
            "chunks of time; set it to 0"
        )
    return checkpointed(module, inputs, chunk=loop.chunk_steps)[0]
