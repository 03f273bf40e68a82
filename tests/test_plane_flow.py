"""Flow across edges and pooled flow: against slow versions, and on edges of known velocity."""

import numpy as np
import pytest

from dvskit.events import Events
from dvskit.filters import TemporalJitter
from dvskit.motion import PooledFlow, flow_blocks, plane_flow
from tests.laws import InBlocks, scattered

NEVER = -(10**15)
SIZE = (24, 18)


def slow_flow(events, window_us=50_000, gap_us=50_000, ahead_us=10_000):
    """Plane flow, event by event, from its definition."""
    shape = (2, events.sensor_size.height + 6, events.sensor_size.width + 6)
    # Edges of the time before the first event may have crossed a pixel: their time is not known.
    first, last = (np.full(shape, events.t[0] - early_us) for early_us in (window_us + 1, 0))
    fitted, found = {}, np.full((len(events), 2), np.nan)
    waiting = []

    def settle(until):
        while waiting and (until is None or until - events.t[waiting[0]] > ahead_us):
            n = waiting.pop(0)
            key = int(events.p[n]), events.y[n] + 3, events.x[n] + 3
            begun, (at, velocity) = first[key], fitted.get(key, (NEVER, None))
            if at < begun or events.t[n] - at > ahead_us:
                around = first[key[0], key[1] - 3 : key[1] + 4, key[2] - 3 : key[2] + 4]
                at, velocity = events.t[n], slow_plane(around - begun, window_us)
                fitted[key] = at, velocity
            if events.t[n] - begun <= window_us:
                found[n] = velocity

    for n, (t, x, y, p) in enumerate(zip(events.t, events.x, events.y, events.p, strict=True)):
        settle(t)
        waiting.append(n)
        key = int(p), y + 3, x + 3
        over = t - last[key] > gap_us or last[1 - key[0], y + 3, x + 3] > last[key]
        last[key] = t
        if over or t - first[key] > 500_000:
            first[key] = t
    settle(None)
    return found


def slow_plane(apart, window_us):
    y, x = np.mgrid[-3:4, -3:4]
    near = np.abs(apart) <= window_us
    begun = window_us
    for part in (16, 8, 4, 2):
        if np.count_nonzero(np.abs(apart) * part <= window_us) >= 18:
            begun = window_us / part
            break
    inliers, slopes = near & (np.abs(apart) <= begun), None
    off = np.abs(apart)
    for turn in range(8):
        table = np.stack([x[inliers], y[inliers], np.ones(inliers.sum())], 1)
        if len(table) < 5 or np.linalg.matrix_rank(table) < 3:
            return np.nan, np.nan
        (a, b, c), *_ = np.linalg.lstsq(table, apart[inliers], rcond=None)
        mean_error = np.floor(off[inliers]).mean()
        still = turn > 0 and abs(a - slopes[0]) + abs(b - slopes[1]) < 10  # us/px
        slopes, count = (a, b), len(table)
        used = table
        if still:
            break
        limit = max(0.5 * np.hypot(a, b), 3 * mean_error if turn else begun / 2)
        off = np.abs(apart - (a * x + b * y + c))
        inliers = near & (off <= limit)
    # The standard error of the slope along (a, b), from the mean error of the inliers.
    centered = used[:, :2] - used[:, :2].mean(0)
    covariance = np.linalg.inv(centered.T @ centered) * 1.57 * mean_error**2 * count / (count - 3)
    gradient = np.array([a, b])
    steep = gradient @ gradient
    if steep**2 <= 9 * gradient @ covariance @ gradient:
        return np.nan, np.nan
    return tuple(gradient / steep * 1e6)


