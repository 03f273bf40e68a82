"""EVT 3.0 written: read back alike by us and others, byte for byte as a plain encoder has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import EventsError, GeometryError, OutputError
from dvskit.events import Events, Size, read_all
from dvskit.formats import load_events, open_events, open_sink, save_events
from dvskit.streams import Triggers

REAL = ["evt3_gen41_1280x720.raw", "evt3_triggers_640x480.raw"]


def words_of(path: Path) -> list[int]:
    return np.frombuffer(path.read_bytes().partition(b"% end\n")[2], "<u2").tolist()


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


def streams() -> dict[str, Events]:
    rng = np.random.default_rng(5)
    dense = np.sort(rng.integers(0, 20000, 3000))
    gaps = np.cumsum(rng.choice([0, 1, 4095, 4096, 5000, 9_000_000, 17_000_000], 200))
    return {
        "none": Events.empty((320, 240)),
        "one": stream(rng, np.array([77])),
        "one time": stream(rng, np.full(3000, 12345)),
        "dense": stream(rng, dense),
        "narrow": stream(rng, dense.copy(), (5, 3)),
        "wide": stream(rng, dense.copy(), (2048, 2048)),
        "gaps over wraps": stream(rng, gaps),
        "minutes": stream(rng, np.cumsum(rng.integers(0, 400_000_000, 20))),
        "hours": stream(rng, np.array([0, 5, 6 * 3_600_000_000])),
        "late start": stream(rng, dense + 913_000_000),
        "negative": stream(rng, dense - 12_345_678_901),
        "across zero": stream(rng, dense - 10_000),
        "unix epoch": stream(rng, dense + 1_605_537_493_718_345),
    }


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
        start = min(x, max(0, events.size.width - 32))
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


@pytest.mark.parametrize("name", streams())
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    events = streams()[name]
    save_events(events, tmp_path / "a.raw")
    assert load_events(tmp_path / "a.raw") == events


@pytest.mark.parametrize("name", REAL)
def test_a_real_recording_survives_writing_in_fewer_bytes(
    data: Path, tmp_path: Path, name: str
) -> None:
    source = data / "recordings" / name
    events = load_events(source)
    save_events(events, tmp_path / "a.raw")
    assert load_events(tmp_path / "a.raw") == events
    assert (tmp_path / "a.raw").stat().st_size < source.stat().st_size


@pytest.mark.parametrize("seed", range(10))
def test_the_encoder_agrees_with_a_plain_one(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    width = int(rng.choice([20, 40, 320, 2048]))
    events = stream(rng, np.sort(rng.integers(0, int(rng.choice([500, 90000])), 600)), (width, 9))
    save_events(events, tmp_path / "a.raw")
    assert words_of(tmp_path / "a.raw") == plain_encode(events)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("name", ["dense", "gaps over wraps", "unix epoch"])
def test_the_file_does_not_depend_on_how_the_events_are_cut(
    tmp_path: Path, name: str, chunk: int
) -> None:
    events = streams()[name]
    save_events(events, tmp_path / "whole.raw")
    with open_sink(tmp_path / "cut.raw", events.size) as sink:
        for start in range(0, len(events), chunk):
            sink.write(events[start : start + chunk])
    assert (tmp_path / "cut.raw").read_bytes() == (tmp_path / "whole.raw").read_bytes()


def test_the_file_does_not_depend_on_the_block_of_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = streams()["gaps over wraps"]
    save_events(events, tmp_path / "a.raw")
    monkeypatch.setattr("dvskit.formats.evt3.writing._WORDS", 40)
    save_events(events, tmp_path / "b.raw")
    assert (tmp_path / "a.raw").read_bytes() == (tmp_path / "b.raw").read_bytes()


@pytest.mark.parametrize("name", ["negative", "unix epoch"])
def test_a_time_offset_is_written_and_said(tmp_path: Path, name: str) -> None:
    events = streams()[name]
    with open_sink(tmp_path / "a.raw", events.size) as sink:
        sink.write(events)
    assert "dvskit_time_offset_us" in sink.notes[0]
    offset = int(open_events(tmp_path / "a.raw").header()["dvskit_time_offset_us"])
    assert offset % 2**24 == 0
    assert 0 <= events.t[0] - offset < 2**24


def test_triggers_and_events_of_a_recording_both_survive(data: Path, tmp_path: Path) -> None:
    source = open_events(data / "recordings" / REAL[1])
    triggers = source.triggers()
    with open_sink(tmp_path / "a.raw", source.size) as sink:
        sink.write_triggers(triggers)
        for block in source:
            sink.write(block)
    written = open_events(tmp_path / "a.raw")
    assert read_all(written) == read_all(source)
    for column in ("t", "id", "p"):
        assert np.array_equal(getattr(written.triggers(), column), getattr(triggers, column))


def test_triggers_before_behind_and_without_events_survive(tmp_path: Path) -> None:
    triggers = Triggers(
        np.array([-5, 10, 30_000_000]),
        np.array([0, 15, 3], np.int16),
        np.array([True, False, True]),
    )
    for number, t in enumerate([[], [7], [10, 10, 500]]):
        path = tmp_path / f"{number}.raw"
        with open_sink(path, Size(4, 4)) as sink:
            sink.write_triggers(triggers)
            sink.write(Events(t=t, x=[1] * len(t), y=[2] * len(t), p=[True] * len(t), size=(4, 4)))
        got = open_events(path)
        assert got.triggers().t.tolist() == triggers.t.tolist()
        assert got.triggers().id.tolist() == [0, 15, 3]
        assert got.triggers().p.tolist() == [True, False, True]
        assert read_all(got).t.tolist() == t


def test_what_evt3_cannot_hold_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    with pytest.raises(GeometryError, match="2048"):
        open_sink(path, Size(3000, 10))
    far = Events(t=[0, 2**62], x=[0, 0], y=[0, 0], p=[1, 0], size=(4, 4))
    with pytest.raises(EventsError, match="gap"):
        save_events(far, path)
    bad = Triggers(np.array([1]), np.array([16], np.int16), np.array([True]))
    with pytest.raises(EventsError, match="ids"), open_sink(path, Size(4, 4)) as sink:
        sink.write_triggers(bad)
    assert list(tmp_path.iterdir()) == []
    save_events(Events.empty((4, 4)), path)
    with pytest.raises(OutputError, match="exists"):
        save_events(Events.empty((4, 4)), path)


def read_with(peer: str, path: Path) -> dict[str, np.ndarray]:
    """Read a RAW file with another library."""
    if peer == "faery":
        faery = pytest.importorskip("faery")
        rows = np.concatenate(list(faery.events_stream_from_file(path)))
        return {name: rows[name].astype(np.int64) for name in ("t", "x", "y", "p")}
    if peer == "evutils":
        io = pytest.importorskip("evutils.io")
        reader = io.EventReader(str(path), max_time=2**62, max_events=2**40)
        rows = reader.read_all()
        return {name: np.asarray(getattr(rows, name)).astype(np.int64) for name in "txyp"}
    rows = pytest.importorskip("eventcv").load(str(path)).numpy()
    return {name: rows[:, place].astype(np.int64) for place, name in enumerate("xytp")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["dense", "gaps over wraps", "one time", "late start"])
@pytest.mark.parametrize("peer", ["faery", "evutils", "eventcv"])
def test_other_libraries_read_the_same_events(tmp_path: Path, peer: str, name: str) -> None:
    events = streams()[name]
    save_events(events, tmp_path / "a.raw")
    got = read_with(peer, tmp_path / "a.raw")
    for column in "txyp":
        assert np.array_equal(got[column], getattr(events, column)), column


@pytest.mark.filterwarnings("ignore")
def test_faery_reads_a_time_offset_and_we_read_that_of_faery(tmp_path: Path) -> None:
    faery = pytest.importorskip("faery")
    events = streams()["unix epoch"]
    save_events(events, tmp_path / "a.raw")
    assert np.array_equal(read_with("faery", tmp_path / "a.raw")["t"], events.t)
    for name in ("late start", "gaps over wraps"):
        events = streams()[name]
        rows = np.empty(len(events), faery.EVENTS_DTYPE)
        for column in "txyp":
            rows[column] = getattr(events, column)
        stream_of = faery.events_stream_from_array(rows, dimensions=tuple(events.size))
        stream_of.to_file(tmp_path / f"{name}.raw", version="evt3")
        assert load_events(tmp_path / f"{name}.raw") == events
