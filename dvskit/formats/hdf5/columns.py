"""Columns as datasets of their own: DSEC, RVT, M3ED, rpg_e2vid and their relatives.

    DSEC, TUM-VIE, RVT   events/x, y, t, p; t in microseconds, to which a scalar t_offset is added;
                         RVT adds events/height and events/width, DSEC does not say its size
    M3ED                 prophesee/left/x, y, t, p; calib/resolution beside them
    rpg_e2vid            events/xs, ys, ts, ps; ts in float seconds; the attribute sensor_resolution
                         (height, width); images/image..., a dataset each with a timestamp
    others               the same names at the top

`ms_to_idx` is not needed: the times themselves are searched.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dvskit.errors import FormatError
from dvskit.formats.hdf5.layout import Layout, Pictures, is_seconds, stated_size
from dvskit.formats.hdf5.library import survey
from dvskit.formats.hdf5.opening import attributes, dataset, find, scalar
from dvskit.formats.hdf5.stored import Stored
from dvskit.formats.hdf5.table import Field, Table
from dvskit.formats.losses import Loss

_GROUPS = ("events", "prophesee/left", "davis/left/events", "dvs/left", "dvs/events", "dvs", "")
_NAMES = {
    "t": ("t", "ts", "timestamps", "timestamp"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "polarity", "polarities", "pol", "on"),
}
_MOST_IMAGES = 1 << 20


def _named(file: h5py.File, group: str) -> dict[str, tuple[str, h5py.Dataset]] | None:
    """Return the path and the dataset of each column in a group; None if one is missing."""
    if group and not isinstance(find(file, group), h5py.Group):
        return None
    found = {}
    for column, names in _NAMES.items():
        for name in names:
            path = f"{group}/{name}" if group else name
            node = dataset(file, path)
            if node is not None:
                found[column] = (path, node)
                break
        else:
            return None
    return found


def find_layout(file: h5py.File, path: Path, *, strict: bool) -> Layout | None:
    """Return where a file has its columns of events; None if it has none. Raises FormatError."""
    for group in _GROUPS:
        named = _named(file, group)
        if named is not None:
            return _layout(file, path, group, named, strict=strict)
    return None


def _layout(
    file: h5py.File,
    path: Path,
    group: str,
    named: dict[str, tuple[str, h5py.Dataset]],
    *,
    strict: bool,
) -> Layout:
    columns = _survey(path, named, strict=strict)
    seconds = is_seconds(path, columns["t"])
    offset = scalar(file, "t_offset")
    table = Table(
        path,
        Field(columns["t"]),
        Field(columns["x"]),
        Field(columns["y"]),
        Field(columns["p"]),
        unit="s" if seconds else "us",
        offset_us=int(offset) if isinstance(offset, int) and abs(offset) < 1 << 60 else 0,
    )
    layout = Layout("columns", table, header=attributes(file))
    _assume(layout, group, columns["t"], seconds=seconds)
    stated = stated_size(file, group)
    if stated is not None:
        layout.size, where = stated
        layout.assumptions.append(f"{layout.size} is the sensor size by {where}")
    if differ := _differ(columns):
        layout.losses.append(Loss(0, 0, differ))
    if offset is not None:
        layout.header["t_offset"] = str(offset)
    layout.pictures = _pictures(file)
    return layout


def _survey(
    path: Path, named: dict[str, tuple[str, h5py.Dataset]], *, strict: bool
) -> dict[str, Stored]:
    columns: dict[str, Stored] = {}
    for column, (name, node) in named.items():
        if node.ndim != 1 or node.dtype.kind not in "iufb":
            raise FormatError(
                f"{path}: {name} is {node.dtype} of shape {node.shape}; a column is meant"
            )
        columns[column] = survey(node, name, path, strict=strict)
    differ = _differ(columns)
    if strict and differ:
        raise FormatError(
            f"{path}: {differ}; pass strict=False (--salvage) to keep the rows that all have"
        )
    return columns


def _differ(columns: dict[str, Stored]) -> str:
    """Return how the columns differ in length; nothing if they do not."""
    counts = {stored.name: stored.count for stored in columns.values()}
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"columns differ in length ({listed})" if len(set(counts.values())) > 1 else ""


def _assume(layout: Layout, group: str, t: Stored, *, seconds: bool) -> None:
    if t.dtype.kind == "f":
        unit = "seconds" if seconds else "microseconds"
        layout.assumptions.append(f"{t.name} ({t.dtype}) is taken as {unit}")
    elif t.name not in ("events/t", "prophesee/left/t"):
        layout.assumptions.append(f"{t.name} ({t.dtype}) is taken as microseconds")
    if "left" in group.split("/"):
        layout.assumptions.append(f"events are those of {group}; other cameras are left out")


def _pictures(file: h5py.File) -> Pictures | None:
    """Return the images of rpg_e2vid: datasets with the attribute timestamp, in seconds."""
    group = None
    with suppress(FormatError):
        group = find(file, "images")
    if not isinstance(group, h5py.Group):
        return None
    found: list[tuple[int, str]] = []
    for name in list(group)[:_MOST_IMAGES]:
        with suppress(Exception):  # of one image: the others are still there
            node: Any = dataset(file, f"images/{name}")
            stamp = float(node.attrs["timestamp"])
            found.append((round(stamp * 1e6), f"images/{name}"))
    found.sort()
    times = np.array([t for t, _ in found], np.int64)
    return Pictures(times, names=tuple(name for _, name in found)) if found else None
