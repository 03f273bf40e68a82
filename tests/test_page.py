"""The file of a page: its events, labels, images and objects, and the command that writes it."""

from __future__ import annotations

import base64
import json
import re
import zlib

import cv2
import numpy as np
import pytest

from dvskit import Events, open_events, render, save_events
from dvskit.errors import ConfigError, OutputError
from dvskit.render.pages import pack, pieces, step_us, steps
from dvskit.streams import Labels
from dvskit.tracking import OBJECT_ROW
from tests.laws import InBlocks, refused, refused_command, scattered

START_US = 5_000_000
EVENTS = Events(
    t=START_US + np.arange(0, 1_000_000, 1000), x=np.arange(1000) // 10, y=[30] * 1000,
    p=[True] * 1000, size=(100, 60),
)  # fmt: skip


def element(text, name):
    """Return the content of an element of a page by its id; None without one."""
    found = re.search(rf'<script id="{name}" type="[a-z/]*">(.*?)</script>', text)
    return None if found is None else found[1]


def told(path):
    return json.loads(element(path.read_text(), "meta"))


def stored(text, index=0):
    """Return the description of a recording on a page, and the bytes of its events."""
    data = zlib.decompress(base64.b64decode(element(text, f"data-{index}")))
    return json.loads(element(text, "meta"))["clouds"][index], data


def unpack_by_hand(raw, counts):
    """Return the events of a page, with times in steps from the first one."""
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


