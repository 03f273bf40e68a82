"""Outputs are whole or not at all, also in places that fail; inputs may be pipes, and be cut.

Moments inside a write are made through `dvskit._files`, which all outputs go through.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import dvskit
from dvskit import _files
from dvskit.cli._workers import remove_begun
from dvskit.errors import DamagedFileError, FormatError, OutputError
from dvskit.formats import list_formats
from dvskit.models import InputConfig, Model, save_model
from dvskit.networks import ConvLIF
from dvskit.training.checkpoint import Checkpoint, RunFolder
from tests.arriving import small
from tests.laws import refused, refused_command, scattered
from tests.mutation_samples import SAMPLES

EVENTS = scattered(3000)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_output_replaces_another_one_only_if_that_is_asked(tmp_path: Path) -> None:
    writers = {
        "events.npz": dvskit.save_events,
        "page.html": dvskit.render.page,
        "cloud.png": dvskit.render.cloud,
        "video.mp4": dvskit.render.video,
    }
    for name, write in writers.items():
        path = tmp_path / name
        path.write_text("old")
        with refused(OutputError, name, "overwrite"):
            write(EVENTS, path)
        assert path.read_text() == "old"
        write(EVENTS, path, overwrite=True)
        assert path.read_bytes() != b"old"
        with refused(OutputError, tmp_path / "no"):
            write(EVENTS, tmp_path / "no" / name)
    assert names_in(tmp_path) == sorted(writers)


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def new_mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """The mode of a new file while a umask is set."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def test_all_outputs_follow_the_umask(tmp_path: Path, new_mode: int) -> None:
    network = ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3)
    model = Model("m", network, network.build(), InputConfig(), ("a", "b"))
    save_model(tmp_path / "model", model)
    checkpoint = Checkpoint("", weights={"w": torch.zeros(3)})
    RunFolder(tmp_path / "model", {}).save(checkpoint)
    for suffix in ("npz", "raw", "aedat4", "hdf5", "bag", "db3", "mcap", "csv"):
        dvskit.save_events(EVENTS, tmp_path / f"events.{suffix}")
    dvskit.render.page(EVENTS, tmp_path / "page.html")
    dvskit.render.cloud(EVENTS, tmp_path / "cloud.png", width_px=100, height_px=100)
    dvskit.render.video(EVENTS, tmp_path / "video.mp4")
    with _files.whole_file(tmp_path / "out.bin") as partial:  # that a library made private
        os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 15
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
    assert modes == dict.fromkeys(modes, new_mode)


@pytest.mark.parametrize(
    ("name", "end", "found"),
    [
        ("out.npz", "", "out.npz"),
        ("out", ".mode", "out.mode"),
        ("a.b.db3", "-journal", "a.b.db3"),
        ("ü x.raw", ".vx", "ü x.raw"),
    ],
)
def test_unfinished_files_are_known_by_their_names(tmp_path, name, end, found):
    target = tmp_path / name
    partial = _files.begin(target)
    partial.with_name(partial.name + end).touch()
    assert [whole.name for _, whole in _files.unfinished(tmp_path)] == [found]
    _files.discard(partial, target)
    assert names_in(tmp_path) == []


def test_of_a_lost_job_only_its_own_unfinished_files_are_removed(tmp_path):
    begun_s = time.time()
    own, other = partials = [_files.begin(tmp_path / name) for name in ("a.npz", "b.npz")]
    for partial in partials:
        partial.touch()
    remove_begun([tmp_path / "a.npz"], begun_s + 60)  # begun before it
    assert own.exists()
    remove_begun([tmp_path / "a.npz"], begun_s)
    assert (own.exists(), other.exists()) == (False, True)


def test_a_command_reports_what_killed_ones_left_of_its_output(run, tmp_path):
    dvskit.save_events(EVENTS, tmp_path / "a.npz")
    left = (".b.0123abcd.partial.npz", ".b.0123abcd.partial.npz.t", ".c.0123abcd.partial.npz")
    for name in left:
        (tmp_path / name).touch()
    code, _, err = run("-q", "convert", "a.npz", "b.npz")
    assert (code, err.count("\n")) == (0, 1)
    assert [name in err for name in left] == [True, True, False]
    assert len(names_in(tmp_path)) == 5
    (tmp_path / "other").mkdir()
    assert run("-q", "convert", "a.npz", "other/b.npz")[2] == ""


def folder_of(tmp_path: Path, text: str, *, overwrite: bool = False) -> Path:
    target = tmp_path / "out"
    with _files.whole_folder(target, is_own=lambda name: True, overwrite=overwrite) as partial:
        partial.mkdir()
        (partial / f"{text}.txt").write_text(text)
    return target


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_is_replaced_and_nothing_stays_beside_it(tmp_path, monkeypatch, swaps):
    folder_of(tmp_path, "old")
    if not swaps:  # as on Windows, and on file systems that cannot exchange two folders
        monkeypatch.setattr(_files, "_swap", lambda first, second: False)
    elif sys.platform == "linux":  # there is no moment without the old folder or the new one
        monkeypatch.delattr(Path, "rename")
    target = folder_of(tmp_path, "new", overwrite=True)
    assert names_in(tmp_path) == ["out"]
    assert names_in(target) == ["new.txt"]


