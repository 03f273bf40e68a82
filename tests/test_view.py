"""`dvskit view`: what the server answers, and the page it serves."""

from __future__ import annotations

import http.client
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from dvskit import Events, load_events, open_events, save_events
from dvskit.errors import OutputError
from dvskit.render import view
from dvskit.render._thin import Overview, thin
from dvskit.render.page import PIECE
from dvskit.render.view import Viewed, ViewServer


def moving(count=5000, seed=1):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 3_000_000, count))
    return Events(
        t=t + 7_000_000,
        x=(t // 60_000 + rng.integers(0, 10, count)),
        y=rng.integers(0, 40, count),
        p=rng.random(count) < 0.5,
        size=(64, 40),
    )


EVENTS = moving()


# -- answers


@pytest.fixture
def file(tmp_path):
    save_events(EVENTS, tmp_path / "a.npz")
    return tmp_path / "a.npz"


@pytest.fixture
def served(file):
    with ViewServer([Viewed("a.npz", lambda: open_events(file))], title="A view") as view:
        view.viewed[0].overview.wait(20)
        yield view


def ask(
    view,
    name,
    *,
    host=None,
    secret=True,
    post=None,
):
    address = urlsplit(view.url)
    link = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=20)
    path = f"{address.path}{name}" if secret else name
    headers = {"Host": host} if host else {}
    link.request("GET" if post is None else "POST", path, body=post, headers=headers)
    answer = link.getresponse()
    found = answer.status, answer.read(), answer.headers
    link.close()
    return found


def unpack(body):
    """What a message tells, and (n, 4) rows of t from the recording's start, x, y, p."""
    (length,) = struct.unpack("<I", body[:4])
    told = json.loads(body[4 : 4 + length])
    planes = np.frombuffer(body[4 + length :], np.uint8).reshape(6, -1).astype(np.int64)
    low = np.cumsum(planes[4] + 256 * planes[5]) % PIECE
    piece = np.repeat(np.arange(len(told["pieces"])), told["pieces"])
    t = (piece * PIECE + low) * told["resolution_us"] + told.get("from_us", 0)
    x, y = planes[0] + 256 * (planes[1] % 128), planes[2] + 256 * planes[3]
    return told, np.stack([t, x, y, planes[1] >> 7], axis=1)


def rows(events):
    columns = (events.t - EVENTS.t[0], events.x, events.y, events.p)
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def test_the_sample_is_that_of_the_stream_as_a_whole(file, monkeypatch):
    overview = Overview(open_events(file), max_events=1000)
    overview.wait(20)
    kept = overview.kept()
    assert kept.events == thin(EVENTS, 1000).events
    assert (kept.every, kept.total) == (8, 5000)
    assert overview.progress.done


@pytest.mark.slow
def test_all_events_are_served_where_they_are_few(served):
    status, body, headers = ask(served, "events?cloud=0")
    told, found = unpack(body)
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    np.testing.assert_array_equal(found, rows(EVENTS))
    assert (told["total"], told["every"]) == (5000, 1)


@pytest.mark.slow
@pytest.mark.parametrize("region", [None, (5, 3, 40, 30)])
def test_a_part_is_what_lies_between_two_times_in_a_region(served, region):
    address = "part?cloud=0&start=500000&stop=900000"
    if region:
        address += f"&region={','.join(map(str, region))}"
    told, found = unpack(ask(served, address)[1])
    first = int(EVENTS.t[0])
    part = EVENTS.between(first + 500_000, first + 900_000)
    if region:
        left, top, right, bottom = region
        part = part[(part.x >= left) & (part.x < right) & (part.y >= top) & (part.y < bottom)]
    assert len(part) > 100
    np.testing.assert_array_equal(found, rows(part))
    assert (told["from_us"], told["to_us"], told["every"]) == (500_000, 900_000, 1)


