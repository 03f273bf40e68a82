"""The event-camera dataset's own layout, through every command, whole and damaged."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import dvskit
from dvskit.errors import DvskitError, FormatError
from dvskit.formats import find_format
from tests import event_camera_folder as drawn
from tests.event_camera_folder import HEIGHT, WIDTH, image_times_us, view, write_folder
from tests.laws import refused, refused_command

ORIGIN_US = 1468939993067416


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The layout as the data set has it, with absolute times; only read."""
    return write_folder(tmp_path_factory.mktemp("set") / "shapes", ORIGIN_US)


@pytest.fixture(scope="module")
def relative(tmp_path_factory):
    """The layout with times from 0 on; only read."""
    return write_folder(tmp_path_factory.mktemp("relative") / "shapes")


@pytest.fixture
def copy(relative, tmp_path):
    """The layout with times from 0 on, to be damaged."""
    return Path(shutil.copytree(relative, tmp_path / "shapes"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "origin"), [("folder", ORIGIN_US), ("relative", 0)])
def test_the_recording_has_its_events_frames_and_samples_on_one_clock(request, name, origin):
    folder = request.getfixturevalue(name)
    recording = dvskit.open_events(folder / "events.txt")
    events, expected = recording.load(), drawn.events()
    assert np.array_equal(events.t, expected.t + origin)
    assert events.sensor_size == (WIDTH, HEIGHT)
    frames = list(recording.frames())
    assert [frame.t_us for frame in frames] == image_times_us(origin)
    assert [frame.stop_us for frame in frames] == image_times_us(origin)
    assert frames[3].image.dtype == np.uint8
    assert np.array_equal(frames[3].image, view(image_times_us()[3]))
    assert len(recording.triggers()) == 0
    samples = recording.imu()
    assert samples.t[:2].tolist() == [origin + 1001, origin + 2001]  # 1000.5 us, rounded up
    assert samples.accelerometer[5] == pytest.approx([0.1, -1.0, 0.0], abs=1e-7)
    assert samples.gyroscope[5] == pytest.approx([180.0, 0.0, math.degrees(-1.5)], rel=1e-6)
    assert np.isnan(samples.temperature).all()
    again = dvskit.open_events(folder)
    assert find_format(folder).name == "rpg"
    assert again.path == folder / "events.txt"
    assert again.load() == events


