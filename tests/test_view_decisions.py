"""`dvskit view --model`: what a recording is taken for, beside its cloud."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dvskit import Events, open_events, save_events
from dvskit.cli._cameras import CameraOptions
from dvskit.cli._options import Reading
from dvskit.cli.view import arriving, viewed_from
from dvskit.errors import ConfigError, DamagedFileError
from dvskit.evaluation import Live, decide
from dvskit.render._thin import Latest, Overview
from dvskit.render.view import Decided, Decisions, Viewed, ViewedLive, ViewServer
from dvskit.training import save_model
from tests.test_live import EVENTS, MODEL
from tests.test_view import ask, moving, unpack

STEP_US = 100_000
SHOWN = moving()


def rows_of(events):
    """Left, then right, nothing for a while, and right again."""
    first, names = int(events.t[0]), ["left"] * 6 + ["right"] * 9 + [""] * 5 + ["right"] * 10
    return [
        Decided(first + k * STEP_US, first + (k + 1) * STEP_US, name, name or "left",
                0.5 + k / 100, 1000.0 * (k + 1))
        for k, name in enumerate(names)
    ]  # fmt: skip


@pytest.fixture
def file(tmp_path):
    save_events(SHOWN, tmp_path / "a.npz")
    return tmp_path / "a.npz"


def deciding(source):
    yield from rows_of(next(iter(source)))


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_decisions_are_served_from_a_number_on(file):
    with ViewServer([Viewed("a.npz", lambda: open_events(file), deciding)], title="A view") as view:
        wait_until(lambda: view.viewed[0].status()["done"])
        told = json.loads(ask(view, "told")[1])["clouds"][0]
        assert (told["decided"], told["problem"]) == (30, "")
        rows = json.loads(ask(view, "decided?cloud=0&first=0")[1])
        assert [Decided(*row) for row in rows] == rows_of(SHOWN)
        assert json.loads(ask(view, "decided?cloud=0&first=28")[1]) == rows[28:]
        assert json.loads(ask(view, "decided?cloud=0&first=99")[1]) == []
        status, body, _ = ask(view, "decided?cloud=0&first=x")
        assert (status, body) == (400, b"first='x' is not a whole number")
        assert ask(view, "decided", secret=False)[0] == 403


def test_what_goes_wrong_in_deciding_is_told(file):
    def broken(source):
        yield rows_of(SHOWN)[0]
        raise DamagedFileError("a.npz", 5, "is cut short")

    viewed = Viewed("a.npz", lambda: open_events(file), broken)
    wait_until(lambda: viewed.status()["done"])
    assert viewed.status()["decided"] == 1
    assert "is cut short" in viewed.status()["problem"]
    viewed.close()


@pytest.mark.parametrize("block", [1, 100, 5000])
def test_the_latest_seconds_are_kept_however_the_stream_is_cut(block):
    latest = Latest(SHOWN.size, 100_000, 500_000)
    for at in range(0, len(SHOWN), block):
        latest.add(SHOWN[at : at + block])
    kept = latest.kept()
    last = int(SHOWN.t[-1])
    expected = SHOWN.between(last - 500_000, None)
    assert kept.events == expected
    assert (kept.start_us, kept.stop_us) == (int(expected.t[0]), last)
    assert (kept.every, kept.total) == (1, len(expected))
    few = Latest(SHOWN.size, 100, 500_000)
    few.add(SHOWN)
    kept = few.kept()
    assert kept.events == expected[:: kept.every]
    assert 50 < len(kept.events) <= 100
    assert Latest(SHOWN.size, 5, 5).kept().total == 0


class Fed:
    """Events that arrive when a test says so."""

    def __init__(self):
        self.size = SHOWN.size
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
    with ViewServer([ViewedLive("camera 0", fed, Decisions())], title="camera 0") as view:
        fed.feed(SHOWN)
        wait_until(lambda: view.viewed[0].status()["total"] == len(SHOWN))
        told, found = unpack(ask(view, "events?cloud=0")[1])
        assert told["total"] == len(found) == len(SHOWN)
        for name in ("part?cloud=0&start=0&stop=9", "file?cloud=0&format=csv"):
            status, body, _ = ask(view, name)
            assert status == 400
            assert b"camera 0: is read once, as it comes" in body
    assert fed.closed


# -- the page


@pytest.mark.slow
def test_the_page_says_what_a_recording_is_taken_for_at_each_time(file, browser):
    with ViewServer([Viewed("a.npz", lambda: open_events(file), deciding)], title="A view") as view:
        browser.open(view.url)
        browser.wait("document.documentElement.dataset.all === 'yes'")
        browser.frame()
        line = "return document.querySelector('#head .decision').innerText"
        assert browser.js(line).split("\n") == ["right", "79 % · 30 kev/s"]
        span = int(SHOWN.t[-1] - SHOWN.t[0])
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
def test_a_page_without_a_model_has_no_such_line(file, browser):
    with ViewServer([Viewed("a.npz", lambda: open_events(file))], title="A view") as view:
        browser.open(view.url)
        browser.wait("document.documentElement.dataset.all === 'yes'")
        assert browser.js("return document.querySelector('.decision')") is None


@pytest.mark.slow
def test_the_page_follows_what_arrives(browser):
    fed, decisions = Fed(), Decisions()
    half = SHOWN.between(None, int(SHOWN.t[0]) + 1_500_000)
    with ViewServer([ViewedLive("camera 0", fed, decisions)], title="camera 0") as view:
        fed.feed(half)
        decisions.add(rows_of(SHOWN)[0])
        browser.open(view.url)
        line = "document.querySelector('#head .decision').innerText"
        browser.wait(f"{line}.startsWith('left')")
        browser.wait(f"CLOUDS[0].told.total === {len(half)}")
        fed.feed(SHOWN.between(int(SHOWN.t[0]) + 1_500_000, None))
        for row in rows_of(SHOWN)[1:]:
            decisions.add(row)
        browser.wait(f"{line}.startsWith('right')")
        browser.wait(f"CLOUDS[0].told.total === {len(SHOWN)}")
        assert browser.js("return $('take').hidden")
        # An hour later the first seconds are gone, and so are their bands.
        late = Events(t=SHOWN.t + 3_600_000_000, x=SHOWN.x, y=SHOWN.y, p=SHOWN.p, size=SHOWN.size)
        fed.feed(late[:700])
        decisions.add(Decided(int(late.t[0]), int(late.t[0]) + STEP_US, "", "left", 0.4, 0.0))
        browser.wait("CLOUDS[0].told.total === 700")
        browser.wait(f"{line}.startsWith('nothing')")
        assert browser.js("return CLOUDS[0].told.decisions") == []
        assert browser.complaints() == []


# -- the command


def test_a_model_decides_on_the_recordings_of_a_view(tmp_path):
    save_events(EVENTS, tmp_path / "a.npz")
    save_model(tmp_path / "m", MODEL)
    (viewed,) = viewed_from([tmp_path / "a.npz"], str(tmp_path / "m"), Reading())
    wait_until(lambda: viewed.status()["done"])
    found = [Decided(*row) for row in json.loads(viewed.decided(0))]
    assert found == [
        Decided(
            each.start_us, each.stop_us, each.answer or "", each.best, each.confidence, each.rate
        )
        for each in decide(MODEL, EVENTS)
    ]
    viewed.close()


@pytest.mark.slow
def test_what_arrives_in_a_pipe_is_viewed_and_decided_on(tmp_path):
    save_model(tmp_path / "m", MODEL)
    save_events(EVENTS, tmp_path / "a.raw")
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

        class Asked:  # as `ask` wants it
            pass

        view: Any = Asked()
        view.url = url
        expected = sum(1 for _ in decide(MODEL, EVENTS)) - 1  # the last bin is not over
        wait_until(lambda: json.loads(ask(view, "told")[1])["clouds"][0]["decided"] >= expected)
        first = json.loads(ask(view, "decided?cloud=0&first=0")[1])[0]
        assert first[3] == next(decide(MODEL, EVENTS)).best
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
    ("files", "camera", "said"),
    [
        (["-", "b.raw"], None, "takes one source, but 2 are given"),
        (["a.raw"], "0", "--camera is a second source"),
    ],
)
def test_mixtures_are_refused(files, camera, said):
    live = Live(MODEL)
    with pytest.raises(ConfigError, match=said):
        arriving(list(map(Path, files)), CameraOptions(camera), live, Reading())


def test_an_overview_keeps_what_it_kept(file):
    overview = Overview(open_events(file), max_events=10_000)
    overview.wait(20)
    assert overview.start_us == int(SHOWN.t[0])
    assert overview.kept().events == SHOWN
