"""The frames in event files: shown, emulated from, exported and counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import dvskit
from dvskit.errors import OutputError, VideoError
from dvskit.streams import Frame
from dvskit.video import RecordedFrames, open_frames, write_images
from tests import ros_bags as bags
from tests.laws import refused, refused_command, scattered
from tests.ros_bags import array, rows_of, some_events
from tests.test_aedat2 import DAVIS, davis, write
from tests.test_aedat2_samples import picture, readout
from tests.test_ros import image


@pytest.fixture
def street(data):
    return data / "davis" / "davis346_street.aedat4"


def bag_with_frames(path, sizes):
    """Write a bag of some events and of a gray image of each size."""
    said = [array(rows_of(some_events(200, seed=1)))]
    for number, (width, height) in enumerate(sizes):
        pixels = np.full((height, width), 10 * number, np.uint8)
        said.append(image("mono8", pixels, t_ns=10**9 + 40_000_000 * number))
    return bags.write(path, said)


def test_the_frames_of_a_recording_are_a_clip_on_the_clock_of_its_events(street):
    frames = list(dvskit.open_events(street).frames())
    clip = open_frames(street)
    assert isinstance(clip, RecordedFrames)
    assert clip.size == (346, 260)
    for _ in range(2):
        seen = list(clip)
        assert [t for t, _ in seen] == [(each.t_us + each.stop_us) // 2 for each in frames]
        assert all(np.array_equal(a, b.image) for (_, a), b in zip(seen, frames, strict=True))
    assert [t for t, _ in open_frames(street, fps=100)][:3] == [0, 10_000, 20_000]


def test_exported_frames_are_read_back_with_the_same_times_and_pixels(street, tmp_path):
    written = write_images(dvskit.open_events(street).frames(), tmp_path / "frames")
    assert written == (59, ((346, 260),))
    pairs = list(zip(open_frames(tmp_path / "frames"), open_frames(street), strict=True))
    assert len(pairs) == 59
    assert all(a[0] == b[0] and np.array_equal(a[1], b[1]) for a, b in pairs)


def test_frames_of_a_sensor_are_light_and_other_images_are_codes(street, tmp_path):
    recording = dvskit.open_events(street)
    write_images(recording, tmp_path / "recorded")
    write_images(recording.frames(), tmp_path / "images")
    (tmp_path / "rpg").mkdir()
    (tmp_path / "rpg/events.txt").touch()
    write_images(recording.frames(), tmp_path / "rpg/images")
    assert open_frames(street).transfer == "linear"
    assert open_frames(tmp_path / "recorded").transfer == "linear"
    assert open_frames(tmp_path / "rpg/images").transfer == "linear"
    assert open_frames(tmp_path / "images").transfer == "srgb"
    with Image.open(tmp_path / "recorded/frame_000000.png") as image:
        image.load()
        assert image.info["gamma"] == 1.0


@pytest.mark.parametrize(
    ("t_us", "shape", "dtype"),
    [
        (-1_500_000, (5, 7), np.uint8),
        (-1, (5, 7, 3), np.uint16),
        (0, (5, 7), np.uint16),
        (1589163147368868, (5, 7, 3), np.uint8),
    ],
)
def test_images_of_any_kind_keep_their_time_and_their_pixels(tmp_path, t_us, shape, dtype):
    drawn = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    write_images([Frame(t_us, t_us, drawn)], tmp_path / "frames")
    ((time, picture),) = open_frames(tmp_path / "frames").pictures()
    assert time == t_us
    assert np.array_equal(picture, drawn)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    frames = [Frame(0, 0, np.zeros((4, 4), np.uint8))]
    folder = tmp_path / "frames"
    folder.mkdir()
    write_images(frames, folder)
    with refused(OutputError, folder):
        write_images(frames, folder)
    write_images(frames * 2, folder, overwrite=True)
    assert len(list(folder.iterdir())) == 3
    (folder / "thesis.tex").touch()
    with refused(OutputError, "thesis.tex"):
        write_images(frames, folder, overwrite=True)
    with pytest.raises(VideoError):
        write_images([], tmp_path / "none")
    assert [each.name for each in tmp_path.iterdir()] == ["frames"]


@pytest.mark.parametrize("suffix", ["bag", "db3", "mcap"])
def test_frames_of_another_size_are_damage(tmp_path, suffix):
    path = bag_with_frames(tmp_path / f"a.{suffix}", [(20, 10), (20, 10), (7, 3), (20, 10)])
    for clip in (path, path if suffix == "bag" else path.parent):
        with refused(VideoError, "7x3", "20x10"):
            list(open_frames(clip))
        salvaged = open_frames(clip, strict=False)
        assert len(list(salvaged)) == 3
        assert salvaged.damage.frames == 1


def test_info_says_size_and_rate(run, street):
    assert "59 of 346x260, 25 a second" in run("info", street)[1]
    facts = json.loads(run("info", street, "--json")[1])
    assert (facts["frames"], facts["frame_width"], facts["frame_height"]) == (59, 346, 260)
    assert facts["frames_per_second"] == pytest.approx(25, rel=0.01)


@pytest.mark.slow
def test_a_recording_and_its_exported_frames_are_emulated_alike(run, street, tmp_path):
    assert run("convert", street, "frames/")[0] == 0
    for clip, out in ((street, "a.npz"), ("frames", "b.npz")):
        assert run("emulate", clip, out, "--stop", "400ms")[0] == 0
    events = dvskit.load_events(tmp_path / "a.npz")
    assert len(events) > 10_000
    assert events == dvskit.load_events(tmp_path / "b.npz")
    truth = dvskit.load_events(street)
    assert abs(int(events.t[0]) - int(truth.t[0])) < 100_000


@pytest.mark.slow
def test_a_folder_means_frames_for_one_recording_without_to_alone(run, street, tmp_path):
    (tmp_path / "there").mkdir()
    for words in (("there",), ("new/",), ("plain", "--frames"), ("-o", "o", "--frames")):
        code, _, err = run("-q", "convert", street, *words, "--start", "1s", "--stop", "1.2s")
        assert (code, err) == (0, ""), words
    for name in ("there", "new", "plain", "o"):
        assert len(list((tmp_path / name).glob("frame_*.png"))) == 5
    assert run("-q", "convert", street, "events/", "--to", "npz")[0] == 0
    written = {each.name for each in (tmp_path / "events").iterdir()}
    assert written == {"davis346_street.npz", "manifest.csv"}


def test_what_has_no_frames_is_refused_in_one_line(run, street, tmp_path):
    (tmp_path / "tree").mkdir()
    dvskit.save_events(scattered(100), tmp_path / "tree" / "a.npz")
    for code, words, named in (
        (2, ("convert", "tree", "out/"), "--to"),
        (2, ("convert", "tree", "out/", "--frames"), "--frames"),
        (2, ("convert", street, "a.raw", "--frames"), "a.raw"),
        (2, ("convert", street, "x", "--frames", "--fit", "64x64"), "--fit"),
        (2, ("convert", "tree/a.npz", "out/"), "--to"),
        (1, ("emulate", "tree/a.npz", "b.raw"), "npz"),
    ):
        failed = run(*words)
        assert failed[0] == code
        refused_command(failed, named)
    assert [each.name for each in tmp_path.iterdir()] == ["tree"]


@pytest.mark.slow
def test_frames_of_10_bits_are_scaled_to_16(tmp_path):
    rows = []
    for k in range(3):
        rows += [(davis(3, k, 1), 100_000 * k), *readout(picture(k), 100_000 * k + 10)]
    path = write(tmp_path / "a.aedat", DAVIS, rows)
    clip = open_frames(path)
    write_images(dvskit.open_events(path), tmp_path / "frames")
    assert not clip.notes
    for k, ((t, frame), (t_file, read)) in enumerate(
        zip(clip, open_frames(tmp_path / "frames"), strict=True)
    ):
        assert t == t_file == 100_000 * k + 2510
        assert frame.dtype == np.uint16
        assert np.abs(frame.astype(int) - picture(k).astype(int) * 65535 / 1023).max() <= 0.5
        assert np.array_equal(frame, read)


def test_dark_frames_of_16_bits_are_noted(tmp_path):
    said = [array(rows_of(some_events(200, seed=1)))]
    said.append(image("mono16", np.full((10, 20), 1000, "<u2"), t_ns=10**9))
    clip = open_frames(bags.write(tmp_path / "a.mcap", said))
    (note,) = clip.notes
    assert "1,000 of 65,535" in note
