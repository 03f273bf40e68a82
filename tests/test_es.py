"""Event Stream: the real recording exactly, a plain twin, peers, and what damage costs."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import DamagedFileError, EventsError, FormatError, GeometryError
from dvskit.events import read_all
from tests.test_events import make
from tests.test_formats import assert_as_truth_says

NAME = "dvs_320x240.es"


def header(width: int = 16, height: int = 8, kind: int = 1, version: int = 2) -> bytes:
    return b"Event Stream" + bytes((version, 0, 0, kind)) + struct.pack("<HH", width, height)


def event(step: int, x: int, y: int, on: int) -> bytes:
    return bytes((step << 1 | on,)) + struct.pack("<HH", x, y)


def plain_decode(data: bytes, height: int) -> list[tuple[int, int, int, bool]]:
    rows, at, now = [], 20, 0
    while at < len(data):
        now += data[at] >> 1
        if data[at] >> 1 == 127:
            at += 1
            continue
        x, y = struct.unpack_from("<HH", data, at + 1)
        rows.append((now, x, height - 1 - y, bool(data[at] & 1)))
        at += 5
    return rows


def rows_of(events: Events) -> list[tuple[int, int, int, bool]]:
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def test_the_real_recording_is_read_exactly(data):
    truth = json.loads((data / "recordings" / "truth.json").read_text())
    recording = dvskit.open_events(data / "recordings" / NAME)
    assert (recording.size, recording.size_origin) == ((320, 240), "header")
    assert "bottom" in recording.assumptions[0]
    assert recording.header() == {"version": "2.0.0", "type": "dvs"}
    events = read_all(recording)
    assert_as_truth_says(events, truth[NAME])
    assert read_all(recording) == events


def test_the_real_recording_is_written_byte_for_byte(data, tmp_path):
    path = data / "recordings" / NAME
    dvskit.save_events(dvskit.open_events(path), tmp_path / "a.es")
    assert (tmp_path / "a.es").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("seed", range(20))
def test_the_decoder_and_the_encoder_agree_with_a_plain_one(tmp_path, seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 300))
    scale = int(rng.choice([1, 100, 126, 127, 128, 5000]))
    events = Events(
        t=np.cumsum(rng.integers(0, scale + 1, count)),
        x=rng.integers(0, 500, count),
        y=rng.integers(0, 300, count),
        p=rng.integers(0, 2, count),
        size=(500, 300),
    )
    dvskit.save_events(events, tmp_path / "a.es")
    assert plain_decode((tmp_path / "a.es").read_bytes(), 300) == rows_of(events)
    assert dvskit.load_events(tmp_path / "a.es") == events


def test_a_reset_means_nothing_and_an_overflow_is_time(tmp_path):
    one = event(5, 1, 2, 1)
    (tmp_path / "a.es").write_bytes(header() + one + b"\xfe" * 5 + one + b"\xff\xfe" + one)
    assert dvskit.load_events(tmp_path / "a.es").t.tolist() == [5, 10, 142]


def test_no_events_and_long_silences(tmp_path):
    dvskit.save_events(Events.empty((5, 6)), tmp_path / "a.es")
    assert dvskit.load_events(tmp_path / "a.es") == Events.empty((5, 6))
    late = Events(t=[10**7, 2 * 10**7], x=[4, 0], y=[0, 5], p=[1, 0], size=(5, 6))
    dvskit.save_events(late, tmp_path / "b.es")
    assert dvskit.load_events(tmp_path / "b.es") == late


@pytest.mark.parametrize(("t", "message"), [([-1, 5], "below 0"), ([0, 1 << 40], "too long")])
def test_what_an_event_stream_cannot_hold_is_refused(tmp_path, t, message):
    events = Events(t=t, x=[0, 1], y=[0, 1], p=[0, 1], size=(4, 4))
    with pytest.raises(EventsError, match=message):
        dvskit.save_events(events, tmp_path / "a.es")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header(kind=3), "display events"),
        (header(kind=9), "unknown type 9"),
        (header(version=3), "version 3.0.0"),
        (b"Event Stream\x01\x00\x05", "liquid events"),
        (header()[:14], "within its header"),
        (header()[:15], "within its header"),
        (header()[:18], "within its header"),
    ],
)
def test_what_is_no_stream_of_changes_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "a.es").write_bytes(content)
    with pytest.raises(FormatError, match=message):
        dvskit.load_events(tmp_path / "a.es")


def test_a_header_without_size_needs_the_argument(tmp_path):
    (tmp_path / "a.es").write_bytes(header(0, 0) + event(1, 2, 3, 1))
    with pytest.raises(GeometryError, match="pass size"):
        dvskit.open_events(tmp_path / "a.es")
    recording = dvskit.open_events(tmp_path / "a.es", size=(4, 5))
    assert recording.size_origin == "argument"
    assert rows_of(read_all(recording)) == [(1, 2, 1, True)]


def test_a_pixel_off_the_sensor_is_an_error_and_salvage_loses_it_alone(tmp_path):
    good = [event(1, i, i % 8, i & 1) for i in range(16)]
    bad = [*good[:5], event(1, 5, 900, 1), *good[6:]]
    (tmp_path / "a.es").write_bytes(header() + b"".join(bad) + b"\x02\x01")
    with pytest.raises(DamagedFileError, match=r"\(5, 900\)") as caught:
        dvskit.load_events(tmp_path / "a.es")
    assert caught.value.offset == 20 + 25
    recording = dvskit.open_events(tmp_path / "a.es", strict=False)
    assert read_all(recording).t.tolist() == [t for t in range(1, 17) if t != 6]
    assert [loss[:2] for loss in recording.damage.losses] == [(45, 5), (100, 2)]
    (tmp_path / "b.es").write_bytes(header() + good[0] + b"\x02\x01")
    with pytest.raises(DamagedFileError, match="2 of 5 bytes"):
        dvskit.load_events(tmp_path / "b.es")


def test_salvage_finds_the_events_behind_a_lost_byte(data, tmp_path):
    content = (data / "recordings" / NAME).read_bytes()
    (tmp_path / "a.es").write_bytes(content[:5002] + content[5003:])
    whole = dvskit.load_events(data / "recordings" / NAME)
    recording = dvskit.open_events(tmp_path / "a.es", strict=False)
    part = read_all(recording)
    assert 1 <= recording.damage.count <= 3
    assert len(whole) - 10 <= len(part) < len(whole)
    assert np.array_equal(part.x[-1000:], whole.x[-1000:])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_faery_reads_what_we_write_and_writes_what_we_read(tmp_path: Path):
    faery = pytest.importorskip("faery")
    events = make(3000)
    dvskit.save_events(events, tmp_path / "a.es")
    stream = faery.events_stream_from_file(tmp_path / "a.es")
    assert tuple(stream.dimensions()) == tuple(events.size)
    rows = np.concatenate(list(stream))
    for name in "txyp":
        assert np.array_equal(rows[name].astype(np.int64), getattr(events, name)), name
    faery.events_stream_from_file(tmp_path / "a.es").to_file(tmp_path / "b.es")
    assert dvskit.load_events(tmp_path / "b.es") == events
