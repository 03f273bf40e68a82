"""Gray video without loss: frames and times as given, and what a kill leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dvskit.errors import OutputError, ShapeError, VideoError
from dvskit.video import open_frames
from dvskit.video.writing import LosslessWriter
from tests.laws import refused

Timed = list[tuple[int, NDArray[np.uint8]]]


def noise(
    count: int, size: tuple[int, int] = (33, 21), seed: int = 0, gap_us: int = 70_000
) -> Timed:
    """Frames of every value, at times that are nowhere even."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(1, gap_us, count)) + int(rng.integers(-(10**9), 10**12))
    shape = (count, size[1], size[0])
    return list(zip(times.tolist(), rng.integers(0, 256, shape).astype(np.uint8), strict=True))


def write(path: Path, frames: Timed) -> LosslessWriter:
    height, width = frames[0][1].shape
    writer = LosslessWriter(path, (width, height))
    for t_us, frame in frames:
        writer.add(t_us, frame)
    return writer


def assert_same(found: Timed, frames: Timed) -> None:
    first_us = frames[0][0]
    assert [t_us for t_us, _ in found] == [t_us - first_us for t_us, _ in frames]
    for (_, got), (_, given) in zip(found, frames, strict=True):
        assert got.dtype == np.uint8
        assert np.array_equal(got, given)


@pytest.mark.parametrize(
    ("size", "gap_us"), [((1, 1), 2), ((2, 3), 70_000), ((33, 21), 3 * 10**9), ((160, 120), 2)]
)
def test_frames_and_times_come_back_exactly(tmp_path, size, gap_us):
    frames = noise(12, size, seed=size[0], gap_us=gap_us)
    write(tmp_path / "a.mkv", frames).close()
    clip = open_frames(tmp_path / "a.mkv")
    assert (clip.size, clip.notes) == (size, ())
    assert_same(list(clip), frames)
    assert_same(list(clip), frames)  # a second pass
    assert_same(list(open_frames(tmp_path / "a.mkv", clock="container")), frames)


@pytest.mark.parametrize("count", [2, 20])
def test_a_file_that_was_never_closed_holds_all_frames_but_the_last_few(tmp_path, count):
    frames = noise(count)
    writer = write(tmp_path / "a.mkv", frames)
    (tmp_path / "cut.mkv").write_bytes((tmp_path / "a.mkv").read_bytes())
    writer.abandon()
    assert not (tmp_path / "a.mkv").exists()
    found = list(open_frames(tmp_path / "cut.mkv", strict=False))
    assert len(found) >= count - 1
    assert_same(found, frames[: len(found)])


def test_a_file_cut_at_any_byte_holds_whole_frames_only(tmp_path):
    frames = noise(6, (24, 16))
    write(tmp_path / "a.mkv", frames).close()
    data = (tmp_path / "a.mkv").read_bytes()
    most = 0
    for stop in range(700, len(data), 41):
        (tmp_path / "cut.mkv").write_bytes(data[:stop])
        try:
            found = list(open_frames(tmp_path / "cut.mkv", strict=False))
        except VideoError:
            continue
        most = max(most, len(found))
        if found:
            assert_same(found, frames[: len(found)])
    assert most == len(frames)


def test_a_wrong_frame_is_refused_and_writing_goes_on(tmp_path):
    frames = noise(6)
    writer = write(tmp_path / "a.mkv", frames[:3])
    last_us = frames[2][0]
    for t_us in (last_us, last_us - 5):
        with refused(VideoError, "frame 3", t_us, last_us):
            writer.add(t_us, frames[3][1])
    for wrong in (frames[3][1][1:], frames[3][1].astype(np.uint16), frames[3][1][..., None], [1]):
        with refused(ShapeError, "frame 3", "(21, 33)"):
            writer.add(last_us + 1, wrong)
    for t_us, frame in frames[3:]:
        writer.add(t_us, frame)
    writer.close()
    assert_same(list(open_frames(tmp_path / "a.mkv")), frames)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with refused(OutputError, tmp_path / "none" / "a.mkv"):
        LosslessWriter(tmp_path / "none" / "a.mkv", (8, 8))


def test_a_full_disk_is_an_error(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    (tmp_path / "a.mkv").symlink_to(full)
    writer = LosslessWriter(tmp_path / "a.mkv", (320, 240))
    with refused(OutputError, "a.mkv", "space"):
        for t_us, frame in noise(50, (320, 240)):
            writer.add(t_us, frame)
    writer.abandon()
    assert full.exists()
