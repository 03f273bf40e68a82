"""AEDAT 4 packets: other layouts, the walk over damage, hostile files."""

from __future__ import annotations

from pathlib import Path

import lz4.frame
import pytest
import zstandard

from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size
from dvskit.formats import open_events
from dvskit.formats.aedat4 import Compression, encoding, layout
from dvskit.formats.aedat4.layout import (
    MAGIC,
    PACKET_HEADER,
    CompressionError,
    Compressor,
    decompressor,
)
from tests.arriving import small
from tests.laws import refused, scattered

SIZE = Size(320, 240)
KINDS = [Compression.NONE, Compression.LZ4, Compression.ZSTD]


def stream(seed: int, count: int, *, start_us: int = 0) -> Events:
    events = scattered(count, SIZE, span_us=500_000, seed=seed)
    return Events.from_checked(start_us + events.t, events.x, events.y, events.p, SIZE)


def packet(events: Events, kind: Compression, number: int = 0) -> bytes:
    content = Compressor(kind).compress(encoding.event_packet(events).data)
    return PACKET_HEADER.pack(number, len(content)) + content


def file_of(path: Path, kind: Compression, parts: list[bytes]) -> Path:
    head = MAGIC + encoding.header(kind, 0, encoding.streams_xml(SIZE, kind, ("EVTS",)))
    path.write_bytes(head + b"".join(parts))
    return path


def cut(events: Events, count: int) -> list[Events]:
    return [events[at : at + count] for at in range(0, len(events), count)]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_without_a_size_and_packets_of_another_layout_are_read(
    tmp_path: Path, kind: Compression
) -> None:
    events = stream(3, 3000)
    parts = []
    for each in cut(events, 500):
        words = encoding.event_packet(each)
        content = words[4:].tobytes()
        # The list of fields behind the table, and a vector that is not aligned.
        layout = b"".join(n.to_bytes(2, "little") for n in (6, 8, 4, 0))
        body = (8).to_bytes(4, "little") + b"EVTS" + (2**32 - 8).to_bytes(4, "little")
        body += (12).to_bytes(4, "little") + layout + len(each).to_bytes(4, "little") + content
        buffer = len(body).to_bytes(4, "little") + body
        if kind is Compression.ZSTD:
            buffer = zstandard.ZstdCompressor(write_content_size=False).compress(buffer)
        elif kind is Compression.LZ4:
            buffer = lz4.frame.compress(buffer, block_linked=False, content_checksum=True)
        parts.append(PACKET_HEADER.pack(0, len(buffer)) + buffer)
    path = file_of(tmp_path / "a.aedat4", kind, parts)
    for strict in (True, False):
        assert open_events(path, strict=strict).load() == events


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [1 << 12, 1 << 23])
def test_packets_from_the_future_cost_only_themselves(
    tmp_path: Path, kind: Compression, window: int
) -> None:
    events = stream(4, 20_000)
    parts = cut(events, 1000)
    early = parts[3]
    late = Events.from_checked(early.t + 10**9, early.x, early.y, early.p, SIZE)
    wrong = [*parts[:9], late, *parts[9:]]
    path = file_of(tmp_path / "a.aedat4", kind, [packet(each, kind) for each in wrong])
    with small("aedat4", _WINDOW=window):
        recording = open_events(path, strict=False)
        assert recording.load() == events
        assert recording.damage.lost_bytes == 16 * 1000
        with refused(DamagedFileError, "runs back"):
            open_events(path).load()


@pytest.mark.parametrize("kind", [Compression.LZ4, Compression.ZSTD])
def test_a_bomb_is_lost_and_what_is_behind_it_kept(
    tmp_path: Path, kind: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MOST_BYTES", 1 << 23)  # a real bomb would take 128 MB
    bomb = Compressor(kind).compress(bytes(1 << 25))
    events = stream(7, 1000)
    parts = [packet(events[:500], kind), PACKET_HEADER.pack(0, len(bomb)) + bomb]
    path = file_of(tmp_path / "a.aedat4", kind, [*parts, packet(events[500:], kind)])
    with refused(DamagedFileError, "more than"):
        open_events(path).load()
    recording = open_events(path, strict=False)
    assert recording.load() == events
    assert recording.damage.lost_bytes == len(parts[1])
    with pytest.raises(CompressionError):
        decompressor(kind)(memoryview(bomb))


# Heads of LZ4 frames with checksums that state 9 and 2^62 bytes of content; all have 15 bytes.
STATES_9 = bytes.fromhex("04224d185c40090000000000000071")
STATES_2_62 = bytes.fromhex("04224d185c4000000000000000408d")
HOSTILE = {
    "without an end mark": lambda frame: frame[:-8],
    "cut in a block": lambda frame: frame[:-20],
    "two frames": lambda frame: frame * 2,
    "a skippable frame behind": lambda frame: frame + b"\x50\x2a\x4d\x18\x01\0\0\0x",
    "a size that is too small": lambda frame: STATES_9 + frame[15:],
    "a size without end": lambda frame: STATES_2_62 + frame[15:],
    "a wrong content": lambda frame: frame[:60] + bytes([frame[60] ^ 1]) + frame[61:],
    "a wrong checksum of the content": lambda frame: frame[:-1] + bytes([frame[-1] ^ 1]),
    "a wrong checksum of the head": lambda frame: frame[:14] + bytes([frame[14] ^ 1]) + frame[15:],
    "a block longer than the frame": lambda frame: frame[:15] + b"\xff\xff\0\0" + frame[19:],
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_lz4_frame_is_lost_alone_and_at_its_place(tmp_path: Path, how: str) -> None:
    events = stream(8, 2000)
    parts = [packet(each, Compression.LZ4) for each in cut(events, 500)]
    frame = lz4.frame.compress(
        encoding.event_packet(events[500:1000]).data, content_checksum=True, block_checksum=True
    )
    path = tmp_path / "a.aedat4"
    for content in (frame, HOSTILE[how](frame)):
        parts[1] = PACKET_HEADER.pack(0, len(content)) + content
        file_of(path, Compression.LZ4, parts)
        if content is frame:
            assert open_events(path).load() == events
    with pytest.raises(DamagedFileError) as caught:
        open_events(path).load()
    assert caught.value.offset == path.stat().st_size - sum(map(len, parts[1:]))
    recording = open_events(path, strict=False)
    assert recording.load() == Events.concatenate([events[:500], events[1000:]])
    assert recording.damage.lost_bytes == len(parts[1])
