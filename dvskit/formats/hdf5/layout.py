"""The events of an HDF5 file: rows of one dataset, or columns of several.

Prophesee   compound rows of x, y, p, t in `CD/events`, mostly packed as ECF, and of p, t, id in
            `EXT_TRIGGER/events`. The file's attributes hold the rest: `geometry` "WxH" or `format`
            "...;height=H;width=W", `generation`, `serial_number`, and others. `indexes` next to the
            events are not needed: each chunk begins with its first time.
v2e         `events` N x 4 uint32 (t in microseconds, x, y, p); `frame` N x H x W, `frame_ts`
MVSEC       `davis/left/events` N x 4 float64 (x, y, t in seconds, p of -1 or 1); `image_raw`
            and `image_raw_ts` next to them
others      N x 4 in either order, or rows with named fields

DSEC, TUM-VIE, RVT   events/x, y, t, p; t in microseconds, to which a scalar t_offset is added;
                     RVT adds events/height and events/width, DSEC stores no size
M3ED                 prophesee/left/x, y, t, p; calib/resolution next to them
rpg_e2vid            events/xs, ys, ts, ps; ts in float seconds; the attribute sensor_resolution
                     (height, width); images/image..., a dataset each with a timestamp
others               the same names at the top

`ms_to_idx` is not needed: the times themselves are searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError, GeometryError
from dvskit.events import Size, as_size, parse_size
from dvskit.formats.hdf5.opening import attributes, dataset, find, open_file, scalar
from dvskit.formats.hdf5.table import ChunkError, EventTable, Field, Stored, survey
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


def all_rows(
    file: h5py.File, stored: Stored, *, most_rows: int = 1 << 16
) -> Iterator[NDArray[Any]]:
    """Yield the rows of a small dataset in parts. Raises ChunkError."""
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


def is_seconds(file: h5py.File, stored: Stored, column: int | None = None) -> bool:
    """Whether times are seconds: floating point, with a plausible duration."""
    if stored.dtype.kind != "f":
        return False
    spans = stored.spans()
    if not spans:
        return True
    try:
        rows = [stored.read(file, row, row + 1) for row in (spans[0][0], spans[-1][1] - 1)]
        ends = [float(row.ravel()[column or 0]) for row in rows]
    except ValueError:
        return True
    return not abs(ends[1] - ends[0]) > _LONGEST_S


_EVENTS, _TRIGGERS = "CD/events", "EXT_TRIGGER/events"
_DATASETS = ("events", "davis/left/events", "davis/right/events", "dvs/events", "data")
_FIELDS = {
    "t": ("t", "ts", "timestamp"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "polarity", "on"),
}
_TXYP, _XYTP = {"t": 0, "x": 1, "y": 2, "p": 3}, {"t": 2, "x": 0, "y": 1, "p": 3}
_JUDGED = 1 << 14  # rows used to find the column of times
_GROUPS = ("events", "prophesee/left", "davis/left/events", "dvs/left", "dvs/events", "dvs", "")
_NAMES = {
    "t": ("t", "ts", "timestamps", "timestamp"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "polarity", "polarities", "pol", "on"),
}
_MOST_IMAGES = 1 << 20


def find_layout(file: h5py.File, path: Path, *, strict: bool) -> EventLayout | None:
    """Return the layout of a file's events; None if it has none. Raises FormatError."""
    events = dataset(file, _EVENTS)
    if events is not None:
        return _prophesee(file, path, events, strict=strict)
    for group in _GROUPS:
        named = _named(file, group)
        if named is not None:
            return _columns(file, path, group, named, strict=strict)
    for name in _DATASETS:
        node = dataset(file, name)
        if node is None:
            continue
        picks = _picks(node.dtype.names)
        plain = node.ndim == 2 and node.shape[1] == 4 and node.dtype.kind in "iuf"
        if picks is not None or plain:
            return _rows(file, path, survey(node, name, path), picks)
    return None


def _prophesee(file: h5py.File, path: Path, events: h5py.Dataset, *, strict: bool) -> EventLayout:
    fields = events.dtype.names or ()
    if events.ndim != 1 or not {"x", "y", "p", "t"} <= set(fields):
        raise FormatError(
            f"{path}: {_EVENTS} has rows of {', '.join(fields) or events.dtype}; "
            "they must be x, y, p and t"
        )
    stored = survey(events, _EVENTS, path)
    header = attributes(file)
    layout = EventLayout(
        EventTable(path, tuple(Field(stored, name) for name in "txyp")), header=header
    )
    stated = stated_size(file, "")
    layout.size = stated[0] if stated else _format_size(header.get("format", ""))
    try:
        triggers = dataset(file, _TRIGGERS)
        if triggers is not None and {"p", "t", "id"} <= set(triggers.dtype.names or ()):
            layout.triggers = survey(triggers, _TRIGGERS, path)
    except Exception as error:  # structure damaged only there
        if strict:
            raise
        reason = " ".join(str(error).split())
        layout.losses.append(Loss(0, 0, f"{_TRIGGERS} cannot be read ({reason})"))
    return layout


