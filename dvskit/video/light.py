"""Colors to linear light."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import check_known

Light = Literal["luma", "linear"]
Transfer = Literal["srgb", "pq", "hlg", "linear"]

_WEIGHTS = {  # weights of R, G, B in the luminance, by the primaries (the Y row of RGB to XYZ, D65)
    "bt709": (0.2126, 0.7152, 0.0722),  # ITU-R BT.709
    "bt601-625": (0.2220, 0.7067, 0.0713),  # ITU-R BT.601, EBU primaries
    "bt601-525": (0.2124, 0.7011, 0.0866),  # ITU-R BT.601, SMPTE C primaries
    "bt2020": (0.2627, 0.6780, 0.0593),  # ITU-R BT.2020
    "p3": (0.2290, 0.6917, 0.0793),  # SMPTE EG 432-1, D65
}
_WHITE_NITS = 203.0  # diffuse white of PQ (ITU-R BT.2408)
_HLG_WHITE = 0.75  # the code of diffuse white in HLG (ITU-R BT.2408)


def checked_light(light: Light) -> Light:
    """Return `light`. Raises ConfigError unless it is luma or linear."""
    check_known("light", light, ("luma", "linear"))
    return light


def _srgb(c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the linear light of sRGB codes 0..1 (IEC 61966-2-1)."""
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _pq(c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of PQ codes 0..1, 1.0 for diffuse white (SMPTE ST 2084, eq. 5.2)."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = c ** (1 / m2)
    nits = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return np.asarray(nits / _WHITE_NITS)


def _hlg(c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of HLG codes 0..1 in the scene, 1.0 for diffuse white (ITU-R BT.2100)."""
    a, b, d = 0.17883277, 0.28466892, 0.55991073

    def scene(code: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(code <= 0.5, code * code / 3, (np.exp((code - d) / a) + b) / 12)

    return np.asarray(scene(c) / scene(np.array(_HLG_WHITE)))


_DECODE: dict[Transfer, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "srgb": _srgb,
    "pq": _pq,
    "hlg": _hlg,
    "linear": np.array,
}


@cache
def _table(transfer: Transfer, codes: int) -> NDArray[np.float32]:
    """Return the linear light of each of `codes` evenly spaced codes."""
    table = _DECODE[transfer](np.arange(codes) / (codes - 1)).astype(np.float32)
    table.flags.writeable = False
    return table


def coded(light: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the sRGB codes (65535 is white) of linear light 0..1 (IEC 61966-2-1)."""
    within = np.clip(light, 0.0, 1.0).astype(np.float64)
    codes = np.where(within <= 0.0031308, 12.92 * within, 1.055 * within ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(codes * 65535), np.uint16)


def luminance(
    image: NDArray[Any], *, transfer: Transfer = "srgb", primaries: str = "bt709"
) -> NDArray[np.float32]:
    """Return the linear luminance of an image: float32 (H, W), 1.0 for (diffuse) white.

    image      (H, W) gray or (H, W, 3) RGB; uint8 and uint16 are codes of `transfer`, floats are
               linear light already
    primaries  the primaries that define the weights of red, green and blue
    """
    if image.dtype == np.uint8:
        linear = _table(transfer, 256)[image]
    elif image.dtype == np.uint16:
        linear = _table(transfer, 65536)[image]
    else:
        linear = image.astype(np.float32)
    if linear.ndim == 2:
        return np.asarray(linear, np.float32)
    return np.asarray(linear @ np.array(_WEIGHTS[primaries], np.float32), np.float32)
