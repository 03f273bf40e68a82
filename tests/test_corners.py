"""Scores and tracks of corners, in Python, in videos and on the command line."""

from __future__ import annotations

import json
from functools import partial

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
from tests.benchmarks import motion_corners as scenes
from tests.test_corner_filters import EVENTS
from tests.test_filter_laws import Tape


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
    assert np.array_equal(corners(Tape(EVENTS, live=True), chosen), scores)
    assert corners(Events.empty((9, 9)), chosen).shape == (0,)


@pytest.mark.parametrize(
    ("method", "fix"),
    [
        ("flip", "choices: arc_star, e_fast"),
        ("arcstar", "did you mean 'arc_star'"),
        (ArcStar, "pass ArcStar(...)"),
        (lambda events: events, "choices: arc_star, e_fast"),
    ],
)
def test_what_finds_no_corners_is_refused_in_one_line(method, fix):
    with pytest.raises(ConfigError) as refused:
        corners(EVENTS, method)
    assert "\n" not in str(refused.value)
    assert fix in str(refused.value)


def tracks_twin(events: Events, within_px: float, within_us: int) -> list[int]:
    """The track of each event: that of the nearest pixel's latest event, of equals the latest."""
    latest: dict[tuple[int, int], tuple[int, int]] = {}
    ids: list[int] = []
    for t, x, y in zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), strict=True):
        near = [
            ((a - x) ** 2 + (b - y) ** 2, -time, b, a, track)
            for (a, b), (time, track) in latest.items()
            if time >= t - within_us and (a - x) ** 2 + (b - y) ** 2 <= within_px**2
        ]
        ids.append(min(near)[-1] if near else max(ids, default=-1) + 1)
        latest[x, y] = t, ids[-1]
    return ids


@pytest.mark.parametrize("within", [(3.5, 25_000), (1.0, 300_000), (0.0, 4_000), (6.4, 0)])
def test_corner_events_are_linked_as_the_definition_says_however_they_are_cut(within):
    events = ArcStar(1_000)(EVENTS)
    rows = link_corners(events, within_px=within[0], within_us=within[1])
    assert rows["id"].tolist() == tracks_twin(events, *within)
    for name in "txy":
        assert np.array_equal(rows[name], getattr(events, name))
    links = CornerLinks(events.size, within_px=within[0], within_us=within[1])
    parts = [links(events[start : start + 7]) for start in range(0, len(events), 7)]
    assert np.array_equal(np.concatenate(parts), rows)
    assert links.tracks == rows["id"].max() + 1 > 1
    assert np.array_equal(link_corners(EventsSource(events)), link_corners(events))


@pytest.mark.parametrize("wrong", [{"within_px": -1}, {"within_px": np.nan}, {"within_us": -1}])
def test_links_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        link_corners(EVENTS, **wrong)


@pytest.mark.slow(seconds=6)
def test_corners_of_rectangles_are_found_and_tracked_and_an_edge_has_none():
    shapes = scenes.rectangles(1)
    events = scenes.emulated(partial(scenes.drawn, shapes), "clean", 1)
    for chosen, least in ((EHarris(), 0.94), (ArcStar(), 0.94), (EFast(), 0.75)):
        precision, recall = scenes.near_corners(scenes.rows(chosen(events)), shapes)
        assert precision > 0.95
        assert recall > least
    tracks = link_corners(ArcStar()(events.between(scenes.WARM_US)))
    places = np.concatenate([each.corners(tracks["t"]) for each in shapes], 1)
    apart = np.linalg.norm(places - np.stack([tracks["x"], tracks["y"]], 1)[:, None], axis=2)
    for number in range(12):
        own = tracks["id"][(apart.argmin(1) == number) & (apart.min(1) <= scenes.NEAR_PX)]
        assert np.bincount(own).max() > 0.45 * len(own) > 5
    edge = scenes.emulated(partial(scenes.drawn, scenes.edge(0.12)), "clean", 1)
    assert len(edge.between(scenes.WARM_US)) > 5_000
    for chosen in (EHarris(), ArcStar(), EFast(), LuvHarris()):
        assert len(chosen(edge.between(scenes.WARM_US - 50_000)).between(scenes.WARM_US)) == 0


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