def _format_size(text: str) -> Size | None:
    """Return the size in a format text such as "EVT3;height=720;width=1280"."""
    parts = dict(part.partition("=")[::2] for part in text.split(";") if "=" in part)
    try:
        return as_size((int(parts["width"]), int(parts["height"])))
    except (KeyError, ValueError, GeometryError):
        return None


def _picks(fields: tuple[str, ...] | None) -> dict[str, str] | None:
    """Return the field of each column, in the order t, x, y, p; None if one is missing."""
    found = {
        column: next((name for name in names if name in (fields or ())), None)
        for column, names in _FIELDS.items()
    }
    picks = {column: name for column, name in found.items() if name is not None}
    return picks if len(picks) == len(_FIELDS) else None


def _order(file: h5py.File, stored: Stored) -> tuple[dict[str, int], str | None]:
    """Return the order of the columns, and a note on assumptions."""
    sample: NDArray[Any] = np.zeros((0, 4))
    for first, stop in stored.spans():
        with suppress(ChunkError):
            sample = stored.read(file, first, min(stop, first + _JUDGED))
            break

    def fits(order: dict[str, int]) -> bool:
        t, p = sample[:, order["t"]], sample[:, order["p"]]
        return bool((t[1:] >= t[:-1]).all() and np.isin(p, (-1, 0, 1)).all())

    usual, other = (_XYTP, _TXYP) if stored.dtype.kind == "f" else (_TXYP, _XYTP)
    if stored.dtype == np.uint32 and (fits(_TXYP) or not fits(_XYTP)):
        return _TXYP, None  # v2e
    chosen = other if fits(other) and not fits(usual) else usual
    names = ", ".join(sorted(chosen, key=chosen.__getitem__))
    return chosen, f"the columns of {stored.name} are assumed to be {names}"


def _rows(file: h5py.File, path: Path, stored: Stored, picks: dict[str, str] | None) -> EventLayout:
    assumptions: list[str] = []
    fields: dict[str, Field]
    if picks is not None:
        fields = {column: Field(stored, pick) for column, pick in picks.items()}
        seconds = stored.dtype[picks["t"]].kind == "f"
    else:
        order, assumed = _order(file, stored)
        fields = {column: Field(stored, pick) for column, pick in order.items()}
        assumptions += [assumed] if assumed else []
        seconds = is_seconds(file, stored, order["t"])
    if stored.dtype.kind == "f" or seconds:
        unit = "seconds" if seconds else "microseconds"
        assumptions.append(f"t of {stored.name} is assumed to be in {unit}")
    if "left" in stored.name.split("/"):
        assumptions.append(f"events are those of {stored.name}; other cameras are left out")
    table = EventTable(
        path, tuple(fields[column] for column in "txyp"), unit="s" if seconds else "us"
    )
    group = stored.name.rpartition("/")[0]
    layout = EventLayout(table, assumptions=assumptions, header=attributes(file))
    stated = stated_size(file, group)
    layout.size = stated[0] if stated else None
    pictures = layout.pictures = _pictures_of_rows(file, path, group)
    if layout.size is None and pictures is not None and pictures.images is not None:
        height, width = pictures.images.row_shape[:2]
        layout.size = as_size((width, height))
        assumptions.append(f"{layout.size}, the size of the frames, is assumed for the sensor")
    return layout


def _pictures_of_rows(file: h5py.File, path: Path, group: str) -> StoredFrames | None:
    """Return the frames of v2e or MVSEC: a dataset of them, and one of their times."""
    prefix = f"{group}/" if group else ""
    for images, times in (
        ("frame", "frame_ts"),
        (f"{prefix}image_raw", f"{prefix}image_raw_ts"),
    ):
        with suppress(FormatError, ChunkError):
            pixels, stamps = dataset(file, images), dataset(file, times)
            if pixels is None or stamps is None or pixels.ndim not in (3, 4):
                continue
            if pixels.dtype not in (np.uint8, np.uint16) or stamps.ndim != 1:
                continue
            stored = survey(pixels, images, path)
            clock = survey(stamps, times, path)
            t = np.concatenate([np.zeros(0, clock.dtype), *all_rows(file, clock)])
            scale = 1e6 if is_seconds(file, clock) else 1.0
            t = np.rint(t * scale) if t.dtype.kind == "f" else t
            return StoredFrames(t.astype(np.int64)[: stored.count], stored)
    return None


