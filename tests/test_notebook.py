"""What a notebook shows of events and recordings."""

from __future__ import annotations

import base64
import re
from typing import get_args
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

import dvskit
from dvskit._progress import Nowhere
from dvskit.errors import ConfigError, OutputError
from dvskit.events import Events
from dvskit.formats.recording import SizeOrigin
from dvskit.render import notebook
from tests.test_plots import drawn, scattered


def words(html):
    """Return the text of well-formed HTML, a blank between its parts."""
    closed = re.sub(r"(<img [^>]*)>", r"\1/>", html)
    return " ".join(ElementTree.fromstring(closed).itertext())


def picture(html):
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


def test_each_origin_of_a_size_has_its_words():
    assert set(notebook._ORIGINS) == set(get_args(SizeOrigin))


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


def test_a_recording_shows_its_figures_and_a_picture_of_its_first_second(tmp_path):
    path = tmp_path / "a<b>.npz"
    events = scattered()
    dvskit.save_events(events, path)
    recording = dvskit.open_events(path)
    recording.damage.add(3, 4, "mine")
    html = recording._repr_html_()
    text = words(html)
    assert "a<b>.npz" in text
    assert "24x16 pixels (from the header)" in text
    assert "of the first 4,000 events, 0.2 s" in text
    np.testing.assert_array_equal(picture(html), picture(events._repr_html_()))
    assert recording.damage.losses[0].problem == "mine"  # a look is no pass
    early = recording.between(None, 50_000)
    early.damage.add(3, 4, "mine")
    until = early._repr_html_()
    assert early.damage
    np.testing.assert_array_equal(
        picture(until), picture(events.between(None, 50_000)._repr_html_())
    )
    crop = dvskit.filters.Crop(1, 1, 9, 9)
    np.testing.assert_array_equal(
        picture(crop(recording)._repr_html_()), picture(crop(events)._repr_html_())
    )
    assert recording.damage.losses[0].problem == "mine"


def test_a_part_that_must_be_searched_for_is_not_read_to_show_itself(tmp_path, monkeypatch):
    dvskit.save_events(scattered(), tmp_path / "a.npz")
    recording = dvskit.open_events(tmp_path / "a.npz")
    monkeypatch.setattr(type(recording), "_blocks", None)  # whoever reads it fails
    part = recording.between(5, None)._repr_html_()
    assert "5 to end µs" in words(part)
    assert ".load()" in words(part)
    assert "<img" not in part


def test_no_more_than_a_second_and_four_blocks_are_read_to_show_a_source(tmp_path, monkeypatch):
    dvskit.save_events(scattered(), tmp_path / "a.npz")
    recording = dvskit.open_events(tmp_path / "a.npz")
    read = []

    def blocks(every_us):
        def give(self, damage, storage):
            for t in range(0, 100 * every_us, every_us):
                read.append(t)
                yield Events(t=[t], x=[0], y=[0], p=[1], size=(24, 16))

        return give

    monkeypatch.setattr(type(recording), "_blocks", blocks(1000))
    assert "first 4 events" in words(recording._repr_html_())
    assert len(read) == 4
    read.clear()
    monkeypatch.setattr(type(recording), "_blocks", blocks(600_000))
    assert "first 2 events, 0.6 s" in words(recording._repr_html_())
    assert len(read) == 3


def test_a_damaged_recording_shows_where_instead_of_failing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("t,x,y,p\n1,2,3,1\nnonsense\n")
    text = words(dvskit.open_events(path, size=(5, 5))._repr_html_())
    assert "not read" in text
    assert "at byte" in text
    path.write_text("t,x,y,p\n")
    assert "without events" in words(dvskit.open_events(path, size=(5, 5))._repr_html_())


@pytest.mark.slow
def test_importing_dvskit_loads_nothing_for_it():
    import subprocess
    import sys

    code = "import dvskit, sys; print('dvskit.render' in sys.modules, dvskit.Events._repr_html_)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("False <function")


