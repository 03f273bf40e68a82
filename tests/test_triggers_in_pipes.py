"""Triggers stay with events that are read from a pipe."""

from __future__ import annotations

import numpy as np
import pytest

import dvskit
from dvskit.errors import LeftOutWarning
from dvskit.formats import open_sink
from dvskit.streams import Triggers
from tests.arriving import arrive
from tests.ros_bags import assert_same_triggers, some_events
from tests.test_pipes import shell

FORMATS = ("evt2", "evt21", "evt3", "evt4")


def edges(events, count, *, seed):
    """Draw triggers from ahead of the events to behind them, some at their times."""
    random = np.random.default_rng(seed)
    first, last = int(events.t[0]), int(events.t[-1])
    t = random.integers(first - 500, last + 500, count)
    t[: count // 4] = random.choice(events.t, count // 4)
    return Triggers(
        np.sort(t), random.integers(0, 16, count).astype(np.int16), random.random(count) < 0.5
    )


@pytest.fixture(params=FORMATS)
def recorded(request, tmp_path):
    """A file of events and triggers, and both."""
    events = some_events(2500, seed=5)
    triggers = edges(events, 300, seed=6)
    path = tmp_path / f"a_{request.param}.raw"
    with open_sink(path, events.sensor_size, format=request.param) as sink:
        sink.write_triggers(triggers)
        sink.write(events)
    return path, request.param, events, triggers


@pytest.mark.parametrize(("step", "strict"), [(7, True), (1000, False), (1 << 20, True)])
def test_a_stream_becomes_the_file_that_its_file_becomes(recorded, tmp_path, step, strict):
    path, name, events, triggers = recorded
    dvskit.save_events(
        arrive(path.read_bytes(), step, strict=strict), tmp_path / "out.raw", format=name
    )
    dvskit.save_events(dvskit.open_events(path), tmp_path / "file.raw", format=name)
    assert (tmp_path / "out.raw").read_bytes() == path.read_bytes()
    assert (tmp_path / "file.raw").read_bytes() == path.read_bytes()
    again = dvskit.open_events(tmp_path / "out.raw")
    assert again.load() == events
    assert_same_triggers(again.triggers(), triggers)


def test_triggers_are_handed_over_once(recorded):
    path, _, _, triggers = recorded
    live = arrive(path.read_bytes(), 64)
    parts = []
    for _ in live:
        parts.append(live.new_triggers())
    parts.append(live.new_triggers())
    assert len(parts) > 10
    assert_same_triggers(Triggers.in_order(parts), triggers)
    assert_same_triggers(live.triggers(), triggers)
    assert len(live.new_triggers()) == 0


def test_a_sink_that_takes_triggers_ahead_alone_says_how_many_are_left_out(recorded, tmp_path):
    path, _, _, _ = recorded
    for out, why in (("a.aedat4", "before events"), ("a.npz", "npz")):
        with pytest.warns(LeftOutWarning, match=f"300 triggers .*{why}"):
            dvskit.save_events(arrive(path.read_bytes(), 99), tmp_path / out)


def test_triggers_from_before_what_is_written_are_left_out_and_counted(tmp_path):
    events = some_events(150_000, seed=7)
    late = Triggers(events.t[:3].copy(), np.zeros(3, np.int16), np.ones(3, np.bool_))
    with open_sink(tmp_path / "a.raw", events.sensor_size) as sink:
        sink.write(events)
        sink.write_triggers(late)
        assert sink.late_triggers == 3
    recording = dvskit.open_events(tmp_path / "a.raw")
    assert recording.load() == events
    assert not len(recording.triggers())


@pytest.mark.slow(seconds=4)
def test_a_real_pipe_keeps_the_triggers_of_a_part_too(data, tmp_path, run):
    source = data / "recordings" / "evt3_triggers_640x480.raw"
    span = "--start 0.5s --stop 1s --filter background_activity:5ms --force"
    done = shell(f"dvskit convert - piped.raw {span} < {source}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"trigger" not in done.stderr
    assert run("convert", source, "file.raw", *span.split())[0] == 0
    assert (tmp_path / "piped.raw").read_bytes() == (tmp_path / "file.raw").read_bytes()
    assert len(dvskit.open_events(tmp_path / "piped.raw").triggers()) >= 1000
