"""Bars that show how far work is: true, shown to a person, and nowhere else."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

import dvskit
from dvskit import _progress
from dvskit._progress import Bar, Notebook, Nowhere, Terminal, find_display
from dvskit.cli import _console
from dvskit.streams import Triggers
from dvskit.training import Progress, progress_bar
from tests.laws import InBlocks, scattered

EVENTS = scattered(400)


class Kept:
    """A display that keeps what it is shown."""

    def __init__(self):
        self.states = []

    def show(self, state):
        self.states.append(state)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Show each step: no test takes as long as the time between two updates."""
    monkeypatch.setattr(_progress, "_EVERY_S", 0.0)


def clip(count=9):
    rng = np.random.default_rng(0)
    return [(k * 10_000, rng.integers(0, 256, (12, 16), dtype=np.uint8)) for k in range(count)]


@pytest.mark.parametrize("length", [1, 7, 5000])
def test_a_watched_source_gives_the_events_of_its_source_at_each_pass(length):
    watched = dvskit.progress(InBlocks(EVENTS, length), display=Nowhere())
    for _ in range(2):
        assert dvskit.Events.concatenate(watched) == EVENTS
    assert watched.size == EVENTS.sensor_size


def test_a_bar_of_events_in_memory_ends_at_their_number(monkeypatch):
    monkeypatch.setattr(_progress, "_BLOCK_EVENTS", 100)
    shown = Kept()
    events = EVENTS[:350]
    assert dvskit.Events.concatenate(dvskit.progress(events, display=shown)) == events
    assert [state.done for state in shown.states] == [0, 100, 200, 300, 350, 350]
    assert {state.total for state in shown.states} == {350}
    assert [state.ended for state in shown.states] == [False] * 5 + [True]


@pytest.mark.parametrize(
    "change",
    [
        lambda source: source,
        dvskit.filters.Crop(1, 1, 4, 4),
        lambda source: dvskit.filters.Crop(1, 1, 4, 4)(source).between(1000, None),
    ],
)
def test_a_bar_of_a_clip_counts_its_frames_and_names_the_events(change):
    shown = Kept()
    source = change(dvskit.emulate(clip()))
    events = dvskit.progress(source, display=shown).load()
    assert events == source.load()
    last = shown.states[-1]
    assert (last.done, last.total, last.unit) == (9, 9, "frames")
    assert f"{len(events):,}" in last.remark


def test_a_recording_is_named_by_its_file_and_saved_with_what_stands_beside(tmp_path):
    triggers = Triggers(np.array([5]), np.array([1], np.int16), np.array([True]))
    with dvskit.formats.open_sink(tmp_path / "a.raw", EVENTS.sensor_size) as sink:
        sink.write_triggers(triggers)
        sink.write(EVENTS)
    shown = Kept()
    watched = dvskit.progress(dvskit.open_events(tmp_path / "a.raw"), display=shown)
    dvskit.save_events(watched, tmp_path / "b.raw")
    assert shown.states[-1].title == "a.raw"
    copy = dvskit.open_events(tmp_path / "b.raw")
    assert copy.load() == EVENTS
    assert copy.triggers().t.tolist() == [5]
    part = EVENTS.between(50_000, 60_000)
    assert dvskit.Events.concatenate(watched.between(50_000, 60_000)) == part
    assert shown.states[-1].done == len(part)


def test_a_pass_that_is_broken_off_ends_its_bar():
    shown = Kept()
    for _ in dvskit.progress(InBlocks(EVENTS, 50), display=shown):
        break
    assert shown.states[-1].ended
    with pytest.raises(ZeroDivisionError), Bar("work", 3, display=shown) as bar:
        bar(1 / 0)
    assert shown.states[-1].ended


def test_without_a_notebook_or_a_terminal_nothing_is_shown(capsys):
    assert isinstance(find_display(), Nowhere)
    for _ in dvskit.progress(EVENTS):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_on_stderr_and_is_left_clean(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert isinstance(find_display(), Terminal)
    for _ in dvskit.progress(InBlocks(EVENTS, 50), "my [/clip]\x1b]0;"):
        pass
    assert "my [/clip]\\u001b]0;" in screen.getvalue()
    assert screen.getvalue().endswith(("\x1b[2K", "\x1b[?25h"))


def test_a_notebook_gets_one_output_that_is_updated():
    sent, updates = [], []

    def display(html):
        sent.append(html)
        return updates.append

    for _ in dvskit.progress(EVENTS, "a<b>", display=Notebook(display)):
        pass
    assert len(sent) == 1
    assert "a&lt;b&gt;" in sent[0]
    assert "400/400 events" in updates[-1]
    assert "to go" not in updates[-1]


def test_training_shows_a_bar_of_its_steps():
    shown = Kept()
    with progress_bar(display=shown) as bar:
        for step in (5, 10):
            bar(Progress(0, 1, step, 10, 0.5))
    assert [state.done for state in shown.states] == [0, 5, 10, 10]
    assert "0.500" in shown.states[-1].remark


def test_the_command_line_writes_a_line_a_minute_when_piped(capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    for quiet in (False, True):
        monkeypatch.setattr(_console, "quiet", quiet)
        with _console.progress("work", 30, "steps") as bar:
            for number in range(1, 31):
                now[0] += 7
                bar(number, f"remark {number}")
        _console.say("out.raw: 12 events")
        _console.log("epoch 3")
        expected = [
            "dvskit: work: 9/30 steps, remark 9, 2:27 to go",
            "dvskit: work: 18/30 steps, remark 18, 1:24 to go",
            "dvskit: work: 27/30 steps, remark 27, 0:21 to go",
            "out.raw: 12 events",
            "dvskit: epoch 3",
        ]
        assert capsys.readouterr().err.splitlines() == ([] if quiet else expected)
