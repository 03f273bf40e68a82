"""The `Events` type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit._checks import check_known
from dvskit.errors import EventsError, GeometryError
from dvskit.events.even_blocks import even_blocks
from dvskit.events.window import Size, as_size, check_window, warn_of_seconds

Layout = Literal["tonic", "faery", "expelliarmus", "metavision", "dv"]

# faery's field has a title and a name, so it matches both "p" and "on".
_LAYOUTS: dict[str, list[tuple[str | tuple[str, str], str]]] = {
    "tonic": [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")],
    "faery": [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")],
    "expelliarmus": [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")],
    "metavision": [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")],
    "dv": [("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "i1")],
}
_TIME_FIELDS = ("t", "timestamp", "ts")
_POLARITY_FIELDS = ("p", "on", "polarity")

_html_writers: list[Callable[[Any], str]] = []


def set_html_writer(write: Callable[[Any], str]) -> None:
    """Set the function that returns the HTML of events or a source for a notebook."""
    _html_writers[:] = [write]


class NotebookOutput:
    """Mixin with the HTML that a notebook shows; without a writer it shows the repr."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        return _html_writers[0](self) if _html_writers else None


def _column(name: str, values: ArrayLike, dtype: type[np.generic]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise EventsError(f"column {name} has shape {array.shape}; it must have one dimension")
    if array.dtype != dtype:
        if array.size and array.dtype.kind not in "iub":
            raise EventsError(
                f"column {name} is {array.dtype}; it must be integers"
                + (" (microseconds: np.round(seconds * 1e6).astype(int))" if name == "t" else "")
            )
        converted = array.astype(dtype)
        if array.size and not np.array_equal(converted, array):
            fix = "; of -1 and 1, pass p > 0" if name == "p" else ""
            raise EventsError(
                f"column {name} holds values that do not fit {np.dtype(dtype).name}{fix}"
            )
        array = converted
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Events(NotebookOutput):
    """A stream of events, or a part of one: four columns of equal length and the sensor size.

    t            int64  microseconds, non-decreasing
    x, y         int16  0 <= x < width, 0 <= y < height; row 0 is the top row
    p            bool   True is ON (brighter), False is OFF (darker)
    sensor_size  Size   (width, height)

    Columns are read-only views of the arguments. A column is copied only if its dtype differs.
    Raises EventsError for unequal lengths, lossy dtypes and decreasing times, and GeometryError
    for coordinates off the sensor.

        events = dvskit.Events(t=[0, 40, 900], x=[3, 3, 7], y=[2, 2, 0], p=[1, 0, 1], size=(8, 6))
        len(events), events.duration_us    # (3, 900)
        events[events.p].t                 # of the ON events: [0, 900]
        events.between(0, 500).x           # [3, 3]: at 0 <= t < 500 us
    """

    t: NDArray[np.int64]
    x: NDArray[np.int16]
    y: NDArray[np.int16]
    p: NDArray[np.bool_]
    sensor_size: Size = field(init=False)  # the argument is named size

    def __init__(
        self, *, t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike, size: tuple[int, int]
    ) -> None:
        self._set(
            _column("t", t, np.int64),
            _column("x", x, np.int16),
            _column("y", y, np.int16),
            _column("p", p, np.bool_),
            as_size(size),
        )
        lengths = {len(self.t), len(self.x), len(self.y), len(self.p)}
        if len(lengths) != 1:
            raise EventsError(
                f"columns differ in length: t {len(self.t)}, x {len(self.x)}, "
                f"y {len(self.y)}, p {len(self.p)}"
            )
        back = np.flatnonzero(self.t[1:] < self.t[:-1])
        if back.size:
            at = int(back[0])
            raise EventsError(
                f"time runs back from {self.t[at]} to {self.t[at + 1]} us at event {at + 1}; "
                "sort all columns first, by order = np.argsort(t, kind='stable')"
            )
        off = np.flatnonzero(
            (self.x < 0)
            | (self.x >= self.sensor_size.width)
            | (self.y < 0)
            | (self.y >= self.sensor_size.height)
        )
        if off.size:
            at = int(off[0])
            raise GeometryError(
                f"event {at} at ({self.x[at]}, {self.y[at]}) is off the {self.sensor_size} sensor; "
                "give the right size"
            )

    def _set(
        self,
        t: NDArray[np.int64],
        x: NDArray[np.int16],
        y: NDArray[np.int16],
        p: NDArray[np.bool_],
        size: Size,
    ) -> None:
        object.__setattr__(self, "t", t)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "p", p)
        object.__setattr__(self, "sensor_size", size)

    @classmethod
    def from_checked(
        cls,
        t: NDArray[np.int64],
        x: NDArray[np.int16],
        y: NDArray[np.int16],
        p: NDArray[np.bool_],
        size: Size,
    ) -> Events:
        """Wrap columns that are valid by construction, without checks."""
        events = cls.__new__(cls)
        columns = (t.view(), x.view(), y.view(), p.view())
        for column in columns:
            column.flags.writeable = False
        events._set(*columns, size)
        return events

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Events:
        """Return no events on a sensor of `size`."""
        return cls.from_checked(
            np.empty(0, np.int64),
            np.empty(0, np.int16),
            np.empty(0, np.int16),
            np.empty(0, np.bool_),
            as_size(size),
        )

    @classmethod
    def concatenate(cls, blocks: Iterable[Events], size: tuple[int, int] | None = None) -> Events:
        """Join consecutive blocks.

        `size` is needed only if there may be no block. Raises EventsError if a block starts before
        the previous one ended, GeometryError if sizes differ.
        """
        parts = list(blocks)
        if not parts:
            if size is None:
                raise GeometryError("no blocks to join, and no size: pass size=(width, height)")
            return cls.empty(size)
        whole = parts[0].sensor_size if size is None else as_size(size)
        last = None
        for number, part in enumerate(parts):
            if part.sensor_size != whole:
                raise GeometryError(f"block {number} is {part.sensor_size}, the others {whole}")
            if len(part):
                if last is not None and part.t[0] < last:
                    raise EventsError(
                        f"block {number} starts at {part.t[0]} us, before {last} us, "
                        "where the previous one ended; dvskit.merge(...) takes any times"
                    )
                last = part.t[-1]
        if len(parts) == 1:
            return parts[0]
        return cls.from_checked(
            np.concatenate([part.t for part in parts]),
            np.concatenate([part.x for part in parts]),
            np.concatenate([part.y for part in parts]),
            np.concatenate([part.p for part in parts]),
            whole,
        )

    @classmethod
    def from_array(cls, array: NDArray[Any], *, size: tuple[int, int]) -> Events:
        """Make events from a structured array in any of the five layouts, by field names.

        Time is in microseconds (fields t, timestamp or ts). Polarity is 0/1, -1/1 or bool (p, on or
        polarity). Raises EventsError for missing fields and other polarities.
        """
        names = array.dtype.names
        if names is None:
            raise EventsError(
                f"an array of {array.dtype} has no fields; give a structured array with "
                "x, y, t (or timestamp) and p (or on, polarity)"
            )
        time = next((name for name in _TIME_FIELDS if name in names), None)
        polarity = next((name for name in _POLARITY_FIELDS if name in names), None)
        if time is None or polarity is None or "x" not in names or "y" not in names:
            raise EventsError(
                f"fields {', '.join(names)}: x, y, t (or timestamp) and p (or on, polarity) "
                "are needed"
            )
        return cls(
            t=array[time], x=array["x"], y=array["y"], p=polarity_column(array[polarity]), size=size
        )

    def to_array(self, layout: Layout = "tonic") -> NDArray[Any]:
        """Return the events as a structured array in the layout of another package.

        tonic         x i2, y i2, t i8, p bool
        faery         t u8, x u2, y u2, on bool
        expelliarmus  t i8, x i2, y i2, p u1
        metavision    x u2, y u2, p i2, t i8
        dv            timestamp i8, x i2, y i2, polarity i1

        Raises ConfigError for an unknown layout, EventsError for negative times in the faery
        layout.
        """
        check_known("layout", layout, _LAYOUTS)
        array = np.empty(len(self), dtype=_LAYOUTS[layout])
        for name in array.dtype.names or ():
            if name in ("x", "y"):
                array[name] = self.x if name == "x" else self.y
            elif name in _TIME_FIELDS:
                if array.dtype[name].kind == "u" and len(self) and self.t[0] < 0:
                    raise EventsError(
                        f"the {layout} layout has unsigned times and the events start at "
                        f"{self.t[0]} us; shift them first"
                    )
                array[name] = self.t
            else:
                array[name] = self.p
        return array

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, part: slice | ArrayLike) -> Events:
        """Return a part of the events, in order: `events[100:200]`, `events[events.p]`.

        part  a slice with a positive step, which copies nothing; a boolean array with one value per
              event; or increasing event indices. Raises EventsError for anything else.
        """
        which = part if isinstance(part, slice) else _which(part, self)
        if isinstance(which, slice) and which.step is not None and which.step < 1:
            raise EventsError(f"{part!r}: events are in order of time; give a positive step")
        columns = self.t[which], self.x[which], self.y[which], self.p[which]
        if not isinstance(which, slice):
            return Events.from_checked(*columns, self.sensor_size)
        some = Events.__new__(Events)  # slices are views that nobody else has, and read-only
        some._set(*columns, self.sensor_size)
        return some

    def between(self, start_us: int | None = None, stop_us: int | None = None) -> Events:
        """Return the events with start_us <= t < stop_us, without copying. None leaves a side open.

        Gives a UnitWarning if microseconds look like seconds.
        """
        start_us, stop_us = check_window(start_us, stop_us)
        if len(self):
            warn_of_seconds(start_us, stop_us, int(self.t[-1]))
        return cut(self, start_us, stop_us)

    def blocks(
        self, *, count: int | None = None, duration_us: int | None = None
    ) -> Iterator[Events]:
        """Yield the events in blocks of `count` events or of `duration_us` microseconds each.

        Blocks are those of `Recording.blocks`: time spans begin at the first event, and spans
        without events are skipped. Raises ConfigError.
        """
        return even_blocks([self], count=count, duration_us=duration_us)

    def copy(self) -> Events:
        """Return the same events with copied columns."""
        return Events.from_checked(
            self.t.copy(), self.x.copy(), self.y.copy(), self.p.copy(), self.sensor_size
        )

    @property
    def duration_us(self) -> int:
        """Microseconds from the first event to the last; 0 for fewer than two events."""
        return int(self.t[-1] - self.t[0]) if len(self) else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Events):
            return NotImplemented
        return self.sensor_size == other.sensor_size and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in "txyp"
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if not len(self):
            return f"Events(none, {self.sensor_size})"
        on = int(np.count_nonzero(self.p))
        return (
            f"Events({len(self):,} on {self.sensor_size}, t = {self.t[0]}..{self.t[-1]} us, "
            f"{on:,} ON, {len(self) - on:,} OFF)"
        )


