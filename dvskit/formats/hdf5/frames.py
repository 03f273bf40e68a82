"""The frames that stand beside the events of an HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.hdf5.filters import ChunkError
from dvskit.formats.hdf5.layout import Pictures
from dvskit.formats.hdf5.opening import dataset, open_file
from dvskit.formats.hdf5.survey import survey
from dvskit.streams import Frame

_MOST_BYTES = 1 << 28  # of a frame


def read_frames(path: Path, pictures: Pictures, *, strict: bool) -> Iterator[Frame]:
    """Yield frames in time order, one at a time.

    Raises FormatError for a damaged one in strict mode, and leaves it out otherwise.
    """
    with open_file(path, strict=strict) as file, path.open("rb") as raw:
        for number in np.argsort(pictures.times_us, kind="stable").tolist():
            stored = pictures.images
            try:
                if stored is None:
                    image = _whole(file, pictures.names[number], path, raw.fileno())
                else:
                    image = stored.read(raw.fileno(), number, number + 1, None)[0]
                image = _checked(image)
            except (ChunkError, FormatError) as error:
                if strict:
                    raise FormatError(f"{path}: frame {number} is damaged: {error}") from None
                continue
            t = int(pictures.times_us[number])
            yield Frame(t, t, image)


def _whole(file: h5py.File, name: str, path: Path, handle: int) -> NDArray[Any]:
    """Return a dataset that is one image."""
    stored = survey(dataset(file, name), name, path, strict=True)
    if stored.count * stored.row_bytes > _MOST_BYTES:
        raise ChunkError(f"it claims {stored.count} rows of {stored.row_bytes} bytes")
    if stored.spans() != [(0, stored.count)]:
        raise ChunkError("it is not all there")
    return stored.read(handle, 0, stored.count, None)


def _checked(image: NDArray[Any]) -> NDArray[Any]:
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    known = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if not known or image.dtype not in (np.uint8, np.uint16):
        raise ChunkError(f"{image.dtype} of shape {image.shape} is no picture")
    return image
