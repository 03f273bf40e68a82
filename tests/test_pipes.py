"""Event files through pipes: `-` is standard input where events are read, standard output where
they are written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import dvskit
from dvskit.errors import OutputError, UnknownFormatError
from dvskit.formats import list_formats
from dvskit.video import open_frames
from tests.laws import refused, refused_command
from tests.sample_files import video
from tests.test_events import make


def shell(line, folder):
    """Run a line as a person writes it."""
    scripts = folder / "scripts"
    scripts.mkdir(exist_ok=True)
    start = scripts / "dvskit"
    start.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dvskit "$@"\n')
    start.chmod(0o755)
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env=os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        timeout=240,
    )


@pytest.mark.slow(seconds=5)
def test_an_emulation_is_rendered_through_a_pipe_that_holds_the_events_of_a_file(tmp_path, run):
    video(tmp_path / "clip.mp4")
    line = "dvskit emulate clip.mp4 - | tee piped.raw | dvskit render - -o x.mp4"
    done = shell(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert open_frames(tmp_path / "x.mp4").size.width > 48
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"clip.mp4", "piped.raw", "x.mp4", "scripts"}
    assert run("emulate", "clip.mp4", "file.raw")[0] == 0
    assert (tmp_path / "piped.raw").read_bytes() == (tmp_path / "file.raw").read_bytes()


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_ends_a_conversion_quietly(tmp_path):
    dvskit.save_events(make(300_000), tmp_path / "a.aedat4")
    done = shell("dvskit -q convert a.aedat4 - --to csv | head -n 3", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == b"t,x,y,p"
    assert done.stdout.count(b"\n") == 3
    assert done.stderr == b""


@pytest.mark.slow
def test_our_own_csv_is_known_from_a_pipe(tmp_path):
    events = make(5000)
    dvskit.save_events(events, tmp_path / "a.csv")
    done = shell(f"cat a.csv | dvskit convert - b.npz --size {events.sensor_size}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert dvskit.load_events(tmp_path / "b.npz") == events


@pytest.mark.parametrize("name", sorted(row.name for row in list_formats() if "w" in row.can))
def test_the_table_says_which_formats_go_through_a_pipe(tmp_path, capfdbinary, name):
    row = {row.name: row for row in list_formats()}[name]
    small = make(500)
    events = dvskit.Events(t=small.t, x=small.x, y=small.y, p=small.p, size=(128, 128))
    if "w" not in row.piped:
        with refused(UnknownFormatError, name):
            dvskit.save_events(events, "-", format=name)
        assert capfdbinary.readouterr().out == b""
        return
    dvskit.save_events(events, "-", format=name)
    dvskit.save_events(events, tmp_path / "file", format=name)
    assert capfdbinary.readouterr().out == (tmp_path / "file").read_bytes()


def test_a_format_that_cannot_go_through_a_pipe_is_a_usage_error(run):
    dvskit.save_events(make(500), "a.npz")
    got = run("convert", "a.npz", "-", "--to", "aedat4")
    assert got[0] == 2
    refused_command(got, "aedat4")


@pytest.mark.parametrize("row", list_formats(), ids=lambda row: row.name)
def test_the_table_says_which_formats_are_read_from_a_pipe(row):
    assert ("r" in row.piped) == hasattr(row.openers(), "open_stream")


def test_a_terminal_is_refused_in_one_line(run, tmp_path, monkeypatch):
    dvskit.save_events(make(500), tmp_path / "a.npz")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    refused_command(run("convert", "a.npz", "-"), "terminal")
    with refused(OutputError, "terminal"):
        dvskit.save_events(make(5), "-")
    assert not (tmp_path / "-").exists()
