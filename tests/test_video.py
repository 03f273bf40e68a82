"""Frames keep their own time stamps, whatever they come from."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from dvskit.errors import VideoError
from dvskit.video import ArrayFrames, ImageFolder, VideoFrames, open_frames, write_video


def encode_luma(path, frames, times_ms, *, full_range=False, codec="libx264"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1000)
        stream.width, stream.height = frames[0].shape[1], frames[0].shape[0]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        if full_range:
            stream.codec_context.color_range = 2
        stream.options = {"crf": "0", "preset": "ultrafast"}
        for t, gray in zip(times_ms, frames, strict=True):
            planes = np.full((gray.shape[0] * 3 // 2, gray.shape[1]), 128, np.uint8)
            planes[: gray.shape[0]] = gray
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = t, Fraction(1, 1000)
            if full_range:
                frame.color_range = 2
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_a_video_of_variable_rate_keeps_each_frame_s_time(tmp_path):
    times = [0, 40, 50, 130, 131, 700]
    encode_luma(tmp_path / "a.mp4", [np.full((32, 48), 16 + i, np.uint8) for i in range(6)], times)
    got = [t for t, _ in VideoFrames(tmp_path / "a.mp4")]
    assert got == [t * 1000 for t in times]


def test_fps_replaces_the_times(tmp_path):
    encode_luma(tmp_path / "a.mp4", [np.full((32, 48), 99, np.uint8)] * 3, [0, 40, 500])
    got = [t for t, _ in VideoFrames(tmp_path / "a.mp4", fps=30)]
    assert got == [0, 33333, 66667]


@pytest.mark.parametrize("full_range", [False, True])
def test_limited_range_video_is_expanded_to_0_255(tmp_path, full_range):
    lumas = [16, 60, 126, 200, 235]
    frames = [np.full((32, 48), luma, np.uint8) for luma in lumas]
    encode_luma(tmp_path / "a.mp4", frames, range(5), full_range=full_range)
    got = [int(frame[5, 7]) for _, frame in VideoFrames(tmp_path / "a.mp4")]
    expected = lumas if full_range else [round((luma - 16) * 255 / 219) for luma in lumas]
    assert got == expected


def test_a_video_is_the_same_at_each_pass(data):
    source = open_frames(data / "video" / "carphone_pristine.mp4")
    first = [(t, frame.tobytes()) for t, frame in source]
    assert first == [(t, frame.tobytes()) for t, frame in source]
    assert len(first) == source.frame_count
    assert (source.size.width, source.size.height) == (176, 144)


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
    ("lines", "message"),
    [(["0", "x"], "line 2"), (["0"], "1 times for 2 images"), (["0", "1", "2"], "line 3")],
)
def test_a_wrong_time_stamp_file_is_refused(tmp_path, lines, message):
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((5, 6), np.uint8))
    (tmp_path / "timestamps_us.txt").write_text("\n".join(lines))
    with pytest.raises(VideoError, match=message):
        ImageFolder(tmp_path)


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("this is not a video\n" * 50)
    (tmp_path / "empty.mp4").touch()
    for name in ("a.raw", "a.txt", "a.yuv"):  # FFmpeg takes any bytes under these names
        (tmp_path / name).write_text("this is not a video\n" * 50)
    names = ("a.mp4", "a.raw", "a.txt", "a.yuv", "empty.mp4")
    for name, message in [*((name, "not a video") for name in names), ("b", "no such")]:
        with pytest.raises(VideoError, match=message):
            open_frames(tmp_path / name)
    with pytest.raises(VideoError, match="no images"):
        open_frames(tmp_path)


def test_a_truncated_video_is_refused(tmp_path, data):
    whole = (data / "video" / "carphone_pristine.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError):
        list(open_frames(tmp_path / "cut.mp4"))


def test_an_array_of_frames_needs_times():
    frames = np.zeros((3, 4, 5), np.uint8)
    assert [t for t, _ in ArrayFrames(frames, t_us=[3, 5, 9])] == [3, 5, 9]
    assert [t for t, _ in ArrayFrames(frames, fps=1000)] == [0, 1000, 2000]
    with pytest.raises(VideoError, match="either"):
        ArrayFrames(frames)
    with pytest.raises(VideoError, match="2 times for 3"):
        ArrayFrames(frames, t_us=[1, 2])


def test_a_written_video_reads_back_with_its_times(tmp_path):
    frames = [
        (t, np.full((32, 48), 10 + t // 1000, np.uint8)) for t in (0, 40_000, 50_000, 200_000)
    ]
    write_video(frames, tmp_path / "a.mp4", fps=25)
    got = list(VideoFrames(tmp_path / "a.mp4"))
    assert [t for t, _ in got] == [t for t, _ in frames]
    for (_, before), (_, after) in zip(frames, got, strict=True):
        assert abs(int(before[3, 3]) - int(after[3, 3])) <= 3


def test_frames_that_cannot_be_encoded_leave_no_file(tmp_path):
    with pytest.raises(VideoError, match="even"):
        write_video([(0, np.zeros((5, 6), np.uint8))], tmp_path / "a.mp4", fps=25)
    with pytest.raises(VideoError, match="no frames"):
        write_video([], tmp_path / "a.mp4", fps=25)
    assert list(tmp_path.iterdir()) == []