def test_a_part_too_large_to_show_is_thinned(served, monkeypatch):
    monkeypatch.setattr(view.viewed, "MOST_EVENTS", 100)
    told, found = unpack(ask(served, "part?cloud=0&start=0&stop=3000001")[1])
    assert told["every"] == 64
    np.testing.assert_array_equal(found, rows(EVENTS)[::64])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("part?cloud=0&start=5&stop=2", "stop=2 is outside 5"),
        ("part?cloud=0&start=x&stop=2", "start='x' is not a whole number"),
        ("part?cloud=9&start=0&stop=2", "cloud=9 is outside 0..0"),
        ("part?cloud=0&start=0&stop=2&region=1,2", "LEFT,TOP,RIGHT,BOTTOM"),
        ("file?cloud=0&format=../../x", "is none of evt3"),
        ("events", "cloud='' is not a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(served, name, words):
    status, body, _ = ask(served, name)
    assert status == 400
    assert words in body.decode()
    assert b"\n" not in body


@pytest.mark.slow
@pytest.mark.parametrize("name", ["/", "/told", "/wrong-secret/told", "/../etc/passwd", "told"])
def test_without_the_secret_nothing_is_answered(served, name):
    status, body, _ = ask(served, name, secret=False)
    assert status == 403
    assert b"lacks its token; open the address that dvskit view printed" in body
    assert b"a.npz" not in body


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "told", "events?cloud=0"])
def test_another_host_name_is_refused_although_it_leads_here(served, name):
    assert ask(served, name, host="evil.example")[0] == 403
    port = urlsplit(served.url).port
    assert ask(served, name, host=f"localhost:{port}")[0] == 200


@pytest.mark.slow
def test_it_listens_on_the_loopback_address_alone(served):
    assert served._socket.getsockname()[0] == "127.0.0.1"
    assert len(urlsplit(served.url).path.strip("/")) >= 24


@pytest.mark.slow
def test_a_path_that_is_not_known_is_not_found(served):
    assert ask(served, "../../etc/passwd")[0] == 404
    assert ask(served, "file/../told")[0] == 404


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evt3", "csv", "npz"])
def test_a_recording_is_handed_out_in_other_formats(served, name, tmp_path):
    status, body, headers = ask(served, f"file?cloud=0&format={name}")
    assert status == 200
    ending = Path(headers["Content-Disposition"].split('"')[1]).suffix
    (tmp_path / f"back{ending}").write_bytes(body)
    assert load_events(tmp_path / f"back{ending}", size=EVENTS.size) == EVENTS


def wait_for(view, number):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        job: dict[str, str] = json.loads(ask(view, "told")[1])["jobs"][number]
        if job["state"] != "running":
            return job
        time.sleep(0.05)
    raise AssertionError("the job does not end")


def clip(path):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, (64, 48))
    for number in range(12):
        frame = np.full((48, 64, 3), 40, np.uint8)
        frame[10:30, 4 * number : 4 * number + 12] = 220
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.slow
def test_an_event_file_and_a_video_that_are_dropped_are_shown_and_a_text_is_not(
    served, file, tmp_path
):
    assert ask(served, "drop?name=b.npz", post=file.read_bytes())[0] == 200
    assert wait_for(served, 0)["state"] == "done"
    video = clip(tmp_path / "clip.mp4").read_bytes()
    ask(served, "drop?name=clip.mp4", post=video)
    assert wait_for(served, 1)["state"] == "done"
    ask(served, "drop?name=../../notes.mp4", post=b"not a video at all")
    failed = wait_for(served, 2)
    assert failed["state"] == "failed"
    assert "is neither an event file" in failed["words"]
    assert "nor a video" in failed["words"]
    clouds = json.loads(ask(served, "told")[1])["clouds"]
    assert [each["name"] for each in clouds] == ["a.npz", "b.npz", "clip.mp4, emulated"]
    np.testing.assert_array_equal(unpack(ask(served, "events?cloud=1")[1])[1], rows(EVENTS))
    served.viewed[2].overview.wait(20)
    told, _ = unpack(ask(served, "events?cloud=2")[1])
    assert (told["width"], told["height"]) == (64, 48)
    assert told["total"] > 100


@pytest.mark.slow
def test_closing_removes_what_was_dropped(file):
    with ViewServer([], title="x") as view:
        folder = view._inbox._folder
        ask(view, "drop?name=b.npz", post=file.read_bytes())
        wait_for(view, 0)
        assert list(folder.iterdir())
    assert not folder.exists()


@pytest.mark.slow
def test_a_port_in_use_is_told(served):
    port = urlsplit(served.url).port or 0
    with pytest.raises(OutputError, match=f"port {port} of 127.0.0.1 is not available"):
        ViewServer([], title="x", port=port)


def test_what_is_wrong_with_a_file_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("t,x,y,p\n1,2,3,1\n2,2,3,1\nnonsense\n")
    viewed = Viewed("a.csv", lambda: open_events(tmp_path / "a.csv", size=(9, 9)))
    viewed.overview.wait(20)
    told = viewed.status()
    assert told["done"]
    assert "at byte 24" in told["problem"]
    salvaged = Viewed("a", lambda: open_events(tmp_path / "a.csv", size=(9, 9), strict=False))
    salvaged.overview.wait(20)
    told = salvaged.status()
    assert (told["total"], told["problem"]) == (2, "")
    assert "lost" in told["damage"]


