"""Events that arrive over UDP, in the layouts of faery and AEStream.

    t64_x16_y16_on8   faery: 13 bytes per event, time in 64 bits (the default)
    t32_x16_y15_on1   faery: 8 bytes per event, time in 32 bits, y and polarity in 16
    spif              AEStream, SpiNNaker's spif: 4 bytes per event, or 8 with a time after it

All are little-endian. Layouts: faery's udp_encoder; spif, github.com/SpiNNakerManchester/spif,
spiffer/README.md.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, FormatError, GeometryError, did_you_mean
from dvskit.events import Events
from dvskit.formats.addresses import LiveAddress, LiveRecording
from dvskit.formats.forward_time import JUMP_US, Columns, ForwardTime, SureTime, on_sensor
from dvskit.formats.losses import Damage
from dvskit.formats.recording import ReadOptions
from dvskit.formats.storage import Storage

_ROWS = {
    "t64_x16_y16_on8": np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "u1")]),
    "t32_x16_y15_on1": np.dtype([("t", "<u4"), ("x", "<u2"), ("y_on", "<u2")]),
    "spif": np.dtype("<u4"),
}
LAYOUTS = tuple(_ROWS)
_WRAP_US = 1 << 32
_LATEST_US = 1 << 61  # of a sender, and of the shift after its jumps: their sum fits in int64

_LONGEST_DATAGRAM = 1 << 16
_RECEIVE_BUFFER = 1 << 23  # bytes that the system may hold while a block is processed
_SO_RXQ_OVFL = 40  # Linux: reports with each datagram how many were lost before it


def parse_address(path: Path | str) -> tuple[str, int] | None:
    """Return the host and the port of udp://HOST:PORT; None for other paths.

    Raises FormatError for a port outside 0..65535.
    """
    # A Path merges repeated slashes.
    found = re.fullmatch(r"udp:/{1,2}(.*):(\d+)", str(path))
    if found is None:
        return None
    if not 0 <= int(found[2]) < 1 << 16:
        raise FormatError(f"{path}: port {found[2]} is outside 0..65535")
    return found[1].strip("[]") or "0.0.0.0", int(found[2])


class UdpRecording(LiveRecording):
    """Events that arrive at a port: a Source that is read once, as they come.

    Late events (datagrams may overtake each other), events off the sensor, invalid bytes and
    datagrams dropped by the system are left out and counted in `damage`. A jump of time, over an
    hour on or 10 ms back, is held back until three datagrams in a row confirm it, else left out and
    counted. After a jump times go on from the last one: the sender has started again. `strict`
    has no effect, as data cannot be sent again. Reading ends after `idle_s` seconds without a
    datagram, if set. Datagrams that come within `gather_s` seconds form one block.
    """

    format = "udp"
    idle_s: float | None = None

    def __init__(self, path: Path, options: ReadOptions, address: tuple[str, int]) -> None:
        layout = options.variant or LAYOUTS[0]
        if layout not in LAYOUTS:
            raise ConfigError(f"udp layout {layout!r} is unknown; {did_you_mean(layout, LAYOUTS)}")
        if options.size is None:
            raise GeometryError(
                f"{path}: datagrams do not contain the sensor's size; pass size=(width, height)"
            )
        super().__init__(path, replace(options, strict=False), options.size, "argument")
        self.layout = layout
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._socket.bind(address)
        except OSError as error:
            self._socket.close()
            raise FormatError(f"{path}: {error.strerror or error}; choose another port") from error
        if sys.platform == "linux":
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        self.port: int = self._socket.getsockname()[1]
        self._dropped = 0

    def close(self) -> None:
        """Stop listening. Reading ends."""
        self._socket.close()

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        if self._socket.fileno() < 0:
            raise FormatError(f"{self.path}: is closed; open it again")
        reader = _Datagrams(self.layout, self.assumptions)
        times, clock = SureTime(damage), ForwardTime(damage, JUMP_US)
        with self._socket:
            for datagrams in self._arrivals(damage):
                decoded = (
                    on_sensor(reader.decode(data, damage), self.size, damage) for data in datagrams
                )
                sure = times.push([columns for columns in decoded if len(columns[0])])
                if not sure:
                    continue
                columns = tuple(np.concatenate(column) for column in zip(*sure, strict=True))
                events = clock.events(columns, self.size)
                if clock.shift_us > _LATEST_US:
                    raise FormatError(f"{self.path}: times jump on and back without end; stop it")
                yield events
            times.drop()

    def _arrivals(self, damage: Damage) -> Iterator[list[bytes]]:
        """Yield lists of datagrams that arrive within a short time."""
        waited = time.monotonic()
        while True:
            first = self._receive(0.1, damage)
            if first is None:
                if self._socket.fileno() < 0:
                    return
                if self.idle_s is not None and time.monotonic() - waited > self.idle_s:
                    return
                continue
            datagrams, until = [first], time.monotonic() + self.gather_s
            while (left := until - time.monotonic()) > 0:
                more = self._receive(left, damage)
                if more is None:
                    break
                datagrams.append(more)
            yield datagrams
            waited = time.monotonic()

    def _receive(self, timeout_s: float, damage: Damage) -> bytes | None:
        """Return the next datagram, or None if none comes in time or the socket is closed."""
        try:
            self._socket.settimeout(timeout_s)
            data, notes, _, _ = self._socket.recvmsg(_LONGEST_DATAGRAM, 64)
        except OSError:  # a timeout, or closed meanwhile
            return None
        for level, kind, content in notes:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                dropped = struct.unpack("I", content[:4])[0]
                if dropped != self._dropped:
                    count = (dropped - self._dropped) % _WRAP_US
                    damage.add(0, 0, f"{count} datagrams came faster than they were read")
                    self._dropped = dropped
        return data


class _Datagrams:
    """Decodes datagrams; counts wraps of 32-bit times, and times events that have none."""

    def __init__(self, layout: str, assumptions: list[str]) -> None:
        self._layout, self._assumptions = layout, assumptions
        self._wraps, self._last = 0, -1
        self._started = time.monotonic_ns()
        self.width = _ROWS[layout].itemsize

    def decode(self, data: bytes, damage: Damage) -> Columns:
        """Return the columns of one datagram, x and y as int32."""
        odd = len(data) % self.width
        if odd:
            damage.add(0, odd, f"a datagram ends with {odd} of {self.width} bytes")
        rows = np.frombuffer(data[: len(data) - odd], _ROWS[self._layout])
        t, x, y, p = self._fields(rows, damage)
        return t, x.astype(np.int32), y.astype(np.int32), p != 0

    def _fields(self, rows: NDArray[Any], damage: Damage) -> tuple[NDArray[Any], ...]:
        if self._layout == "spif":
            words, t = self._timed(rows, damage)
            return t, words >> 16 & 0x7FFF, words & 0x7FFF, words >> 15 & 1
        if self._layout == "t32_x16_y15_on1":
            return self._count_on(rows["t"]), rows["x"], rows["y_on"] >> 1, rows["y_on"] & 1
        sane = rows["t"] < _LATEST_US
        if not sane.all():
            damage.tally(int(np.count_nonzero(~sane)), "event", "at impossible times left out")
            rows = rows[sane]
        return rows["t"].astype(np.int64), rows["x"], rows["y"], rows["on"]

    def _timed(self, words: NDArray[Any], damage: Damage) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the addresses among words of spif, and the times after them."""
        if (words >> 31).all():
            note = "events without a time get that of their arrival, from the start of listening"
            if note not in self._assumptions:
                self._assumptions.append(note)
            now = (time.monotonic_ns() - self._started) // 1000
            return words, np.full(len(words), now, np.int64)
        places, at = [], 0
        lone = (words >> 31).tolist()
        while at < len(words):
            if lone[at] or at + 1 == len(words):
                damage.add(0, 4, "an event without its time among events with one")
                at += 1
            else:
                places.append(at)
                at += 2
        found = np.array(places, np.int64)
        return words[found], self._count_on(words[found + 1])

    def _count_on(self, t: NDArray[Any]) -> NDArray[np.int64]:
        """Return times extended through the wraps of 32-bit ones."""
        wide = t.astype(np.int64)
        if not len(wide):
            return wide
        first = wide[0] if self._last < 0 else self._last
        steps = np.diff(wide, prepend=first)
        # A late event from before a wrap goes back over it.
        wraps = np.cumsum((steps < -(_WRAP_US // 2)).astype(np.int64) - (steps > _WRAP_US // 2))
        wide += (self._wraps + wraps) * _WRAP_US
        self._wraps += int(wraps[-1])
        self._last = int(t[-1])
        return wide


def open_recording(path: Path, options: ReadOptions) -> UdpRecording:
    """Listen at udp://HOST:PORT; port 0 takes a free one, stored in `port`.

    Raises FormatError if that is impossible, GeometryError without a size.
    """
    shown = LiveAddress(path)
    address = parse_address(shown)
    if address is None:
        raise FormatError(f"{shown}: is not udp://HOST:PORT")
    return UdpRecording(shown, options, address)
