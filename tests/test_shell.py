"""What a shell is told: of short videos, of broken work, and which words can stand where."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import dvskit
from dvskit.cli._options import model_names, preset_names
from dvskit.errors import OutputError
from dvskit.render.frames.writers import InThread
from dvskit.video import open_frames
from tests.test_events import make


def test_a_video_of_a_millisecond_is_told_with_the_way_to_see_it(run):
    dvskit.save_events(make(500), "a.npz")
    code, _, err = run("-q", "render", "a.npz", "-o", "a.mp4")
    assert code == 0
    assert err == "dvskit: note: a.mp4: lasts 0.017 s; --slow 100 makes it a few seconds long\n"
    code, _, err = run("-q", "render", "a.npz", "-o", "b.mp4", "--slow", "1000")
    assert (code, err) == (0, "")
    assert 50 < len(list(open_frames("b.mp4"))) < 70


def test_a_video_of_hours_is_told_while_it_is_made(run, monkeypatch):
    monkeypatch.setattr("dvskit.cli.render._LONG_FRAMES", 20)
    events = make(500)
    slow = dvskit.Events(t=events.t * 1000, x=events.x, y=events.y, p=events.p, size=events.size)
    dvskit.save_events(slow, "a.npz")
    code, _, err = run("render", "a.npz", "-o", "a.mp4")
    assert code == 0
    assert err.count("s, and there are more; --slow 0.1 takes a tenth, ") == 1
    assert "a.mp4: 20 frames took" in err


def test_the_time_code_of_a_part_counts_from_the_recording_s_first_event(run, monkeypatch):
    from dvskit.render.frames import canvas

    drawn = []
    write = canvas.write
    monkeypatch.setattr(
        canvas, "write", lambda *args: (drawn.append(args[1].strip()), write(*args))[1]
    )
    rng = np.random.default_rng(0)
    events = dvskit.Events(
        t=np.sort(rng.integers(5_000_000, 7_000_000, 4000)), x=rng.integers(0, 240, 4000),
        y=rng.integers(0, 180, 4000), p=rng.random(4000) < 0.5, size=(240, 180),
    )  # fmt: skip
    dvskit.save_events(events, "a.npz")
    assert run("render", "a.npz", "-o", "a.mp4", "--start", "1s", "--stop", "1.5s")[0] == 0
    codes = [text for text in drawn if re.fullmatch(r"[\d.]+ s", text)]
    assert codes[0] == "1.017 s"
    assert codes[-1] == "1.500 s"


def test_a_video_that_cannot_be_written_is_named():
    class Full:
        def pack(self, t_us, picture):
            return picture

        def put(self, packed):
            raise OSError(28, "No space left on device")

        def finish(self):
            pass

        def close(self):
            pass

    with (
        pytest.raises(OutputError, match=r"^out\.mp4: cannot be written: No space left on device"),
        InThread(Full(), "out.mp4") as out,
    ):
        out.write(0, np.zeros((4, 4), np.uint8))


def test_an_interrupt_while_a_video_is_completed_waits_until_nothing_writes_it():
    class Slow:
        taken = 0

        def pack(self, t_us, picture):
            return picture

        def put(self, packed):
            self.taken += 1
            time.sleep(0.01)

        def finish(self):
            raise AssertionError

        def close(self):
            pass

    slow = Slow()
    out = InThread(slow, "out.mp4").__enter__()
    for _ in range(5):
        out.write(0, np.zeros((4, 4), np.uint8))
    join = out._thread.join

    def interrupted():
        out._thread.join = join
        raise KeyboardInterrupt

    out._thread.join = interrupted
    with pytest.raises(KeyboardInterrupt):
        out.__exit__(None, None, None)
    assert not out._thread.is_alive()
    assert slow.taken < 5


def test_words_are_completed():
    assert preset_names("dav") == ["DAVIS240", "DAVIS346"]
    assert preset_names("") == list(dvskit.emulator.params.preset_table())
    assert set(model_names("nm")) <= {"nmnist-emulated", "nmnist-signed-lif"}


@pytest.mark.slow
def test_an_interrupted_emulation_with_added_frames_counts_the_clip_s_own(tmp_path, data):
    video = data / "video" / "bikes.mp4"
    process = subprocess.Popen(
        [sys.executable, "-m", "dvskit", "emulate", video, tmp_path / "a.raw", "--upsample"],
        stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    begun = time.monotonic()
    while time.monotonic() - begun < 60 and not any(
        file.stat().st_size > 0 for file in tmp_path.iterdir()
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    frames = int(err.split("stopped after frame ")[1].split(";")[0]) + 1
    assert f"from {frames} frames" in err
    times = [t_us for t_us, _ in open_frames(video)][: frames + 1]
    last_us = int(dvskit.load_events(tmp_path / "a.raw").t[-1])
    assert times[frames - 2] <= last_us <= times[-1]


def test_help_names_every_parameter_of_the_emulator(run):
    from dataclasses import fields

    out = " ".join(run("emulate", "--help")[1].replace("│", " ").split())
    names = ", ".join(each.name for each in fields(dvskit.EmulatorParams))
    assert f"Parameters: {names}." in out


def test_a_video_is_not_written_to_standard_output_nor_to_a_folder_of_that_name(run, tmp_path):
    dvskit.save_events(dvskit.Events(t=[0, 9], x=[1, 2], y=[1, 2], p=[1, 0], size=(4, 4)), "a.npz")
    code, _, err = run("render", "a.npz", "-o", "-")
    assert code == 2
    assert "not written to standard output" in err
    assert not (tmp_path / "-").exists()
