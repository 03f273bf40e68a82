"""HDF5 Sinks: Prophesee's layout, with gzip, or packed as ECF, as Metavision needs it; and DSEC's.

Metavision's reader takes every chunk of `CD/events` for ECF, whatever its filters are. Plain HDF5
readers (h5py, MATLAB, eventcv) cannot unpack ECF without its plugin.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dvskit import _threads
from dvskit.errors import DvskitError, EventsError, GeometryError, OutputError
from dvskit.events import Events, Size
from dvskit.events.even_blocks import EvenBlocks
from dvskit.formats.file_sink import FileSink
from dvskit.formats.hdf5 import ecf_kernels
from dvskit.formats.hdf5.table import ECF
from dvskit.streams import Triggers

CHUNK = 16384  # events per chunk, as in Metavision, whose reader needs it
INDEX_US = 2000
_GROUP = 16  # chunks packed together, on several threads
_MOST_INDEXES = 1 << 28
_LARGEST_SIDE = 2048
_DSEC_COLUMNS = {"x": "<u2", "y": "<u2", "t": "<i8", "p": "u1"}
_LATE_US = 60_000_000  # later first times are stored from 0 on
_MOST_MS = 1 << 28
_INDEX_PART = 1 << 20

EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")], align=True)
TRIGGER = np.dtype([("p", "<i2"), ("t", "<i8"), ("id", "<i2")], align=True)
INDEX = np.dtype([("id", "<u8"), ("ts", "<i8")])
_TEXT = h5py.string_dtype("ascii")  # Metavision's reader accepts no other character set


class Hdf5Sink(FileSink):
    """The base of HDF5 Sinks: the file, blocks of equal size, and the library's errors."""

    group_events = CHUNK * _GROUP

    def __init__(self, path: Path, size: Size, *, overwrite: bool = False) -> None:
        super().__init__(path, size, overwrite=overwrite)
        self._even = EvenBlocks(self.group_events)
        self._h5: h5py.File | None = None

    def _open(self, partial: Path) -> None:
        partial.touch()  # the operating system's error is clearer than the library's
        # Without a cache, chunks are in the order of their events: a file that is cut, or whose
        # writing was, holds all the events before its end.
        self._h5 = h5py.File(partial, "w", rdcc_nbytes=0)
        self._begin(self._h5)

    def _write(self, events: Events) -> None:
        with self._library():
            for block in self._even.push(events):
                self._append(block)

    def _finish(self) -> None:
        try:
            with self._library():
                for block in self._even.rest():
                    self._append(block)
                self._end()
        finally:
            self._abandon()

    def _abandon(self) -> None:
        if self._h5 is not None:
            with suppress(Exception):  # a full disk, already reported by the writing
                self._h5.close()

    @contextmanager
    def _library(self) -> Iterator[None]:
        try:
            yield
        except (DvskitError, OSError):
            raise
        except Exception as error:  # the library raises many kinds
            reason = " ".join(str(error).split())
            raise OutputError(f"{self.path}: the HDF5 library cannot write it: {reason}") from error

    @abstractmethod
    def _begin(self, file: h5py.File) -> None:
        """Write the data before the events."""

    @abstractmethod
    def _append(self, events: Events) -> None:
        """Append a block of `group_events` events; the last one may have fewer."""

    @abstractmethod
    def _end(self) -> None:
        """Write the data after the events."""