def cut(events: Events, start_us: int | None, stop_us: int | None) -> Events:
    """Return the events with start_us <= t < stop_us, without copying; None leaves a side open.

    The same as `Events.between`, without its checks of the window, for code that cuts many blocks.

        blocks = dvskit.open_events("events.raw")
        late = [dvskit.events.cut(block, 1_000_000, None) for block in blocks]    # from 1 s on
    """
    return events[within(events.t, start_us, stop_us)]


def within(t: NDArray[np.int64], start_us: int | None, stop_us: int | None) -> slice:
    """Return the part of sorted times with start_us <= t < stop_us; None leaves a side open."""
    first = 0 if start_us is None else int(np.searchsorted(t, start_us))
    last = len(t) if stop_us is None else int(np.searchsorted(t, stop_us))
    return slice(first, max(first, last))


def _which(part: ArrayLike, events: Events) -> NDArray[Any]:
    """Return a checked mask or checked event indices. Raises EventsError."""
    which = np.asarray(part)
    many = len(events)
    if isinstance(part, str):
        raise EventsError(
            f"events[{part!r}]: the columns are events.t, events.x, events.y, events.p"
        )
    if which.ndim == 0 and which.dtype.kind == "i":
        raise EventsError(
            f"events[{which}]: one event is events[{which}:{which + 1}], its time "
            f"events.t[{which}]; to iterate, use blocks() or to_array()"
        )
    if which.dtype == np.bool_:
        if which.shape == events.t.shape:
            return which
        fix = "; for a pixel mask, use events[mask[events.y, events.x]]" if which.ndim == 2 else ""
        raise EventsError(f"a mask of {many} booleans is needed, not of shape {which.shape}{fix}")
    if which.ndim != 1 or (which.size and which.dtype.kind not in "iu"):
        raise EventsError(
            f"events are selected by a slice, by {many} booleans or by increasing indices, not by "
            f"{which.dtype} of shape {which.shape}"
        )
    which = which.astype(np.int64)
    if which.size and (which[0] < 0 or which[-1] >= many or np.any(np.diff(which) < 1)):
        raise EventsError(
            f"event indices must increase and lie in 0..{many - 1}; np.unique(indices) sorts them"
        )
    return which


def polarity_column(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return polarities as bool with ON = True, in the shape given.

    values  bool; integers 0 and 1; or integers -1 and 1

    Raises EventsError for other values.
    """
    if values.dtype == np.bool_:
        return values
    if values.size:
        low, high = values.min(), values.max()
        binary = low >= 0 and high <= 1
        signed = low >= -1 and high <= 1 and not np.any(values == 0)
        if not (binary or signed) or values.dtype.kind not in "iu":
            raise EventsError(
                f"polarity holds {low}..{high} ({values.dtype}); 0 and 1, or -1 and 1, are expected"
            )
    return np.asarray(values > 0)