def _named(file: h5py.File, group: str) -> dict[str, h5py.Dataset] | None:
    """Return the paths of the columns in a group, in the order t, x, y, p, and their datasets.

    None if one is missing.
    """
    if group and not isinstance(find(file, group), h5py.Group):
        return None
    found = {}
    for names in _NAMES.values():
        for name in names:
            path = f"{group}/{name}" if group else name
            node = dataset(file, path)
            if node is not None:
                found[path] = node
                break
        else:
            return None
    return found


def _columns(
    file: h5py.File, path: Path, group: str, named: dict[str, h5py.Dataset], *, strict: bool
) -> EventLayout:
    columns: list[Stored] = []
    for name, node in named.items():
        if node.ndim != 1 or node.dtype.kind not in "iufb":
            raise FormatError(
                f"{path}: {name} is {node.dtype} of shape {node.shape}; it must be a column"
            )
        columns.append(survey(node, name, path))
    t = columns[0]
    listed = ", ".join(f"{each.name} {each.count}" for each in columns)
    differ = f"columns differ in length ({listed})"
    is_even = len({each.count for each in columns}) == 1
    if strict and not is_even:
        raise FormatError(f"{path}: {differ}; pass strict=False to keep the rows in all columns")
    seconds = is_seconds(file, t)
    offset = scalar(file, "t_offset")
    table = EventTable(
        path,
        tuple(Field(stored) for stored in columns),
        unit="s" if seconds else "us",
        offset_us=int(offset) if isinstance(offset, int) and abs(offset) < 1 << 60 else 0,
    )
    layout = EventLayout(table, header=attributes(file))
    layout.losses += [] if is_even else [Loss(0, 0, differ)]
    if t.dtype.kind == "f":
        unit = "seconds" if seconds else "microseconds"
        layout.assumptions.append(f"{t.name} ({t.dtype}) is assumed to be in {unit}")
    elif t.name not in ("events/t", "prophesee/left/t"):
        layout.assumptions.append(f"{t.name} ({t.dtype}) is assumed to be in microseconds")
    if "left" in group.split("/"):
        layout.assumptions.append(f"events are those of {group}; other cameras are left out")
    stated = stated_size(file, group)
    if stated is not None:
        layout.size, where = stated
        layout.assumptions.append(f"{layout.size} is the sensor size in {where}")
    if offset is not None:
        layout.header["t_offset"] = str(offset)
    layout.pictures = _pictures_of_columns(file)
    return layout


def _pictures_of_columns(file: h5py.File) -> StoredFrames | None:
    """Return the images of rpg_e2vid: datasets with the attribute timestamp, in seconds."""
    group = None
    with suppress(FormatError):
        group = find(file, "images")
    if not isinstance(group, h5py.Group):
        return None
    found: list[tuple[int, str]] = []
    for name in list(group)[:_MOST_IMAGES]:
        with suppress(Exception):  # error of one image: others may be readable
            node: Any = dataset(file, f"images/{name}")
            stamp = float(node.attrs["timestamp"])
            found.append((round(stamp * 1e6), f"images/{name}"))
    found.sort()
    times = np.array([t for t, _ in found], np.int64)
    return StoredFrames(times, names=tuple(name for _, name in found)) if found else None


_MOST_BYTES = 1 << 28  # per frame


def read_frames(path: Path, pictures: StoredFrames, *, strict: bool) -> Iterator[Frame]:
    """Yield frames in time order, one at a time.

    Raises FormatError for a damaged frame in strict mode, and leaves it out otherwise.
    """
    with open_file(path) as file:
        for number in np.argsort(pictures.times_us, kind="stable").tolist():
            try:
                if pictures.images is None:
                    image = _whole(file, pictures.names[number], path)
                else:
                    image = pictures.images.read(file, number, number + 1)[0]
                image = _checked(image)
            except (ChunkError, FormatError) as error:
                if strict:
                    raise FormatError(f"{path}: frame {number} is damaged: {error}") from None
                continue
            t = int(pictures.times_us[number])
            yield Frame(t, t, image)


def _whole(file: h5py.File, name: str, path: Path) -> NDArray[Any]:
    """Return a dataset that is a single image."""
    stored = survey(dataset(file, name), name, path)
    if stored.count * stored.row_bytes > _MOST_BYTES:
        raise ChunkError(f"it claims {stored.count} rows of {stored.row_bytes} bytes")
    if stored.spans() != [(0, stored.count)]:
        raise ChunkError("it is incomplete")
    return stored.read(file, 0, stored.count)


def _checked(image: NDArray[Any]) -> NDArray[Any]:
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    known = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if not known or image.dtype not in (np.uint8, np.uint16):
        raise ChunkError(f"{image.dtype} of shape {image.shape} is not a picture")
    return image
