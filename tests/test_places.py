"""Outputs in places that fail: one error, and nothing left behind."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit._files import whole_file, whole_folder
from dvskit.errors import DamagedFileError, FormatError, OutputError
from dvskit.formats import formats, nmnist, npy
from dvskit.formats.aedat31 import reading as aedat31_reading
from dvskit.formats.es import reading as es_reading
from tests.test_aedat31 import packet, polarity, write
from tests.test_events import make


@contextmanager
def full(left):
    """Writing fails beyond some bytes of each file, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of rosbags
@pytest.mark.parametrize("left", [0, 4096])
@pytest.mark.parametrize(
    "row", [row for row in formats() if "w" in row.can], ids=lambda row: row.name
)
def test_a_full_disk_is_one_error_and_leaves_the_old_file(tmp_path, row, left):
    out = tmp_path / f"o{row.suffixes[0]}"
    out.write_bytes(b"old")
    with full(left), pytest.raises(OutputError, match=r"free some space|another place"):
        dvskit.save_events(make(50_000, size=(128, 128)), out, format=row.name, overwrite=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {out.name: b"old"}


def test_a_pipe_with_one_reader_gets_a_whole_archive(run, tmp_path):
    dvskit.save_events(make(3000), tmp_path / "a.raw")
    pipe, got = tmp_path / "o.npz", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert run("convert", "a.raw", pipe.name)[0] == 0
    reader.join(20)
    assert pipe.is_fifo()
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "b.npz").write_bytes(got[0])
    assert dvskit.load_events(tmp_path / "b.npz") == make(3000)


@pytest.mark.parametrize(("number", "about"), [(errno.EROFS, True), (errno.ENOSPC, True),
                                               (errno.ENOENT, False)])  # fmt: skip
def test_an_error_of_writing_a_file_beside_the_output_is_about_the_output(tmp_path, number, about):
    def fail(inside: Path):
        raise OSError(number, os.strerror(number), str(inside.parent / "tmp-beside"))

    expected = OutputError if about else OSError
    with pytest.raises(expected) as raised, whole_file(tmp_path / "o") as partial:
        fail(partial)
    assert isinstance(raised.value, OutputError) == about
    with pytest.raises(expected) as raised, whole_folder(tmp_path / "f", is_own=bool) as partial:
        fail(partial)
    assert isinstance(raised.value, OutputError) == about
    assert list(tmp_path.iterdir()) == []


def mapped_file(kind, path, count=40_000):
    """Write a recording of a format that is read from mapped pages."""
    events = make(count, size=(34, 34))
    if kind == "es":
        dvskit.save_events(events, path)
    elif kind == "npy":
        rows = np.zeros(count, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
        for name in "txyp":
            rows[name] = getattr(events, name)
        np.save(path, rows)
    elif kind == "bin":
        rows = np.stack([events.x, events.y, events.t >> 16, events.t >> 8 & 255, events.t & 255])
        rows.T.astype(np.uint8).tofile(path)
    else:
        packets = (range(first, first + 1000) for first in range(0, count, 1000))
        write(path, *(packet(1, [polarity(t, 3, 4, 1) for t in each]) for each in packets))


@pytest.mark.parametrize("kind", ["es", "npy", "bin", "aedat"])
def test_a_file_cut_while_its_pages_are_read_is_an_error(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(nmnist, "_SMALL", 1000)
    for module in (nmnist, npy, es_reading, aedat31_reading):
        monkeypatch.setattr(module, "BLOCK_EVENTS", 2000)
    path = tmp_path / f"a.{kind}"
    mapped_file(kind, path)
    recording = dvskit.open_events(path)
    assert sum(map(len, recording)) > 30_000
    arriving = iter(recording)
    assert len(next(arriving))
    os.truncate(path, path.stat().st_size // 10)
    with pytest.raises(FormatError, match="became shorter while it was read; open it again"):
        list(arriving)
    deleted = tmp_path / f"b.{kind}"
    mapped_file(kind, deleted)
    arriving = iter(dvskit.open_events(deleted))
    count = len(next(arriving))
    deleted.unlink()
    assert count + sum(map(len, arriving)) > 30_000


def write_pipe(path, data):
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(data,), daemon=True).start()


def test_a_named_pipe_is_read_like_standard_input(run, tmp_path):
    dvskit.save_events(make(3000), tmp_path / "a.raw")
    data = (tmp_path / "a.raw").read_bytes()
    write_pipe(tmp_path / "one", data)
    assert dvskit.load_events(tmp_path / "one") == make(3000)
    write_pipe(tmp_path / "two.raw", data)
    assert run("convert", "two.raw", "b.npz")[0] == 0
    assert dvskit.load_events(tmp_path / "b.npz") == make(3000)
    write_pipe(tmp_path / "cut", data[:-1])  # a writer that dies
    with pytest.raises(DamagedFileError):
        dvskit.load_events(tmp_path / "cut")


def test_a_named_pipe_of_a_format_that_needs_a_file_is_one_line(run, tmp_path):
    dvskit.save_events(make(3000), tmp_path / "a.es")
    write_pipe(tmp_path / "b.es", (tmp_path / "a.es").read_bytes()[:500])
    code, _, err = run("convert", "b.es", "c.raw")
    assert (code, err.count("\n")) == (1, 1)
    assert "b.es: es is not read from a pipe; save it to a file first" in err


def test_a_full_disk_of_compiled_loops_is_one_line_with_its_fix(run, tmp_path, monkeypatch):
    def save(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dvskit.cli.info.find_clip", save)
    dvskit.save_events(make(), tmp_path / "a.npz")
    code, _, err = run("info", "a.npz")
    assert (code, err.count("\n")) == (1, 1)
    assert "No space left on device; free some space" in err
    assert "(NUMBA_CACHE_DIR)" in err


def test_only_files_are_compared_with_the_clock_of_the_day():
    # That clock may step: intervals are taken from time.monotonic and time.perf_counter.
    package = Path(dvskit.__file__).parent
    found = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"\btime\.time(_ns)?\(|datetime\.now\(", file.read_text(encoding="utf-8"))
    }
    assert found == {
        "cli/_cluster.py",  # unfinished outputs since a job began
        "cli/_many_files.py",  # unfinished outputs of a killed run
        "cli/_processes.py",  # as in _cluster.py
        "datasets/cache.py",  # entries by age
        "formats/content.py",  # a file that may still be written
        "teach/teach_training.py",  # how long a training is likely to take
    }
