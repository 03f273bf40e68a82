"""EVT 2.0, EVT 2.1 and EVT 4.0: like a plain twin, however they come, and what damage costs."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError, GeometryError
from dvskit.events import Size
from dvskit.events.sources import read_all
from dvskit.formats import load_events, open_events
from tests.arriving import arrive, begin, small
from tests.laws import refused, rows_of

EVT = ["evt2", "evt21", "evt4"]
SIZE = Size(320, 240)
# Types of one word: OFF (ON is the next), TIME_HIGH, trigger, other.
TYPES = {"evt2": (0x0, 0x8, 0xA, 0xE), "evt21": (0x0, 0x8, 0xA, 0xE), "evt4": (0xA, 0xE, 0x9, 0x6)}
UNKNOWN = {"evt2": 0x3, "evt21": 0x3, "evt4": 0x1}
VERSION = {"evt2": "2.0", "evt21": "2.1", "evt4": "4.0"}


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
    path.write_bytes(header(name) + np.array(units, "<u4").tobytes() + tail)
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


def random_file(path: Path, name: str, seed: int) -> tuple[Path, list[int]]:
    """Write clean words of all kinds, in long runs where the seed is even; return the units too."""
    rng = np.random.default_rng(seed)
    units = random_units(rng, name, 600) if seed % 2 else dense_units(rng, name, 3000)
    return raw(path / "a.raw", name, units), units


@pytest.mark.slow
@pytest.mark.parametrize("name", EVT)
@pytest.mark.parametrize("seed", range(10))
def test_the_decoder_agrees_with_a_plain_one(tmp_path: Path, name: str, seed: int) -> None:
    path, units = random_file(tmp_path, name, seed)
    recording = open_events(path)
    events, triggers = plain_decode(name, units)
    assert rows_of(read_all(recording)) == events
    hits = recording.triggers()
    got = zip(hits.t.tolist(), hits.id.tolist(), hits.p.tolist(), strict=True)
    assert list(got) == triggers
    others = sum(1 for at in range(0, len(units)) if units[at] >> 28 == TYPES[name][3])
    assert sum(recording.other_streams().values()) <= others
    with small(name):
        cut = open_events(path, strict=False)
        assert rows_of(read_all(cut)) == events
        assert not cut.damage
        assert cut.triggers().t.tolist() == hits.t.tolist()
        assert rows_of(arrive(path.read_bytes(), 1000).load()) == events
    size = path.stat().st_size  # words beside damage are decoded with care
    damaged = open_events(raw(path, name, [*units, *wide(name, UNKNOWN[name] << 28)]), strict=False)
    assert rows_of(read_all(damaged)) == events
    assert damaged.triggers().t.tolist() == hits.t.tolist()
    assert [loss.offset for loss in damaged.damage.losses] == [size]


@pytest.mark.parametrize("fault", ["high", "low"])
def test_a_fault_in_the_last_word_of_a_chunk_is_judged_by_the_next_chunk(
    tmp_path: Path, fault: str
) -> None:
    units = []
    for step in range(3000):
        units += [*high("evt2", 100 + step), *event("evt2", 7, 1, 1), *event("evt2", 8, 2, 2)]
    at = 3 * 700 + (0 if fault == "high" else 1)
    units[at] = high("evt2", 90_000)[0] if fault == "high" else event("evt2", 60, 1, 1)[0]
    path = raw(tmp_path / "a.raw", "evt2", units)
    lost = 2 if fault == "high" else 1
    for ahead in range(3):
        with small("evt2", 1, CHUNK_WORDS=at + ahead - 2):
            recording = open_events(path, strict=False)
            assert len(read_all(recording)) == 6000 - lost
        first = at + (fault == "low")  # the next event runs back
        assert recording.damage.losses[0].offset == len(header("evt2")) + 4 * first


def test_both_word_orders_of_evt21_are_read(tmp_path: Path) -> None:
    units = random_units(np.random.default_rng(3), "evt21", 500)
    legacy = load_events(raw(tmp_path / "a.raw", "evt21", units))
    swapped = np.array(units, "<u4").reshape(-1, 2)[:, ::-1].tobytes()
    plain = header("evt21").replace(b"% end", b"% endianness little\n% end")
    for head in (header("evt21", ";endianness=little"), plain):
        (tmp_path / "b.raw").write_bytes(head + swapped)
        assert load_events(tmp_path / "b.raw") == legacy


def test_geometry_comes_from_the_argument_the_header_the_camera_and_the_events(
    data: Path, tmp_path: Path
) -> None:
    path = data / "recordings" / "evt2_gen3_640x480.raw"
    assert "gen3" in open_events(path).assumptions[0]
    given = open_events(path, size=(700, 500))
    assert (given.size, given.size_origin) == ((700, 500), "argument")
    bare = tmp_path / "a.raw"
    units = np.array([*high("evt2", 1), *event("evt2", 0, 9, 7)], "<u4").tobytes()
    bare.write_bytes(b"% evt 2.0\n" + units)
    assert (open_events(bare).size, open_events(bare).size_origin) == ((10, 8), "data")
    bare.write_bytes(b"% evt 2.0\n")
    with refused(GeometryError, "size"):
        open_events(bare)
    with refused(GeometryError, "size"):
        arrive(b"% evt 2.0\n" + units)
    assert arrive(b"% evt 2.0\n" + units, size=SIZE).size_origin == "argument"


def test_events_ahead_of_the_clock_are_left_out_and_counted(tmp_path: Path) -> None:
    units = [*event("evt2", 1, 1, 1), *event("evt2", 2, 2, 2), *high("evt2", 5)]
    recording = open_events(raw(tmp_path / "a.raw", "evt2", [*units, *event("evt2", 0, 4, 4)]))
    assert rows_of(read_all(recording)) == [(320, 4, 4, False)]
    assert any("2 events before" in line for line in recording.assumptions)


H, E = high, event
LATER = [*H("evt2", 2), *E("evt2", 0, 5, 5), *H("evt2", 3), *E("evt2", 1, 5, 5)]
FAULTS = {  # units, the byte of the fault, and the value that its message names
    "type": ([*H("evt2", 1), 0x30000000, *LATER], 4, "0x3"),
    "row": ([*H("evt2", 1), *E("evt2", 0, 1, 240), *LATER], 4, "(1, 240)"),
    "column": ([*H("evt2", 1), *E("evt2", 0, 320, 1), *LATER], 4, "(320, 1)"),
    "late": ([*H("evt2", 1), *E("evt2", 60, 1, 1), *E("evt2", 3, 1, 1), *LATER], 8, "back"),
    "early": (
        [*H("evt2", 1), *E("evt2", 60, 1, 1), *E("evt2", 60, 1, 1), *E("evt2", 3, 1, 1), *LATER],
        12,
        "back",
    ),
    "high": ([*H("evt2", 1), *H("evt2", 5000), *E("evt2", 3, 1, 1), *LATER], 4, "jumps"),
    "first high": ([*H("evt2", 5000), *E("evt2", 3, 1, 1), *LATER], 0, "jumps"),
    "back": ([*H("evt2", 9), *E("evt2", 3, 1, 1), *H("evt2", 7), *H("evt2", 10)], 8, "jumps"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_impossible_word_is_an_error_with_its_offset_and_salvage_skips_it(
    tmp_path: Path, fault: str
) -> None:
    units, byte, named = FAULTS[fault]
    path = raw(tmp_path / "a.raw", "evt2", units)
    offset = len(header("evt2")) + byte
    with refused(DamagedFileError, named, offset):
        load_events(path)
    recording = open_events(path, strict=False)
    kept = rows_of(read_all(recording))
    assert recording.damage.losses[0].offset == offset
    if units[-4:] == LATER:
        assert kept[-2:] == [(128, 5, 5, False), (193, 5, 5, False)]


@pytest.mark.parametrize("name", EVT)
def test_half_a_word_at_the_end_is_damage_in_files_and_streams(tmp_path: Path, name: str) -> None:
    units = [*high(name, 1), *event(name, 0, 1, 1)]
    content = raw(tmp_path / "a.raw", name, units, tail=b"\x01\x02\x03").read_bytes()
    for reopen in (partial(open_events, tmp_path / "a.raw"), partial(arrive, content)):
        with refused(DamagedFileError, "3 of", len(content) - 3):
            read_all(reopen())
        recording = reopen(strict=False)
        assert len(read_all(recording)) == 1
        assert [loss[:2] for loss in recording.damage.losses] == [(len(content) - 3, 3)]


def test_a_vector_of_evt4_without_its_mask_is_damage(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.raw", "evt4", [*high("evt4", 1), 0xC0000000])
    with refused(DamagedFileError, "mask"):
        load_events(path)
    recording = open_events(path, strict=False)
    assert len(read_all(recording)) == 0
    assert recording.damage.lost_bytes == 4


@pytest.mark.parametrize("name", EVT)
def test_an_event_is_given_before_anything_behind_it_arrives(name: str) -> None:
    units = [*high(name, 1), *event(name, 5, 7, 8)]
    content = header(name) + np.array(units, "<u4").tobytes()
    for more in (b"", b"\x01", b"\x01\x02\x03"):
        pieces, arriving = begin(content + more)
        assert next(iter(arriving)).t.tolist() == [69]
        assert pieces.asked == 1


def test_a_vector_of_evt4_waits_for_its_mask() -> None:
    head = event("evt4", 5, 7, 8)[0] + (2 << 28)
    units = np.array([*high("evt4", 1), *event("evt4", 1, 1, 1), head, 5], "<u4").tobytes()
    pieces, arriving = begin(header("evt4") + units[:12], units[12:])
    blocks = iter(arriving)
    assert next(blocks).x.tolist() == [1]
    assert pieces.asked == 1
    assert next(blocks).x.tolist() == [7, 9]


@pytest.mark.slow
def test_a_part_by_time_counts_the_time_offset_of_the_header(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.raw", "evt2", dense_units(np.random.default_rng(2), "evt2", 5000))
    content = path.read_bytes().replace(b"% end", b"% dvskit_time_offset_us -17179869184\n% end")
    path.write_bytes(content)
    with small("evt2"):
        recording = open_events(path)
        whole = recording.load()
        start, stop = int(whole.t[-1000]), int(whole.t[-700])
        assert start < 2**34
        assert recording.between(start, stop).load() == whole.between(start, stop)


def test_files_are_read_where_threads_cannot_read_at_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = random_file(tmp_path, "evt2", 2)
    whole = load_events(path)
    monkeypatch.delattr(os, "preadv", raising=False)
    assert load_events(path) == whole
