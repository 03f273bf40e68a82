"""The table of formats: what decides, what is refused, and outputs that are whole or as before."""

from __future__ import annotations

import re

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import (
    ConfigError,
    EventsError,
    FormatError,
    GeometryError,
    LeftOutWarning,
    OutputError,
    UnknownFormatError,
)
from dvskit.formats import Format, find_format, list_formats, open_sink
from dvskit.formats.for_writing import format_for_writing
from tests.laws import refused
from tests.test_events import make


def test_content_decides_before_the_suffix(tmp_path):
    dvskit.save_events(make(), tmp_path / "a.npz")
    (tmp_path / "a.npz").rename(tmp_path / "a.raw")
    assert find_format(tmp_path / "a.raw").name == "npz"
    assert dvskit.load_events(tmp_path / "a.raw") == make()


@pytest.mark.parametrize("head", [b"t,x,y,p\n", b"x;y;t_us;polarity\n", b"t,x@128,y@128,on\n"])
def test_columns_that_are_named_are_csv_whatever_the_file_is_called(tmp_path, head):
    path = tmp_path / "events.unknown"
    path.write_bytes(head + b"10,1,1,1\n")
    assert find_format(path).name == "csv"


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.raw", b"hello, this is text\n", "evt3"),
        ("a.raw", b"", "empty"),
        ("a.aedat4", b"", "empty"),
        ("a.npz", b"", "empty"),
        ("a.bin", b"", "empty"),
        ("a.xyz", b"hello", "a.xyz"),
        ("a.unknown", b"t,x,y\n1,2,3\n", "a.unknown"),
        ("a.unknown", b"t,x,y,p", "a.unknown"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path, name, content, named):
    (tmp_path / name).write_bytes(content)
    with refused(FormatError, tmp_path / name, named):
        dvskit.load_events(tmp_path / name, size=(640, 480))


def test_missing_files_folders_and_unknown_names_are_refused(tmp_path):
    with refused(FormatError, "none.raw"):
        dvskit.open_events(tmp_path / "none.raw")
    with refused(FormatError, "folder"):
        dvskit.open_events(tmp_path)
    with refused(UnknownFormatError, "'evt3'"):
        dvskit.open_events(tmp_path / "none.raw", format="evt33")
    with refused(UnknownFormatError, "npz", "variants"):
        dvskit.open_events(tmp_path / "a", format="npz:x")
    with refused(UnknownFormatError, "'.npz'"):
        format_for_writing("a.npzz")
    with refused(UnknownFormatError, "only read"):
        format_for_writing("a.bin")
    assert list(tmp_path.iterdir()) == []


def test_saving_a_recording_carries_its_triggers_or_warns_of_their_loss(tmp_path, data):
    recording = dvskit.open_events(data / "recordings" / "evt3_triggers_640x480.raw")
    with pytest.warns(LeftOutWarning) as told:
        dvskit.save_events(recording, tmp_path / "a.npz")
    assert [re.search(r": ([\d,]+)", str(each.message))[1] for each in told] == ["4,157", "519"]
    with pytest.warns(LeftOutWarning, match="519 other words"):
        dvskit.save_events(recording, tmp_path / "a.raw")
    again = dvskit.open_events(tmp_path / "a.raw").triggers()
    assert np.array_equal(again.t, recording.triggers().t)
    assert np.array_equal(again.p, recording.triggers().p)


def test_a_name_is_registered_once():
    assert {"npz", "nmnist", "evt3", "aedat4"} <= {row.name for row in list_formats()}
    with refused(ConfigError, "'npz'"):
        dvskit.register_format(Format("npz", (), "x", None, "r", ""))


def test_an_output_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a.npz"
    dvskit.save_events(make(), path)
    before = path.read_bytes()
    with refused(OutputError, path):
        dvskit.save_events(make(5), path)

    class Broken:
        size = make().sensor_size

        def __iter__(self):
            yield make(10)
            raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        dvskit.save_events(Broken(), path, overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
    dvskit.save_events(make(5), path, overwrite=True)
    assert dvskit.load_events(path) == make(5)


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    with refused(OutputError, tmp_path / "none"):
        dvskit.save_events(make(), tmp_path / "none" / "a.npz")
    (tmp_path / "b.npz").mkdir()
    with refused(OutputError, tmp_path / "b.npz"):
        dvskit.save_events(make(), tmp_path / "b.npz")


def write_blocks(path, *blocks):
    with open_sink(path, blocks[0].sensor_size) as sink:
        for block in blocks:
            sink.write(block)


def test_a_sink_refuses_blocks_out_of_order_and_of_another_size(tmp_path):
    with refused(EventsError, "before"):
        write_blocks(tmp_path / "a.npz", make(), make())
    with refused(GeometryError, "3x3"):
        write_blocks(tmp_path / "a.npz", make(), Events.empty((3, 3)))
    assert list(tmp_path.iterdir()) == []