class Growing:
    """A dataset of one dimension that grows by whole chunks: none is written twice.

    count  rows taken; the last few wait until their chunk is full
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset = dataset
        self.count = 0
        self._written = 0
        self._waiting: list[NDArray[Any]] = []

    def append(self, rows: NDArray[Any]) -> None:
        """Append rows."""
        if len(rows):
            self._waiting.append(rows)
            self.count += len(rows)
            chunk = self.dataset.chunks[0]
            if self.count - self._written >= chunk:
                self._write((self.count - self._written) // chunk * chunk)

    def finish(self) -> None:
        """Write the waiting rows."""
        if self.count > self._written:
            self._write(self.count - self._written)

    def _write(self, count: int) -> None:
        rows = self._waiting[0] if len(self._waiting) == 1 else self._joined()
        self.dataset.resize((self._written + count,))
        self.dataset[self._written :] = rows[:count]
        self._written += count
        self._waiting = [rows[count:]] if len(rows) > count else []

    def _joined(self) -> NDArray[Any]:
        # Not with concatenate: it leaves old memory between the fields of a row.
        out = np.zeros(self.count - self._written, self.dataset.dtype)
        at = 0
        for rows in self._waiting:
            out[at : at + len(rows)] = rows
            at += len(rows)
        return out


class _Indexes:
    """Metavision's index: for each 2 ms since the first event, the row at which to start reading.

    Entry k is the first event of the last nonempty time span below k, and its time since the first
    event; entry 0 is (0, -1).
    """

    def __init__(self, dataset: h5py.Dataset, path: Path) -> None:
        self._rows = Growing(dataset)
        self._path = path
        self._first: int | None = None
        self._before = (0, -1)
        self._span = -1
        self._count = 0

    def append(self, t: NDArray[np.int64]) -> None:
        """Append times."""
        if not len(t):
            return
        if self._first is None:
            self._first = int(t[0])
            self._rows.dataset.attrs.create("offset", str(-self._first), dtype=_TEXT)
        since = t - self._first
        spans = since // INDEX_US
        starts = np.flatnonzero(np.diff(spans, prepend=self._span))
        if int(spans[-1]) > _MOST_INDEXES:
            raise EventsError(
                f"{self._path}: the events last {int(since[-1]) / 3.6e9:.1f} hours; an HDF5 file's "
                f"index holds {_MOST_INDEXES * INDEX_US / 3.6e9:.0f}; cut them, or write .npz"
            )
        rows = np.empty(len(starts) + 1, INDEX)
        rows[0] = self._before
        rows["id"][1:], rows["ts"][1:] = self._count + starts, since[starts]
        steps = np.diff(spans[starts], prepend=self._span)
        for at in range(0, len(starts), CHUNK):  # long gaps repeat an entry many times
            self._rows.append(np.repeat(rows[:-1][at : at + CHUNK], steps[at : at + CHUNK]))
        if len(starts):
            self._before = tuple(rows[-1].tolist())
            self._span = int(spans[starts[-1]])
        self._count += len(t)

    def finish(self) -> None:
        """Write the last entry."""
        if self._first is not None:
            last = np.empty(1, INDEX)
            last[0] = self._before
            self._rows.append(last)
        self._rows.finish()


class ProphSink(Hdf5Sink):
    """Writes Prophesee's layout, with triggers and with gzip, which all readers of HDF5 know."""

    format = "hdf5"
    packs = False  # as ECF
    _longest_us = _MOST_INDEXES * INDEX_US

    def __init__(self, path: Path, size: Size, *, overwrite: bool = False) -> None:
        if self.packs and max(size) > _LARGEST_SIDE:
            raise GeometryError(
                f"{path}: ECF addresses hold {_LARGEST_SIDE} pixels a side, not {size}; "
                "choose another format, such as hdf5 or dsec (.h5)"
            )
        super().__init__(path, size, overwrite=overwrite)
        self._triggers = Triggers.empty()

    def write_triggers(self, triggers: Triggers) -> None:
        """Take all triggers of the recording, sorted by time. Raises EventsError for others."""
        self._check_forward(triggers)
        self._triggers = triggers

    def _begin(self, file: h5py.File) -> None:
        cd = file.create_group("CD")
        if self.packs:
            self._packed = _ecf_dataset(cd)
        else:
            self._events = Growing(_dataset(cd, "events", EVENT, compression="gzip", shuffle=True))
        self._indexes = _Indexes(_dataset(cd, "indexes", INDEX), self.path)
        triggers = file.create_group("EXT_TRIGGER")
        self._edges = Growing(_dataset(triggers, "events", TRIGGER))
        self._edge_indexes = _Indexes(_dataset(triggers, "indexes", INDEX), self.path)
        stated = {"version": "1.0", "geometry": str(self.size)}
        stated |= {"format": "ECF"} if self.packs else {}
        for name, value in stated.items():
            file.attrs.create(name, value, dtype=_TEXT)

    def _append(self, events: Events) -> None:
        self._indexes.append(events.t)
        if not self.packs:
            rows = np.zeros(len(events), EVENT)
            rows["x"], rows["y"], rows["p"], rows["t"] = events.x, events.y, events.p, events.t
            self._events.append(rows)
            return
        cuts = range(0, len(events), CHUNK)
        packed = [b""] * len(cuts)

        def work(part: int) -> None:
            block = events[cuts[part] : cuts[part] + CHUNK]
            packed[part] = encode_ecf(block)

        _threads.run_parts(work, len(cuts))
        first = self._packed.shape[0]
        self._packed.resize((first + len(events),))
        for cut, data in zip(cuts, packed, strict=True):
            self._packed.id.write_direct_chunk((first + cut,), data)

    def _end(self) -> None:
        if not self.packs:
            self._events.finish()
        self._indexes.finish()
        edges = self._triggers
        rows = np.zeros(len(edges), TRIGGER)
        rows["p"], rows["t"], rows["id"] = edges.p, edges.t, edges.id
        self._edges.append(rows)
        self._edges.finish()
        self._edge_indexes.append(edges.t)
        self._edge_indexes.finish()


