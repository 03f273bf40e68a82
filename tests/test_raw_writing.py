"""Prophesee RAW and DAT written: like a plain twin, read back alike, and refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import EventsError, GeometryError, OutputError
from dvskit.events import Events, Size
from dvskit.events.sources import read_all
from dvskit.formats import open_events, open_sink, save_events
from dvskit.streams import Triggers
from tests.arriving import small
from tests.laws import refused

RAW = ["evt3", "evt2", "evt21", "evt4"]
NAMES = [*RAW, "dat"]
WRAPS = {"evt3": 2**24, "dat": 2**32}  # else 2^34
MOST_ID = {"evt3": 15}  # else 31


def words_of(path: Path, dtype: str) -> list[int]:
    return np.frombuffer(path.read_bytes().partition(b"% end\n")[2], dtype).tolist()


def stream(rng: np.random.Generator, t: np.ndarray, size: tuple[int, int] = (320, 240)) -> Events:
    """Events at the times `t`, many of them in rows of rising columns."""
    count = len(t)
    y, p = rng.integers(0, size[1], count), rng.integers(0, 2, count).astype(bool)
    x = rng.integers(0, size[0], count)
    for start in range(0, count - 20, 40):
        part = slice(start, start + int(rng.integers(1, 20)))
        x[part] = np.sort(x[part] % max(1, min(size[0], int(rng.integers(8, 90)))))
        t[part], y[part], p[part] = t[start], y[start], p[start]
    return Events(t=np.maximum.accumulate(t), x=x, y=y, p=p, size=size)


def at_one_pixel(t: np.ndarray) -> Events:
    return Events(t=t, x=t * 0 + 7, y=t * 0 + 3, p=t % 2, size=(320, 240))


def streams() -> dict[str, Events]:
    rng = np.random.default_rng(5)
    dense = np.sort(rng.integers(0, 20000, 3000))
    gaps = np.cumsum(rng.choice([0, 1, 4095, 4096, 5000, 9_000_000, 17_000_000], 200))
    long_gaps = np.cumsum(rng.choice([0, 1, 63, 64, 5000, 9_000_000, 140_000_000], 400))
    return {
        "none": Events.empty((320, 240)),
        "one": stream(rng, np.array([77])),
        "one time": stream(rng, np.full(3000, 12345)),
        "dense": stream(rng, dense),
        "narrow": stream(rng, dense.copy(), (5, 3)),
        "wide": stream(rng, dense.copy(), (2048, 2048)),
        "gaps over wraps": stream(rng, gaps),
        "long gaps": stream(rng, long_gaps),
        "minutes": stream(rng, np.cumsum(rng.integers(0, 400_000_000, 20))),
        "half hours": at_one_pixel(np.cumsum(rng.integers(0, 2**31, 40))),
        "hours": stream(rng, np.array([0, 5, 6 * 3_600_000_000])),
        "days": at_one_pixel(np.array([0, 5, 60 * 3_600_000_000])),
        "late start": stream(rng, dense + 913_000_000),
        "across the wrap of EVT2": stream(rng, np.cumsum(np.full(3000, 97)) + 2**34 - 100_000),
        "negative": stream(rng, dense - 12_345_678_901),
        "across zero": stream(rng, dense - 10_000),
        "unix epoch": stream(rng, dense + 1_605_537_493_718_345),
    }


# What a format cannot hold, and what takes EVT 3.0 tens of megabytes of TIME_HIGH.
NOT_WRITTEN = [("dat", "hours"), ("dat", "days"), ("evt3", "half hours")]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_back_and_does_not_depend_on_cuts(
    tmp_path: Path, name: str
) -> None:
    for number, (stream_name, events) in enumerate(streams().items()):
        if (name, stream_name) in NOT_WRITTEN:
            continue
        path = tmp_path / f"{number}"
        save_events(events, path, format=name)
        recording = open_events(path)
        assert recording.format == name
        assert read_all(recording) == events, stream_name
        assert recording.size_origin == "header"
        with small(name), open_sink(tmp_path / "cut", events.sensor_size, format=name) as sink:
            for part in events.blocks(count=7):
                sink.write(part)
        assert (tmp_path / "cut").read_bytes() == path.read_bytes(), stream_name
        (tmp_path / "cut").unlink()


def plain_group(rows: list[tuple[int, int, bool, int]], start: int) -> list[int]:
    """The columns of the first events that fit one group of 32 columns from `start` on."""
    columns: list[int] = []
    for *rest, column in rows:
        if tuple(rest) != rows[0][:3] or not start <= column < start + 32:
            break
        if columns and column <= columns[-1]:
            break
        columns.append(column)
    return columns


def plain_encode(events: Events) -> list[int]:
    """Encode by the rules, one event at a time; times from 0 to 2^24."""
    rows = list(
        zip(events.t.tolist(), events.y.tolist(), events.p.tolist(), events.x.tolist(), strict=True)
    )
    words: list[int] = []
    time_high = time_low = row = base = -1
    while rows:
        t, y, p, x = rows[0]
        while time_high != t >> 12:
            time_high = t >> 12 if time_high < 0 else time_high + 1
            words.append(0x8000 | time_high)
            time_low = base = -1
        if time_low != t & 0xFFF:
            time_low, base = t & 0xFFF, -1
            words.append(0x6000 | time_low)
        if row != y:
            row, base = y, -1
            words.append(y)
        start = min(x, max(0, events.sensor_size.width - 32))
        fresh, going = plain_group(rows, start), plain_group(rows, base) if base >= 0 else []
        if len(fresh) <= 4 and len(going) <= 3:
            words.append(0x2000 | p << 11 | x)
            base, rows = -1, rows[1:]
            continue
        columns = going
        if len(fresh) - 4 > len(going) - 3:
            columns, base = fresh, start
            words.append(0x3000 | p << 11 | start)
        mask = sum(1 << column - base for column in columns)
        words += [0x4000 | mask & 0xFFF, 0x4000 | mask >> 12 & 0xFFF, 0x5000 | mask >> 24]
        base, rows = base + 32, rows[len(columns) :]
    return words


@pytest.mark.parametrize("seed", range(10))
def test_the_encoder_agrees_with_a_plain_one(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    width = int(rng.choice([20, 40, 320, 2048]))
    events = stream(rng, np.sort(rng.integers(0, int(rng.choice([500, 90000])), 600)), (width, 9))
    save_events(events, tmp_path / "a.raw")
    assert words_of(tmp_path / "a.raw", "<u2") == plain_encode(events)


def test_the_clock_of_evt2_takes_its_last_value_and_zero_at_a_wrap(tmp_path: Path) -> None:
    events = streams()["across the wrap of EVT2"]
    start, stop = events.between(0, 2**34 - 64), events.between(2**34 + 640, 2**40)
    save_events(Events.concatenate([start, stop]), tmp_path / "a", format="evt2")
    words = np.array(words_of(tmp_path / "a", "<u4"))
    highs = (words[words >> 28 == 8] & 0xFFFFFFF).tolist()
    at = highs.index(0)
    assert highs[at - 1] == 0xFFFFFFF


@pytest.mark.parametrize("stream_name", ["negative", "unix epoch"])
@pytest.mark.parametrize("name", NAMES)
def test_a_time_offset_is_written_and_said(tmp_path: Path, name: str, stream_name: str) -> None:
    events = streams()[stream_name]
    with open_sink(tmp_path / "a", events.sensor_size, format=name) as sink:
        sink.write(events)
    assert "dvskit_time_offset_us" in sink.notes[0]
    wrap = WRAPS.get(name, 2**34)
    offset = int(open_events(tmp_path / "a").header()["dvskit_time_offset_us"])
    assert offset % wrap == 0
    assert 0 <= events.t[0] - offset < wrap


@pytest.mark.parametrize("name", RAW)
def test_triggers_before_behind_and_without_events_survive(tmp_path: Path, name: str) -> None:
    ids = [0, MOST_ID.get(name, 31), 3]
    triggers = Triggers(
        np.array([-5, 10, 30_000_000]), np.array(ids, np.int16), np.array([True, False, True])
    )
    for number, t in enumerate([[], [7], [10, 10, 500]]):
        path = tmp_path / f"{number}"
        with open_sink(path, Size(4, 4), format=name) as sink:
            sink.write_triggers(triggers)
            sink.write(Events(t=t, x=[1] * len(t), y=[2] * len(t), p=[True] * len(t), size=(4, 4)))
        got = open_events(path)
        assert got.triggers().t.tolist() == triggers.t.tolist()
        assert got.triggers().id.tolist() == ids
        assert got.triggers().p.tolist() == [True, False, True]
        assert read_all(got).t.tolist() == t


@pytest.mark.parametrize("name", NAMES)
def test_what_a_format_cannot_hold_is_refused_and_leaves_no_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a"
    with refused(GeometryError, "16384" if name == "dat" else "2048"):
        open_sink(path, Size(20000, 10), format=name)
    if name != "dat":
        beyond = np.array([MOST_ID.get(name, 31) + 1], np.int16)
        bad = Triggers(np.array([1]), beyond, np.array([True]))
        with refused(EventsError, beyond[0]), open_sink(path, (4, 4), format=name) as sink:
            sink.write_triggers(bad)
    assert list(tmp_path.iterdir()) == []
    save_events(Events.empty((4, 4)), path, format=name)
    with refused(OutputError, path):
        save_events(Events.empty((4, 4)), path, format=name)
