"""Still images encoded as spikes, after random changes, alone and in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.datasets.batch_plan import (
    WHOLE,
    BatchShare,
    batch_sizes,
    check_classes,
    planned,
    rows_of,
)
from dvskit.datasets.prefetch import prefetched
from dvskit.datasets.samples import GrayImages, ImageSamples, named
from dvskit.encoders.names import Encoder, check_channels, encode_images
from dvskit.errors import ConfigError, GeometryError
from dvskit.events import Size, as_size
from dvskit.filters.checks import check_number

_MOST: dict[str, float] = {
    "shift_px": 32767, "rotate_deg": 180, "zoom": 0.99, "shear_deg": 80, "warp_px": 1e3,
}  # fmt: skip
_KNOTS = 4  # per side, of the grid of a warp: bends of a third of the image
_SIDES = ("shift_x", "shift_y", "rotate_deg", "zoom", "shear_deg")  # drawn from -1 to 1
_UPTO = ("flip_x", "erase", "place_x", "place_y")  # from 0 to 1
_DRAWN = len(_SIDES) + len(_UPTO) + 2 * _KNOTS**2


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChanges:
    """Bounds of random changes of still images, each drawn uniformly up to its bound; 0: none.

    It does for images what `dvskit.filters.Vary` does for events.

    shift_px, rotate_deg, zoom, shear_deg   to either side, about the centre; zoom 0.1 is a scale of
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

    shift_px: float = 0.0
    rotate_deg: float = 0.0
    zoom: float = 0.0
    shear_deg: float = 0.0
    warp_px: float = 0.0
    flip_x: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            check_number(self, each.name, 0, _MOST.get(each.name, 1))

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


_SEEDS = 1 << 62


@check_arguments
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
    size      of the sensor, (width, height); the image is centred, with black around it
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
        check_channels(self.encoder, self.channels)

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
        """Return the spikes of an image (height, width) uint8."""
        return self._encoded(centred(image, as_size(self.size)), rng)

    def many(self, images: GrayImages, rng: np.random.Generator) -> Tensor:
        """Return the spikes of images, (steps, N, channels, H, W), drawn in one call."""
        size = as_size(self.size)
        if isinstance(images, np.ndarray):
            return self._encoded(centred(images, size), rng)
        return self._encoded(torch.stack([centred(image, size) for image in images]), rng)

    def _encoded(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        generator = torch.Generator().manual_seed(int(rng.integers(_SEEDS)))
        if self.changes != ImageChanges():  # without changes, the same draws as in older versions
            height, width = images.shape[-2:]
            images = self.changes(images.view(-1, height, width), rng).view(images.shape)
        return encode_images(images, self.steps, self.encoder, generator, self.channels)


def centred(images: NDArray[np.uint8], size: Size) -> Tensor:
    """Return images (..., h, w) centred on a sensor, (..., H, W) float32 of 0 to 1.

    Raises GeometryError for images larger than the sensor.
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


_PREFETCH = 2
# Purposes of seeds: no two draws share one.
_ORDER, _BATCH = range(2)


@check_arguments
@dataclass(frozen=True, eq=False)
class ImageBatches:
    """Batches of encoded images for training and evaluation; a seed gives the same batches.

    shares   of images, each with an `Encode`; they follow one another in each batch
    seed     of the order and of all random draws
    shuffle  draw a new order for each epoch; otherwise use the order of the sets
    steps    batches per epoch, all full; default: as in `Batches`

    Unlike `Batches`, it draws the spikes of a batch together, so they depend on the images in it.
    Raises ConfigError for shares of anything else, and for classes that differ.

        images = dvskit.datasets.open_images("images")
        encode = dvskit.datasets.Encode("latency", 20, (28, 28))
        share = dvskit.datasets.BatchShare(samples=images, count=8, encode=encode)
        batches = dvskit.datasets.ImageBatches([share], seed=1)
        spikes, labels = next(iter(batches.epoch(0)))  # (20, 8, 2, 28, 28), (8,)
    """

    shares: Sequence[BatchShare]
    seed: int = field(default=0, kw_only=True)
    shuffle: bool = field(default=True, kw_only=True)
    steps: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for share in self.shares:
            if not isinstance(share.encode, Encode):
                raise ConfigError("ImageBatches takes shares of images with an Encode; use Batches")
        check_classes(self.shares)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in order of the labels."""
        return self.shares[0].samples.classes

    def sizes(self) -> list[int]:
        """Return the number of samples of each batch of an epoch."""
        return batch_sizes(self.shares, self.steps)

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return len(self.sizes())

    def epoch(
        self, number: int, *, first: int = 0, part: tuple[int, int] = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch: tensors (T, B, C, H, W) and labels (B,) int64.

        first, part  as in `Batches.epoch`; the whole batch is encoded in any case

        A thread makes batches in advance. Raises the errors of reading and encoding images.
        """
        sizes = self.sizes()
        plan = planned(self.shares, sizes, (self.seed, _ORDER, number) if self.shuffle else None)

        def fill(made: list[tuple[Tensor, Tensor]], batch: int, rows: range) -> Iterator[None]:
            chosen = plan.batch(first + batch)
            made.append(self._made(chosen, (self.seed, _BATCH, number, first + batch)))
            yield

        lists = prefetched(
            [1] * (len(sizes) - first),
            lambda batch: list[tuple[Tensor, Tensor]](),
            fill,
            threads=1,
            prefetch=_PREFETCH,
        )
        with closing(lists):
            for made, size in zip(lists, sizes[first:], strict=True):
                tensor, labels = made[0]
                rows = rows_of(part, size)
                taken = slice(rows.start, None, rows.step)
                yield tensor[:, taken], labels[taken]

    def _made(
        self, chosen: Sequence[NDArray[np.int64]], seed: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        parts, labels = [], []
        for number, (share, numbers) in enumerate(zip(self.shares, chosen, strict=True)):
            if len(numbers):
                rng = np.random.default_rng((*seed, number))
                assert isinstance(share.encode, Encode)
                assert isinstance(share.samples, ImageSamples)
                parts.append(_encoded_images(share.encode, share.samples, numbers, rng))
                labels.append(torch.from_numpy(share.samples.labels[numbers]))
        if len(parts) == 1:
            return parts[0], labels[0]
        return torch.cat([part.float() for part in parts], 1), torch.cat(labels)


def _encoded_images(
    encode: Encode, samples: ImageSamples, numbers: NDArray[np.int64], rng: np.random.Generator
) -> Tensor:
    """Return the spikes of some images. Raises GeometryError with the name of one too large."""
    images = samples.images(numbers)
    try:
        return encode.many(images, rng)
    except GeometryError as error:
        width, height = encode.size
        for number, image in zip(numbers, images, strict=True):
            if image.shape[0] > height or image.shape[1] > width:
                raise named(error, samples.rows[number]) from error
        raise
