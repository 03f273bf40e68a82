"""Formats of one's own: that of the guide reads, writes, salvages and is found."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import numpy as np
import pytest

import dvskit
from dvskit.errors import (
    ConfigError,
    DamagedFileError,
    DvskitError,
    FormatError,
    GeometryError,
    UnknownFormatError,
)
from dvskit.formats import Format, find_format, register_format
from dvskit.formats.for_writing import format_for_writing
from dvskit.formats.losses import FormatOrderError
from dvskit.formats.table import TABLE
from tests.examples import example_of
from tests.laws import refused, rows_of, scattered
from tests.tree import text_of

GUIDE = text_of("samples/guide/extending.md")


@pytest.fixture
def registers(monkeypatch):
    """Runs code as a module; the formats that it registers are forgotten after the test."""
    monkeypatch.setattr(TABLE, "_parts", dict(TABLE))
    monkeypatch.setattr(TABLE, "_places", {})

    def run(code: str) -> ModuleType:
        module = ModuleType("own_format")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(code, "own_format", "exec"), module.__dict__)
        return module

    return run


@pytest.fixture
def tiny(registers):
    found = re.search(r"`tiny_events.py`.*?```python\n(.*?)```", GUIDE, re.DOTALL)
    assert found
    return registers(found[1])


EVENTS = scattered(3000, (40, 30), span_us=10**6)


def test_what_is_written_is_read(tiny, tmp_path):
    path = tmp_path / "a.tiny"
    dvskit.save_events(EVENTS, path)
    recording = dvskit.open_events(path)
    assert recording.load() == EVENTS
    assert isinstance(recording, tiny.TinyRecording)
    assert recording.size_origin == "header"
    part = recording.between(200_000, 700_000).load()
    assert part == EVENTS.between(200_000, 700_000)
    dvskit.save_events(recording, tmp_path / "a.csv")
    assert dvskit.load_events(tmp_path / "a.csv", size=(40, 30)) == EVENTS


def test_damage_is_named_and_salvaged(tiny, tmp_path):
    path = tmp_path / "a.tiny"
    dvskit.save_events(EVENTS, path)
    data = bytearray(path.read_bytes())
    data[8 + 13 * 7 + 8 : 8 + 13 * 7 + 10] = b"\xff\xff"
    path.write_bytes(data[:-5])
    with refused(DamagedFileError, "40x30", "byte 99"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert recording.load() == EVENTS[np.delete(np.arange(2999), 7)]
    lost = [(loss.offset, loss.length) for loss in recording.damage.losses]
    assert lost == [(8 + 13 * 7, 13), (8 + 13 * 2999, 8)]


@pytest.mark.parametrize("size", [(0, 30), (65_535, 65_535)])
def test_a_header_without_a_sensor_is_refused_and_an_argument_stands_in(tiny, tmp_path, size):
    path = tmp_path / "a.tiny"
    dvskit.save_events(EVENTS, path)
    data = bytearray(path.read_bytes())
    data[4:8] = np.array(size, "<u2").tobytes()
    path.write_bytes(data)
    with refused(GeometryError, path):
        dvskit.open_events(path)
    assert dvskit.load_events(path, size=(40, 30)) == EVENTS
    path.write_bytes(data[:5])
    with refused(FormatError, path):
        dvskit.open_events(path)


def test_the_example_of_register_format_is_read(registers, tmp_path):
    registers(example_of(register_format))
    columns = np.array(rows_of(EVENTS), "<i8")
    (tmp_path / "a.dots").write_bytes(b"DOTS" + columns.tobytes())
    assert dvskit.load_events(tmp_path / "a.dots", size=(40, 30)) == EVENTS


def row(name="own", suffixes=(".own",), module="own_format", recognizes=None, can="rw"):
    return Format(name, suffixes, module, recognizes, can, "for tests")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (row("npz"), "'npz'"),
        (row("my own"), "my own"),
        (row(suffixes=".own"), "suffixes"),
        (row(suffixes=("own",)), "suffixes"),
        (row(suffixes=(".Own",)), "suffixes"),
        (row(suffixes=()), "suffix"),
        (row(module=np), "module"),
        (row(recognizes=b"OWN"), "recognizes"),
        (row(can="read"), "can"),
        ({"name": "own"}, "Format"),
    ],
)
def test_a_format_that_cannot_be_is_refused(registers, wrong, named):
    with refused(ConfigError, named):
        register_format(wrong)
    assert "own" not in TABLE


def test_content_that_dvskit_knows_is_never_read_as_another_format(registers, tmp_path):
    register_format(row(suffixes=(".npz", ".own"), recognizes=lambda head: True))
    dvskit.save_events(EVENTS, tmp_path / "a.npz")
    (tmp_path / "a.npz").rename(tmp_path / "a.own")
    assert find_format(tmp_path / "a.own").name == "npz"
    (tmp_path / "b.own").write_bytes(b"anything")
    assert find_format(tmp_path / "b.own").name == "own"


FORMAT = """
import numpy as np
from dvskit import Events, Size, register_format
from dvskit.formats import FileSink, Format, Recording
class Own(Recording):
    format = "own"
    def _blocks(self, damage, storage):
        yield Events(t=[1], x=[2], y=[3], p=[1], size=self.size)
