"""Events as rows of one dataset: Prophesee, v2e, MVSEC, and their relatives.

Prophesee   compound rows of x, y, p, t in `CD/events`, mostly packed as ECF, and of p, t, id in
            `EXT_TRIGGER/events`. The file's attributes say the rest: `geometry` "WxH" or `format`
            "...;height=H;width=W", `generation`, `serial_number`, and others. `indexes` beside the
            events are not needed: each chunk begins with its first time.

v2e     `events` N x 4 uint32 (t in microseconds, x, y, p); `frame` N x H x W, `frame_ts`
MVSEC   `davis/left/events` N x 4 float64 (x, y, t in seconds, p of -1 or 1); `image_raw`
        and `image_raw_ts` beside them
others  N x 4 in either order, or rows with named fields
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError, GeometryError
from dvskit.events import Size, as_size
from dvskit.formats.hdf5.filters import ChunkError
from dvskit.formats.hdf5.layout import Layout, Pictures, all_rows, is_seconds, stated_size
from dvskit.formats.hdf5.library import survey
from dvskit.formats.hdf5.opening import attributes, dataset
from dvskit.formats.hdf5.stored import Stored
from dvskit.formats.hdf5.table import Field, Table
from dvskit.formats.losses import Loss

EVENTS, TRIGGERS = "CD/events", "EXT_TRIGGER/events"


def _format_size(text: str) -> Size | None:
    """Return the size in a format text such as "EVT3;height=720;width=1280"."""
    parts = dict(part.partition("=")[::2] for part in text.split(";") if "=" in part)
    try:
        return as_size((int(parts["width"]), int(parts["height"])))
    except (KeyError, ValueError, GeometryError):
        return None


def find_prophesee(file: h5py.File, path: Path, *, strict: bool) -> Layout | None:
    """Return where a Prophesee file has its events; None if it is none. Raises FormatError."""
    events = dataset(file, EVENTS)
    if events is None:
        return None
    fields = events.dtype.names or ()
    if events.ndim != 1 or not {"x", "y", "p", "t"} <= set(fields):
        raise FormatError(
            f"{path}: {EVENTS} has rows of {', '.join(fields) or events.dtype}; "
            "x, y, p and t are meant"
        )
    stored = survey(events, EVENTS, path, strict=strict)
    header = attributes(file)
    layout = Layout(
        "Prophesee",
        Table(path, Field(stored, "t"), Field(stored, "x"), Field(stored, "y"), Field(stored, "p")),
        header=header,
    )
    stated = stated_size(file, "")
    layout.size = stated[0] if stated else _format_size(header.get("format", ""))
    try:
        layout.triggers = _triggers(file, path, strict=strict)
    except Exception as error:  # of a structure that is damaged there alone
        if strict:
            raise
        reason = " ".join(str(error).split())
        layout.losses.append(Loss(0, 0, f"{TRIGGERS} cannot be read ({reason})"))
    return layout


def _triggers(file: h5py.File, path: Path, *, strict: bool) -> Stored | None:
    triggers = dataset(file, TRIGGERS)
    if triggers is None or not {"p", "t", "id"} <= set(triggers.dtype.names or ()):
        return None
    return survey(triggers, TRIGGERS, path, strict=strict)


_DATASETS = ("events", "davis/left/events", "davis/right/events", "dvs/events", "data")
_FIELDS = {
    "t": ("t", "ts", "timestamp"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "polarity", "on"),
}
_TXYP, _XYTP = {"t": 0, "x": 1, "y": 2, "p": 3}, {"t": 2, "x": 0, "y": 1, "p": 3}
_JUDGED = 1 << 14  # rows that show which column is time


def find_layout(file: h5py.File, path: Path, *, strict: bool) -> Layout | None:
    """Return where a file has its rows of events; None if it has none. Raises FormatError."""
    for name in _DATASETS:
        node = dataset(file, name)
        if node is None:
            continue
        picks = _picks(node.dtype.names)
        if picks is None and not (node.ndim == 2 and node.shape[1] == 4):
            continue
        if picks is None and node.dtype.kind not in "iuf":
            continue
        stored = survey(node, name, path, strict=strict)
        return _layout(file, path, stored, picks)
    return None


def _picks(fields: tuple[str, ...] | None) -> dict[str, str] | None:
    if fields is None:
        return None
    found = {}
    for column, names in _FIELDS.items():
        name = next((name for name in names if name in fields), None)
        if name is None:
            return None
        found[column] = name
    return found


def _sample(stored: Stored, path: Path) -> NDArray[Any]:
    spans = stored.spans()
    with path.open("rb") as file:
        for first, stop in spans:
            with suppress(ChunkError):
                return stored.read(file.fileno(), first, min(stop, first + _JUDGED), None)
    return np.zeros((0, 4))


def _fits(rows: NDArray[Any], order: dict[str, int]) -> bool:
    t, p = rows[:, order["t"]], rows[:, order["p"]]
    return bool((t[1:] >= t[:-1]).all() and np.isin(p, (-1, 0, 1)).all())


def _order(stored: Stored, path: Path) -> tuple[dict[str, int], str | None]:
    """Return which column is which, and what was assumed for it."""
    rows = _sample(stored, path)
    usual, other = (_XYTP, _TXYP) if stored.dtype.kind == "f" else (_TXYP, _XYTP)
    if stored.dtype == np.uint32 and (_fits(rows, _TXYP) or not _fits(rows, _XYTP)):
        return _TXYP, None  # v2e
    chosen = other if _fits(rows, other) and not _fits(rows, usual) else usual
    names = ", ".join(sorted(chosen, key=chosen.__getitem__))
    return chosen, f"the columns of {stored.name} are taken as {names}"


def _layout(file: h5py.File, path: Path, stored: Stored, picks: dict[str, str] | None) -> Layout:
    assumptions: list[str] = []
    fields: dict[str, Field]
    if picks is not None:
        fields = {column: Field(stored, pick) for column, pick in picks.items()}
        seconds = stored.dtype[picks["t"]].kind == "f"
    else:
        order, assumed = _order(stored, path)
        fields = {column: Field(stored, pick) for column, pick in order.items()}
        assumptions += [assumed] if assumed else []
        seconds = is_seconds(path, stored, order["t"])
    if stored.dtype.kind == "f" or seconds:
        unit = "seconds" if seconds else "microseconds"
        assumptions.append(f"t of {stored.name} is taken as {unit}")
    if "left" in stored.name.split("/"):
        assumptions.append(f"events are those of {stored.name}; other cameras are left out")
    table = Table(
        path, fields["t"], fields["x"], fields["y"], fields["p"], unit="s" if seconds else "us"
    )
    group = stored.name.rpartition("/")[0]
    layout = Layout("rows", table, assumptions=assumptions, header=attributes(file))
    stated = stated_size(file, group)
    layout.size = stated[0] if stated else None
    layout.pictures = _pictures(file, path, group)
    pictures = layout.pictures
    if layout.size is None and pictures is not None and pictures.images is not None:
        height, width = pictures.images.row_shape[:2]
        layout.size = as_size((width, height))
        assumptions.append(f"{layout.size}, the size of the frames, is taken as the sensor's")
    return layout


def _pictures(file: h5py.File, path: Path, group: str) -> Pictures | None:
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
            stored = survey(pixels, images, path, strict=False)
            clock = survey(stamps, times, path, strict=False)
            with path.open("rb") as handle:
                parts = [np.zeros(0, clock.dtype), *all_rows(clock, handle.fileno())]
            t = np.concatenate(parts)
            scale = 1e6 if is_seconds(path, clock) else 1.0
            t = np.rint(t * scale) if t.dtype.kind == "f" else t
            return Pictures(t.astype(np.int64)[: stored.count], stored)
    return None
