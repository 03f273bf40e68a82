"""AEDAT 2 written: what is read back, by ourselves and by others, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import EventsError, GeometryError, LeftOutWarning
from dvskit.formats import open_sink
from dvskit.streams import Triggers

SIZES = [(128, 128), (240, 180), (346, 260), (640, 480), (208, 192)]


def some(size: tuple[int, int], count: int = 5000, seed: int = 1, span: int = 10**6) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        t=np.sort(rng.integers(-span, span, count)),
        x=rng.integers(0, size[0], count),
        y=rng.integers(0, size[1], count),
        p=rng.integers(0, 2, count),
        size=size,
    )


def rising(*times: int) -> Triggers:
    count = len(times)
    return Triggers(np.array(times, np.int64), np.zeros(count, np.int16), np.ones(count, np.bool_))


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_read_back(tmp_path, size):
    events = some(size)
    dvskit.save_events(events, tmp_path / "a.aedat")
    recording = dvskit.open_events(tmp_path / "a.aedat")
    assert recording.load() == events
    assert recording.size_origin == "camera"
    assert recording.header()["AEChip"]
    assert dvskit.open_events(tmp_path / "a.aedat", strict=False).load() == events


def test_no_events_are_a_file_too(tmp_path):
    dvskit.save_events(Events.empty((240, 180)), tmp_path / "a.aedat")
    assert dvskit.load_events(tmp_path / "a.aedat") == Events.empty((240, 180))


def test_any_first_pixel_is_read_back(tmp_path):
    # A first address that begins with the byte of a '#' is no comment.
    for y in range(180):
        events = Events(t=[7], x=[3], y=[y], p=[1], size=(240, 180))
        dvskit.save_events(events, tmp_path / "a.aedat", overwrite=True)
        assert dvskit.load_events(tmp_path / "a.aedat") == events


def test_times_wrap_and_count_on(tmp_path):
    t = np.arange(-(1 << 31), 5 << 31, 700_000_001)
    events = Events(t=t, x=t % 128, y=t % 127, p=t % 2, size=(128, 128))
    dvskit.save_events(events, tmp_path / "a.aedat")
    assert dvskit.load_events(tmp_path / "a.aedat") == events


@pytest.mark.parametrize("cut", [1, 7, 64, 5000])
@pytest.mark.parametrize("size", [(128, 128), (240, 180)])
def test_triggers_are_merged_however_the_events_are_cut(tmp_path, size, cut):
    events = some(size, count=300, span=100)
    triggers = rising(-1000, -20, 0, 0, 50, 5000)
    for name, step in (("whole", 5000), ("cut", cut)):
        with open_sink(tmp_path / f"{name}.aedat", size) as sink:
            sink.write_triggers(triggers)
            for start in range(0, len(events), step):
                sink.write(events[start : start + step])
    assert (tmp_path / "cut.aedat").read_bytes() == (tmp_path / "whole.aedat").read_bytes()
    recording = dvskit.open_events(tmp_path / "cut.aedat")
    assert recording.load() == events
    assert recording.triggers().t.tolist() == triggers.t.tolist()


def test_other_triggers_are_left_out_with_a_warning(tmp_path):
    triggers = Triggers(np.arange(4), np.array([0, 0, 1, 0], np.int16), np.arange(4) < 3)
    with (
        open_sink(tmp_path / "a.aedat", (128, 128)) as sink,
        pytest.warns(LeftOutWarning, match="2 triggers"),
    ):
        sink.write_triggers(triggers)
    assert dvskit.open_events(tmp_path / "a.aedat").triggers().t.tolist() == [0, 1]


def write_with(folder, events: Events, triggers: Triggers) -> None:
    with open_sink(folder / "b.aedat", events.size) as sink:
        sink.write_triggers(triggers)
        sink.write(events)


def test_triggers_come_once_in_order_and_first(tmp_path):
    with pytest.raises(EventsError, match="runs back"):
        write_with(tmp_path, some(SIZES[0]), rising(5, 4))
    assert not list(tmp_path.iterdir())
    with open_sink(tmp_path / "a.aedat", SIZES[0]) as sink:
        sink.write(some(SIZES[0]))
        with pytest.raises(EventsError, match="before the events"):
            sink.write_triggers(rising(5))


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([1 << 31], "first time"),
        ([-(1 << 31) - 1, 0], "first time"),
        ([(1 << 31) - 1, (1 << 31) + (1 << 30)], "pause"),
        ([-(1 << 31), (3 << 30) - (1 << 31)], "pause"),
    ],
)
def test_times_that_do_not_fit_are_refused(tmp_path, t, message):
    events = Events(t=t, x=[1] * len(t), y=[2] * len(t), p=[1] * len(t), size=(128, 128))
    with pytest.raises(EventsError, match=message):
        dvskit.save_events(events, tmp_path / "a.aedat")
    assert not list(tmp_path.iterdir())


def test_a_size_that_no_chip_has_is_refused_with_those_that_one_has(tmp_path):
    with pytest.raises(GeometryError, match="128x128, 208x192, 240x180, 346x260, 640x480"):
        dvskit.save_events(some((320, 240)), tmp_path / "a.aedat")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [(240, 180), (346, 260)])
def test_evutils_reads_the_same(tmp_path, size):
    io = pytest.importorskip("evutils.io")
    events = some(size, span=10**6)
    events = Events(t=events.t + 10**6, x=events.x, y=events.y, p=events.p, size=size)
    dvskit.save_events(events, tmp_path / "a.aedat")
    rows = io.EventReader(str(tmp_path / "a.aedat"), max_time=2**62, max_events=2**40).read_all()
    assert np.array_equal(np.asarray(rows.t), events.t)
    assert np.array_equal(np.asarray(rows.y).astype(int), size[1] - 1 - events.y)
    assert np.array_equal(np.asarray(rows.p).astype(bool), events.p)


@pytest.mark.filterwarnings("ignore")
def test_tonic_reads_the_same(tmp_path):
    tonic = pytest.importorskip("tonic")
    events = some((346, 260))
    events = Events(t=events.t + 10**6, x=events.x, y=events.y, p=events.p, size=events.size)
    dvskit.save_events(events, tmp_path / "a.aedat")
    size, _, rows = tonic.io.read_davis_346(str(tmp_path / "a.aedat"))
    assert Events.from_array(rows, size=size) == events
