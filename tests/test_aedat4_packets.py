"""AEDAT 4 packets: our LZ4 beside the library's, the walk over damage, hostile files."""

from __future__ import annotations

from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import zstandard

from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size
from dvskit.formats import open_events
from dvskit.formats.aedat4 import Compression, compression, encoding, event_packets
from dvskit.formats.aedat4 import lz4_kernels as lz4_frames
from dvskit.formats.aedat4.compression import CompressionError, Compressor, decompress
from dvskit.formats.aedat4.layout import MAGIC, PACKET_HEADER
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


def our_lz4(frame: bytes, room: int) -> int | bytes:
    source = np.frombuffer(frame + b"\xaa" * lz4_frames.SPARE, np.uint8)
    target = np.full(room + 2 * lz4_frames.SPARE, 0x55, np.uint8)
    size = lz4_frames.decompress(source, 0, len(frame), target, 0, room)
    assert (target[room + lz4_frames.SPARE :] == 0x55).all()  # nothing is written farther
    return target[:size].tobytes() if size >= 0 else size


def contents() -> list[bytes]:
    rng = np.random.default_rng(0)
    repeated = [
        bytes(rng.integers(0, 256, n, dtype=np.uint8)) * 400 for n in (*range(1, 9), 15, 16, 17)
    ]
    mixed = b"".join(bytes([n]) * n + rng.bytes(n % 7) for n in range(256))
    return [b"", b"a", bytes(200_000), rng.bytes(70_000), mixed * 5,
            encoding.event_packet(stream(1, 9000)).tobytes(), *repeated]  # fmt: skip


@pytest.mark.parametrize(
    ("linked", "block_size", "checks"), [(True, 4, False), (False, 5, True), (True, 7, True)]
)
def test_lz4_frames_are_decompressed_as_by_the_library(
    linked: bool, block_size: int, checks: bool
) -> None:
    for content in contents():
        for level in (0, 9):
            frame = lz4.frame.compress(
                content, block_linked=linked, block_size=block_size, block_checksum=checks,
                content_checksum=checks, store_size=checks, compression_level=level,
            )  # fmt: skip
            assert our_lz4(frame, len(content)) == content
            assert decompress(frame, Compression.LZ4) == content
            if content:
                assert our_lz4(frame, len(content) - 1) == lz4_frames.NO_ROOM
            assert our_lz4(frame + b"x", len(content)) == lz4_frames.BYTES_BEHIND
            assert our_lz4(frame[:-1], len(content)) == lz4_frames.ENDS_EARLY


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_lz4_frame_is_refused_or_gives_what_the_library_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = contents()[seed % 6 + 3] if seed % 6 != 1 else contents()[4]
    frame = lz4.frame.compress(content, content_checksum=bool(seed % 2), store_size=False)
    for _ in range(60):
        spoilt = bytearray(frame)
        for _ in range(int(rng.integers(1, 4))):
            spoilt[int(rng.integers(0, len(spoilt)))] ^= 1 << int(rng.integers(0, 8))
        got = our_lz4(bytes(spoilt), 2 * len(content) + 1000)
        try:
            expected = lz4.frame.decompress(bytes(spoilt))
        except RuntimeError:
            continue  # we may take what it does not; the packet's own length is checked then
        if isinstance(got, bytes):
            assert got == expected


@pytest.mark.parametrize("independent", [False, True])
def test_lz4_matches_reach_back_to_the_start_and_no_farther(independent: bool) -> None:
    many = bytes(200_000)  # less is always one independent block
    head = lz4.frame.compress(many, block_linked=not independent, store_size=False)[:7]
    first = b"\x80abcdefgh"  # eight literals, as a block of their own
    bad = lz4_frames.MALFORMED
    for offset, result in ((8, b"abcdefgh" * 2), (9, bad), (0, bad)):
        match = b"\x04" + offset.to_bytes(2, "little") + b"\x00"
        blocks = [first, match]
        frame = head + b"".join(len(b).to_bytes(4, "little") + b for b in blocks) + bytes(4)
        expected = lz4_frames.MALFORMED if independent else result
        assert our_lz4(frame, 100) == expected
        inside = b"\x84abcdefgh" + offset.to_bytes(2, "little") + b"\x00"
        frame = head + len(inside).to_bytes(4, "little") + inside + bytes(4)
        assert our_lz4(frame, 100) == result


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
    for module in (compression, event_packets):  # a real bomb would take 128 MB
        monkeypatch.setattr(module, "MOST_BYTES", 1 << 23)
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
        decompress(bomb, kind)
