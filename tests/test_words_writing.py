"""EVT 2.0, EVT 2.1, EVT 4.0 and DAT written: read back alike by us and by other libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import EventsError, GeometryError, OutputError
from dvskit.events import Events, Size, read_all
from dvskit.formats import load_events, open_events, open_sink, save_events
from dvskit.streams import Triggers

EVT = ["evt2", "evt21", "evt4"]
NAMES = [*EVT, "dat"]


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
    gaps = np.cumsum(rng.choice([0, 1, 63, 64, 5000, 9_000_000, 140_000_000], 400))
    return {
        "none": Events.empty((320, 240)),
        "one": stream(rng, np.array([77])),
        "one time": stream(rng, np.full(3000, 12345)),
        "dense": stream(rng, dense),
        "narrow": stream(rng, dense.copy(), (5, 3)),
        "wide": stream(rng, dense.copy(), (2048, 2048)),
        "late start": stream(rng, dense + 913_000_000),
        "gaps over wraps": stream(rng, gaps),
        "half hours": at_one_pixel(np.cumsum(rng.integers(0, 2**31, 40))),
        "across the wrap of EVT2": stream(rng, np.cumsum(np.full(3000, 97)) + 2**34 - 100_000),
        "negative": stream(rng, dense - 12_345_678_901),
        "across zero": stream(rng, dense - 10_000),
        "unix epoch": stream(rng, dense + 1_605_537_493_718_345),
    }


HOURS = Events(t=[0, 5, 60 * 3_600_000_000], x=[1, 2, 3], y=[1, 1, 1], p=[1, 0, 1], size=(9, 9))


@pytest.mark.parametrize("stream_name", streams())
@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_back(tmp_path: Path, name: str, stream_name: str) -> None:
    events = streams()[stream_name]
    save_events(events, tmp_path / "a", format=name)
    recording = open_events(tmp_path / "a")
    assert recording.format == name
    assert read_all(recording) == events
    assert recording.size_origin == "header"


@pytest.mark.parametrize("name", EVT)
def test_gaps_of_days_are_read_back(tmp_path: Path, name: str) -> None:
    save_events(HOURS, tmp_path / "a", format=name)
    assert load_events(tmp_path / "a") == HOURS


def test_the_words_of_evt2_are_the_ones_that_its_layout_names(tmp_path: Path) -> None:
    events = Events(t=[64, 70, 200], x=[1, 2, 3], y=[4, 5, 6], p=[0, 1, 0], size=(9, 9))
    save_events(events, tmp_path / "a", format="evt2")
    words = np.frombuffer((tmp_path / "a").read_bytes().partition(b"% end\n")[2], "<u4")
    expected = [
        0x80000001,
        1 << 11 | 4,
        0x10000000 | 6 << 22 | 2 << 11 | 5,
        0x80000003,
        8 << 22 | 3 << 11 | 6,
    ]
    assert words.tolist() == expected


def test_the_clock_of_evt2_takes_its_last_value_and_zero_at_a_wrap(tmp_path: Path) -> None:
    events = streams()["across the wrap of EVT2"]
    start, stop = events.between(0, 2**34 - 64), events.between(2**34 + 640, 2**40)
    save_events(Events.concatenate([start, stop]), tmp_path / "a", format="evt2")
    words = np.frombuffer((tmp_path / "a").read_bytes().partition(b"% end\n")[2], "<u4")
    highs = (words[words >> 28 == 8] & 0xFFFFFFF).tolist()
    at = highs.index(0)
    assert highs[at - 1] == 0xFFFFFFF


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_the_file_does_not_depend_on_how_the_events_are_cut(
    tmp_path: Path, name: str, chunk: int
) -> None:
    for number, events in enumerate([streams()["dense"], streams()["unix epoch"]]):
        save_events(events, tmp_path / f"{number}", format=name)
        with open_sink(tmp_path / f"cut{number}", events.size, format=name) as sink:
            for start in range(0, len(events), chunk):
                sink.write(events[start : start + chunk])
        assert (tmp_path / f"cut{number}").read_bytes() == (tmp_path / f"{number}").read_bytes()


@pytest.mark.parametrize("name", EVT)
def test_the_file_does_not_depend_on_the_block_of_the_encoder(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, events in enumerate([streams()["dense"], streams()["gaps over wraps"]]):
        save_events(events, tmp_path / f"{number}", format=name)
        with monkeypatch.context() as patch:
            patch.setattr("dvskit.formats.words.evt_writing._UNITS", 40)
            save_events(events, tmp_path / f"b{number}", format=name)
        assert (tmp_path / f"b{number}").read_bytes() == (tmp_path / f"{number}").read_bytes()


@pytest.mark.parametrize("stream_name", ["negative", "unix epoch"])
@pytest.mark.parametrize("name", NAMES)
def test_a_time_offset_is_written_and_said(tmp_path: Path, name: str, stream_name: str) -> None:
    events = streams()[stream_name]
    with open_sink(tmp_path / "a", events.size, format=name) as sink:
        sink.write(events)
    assert "dvskit_time_offset_us" in sink.notes[0]
    wrap = 2**32 if name == "dat" else 2**34
    offset = int(open_events(tmp_path / "a").header()["dvskit_time_offset_us"])
    assert offset % wrap == 0
    assert 0 <= events.t[0] - offset < wrap


@pytest.mark.parametrize("name", EVT)
def test_triggers_before_among_and_behind_events_survive(tmp_path: Path, name: str) -> None:
    triggers = Triggers(
        np.array([-5, 10, 30_000_000]),
        np.array([0, 31, 3], np.int16),
        np.array([True, False, True]),
    )
    for number, t in enumerate([[], [7], [10, 10, 500]]):
        path = tmp_path / f"{number}"
        with open_sink(path, Size(4, 4), format=name) as sink:
            sink.write_triggers(triggers)
            sink.write(Events(t=t, x=[1] * len(t), y=[2] * len(t), p=[True] * len(t), size=(4, 4)))
        got = open_events(path)
        assert got.triggers().t.tolist() == triggers.t.tolist()
        assert got.triggers().id.tolist() == [0, 31, 3]
        assert got.triggers().p.tolist() == [True, False, True]
        assert read_all(got).t.tolist() == t


@pytest.mark.parametrize("name", NAMES)
def test_what_a_format_cannot_hold_is_refused_and_leaves_no_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a"
    with pytest.raises(GeometryError, match="16384" if name == "dat" else "2048"):
        open_sink(path, Size(20000, 10), format=name)
    far = Events(t=[0, 2**62], x=[0, 0], y=[0, 0], p=[1, 0], size=(4, 4))
    with pytest.raises(EventsError, match="gap"):
        save_events(far, path, format=name)
    if name != "dat":
        bad = Triggers(np.array([1]), np.array([32], np.int16), np.array([True]))
        with pytest.raises(EventsError, match="ids"), open_sink(path, (4, 4), format=name) as sink:
            sink.write_triggers(bad)
    assert list(tmp_path.iterdir()) == []
    save_events(Events.empty((4, 4)), path, format=name)
    with pytest.raises(OutputError, match="exists"):
        save_events(Events.empty((4, 4)), path, format=name)


# Who reads what: faery and eventcv know neither EVT 2.1 nor EVT 4.0.
PEERS = [
    *[("faery", "evt2"), ("faery", "dat"), ("eventcv", "evt2"), ("eventcv", "dat")],
    *[("evutils", name) for name in NAMES],
]


def read_with(peer: str, path: Path) -> dict[str, np.ndarray]:
    """Read a file with another library."""
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
@pytest.mark.parametrize(
    "stream_name",
    ["dense", "one time", "late start", "gaps over wraps", "across the wrap of EVT2"],
)
@pytest.mark.parametrize(("peer", "name"), PEERS)
def test_other_libraries_read_the_same_events(
    tmp_path: Path, peer: str, name: str, stream_name: str
) -> None:
    events = streams()[stream_name]
    path = tmp_path / ("a.dat" if name == "dat" else "a.raw")
    save_events(events, path, format=name)
    got = read_with(peer, path)
    t = events.t - int(open_events(path).header().get("dvskit_time_offset_us", "0"))
    if (peer, name) == ("eventcv", "dat"):
        t %= 2**32  # it counts no wraps
    assert np.array_equal(got["t"], t)
    for column in "xyp":
        assert np.array_equal(got[column], getattr(events, column)), column
