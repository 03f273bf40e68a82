"""A stand-in for the package neuromorphic-drivers: cameras that replay events from memory."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit import Events

ROWS = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])  # as the driver's: packed
TRIGGERS = np.dtype([("t", "<u8"), ("id", "u1"), ("rising", "?")])


class Name(enum.Enum):
    INIVATION_DAVIS346 = "iniVation DAVIS 346"
    INIVATION_DVXPLORER = "iniVation DVXplorer"
    PROPHESEE_EVK3_HD = "Prophesee EVK3 HD"
    PROPHESEE_EVK4 = "Prophesee EVK4"
    CENTURYARKS_VGA = "CenturyArks VGA"


class Connection(enum.Enum):
    USB_SUPER = "USB 3.0 SuperSpeed (5.0 Gb/s)"


@dataclass
class Biases:
    diff_on: int = 0
    diff_off: int = 0
    nrst: bool = False


@dataclass
class Configuration:
    biases: Biases = field(default_factory=Biases)


def rows_of(events: Events) -> NDArray[Any]:
    """Return events as the driver gives them."""
    rows = np.empty(len(events), ROWS)
    rows["t"], rows["x"], rows["y"], rows["on"] = events.t, events.x, events.y, events.p
    return rows


def packet(events: Events | NDArray[Any] | None, **rest: Any) -> SimpleNamespace:
    """Return a packet; `rest` are its other fields, such as trigger_events."""
    rows = rows_of(events) if isinstance(events, Events) else events
    return SimpleNamespace(polarity_events=rows, **rest)


def packets(events: Events, count: int = 1000) -> list[SimpleNamespace]:
    """Return events in packets of `count`."""
    return [packet(events[at : at + count]) for at in range(0, len(events), count)]


class Device:
    """Gives packets, one after the other; None is a time without data. Then it waits, or fails.

    dropped    the driver's counter of lost packets, at each packet
    """

    def __init__(
        self,
        given: Sequence[SimpleNamespace | None],
        size: tuple[int, int],
        *,
        dropped: Callable[[int], int] = lambda number: 0,
        fails: str = "",
        at_end: Callable[[], None] | None = None,
    ) -> None:
        self._given, self._size, self._fails, self._at_end = given, size, fails, at_end
        self._dropped, self._next = dropped, 0
        self.old = 0  # packets from before the reading
        self.closed = threading.Event()
        self.configuration: Any = None
        self.timeout_s = 0.0

    def properties(self) -> SimpleNamespace:
        return SimpleNamespace(width=self._size[0], height=self._size[1])

    def biases_bounds(self) -> SimpleNamespace:
        limits = SimpleNamespace(minimum=-80, maximum=140)
        return SimpleNamespace(diff_on=limits, diff_off=limits)

    def update_configuration(self, configuration: Any) -> None:
        self.configuration = configuration

    def backlog(self) -> int:
        return self.old

    def clear_backlog(self, until: int) -> None:
        assert until == 1
        self._next += self.old
        self.old = 0

    def close(self) -> None:
        self.closed.set()

    def __iter__(self) -> Device:
        return self

    def __next__(self) -> tuple[Any, Any]:
        if self.closed.is_set():
            raise RuntimeError("__next__ called after __exit__")
        number, self._next = self._next, self._next + 1
        given = self._given[number] if number < len(self._given) else None
        if number >= len(self._given):
            if self._fails:
                raise RuntimeError(self._fails)
            if number == len(self._given) and self._at_end is not None:
                self._at_end()
        if given is None:
            time.sleep(min(self.timeout_s, 0.005))
            return SimpleNamespace(system_time=time.time(), ring=None), None
        ring = SimpleNamespace(
            backlog=0, raw_packets=1, clutch_engaged=False, dropped_packets=self._dropped(number)
        )
        return SimpleNamespace(system_time=time.time(), ring=ring), given


def driver(
    device: Device | str | None = None,
    name: Name = Name.PROPHESEE_EVK4,
    serial: str | None = "00050423",
    problem: str | None = None,
) -> ModuleType:
    """Return the stand-in with one camera connected; a text in its place is an error of opening."""
    module: Any = ModuleType("neuromorphic_drivers")
    listed = SimpleNamespace(
        name=name, connection=Connection.USB_SUPER, address="", serial=serial, error=problem
    )
    module.list_devices = lambda: [] if device is None else [listed]
    for each in Name:
        kinds = SimpleNamespace(Biases=Biases, Configuration=Configuration)
        setattr(module, each.name.lower(), kinds)

    def opened(configuration: Any, *, iterator_timeout: float, serial: str | None) -> Device:
        if isinstance(device, str) or device is None:
            raise RuntimeError(device or "no device found")
        device.configuration, device.timeout_s = configuration, iterator_timeout
        return device

    module.open = opened
    return module
