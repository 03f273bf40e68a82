"""Frames keep their own time stamps and colors, whatever they come from; and written videos."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import dvskit
from dvskit.errors import ConfigError, MissingFileError, VideoError
from dvskit.video import ImageFolder, open_frames, write_video
from dvskit.video.light import gray_frame
from tests.laws import refused
from tests.video_kinds import B_FRAMES, QUICK, Kind, cut_to, rotated, write

# ---- times and numbers


@pytest.mark.parametrize("full_range", [False, True])
def test_limited_range_is_expanded_to_0_255(full_range):
    lumas = np.array([16, 60, 126, 200, 235], np.uint8)
    planes = np.full((24, 10), 128, np.uint8)
    planes[:16] = lumas.repeat(2)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.color_range = 2 if full_range else 1
    expected = lumas if full_range else np.round((lumas - 16.0) * 255 / 219)
    assert gray_frame(frame, "luma")[5, ::2].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("timestamps_us.txt", ["0", "1500", "4000"]),
        ("timestamps.txt", ["0.0", "0.0015", "0.004"]),
        ("images.txt", ["# t name", "0.0 1.png", "0.0015 2.png", "0.004 10.png"]),
        ("images.csv", ["0,1.png", "1500000,2.png", "4000000,10.png"]),
    ],
)
def test_an_image_folder_takes_its_times_from_a_file(tmp_path, name, lines):
    for number, value in ((1, 10), (2, 20), (10, 30)):  # natural order: 10 after 2
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((5, 6), value, np.uint8))
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    got = [(t, int(frame[0, 0])) for t, frame in ImageFolder(tmp_path)]
    assert got == [(0, 10), (1500, 20), (4000, 30)]


def test_16_bit_images_stay_so_and_color_turns_gray(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((5, 6), 40_000, np.uint16))
    assert next(iter(ImageFolder(tmp_path, fps=10)))[1].dtype == np.uint16
    (tmp_path / "a.png").unlink()
    cv2.imwrite(str(tmp_path / "a.png"), np.full((5, 6, 3), (0, 255, 0), np.uint8))
    assert next(iter(ImageFolder(tmp_path, fps=10)))[1][0, 0] == 150  # 0.587 of green


@pytest.mark.parametrize(
    ("lines", "named"), [(["0", "x"], "line 2"), (["0"], "2 images"), (["0", "1", "2"], "line 3")]
)
def test_a_wrong_time_stamp_file_is_refused(tmp_path, lines, named):
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((5, 6), np.uint8))
    (tmp_path / "timestamps_us.txt").write_text("\n".join(lines))
    with refused(VideoError, named):
        ImageFolder(tmp_path)


def test_other_files_and_folders_without_images_are_refused(tmp_path, data):
    (tmp_path / "empty.mp4").touch()
    whole = (data / "video" / "carphone_pristine.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("a.mp4", "a.raw", "a.txt", "a.yuv"):  # FFmpeg takes any bytes under these names
        (tmp_path / name).write_text("this is not a video\n" * 50)
    for name in ("a.mp4", "a.raw", "a.txt", "a.yuv", "empty.mp4", "cut.mp4", "none.mp4"):
        with refused(VideoError, tmp_path / name):
            open_frames(tmp_path / name)
    with refused(VideoError, "no images"):
        open_frames(tmp_path)


# ---- writing


def test_a_file_that_is_moved_away_while_it_is_opened_is_a_missing_file(monkeypatch):
    for look in ("exists", "is_file"):  # it was there at that moment: too short to be hit
        monkeypatch.setattr(Path, look, lambda path: True)
    with pytest.raises(MissingFileError, match=r"gone\.mkv"):
        open_frames("gone.mkv")


def test_a_written_video_reads_back_with_its_times(tmp_path):
    frames = [
        (t, np.full((32, 48), 10 + t // 1000, np.uint8)) for t in (0, 40_000, 50_000, 200_000)
    ]
    write_video(frames, tmp_path / "a.mp4", fps=25)
    got = list(open_frames(tmp_path / "a.mp4"))
    assert [t for t, _ in got] == [t for t, _ in frames]
    for (_, before), (_, after) in zip(frames, got, strict=True):
        assert abs(int(before[3, 3]) - int(after[3, 3])) <= 3


def test_frames_that_cannot_be_encoded_leave_no_file(tmp_path):
    small, large = np.zeros((6, 6), np.uint8), np.zeros((8, 6), np.uint8)
    for frames, named in (
        ([(0, small[:5])], "6x5"),
        ([], "no frames"),
        ([(0, small), (1, large)], "frame 1"),
        ([(0, small), (1, small.astype(np.uint16))], "uint16"),
    ):
        with refused(VideoError, named):
            write_video(frames, tmp_path / "a.mp4", fps=25)
    assert list(tmp_path.iterdir()) == []


# ---- from a video to events


def test_a_damaged_video_writes_nothing_unless_it_is_salvaged(run, tmp_path):
    path = write(Kind("", ".mkv", "libx264", options=B_FRAMES, spoil=cut_to(0.6)), tmp_path)
    code, out, err = run("emulate", path, "out.raw")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert str(path) in err
    assert "--salvage" in err
    assert not (tmp_path / "out.raw").exists()
    code, _, err = run("emulate", path, "out.raw", "--salvage")
    assert code == 0
    assert "its header states" in err
    assert len(dvskit.load_events("out.raw")) > 0
    source = dvskit.emulate(path, strict=False)
    assert sum(map(len, source)) == len(dvskit.load_events("out.raw"))
    assert source.damage
    assert run("emulate", "--camera", "0", "out.raw", "--salvage")[0] == 2


@pytest.mark.parametrize("extra", [(), ("--upsample",)])
def test_events_begin_at_0_or_on_the_container_s_clock(run, tmp_path, extra):
    kind = Kind("", ".mpg", "mpeg2video", options={"bf": "2"}, times_ms=range(0, 240, 40))
    path = write(kind, tmp_path)
    code, _, err = run("emulate", path, "first.npz", *extra)
    assert code == 0
    assert "540.000 ms" in err  # where the container shows the first frame
    assert run("emulate", path, "container.npz", "--time", "container", *extra)[0] == 0
    first, container = dvskit.load_events("first.npz"), dvskit.load_events("container.npz")
    assert 0 <= first.t[0] <= 40_000
    assert (container.t - first.t == 540_000).all()
    assert run("emulate", path, "x.npz", "--time", "frist")[0] == 2
    with refused(ConfigError, "'frist'", "'first'"):
        open_frames(path, clock="frist")


def test_an_emulation_knows_what_its_clip_is_like(tmp_path):
    path = write(Kind("", ".mp4", "libx264", options=QUICK, prepare=rotated(180)), tmp_path)
    source = dvskit.emulate(path)
    assert len(source.notes) == 1
    assert "180" in source.notes[0]
    assert ("note", source.notes[0]) in source.about()
    assert source.damage is not None
    assert not source.damage


# ---- colors

COLORS = np.array([[220, 30, 40], [20, 170, 60], [40, 50, 200], [240, 220, 60]], np.uint8)


def quarters(size=(64, 48)):
    """An image of four colors, a quarter each: (height, width, 3) RGB."""
    width, height = size
    return COLORS.reshape(2, 2, 3).repeat(height // 2, 0).repeat(width // 2, 1)


def middles(picture):
    """The colors in the middles of the quarters."""
    height, width = picture.shape[:2]
    return picture[height // 4 :: height // 2, width // 4 :: width // 2].reshape(-1, 3)


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [("a.mkv", "ffv1", "bgr0"), ("a.mp4", "libx264rgb", "rgb24"), ("a.mkv", "ffv1", "yuv444p"),
     ("a.mkv", "ffv1", "yuv444p10le"), ("a.avi", "mjpeg", "yuvj444p")],
)  # fmt: skip
def test_colors_are_those_that_were_put_in(tmp_path, name, codec, form):
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, form
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=form)))
        container.mux(stream.encode(None))
    for _, picture in open_frames(tmp_path / name).pictures():
        np.testing.assert_allclose(middles(picture), COLORS, atol=6)


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_animated_images_have_colors_and_are_seen_on_black(tmp_path, name):
    rgba = np.dstack([quarters(), np.full((48, 64), 255, np.uint8)])
    rgba[:24, :32, 3] = 0
    more = {"lossless": True} if name.endswith("webp") else {}
    first, second = Image.fromarray(rgba), Image.fromarray(rgba[::-1].copy())
    first.save(tmp_path / name, save_all=True, append_images=[second], duration=40, **more)
    clip = open_frames(tmp_path / name)
    (_, picture), *_ = clip.pictures()
    expected = COLORS.copy()
    expected[0] = 0
    np.testing.assert_allclose(middles(picture), expected, atol=6)
    assert [t_us for t_us, _ in clip.pictures()] == [t_us for t_us, _ in clip]


def test_folders_have_colors_and_gray_images_stay_gray(tmp_path):
    for number, image in enumerate((quarters()[..., ::-1], quarters()[..., 0])):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    (tmp_path / "timestamps_us.txt").write_text("0\n40000\n")
    (one, color), (two, gray) = open_frames(tmp_path).pictures()
    assert (one, two) == (0, 40_000)
    assert np.array_equal(color, quarters())
    assert np.array_equal(gray, quarters()[..., 0])


def test_damage_of_pictures_is_refused_or_reported_as_that_of_frames(tmp_path):
    path = write(Kind("", ".mkv", "libx264", options=B_FRAMES, spoil=cut_to(0.6)), tmp_path)
    with refused(VideoError, path):
        list(open_frames(path).pictures())
    clip = open_frames(path, strict=False)
    times = [t_us for t_us, _ in clip]
    reported = str(clip.damage)
    assert [t_us for t_us, _ in clip.pictures()] == times
    assert str(clip.damage) == reported != ""
