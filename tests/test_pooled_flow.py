"""Flow pooled from normal flow: against a slow version, and on corners of known velocity."""

import numpy as np
import pytest

from dvskit.errors import ConfigError
from dvskit.events import Events
from dvskit.motion import Flow, PooledFlow, flow_blocks, plane_flow, pooled_flow
from tests.test_plane_flow import SIZE, _Cut, edges, same


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


def test_pooled_flow_equals_the_slow_version():
    events = edges(400, 1.1, size=(60, 30))[:2500]
    flow = pooled_flow(events, tau_us=15_000)
    slow = slow_pool(plane_flow(events), 15_000)
    assert np.count_nonzero(flow.known) > 1000
    assert np.allclose(np.stack([flow.vx, flow.vy], 1), slow, rtol=1e-3, atol=0.1, equal_nan=True)


def diamond(speed, side_px=24, size=(120, 60)):
    """A square on its corner that moves right: all its edges are at 45 degrees to its motion."""
    y, x = np.mgrid[: size[1], : size[0]]
    front = x + np.abs(y - size[1] // 2)
    rows = []
    for reach, p in ((0, True), (side_px, False)):
        inside = np.abs(y - size[1] // 2) < side_px // 2
        at = (front if p else 2 * x - front)[inside] + reach
        table = np.stack([at / speed * 1e6, x[inside], y[inside], np.full(at.size, p)])
        rows.append(table[:, table[0] >= 0])
    table = np.concatenate(rows, 1)
    table = table[:, np.argsort(table[0], kind="stable")].astype(np.int64)
    return Events(t=table[0], x=table[1], y=table[2], p=table[3] > 0, size=size)


def test_pooling_finds_the_direction_of_motion_where_all_edges_are_oblique():
    events = diamond(200)
    late = events.t > 150_000
    normal, pooled = (
        np.degrees(np.abs(np.arctan2(flow.vy, flow.vx)))[late & flow.known]
        for flow in (plane_flow(events), pooled_flow(events))
    )
    assert np.median(normal) == pytest.approx(45, abs=5)
    assert np.median(pooled) < 22


@pytest.mark.parametrize("chunk", [1, 64])
def test_pooled_flow_does_not_depend_on_how_the_stream_is_cut(chunk):
    events = edges(200, 1.0, size=SIZE)
    blocks = flow_blocks(_Cut(events, chunk), PooledFlow(tau_us=2_000))
    same(Flow.concatenate(list(blocks), SIZE), pooled_flow(events, tau_us=2_000))


def test_old_flow_does_not_count():
    once = edges(300, 0.5, size=SIZE)
    later = Events(t=once.t + 10**9, x=once.x, y=once.y, p=once.p, size=SIZE)
    other = edges(300, 2.5, size=SIZE)
    both = pooled_flow(Events.concatenate([other, later]))
    alone = pooled_flow(once)
    assert np.allclose(both.vx[len(other) :], alone.vx, rtol=1e-4, atol=1e-2, equal_nan=True)


def test_a_time_constant_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="tau_us"):
        pooled_flow(edges(300, 0.5, size=SIZE), tau_us=0)
