"""ROS 1 bags, ROS 2 databases and MCAP: what is read of them."""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing

import cv2
import numpy as np
import pytest
from mcap.writer import Writer as McapWriter
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Reader as BagReader

import dvskit
from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.formats.ros import decoding, packing, reading, writing
from dvskit.formats.ros.messages import read_array
from dvskit.formats.storage import new_columns
from tests import ros_bags as bags
from tests.laws import refused
from tests.ros_bags import (
    CONTAINERS,
    SIZE,
    array,
    packet,
    rows_of,
    some_events,
)


def load(path, **options):
    return dvskit.open_events(path, **options).load()


# --- encodings against plain Python ---


def said_of(events, kind):
    """Return events in messages of 100, encoded by plain Python."""
    said = []
    for number, at in enumerate(range(0, len(events), 100)):
        part, base = events[at : at + 100], int(events.t[at])
        if kind == "array":
            said.append(array(rows_of(part), number=number))
            continue
        base_ns = base * 1000
        if kind == "mono":
            data = bags.encode_mono(part, base_ns)
        elif kind == "libcaer":
            base -= 2**31 - 1000  # it wraps within the packet
            data, base_ns = bags.encode_libcaer(part, base), base * 1000 + 18
        else:
            data = bags.encode_compressed(part, base)
        assert bags.decode_packet(data, kind, base_ns) == bags.lists(part)
        said.append(packet(data, kind, base_ns, seq=number))
    return said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::dvskit.errors.UnitWarning")  # parts of microseconds
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", ["array", "mono", "libcaer", "libcaer_cmp"])
def test_messages_and_their_parts_are_decoded_as_plain_python_does(tmp_path, kind, container):
    count, seed = 2000, CONTAINERS.index(container)
    events = some_events(count, seed=seed, start_us=1_700_000_000_000_000)
    said = said_of(events, kind)
    recording = dvskit.open_events(bags.write(tmp_path / f"a.{container}", said))
    assert recording.load() == events
    assert recording.load() == events, "second pass"
    assert kind in ("array", recording.header().get("encoding"))
    assert (recording.size, recording.size_origin) == (SIZE, "header")
    for start, stop in [(100, 900), (950, 951), (1999, 1999), (0, 1999)]:
        a, b = int(events.t[start]), int(events.t[stop])
        assert recording.between(a, b).load() == events.between(a, b)
    assert recording.between(0, 5).load() == events[:0]


@pytest.mark.slow
def test_words_by_chance_are_decoded_as_plain_python_does():
    dice = np.random.default_rng(3)
    for _ in range(50):
        words = dice.integers(0, 1 << 16, 400).astype("<u2")
        words[words >> 12 > 5] = 0x3000
        data = np.frombuffer(words.tobytes(), np.uint8)
        wanted = bags.decode_packet(words.tobytes(), "libcaer_cmp", 5_000_000)
        count, unknown = decoding.k.count_compressed(data, 0, len(data))
        assert (count, unknown) == (len(wanted), 0)
        columns = decoded(decoding.k.decode_compressed, data, count, 5_000_000, (2048, 2048))
        got = zip(*(column.astype(int).tolist() for column in columns), strict=True)
        assert list(got) == wanted


def decoded(kernel, data, count, base_ns, size, *, big_endian=False):
    """Return the columns that a kernel decodes from one message."""
    columns = new_columns(count)
    ends = [np.array([value], np.int64) for value in (0, len(data), base_ns, 0)]
    kernel(decoding.k.Messages(data, *ends, False, big_endian), 0, 1, size, columns)
    return columns


