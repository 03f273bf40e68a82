"""Prophesee / Metavision HDF5: compound rows of x, y, p, t in `CD/events`, mostly packed as ECF.

`EXT_TRIGGER/events` holds p, t, id. The file's attributes say the rest: `geometry` "WxH" or
`format` "...;height=H;width=W", `generation`, `serial_number`, and others. `indexes` beside the
events are not needed: each chunk begins with its first time.
"""

from __future__ import annotations

from pathlib import Path

import h5py

from dvskit.errors import FormatError, GeometryError
from dvskit.events import Size, as_size
from dvskit.formats.hdf5.layout import Layout, stated_size
from dvskit.formats.hdf5.opening import attributes, dataset
from dvskit.formats.hdf5.stored import Stored
from dvskit.formats.hdf5.survey import survey
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


def find_layout(file: h5py.File, path: Path, *, strict: bool) -> Layout | None:
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
