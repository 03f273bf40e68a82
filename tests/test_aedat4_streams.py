"""AEDAT 4: IMU samples, frames and triggers; several streams; the search for a time."""

from __future__ import annotations

import struct
from pathlib import Path

import flatbuffers
import numpy as np
import pytest

from dvskit.errors import DamagedFileError, EventsError, FormatError, ShapeError
from dvskit.events import Events, Size
from dvskit.formats import open_events
from dvskit.formats.aedat4 import Aedat4Sink, Compression, encoding, reading
from dvskit.formats.aedat4.layout import (
    MAGIC,
    PACKET_HEADER,
    FlatbufferError,
    FlatTable,
    read_container,
    root,
)
from dvskit.streams import Frame, Imu, Triggers
from tests.laws import refused, scattered
from tests.ros_bags import assert_same_triggers

REAL = "dvxplorer_320x240_lz4.aedat4"
SIZE = Size(64, 48)
KINDS = [Compression.NONE, Compression.LZ4, Compression.ZSTD]


def stream(seed: int, count: int, *, start_us: int = 1000, span_us: int = 100_000) -> Events:
    events = scattered(count, SIZE, span_us=span_us, seed=seed)
    return Events.from_checked(start_us + events.t, events.x, events.y, events.p, SIZE)


def samples(count: int) -> Imu:
    rng = np.random.default_rng(1)
    axes = rng.normal(size=(3, count, 3)).astype(np.float32)
    return Imu(
        np.arange(count) * 1000 + 5, axes[0], axes[1], 20 + axes[2, :, 0].copy(), axes[2].copy()
    )


def pictures() -> list[Frame]:
    rng = np.random.default_rng(2)
    shapes = [((48, 64), "u1"), ((48, 64, 3), "u1"), ((20, 30), "u2"), ((5, 7, 3), "u2")]
    return [
        Frame(1000 * i, 1000 * i + 250 * i, rng.integers(0, 200, shape).astype(dtype), i, 2 * i)
        for i, (shape, dtype) in enumerate(shapes)
    ]


def edges() -> Triggers:
    return Triggers(
        np.array([-3, 10, 10, 20, 20, 21, 900_000]),
        np.array([0, 0, 1, 1, 2, 3, 4], np.int16),
        np.array([1, 0, 1, 0, 0, 1, 1], bool),
    )


def tables_of(table: FlatTable) -> list[FlatTable]:
    """The tables of a root table's only vector, by a plain reading of the layout."""
    start, count = table.vector(0, 4)
    places = range(start, start + 4 * count, 4)
    return [
        FlatTable(table.buffer, at + struct.unpack_from("<I", table.buffer, at)[0]) for at in places
    ]


def same_imu(a: Imu, b: Imu) -> bool:
    names = ("t", "accelerometer", "gyroscope", "temperature", "magnetometer")
    return all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n != "t") for n in names)


def same_frames(a: list[Frame], b: list[Frame]) -> bool:
    return len(a) == len(b) and all(
        one[:2] == other[:2]
        and one[3:] == other[3:]
        and one.image.dtype == other.image.dtype
        and np.array_equal(one.image, other.image)
        for one, other in zip(a, b, strict=True)
    )


def write(path: Path, events: Events, kind: Compression) -> Path:
    with Aedat4Sink(path, events.sensor_size, compression=kind) as sink:
        sink.write_frames(pictures())
        sink.write_imu(samples(40))
        sink.write_triggers(edges())
        sink.write(events)
    return path


def raw_file(path: Path, kinds: list[str], packets: list[tuple[int, bytes]]) -> Path:
    """Write an uncompressed file of flatbuffers as they are given."""
    text = encoding.streams_xml(SIZE, Compression.NONE, kinds)
    content = MAGIC + encoding.header(Compression.NONE, 0, text)
    for number, packet in packets:
        content += PACKET_HEADER.pack(number, len(packet)) + packet
    path.write_bytes(content)
    return path


def frame_buffer(kind: int, shape: tuple[int, int], pixels: bytes, times: dict[int, int]) -> bytes:
    builder = flatbuffers.Builder(256)
    vector = builder.CreateByteVector(pixels)
    builder.StartObject(13)
    for field, time in times.items():
        builder.PrependInt64Slot(field, time, 0)
    builder.PrependUOffsetTRelativeSlot(10, vector, 0)
    builder.PrependInt16Slot(6, shape[1], 0)
    builder.PrependInt16Slot(7, shape[0], 0)
    builder.PrependInt8Slot(5, kind, 0)
    builder.FinishSizePrefixed(builder.EndObject(), file_identifier=b"FRME")
    return bytes(builder.Output())


@pytest.mark.parametrize(("kind", "count"), [*zip(KINDS, (0, 1, 40_000), strict=True)])
def test_all_streams_are_written_and_read_back(
    tmp_path: Path, kind: Compression, count: int
) -> None:
    events = stream(3, count)
    recording = open_events(write(tmp_path / "a.aedat4", events, kind))
    assert recording.load() == events
    assert same_imu(recording.imu(), samples(40))
    assert same_frames(list(recording.frames()), pictures())
    assert_same_triggers(recording.triggers(), edges())
    assert recording.other_streams() == {"IMU samples": 40, "frames": 4}