def spread(count, span):
    """Return events whose first and last are `span` apart, around t = 0."""
    rng = np.random.default_rng(span % 1000)
    inner = sorted(int(share * span) for share in rng.random(count - 2))
    t = [at - span // 2 for at in (0, *inner, span)]
    sides = rng.integers(0, 100, (2, count))
    return Events(t=t, x=sides[0], y=sides[1], p=rng.random(count) < 0.5, size=(100, 100))


@pytest.mark.parametrize("span", [1, 65_535, 65_536, 2**24 - 1, 2**24, 2**40, 2**63])
def test_the_page_stores_every_event_and_its_time_exactly_up_to_16_seconds(span, tmp_path):
    events = spread(700, span)
    report = render.page(events, tmp_path / "p.html")
    facts, raw = stored((tmp_path / "p.html").read_text())
    step = report.resolution_us
    first = int(events.t[0])
    assert unpack_by_hand(raw, facts["pieces"]) == [
        (x, y, (t - first) // step, p)
        for t, x, y, p in zip(*(getattr(events, c).tolist() for c in "txyp"), strict=True)
    ]
    assert step == facts["resolution_us"] == (1 if span < 2**24 else span // 2**24 + 1)
    assert len(facts["pieces"]) <= 256
    assert (report.kept, report.total, report.every) == (700, 700, 1)
    assert report.size_bytes == (tmp_path / "p.html").stat().st_size
    assert (facts["span_us"], facts["width"], facts["height"]) == (span, 100, 100)


def test_the_largest_coordinates_survive_and_no_step_of_time_is_longer_than_it_must_be():
    events = Events(t=[5, 5], x=[32766, 0], y=[0, 32766], p=[False, True], size=(32767, 32767))
    times = steps(events, start_us=5, step=1)
    back = unpack_by_hand(pack(events, times), pieces(times))
    assert back == [(32766, 0, 0, False), (0, 32766, 0, True)]
    assert [step_us(span) for span in (0, 2**24 - 1, 2**24, 2**25 - 1, 2**25)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(("most", "every"), [(1000, 1), (999, 2), (250, 4), (1, 1024)])
def test_a_page_keeps_every_2nd_4th_8th_event_however_the_stream_is_cut(most, every, tmp_path):
    events = scattered(1000)
    for name, shown in (("a", InBlocks(events, 33)), ("b", events), ("c", InBlocks(events, 1))):
        report = render.page(shown, tmp_path / f"{name}.html", title="t", max_events=most)
        assert (report.kept, report.total, report.every) == (-(-1000 // every), 1000, every)
    pages = [(tmp_path / f"{name}.html").read_bytes() for name in "abc"]
    assert pages[0] == pages[1] == pages[2]
    facts, raw = stored(pages[0].decode())
    found = [t for *_, t, _ in unpack_by_hand(raw, facts["pieces"])]
    assert found == (events.t[::every] - events.t[0]).tolist()


def test_several_recordings_share_the_cap(tmp_path):
    other = EVENTS[:2]
    report = render.page([EVENTS, other], tmp_path / "p.html", max_events=500)
    assert (report.kept, report.total, report.every) == (252, 1002, 4)


def test_the_page_names_nothing_outside_itself_and_replaces_nothing_unasked(tmp_path):
    path = tmp_path / "p.html"
    path.write_text("old")
    with refused(OutputError, "p.html"):
        render.page(EVENTS, path)
    assert path.read_text() == "old"
    render.page(EVENTS, path, overwrite=True)
    text = path.read_text()
    assert not re.search(r"(https?:)?//[a-z]+\.[a-z]", text)
    assert not re.search(r"<link[^>]+href=\"(?!data:)|<script[^>]+src|@import|url\(", text)
    assert "default-src 'none'" in text
    for shown, name, words in (
        (EVENTS, "p.png", (".html", ".png")), (EVENTS, "p", (".html",)),
        ([], "q.html", ("recording",)),
    ):  # fmt: skip
        with refused(ConfigError, *words):
            render.page(shown, tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["p.html"]


# -- labels


def test_labels_count_from_the_first_event_and_those_of_other_times_are_left_out(tmp_path):
    first, last = int(EVENTS.t[0]), int(EVENTS.t[-1])
    rows = [(0, first), (first - 9, first + 7), (last, last + 9), (last + 1, last + 9), (5, 9)]
    labels = Labels(*np.array(rows).T, tuple("abcde"))
    decisions = Labels(np.array([first]), np.array([first + 500_000]), ("wave (93 %)",))
    shown = render.ShownEvents(EVENTS, labels=labels, decisions=decisions)
    report = render.page(shown, tmp_path / "p.html")
    (facts,) = told(tmp_path / "p.html")["clouds"]
    assert facts["labels"] == [[0, 7, "b"], [999_000, 999_000, "c"]]
    assert facts["decisions"] == [[0, 500_000, "wave (93 %)"]]
    assert (report.labels, report.labels_total) == (2, 5)


def test_the_labels_of_a_recording_are_shown_unasked(tmp_path):
    events = Events(t=EVENTS.t, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=(128, 128))
    save_events(events, tmp_path / "a.aedat")
    (tmp_path / "a_labels.csv").write_text("class,startTime_usec,endTime_usec\n4,5000000,5300000\n")
    render.page(open_events(tmp_path / "a.aedat"), tmp_path / "p.html")
    assert told(tmp_path / "p.html")["clouds"][0]["labels"] == [[0, 300_000, "4"]]


# -- images and objects


def images_of(text):
    """Return the times of the images on a page, and the images, in gray."""
    packed = json.loads(element(text, "images-0"))
    decoded = [np.frombuffer(base64.b64decode(each), np.uint8) for each in packed]
    shown = [cv2.imdecode(each, cv2.IMREAD_GRAYSCALE) for each in decoded]
    return stored(text)[0]["images"], shown


@pytest.mark.parametrize(("count", "kept"), [(3, 3), (240, 240), (241, 121), (600, 150)])
def test_a_page_holds_at_most_240_images_and_their_times_from_the_first_event_on(
    count, kept, tmp_path
):
    images = [(START_US + 7 + 1000 * k, np.full((6, 8), k % 250, np.uint8)) for k in range(count)]
    report = render.page(render.ShownEvents(EVENTS, images=images), tmp_path / "a.html")
    assert (report.images, report.images_total) == (kept, count)
    times, shown = images_of((tmp_path / "a.html").read_text())
    every = -(-count // kept)
    assert times == [7 + 1000 * number for number in range(0, count, every)]
    for number, image in zip(range(0, count, every), shown, strict=True):
        assert np.abs(image.astype(int) - number % 250).max() < 5


def test_images_are_scaled_and_a_page_without_any_has_none(tmp_path):
    large = [(START_US, np.zeros((720, 1280, 3), np.uint8))]
    render.page(render.ShownEvents(EVENTS, images=large), tmp_path / "a.html")
    assert images_of((tmp_path / "a.html").read_text())[1][0].shape == (270, 480)
    report = render.page(EVENTS, tmp_path / "b.html")
    text = (tmp_path / "b.html").read_text()
    assert (report.images, element(text, "images-0")) == (0, None)
    assert "objects" not in stored(text)[0]


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
    found = stored((tmp_path / "a.html").read_text())[0]["objects"]
    one, two = found["tracks"]
    assert (found["step_us"], one["id"], two["id"]) == (10_000, 7, 12)
    assert one["t"] == list(range(10_000, 1_000_000, 10_000))
    assert one["x"] == [round(k * 0.9, 1) for k in range(1, 100)]
    assert (one["speed"][0], one["seen"][39:42]) == (98, [1, 0, 0])
    assert (two["w"][0], two["h"][0], two["y"][0]) == (6.2, 6.0, 10.0)
    render.page(render.ShownEvents(EVENTS, objects=ROWS[:0]), tmp_path / "b.html")
    none = stored((tmp_path / "b.html").read_text())[0]["objects"]
    assert none == {"step_us": 0.0, "tracks": []}
    for wrong in (np.zeros(3), np.zeros((2, 2), OBJECT_ROW)):
        with refused(ConfigError, "rows"):
            render.ShownEvents(EVENTS, objects=wrong)


# -- the command


def test_the_command_shows_several_files_with_labels_and_a_view(run, tmp_path):
    save_events(EVENTS, tmp_path / "a.npz")
    save_events(EVENTS[:2], tmp_path / "b.npz")
    assert run("cloud", "a.npz", "b.npz", "-o", "two.html")[0] == 0
    assert [each["name"] for each in told(tmp_path / "two.html")["clouds"]] == ["a.npz", "b.npz"]
    rows = "5000000,5400000,wave\n1,2,early\n"
    (tmp_path / "l.csv").write_text(f"start_us,stop_us,name\n{rows}")
    words = ("--color", "polarity", "--view", "front", "--bright", "--labels", "l.csv")
    code, _, err = run("cloud", "a.npz", "-o", "one.html", *words)
    assert code == 0
    assert "1 of 2 labels" in err
    assert told(tmp_path / "one.html")["clouds"][0]["labels"] == [[0, 400_000, "wave"]]
    assert told(tmp_path / "one.html")["state"] == "look=front&color=polarity&theme=light"
    run("cloud", "a.npz", "-o", "side.html", "--azimuth", "20", "--elevation=-10")
    assert told(tmp_path / "side.html")["state"] == "look=20,-10,1,0,0"


@pytest.mark.slow(seconds=4)
def test_a_model_decides_along_the_time_also_on_fitted_recordings(run, tmp_path):
    save_events(scattered(3000, (100, 60), span_us=290_000), tmp_path / "a.npz")
    words = ("--model", "nmnist-signed-lif", "--every", "100ms")
    code, _, err = run("cloud", "a.npz", "-o", "x.html", *words)
    assert code == 0
    assert "100x60 fitted to 34x34" in err
    decisions = told(tmp_path / "x.html")["clouds"][0]["decisions"]
    assert [row[0] for row in decisions] == [0, 100_000, 200_000]
    assert all(re.fullmatch(r"\d \(\d+ %\)", row[2]) for row in decisions)


@pytest.mark.slow
def test_the_command_shows_reconstructed_images(run, tmp_path):
    save_events(scattered(8000, (40, 30), span_us=400_000), tmp_path / "a.npz")
    code, _, err = run("cloud", "a.npz", "-o", "a.html", "--images", "filter")
    assert code == 0, err
    times, shown = images_of((tmp_path / "a.html").read_text())
    assert times[:2] == [33_333, 66_666]
    assert len(shown) in (11, 12)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("a.npz", "-o", "x.png"), "x.png"),
        (("-o", "x.html", "--dpi", "300"), "--dpi"),
        (("-o", "x.png", "--labels", "l.csv"), "--labels"),
        (("-o", "x.png", "--images", "filter"), "--images"),
        (("a.npz", "-o", "x.html", "--labels", "l.csv"), "--labels"),
        (("-o", "x.html", "--every", "1s"), "--every"),
        (("-o", "x.html", "--labels", "missing.csv"), "missing.csv"),
        (("-o", "x.html", "--model", "nmnist"), "nmnist"),
        (("-o", "x.html", "--images", "filtr"), "filtr"),
    ],
)
def test_options_that_a_page_cannot_have_are_refused(run, tmp_path, words, named):
    save_events(EVENTS, tmp_path / "a.npz")
    refused_command(run("cloud", "a.npz", *words), named)
    assert not list(tmp_path.glob("x.*"))
