"""EVT 3.0: parts of a file are found by checkpoints, and streams are read as they come."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvskit.errors import DamagedFileError, GeometryError
from dvskit.events import Events, Size, read_all
from dvskit.formats import InputStream, ReadOptions, Recording, open_events, open_stream
from dvskit.formats.feed import FileFeed, StreamFeed, WordWindow
from dvskit.formats.losses import Losses
from dvskit.formats.prophesee import decoding
from dvskit.formats.prophesee.evt import EVT3_LAYOUT
from dvskit.formats.storage import Storage
from tests.test_evt3 import HEADER, REAL, at, high, low, random_words, raw

OFFSET_HEADER = HEADER.replace(b"% end", b"% dvskit_time_offset_us -123456789\n% end")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "CHUNK_WORDS", 500)


def long_words(seed: int) -> list[int]:
    """Words of many wraps of time, with vectors and triggers, in order of time."""
    rng = np.random.default_rng(seed)
    words: list[int] = []
    for step in range(0, 5 * 4096, 64):
        words += [high(step & 0xFFF), low(int(rng.integers(0, 50))), int(rng.integers(0, 240))]
        words += [0x2000 | int(column) for column in rng.integers(0, 320, 3)]
        words += [0x3000 | int(rng.integers(0, 280)), 0x4000 | int(rng.integers(0, 4096)), 0xA101]
        words += [low(100), 0x4000 | int(rng.integers(0, 4096)), 0x5000 | int(rng.integers(0, 256))]
    return words


@pytest.mark.slow
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("header", [HEADER, OFFSET_HEADER])
def test_a_part_holds_the_events_of_the_whole_between_its_times(
    tmp_path: Path, header: bytes, strict: bool
) -> None:
    path = raw(tmp_path / "a.raw", long_words(1), header)
    recording = open_events(path, strict=strict)
    whole = recording.load()
    assert whole.duration_us > 4 << 24
    rng = np.random.default_rng(2)
    times = rng.integers(whole.t[0] - 1000, whole.t[-1] + 1000, (40, 2))
    times = np.sort(times, axis=1).tolist()
    times += [[int(t), int(t) + 1] for t in rng.choice(whole.t, 10)]
    for start, stop in times:
        assert recording.between(start, stop).load() == whole.between(start, stop)
    assert (
        recording.between(None, times[0][1]).load()
        == whole[: np.searchsorted(whole.t, times[0][1])]
    )


def test_a_part_of_a_real_recording_is_that_of_the_whole(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in REAL:
        recording = open_events(data / "recordings" / name)
        whole = recording.load()
        for start in np.linspace(whole.t[0] - 1, whole.t[-1], 12).astype(int).tolist():
            assert recording.between(start, start + 500).load() == whole.between(start, start + 500)
            assert recording.between(start, None).load() == whole[np.searchsorted(whole.t, start) :]


def test_a_late_part_is_read_without_what_is_ahead_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = raw(tmp_path / "a.raw", long_words(1))
    recording = open_events(path)
    whole = recording.load()
    expected = whole.between(int(whole.t[-1]) - 100000, int(whole.t[-1]) + 1)
    assert recording.between(int(whole.t[-1]) - 100000, None).load() == expected
    begun: list[int] = []
    real = FileFeed.window

    def spy(self: FileFeed, at: int, *rest: Any, **options: Any) -> WordWindow | None:
        begun.append(at)
        return real(self, at, *rest, **options)

    monkeypatch.setattr(FileFeed, "window", spy)
    assert recording.between(int(whole.t[-1]) - 100000, None).load() == expected
    assert min(begun) > path.stat().st_size - 3000


@pytest.mark.parametrize("strict", [True, False])
def test_a_part_of_a_damaged_file_is_that_of_the_whole(tmp_path: Path, strict: bool) -> None:
    words = long_words(3)
    words[len(words) // 2] = 0x1234
    recording = open_events(raw(tmp_path / "a.raw", words), strict=strict)
    if strict:
        with pytest.raises(DamagedFileError):
            recording.load()
        with pytest.raises(DamagedFileError):
            recording.between(0, 4 << 24).load()
        return
    whole = recording.load()
    assert recording.damage
    for start in (0, 1 << 24, 3 << 24):
        assert recording.between(start, 5 << 24).load() == whole.between(start, 5 << 24)


def test_a_kept_index_that_does_not_fit_is_not_used(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.raw", long_words(4))
    recording = open_events(path)
    whole = recording.load()
    recording.between(1 << 24, 2 << 24).load()
    kept = next((tmp_path / "cache" / "indexes").iterdir())
    with np.load(kept) as arrays:
        columns = dict(arrays)
    columns["state"] = columns["state"][:, :3]
    np.savez(kept, **columns)
    assert recording.between(1 << 24, 2 << 24).load() == whole.between(1 << 24, 2 << 24)


def test_what_a_killed_command_left_of_an_index_is_removed(tmp_path: Path) -> None:
    path, indexes = raw(tmp_path / "a.raw", long_words(4)), tmp_path / "cache" / "indexes"
    open_events(path).between(1 << 24, 2 << 24).load()
    (kept,) = indexes.iterdir()
    others = indexes / f".{'0' * 32}.0123abcd.partial.npz"
    for left in (indexes / f".{kept.stem}.0123abcd.partial.npz", others):
        kept.with_name(left.name).touch()
    kept.unlink()
    open_events(path).between(1 << 24, 2 << 24).load()
    assert sorted(indexes.iterdir()) == [others, kept]


class Arriving:
    """A raw stream that gives its parts one after the other, and counts how many it gave."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts, self.given = parts, 0

    def readinto(self, buffer: memoryview) -> int:
        if self.given == len(self.parts):
            return 0
        part = self.parts[self.given][: len(buffer)]
        buffer[: len(part)] = part
        self.parts[self.given] = self.parts[self.given][len(part) :]
        self.given += not self.parts[self.given]
        return len(part)


