"""Event Stream: plain encoders of all types as twins, and what damage costs."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events.sources import read_all
from tests.arriving import small
from tests.damage import assert_only_our_errors
from tests.laws import refused, rows_of

WIDTH, HEIGHT = 300, 200
SIZE = (WIDTH, HEIGHT)


def header(width: int = 16, height: int = 8, kind: int = 1, version: int = 2) -> bytes:
    return b"Event Stream" + bytes((version, 0, 0, kind)) + struct.pack("<HH", width, height)


def event(step: int, x: int, y: int, on: int) -> bytes:
    return bytes((step << 1 | on,)) + struct.pack("<HH", x, y)


# An event to encode: microseconds since the one ahead, x, y from the bottom, polarity, crossing,
# and red, green and blue.
Row = tuple[int, int, int, int, int, tuple[int, int, int]]


def dvs(row: Row) -> bytes:
    step, x, y, p, _, _ = row
    return b"\xff" * (step // 127) + bytes([step % 127 << 1 | p]) + struct.pack("<HH", x, y)


def atis(row: Row) -> bytes:
    step, x, y, p, crossing, _ = row
    times = step // 63
    ahead = b"\xff" * (times // 3) + (bytes([0xFC | times % 3]) if times % 3 else b"")
    return ahead + bytes([step % 63 << 2 | p << 1 | crossing]) + struct.pack("<HH", x, y)


def color(row: Row) -> bytes:
    step, x, y, _, _, rgb = row
    return b"\xff" * (step // 254) + bytes([step % 254]) + struct.pack("<HH", x, y) + bytes(rgb)


LAYOUTS: dict[str, tuple[bytes, Callable[[Row], bytes], bytes]] = {
    "dvs": (header(*SIZE, kind=1), dvs, b"\xfe"),
    "atis": (header(*SIZE, kind=2), atis, b"\xfc"),
    "color": (header(*SIZE, kind=4), color, b"\xfe"),
}


def rows_of_any_kind(rng: np.random.Generator, count: int) -> list[Row]:
    most = int(rng.choice([1, 30, 200, 5000]))
    return [
        (
            int(rng.integers(0, most)),
            int(rng.integers(0, WIDTH)),
            int(rng.integers(0, HEIGHT)),
            int(rng.integers(2)),
            int(rng.integers(2)),
            tuple(rng.integers(0, 256, 3).tolist()),
        )
        for _ in range(count)
    ]


def content_of(name: str, rows: list[Row], rng: np.random.Generator) -> bytes:
    head, encode, reset = LAYOUTS[name]
    resets = [reset * 5 if rng.random() < 0.1 else b"" for _ in rows]
    return head + b"".join(pair for row in zip(resets, map(encode, rows), strict=True)
                           for pair in row)  # fmt: skip


def expected(name: str, rows: list[Row]) -> tuple[Events, Events, list[tuple[int, int, int]]]:
    """Return the changes, the threshold crossings and the colors that rows mean."""
    t = np.cumsum([row[0] for row in rows])
    latest: dict[tuple[int, int], float] = {}
    columns: tuple[list[tuple[int, int, int, int]], ...] = ([], [])
    for time, (_, x, y, p, crossing, rgb) in zip(t.tolist(), rows, strict=True):
        if name == "color":
            luma = 299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2]
            p, latest[x, y] = int(luma >= latest.get((x, y), -1)), luma
        columns[crossing if name == "atis" else 0].append((time, x, HEIGHT - 1 - y, p))
    changes, crossings = (
        Events(**dict(zip("txyp", np.array(part).reshape(-1, 4).T, strict=True)), size=SIZE)
        for part in columns
    )
    return changes, crossings, [row[5] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_read_as_its_plain_encoder_wrote_it(tmp_path, name, seed):
    rng = np.random.default_rng(seed)
    rows = rows_of_any_kind(rng, 300)
    (tmp_path / "a.es").write_bytes(content_of(name, rows, rng))
    changes, crossings, colors = expected(name, rows)
    with small("es", BLOCK_EVENTS=(1, 7, 64, 5000)[seed]):
        recording = dvskit.open_events(tmp_path / "a.es")
        assert recording.load() == changes
        assert read_all(recording) == changes
        assert recording.header()["type"] == name
        atis, color = name == "atis", name == "color"
        assert recording.crossings() == (crossings if atis else Events.empty(SIZE))
        assert recording.colors().tolist() == ([list(rgb) for rgb in colors] if color else [])
        others = {"threshold crossings": len(crossings)} if atis else {}
        assert recording.other_streams() == ({"colors": len(rows)} if color else others)
        for start, stop in np.sort(rng.integers(-5, changes.t[-1] + 9, (6, 2)), axis=1).tolist():
            assert recording.between(start, stop).load() == changes.between(start, stop)


@pytest.mark.parametrize("seed", range(4))
def test_events_are_written_as_by_a_plain_encoder(tmp_path, seed):
    rng = np.random.default_rng(seed)
    rows = rows_of_any_kind(rng, 300)
    changes, _, _ = expected("dvs", rows)
    dvskit.save_events(changes, tmp_path / "a.es")
    assert (tmp_path / "a.es").read_bytes() == LAYOUTS["dvs"][0] + b"".join(map(dvs, rows))


def test_the_real_recording_is_written_byte_for_byte(data, tmp_path):
    path = data / "recordings" / "dvs_320x240.es"
    recording = dvskit.open_events(path)
    assert recording.header() == {"version": "2.0.0", "type": "dvs"}
    assert "bottom" in recording.assumptions[0]
    dvskit.save_events(recording, tmp_path / "a.es")
    assert (tmp_path / "a.es").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (header(kind=3), "display"),
        (header(kind=9), "type 9"),
        (header(version=3), "byte 12"),
        (b"Event Stream\x00\x01\x00", "0.1"),
        (b"Event Stream\x01\x00\x00", "sepia"),
        (header()[:14], "header"),
        (header()[:15], "header"),
        (header()[:18], "header"),
    ],
)
def test_what_is_no_stream_of_changes_is_refused_by_name(tmp_path, content, named):
    (tmp_path / "a.es").write_bytes(content)
    with refused(FormatError, named):
        dvskit.load_events(tmp_path / "a.es")


def test_a_header_without_size_needs_the_argument(tmp_path):
    (tmp_path / "a.es").write_bytes(header(0, 0) + event(1, 2, 3, 1))
    with refused(GeometryError, "size"):
        dvskit.open_events(tmp_path / "a.es")
    recording = dvskit.open_events(tmp_path / "a.es", size=(4, 5))
    assert recording.size_origin == "argument"
    assert rows_of(read_all(recording)) == [(1, 2, 1, True)]


def test_a_pixel_off_the_sensor_is_an_error_and_salvage_loses_it_alone(tmp_path):
    good = [event(1, i, i % 8, i & 1) for i in range(16)]
    bad = [*good[:5], event(1, 5, 900, 1), *good[6:]]
    (tmp_path / "a.es").write_bytes(header() + b"".join(bad) + b"\x02\x01")
    with refused(DamagedFileError, "(5, 900)", "byte 45"):
        dvskit.load_events(tmp_path / "a.es")
    recording = dvskit.open_events(tmp_path / "a.es", strict=False)
    assert read_all(recording).t.tolist() == [t for t in range(1, 17) if t != 6]
    assert [loss[:2] for loss in recording.damage.losses] == [(45, 5), (100, 2)]
    (tmp_path / "b.es").write_bytes(header() + good[0] + b"\x02\x01")
    with refused(DamagedFileError, "2 of 5"):
        dvskit.load_events(tmp_path / "b.es")


def test_salvage_finds_the_events_behind_a_lost_byte(data, tmp_path):
    content = (data / "recordings" / "dvs_320x240.es").read_bytes()
    (tmp_path / "a.es").write_bytes(content[:5002] + content[5003:])
    whole = dvskit.load_events(data / "recordings" / "dvs_320x240.es")
    recording = dvskit.open_events(tmp_path / "a.es", strict=False)
    part = read_all(recording)
    assert 1 <= recording.damage.count <= 3
    assert len(whole) - 10 <= len(part) < len(whole)
    assert np.array_equal(part.x[-1000:], whole.x[-1000:])


def test_the_real_generic_events_are_labels_and_no_events(data):
    recording = dvskit.open_events(data / "recordings" / "generic.es")
    assert len(recording.load()) == 0
    assert recording.other_streams() == {"generic events": 70}
    labels = recording.labels()
    assert labels.name[:3] == ("Lorem", "ipsum", "dolor")
    assert (labels.start_us[0], labels.start_us[-1]) == (0, 1_207_922)
    assert (labels.stop_us == labels.start_us + 1).all()


@pytest.mark.parametrize("rows", [1, 2, 1 << 16])
def test_generic_events_of_any_length(tmp_path, rows):
    long = bytes(range(200)) * 2
    size = bytes([(len(long) & 127) << 1 | 1, len(long) >> 7 << 1])
    content = b"\x05\x06abc" + b"\xfe\xff" + b"\x07\x07\x01\x00\xfe\xff\x00" + b"\x01" + size + long
    (tmp_path / "a.es").write_bytes(header(kind=0)[:16] + content)
    with small("es", _ROWS=rows):
        events = list(dvskit.open_events(tmp_path / "a.es").generic_events())
    assert events == [(5, b"abc"), (266, b"\xfe\xff\x00"), (267, long)]


@pytest.mark.parametrize(
    "end", [b"\x05", b"\x05\x08ab", b"\x05" + b"\xff" * 40, b"\x05\xff\xff\xff\x06"]
)
def test_a_generic_event_that_is_cut_or_claims_too_much_is_damage(tmp_path, end):
    (tmp_path / "a.es").write_bytes(header(kind=0)[:16] + b"\x05\x06abc" + end)
    with refused(DamagedFileError, "byte 21"):
        dvskit.load_events(tmp_path / "a.es")
    recording = dvskit.open_events(tmp_path / "a.es", strict=False)
    recording.load()
    assert recording.damage.lost_bytes == len(end)
    assert len(recording.labels()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LAYOUTS, "generic"])
def test_damage_raises_only_our_errors(tmp_path, name):
    for seed in range(15):
        rng = np.random.default_rng(seed)
        content = header(kind=0)[:16] + b"\x05\x06abc\xff\x07\x0adefgh" * 30
        if name != "generic":
            content = content_of(name, rows_of_any_kind(rng, 60), rng)
        assert_only_our_errors(tmp_path / "a.es", content, seed, 5)
