"""`dvskit view`: what the server answers, the page it serves, and decisions beside the cloud."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from dvskit import Events, load_events, open_events, save_events
from dvskit.cli._options import Reading
from dvskit.cli.view import viewed_from
from dvskit.errors import DamagedFileError, OutputError
from dvskit.evaluation import decide
from dvskit.models import save_model
from dvskit.render import view
from dvskit.render.pages import PIECE
from dvskit.render.view import Decisions, ShownDecision, ViewedRecording, ViewedStream, ViewServer
from tests.laws import refused, refused_command
from tests.processes import wait_until
from tests.test_live import EVENTS as BARS
from tests.test_live import MODEL


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
    with ViewServer([ViewedRecording("a.npz", lambda: open_events(file))], title="A view") as view:
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


@pytest.mark.slow
def test_all_events_are_served_where_they_are_few(served):
    status, body, headers = ask(served, "events?cloud=0")
    told, found = unpack(body)
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    np.testing.assert_array_equal(found, rows(EVENTS))
    assert (told["total"], told["every"], told["start_us"]) == (5000, 1, EVENTS.t[0])


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
    monkeypatch.setattr(view, "MOST_EVENTS", 100)
    told, found = unpack(ask(served, "part?cloud=0&start=0&stop=3000001")[1])
    assert told["every"] == 64
    np.testing.assert_array_equal(found, rows(EVENTS)[::64])


@pytest.mark.slow
def test_wrong_addresses_are_refused_in_a_line(served):
    for name, named in (
        ("part?cloud=0&start=5&stop=2", "stop"), ("part?cloud=0&start=x&stop=2", "start='x'"),
        ("part?cloud=9&start=0&stop=2", "cloud"), ("events", "cloud=''"),
        ("part?cloud=0&start=0&stop=2&region=1,2", "region='1,2'"),
        ("file?cloud=0&format=../../x", "'../../x'"),
    ):  # fmt: skip
        status, body, _ = ask(served, name)
        assert status == 400
        assert named in body.decode()
        assert b"\n" not in body
    for name in ("../../etc/passwd", "file/../told"):
        assert ask(served, name)[0] == 404


@pytest.mark.slow
def test_without_the_secret_or_by_another_host_name_nothing_is_answered(served):
    address = urlsplit(served.url)
    assert address.hostname == "127.0.0.1"
    assert len(address.path.strip("/")) >= 24
    for name in ("/", "/told", "/wrong-secret/told", "/../etc/passwd", "told"):
        status, body, _ = ask(served, name, secret=False)
        assert status == 403
        assert b"a.npz" not in body
    for name in ("", "told", "events?cloud=0"):
        assert ask(served, name, host="evil.example")[0] == 403
        assert ask(served, name, host=f"localhost:{address.port}")[0] == 200
    with refused(OutputError, f"port {address.port}"):
        ViewServer([], title="x", port=address.port or 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evt3", "csv"])
def test_a_recording_is_handed_out_in_other_formats(served, name, tmp_path):
    status, body, headers = ask(served, f"file?cloud=0&format={name}")
    assert status == 200
    ending = Path(headers["Content-Disposition"].split('"')[1]).suffix
    (tmp_path / f"back{ending}").write_bytes(body)
    assert load_events(tmp_path / f"back{ending}", size=EVENTS.sensor_size) == EVENTS


def job_of(view, number):
    return json.loads(ask(view, "told")[1])["jobs"][number]


def wait_for(view, number):
    wait_until(lambda: job_of(view, number)["state"] != "running", 60)
    return job_of(view, number)


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
    assert "notes.mp4" in failed["words"]
    clouds = json.loads(ask(served, "told")[1])["clouds"]
    assert [each["name"] for each in clouds] == ["a.npz", "b.npz", "clip.mp4, emulated"]
    np.testing.assert_array_equal(unpack(ask(served, "events?cloud=1")[1])[1], rows(EVENTS))
    served.viewed[2].overview.wait(20)
    told, _ = unpack(ask(served, "events?cloud=2")[1])
    assert (told["width"], told["height"]) == (64, 48)
    assert told["total"] > 100


def test_what_is_wrong_with_a_file_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("t,x,y,p\n1,2,3,1\n2,2,3,1\nnonsense\n")
    viewed = ViewedRecording("a.csv", lambda: open_events(tmp_path / "a.csv", size=(9, 9)))
    viewed.overview.wait(20)
    told = viewed.status()
    assert told["done"]
    assert "at byte 24" in told["problem"]
    salvaged = ViewedRecording(
        "a", lambda: open_events(tmp_path / "a.csv", size=(9, 9), strict=False)
    )
    salvaged.overview.wait(20)
    told = salvaged.status()
    assert (told["total"], told["problem"]) == (2, "")
    assert "lost" in told["damage"]


# -- the page


@pytest.mark.slow
def test_the_served_page_shows_a_part_closer_than_the_whole(file, browser, monkeypatch):
    monkeypatch.setattr(view, "MOST_EVENTS", 1000)
    monkeypatch.setattr(view, "MOST_EVENTS", 1000)
    with ViewServer(
        [ViewedRecording("a.npz", lambda: open_events(file))], title="A view"
    ) as served:
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
def test_dropped_files_are_removed_and_labels_of_a_recording_are_served(tmp_path, monkeypatch):
    events = Events(t=EVENTS.t, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=(128, 128))
    save_events(events, tmp_path / "a.aedat")
    start = int(events.t[0])
    rows = f"4,{start},{start + 1_000_000}\n"
    (tmp_path / "a_labels.csv").write_text(f"class,startTime_usec,endTime_usec\n{rows}")
    (tmp_path / "inbox").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "inbox"))
    viewed = ViewedRecording("a.aedat", lambda: open_events(tmp_path / "a.aedat"))
    with ViewServer([viewed], title="labeled") as view:
        viewed.overview.wait(20)
        told, _ = unpack(ask(view, "events?cloud=0")[1])
        assert told["labels"] == [[0, 1_000_000, "4"]]
        ask(view, "drop?name=b.aedat", post=(tmp_path / "a.aedat").read_bytes())
        wait_for(view, 0)
        assert list((tmp_path / "inbox").rglob("*.aedat"))
    assert not list((tmp_path / "inbox").iterdir())


# -- decisions

STEP_US = 100_000


def rows_of(events):
    """Left, then right, nothing for a while, and right again."""
    first, names = int(events.t[0]), ["left"] * 6 + ["right"] * 9 + [""] * 5 + ["right"] * 10
    return [
        ShownDecision(first + k * STEP_US, first + (k + 1) * STEP_US, name, name or "left",
                0.5 + k / 100, 1000.0 * (k + 1))
        for k, name in enumerate(names)
    ]  # fmt: skip


def deciding(source):
    yield from rows_of(next(iter(source)))


@pytest.mark.slow
def test_decisions_are_served_from_a_number_on(file):
    with ViewServer(
        [ViewedRecording("a.npz", lambda: open_events(file), deciding)], title="A view"
    ) as view:
        wait_until(lambda: view.viewed[0].status()["done"])
        told = json.loads(ask(view, "told")[1])["clouds"][0]
        assert (told["decided"], told["problem"]) == (30, "")
        rows = json.loads(ask(view, "decided?cloud=0&first=0")[1])
        assert [ShownDecision(*row) for row in rows] == rows_of(EVENTS)
        assert json.loads(ask(view, "decided?cloud=0&first=28")[1]) == rows[28:]
        assert json.loads(ask(view, "decided?cloud=0&first=99")[1]) == []
        status, body, _ = ask(view, "decided?cloud=0&first=x")
        assert (status, body) == (400, b"first='x' is not a whole number")
        assert ask(view, "decided", secret=False)[0] == 403


def test_what_goes_wrong_in_deciding_is_told(file):
    def broken(source):
        yield rows_of(EVENTS)[0]
        raise DamagedFileError("a.npz", 5, "is cut short")

    viewed = ViewedRecording("a.npz", lambda: open_events(file), broken)
    wait_until(lambda: viewed.status()["done"])
    assert viewed.status()["decided"] == 1
    assert "is cut short" in viewed.status()["problem"]
    viewed.close()


@pytest.mark.parametrize("block", [100, 5000])
def test_the_latest_five_seconds_are_kept_however_the_stream_is_cut(block):
    late = Events(t=EVENTS.t * 4, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=EVENTS.sensor_size)
    fed = Fed()
    for part in late.blocks(count=block):
        fed.feed(part)
    fed.feed(None)
    viewed = ViewedStream("camera 0", fed, Decisions())
    viewed.overview.wait(20)
    told, found = unpack(viewed.sample())
    expected = late.between(int(late.t[-1]) - 5_000_000, None)
    assert (told["total"], told["start_us"]) == (len(expected), expected.t[0])
    np.testing.assert_array_equal(found[:, 0], expected.t - expected.t[0])
    viewed.close()


class Fed:
    """Events that arrive when a test says so."""

    def __init__(self):
        self.size = EVENTS.sensor_size
        self._waiting: queue.SimpleQueue[Events | None] = queue.SimpleQueue()
        self.closed = False

    def feed(self, events):
        self._waiting.put(events)

    def __iter__(self):
        while (block := self._waiting.get()) is not None:
            yield block

    def close(self):
        self.closed = True
        self._waiting.put(None)


@pytest.mark.slow
def test_what_arrives_is_neither_opened_anew_nor_read_in_parts():
    fed = Fed()
    with ViewServer([ViewedStream("camera 0", fed, Decisions())], title="camera 0") as view:
        fed.feed(EVENTS)
        wait_until(lambda: view.viewed[0].status()["total"] == len(EVENTS))
        told, found = unpack(ask(view, "events?cloud=0")[1])
        assert told["total"] == len(found) == len(EVENTS)
        for name in ("part?cloud=0&start=0&stop=9", "file?cloud=0&format=csv"):
            status, body, _ = ask(view, name)
            assert status == 400
            assert b"camera 0: is read once, as it comes" in body
    assert fed.closed


# -- the page


@pytest.mark.slow
def test_the_page_says_what_a_recording_is_taken_for_at_each_time(file, browser):
    with ViewServer(
        [ViewedRecording("a.npz", lambda: open_events(file), deciding)], title="A view"
    ) as view:
        browser.open(view.url)
        browser.wait("document.documentElement.dataset.all === 'yes'")
        browser.frame()
        line = "return document.querySelector('#head .decision').innerText"
        assert browser.js(line).split("\n") == ["right", "79 % · 30 kev/s"]
        span = int(EVENTS.t[-1] - EVENTS.t[0])
        for share, expected in (
            (0.0, ["–", "no decision yet"]),
            (1.5 * STEP_US / span, ["left", "50 % · 1 kev/s"]),
            (6.01 * STEP_US / span, ["left", "55 % · 6 kev/s"]),
            (7.01 * STEP_US / span, ["right", "56 % · 7 kev/s"]),
            (17.5 * STEP_US / span, ["nothing", "left 66 % · 17 kev/s"]),
        ):
            browser.slide("time", share)
            assert browser.js(line).split("\n") == expected
        assert browser.js("return CLOUDS[0].told.decisions") == [
            [0, 6 * STEP_US, "left (53 %)"],
            [6 * STEP_US, 15 * STEP_US, "right (60 %)"],
            [20 * STEP_US, span, "right (74 %)"],
        ]
        assert browser.js(
            "return document.querySelector('.decision').classList.contains('nothing')"
        )
        browser.slide("time", 1)
        share = "return document.querySelector('.decision').style.getPropertyValue('--share')"
        assert float(browser.js(share)) == pytest.approx(0.79)
        assert browser.complaints() == []


@pytest.mark.slow
def test_the_page_follows_what_arrives(browser):
    fed, decisions = Fed(), Decisions()
    half = EVENTS.between(None, int(EVENTS.t[0]) + 1_500_000)
    with ViewServer([ViewedStream("camera 0", fed, decisions)], title="camera 0") as view:
        fed.feed(half)
        decisions.add(rows_of(EVENTS)[0])
        browser.open(view.url)
        line = "document.querySelector('#head .decision').innerText"
        browser.wait(f"{line}.startsWith('left')")
        browser.wait(f"CLOUDS[0].told.total === {len(half)}")
        fed.feed(EVENTS.between(int(EVENTS.t[0]) + 1_500_000, None))
        for row in rows_of(EVENTS)[1:]:
            decisions.add(row)
        browser.wait(f"{line}.startsWith('right')")
        browser.wait(f"CLOUDS[0].told.total === {len(EVENTS)}")
        assert browser.js("return $('take').hidden")
        # An hour later the first seconds are gone, and so are their bands.
        late = Events(
            t=EVENTS.t + 3_600_000_000, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=EVENTS.sensor_size
        )
        fed.feed(late[:700])
        decisions.add(ShownDecision(int(late.t[0]), int(late.t[0]) + STEP_US, "", "left", 0.4, 0.0))
        browser.wait("CLOUDS[0].told.total === 700")
        browser.wait(f"{line}.startsWith('nothing')")
        assert browser.js("return CLOUDS[0].told.decisions") == []
        assert browser.complaints() == []


# -- the command


def test_a_model_decides_on_the_recordings_of_a_view(tmp_path):
    save_events(BARS, tmp_path / "a.npz")
    save_model(tmp_path / "m", MODEL)
    (viewed,) = viewed_from([tmp_path / "a.npz"], str(tmp_path / "m"), Reading())
    wait_until(lambda: viewed.status()["done"])
    found = [ShownDecision(*row) for row in json.loads(viewed.decided(0))]
    assert found == [
        ShownDecision(
            each.start_us, each.stop_us, each.answer or "", each.best, each.confidence, each.rate
        )
        for each in decide(MODEL, BARS)
    ]
    viewed.close()


@pytest.mark.slow
def test_what_arrives_in_a_pipe_is_viewed_and_decided_on(tmp_path):
    save_model(tmp_path / "m", MODEL)
    save_events(BARS, tmp_path / "a.raw")
    process = subprocess.Popen(
        [sys.executable, "-m", "dvskit", "view", "-", "--model", str(tmp_path / "m")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        process.stdin.write((tmp_path / "a.raw").read_bytes())
        process.stdin.flush()
        url = process.stdout.readline().decode().strip()

        assert url.startswith("http://127.0.0.1:")
        view = SimpleNamespace(url=url)  # as `ask` wants it
        expected = sum(1 for _ in decide(MODEL, BARS)) - 1  # the last bin is not over
        wait_until(lambda: json.loads(ask(view, "told")[1])["clouds"][0]["decided"] >= expected)
        first = json.loads(ask(view, "decided?cloud=0&first=0")[1])[0]
        assert first[3] == next(decide(MODEL, BARS)).best
        process.send_signal(signal.SIGINT)  # while the pipe is still open
        assert process.wait(30) == 130
        process.stdin.close()
        assert b"as they are read; small decides every" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("missing.raw",), "missing.raw"), (("--port", "99999"), "--port"),
        (("-", "b.raw", "--model", "nmnist-signed-lif"), "2"),
        (("a.raw", "--camera", "0", "--model", "nmnist-signed-lif"), "--camera"),
        (("-", "--objects"), "--objects"), (("a.raw", "-o", "b.raw"), "--output"),
    ],
)  # fmt: skip
def test_wrong_commands_are_refused(run, words, named):
    refused_command(run("view", *words), named)
