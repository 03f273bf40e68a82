"""Still images encoded as spikes, after random changes, alone and in batches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit.datasets.samples import GrayImages
from dvskit.encoders.names import Encoder, check_channels, encode_images
from dvskit.errors import GeometryError
from dvskit.events import Size, as_size

_KNOTS = 4  # per side, of the grid of a warp: bends of a third of the image
_SIDES = ("shift_x", "shift_y", "rotate_deg", "zoom", "shear_deg")  # drawn from -1 to 1
_UPTO = ("flip_x", "erase", "place_x", "place_y")  # from 0 to 1
_DRAWN = len(_SIDES) + len(_UPTO) + 2 * _KNOTS**2


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChanges:
    """Bounds of random changes of still images, each drawn uniformly up to its bound; 0: none.

    It does for images what `dvskit.filters.Vary` does for events.

    shift_px, rotate_deg, zoom, shear_deg   to either side, about the center; zoom 0.1 is a scale of
             0.9 to 1.1. New pixels are black
    warp_px  to either side, of each of 4x4 points of a grid over the image; between them the image
             is bent smoothly (bicubic)
    flip_x   the probability of swapping left and right
    erase    the largest share of the area that is made black, a rectangle with the image's
             proportions (Zhong et al. 2020, "Random Erasing")

    Raises ConfigError for numbers out of range.

        changes = dvskit.datasets.ImageChanges(shift_px=3.0, rotate_deg=10.0)
        moved = changes(torch.rand(8, 28, 28), np.random.default_rng(0))  # (8, 28, 28)
        encode = dvskit.datasets.Encode("poisson", 20, (34, 34), changes=changes)
    """

    shift_px: float = checked(check_number, 0, 32767, default=0.0)
    rotate_deg: float = checked(check_number, 0, 180, default=0.0)
    zoom: float = checked(check_number, 0, 0.99, default=0.0)
    shear_deg: float = checked(check_number, 0, 80, default=0.0)
    warp_px: float = checked(check_number, 0, 1000, default=0.0)
    flip_x: float = checked(check_number, 0, 1, default=0.0)
    erase: float = checked(check_number, 0, 1, default=0.0)

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Return images (N, H, W) float32, each changed on its own, in the same shape.

        The number of draws does not depend on the bounds, nor those of an image on the images after
        it.
        """
        drawn = rng.random((len(images), _DRAWN), dtype=np.float32)
        if self == ImageChanges():
            return images
        split = len(_SIDES)
        side = dict(zip(_SIDES, 2 * torch.from_numpy(drawn[:, :split].T) - 1, strict=True))
        upto = dict(zip(_UPTO, torch.from_numpy(drawn.T)[split:], strict=False))
        knots = 2 * torch.from_numpy(drawn[:, split + len(_UPTO) :]) - 1
        if self.flip_x:
            flipped = (upto["flip_x"] < self.flip_x)[:, None, None]
            images = torch.where(flipped, images.flip(-1), images)
        if self.shift_px or self.rotate_deg or self.zoom or self.shear_deg or self.warp_px:
            images = _seen_from(images, self._sources(images, side, knots))
        if self.erase:
            images = images * ~self._erased(images, upto)
        return images

    def _sources(self, images: Tensor, side: dict[str, Tensor], knots: Tensor) -> Tensor:
        """Return the source of each pixel, (N, H, W, 2): x, y in pixels from the center."""
        count, rows, columns = images.shape
        angle = torch.deg2rad(self.rotate_deg * side["rotate_deg"])[:, None, None]
        shear = torch.tan(torch.deg2rad(self.shear_deg * side["shear_deg"]))[:, None, None]
        scale = 1 + self.zoom * side["zoom"][:, None, None]
        x = _from_middle(columns)[None, None, :] - self.shift_px * side["shift_x"][:, None, None]
        y = _from_middle(rows)[None, :, None] - self.shift_px * side["shift_y"][:, None, None]
        # The inverse of `Vary`: shear along x, then scale and rotate.
        back_x = (torch.cos(angle) * x + torch.sin(angle) * y) / scale
        back_y = (torch.cos(angle) * y - torch.sin(angle) * x) / scale
        sources = torch.stack((back_x - shear * back_y, back_y), -1)
        if self.warp_px:
            grid = self.warp_px * knots.view(count, 2, _KNOTS, _KNOTS)
            bent = functional.interpolate(grid, (rows, columns), mode="bicubic", align_corners=True)
            sources = sources + bent.movedim(1, -1)  # (N, 2, H, W) -> (N, H, W, 2)
        return sources

    def _erased(self, images: Tensor, upto: dict[str, Tensor]) -> Tensor:
        """Return which pixels are erased, (N, H, W) bool."""
        across = torch.sqrt(self.erase * upto["erase"])
        sides = zip(("place_y", "place_x"), images.shape[1:], strict=True)
        inside = []
        for place, length in sides:
            first = (upto[place] * (1 - across) * length)[:, None]
            middles = torch.arange(length) + 0.5
            inside.append((middles >= first) & (middles < first + (across * length)[:, None]))
        return inside[0][:, :, None] & inside[1][:, None, :]


