"""What a notebook shows of events and recordings."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

import dvskit
from dvskit.events import Events
from dvskit.render import notebook
from tests.test_plots import scattered


def words(html: str) -> str:
    """Return the text of well-formed HTML, a blank between its parts."""
    closed = re.sub(r"(<img [^>]*)>", r"\1/>", html)
    return " ".join(ElementTree.fromstring(closed).itertext())


def picture(html: str) -> np.ndarray:
    data = base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def test_events_show_their_figures_a_picture_and_their_rate():
    events = scattered(3000, on=0.25)
    html = events._repr_html_()
    text = words(html)
    assert "3,000" in text
    assert "24x16 pixels" in text
    assert f"{int(events.p.sum()):,}, {int((~events.p).sum()):,}" in text
    assert picture(html).shape == (16, 24, 3)
    assert "<polyline" in html


def test_the_picture_is_orange_where_on_and_blue_where_off_and_white_where_nothing_is():
    html = Events(t=[0, 1], x=[0, 2], y=[0, 1], p=[True, False], size=(3, 2))._repr_html_()
    shown = picture(html)
    assert shown[0, 0].tolist() == [0xD5, 0x5E, 0x00]
    assert shown[1, 2].tolist() == [0x00, 0x72, 0xB2]
    assert shown[1, 0].tolist() == [255, 255, 255]


def test_the_sparkline_counts_all_events():
    events = scattered(5000)
    assert notebook.sparks(events).sum() == 5000
    quiet_first = Events(
        t=[0, *range(900, 1000)], x=[0] * 101, y=[0] * 101, p=[True] * 101, size=(1, 1)
    )
    counts = notebook.sparks(quiet_first)
    assert counts[0] == 1
    assert counts[1:100].sum() == 0


@pytest.mark.parametrize(
    "events",
    [
        Events.empty((3, 4)),
        Events(t=[5], x=[0], y=[0], p=[True], size=(1, 1)),
        Events(t=[7, 7], x=[0, 0], y=[0, 0], p=[True, False], size=(32767, 1)),
        scattered(50, size=(1, 1)),
    ],
    ids=["none", "one", "wide", "one pixel"],
)
def test_hostile_events_show_themselves(events):
    assert f"{len(events):,}" in words(events._repr_html_())


def test_a_picture_of_a_part_of_the_events_says_so(monkeypatch):
    monkeypatch.setattr(notebook, "_MOST_EVENTS", 1000)
    text = words(scattered(3500)._repr_html_())
    assert "3,500" in text
    assert "of one event in 4" in text


def test_a_recording_shows_itself_without_being_read(tmp_path, monkeypatch):
    path = tmp_path / "a<b>.npz"
    dvskit.save_events(scattered(), path)
    recording = dvskit.open_events(path)
    monkeypatch.setattr(type(recording), "_blocks", None)  # whoever reads it fails
    text = words(recording._repr_html_())
    assert "a<b>.npz" in text
    assert "24x16 pixels (from the header)" in text
    part = words(recording.between(5, None)._repr_html_())
    assert "5 to end µs" in part


def test_importing_dvskit_loads_nothing_for_it():
    import subprocess
    import sys

    code = "import dvskit, sys; print('dvskit.render' in sys.modules, dvskit.Events._repr_html_)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("False <function")
