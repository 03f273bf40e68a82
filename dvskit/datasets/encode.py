"""Still images as spikes, or as they are at each step: what a batch takes for stills."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dvskit import encoders
from dvskit.datasets.samples import Images
from dvskit.datasets.still_changes import StillChanges, check_changes
from dvskit.errors import ConfigError, GeometryError, did_you_mean
from dvskit.events import Size, as_size

_DARKEST = 0.1  # darker pixels give no spike by latency: else the background fires at the end
_DARK_AND_BRIGHT = encoders.ReceptiveFields((0.0, 1.0), 0.25)  # gray: both, late, at e^-2
_DELTA = 0.1  # how much brighter a pixel becomes from one spike to the next
_SEEDS = 1 << 62

Encoder = Callable[[Tensor, int, torch.Generator], Tensor]
"""(..., H, W) float32 of 0 to 1, the steps and a generator -> spikes (steps, ..., H, W), signed or
not, or channels of them (steps, ..., C, H, W)."""


def _poisson(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    return encoders.poisson(image, steps, generator=generator)


def _latency(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    law = partial(encoders.linear_latency, tau=float(steps - 1), threshold=_DARKEST)
    return encoders.latency(image, steps, law=law)


def _log_latency(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    # The window ends with a pixel of the darkest that spikes: tau ln(x / (x - x / 2)) = tau ln 2.
    law = partial(encoders.log_latency, tau=(steps - 1) / math.log(2), threshold=_DARKEST / 2)
    return encoders.latency(image * (image >= _DARKEST), steps, law=law)


def _signed_poisson(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    return encoders.signed_poisson(2 * image - 1, steps, generator=generator)


def _rank_order(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    return encoders.rank_order(image, steps, silent=0.0)


def _population(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    spikes = encoders.population_latency(image, _DARK_AND_BRIGHT, steps)
    return spikes.movedim(-1, -3)  # (T, ..., H, W, 2) -> (T, ..., 2, H, W)


def _delta(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    shares = torch.arange(steps + 1, dtype=torch.float32) / steps
    seen = shares.view(-1, *[1] * image.ndim) * image
    return (seen / _DELTA + 1e-4).floor().diff(dim=0)  # 0.3 / 0.1 is less than 3 in float32


def _direct(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    return image.expand(steps, *image.shape)


ENCODERS: dict[str, Encoder] = {
    "poisson": _poisson,
    "latency": _latency,
    "log_latency": _log_latency,
    "signed_poisson": _signed_poisson,
    "rank_order": _rank_order,
    "population": _population,
    "delta": _delta,
    "direct": _direct,
}


def check_encoder(name: str) -> None:
    """Raise ConfigError for a name that no encoder has."""
    if name not in ENCODERS:
        raise ConfigError(f"no encoder {name!r}; {did_you_mean(name, ENCODERS)}")


def encode_images(
    images: Tensor,
    steps: int,
    encoder: str | Encoder,
    generator: torch.Generator,
    channels: int = 2,
) -> Tensor:
    """Return images (..., H, W), float32 of 0 to 1, as (steps, ..., channels, H, W).

    Of 2 channels spikes of 1 are ON, spikes of -1 OFF, uint8 but for "direct"; an encoder that
    makes channels keeps its own.
    """
    made = ENCODERS[encoder] if isinstance(encoder, str) else encoder
    spikes = made(images, steps, generator)
    if spikes.ndim == images.ndim + 1:
        if channels == 1:
            return spikes.unsqueeze(-3)
        spikes = encoders.two_channels(spikes)
    return spikes if encoder == "direct" else spikes.to(torch.uint8)


@dataclass(frozen=True, slots=True)
class Encode:
    """Still images as spikes: what a batch takes for stills, `encode(image, rng)`.

    encoder   a name, or a function of the image, the steps and a generator, such as one made of any
              of `dvskit.encoders`. Names:
              "poisson", "latency" and "log_latency" (darker than a tenth: no spike), "rank_order"
              (black: no spike), "delta" (the image fades in; a spike for each tenth that a pixel
              has become brighter), all ON; "signed_poisson" (of 2 x - 1: gray is silent, dark OFF,
              bright ON); "population" (two neurons a pixel, a spike each, the sooner the nearer:
              one for black, as OFF, and one for white, as ON); "direct" (no spikes: at each step
              the brightness itself, 0 to 1)
    steps     of time, a bin each
    size      of the sensor, (width, height); the image is put in its middle, black around it
    channels  2: OFF, ON; 1: what the encoder gives, signed or not
    changes   how images are changed at random first, on the whole sensor; none unless given

    Gives (steps, channels, H, W): uint8, spikes of 1 as ON and of -1 as OFF; float32 of "direct"
    and of 1 channel; a function that returns channels (steps, C, H, W) keeps them. Raises
    ConfigError for another encoder, GeometryError for an image that is larger than the sensor.
    """

    encoder: str | Encoder
    steps: int
    size: tuple[int, int]
    channels: int = 2
    changes: StillChanges = field(default_factory=StillChanges)

    def __post_init__(self) -> None:
        if isinstance(self.encoder, str):
            check_encoder(self.encoder)
        check_changes(self.changes)
        if self.channels not in (1, 2):
            raise ConfigError(f"channels = {self.channels}; 1 or 2 is meant")
        if self.channels == 1 and self.encoder == "population":
            raise ConfigError("encoder 'population' has two neurons a pixel; take channels = 2")

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
        """Return the spikes of an image (height, width) uint8."""
        return self._encoded(centred(image, as_size(self.size)), rng)

    def many(self, images: Images, rng: np.random.Generator) -> Tensor:
        """Return the spikes of images, (steps, N, channels, H, W), drawn together."""
        size = as_size(self.size)
        if isinstance(images, np.ndarray):
            return self._encoded(centred(images, size), rng)
        return self._encoded(torch.stack([centred(image, size) for image in images]), rng)

    def _encoded(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        generator = torch.Generator().manual_seed(int(rng.integers(_SEEDS)))
        if self.changes != StillChanges():  # without, spikes are drawn as they always were
            height, width = images.shape[-2:]
            images = self.changes(images.view(-1, height, width), rng).view(images.shape)
        return encode_images(images, self.steps, self.encoder, generator, self.channels)


def centred(images: NDArray[np.uint8], size: Size) -> Tensor:
    """Return images (..., h, w) in the middle of a sensor, (..., H, W) float32 of 0 to 1.

    Raises GeometryError for images that are larger than the sensor.
    """
    height, width = images.shape[-2:]
    right, down = size.width - width, size.height - height
    if right < 0 or down < 0:
        what = "an image" if images.ndim == 2 else "images"
        does = "does" if images.ndim == 2 else "do"
        raise GeometryError(
            f"{what} of {width}x{height} {does} not fit the input, {size}; scale or crop to that "
            "size or less"
        )
    borders = (right // 2, right - right // 2, down // 2, down - down // 2)
    return functional.pad(torch.from_numpy(images.astype(np.float32) / 255), borders)
