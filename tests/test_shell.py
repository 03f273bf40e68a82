"""What a shell completes, and what it reports of short, of part and of broken videos."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import typer

import dvskit
from dvskit.errors import OutputError
from dvskit.render.writers import InThread
from dvskit.video import open_frames
from tests.laws import refused, scattered
from tests.test_cli import commands

NETWORKS = ["nmnist-binary", "nmnist-emulated", "nmnist-signed-lif"]


def completed(words: tuple[str, ...], name: str, typed: str) -> list[str]:
    """What a shell proposes for a parameter of a command."""
    command = dict(commands())[words]
    (parameter,) = [each for each in command.params if each.name == name]
    return [item.value for item in parameter.shell_complete(typer.Context(command), typed)]


@pytest.mark.parametrize(
    ("words", "name", "typed", "proposed"),
    [
        (("classify",), "model", "NMN", NETWORKS),
        (("eval",), "model", "nmn", NETWORKS),
        (("eval",), "model", "FIL", ["filter"]),
        (("reconstruct",), "model", "rec", ["reconstruct"]),
        (("emulate",), "preset", "", list(dvskit.EmulatorParams.presets())),
    ],
)
def test_names_are_completed_in_any_case(words, name, typed, proposed):
    assert completed(words, name, typed) == proposed


def test_a_video_of_a_millisecond_is_reported_with_the_way_to_see_it(run):
    dvskit.save_events(scattered(500, (20, 10), span_us=1000), "a.npz")
    code, _, err = run("-q", "render", "a.npz", "-o", "a.mp4")
    assert code == 0
    assert "--slow 100" in err
    code, _, err = run("-q", "render", "a.npz", "-o", "b.mp4", "--slow", "1000")
    assert (code, err) == (0, "")
    assert 50 < len(list(open_frames("b.mp4"))) < 70


@pytest.mark.parametrize(("stop", "frames"), [("1s", 6), ("99ms", 6), ("50ms", 3), ("90ms", 6)])
def test_a_video_ends_where_the_recording_does_and_says_so(run, stop, frames):
    events = scattered(300, (40, 30), span_us=97_000)
    t = events.t + 5_000_000
    t[[0, -1]] = 5_000_000, 5_097_999
    dvskit.save_events(
        dvskit.Events(t=t, x=events.x, y=events.y, p=events.p, size=(40, 30)), "a.npz"
    )
    code, _, err = run("render", "a.npz", "-o", "a.mp4", "--stop", stop)
    assert code == 0
    assert f"a.mp4: {frames} frames" in err
    assert ("97.999 ms" in err) == (stop in ("1s", "99ms"))


def test_a_video_that_cannot_be_written_is_named():
    def fail(packed):
        raise OSError(28, "No space left on device")

    disk = SimpleNamespace(pack=lambda *given: given, put=fail, finish=int, close=int)
    with refused(OutputError, "o.mp4", "No space left"), InThread(disk, "o.mp4") as out:
        out.write(0, np.zeros((4, 4), np.uint8))
