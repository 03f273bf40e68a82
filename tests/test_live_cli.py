"""`dvskit classify --live`: what is played, piped, sent and filmed is decided on while it comes."""

from __future__ import annotations

import json
import os
import re
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
from dvskit.evaluation.arrivals import Arrival, filmed, follow, piped, played, received
from dvskit.formats.addresses import ADDRESSES
from dvskit.formats.keeping_up import KeepingUp, Pace
from dvskit.training import save_model
from dvskit.video import ArrayFrames, CameraFrames, write_video
from tests.test_camera import Capture
from tests.test_live import BIN_US, BINS, EVENTS, GAPS, MODEL, SIZE, make, model_of
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


def frames_of(count=9):
    frames = np.full((count, 16, 24), 60, np.uint8)
    for number in range(count):
        frames[number, 3:12, 2 * number : 2 * number + 5] = 220
    return ArrayFrames(frames, fps=400)


def test_a_clip_that_is_played_is_decided_on_like_its_emulated_events():
    from dvskit.datasets import Emulation

    clock, frames = Clock(), frames_of()
    arrivals = list(filmed(frames, Emulation(), Pace(clock.now, clock.sleep)))
    assert [each.until_us for each in arrivals[:-1]] == [t for t, _ in frames]
    run = Live(MODEL).start()
    found = [each for _, some in follow(run, arrivals) for each in some]
    expected = list(decide(MODEL, emulate(frames)))
    assert len(expected) > BINS
    assert found[: len(expected)] == expected
    assert not any(each.events for each in found[len(expected) :])


# -- what arrives


def drop(count):
    raise AssertionError(f"{count} events dropped")


def end():
    pass


def test_blocks_that_wait_are_all_decided_on_with_the_time_at_which_they_came():
    blocks = [EVENTS[at : at + 100] for at in range(0, len(EVENTS), 100)]
    arrivals = received(KeepingUp(blocks, drop, end), EVENTS.size, 20)
    first = next(arrivals)
    time.sleep(0.2)  # the others come meanwhile
    rest = list(arrivals)
    assert Events.concatenate(each.events for each in (first, *rest)) == EVENTS
    assert all(each.behind_s >= 0.1 for each in rest[:5])
    assert not any(each.quiet for each in rest)
    found = [each for _, some in follow(Live(MODEL).start(), [first, *rest]) for each in some]
    assert found == list(decide(MODEL, EVENTS))


def test_silence_is_told_and_an_error_of_the_reader_is_raised_where_it_is_waited_for():
    def coming():
        yield EVENTS
        time.sleep(0.4)
        raise DamagedFileError("x", 3, "is cut short")

    found: deque[Arrival] = deque()
    with pytest.raises(DamagedFileError, match="x"):
        found.extend(received(KeepingUp(coming(), drop, end), EVENTS.size, 0.05))
    assert found.popleft().events == EVENTS
    assert len(found) > 1
    assert all(each.quiet and not len(each.events) for each in found)


def test_a_silent_window_is_decided_on_as_nothing():
    quiet = Arrival(Events.empty(SIZE), None, 0.0, quiet=True)
    some = list(follow(Live(MODEL).start(), [*piped([EVENTS]), quiet, quiet]))
    assert len(some[1][1]) > BINS - 1
    assert some[1][1][-1].answer is None
    assert some[2][1] == []
    assert sum(each.events for _, found in some for each in found) == len(EVENTS)


# -- the command


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "m", MODEL)


@pytest.fixture
def file(tmp_path):
    save_events(EVENTS, tmp_path / "a.npz")
    return tmp_path / "a.npz"


def same(said, decision):
    return (
        (said["start_us"], said["stop_us"]) == (decision.start_us, decision.stop_us)
        and said["class"] == decision.answer
        and said["nothing"] == decision.nothing
        and said["confidence"] == decision.confidence
        and said["probabilities"] == decision.probabilities
        and said["events"] == decision.events
        and said["events_per_second"] == decision.rate
        and said["bins"] == decision.steps
        and said["delay_ms"] >= 0
    )


def all_same(text, decisions):
    said = [json.loads(line) for line in text.splitlines()]
    return all(same(*pair) for pair in zip(said, decisions, strict=True))


