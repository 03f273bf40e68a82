"""EVT 2.0, EVT 2.1, EVT 4.0 and DAT read: like a plain twin, and what damage costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import Events, Size, read_all
from dvskit.formats import find_format, load_events, open_events, save_events
from dvskit.formats.prophesee import decoding
from tests.event_rows import kept_share, rows_of

REAL = {
    "evt2": "evt2_gen3_640x480.raw",
    "evt21": "evt21_synthetic_1280x720.raw",
    "evt4": "evt4_synthetic_1280x720.raw",
    "dat": "ncars_type0.dat",
}
EVT = ["evt2", "evt21", "evt4"]
SIZE = Size(320, 240)
# Types of one word: OFF (ON is the next), TIME_HIGH, trigger, other.
TYPES = {"evt2": (0x0, 0x8, 0xA, 0xE), "evt21": (0x0, 0x8, 0xA, 0xE), "evt4": (0xA, 0xE, 0x9, 0x6)}
VERSION = {"evt2": "2.0", "evt21": "2.1", "evt4": "4.0"}
DAT_HEADER = b"% Data file containing CD events.\n% Version 2\n% Height 240\n% Width 320\n\x0c\x08"


def header(name: str, extra: str = "") -> bytes:
    return (
        f"% evt {VERSION[name]}\n% format {name.upper()}{extra};height=240;width=320\n% end\n"
    ).encode()


def wide(name: str, head: int, mask: int = 1) -> list[int]:
    """A head as 32-bit units: EVT 2.1 has a mask behind each."""
    return [head, mask] if name == "evt21" else [head]


def high(name: str, value: int) -> list[int]:
    return wide(name, TYPES[name][1] << 28 | value, 0)


def event(name: str, low: int, x: int, y: int, on: int = 0, mask: int = 1) -> list[int]:
    return wide(name, TYPES[name][0] + on << 28 | low << 22 | x << 11 | y, mask)


def raw(path: Path, name: str, units: list[int], tail: bytes = b"") -> Path:
    head = DAT_HEADER if name == "dat" else header(name)
    path.write_bytes(head + np.array(units, "<u4").tobytes() + tail)
    return path


def plain_decode(name: str, units: list[int]) -> tuple[list[tuple[int, int, int, bool]], list]:
    """Decode clean words one at a time; returns events and triggers."""
    events, triggers = [], []
    one, time_high, trigger, _ = TYPES[name]
    now_high = loops = -1
    at = 0
    while at < len(units):
        word = units[at]
        kind, mask = word >> 28, 1
        at += 1
        vector = name == "evt21" or (name == "evt4" and kind in (0xC, 0xD))
        if vector:
            mask = units[at]
            at += 1
        if kind == time_high:
            value = word & 0xFFFFFFF
            loops = 0 if now_high < 0 else loops + (now_high - value > 2**27)
            now_high = value
        if now_high < 0:
            continue
        now = (loops * 2**28 + now_high) * 64 + (word >> 22 & 63)
        if kind in (one, one + 1) or (vector and kind in (0xC, 0xD)):
            events += [
                (now, (word >> 11 & 0x7FF) + bit, word & 0x7FF, kind % 2 == 1)
                for bit in range(32)
                if mask >> bit & 1
            ]
        elif kind == trigger:
            triggers.append((now, word >> 8 & 31, word & 1 == 1))
    return events, triggers


def random_units(rng: np.random.Generator, name: str, count: int) -> list[int]:
    """Clean words: time runs on, with gaps and wraps, empty and full masks, other words."""
    clock = int(rng.choice([0, 2**34 - 5000, rng.integers(0, 2**34)]))
    units = event(name, 3, 1, 1) if rng.random() < 0.5 else []
    units += high(name, clock >> 6 & 0xFFFFFFF)
    for _ in range(count):
        pick = int(rng.integers(0, 10))
        if pick < 2:
            clock += int(rng.choice([0, 1, 64, 70, 10_000, 1_000_000_000]))
            units += high(name, clock >> 6 & 0xFFFFFFF)
        elif pick == 2:
            units += wide(name, TYPES[name][2] << 28 | (clock & 63) << 22 | 0x1F01 & clock, 0)
        elif pick == 3:
            units += wide(name, TYPES[name][3] << 28 | int(rng.integers(0, 2**28)), 7)
            units += wide(name, (0x7 if name == "evt4" else 0xF) << 28 | 5, 9)
        else:
            clock = max(clock, clock & ~63 | int(rng.integers(0, 64)))
            x, y, on = int(rng.integers(0, 288)), int(rng.integers(0, 240)), int(rng.integers(0, 2))
            mask = int(rng.choice([0, 1, 0xFFFFFFFF, 0xC0000001, rng.integers(0, 2**32)]))
            units += event(name, clock & 63, x, y, on, mask)
            if name == "evt4" and pick < 8:
                units[-1] += 2 << 28
                units.append(mask)
    return units


def dense_units(rng: np.random.Generator, name: str, count: int) -> list[int]:
    """Clean words in long runs of events at rising times, with few words of other kinds."""
    clock = int(rng.choice([0, 2**34 - 3000, rng.integers(0, 2**34)]))
    units = high(name, clock >> 6 & 0xFFFFFFF)
    while len(units) < count:
        for _ in range(int(rng.choice([0, 1, 7, 8, 9, 31, 32, 33, 64, 200]))):
            clock = max(clock, clock & ~63 | int(rng.integers(0, 64)))
            mask = 1 << int(rng.integers(0, 32)) if rng.random() < 0.97 else 0xC0000101
            x, y, on = int(rng.integers(0, 288)), int(rng.integers(0, 240)), int(rng.integers(0, 2))
            units += event(name, clock & 63, x, y, on, mask)
            if name == "evt4" and rng.random() < 0.03:
                units[-1] += 2 << 28
                units.append(mask)
        if rng.random() < 0.2:
            units += wide(name, TYPES[name][2] << 28 | (clock & 63) << 22 | 0x301, 0)
            units += wide(name, TYPES[name][3] << 28 | 5, 7)
        clock = (clock | 63) + 1 + int(rng.choice([0, 64, 10_000]))
        units += high(name, clock >> 6 & 0xFFFFFFF)
    return units


def clean_stream(rng: np.random.Generator, count: int) -> Events:
    t = np.sort(rng.integers(0, 40 * count, count))
    x, y = rng.integers(0, 320, count), rng.integers(0, 240, count)
    return Events(t=t, x=x, y=y, p=rng.integers(0, 2, count).astype(bool), size=SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVT)
@pytest.mark.parametrize("seed", range(16))
def test_the_decoder_agrees_with_a_plain_one(tmp_path: Path, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = random_units(rng, name, 600) if seed % 2 else dense_units(rng, name, 3000)
    recording = open_events(raw(tmp_path / "a.raw", name, units))
    events, triggers = plain_decode(name, units)
    assert rows_of(read_all(recording)) == events
    hits = recording.triggers()
    got = zip(hits.t.tolist(), hits.id.tolist(), hits.p.tolist(), strict=True)
    assert list(got) == triggers
    others = sum(1 for at in range(0, len(units)) if units[at] >> 28 == TYPES[name][3])
    assert sum(recording.other_streams().values()) <= others


@pytest.mark.slow
@pytest.mark.parametrize("name", EVT)
def test_careful_and_clean_decoding_agree(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.raw"
    for seed in range(8):
        rng = np.random.default_rng(seed)
        units = random_units(rng, name, 2000) if seed % 2 else dense_units(rng, name, 4000)
        raw(path, name, units)
        with monkeypatch.context() as patch:
            clean = read_all(open_events(path))
            early = open_events(path)
            read_all(early)
            patch.setattr(decoding.WordPass, "_decode_clean", lambda *_: None)
            careful = open_events(path)
            assert read_all(careful) == clean
            assert careful.assumptions == early.assumptions
            assert careful.triggers().t.tolist() == early.triggers().t.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("name", REAL)
def test_events_do_not_depend_on_chunks_slices_and_threads(
    tmp_path: Path, name: str, damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(7)
    path = tmp_path / ("a.dat" if name == "dat" else "a.raw")
    if name == "dat":
        save_events(clean_stream(rng, 80_000), path)
    else:
        units = random_units(rng, name, 60_000)
        raw(path, name, units)
    if damaged:
        content = bytearray(path.read_bytes())
        for place in rng.integers(200, len(content), 60):
            content[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(content)
    whole_recording = open_events(path, strict=False)
    whole = read_all(whole_recording)
    assert bool(whole_recording.damage) == damaged
    assert len(whole) > 10_000
    for chunk, least, threads in [(1 << 14, 1 << 20, 1), (30_010, 100, 5), (1 << 20, 1000, 2)]:
        monkeypatch.setattr(decoding, "CHUNK_WORDS", chunk)
        monkeypatch.setattr(decoding, "_SLICE_UNITS", least)
        monkeypatch.setenv("DVSKIT_THREADS", str(threads))
        recording = open_events(path, strict=False)
        assert read_all(recording) == whole
        assert recording.damage.lost_bytes == whole_recording.damage.lost_bytes


@pytest.mark.parametrize("fault", ["high", "low"])
def test_a_fault_in_the_last_word_of_a_chunk_is_judged_by_the_next_chunk(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = []
    for step in range(50_000):
        units += [*high("evt2", 100 + step), *event("evt2", 7, 1, 1), *event("evt2", 8, 2, 2)]
    at = 3 * 700 + (0 if fault == "high" else 1)
    units[at] = high("evt2", 90_000)[0] if fault == "high" else event("evt2", 60, 1, 1)[0]
    path = raw(tmp_path / "a.raw", "evt2", units)
    lost = 2 if fault == "high" else 1
    for ahead in range(3):
        monkeypatch.setattr(decoding, "CHUNK_WORDS", at + ahead - 2)
        recording = open_events(path, strict=False)
        assert len(read_all(recording)) == 100_000 - lost
        assert recording.damage.losses[0].offset == len(header("evt2")) + 4 * at


def test_both_word_orders_of_evt21_are_read(tmp_path: Path) -> None:
    units = random_units(np.random.default_rng(3), "evt21", 500)
    legacy = load_events(raw(tmp_path / "a.raw", "evt21", units))
    swapped = np.array(units, "<u4").reshape(-1, 2)[:, ::-1].tobytes()
    (tmp_path / "b.raw").write_bytes(header("evt21", ";endianness=little") + swapped)
    assert load_events(tmp_path / "b.raw") == legacy
    plain = header("evt21").replace(b"% end", b"% endianness little\n% end")
    (tmp_path / "c.raw").write_bytes(plain + swapped)
    assert load_events(tmp_path / "c.raw") == legacy


def test_geometry_comes_from_the_argument_the_header_the_camera_and_the_events(
    data: Path, tmp_path: Path
) -> None:
    path = data / "recordings" / REAL["evt2"]
    camera = open_events(path)
    assert (camera.size, camera.size_origin) == ((640, 480), "camera")
    assert "gen3" in camera.assumptions[0]
    given = open_events(path, size=(700, 500))
    assert (given.size, given.size_origin) == ((700, 500), "argument")
    stated = open_events(data / "recordings" / REAL["evt21"])
    assert (stated.size, stated.size_origin) == ((1280, 720), "header")
    bare = tmp_path / "a.raw"
    units = [*high("evt2", 1), *event("evt2", 0, 9, 7)]
    bare.write_bytes(b"% evt 2.0\n" + np.array(units, "<u4").tobytes())
    assert (open_events(bare).size, open_events(bare).size_origin) == ((10, 8), "data")
    bare.write_bytes(b"% evt 2.0\n")
    with pytest.raises(GeometryError, match="pass size"):
        open_events(bare)


def test_events_ahead_of_the_clock_are_left_out_and_said(tmp_path: Path) -> None:
    units = [*event("evt2", 1, 1, 1), *event("evt2", 2, 2, 2), *high("evt2", 5)]
    recording = open_events(raw(tmp_path / "a.raw", "evt2", [*units, *event("evt2", 0, 4, 4)]))
    assert rows_of(read_all(recording)) == [(320, 4, 4, False)]
    assert any("2 events before" in line for line in recording.assumptions)


H, E = high, event
LATER = [*H("evt2", 2), *E("evt2", 0, 5, 5), *H("evt2", 3), *E("evt2", 1, 5, 5)]
FAULTS = {
    "type": ([*H("evt2", 1), 0x30000000, *LATER], 4, "unknown type 0x3"),
    "row": ([*H("evt2", 1), *E("evt2", 0, 1, 240), *LATER], 4, "240.* off the 320x240"),
    "column": ([*H("evt2", 1), *E("evt2", 0, 320, 1), *LATER], 4, "320.* off the 320x240"),
    "late": ([*H("evt2", 1), *E("evt2", 60, 1, 1), *E("evt2", 3, 1, 1), *LATER], 4, "stands ahead"),
    "early": (
        [*H("evt2", 1), *E("evt2", 60, 1, 1), *E("evt2", 60, 1, 1), *E("evt2", 3, 1, 1), *LATER],
        12,
        "runs back",
    ),
    "high": ([*H("evt2", 1), *H("evt2", 5000), *E("evt2", 3, 1, 1), *LATER], 4, "jumps"),
    "first high": ([*H("evt2", 5000), *E("evt2", 3, 1, 1), *LATER], 0, "jumps"),
    "back": ([*H("evt2", 9), *E("evt2", 3, 1, 1), *H("evt2", 7), *H("evt2", 10)], 8, "jumps"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_impossible_word_is_an_error_with_its_offset_and_salvage_skips_it(
    tmp_path: Path, fault: str
) -> None:
    units, byte, problem = FAULTS[fault]
    path = raw(tmp_path / "a.raw", "evt2", units)
    with pytest.raises(DamagedFileError, match=problem) as caught:
        load_events(path)
    assert caught.value.offset == len(header("evt2")) + byte
    recording = open_events(path, strict=False)
    kept = rows_of(read_all(recording))
    assert recording.damage.losses[0].offset == len(header("evt2")) + byte
    if units[-4:] == LATER:
        assert kept[-2:] == [(128, 5, 5, False), (193, 5, 5, False)]


@pytest.mark.parametrize("name", REAL)
def test_half_a_word_at_the_end_is_damage(tmp_path: Path, name: str) -> None:
    units = [1, 1] if name == "dat" else [*high(name, 1), *event(name, 0, 1, 1)]
    path = raw(tmp_path / "a.raw", name, units, tail=b"\x01\x02\x03")
    with pytest.raises(DamagedFileError, match="the last word has 3 of"):
        load_events(path, format=name)
    recording = open_events(path, format=name, strict=False)
    assert len(read_all(recording)) == 1
    assert recording.damage.lost_bytes == 3


def test_a_vector_of_evt4_without_its_mask_is_damage(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.raw", "evt4", [*high("evt4", 1), 0xC0000000])
    with pytest.raises(DamagedFileError, match="mask"):
        load_events(path)
    recording = open_events(path, strict=False)
    assert len(read_all(recording)) == 0
    assert recording.damage.lost_bytes == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_salvage_keeps_nearly_all_events_of_a_file_with_flipped_bits_and_a_burst(
    data: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "a"
    whole = load_events(data / "recordings" / REAL[name])[:100_000]
    size = whole.size
    save_events(whole, path, format=name)
    clean = path.read_bytes()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        content = bytearray(clean)
        if seed % 2:
            start = int(rng.integers(200, len(content) - 200))
            content[start : start + 100] = rng.bytes(100)
        else:
            for _ in range(3):
                content[int(rng.integers(200, len(content)))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(content)
        recording = open_events(path, format=name, size=size, strict=False)
        salvaged = read_all(recording)
        assert kept_share(whole, salvaged) > 0.97, seed
        assert recording.damage or kept_share(salvaged, whole) > 0.999


def dat_units(rows_: list[tuple[int, int]]) -> list[int]:
    return [value for row in rows_ for value in row]


def test_dat_of_version_1_has_short_addresses(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    word = 300 | 200 << 9 | 1 << 17
    head = b"% Data file containing TD events.\n% Version 1\n\x00\x08"
    path.write_bytes(head + np.array([5, word], "<u4").tobytes())
    recording = open_events(path)
    assert rows_of(read_all(recording)) == [(5, 300, 200, True)]
    assert (recording.size, recording.size_origin) == ((301, 201), "data")


def test_dat_time_wraps_every_71_minutes(tmp_path: Path) -> None:
    times = [*range(5, 5 * 2**32, 900_000_000), 21_500_000_000]
    units = dat_units([(t % 2**32, 1 | 2 << 14) for t in times])
    events = load_events(raw(tmp_path / "a.dat", "dat", units))
    assert events.t.tolist() == times


def test_dat_triggers_are_no_events(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    units = dat_units([(2**32 - 5, 0x0301), (10, 0x0100)])
    path.write_bytes(b"% Version 2\n\x0e\x08" + np.array(units, "<u4").tobytes())
    assert find_format(path).name == "dat"
    recording = open_events(path)
    assert len(read_all(recording)) == 0
    hits = recording.triggers()
    assert hits.t.tolist() == [2**32 - 5, 2**32 + 10]
    assert hits.id.tolist() == [3, 1]
    assert hits.p.tolist() == [True, False]


@pytest.mark.parametrize(
    ("units", "byte", "problem"),
    [
        ([(1, 0), (2, 320), (3, 0)], 8, "320, 0.* off"),
        ([(1, 0), (2, 5 << 28), (3, 0)], 8, "polarity 5"),
        ([(1, 0), (9000, 0), (3, 0), (4, 0)], 8, "jumps"),
        ([(5, 0), (3, 0), (6, 0), (7, 0)], 8, "jumps"),
        ([(9000, 0), (3, 0), (6, 0), (7, 0)], 0, "jumps"),
    ],
)
def test_an_impossible_dat_event_is_an_error_with_its_offset(
    tmp_path: Path, units: list[tuple[int, int]], byte: int, problem: str
) -> None:
    path = raw(tmp_path / "a.dat", "dat", dat_units(units))
    with pytest.raises(DamagedFileError, match=problem) as caught:
        load_events(path)
    assert caught.value.offset == len(DAT_HEADER) + byte
    recording = open_events(path, strict=False)
    assert len(read_all(recording)) == len(units) - 1
    assert recording.damage.count == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"% Data file containing CD events.\n\x05\x08", "type 0x05"),
        (b"% Data file containing CD events.\n\x0c\x10", "16 bytes"),
        (b"% Data file containing CD events.\n% Version 7\n\x0c\x08", "version '7'"),
        (b"% Data file containing CD events.\n", "ends ahead"),
    ],
)
def test_a_dat_header_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.dat").write_bytes(content)
    with pytest.raises(FormatError, match=message):
        open_events(tmp_path / "a.dat")