def test_big_endian_cdr_is_read():
    body = struct.pack(">iI", 7, 8) + struct.pack(">I", 2) + b"c\0" + b"\0\0"
    body += struct.pack(">III", 48, 64, 3)
    for index in range(3):
        body += b"\0" * (-len(body) % 2) + struct.pack(">HH", 10 + index, 20 + index)
        body += b"\0" * (-len(body) % 4) + struct.pack(">iIB", 5, 1000 * index, index % 2)
    head = read_array(b"\0\0\0\0" + body, ros1=False)
    assert (head.width, head.height, head.events) == (64, 48, 3)
    data = np.frombuffer(body[head.start - 4 :], np.uint8)
    t, x, y, p = decoded(decoding.k.decode_array, data, 3, 0, (64, 48), big_endian=True)
    assert t.tolist() == [5_000_000, 5_000_001, 5_000_002]
    assert (x.tolist(), y.tolist(), p.tolist()) == ([10, 11, 12], [20, 21, 22], [0, 1, 0])


def test_nanoseconds_are_rounded_down_and_noted_once(tmp_path):
    path = bags.write(tmp_path / "a.bag", [array([(1_999, 1, 2, 1), (2_000, 1, 2, 0)])])
    recording = dvskit.open_events(path)
    for _ in range(2):
        assert recording.load().t.tolist() == [1, 2]
    assert sum("rounded down" in line for line in recording.assumptions) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("container", "start_us"), [("bag", 1000), ("db3", 10**15), ("mcap", 1000), ("mcap", 10**15)]
)
def test_a_part_is_found_without_reading_what_is_ahead(tmp_path, monkeypatch, container, start_us):
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    # Small units: only of files of megabytes parts are searched for.
    monkeypatch.setattr(reading, "LEAST_BYTES", 0)
    monkeypatch.setattr("dvskit.formats.prophesee.decoding.CHUNK_WORDS", 1 << 10)
    monkeypatch.setattr(packing, "PACKET_EVENTS", 200)
    monkeypatch.setattr(writing, "CHUNK_BYTES", 5000)
    events = some_events(30_000, seed=8, start_us=start_us)
    path = tmp_path / f"a.{container}"
    dvskit.save_events(events, path)
    recording = dvskit.open_events(path)
    dice = np.random.default_rng(1)
    for start, stop in [*np.sort(dice.integers(0, 30_000, (20, 2)), axis=1), (29_990, 29_999)]:
        a, b = int(events.t[start]), int(events.t[stop])
        assert recording.between(a, b).load() == events.between(a, b)
    with AnyReader([path]) as reader:
        _, _, message = next(reader.messages())
    content = bytearray(path.read_bytes())
    at = content.index(bytes(message[-100:])) + 6
    content[at : at + 16] = b"\xff\x31" * 8  # off the sensor
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    recording = dvskit.open_events(path)
    with pytest.raises(DamagedFileError):
        recording.load()
    a, b = int(events.t[29_000]), int(events.t[29_500])
    assert recording.between(a, b).load() == events.between(a, b)


# --- topics ---


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_first_topic_by_name_is_read_and_the_others_are_named(tmp_path, container):
    left, right = some_events(100, seed=1), some_events(50, seed=2)
    said = [
        array(rows_of(right), topic="/right/events"),
        array(rows_of(left), topic="/left/events", number=1),
    ]
    path = bags.write(tmp_path / f"two.{container}", said)
    recording = dvskit.open_events(path)
    assert recording.load() == left
    assert any("/right/events" in line for line in recording.assumptions)
    assert recording.other_streams() == {"messages of /right/events (dvs_msgs/EventArray)": 1}
    assert load(path, format=f"{container}:/right/events") == right
    with refused(FormatError, "/rigt/events", "/right/events"):
        dvskit.open_events(path, format=f"{container}:/rigt/events")


def imu(t_ns, gyro, acceleration, *, gyro_known=True):
    types, covariance = bags.STORES[True].types, np.zeros(9)
    fields = {
        "orientation": types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
        "orientation_covariance": np.full(9, -1.0),
        "angular_velocity": types["geometry_msgs/msg/Vector3"](*gyro),
        "angular_velocity_covariance": covariance if gyro_known else np.full(9, -1.0),
        "linear_acceleration": types["geometry_msgs/msg/Vector3"](*acceleration),
        "linear_acceleration_covariance": covariance,
    }
    return bags.Said("/dvs/imu", "sensor_msgs/msg/Imu", t_ns, fields)


