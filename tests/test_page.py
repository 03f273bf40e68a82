from __future__ import annotations

import base64
import html
import json
import re
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import dvskit
from dvskit import Events, render
from dvskit.errors import ConfigError, OutputError
from dvskit.events import Size
from dvskit.render._camera import box_halves, fit, rotation
from dvskit.render.colormap import DARK, LIGHT, rgb
from dvskit.render.page import pack, pieces, step_us, steps


def some_events(count=5000, seed=0):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 2**40, count))
    return Events(
        t=t,
        x=(300 * t / 2**40).astype(int) + rng.integers(0, 46, count),
        y=rng.integers(0, 260, count),
        p=rng.integers(0, 2, count) > 0,
        size=(346, 260),
    )


# -- the file, without a browser


def stored(text, index=0):
    meta = re.search(r'<script id="meta" type="application/json">(.*?)</script>', text)
    data = re.search(rf'<script id="data-{index}" type="text/plain">(.*?)</script>', text)
    assert meta
    assert data
    return json.loads(meta[1])["clouds"][index], zlib.decompress(base64.b64decode(data[1]))


def unpack_by_hand(raw, counts):
    """The events of a page, with times in steps from the first one."""
    n = len(raw) // 6
    events, low, piece, left = [], 0, 0, counts[0] if counts else 0
    for i in range(n):
        x_low, x_high, y_low, y_high, step_low, step_high = (raw[k * n + i] for k in range(6))
        low = (low + step_low + 256 * step_high) % 65536
        while not left:
            piece, left = piece + 1, counts[piece + 1]
        left -= 1
        time_now = 65536 * piece + low
        events.append((x_low + 256 * (x_high % 128), y_low + 256 * y_high, time_now, x_high > 127))
    assert not left
    assert piece == len(counts) - 1
    return events


