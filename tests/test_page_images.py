"""Images beside the cloud: on pages, in `dvskit cloud --images` and in the view."""

from __future__ import annotations

import base64
import json
import re
import time

import cv2
import numpy as np
import pytest

import dvskit
from dvskit import Events, open_events, render
from dvskit.cli._options import Reading
from dvskit.cli.view import BesideCloud, viewed_from
from dvskit.render._page_images import LONGEST_PX, MOST_IMAGES, PageImages
from dvskit.render.view import ViewServer

SIZE = (40, 30)
SHADES = (40, 120, 200)  # of images at 0.1, 0.2 and 0.3 s


def events() -> Events:
    random = np.random.default_rng(0)
    t = np.sort(random.integers(0, 400_000, 8000)) + 1_000_000
    t[0], t[-1] = 1_000_000, 1_400_000
    x, y = random.integers(0, 40, 8000), random.integers(0, 30, 8000)
    return Events(t=t, x=x, y=y, p=random.random(8000) < 0.5, size=SIZE)


def images() -> list[tuple[int, np.ndarray]]:
    return [
        (1_100_000 + 100_000 * number, np.full((30, 40), shade, np.uint8))
        for number, shade in enumerate(SHADES)
    ]


def stored(text: str) -> tuple[list[int], list[np.ndarray]]:
    meta = re.search(r'<script id="meta" type="application/json">(.*?)</script>', text)
    data = re.search(r'<script id="images-0" type="application/json">(.*?)</script>', text)
    assert meta
    assert data
    packed = [np.frombuffer(base64.b64decode(each), np.uint8) for each in json.loads(data[1])]
    pictures = [cv2.imdecode(each, cv2.IMREAD_GRAYSCALE) for each in packed]
    return json.loads(meta[1])["clouds"][0]["images"], pictures


def test_a_page_holds_images_and_their_times_from_the_first_event_on(tmp_path):
    shown = render.ShownEvents(events(), images=images())
    report = render.page(shown, tmp_path / "a.html")
    assert (report.images, report.images_total) == (3, 3)
    times, pictures = stored((tmp_path / "a.html").read_text())
    assert times == [100_000, 200_000, 300_000]
    for shade, picture in zip(SHADES, pictures, strict=True):
        assert picture.shape == (30, 40)
        assert np.abs(picture.astype(int) - shade).max() < 5
    plain = render.page(events(), tmp_path / "b.html")
    assert (plain.images, plain.images_total) == (0, 0)
    assert 'images-0"' not in (tmp_path / "b.html").read_text()


