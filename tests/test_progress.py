"""Bars that show how far work is: told truly, shown where a person is, and nowhere else."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import _progress
from dvskit._progress import Bar, Notebook, Nowhere, ProgressState, Terminal, bar_html, find_display
from dvskit.events import EventsSource
from tests.conftest import skip_or_fail
from tests.test_notebook import words
from tests.test_plots import Cut, scattered


class Kept:
    """A display that keeps what it is shown."""

    def __init__(self):
        self.states = []

    def show(self, state):
        self.states.append(state)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(_progress, "_EVERY_S", 0.0)


def frames(count=9):
    rng = np.random.default_rng(0)
    return [(k * 10_000, rng.integers(0, 256, (12, 16), dtype=np.uint8)) for k in range(count)]


@pytest.mark.parametrize("length", [1, 7, 5000])
def test_a_watched_source_gives_the_events_of_its_source_at_each_pass(length):
    events = scattered(400)
    watched = dvskit.progress(Cut(events, length), display=Nowhere())
    for _ in range(2):
        assert dvskit.Events.concatenate(watched) == events
    assert watched.size == events.size


def test_a_bar_of_events_in_memory_ends_at_their_number(monkeypatch):
    monkeypatch.setattr(_progress, "_BLOCK_EVENTS", 100)
    shown = Kept()
    events = scattered(350)
    assert dvskit.Events.concatenate(dvskit.progress(events, display=shown)) == events
    assert [state.done for state in shown.states] == [0, 100, 200, 300, 350, 350]
    assert {state.total for state in shown.states} == {350}
    assert [state.ended for state in shown.states] == [False] * 5 + [True]


def test_a_bar_of_a_clip_counts_its_frames_and_names_the_events():
    shown = Kept()
    source = dvskit.emulate(frames())
    count = sum(map(len, dvskit.progress(source, display=shown)))
    last = shown.states[-1]
    assert (last.done, last.total, last.unit) == (9, 9, "frames")
    assert last.remark == f"{count:,} events"


def test_a_recording_is_named_by_its_file_and_saved_with_what_stands_beside(tmp_path, monkeypatch):
    from dvskit.streams import Triggers

    dvskit.save_events(scattered(), tmp_path / "a.npz")
    recording = dvskit.open_events(tmp_path / "a.npz")
    triggers = Triggers(np.array([5]), np.array([1], np.int16), np.array([True]))
    monkeypatch.setattr(recording, "triggers", lambda: triggers, raising=False)
    shown = Kept()
    watched = dvskit.progress(recording, display=shown)
    dvskit.save_events(watched, tmp_path / "b.raw")
    assert shown.states[-1].title == "a.npz"
    copy = dvskit.open_events(tmp_path / "b.raw")
    assert copy.load() == scattered()
    assert len(copy.triggers()) == 1
    part = watched.between(50_000, 60_000)
    assert dvskit.Events.concatenate(part) == scattered().between(50_000, 60_000)
    assert shown.states[-1].done == len(scattered().between(50_000, 60_000))


def test_a_pass_that_is_broken_off_ends_its_bar():
    shown = Kept()
    for _ in dvskit.progress(Cut(scattered(), 50), display=shown):
        break
    assert shown.states[-1].ended
    with pytest.raises(ZeroDivisionError), Bar("work", 3, display=shown) as bar:
        bar(1 / 0)
    assert shown.states[-1].ended


def test_without_a_notebook_or_a_terminal_nothing_is_shown(capsys):
    assert isinstance(find_display(), Nowhere)
    for _ in dvskit.progress(scattered()):
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
    for _ in dvskit.progress(Cut(scattered(), 50), "my clip"):
        pass
    assert "my clip" in screen.getvalue()
    assert screen.getvalue().endswith(("\x1b[2K", "\x1b[?25h"))


def test_a_notebook_gets_one_output_that_is_updated():
    sent, updates = [], []

    def display(html):
        sent.append(html)
        return updates.append

    for _ in dvskit.progress(scattered(), "a<b>", display=Notebook(display)):
        pass
    assert len(sent) == 1
    assert "a<b>" in words(sent[0])
    assert "4,000/4,000 events" in words(updates[-1])
    assert "to go" not in words(updates[-1])


def test_the_words_of_a_bar_say_what_is_done_and_how_long_it_will_take():
    state = ProgressState("work", 30, 90, "frames", "5 events", 40.0, ended=False)
    assert state.words == "30/90 frames, 5 events, 1:20 to go"
    assert state._replace(ended=True).words == "30/90 frames, 5 events, in 40.0 s"
    assert state._replace(total=None).words == "30 frames, 5 events"
    assert 'value="0.3333"' in bar_html(state)
    assert "<progress" not in bar_html(state._replace(total=None, ended=True))


def test_training_shows_a_bar_of_its_steps():
    from dvskit.training import Progress, progress_bar

    shown = Kept()
    with progress_bar(display=shown) as bar:
        for step in (5, 10):
            bar(Progress(0, 1, step, 10, 0.5))
    assert [state.done for state in shown.states] == [0, 5, 10, 10]
    assert "loss 0.500" in shown.states[-1].remark
    with progress_bar(display=shown):
        pass
    assert len(shown.states) == 4


def test_what_filters_a_clip_is_as_far_as_the_clip():
    frames = [(t, np.full((8, 8), 20 + t // 50, np.uint8)) for t in range(0, 5000, 100)]
    crop = dvskit.filters.Crop(1, 1, 4, 4)
    for source in (crop(dvskit.emulate(frames)), crop(dvskit.emulate(frames)).between(1000, None)):
        shown = Kept()
        events = dvskit.progress(source, display=shown).load()
        assert events == source.load()
        assert (shown.states[-1].done, shown.states[-1].total) == (50, 50)
        assert shown.states[-1].unit == "frames"


def test_nothing_loads_ipython():
    code = "import dvskit, sys; dvskit.progress(dvskit.Events.empty((1, 1)))"
    code += "\nfor _ in dvskit.progress(dvskit.Events.empty((1, 1))): pass"
    code += "\nprint('IPython' in sys.modules, 'rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False"]


CELLS = (
    "import dvskit, numpy as np\n"
    "n = 400\n"
    "e = dvskit.Events(t=np.arange(n), x=[1] * n, y=[0] * n, p=[True] * n, size=(3, 2))\n"
    "e",
    "for _ in dvskit.progress(e, 'counting'): pass",
    "e.plot_rate()",
    "e.page(title='mine')",
    "dvskit.save_events(e, 'a.npz'); dvskit.open_events('a.npz')",
)


@pytest.mark.slow
def test_a_real_notebook_shows_events_bars_plots_and_pages(tmp_path):
    try:
        import ipykernel  # noqa: F401
        import nbclient
        import nbformat
    except ImportError:
        skip_or_fail("no nbclient and ipykernel to run a notebook with")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
    )
    top = Path(dvskit.__file__).parent.parent
    notebook.cells[0].source = f"import sys; sys.path.insert(0, {str(top)!r})\n" + CELLS[0]
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    data = [
        [output.get("data", {}) for output in cell.outputs if output.output_type != "stream"]
        for cell in notebook.cells
    ]
    assert "data:image/png" in data[0][0]["text/html"]
    assert len(data[1]) == 1
    assert "400/400 events" in data[1][0]["text/html"]
    assert "image/png" in data[2][0]
    assert "srcdoc" in data[3][0]["text/html"]
    assert "PageView" in data[3][0]["text/plain"]
    assert len(data[3][0]["text/plain"]) < 200
    assert "a.npz" in data[4][0]["text/html"]


def test_the_command_line_writes_a_line_a_minute_when_piped(capsys, monkeypatch):
    from dvskit.cli import _console

    now = [1000.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(_console, "quiet", False)
    with _console.progress("work", 30, "steps") as bar:
        for number in range(1, 31):
            now[0] += 7
            bar(number, f"remark {number}")
    assert capsys.readouterr().err.splitlines() == [
        "dvskit: work: 9/30 steps, remark 9, 2:27 to go",
        "dvskit: work: 18/30 steps, remark 18, 1:24 to go",
        "dvskit: work: 27/30 steps, remark 27, 0:21 to go",
    ]
    monkeypatch.setattr(_console, "quiet", True)
    with _console.progress("work", 3, "steps") as bar:
        now[0] += 100
        bar(1, "one")
    _console.say("done")
    _console.log("an epoch")
    assert capsys.readouterr().err == ""
    assert isinstance(EventsSource(scattered()).about(), list)


def test_time_to_go_is_told_in_hours_where_it_takes_hours():
    state = ProgressState("work", 1, 100, "steps", "", 3600.0 / 99 * 2, ended=False)
    assert state.words.endswith("2:00:00 to go")


def test_a_summary_and_an_epoch_are_told_where_nobody_watches(capsys, monkeypatch):
    from dvskit.cli import _console

    monkeypatch.setattr(_console, "quiet", False)
    _console.say("out.raw: 12 events")
    _console.log("epoch 3")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "out.raw: 12 events\ndvskit: epoch 3\n")
