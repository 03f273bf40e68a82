"""Bags for tests: written by the rosbags package, with events packed by slow plain Python."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

import dvskit

SIZE = (64, 48)
CHUNK_BYTES = 1 << 14
CONTAINERS = ("bag", "db3", "mcap")

EVENT = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
ARRAY = "Header header\nuint32 height\nuint32 width\n{}/Event[] events\n"
PACKET = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\n"
    "string encoding\nbool is_bigendian\nuint8[] events\n"
)


class Said(NamedTuple):
    """A message to write: its topic, type, time of recording, and fields."""

    topic: str
    type: str
    t_ns: int
    fields: dict[str, Any]


def store(ros1: bool) -> Any:
    types = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_FOXY)
    added: dict[str, Any] = {}
    for package in ("dvs_msgs", "prophesee_event_msgs"):
        event = EVENT if ros1 else EVENT.replace("time", "builtin_interfaces/Time")
        array = ARRAY.format(package).replace("Header header", "std_msgs/Header header")
        added.update(get_types_from_msg(event, f"{package}/msg/Event"))
        added.update(get_types_from_msg(array, f"{package}/msg/EventArray"))
    added.update(get_types_from_msg(PACKET, "event_camera_msgs/msg/EventPacket"))
    types.register(added)
    return types


STORES = {ros1: store(ros1) for ros1 in (False, True)}


def header(types: Any, t_ns: int, ros1: bool) -> Any:
    time = types.types["builtin_interfaces/msg/Time"](
        sec=t_ns // 1_000_000_000, nanosec=t_ns % 1_000_000_000
    )
    extra = {"seq": 0} if ros1 else {}
    return types.types["std_msgs/msg/Header"](stamp=time, frame_id="camera", **extra)


def build(types: Any, said: Said, ros1: bool) -> Any:
    fields = dict(said.fields)
    stamp = fields.pop("stamp_ns", said.t_ns)
    if "rows" in fields:  # (t_ns, x, y, p) of an EventArray
        event = types.types[said.type.replace("EventArray", "Event")]
        time = types.types["builtin_interfaces/msg/Time"]
        fields["events"] = [
            event(x=x, y=y, ts=time(sec=t // 10**9, nanosec=t % 10**9), polarity=bool(p))
            for t, x, y, p in fields.pop("rows")
        ]
    return types.types[said.type](header=header(types, stamp, ros1), **fields)


def write(path: Path, said: list[Said], *, compression: str = "") -> Path:
    """Write messages to a container that the suffix names; return the file."""
    ros1 = path.suffix == ".bag"
    types = STORES[ros1]
    topics = {each.topic: each.type for each in said}
    if ros1:
        writer: Any = Writer1(path)
        writer.chunk_threshold = CHUNK_BYTES
        if compression:
            writer.set_compression(Writer1.CompressionFormat[compression.upper()])
    else:
        plugin = StoragePlugin.MCAP if path.suffix == ".mcap" else StoragePlugin.SQLITE3
        folder = path.with_name(path.stem + path.suffix.replace(".", "_"))
        writer = Writer2(folder, version=9, storage_plugin=plugin)
        if compression:
            writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    with writer:
        links = {
            topic: writer.add_connection(topic, kind, typestore=types)
            for topic, kind in topics.items()
        }
        for each in said:
            message = build(types, each, ros1)
            pack = types.serialize_ros1 if ros1 else types.serialize_cdr
            writer.write(links[each.topic], each.t_ns, pack(message, each.type))
    return path if ros1 else next(folder.glob(f"*{path.suffix}"))


def cut_chunks(path: Path, compression: str = "zstd", *, channel_each: bool = False) -> None:
    """Write an MCAP file anew, in many compressed chunks; `channel_each` message if asked."""
    found = io.BytesIO(path.read_bytes())
    with path.open("wb") as file:
        kind = CompressionType[compression.upper()]
        writer = McapWriter(file, chunk_size=CHUNK_BYTES, compression=kind)
        writer.start("ros2")
        channels: dict[int, int] = {}
        for at, (schema, channel, message) in enumerate(make_reader(found).iter_messages()):
            key = at if channel_each else channel.id
            if key not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                topic, encoding = channel.topic, channel.message_encoding
                channels[key] = writer.register_channel(topic, encoding, number)
            writer.add_message(channels[key], message.log_time, message.data, 0)
        writer.finish()


def packet(data: bytes, encoding: str, base: int, *, topic: str = "/camera/events", seq: int = 0):
    return Said(
        topic,
        "event_camera_msgs/msg/EventPacket",
        1_000_000_000 + seq * 1_000_000,
        {
            "height": SIZE[1], "width": SIZE[0], "seq": seq, "time_base": base,
            "encoding": encoding, "is_bigendian": False,
            "events": np.frombuffer(data, np.uint8),
        },
    )  # fmt: skip


def array(rows: list[tuple[int, ...]], *, topic: str = "/dvs/events", number: int = 0):
    fields = {"height": SIZE[1], "width": SIZE[0], "rows": rows}
    return Said(topic, "dvs_msgs/msg/EventArray", 10**9 + number * 10**6, fields)


def rows_of(events: dvskit.Events) -> list[tuple[int, ...]]:
    return [(t * 1000, x, y, p) for t, x, y, p in lists(events)]


def lists(events: dvskit.Events) -> list[tuple[int, int, int, int]]:
    columns = (events.t, events.x, events.y, events.p.astype(int))
    return list(zip(*(column.tolist() for column in columns), strict=True))


def some_events(count: int, *, seed: int, start_us: int = 0, size=SIZE) -> dvskit.Events:
    dice = np.random.default_rng(seed)
    return dvskit.Events(
        t=start_us + np.cumsum(dice.integers(0, 60, count)),
        x=dice.integers(0, size[0], count),
        y=dice.integers(0, size[1], count),
        p=dice.integers(0, 2, count).astype(bool),
        size=size,
    )


def assert_same_triggers(got, wanted):
    for name in ("t", "id", "p"):
        assert np.array_equal(getattr(got, name), getattr(wanted, name)), name


# --- plain encoders: one event at a time, from the layouts ---


def encode_mono(events: dvskit.Events, base_ns: int) -> bytes:
    return b"".join(
        struct.pack("<Q", p << 63 | y << 48 | x << 32 | (t * 1000 - base_ns))
        for t, x, y, p in lists(events)
    )


def encode_libcaer(events: dvskit.Events, base_us: int) -> bytes:
    """Microseconds since base_us in 31 bits, which wrap."""
    return b"".join(
        struct.pack("<II", 1 | p << 1 | y << 2 | x << 17, (t - base_us) & 0x7FFFFFFF)
        for t, x, y, p in lists(events)
    )


def encode_compressed(events: dvskit.Events, base_us: int) -> bytes:
    """Four words an event: the high part of time in 4 bits, its low part, the column, the row."""
    words: list[int] = []
    for t, x, y, p in lists(events):
        high, low = divmod(t - base_us, 1 << 12)
        words += [high & 0xF, 1 << 12 | low, 2 << 12 | x, 3 << 12 | p << 11 | y]
    return struct.pack(f"<{len(words)}H", *words)


def encode_triggers(rows: list[tuple[int, int, int]], base_ns: int) -> bytes:
    return b"".join(
        struct.pack("<Q", p << 63 | number << 48 | (t * 1000 - base_ns)) for t, number, p in rows
    )


# --- plain decoders: the twins of the compiled loops ---


def decode_packet(data: bytes, encoding: str, base_ns: int) -> list[tuple[int, int, int, int]]:
    found = []
    if encoding in ("mono", "libcaer"):
        extra, before = 0, 0
        for (word,) in struct.iter_unpack("<Q", data):
            if encoding == "mono":
                t = (base_ns + (word & 0xFFFFFFFF)) // 1000
                found.append((t, word >> 32 & 0xFFFF, word >> 48 & 0x7FFF, word >> 63))
                continue
            low = word >> 32
            if before - low > 1 << 30:
                extra += 1 << 31
            before = low
            t = base_ns // 1000 + extra + low
            found.append((t, word >> 17 & 0x7FFF, word >> 2 & 0x7FFF, word >> 1 & 1))
        return found
    high = low = x = first = p = 0
    fresh = False
    for (word,) in struct.iter_unpack("<H", data):
        kind, value = word >> 12, word & 0xFFF
        t = base_ns // 1000 + (high << 12 | low)
        if kind == 0:
            step = value - high if value >= high or value > 15 else value - high & 15
            fresh = step != 0
            high += step
        elif kind == 1:
            if value < low and not fresh:
                high += 1
            low, fresh = value, False
        elif kind == 2:
            x = value & 0x7FF
        elif kind == 3:
            found.append((t, x, value & 0x7FF, value >> 11))
        elif kind == 4:
            first, p = value & 0x7FF, value >> 11
        elif kind == 5:
            found += [(t, x, first + bit, p) for bit in range(8) if value >> bit & 1]
            first += 8
    return found
