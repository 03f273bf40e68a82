"""Images at times: their order with events and frames, live sources, and exposure."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit.errors import ConfigError, EventsError, GeometryError, VideoError
from dvskit.events import Events, Size
from dvskit.formats import open_events, open_sink
from dvskit.reconstruction import (
    AutoExposure,
    EventsPerPixel,
    GivenTimes,
    SteadyTimes,
    image_times,
    listed_times,
    load_reconstructor,
    reconstruct,
)
from dvskit.streams import Frame
from dvskit.video import write_images
from tests.laws import refused

SIZE = Size(4, 2)


def events_at(*t, size=SIZE) -> Events:
    return Events(t=list(t), x=[0] * len(t), y=[0] * len(t), p=[True] * len(t), size=size)


class Log:
    """A reconstructor that writes down its calls; an image shows the number of its events."""

    def __init__(self, *, uses_frames: bool = True) -> None:
        self.uses_frames = uses_frames

    def start(self, size):
        self.calls, self.size, self.t = [], size, []
        return self

    def add(self, events):
        assert len(events)
        self.t += events.t.tolist()
        self.calls += [("event", t) for t in events.t.tolist()]

    def see(self, t_us, frame):
        self.calls.append(("frame", t_us))

    def image(self, t_us):
        self.calls.append(("image", t_us))
        return np.full((self.size.height, self.size.width), len(self.t) / 255, np.float32)


class Blocks:
    """A source of the given blocks, that counts those read."""

    def __init__(self, *blocks, size=SIZE) -> None:
        self.blocks, self.size, self.read = blocks, size, 0

    def __iter__(self):
        self.read = 0
        for block in self.blocks:
            self.read += 1
            yield block


def counts(made) -> list[tuple[int, int]]:
    return [(t_us, int(image[0, 0])) for t_us, image in made]


def test_an_image_has_the_events_up_to_its_time():
    events = events_at(0, 5, 10, 10, 11, 30)
    made = reconstruct(events, Log(), [0, 4, 10, 11, 29, 100])
    assert counts(made) == [(0, 1), (4, 1), (10, 4), (11, 5), (29, 5), (100, 6)]
    assert counts(made) == counts(made)


def test_images_at_a_rate_begin_a_period_after_the_first_event_and_hold_the_last_one():
    made = reconstruct(events_at(7, 8, 1_000_007, 1_400_000), Log(), SteadyTimes(2.0))
    assert counts(made) == [(500_007, 2), (1_000_007, 3), (1_500_007, 4)]


def test_times_at_a_rate_do_not_drift():
    made = reconstruct(events_at(0, 1_000_000), Log(), SteadyTimes(30))
    times = [t for t, _ in made]
    assert times[:3] == [33_333, 66_666, 100_000]
    assert times[29] == 1_000_000


def test_images_by_number_come_with_every_so_many_events():
    events = events_at(*range(100, 130))
    made = reconstruct(events, Log(), EventsPerPixel(1.3))  # 10.4 events of 8 pixels
    assert counts(made) == [(110, 11), (120, 21)]
    assert counts(reconstruct(events_at(1, 1, 1, 1, 2), Log(), EventsPerPixel(0.25))) == [(1, 2)]
    assert counts(reconstruct(events_at(1, 2), Log(), EventsPerPixel(0.01))) == [(1, 1), (2, 2)]


def test_a_frame_comes_after_the_events_up_to_its_time_and_not_before_an_image_at_it():
    log = Log()
    frames = [(5, np.zeros((2, 4))), (10, np.zeros((2, 4))), (50, np.zeros((2, 4)))]
    list(reconstruct(events_at(1, 5, 6, 10, 11), log, [10, 12], frames=frames))
    assert log.calls == [
        ("event", 1), ("event", 5), ("frame", 5), ("event", 6), ("event", 10), ("image", 10),
        ("frame", 10), ("event", 11), ("image", 12),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("times", "calls"),
    [
        ([26], "e5 f10 e15 e18 e25 i26"),
        ([21], "e5 f10 e15 e18 i21 e25"),
        ([20], "e5 e15 e18 i20 f10 e25"),
        ([16, 30], "e5 e15 i16 f10 e18 e25 i30"),
    ],
)
def test_an_image_within_an_exposure_does_not_have_the_frame(tmp_path, times, calls):
    with open_sink(tmp_path / "a.aedat4", SIZE) as sink:
        sink.write_frames([Frame(0, 20, np.zeros((2, 4), np.uint8))])
        sink.write(events_at(5, 15, 18, 25))
    log = Log()
    list(reconstruct(open_events(tmp_path / "a.aedat4"), log, times))
    assert " ".join(f"{kind[0]}{t}" for kind, t in log.calls) == calls


def test_frames_are_not_read_for_a_reconstructor_without():
    def frames():
        raise AssertionError
        yield

    log = Log(uses_frames=False)
    assert counts(reconstruct(events_at(1), log, [2], frames=frames())) == [(2, 1)]


def test_an_image_of_a_live_source_comes_with_the_next_event():
    source = Blocks(events_at(0, 1), events_at(40_000), events_at(90_000), events_at(95_000))
    made = iter(reconstruct(source, Log(), SteadyTimes(30)))
    assert next(made)[0] == 33_333
    assert source.read == 2
    assert next(made)[0] == 66_666
    assert source.read == 3


def test_times_come_from_a_list_of_images(tmp_path):
    (tmp_path / "images.txt").write_text("0.00002 images/a.png\n0.5 images/b.png\n")
    (tmp_path / "timestamps_us.txt").write_text("20\n500000\n")
    (tmp_path / "mine.txt").write_text("# seconds\n0.00002\n0.5\n")
    (tmp_path / "images.csv").write_text("20000,a.png\n500000000,b.png\n")
    for name in ("images.txt", "timestamps_us.txt", "mine.txt", "images.csv"):
        assert list(listed_times(tmp_path / name).t_us) == [20, 500_000], name
    image = np.zeros((8, 8), np.uint8)
    write_images([Frame(0, 0, image), Frame(40_000, 40_000, image)], tmp_path / "out")
    assert list(listed_times(tmp_path / "out" / "images.txt").t_us) == [0, 40_000]


def read(source, times=(9,), **how):
    list(reconstruct(source, Log(), times, **how))


BACK = [(5, np.zeros((2, 4))), (4, np.zeros((2, 4)))]


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: reconstruct(np.zeros(3), Log(), [1]), EventsError, "ndarray"),
        (lambda: reconstruct(events_at(1), "filtre", [1]), ConfigError, "'filter'"),
        (lambda: load_reconstructor("filter:cut=2"), ConfigError, "filter:cut=2"),
        (lambda: load_reconstructor("filter:cutoff=-2"), ConfigError, "cutoff"),
        (lambda: GivenTimes([3, 3]), VideoError, "number 1"),
        (lambda: AutoExposure(dark=0.9, bright=0.2), ConfigError, "0.9"),
        (lambda: read(Blocks(events_at(5), events_at(3))), EventsError, "3 us, before 5 us"),
        (lambda: read(Blocks(events_at(5, size=(5, 5)))), GeometryError, "5x5"),
        (lambda: read(events_at(5, 6), frames=BACK), VideoError, "at 4 us follows one at 5 us"),
        (lambda: read(events_at(5, 6), frames=[(1, np.zeros((5, 4)))]), GeometryError, "4x5"),
    ],
)
def test_wrong_values_and_streams_are_refused(call, error, named):
    with refused(error, named):
        call()


def test_a_gap_of_hours_is_an_error_that_names_the_fix(monkeypatch):
    monkeypatch.setattr(image_times, "_MOST_EMPTY", 1000)  # a million takes ten seconds
    made = reconstruct(events_at(0, 900, 10**15), Log(), SteadyTimes(1e6))
    with refused(VideoError, "1,000", "start_us="):
        list(made.images())


def test_auto_exposure_fills_the_range_and_does_not_flicker():
    scene = np.linspace(0.2, 0.7, 400, dtype=np.float32).reshape(20, 20)
    flash = scene.copy()
    flash[:2] = 1.0

    def seen(smooth_s: float) -> list[float]:
        step = AutoExposure(smooth_s=smooth_s).start()
        first = step(0, scene)
        assert first.dtype == np.float32
        assert (first.min(), first.max()) == (0, 1)
        shown = [step(40_000 * k, flash if k % 2 else scene) for k in range(1, 60)]
        return [float(each[19, 0]) for each in shown]

    at_once, smooth = (np.abs(np.diff(seen(each)[30:])) for each in (0.0, 0.5))
    assert at_once.min() > 0.3
    assert smooth.max() < 0.1 * at_once.min()


def test_auto_exposure_of_an_image_without_contrast_is_gray():
    shown = AutoExposure().start()(0, np.full((4, 4), 0.2, np.float32))
    np.testing.assert_allclose(shown, 0.5, atol=1e-5)