@pytest.mark.parametrize("container", ["bag", "db3"])
def test_imu_samples_are_in_g_and_degrees_a_second(tmp_path, container):
    said = [
        array([(1000, 1, 1, 1)]),
        imu(3_000_500, (0.0, np.pi, -np.pi / 2), (0.0, 9.80665, 19.6133)),
        imu(4_000_000, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), gyro_known=False),
    ]
    found = dvskit.open_events(bags.write(tmp_path / f"a.{container}", said)).imu()
    assert found.t.tolist() == [3000, 4000]
    assert np.allclose(found.gyroscope[0], [0, 180, -90])
    assert np.allclose(found.accelerometer[0], [0, 1, 2])
    assert np.isnan(found.gyroscope[1]).all()
    assert (found.accelerometer[1] == 0).all()
    assert np.isnan(found.temperature).all()
    assert np.isnan(found.magnetometer).all()


def image(encoding, pixels, t_ns=5_000_000, step=None, big=0):
    height, width = pixels.shape[:2]
    data = pixels.reshape(height, -1).view(np.uint8)
    if step is not None:
        data = np.pad(data, ((0, 0), (0, step - data.shape[1])), constant_values=77)
    fields = {
        "height": height, "width": width, "encoding": encoding, "is_bigendian": big,
        "step": data.shape[1], "data": np.ascontiguousarray(data).ravel(),
    }  # fmt: skip
    return bags.Said("/dvs/image_raw", "sensor_msgs/msg/Image", t_ns, fields)


GRAY = np.arange(30, dtype=np.uint8).reshape(5, 6)
COLOR = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
DEEP = np.arange(0, 30_000, 1000, dtype=np.uint16).reshape(5, 6)


@pytest.mark.parametrize(
    ("container", "said", "wanted"),
    [
        ("bag", image("mono8", GRAY), GRAY),
        ("mcap", image("mono8", GRAY, step=9), GRAY),
        ("bag", image("bayer_rggb8", GRAY), GRAY),
        ("mcap", image("mono16", DEEP), DEEP),
        ("bag", image("mono16", DEEP.byteswap(), big=1), DEEP),
        ("mcap", image("rgb8", COLOR), COLOR),
        ("bag", image("bgr8", COLOR), COLOR[:, :, ::-1]),
    ],
    ids=lambda value: "",
)
def test_frames_are_gray_or_rgb(tmp_path, container, said, wanted):
    path = bags.write(tmp_path / f"a.{container}", [array([(1000, 1, 1, 1)]), said])
    (frame,) = dvskit.open_events(path).frames()
    assert (frame.t_us, frame.stop_us) == (5000, 5000)
    assert frame.image.dtype == wanted.dtype
    assert np.array_equal(frame.image, wanted)


def test_compressed_frames_are_unpacked(tmp_path):
    done, png = cv2.imencode(".png", COLOR[:, :, ::-1])  # OpenCV takes blue, green, red
    assert done
    fields = {"format": "rgb8; png compressed", "data": png.ravel()}
    said = bags.Said("/dvs/image/compressed", "sensor_msgs/msg/CompressedImage", 9_000_000, fields)
    path = bags.write(tmp_path / "a.db3", [array([(1000, 1, 1, 1)]), said])
    (frame,) = dvskit.open_events(path).frames()
    assert frame.t_us == 9000
    assert np.array_equal(frame.image, COLOR)
    broken = said._replace(fields={**fields, "data": png.ravel()[:20]})
    path = bags.write(tmp_path / "b.db3", [array([(1000, 1, 1, 1)]), broken])
    assert list(dvskit.open_events(path, strict=False).frames()) == []
    with refused(DamagedFileError, "b_db3"):
        list(dvskit.open_events(path).frames())
    path = bags.write(tmp_path / "c.bag", [array([(1000, 1, 1, 1)]), image("yuv422", GRAY)])
    with refused(DamagedFileError, "yuv422"):
        list(dvskit.open_events(path).frames())


