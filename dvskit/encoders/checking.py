"""Argument checks of encoders and decoders, and loops over channels for sequential codes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import torch
from torch import Tensor

from dvskit._threads import run_ranges, thread_count
from dvskit.errors import ArgumentError, ConfigError, ShapeError, check_least

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # torch's range
_SMALLEST_PART = 1 << 16  # fewer samples do not pay for a thread
_BLOCK = 2048  # channels; the rows under a filter stay in the cache


def generator_from(
    given: torch.Generator | int | None, name: str, device: torch.device | None = None
) -> torch.Generator | None:
    """Return the given generator, or a new one on `device` for a seed; None for None.

    Raises ArgumentError for anything else, naming the function `name`; ConfigError for a seed
    outside torch's range.
    """
    if given is None or isinstance(given, torch.Generator):
        return given
    if isinstance(given, bool) or not hasattr(type(given), "__index__"):
        raise ArgumentError(
            f"{name}: generator is {given!r}; a torch.Generator or a seed, a whole number, is "
            "expected"
        )
    seed = operator.index(given)
    if not _SMALLEST <= seed <= _LARGEST:
        raise ConfigError(
            f"{name}: generator = {seed} is outside [-2**63, 2**64), the range of seeds"
        )
    return torch.Generator(device or "cpu").manual_seed(seed)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of computations: float64 for float64, float32 for all others."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_fractions(values: Tensor, steps: int, name: str, *, lowest: float = 0.0) -> None:
    """Raise ShapeError for integers, ConfigError for values outside [lowest, 1] or steps < 1."""
    if not values.is_floating_point():
        raise ShapeError(
            f"{name}: image is {values.dtype}; values in [{lowest:g}, 1] must be floats: "
            "image.float() / 255 for 8-bit pixels"
        )
    check_least(name, 1, steps=steps)
    outside = ~((values >= lowest) & (values <= 1))
    if bool(outside.any()):
        where = first_of(outside)
        value = values[where].item()
        fix = "divide 8-bit pixels by 255, or clamp"
        if math.isnan(value):  # clamp keeps NaN
            fix = "torch.nan_to_num replaces NaN"
        raise ConfigError(f"{name}: value {value:g} at {where} is outside [{lowest:g}, 1]; {fix}")


def check_has_steps(spikes: Tensor, name: str) -> None:
    """Raise ShapeError for spikes without a time step."""
    check_time(spikes, name, "spikes")
    if spikes.shape[0] == 0:
        raise ShapeError(f"{name}: spikes have no time step; pass at least one")


def check_finite(values: Tensor, name: str, what: str) -> None:
    """Raise ShapeError for integers, ConfigError for NaN and infinities."""
    if not values.is_floating_point():
        raise ShapeError(f"{name}: {what} is {values.dtype}; floats are expected: {what}.float()")
    # If a sum is finite, so are its terms; it takes a fiftieth of the time, but may overflow.
    if math.isfinite(values.detach().sum().item()):
        return
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        where = first_of(bad)
        raise ConfigError(
            f"{name}: {what} is {values[where].item():g} at {where}; pass finite values: "
            f"torch.nan_to_num({what}), or drop such samples"
        )


def check_signal(signal: Tensor, name: str) -> None:
    """Raise as `check_finite` does, and ShapeError for a signal without time."""
    check_time(signal, name, "signal")
    check_finite(signal, name, "signal")


def check_time(values: Tensor, name: str, what: str) -> None:
    """Raise ShapeError for a tensor without dimensions: the first one is time."""
    if values.ndim < 1:
        raise ShapeError(f"{name}: {what} is a single number; shape (T, ...) with time first")


def per_channel(value: float | Tensor, signal: Tensor, name: str, what: str) -> Tensor:
    """Return a number or tensor for a time step of `signal`, in the working dtype, broadcast.

    Raises ShapeError if it does not broadcast against signal.shape[1:].
    """
    dtype = working_dtype(signal.dtype)
    if isinstance(value, str):
        raise ArgumentError(f"{name}: {what} is {value!r}; a number or a tensor is expected")
    given = torch.as_tensor(value, dtype=dtype, device=signal.device)
    try:
        return given.expand(signal.shape[1:])
    except RuntimeError:
        raise ShapeError(
            f"{name}: {what} of shape {tuple(given.shape)} does not fit one time step, "
            f"{tuple(signal.shape[1:])}"
        ) from None


def threshold_for(value: float | Tensor, signal: Tensor, name: str, what: str) -> Tensor:
    """Return `per_channel` of a threshold. Raises ConfigError for one that is not above 0."""
    threshold = per_channel(value, signal, name, what)
    if not bool((threshold > 0).all()):
        low = threshold[~(threshold > 0)].flatten()[0].item()
        raise ConfigError(f"{name}: {what} = {low:g} is not above 0")
    return threshold.detach()


def at_least_0(value: float | Tensor, signal: Tensor, name: str, what: str) -> Tensor:
    """Return `per_channel` of a number. Raises ConfigError for one below 0."""
    given = per_channel(value, signal, name, what)
    if not bool((given >= 0).all()):
        low = given[~(given >= 0)].flatten()[0].item()
        raise ConfigError(f"{name}: {what} = {low:g} is below 0")
    return given


def signed_spikes(up: Tensor, down: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 where `up` and -1 where `down`, both bool, of `dtype`."""
    return (up.view(torch.int8) - down.view(torch.int8)).to(dtype)


def spikes_as_floats(spikes: Tensor, name: str) -> Tensor:
    """Return spikes to decode in the working dtype. Raises ShapeError for spikes without time."""
    check_time(spikes, name, "spikes")
    return spikes.to(working_dtype(spikes.dtype))


def decoded_dtype(spikes: Tensor) -> torch.dtype:
    """Return the dtype of decoded values: that of the spikes, float32 if they are integers."""
    return spikes.dtype if spikes.is_floating_point() else torch.float32


def first_of(bad: Tensor) -> tuple[int, ...]:
    """Return the index of the first True."""
    return tuple(int(index) for index in bad.nonzero()[0])


def on_processor(signal: Tensor) -> bool:
    """Return whether compiled loops can process the signal; torch serves other devices."""
    return signal.device.type == "cpu"


def flat_signal(signal: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a signal (T, ...) as contiguous (T, N) of `dtype`."""
    steps = signal.shape[0]
    return signal.detach().to(dtype).reshape(steps, signal[0].numel()).contiguous()


def over_channels(work: Callable[[int, int], object], shape: torch.Size) -> None:
    """Call `work(first, last)` for parts of the channels of (T, N), on all threads."""
    steps, channels = shape
    parts = max(1, min(thread_count(), channels, steps * channels // _SMALLEST_PART))
    run_ranges(work, channels, max(parts, -(-channels // _BLOCK)))
