"""Events over UDP: what faery and AEStream send is what arrives."""

from __future__ import annotations

import socket
import struct
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import ConfigError, FormatError, GeometryError, UnknownFormatError
from dvskit.formats.udp import LAYOUTS, parse_address
from tests.laws import refused, rows_of

SIZE = (320, 240)


def make(count: int = 2000, start_us: int = 10, step_us: int = 9, seed: int = 3) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        t=start_us + np.cumsum(rng.integers(0, step_us, count)),
        x=rng.integers(0, SIZE[0], count),
        y=rng.integers(0, SIZE[1], count),
        p=rng.integers(0, 2, count).astype(bool),
        size=SIZE,
    )


def listen(layout: str | None = None, idle_s: float = 0.3):
    name = "udp" if layout is None else f"udp:{layout}"
    recording = dvskit.open_events("udp://127.0.0.1:0", format=name, size=SIZE)
    recording.idle_s = idle_s
    return recording


def send(port: int, datagrams: list[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for data in datagrams:
            out.sendto(data, ("127.0.0.1", port))


def rows(events: Events, layout: str) -> list[bytes]:
    """One event after the other, written from the layouts' definitions."""
    pack = {
        "t64_x16_y16_on8": lambda t, x, y, p: struct.pack("<QHHB", t, x, y, p),
        "t32_x16_y15_on1": lambda t, x, y, p: struct.pack("<IHH", t % 2**32, x, y << 1 | p),
        "spif": lambda t, x, y, p: struct.pack("<II", x << 16 | p << 15 | y, t % 2**32),
    }[layout]
    return [pack(*row) for row in rows_of(events)]


def datagrams(events: Events, layout: str, count: int = 50) -> list[bytes]:
    made = rows(events, layout)
    return [b"".join(made[at : at + count]) for at in range(0, len(made), count)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "count"), [(LAYOUTS[0], 1), (LAYOUTS[1], 50), (LAYOUTS[2], 63), (LAYOUTS[0], 50)]
)
def test_what_is_sent_arrives(layout, count):
    events = make(500)
    recording = listen(layout)
    send(recording.port, datagrams(events, layout, count))
    assert recording.load() == events
    assert not recording.damage


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_a_wrap_of_32_bits_is_counted_on_and_a_late_datagram_does_not_undo_it(layout):
    events = make(300, start_us=2**32 - 600)
    sent = datagrams(events, layout, 30)
    late = sent[4]
    recording = listen(layout)
    send(recording.port, [*sent[:4], *sent[5:7], late, *sent[7:]])
    kept = np.ones(300, bool)
    kept[120:150] = False
    arrived = recording.load()
    assert arrived == events[kept]
    assert str(recording.damage).startswith("30 events that came late")
    assert events.t[0] < 2**32 < events.t[-1]


@pytest.mark.slow
def test_events_without_a_time_get_that_of_their_arrival():
    recording = listen("spif")
    word = struct.pack("<I", 1 << 31 | 7 << 16 | 1 << 15 | 5)

    def trickle():
        for _ in range(3):
            send(recording.port, [word * 2])
            time.sleep(0.05)

    sender = threading.Thread(target=trickle)
    sender.start()
    events = recording.load()
    sender.join()
    assert [row[1:] for row in rows_of(events)] == [(7, 5, True)] * 6
    assert 60_000 < events.t[-1] - events.t[0] < 2_000_000
    assert "arrival" in recording.assumptions[-1]


def test_events_come_while_others_are_still_to_be_sent():
    recording = listen(idle_s=5)
    first, second = make(50), make(50, start_us=10_000)
    blocks = iter(recording)
    send(recording.port, datagrams(first, LAYOUTS[0]))
    assert next(blocks) == first
    send(recording.port, datagrams(second, LAYOUTS[0]))
    assert next(blocks) == second
    recording.close()
    assert list(blocks) == []


@pytest.mark.slow
def test_what_cannot_be_is_left_out_and_counted():
    events = make(40)
    sent = rows(events, LAYOUTS[0])
    off = struct.pack("<QHHB", 2**50, 320, 0, 1)
    never = struct.pack("<QHHB", 2**64 - 1, 3, 0, 1)
    both = struct.pack("<QHHB", 0, 320, 0, 1)  # late, and off the sensor
    recording = listen()
    send(recording.port, [b"".join([*sent[:20], off, never, both, *sent[20:]]), b"", b"12345"])
    assert recording.load() == events
    lost = "1 event at impossible times left out; 2 events off the sensor left out"
    assert recording.damage.extent.startswith(lost)
    problems = [loss.problem for loss in recording.damage.losses]
    assert problems == ["a datagram ends with 5 of 13 bytes"]
    events = make(10)
    sent = rows(events, "spif")
    lone = struct.pack("<I", 1 << 31 | 3 << 16)
    recording = listen("spif")
    send(recording.port, [b"".join([*sent[:4], lone, *sent[4:]]) + sent[0][:4]])
    assert recording.load() == events
    assert recording.damage.count == 2


REAL = make(1000)  # in 20 datagrams
FAR = 10**15
UNCONFIRMED = ("event", "at jumps of time that no later datagrams confirmed left out")
RESTART = ("restart", "of the clock; times go on from the last one")


@pytest.mark.slow
@pytest.mark.parametrize("gather_s", [0.0, 0.1])
@pytest.mark.parametrize(
    ("times", "place", "tallies"),
    [
        ([FAR], 10, {UNCONFIRMED: 1}),
        ([FAR, FAR], 10, {UNCONFIRMED: 2}),
        ([FAR, 2 * FAR, 3 * FAR, FAR], 10, {UNCONFIRMED: 4}),
        ([FAR - number * 20_000 for number in range(9)], 10, {UNCONFIRMED: 9}),
        ([FAR], 20, {UNCONFIRMED: 1}),
        ([FAR] * 3, 10, {RESTART: 2}),
        ([2**60] * 3, 10, {RESTART: 2}),
        ([FAR], 0, {RESTART: 1}),
        ([10], 12, {("event", "that came late left out"): 1}),
        ([None] * 500, 10, {}),
    ],
    ids=str,
)
def test_forged_times_take_no_event_of_others_and_are_counted(
    tmp_path, times, place, tallies, gather_s
):
    forged = [b"" if t is None else struct.pack("<QHHB", t, 3, 5, 1) for t in times]
    sent = datagrams(REAL, LAYOUTS[0])
    recording = listen(idle_s=0.1)
    recording.gather_s = gather_s
    send(recording.port, [*sent[:place], *forged, *sent[place:]])
    dvskit.save_events(recording, tmp_path / "a.raw")
    assert recording.damage.tallies == tallies
    events = dvskit.load_events(tmp_path / "a.raw")
    if RESTART in tallies:  # the forged ones stay
        events = events[np.delete(np.arange(len(events)), np.arange(len(times)) + 50 * place)]
        events = replace(events, t=REAL.t, size=events.sensor_size)
    assert events == REAL


@pytest.mark.parametrize(
    ("address", "given", "kind", "named"),
    [
        ("udp://127.0.0.1:0", {}, GeometryError, "size"),
        ("udp://127.0.0.1:0", {"format": "udp:spf", "size": SIZE}, ConfigError, "'spif'"),
        ("udp://127.0.0.1", {"size": SIZE}, FormatError, "udp://HOST:PORT"),
        ("udp://127.0.0.1:0", {"format": "evt3", "size": SIZE}, UnknownFormatError, "evt3"),
    ],
)
def test_wrong_addresses_layouts_and_sizes_are_refused(address, given, kind, named):
    with refused(kind, named):
        dvskit.open_events(address, **given)


def test_a_taken_port_and_a_closed_recording_are_refused():
    recording = listen()
    with refused(FormatError, recording.port):
        dvskit.open_events(f"udp://127.0.0.1:{recording.port}", size=SIZE)
    recording.close()
    with refused(FormatError, "closed"):
        recording.load()


def test_addresses_are_read_with_one_slash_or_two():
    assert parse_address("udp://:3333") == ("0.0.0.0", 3333)
    assert parse_address("udp:/localhost:1") == ("localhost", 1)
    assert parse_address("udp://[::1]:1") == ("::1", 1)
    assert parse_address("a/udp.raw") is None
