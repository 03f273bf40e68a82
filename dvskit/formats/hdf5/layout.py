"""The layout of an HDF5 file: positions of events, triggers and frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError, GeometryError
from dvskit.events import Size, as_size, parse_size
from dvskit.formats.hdf5.filters import ChunkError
from dvskit.formats.hdf5.library import RowFile
from dvskit.formats.hdf5.opening import attributes, dataset, find, open_file, scalar
from dvskit.formats.hdf5.stored import Stored, survey
from dvskit.formats.hdf5.table import EventTable
from dvskit.formats.losses import Loss
from dvskit.streams import Frame

_LONGEST_S = 1e5  # if times in seconds would last longer, they are in microseconds


@dataclass(frozen=True, slots=True)
class StoredFrames:
    """Frames of a file.

    images    one dataset with frames as rows; or None, and the paths of one dataset each
    times_us  int64, in the order of the images
    """

    times_us: NDArray[np.int64]
    images: Stored | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.times_us)


@dataclass(slots=True)
class EventLayout:
    """A file's events and other data.

    size    None if the file has no size
    losses  losses in the file's structure, for salvage
    """

    table: EventTable
    size: Size | None = None
    assumptions: list[str] = field(default_factory=list)
    header: dict[str, str] = field(default_factory=dict)
    triggers: Stored | None = None
    pictures: StoredFrames | None = None
    losses: list[Loss] = field(default_factory=list)


def all_rows(path: Path, stored: Stored, *, most_rows: int = 1 << 16) -> Iterator[NDArray[Any]]:
    """Yield the rows of a small dataset in parts. Raises ChunkError."""
    with RowFile(path, strict=False) as file:
        for first, stop in stored.spans():
            for start in range(first, stop, most_rows):
                yield stored.read(file, start, min(stop, start + most_rows))


def pair_size(values: list[int]) -> Size | None:
    """Return the size in two numbers of either order: sensors are not taller than wide."""
    if len(values) < 2:
        return None
    try:
        return as_size((max(values[:2]), min(values[:2])))
    except GeometryError:
        return None


def _numbers(text: str) -> list[int]:
    words = text.replace(",", " ").strip("[]() ").split()
    try:
        return [int(float(word)) for word in words[:2]]
    except (ValueError, OverflowError):
        return []


def stated_size(file: h5py.File, group: str) -> tuple[Size, str] | None:
    """Return the size stored in a file, and its source: attributes, or datasets of the group."""
    for place in (group, ""):
        prefix = f"{place}/" if place else ""
        node = find(file, place) if place else file
        found = attributes(node) if node is not None else {}
        for name in ("geometry", "sensor_resolution", "resolution", "sensor_size"):
            if name in found:
                try:
                    return parse_size(found[name]), f"attribute {name}"
                except GeometryError:
                    size = pair_size(_numbers(found[name]))
                    if size is not None:
                        return size, f"attribute {name} ({found[name]})"
        for width, height in (("width", "height"), ("sensor_width", "sensor_height")):
            pair = _numbers(f"{found.get(width, '')} {found.get(height, '')}")
            where = f"attributes {width} and {height}"
            if len(pair) < 2:
                numbers = scalar(file, prefix + width), scalar(file, prefix + height)
                pair = [int(n) for n in numbers if n is not None and abs(n) < 1 << 31]
                where = f"datasets {prefix}{width} and {prefix}{height}"
            if len(pair) == 2:
                try:
                    return as_size((pair[0], pair[1])), where
                except GeometryError:
                    continue
        resolution = dataset(file, f"{prefix}calib/resolution")
        if resolution is not None and resolution.shape == (2,) and resolution.dtype.kind in "iu":
            size = pair_size(resolution[()].tolist())
            if size is not None:
                return size, f"dataset {prefix}calib/resolution"
    return None


def is_seconds(path: Path, stored: Stored, column: int | None = None) -> bool:
    """Whether times are seconds: floating point, with a plausible duration."""
    if stored.dtype.kind != "f":
        return False
    spans = stored.spans()
    if not spans:
        return True
    try:
        with RowFile(path, strict=False) as file:
            rows = [stored.read(file, row, row + 1) for row in (spans[0][0], spans[-1][1] - 1)]
        ends = [float(row.ravel()[column or 0]) for row in rows]
    except ValueError:
        return True
    return not abs(ends[1] - ends[0]) > _LONGEST_S


_MOST_BYTES = 1 << 28  # per frame


def read_frames(path: Path, pictures: StoredFrames, *, strict: bool) -> Iterator[Frame]:
    """Yield frames in time order, one at a time.

    Raises FormatError for a damaged frame in strict mode, and leaves it out otherwise.
    """
    with open_file(path, strict=strict) as file, RowFile(path, strict=strict) as raw:
        for number in np.argsort(pictures.times_us, kind="stable").tolist():
            try:
                if pictures.images is None:
                    image = _whole(file, pictures.names[number], path, raw)
                else:
                    image = pictures.images.read(raw, number, number + 1)[0]
                image = _checked(image)
            except (ChunkError, FormatError) as error:
                if strict:
                    raise FormatError(f"{path}: frame {number} is damaged: {error}") from None
                continue
            t = int(pictures.times_us[number])
            yield Frame(t, t, image)


def _whole(file: h5py.File, name: str, path: Path, raw: RowFile) -> NDArray[Any]:
    """Return a dataset that is a single image."""
    stored = survey(dataset(file, name), name, path)
    if stored.count * stored.row_bytes > _MOST_BYTES:
        raise ChunkError(f"it claims {stored.count} rows of {stored.row_bytes} bytes")
    if stored.spans() != [(0, stored.count)]:
        raise ChunkError("it is incomplete")
    return stored.read(raw, 0, stored.count)


def _checked(image: NDArray[Any]) -> NDArray[Any]:
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    known = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if not known or image.dtype not in (np.uint8, np.uint16):
        raise ChunkError(f"{image.dtype} of shape {image.shape} is not a picture")
    return image
