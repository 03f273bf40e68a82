"""Still images changed at random ahead of their encoder: moved, turned, bent, flipped, erased."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.filters.parameters import check_number

_MOST: dict[str, float] = {
    "shift_px": 32767, "rotate_deg": 180, "zoom": 0.99, "shear_deg": 80, "warp_px": 1e3,
}  # fmt: skip
_KNOTS = 4  # to a side, of the grid whose points a warp moves: a bend of a third of the image
_SIDES = ("shift_x", "shift_y", "rotate_deg", "zoom", "shear_deg")  # drawn from -1 to 1
_UPTO = ("flip_x", "erase", "place_x", "place_y")  # from 0 to 1
_DRAWN = len(_SIDES) + len(_UPTO) + 2 * _KNOTS**2


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class StillChanges:
    """How far still images are changed at random, as another hand or camera would have made them.

    What `dvskit.filters.Vary` is for events. Each change is drawn uniformly up to its bound; 0 is
    no change, and leaves an image as it was, bit for bit.

    shift_px, rotate_deg, zoom, shear_deg   to either side, all at once, about the middle; zoom 0.1
             is a scale of 0.9 to 1.1. What leaves the image is lost, what comes in is black
    warp_px  to either side, of each of 4x4 points of a grid over the image; between them the image
             is bent smoothly (bicubic), as Simard et al. 2003 do with a field of their own
    flip_x   the chance that left and right are swapped
    erase    the largest share of the area that is made black, a rectangle of the image's
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
        """Return images (N, H, W) float32, changed each in its own way, in the same shape.

        The first images of a batch are what a batch of them alone would be. As many numbers are
        drawn whatever is changed: to change one thing more changes only that.
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
        """Return where each pixel comes from, (N, H, W, 2): x, y in pixels from the middle."""
        count, rows, columns = images.shape
        angle = torch.deg2rad(self.rotate_deg * side["rotate_deg"])[:, None, None]
        shear = torch.tan(torch.deg2rad(self.shear_deg * side["shear_deg"]))[:, None, None]
        scale = 1 + self.zoom * side["zoom"][:, None, None]
        x = _from_middle(columns)[None, None, :] - self.shift_px * side["shift_x"][:, None, None]
        y = _from_middle(rows)[None, :, None] - self.shift_px * side["shift_y"][:, None, None]
        # Back through `Vary`'s way: scaled and turned after being sheared along x.
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