@pytest.mark.parametrize("span", [1, 65_535, 65_536, 900_000, 16_777_215, 16_777_216, 2**40, 2**63])
def test_the_page_stores_every_event_and_its_time_exactly_up_to_16_seconds(span, tmp_path):
    events = spread(700, span)
    report = render.page(events, tmp_path / "p.html")
    told, raw = stored((tmp_path / "p.html").read_text())
    back = unpack_by_hand(raw, told["pieces"])
    assert [(x, y, p) for x, y, _, p in back] == list(
        zip(events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True)
    )
    step = report.resolution_us
    first = int(events.t[0])
    assert [t for _, _, t, _ in back] == [(t - first) // step for t in events.t.tolist()]
    assert step == told["resolution_us"] == (1 if span < 2**24 else span // 2**24 + 1)
    assert len(told["pieces"]) <= 256
    assert (report.kept, report.total, report.every) == (700, 700, 1)
    assert report.size_bytes == (tmp_path / "p.html").stat().st_size
    assert told["span_us"] == span


def spread(count, span):
    """Events whose first and last are `span` apart, around t = 0."""
    rng = np.random.default_rng(span % 1000)
    inner = sorted(int(share * span) for share in rng.random(count - 2))
    t = [at - span // 2 for at in (0, *inner, span)]
    sides = rng.integers(0, 100, (2, count))
    return Events(t=t, x=sides[0], y=sides[1], p=rng.random(count) < 0.5, size=(100, 100))


def test_the_largest_coordinates_survive():
    events = Events(t=[5, 5], x=[32766, 0], y=[0, 32766], p=[False, True], size=(32767, 32767))
    times = steps(events, start_us=5, step=1)
    back = unpack_by_hand(pack(events, times), pieces(times))
    assert back == [(32766, 0, 0, False), (0, 32766, 0, True)]


def test_no_step_of_time_is_longer_than_it_must_be():
    assert [step_us(span) for span in (0, 2**24 - 1, 2**24, 2**25 - 1, 2**25)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("chunk", [1, 33, 1000])
def test_the_page_is_the_same_however_the_stream_is_cut(chunk, tmp_path):
    events = some_events(1000)

    class Cut:
        size = events.size

        def __iter__(self):
            return (events[i : i + chunk] for i in range(0, len(events), chunk))

    report = render.page(Cut(), tmp_path / "a.html", title="t", max_events=300)
    render.page(events, tmp_path / "b.html", title="t", max_events=300)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (report.kept, report.total, report.every) == (250, 1000, 4)


def test_the_page_names_nothing_outside_itself(tmp_path):
    render.page(some_events(10), tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text()
    assert not re.search(r"(https?:)?//[a-z]+\.[a-z]", text)
    assert not re.search(r"<link[^>]+href=\"(?!data:)|<script[^>]+src|@import|url\(", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize("name", ["p.png", "p", "p.pdf"])
def test_another_suffix_is_refused_with_the_choices(name, tmp_path):
    with pytest.raises(ConfigError, match=r"\.html or \.htm.*\.png"):
        render.page(some_events(10), tmp_path / name)


def test_a_page_that_exists_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "p.html"
    path.write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        render.page(some_events(10), path)
    assert path.read_text() == "old"
    render.page(some_events(10), path, overwrite=True)
    assert path.read_text().startswith("<!doctype html>")


# -- the page in a browser


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    known: dict[str, Path] = {}

    def make(name, events, **options):
        if name not in known:
            known[name] = folder / f"{name}.html"
            render.page(events, known[name], **options)
        return known[name]

    return make


EVENTS = some_events()


@pytest.fixture
def five_thousand(browser, made):
    browser.open(made("five", EVENTS, title="Five thousand"))
    return browser


@pytest.mark.slow
def test_the_page_becomes_ready_without_a_word_and_without_a_request(five_thousand, made):
    five_thousand.press("p", "d", "p", "v", "f", "d", "p", "v", "f")
    five_thousand.frame()
    assert five_thousand.complaints() == []
    own = made("five", EVENTS).as_uri()
    assert [url for url in five_thousand.requests() if not url.startswith("data:")] == [own]
    assert five_thousand.js("return performance.getEntriesByType('resource').length") == 0
    assert five_thousand.js("return dvskit.drawn.count") == 5000
    assert five_thousand.js("return $('message').hidden")


def near(picture, at, colour):
    u, v = round(at[0]), round(at[1])
    patch = picture[max(0, v - 3) : v + 4, max(0, u - 3) : u + 4].reshape(-1, 3)
    return bool((np.abs(patch - rgb(colour)).max(axis=1) < 90).any())


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_points_are_on_the_screen_where_they_belong(browser, made, size):
    events = Events(t=[10, 110, 210], x=[2, 10, 18], y=[1, 5, 9], p=[1, 0, 0], size=(20, 12))
    browser.open(made("three", events), size)
    first, last = browser.js("return [dvskit.place(2, 1, 0), dvskit.place(18, 9, 200)]")
    picture = browser.screen()
    assert near(picture, first, DARK.time_stops[0])
    assert near(picture, last, DARK.time_stops[-1])
    browser.press("p")
    picture = browser.screen()
    assert near(picture, first, DARK.on)
    assert near(picture, last, DARK.off)
    browser.press("d")
    picture = browser.screen()
    assert near(picture, first, LIGHT.on)
    assert tuple(picture[5, size[0] - 5]) == rgb(LIGHT.ground)


@pytest.mark.slow
def test_the_page_and_the_still_picture_share_one_camera(five_thousand):
    rect = five_thousand.js("return CELLS[0].view")
    az, el = five_thousand.js("return [S.az, S.el]")
    size = EVENTS.size
    camera = fit(box_halves(Size(*size)), rotation(az, el)[None], tuple(rect))[0]
    for x, y, share in ((0, 0, 0.0), (345, 0, 0.25), (100, 259, 1.0)):
        longer = max(size)
        halves = box_halves(size)
        point = [
            (2 * share - 1) * halves[0],
            (size.height / 2 - y - 0.5) / longer,
            (x + 0.5 - size.width / 2) / longer,
        ]
        expected = camera.project(np.array([point]))[0, :2]
        found = five_thousand.js(f"return dvskit.place({x}, {y}, {share * EVENTS.duration_us})")
        np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.slow
def test_the_scrubber_and_the_window_choose_the_events_by_their_times(
    five_thousand,
):
    step = step_us(EVENTS.duration_us)
    time_us = (EVENTS.t - EVENTS.t[0]) // step * step
    five_thousand.slide("time", 0.5)
    count = five_thousand.js("return dvskit.drawn.count")
    assert count == np.count_nonzero(time_us < 0.5 * EVENTS.duration_us)
    five_thousand.slide("window", 0.7)
    window = five_thousand.js("return S.win")
    assert window == pytest.approx(10 ** (-0.3 * five_thousand.js("return windows()")), rel=1e-3)
    begin = (0.5 - window) * EVENTS.duration_us
    inside = (time_us < 0.5 * EVENTS.duration_us) & (time_us >= begin)
    assert five_thousand.js("return dvskit.drawn.count") == np.count_nonzero(inside) > 10
    at = [int(t) for t in time_us[[100, 4000]]]
    first = five_thousand.js("return arguments[0].map(us => CLOUDS[0].whole.firstAt(us))", at)
    assert first == np.searchsorted(time_us, at).tolist()
    assert f"{np.count_nonzero(inside):,} events" in five_thousand.js("return $('clock').innerText")


@pytest.mark.slow
def test_keys_turn_zoom_narrow_and_reset(five_thousand):
    state = "return [S.az, S.el, S.zoom, S.win, S.colour]"
    az, el, zoom, window, colour = five_thousand.js(state)
    five_thousand.press(Keys.ARROW_RIGHT, Keys.ARROW_UP, "+", "[", "p")
    now = five_thousand.js(state)
    assert now[0] > az
    assert now[1] > el
    assert now[2] < zoom
    assert now[3] < window
    assert (colour, now[4]) == ("time", "polarity")
    five_thousand.press("-", "]", "p", "r")
    assert five_thousand.js(state) == [az, el, zoom, window, colour]
    five_thousand.press("2")
    assert five_thousand.js("return [S.az, S.el]") == [90, 0]


@pytest.mark.slow
def test_space_plays_from_the_start_and_pauses(five_thousand):
    five_thousand.press(Keys.SPACE)
    five_thousand.wait("dvskit.playing && S.pos > 0.005 && S.pos < 0.9")
    five_thousand.press(Keys.SPACE)
    assert five_thousand.js("return dvskit.playing") is False
    at = five_thousand.js("return S.pos")
    five_thousand.frame()
    assert five_thousand.js("return S.pos") == at
    assert 0 < five_thousand.js("return dvskit.drawn.count") < 5000


@pytest.mark.slow
def test_the_mouse_turns_moves_and_zooms(five_thousand):
    cloud = five_thousand.driver.find_element(By.ID, "cloud")
    state = "return [S.az, S.panX, S.zoom]"
    az, pan, zoom = five_thousand.js(state)
    ActionChains(five_thousand.driver).drag_and_drop_by_offset(cloud, 60, 20).perform()
    turned = five_thousand.js(state)
    assert turned[0] == pytest.approx(az + 60 * 0.32, abs=0.5)
    assert turned[1:] == [pan, zoom]
    chain = ActionChains(five_thousand.driver).key_down(Keys.SHIFT)
    chain.drag_and_drop_by_offset(cloud, 90, 0).key_up(Keys.SHIFT).perform()
    assert five_thousand.js(state)[1] == pytest.approx(pan + 90 / 900, abs=1e-3)
    ActionChains(five_thousand.driver).scroll_by_amount(0, -200).perform()
    five_thousand.wait(f"S.zoom < {zoom}")


@pytest.mark.slow
def test_one_finger_turns_and_two_pinch(five_thousand):
    def touch(kind, *points):
        five_thousand.driver.execute_cdp_cmd(
            "Input.dispatchTouchEvent",
            {
                "type": kind,
                "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)],
            },
        )

    az, zoom = five_thousand.js("return [S.az, S.zoom]")
    touch("touchStart", (600, 400))
    touch("touchMove", (640, 400))
    touch("touchEnd")
    five_thousand.wait(f"S.az > {az} + 5")
    az = five_thousand.js("return S.az")
    touch("touchStart", (600, 400), (700, 400))
    touch("touchMove", (560, 400), (740, 400))
    touch("touchEnd")
    five_thousand.wait(f"S.zoom < {zoom} * 0.8")
    assert five_thousand.js("return S.az") == az
    assert five_thousand.js("return hands.size") == 0


@pytest.mark.slow
@pytest.mark.parametrize("size", [(844, 390), (667, 375), (568, 320), (390, 844), (1440, 900)])
def test_every_control_can_be_reached_at_every_size(five_thousand, size):
    five_thousand.resize(*size)
    five_thousand.wait(f"innerWidth === {size[0]} && innerHeight === {size[1]} && !pending")
    # A finger can find a time on the strip.
    assert five_thousand.js("return $('rate').getBoundingClientRect().width") > 0.25 * size[0]
    behind = size[1] < 480  # on a phone held sideways they are behind a button
    assert five_thousand.js("return $('more').getClientRects().length > 0") == behind
    if behind:
        assert not five_thousand.js("return $('window').getClientRects().length")
        five_thousand.driver.find_element(By.ID, "more").click()
        assert five_thousand.js("return $('more').getAttribute('aria-expanded')") == "true"
    for name in ("window", "speed", "points", "by-polarity", "keys"):
        # What is at its middle is the control itself, within the page and below nothing.
        assert five_thousand.js(
            "const e = document.getElementById(arguments[0]), r = e.getBoundingClientRect();"
            "return r.width > 20 && r.left >= 0 && r.right <= innerWidth && r.top >= 0"
            " && e.contains(document.elementFromPoint(r.left + r.width / 2,"
            " r.top + r.height / 2))",
            name,
        ), name
    if behind:  # another panel takes its place
        five_thousand.driver.find_element(By.ID, "keys").click()
        five_thousand.js("hidePanels()")
        assert not five_thousand.js("return $('window').getClientRects().length")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(390, 844), (1440, 900), (844, 390), (768, 1024), (320, 568)])
def test_the_box_fits_between_words_and_controls_at_every_size(five_thousand, size):
    five_thousand.resize(*size)
    five_thousand.wait(f"innerWidth === {size[0]} && innerHeight === {size[1]}")
    five_thousand.wait("$('axes').width === innerWidth && !pending")
    box = np.array(five_thousand.js("return dvskit.box()"))
    head = five_thousand.js("return $('head').getBoundingClientRect().bottom")
    top = head if size[1] > 480 else 0  # on a phone held sideways it stands beside the words
    bottom, left, right = five_thousand.js(
        "const b = $('bar').getBoundingClientRect(); return [b.top, b.left, b.right]"
    )
    assert box[:, 0].min() >= 20
    assert box[:, 0].max() <= size[0] - 20
    assert box[:, 1].min() >= top
    assert box[:, 1].max() <= bottom
    assert left >= 0
    assert right <= size[0]
    overflow = five_thousand.js(
        "const b = $('bar').getBoundingClientRect();"
        "return [...document.querySelectorAll('#bar *')].filter(e => e.getClientRects().length"
        " && (e.getBoundingClientRect().right > b.right + 1"
        " || e.getBoundingClientRect().bottom > b.bottom + 1)).map(e => e.outerHTML)"
    )
    assert overflow == []


@pytest.mark.slow
def test_a_view_that_was_turned_outlives_a_new_size(five_thousand):
    five_thousand.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    before = five_thousand.js("return [S.az, S.el]")
    five_thousand.resize(700, 900)
    five_thousand.wait("innerWidth === 700 && $('axes').width === 700")
    assert five_thousand.js("return [S.az, S.el]") == before


@pytest.mark.slow
def test_the_picture_can_be_saved(five_thousand):
    url = five_thousand.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "dvskit.png().then(b => { const r = new FileReader(); r.onload = () => done(r.result);"
        " r.readAsDataURL(b); })"
    )
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)
    bar = five_thousand.js("return $('bar').getBoundingClientRect().top")
    assert picture.shape == (round(bar), 1440, 3), "all but the controls"
    assert (np.ptp(picture, axis=2) > 80).sum() > 5_000, "points"
    assert (picture[:60, :200].min(axis=2) > 200).sum() > 100, "the title"
    assert tuple(picture[-1, 0]) == rgb(DARK.ground)


@pytest.mark.slow
def test_the_help_opens_and_closes(five_thousand):
    five_thousand.press("?")
    assert five_thousand.driver.find_element(By.ID, "help").is_displayed()
    five_thousand.press(Keys.ESCAPE)
    assert not five_thousand.driver.find_element(By.ID, "help").is_displayed()


@pytest.mark.slow
def test_fewer_points_are_drawn_while_the_hand_moves(five_thousand):
    five_thousand.frame()  # in one script each: a timer ends the moving between two
    moving = five_thousand.js("S.budget = 1000; S.moving = true; draw(); return dvskit.drawn")
    assert moving == {"count": 5000, "drawn": 1000}
    resting = five_thousand.js("S.moving = false; draw(); return dvskit.drawn")
    assert resting == {"count": 5000, "drawn": 5000}


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_event_make_a_page_that_says_so(browser, made, count):
    events = Events(t=[7] * count, x=[3] * count, y=[3] * count, p=[1] * count, size=(8, 8))
    browser.open(made(f"few{count}", events))
    browser.press(Keys.SPACE, "[", "p", "r")
    browser.frame()
    assert browser.complaints() == []
    assert browser.js("return dvskit.drawn.count") == count
    message = browser.js("return $('message').hidden ? '' : $('message').innerText")
    assert ("No events" in message) == (count == 0)
    words = "1\u00a0event" if count else "0\u00a0events"
    assert browser.js("return $('facts').textContent").startswith(words)


@pytest.mark.slow
def test_a_thinned_page_says_so(browser, made):
    browser.open(made("thin", EVENTS, max_events=2000))
    assert browser.driver.find_element(By.ID, "notice").is_displayed()
    notice = browser.js("return $('notice').textContent")
    assert notice == "1 in 4 events shown: 1,250 of 5,000"
    assert "5,000\u00a0events" in browser.js("return $('facts').textContent")
    assert browser.js("return dvskit.drawn.count") == 1250


@pytest.mark.slow
def test_a_title_stays_text(browser, made):
    title = '</script><b id="evil">&amp; "{{data}}" <!-- \'ö\' \u2028 $& \\u003c'
    browser.open(made("title", EVENTS, title=title))
    assert browser.js("return $('head').querySelector('h1').textContent") == title
    assert browser.js("return dvskit.meta.title") == title
    assert browser.js("return document.getElementById('evil')") is None
    assert html.unescape(browser.js("return document.title")) != ""
    assert browser.complaints() == []


def test_a_browser_without_webgl2_is_told_so(browser, made):
    added = browser.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {
            "source": "const get = HTMLCanvasElement.prototype.getContext;"
            "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
            " return kind === 'webgl2' ? null : get.call(this, kind, ...rest); }"
        },
    )
    try:
        browser.open(made("five", EVENTS, title="Five thousand"))
        assert "WebGL2 is not available" in browser.js("return $('message').innerText")
        assert browser.complaints() == []
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.slow
def test_a_lost_graphics_context_comes_back(five_thousand):
    five_thousand.js("window.lost = GL.gl.getExtension('WEBGL_lose_context'); lost.loseContext();")
    five_thousand.wait("GL === null")
    five_thousand.js("lost.restoreContext()")
    five_thousand.wait("GL !== null")
    picture = five_thousand.screen()
    assert (np.ptp(picture[100:700], axis=2) > 80).sum() > 5_000


@pytest.mark.slow
def test_a_real_recording_is_shown(browser, tmp_path, data):
    source = dvskit.open_events(data / "recordings" / "nmnist_34x34.bin")
    report = render.page(source, tmp_path / "digit.html")
    browser.open(tmp_path / "digit.html")
    assert browser.js("return dvskit.drawn.count") == report.total == 4325
    assert "310.5\u00a0ms" in browser.js("return $('facts').textContent")
    assert browser.complaints() == []


@pytest.mark.slow
def test_the_view_stays_where_it_is_when_only_the_colours_change(browser, made):
    browser.open(made("five", EVENTS, title="Five thousand"), (390, 844))
    before = browser.js("return dvskit.box()")
    browser.press("p")
    browser.frame()
    assert browser.js("return dvskit.box()") == before
