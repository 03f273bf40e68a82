"""Live decisions for a long time: delays, losses and memory, by a stand-in for a USB camera.

Events all over 128x128 pixels come in packets of 2 ms, in real time, and are decided on as by
`dvskit classify --live --camera`. The delay counts from the end of a bin, when its last event
happened, to the decision. A packet arrives at the end of its 2 ms, so the first event after a bin,
which completes it, arrives 2 ms later.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import dvskit
from dvskit.cli._live import open_stream
from dvskit.cli._options import Reading
from dvskit.evaluation import Live
from dvskit.evaluation.live import follow
from dvskit.models import load_model
from tests.benchmarks.camera import PACKET_US, Camera, random_events
from tests.usb_cameras import driver

SIZE = (128, 128)
_HEAD = (
    f"{'decisions':>9} {'events':>13} {'dropped':>10} {'median':>8} {'99 %':>8} {'longest':>8} "
    f"{'MB':>8} {'cores':>6} {'load':>5}"
)
_GROWTH_MB = 64  # of memory, after the first row


@dataclass
class Row:
    """What was seen since the row before."""

    began_s: float = field(default_factory=time.monotonic)
    work_s: float = field(default_factory=time.process_time)
    events: int = 0
    delays_ms: list[float] = field(default_factory=list)

    def line(self, dropped: int) -> str:
        """Return the row, with the events dropped since the start."""
        delays = np.array(self.delays_ms or [np.nan])
        middle, most = np.quantile(delays, [0.5, 0.99])
        cores = (time.process_time() - self.work_s) / (time.monotonic() - self.began_s)
        return (
            f"{len(self.delays_ms):>9,} {self.events:>13,} {dropped:>10,} {middle:>8.2f} "
            f"{most:>8.2f} {delays.max():>8.2f} {resident_mb():>8.1f} {cores:>6.2f} "
            f"{os.getloadavg()[0]:>5.1f}"
        )


def resident_mb() -> float:
    """Return the memory that this process holds, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(model: str, rate: float, seconds: float, row_s: float) -> int:
    """Print a row every `row_s` seconds; return the number of faults.

    rate  millions of events a second
    """
    device = Camera(random_events(rate, SIZE), int(seconds * 1e6 / PACKET_US), SIZE)
    sys.modules["neuromorphic_drivers"] = driver(device)
    live = Live(load_model(model))
    stream = open_stream(Path("usb://evk4"), live, Reading())
    print(_HEAD)
    row, seen, held = Row(), 0, []
    for arrival, decisions in follow(stream.run, stream.arrivals):
        now = time.monotonic()
        row.delays_ms += [
            1e3 * (now - device.began_s) - (each.stop_us - PACKET_US) / 1e3
            for each in decisions if arrival is not None
        ]  # fmt: skip
        if arrival is not None:
            row.events, seen = row.events + len(arrival.events), seen + len(arrival.events)
        if now - row.began_s >= row_s:
            held.append(resident_mb())
            print(row.line(dropped_by(stream.notes())), flush=True)
            row = Row()
    dropped = dropped_by(stream.notes())
    print("\n".join(stream.notes()))
    faults = []
    if seen + dropped != device.given:
        faults.append(f"{device.given:,} events given, {seen:,} seen, {dropped:,} dropped")
    if held and max(held) > held[0] + _GROWTH_MB:
        faults.append(f"memory grew from {held[0]:.0f} to {max(held):.0f} MB")
    print("\n".join(faults) or f"{device.given:,} events given, all seen or counted as dropped")
    return len(faults)


def dropped_by(notes: list[str]) -> int:
    """Return the number of events that notes call dropped."""
    found = [text for text in notes if "dropped" in text]
    words = found[0].split(" event")[0].split() if found else ["0"]
    return int(words[-1].replace(",", ""))


def main(words: list[str]) -> None:
    """Measure. Exits with 1 if events are missing or memory grows."""
    parser = argparse.ArgumentParser("reliability live", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="dvs128-gestures")
    parser.add_argument("--rate", type=float, default=5.0, help="million events a second")
    parser.add_argument("--seconds", type=float, default=7200.0)
    parser.add_argument("--row", type=float, help="seconds of a row; a twelfth without")
    given = parser.parse_args(words)
    print(f"dvskit {dvskit.__version__}, {given.model}, {given.rate:g} million events/s on "
          f"{SIZE[0]}x{SIZE[1]}; delays in ms")  # fmt: skip
    sys.exit(
        min(1, measure(given.model, given.rate, given.seconds, given.row or given.seconds / 12))
    )


if __name__ == "__main__":
    main(sys.argv[1:])
