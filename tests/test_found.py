"""One function says what a path is, and an error that there is nothing.

The command line, data sets and `classify` ask it."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

import dvskit
from dvskit._files import whole_file
from dvskit.cli._clips import find_clip
from dvskit.cli._inputs import RECORDINGS, find_jobs
from dvskit.cli._options import Reading
from dvskit.cli.emulate import VIDEOS
from dvskit.datasets.files import kind_of
from dvskit.datasets.folders import walk
from dvskit.errors import ConfigError, FormatError, MissingFileError, ModelError, VideoError
from dvskit.formats.found import CLIPS, PathKind, find_recordings, identify, identify_named
from dvskit.formats.labels import read_labels
from dvskit.render import plots
from dvskit.training import load_config
from dvskit.video import open_frames, write_video
from tests.test_events import make

METADATA = "rosbag2_bagfile_information:\n  version: 5\n"


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((4, 6), np.uint8))
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def every_kind(folder: Path) -> dict[Path, PathKind | None]:
    """Write a path of each kind into a folder; return what it is."""
    dvskit.save_events(make(20), folder / "events.raw")
    dvskit.save_events(make(20), folder / "columns.npz")
    np.savez(folder / "depth.npz", depth=np.ones((2, 4, 6), np.uint16), t_us=np.arange(2))
    frames = [(t_us, np.full((16, 16), t_us // 1000, np.uint8)) for t_us in (0, 40_000, 80_000)]
    write_video(frames, folder / "video.mp4", fps=25)
    np.savez(folder / "images.npz", t_us=np.arange(2), images=np.ones((2, 16, 16), np.uint8))
    image(folder / "still.png")
    for name in ("clip/0.png", "clip/1.png", "beside/0.png", "listed/rgb/0.png", "._clip/0.png"):
        image(folder / name)
    text(folder / "clip/timestamps_us.txt", "0\n40000\n")
    text(folder / "listed/rgb.txt", "0.0 rgb/0.png\n")
    (folder / "beside" / "video.mp4").write_bytes((folder / "video.mp4").read_bytes())
    text(folder / "hidden" / "._0.png", "a resource fork")
    text(folder / "camera" / "events.txt", "0.1 1 2 1\n")
    image(folder / "camera" / "images" / "0.png")
    text(folder / "camera" / "images.txt", "0.0 images/0.png\n")
    return {
        folder / "events.raw": PathKind.RECORDING,
        folder / "columns.npz": PathKind.RECORDING,
        text(folder / "lines.txt", "0.5 1 2 1\n"): PathKind.RECORDING,
        text(folder / "damaged.aedat4", "nothing"): PathKind.RECORDING,
        text(folder / "rosbag2" / "metadata.yaml", METADATA).parent: PathKind.RECORDING,
        folder / "camera": PathKind.RECORDING,
        folder / "depth.npz": PathKind.DEPTH_CLIP,
        folder / "video.mp4": PathKind.VIDEO,
        folder / "images.npz": PathKind.VIDEO,
        folder / "clip": PathKind.IMAGE_FOLDER,
        folder / "listed": PathKind.IMAGE_FOLDER,
        folder / "still.png": PathKind.IMAGE,
        text(folder / "list.csv", "file,label\nevents.raw,wave\n"): PathKind.LIST,
        folder / "beside": PathKind.FOLDER,
        folder / "hidden": PathKind.FOLDER,
        text(folder / "readme.txt", "once upon a time\n"): None,
        text(folder / "events_labels.csv", "0,10,wave\n"): None,
        text(folder / "notes.md", "0 1 2 3\n"): None,
    }


def below(kinds: dict[Path, PathKind | None], *wanted: PathKind) -> set[Path]:
    return {path for path, kind in kinds.items() if kind in wanted}


def test_everyone_agrees_on_what_a_path_is(tmp_path):
    root = tmp_path / "set" / "class"
    root.mkdir(parents=True)
    kinds = every_kind(root)
    video = root / "beside" / "video.mp4"
    assert {path: identify(path) for path in kinds} == kinds
    recordings, clips = below(kinds, PathKind.RECORDING), below(kinds, *CLIPS) | {video}
    # The samples of a data set, and what `classify` takes from a folder.
    assert {leaf.path for leaf in walk(tmp_path / "set").leaves} == recordings | clips
    assert {path for path in kinds if kind_of(path)} == recordings | clips - {video}
    assert set(find_recordings(tmp_path / "set").recordings) == recordings | clips
    # The inputs of `convert` and `emulate`; a recording with frames is a clip for `emulate`.
    for inputs, wanted in (
        (RECORDINGS, recordings),
        (VIDEOS, clips - {root / "depth.npz"} | {root / "camera"}),
    ):
        plan = find_jobs([str(tmp_path / "set")], tmp_path / "out", inputs, ".raw")
        assert {job.file for job in plan.jobs} == wanted
    # What `info`, `cloud`, `plot`, `render` and `view` emulate.
    shown = {path for path in kinds if find_clip(path, Reading()) is not None}
    assert shown == below(kinds, PathKind.VIDEO, PathKind.IMAGE_FOLDER, PathKind.IMAGE)
    assert len(list(open_frames(root / "camera"))) == len(list(open_frames(root / "listed"))) == 1


@pytest.mark.parametrize("name", [".a.raw", "._a.raw", "Thumbs.db", "__MACOSX", "@eaDir"])
def test_hidden_files_are_ignored_by_all(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "set" / "class"
    root.mkdir(parents=True)
    dvskit.save_events(make(20), root / "events.raw")
    if "." in name:
        (root / name).write_bytes(b"1")
    else:
        (root / name).mkdir()
        (root / name / "b.raw").write_bytes(b"1")
    assert [leaf.path.name for leaf in walk(tmp_path / "set").leaves] == ["events.raw"]
    found = find_recordings(tmp_path / "set")
    assert ([path.name for path in found.recordings], found.others) == (["events.raw"], [])
    plan = find_jobs(["set"], Path("out"), RECORDINGS, ".npz")
    assert ([job.file.name for job in plan.jobs], plan.others) == (["events.raw"], [])


def test_the_content_of_a_named_file_decides_before_its_name(tmp_path):
    dvskit.save_events(make(20), tmp_path / "a.raw")
    for name in ("a.mp4", "a.bak", "a.png"):
        (tmp_path / name).write_bytes((tmp_path / "a.raw").read_bytes())
        assert identify_named(tmp_path / name) is PathKind.RECORDING
    frames = [(t_us, np.full((16, 16), t_us // 1000, np.uint8)) for t_us in (0, 40_000, 80_000)]
    write_video(frames, tmp_path / "video.mp4", fps=25)
    disc = (tmp_path / "video.mp4").rename(tmp_path / "video.dat")
    assert (identify(disc), identify_named(disc)) == (PathKind.RECORDING, None)
    clip = find_clip(disc, Reading())
    assert clip is not None
    assert clip.size == (16, 16)


# --- inputs that are missing ---

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
def test_a_missing_input_is_a_file_not_found_error(reader, tmp_path):
    suffixes = SUFFIXES if reader.endswith("events") else (ENDS.get(reader, ".csv"),)
    for suffix in suffixes:
        path = tmp_path / f"none{suffix}"
        with pytest.raises(FileNotFoundError) as caught:
            READERS[reader](path)
        assert str(path) in str(caught.value)
        assert caught.value.filename == str(path)
        assert caught.value.errno == errno.ENOENT
        assert isinstance(caught.value, (FormatError, VideoError))


def test_a_missing_input_is_not_taken_for_an_error_of_the_output(tmp_path):
    with pytest.raises(MissingFileError, match=r"in\.raw"), whole_file(tmp_path / "out.npz"):
        raise MissingFileError("in.raw")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_input_is_told_between_processes():
    error = pickle.loads(pickle.dumps(MissingFileError(Path("a.csv"), "name another")))
    assert (error.filename, "name another" in str(error)) == ("a.csv", True)
    assert type(error) is MissingFileError


def test_a_message_is_one_line_also_with_names_of_several_lines():
    for kind in (FormatError, ConfigError, ModelError):
        assert str(kind("a\nb: has\r\nnone\x0b; name one")) == "a b: has none ; name one"
