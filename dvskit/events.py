"""Events: the one currency, and the protocols that carry it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit.errors import ConfigError, EventsError, GeometryError, did_you_mean

Layout = Literal["tonic", "faery", "expelliarmus", "metavision", "dv"]

# faery's field has a title and a name: it is read as "p" and as "on".
_LAYOUTS: dict[str, list[tuple[str | tuple[str, str], str]]] = {
    "tonic": [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")],
    "faery": [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")],
    "expelliarmus": [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")],
    "metavision": [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")],
    "dv": [("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "i1")],
}
_TIME_FIELDS = ("t", "timestamp", "ts")
_POLARITY_FIELDS = ("p", "on", "polarity")


class Size(NamedTuple):
    """A sensor's size in pixels: width first, as in (x, y)."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def as_size(size: tuple[int, int]) -> Size:
    """Return `size` as a checked Size. Raises GeometryError unless 1 <= width, height <= 32767."""
    try:
        width, height = (int(n) for n in size)
    except (TypeError, ValueError):
        raise GeometryError(f"size {size!r} is not (width, height)") from None
    if not (1 <= width <= 32767 and 1 <= height <= 32767):
        raise GeometryError(f"size {width}x{height} is outside 1..32767: give (width, height)")
    return Size(width, height)


def parse_size(text: str) -> Size:
    """Return the Size that a text such as "640x480" says. Raises GeometryError."""
    width, cross, height = text.lower().partition("x")
    if not cross or not width.strip().isdecimal() or not height.strip().isdecimal():
        raise GeometryError(f"size {text!r} is not WIDTHxHEIGHT, such as 640x480")
    return as_size((int(width), int(height)))