def test_trails_end_and_do_not_depend_on_how_the_stream_is_cut():
    pause = Events(t=[EVENTS.t[-1] + 400_000], x=[1], y=[1], p=[1], size=EVENTS.size)
    events = Events.concatenate([EVENTS, pause])
    style = CornerTracks("e_fast", trail_us=50_000)
    whole = [picture for _, picture in frames(events, style=style, fps=100)]
    cut = [picture for _, picture in frames(Tape(events, live=False), style=style, fps=100)]
    assert all(np.array_equal(a, b) for a, b in zip(whole, cut, strict=True))
    colours = style.palette(DARK)[64:]
    assert not (whole[-2][..., None, :] == colours).all(-1).any()


@pytest.fixture
def recorded(tmp_path):
    save_events(EVENTS, tmp_path / "in.npz")
    return "in.npz"


def test_the_command_writes_the_tracks_as_csv_npz_and_to_standard_output(run, recorded, tmp_path):
    code, out, err = run(
        "corners", recorded, "-o", "t.csv", "--method", "arc_star:1ms", "--near", 2, "--within",
        "9ms", "--json",
    )  # fmt: skip
    rows = link_corners(ArcStar(1_000)(EVENTS), within_px=2.0, within_us=9_000)
    lines = [f"{i},{t},{x},{y}" for i, t, x, y in rows.tolist()]
    assert code == 0
    assert (tmp_path / "t.csv").read_text().splitlines() == ["id,t_us,x,y", *lines]
    assert json.loads(out) == {
        "file": "in.npz", "out": "t.csv", "method": "arc_star:1ms", "events": len(EVENTS),
        "corners": len(rows), "tracks": int(rows["id"].max()) + 1,
    }  # fmt: skip
    code, out, err = run("corners", recorded, "-o", "t.npz", "--method", "e_fast")
    assert (code, out) == (0, "")
    assert "corner events of 6,000 events" in err
    with np.load(tmp_path / "t.npz") as found:
        rows = link_corners(EFast()(EVENTS))
        assert set(found) == {"id", "t_us", "x", "y"}
        assert np.array_equal(found["id"], rows["id"])
        assert np.array_equal(found["t_us"], rows["t"])
    code, out, _ = run("corners", recorded, "-o", "-", "--start", "100ms", "--stop", "200ms")
    part = EVENTS.between(int(EVENTS.t[0]) + 100_000, int(EVENTS.t[0]) + 200_000)
    assert len(out.splitlines()) == 1 + len(ArcStar()(part))


def test_the_command_draws_a_video_of_tracks(run, recorded, tmp_path):
    code, out, _ = run(
        "corners", recorded, "-o", "t.mp4", "--slow", 2, "--fps", 30, "--bright", "--json"
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["corners"] == len(ArcStar()(EVENTS))
    with av.open(str(tmp_path / "t.mp4")) as video:
        assert len(list(video.decode(video=0))) == 18  # 0.3 s, twice as slow


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "t.txt"], "t.txt: tracks are written as .csv, .npz, .mp4, .mkv, .mov or .gif"),
        (["-o", "in.npz"], "exists already; pass --force to replace it"),
        (["-o", "t.csv", "--method", "flip"], "'flip' finds no corners; choices: arc_star"),
        (["-o", "t.csv", "--method", "arcstar"], "did you mean 'arc_star'"),
        (["-o", "t.csv", "--within", "5"], "--within '5' is not a time with a unit"),
        (["-o", "t.csv", "--near", "-1"], "within_px=-1.0 is not a number of pixels, 0 to 64"),
        (["-o", "-", "--json"], "standard output takes the tracks"),
        (["-o", "t.csv", "--fps", "30"], "t.csv: --fps applies to videos only; leave it out"),
        (["-o", "t.csv", "--start", "9s"], "there are no events to show from --start to --stop"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(run, recorded, tmp_path, words, message):
    before = (tmp_path / recorded).read_bytes()
    code, out, err = run("corners", recorded, *words)
    assert code in (1, 2)
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert [each.name for each in tmp_path.iterdir()] == ["in.npz"]
    assert (tmp_path / recorded).read_bytes() == before
