"""An encoder of still images for dvskit."""

import torch

from dvskit.encoders import register_encoder


def burst(images, steps, generator):
    """Spike from a random step of each image on, as often as a pixel is bright."""
    first = torch.randint(3, (), generator=generator)
    step = torch.arange(steps).view(-1, *[1] * images.ndim) - first
    return ((step >= 0) & (step < images * steps)).float()


register_encoder("burst", burst)
