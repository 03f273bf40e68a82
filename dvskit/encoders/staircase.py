"""What the codes by change decode to: a level that each spike moves by one threshold."""

from __future__ import annotations

from torch import Tensor

from dvskit.encoders.checking import at_least_0, decoded_dtype, per_channel, spikes_as_floats


def staircase(
    spikes: Tensor, threshold: float | Tensor, start: float | Tensor, name: str
) -> Tensor:
    """Return start + threshold (sum of the spikes so far) for spikes (T, ...), of their shape."""
    steps = spikes_as_floats(spikes, name)
    height = at_least_0(threshold, steps, name, "threshold")
    level = per_channel(start, steps, name, "start") + height * steps.cumsum(0)
    return level.to(decoded_dtype(spikes))
