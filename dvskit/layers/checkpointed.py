"""Training over long times in the memory of short ones."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers.normalisation import BatchNorm2d
from dvskit.layers.sequence import Sequence, States, ends_time


@check_arguments
def checkpointed(
    layers: Sequence, x: Tensor, states: States | None = None, *, chunk: int
) -> tuple[Tensor, States]:
    """Return layers.run(x, states), keeping for the backward pass only the states between chunks.

    `x` (T, ...) is run in chunks of `chunk` steps; the backward pass runs each again when it comes
    to it (torch.utils.checkpoint). Gradients are those of layers.run, and flow through the states;
    memory is that of one chunk, the input and T / chunk states; time is up to half as much again.
    The square root of T times a small number is a good chunk.

    Raises ConfigError for chunk < 1, and where batch normalisation is training: its statistics are
    over all of time, which no chunk knows. Raises ShapeError for an input without time steps.
    """
    if chunk < 1:
        raise ConfigError(f"checkpointed: chunk = {chunk} is below 1; it is in time steps")
    if x.ndim < 2 or x.shape[0] < 1:
        raise ShapeError(f"checkpointed takes (T, B, ...) with T >= 1, not {tuple(x.shape)}")
    for name, layer in layers.named_modules():
        if isinstance(layer, BatchNorm2d) and layer.training:
            raise ConfigError(
                f"checkpointed: layer {name}, {type(layer).__name__}, takes its statistics over "
                "all of time while it is training; put it into .eval(), or pass layers without it"
            )
    outs = []
    for part in torch.split(x, chunk):
        out, states = checkpoint(layers.run, part, states, use_reentrant=False)
        outs.append(out)
    return (outs[-1] if ends_time(layers) else torch.cat(outs)), cast(States, states)
