"""Addresses of live events in place of a path, such as udp://HOST:PORT."""

from __future__ import annotations

import re
import threading
from abc import abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import Any

from dvskit.errors import FormatError
from dvskit.formats.network import LiveAddress
from dvskit.formats.recording import Recording
from dvskit.streams import Triggers

__all__ = [
    "ADDRESSES",
    "DeviceRecording",
    "LiveAddress",
    "LiveRecording",
    "opener_of",
    "scheme_of",
]

_MODULES = {
    "udp": "dvskit.formats.udp",
    "tcp": "dvskit.formats.network",
    "ws": "dvskit.formats.network",
    "usb": "dvskit.formats.usb",
    "ros": "dvskit.formats.ros.live",
}
ADDRESSES = " or ".join(", ".join(f"{scheme}://" for scheme in _MODULES).rsplit(", ", 1))
"""The beginnings of all addresses, for help and messages."""


def scheme_of(path: object) -> str | None:
    """Return the scheme of an address of live events, such as udp; None for other paths."""
    found = re.match(r"([a-z]+):/", str(path))  # a Path merges repeated slashes
    return found[1] if found and found[1] in _MODULES else None


def opener_of(scheme: str) -> Any:
    """Import and return the module with the `open_recording` of a scheme."""
    return import_module(_MODULES[scheme])


class LiveRecording(Recording):
    """Events that come at their own pace from outside the process: a Source that is read once.

    gather_s  the longest time in seconds that an event waits for others of its block
    limit_us  reading ends this long after the first event; cameras that see nothing end, too
    """

    live = True
    gather_s = 0.01
    limit_us: int | None = None

    @abstractmethod
    def close(self) -> None:
        """End reading, from any thread."""


class DeviceRecording(LiveRecording):
    """The one pass over a device that is opened with the recording, and closed after it."""

    along = True

    def _prepare(self, name: str, close_device: Callable[[], None]) -> None:
        """Set what a pass needs; call it before the device gives anything."""
        self._name, self._close_device = name, close_device
        self._closed, self._begun = threading.Event(), False
        self._triggers: list[Triggers] = []

    def close(self) -> None:
        """End reading after the data at hand, from any thread."""
        self._closed.set()
        if not self._begun:
            self._begun = True
            self._close_device()

    def new_triggers(self) -> Triggers:
        """Return the triggers since the last call."""
        found, self._triggers = self._triggers, []
        return Triggers.in_order(found)

    def _begin(self) -> None:
        """Begin the pass. Raises FormatError if it has begun, or is closed."""
        if self._begun:
            raise FormatError(f"{self._name}: is closed; open it again")
        self._begun = True
