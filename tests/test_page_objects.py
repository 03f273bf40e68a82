"""Tracked objects on the page: their paths, boxes and identities, and what the page stores."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from selenium.webdriver.common.actions.action_builder import ActionBuilder

from dvskit import Events, render, save_events
from dvskit.cli.track import object_blocks
from dvskit.errors import ConfigError
from dvskit.formats import open_events
from dvskit.render._page_objects import described_objects
from dvskit.render.view import Viewed, ViewServer
from dvskit.tracking import OBJECT_ROW, Tracker, track
from tests.test_object_tracks import SQUARES
from tests.test_page import stored
from tests.test_page_views import words_drawn

START_US = 5_000_000
EVENTS = Events(
    t=START_US + np.arange(0, 1_000_000, 1000), x=np.arange(1000) // 10, y=[30] * 1000,
    p=[True] * 1000, size=(100, 60),
)  # fmt: skip
ROWS = np.array(
    [(7, START_US + k * 10_000, k * 0.9, 30, 12, 8, 90, -40, 50, not 40 < k < 60)
     for k in range(1, 100)]
    + [(12, START_US + k * 10_000, 80 - k, 10, 6.2, 6, -100, 0, 50, True) for k in range(30, 70)],
    OBJECT_ROW,
)  # fmt: skip


def test_the_page_stores_each_object_by_columns_in_its_own_time(tmp_path):
    late = np.array([(9, START_US + 2_000_000, 1, 1, 2, 2, 0, 0, 1, True)], OBJECT_ROW)
    shown = render.ShownEvents(EVENTS, objects=np.concatenate([ROWS, late]))
    render.page(shown, tmp_path / "a.html")
    told = stored((tmp_path / "a.html").read_text())[0]["objects"]
    assert told["step_us"] == 10_000
    assert [each["id"] for each in told["tracks"]] == [7, 12]
    one, two = told["tracks"]
    assert one["t"] == list(range(10_000, 1_000_000, 10_000))
    assert one["x"] == [round(k * 0.9, 1) for k in range(1, 100)]
    assert (one["speed"][0], one["seen"][39:42]) == (98, [1, 0, 0])
    assert (two["w"][0], two["h"][0], two["y"][0]) == (6.2, 6.0, 10.0)
    render.page(EVENTS, tmp_path / "b.html")
    assert "objects" not in stored((tmp_path / "b.html").read_text())[0]


def test_of_very_many_rows_every_second_and_the_last_are_stored(monkeypatch):
    monkeypatch.setattr("dvskit.render._page_objects._MOST_ROWS", 70)
    told = described_objects(ROWS, START_US, 1_000_000)
    times = [each["t"] for each in told["tracks"]]
    assert times[0] == list(range(10_000, 1_000_000, 20_000))
    assert times[1] == [*range(300_000, 690_000, 20_000), 690_000]
    assert told["step_us"] == 20_000
    assert described_objects(ROWS[:0], START_US, 9) == {"step_us": 0.0, "tracks": []}


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((2, 2), OBJECT_ROW)])
def test_other_arrays_are_refused(wrong):
    with pytest.raises(ConfigError, match="pass the rows of a tracker"):
        render.ShownEvents(EVENTS, objects=wrong)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("objects") / "a.html"
    render.page(render.ShownEvents(EVENTS, objects=ROWS), path)
    return path


def marked(browser):
    """Return how many pixels of the canvas over the points are painted."""
    browser.frame()
    return browser.js(
        "const c = $('marks'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return c.hidden ? 0 : n;"
    )


@pytest.mark.slow
def test_paths_are_drawn_with_identities_and_can_be_hidden(browser, page):
    browser.open(page)
    assert "2 objects" in browser.js("return $('facts').textContent").replace("\xa0", " ")
    assert {"7", "12"} <= set(map(str, words_drawn(browser)))
    whole = marked(browser)
    assert whole > 500
    browser.open(page, state="at=0.2")
    assert 0 < marked(browser) < whole
    assert "12" not in map(str, words_drawn(browser))  # it appears later
    browser.press("o")
    assert marked(browser) == 0
    assert "objects=0" in browser.js("return dvskit.link")
    browser.press("o")
    assert marked(browser) > 0
    assert browser.complaints() == []


@pytest.mark.slow
def test_a_path_is_dashed_where_the_object_is_not_seen(browser, page):
    browser.open(page, (390, 844), "look=side")  # steps are shorter than dashes
    levels = browser.js(
        "const {t, x, y} = CLOUDS[0].told.objects.tracks[0];"
        "const [a, b] = [...arguments].map(i => dvskit.place(x[i], y[i], t[i]));"
        "const d = $('marks').getContext('2d').getImageData("
        "  Math.round(a[0]), Math.round(a[1]), Math.round(b[0] - a[0]), 1).data;"
        "return Array.from(d).filter((_, i) => i % 4 === 3);", 41, 57,
    )  # fmt: skip
    assert min(levels) == 0
    assert max(levels) > 200


@pytest.mark.slow
def test_the_path_under_the_pointer_is_described(browser, page):
    browser.open(page, state="at=0.6")
    for index, words in ((49, "object 7 · 500 ms · 98 px/s · 12×8 px · not seen"),
                         (20, "object 7 · 210 ms · 98 px/s · 12×8 px")):  # fmt: skip
        place = browser.js(
            "const {t, x, y} = CLOUDS[0].told.objects.tracks[0], i = arguments[0];"
            "return dvskit.place(x[i], y[i], t[i]);", index,
        )  # fmt: skip
        action = ActionBuilder(browser.driver)
        action.pointer_action.move_to_location(*map(round, place))
        action.perform()
        browser.wait("under !== null")
        assert words in words_drawn(browser)
    action = ActionBuilder(browser.driver)
    action.pointer_action.move_to_location(700, 60)
    action.perform()
    browser.wait("under === null")


@pytest.mark.slow
def test_the_flat_view_shows_boxes_at_the_end_of_the_window(browser, page):
    browser.open(page, state="at=0.35&flat=1&region=0,0,50,40")
    left, top = browser.js(
        "const {flat} = CELLS[0], f = dvskit.flat();"
        "return [f.left + (34 * 0.9 + 0.5 - 6) * f.pixel, f.top + 26.5 * f.pixel];"
    )
    pixel = browser.js(
        "const [x, y] = arguments, d = $('marks').getContext('2d')"
        ".getImageData(Math.round(x) - 2, Math.round(y) + 4, 5, 1).data;"
        "return Math.max(...[0, 1, 2, 3, 4].map(i => d[4 * i + 3]));", left, top,
    )  # fmt: skip
    assert pixel > 100
    assert browser.js("return objectCount()") == 2


@pytest.mark.slow
def test_the_view_shows_objects_when_they_are_found(tmp_path, browser):
    save_events(SQUARES, tmp_path / "a.npz")
    follow = functools.partial(object_blocks, tracker=Tracker())
    viewed = Viewed("a.npz", lambda: open_events(tmp_path / "a.npz"), track=follow)
    with ViewServer([viewed], title="A view") as view:
        browser.open(view.url)
        browser.wait("document.documentElement.dataset.all === 'yes'")
        rows = track(SQUARES)
        browser.wait(f"objectCount() === {rows['id'].max() + 1}")
        assert marked(browser) > 200
        first_us = rows["t"][rows["id"] == 0][0] - SQUARES.t[0]
        assert browser.js("return CLOUDS[0].told.objects.tracks[0].t[0]") == first_us
