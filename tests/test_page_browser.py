"""The page in a browser: what it draws, its controls and keys, several recordings, addresses."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from dvskit import Events, render
from dvskit.render.colormap import DARK, LIGHT, rgb
from dvskit.streams import Labels

pytestmark = pytest.mark.slow


def crossing(count=4001, seed=3):
    """Events along a diagonal of a 100 x 60 sensor within a second, and some noise."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 1_000_000, count))
    t[0], t[-1] = 0, 999_999
    x = np.clip(t // 10_000 + rng.integers(-2, 3, count), 0, 99)
    y = np.clip(t * 60 // 1_000_000, 0, 59)
    noise = rng.random(count) < 0.2
    x[noise], y[noise] = rng.integers(0, 100, noise.sum()), rng.integers(0, 60, noise.sum())
    return Events(t=t + 5_000_000, x=x, y=y, p=rng.random(count) < 0.5, size=(100, 60))


EVENTS = crossing()
SINCE = EVENTS.t - EVENTS.t[0]
OTHER = Events(t=[9, 1_500_009], x=[3, 4], y=[5, 6], p=[True, False], size=(20, 30))
DOTS = Events(t=[0, 100, 200], x=[2, 10, 18], y=[1, 5, 9], p=[0, 1, 1], size=(20, 12))
LABELS = Labels(
    np.array([4_000_000, 5_250_000, 5_500_000]),
    np.array([5_250_000, 5_500_000, 9_000_000]),
    ("still", "wave", "clap"),
)
DECISIONS = Labels(np.array([5_000_000]), np.array([5_500_000]), ("wave (93 %)",))
TITLE = '</script><b id="evil">&amp; "{{data}}" <!-- \'ö\' \u2028 $& \\u003c'
SIZES = [(1440, 900), (390, 844)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    labeled = render.ShownEvents(EVENTS, labels=LABELS, decisions=DECISIONS)
    named = render.ShownEvents(EVENTS, "one second", LABELS)
    for name, shown in {
        "one": EVENTS, "two": [named, OTHER],
        "labels": labeled, "dots": DOTS, "none": Events.empty((8, 8)), "single": OTHER[:1],
    }.items():  # fmt: skip
        render.page(shown, folder / f"{name}.html", title=TITLE if name == "one" else None)
    render.page([named, OTHER], folder / "thin.html", max_events=2002)
    return folder


@pytest.fixture
def one(browser, pages):
    browser.open(pages / "one.html")
    return browser


def drawn(browser):
    browser.frame()
    return int(browser.js("return dvskit.drawn.count"))


def words_drawn(browser):
    """Return all words that a frame writes on its canvases."""
    browser.frame()
    return list(
        browser.js(
            "const found = [], own = CanvasRenderingContext2D.prototype.fillText;"
            "CanvasRenderingContext2D.prototype.fillText = function (text) {"
            "  if (this.globalAlpha > 0) found.push(text); own.apply(this, arguments); };"
            "try { draw(); } finally { CanvasRenderingContext2D.prototype.fillText = own; }"
            "return found;"
        )
    )


def rect_of(browser, name):
    return browser.js(
        "const r = $(arguments[0]).getBoundingClientRect();"
        "return [r.left, r.top, r.right, r.bottom];", name,
    )  # fmt: skip


# -- what is drawn


def test_the_page_becomes_ready_without_a_complaint_or_a_request(one, pages):
    one.press("p", "d", "p", "v", "f", "d", "p", "v", "f")
    assert drawn(one) == len(EVENTS)
    assert one.complaints() == []
    own = (pages / "one.html").as_uri()
    assert [url for url in one.requests() if not url.startswith("data:")] == [own]
    assert one.js("return performance.getEntriesByType('resource').length") == 0
    assert one.js("return $('message').hidden")
    assert (
        one.js("return [$('head').querySelector('h1').textContent, dvskit.meta.title]")
        == [TITLE.replace("\u2028", "\\u2028")] * 2
    )
    assert one.js("return document.getElementById('evil')") is None


def near(picture, at, color, reach=3):
    u, v = round(at[0]), round(at[1])
    patch = picture[v - reach : v + reach + 1, u - reach : u + reach + 1].reshape(-1, 3)
    return bool((np.abs(patch - rgb(color)).max(axis=1) < 90).any())


@pytest.mark.parametrize("size", SIZES)
def test_points_are_on_the_screen_where_they_belong(browser, pages, size):
    browser.open(pages / "dots.html", size)
    first, last = browser.js("return [dvskit.place(2, 1, 0), dvskit.place(18, 9, 200)]")
    for key, colors in (
        ("", (DARK.time_stops[0], DARK.time_stops[-1])), ("p", (DARK.off, DARK.on)),
        ("d", (LIGHT.off, LIGHT.on)),
    ):  # fmt: skip
        if key:
            browser.press(key)
        picture = browser.screen()
        assert near(picture, first, colors[0])
        assert near(picture, last, colors[1])
    assert tuple(picture[5, size[0] - 5]) == rgb(LIGHT.ground)


@pytest.mark.parametrize(("look", "same"), [("front", "us"), ("side", "x"), ("top", "y")])
def test_a_view_along_an_axis_is_parallel_and_names_the_other_two(browser, pages, look, same):
    """What differs along the axis alone falls on one place; what is as long is drawn as long."""
    browser.open(pages / "one.html", state=f"look={look}")
    axis = ["x", "y", "us"].index(same)
    for event in ((0, 59, 0), (99, 0, 999_999), (50, 59, 500_000)):
        other = [*event]
        other[axis] = {"x": 70, "y": 20, "us": 300_000}[same]
        places = [browser.js("return dvskit.place(...arguments)", *at) for at in (event, other)]
        np.testing.assert_allclose(*places, atol=1e-6)
    wide, tall = np.ptp(np.array(browser.js("return dvskit.box()")), axis=0)
    long = {"front": 100 / 60, "side": 1.7 / 0.6, "top": 1.7 / 1.0}[look]
    assert wide / tall == pytest.approx(long, rel=1e-6)
    titles = {"us": "time (ms)", "x": "x (px)", "y": "y (px)"}
    shown = set(titles.values()) & set(words_drawn(browser))
    assert shown == set(titles.values()) - {titles[same]}
    for _ in range(20 * (look == "front")):  # and gains perspective little by little
        before = np.array(browser.js("return dvskit.box()"))
        browser.js("turn(1, 0.2)")
        assert np.abs(np.array(browser.js("return dvskit.box()")) - before).max() < 60
    assert browser.js("return camera(CELLS[0]).perspective") == (look == "front")


def test_fewer_points_are_drawn_while_the_hand_moves(one):
    """The page says so; every eighth event stands in for many."""
    one.frame()
    told = one.js(
        "S.budget = 251; S.moving = true; clearTimeout(idle); draw();"
        "return [$('thinned').hidden, DRAWN.count, DRAWN.drawn]"
    )
    assert told == [False, 4001, 251]  # 501 in the eighth, every second of them
    one.js("moving()")
    one.frame()
    assert one.js("return [$('thinned').hidden, DRAWN.drawn]") == [True, 4001]


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_event_make_a_page(browser, pages, count):
    browser.open(pages / ("single.html" if count else "none.html"))
    browser.press(Keys.SPACE, "[", "p", "r")
    assert drawn(browser) == count
    assert browser.js("return $('message').hidden") == bool(count)
    assert browser.js("return $('facts').textContent").startswith(f"{count}\u00a0")
    assert browser.complaints() == []


# -- controls


def test_the_scrubber_and_the_window_choose_the_events_by_their_times(one):
    one.slide("time", 0.5)
    assert drawn(one) == np.count_nonzero(SINCE < 0.5 * 999_999)
    one.slide("window", 0.7)
    window = one.js("return S.win")
    assert window == pytest.approx(10 ** (-0.3 * one.js("return windows()")), rel=1e-3)
    inside = (SINCE < 0.5 * 999_999) & ((0.5 - window) * 999_999 <= SINCE)
    count = np.count_nonzero(inside)
    assert drawn(one) == count > 10
    at = [int(t) for t in SINCE[[100, 4000]]]
    first = one.js("return arguments[0].map(us => CLOUDS[0].whole.firstAt(us))", at)
    assert first == np.searchsorted(SINCE, at).tolist()
    assert f"{count:,} events" in one.js("return $('clock').innerText")
    one.press("f")  # the window fills the box
    start, stop = one.js("return windowUs()")
    assert one.js(f"return CELLS[0].box.at(0, 0, {start})[0]") == pytest.approx(-1.7 / 2)
    assert one.js(f"return CELLS[0].box.at(0, 0, {stop})[0]") == pytest.approx(1.7 / 2)
    assert drawn(one) == count
    width, element = one.js("return [$('time').getBoundingClientRect().width, $('time')]")
    chain = ActionChains(one.driver)
    chain.move_to_element_with_offset(element, round(-0.25 * width), 0).click().perform()
    assert one.js("return S.pos") == pytest.approx(0.25, abs=0.02)


def test_keys_turn_zoom_narrow_and_reset(one):
    state = "return [S.az, S.el, S.zoom, S.win, S.color]"
    az, el, zoom, window, color = one.js(state)
    one.press(Keys.ARROW_RIGHT, Keys.ARROW_UP, "+", "[", "p")
    now = one.js(state)
    assert (now[0] > az, now[1] > el, now[2] < zoom, now[3] < window) == (True,) * 4
    assert (color, now[4]) == ("time", "polarity")
    one.press("-", "]", "p", "r")
    assert one.js(state) == [az, el, zoom, window, color]
    one.press("2")
    assert one.js("return [S.az, S.el]") == [90, 0]
    one.press("?")
    assert one.driver.find_element(By.ID, "help").is_displayed()
    one.press(Keys.ESCAPE)
    assert not one.driver.find_element(By.ID, "help").is_displayed()


def test_space_plays_from_the_start_and_pauses(one):
    one.press(Keys.SPACE)
    one.wait("dvskit.playing && S.pos > 0.005 && S.pos < 0.9")
    one.press(Keys.SPACE)
    assert one.js("return dvskit.playing") is False
    at = one.js("return S.pos")
    assert 0 < drawn(one) < len(EVENTS)
    assert one.js("return S.pos") == at


def test_the_mouse_turns_moves_and_zooms_and_fingers_turn_and_pinch(one):
    def touch(kind, *points):
        named = [{"x": x, "y": 400, "id": i} for i, x in enumerate(points)]
        one.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": named})

    cloud = one.driver.find_element(By.ID, "cloud")
    state = "return [S.az, S.panX, S.zoom]"
    az, pan, zoom = one.js(state)
    ActionChains(one.driver).drag_and_drop_by_offset(cloud, 60, 20).perform()
    turned = one.js(state)
    assert turned[0] == pytest.approx(az + 60 * 0.32, abs=0.5)
    assert turned[1:] == [pan, zoom]
    chain = ActionChains(one.driver).key_down(Keys.SHIFT)
    chain.drag_and_drop_by_offset(cloud, 90, 0).key_up(Keys.SHIFT).perform()
    assert one.js(state)[1] == pytest.approx(pan + 90 / 900, abs=1e-3)
    ActionChains(one.driver).scroll_by_amount(0, -200).perform()
    one.wait(f"S.zoom < {zoom}")
    az, _, zoom = one.js(state)
    for points in ((600,), (640,), ()):
        touch("touchStart" if points == (600,) else "touchMove" if points else "touchEnd", *points)
    one.wait(f"S.az > {az} + 5")
    az = one.js("return S.az")
    touch("touchStart", 600, 700)
    touch("touchMove", 560, 740)
    touch("touchEnd")
    one.wait(f"S.zoom < {zoom} * 0.8")
    assert one.js("return [S.az, hands.size]") == [az, 0]


def test_the_saved_picture_has_the_cloud_the_title_and_not_the_controls(one):
    one.press("v")
    one.frame()
    url = one.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "dvskit.png().then(b => { const r = new FileReader(); r.onload = () => done(r.result);"
        " r.readAsDataURL(b); })"
    )
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)
    assert picture.shape == (round(rect_of(one, "bar")[1]), 1440, 3)
    assert (np.ptp(picture, axis=2) > 80).sum() > 3_000, "points"
    assert (picture[:60, :200].min(axis=2) > 200).sum() > 100, "the title"
    assert tuple(picture[-1, 0]) == rgb(DARK.ground)


# -- region, flat view and counts


def inside(left, top, right, bottom):
    return (EVENTS.x >= left) & (EVENTS.x < right) & (EVENTS.y >= top) & (EVENTS.y < bottom)


@pytest.mark.parametrize("size", [(1440, 900), (420, 800)])
def test_a_region_drawn_on_the_flat_view_is_shown_by_both_views_and_the_axes(browser, pages, size):
    browser.open(pages / "one.html", size, "flat=1")
    browser.js("$('region').click()")
    browser.frame()
    browser.js(
        "const {left, top, pixel} = dvskit.flat();"
        "for (const [kind, x, y] of [['down', 20, 10], ['move', 49, 29], ['up', 49, 29]])"
        "  $('cloud').dispatchEvent(new PointerEvent(`pointer${kind}`, {pointerId: 1, button: 0,"
        "    clientX: left + (x + .5) * pixel, clientY: top + (y + .5) * pixel}));"
    )
    count = np.count_nonzero(inside(20, 10, 50, 30))
    browser.frame()
    assert browser.js("return [$('region-panel').hidden, S.region]") == [False, [20, 10, 50, 30]]
    assert browser.js("return ['x-first', 'y-last'].map(name => Number($(name).value))") == [20, 29]
    assert f"{count:,} events" in browser.js("return $('clock').innerText")
    axes = browser.js("return CELLS[0].box.axes.map(a => [a.start, a.stop])")
    assert axes[1:] == [[10, 30], [20, 50]]
    assert browser.js("return CLOUDS[0].rates.reduce((a, b) => a + b)") == count
    for name, value in (("x-first", 70), ("x-last", 30), ("y-first", -5), ("y-last", 400)):
        browser.js("$(arguments[0]).value = arguments[1]", name, value)
    browser.js("$('y-last').onchange()")
    assert browser.js("return S.region") == [30, 0, 71, 60]
    browser.press("x")
    assert browser.js("return S.region") is None
    assert browser.complaints() == []


def test_the_flat_view_shows_each_pixel_where_the_sensor_has_it_in_the_region(browser, pages):
    browser.open(pages / "dots.html", state="color=polarity&flat=1&region=8,3,20,12")
    picture, flat = browser.screen(), browser.js("return dvskit.flat()")
    cloud = browser.js("return [dvskit.place(10, 5, 100), dvskit.place(18, 9, 200)]")
    orange = (np.abs(picture - rgb(DARK.on)).max(axis=2) < 90)[100:740]  # haze and all
    allowed = np.zeros_like(orange)
    for x, y in ((10, 5), (18, 9)):
        u, v = flat["left"] + (x - 7.5) * flat["pixel"], flat["top"] + (y - 2.5) * flat["pixel"]
        assert tuple(picture[round(v), round(u)]) == rgb(DARK.on)
        reach = 3 + round(flat["pixel"] / 2)
        for (a, b), r in (((u, v), reach), (cloud[x > 10], 6)):
            patch = np.s_[round(b) - 100 - r : round(b) - 99 + r, round(a) - r : round(a) + r + 1]
            assert orange[patch].any()
            allowed[patch] = True
    assert not (orange & ~allowed).any(), "events outside the region are not on the screen"


def test_counts_of_pixels_follow_the_window(browser, pages):
    browser.open(pages / "one.html", state="color=count")
    browser.js("setTime(0.5); setWindow(0.8); draw();")
    for step in ("setTime(0.3)", "setWindow(0.6)", "setTime(0.31)", "setTime(1)"):
        browser.js(f"{step}; draw();")
        start, stop = browser.js("return windowUs()")
        chosen = (start <= SINCE) & ((stop > SINCE) | browser.js("return S.pos === 1"))
        expected = np.zeros((60, 100), int)
        np.add.at(expected, (EVENTS.y[chosen], EVENTS.x[chosen]), 1)
        found = np.array(browser.js("return Array.from(CLOUDS[0].counts.counts)"))
        np.testing.assert_array_equal(found.reshape(60, 100), expected)
        assert browser.js("return MOST") == max(1, expected.max())


# -- several recordings


def peaks(browser):
    """Return the peaks of the rows of rates, in events a second."""
    scales = {"ev/s": 1, "kev/s": 1e3, "Mev/s": 1e6}
    found = [text.split() for text in words_drawn(browser) if text.startswith("peak ")]
    return [float(value.replace(",", "")) * scales[unit] for _, value, unit in found]


def test_several_recordings_stand_side_by_side_in_one_scale_of_time(browser, pages):
    browser.open(pages / "two.html")
    assert drawn(browser) == len(EVENTS) + 2
    boxes = [np.array(browser.js(f"return dvskit.box({i})")) for i in (0, 1)]
    assert boxes[0][:, 0].max() < 720 < boxes[1][:, 0].min()
    middle = browser.js("return [0, 1].map(i => CELLS[i].box.at(0, 0, 750000)[0])")
    assert middle == pytest.approx([0, 0])
    most = np.bincount((SINCE * 240 // 1_500_001).astype(int)).max()
    assert peaks(browser) == pytest.approx([most * 240 / 1.5, 240 / 1.5], rel=0.01)
    assert browser.js("return [ownTimes(), $('own').hidden, SPAN_US]") == [False, False, 1_500_000]
    browser.js("$('own').click()")
    assert browser.js("return CLOUDS.map(spanUs)") == [999_999, 1_500_000]
    browser.resize(390, 844)
    browser.wait("innerWidth === 390 && $('axes').width === 390")
    boxes = [np.array(browser.js(f"return dvskit.box({i})")) for i in (0, 1)]
    assert boxes[0][:, 1].max() < boxes[1][:, 1].min(), "one above the other"
    browser.open(pages / "thin.html")
    assert "1 in 4 " in browser.js("return $('notice').textContent")
    assert drawn(browser) == 1001 + 2
    assert peaks(browser)[0] == pytest.approx(most * 160, rel=0.5)  # of all events


def test_labels_and_decisions_stand_along_the_time_in_one_color_a_name(browser, pages):
    browser.open(pages / "labels.html")
    colors = browser.js("return ['still', 'wave', 'clap', 'wave (93 %)'].map(bandColor)")
    assert len(set(colors[:3])) == 3
    assert colors[3] == colors[1]
    picture = browser.screen()
    left, top, right, bottom = rect_of(browser, "rate")
    row = picture[round(bottom - 14 - 26 - 4)]  # the upper of two rows of 17 pixels, over times
    at = [round(left + share * (right - left)) for share in (0.02, 0.3, 0.9)]
    assert [tuple(row[u]) for u in at] == [rgb(color) for color in colors[:3]]
    cloud = picture[100 : round(top) - 30]
    for color in colors[:3]:
        assert (np.abs(cloud - rgb(color)).max(axis=2) < 12).sum() > 200, "a band at the box"
    browser.slide("time", 0.3)
    assert "wave, wave (93 %)" in browser.js("return $('clock').innerText")


# -- the address of a view

STATE = (
    "look=20,-10,0.5,0.1,-0.05&at=0.6&window=0.1&fill=1&color=count&theme=light&flat=1"
    "&region=10,5,90,50"
)


def test_an_address_brings_the_view_back_and_follows_it(browser, pages):
    browser.open(pages / "one.html", state=STATE)
    browser.frame()
    assert browser.js("return dvskit.link") == STATE
    assert browser.js("return [S.az, S.el, S.zoom, S.pos, S.win, S.color, S.theme, S.flat]") == [
        20, -10, 0.5, 0.6, 0.1, "count", "light", True,
    ]  # fmt: skip
    browser.press("r")
    browser.frame()
    browser.wait("location.hash === ''")
    browser.press("2", "p", "v")
    browser.frame()
    browser.wait("location.hash === '#look=front&color=polarity&flat=1'")
    browser.js("location.hash = '#look=side&theme=light'")
    browser.wait("S.view === SIDE && S.theme === 'light' && S.color === 'time'")
    for wrong in ("look=1,2", "at=x&window=-4", "region=5,5,5", "region=9999,-3,2,1", "%ff&&=&a"):
        browser.js("location.hash = arguments[0]", f"#{wrong}")
        browser.frame()
        assert browser.js("return CELLS[0].box.axes.every(a => a.stop > a.start)")
        assert browser.js("return Number.isFinite(dvskit.place(0, 0, 0)[0])")
    assert browser.complaints() == []
