"""The event-camera dataset's own layout, through every command, whole and damaged."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import dvskit
from dvskit.emulator import calibration
from dvskit.errors import ConfigError, DvskitError, FormatError, LeftOutWarning, VideoError
from dvskit.formats import find_format
from dvskit.streams import Frame
from tests import event_camera_folder as drawn
from tests.event_camera_folder import HEIGHT, WIDTH, image_times_us, view, write_folder

ORIGINS = (0, 1468939993067416)


@pytest.fixture(scope="module", params=ORIGINS, ids=["relative", "absolute"])
def origin(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, origin):
    """The layout as the data set has it, with small and with absolute times; only read."""
    return write_folder(tmp_path_factory.mktemp("set") / "shapes", origin)


@pytest.fixture
def copy_at(tmp_path_factory):
    """Make a layout with times from an origin on."""
    made = []

    def make(origin_us: int) -> Path:
        made.append(write_folder(tmp_path_factory.mktemp("copy") / "shapes", origin_us))
        return made[-1]

    yield make
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture
def copy(copy_at):
    """The layout, to be damaged."""
    return copy_at(0)


@pytest.mark.slow
def test_the_recording_has_its_events_frames_and_samples_on_one_clock(folder, origin):
    recording = dvskit.open_events(folder / "events.txt")
    events, expected = recording.load(), drawn.events()
    assert np.array_equal(events.t, expected.t + origin)
    assert events.size == (WIDTH, HEIGHT)
    frames = list(recording.frames())
    assert [frame.t_us for frame in frames] == image_times_us(origin)
    assert [frame.stop_us for frame in frames] == image_times_us(origin)
    assert frames[3].image.dtype == np.uint8
    assert np.array_equal(frames[3].image, view(image_times_us()[3]))
    assert len(recording.triggers()) == 0
    again = dvskit.open_events(folder)
    assert find_format(folder).name == "rpg"
    assert again.path == folder / "events.txt"
    assert again.load() == events


def test_imu_samples_are_in_g_and_degrees_a_second(folder, origin):
    samples = dvskit.open_events(folder).imu()
    assert samples.t[:2].tolist() == [origin + 1001, origin + 2001]  # 1000.5 us, rounded up
    assert samples.accelerometer[5] == pytest.approx([0.1, -1.0, 0.0], abs=1e-7)
    assert samples.gyroscope[5] == pytest.approx([180.0, 0.0, math.degrees(-1.5)], rel=1e-6)
    assert np.isnan(samples.temperature).all()


def test_the_calibration_is_read_as_opencv_takes_it(folder):
    lens = dvskit.open_events(folder).intrinsics()
    assert lens is not None
    numbers = [float(word) for word in drawn.CALIBRATION.split()]
    fx, fy, cx, cy = numbers[:4]
    assert lens.matrix.tolist() == [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    assert lens.distortion.tolist() == numbers[4:]
    middle = cv2.undistortPoints(np.array([[[cx, cy]]]), lens.matrix, lens.distortion)
    assert middle == pytest.approx(0)


@pytest.mark.slow
def test_frames_in_colour_are_rgb_and_16_bits_stay(copy):
    red_first = np.full((HEIGHT, WIDTH, 3), (10, 20, 30), np.uint8)
    cv2.imwrite(str(copy / "images" / "frame_00000000.png"), red_first[:, :, ::-1])
    cv2.imwrite(str(copy / "images" / "frame_00000001.png"), np.full((HEIGHT, WIDTH), 999, "u2"))
    frames = list(dvskit.open_events(copy).frames())
    assert np.array_equal(frames[0].image, red_first)
    assert (frames[1].image.dtype, int(frames[1].image[0, 0])) == (np.uint16, 999)


def test_a_part_has_the_frames_and_samples_of_its_time(folder, origin):
    start, stop = origin + 100_000, origin + 250_000
    part = dvskit.open_events(folder).between(start, stop)
    inside = [t for t in image_times_us(origin) if start <= t < stop]
    assert [frame.t_us for frame in part.frames()] == inside
    assert len(part.imu()) == 150
    assert part.intrinsics() == dvskit.open_events(folder).intrinsics()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["events.txt", ""])
def test_info_counts_frames_and_samples_and_shows_the_calibration(run, folder, name):
    code, out, err = run("info", folder / name)
    assert (code, err) == (0, "")
    frames = len(image_times_us())
    for line in (
        "sensor    120x90 (of its frames)",
        f"frames    {frames}",
        "IMU       599",
        "lens      fx 199.092, fy 198.829, cx 132.192, cy 110.713, k1 -0.368436",
        "also      120 poses of groundtruth.txt",
        "assumed   imu.txt is in seconds, m/s^2 (9.80665 in 1 g) and rad/s",
    ):
        assert line in out
    facts = json.loads(run("info", folder / name, "--json")[1])
    assert (facts["frames"], facts["imu_samples"]) == (frames, 599)
    assert facts["intrinsics"]["k3"] == 0.0
    assert facts["events"] == len(drawn.events())


@pytest.mark.slow
def test_emulate_writes_events_on_the_stamps_of_images_txt(run, folder, origin, tmp_path):
    assert run("emulate", folder, "out.raw")[0] == 0
    events = dvskit.load_events(tmp_path / "out.raw")
    assert events.size == (WIDTH, HEIGHT)
    times = image_times_us(origin)
    clip = [(t, view(t - origin)) for t in times]
    expected = dvskit.Events.concatenate(list(dvskit.emulate(clip, seed=0)))
    assert events == expected
    assert times[0] < events.t[0] <= events.t[-1] <= times[-1]
    assert events.t.dtype == np.int64


@pytest.mark.slow
def test_emulate_takes_the_folder_of_the_images_alone_and_says_where_times_come_from(
    run, folder, tmp_path
):
    code, _, err = run("-q", "emulate", folder, "whole.npz")
    assert (code, err) == (0, "")
    code, _, err = run("-q", "emulate", folder / "images", "alone.npz")
    assert code == 0
    assert err == f"dvskit: note: {folder / 'images'}: times are those of {folder / 'images.txt'}\n"
    alone, whole = (dvskit.load_events(tmp_path / name) for name in ("alone.npz", "whole.npz"))
    assert alone == whole


@pytest.mark.slow(seconds=5)
def test_calibrate_finds_the_thresholds_with_the_frames_of_the_layout(run, copy_at):
    folder = copy_at(ORIGINS[1])
    code, out, _ = run("calibrate", folder / "events.txt", "--json")
    assert code == 0
    params = json.loads(out)["params"]
    assert params["threshold_on"] == pytest.approx(0.2, rel=0.05)
    assert params["threshold_off"] == pytest.approx(0.2, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [[""], ["images"], []], ids=["folder", "images", "own"])
def test_calibrate_takes_the_same_frames_however_they_are_named(run, copy_at, frames, monkeypatch):
    folder, seen = copy_at(ORIGINS[1]), []

    def taken(_source, pictures, **_options):
        for frame in pictures:
            seen.append((frame.t_us, frame.image) if isinstance(frame, Frame) else frame)
        raise ConfigError("enough seen")

    monkeypatch.setattr(calibration, "calibrate", taken)
    code, _, err = run(
        "calibrate", folder / "events.txt", *(folder / name for name in frames), "--json"
    )
    assert (code, "enough seen" in err) == (2, True)
    assert [t for t, _ in seen] == image_times_us(ORIGINS[1])
    assert all(np.array_equal(image, view(t - ORIGINS[1])) for t, image in seen)


@pytest.mark.slow
def test_render_shows_the_images_beside_at_their_times(run, folder, tmp_path):
    code, _, err = run(
        "render", folder / "events.txt", "--beside", folder, "-o", "x.mp4", "--no-footer",
        "--scale", "1", "--fps", "20", "--style", "polarity",
    )  # fmt: skip
    assert code == 0, err
    with av.open(str(tmp_path / "x.mp4")) as video:
        last = [frame.to_ndarray(format="gray") for frame in video.decode(video=0)][-1]
    beside = last[:HEIGHT, -WIDTH:].astype(float)
    shown = [
        np.corrcoef(beside.ravel(), view(t).ravel().astype(float))[0, 1] for t in image_times_us()
    ]
    assert int(np.argmax(shown)) == len(shown) - 1
    assert shown[-1] > 0.98


@pytest.mark.slow
def test_convert_and_cloud_take_the_folder(run, folder, origin, tmp_path):
    code, _, err = run("convert", folder, "out.raw")
    assert code == 0
    for told in (
        "599 IMU samples are left out",
        f"{len(image_times_us())} frames are left out",
        "the camera's calibration is left out",
        "120 poses of groundtruth.txt of the input are left out",
    ):
        assert told in err
    expected = drawn.events()
    assert np.array_equal(dvskit.load_events(tmp_path / "out.raw").t, expected.t + origin)
    assert run("cloud", folder, "-o", "x.html")[0] == 0
    assert (tmp_path / "x.html").stat().st_size > 100_000


@pytest.mark.slow
def test_aedat4_keeps_the_frames_and_samples_of_the_layout(folder, tmp_path):
    recording = dvskit.open_events(folder)
    with pytest.warns(LeftOutWarning, match=r"calibration|poses"):
        dvskit.save_events(recording, tmp_path / "a.aedat4")
    again = dvskit.open_events(tmp_path / "a.aedat4")
    assert again.load() == recording.load()
    assert np.array_equal(again.imu().t, recording.imu().t)
    assert [f.t_us for f in again.frames()] == [f.t_us for f in recording.frames()]


def replace_line(file: Path, number: int, line: str) -> None:
    lines = file.read_text().splitlines()
    lines[number - 1] = line
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number", "line", "message"),
    [
        ("images.txt", 3, "0.09 images/none.png", "line 3 names images/none.png, which is missing"),
        ("images.txt", 3, "0.09", "line 3 is '0.09'; it must be a time and a name"),
        ("images.txt", 3, "0.0 images/frame_00000002.png", "line 3 runs back in time from 47876"),
        ("images.txt", 3, "0.09 ../events.png", "line 3 names '../events.png', which is not below"),
        ("images.txt", 3, "0.09 /etc/passwd", "line 3 names '/etc/passwd', which is not below"),
        ("imu.txt", 7, "0.007 1 2 3 4 5", "line 7 has 6 columns, not t ax ay az gx gy gz"),
        ("imu.txt", 7, "0.007 1 2 3 4 5 6 7", "line 7 has 8 columns"),
        (
            "imu.txt",
            7,
            "0.007 1 2 3 4 5 nan",
            "line 7 is '0.007 1 2 3 4 5 nan'; it must be seven numbers",
        ),
        ("imu.txt", 7, "0.001 1 2 3 4 5 6", "line 7 runs back in time from 6001 to 1000 us"),
        (
            "calib.txt",
            1,
            "199 198 132 110 -0.3 0.1 0 0",
            "line 1: 8 words in all, not the nine numbers fx fy",
        ),
        ("calib.txt", 1, "0 198 132 110 -0.3 0.1 0 0 0", "fx and fy above 0"),
    ],
)
def test_damage_is_one_line_and_salvage_leaves_it_out_and_counts(
    run, copy, name, number, line, message
):
    whole = json.loads(run("info", copy, "--json")[1])
    replace_line(copy / name, number, line)
    code, out, err = run("info", copy)
    assert (code, out) == (1, "")
    assert err.startswith(f"dvskit: error: {copy / name}: ")
    assert message in err
    assert err.count("\n") == 1
    facts = json.loads(run("info", copy, "--json", "--salvage")[1])
    assert facts["events"] == whole["events"]
    lost = {
        "images.txt": whole["frames"] - facts["frames"],
        "imu.txt": whole["imu_samples"] - facts["imu_samples"],
        "calib.txt": int(facts["intrinsics"] is None),
    }
    assert lost == {other: int(other == name) for other in lost}
    (told,) = (text for text in facts["assumptions"] if "left out" in text)
    assert name in told
    assert f"line {number}" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.write_bytes(b"no image"), "is not a readable image"),
        (lambda file: cv2.imwrite(str(file), view(0)[:45]), "is 120x45, the first was 120x90"),
    ],
)
def test_a_damaged_frame_is_refused_or_left_out(copy, spoil, message):
    spoil(copy / "images" / "frame_00000002.png")
    with pytest.raises(VideoError, match=rf"frame_00000002\.png: {message}; pass strict=False"):
        list(dvskit.open_events(copy).frames())
    recording = dvskit.open_events(copy, strict=False)
    assert [f.t_us for f in recording.frames()] == [
        t for n, t in enumerate(image_times_us()) if n != 2
    ]
    assert any(message in told for told in recording.assumptions)


@pytest.mark.slow
def test_events_are_read_whatever_stands_damaged_beside_them(copy):
    for name in ("images.txt", "imu.txt", "calib.txt", "groundtruth.txt"):
        (copy / name).write_bytes(b"\xff\0 nonsense\n")
    assert len(dvskit.load_events(copy)) == len(drawn.events())
    for ask in ("imu", "intrinsics"):
        with pytest.raises(FormatError, match="line 1"):
            getattr(dvskit.open_events(copy), ask)()
    with pytest.raises(VideoError, match="line 1"):
        list(dvskit.open_events(copy).frames())


@pytest.mark.slow
def test_events_without_the_images_have_no_frames_and_say_so(run, copy):
    shutil.rmtree(copy / "images")
    code, out, _ = run("info", copy)
    assert code == 0
    assert "frames " not in out
    assert "no frames: none of the images of images.txt exists" in out
    code, _, err = run("emulate", copy, "x.raw")
    assert code == 1
    assert "line 1 names images/frame_00000000.png, which is missing" in err


@pytest.mark.slow
def test_a_recording_of_another_name_has_nothing_beside_it(copy):
    (copy / "events.txt").rename(copy / "other.txt")
    recording = dvskit.open_events(copy / "other.txt")
    assert (list(recording.frames()), len(recording.imu())) == ([], 0)
    assert recording.intrinsics() is None
    with pytest.raises(
        FormatError, match=r"is a folder without metadata\.yaml or events\.txt; name"
    ):
        dvskit.open_events(copy)


@pytest.mark.slow
def test_a_sensor_size_that_is_given_stays_and_larger_events_are_not_cut(copy):
    assert dvskit.open_events(copy, size=(300, 200)).size == (300, 200)
    with (copy / "events.txt").open("a") as file:
        file.write("9.000000000 250 3 1\n")
    recording = dvskit.open_events(copy)
    assert (recording.size, recording.size_origin) == ((251, 90), "data")
    assert len(recording.load()) == len(drawn.events()) + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "row", "first"),
    [
        ("# timestamp ang_vel_x ang_vel_y ang_vel_z lin_acc_x lin_acc_y lin_acc_z", "", True),
        ("# timestamp ang_vel_x ang_vel_y ang_vel_z lin_acc_x lin_acc_y lin_acc_z", "0 ", True),
        ("# id timestamp ang_vel_x ang_vel_y ang_vel_z lin_acc_x lin_acc_y lin_acc_z", "0 ", True),
        ("# timestamp lin_acc_x lin_acc_y lin_acc_z ang_vel_x ang_vel_y ang_vel_z", "", False),
    ],
)
def test_a_comment_that_names_the_columns_of_imu_txt_is_heeded(copy, head, row, first):
    (copy / "imu.txt").write_text(f"{head}\n{row}0.5 1 2 3 4 5 6\n")
    samples = dvskit.open_events(copy).imu()
    acceleration, velocity = np.array([1.0, 2, 3]), np.array([4.0, 5, 6])
    if first:
        acceleration, velocity = velocity, acceleration
    assert samples.t.tolist() == [500_000]
    assert samples.accelerometer[0] == pytest.approx(acceleration / 9.80665)
    assert samples.gyroscope[0] == pytest.approx(np.degrees(velocity))


@pytest.mark.slow
def test_windows_line_ends_are_read_alike(copy):
    whole = dvskit.open_events(copy)
    expected = whole.load(), whole.imu().t.tolist(), whole.intrinsics()
    times = [frame.t_us for frame in whole.frames()]
    for name in ("events.txt", "images.txt", "imu.txt", "calib.txt"):
        text = (copy / name).read_bytes().replace(b"\n", b"\r\n")
        (copy / name).write_bytes(text.replace(b"images/", b"images\\"))
    again = dvskit.open_events(copy)
    assert (again.load(), again.imu().t.tolist(), again.intrinsics()) == expected
    assert [frame.t_us for frame in again.frames()] == times


@pytest.mark.slow
def test_one_time_too_far_ahead_costs_one_sample_and_one_frame(copy):
    replace_line(copy / "imu.txt", 7, "0.9 1 2 3 4 5 6")
    replace_line(copy / "images.txt", 3, "0.9 images/frame_00000002.png")
    recording = dvskit.open_events(copy, strict=False)
    assert recording.imu().t.tolist() == [1000 * n + 1 for n in range(1, 600) if n != 7]
    assert len(list(recording.frames())) == len(image_times_us()) - 1
    assert "imu.txt: 1 lines left out; line 7 is out of the order of time, at 900000 us" in (
        recording.assumptions
    )


@pytest.mark.slow
def test_what_is_asked_twice_is_noted_once(copy):
    replace_line(copy / "imu.txt", 7, "0.007 1 2")
    recording = dvskit.open_events(copy, strict=False)
    told = [len(recording.imu()) and len(recording.assumptions) for _ in range(3)]
    assert told[0] == told[2]


def complaint(folder: Path) -> str:
    """What reading a layout raises; "" where it reads, in order of time."""
    recording = dvskit.open_events(folder)
    try:
        for times in [frame.t_us for frame in recording.frames()], recording.imu().t.tolist():
            assert times == sorted(times)
        recording.intrinsics()
    except DvskitError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images.txt", "imu.txt", "calib.txt"])
def test_random_damage_is_told_in_one_line_or_harmless(copy, name):
    whole = (copy / name).read_bytes()[:2000]
    draws = np.random.default_rng(7)
    for _ in range(60):
        data = bytearray(whole)
        for place in draws.integers(0, len(data), 3).tolist():
            data[place] = int(draws.integers(0, 256))
        (copy / name).write_bytes(bytes(data[: draws.integers(1, len(data) + 1)]))
        message = complaint(copy)
        assert "\n" not in message
        assert not message or name in message
        salvaged = dvskit.open_events(copy, strict=False)
        assert len(list(salvaged.frames())) <= len(image_times_us())
        salvaged.imu(), salvaged.intrinsics()
