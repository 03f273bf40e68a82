"""AEDAT 4: a real recording exactly, what is written and read back, and what damage costs."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError, EventsError, FormatError
from dvskit.events import Events, Size, read_all
from dvskit.formats import load_events, open_events, open_sink
from dvskit.formats.aedat4 import (
    Aedat4Sink,
    Compression,
    compression,
    packets,
    unpacking_kernels,
)
from dvskit.formats.aedat4.layout import PACKET_HEADER, FlatbufferError, read_container, root
from dvskit.formats.losses import Losses
from dvskit.formats.storage import new_columns
from dvskit.streams import Triggers
from tests.event_rows import kept_share
from tests.test_aedat4_packets import stream
from tests.test_aedat4_streams import tables_of

REAL = "dvxplorer_320x240_lz4.aedat4"


STREAMS = {
    "none": Events.empty((320, 240)),
    "one": stream(1, 1),
    "many packets": stream(2, 50_000, start_us=1_605_537_493_718_345),
    "negative": stream(3, 900, start_us=-(2**40)),
    "one time": Events(t=[5] * 40_000, x=[1] * 40_000, y=[2] * 40_000, p=[1] * 40_000, size=(3, 3)),
    "extremes": Events(t=[-(2**63), 2**63 - 1], x=[0, 32766], y=[32766, 0], p=[1, 0],
                       size=(32767, 32767)),
}  # fmt: skip


def write(path: Path, events: Events, kind: Compression) -> Path:
    with Aedat4Sink(path, events.size, compression=kind) as sink:
        sink.write(events)
    return path


def packet_offsets(path: Path) -> list[int]:
    walk = packets.Packets(read_container(path), 0, Losses(path, strict=True))
    return [begin - PACKET_HEADER.size for group in walk for begin, _ in group.packets]


@pytest.mark.slow
def test_a_real_recording_is_read_exactly(data: Path) -> None:
    truth = json.loads((data / "recordings" / "truth.json").read_text())[REAL]
    recording = open_events(data / "recordings" / REAL)
    events = read_all(recording)
    assert len(events) == truth["events"]
    for name in ("t_int64", "x_uint16", "y_uint16", "p_uint8"):
        column, dtype = name.split("_")
        content = getattr(events, column).astype(dtype).tobytes()
        assert hashlib.sha256(content).hexdigest()[:16] == truth[f"sha256_{name}"]
    assert (recording.size, recording.size_origin) == ((320, 240), "header")
    assert recording.other_streams() == {"IMU samples": 475}
    assert recording.header()["compression"] == "LZ4"
    assert len(recording.triggers()) == 0


@pytest.mark.parametrize("count", [1, 7])
def test_events_do_not_depend_on_how_packets_are_grouped(
    data: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_events(data / "recordings" / REAL)
    monkeypatch.setattr(packets, "_MOST_PACKETS", count)
    assert load_events(data / "recordings" / REAL) == whole


@pytest.mark.slow
@pytest.mark.parametrize("kind", Compression)
@pytest.mark.parametrize("name", STREAMS)
def test_what_is_written_is_read_back(tmp_path: Path, name: str, kind: Compression) -> None:
    path = write(tmp_path / "a.aedat4", STREAMS[name], kind)
    assert load_events(path) == STREAMS[name]


def test_the_table_of_packets_tells_where_each_packet_is(tmp_path: Path) -> None:
    events = STREAMS["many packets"]
    path = write(tmp_path / "a.aedat4", events, Compression.ZSTD)
    content = path.read_bytes()
    container = read_container(path)
    packed = content[container.table :]
    table = root(compression.decompress(packed, Compression.ZSTD), b"FTAB")
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


@pytest.mark.slow
def test_triggers_are_written_and_read_back(tmp_path: Path) -> None:
    triggers = Triggers(
        np.array([-3, 10, 10, 900_000]), np.zeros(4, np.int16), np.array([1, 0, 1, 0], bool)
    )
    for name in ("none", "one", "many packets"):
        path = tmp_path / f"{name}.aedat4"
        with open_sink(path, STREAMS[name].size) as sink:
            sink.write_triggers(triggers)
            sink.write(STREAMS[name])
        recording = open_events(path)
        assert read_all(recording) == STREAMS[name]
        assert recording.triggers().t.tolist() == triggers.t.tolist()
        assert recording.triggers().p.tolist() == triggers.p.tolist()
    late = Aedat4Sink(tmp_path / "late.aedat4", Size(320, 240))
    with late:
        late.write(STREAMS["one"])
        with pytest.raises(EventsError, match="before the events"):
            late.write_triggers(triggers)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
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


def test_a_packet_that_would_swell_without_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "MOST_BYTES", 1 << 20)
    for kind in (Compression.LZ4, Compression.ZSTD):
        bomb = compression.Compressor(kind).compress(bytes(1 << 24))
        with pytest.raises(compression.CompressionError):
            compression.decompress(bomb, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Compression.NONE, Compression.LZ4, Compression.ZSTD])
def test_damage_is_an_error_with_its_offset_and_costs_one_packet(
    tmp_path: Path, kind: Compression
) -> None:
    events = stream(9, 90_000)
    path = write(tmp_path / "a.aedat4", events, kind)
    clean = path.read_bytes()
    offsets = packet_offsets(path)
    length_flipped = offsets[2] + 5
    for place in (offsets[1], length_flipped, offsets[3] + 12):
        content = bytearray(clean)
        content[place] ^= 0x40
        path.write_bytes(content)
        with pytest.raises(DamagedFileError) as caught:
            load_events(path)
        assert caught.value.offset in offsets
        recording = open_events(path, strict=False)
        assert kept_share(events, read_all(recording)) >= 1 - 16384 / 90_000 - 1e-9
        assert 0 < recording.damage.lost_bytes <= max(np.diff(offsets))


def test_one_event_with_a_wild_time_costs_itself_alone(tmp_path: Path) -> None:
    events = stream(4, 60_000)
    path = write(tmp_path / "a.aedat4", events, Compression.NONE)
    content = bytearray(path.read_bytes())
    event = packet_offsets(path)[1] + 8 + 32 + 16 * 100
    content[event + 6] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="time runs back"):
        load_events(path)
    recording = open_events(path, strict=False)
    assert len(read_all(recording)) == len(events) - 1
    assert recording.damage.count == 1


def test_a_cut_file_keeps_its_whole_packets(data: Path, tmp_path: Path) -> None:
    whole = load_events(data / "recordings" / REAL)
    content = (data / "recordings" / REAL).read_bytes()
    path = tmp_path / "cut.aedat4"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFileError):
        load_events(path)
    kept = load_events(path, strict=False)
    assert whole[: len(kept)] == kept
    assert len(kept) > len(whole) // 3


@pytest.mark.slow
def test_flipped_bits_in_a_real_recording_cost_little(data: Path, tmp_path: Path) -> None:
    whole = load_events(data / "recordings" / REAL)
    clean = (data / "recordings" / REAL).read_bytes()
    path = tmp_path / "a.aedat4"
    for seed in range(25):
        rng = np.random.default_rng(seed)
        content = bytearray(clean)
        content[int(rng.integers(2400, len(content)))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(content)
        kept = load_events(path, strict=False)
        assert len(whole) * (1 - kept_share(whole, kept)) < 2920, seed  # the largest packet


def test_offsets_that_point_outside_a_flatbuffer_are_errors() -> None:
    rng = np.random.default_rng(0)
    head = struct.pack("<II4s", 60, 16, b"EVTS")
    for _ in range(2000):
        buffer = head + rng.integers(0, 12, 52, dtype=np.uint8).tobytes()
        try:
            start, count = root(buffer, b"EVTS").vector(0, 16)
        except FlatbufferError:
            continue
        assert 0 <= start <= start + 16 * count <= len(buffer)


def test_a_file_without_events_streams_or_with_entities_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.aedat4", STREAMS["one"], Compression.LZ4)
    content = path.read_bytes()
    path.write_bytes(content.replace(b">EVTS<", b">FRME<"))
    with pytest.raises(FormatError, match="no event stream"):
        load_events(path)
    path.write_bytes(content.replace(b"<dv", b"<!x"))
    with pytest.raises(FormatError, match="entities"):
        load_events(path)


def read_with(peer: str, path: Path) -> dict[str, np.ndarray]:
    """Read a file with another library."""
    if peer == "faery":
        faery = pytest.importorskip("faery")
        rows = np.concatenate(list(faery.events_stream_from_file(path)))
        return {name: rows[name].astype(np.int64) for name in "txyp"}
    if peer == "evutils":
        io = pytest.importorskip("evutils.io")
        read = io.EventReader(str(path), max_time=2**62, max_events=2**40).read_all()
        return {name: np.asarray(getattr(read, name)).astype(np.int64) for name in "txyp"}
    if peer == "aedat":
        packets = pytest.importorskip("aedat").Decoder(str(path))
        rows = np.concatenate([packet["events"] for packet in packets if "events" in packet])
        return {name: rows["on" if name == "p" else name].astype(np.int64) for name in "txyp"}
    if peer == "dv-processing":
        recording = pytest.importorskip("dv_processing").io.MonoCameraRecording(str(path))
        parts = []
        while recording.isRunning() and (batch := recording.getNextEventBatch()) is not None:
            parts.append(batch.numpy())
        rows = np.concatenate(parts)
        names = {"t": "timestamp", "x": "x", "y": "y", "p": "polarity"}
        return {name: rows[field].astype(np.int64) for name, field in names.items()}
    rows = pytest.importorskip("eventcv").load(str(path)).numpy()
    return {name: rows[:, place].astype(np.int64) for place, name in enumerate("xytp")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [Compression.NONE, Compression.LZ4, Compression.ZSTD])
@pytest.mark.parametrize("peer", ["faery", "evutils", "eventcv", "dv-processing", "aedat"])
def test_other_libraries_read_the_same_events(tmp_path: Path, peer: str, kind: Compression) -> None:
    events = STREAMS["many packets"]
    got = read_with(peer, write(tmp_path / "a.aedat4", events, kind))
    for column in "txyp":
        assert np.array_equal(got[column], getattr(events, column)), column