def test_a_file_is_decided_on_line_by_line(run, file, model):
    code, out, err = run("classify", "--live", file, "--model", model)
    decisions = list(decide(MODEL, EVENTS))
    assert code == 0
    for line, decision in zip(out.splitlines(), decisions, strict=True):
        since = (decision.stop_us - decisions[0].start_us) / 1e6
        assert line.lstrip().startswith(f"{since:.3f} s")
        assert ("nothing: " in line) == (decision.answer is None)
        assert f"{decision.best} " in line
        assert f"({100 * decision.confidence:3.0f} %)" in line
        assert f"{decision.rate:,.0f} events/s" in line
        assert (f"({decision.steps} of {BINS} bins" in line) == (decision.steps < BINS)
    first, last = err.splitlines()
    assert first.startswith(f"{file}: ")
    assert "1.000 ms on the last 5.000 ms" in first
    assert last.startswith(f"{len(decisions)} decisions in ")
    assert "4,000 events" in last


def test_a_threshold_of_ones_own_withholds_more(run, file, model):
    words = ("classify", "--live", file, "--model", model, "--json", "-q")
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert all_same(out, list(decide(MODEL, EVENTS)))
    _, out, _ = run(*words, "--reject", "0.4")
    assert all_same(out, list(decide(MODEL, EVENTS, reject=Reject(0.4, how="--reject"))))
    _, out, _ = run(*words, "--reject", "1")
    assert {json.loads(line)["nothing"] for line in out.splitlines()} == {"unsure"}


def test_a_terminal_has_one_line_that_is_rewritten(run, file, model, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = run("classify", "--live", file, "--model", model)
    assert code == 0
    assert out.count("\n") == 1
    assert out.endswith("\n")
    shown = out.rstrip("\n").split("\r")[1:]
    assert len(shown) > 10
    assert all(text.endswith("\x1b[K") and len(text) <= 59 + 3 for text in shown)


@pytest.mark.slow
def test_a_pipe_is_decided_on_as_its_file(tmp_path, model):
    save_events(EVENTS, tmp_path / "a.raw")
    done = shell(f"cat a.raw | dvskit -q classify --live - --model {model} --json", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert all_same(done.stdout, list(decide(MODEL, EVENTS)))


@pytest.mark.campaign
def test_who_reads_decisions_may_have_seen_enough(tmp_path, model):
    save_events(EVENTS, tmp_path / "a.raw")
    done = shell(f"cat a.raw | dvskit -q classify --live - --model {model} | head -n 2", tmp_path)
    assert done.stdout.count(b"\n") == 2
    assert b"Traceback" not in done.stderr
    assert b"error" not in done.stderr


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


@pytest.mark.campaign
def test_ctrl_c_ends_it_with_a_summary(tmp_path, model):
    long = make(30_000, 60_000_000, 0)
    save_events(long, tmp_path / "long.npz")
    process = start(tmp_path / "long.npz", "--model", model, "--json")
    try:
        read_until(process.stderr, "Ctrl-C ends it")
        lines = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert re.match(r"\d+ decisions in .* s, [\d,]+ events?; delay", err)
        said = [json.loads(line) for line in (*lines, *out.splitlines())]
        expected = decide(MODEL, long)
        assert all(same(each, next(expected)) for each in said)
        assert len(said) < 30_000
    finally:
        process.kill()
        process.communicate()


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
    write_video(frames_of(12), tmp_path / "clip.mp4", fps=100)
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


def test_a_recording_of_another_sensor_is_fitted_and_that_is_said(run, model, tmp_path):
    wide = Events(t=EVENTS.t, x=EVENTS.x * 2, y=EVENTS.y * 2, p=EVENTS.p, size=(48, 32))
    save_events(wide, tmp_path / "wide.npz")
    code, out, err = run("classify", "--live", "wide.npz", "--model", model, "--json")
    assert code == 0
    assert "wide.npz: 48x32 fitted to 24x16 (2x2 pixels to one), played in real time" in err
    with pytest.warns(UserWarning, match="fitted"):
        expected = list(decide(MODEL, wide))
    assert all_same(out, expected)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--live",), ADDRESSES),
        (("--live", "a.npz", "b.npz"), "2"),
        (("--live", "a.npz", "--camera", "0"), "--camera"),
        (("--live", "--camera", "0", "--size", "9x9"), "camera"),
        (("--live", "missing.raw"), "missing.raw"),
        (("--live", "a.npz", "--encoder", "poisson"), "--live"),
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