def edges(speed, angle, *, size=(48, 40), each=4, spacing_px=20, width_px=1, crossings=4):
    """Straight edges, ON and OFF in turn, that move at `speed` px/s; `each` events a crossing.

    A pixel's events are spread over the time in which the edge moves by `width_px`. One event comes
    100 ms before all, so that no edge may have crossed the sensor shortly before the first event.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[1], : size[0]]
    along = x * np.cos(angle) + y * np.sin(angle)
    along = along - along.min()
    rows = [np.zeros((4, 1))]
    for number in range(crossings):
        phase = rng.uniform(0, 0.2, along.shape)  # of a pixel's threshold
        for k in range(each):
            t = (along + number * spacing_px + phase + k * width_px / each) / speed * 1e6 + 100_000
            rows.append(np.stack([t.ravel(), x.ravel(), y.ravel(), np.full(x.size, number % 2)]))
    table = np.concatenate(rows, 1)
    table = table[:, np.argsort(table[0], kind="stable")].astype(np.int64)
    return Events(t=table[0], x=table[1], y=table[2], p=table[3] > 0, size=size)


@pytest.mark.slow
@pytest.mark.parametrize("case", range(4))
def test_plane_flow_equals_the_slow_version(case):
    events = [
        scattered(3000, SIZE, span_us=200_000),
        edges(300, 0.4, size=SIZE),
        edges(60, 2.0, size=SIZE),
        TemporalJitter(800)(edges(700, 4.0, size=SIZE, crossings=6)),
    ][case][:2000]
    flow, slow = plane_flow(events), slow_flow(events)
    assert np.count_nonzero(flow.known) > 50
    agree = np.isclose(flow.vx, slow[:, 0], rtol=1e-3, atol=0.01, equal_nan=True)
    agree &= np.isclose(flow.vy, slow[:, 1], rtol=1e-3, atol=0.01, equal_nan=True)
    assert agree.mean() > 0.995  # the rest is within rounding of a limit


def test_edges_that_crossed_a_pixel_before_the_first_event_give_no_velocity():
    """First events of pixels within a wide edge come at once, like those of a fast edge."""
    cut = edges(100, 0.4, width_px=8)[10_000:]
    flow = plane_flow(cut)
    off = np.abs(flow.vx * np.cos(0.4) + flow.vy * np.sin(0.4) - 100)
    assert np.nanquantile(off, 0.99) < 15
    assert flow.known[len(cut) // 2 :].mean() > 0.6


def moved(events, later_us):
    return Events(
        t=events.t + later_us, x=events.x, y=events.y, p=events.p, size=events.sensor_size
    )


@pytest.mark.parametrize("later_us", [2_000_000, 2**31 - 1_200_000, 2**31 - 700_000, 2**40])
def test_long_pauses_and_late_times_change_nothing(later_us):
    once = edges(300, 0.7, size=SIZE)
    again = moved(once, later_us)
    both = plane_flow(Events.concatenate([once, again]))
    alone = plane_flow(once)
    for part in (both.vx[: len(once)], both.vx[len(once) :]):
        assert np.array_equal(part, alone.vx, equal_nan=True)


def test_live_events_have_flow_before_their_stream_ends():
    source = InBlocks(edges(200, 1.0, size=SIZE), 64, live=True)
    blocks = flow_blocks(source)
    assert sum(len(next(blocks)) for _ in range(10)) > 300


def test_no_events_have_no_flow():
    flow = plane_flow(Events.empty(SIZE))
    assert len(flow) == 0
    assert flow.vx.dtype == np.float32


def slow_pool(flow, tau_us):
    """Pooled flow, event by event, from its definition."""
    events, found = flow.events, np.full((len(flow), 2), np.nan)
    cell_x, cell_y = events.x // 5, events.y // 5
    speed = np.hypot(flow.vx, flow.vy)
    for n in np.flatnonzero(flow.known):
        before = np.flatnonzero(flow.known[: n + 1])
        weight = np.exp((events.t[before] - events.t[n]) / tau_us)
        away = np.maximum(abs(cell_x[before] - cell_x[n]), abs(cell_y[before] - cell_y[n]))
        best = -1
        for level in range(5):
            inside, share = before[away <= level], weight[away <= level]
            mean = np.average(speed[inside], weights=share)
            if mean > best:
                best = mean
                found[n] = [np.average(v[inside], weights=share) for v in (flow.vx, flow.vy)]
    return found


@pytest.mark.slow
def test_pooled_flow_equals_the_slow_version():
    events = edges(400, 1.1, size=(60, 30))[:2500]
    flow = plane_flow(events, PooledFlow(tau_us=15_000))
    slow = slow_pool(plane_flow(events), 15_000)
    assert np.count_nonzero(flow.known) > 1000
    assert np.allclose(np.stack([flow.vx, flow.vy], 1), slow, rtol=1e-3, atol=0.1, equal_nan=True)


def test_old_flow_does_not_count():
    once = edges(300, 0.5, size=SIZE)
    later = moved(once, 10**9)
    other = edges(300, 2.5, size=SIZE)
    both = plane_flow(Events.concatenate([other, later]), PooledFlow())
    alone = plane_flow(once, PooledFlow())
    assert np.allclose(both.vx[len(other) :], alone.vx, rtol=1e-4, atol=1e-2, equal_nan=True)
