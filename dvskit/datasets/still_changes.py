"""Random changes of still images before encoding: shift, rotate, bend, flip, erase."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.filters.base import check_number

_MOST: dict[str, float] = {
    "shift_px": 32767, "rotate_deg": 180, "zoom": 0.99, "shear_deg": 80, "warp_px": 1e3,
}  # fmt: skip
_KNOTS = 4  # per side, of the grid of a warp: bends of a third of the image
_SIDES = ("shift_x", "shift_y", "rotate_deg", "zoom", "shear_deg")  # drawn from -1 to 1
_UPTO = ("flip_x", "erase", "place_x", "place_y")  # from 0 to 1
_DRAWN = len(_SIDES) + len(_UPTO) + 2 * _KNOTS**2


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class StillChanges:
    """Bounds of random changes of still images, like those of another hand or camera.

    It does for images what `dvskit.filters.Vary` does for events. Each change is drawn uniformly up
    to its bound; 0 leaves an image unchanged, bit for bit.

    shift_px, rotate_deg, zoom, shear_deg   to either side, all at once, about the centre; zoom 0.1
             is a scale of 0.9 to 1.1. Pixels that leave the image are lost, new ones are black
    warp_px  to either side, of each of 4x4 points of a grid over the image; between them the image
             is bent smoothly (bicubic); Simard et al. 2003 use a field of their own
    flip_x   the probability of swapping left and right
    erase    the largest share of the area that is made black, a rectangle with the image's
             proportions (Zhong et al. 2020, "Random Erasing")

    Raises ConfigError for numbers out of range.
    """

    shift_px: float = 0.0
    rotate_deg: float = 0.0
    zoom: float = 0.0
    shear_deg: float = 0.0
    warp_px: float = 0.0
    flip_x: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            check_number(self, field.name, 0, _MOST.get(field.name, 1))

    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Return images (N, H, W) float32, each changed on its own, in the same shape.

        The first images of a batch are changed as in a batch of them alone. The number of draws
        does not depend on the bounds: one more change affects nothing else.
        """
        drawn = rng.random((len(images), _DRAWN), dtype=np.float32)
        if self == StillChanges():
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
        """Return the source of each pixel, (N, H, W, 2): x, y in pixels from the centre."""
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
