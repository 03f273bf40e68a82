"""Images beside a cloud on a page: scaled, compressed and limited in number."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import cv2
from numpy.typing import NDArray

from dvskit.render.frames.canvas import as_uint8
from dvskit.video import FrameSource

MOST_IMAGES = 240
LONGEST_PX = 480
_QUALITY = 60  # of WebP, 0..100: about 10 kB an image

Images = Iterable[tuple[int, NDArray[Any]]]


class PageImages:
    """The images of a recording on a page: at most `MOST_IMAGES`, evenly thinned, as WebP.

    rows   (t_us, WebP) of each image, in order of time
    every  1 in `every` images is kept
    total  how many were added
    """

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes]] = []
        self.every, self.total = 1, 0

    def add(self, t_us: int, image: NDArray[Any]) -> None:
        """Add an image, gray or RGB; each one is later than the one before."""
        number, self.total = self.total, self.total + 1
        if number % self.every:
            return
        # A new list each time: other threads may read the old one.
        self.rows = [*self.rows, (t_us, _webp(as_uint8(image)))]
        if len(self.rows) > MOST_IMAGES:
            self.rows, self.every = self.rows[::2], 2 * self.every

    def times(self, start_us: int) -> list[int]:
        """Return the times of the images, relative to `start_us`."""
        return [t_us - start_us for t_us, _ in self.rows]

    def element(self, index: int) -> str:
        """Return the images as an element of a page: base64, in a JSON list."""
        data = [base64.b64encode(image).decode() for _, image in self.rows]
        return f'<script id="images-{index}" type="application/json">{json.dumps(data)}</script>'


def page_images(images: Images) -> PageImages:
    """Return timed images, such as a FrameSource in its colours, for a page."""
    found = PageImages()
    for t_us, image in images.pictures() if isinstance(images, FrameSource) else images:
        found.add(t_us, image)
    return found


def _webp(image: NDArray[Any]) -> bytes:
    height, width = image.shape[:2]
    share = min(1.0, LONGEST_PX / max(width, height))
    if share < 1:
        size = max(1, round(width * share)), max(1, round(height * share))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = image if image.ndim == 2 else image[..., ::-1]
    return bytes(cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].data)
