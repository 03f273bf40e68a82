"""Images and tracked objects beside the cloud, on pages in a browser and in the view."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from dvskit import open_events, render, save_events
from dvskit.cli._options import Reading
from dvskit.cli.view import BesideCloud, viewed_from
from dvskit.errors import ConfigError
from dvskit.render.view import ViewedRecording, ViewServer
from dvskit.tracking import Tracker, object_blocks, track
from tests.laws import refused, scattered
from tests.processes import wait_until
from tests.test_object_tracks import SQUARES
from tests.test_page import EVENTS, ROWS, START_US
from tests.test_page_browser import words_drawn

SHADES = (40, 120, 200)  # of images at 0.25, 0.5 and 0.75 s
IMAGES = [
    (START_US + 250_000 * number, np.full((30, 40), shade, np.uint8))
    for number, shade in enumerate(SHADES, 1)
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    render.page(render.ShownEvents(EVENTS, images=IMAGES), folder / "images.html")
    render.page(render.ShownEvents(EVENTS, objects=ROWS), folder / "objects.html")
    return folder


def shade(browser):
    browser.wait("document.querySelector('#images img').complete", 30)
    return browser.js(
        "const image = document.querySelector('#images img');"
        "const canvas = document.createElement('canvas'), ctx = canvas.getContext('2d');"
        "canvas.width = canvas.height = 1; ctx.drawImage(image, 0, 0, 1, 1);"
        "return ctx.getImageData(0, 0, 1, 1).data[0];"
    )


CAPTION = "document.querySelector('#images figcaption').textContent"


@pytest.mark.slow
def test_the_page_shows_the_latest_image_at_the_end_of_the_window(browser, pages):
    browser.open(pages / "images.html")
    assert abs(shade(browser) - SHADES[2]) < 5
    browser.js("setTime(0.6)")
    browser.wait(f"{CAPTION} === 'image at 500 ms'")
    assert abs(shade(browser) - SHADES[1]) < 5
    browser.js("setTime(0.1)")
    browser.wait("document.querySelector('#images figure').hidden")
    browser.js("KEYS.i()")
    browser.wait("document.getElementById('images').hidden && aside()[0] === 0")
    assert browser.complaints() == []


def test_the_view_takes_any_images(tmp_path):
    save_events(EVENTS, tmp_path / "a.npz")
    one = ViewedRecording(
        "a", lambda: open_events(tmp_path / "a.npz"), picture=lambda source: IMAGES
    )
    wait_until(lambda: one.status()["done"])
    assert one.status()["pictures"] == 3
    assert json.loads(one.picture_times()) == [250_000, 500_000, 750_000]
    assert one.picture(500_000)[8:12] == b"WEBP"
    with refused(ConfigError, START_US + 1):
        one.picture(1)
    one.close()


@pytest.mark.slow
def test_the_view_shows_images_and_objects_while_they_are_made(browser, tmp_path):
    save_events(scattered(8000, (40, 30), span_us=400_000), tmp_path / "a.npz")
    save_events(SQUARES, tmp_path / "b.npz")
    viewed = viewed_from([tmp_path / "a.npz"], None, Reading(), BesideCloud(images="filter"))
    follow = functools.partial(object_blocks, tracker=Tracker())
    tracked = ViewedRecording("b.npz", lambda: open_events(tmp_path / "b.npz"), track=follow)
    with ViewServer([*viewed, tracked], title="a") as served:
        browser.open(served.url)
        browser.wait("document.documentElement.dataset.all === 'yes'", 60)
        assert browser.js("return CLOUDS[0].told.images.length") in (11, 12)
        browser.js("setTime(0.5)")
        browser.wait(f"{CAPTION}.includes(' ms')")
        assert 0 < shade(browser) < 255
        browser.js("setTime(1)")
        rows = track(SQUARES)
        browser.wait(f"objectCount() === {rows['id'].max() + 1}")
        assert marked(browser) > 200
        first_us = rows["t"][rows["id"] == 0][0] - SQUARES.t[0]
        assert browser.js("return CLOUDS[1].told.objects.tracks[0].t[0]") == first_us
        assert browser.complaints() == []


def marked(browser):
    """Return how many pixels of the canvas over the points are painted."""
    browser.frame()
    return browser.js(
        "const c = $('marks'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return c.hidden ? 0 : n;"
    )


@pytest.mark.slow
def test_paths_are_drawn_with_identities_and_can_be_hidden(browser, pages):
    browser.open(pages / "objects.html")
    assert "2\xa0objects" in browser.js("return $('facts').textContent")
    assert {"7", "12"} <= set(map(str, words_drawn(browser)))
    whole = marked(browser)
    assert whole > 500
    browser.open(pages / "objects.html", state="at=0.2")
    assert 0 < marked(browser) < whole
    assert "12" not in map(str, words_drawn(browser))  # it appears later
    browser.press("o")
    assert marked(browser) == 0
    assert "objects=0" in browser.js("return dvskit.link")
    browser.press("o")
    assert marked(browser) > 0
