"""What holds of the errors themselves."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest

import dvskit
from dvskit._files import whole_file
from dvskit.errors import ConfigError, FormatError, MissingFileError, ModelError, VideoError
from dvskit.formats.labels import read_labels
from dvskit.render import plots
from dvskit.training import load_config

READERS = {
    "open_events": dvskit.open_events,
    "load_events": dvskit.load_events,
    "emulate": dvskit.emulate,
    "preset": dvskit.EmulatorParams.preset,
    "labels": read_labels,
    "curves": plots.curves,
    "configuration": load_config,
}
SUFFIXES = (".raw", ".dat", ".aedat4", ".bag", ".db3", ".mcap", ".csv", ".txt", ".es", ".hdf5",
            ".npy", ".npz", ".bin", "")  # fmt: skip
ENDS = {"emulate": ".mp4", "preset": ".toml", "labels": ".csv", "configuration": ".toml"}


@pytest.mark.parametrize("reader", READERS)
def test_a_missing_input_is_a_file_not_found_error_of_one_line(reader, tmp_path):
    suffixes = SUFFIXES if reader.endswith("events") else (ENDS.get(reader, ".csv"),)
    for suffix in suffixes:
        path = tmp_path / f"none{suffix}"
        with pytest.raises(FileNotFoundError) as caught:
            READERS[reader](path)
        assert str(caught.value).startswith(f"{path}: no such file"), suffix
        assert caught.value.filename == str(path)
        assert caught.value.errno == errno.ENOENT
        assert isinstance(caught.value, (FormatError, VideoError))


def test_a_missing_input_is_not_taken_for_an_error_of_the_output(tmp_path):
    with pytest.raises(MissingFileError, match=r"in\.raw"), whole_file(tmp_path / "out.npz"):
        raise MissingFileError("in.raw")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_input_is_told_between_processes():
    error = pickle.loads(pickle.dumps(MissingFileError(Path("a.csv"), "name another")))
    assert str(error) == "a.csv: no such file; name another"
    assert type(error) is MissingFileError


def test_a_message_is_one_line_also_with_names_of_several():
    for kind in (FormatError, ConfigError, ModelError):
        assert str(kind("a\nb: has\r\nnone\x0b; name one")) == "a b: has none ; name one"
