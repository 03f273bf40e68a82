"""Addresses of live events in place of a path: udp:// and tcp://HOST:PORT, usb://, ros://."""

from __future__ import annotations

import re
from abc import abstractmethod
from importlib import import_module
from typing import Any

from dvskit.formats.network import LiveAddress
from dvskit.formats.recording import Recording

__all__ = ["LiveAddress", "LiveRecording", "opener_of", "scheme_of"]

_MODULES = {
    "udp": "dvskit.formats.udp",
    "usb": "dvskit.formats.usb",
    "ros": "dvskit.formats.ros.live",
    "tcp": "dvskit.formats.network",
}


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
