"""The format that dvskit/formats/README.md adds reads, writes, salvages and is found."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import dvskit
from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.formats.table import TABLE

README = Path(dvskit.__file__).parent / "formats" / "README.md"


@pytest.fixture
def tiny(monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    module = ModuleType("tiny_format")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, str(README), "exec"), module.__dict__)
    yield module
    del TABLE["tiny"]


def some_events(count: int = 3000) -> dvskit.Events:
    rng = np.random.default_rng(0)
    return dvskit.Events(
        t=np.sort(rng.integers(0, 10**6, count)),
        x=rng.integers(0, 40, count),
        y=rng.integers(0, 30, count),
        p=rng.integers(0, 2, count),
        size=(40, 30),
    )


def test_the_page_fits_on_a_screen_or_two():
    assert len(README.read_text(encoding="utf-8").splitlines()) < 100


def test_what_is_written_is_read(tiny, tmp_path):
    events, path = some_events(), tmp_path / "a.tiny"
    dvskit.save_events(events, path)
    assert dvskit.load_events(path) == events
    recording = dvskit.open_events(path)
    assert isinstance(recording, tiny.TinyRecording)
    assert recording.size_origin == "header"
    part = recording.between(200_000, 700_000).load()
    assert part == events.between(200_000, 700_000)
    dvskit.save_events(recording, tmp_path / "a.csv")
    assert dvskit.load_events(tmp_path / "a.csv", size=(40, 30)) == events


def test_damage_is_named_and_salvaged(tiny, tmp_path):
    events, path = some_events(), tmp_path / "a.tiny"
    dvskit.save_events(events, path)
    data = bytearray(path.read_bytes())
    data[8 + 13 * 7 + 8 : 8 + 13 * 7 + 10] = b"\xff\xff"
    path.write_bytes(data[:-5])
    with pytest.raises(DamagedFileError, match=r"off the 40x30 sensor at byte 99"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    kept = recording.load()
    at = [k for k in range(len(events) - 1) if k != 7]
    assert kept == events[np.array(at)]
    assert [(loss.offset, loss.length) for loss in recording.damage.losses] == [
        (8 + 13 * 7, 13),
        (8 + 13 * 2999, 8),
    ]


@pytest.mark.parametrize("size", [(0, 30), (65_535, 65_535)])
def test_a_header_without_a_sensor_is_refused_and_an_argument_stands_in(tiny, tmp_path, size):
    events, path = some_events(), tmp_path / "a.tiny"
    dvskit.save_events(events, path)
    data = bytearray(path.read_bytes())
    data[4:8] = np.array(size, "<u2").tobytes()
    path.write_bytes(data)
    with pytest.raises(GeometryError, match="header's sensor size cannot be used"):
        dvskit.open_events(path)
    assert dvskit.load_events(path, size=(40, 30)) == events


def test_a_file_that_ends_within_its_header_is_refused(tiny, tmp_path):
    (tmp_path / "a.tiny").write_bytes(b"TINY\x10")
    with pytest.raises(FormatError, match="ends within its header"):
        dvskit.open_events(tmp_path / "a.tiny")