def _column(name: str, values: ArrayLike, dtype: type[np.generic]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise EventsError(f"column {name} has shape {array.shape}; it must have one dimension")
    if array.dtype != dtype:
        if array.size and array.dtype.kind not in "iub":
            raise EventsError(
                f"column {name} is {array.dtype}; it must be integers"
                + (" (microseconds)" if name == "t" else "")
            )
        converted = array.astype(dtype)
        if array.size and not np.array_equal(converted, array):
            raise EventsError(f"column {name} holds values that do not fit {np.dtype(dtype).name}")
        array = converted
    view = array.view()
    view.flags.writeable = False
    return view


class Viewable:
    """What a notebook shows, and what has plots and a page: `dvskit/__init__.py` says how.

    A Source that has this as its base has `plot_rate` and the others, `page` and a picture or
    figures of itself in a notebook.
    """

    __slots__ = ()

    def about(self) -> list[tuple[str, str]]:
        """Return names and values for people, of what is known without reading events."""
        return []


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Events(Viewable):
    """A stream of events, or a part of one: four columns of equal length and the sensor's size.

    t     int64    microseconds, non-decreasing
    x, y  int16    0 <= x < width, 0 <= y < height; row 0 is the top row
    p     bool     True is ON (brighter), False is OFF (darker)
    size  Size     (width, height)

    Columns are read-only views of what was given, copied only where the type differs. Raises
    EventsError for unequal lengths, types that lose values, time that runs back, and GeometryError
    for coordinates off the sensor.
    """

    t: NDArray[np.int64]
    x: NDArray[np.int16]
    y: NDArray[np.int16]
    p: NDArray[np.bool_]
    size: Size

    def __init__(
        self,
        *,
        t: ArrayLike,
        x: ArrayLike,
        y: ArrayLike,
        p: ArrayLike,
        size: tuple[int, int],
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
                "sort the events by time (stable) first"
            )
        off = np.flatnonzero(
            (self.x < 0) | (self.x >= self.size.width) | (self.y < 0) | (self.y >= self.size.height)
        )
        if off.size:
            at = int(off[0])
            raise GeometryError(
                f"event {at} at ({self.x[at]}, {self.y[at]}) is off the {self.size} sensor; "
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
        object.__setattr__(self, "size", size)

    @classmethod
    def from_checked(
        cls,
        t: NDArray[np.int64],
        x: NDArray[np.int16],
        y: NDArray[np.int16],
        p: NDArray[np.bool_],
        size: Size,
    ) -> Events:
        """Wrap columns that a kernel has made right by construction, without looking at them."""
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
        """Join blocks that follow each other in time.

        `size` is needed only where there may be no block. Raises EventsError if a block starts
        before the one ahead of it ended, GeometryError if sizes differ.
        """
        parts = list(blocks)
        if not parts:
            if size is None:
                raise GeometryError("no blocks to join, and no size: pass size=(width, height)")
            return cls.empty(size)
        whole = parts[0].size if size is None else as_size(size)
        last = None
        for number, part in enumerate(parts):
            if part.size != whole:
                raise GeometryError(f"block {number} is {part.size}, the others {whole}")
            if len(part):
                if last is not None and part.t[0] < last:
                    raise EventsError(
                        f"block {number} starts at {part.t[0]} us, before {last} us, "
                        "where the one ahead of it ended"
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
        """Make events from a structured array of any of the five layouts, told by its field names.

        Time is microseconds (fields t, timestamp or ts), polarity 0/1, -1/1 or bool (p, on or
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
            t=array[time],
            x=array["x"],
            y=array["y"],
            p=polarity_column(array[polarity]),
            size=size,
        )

    def to_array(self, layout: Layout = "tonic") -> NDArray[Any]:
        """Return the events as a structured array in the layout that a peer takes.

        tonic         x i2, y i2, t i8, p bool
        faery         t u8, x u2, y u2, on bool
        expelliarmus  t i8, x i2, y i2, p u1
        metavision    x u2, y u2, p i2, t i8
        dv            timestamp i8, x i2, y i2, polarity i1

        Raises ConfigError for another name, EventsError for negative times in the faery layout.
        """
        if layout not in _LAYOUTS:
            raise ConfigError(f"unknown layout {layout!r}; {did_you_mean(layout, _LAYOUTS)}")
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

    def __getitem__(self, part: slice) -> Events:
        """Return a part of the events, in order: a slice with a positive step, without copying."""
        if not isinstance(part, slice) or (part.step is not None and part.step < 1):
            raise EventsError(f"{part!r}: events are cut by slices that run forward")
        return Events.from_checked(
            self.t[part], self.x[part], self.y[part], self.p[part], self.size
        )

    def select(self, mask: NDArray[np.bool_]) -> Events:
        """Return the events where the boolean `mask` (one an event) is true."""
        if mask.dtype != np.bool_ or mask.shape != self.t.shape:
            raise EventsError(f"a mask of {len(self)} booleans is needed, not {mask.shape}")
        return Events.from_checked(
            self.t[mask], self.x[mask], self.y[mask], self.p[mask], self.size
        )

    def between(self, start_us: int | None, stop_us: int | None) -> Events:
        """Return the events with start_us <= t < stop_us, without copying; None leaves open."""
        first = 0 if start_us is None else int(np.searchsorted(self.t, start_us))
        last = len(self) if stop_us is None else int(np.searchsorted(self.t, stop_us))
        return self[first : max(first, last)]

    @property
    def duration_us(self) -> int:
        """Microseconds from the first event to the last; 0 where there are fewer than two."""
        return int(self.t[-1] - self.t[0]) if len(self) else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Events):
            return NotImplemented
        return self.size == other.size and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in "txyp"
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if not len(self):
            return f"Events(none, {self.size})"
        on = int(np.count_nonzero(self.p))
        return (
            f"Events({len(self):,} on {self.size}, t = {self.t[0]}..{self.t[-1]} us, "
            f"{on:,} ON, {len(self) - on:,} OFF)"
        )


def polarity_column(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return polarities of bool, 0/1 or -1/1 as ON = True. Raises EventsError for other values."""
    if values.dtype == np.bool_:
        return values
    if values.size:
        low, high = values.min(), values.max()
        binary = low >= 0 and high <= 1
        signed = low >= -1 and high <= 1 and not np.any(values == 0)
        if not (binary or signed) or values.dtype.kind not in "iu":
            raise EventsError(
                f"polarity holds {low}..{high} ({values.dtype}); 0 and 1, or -1 and 1, are meant"
            )
    return np.asarray(values > 0)


@runtime_checkable
class Source(Protocol):
    """A stream of events in blocks.

    Blocks follow each other in time; where they are cut means nothing. Memory is bounded by the
    block. A file starts anew at each iteration; a camera does not.
    """

    @property
    def size(self) -> Size:
        """The sensor's size."""

    def __iter__(self) -> Iterator[Events]:
        """Yield the blocks in time order."""


class Filter(Protocol):
    """Frozen parameters of a function from events to events."""

    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass over a stream; it holds the state of that pass."""


class Sink(Protocol):
    """Somewhere to write events to: a context manager.

    A clean exit finishes the output; an exception leaves what was there before.
    """

    def __enter__(self) -> Self:
        """Open a temporary output."""

    def write(self, events: Events) -> None:
        """Append a block; blocks come in time order and share one size."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the output, or remove it if there was an error."""


class EventsSource(Viewable):
    """Events in memory as a Source of one block."""

    def __init__(self, events: Events) -> None:
        self.events = events

    @property
    def size(self) -> Size:
        """The sensor's size."""
        return self.events.size

    def __iter__(self) -> Iterator[Events]:
        yield self.events

    def about(self) -> list[tuple[str, str]]:
        """Return how many events there are."""
        return [("events", f"{len(self.events):,}, in memory")]


def about(source: Source) -> list[tuple[str, str]]:
    """Return names and values for people, of what a Source says of itself without being read."""
    said = source.about() if isinstance(source, Viewable) else []
    return [("source", type(source).__name__), *said]


def file_name(events_or_source: Events | Source) -> str | None:
    """Return the name of the file that a Source, or what it is a part of, is read from."""
    path = getattr(getattr(events_or_source, "recording", events_or_source), "path", None)
    return None if path is None else Path(path).name


def as_source(events_or_source: Events | Source) -> Source:
    """Return a Source: the argument itself, or Events wrapped in one."""
    if isinstance(events_or_source, Events):
        return EventsSource(events_or_source)
    return events_or_source


def read_all(source: Source) -> Events:
    """Return all events of a Source as one."""
    return Events.concatenate(source, size=source.size)
