"""AEDAT 4: what is written and read back, the table of packets, and what damage costs."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError, FormatError
from dvskit.events import Events
from dvskit.events.sources import read_all
from dvskit.formats import load_events, open_events
from dvskit.formats.aedat4 import (
    Aedat4Sink,
    Compression,
    packets,
    unpacking_kernels,
)
from dvskit.formats.aedat4.layout import PACKET_HEADER, decompressor, read_container, root
from dvskit.formats.losses import Losses
from dvskit.formats.storage import new_columns
from tests.damage import kept_share
from tests.laws import refused
from tests.test_aedat4_packets import stream
from tests.test_aedat4_streams import tables_of

STREAMS = {
    "none": Events.empty((320, 240)),
    "one": stream(1, 1),
    "many packets": stream(2, 50_000, start_us=1_605_537_493_718_345),
    "negative": stream(3, 900, start_us=-(2**40)),
    "one time": Events(t=[5] * 40_000, x=[1] * 40_000, y=[2] * 40_000, p=[1] * 40_000, size=(3, 3)),
    "extremes": Events(t=[-(2**63), 2**63 - 1], x=[0, 32766], y=[32766, 0], p=[1, 0],
                       size=(32767, 32767)),
}  # fmt: skip
PAIRS = [(name, Compression.LZ4) for name in STREAMS]
PAIRS += [("many packets", kind) for kind in Compression if kind != Compression.LZ4]


def write(path: Path, events: Events, kind: Compression) -> Path:
    with Aedat4Sink(path, events.sensor_size, compression=kind) as sink:
        sink.write(events)
    return path


def packet_offsets(path: Path) -> list[int]:
    walk = packets.Packets(read_container(path), 0, Losses(path, strict=True))
    return [begin - PACKET_HEADER.size for group in walk for begin, _ in group.packets]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_what_is_written_is_read_back(tmp_path: Path, name: str, kind: Compression) -> None:
    path = write(tmp_path / "a.aedat4", STREAMS[name], kind)
    assert load_events(path) == STREAMS[name]


def test_the_table_of_packets_tells_where_each_packet_is(tmp_path: Path) -> None:
    events = STREAMS["many packets"]
    path = write(tmp_path / "a.aedat4", events, Compression.ZSTD)
    content = path.read_bytes()
    container = read_container(path)
    packed = content[container.table :]
    table = root(decompressor(Compression.ZSTD)(memoryview(packed)), b"FTAB")
    rows = tables_of(table)
    assert [row.number(0, "<q", 0) - 8 for row in rows] == packet_offsets(path)
    assert sum(row.number(2, "<q", 0) for row in rows) == len(events)
    assert rows[0].number(3, "<q", 0) == events.t[0]
    assert rows[-1].number(4, "<q", 0) == events.t[-1]
    place = rows[0].place(1)
    assert place is not None
    assert struct.unpack_from("<ii", rows[0].buffer, place) == PACKET_HEADER.unpack_from(
        content, container.start
    )


@pytest.mark.parametrize("seed", range(6))
def test_events_are_split_as_a_plain_loop_would(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.zeros(50, [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("pad", "u1", 3)])
    rows["t"] = np.sort(rng.integers(-9, 99, 50))
    rows["x"], rows["y"] = rng.integers(-1 if seed % 3 else 0, 40, (2, 50))
    rows["p"], rows["pad"] = rng.integers(0, 2, 50), rng.integers(0, 256, (50, 3))
    if seed % 2:
        rows["t"][20] = 100
    data = np.frombuffer(b"\0\0\0" + rows.tobytes(), np.uint8)  # unaligned
    events = np.array([(3, 20), (3, 0), (3 + 16 * 20, 1), (3 + 16 * 21, 29)])
    t, x, y, p = columns = new_columns(50)
    good = unpacking_kernels.split_events(data, events, 39, 40, columns)
    for column, name in ((t, "t"), (x, "x"), (y, "y"), (p, "p")):
        assert (column == rows[name]).all()
    assert good != any(
        not (0 <= b < 39 and 0 <= c < 40) or (i > 0 and a < rows["t"][i - 1])
        for i, (a, b, c, *_) in enumerate(rows.tolist())
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Compression.NONE, Compression.LZ4, Compression.ZSTD])
def test_damage_is_an_error_with_its_offset_and_costs_one_packet(
    tmp_path: Path, kind: Compression
) -> None:
    events = stream(9, 50_000)
    path = write(tmp_path / "a.aedat4", events, kind)
    clean = path.read_bytes()
    offsets = packet_offsets(path)
    length_flipped = offsets[2] + 5
    for place in (offsets[1], length_flipped, offsets[0] + 12):
        content = bytearray(clean)
        content[place] ^= 0x40
        path.write_bytes(content)
        with pytest.raises(DamagedFileError) as caught:
            load_events(path)
        assert caught.value.offset in offsets
        recording = open_events(path, strict=False)
        assert kept_share(events, read_all(recording)) >= 1 - 16384 / 50_000 - 1e-9
        assert 0 < recording.damage.lost_bytes <= max(np.diff(offsets))


def test_one_event_with_a_wild_time_costs_itself_alone(tmp_path: Path) -> None:
    events = stream(4, 20_000)
    path = write(tmp_path / "a.aedat4", events, Compression.NONE)
    content = bytearray(path.read_bytes())
    event = packet_offsets(path)[1] + 8 + 32 + 16 * 100
    content[event + 6] ^= 0x10
    path.write_bytes(content)
    with refused(DamagedFileError, "runs back"):
        load_events(path)
    recording = open_events(path, strict=False)
    assert len(read_all(recording)) == len(events) - 1
    assert recording.damage.count == 1


def test_a_file_without_events_streams_or_with_entities_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.aedat4", STREAMS["one"], Compression.LZ4)
    content = path.read_bytes()
    path.write_bytes(content.replace(b">EVTS<", b">FRME<"))
    with refused(FormatError, "event stream"):
        load_events(path)
    path.write_bytes(content.replace(b"<dv", b"<!x"))
    with refused(FormatError, "entities"):
        load_events(path)