def test_images_are_limited_in_number_and_size():
    kept = PageImages()
    for number in range(5 * MOST_IMAGES):
        kept.add(1000 * number, np.full((6, 8), number % 256, np.uint8))
    assert kept.total == 5 * MOST_IMAGES
    assert len(kept.rows) <= MOST_IMAGES
    assert kept.times(-7) == [1000 * number + 7 for number in range(0, kept.total, kept.every)]
    kept = PageImages()
    kept.add(0, np.zeros((720, 1280, 3), np.uint8))
    seen = cv2.imdecode(np.frombuffer(kept.rows[0][1], np.uint8), cv2.IMREAD_COLOR)
    assert seen.shape == (LONGEST_PX * 720 // 1280, LONGEST_PX, 3)


def test_cloud_shows_reconstructed_images(run, tmp_path):
    dvskit.save_events(events(), tmp_path / "a.npz")
    code, _, err = run("cloud", "a.npz", "-o", "a.html", "--images", "filter")
    assert code == 0, err
    times, pictures = stored((tmp_path / "a.html").read_text())
    assert times[:2] == [33_333, 66_666]
    assert len(pictures) == 12
    assert (
        "--images does not apply to a still"
        in run("cloud", "a.npz", "-o", "a.png", "--images", "filter")[2]
    )
    assert (
        "unknown reconstructor 'filtr'"
        in run("cloud", "a.npz", "-o", "b.html", "--images", "filtr")[2]
    )


SHADE = """const image = document.querySelector('#images img');
const canvas = document.createElement('canvas');
canvas.width = canvas.height = 1; canvas.getContext('2d').drawImage(image, 0, 0, 1, 1);
return canvas.getContext('2d').getImageData(0, 0, 1, 1).data[0];"""


def shade(browser) -> int:
    browser.wait("document.querySelector('#images img').complete", 30)
    return browser.js(SHADE)


@pytest.mark.slow(seconds=4)
def test_the_page_shows_the_latest_image_at_the_end_of_the_window(browser, tmp_path):
    render.page(render.ShownEvents(events(), images=images()), tmp_path / "a.html")
    browser.open(tmp_path / "a.html")
    assert abs(shade(browser) - SHADES[2]) < 5
    browser.js("setTime(0.6)")
    browser.wait("document.querySelector('#images figcaption').textContent === 'image at 200 ms'")
    assert abs(shade(browser) - SHADES[1]) < 5
    saved = browser.driver.execute_async_script(
        "const [done] = arguments, {left, top} = document.querySelector('#images img')"
        ".getBoundingClientRect(); png().then(createImageBitmap).then(picture => {"
        "const canvas = document.createElement('canvas'), ctx = canvas.getContext('2d');"
        "ctx.drawImage(picture, -left - 9, -top - 9); done(ctx.getImageData(0, 0, 1, 1).data[0]);})"
    )
    assert abs(saved - SHADES[1]) < 5
    browser.js("setTime(0.1)")
    browser.wait("document.querySelector('#images figure').hidden")
    browser.js("setTime(0.3); KEYS.i()")
    browser.wait("document.getElementById('images').hidden && aside()[0] === 0")
    assert browser.complaints() == []
    assert [each for each in browser.requests() if not each.startswith(("file:", "data:"))] == []


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("size", [(1440, 900), (390, 844), (844, 390), (320, 568)])
def test_images_cover_neither_the_box_nor_text(browser, tmp_path, size):
    render.page(render.ShownEvents(events(), images=images()), tmp_path / "a.html")
    browser.open(tmp_path / "a.html", size)
    browser.wait("document.querySelector('#images img').complete")
    left, top, right, bottom = browser.js(
        "const {left, top, right, bottom} = document.getElementById('images')"
        ".getBoundingClientRect(); return [left, top, right, bottom];"
    )
    assert right - left > 60
    assert bottom - top > 40
    assert 0 <= left < right <= size[0]
    corners = np.array(browser.js("return window.dvskit.box()"))
    inside = (corners > (left, top)).all(1) & (corners < (right, bottom)).all(1)
    assert not inside.any()
    for name in ("head", "key", "bar"):
        box = browser.js(
            f"const {{left, top, right, bottom}} = document.getElementById('{name}')"
            ".getBoundingClientRect(); return [left, top, right, bottom];"
        )
        apart = box[2] <= left or box[0] >= right or box[3] <= top or box[1] >= bottom
        assert apart, name


@pytest.mark.slow(seconds=4)
def test_the_view_shows_images_while_they_are_made(browser, tmp_path):
    dvskit.save_events(events(), tmp_path / "a.npz")
    viewed = viewed_from([tmp_path / "a.npz"], None, Reading(), BesideCloud(images="filter"))
    with ViewServer(viewed, title="a") as served:
        browser.open(served.url)
        browser.wait("document.documentElement.dataset.all === 'yes'", 60)
        assert browser.js("return CLOUDS[0].told.images.length") == 12
        browser.js("setTime(0.5)")
        browser.wait(
            "document.querySelector('#images figcaption').textContent === 'image at 200 ms'"
        )
        assert 0 < shade(browser) < 255
        assert browser.complaints() == []


def test_the_view_takes_any_images(tmp_path):
    dvskit.save_events(events(), tmp_path / "a.npz")
    one = render.view.Viewed(
        "a", lambda: open_events(tmp_path / "a.npz"), picture=lambda source: images()
    )
    until = time.monotonic() + 30
    while not one.status()["done"] and time.monotonic() < until:
        time.sleep(0.02)
    assert one.status()["pictures"] == 3
    assert json.loads(one.picture_times()) == [100_000, 200_000, 300_000]
    assert one.picture(200_000)[8:12] == b"WEBP"
    with pytest.raises(dvskit.DvskitError, match="there is no image at"):
        one.picture(1)
    one.close()
