"""What recording a USB event camera takes, by a stand-in for its driver.

    python -m tests.benchmarks.camera [--rate 30] [--seconds 10] [--recording FILE]

Events of 1280x720 at a rate in millions a second come in packets of 2 ms, in real time, and are
recorded as RAW (EVT 3.0) as `dvskit convert --camera evk4 out.raw` does: all over the sensor at
random, which EVT 3.0 packs worst, and those of a recording, sped up. Prints the events that were
given, written and lost, the longest wait of a packet, and the processor time per second. The
driver would keep 512 MiB of its own packets before it drops one; the stand-in drops packets that
are older than 5 s.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dvskit
from dvskit import Events
from dvskit.formats import open_sink
from tests.usb_cameras import Device, driver, packet, rows_of

SIZE, PACKET_US, KEPT_S = (1280, 720), 2000, 5.0
_LOOP = 100  # packets that are given again and again, at later times


class Camera(Device):
    """Gives packets at the times of a clock; drops those that wait too long."""

    def __init__(self, loop: list[NDArray[Any]], count: int, size: tuple[int, int] = SIZE) -> None:
        super().__init__([], size)
        self._loop, self._count, self._number = loop, count, 0
        self.began_s = time.monotonic()
        self.lost = 0
        self.given = 0
        self.longest_wait_s = 0.0
        self.own_s = 0.0  # processor time of this stand-in

    def __next__(self) -> tuple[Any, Any]:
        if self._number >= self._count:
            raise RuntimeError("end")
        if self._number == 0:
            self.began_s = time.monotonic()
        due = self.began_s + self._number * PACKET_US / 1e6
        wait = time.monotonic() - due
        if wait < 0:
            time.sleep(-wait)
        self.longest_wait_s = max(self.longest_wait_s, wait)
        while wait > KEPT_S:
            self._number, self.lost, wait = self._number + 1, self.lost + 1, wait - PACKET_US / 1e6
        begun = time.process_time()
        rows = self._loop[self._number % _LOOP]
        t = rows["t"].view("<i8")
        t += self._number * PACKET_US - t[0] // PACKET_US * PACKET_US
        self.own_s += time.process_time() - begun
        self._number, self.given = self._number + 1, self.given + len(rows)
        ring = SimpleNamespace(backlog=0, dropped_packets=self.lost)
        return SimpleNamespace(ring=ring), packet(rows)


def random_events(rate: float, size: tuple[int, int] = SIZE) -> list[NDArray[Any]]:
    """Return packets of events all over the sensor."""
    rng, count = np.random.default_rng(1), int(rate * PACKET_US)
    made = []
    for _ in range(_LOOP):
        t = np.sort(rng.integers(0, PACKET_US, count))
        t[0] = 0
        x, y = rng.integers(0, size[0], count), rng.integers(0, size[1], count)
        made.append(rows_of(Events(t=t, x=x, y=y, p=rng.random(count) < 0.5, size=size)))
    return made


def recorded_events(path: Path, rate: float) -> list[NDArray[Any]]:
    """Return packets of the events of a recording, which may repeat, at the rate."""
    events, count = dvskit.load_events(path), int(rate * PACKET_US)
    made = []
    for number in range(_LOOP):
        which = np.arange(number * count, (number + 1) * count) % len(events)
        order = np.sort(which)
        t = events.t[order]
        t = (t - t[0]) * (PACKET_US - 1) // max(int(t[-1] - t[0]), 1)
        made.append(rows_of(
            Events(t=t, x=events.x[order], y=events.y[order], p=events.p[order], size=SIZE)
        ))  # fmt: skip
    return made


def measure(name: str, loop: list[NDArray[Any]], seconds: float, folder: Path) -> None:
    """Record, and print a row."""
    device = Camera(loop, int(seconds * 1e6 / PACKET_US))
    sys.modules["neuromorphic_drivers"] = driver(device)
    camera = dvskit.open_events("usb://evk4")
    out = folder / "out.raw"
    begun, wall = time.process_time(), time.monotonic()
    with open_sink(out, SIZE, overwrite=True) as sink:
        for block in camera:
            sink.write(block)
    took, wall = time.process_time() - begun - device.own_s, time.monotonic() - wall
    written = sum(map(len, dvskit.open_events(out)))
    print(
        f"{name:10} {device.given:>12,} given {written:>12,} written {device.lost:>5} packets lost"
        f"  {wall:5.1f} s  longest wait {1e3 * device.longest_wait_s:5.0f} ms"
        f"  {took / seconds:.2f} cores  {out.stat().st_size / written:.2f} bytes an event"
    )


def main() -> None:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--rate", type=float, default=30.0, help="million events a second")
    words.add_argument("--seconds", type=float, default=10.0)
    words.add_argument("--recording", type=Path, help="of 1280x720")
    given = words.parse_args()
    print(f"dvskit {dvskit.__version__}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        loops = {"random": random_events(given.rate)}
        if given.recording is not None:
            loops["recording"] = recorded_events(given.recording, given.rate)
        for name, loop in loops.items():
            measure(f"{name}, warm-up", [loop[0]] * _LOOP, 0.2, Path(folder))
            for _ in range(3):
                measure(name, loop, given.seconds, Path(folder))


if __name__ == "__main__":
    main()
