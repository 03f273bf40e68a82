"""Images of a recording in a view, made in a thread while the recording is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from dvskit.errors import ConfigError
from dvskit.events import Source
from dvskit.render._page_images import Images, PageImages
from dvskit.render.view.found import FoundRows


class Pictures(FoundRows[tuple[int, NDArray[Any]]]):
    """The images of a source, such as reconstructed ones: `make` yields them, in a thread.

    Its length is the number of images so far; `PageImages` keeps some of them.
    """

    def __init__(self, source: Source, make: Callable[[Source], Images]) -> None:
        self._kept = PageImages()
        super().__init__(source, make)

    def add(self, row: tuple[int, NDArray[Any]]) -> None:
        """Add the next one."""
        self._kept.add(*row)

    def __len__(self) -> int:
        return self._kept.total

    def times(self, start_us: int) -> bytes:
        """Return the times of the images relative to `start_us`, as JSON."""
        return json.dumps(self._kept.times(start_us)).encode()

    def image(self, t_us: int) -> bytes:
        """Return the image at a time, as WebP. Raises ConfigError if it is not kept."""
        for at_us, image in self._kept.rows:
            if at_us == t_us:
                return image
        raise ConfigError(f"there is no image at {t_us} us")