class EcfSink(ProphSink):
    """Writes Prophesee's layout packed as ECF, for Metavision."""

    format = "hdf5-ecf"
    packs = True


class DsecSink(Hdf5Sink):
    """Writes the layout of DSEC: columns events/x, y, t, p, packed by Blosc with zstd.

    `t_offset` is added to t; `ms_to_idx[k]` is the first event with t >= 1000 k us. `events/width`
    and `events/height` are those of RVT: DSEC itself stores no size.
    """

    format = "dsec"
    _longest_us = _MOST_MS * 1000
    group_events = CHUNK  # the columns of a chunk are adjacent

    def _begin(self, file: h5py.File) -> None:
        import hdf5plugin

        packed = dict(hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE))
        group = file.create_group("events")
        settings = {"chunks": (CHUNK,), "maxshape": (None,), "track_times": False, **packed}
        settings["fletcher32"] = True  # zstd alone does not detect damage
        self._columns = {
            name: Growing(group.create_dataset(name, (0,), dtype, **settings))
            for name, dtype in _DSEC_COLUMNS.items()
        }
        group["width"], group["height"] = self.size
        self._index = Growing(file.create_dataset("ms_to_idx", (0,), "<u8", **settings))
        self._t_offset = file.create_dataset("t_offset", (), "<i8", track_times=False)
        self._offset_us: int | None = None

    def _append(self, events: Events) -> None:
        if self._offset_us is None:
            first = int(events.t[0])
            # The index begins at 0, so late times would make it long.
            self._offset_us = 0 if 0 <= first < _LATE_US else first
        t = events.t - self._offset_us
        self._append_index(t)
        self._columns["x"].append(events.x.astype("<u2"))
        self._columns["y"].append(events.y.astype("<u2"))
        self._columns["t"].append(t)
        self._columns["p"].append(events.p.astype("u1"))

    def _append_index(self, t: NDArray[np.int64]) -> None:
        """Extend the index up to the millisecond of the last event, in parts."""
        last = int(t[-1]) // 1000
        before = self._columns["t"].count
        for start in range(self._index.count, last + 1, _INDEX_PART):
            wanted = np.arange(start, min(start + _INDEX_PART, last + 1), dtype=np.int64) * 1000
            self._index.append((before + np.searchsorted(t, wanted)).astype("<u8"))

    def _end(self) -> None:
        # Readers look up the end of a window too: one entry follows the last event.
        self._index.append(np.array([self._columns["t"].count], "<u8"))
        for each in (*self._columns.values(), self._index):
            each.finish()
        self._t_offset[()] = self._offset_us or 0


def encode_ecf(events: Events) -> bytes:
    """Encode 1 to 65535 events, with x and y below 2048, in the smallest of the three forms."""
    out = np.empty(32 + 24 * len(events), np.uint8)
    used = ecf_kernels.ecf_encode(events.t, events.x, events.y, events.p, out)
    return out[:used].tobytes()


def _dataset(group: h5py.Group, name: str, dtype: np.dtype[Any], **filters: Any) -> h5py.Dataset:
    return group.create_dataset(
        name, (0,), dtype, chunks=(CHUNK,), maxshape=(None,), track_times=False, **filters
    )


def _ecf_dataset(group: h5py.Group) -> h5py.Dataset:
    # h5py refuses a filter that the library lacks; the library does not, as it is optional.
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((CHUNK,))
    settings.set_filter(ECF, h5py.h5z.FLAG_OPTIONAL, ())
    settings.set_obj_track_times(False)
    space = h5py.h5s.create_simple((0,), (h5py.h5s.UNLIMITED,))
    kind = h5py.h5t.py_create(EVENT, logical=True)
    return h5py.Dataset(h5py.h5d.create(group.id, b"events", kind, space, settings))
