"""What a notebook shows of events and recordings."""

from __future__ import annotations

import base64
import html as entities
import re
import subprocess
import sys
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

import dvskit
from dvskit.events import Events, EventsSource, ReadableSource
from dvskit.filters import Crop, FilteredSource
from dvskit.render import notebook, page
from tests.laws import InBlocks, scattered


def words(html):
    """Return the text of well-formed HTML, a blank between its parts."""
    closed = re.sub(r"(<img [^>]*)>", r"\1/>", html)
    return " ".join(ElementTree.fromstring(closed).itertext())


def picture(html):
    data = base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def test_events_show_their_figures_and_the_picture_is_orange_where_on_and_blue_where_off():
    events = scattered(3000, on=0.25)
    html = events._repr_html_()
    on = int(events.p.sum())
    for text in ("3,000", "24x16", f"{on:,}, {3000 - on:,}", f"{events.t[0]} to {events.t[-1]}"):
        assert text in words(html)
    assert picture(html).shape == (16, 24, 3)
    shown = picture(
        Events(t=[0, 1], x=[0, 2], y=[0, 1], p=[True, False], size=(3, 2))._repr_html_()
    )
    assert shown[0, 0].tolist() == [0xD5, 0x5E, 0x00]
    assert shown[1, 2].tolist() == [0x00, 0x72, 0xB2]
    assert shown[1, 0].tolist() == [255, 255, 255]


def test_the_sparkline_counts_all_events():
    assert notebook.sparks(scattered(5000)).sum() == 5000
    quiet = Events(t=[0, *range(900, 1000)], x=[0] * 101, y=[0] * 101, p=[1] * 101, size=(1, 1))
    counts = notebook.sparks(quiet)
    assert (len(counts), counts[0], counts[1:100].sum()) == (120, 1, 0)
    points = re.search('points="([^"]*)"', quiet._repr_html_())[1].split()
    heights = np.array([float(point.split(",")[1]) for point in points])
    np.testing.assert_allclose(heights, 30 - 28 * counts / counts.max(), atol=0.06)


def test_a_recording_shows_its_figures_and_a_picture_of_its_first_second(tmp_path):
    path, events = tmp_path / "a<b>.npz", scattered(4000, span_us=2_000_000)
    dvskit.save_events(events, path)
    recording = dvskit.open_events(path)
    recording.damage.add(3, 4, "mine")
    html = recording._repr_html_()
    first_us = int(events.t[0])
    second = events.between(None, first_us + 1_000_000)
    for text in ("a<b>.npz", "24x16", f"first {len(second):,} events"):
        assert text in words(html)
    np.testing.assert_array_equal(picture(html), picture(second._repr_html_()))
    early, crop = recording.between(None, 50_000), Crop(1, 1, 9, 9)
    for shown, part in (
        (early, events.between(None, 50_000)),
        (crop(recording), crop(second)),
        (EventsSource(events), second),
    ):
        np.testing.assert_array_equal(picture(shown._repr_html_()), picture(part._repr_html_()))
    assert recording.damage.losses[0].problem == "mine"  # a look is no pass
    searched = recording.between(5, None)._repr_html_()  # is not searched for to show itself
    assert "<img" not in searched
    assert "5 to end" in words(searched)


def test_no_more_than_four_blocks_are_read_for_a_look():
    source = InBlocks(scattered(1000, span_us=900), 10)
    assert notebook.beginning(source) == scattered(1000, span_us=900)[:40]
    slow = scattered(1000, span_us=100_000_000)
    first_us = int(slow.t[0])
    assert notebook.beginning(InBlocks(slow, 300)) == slow.between(None, first_us + 1_000_000)


def test_a_damaged_recording_shows_where_instead_of_failing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("t,x,y,p\n1,2,3,1\nnonsense\n")
    assert "byte 16" in words(dvskit.open_events(path, size=(5, 5))._repr_html_())
    path.write_text("t,x,y,p\n")
    assert "<img" not in dvskit.open_events(path, size=(5, 5))._repr_html_()


class Silent(ReadableSource):
    """A source that must not be read."""

    size = dvskit.Size(5, 4)

    def __iter__(self):
        raise AssertionError("read")


def test_emulations_live_sources_and_those_of_others_show_themselves_without_being_read():
    def frames():
        yield 0, np.zeros((4, 6), np.uint8)
        raise AssertionError("read")

    params = dvskit.EmulatorParams(threshold_on=0.3)
    emulated = words(dvskit.emulate(frames(), params=params, seed=7)._repr_html_())
    assert "threshold_on=0.3" in emulated
    assert "6x4" in emulated
    assert "3 frames" in words(dvskit.emulate([(0, np.zeros((4, 6), np.uint8))] * 3)._repr_html_())
    assert "5x4" in words(Silent()._repr_html_())
    filtered = words(FilteredSource(Silent(), Crop(0, 0, 2, 2))._repr_html_())
    assert re.search(r"Crop\(.*Silent|Silent.*Crop\(", filtered)
    assert "2x2" in filtered
    assert "Silent" in words(dvskit.progress(Silent())._repr_html_())
    live = dvskit.open_events("udp://127.0.0.1:0", format="udp:spif", size=(8, 6))
    assert "8x6" in words(live._repr_html_())  # nothing arrives: a look would wait
    live.close()


@pytest.mark.slow
def test_importing_dvskit_loads_nothing_for_notebooks():
    code = "import dvskit, sys; print('dvskit.render' in sys.modules, dvskit.Events._repr_html_)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("False <function")


def test_a_page_in_a_notebook_is_a_frame_that_holds_the_whole_page(tmp_path):
    events = scattered(900)
    view = page(events, title='a "b" <c>', height_px=333)
    shown = view._repr_html_()
    assert 'height="333"' in shown
    inside = entities.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    written = page(events, tmp_path / "a.html", title='a "b" <c>')
    assert written.path.read_text(encoding="utf-8") == inside
    assert written._repr_html_() is None
    assert 'id="data-0"' in inside
    dvskit.save_events(events, tmp_path / "in.npz")
    recording = dvskit.open_events(tmp_path / "in.npz")
    for part in (recording, recording.between(0, 1000)):
        assert 'title="in.npz"' in page(part).html
    thinned = page(recording, max_events=300)
    assert (view.kept, thinned.kept, thinned.total) == (900, 225, 900)
