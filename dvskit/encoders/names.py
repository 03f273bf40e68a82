"""Encoders of still images by name: dvskit's own, and those that are registered."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dvskit.encoders import values
from dvskit.encoders.signals import two_channels
from dvskit.errors import REGISTER_FIRST, ConfigError, ShapeError
from dvskit.registry import Registry, named_errors, takes

_DARKEST = 0.1  # darker pixels give no latency spike: else the background fires at the end
_DARK_AND_BRIGHT = values.ReceptiveFields((0.0, 1.0), 0.25)  # gray: both, late, at e^-2
_DELTA = 0.1  # increase of brightness between two spikes of a pixel

Encoder = Callable[[Tensor, int, torch.Generator], Tensor]
"""(..., H, W) float32 of 0 to 1, the steps and a generator -> spikes (steps, ..., H, W), signed or
not, or channels of them (steps, ..., C, H, W)."""


def _poisson(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    return values.poisson(image, steps, generator=generator)


def _latency(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    law = partial(values.linear_latency, tau=float(steps - 1), threshold=_DARKEST)
    return values.latency(image, steps, law=law)


def _log_latency(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    # The window ends with the darkest pixel that spikes: tau ln(x / (x - x / 2)) = tau ln 2.
    law = partial(values.log_latency, tau=(steps - 1) / math.log(2), threshold=_DARKEST / 2)
    return values.latency(image * (image >= _DARKEST), steps, law=law)


def _signed_poisson(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    return values.signed_poisson(2 * image - 1, steps, generator=generator)


def _rank_order(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    return values.rank_order(image, steps, silent=0.0)


def _population(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    spikes = values.population_latency(image, _DARK_AND_BRIGHT, steps)
    return spikes.movedim(-1, -3)  # (T, ..., H, W, 2) -> (T, ..., 2, H, W)


def _delta(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    shares = torch.arange(steps + 1, dtype=torch.float32) / steps
    seen = shares.view(-1, *[1] * image.ndim) * image
    return (seen / _DELTA + 1e-4).floor().diff(dim=0)  # 0.3 / 0.1 is below 3 in float32


def _direct(image: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    return image.expand(steps, *image.shape)


ENCODERS: Registry[Encoder] = Registry(
    "encoder",
    {
        "poisson": _poisson,
        "latency": _latency,
        "log_latency": _log_latency,
        "signed_poisson": _signed_poisson,
        "rank_order": _rank_order,
        "population": _population,
        "delta": _delta,
        "direct": _direct,
    },
    hint=f"; for one of your own, {REGISTER_FIRST}",
)


def register_encoder(name: str, kind: Encoder) -> None:
    """Add an encoder of still images: for `datasets.Encode`, configurations and --encoder.

        import torch
        from dvskit.encoders import register_encoder

        def burst(images, steps, generator):
            step = torch.arange(steps).view(-1, *[1] * images.ndim)
            return (step < images * steps).float()

        register_encoder("burst", burst)

    kind(images, steps, generator) is a function:

    images     (..., H, W) float32 of 0 to 1, one image or any number of them
    steps      of time
    generator  a torch.Generator on the CPU; all random draws use it

    It returns spikes of any dtype: (steps, ..., H, W), of which 1 becomes ON and -1 OFF if the
    input has two channels; or (steps, ..., C, H, W), with C channels of its own.

    A configuration passes no parameters: register one function for each setting. A network of more
    than two channels takes images alone, with inputs = 3 in [network], and channels = 3 and
    representation = "" in [input].

    The same images and state of the generator give the same spikes, also on several threads at
    once: keep no state. Raises ConfigError for a name that is taken, and for any other kind.
    """
    if isinstance(kind, type) or not takes(kind, None, 1, None):
        raise ConfigError(
            f"encoder {name!r} is {getattr(kind, '__name__', repr(kind))}; register a function "
            "mine(images, steps, generator) that returns spikes"
        )
    ENCODERS.register(name, kind)


def check_channels(encoder: str | Encoder, channels: int) -> None:
    """Raise ConfigError for an unknown encoder, and for channels that dvskit's own do not have."""
    if isinstance(encoder, str):
        ENCODERS.find(encoder)
    if channels < 1 or (_is_own(encoder) and channels > 2):
        raise ConfigError(f"encoder {encoder!r}: channels = {channels} must be 1 or 2")
    if channels == 1 and encoder == "population":
        raise ConfigError("encoder 'population' has two neurons per pixel; take channels = 2")


def _is_own(encoder: str | Encoder) -> bool:
    return isinstance(encoder, str) and ENCODERS.is_own(encoder)


def encode_images(
    images: Tensor,
    steps: int,
    encoder: str | Encoder,
    generator: torch.Generator,
    channels: int = 2,
) -> Tensor:
    """Return images (..., H, W), float32 of 0 to 1, as (steps, ..., channels, H, W).

    With 2 channels, spikes of 1 are ON and spikes of -1 OFF, in uint8 for dvskit's own encoders
    except "direct". Raises ConfigError if the encoder makes another number of channels, or spikes
    that are not finite; ShapeError for another shape.
    """
    own = _is_own(encoder)
    made = ENCODERS.find(encoder) if isinstance(encoder, str) else encoder
    name = encoder if isinstance(encoder, str) else getattr(encoder, "__name__", repr(encoder))
    spikes = (
        made(images, steps, generator) if own else _spikes_of(made, name, images, steps, generator)
    )
    if spikes.ndim == images.ndim + 1:
        spikes = spikes.unsqueeze(-3) if channels == 1 else two_channels(spikes)
    if spikes.shape[-3] != channels:
        found = spikes.shape[-3]
        raise ConfigError(
            f"encoder {name!r} makes {found} channels, the input has {channels}; set channels = "
            f"{found}, or take an encoder of {channels}"
        )
    return spikes.to(torch.uint8) if own and encoder != "direct" and channels > 1 else spikes


def _spikes_of(
    made: Encoder, name: str, images: Tensor, steps: int, generator: torch.Generator
) -> Tensor:
    """Return the checked spikes of an encoder that is not dvskit's, in float32."""
    what = f"encoder {name!r}"
    with named_errors(what):
        spikes = made(images, steps, generator)
    if not isinstance(spikes, Tensor):
        raise ShapeError(f"{what} returns {type(spikes).__name__}; return a torch.Tensor")
    shape, plain = tuple(spikes.shape), (steps, *images.shape)
    *first, height, width = plain
    if shape != plain and (shape != (*first, *shape[-3:-2], height, width) or not shape[-3]):
        raise ShapeError(
            f"{what} returns {shape} for {steps} steps of images {tuple(images.shape)}; return "
            f"{plain}, or ({', '.join(map(str, first))}, C, {height}, {width}) with C channels"
        )
    spikes = spikes.detach().float()
    values.check_finite(spikes, what, "spikes")
    return spikes
