"""Images of a recording in a view, made in a thread while the recording is read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from dvskit.errors import ConfigError, DvskitError, one_line
from dvskit.events import Source
from dvskit.render._page_images import Images, PageImages


class Pictures:
    """The images of a source, such as reconstructed ones: `make` yields them, in a thread."""

    def __init__(self, source: Source, make: Callable[[Source], Images]) -> None:
        self._kept = PageImages()
        self.done = False
        self.problem = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(source, make), daemon=True)
        self._thread.start()

    @property
    def total(self) -> int:
        """The number of images so far."""
        return self._kept.total

    def _work(self, source: Source, make: Callable[[Source], Images]) -> None:
        try:
            for t_us, image in make(source):
                self._kept.add(t_us, image)
                if self._closed.is_set():
                    return
        except (DvskitError, OSError, MemoryError) as error:
            self.problem = one_line(error)
        self.done = True

    def times(self, start_us: int) -> bytes:
        """Return the times of the images relative to `start_us`, as JSON."""
        return json.dumps(self._kept.times(start_us)).encode()

    def image(self, t_us: int) -> bytes:
        """Return the image at a time, as WebP. Raises ConfigError if it is not kept."""
        for at_us, image in self._kept.rows:
            if at_us == t_us:
                return image
        raise ConfigError(f"there is no image at {t_us} us")

    def close(self) -> None:
        """Stop making more."""
        self._closed.set()
        self._thread.join()
