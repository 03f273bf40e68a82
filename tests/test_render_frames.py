"""Accumulated frames: each style against its definition, however the stream is cut."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest

from dvskit.errors import ConfigError, EventsError, GeometryError, VideoError
from dvskit.events import Events, Size
from dvskit.render import Count, Decay, LatestPolarity, LinearFade, Surface, frames, styles
from dvskit.render.colormap import LIGHT, rgb
from dvskit.render.event_frames import LEVELS, count_table
from tests.laws import InBlocks, refused, scattered

SIZE = Size(23, 17)
STYLES = [
    LatestPolarity(),
    LatestPolarity(window_us=2500),
    Count(),
    Count(window_us=2500),
    Decay(tau_us=3000),
    Decay(full=3.0),
    LinearFade(window_us=4000),
    LinearFade(),
    Surface(tau_us=3000),
]


def some_events(count=3000, seed=0, size=SIZE, step=12):
    rng = np.random.default_rng(seed)
    gaps = rng.integers(0, step, count)
    gaps[count // 2] = 9000  # frames without events
    found = scattered(count, size, seed=seed)
    return Events(t=5_000_000 + np.cumsum(gaps), x=found.x, y=found.y, p=found.p, size=size)


def same(a, b):
    return len(a) == len(b) and all(
        s == t and np.array_equal(f, g) for (s, f), (t, g) in zip(a, b, strict=True)
    )


def drawn(source, **options):
    return [(m.t_us, m.index.copy()) for m in frames(source, **options).moments()]


def away(value):
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def twin(style, events, frame_us, period_us):
    """One frame from the definition: from all events before it, pixel by pixel."""
    image = np.zeros((events.sensor_size.height, events.sensor_size.width))
    diverges = not isinstance(style, (Count, Surface))
    for t, x, y, p in zip(*(getattr(events, c).tolist() for c in "txyp"), strict=True):
        age = frame_us - t
        sign = 1 if p else -1
        if age <= 0:
            break
        match style:
            case LatestPolarity(window_us):
                if age <= (period_us if window_us is None else window_us):
                    image[y, x] = sign * LEVELS
            case Count(window_us):
                image[y, x] += age <= (period_us if window_us is None else window_us)
            case Decay(tau_us, full):
                tau_us = 3 * period_us if tau_us is None else tau_us
                image[y, x] += sign * math.exp(-age / tau_us) * LEVELS / full
            case LinearFade(window_us):
                window_us = 6 * period_us if window_us is None else window_us
                image[y, x] = sign * max(0, 1 - age / window_us) * LEVELS
            case Surface(tau_us):
                image[y, x] = math.exp(-age / tau_us) * 2 * LEVELS
    if isinstance(style, Count):
        return count_table(style.full)[np.minimum(image, style.full).astype(int)]
    most = LEVELS if diverges else 2 * LEVELS
    return np.vectorize(away)(np.clip(image, -most, most)) + (LEVELS if diverges else 0)


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES, ids=str)
def test_a_frame_is_what_its_definition_says_of_all_earlier_events(style):
    events = some_events()
    seen = drawn(events, style=style, frame_us=1000)
    assert len(seen) == -(-(events.duration_us + 1) // 1000)
    for number in (0, 1, 7, len(seen) // 2, len(seen) - 1):
        t_us, index = seen[number]
        assert t_us == events.t[0] + (number + 1) * 1000
        expected = twin(style, events, t_us, 1000)
        off = np.abs(index.astype(int) - expected)
        if isinstance(style, (LatestPolarity, Count)):
            assert not off.any()
        else:
            # A value on the border of two levels may fall on either side.
            assert off.max() <= 1
            assert np.count_nonzero(off) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES, ids=str)
def test_frames_are_the_same_however_the_stream_is_cut(style):
    events = some_events()
    whole = drawn(events, style=style, fps=777.7)
    for length in (7, 2999):
        assert same(drawn(InBlocks(events, length), style=style, fps=777.7), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(styles))
def test_frames_are_the_same_on_any_number_of_threads_and_at_a_second_pass(name, monkeypatch):
    events = some_events(size=Size(700, 600))
    seen = []
    for threads in ("1", "3"):
        monkeypatch.setenv("DVSKIT_THREADS", threads)
        made = frames(events, style=styles[name](), frame_us=3000)
        seen += [[(m.t_us, m.index.copy()) for m in made.moments()] for _ in range(2)]
    assert all(same(other, seen[0]) for other in seen[1:])


@pytest.mark.parametrize("name", ["polarity", "decay", "linear"])
def test_swapping_on_and_off_mirrors_the_palette(name):
    events = some_events()
    swapped = Events(t=events.t, x=events.x, y=events.y, p=~events.p, size=events.sensor_size)
    one = drawn(events, style=styles[name](), frame_us=1000)
    other = drawn(swapped, style=styles[name](), frame_us=1000)
    assert all(np.array_equal(a, 2 * LEVELS - b) for (_, a), (_, b) in zip(one, other, strict=True))


def test_counts_add_up_to_all_events():
    events = some_events()
    moments = [
        (m.on, m.off, m.index.copy()) for m in frames(events, style=Count(), frame_us=700).moments()
    ]
    assert sum(on + off for on, off, _ in moments) == len(events)
    assert sum(on for on, _, _ in moments) == np.count_nonzero(events.p)
    of_index = {int(row): count for count, row in enumerate(count_table(12))}
    assert len(of_index) == 13
    assert sum(of_index[v] for _, _, image in moments for v in image.ravel().tolist()) == len(
        events
    )


def test_frames_stand_at_exact_times_without_drift():
    events = some_events(step=2000)
    times = [t for t, _ in drawn(events, fps=60)]
    start = int(events.t[0])
    assert times == [
        start + math.floor((k + 1) * Fraction(1_000_000, 60)) for k in range(len(times))
    ]
    assert times[-2] <= events.t[-1] < times[-1]


def test_a_part_of_a_stream_begins_and_ends_where_it_is_told():
    events = some_events()
    start, stop = int(events.t[0]) - 5000, int(events.t[-1]) + 5000
    times = [t for t, _ in drawn(events, frame_us=1000, start_us=start, stop_us=stop)]
    assert times == list(range(start + 1000, stop + 1, 1000))
    middle = int(events.t[1000])
    part = drawn(events, frame_us=1000, start_us=middle, stop_us=middle + 3000)
    assert [t for t, _ in part] == [middle + 1000, middle + 2000, middle + 3000]
    empty = drawn(
        Events.empty(SIZE), frame_us=1000, start_us=0, stop_us=2000, style=LatestPolarity()
    )
    assert [(t, int(f.max()), int(f.min())) for t, f in empty] == [
        (1000, LEVELS, LEVELS),
        (2000, LEVELS, LEVELS),
    ]


def test_iterating_gives_rgb_images_of_the_palette():
    made = frames(some_events(), style=LatestPolarity(), frame_us=1000, theme=LIGHT)
    _, image = next(iter(made))
    assert image.shape == (17, 23, 3)
    assert image.dtype == np.uint8
    colors = {tuple(color) for color in image.reshape(-1, 3).tolist()}
    assert colors == {rgb(LIGHT.on), rgb(LIGHT.off), rgb(LIGHT.ground)}


class Tape(InBlocks):
    """Blocks as they are given."""

    def __init__(self, *blocks):
        super().__init__(blocks[0], 1)
        self._blocks = blocks

    def __iter__(self):
        return iter(self._blocks)


EVENTS = some_events()
WRONG = [
    (lambda: frames(EVENTS, fps=60, frame_us=1000), ConfigError, "frame_us"),
    (lambda: frames(EVENTS, fps=2e6), ConfigError, "fps"),
    (lambda: frames(EVENTS, frame_us=0), ConfigError, "1 us"),
    (lambda: frames(EVENTS, frame_us=10**10), ConfigError, "1000 s"),
    (lambda: frames(EVENTS, start_us=5, stop_us=5), ConfigError, "5..5"),
    (lambda: Count(full=1), ConfigError, "full"),
    (lambda: LinearFade(2**31), ConfigError, "window_us"),
    (lambda: drawn(Tape(EVENTS[1500:], EVENTS[:1500])), EventsError, EVENTS.t[-1]),
    (lambda: drawn(Tape(EVENTS, Events.empty((5, 5)))), GeometryError, "5x5"),
]


@pytest.mark.parametrize(("make", "kind", "named"), WRONG)
def test_wrong_frames_styles_and_blocks_are_refused(make, kind, named):
    with refused(kind, named):
        make()


def test_a_damaged_time_far_ahead_ends_in_an_error_not_in_a_flood(monkeypatch):
    monkeypatch.setattr(sys.modules["dvskit.render.event_frames"], "_MOST_EMPTY", 50)
    events = Events(t=[0, 1 << 45], x=[0, 1], y=[0, 1], p=[True, False], size=(4, 4))
    with pytest.raises(VideoError, match="have no events"):
        drawn(events, frame_us=1000)
