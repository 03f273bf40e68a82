"""HDF5 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from dvskit.errors import DvskitError, FormatError, UnknownFormatError
from dvskit.events import Events, Size
from dvskit.formats.hdf5.layout import EventLayout, all_rows, find_layout, read_frames
from dvskit.formats.hdf5.opening import contents, damaged, open_file
from dvskit.formats.hdf5.table import ChunkError
from dvskit.formats.index_cache import count_early
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import BLOCK_EVENTS, ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import choose_size, smallest_size
from dvskit.formats.storage import Storage
from dvskit.formats.validate import LOOK_AHEAD, DecodedBlock, Validator
from dvskit.streams import Frame, Triggers

_ANY_SIZE = Size(32767, 32767)
_MOST_HELD = 1 << 20


class Hdf5Recording(Recording):
    """Events of an HDF5 file of any known layout."""

    format = "hdf5"
    sortable = True

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, layout: EventLayout
    ) -> None:
        super().__init__(path, options, size, origin)
        self._layout = layout
        self._table = layout.table
        self.assumptions += layout.assumptions

    def header(self) -> Mapping[str, str]:
        """Return the file's attributes, and the datasets of the events."""
        names = ", ".join(sorted(each.name for each in self._table.datasets))
        return {"datasets": names, **self._layout.header}

    def other_streams(self) -> Mapping[str, int]:
        """Return the number of frames, if there are any."""
        return {"frames": len(self._layout.pictures)} if self._layout.pictures else {}

    def _room(self) -> int:
        return sum(stop - first for first, stop in self._table.spans())

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._rows_from(0, damage, storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        # Salvage depends on earlier data: it reads from the start.
        first = self._find(start_us) if self.strict else 0
        return self._rows_from(first, damage, storage)

    def _rows_from(self, row: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        losses = self._losses(damage)
        for each in [] if self.strict else self._layout.losses:
            damage.add(*each)
        pieces = min(_MOST_HELD, 3 * self._table.t.piece_rows)
        validator = Validator(losses, self.size, look_ahead=max(LOOK_AHEAD, pieces))
        return validator.blocks(self._decoded(row, losses, storage))

    def _decoded(self, row: int, losses: Losses, storage: Storage) -> Iterator[DecodedBlock]:
        """Yield the events from `row` on, unchecked."""
        with open_file(self.path) as file:
            for first, stop, there in self._spans(row):
                if there:
                    columns = storage.columns(stop - first)
                    lost = self._table.read(file, first, stop, columns)
                    yield DecodedBlock(columns, partial(self._table.places, first, stop), lost)
                else:
                    losses.lose(self.path.stat().st_size, 0, self._missing(first, stop))

    def _spans(self, row: int) -> Iterator[tuple[int, int, bool]]:
        """Yield spans of rows from `row` on: first, stop, and whether they are in the file."""
        at = row
        for first, stop in self._table.spans():
            if stop <= row:
                continue
            if first > at:
                yield at, first, False
            step = self._table.block_rows(BLOCK_EVENTS)
            at = max(first, row)
            while at < stop:
                end = min(stop, (at // step + 1) * step)
                yield at, end, True
                at = end
        if at < self._table.count:
            yield at, self._table.count, False

    def _missing(self, first: int, stop: int) -> str:
        return f"events {first} to {stop - 1} are in no chunk of the file"

    def _find(self, start_us: int) -> int:
        """Return a row at or before the first event with t >= start_us, by bisection."""
        step = self._table.t.piece_rows
        # The first rows of the pieces with times.
        spans = self._table.spans()
        parts = [np.arange(-(-first // step) * step, stop, step) for first, stop in spans]
        starts = np.concatenate([np.zeros(0, np.int64), *parts])
        with open_file(self.path) as file:

            def is_early(piece: int) -> bool:
                t = self._table.time_at(file, int(starts[piece]))
                return t is not None and t < start_us

            early = count_early(len(starts), is_early)
        return int(starts[max(0, early - 1)]) if len(starts) else 0

    def triggers(self) -> Triggers:
        """Return the external triggers of `EXT_TRIGGER/events`, sorted by time."""
        stored, parts = self._layout.triggers, []
        if stored is None:
            return Triggers.empty()
        try:
            with open_file(self.path) as file:
                for rows in all_rows(file, stored):
                    t, number = rows["t"].astype(np.int64), rows["id"].astype(np.int16)
                    parts.append(Triggers(t, number, np.asarray(rows["p"] > 0)))
        except ChunkError as error:
            if self.strict:
                raise FormatError(
                    f"{self.path}: EXT_TRIGGER/events is damaged: {error}; pass strict=False to "
                    "keep the triggers before the damage"
                ) from None
        return Triggers.in_order(parts)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in time order, one at a time. Raises FormatError for damaged ones."""
        pictures = self._layout.pictures
        if pictures is not None:
            yield from read_frames(self.path, pictures, strict=self.strict)


def _find_layout(path: Path, *, strict: bool) -> EventLayout:
    with open_file(path) as file:
        try:
            layout = find_layout(file, path, strict=strict)
            if layout is not None:
                return layout
            listed = ", ".join(contents(file)) or "nothing"
        except DvskitError:
            raise
        except Exception as error:  # the library raises many kinds
            damaged(path, error)
    raise UnknownFormatError(
        f"{path}: no known layout of events among its datasets: {listed}; CD/events, "
        "events/{x,y,t,p} or events with rows of t, x, y, p are read"
    )


def open_recording(path: Path, options: ReadOptions) -> Hdf5Recording:
    """Open an HDF5 file of events: Prophesee, DSEC, RVT, v2e, rpg_e2vid, MVSEC and relatives.

    The size is the argument, that of the file, or the smallest that holds the events. Raises
    UnknownFormatError for other layouts, FormatError for an unreadable structure, GeometryError.
    """
    layout = _find_layout(path, strict=options.strict)
    trial = Hdf5Recording(path, ReadOptions(strict=False), _ANY_SIZE, "argument", layout)
    size, origin = choose_size(options, lambda: layout.size, lambda: smallest_size(path, trial))
    return Hdf5Recording(path, options, size, origin, layout)