def as_bytes(words: list[int]) -> bytes:
    return np.array(words, "<u2").tobytes()


def live(parts: list[bytes], **options: Any) -> tuple[Arriving, Recording]:
    source = Arriving(parts)
    stream = InputStream(source, "a pipe")
    return source, open_stream(stream, None, ReadOptions(**options))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("step", [1, 3, 1000, 100_000])
def test_a_stream_gives_what_a_file_of_its_bytes_does(
    tmp_path: Path, step: int, strict: bool
) -> None:
    path = raw(tmp_path / "a.raw", long_words(5)[: 2000 if step < 1000 else None])
    content = path.read_bytes()
    recording = open_events(path, strict=strict)
    parts = [content[i : i + step] for i in range(0, len(content), step)]
    _, arriving = live(parts, strict=strict)
    assert arriving.live
    assert arriving.size == recording.size
    assert arriving.load() == recording.load()
    assert np.array_equal(arriving.triggers().t, recording.triggers().t)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_stream_gives_events_in_order_and_tells(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(raw(tmp_path / "a.raw", random_words(rng, 1500)).read_bytes())
    for place in rng.integers(len(HEADER), len(content), 40).tolist():
        content[place] ^= 1 << int(rng.integers(0, 8))
    cuts = np.sort(rng.integers(0, len(content), 40)).tolist()
    parts = [bytes(content[i:j]) for i, j in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    _, arriving = live([part for part in parts if part], strict=False)
    assert (np.diff(arriving.load().t) >= 0).all()
    assert arriving.damage


def test_events_are_there_as_soon_as_their_words_have_come() -> None:
    parts = [as_bytes([low(step), *at(7, step)]) for step in range(20)]
    source, arriving = live([HEADER, as_bytes([high(3)]), *parts])
    for number, block in enumerate(arriving):
        assert block.x.tolist() == [number]
        assert source.given == number + 3
    assert source.given == 22


def test_a_header_without_an_end_line_is_taken_off_a_stream() -> None:
    header = b"% evt 3.0\n% geometry 320x240\n"
    _, arriving = live([header[:11], header[11:], as_bytes([high(1), *at(5, 6)])])
    assert arriving.load().x.tolist() == [6]
    _, empty = live([header[:11], header[11:]])
    assert len(empty.load()) == 0


def test_a_stream_is_read_once_and_has_to_tell_its_size() -> None:
    _, arriving = live([HEADER, as_bytes([high(1), *at(5, 6)])])
    assert len(read_all(arriving)) == 1
    assert len(read_all(arriving)) == 0
    with pytest.raises(GeometryError, match="pass size"):
        live([b"% evt 3.0\n% end\n"])
    _, told = live([b"% evt 3.0\n% end\n", as_bytes([high(1), *at(5, 6)])], size=Size(7, 6))
    assert told.load().x.tolist() == [6]


def test_damage_in_a_stream_is_told_with_its_byte() -> None:
    _, arriving = live([HEADER, as_bytes([high(1), *at(5, 6)]), as_bytes([0x1234])])
    blocks = iter(arriving)
    assert len(next(blocks)) == 1
    with pytest.raises(DamagedFileError, match=r"a pipe: .*0x1234") as caught:
        next(blocks)
    assert caught.value.offset == len(HEADER) + 6


def test_words_without_a_header_decode_from_anything_that_reads() -> None:
    words = as_bytes([high(1), low(2), *at(5, 6, 7)])
    size = Size(320, 240)
    feed = StreamFeed(io.BytesIO(words), 0, EVT3_LAYOUT.kind, live=False)
    reading = decoding.WordPass(feed, 0, size, EVT3_LAYOUT, Losses(Path("words"), strict=True))
    blocks = list(reading.blocks(Storage()))
    assert Events.concatenate(blocks).x.tolist() == [6, 7]
