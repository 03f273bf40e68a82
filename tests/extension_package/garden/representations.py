"""A representation for dvskit: a function of events."""

import numpy as np
import torch

from dvskit.tensors import register_representation


def on_minus_off(events, *, bins=5, bin_us=10_000, scale=1.0):
    """Return ON minus OFF events per time bin and pixel, (bins, 1, H, W) float32."""
    width, height = events.sensor_size
    frames = np.zeros((bins, 1, height, width), np.float32)
    np.add.at(frames, (events.t // bin_us, 0, events.y, events.x), scale * (2.0 * events.p - 1))
    return torch.from_numpy(frames)


register_representation("on_minus_off", on_minus_off)
