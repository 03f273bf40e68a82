"""Scores and tracks of corners, in Python, in videos and on the command line."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest

from dvskit import Events, save_events
from dvskit.errors import ConfigError
from dvskit.events import EventsSource
from dvskit.filters import ArcStar, EFast, EHarris, LuvHarris
from dvskit.motion import CornerLinks, corners, link_corners
from dvskit.render import CornerTracks, Decay, frames
from dvskit.render.colormap import DARK, LIGHT
from tests.laws import refused, rows_of
from tests.test_corner_filters import EVENTS


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("arc_star", ArcStar()),
        ("e_fast", EFast()),
        ("luv_harris:0.01", LuvHarris(0.01)),
        ("e-harris:threshold=2", EHarris(2)),
    ],
)
def test_scores_above_the_threshold_are_those_of_the_events_that_the_filter_keeps(name, chosen):
    scores = corners(EVENTS, name)
    assert scores.dtype == np.float32
    assert EVENTS[scores > getattr(chosen, "threshold", 0)] == chosen(EVENTS)
    assert np.array_equal(corners(EventsSource(EVENTS), chosen), scores)
    assert corners(Events.empty((9, 9)), chosen).shape == (0,)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: corners(EVENTS, "flip"), "choices: arc_star, e_fast"),
        (lambda: corners(EVENTS, "arcstar"), "'arc_star'"),
        (lambda: corners(EVENTS, ArcStar), "ArcStar(...)"),
        (lambda: corners(EVENTS, lambda events: events), "choices: arc_star, e_fast"),
    ],
)
def test_wrong_methods_are_refused(call, named):
    with refused(ConfigError, named):
        call()


def tracks_twin(events: Events, within_px: float, within_us: int) -> list[int]:
    """The track of each event: that of the nearest pixel's latest event, of equals the latest."""
    latest: dict[tuple[int, int], tuple[int, int]] = {}
    ids: list[int] = []
    for t, x, y, _ in rows_of(events):
        near = [
            ((a - x) ** 2 + (b - y) ** 2, -time, b, a, track)
            for (a, b), (time, track) in latest.items()
            if time >= t - within_us and (a - x) ** 2 + (b - y) ** 2 <= within_px**2
        ]
        ids.append(min(near)[-1] if near else max(ids, default=-1) + 1)
        latest[x, y] = t, ids[-1]
    return ids


@pytest.mark.parametrize("within", [(3.5, 25_000), (1.0, 300_000), (0.0, 4_000), (6.4, 0)])
def test_corner_events_are_linked_as_the_definition_says(within):
    events = ArcStar(1_000)(EVENTS)
    rows = link_corners(events, within_px=within[0], within_us=within[1])
    assert rows["id"].tolist() == tracks_twin(events, *within)
    for name in "txy":
        assert np.array_equal(rows[name], getattr(events, name))
    links = CornerLinks(events.sensor_size, within_px=within[0], within_us=within[1])
    links(events)
    assert links.corners == len(rows)
    assert links.tracks == rows["id"].max() + 1 > 1


def test_frames_show_tracks_with_enough_events_over_faint_events():
    style = CornerTracks("arc_star:1ms", least_events=8)
    shown = frames(EVENTS, style=style, fps=100)
    assert shown.palette.shape == style.palette(LIGHT).shape == Decay().palette(DARK).shape
    plain = [moment.index.copy() for moment in frames(EVENTS, style=Decay(), fps=100).moments()]
    lines = 0
    for moment, events in zip(shown.moments(), plain, strict=True):
        tracks = moment.index >= 64
        lines += np.count_nonzero(tracks)
        assert np.array_equal(moment.index[~tracks], events[~tracks] >> 1)
    assert lines > 100
    never = frames(EVENTS, style=CornerTracks("arc_star:1ms", least_events=10**6), fps=100)
    assert all((moment.index < 64).all() for moment in never.moments())


@pytest.fixture
def recorded(tmp_path):
    save_events(EVENTS, tmp_path / "in.npz")
    return "in.npz"


def test_the_command_writes_the_tracks_as_csv_npz_and_to_standard_output(run, recorded, tmp_path):
    words = ["--method", "arc_star:1ms", "--near", "2", "--within", "9ms", "--json"]
    code, out, _ = run("corners", recorded, "-o", "t.csv", *words)
    rows = link_corners(ArcStar(1_000)(EVENTS), within_px=2.0, within_us=9_000)
    lines = [f"{i},{t},{x},{y}" for i, t, x, y in rows.tolist()]
    assert code == 0
    assert (tmp_path / "t.csv").read_text().splitlines() == ["id,t_us,x,y", *lines]
    facts = {"events": len(EVENTS), "corners": len(rows), "tracks": int(rows["id"].max()) + 1}
    assert json.loads(out) | facts == json.loads(out)
    code, out, _ = run("corners", recorded, "-o", "t.npz", "--method", "e_fast")
    assert (code, out) == (0, "")
    with np.load(tmp_path / "t.npz") as found:
        rows = link_corners(EFast()(EVENTS))
        assert set(found) == {"id", "t_us", "x", "y"}
        assert np.array_equal(found["id"], rows["id"])
        assert np.array_equal(found["t_us"], rows["t"])
    code, out, _ = run("corners", recorded, "-o", "-", "--start", "100ms", "--stop", "200ms")
    part = EVENTS.between(int(EVENTS.t[0]) + 100_000, int(EVENTS.t[0]) + 200_000)
    assert len(out.splitlines()) == 1 + len(ArcStar()(part))


def test_the_command_draws_a_video_of_tracks(run, recorded, tmp_path):
    words = ["--slow", "2", "--fps", "30", "--bright", "--json"]
    code, out, _ = run("corners", recorded, "-o", "t.mp4", *words)
    assert code == 0
    assert json.loads(out)["corners"] == len(ArcStar()(EVENTS))
    with av.open(str(tmp_path / "t.mp4")) as video:
        assert len(list(video.decode(video=0))) == 18  # 0.3 s, twice as slow
