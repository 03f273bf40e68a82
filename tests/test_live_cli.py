"""`dvskit classify --live`: what is played, piped, sent and filmed is decided on while it comes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque

import numpy as np
import pytest

import dvskit.video
from dvskit import Events, emulate, save_events
from dvskit.errors import DamagedFileError
from dvskit.evaluation import Live, Reject, decide
from dvskit.evaluation.live import Arrival, follow, played, received
from dvskit.formats.addresses import ADDRESSES
from dvskit.formats.keeping_up import KeepingUp, Pace
from dvskit.models import save_model
from dvskit.video import ArrayFrames, CameraFrames, write_video
from tests.test_camera import Capture
from tests.test_live import BIN_US, EVENTS, GAPS, MODEL, SIZE, make, model_of
from tests.test_pipes import shell
from tests.test_udp import LAYOUTS, datagrams, send


class Clock:
    """A clock that goes on when someone sleeps, and when work takes its time."""

    def __init__(self):
        self.time_s, self.slept = 100.0, 0

    def now(self):
        return self.time_s

    def sleep(self, seconds):
        assert seconds > 0
        self.time_s += seconds
        self.slept += 1


# -- what is played


@pytest.mark.parametrize("block", [1, 50, 10_000])
def test_a_recording_is_played_as_its_times_say_and_nothing_is_left_out(block):
    clock = Clock()
    blocks = [EVENTS[at : at + block] for at in range(0, len(EVENTS), block)]
    arrivals = list(played(blocks, BIN_US, Pace(clock.now, clock.sleep)))
    assert Events.concatenate(each.events for each in arrivals) == EVENTS
    first = int(EVENTS.t[0])
    for number, arrival in enumerate(arrivals[:-1]):
        assert arrival.until_us == first + (number + 1) * BIN_US
        assert arrival.at == pytest.approx(100 + (number + 1) * BIN_US / 1e6)
        assert arrival.behind_s == pytest.approx(0, abs=1e-9)
    assert clock.time_s == pytest.approx(100 + EVENTS.duration_us / 1e6, abs=1e-5)


def test_who_is_slow_comes_late_says_so_and_leaves_nothing_out():
    clock = Clock()
    seen = []
    for arrival in played([EVENTS], BIN_US, Pace(clock.now, clock.sleep)):
        seen.append(arrival)
        clock.time_s += 3 * BIN_US / 1e6 if len(seen) < 4 else 0
    assert Events.concatenate(each.events for each in seen) == EVENTS
    behind = [round(each.behind_s * 1e6) // BIN_US for each in seen]
    assert behind[:10] == [0, 2, 4, 6, 5, 4, 3, 2, 1, 0]
    assert max(behind[10:]) == 0


@pytest.mark.parametrize("events", [EVENTS, GAPS[:800]], ids=["dense", "gaps"])
def test_what_is_played_is_decided_on_as_offline(events):
    clock = Clock()
    arrivals = played([events], BIN_US, Pace(clock.now, clock.sleep))
    found = [each for _, some in follow(Live(MODEL).start(), arrivals) for each in some]
    assert found == list(decide(MODEL, events))


def frames_of():
    frames = np.full((12, 16, 24), 60, np.uint8)
    for number in range(12):
        frames[number, 3:12, 2 * number : 2 * number + 5] = 220
    return ArrayFrames(frames, fps=400)


# -- what arrives


def drop(count):
    raise AssertionError(f"{count} events dropped")


def end():
    pass


def test_blocks_that_wait_are_all_decided_on_with_the_time_at_which_they_came():
    blocks = [EVENTS[at : at + 100] for at in range(0, len(EVENTS), 100)]
    arrivals = received(KeepingUp(blocks, drop, end), EVENTS.sensor_size, 20)
    first = next(arrivals)
    time.sleep(0.2)  # the others come meanwhile
    rest = list(arrivals)
    assert Events.concatenate(each.events for each in (first, *rest)) == EVENTS
    assert all(each.behind_s >= 0.1 for each in rest[:5])
    assert not any(each.quiet for each in rest)
    found = [each for _, some in follow(Live(MODEL).start(), [first, *rest]) for each in some]
    assert found == list(decide(MODEL, EVENTS))


@pytest.mark.slow
def test_silence_is_told_and_an_error_of_the_reader_is_raised_where_it_is_waited_for():
    def coming():
        yield EVENTS
        time.sleep(0.4)
        raise DamagedFileError("x", 3, "is cut short")

    found: deque[Arrival] = deque()
    with pytest.raises(DamagedFileError, match="x"):
        found.extend(received(KeepingUp(coming(), drop, end), EVENTS.sensor_size, 0.05))
    assert found.popleft().events == EVENTS
    assert len(found) > 1
    assert all(each.quiet and not len(each.events) for each in found)


# -- the command


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "m", MODEL)


@pytest.fixture
def file(tmp_path):
    save_events(EVENTS, tmp_path / "a.npz")
    return tmp_path / "a.npz"


def same(said, decision):
    alike = ("start_us", "stop_us", "nothing", "confidence", "probabilities", "events")
    others = {"class": "answer", "events_per_second": "rate", "bins": "steps"}
    names = {name: name for name in alike} | others
    return all(said[key] == getattr(decision, name) for key, name in names.items())


def all_same(text, decisions):
    said = [json.loads(line) for line in text.splitlines()]
    return all(same(*pair) for pair in zip(said, decisions, strict=True))


def test_a_file_is_decided_on_line_by_line(run, file, model):
    code, out, err = run("classify", "--live", file, "--model", model)
    decisions = list(decide(MODEL, EVENTS))
    assert code == 0
    for line, decision in zip(out.splitlines(), decisions, strict=True):
        assert ("nothing: " in line) == (decision.answer is None)
        assert f"{decision.best} " in line
        assert f"{decision.rate:,.0f} events/s" in line
        given = MODEL.input
        for number in (given.bin_us / 1e3, given.window_us / 1e6):
            assert f" {number:g} " in f"{line} "
    assert f"{len(decisions)} decisions in " in err
    assert "4,000 events" in err


def test_a_threshold_of_ones_own_withholds_more(run, file, model):
    words = ("classify", "--live", file, "--model", model, "--json", "-q")
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert all_same(out, list(decide(MODEL, EVENTS)))
    _, out, _ = run(*words, "--reject", "0.4")
    assert all_same(out, list(decide(MODEL, EVENTS, reject=Reject(0.4, how="--reject"))))
    _, out, _ = run(*words, "--reject", "1")
    assert {json.loads(line)["nothing"] for line in out.splitlines()} == {"unsure"}


@pytest.mark.slow
def test_a_pipe_is_decided_on_as_its_file(tmp_path, model):
    save_events(EVENTS, tmp_path / "a.raw")
    done = shell(f"cat a.raw | dvskit -q classify --live - --model {model} --json", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert all_same(done.stdout, list(decide(MODEL, EVENTS)))


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "dvskit", "classify", "--live", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def read_until(stream, words):
    while words not in (line := stream.readline()):
        assert line, f"the command ended without {words!r}"
    return str(line)


@pytest.fixture
def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.slow
def test_what_is_sent_over_udp_is_decided_on(tmp_path, free_port):
    slow = model_of(bin_us=40_000)  # a window that no pause of the sender is as long as
    save_model(tmp_path / "slow", slow)
    events = make(3000, 700_000, 5000)
    process = start(f"udp://127.0.0.1:{free_port}", "--size", "24x16", "--model",
                    tmp_path / "slow", "--json")  # fmt: skip
    try:
        read_until(process.stderr, "as they arrive")
        for data in datagrams(events, LAYOUTS[0]):
            send(free_port, [data])
        # Silence is told behind a whole window.
        behind = Events(t=[10_000_000], x=[0], y=[0], p=[True], size=SIZE)
        expected = list(decide(slow, Events.concatenate([events, behind])))[:-1]
        lines = [process.stdout.readline() for _ in expected]
        assert all_same("".join(lines), expected)
        assert expected[-1].answer is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert f"{len(expected)} decisions" in err
        assert "3,000 events" in err
    finally:
        process.kill()
        process.communicate()


def test_a_video_is_emulated_and_played(run, model, tmp_path):
    write_video(frames_of(), tmp_path / "clip.mp4", fps=100)
    code, out, err = run("classify", "--live", "clip.mp4", "--model", model, "--json")
    expected = list(decide(MODEL, emulate(tmp_path / "clip.mp4", size=(24, 16))))
    assert code == 0
    lines = out.splitlines(keepends=True)
    assert all_same("".join(lines[: len(expected)]), expected)
    assert not any(json.loads(line)["events"] for line in lines[len(expected) :])
    assert "clip.mp4: emulated on 24x16, played in real time" in err


def test_a_camera_is_emulated_at_the_models_size(run, model, monkeypatch):
    asked = []

    def camera(number):
        asked.append(number)
        return CameraFrames(capture=Capture(12, 0.01, (48, 72, 3)))

    monkeypatch.setattr(dvskit.video, "CameraFrames", camera)
    code, out, err = run("classify", "--live", "--camera", "2", "--model", model, "--json")
    assert (code, asked) == (0, [2])
    said = [json.loads(line) for line in out.splitlines()]
    assert sum(each["events"] for each in said) > 11 * 24 * 16 / 2
    assert "camera 2: emulated on 24x16; small decides every 1.000 ms" in err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--live",), ADDRESSES),
        (("--live", "a.npz", "b.npz"), "2"),
        (("--live", "a.npz", "--camera", "0"), "--camera"),
        (("--live", "--camera", "0", "--size", "9x9"), "--size"),
        (("a.npz", "--reject", "0.5"), "--reject"),
        (("--camera", "0"), "--camera"),
        (("--live", "a.npz", "--reject", "2"), "--reject"),
        ((), "recordings"),
        (("--live", "udp://127.0.0.1:1"), "--size"),
        (("--live", "--camera", "63"), "camera 63"),
    ],
)
def test_wrong_words_are_refused(run, file, model, words, named):
    code, out, err = run("classify", *words, "--model", model)
    assert (code in (1, 2), out, err.count("\n")) == (True, "", 1)
    assert named in err