def test_the_imu_samples_of_a_real_recording_are_plausible(data: Path) -> None:
    recording = open_events(data / "recordings" / REAL)
    imu = recording.imu()
    events = recording.load()
    assert len(imu) == recording.other_streams()["IMU samples"] == 475
    assert abs(int(imu.t[0]) - int(events.t[0])) < 20_000
    assert (np.diff(imu.t) > 0).all()
    gravity = np.linalg.norm(imu.accelerometer, axis=1)
    assert 0.8 < np.median(gravity) < 1.2
    assert (np.abs(imu.gyroscope) < 2000).all()
    assert ((imu.temperature > 10) & (imu.temperature < 60)).all()
    assert np.isnan(imu.magnetometer).all()
    assert list(recording.frames()) == []


def test_a_quantity_that_is_0_in_all_samples_was_not_measured(tmp_path: Path) -> None:
    all_of = samples(5)
    part = Imu(all_of.t, all_of.accelerometer, np.full((5, 3), np.nan, np.float32),
               np.full(5, np.nan, np.float32), all_of.magnetometer)  # fmt: skip
    path = tmp_path / "a.aedat4"
    with Aedat4Sink(path, SIZE) as sink:
        sink.write_imu(part)
    assert same_imu(open_events(path).imu(), part)


def test_trigger_types_become_ids_and_edges(tmp_path: Path) -> None:
    rows = np.zeros(10, encoding._TRIGGER)
    rows["t"], rows["kind"] = np.arange(10), np.arange(10)
    buffer = encoding._tables(b"TRIG", rows, (8, 4))
    triggers = open_events(raw_file(tmp_path / "a", ["EVTS", "TRIG"], [(1, buffer)])).triggers()
    assert triggers.id.tolist() == [4, 0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert triggers.p.tolist() == [True, True, False, True, True, False, True, False, True, False]
    rows["kind"][4] = 77
    path = raw_file(
        tmp_path / "b", ["EVTS", "TRIG"], [(1, encoding._tables(b"TRIG", rows, (8, 4)))]
    )
    with refused(FormatError, 77):
        open_events(path).triggers()
    assert len(open_events(path, strict=False).triggers()) == 9


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({0: 500}, (500, 500)),
        ({0: 500, 11: 40}, (500, 540)),
        ({0: 500, 1: 100, 2: 900, 3: 450, 4: 550}, (450, 550)),
        ({0: 500, 3: 550, 4: 450}, (500, 500)),
        ({0: -7, 3: -7, 4: 5, 11: 12}, (-7, 5)),
    ],
)
def test_the_exposure_is_that_of_old_and_new_files(
    tmp_path: Path, times: dict[int, int], expected: tuple[int, int]
) -> None:
    buffer = frame_buffer(0, (2, 3), bytes(6), times)
    (frame,) = open_events(raw_file(tmp_path / "a", ["EVTS", "FRME"], [(1, buffer)])).frames()
    assert frame[:2] == expected


def test_colors_become_rgb_and_other_pixels_are_refused(tmp_path: Path) -> None:
    pixels = bytes(range(24))
    cases = (
        (24, (2, 3), np.arange(24, dtype="u1").reshape(2, 3, 4)[:, :, 2::-1]),
        (2, (2, 6), np.frombuffer(pixels, "<u2").reshape(2, 6)),
        (18, (2, 2), np.frombuffer(pixels, "<u2").reshape(2, 2, 3)[:, :, ::-1]),
    )
    for number, (kind, shape, expected) in enumerate(cases):
        buffer = frame_buffer(kind, shape, pixels, {0: 1})
        (frame,) = open_events(
            raw_file(tmp_path / f"{number}", ["EVTS", "FRME"], [(1, buffer)])
        ).frames()
        assert np.array_equal(frame.image, expected)
        assert frame.image.dtype == expected.dtype
        assert frame.image.flags.c_contiguous
    path = raw_file(tmp_path / "f", ["EVTS", "FRME"],
                    [(1, frame_buffer(5, (2, 3), pixels, {0: 1}))])  # fmt: skip
    with refused(FormatError, "type 5"):
        list(open_events(path).frames())
    assert list(open_events(path, strict=False).frames()) == []


def test_a_damaged_frame_is_an_error_or_left_out(tmp_path: Path) -> None:
    buffers = [frame_buffer(0, (2, 3), bytes(6), {0: time}) for time in (10, 20, 15, 30)]
    buffers.append(frame_buffer(0, (2, 4), bytes(6), {0: 40}))
    packets = [(1, buffer) for buffer in buffers]
    path = raw_file(tmp_path / "a", ["EVTS", "FRME"], packets)
    with refused(DamagedFileError, "from 20 to 15"):
        list(open_events(path).frames())
    path = raw_file(tmp_path / "b", ["EVTS", "FRME"], packets[:2] + packets[3:])
    with refused(DamagedFileError, "4x2"):
        list(open_events(path).frames())
    for name in "ab":
        frames = open_events(tmp_path / name, strict=False).frames()
        assert [frame.t_us for frame in frames] == [10, 20, 30]


