"""EVT 3.0: a plain twin of the decoder, parts, streams as they come, and what damage costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError, GeometryError
from dvskit.events import Size
from dvskit.events.sources import read_all
from dvskit.formats import load_events, open_events
from tests.arriving import begin, small
from tests.laws import refused, rows_of

REAL = ["evt3_gen41_1280x720.raw", "evt3_triggers_640x480.raw"]
HEADER = b"% evt 3.0\n% format EVT3;height=240;width=320\n% geometry 320x240\n% end\n"
OFFSET_HEADER = HEADER.replace(b"% end", b"% dvskit_time_offset_us -123456789\n% end")


def high(value: int) -> int:
    return 0x8000 | value


def low(value: int) -> int:
    return 0x6000 | value


def at(row: int, *columns: int) -> list[int]:
    return [row, *(0x2000 | column for column in columns)]


def raw(path: Path, words: list[int], header: bytes = HEADER, tail: bytes = b"") -> Path:
    path.write_bytes(header + np.array(words, "<u2").tobytes() + tail)
    return path


def plain_decode(words: list[int], size: Size) -> tuple[list[tuple[int, int, int, int]], bool]:
    """Decode by OpenEB's rules, one word at a time; True if time runs back or leaves the sensor."""
    events: list[tuple[int, int, int, int]] = []
    time_high = time_low = loops = row = base = on = -1
    for word in words:
        kind, value = word >> 12, word & 0xFFF
        found: list[tuple[int, int]] = []
        if kind == 0x8:
            if time_high < 0:
                loops = time_low = 0
            elif time_high >= value + 2048:
                loops += 1
            if value != time_high:
                time_low = 0
            time_high = value
        elif kind == 0x6:
            time_low = value
        elif kind == 0x0:
            row = value & 0x7FF
        elif kind == 0x2:
            found = [(value & 0x7FF, value >> 11)]
        elif kind == 0x3:
            base, on = value & 0x7FF, value >> 11
        elif kind in (0x4, 0x5):
            bits = 12 if kind == 0x4 else 8
            if base >= 0:
                found = [(base + bit, on) for bit in range(bits) if value >> bit & 1]
                base += bits
        if time_high < 0 or row < 0:
            continue
        now = loops * 2**24 + time_high * 2**12 + time_low
        for column, polarity in found:
            if column >= size.width or row >= size.height or (events and now < events[-1][0]):
                return events, True
            events.append((now, column, row, polarity))
    return events, False


def random_words(rng: np.random.Generator, count: int) -> list[int]:
    """Random valid words on a clock that wraps, mostly runs on, and repeats TIME_HIGH."""
    clock = int(rng.integers(0, 1 << 24))
    words: list[int] = []
    for _ in range(count):
        kind = int(rng.choice([0x0, 0x2, 0x3, 0x45, 0x6, 0x8, 0xA, 0xE, 0x7, 0xF, 0x5]))
        if kind == 0x6:
            clock += int(rng.integers(0, 60))
            words += [high(clock >> 12 & 0xFFF), low(clock & 0xFFF)]
        elif kind == 0x8 and rng.random() < 0.3:
            clock = ((clock >> 12) + 1) << 12
            words.append(high(clock >> 12 & 0xFFF))
        elif kind == 0x8:
            clock += int(rng.choice([0, 1, 4096, 4096 * 3, 4096 * 1000]))
            words += [high(clock >> 12 & 0xFFF), low(clock & 0xFFF)]
        elif kind == 0x45:
            words += [0x3000 | int(rng.integers(0, 288)) | int(rng.integers(0, 2)) << 11]
            words += [0x4000 | int(rng.integers(0, 4096)), 0x5000 | int(rng.integers(0, 4096))]
        elif kind == 0x0:
            words.append(int(rng.integers(0, 240)) | int(rng.integers(0, 2)) << 11)
        elif kind == 0x2:
            words.append(0x2000 | int(rng.integers(0, 320)) | int(rng.integers(0, 2)) << 11)
        elif kind == 0x3:
            words.append(0x3000 | int(rng.integers(0, 300)))
        else:
            words.append(kind << 12 | int(rng.integers(0, 4096)))
    return words


