"""EVT 3.0: a plain twin of the decoder, and what damage costs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import Size, read_all
from dvskit.formats import load_events, open_events
from dvskit.formats.prophesee import decoding
from dvskit.formats.prophesee import evt3_clean_kernels as clean
from dvskit.formats.prophesee import layout as w
from tests.event_rows import kept_share, rows_of

REAL = ["evt3_gen41_1280x720.raw", "evt3_triggers_640x480.raw"]
HEADER = b"% evt 3.0\n% format EVT3;height=240;width=320\n% geometry 320x240\n% end\n"


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


def test_geometry_comes_from_the_camera_the_header_and_the_argument(data: Path) -> None:
    first, second = (open_events(data / "recordings" / name) for name in REAL)
    assert (first.size, first.size_origin) == ((1280, 720), "camera")
    assert "gen41" in first.assumptions[0]
    assert (second.size, second.size_origin) == ((640, 480), "header")
    third = open_events(data / "recordings" / REAL[1], size=(1000, 900))
    assert (third.size, third.size_origin) == ((1000, 900), "argument")


def test_geometry_comes_from_the_events_where_nothing_else_tells(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.raw", [high(1), low(2), *at(7, 3, 9)], b"% evt 3.0\n")
    recording = open_events(path)
    assert (recording.size, recording.size_origin) == ((10, 8), "data")
    assert recording.assumptions
    with pytest.raises(GeometryError, match="pass size"):
        open_events(raw(tmp_path / "b.raw", [high(1)], b"% evt 3.0\n"))


def test_triggers_are_kept_apart(data: Path) -> None:
    recording = open_events(data / "recordings" / REAL[1])
    triggers = recording.triggers()
    assert len(triggers) == 4157
    assert (np.diff(triggers.t) >= 0).all()
    assert recording.other_streams() == {"other words": 519}


def test_a_second_pass_gives_the_same_events(data: Path) -> None:
    recording = open_events(data / "recordings" / REAL[1])
    assert read_all(recording) == read_all(recording)


def cut_small(monkeypatch: pytest.MonkeyPatch, words: int) -> None:
    """Read chunks of `words` words, in small slices."""
    monkeypatch.setattr(decoding, "CHUNK_WORDS", words)
    monkeypatch.setattr(decoding, "_SLICE_UNITS", max(1, words // 4))


@pytest.mark.slow
@pytest.mark.parametrize("words", [1, 7, 64, 5000])
@pytest.mark.parametrize("strict", [True, False])
def test_events_do_not_depend_on_blocks_and_chunks(
    data: Path, tmp_path: Path, words: int, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = min(200 * words, 20000)
    path = tmp_path / "a.raw"
    path.write_bytes((data / "recordings" / REAL[0]).read_bytes()[: 166 + 2 * count])
    whole = load_events(path)
    cut_small(monkeypatch, words)
    assert load_events(path, strict=strict) == whole
    assert read_all(open_events(path, strict=strict)) == whole


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["2", "3"])
@pytest.mark.parametrize("flips", [0, 1, 4, 400])
@pytest.mark.parametrize("name", REAL)
def test_events_and_losses_do_not_depend_on_threads_and_chunks(
    data: Path, tmp_path: Path, name: str, flips: int, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray((data / "recordings" / name).read_bytes())
    rng = np.random.default_rng(flips)
    for _ in range(flips):
        content[int(rng.integers(200, len(content)))] ^= 1 << int(rng.integers(0, 8))
    path = tmp_path / "a.raw"
    path.write_bytes(content)
    monkeypatch.setenv("DVSKIT_THREADS", "1")
    alone = open_events(path, strict=False)
    expected, triggers = read_all(alone), alone.triggers()
    monkeypatch.setenv("DVSKIT_THREADS", threads)
    cut_small(monkeypatch, 5000)
    shared = open_events(path, strict=False)
    assert read_all(shared) == expected
    assert shared.damage == alone.damage
    assert bool(shared.damage) or flips < 400  # some flips make another sound file
    for column in ("t", "id", "p"):
        assert np.array_equal(getattr(shared.triggers(), column), getattr(triggers, column))


@pytest.mark.parametrize("flips", [0, 3])
@pytest.mark.parametrize("name", REAL)
def test_sound_words_give_the_same_fast_and_with_care(
    data: Path, tmp_path: Path, name: str, flips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray((data / "recordings" / name).read_bytes())
    rng = np.random.default_rng(flips)
    for _ in range(flips):
        content[int(rng.integers(200, len(content)))] ^= 1 << int(rng.integers(0, 8))
    path = tmp_path / "a.raw"
    path.write_bytes(content)
    fast = open_events(path, strict=False)
    expected, triggers = fast.load(), fast.triggers()
    monkeypatch.setattr(decoding.WordPass, "_decode_clean", lambda *_: None)
    with_care = open_events(path, strict=False)
    assert with_care.load() == expected
    assert with_care.damage == fast.damage
    assert np.array_equal(with_care.triggers().t, triggers.t)


def test_several_threads_decode_what_one_would_across_wraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    words = [high(0), low(0), *at(0, 1)]
    for _ in range(40):
        words += random_words(rng, 200)
    cut_small(monkeypatch, 3000)
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("DVSKIT_THREADS", threads)
        recording = open_events(raw(tmp_path / "a.raw", words), strict=False, size=(2000, 240))
        found.append((read_all(recording), recording.damage))
    assert len(found[0][0]) > 3000
    assert found[0] == found[1] == found[2]


def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes((data / "recordings" / REAL[0]).read_bytes())
    cut_small(monkeypatch, 5000)
    blocks = iter(open_events(path))
    next(blocks)
    os.truncate(path, 100_000)
    with pytest.raises(FormatError, match="became shorter"):
        list(blocks)


@pytest.mark.parametrize("piece", [20, 1 << 16])
@pytest.mark.parametrize("seed", range(30))
def test_the_decoder_agrees_with_a_plain_one(
    tmp_path: Path, seed: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "PIECE_WORDS", piece)
    rng = np.random.default_rng(seed)
    words = random_words(rng, 400)
    expected, damaged = plain_decode(words, Size(320, 240))
    path = raw(tmp_path / "a.raw", words)
    if damaged:
        with pytest.raises(DamagedFileError):
            load_events(path)
        return
    events = load_events(path)
    assert rows_of(events) == expected


def test_time_wraps_every_16_8_seconds(tmp_path: Path) -> None:
    words = []
    for step in range(0, 3 * 4096, 1024):
        words += [high(step & 0xFFF), low(5), *at(1, 2)]
    events = load_events(raw(tmp_path / "a.raw", words))
    assert events.t.tolist() == [step * 4096 + 5 for step in range(0, 3 * 4096, 1024)]


def test_events_ahead_of_the_clock_are_left_out_and_said(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.raw", [*at(1, 2, 3), high(1), low(0), *at(1, 4)])
    recording = open_events(path)
    assert read_all(recording).x.tolist() == [4]
    assert any("2 events before" in line for line in recording.assumptions)


@pytest.mark.parametrize(
    ("words", "tail", "byte", "problem"),
    [
        ([high(1), 0x1000], b"", 2, "unknown type 0x1"),
        ([high(1), 0x9000], b"", 2, "unknown type 0x9"),
        ([high(1), *at(240, 1)], b"", 2, "row 240"),
        ([high(1), *at(1, 320)], b"", 4, "320, 1.* off"),
        ([high(1), 1, 0x3000 | 315, 0x4FFF], b"", 6, "320, 1.* off"),
        ([high(5), *at(1, 1), low(1), *at(1, 1), high(4), high(6)], b"", 12, "jumps"),
        ([high(5), low(9), *at(1, 1), low(12), *at(1, 1), low(4), *at(1, 2)], b"", 18, "runs back"),
        ([high(5), *at(1, 1), low(9), *at(1, 2), low(4), *at(1, 3)], b"", 10, "stands ahead"),
        ([high(5), *at(1, 1), high(9), *at(1, 2), high(5), *at(1, 3)], b"", 6, "jumps"),
        ([high(1), *at(1, 1)], b"\x01", 6, "last word has 1 of 2"),
    ],
)
def test_an_impossible_word_is_an_error_with_its_offset_and_salvage_skips_it(
    tmp_path: Path, words: list[int], tail: bytes, byte: int, problem: str
) -> None:
    path = raw(tmp_path / "a.raw", words, tail=tail)
    with pytest.raises(DamagedFileError, match=problem) as caught:
        load_events(path)
    assert caught.value.offset == len(HEADER) + byte
    recording = open_events(path, strict=False)
    read_all(recording)
    assert recording.damage.losses[0].offset == len(HEADER) + byte


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_salvage_keeps_nearly_all_events_of_a_file_with_flipped_bits(
    data: Path, tmp_path: Path, name: str
) -> None:
    clean = (data / "recordings" / name).read_bytes()
    whole = load_events(data / "recordings" / name)
    start = open_events(data / "recordings" / name)._header.end
    path = tmp_path / "a.raw"
    for seed in range(10):
        rng = np.random.default_rng(seed)
        content = bytearray(clean)
        for _ in range(3):
            content[int(rng.integers(start + 4, len(content)))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(content)
        recording = open_events(path, strict=False)
        assert kept_share(whole, read_all(recording)) > 0.99, seed


def impossible(word: int, size: Size) -> bool:
    kind, place = word >> 12, word & 0x7FF
    if kind == 0:
        return place >= size.height
    return place >= size.width if kind in (2, 3) else kind in (1, 9, 11, 12, 13)


@pytest.mark.parametrize("seed", range(4))
def test_a_scan_counts_what_a_plain_one_does(seed: int) -> None:
    words = np.random.default_rng(seed).integers(0, 1 << 16, 9001).astype(np.uint16)
    size, row = Size(1000, 700), np.empty(w.SCAN_FIELDS, np.int64)
    for start, stop in [(0, 9001), (5, 30), (4100, 4100)]:
        clean.scan(w.WordUnits(words, np.empty(0, np.int64), *size), start, stop, row)
        part = words[start:stop]
        kinds, each = part >> 12, part.tolist()
        bits = sum((word & 0xFFF).bit_count() for word in each if word >> 12 == 4)
        bits += sum((word & 0xFF).bit_count() for word in each if word >> 12 == 5)
        assert row[w.R_EVENTS] == bits + (kinds == 2).sum()
        assert row[w.R_TRIGGERS] == (kinds == 10).sum()
        assert row[w.R_OTHERS] == (kinds == 14).sum()
        assert row[w.R_VECTORS] == ((kinds >= 3) & (kinds <= 5)).sum()
        assert bool(row[w.R_CLEAN]) != any(impossible(word, size) for word in each)


@pytest.mark.slow
@pytest.mark.parametrize("length", [8, 100, 3000])
@pytest.mark.parametrize("name", REAL)
def test_noise_moves_no_time_behind_it(data: Path, tmp_path: Path, name: str, length: int) -> None:
    content = (data / "recordings" / name).read_bytes()
    whole = load_events(data / "recordings" / name)
    path = tmp_path / "a.raw"
    for seed in range(8):
        rng = np.random.default_rng(seed)
        place = int(rng.integers(500, len(content) // 2 - 2500)) * 2
        path.write_bytes(content[:place] + rng.bytes(length) + content[place:])
        assert kept_share(whole, open_events(path, strict=False).load()) > 0.98, seed


@pytest.mark.parametrize("seed", range(40))
def test_strict_raises_where_salvage_reports_damage(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(raw(tmp_path / "a.raw", random_words(rng, 800)).read_bytes())
    for _ in range(seed % 4):
        content[int(rng.integers(len(HEADER), len(content)))] ^= 1 << int(rng.integers(0, 8))
    path = tmp_path / "b.raw"
    path.write_bytes(content)
    recording = open_events(path, strict=False)
    events = recording.load()
    assert (np.diff(events.t) >= 0).all()
    if recording.damage:
        with pytest.raises(DamagedFileError):
            load_events(path)
    else:
        assert load_events(path) == events
