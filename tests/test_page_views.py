"""Of the page: regions, the flat view, counts, several recordings, labels, addresses of views."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from dvskit import Events, render, save_events
from dvskit.errors import ConfigError
from dvskit.formats import open_events
from dvskit.render.colormap import DARK, LIGHT, rgb
from dvskit.streams import Labels


def crossing(count=4000, seed=3):
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
LABELS = Labels(
    np.array([4_000_000, 5_250_000, 5_500_000]),
    np.array([5_250_000, 5_500_000, 9_000_000]),
    ("still", "wave", "clap"),
)
DECISIONS = Labels(np.array([5_000_000]), np.array([5_500_000]), ("wave (93 %)",))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    render.page(EVENTS, folder / "one.html")
    render.page([render.ShownEvents(EVENTS, "real"), OTHER], folder / "two.html")
    render.page(
        render.ShownEvents(EVENTS, labels=LABELS, decisions=DECISIONS), folder / "labels.html"
    )
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


def peaks(browser):
    """Return the peaks of the rows of rates, as they are written, in events a second."""
    scales = {"ev/s": 1, "kev/s": 1e3, "Mev/s": 1e6}
    found = [text.split() for text in words_drawn(browser) if text.startswith("peak ")]
    return [float(value.replace(",", "")) * scales[unit] for _, value, unit in found]


@pytest.mark.slow
def test_rows_of_rates_with_scales_of_their_own_tell_their_peaks(browser, pages, tmp_path):
    browser.open(pages / "two.html")
    parts = (SINCE * 240 // 1_500_001).astype(int)
    expected = [np.bincount(parts).max() * 240 / 1.5, 240 / 1.5]
    assert peaks(browser) == pytest.approx(expected, rel=0.01)
    render.page([render.ShownEvents(EVENTS, "real"), OTHER], tmp_path / "few.html", max_events=2000)
    browser.open(tmp_path / "few.html")
    assert peaks(browser)[0] == pytest.approx(expected[0], rel=0.5)  # one in four events is there
    browser.open(pages / "one.html")
    parts = (SINCE * 240 // 1_000_000).astype(int)
    assert peaks(browser) == pytest.approx([np.bincount(parts).max() * 240], rel=0.01)


@pytest.mark.slow
def test_the_strip_names_times_from_the_start_to_the_end(browser, pages):
    for page, state, first, last in (
        ("one", "", "0", "800 ms"), ("two", "", "0", "1,400 ms"),
        ("two", "times=own", "0", "100 %"),
    ):  # fmt: skip
        browser.open(pages / f"{page}.html", state=state)
        named = browser.js(
            "const found = [], own = drawLabel; drawLabel = (...words) => found.push(words[4]);"
            "try { drawTimes($('rate').getContext('2d'), 600, 40); } finally { drawLabel = own; }"
            "return found;"
        )
        assert named[0] == first
        assert named[-1] == last
        assert 4 <= len(named) <= 9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("look", "gone"),
    [("", ""), ("front", "time (ms)"), ("side", "x (px)"), ("0,90,1,0,0", "y (px)")],
)
def test_an_axis_that_is_seen_end_on_has_no_words_over_the_events(browser, pages, look, gone):
    browser.open(pages / "one.html", state=f"look={look}" if look else "")
    titles = {"time (ms)", "x (px)", "y (px)"}
    assert titles & set(words_drawn(browser)) == titles - {gone}


@pytest.mark.slow
@pytest.mark.parametrize(("look", "same"), [("front", "us"), ("side", "x"), ("top", "y")])
def test_a_view_along_an_axis_is_parallel(browser, pages, look, same):
    """What differs along the axis alone falls on one place; what is as long is drawn as long."""
    browser.open(pages / "one.html", state=f"look={look}")
    places = {
        (x, y, us): browser.js("return dvskit.place(...arguments)", x, y, us)
        for x in (0, 50, 99) for y in (0, 59) for us in (0, 500_000, 999_999)
    }  # fmt: skip
    axis = ["x", "y", "us"].index(same)
    for event, place in places.items():
        alike = [at for other, at in places.items()
                 if all(other[i] == event[i] for i in range(3) if i != axis)]  # fmt: skip
        assert len(alike) == (2 if same == "y" else 3)
        np.testing.assert_allclose(alike, [place] * len(alike), atol=1e-6)
    box = np.array(browser.js("return dvskit.box()"))
    wide, tall = np.ptp(box, axis=0)
    long = {"front": 100 / 60, "side": 1.7 / 0.6, "top": 1.7 / 1.0}[look]
    assert wide / tall == pytest.approx(long, rel=1e-6)
    assert drawn(browser) == len(EVENTS)


@pytest.mark.slow
def test_a_view_along_an_axis_gains_perspective_little_by_little_when_it_is_turned(browser, pages):
    browser.open(pages / "one.html", state="look=front")
    before = np.array(browser.js("return dvskit.box()"))
    for _ in range(40):
        browser.js("turn(0.5, 0.1)")
        box = np.array(browser.js("return dvskit.box()"))
        assert np.abs(box - before).max() < 30, "no leap"
        before = box
    assert browser.js("return camera(CELLS[0]).perspective") == 1
    browser.frame()
    assert browser.complaints() == []


@pytest.mark.slow
def test_the_side_that_is_seen_from_above_tells_its_times_below_it(browser, pages):
    browser.open(pages / "one.html", state="look=top")
    at = browser.js(
        "const cam = camera(CELLS[0]), back = backOf(cam);"
        "return [0, 2].map(axis => labelEdge(cam, CELLS[0].box, back, axis).middle)"
    )
    box = np.array(browser.js("return dvskit.box()"))
    assert at[0][1] == pytest.approx(box[:, 1].max())
    assert at[1][0] == pytest.approx(box[:, 0].min())
    browser.press("3")
    browser.frame()
    browser.press("4")
    browser.frame()
    assert browser.js("return dvskit.link") == "look=top"


# -- what is left out while it moves


@pytest.mark.slow
def test_what_is_left_out_while_it_moves_is_said_and_no_longer_at_rest(one):
    one.frame()
    assert one.js("return $('thinned').hidden")
    told = one.js(
        "S.budget = 1000; S.moving = true; clearTimeout(idle); draw();"
        "const {count, drawn} = DRAWN, said = $('thinned');"
        "return [said.textContent, said.hidden, count, drawn]"
    )
    assert told[1] is False
    assert told[0] == f"1 in {round(told[2] / told[3])} events drawn while it moves"
    assert told[3] < told[2] == len(EVENTS)
    one.js("moving()")
    one.frame()
    assert one.js("return [$('thinned').hidden, DRAWN.drawn]") == [True, len(EVENTS)]


# -- region and flat view


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1440, 900), (1100, 640), (800, 600), (420, 800), (390, 844)])
def test_the_fields_of_the_region_cover_no_flat_view_and_stay_while_one_is_drawn(
    browser, pages, size
):
    browser.open(pages / "one.html", size, "flat=1")
    browser.js("$('region').click()")
    browser.frame()
    panel, flat, whole = browser.js(
        "const r = $('region-panel').getBoundingClientRect();"
        "return [[r.left, r.top, r.right, r.bottom], dvskit.flat(), [innerWidth, innerHeight]]"
    )
    apart = (panel[2] <= flat["left"] or panel[0] >= flat["right"]
             or panel[3] <= flat["top"] or panel[1] >= flat["bottom"])  # fmt: skip
    assert apart, (panel, flat)
    assert min(panel[:2]) >= 0
    assert panel[2] <= whole[0]
    assert panel[3] <= whole[1]
    browser.js(
        "const {left, top, pixel} = dvskit.flat();"
        "for (const [kind, x, y] of [['down', 10, 5], ['move', 40, 30], ['up', 40, 30]])"
        "  $('cloud').dispatchEvent(new PointerEvent(`pointer${kind}`, {pointerId: 1, button: 0,"
        "    clientX: left + (x + .5) * pixel, clientY: top + (y + .5) * pixel}));"
    )
    browser.frame()
    assert browser.js("return [$('region-panel').hidden, S.region]") == [False, [10, 5, 41, 31]]
    assert browser.js("return ['x-first', 'y-last'].map(name => Number($(name).value))") == [10, 30]


def inside(left, top, right, bottom):
    return (EVENTS.x >= left) & (EVENTS.x < right) & (EVENTS.y >= top) & (EVENTS.y < bottom)


@pytest.mark.slow
def test_a_region_drawn_on_the_flat_view_is_what_both_views_and_the_axes_show(
    one,
):
    one.press("v")
    one.frame()
    flat = one.js("return dvskit.flat()")
    cloud = one.js("return [innerWidth, innerHeight]")
    at = [flat["left"] + flat["pixel"] * x for x in (20.5, 49.5)]
    down = [flat["top"] + flat["pixel"] * y for y in (10.5, 29.5)]
    chain = ActionChains(one.driver)
    element = one.js("return $('cloud')")
    centre = [cloud[0] / 2, cloud[1] / 2]
    chain.move_to_element_with_offset(
        element, round(at[0] - centre[0]), round(down[0] - centre[1])
    ).click_and_hold()
    chain.move_by_offset(round(at[1] - at[0]), round(down[1] - down[0])).release().perform()
    left, top, right, bottom = one.js("return S.region")
    assert abs(left - 20) <= 1
    assert abs(top - 10) <= 1
    assert abs(right - 50) <= 1
    assert abs(bottom - 30) <= 1
    one.frame()
    count = np.count_nonzero(inside(left, top, right, bottom))
    assert f"{count:,} events" in one.js("return $('clock').innerText")
    assert one.js("return CELLS[0].box.axes.map(a => [a.start, a.stop])")[1:] == [
        [top, bottom],
        [left, right],
    ]
    words = one.js("return $('region-words').textContent")
    assert words == f"x {left} to {right - 1}, y {top} to {bottom - 1} px"
    assert one.js("return CLOUDS[0].rates.reduce((a, b) => a + b)") == count
    one.press("x")
    one.frame()
    assert one.js("return S.region") is None
    assert one.js("return $('region-told').hidden")
    assert one.complaints() == []


@pytest.mark.slow
def test_events_outside_the_region_are_not_on_the_screen(browser, tmp_path):
    events = Events(t=[0, 10, 20], x=[2, 10, 18], y=[1, 5, 9], p=[1, 1, 1], size=(20, 12))
    render.page(events, tmp_path / "p.html")
    browser.open(tmp_path / "p.html", state="colour=polarity&flat=1&region=8,3,20,12")
    picture = browser.screen()
    orange = (np.abs(picture - rgb(DARK.on)).max(axis=2) < 90)[100:740]  # haze and all
    both = browser.js("return [dvskit.place(10, 5, 10), dvskit.place(18, 9, 20)]")
    flat = browser.js("return dvskit.flat()")
    spots = [(flat["left"] + (x - 7.5) * flat["pixel"], flat["top"] + (y - 2.5) * flat["pixel"])
             for x, y in ((10, 5), (18, 9))]  # fmt: skip
    near = np.zeros_like(orange)
    for u, v in [*both, *spots]:
        reach = 3 + round(flat["pixel"] / 2) if (u, v) in spots else 6
        patch = np.s_[round(v) - 100 - reach : round(v) - 100 + reach + 1,
                      round(u) - reach : round(u) + reach + 1]  # fmt: skip
        assert orange[patch].any()
        near[patch] = True
    assert not (orange & ~near).any()


@pytest.mark.slow
def test_the_flat_view_shows_each_pixel_where_the_sensor_has_it(browser, tmp_path):
    events = Events(t=[0, 1, 2, 3], x=[0, 3, 0, 0], y=[0, 2, 2, 0], p=[1, 0, 1, 0], size=(4, 3))
    render.page(events, tmp_path / "p.html")
    browser.open(tmp_path / "p.html", state="colour=polarity&flat=1")
    picture, flat = browser.screen(), browser.js("return dvskit.flat()")
    colours = {(0, 0): DARK.off, (3, 2): DARK.off, (0, 2): DARK.on, (1, 1): DARK.ground}
    for (x, y), colour in colours.items():
        u = round(flat["left"] + (x + 0.5) * flat["pixel"])
        v = round(flat["top"] + (y + 0.5) * flat["pixel"])
        assert tuple(picture[v, u]) == rgb(colour), (x, y)


@pytest.mark.slow
def test_the_fields_of_a_region_take_numbers_in_any_order(one):
    one.js("$('region').click()")
    for name, value in (("x-first", 70), ("x-last", 30), ("y-first", -5), ("y-last", 400)):
        one.js("$(arguments[0]).value = arguments[1]", name, value)
    one.js("$('y-last').onchange()")
    assert one.js("return S.region") == [30, 0, 71, 60]
    one.js("$('region-all').click()")
    assert one.js("return S.region") is None


@pytest.mark.slow
@pytest.mark.parametrize("step", ["setTime(0.3)", "setWindow(0.6)", "setTime(0.31)", "setTime(1)"])
def test_counts_of_pixels_follow_the_window(one, step):
    one.js(f"setColour('count'); setTime(0.5); setWindow(0.8); draw(); {step}; draw();")
    start, stop = one.js("return windowUs()")
    whole = one.js("return S.pos === 1")
    chosen = (start <= SINCE) & ((stop > SINCE) | whole)
    expected = np.zeros((60, 100), int)
    np.add.at(expected, (EVENTS.y[chosen], EVENTS.x[chosen]), 1)
    found = np.array(one.js("return Array.from(CLOUDS[0].counts.counts)")).reshape(60, 100)
    np.testing.assert_array_equal(found, expected)
    assert one.js("return MOST") == max(1, expected.max())
    assert f"{expected.max()}" in one.js("return $('key').textContent")
    one.frame()


@pytest.mark.slow
def test_counts_colour_busy_pixels_and_quiet_ones_apart(browser, tmp_path):
    events = Events(t=range(102), x=[1, *[3] * 101], y=[1] * 102, p=[1] * 102, size=(5, 3))
    render.page(events, tmp_path / "p.html")
    browser.open(tmp_path / "p.html", state="colour=count&flat=1&theme=light")
    picture, flat = browser.screen(), browser.js("return dvskit.flat()")
    v = round(flat["top"] + 1.5 * flat["pixel"])
    row = picture[v, [round(flat["left"] + (x + 0.5) * flat["pixel"]) for x in (1, 3)]]
    assert np.abs(row[0] - rgb(LIGHT.count_stops[0])).max() <= 3
    assert np.abs(row[1] - rgb(LIGHT.count_stops[-1])).max() <= 3


@pytest.mark.slow
def test_the_window_fills_the_box_when_asked_to(one):
    one.slide("time", 0.5)
    one.slide("window", 0.7)
    before = drawn(one)
    one.press("f")
    start, stop = one.js("return windowUs()")
    unit = one.js("return unitOf(windowUs()[1] - windowUs()[0])[1]")
    axis = one.js("return CELLS[0].box.axes[0]")
    assert [axis["start"] * unit, axis["stop"] * unit] == pytest.approx([start, stop])
    assert one.js(f"return CELLS[0].box.at(0, 0, {start})[0]") == pytest.approx(-1.7 / 2)
    assert drawn(one) == before


# -- several recordings


@pytest.mark.slow
def test_several_recordings_stand_side_by_side_in_one_scale_of_time(browser, pages):
    browser.open(pages / "two.html")
    assert drawn(browser) == len(EVENTS) + 2
    boxes = [np.array(browser.js(f"return dvskit.box({i})")) for i in (0, 1)]
    assert boxes[0][:, 0].max() < 720 < boxes[1][:, 0].min()
    assert browser.js("return SPAN_US") == 1_500_000
    middle = browser.js("return [0, 1].map(i => CELLS[i].box.at(0, 0, 750000)[0])")
    assert middle == pytest.approx([0, 0])
    az = browser.js("return S.az")
    browser.press(Keys.ARROW_LEFT, "v", "p", "p")
    assert browser.js("return S.az") == az - 4
    browser.frame()
    assert browser.complaints() == []
    browser.resize(390, 844)
    browser.wait("innerWidth === 390 && $('axes').width === 390")
    boxes = [np.array(browser.js(f"return dvskit.box({i})")) for i in (0, 1)]
    assert boxes[0][:, 1].max() < boxes[1][:, 1].min(), "one above the other"


@pytest.mark.slow
def test_recordings_much_longer_than_others_leave_each_its_own_time(browser, tmp_path):
    hours = Events(t=[0, 18_000_000_000, 36_000_000_000], x=[1, 2, 3], y=[1, 2, 3],
                   p=[True, False, True], size=(20, 30))  # fmt: skip
    shown = [
        render.ShownEvents(EVENTS, "one second", LABELS),
        render.ShownEvents(hours, "ten hours"),
    ]
    render.page(shown, tmp_path / "p.html")
    browser.open(tmp_path / "p.html")
    assert browser.js("return CLOUDS.map(spanUs)") == [999_999, 36_000_000_000]
    ends = "return CLOUDS.map((cloud, i) => CELLS[i].box.at(0, 0, cloud.told.span_us)[0])"
    assert browser.js(ends) == pytest.approx([0.85, 0.85])
    words = words_drawn(browser)
    assert {"time (ms)", "time (s)"} <= set(words)
    assert any("one second" in text and "1,000 ms" in text for text in words)
    browser.js("setTime(0.3); setWindow(slideOf())")
    browser.frame()
    inside = np.searchsorted(SINCE, 0.3 * 999_999) + 1
    assert browser.js("return DRAWN.count") == inside
    assert browser.js("return $('clock').innerText").startswith("0 % – 30 %")
    assert "wave" in browser.js("return $('clock').innerText")
    browser.js("setTime(1)")
    browser.press("t")
    browser.frame()
    assert browser.js("return CLOUDS.map(spanUs)") == [36_000_000_000] * 2
    assert browser.js(ends)[0] < -0.84
    assert browser.js("return [dvskit.link, $('own').getAttribute('aria-pressed')]") == [
        "times=one", "false",
    ]  # fmt: skip
    browser.open(tmp_path / "p.html", state="times=own&look=side")
    assert browser.js("return [dvskit.link, ownTimes()]") == ["look=side&times=own", True]
    assert browser.complaints() == []


@pytest.mark.slow
def test_recordings_of_about_one_length_share_a_time_until_told_otherwise(browser, pages):
    browser.open(pages / "two.html")
    assert browser.js("return [ownTimes(), $('own').hidden]") == [False, False]
    browser.js("$('own').click()")
    assert browser.js("return CLOUDS.map(spanUs)") == [999_999, 1_500_000]
    browser.open(pages / "one.html", state="times=own")
    assert browser.js("return [ownTimes(), $('own').hidden]") == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "size", "grid"),
    [
        (3, (1600, 800), [3, 1]),
        (3, (1280, 620), [3, 1]),
        (3, (1000, 700), [2, 2]),
        (3, (390, 700), [1, 3]),
        (4, (1600, 800), [2, 2]),
        (5, (1600, 800), [3, 2]),
        (1, (1600, 800), [1, 1]),
    ],
)
def test_rows_are_full_where_cells_are_about_as_large_so(one, count, size, grid):
    assert one.js("return grid(...arguments)", count, *size) == grid


@pytest.mark.slow
def test_three_recordings_fill_a_wide_window_in_one_row(browser, tmp_path):
    render.page([EVENTS] * 3, tmp_path / "three.html")
    browser.open(tmp_path / "three.html", (1600, 1000))
    assert drawn(browser) == 3 * len(EVENTS)
    boxes = [np.array(browser.js(f"return dvskit.box({i})")) for i in range(3)]
    for left, right in pairwise(boxes):
        assert left[:, 0].max() < right[:, 0].min()
    for box in boxes:
        assert np.ptp(box[:, 0]) > 0.25 * 1600
        assert np.ptp(box[:, 1]) > 0.4 * 1000
    assert words_drawn(browser).count("x (px)") == 3


@pytest.mark.slow
@pytest.mark.parametrize(("page", "state"), [("one", "flat=1"), ("two", ""), ("two", "flat=1")])
def test_on_a_phone_held_sideways_views_stand_below_short_words(browser, pages, page, state):
    browser.open(pages / f"{page}.html", (844, 390), state)
    browser.wait("$('axes').width === 844 && !pending")
    head, key = browser.js(
        "return ['head', 'key'].map(name => $(name).getBoundingClientRect().bottom)"
    )
    assert 30 < head < 64, "a line each for title and facts"
    cells = browser.js(
        "return CELLS.map(({view, flat, rect}) => [rect[1], view[1], flat && flat.top])"
    )
    for top, view, flat in cells:
        assert top >= max(head, key)
        assert view >= top + 18
        assert flat is None or flat >= top + 20


@pytest.mark.slow
def test_on_a_phone_held_sideways_all_keys_are_seen_at_once(one):
    one.resize(844, 390)
    one.wait("innerWidth === 844 && $('axes').width === 844 && !pending")
    one.js("$('keys').click()")
    tall, shown, top, bottom = one.js(
        "const h = $('help'), r = h.getBoundingClientRect();"
        "return [h.scrollHeight, h.clientHeight, r.top, r.bottom]"
    )
    assert tall == shown
    assert 0 <= top < bottom <= 390


@pytest.mark.slow
def test_several_recordings_share_the_cap_and_say_what_is_left_out(browser, tmp_path):
    report = render.page(
        [render.ShownEvents(EVENTS, "real"), OTHER], tmp_path / "p.html", max_events=2000
    )
    assert (report.kept, report.total, report.every) == (1002, 4002, 4)
    browser.open(tmp_path / "p.html")
    assert browser.js("return $('notice').textContent") == (
        "real: 1 in 4 events shown: 1,000 of 4,000"
    )


def test_a_page_of_no_recording_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least one recording"):
        render.page([], tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()


# -- labels


def told(path):
    found = re.search(r'<script id="meta" type="application/json">(.*?)</script>', path.read_text())
    assert found
    return json.loads(found[1])  # type: ignore[no-any-return]


def meta(path):
    return told(path)["clouds"][0]  # type: ignore[no-any-return]


def test_labels_count_from_the_first_event_and_end_with_the_last(pages):
    page = meta(pages / "labels.html")
    assert page["labels"] == [
        [0, 250_000, "still"],
        [250_000, 500_000, "wave"],
        [500_000, 999_999, "clap"],
    ]
    assert page["decisions"] == [[0, 500_000, "wave (93 %)"]]


@pytest.mark.slow
def test_labels_and_decisions_stand_along_the_time_in_one_colour_a_name(browser, pages):
    browser.open(pages / "labels.html")
    colours = browser.js("return ['still', 'wave', 'clap', 'wave (93 %)'].map(bandColour)")
    assert len(set(colours[:3])) == 3
    assert colours[3] == colours[1]
    picture = browser.screen()
    left, right, top, bottom = browser.js(
        "const b = $('rate').getBoundingClientRect(); return [b.left, b.right, b.top, b.bottom]"
    )
    row = picture[round(bottom - 14 - 26 - 4)]  # the upper of two rows of 17 pixels, over times
    at = [round(left + share * (right - left)) for share in (0.02, 0.3, 0.9)]
    assert [tuple(row[u]) for u in at] == [rgb(colour) for colour in colours[:3]]
    cloud = picture[100 : round(top) - 30]
    for colour in colours[:3]:
        assert (np.abs(cloud - rgb(colour)).max(axis=2) < 12).sum() > 200, "a band at the box"
    browser.slide("time", 0.3)
    assert "wave, wave (93 %)" in browser.js("return $('clock').innerText")
    assert browser.complaints() == []


def test_the_labels_of_a_recording_are_shown_unasked(tmp_path):
    events = Events(t=EVENTS.t, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=(128, 128))
    save_events(events, tmp_path / "a.aedat")
    (tmp_path / "a_labels.csv").write_text("class,startTime_usec,endTime_usec\n4,5000000,5300000\n")
    source = open_events(tmp_path / "a.aedat")
    assert len(source.labels()) == 1
    render.page(source, tmp_path / "p.html")
    assert meta(tmp_path / "p.html")["labels"] == [[0, 300_000, "4"]]


# -- the address of a view


STATE = "look=20,-10,0.5,0.1,-0.05&at=0.6&window=0.1&fill=1&colour=count&theme=light&flat=1"


@pytest.mark.slow
def test_an_address_brings_the_view_back(browser, pages):
    state = f"{STATE}&region=10,5,90,50"
    browser.open(pages / "one.html", state=state)
    browser.frame()
    assert browser.js("return dvskit.link") == state
    assert browser.js("return [S.az, S.el, S.zoom, S.pos, S.win, S.colour, S.theme, S.flat]") == [
        20, -10, 0.5, 0.6, 0.1, "count", "light", True,
    ]  # fmt: skip
    assert browser.js("return document.documentElement.dataset.theme") == "light"
    browser.press("r")
    browser.frame()
    browser.wait("location.hash === ''")
    assert browser.js("return dvskit.link") == ""


@pytest.mark.slow
def test_what_is_done_is_written_into_the_address(one):
    one.press("2", "p", "v")
    one.frame()
    one.wait("location.hash === '#look=front&colour=polarity&flat=1'")
    one.js("location.hash = '#look=side&theme=light'")
    one.wait("S.view === SIDE && S.theme === 'light' && S.colour === 'time'")
    assert one.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "state",
    ["look=1,2", "at=x&window=-4", "region=5,5,5", "region=9999,-3,2,1", "%ff&&=&colour=red"],
)
def test_an_address_that_makes_no_sense_shows_a_view_that_does(browser, pages, state):
    browser.open(pages / "one.html", state=state)
    browser.frame()
    assert browser.complaints() == []
    assert browser.js("return CELLS[0].box.axes.every(a => a.stop > a.start)")
    assert browser.js("return Number.isFinite(dvskit.place(0, 0, 0)[0])")


@pytest.mark.slow
def test_the_saved_picture_has_both_views(one):
    one.press("v")
    one.frame()
    size = one.driver.execute_async_script(
        "const done = arguments[0];"
        "dvskit.png().then(b => createImageBitmap(b)).then(i => done([i.width, i.height]))"
    )
    bar = one.js("return $('bar').getBoundingClientRect().top")
    assert size == [1440, round(bar)]


@pytest.mark.slow
def test_a_click_on_the_strip_seeks(one):
    width, element = one.js("return [$('time').getBoundingClientRect().width, $('time')]")
    chain = ActionChains(one.driver)
    chain.move_to_element_with_offset(element, round(-0.25 * width), 0).click().perform()
    assert one.js("return S.pos") == pytest.approx(0.25, abs=0.02)


@pytest.mark.slow
def test_sensors_beyond_any_that_exist_are_counted_in_squares(browser, tmp_path):
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 32767, (2, 3000))
    events = Events(t=range(3000), x=x, y=y, p=[1] * 3000, size=(32767, 32767))
    render.page(events, tmp_path / "p.html")
    browser.open(tmp_path / "p.html", state="colour=count&flat=1&region=5,9,16001,20003")
    browser.frame()
    inside = np.count_nonzero((x >= 5) & (x < 16001) & (y >= 9) & (y < 20003))
    assert f"{inside:,} events" in browser.js("return $('clock').innerText")
    expected = np.zeros((4096, 4096), int)
    np.add.at(expected, (y >> 3, x >> 3), 1)
    assert browser.js("return MOST") == expected[:2501, :2001].max()
    assert browser.complaints() == []


@pytest.mark.slow
def test_every_eighth_event_stands_in_for_many_while_moving(browser, tmp_path):
    events = crossing(4001)
    render.page(events, tmp_path / "p.html")
    browser.open(tmp_path / "p.html")
    browser.frame()
    drawn = browser.js("S.budget = 251; S.moving = true; draw(); return dvskit.drawn")
    assert drawn == {"count": 4001, "drawn": 251}  # 501 in the eighth, every second of them
    table = np.array(browser.js("return Array.from(CLOUDS[0].whole.sparse.table)")).reshape(-1, 4)
    assert table[:, 0].tolist() == events.x[::8].tolist()
    assert table[:, 2].tolist() == ((events.t - events.t[0])[::8] % 65536).tolist()
    pieces = "return [...CLOUDS[0].whole.sparse.pieces(0, 501)].flat()"
    found = np.array(browser.js(pieces)).reshape(-1, 3)
    assert found[0, 0] == 0
    assert found[-1, 1] == 501
    since = (events.t - events.t[0])[::8]
    for first, last, start in found:
        assert (since[first:last] // 65536 * 65536 == start).all()
    browser.js("S.moving = false; draw()")
    assert browser.complaints() == []


# -- the command


def test_the_command_shows_several_files_with_labels_and_decisions(run, tmp_path):
    save_events(EVENTS, tmp_path / "a.npz")
    save_events(OTHER, tmp_path / "b.npz")
    assert run("cloud", "a.npz", "b.npz", "-o", "two.html")[0] == 0
    assert [each["name"] for each in told(tmp_path / "two.html")["clouds"]] == ["a.npz", "b.npz"]
    (tmp_path / "l.csv").write_text("start_us,stop_us,name\n5000000,5400000,wave\n")
    words = ("--colour", "polarity", "--view", "front", "--bright", "--labels", "l.csv")
    assert run("cloud", "a.npz", "-o", "one.html", *words)[0] == 0
    assert meta(tmp_path / "one.html")["labels"] == [[0, 400_000, "wave"]]
    assert told(tmp_path / "one.html")["state"] == "look=front&colour=polarity&theme=light"
    run("cloud", "a.npz", "-o", "side.html", "--azimuth", "20", "--elevation=-10")
    assert told(tmp_path / "side.html")["state"] == "look=20,-10,1,0,0"


def test_labels_of_other_times_are_left_out_and_counted(run, tmp_path):
    save_events(EVENTS, tmp_path / "a.npz")
    first, last = int(EVENTS.t[0]), int(EVENTS.t[-1])
    rows = [(0, first), (first, last), (last, last + 9), (last + 1, last + 9), (5, 9)]
    lines = [f"{start},{stop},n{i}" for i, (start, stop) in enumerate(rows)]
    (tmp_path / "l.csv").write_text("\n".join(["start_us,stop_us,name", *lines]))
    code, _, err = run("cloud", "a.npz", "-o", "a.html", "--labels", "l.csv")
    assert code == 0
    assert err.startswith("dvskit: note: l.csv: 3 of 5 labels lie outside the time shown")
    assert [name for *_, name in meta(tmp_path / "a.html")["labels"]] == ["n1", "n2"]
    labels = Labels(np.array([first, last + 1]), np.array([last, last + 2]), ("in", "out"))
    report = render.page(render.ShownEvents(EVENTS, labels=labels), tmp_path / "b.html")
    assert (report.labels, report.labels_total) == (1, 2)
    (tmp_path / "l.csv").write_text("\n".join(["start_us,stop_us,name", lines[1]]))
    assert run("cloud", "a.npz", "-o", "c.html", "--labels", "l.csv")[2] == "c.html: 4,000 events\n"


def test_a_model_of_another_sensor_sees_recordings_fitted_which_is_noted(run, tmp_path):
    save_events(EVENTS, tmp_path / "a.npz")  # on 100x60
    code, _, err = run("cloud", "a.npz", "-o", "x.html", "--model", "nmnist-signed-lif")
    assert code == 0
    assert "of 100x60 fitted to 34x34 (3x3 pixels to one, in the middle" in err.replace(
        "without 1 column at the edges", "in the middle"
    )
    assert meta(tmp_path / "x.html")["decisions"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "ended_with", "said"),
    [
        (("a.npz", "-o", "x.png"), 2, "shows one recording; .html shows several"),
        (("-o", "x.html", "--dpi", "300"), 2, "--dpi does not apply to a page"),
        (("-o", "x.png", "--labels", "l.csv"), 2, "--labels does not apply to a still"),
        (("a.npz", "-o", "x.html", "--labels", "l.csv"), 2, "--labels apply to one recording"),
        (("-o", "x.html", "--every", "1s"), 2, "name a model"),
        (("-o", "x.html", "--labels", "missing.csv"), 1, "missing.csv: no such file"),
        (("-o", "x.html", "--model", "nmnist"), 1, "neither a model folder nor a shipped model"),
    ],
)
def test_what_a_page_cannot_have_is_told_in_a_line(run, tmp_path, words, ended_with, said):
    save_events(EVENTS, tmp_path / "a.npz")
    code, out, err = run("cloud", "a.npz", *words)
    assert (code, out) == (ended_with, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.slow
def test_a_model_says_what_it_sees_along_the_time(run, tmp_path, data):
    digit = data / "recordings" / "nmnist_34x34.bin"
    words = ("--model", "nmnist-signed-lif", "--every", "100ms", "-o", "d.html")
    assert run("cloud", digit, *words)[0] == 0
    decisions = meta(tmp_path / "d.html")["decisions"]
    assert [row[0] for row in decisions] == [0, 100_000, 200_000]
    assert all(re.fullmatch(r"\d \(\d+ %\)", row[2]) for row in decisions)