# -- the page


@pytest.mark.slow
def test_the_served_page_shows_a_part_closer_than_the_whole(file, browser, monkeypatch):
    monkeypatch.setattr(view.viewed, "MOST_EVENTS", 1000)
    monkeypatch.setattr(view.server, "MOST_EVENTS", 1000)
    with ViewServer([Viewed("a.npz", lambda: open_events(file))], title="A view") as served:
        browser.open(served.url)
        browser.wait("document.documentElement.dataset.all === 'yes'")
        browser.frame()
        assert browser.js("return dvskit.drawn.count") == 625
        assert "5,000\u00a0events" in browser.js("return $('facts').textContent")
        assert "1 in 8 events shown" in browser.js("return $('notice').textContent")
        browser.slide("time", 0.5)
        browser.slide("window", 0.5)
        browser.wait("!S.moving && CLOUDS[0].set === CLOUDS[0].close && CLOUDS[0].set.every === 1")
        browser.frame()
        start, stop = browser.js("return windowUs()")
        since = EVENTS.t - EVENTS.t[0]
        expected = np.count_nonzero((since >= start) & (since < stop))
        assert browser.js("return dvskit.drawn.count") == expected > 20
        assert browser.js("return $('notice').hidden")
        requests = [url for url in browser.requests() if not url.startswith(("data:", "about:"))]
        assert all(url.startswith(served.url) for url in requests)
        assert browser.complaints() == []


@pytest.mark.slow
def test_a_dropped_clip_appears_beside_the_recording(served, browser, tmp_path):
    browser.open(served.url)
    video = clip(tmp_path / "clip.mp4").read_bytes()
    browser.js("drop(new File(['no events'], 'notes.txt'))")
    browser.wait("$('message').innerText.includes('notes.txt cannot be shown')")
    browser.js("drop(new File([Uint8Array.from(arguments[0])], 'clip.mp4'))", list(video))
    browser.wait("META.clouds.length === 2 && document.documentElement.dataset.all === 'yes'", 60)
    browser.frame()
    assert browser.js("return CLOUDS.map(cloud => cloud.told.name)") == [
        "a.npz", "clip.mp4, emulated",
    ]  # fmt: skip
    assert browser.js("return CLOUDS.every(cloud => cloud.whole.length > 100)")
    assert browser.js("return $('message').hidden"), "told once"
    assert browser.complaints() == []


@pytest.mark.slow
def test_a_view_of_nothing_asks_for_a_file(browser):
    with ViewServer([], title="dvskit") as view:
        browser.open(view.url)
        browser.wait("!$('message').hidden")
        assert "Drop a video or an event file here" in browser.js("return $('message').innerText")
        assert browser.complaints() == []


# -- the command


@pytest.mark.slow
def test_the_command_prints_its_address_and_ends_with_ctrl_c(file):
    process = subprocess.Popen(
        [sys.executable, "-m", "dvskit", "view", str(file)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": ""},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        address = urlsplit(url)
        link = http.client.HTTPConnection("127.0.0.1", address.port or 0, timeout=20)
        link.request("GET", address.path)
        assert b"<!doctype html>" in link.getresponse().read()
        link.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert process.stderr.read() == (
            "Ctrl-C ends it\n"
            "dvskit: interrupted; run the same command again to show the recordings\n"
        )
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("view", "missing.raw"), 1, "missing.raw"),
        (("view", "--port", "99999"), 2, "outside 0..65535"),
    ],
)
def test_wrong_words_are_told_in_a_line(run, words, code, said):
    ended, out, err = run(*words)
    assert (ended, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_labels_of_a_recording_are_served_with_its_sample(tmp_path, browser):
    events = Events(t=EVENTS.t, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=(128, 128))
    save_events(events, tmp_path / "a.aedat")
    start = int(events.t[0])
    (tmp_path / "a_labels.csv").write_text(
        f"class,startTime_usec,endTime_usec\n4,{start},{start + 1_000_000}\n"
    )
    viewed = Viewed("a.aedat", lambda: open_events(tmp_path / "a.aedat"))
    with ViewServer([viewed], title="labelled") as view:
        viewed.overview.wait(20)
        told, _ = unpack(ask(view, "events?cloud=0")[1])
        assert told["labels"] == [[0, 1_000_000, "4"]]
        browser.open(view.url)
        browser.wait("document.documentElement.dataset.all === 'yes'")
        browser.slide("time", 0.2)
        assert " · 4" in browser.js("return $('clock').innerText")
        assert browser.js("return $('line').clientHeight") == 40 + 17 + 14
        assert browser.complaints() == []