def test_frames_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.aedat4", stream(3, 10), Compression.LZ4)
    frames = open_events(path).frames()
    assert next(frames).t_us == 0
    part = open_events(path).between(1000, 3000)
    assert [frame.t_us for frame in part.frames()] == [1000, 2000]


def test_of_several_event_streams_one_is_chosen_by_number(tmp_path: Path) -> None:
    left, right = stream(1, 50), stream(2, 70)
    packets = [(number, encoding.event_packet(events).tobytes())
               for number, events in enumerate((left, right))]  # fmt: skip
    path = raw_file(tmp_path / "a.aedat4", ["EVTS", "EVTS"], packets)
    recording = open_events(path)
    assert recording.load() == left
    assert recording.other_streams() == {"events of stream 1": 70}
    assert "aedat4:1" in recording.assumptions[0]
    assert open_events(path, format="aedat4:1").load() == right
    assert open_events(path, format="aedat4:1").other_streams() == {"events of stream 0": 50}
    with refused(FormatError, "0, 1"):
        open_events(path, format="aedat4:2")


def test_imu_samples_are_those_of_the_same_camera(tmp_path: Path) -> None:
    packets = [(2, encoding.imu_packet(samples(3))), (3, encoding.imu_packet(samples(5)))]
    path = raw_file(tmp_path / "a.aedat4", ["EVTS", "EVTS", "IMUS", "IMUS"], packets)
    head, *rest = path.read_bytes().split(b'key="source" type="string">dvskit')
    assert len(rest) == 4
    for number, part in enumerate(rest):
        head += b'key="source" type="string">cam__%d' % (number % 2) + part
    path.write_bytes(head)
    assert len(open_events(path, format="aedat4:0").imu()) == 3
    assert len(open_events(path, format="aedat4:1").imu()) == 5


def test_a_search_finds_a_late_packet(tmp_path: Path) -> None:
    whole = stream(6, 100_000)
    path = tmp_path / "a.aedat4"
    with Aedat4Sink(path, SIZE, compression=Compression.NONE) as sink:
        sink.write(whole)
    at = reading.find_start(read_container(path), 0, int(whole.t[97_000]))
    assert 0.6 * path.stat().st_size < at


def test_side_streams_are_checked_before_they_are_written(tmp_path: Path) -> None:
    back = Triggers(np.array([5, 4]), np.zeros(2, np.int16), np.ones(2, bool))
    sink = Aedat4Sink(tmp_path / "a.aedat4", SIZE)
    with sink:
        with refused(EventsError, "runs back"):
            sink.write_triggers(back)
        sink.write_triggers(Triggers(np.array([5]), np.array([9], np.int16), np.ones(1, bool)))
        assert "[9]" in sink.notes[0]
        with refused(EventsError, "once"):
            sink.write_triggers(edges())
        sink.write(stream(1, 10))
        for late in (lambda: sink.write_imu(samples(2)), lambda: sink.write_frames(pictures()),
                     lambda: sink.write_triggers(edges())):  # fmt: skip
            with refused(EventsError, "before"):
                late()
    bad = Aedat4Sink(tmp_path / "b.aedat4", SIZE)
    with refused(ShapeError, "float64"), bad:
        bad.write_frames([Frame(0, 0, np.zeros((3, 3)))])
    assert not (tmp_path / "b.aedat4").exists()


def test_scalar_fields_of_tables_are_read_as_a_plain_reader_does() -> None:
    rng = np.random.default_rng(7)
    for count in (0, 1, 9):
        builder = flatbuffers.Builder(64)
        rows = []
        for number in range(count):
            builder.StartObject(3)
            builder.PrependInt64Slot(0, int(rng.integers(-(2**62), 2**62)), 0)
            if number % 2:
                builder.PrependFloat32Slot(1, 1.5 * number, 0)
            builder.PrependInt8Slot(2, int(rng.integers(-128, 128)), 0)
            rows.append(builder.EndObject())
        builder.StartVector(4, count, 4)
        for row in reversed(rows):
            builder.PrependUOffsetTRelative(row)
        vector = builder.EndVector()
        builder.StartObject(1)
        builder.PrependUOffsetTRelativeSlot(0, vector, 0)
        builder.FinishSizePrefixed(builder.EndObject(), file_identifier=b"ABCD")
        buffer = bytes(builder.Output())
        expected = [
            [table.number(0, "<q", 0), table.number(1, "<I", 0), table.number(2, "<b", 0)]
            for table in tables_of(root(buffer, b"ABCD"))
        ]
        got = reading.scalar_tables(buffer, b"ABCD", (8, 4, 1))
        assert got.tolist() == expected


def test_an_offset_of_a_table_that_leads_out_of_it_is_an_error() -> None:
    buffer = bytearray(encoding.imu_packet(samples(2)))
    struct.pack_into("<I", buffer, 32, 1 << 30)
    with pytest.raises(FlatbufferError, match="points out"):
        reading.scalar_tables(bytes(buffer), b"IMUS", reading.IMU_WIDTHS)
