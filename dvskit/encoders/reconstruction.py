"""OFF and ON channels of spikes, and the error of a decoded signal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import check_finite, check_signal, working_dtype
from dvskit.errors import ShapeError


def two_channels(spikes: Tensor) -> Tensor:
    """Split spikes by sign: (T, ..., H, W) -> (T, ..., 2, H, W), as events are binned.

    Channel 0 is OFF (absolute values of negative spikes), channel 1 ON (positive ones). Unsigned
    spikes leave OFF empty. Raises ShapeError below three dimensions, or for bool.

        spikes = dvskit.encoders.delta(torch.rand(20, 8, 10), threshold=0.5)  # -1, 0 or 1
        channels = dvskit.encoders.two_channels(spikes)  # (20, 2, 8, 10)
    """
    if spikes.ndim < 3 or spikes.dtype == torch.bool:
        raise ShapeError(
            f"two_channels takes numbers of shape (T, ..., H, W), not {spikes.dtype} of shape "
            f"{tuple(spikes.shape)}"
        )
    if not spikes.dtype.is_signed:
        return torch.stack((torch.zeros_like(spikes), spikes), dim=-3)
    return torch.stack(((-spikes).clamp(min=0), spikes.clamp(min=0)), dim=-3)


@dataclass(frozen=True, slots=True)
class ReconstructionError:
    """The error of each channel, shaped as one time step.

    rmse    root mean squared error, in the units of the signal
    snr_db  10 log10 of the signal's power over that of the error, in decibels; inf without error

        signal = torch.rand(100, 3)
        error = dvskit.encoders.reconstruction_error(signal, signal + 0.1)
        error.rmse  # [0.1, 0.1, 0.1], one for each channel
        error.snr_db.mean()  # about 15 dB
    """

    rmse: Tensor
    snr_db: Tensor


@check_arguments
def reconstruction_error(signal: Tensor, decoded: Tensor) -> ReconstructionError:
    """Return the error over time of a decoded signal against the signal, both (T, ...).

    rmse = sqrt(mean (s - d)^2);  snr_db = 10 log10(sum s^2 / sum (s - d)^2). The power includes the
    mean of the signal: subtract it from both if only variations count. Sums are float64. To compare
    codes, report their numbers of spikes too (Petro, Kasabov & Kiss 2020).

        sine = torch.sin(torch.linspace(0, 6.28, 1000))
        spikes = dvskit.encoders.step_forward(sine, threshold=0.05)
        decoded = dvskit.encoders.decode_step_forward(spikes, threshold=0.05)
        dvskit.encoders.reconstruction_error(sine, decoded).snr_db  # above 25
    """
    check_signal(signal, "reconstruction_error")
    if decoded.shape != signal.shape:
        raise ShapeError(
            f"reconstruction_error: decoded {tuple(decoded.shape)} and signal "
            f"{tuple(signal.shape)} differ in shape"
        )
    check_finite(decoded, "reconstruction_error", "decoded")
    if signal.shape[0] == 0:
        raise ShapeError("reconstruction_error: the signals have no time step")
    exact = signal.to(torch.float64)
    noise = (exact - decoded.to(torch.float64)).square().mean(0)
    power = exact.square().mean(0)
    snr = 10 * torch.log10(power / noise)
    dtype = working_dtype(signal.dtype)
    snr = torch.where(noise > 0, snr, math.inf)
    return ReconstructionError(noise.sqrt().to(dtype), snr.to(dtype))
