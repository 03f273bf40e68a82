"""Automatic exposure of reconstructed images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, checked
from dvskit.errors import ConfigError

Image = NDArray[np.float32]
_LEAST_SPAN = 0.3  # between dark and bright: less would show noise, as where little moves
_LOOKED_AT = 20_000  # pixels of an image


class Exposure(Protocol):
    """Frozen parameters of a change of brightness from image to image.

    Images are (height, width) float32, 0 black to 1 white. A custom exposure returns a new step for
    each pass:

        class Gamma:
            def start(self):
                return lambda t_us, image: image**0.7  # brighter

        images = dvskit.reconstruction.reconstruct(
            dvskit.load_events("events.raw"), "filter", [500_000], exposure=Gamma()
        )
        t_us, image = next(iter(images))  # 500000, (128, 128) uint8
    """

    def start(self) -> Callable[[int, Image], Image]:
        """Return the step of one pass, (t_us, image) -> image."""


@dataclass(frozen=True, slots=True)
class AutoExposure:
    """Stretches the brightness, so that a share of pixels is black and another is white.

    dark, bright  the quantiles of an image that become 0 and 1
    smooth_s      time constant of both in seconds, so that the images do not flicker

    Raises ConfigError for values out of range.

        exposure = dvskit.reconstruction.AutoExposure(dark=0.02, bright=0.98)
        times = dvskit.reconstruction.SteadyTimes(fps=10)
        images = dvskit.reconstruction.reconstruct(
            dvskit.load_events("events.raw"), "filter", times, exposure=exposure
        )
        saved = dvskit.reconstruction.save_images(images, "exposed.npz")
    """

    dark: float = checked(check_number, 0, 1, default=0.01)
    bright: float = checked(check_number, 0, 1, default=0.99)
    smooth_s: float = checked(check_number, 0, default=0.5)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dark >= self.bright:
            raise ConfigError(
                f"AutoExposure: dark = {self.dark} is not below bright = {self.bright}"
            )

    def start(self) -> Callable[[int, Image], Image]:
        """Return the step of one pass; it does not depend on the length of the stream."""
        held: NDArray[Any] | None = None
        last_us = 0

        def step(t_us: int, image: Image) -> Image:
            nonlocal held, last_us
            some = image.ravel()[:: -(-image.size // _LOOKED_AT)]
            now: NDArray[Any] = np.quantile(some, (self.dark, self.bright))
            if held is not None and self.smooth_s > 0:
                now = held + (now - held) * -math.expm1((last_us - t_us) / 1e6 / self.smooth_s)
            held, last_us = now, t_us
            low, high = now
            middle, half = (low + high) / 2, max(high - low, _LEAST_SPAN) / 2
            shown: Image = np.clip((image - np.float32(middle - half)) / np.float32(2 * half), 0, 1)
            return shown

        return step
