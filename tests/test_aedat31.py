"""AEDAT 3.1: a plain twin, triggers, motion, frames, and what damage costs."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit.errors import DamagedFileError, FormatError
from dvskit.events.sources import read_all
from tests.arriving import small
from tests.laws import refused, rows_of

HEAD = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def packet(kind, events, *, source=1, size=8, overflow=0, spare=0, number=None):
    count = len(events) if number is None else number
    head = struct.pack("<hhiiiiii", kind, source, size, 4, overflow, count + spare, count, count)
    return head + b"".join(events) + bytes(size * spare)


def polarity(t, x, y, on, valid=1):
    return struct.pack("<Ii", x << 17 | y << 2 | on << 1 | valid, t)


def special(t, kind, valid=1):
    return struct.pack("<Ii", kind << 1 | valid, t)


def write(path: Path, *packets: bytes, head: bytes = HEAD) -> Path:
    path.write_bytes(head + b"".join(packets))
    return path


def plain_decode(data: bytes) -> list[tuple[int, int, int, bool]]:
    rows, at = [], data.index(b"#!END-HEADER\r\n") + 14
    while at < len(data):
        kind, _, size, _, overflow, capacity, number, _ = struct.unpack_from("<hhiiiiii", data, at)
        for place in range(number if kind == 1 else 0):
            word, t = struct.unpack_from("<Ii", data, at + 28 + place * size)
            if word & 1:
                pixel = word >> 17, word >> 2 & 0x7FFF
                rows.append((t + (overflow << 31), *pixel, bool(word & 2)))
        at += 28 + size * capacity
    return rows


GOOD = packet(1, [polarity(t, t, t, t & 1) for t in range(10)])
LATER = packet(1, [polarity(t, t, t, t & 1) for t in range(50, 60)])


def many_packets(path: Path, seed: int) -> Path:
    """Write packets of several kinds and sources, some empty; some events are invalid."""
    rng = np.random.default_rng(seed)
    packets, t = [], (1 << 31) - 20_000
    for overflow in range(3):
        for _ in range(6):
            rows = []
            for _ in range(int(rng.integers(0, 40))):
                t += int(rng.integers(0, 300))
                x, y, on = (int(n) for n in rng.integers(0, (128, 128, 2)))
                rows.append(polarity(min(t, (1 << 31) - 1), x, y, on, int(rng.random() < 0.9)))
            kind = int(rng.choice([0, 1, 1, 1]))
            packets.append(packet(kind, rows, overflow=overflow, spare=int(rng.integers(3))))
            packets.append(packet(3, [bytes(36)] * 2, size=36, overflow=overflow))
        t = 0
    return write(path, *packets)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_the_decoder_agrees_with_a_plain_one(tmp_path, seed):
    path = many_packets(tmp_path / "a.aedat", seed)
    expected = plain_decode(path.read_bytes())
    recording = dvskit.open_events(path)
    assert rows_of(recording.load()) == rows_of(read_all(recording)) == expected
    for block in (1, 7, 37):
        with small("aedat31", BLOCK_EVENTS=block):
            assert rows_of(dvskit.load_events(path)) == expected
            assert rows_of(dvskit.load_events(path, strict=False)) == expected


def test_triggers_and_other_streams_are_kept_apart(tmp_path):
    path = write(
        tmp_path / "a.aedat",
        packet(1, [polarity(5, 1, 2, 1), polarity(6, 1, 2, 1, valid=0)]),
        packet(0, [special(9, 3), special(1, 1), special(7, 2), special(8, 2, valid=0)]),
        packet(0, [special(8, 8), special(9, 10), special(9, 12)], overflow=1),
        packet(3, [bytes(36)] * 2, size=36),
        packet(2, [bytes(100)], size=100),
        packet(1, [polarity(7, 500, 2, 1)], source=2),
    )
    recording = dvskit.open_events(path)
    assert rows_of(read_all(recording)) == [(5, 1, 2, True)]
    triggers = recording.triggers()
    late = 1 << 31
    assert triggers.t.tolist() == [7, 9, 8 + late, 9 + late]
    assert triggers.id.tolist() == [0, 0, 1, 2]
    assert triggers.p.tolist() == [True, False, True, False]
    assert recording.other_streams() == {
        "events marked invalid": 1,
        "IMU samples": 2,
        "frames": 1,
        "events of source 2": 1,
        "special events": 2,
    }


def head_of(kind: int, size: int, count: int, *, source=1, overflow=0, at=4) -> bytes:
    return struct.pack("<hhiiiiii", kind, source, size, at, overflow, count, count, count)


def test_samples_of_motion_are_read_with_and_without_a_compass(tmp_path):
    values = [0.5, -0.25, 1, 10, -20, 30, 36.5, 40, -50, 60]
    six = [struct.pack("<Ii7f", 1, t, *values[:7]) for t in (5, 9)]
    nine = struct.pack("<Ii10f", 1, 7, *values)
    invalid = struct.pack("<Ii7f", 0, 6, *values[:7])
    path = write(
        tmp_path / "a.aedat",
        head_of(3, 36, 3) + b"".join([six[0], invalid, six[1]]),
        GOOD,
        head_of(4, 48, 1) + nine,
        head_of(3, 36, 1, overflow=1) + six[0],
    )
    samples = dvskit.open_events(path).imu()
    assert samples.t.tolist() == [5, 7, 9, 5 + (1 << 31)]
    assert samples.accelerometer[1].tolist() == values[:3]
    assert samples.gyroscope[0].tolist() == values[3:6]
    assert samples.temperature.tolist() == [36.5] * 4
    assert samples.magnetometer[1].tolist() == values[7:]
    assert np.isnan(samples.magnetometer[[0, 2, 3]]).all()
    assert len(dvskit.load_events(path)) == 10


def frame_bytes(pixels: np.ndarray, start: int, stop: int, *, valid=1, spare=0) -> bytes:
    height, width, channels = pixels.shape
    head = struct.pack(
        "<Iiiiiiiii", channels << 1 | valid, start - 5, stop + 5, start, stop, width, height, 3, 4
    )
    return head + pixels.astype("<u2").tobytes() + bytes(spare)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_frames_are_read_in_gray_and_in_color(tmp_path, channels):
    rng = np.random.default_rng(channels)
    pixels = rng.integers(0, 1 << 16, (3, 6, 5, channels))
    size = 36 + 2 * 6 * 5 * channels + 10
    rows = [
        frame_bytes(pixels[0], 100, 150, spare=10),
        frame_bytes(pixels[1], 200, 250, spare=10, valid=0),
        frame_bytes(pixels[2], 300, 350, spare=10),
    ]
    path = write(tmp_path / "a.aedat", GOOD, head_of(2, size, 3, overflow=2) + b"".join(rows))
    frames = list(dvskit.open_events(path).frames())
    assert [(f.t_us - (2 << 31), f.stop_us - (2 << 31)) for f in frames] == [(100, 150), (300, 350)]
    assert {(f.x, f.y) for f in frames} == {(3, 4)}
    for frame, image in zip(frames, pixels[[0, 2]], strict=True):
        assert frame.image.dtype == np.uint16
        assert np.array_equal(frame.image, image[:, :, 0] if channels == 1 else image[:, :, :3])


@pytest.mark.parametrize(
    ("kind", "content", "named"),
    [
        (2, frame_bytes(np.zeros((6, 5, 1)), 100, 150)[:-2], "58 bytes"),
        (2, frame_bytes(np.zeros((6, 5, 2)), 100, 150), "2 channels"),
        (2, frame_bytes(np.zeros((0, 5, 1)), 100, 150), "5x0"),
        (2, frame_bytes(np.zeros((6, 5, 1)), 160, 150), "160"),
        (3, struct.pack("<Ii7f", 1, -5, *[0] * 7), "-5"),
    ],
)
def test_an_impossible_sample_is_an_error_and_salvage_goes_on(tmp_path, kind, content, named):
    bad = head_of(kind, len(content), 1) + content
    good = frame_bytes(np.ones((2, 2, 1)), 1, 2), struct.pack("<Ii7f", 1, 5, *[0] * 7)
    behind = b"".join(head_of(2 + i, len(part), 1) + part for i, part in enumerate(good))
    path = write(tmp_path / "a.aedat", GOOD, bad, behind)
    recording = dvskit.open_events(path)
    with refused(DamagedFileError, named, f"byte {len(HEAD + GOOD) + 28}"):
        list(recording.frames()) if kind == 2 else recording.imu()
    salvaged = dvskit.open_events(path, strict=False)
    assert [frame.t_us for frame in salvaged.frames()] == [1]
    assert salvaged.imu().t.tolist() == [5]


def test_geometry_comes_from_the_camera_the_argument_or_the_events(tmp_path):
    events = packet(1, [polarity(5, 30, 20, 1)])
    davis = HEAD.replace(b"DVS128", b"DAVIS346")
    other = HEAD.replace(b"DVS128", b"Processor")
    assert dvskit.open_events(write(tmp_path / "a.aedat", events, head=davis)).size == (346, 260)
    recording = dvskit.open_events(write(tmp_path / "b.aedat", events, head=other))
    assert (recording.size, recording.size_origin) == ((31, 21), "data")
    assert dvskit.open_events(tmp_path / "b.aedat", size=(50, 60)).size_origin == "argument"
    assert len(dvskit.load_events(write(tmp_path / "c.aedat"))) == 0
    with refused(FormatError, "camera"):
        dvskit.open_events(write(tmp_path / "d.aedat", head=other))


@pytest.mark.parametrize(
    ("middle", "offset", "named", "kept"),
    [
        (packet(-3, []), 0, "-3", 20),
        (packet(1, [bytes(12)], size=12), 0, "12 bytes", 20),
        (packet(1, [], number=-1), 0, "-1 events", 20),
        (packet(1, [], number=1 << 20), 0, "8388608 bytes", 20),
        (packet(1, [], overflow=-1), 0, "-1 wraps", 20),
        (head_of(1, 8, 0, at=5), 0, "byte 5 of 8", 20),
        (packet(1, [polarity(20, 128, 0, 1)]), 28, "(128, 0)", 20),
        (packet(1, [polarity(20, 1, 0, 1), polarity(19, 1, 0, 1)]), 36, "from 20 to 19", 21),
        (packet(1, [polarity(-20, 1, 0, 1)]), 28, "-20", 20),
        (b"\x07" * 99, 0, "1799", 20),
    ],
)
def test_what_is_impossible_is_an_error_with_its_offset_and_salvage_goes_on(
    tmp_path, middle, offset, named, kept
):
    path = write(tmp_path / "a.aedat", GOOD, middle, LATER)
    with refused(DamagedFileError, named, f"byte {len(HEAD + GOOD) + offset}"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    events = read_all(recording)
    assert len(events) == kept
    assert events.t[-1] == 59
    assert recording.damage.count == 1


def test_a_cut_file_keeps_its_whole_packets(tmp_path):
    path = write(tmp_path / "a.aedat", GOOD, LATER[:-13])
    with refused(DamagedFileError, 80, 67):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert read_all(recording).t.tolist() == list(range(10))
    assert recording.damage.lost_bytes == len(LATER) - 13
    with refused(DamagedFileError, "5 bytes"):
        dvskit.load_events(write(tmp_path / "b.aedat", GOOD, LATER[:5]))


@pytest.mark.parametrize(
    "head", [b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n", HEAD.replace(b"RAW", b"Serial-TS")]
)
def test_a_header_that_cannot_be_used_is_refused(tmp_path, head):
    with refused(FormatError, "a.aedat"):
        dvskit.open_events(write(tmp_path / "a.aedat", GOOD, head=head))