def test_the_calibration_is_read_as_opencv_takes_it(folder):
    lens = dvskit.open_events(folder).intrinsics()
    fx, fy, cx, cy, *distortion = (float(word) for word in drawn.CALIBRATION.split())
    assert lens.matrix.tolist() == [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    assert lens.distortion.tolist() == distortion
    middle = cv2.undistortPoints(np.array([[[cx, cy]]]), lens.matrix, lens.distortion)
    assert middle == pytest.approx(0)


def test_frames_in_color_are_rgb_and_16_bits_stay(copy):
    red_first = np.full((HEIGHT, WIDTH, 3), (10, 20, 30), np.uint8)
    cv2.imwrite(str(copy / "images" / "frame_00000000.png"), red_first[:, :, ::-1])
    cv2.imwrite(str(copy / "images" / "frame_00000001.png"), np.full((HEIGHT, WIDTH), 999, "u2"))
    frames = list(dvskit.open_events(copy).frames())
    assert np.array_equal(frames[0].image, red_first)
    assert (frames[1].image.dtype, int(frames[1].image[0, 0])) == (np.uint16, 999)


def test_a_part_has_the_frames_and_samples_of_its_time(folder):
    start, stop = ORIGIN_US + 100_000, ORIGIN_US + 250_000
    part = dvskit.open_events(folder).between(start, stop)
    inside = [t for t in image_times_us(ORIGIN_US) if start <= t < stop]
    assert [frame.t_us for frame in part.frames()] == inside
    assert len(part.imu()) == 150
    assert part.intrinsics() == dvskit.open_events(folder).intrinsics()


def test_info_counts_frames_and_samples_and_shows_the_calibration(run, folder):
    code, out, err = run("info", folder)
    assert (code, err) == (0, "")
    for shown in ("120x90", str(len(image_times_us())), "599", "199.092", "-0.368436", "120 poses"):
        assert shown in out
    facts = json.loads(run("info", folder / "events.txt", "--json")[1])
    assert (facts["frames"], facts["imu_samples"]) == (len(image_times_us()), 599)
    assert facts["intrinsics"]["k3"] == 0.0
    assert facts["events"] == len(drawn.events())


class Light(list):
    """Frames that hold light, as those of a sensor."""

    transfer = "linear"


@pytest.mark.slow
def test_emulate_writes_events_on_the_stamps_of_images_txt(run, folder, tmp_path):
    assert run("-q", "emulate", folder, "out.npz") == (0, "", "")
    events = dvskit.load_events(tmp_path / "out.npz")
    assert events.sensor_size == (WIDTH, HEIGHT)
    times = image_times_us(ORIGIN_US)
    clip = Light((t, view(t - ORIGIN_US)) for t in times)
    assert events == dvskit.emulate(clip, seed=0).load()
    assert times[0] < events.t[0] <= events.t[-1] <= times[-1]


def test_convert_names_what_it_leaves_out(run, folder, tmp_path):
    code, _, err = run("convert", folder, "out.raw")
    assert code == 0
    for left_out in ("599 IMU", f"{len(image_times_us())} frames", "calibration", "120 poses"):
        assert left_out in err
    expected = drawn.events()
    assert np.array_equal(dvskit.load_events(tmp_path / "out.raw").t, expected.t + ORIGIN_US)


def replace_line(file: Path, number: int, line: str) -> None:
    lines = file.read_text().splitlines()
    lines[number - 1] = line
    file.write_text("\n".join(lines) + "\n")


def contents(folder: Path, *, strict: bool = True) -> tuple[int, int, bool, list[str]]:
    """Read all that stands beside the events: how much there is, and what is noted of it."""
    recording = dvskit.open_events(folder, strict=strict)
    read = len(list(recording.frames())), len(recording.imu()), bool(recording.intrinsics())
    return *read, recording.assumptions


@pytest.mark.parametrize(
    ("name", "number", "line", "named"),
    [
        ("images.txt", 3, "0.09 images/none.png", "images/none.png"),
        ("images.txt", 3, "0.09", "'0.09'"),
        ("images.txt", 3, "0.0 images/frame_00000002.png", "47876"),
        ("images.txt", 3, "0.09 ../events.png", "'../events.png'"),
        ("images.txt", 3, "0.09 /etc/passwd", "'/etc/passwd'"),
        ("imu.txt", 7, "0.007 1 2 3 4 5", "6 columns"),
        ("imu.txt", 7, "0.007 1 2 3 4 5 nan", "'0.007 1 2 3 4 5 nan'"),
        ("imu.txt", 7, "0.001 1 2 3 4 5 6", "from 6001 to 1000 us"),
        ("calib.txt", 1, "199 198 132 110 -0.3 0.1 0 0", "8 words"),
        ("calib.txt", 1, "0 198 132 110 -0.3 0.1 0 0 0", "fx"),
    ],
)
def test_damage_is_one_line_and_salvage_leaves_it_out_and_counts(copy, name, number, line, named):
    frames, samples, _, before = contents(copy)
    replace_line(copy / name, number, line)
    with refused(DvskitError, copy / name, f"line {number}", named):
        contents(copy)
    *found, assumptions = contents(copy, strict=False)
    lost = [name == each for each in ("images.txt", "imu.txt", "calib.txt")]
    assert found == [frames - lost[0], samples - lost[1], not lost[2]]
    (note,) = (text for text in assumptions if text not in before)
    assert name in note
    assert f"line {number}" in note


def test_events_without_the_images_have_no_frames_and_say_so(run, copy):
    shutil.rmtree(copy / "images")
    code, out, _ = run("info", copy)
    assert code == 0
    assert "frames " not in out
    assert "images.txt" in out
    refused_command(run("emulate", copy, "x.raw"), "line 1", "images/frame_00000000.png")


def test_a_recording_of_another_name_has_nothing_beside_it(copy):
    (copy / "events.txt").rename(copy / "other.txt")
    assert contents(copy / "other.txt")[:3] == (0, 0, False)
    with refused(FormatError, copy, "events.txt"):
        dvskit.open_events(copy)


def test_a_sensor_size_that_is_given_stays_and_larger_events_are_not_cut(copy):
    assert dvskit.open_events(copy, size=(300, 200)).size == (300, 200)
    with (copy / "events.txt").open("a") as file:
        file.write("9.000000000 250 3 1\n")
    recording = dvskit.open_events(copy)
    assert (recording.size, recording.size_origin) == ((251, 90), "data")
    assert len(recording.load()) == len(drawn.events()) + 1


GYRO_FIRST = "timestamp ang_vel_x ang_vel_y ang_vel_z lin_acc_x lin_acc_y lin_acc_z"
GYRO_LAST = "timestamp lin_acc_x lin_acc_y lin_acc_z ang_vel_x ang_vel_y ang_vel_z"


@pytest.mark.parametrize(
    ("head", "number"),
    [(GYRO_FIRST, ""), ("id " + GYRO_FIRST, "0 "), (GYRO_LAST, "")],
)
def test_a_comment_that_names_the_columns_of_imu_txt_is_heeded(copy, head, number):
    (copy / "imu.txt").write_text(f"# {head}\n{number}0.5 1 2 3 4 5 6\n")
    samples = dvskit.open_events(copy).imu()
    acceleration, velocity = np.array([1.0, 2, 3]), np.array([4.0, 5, 6])
    if head != GYRO_LAST:
        acceleration, velocity = velocity, acceleration
    assert samples.t.tolist() == [500_000]
    assert samples.accelerometer[0] == pytest.approx(acceleration / 9.80665)
    assert samples.gyroscope[0] == pytest.approx(np.degrees(velocity))
