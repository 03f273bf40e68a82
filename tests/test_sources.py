"""Every Source has load, between and blocks, and says what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit._progress import Nowhere
from dvskit.errors import ConfigError, EventsError, GeometryError, LeftOutWarning, UnitWarning
from dvskit.events import EventsSource, ReadableSource, Source
from dvskit.filters import Chain, Crop, TimeWindow
from dvskit.formats import open_sink
from dvskit.streams import Triggers
from tests.laws import InBlocks, refused
from tests.test_events import make

EVENTS = make(900, seed=3)


class Plain:
    """Nothing but the protocol."""

    size = EVENTS.sensor_size

    def __iter__(self):
        yield from InBlocks(EVENTS, 100)


def clip() -> list[tuple[int, np.ndarray]]:
    random = np.random.default_rng(1)
    return [(t, random.integers(0, 256, (10, 20), np.uint8)) for t in range(0, 5000, 250)]


def recording(tmp_path: Path) -> ReadableSource:
    dvskit.save_events(EVENTS, tmp_path / "a.npz")
    return dvskit.open_events(tmp_path / "a.npz")


SOURCES: dict[str, Callable[[Path], ReadableSource]] = {
    "recording": recording,
    "part of a recording": lambda path: recording(path).between(3, 950),
    "events": lambda _: EventsSource(EVENTS),
    "blocks of 1": lambda _: InBlocks(EVENTS, 1),
    "blocks of 64": lambda _: InBlocks(EVENTS, 64),
    "part": lambda _: InBlocks(EVENTS, 64).between(3, 950),
    "filtered": lambda path: Crop(2, 1, 15, 8)(recording(path)),
    "part of filtered": lambda path: Crop(2, 1, 15, 8)(recording(path)).between(100, None),
    "filtered protocol": lambda _: Chain(Crop(2, 1, 15, 8), TimeWindow(5, 990))(Plain()),
    "watched": lambda path: dvskit.progress(recording(path), display=Nowhere()),
    "watched events": lambda _: dvskit.progress(EVENTS, display=Nowhere()),
    "watched protocol": lambda _: dvskit.progress(Plain(), display=Nowhere()),
    "emulation": lambda _: dvskit.emulate(clip()),
    "watched part of an emulation": lambda _: dvskit.progress(
        dvskit.emulate(clip()).between(1000, 4000), display=Nowhere()
    ),
}


@pytest.fixture(params=SOURCES)
def source(request, tmp_path) -> ReadableSource:
    return SOURCES[request.param](tmp_path)


def test_load_gives_all_events_at_each_pass(source):
    whole = source.load()
    assert isinstance(whole, Events)
    assert len(whole) > 400
    assert source.load() == whole == Events.concatenate(source, source.size)


def test_blocks_hold_a_count_or_a_duration_however_the_events_come(source):
    whole = source.load()
    for count in (1, 7, 64, 5000):
        blocks = list(source.blocks(count=count))
        assert Events.concatenate(blocks) == whole
        assert {len(block) for block in blocks[:-1]} <= {count}
        assert 0 < len(blocks[-1]) <= count
    for duration_us in (1, 90, 10_000):
        blocks = list(source.blocks(duration_us=duration_us))
        spans = (whole.t - whole.t[0]) // duration_us
        assert [*map(len, blocks)] == np.unique(spans, return_counts=True)[1].tolist()
        assert Events.concatenate(blocks) == whole
    for wrong in ({"count": 0}, {"duration_us": 0.01}, {"count": 1, "duration_us": 1}):
        with refused(ConfigError, *wrong):
            source.blocks(**wrong)


def test_a_part_is_the_events_in_between_and_a_source_of_its_own(source):
    whole = source.load()
    for window in ((None, None), (100, 700), (None, 300), (300, None), (300, 300)):
        part = source.between(*window)
        assert part.size == source.size
        assert part.load() == whole.between(*window) == part.load()
        assert part.between(200, None).load() == whole.between(*window).between(200, None)
    assert source.load() == whole


def test_a_source_says_what_it_is_and_not_where_it_lies_in_memory(source):
    assert " at 0x" not in repr(source)
    assert str(source.size) in repr(source)


def test_what_is_behind_a_part_of_an_emulation_is_not_emulated():
    frames = clip()
    emulation = dvskit.emulate(frames)
    # Blocks are handed on in time, so that a part ends soon after its last event.
    emulation.between(None, 1000).load()
    one = emulation.frames_done
    emulation.load()
    assert one <= emulation.frames_done == len(frames)


def test_a_part_of_any_source_has_no_empty_blocks():
    start, stop = int(EVENTS.t[20]), int(EVENTS.t[60])
    blocks = [*InBlocks(EVENTS, 7).between(start, stop)]
    assert all(map(len, blocks))
    assert Events.concatenate(blocks) == EVENTS.between(start, stop)


def test_a_part_of_frames_that_are_read_once_is_read_once():
    part = dvskit.emulate(iter(clip())).between(1000, 4000)
    assert part.load() == dvskit.emulate(clip()).load().between(1000, 4000)
    with refused(dvskit.errors.VideoError, "used up"):
        part.load()


def test_seconds_for_microseconds_are_warned_of_in_sources_too(tmp_path):
    seconds = Events(t=[0, 10, 3_000_000], x=[0] * 3, y=[0] * 3, p=[1] * 3, size=(1, 1))
    dvskit.save_events(seconds, tmp_path / "a.npz")
    for source in (dvskit.open_events(tmp_path / "a.npz"), EventsSource(seconds)):
        with pytest.warns(UnitWarning, match="seconds"):
            part = source.between(1.0, 2.0)
        with pytest.warns(UnitWarning, match="3,000,000"):
            assert len(part.load()) == 0
        for seconds in ((0, 1), (1, 2), (None, 5), (5, None)):
            with pytest.warns(UnitWarning, match="3,000,000"):
                source.between(*seconds).load()
        assert len(source.between(0, 1000).load()) == 2
        assert len(source.between(0, None).load()) == 3


@pytest.mark.slow
def test_a_window_of_seconds_is_noticed_where_only_the_beginning_is_read(tmp_path):
    count = 2_500_000
    zero = np.zeros(count, np.int16)
    dense = Events(t=np.arange(count) // 2, x=zero, y=zero, p=zero == 0, size=(1, 1))
    dvskit.save_events(dense, tmp_path / "a.raw")
    for source in (dvskit.open_events(tmp_path / "a.raw"), InBlocks(dense, 20_000)):
        with pytest.warns(UnitWarning):
            source.between(0, 1).load()


def test_a_window_that_ends_ahead_of_its_start_is_refused(tmp_path):
    for each in (EVENTS, EventsSource(EVENTS), recording(tmp_path), dvskit.Triggers.empty()):
        with refused(EventsError, 700, 100):
            each.between(700, 100)
    for use in (TimeWindow, dvskit.Triggers.empty().between):
        with pytest.warns(UnitWarning):
            use(0.5, 1.5)


def test_a_filter_gives_events_of_events_and_a_source_of_a_source(tmp_path):
    cropped = Crop(2, 1, 15, 8)(EVENTS)
    of_file = Crop(2, 1, 15, 8)(recording(tmp_path))
    assert isinstance(cropped, Events)
    assert isinstance(of_file, Source)
    assert cropped.sensor_size == of_file.size == (15, 8)
    assert of_file.load() == cropped


def test_saving_what_a_filter_leaves_tells_what_stands_beside_the_events(tmp_path):
    with open_sink(tmp_path / "a.raw", EVENTS.sensor_size) as sink:
        sink.write_triggers(Triggers(np.array([5]), np.array([1], np.int16), np.array([True])))
        sink.write(EVENTS)
    part = dvskit.open_events(tmp_path / "a.raw").between(0, 500)
    watched = dvskit.progress(Crop(2, 1, 15, 8)(part), display=Nowhere())
    with pytest.warns(LeftOutWarning, match="1 trigger "):
        dvskit.save_events(watched, tmp_path / "b.npz")
    assert dvskit.load_events(tmp_path / "b.npz") == Crop(2, 1, 15, 8)(EVENTS.between(0, 500))


def test_a_chain_is_its_filters_in_sequence():
    window, crop, smaller = TimeWindow(50, 800), Crop(2, 1, 15, 8), Crop(1, 1, 4, 5)
    both = Chain(window, crop, smaller)
    assert both(EVENTS) == smaller(crop(window(EVENTS)))
    assert both(InBlocks(EVENTS, 7)).load() == both(EVENTS)
    assert Chain()(EVENTS) == EVENTS
    assert Chain(Chain(window, crop), smaller)(EVENTS) == both(EVENTS)
    assert both == Chain(*both.filters)

    class Own:
        def start(self, size):
            return lambda events: events[events.p]

    assert Chain(Own(), crop)(EVENTS) == crop(EVENTS[EVENTS.p])


def test_a_chain_of_a_crop_off_the_cropped_sensor_is_refused():
    with refused(GeometryError, "15x8"):
        Chain(Crop(2, 1, 15, 8), Crop(10, 0, 6, 8))(EVENTS)


@pytest.mark.parametrize("wrong", ["a.raw", Path("a.raw"), np.zeros((3, 4)), None, [1, 2]])
def test_what_is_no_source_is_refused_with_the_fix_wherever_one_is_meant(wrong, tmp_path):
    fix = "open_events('a.raw')" if "a.raw" in str(wrong) else type(wrong).__name__
    for use in (
        Crop(0, 0, 1, 1),
        dvskit.progress,
        lambda given: dvskit.tensors.bin_events(given, bins=2),
        dvskit.render.plots.rate,
        lambda given: dvskit.save_events(given, tmp_path / "a.npz"),
    ):
        with refused(EventsError, fix):
            use(wrong)


def test_a_column_of_a_source_that_is_not_read_yet_is_refused_with_the_fix(source):
    for name, fix in (("t", ".load().t"), ("nothing", "'nothing'")):
        with refused(AttributeError, fix):
            getattr(source, name)
    assert not hasattr(source, "x")