def test_geometry_comes_from_the_camera_the_argument_or_the_events(
    data: Path, tmp_path: Path
) -> None:
    assert "gen41" in open_events(data / "recordings" / REAL[0]).assumptions[0]
    given = open_events(data / "recordings" / REAL[1], size=(1000, 900))
    assert (given.size, given.size_origin) == ((1000, 900), "argument")
    path = raw(tmp_path / "a.raw", [high(1), low(2), *at(7, 3, 9)], b"% evt 3.0\n")
    recording = open_events(path)
    assert (recording.size, recording.size_origin) == ((10, 8), "data")
    assert recording.assumptions
    with refused(GeometryError, "size"):
        open_events(raw(tmp_path / "b.raw", [high(1)], b"% evt 3.0\n"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(16))
def test_the_decoder_agrees_with_a_plain_one(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = random_words(rng, 400)
    expected, damaged = plain_decode(words, Size(320, 240))
    path = raw(tmp_path / "a.raw", words)
    salvage = open_events(path, strict=False)
    if damaged:
        with pytest.raises(DamagedFileError):
            load_events(path)
        salvage.load()
        assert salvage.damage
        return
    for units in ({}, {"CHUNK_WORDS": 500}):
        with small("evt3", **units):
            assert rows_of(load_events(path)) == expected
    assert rows_of(load_events(path)) == rows_of(salvage.load()) == expected
    assert not salvage.damage
    # A word of no type makes all be decoded with care.
    raw(path, [*words, 0x1000])
    assert rows_of(load_events(path, strict=False)) == expected


def test_time_wraps_and_events_ahead_of_the_clock_are_left_out_and_counted(tmp_path: Path) -> None:
    words = at(1, 2, 3)
    for step in range(0, 3 * 4096, 1024):
        words += [high(step & 0xFFF), low(5), *at(1, 2)]
    recording = open_events(raw(tmp_path / "a.raw", words))
    assert recording.load().t.tolist() == [step * 4096 + 5 for step in range(0, 3 * 4096, 1024)]
    assert any("2 events before" in line for line in recording.assumptions)


@pytest.mark.parametrize(
    ("words", "tail", "byte", "named"),
    [
        ([high(1), 0x1000], b"", 2, "0x1"),
        ([high(1), 0x9000], b"", 2, "0x9"),
        ([high(1), *at(240, 1)], b"", 2, "row 240"),
        ([high(1), *at(1, 320)], b"", 4, "(320, 1)"),
        ([high(1), 1, 0x3000 | 315, 0x4FFF], b"", 6, "(320, 1)"),
        ([high(5), *at(1, 1), low(1), *at(1, 1), high(4), high(6)], b"", 12, "jumps"),
        ([high(5), low(9), *at(1, 1), low(12), *at(1, 1), low(4), *at(1, 2)], b"", 18, "back"),
        ([high(5), *at(1, 1), low(9), *at(1, 2), low(4), *at(1, 3)], b"", 16, "back"),
        ([high(5), *at(1, 1), high(9), *at(1, 2), high(5), *at(1, 3)], b"", 6, "jumps"),
        ([high(1), *at(1, 1)], b"\x01", 6, "1 of 2"),
    ],
)
def test_an_impossible_word_is_an_error_with_its_offset_and_salvage_skips_it(
    tmp_path: Path, words: list[int], tail: bytes, byte: int, named: str
) -> None:
    path = raw(tmp_path / "a.raw", words, tail=tail)
    with refused(DamagedFileError, named, f"byte {len(HEADER) + byte}"):
        load_events(path)
    recording = open_events(path, strict=False)
    read_all(recording)
    assert recording.damage.losses[0].offset == len(HEADER) + byte


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
@pytest.mark.parametrize("header", [HEADER, OFFSET_HEADER])
def test_a_part_of_many_wraps_holds_the_events_of_the_whole_between_its_times(
    tmp_path: Path, header: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    words = long_words(1)
    with small("evt3", 1, CHUNK_WORDS=500):
        recording = open_events(raw(tmp_path / "a.raw", words, header))
        whole = recording.load()
        assert whole.duration_us > 4 << 24
        times = np.random.default_rng(2).integers(whole.t[0] - 9, whole.t[-1] + 9, (12, 2))
        for start, stop in [*np.sort(times, axis=1).tolist(), (int(whole.t[50]), None)]:
            assert recording.between(start, stop).load() == whole.between(start, stop)
        words[len(words) // 2] = 0x1234
        damaged = open_events(raw(tmp_path / "b.raw", words, header))
        with pytest.raises(DamagedFileError):
            damaged.between(-(10**12), None).load()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    with small("evt3", CHUNK_WORDS=500):  # so few that a file has an index
        yield


@pytest.mark.usefixtures("own_cache")
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


@pytest.mark.usefixtures("own_cache")
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


def as_bytes(words: list[int]) -> bytes:
    return np.array(words, "<u2").tobytes()


def test_events_are_there_as_soon_as_their_words_have_come() -> None:
    parts = [as_bytes([low(step), *at(7, step)]) for step in range(20)]
    source, arriving = begin(HEADER, as_bytes([high(3)]), *parts)
    for number, block in enumerate(arriving):
        assert block.x.tolist() == [number]
        assert source.asked == number + 3


def test_the_size_of_a_stream_comes_from_its_header_or_the_argument() -> None:
    header, words = b"% evt 3.0\n% geometry 320x240\n", as_bytes([high(1), *at(5, 6)])
    _, arriving = begin(header[:11], header[11:], words)  # and without a line that ends it
    assert arriving.load().x.tolist() == [6]
    assert len(begin(header[:11], header[11:])[1].load()) == 0
    with refused(GeometryError, "size"):
        begin(b"% evt 3.0\n% end\n")
    _, given = begin(b"% evt 3.0\n% end\n", words, size=Size(7, 6))
    assert given.load().x.tolist() == [6]


def test_damage_in_a_stream_is_raised_with_its_byte() -> None:
    _, arriving = begin(HEADER, as_bytes([high(1), *at(5, 6)]), as_bytes([0x1234]))
    blocks = iter(arriving)
    assert len(next(blocks)) == 1
    with refused(DamagedFileError, "pipe", "0x1234", f"byte {len(HEADER) + 6}"):
        next(blocks)
