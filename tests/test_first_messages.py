"""What files without events, in seconds or of other programs say at once, and how it is mended."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.io

import dvskit
from dvskit.errors import FormatError, UnknownFormatError
from tests.laws import refused, refused_command
from tests.test_events import make

SIZE = (640, 480)


@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_a_text_without_events_is_read_back_as_its_note_says(run, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    dvskit.save_events(dvskit.Events.empty(SIZE), path)
    assert dvskit.load_events(path, size=SIZE) == dvskit.Events.empty(SIZE)
    assert run("-q", "convert", path, "b.raw", "--size", "640x480")[0] == 0
    assert dvskit.load_events(tmp_path / "b.raw") == dvskit.Events.empty(SIZE)
    refused_command(run("info", path), "--size")


@pytest.mark.parametrize("text", ["", "\n\n", "# a comment\n", "% one\n# two"])
@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_texts_that_hold_nothing_have_no_events(tmp_path, suffix, text):
    path = tmp_path / f"a.{suffix}"
    path.write_text(text)
    for strict in (True, False):
        recording = dvskit.open_events(path, size=SIZE, strict=strict)
        assert len(recording.load()) == 0
        assert recording.between(5, None).load() == dvskit.Events.empty(SIZE)
    with refused(FormatError, "size="):
        dvskit.open_events(path)


def offered(error):
    """Return the value of `format` that a message offers."""
    return re.search(r"format='([\w:,]+)'", str(error.value))[1]


@pytest.mark.parametrize(("head", "names"), [(True, "x,y,p,t"), (False, "t,x,y,p")])
def test_a_csv_in_seconds_says_how_it_is_read(tmp_path, head, names):
    events = make(200)
    columns = {"t": [f"{t / 1e6:.6f}" for t in events.t.tolist()], "x": events.x.tolist(),
               "y": events.y.tolist(), "p": events.p.astype(int).tolist()}  # fmt: skip
    lines = zip(*(columns[name] for name in names.split(",")), strict=True)
    path = tmp_path / "sec.csv"
    path.write_text(
        f"{names}\n" * head + "".join(f"{','.join(map(str, line))}\n" for line in lines)
    )
    with pytest.raises(FormatError, match="seconds") as caught:
        dvskit.open_events(path)
    assert dvskit.load_events(path, format=offered(caught), size=events.sensor_size) == events


def test_the_line_for_a_matlab_file_runs(tmp_path, monkeypatch):
    events = make(100)
    values = {"t": events.t, "x": events.x, "y": events.y, "p": np.where(events.p, 1, -1)}
    scipy.io.savemat(tmp_path / "a.mat", values)
    with pytest.raises(UnknownFormatError) as caught:
        dvskit.open_events(tmp_path / "a.mat")
    code = str(caught.value).split("in Python: ")[1].split(", with the names")[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {"SIZE": events.sensor_size})
    assert dvskit.load_events("events.npz") == events


def test_addresses_keep_both_slashes():
    recording = dvskit.open_events("udp://127.0.0.1:0", size=(8, 8))
    assert str(recording.path) == "udp://127.0.0.1:0"
    assert "udp://127.0.0.1:0" in repr(recording)
    recording.close()
    for wrong in ("udp://127.0.0.1:70000", "udp://nowhere"):
        with refused(FormatError, f"{wrong}: "):
            dvskit.open_events(wrong, size=(8, 8))