@pytest.mark.parametrize("name", [".", "..", "sub/.."])
def test_the_current_folder_and_those_above_it_are_not_replaced(tmp_path, monkeypatch, name):
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "sub" / "deep" if name == ".." else tmp_path)
    with (
        refused(OutputError, f"{name}: ", "current folder"),
        _files.whole_folder(name, is_own=lambda name: True, overwrite=True),
    ):
        pass
    assert names_in(tmp_path) == ["sub"]


@pytest.mark.parametrize("renamed", [True, False])
def test_an_output_counts_if_it_was_renamed_wherever_an_interrupt_came(
    tmp_path, monkeypatch, renamed
):
    replace = Path.replace

    def interrupted(partial: Path, target: Path) -> None:
        if renamed:
            replace(partial, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(_files, "written", {})
    monkeypatch.setattr(Path, "replace", interrupted)
    (tmp_path / "out.bin").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        _files.write_whole(tmp_path / "out.bin", "new", overwrite=True)
    assert _files.outputs() == [tmp_path / "out.bin"] * renamed
    assert (tmp_path / "out.bin").read_text() == ("new" if renamed else "old")
    assert names_in(tmp_path) == ["out.bin"]


# ---- places that fail


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
    "row", [row for row in list_formats() if "w" in row.can], ids=lambda row: row.name
)
def test_a_full_disk_is_one_error_and_leaves_the_old_file(tmp_path, row, left):
    out = tmp_path / f"o{row.suffixes[0]}"
    out.write_bytes(b"old")
    with full(left), refused(OutputError, out):
        dvskit.save_events(scattered(50_000, (128, 128)), out, format=row.name, overwrite=True)
    assert names_in(tmp_path) == [out.name]
    assert out.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("number", "about"), [(errno.EROFS, True), (errno.ENOSPC, True), (errno.ENOENT, False)]
)
@pytest.mark.parametrize(
    "writing",
    [_files.whole_file, lambda path: _files.whole_folder(path, is_own=bool)],
    ids=["file", "folder"],
)
def test_an_error_of_writing_a_file_beside_the_output_is_about_the_output(
    tmp_path, writing, number, about
):
    with pytest.raises((OSError, OutputError)) as raised, writing(tmp_path / "o") as partial:
        raise OSError(number, os.strerror(number), str(partial.parent / "tmp-beside"))
    assert isinstance(raised.value, OutputError) == about
    assert names_in(tmp_path) == []


def test_a_full_disk_of_compiled_loops_is_one_line_with_its_fix(run, tmp_path, monkeypatch):
    def save(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # Where a loop of the command would be compiled and stored.
    monkeypatch.setattr("dvskit.cli.info.find_clip", save)
    dvskit.save_events(EVENTS, tmp_path / "a.npz")
    refused_command(run("info", "a.npz"), "No space left on device", "NUMBA_CACHE_DIR")


# ---- files that become shorter, and pipes


@pytest.mark.parametrize("name", ["es", "npy-plain", "nmnist", "aedat31"])
def test_a_file_cut_while_its_pages_are_read_is_an_error(tmp_path, name):
    (sample,) = (each for each in SAMPLES if each.name == name)
    content, path = sample.make(), tmp_path / "a"
    with small(sample.format, 1, **({"_SMALL": 1000} if name == "nmnist" else {})):
        path.write_bytes(content)
        recording = dvskit.open_events(path, format=sample.format)
        whole = sum(map(len, recording))
        arriving = iter(recording)
        assert len(next(arriving))
        os.truncate(path, len(content) // 10)
        with refused(FormatError, path):
            list(arriving)
        path.write_bytes(content)
        arriving = iter(dvskit.open_events(path, format=sample.format))
        count = len(next(arriving))
        path.unlink()
        assert count + sum(map(len, arriving)) == whole


def write_pipe(path, data):
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(data,), daemon=True).start()


def test_a_named_pipe_is_read_like_standard_input(run, tmp_path):
    dvskit.save_events(EVENTS, tmp_path / "a.raw")
    data = (tmp_path / "a.raw").read_bytes()
    write_pipe(tmp_path / "one", data)
    assert dvskit.load_events(tmp_path / "one") == EVENTS
    write_pipe(tmp_path / "two.raw", data)
    assert run("convert", "two.raw", "b.npz")[0] == 0
    assert dvskit.load_events(tmp_path / "b.npz") == EVENTS
    write_pipe(tmp_path / "cut", data[:-1])  # a writer that dies
    with pytest.raises(DamagedFileError):
        dvskit.load_events(tmp_path / "cut")
    dvskit.save_events(EVENTS, tmp_path / "a.es")
    write_pipe(tmp_path / "b.es", (tmp_path / "a.es").read_bytes()[:500])
    refused_command(run("convert", "b.es", "c.raw"), "b.es", "pipe")


def test_a_pipe_with_one_reader_gets_a_whole_archive(run, tmp_path):
    dvskit.save_events(EVENTS, tmp_path / "a.raw")
    pipe, got = tmp_path / "o.npz", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert run("convert", "a.raw", pipe.name)[0] == 0
    reader.join(20)
    assert pipe.is_fifo()
    assert names_in(tmp_path) == ["a.raw", "o.npz"]
    (tmp_path / "b.npz").write_bytes(got[0])
    assert dvskit.load_events(tmp_path / "b.npz") == EVENTS
