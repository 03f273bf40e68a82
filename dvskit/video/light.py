"""Colors to linear light."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, did_you_mean

Light = Literal["luma", "linear"]

_WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of R, G, B: ITU-R BT.709


def checked_light(light: Light) -> Light:
    """Return `light`. Raises ConfigError unless it is luma or linear."""
    if light not in ("luma", "linear"):
        raise ConfigError(f"unknown light {light!r}; {did_you_mean(light, ('luma', 'linear'))}")
    return light


def _decoded(codes: int) -> NDArray[np.float32]:
    """Return the linear light of each sRGB code (IEC 61966-2-1)."""
    c = np.arange(codes) / (codes - 1)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


_OF_8_BITS, _OF_16_BITS = _decoded(256), _decoded(65536)


def luminance(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return the linear luminance of an image: float32 (H, W), 1.0 for white.

    image  (H, W) gray or (H, W, 3) RGB; uint8 and uint16 are sRGB codes, floats linear already
    """
    if image.dtype == np.uint8:
        linear = _OF_8_BITS[image]
    elif image.dtype == np.uint16:
        linear = _OF_16_BITS[image]
    else:
        linear = image.astype(np.float32)
    return linear if linear.ndim == 2 else np.asarray(linear @ _WEIGHTS, np.float32)