def test_triggers_of_a_topic_of_their_own_are_read(tmp_path):
    rows = [(2000, 0, 1), (2500, 3, 0), (9000, 0, 0)]
    said = [
        packet(bags.encode_mono(some_events(10, seed=1), 0), "mono", 0),
        packet(bags.encode_triggers(rows, 1000), "trigger", 1000, topic="/camera/a_trigger"),
    ]
    recording = dvskit.open_events(bags.write(tmp_path / "a.mcap", said))
    found = recording.triggers()
    columns = (found.t.tolist(), found.id.tolist(), found.p.tolist())
    assert list(zip(*columns, strict=True)) == rows
    assert len(recording.load()) == 10
    assert recording.other_streams() == {}


def test_messages_of_ros1_in_mcap_are_read(tmp_path):
    events = some_events(300, seed=3)
    bag = bags.write(tmp_path / "a.bag", [array(rows_of(events)), image("mono8", GRAY)])
    path = tmp_path / "a.mcap"
    with BagReader(bag) as reader, path.open("wb") as file:
        writer = McapWriter(file)
        writer.start("ros1")
        for link, t_ns, data in reader.messages():
            definition = link.msgdef.data.encode()
            schema = writer.register_schema(link.msgtype, "ros1msg", definition)
            channel = writer.register_channel(link.topic, "ros1", schema)
            writer.add_message(channel, t_ns, data, t_ns)
        writer.finish()
    recording = dvskit.open_events(path)
    assert recording.load() == events
    (frame,) = recording.frames()
    assert np.array_equal(frame.image, GRAY)


def sizeless(rows):
    """Return an array that does not say how large the sensor is."""
    said = array(rows)
    return said._replace(fields={**said.fields, "width": 0, "height": 0})


def test_a_size_of_zero_is_taken_from_the_data_or_the_argument(tmp_path):
    path = bags.write(tmp_path / "a.bag", [sizeless([(1000, 5, 7, 1)])])
    recording = dvskit.open_events(path)
    assert (recording.size, recording.size_origin) == ((6, 8), "data")
    assert dvskit.open_events(path, size=(20, 30)).size_origin == "argument"
    assert load(path, size=(20, 30)).sensor_size == (20, 30)
    path = bags.write(tmp_path / "b.bag", [sizeless([])])
    with refused(GeometryError, "b.bag"):
        dvskit.open_events(path)
    assert len(load(path, size=(4, 4))) == 0


@pytest.mark.parametrize(
    ("name", "said", "named"),
    [
        ("a.mcap", image("mono8", GRAY), "/dvs/image_raw"),
        ("a.db3", packet(b"12345678", "evt9", 0), "evt9"),
    ],
)
def test_messages_that_hold_no_known_events_are_refused(tmp_path, name, said, named):
    path = bags.write(tmp_path / name, [said])
    with refused(FormatError, named):
        dvskit.open_events(path)


def test_a_database_of_something_else_is_refused(tmp_path):
    path = tmp_path / "a.db3"
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE people(name TEXT)")
    for strict in (True, False):
        with refused(FormatError, path):
            dvskit.open_events(path, strict=strict)


def test_packets_that_were_never_recorded_are_counted(tmp_path):
    words = struct.pack("<4H", 0x8001, 0x6002, 0x0003, 0x2804)
    said = [packet(words, "evt3", 0, seq=number) for number in (3, 4, 7)]
    recording = dvskit.open_events(bags.write(tmp_path / "a.bag", said))
    assert recording.load().t.tolist() == [0x1002] * 3
    assert any(line.startswith("2 packets") for line in recording.assumptions)