SHOWN = ("rate", "balance", "intervals", "map", "spectrum", "flicker", "noise")


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_events_and_every_source_plot_themselves_as_the_function_does(name, tmp_path):
    from dvskit.filters import Crop, FilteredSource
    from dvskit.render import plots

    draw = getattr(plots, "pixel_map" if name == "map" else name)
    events = scattered(600)
    dvskit.save_events(events, tmp_path / "a.npz")
    recording = dvskit.open_events(tmp_path / "a.npz")
    style = plots.Style(width_mm=60)
    expected = drawn(draw(events, style=style))
    cropped = FilteredSource(recording, Crop(0, 0, 24, 16))
    watched = dvskit.progress(events, display=Nowhere())
    for shown in (events, recording, recording.between(None, None), cropped, watched):
        assert drawn(getattr(shown, f"plot_{name}")(style=style)) == expected
    assert getattr(Events, f"plot_{name}") is draw


def test_a_clip_to_be_emulated_shows_itself_and_decodes_no_frame():
    def frames():
        yield 0, np.zeros((4, 6), np.uint8)
        raise AssertionError("read")

    params = dvskit.EmulatorParams(threshold_on=0.3)
    text = words(dvskit.emulate(frames(), params=params, seed=7)._repr_html_())
    assert ".load()" in text
    assert "threshold_on=0.3" in text
    assert "6x4 pixels" in text
    assert "read once" in text
    listed = dvskit.emulate([(0, np.zeros((4, 6), np.uint8))] * 3)._repr_html_()
    assert "list, 3 frames" in words(listed)
    assert "clean sensor" in words(listed)


def test_sources_of_others_and_watched_ones_show_themselves_without_being_read(tmp_path):
    from dvskit.events import EventsSource, Viewable
    from dvskit.filters import Crop, FilteredSource

    class Silent(Viewable):
        size = dvskit.Size(5, 4)

        def __iter__(self):
            raise AssertionError("read")

    assert "5x4 pixels" in words(Silent()._repr_html_())
    text = words(FilteredSource(Silent(), Crop(0, 0, 2, 2))._repr_html_())
    assert "Crop(" in text
    assert "Silent" in text
    assert "2x2 pixels" in text
    assert "Silent" in words(dvskit.progress(Silent())._repr_html_())
    assert "4,000, in memory" in words(EventsSource(scattered())._repr_html_())


def test_a_live_source_shows_itself_without_being_read(monkeypatch):
    recording = dvskit.open_events("udp://127.0.0.1:0", format="udp:spif", size=(8, 6))
    monkeypatch.setattr(type(recording), "_blocks", None)
    text = words(recording._repr_html_())
    recording.close()
    assert "udp" in text
    assert "8x6 pixels (as given)" in text


def test_a_page_in_a_notebook_is_a_frame_that_holds_the_whole_page(tmp_path):
    import html as entities

    events = scattered(900)
    view = events.page(title='a "b" <c>', height_px=333)
    shown = view._repr_html_()
    assert 'height="333"' in shown
    inside = entities.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    path = view.save(tmp_path / "a.html")
    assert path.read_text(encoding="utf-8") == inside
    assert (view.kept, view.total) == (900, 900)
    assert 'id="data-0"' in inside
    assert len(repr(view)) < 200
    dvskit.save_events(events, tmp_path / "in.npz")
    recording = dvskit.open_events(tmp_path / "in.npz")
    assert recording.page().title == "in.npz"
    assert recording.between(0, 1000).page().title == "in.npz"
    thinned = recording.page(max_events=300)
    assert thinned.kept <= 300
    assert thinned.total == 900


def test_a_page_out_of_range_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="height_px"):
        scattered().page(height_px=5)
    with pytest.raises(ConfigError, match="html"):
        scattered().page().save(tmp_path / "a.png")
    (tmp_path / "a.html").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        scattered().page().save(tmp_path / "a.html")
