"""Colors to linear light, decoded frames of any pixel format to gray, and their orientation."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size

Light = Literal["luma", "linear"]
LIGHTS: tuple[Light, ...] = get_args(Light)
Transfer = Literal["srgb", "bt709", "gamma22", "gamma28", "pq", "hlg", "linear"]

MIDDLE_GRAY = 0.214
"""The linear light of the middle code of sRGB."""

_WEIGHTS = {  # weights of R, G, B in the luminance, by the primaries (the Y row of RGB to XYZ, D65)
    "bt709": (0.2126, 0.7152, 0.0722),  # ITU-R BT.709
    "bt601-625": (0.2220, 0.7067, 0.0713),  # ITU-R BT.601, EBU primaries
    "bt601-525": (0.2124, 0.7011, 0.0866),  # ITU-R BT.601, SMPTE C primaries
    "bt2020": (0.2627, 0.6780, 0.0593),  # ITU-R BT.2020
    "p3": (0.2290, 0.6917, 0.0793),  # SMPTE EG 432-1, D65
}
_WHITE_NITS = 203.0  # diffuse white of PQ (ITU-R BT.2408)
_HLG_WHITE = 0.75  # the code of diffuse white in HLG (ITU-R BT.2408)


PNG_HEAD = 33
"""The bytes of a PNG file before its gamma: signature and header."""
LINEAR_PNG = struct.pack(">I4sII", 4, b"gAMA", 100_000, zlib.crc32(b"gAMA" + b"\0\x01\x86\xa0"))
"""The part of a PNG file that says that its numbers are linear light (gamma 1)."""


def _srgb(c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the linear light of sRGB codes 0..1 (IEC 61966-2-1)."""
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _bt709(c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light in the scene of codes 0..1 of a camera (ITU-R BT.709, BT.601, BT.2020)."""
    return np.where(c < 0.081, c / 4.5, ((c + 0.099) / 1.099) ** (1 / 0.45))


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
    "bt709": _bt709,
    "gamma22": lambda c: np.asarray(c**2.2),
    "gamma28": lambda c: np.asarray(c**2.8),
    "pq": _pq,
    "hlg": _hlg,
    "linear": np.array,
}


def decoded(codes: NDArray[Any], transfer: Transfer) -> NDArray[np.float64]:
    """Return the linear light of codes 0..1, 1.0 for (diffuse) white."""
    return np.asarray(_DECODE[transfer](codes.astype(np.float64)))


@cache
def light_of_codes(transfer: Transfer, codes: int) -> NDArray[np.float64]:
    """Return the linear light of each of `codes` evenly spaced codes, 1.0 for (diffuse) white."""
    table = _DECODE[transfer](np.arange(codes) / (codes - 1))
    table.flags.writeable = False
    return table


@cache
def _table(transfer: Transfer, codes: int) -> NDArray[np.float32]:
    table = light_of_codes(transfer, codes).astype(np.float32)
    table.flags.writeable = False
    return table


def coded(light: NDArray[np.float32], transfer: Transfer = "srgb") -> NDArray[np.uint16]:
    """Return the codes of linear light: the inverse of `transfer`, 65535 being its highest code."""
    if transfer != "srgb":
        table = light_of_codes(transfer, 65536)
        return np.asarray(np.rint(np.interp(light, table, np.arange(65536))), np.uint16)
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

        gray = np.array([[0, 128, 255]], np.uint8)
        dvskit.video.luminance(gray)    # [[0, 0.216, 1]]: half the code is a fifth of the light
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


def gray_of(image: NDArray[Any], *, bgr: bool = False) -> NDArray[Any]:
    """Return Y' = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) of an image; a gray one as it is.

    image  (H, W), or (H, W, 3) in the order of red, green and blue, or with `bgr` of OpenCV
    """
    if image.ndim == 2:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if bgr else cv2.COLOR_RGB2GRAY))


_LIMITED, _FULL = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
_HIGH_BITS_FIRST = ("p0", "p2", "p4")  # p010le and its relatives: the low bits are zeros
_TRANSFERS: dict[int, Transfer] = {  # AVCOL_TRC_*; what says none is seen as sRGB
    1: "bt709", 6: "bt709", 14: "bt709", 15: "bt709", 4: "gamma22", 5: "gamma28", 8: "linear",
    16: "pq", 18: "hlg",
}  # fmt: skip
_PRIMARIES = {5: "bt601-625", 6: "bt601-525", 7: "bt601-525", 9: "bt2020", 12: "p3"}  # AVCOL_PRI_*
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # AVCOL_SPC_* to SWS_CS_*
_HD_ROWS = 720  # without metadata, players use BT.709 from here on, BT.601 below
_ONE = 1 << 16  # the matrix holds fixed-point numbers with 16 binary places
_NAMES = {
    (False, False, False): "upright",
    (False, True, False): "mirrored left to right",
    (False, False, True): "mirrored top to bottom",
    (False, True, True): "turned by 180 degrees",
    (True, False, False): "transposed",
    (True, True, False): "turned clockwise by 90 degrees",
    (True, False, True): "turned counter-clockwise by 90 degrees",
    (True, True, True): "transposed along the other diagonal",
}


def gray_frame(frame: Any, light: Light) -> NDArray[Any]:
    """Return the gray image (height, width) of a PyAV frame, contiguous.

    light  "luma": uint8, or uint16 for more than 8 bits, over the whole range of the dtype,
           gamma-coded: the frame's own luma, or that of its colors (ITU-R BT.601);
           "linear": float32, the luminance as linear light, 1.0 for (diffuse) white

    Transparent pixels are shown on black. Luma below black or above white, in the footroom and the
    headroom of limited range, is clipped.
    """
    picture = _luminance(frame) if light == "linear" else _luma(frame)
    alpha = _alpha(frame)
    if alpha is None:
        return picture
    seen = picture * alpha
    return np.asarray(seen if light == "linear" else np.rint(seen), picture.dtype)


def color_frame(frame: Any) -> NDArray[np.uint8]:
    """Return the image of a PyAV frame for display, contiguous, with its own gamma.

    (height, width, 3) uint8 RGB, or (height, width) of a gray format. Transparent pixels are
    shown on black.
    """
    picture = _luma(frame) if _is_gray(frame) else _rgb(frame)
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    alpha = _alpha(frame)
    if alpha is None:
        return picture
    opaque = alpha if picture.ndim == 2 else alpha[..., None]
    return np.asarray(np.rint(picture * opaque), np.uint8)


def has_transparent_pixels(frame: Any) -> bool:
    """Return whether any pixel of a PyAV frame is not fully opaque."""
    alpha = _alpha(frame)
    return alpha is not None and bool(np.any(alpha < 1))


def transfer_in(frames: object) -> Transfer:
    """Return what integer frames of a clip, a scene or pairs are codes of, sRGB unless they say."""
    return getattr(frames, "transfer", "srgb")


def transfer_of(frame: Any) -> Transfer:
    """Return the transfer function of a PyAV frame, sRGB unless it names another."""
    return _TRANSFERS.get(int(frame.color_trc), "srgb")


def _bits(frame: Any) -> int:
    return max(int(component.bits) for component in frame.format.components)


def _is_color(frame: Any) -> bool:
    """Return whether the format holds red, green and blue, or palette indices."""
    return bool(frame.format.is_rgb or frame.format.has_palette)


def _is_gray(frame: Any) -> bool:
    return not _is_color(frame) and sum(not c.is_alpha for c in frame.format.components) == 1


def _rgb(frame: Any) -> NDArray[Any]:
    """Return uint8 or uint16 (H, W, 3), over the whole range of the dtype."""
    deep = _bits(frame) > 8
    given = {}
    if not _is_color(frame):
        unsaid = 1 if frame.height >= _HD_ROWS else 5
        given["src_colorspace"] = _MATRICES.get(int(frame.colorspace), unsaid)
        given["dst_colorspace"] = given["src_colorspace"]
        given["src_color_range"] = _FULL if _is_full_range(frame) else _LIMITED
        given["dst_color_range"] = _FULL
    made = frame.reformat(format="rgb48le" if deep else "rgb24", **given)
    return _plane(made, np.dtype("<u2") if deep else np.dtype(np.uint8), 3)


def _luminance(frame: Any) -> NDArray[np.float32]:
    picture = _luma(frame) if _is_gray(frame) else _rgb(frame)
    primaries = _PRIMARIES.get(int(frame.color_primaries), "bt709")
    return luminance(picture, transfer=transfer_of(frame), primaries=primaries)


def _luma(frame: Any) -> NDArray[Any]:
    if _is_color(frame):
        return gray_of(_rgb(frame))
    if sum(component.plane == 0 for component in frame.format.components) > 1:
        frame = _unpacked(frame)
    bits = int(frame.format.components[0].bits)
    if bits < 8:  # black and white
        return _plane(frame.reformat(format="gray"), np.dtype(np.uint8))
    if bits == 8:
        plane = _plane(frame, np.dtype(np.uint8))
        if _is_full_range(frame):
            return plane
        return np.asarray(cv2.LUT(plane, _whole_range(8, full=False)), np.uint8)
    order = ">" if frame.format.is_big_endian else "<"
    plane = _plane(frame, np.dtype(f"{order}u2"))
    if frame.format.name.startswith(_HIGH_BITS_FIRST):
        plane = plane >> (16 - bits)
    table = _whole_range(bits, full=_is_full_range(frame))
    return np.asarray(np.take(table, plane, mode="clip"), np.uint16)


def _unpacked(frame: Any) -> Any:
    """Return a frame with interleaved samples converted to one with luma in its own plane."""
    bits = _bits(frame)
    gray = _is_gray(frame)
    if bits <= 8:
        name = "gray" if gray else "yuv444p"
    else:
        exact = bits if bits in (10, 12) else 16
        name = f"gray{exact}le" if gray else f"yuv444p{exact}le"
    same = _FULL if _is_full_range(frame) else _LIMITED
    made = frame.reformat(format=name, src_color_range=same, dst_color_range=same)
    made.color_range = same
    return made


def _is_full_range(frame: Any) -> bool:
    """Return whether luma uses all codes, not 16..235 (of 8 bits); the default for gray."""
    if frame.color_range in (_LIMITED, _FULL):
        return bool(frame.color_range == _FULL)
    return bool(frame.format.name.startswith("yuvj") or _is_gray(frame))


@cache
def _whole_range(bits: int, *, full: bool) -> NDArray[Any]:
    """Return for each code of luma its value over the whole range of uint8 or uint16."""
    top = 255 if bits == 8 else 65535
    codes = np.arange(1 << bits)
    if full:
        values = codes * (top / ((1 << bits) - 1))
    else:
        values = (codes - (16 << (bits - 8))) * (top / (219 << (bits - 8)))
    kind = np.uint8 if bits == 8 else np.uint16
    table: NDArray[Any] = np.clip(np.rint(values), 0, top).astype(kind)
    table.flags.writeable = False
    return table


def _plane(frame: Any, dtype: np.dtype[Any], samples: int = 1) -> NDArray[Any]:
    """Return the first plane, (H, W) or (H, W, samples), contiguous, in native byte order."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    width = frame.width * samples * dtype.itemsize
    found = np.ascontiguousarray(rows[: frame.height, :width]).view(dtype)
    found = found.astype(dtype.newbyteorder("="), copy=False)
    return found if samples == 1 else found.reshape(frame.height, frame.width, samples)


def _alpha(frame: Any) -> NDArray[np.float32] | None:
    """Return the opacity of each pixel, 0..1; None for a format without transparency."""
    if frame.format.has_palette:
        frame = frame.reformat(format="rgba")
    elif not any(component.is_alpha for component in frame.format.components):
        return None
    deep = next(c.bits for c in frame.format.components if c.is_alpha) > 8
    made = frame.reformat(format="rgba64le" if deep else "rgba")
    codes = _plane(made, np.dtype("<u2") if deep else np.dtype(np.uint8), 4)[..., 3]
    if codes.min() == (65535 if deep else 255):
        return None
    return np.asarray(codes / np.float32(65535 if deep else 255), np.float32)


@dataclass(frozen=True, slots=True)
class Orientation:
    """Rotates and mirrors images: transposed first, then mirrored left-right and up-down.

    An image (height, width, ...) is returned contiguous, as (width, height, ...) if transposed.
    """

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the image in display orientation."""
        if self.transposed:
            image = cv2.transpose(image)
        if self.mirrored or self.upside_down:
            code = -1 if self.mirrored and self.upside_down else int(self.mirrored)
            image = cv2.flip(image, code)
        return np.asarray(image)

    def size(self, coded: Size) -> Size:
        """Return the displayed size of images stored in size `coded`."""
        return Size(coded.height, coded.width) if self.transposed else coded

    def __str__(self) -> str:
        return _NAMES[self.transposed, self.mirrored, self.upside_down]


def orientation_of(frame: Any) -> tuple[Orientation, str | None]:
    """Return the orientation of a PyAV frame, and a note on it; None if it is upright.

    The matrix (a b u; c d v; x y w) takes a stored pixel (p, q) to (a p + c q, b p + d q) on the
    screen (ISO/IEC 14496-12, 8.2.2.3). Angles other than quarter turns are ignored.
    """
    from av.sidedata.sidedata import Type

    found = frame.side_data.get(Type.DISPLAYMATRIX)  # its iteration differs between PyAV 18 and 19
    matrix = b"" if found is None else bytes(found)
    if len(matrix) < 20:
        return Orientation(), None
    a, b, _, c, d = struct.unpack_from("<5i", matrix)
    if abs(a) == abs(d) == _ONE and b == c == 0:
        turn = Orientation(False, a < 0, d < 0)
    elif abs(b) == abs(c) == _ONE and a == d == 0:
        turn = Orientation(True, c < 0, b < 0)
    else:
        return Orientation(), "has a rotation that is not a quarter turn: left as stored"
    return turn, None if turn == Orientation() else f"{turn}, as its metadata require"