class OwnSink(FileSink):
    format = "own"
    def _open(self, partial):
        self._file = self._create(partial)
    def _write(self, events):
        self._file.write(b"OWN")
def open_recording(path, options):
    return Own(path, options, Size(9, 9), "format")
open_sink = OwnSink
register_format(Format("own", (".own",), __name__, lambda head: head[:3] == b"OWN", "rw", "tests"))
"""
BLOCK = FORMAT.splitlines()[7].strip()
OPENED = 'return Own(path, options, Size(9, 9), "format")'
BROKEN = {  # replaced code, what stands in its place, and what the message names
    "reading": (BLOCK, "np.zeros(3).reshape(2, 2)", "own_format, line 8: ValueError"),
    "other blocks": (BLOCK, "yield 3", "int"),
    "wrong events": ("t=[1]", "t=[1, 2]", "t 2, x 1"),
    "None": (OPENED, "pass", "NoneType"),
    "one argument": ("path, options):", "path):", "TypeError: open_recording()"),
    "no function": ("def open_recording", "def opens", "'open_recording'"),
    "no object": ("__name__", "__name__ + ':Row'", "'Row'"),
    "no module": ("__name__", "'own_form'", "'own_form'"),
    "writing": ('self._file.write(b"OWN")', "1 / 0", "own_format, line 14: ZeroDivisionError"),
    "no sink": ("open_sink = OwnSink", "", "'open_sink'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_mistake_in_a_format_is_one_line_with_the_file_the_format_and_the_line(
    registers, tmp_path, case
):
    old, new, named = BROKEN[case]
    assert FORMAT.count(old) == 1
    registers(FORMAT.replace(old, new))
    path = tmp_path / "a.own"
    one = dvskit.Events(t=[1], x=[2], y=[3], p=[1], size=(9, 9))
    with refused(DvskitError, f"{path}: format own: ", named):
        dvskit.save_events(one, path)
        dvskit.load_events(path)


def test_blocks_that_run_back_by_a_microsecond_are_refused(registers, tmp_path):
    back = BLOCK.replace("[1]", "[0]", 1)
    registers(FORMAT.replace(BLOCK, f"{BLOCK}; {back}"))
    (tmp_path / "a.own").write_bytes(b"OWN")
    with refused(FormatOrderError, "a.own", "0"):
        dvskit.load_events(tmp_path / "a.own")


def test_a_format_that_fails_to_recognize_hides_no_other(registers, tmp_path):
    registers(FORMAT.replace("head[:3] == b", "head[10**9] == b"))
    dvskit.save_events(EVENTS, tmp_path / "a.csv")
    dvskit.save_events(EVENTS, tmp_path / "a.npz")
    assert find_format(tmp_path / "a.csv").name == "csv"
    assert find_format(tmp_path / "a.npz").name == "npz"
    (tmp_path / "a.own").write_bytes(b"OWN")
    with refused(UnknownFormatError, "format own", "own_format, line 18: IndexErr"):
        find_format(tmp_path / "a.own")


def test_a_format_without_piped_is_refused_for_a_pipe(registers):
    registers(FORMAT)
    for name in ("own", "npz"):
        with refused(UnknownFormatError, name):
            format_for_writing("-", name)