def _from_middle(length: int) -> Tensor:
    return torch.arange(length, dtype=torch.float32) - (length - 1) / 2


def _seen_from(images: Tensor, sources: Tensor) -> Tensor:
    """Return images (N, H, W) whose pixels are those at `sources`, bilinear; outside is black."""
    rows, columns = images.shape[1:]
    halves = torch.tensor((columns / 2, rows / 2))
    found = functional.grid_sample(
        images[:, None], sources / halves, padding_mode="zeros", align_corners=False
    )
    return found[:, 0]


_SEEDS = 1 << 62


@dataclass(frozen=True, slots=True)
class Encode:
    """Still images as spikes: the `encode` of a `BatchShare`, called as `encode(image, rng)`.

    encoder   a name, or a function of the image, the steps and a generator, such as one made from
              `dvskit.encoders`: see `dvskit.encoders.register_encoder`. Names:
              "poisson", "latency" and "log_latency" (darker than a tenth: no spike), "rank_order"
              (black: no spike), "delta" (the image fades in, with a spike per tenth of brightness
              that a pixel gains), all ON; "signed_poisson" (of 2 x - 1: gray is silent, dark OFF,
              bright ON); "population" (two neurons per pixel, one spike each, earlier if nearer:
              one for black, as OFF, and one for white, as ON); "direct" (no spikes: the brightness
              itself at each step, 0 to 1)
    steps     of time, one bin each
    size      of the sensor, (width, height); the image is centered, with black around it
    channels  2: OFF, ON; 1: the output of the encoder, signed or not; or the number of channels
              that a function makes
    changes   random changes of images before encoding; default: none

    Returns (steps, channels, H, W): uint8, with spikes of 1 as ON and of -1 as OFF; float32 for
    "direct", for 1 channel and for functions. Raises ConfigError for another encoder,
    GeometryError for an image larger than the sensor; with a function also for spikes of another
    shape (ShapeError) or number of channels, or that are not finite.

        encode = dvskit.datasets.Encode("poisson", 20, (34, 34))
        image = dvskit.datasets.open_images("images").image(0)  # (28, 28) uint8
        spikes = encode(image, np.random.default_rng(0))  # (20, 2, 34, 34) uint8
    """

    encoder: str | Encoder
    steps: int
    size: tuple[int, int]
    channels: int = 2
    changes: ImageChanges = field(default_factory=ImageChanges)

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, 1, owner="Encode")
        check_whole("channels", self.channels, 1, owner="Encode")
        check_channels(self.encoder, self.channels)

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
        """Return the spikes of an image (height, width) uint8."""
        return self._encoded(centered(image, as_size(self.size)), rng)

    def many(self, images: GrayImages, rng: np.random.Generator) -> Tensor:
        """Return the spikes of images, (steps, N, channels, H, W), drawn in one call."""
        size = as_size(self.size)
        if isinstance(images, np.ndarray):
            return self._encoded(centered(images, size), rng)
        return self._encoded(torch.stack([centered(image, size) for image in images]), rng)

    def _encoded(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        generator = torch.Generator().manual_seed(int(rng.integers(_SEEDS)))
        if self.changes != ImageChanges():  # without changes, the same draws as in older versions
            height, width = images.shape[-2:]
            images = self.changes(images.view(-1, height, width), rng).view(images.shape)
        return encode_images(images, self.steps, self.encoder, generator, self.channels)


def centered(images: NDArray[np.uint8], size: Size) -> Tensor:
    """Return images (..., h, w) centered on a sensor, (..., H, W) float32 of 0 to 1.

    Raises GeometryError for images larger than the sensor.
    """
    height, width = images.shape[-2:]
    right, down = size.width - width, size.height - height
    if right < 0 or down < 0:
        raise GeometryError(
            f"{width}x{height} pixels do not fit the input, {size}; scale or crop images to that "
            "size or less"
        )
    borders = (right // 2, right - right // 2, down // 2, down - down // 2)
    return functional.pad(torch.from_numpy(images.astype(np.float32) / 255), borders)
