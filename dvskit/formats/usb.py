"""Events of a USB event camera, as they come: usb://CAMERA[:SERIAL][?BIAS=VALUE&...]."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, as_size
from dvskit.formats.addresses import DeviceRecording, LiveAddress
from dvskit.formats.forward_time import Columns, ForwardTime, on_sensor
from dvskit.formats.losses import Damage
from dvskit.formats.recording import ReadOptions
from dvskit.formats.storage import Storage
from dvskit.formats.usb_driver import UsbAddress, open_camera
from dvskit.streams import Triggers


class UsbCamera(DeviceRecording):
    """The events of a USB event camera: a Source that is read once, a block per packet.

    Lost packets, late events and events off the sensor are counted in `damage`. If the camera's
    clock starts again, times go on from the last one, and that is counted too. Reading ends at
    `close`, after `limit_us`, or, which `damage` reports, if the camera is unplugged.
    """

    format = "usb"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        address = UsbAddress.parse(path)
        if options.size is not None or options.variant is not None:
            raise ConfigError(f"camera {address.name}: has a size of its own; leave out size=")
        self._device = open_camera(address)
        sensor = self._device.properties()
        size = as_size((int(sensor.width), int(sensor.height)))
        super().__init__(path, replace(options, strict=False), size, "camera")
        self._prepare(f"camera {address.name}", self._device.close)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        self._begin()
        packets = _Packets(self._device, damage)
        clock, timer = ForwardTime(damage), _Timer(self.limit_us)
        try:
            for status, packet in packets:
                events = None if packet is None else packet.polarity_events
                if events is not None and len(events):
                    timer.begin()
                    block = self._block(events, clock, damage)
                    self._keep_triggers(packet, clock)
                    if len(block):
                        yield block
                elif timer.is_over(status):
                    return
                elif packet is not None:
                    self._keep_triggers(packet, clock)
                if self._closed.is_set():
                    return
        finally:
            self._close_device()
            if packets.left_out:
                self.assumptions.append(f"left out: {packets.left_out}")

    def _block(self, rows: NDArray[Any], clock: ForwardTime, damage: Damage) -> Events:
        # The driver reuses its memory: columns are copies.
        dtypes = {"t": np.int64, "x": np.int16, "y": np.int16, "on": np.bool_}
        columns: Columns = tuple(rows[name].astype(dtype) for name, dtype in dtypes.items())
        return clock.events(on_sensor(columns, self.size, damage), self.size)

    def _keep_triggers(self, packet: Any, clock: ForwardTime) -> None:
        rows = getattr(packet, "trigger_events", None)
        if rows is None or not len(rows):
            return
        names = rows.dtype.names
        edge = rows["rising" if "rising" in names else "polarity"]
        number = rows["id"] if "id" in names else np.zeros(len(rows))
        t = rows["t"].astype(np.int64) + clock.shift_us
        self._triggers.append(Triggers(t, number.astype(np.int16), edge != 0))


class _Packets:
    """The driver's statuses and packets, with what is lost and left out counted."""

    def __init__(self, device: Any, damage: Damage) -> None:
        self._device, self._damage = device, damage
        self._imu = self._frames = 0
        # Events from before the reading, while models and loops were loaded, are not part of it.
        self._dropped: int | None = 0
        if device.backlog() > 1:
            device.clear_backlog(1)
            self._dropped = None

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        device = iter(self._device)
        while True:
            try:
                status, packet = next(device)
            except StopIteration:
                return
            except (RuntimeError, OSError) as error:
                self._damage.tally(1, "early end", f"of the camera ({error}); is it plugged in?")
                return
            self._count(status, packet)
            yield status, packet

    def _count(self, status: Any, packet: Any) -> None:
        if status.ring is not None:
            dropped = int(getattr(status.ring, "dropped_packets", 0))
            before = dropped if self._dropped is None else self._dropped
            # A counter that is smaller than before has been set back.
            lost = dropped - before if dropped >= before else dropped
            self._dropped = dropped
            if lost:
                self._damage.tally(lost, "USB packet", "lost, as the computer was too slow")
        if packet is not None:
            gaps = getattr(packet, "polarity_events_overflow_indices", None)
            if gaps is not None and len(gaps):
                self._damage.tally(len(gaps), "gap", "in the events where packets were lost")
            samples = getattr(packet, "imu_events", None)
            self._imu += 0 if samples is None else len(samples)
            self._frames += len(getattr(packet, "frames", None) or ())

    @property
    def left_out(self) -> str:
        """The data besides events and triggers, in words; "" for none."""
        counts = {"IMU sample": self._imu, "frame": self._frames}
        return " and ".join(count_of(count, name) for name, count in counts.items() if count)


class _Timer:
    """Whether a limit has passed since the first event, or since the start if none came."""

    def __init__(self, limit_us: int | None) -> None:
        self._limit_us, self._started, self._events = limit_us, time.monotonic(), False

    def begin(self) -> None:
        """Count from now on, at the first call."""
        if not self._events:
            self._started, self._events = time.monotonic(), True

    def is_over(self, status: Any) -> bool:
        """Return whether the limit has passed, and no data waits."""
        waiting = status.ring is not None and status.ring.backlog > 0
        if self._limit_us is None or waiting:
            return False
        return time.monotonic() - self._started >= self._limit_us * 1e-6


def open_recording(path: Path, options: ReadOptions) -> UsbCamera:
    """Open a camera at usb://CAMERA[:SERIAL].

    Raises ConfigError for an unknown camera or bias and without the package neuromorphic-drivers,
    FormatError for a camera that is absent or cannot be opened.
    """
    return UsbCamera(LiveAddress(path), options)
