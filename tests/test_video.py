"""Frames keep their own time stamps, whatever they come from."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import dvskit
from dvskit.errors import VideoError
from dvskit.video import ArrayFrames, ImageFolder, VideoFrames, open_frames, write_video
from tests.test_video_kinds import WHOLE
from tests.video_kinds import B_FRAMES, QUICK, Kind, cut_to, rotated, scene, turned, write


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
    [(["0", "x"], "line 2"), (["0"], "1 time for 2 images"), (["0", "1", "2"], "line 3")],
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


def test_events_of_a_turned_video_stand_upright(run, tmp_path):
    pytest.importorskip("torch", exc_type=ModuleNotFoundError)  # a light install has none
    path = write(
        Kind("", ".mp4", "libx264", options=QUICK, prepare=rotated(90), turn=turned(1)), tmp_path
    )
    code, _, err = run("emulate", path, "out.npz")
    assert code == 0
    assert err.count("turned counter-clockwise by 90 degrees") == 1
    events = dvskit.load_events("out.npz")
    assert tuple(events.size) == (48, 64)
    upright = [np.rot90(np.rint(scene(k) * 255).astype(np.uint8)) for k in range(24)]
    expected = dvskit.emulate(ArrayFrames(np.array(upright), fps=25))
    counts = [
        dvskit.tensors.bin_events(each, bins=1, bin_us=1_000_000)[0].sum(0).double()
        for each in (events, dvskit.Events.concatenate(expected, expected.size))
    ]
    flat = np.corrcoef(counts[0].reshape(-1), counts[1].reshape(-1))[0, 1]
    lying = np.corrcoef(counts[0].T.reshape(-1), counts[1].reshape(-1))[0, 1]
    assert flat > 0.9 > lying + 0.2


@pytest.mark.slow
def test_a_damaged_video_writes_nothing_unless_it_is_salvaged(run, tmp_path):
    path = write(Kind("", ".mkv", "libx264", options=B_FRAMES, spoil=cut_to(0.6)), tmp_path)
    code, out, err = run("emulate", path, "out.raw")
    assert (code, out) == (1, "")
    assert err.startswith(f"dvskit: error: {path}: ")
    assert "--salvage" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.raw").exists()
    code, _, err = run("emulate", path, "out.raw", "--salvage")
    assert code == 0
    assert "its header states" in err
    assert len(dvskit.load_events("out.raw")) > 0
    source = dvskit.emulate(path, strict=False)
    assert sum(map(len, source)) == len(dvskit.load_events("out.raw"))
    assert source.damage


@pytest.mark.slow
@pytest.mark.parametrize("extra", [(), ("--upsample",)])
def test_events_begin_at_0_or_on_the_container_s_clock(run, tmp_path, extra):
    path = write(Kind("", ".mpg", "mpeg2video", options={"bf": "2"}), tmp_path)
    code, _, err = run("emulate", path, "first.npz", *extra)
    assert code == 0
    assert "its container shows the first frame at 540.000 ms (--time container)" in err
    code, _, err = run("emulate", path, "container.npz", "--time", "container", *extra)
    assert code == 0
    first, container = dvskit.load_events("first.npz"), dvskit.load_events("container.npz")
    assert 0 <= first.t[0] <= 40_000
    assert (container.t - first.t == 540_000).all()
    assert run("emulate", path, "x.npz", "--time", "last")[0] == 2
    # What was emulated lies beside the video that it was made of, on either clock.
    for clock in ("first", "container"):
        name = f"{clock}.npz"
        assert run("render", name, "-o", f"{clock}.mp4", "--beside", path, "--time", clock)[0] == 0
        assert open_frames(f"{clock}.mp4").size.width > 2 * 64


def test_salvage_and_time_are_not_for_cameras(run):
    code, _, err = run("emulate", "--camera", "0", "out.raw", "--salvage")
    assert (code, "--salvage" in err) == (2, True)


def test_options_of_paths_are_refused_for_frames():
    with pytest.raises(dvskit.errors.ConfigError, match="are for paths"):
        dvskit.emulate([(0, np.zeros((4, 5), np.uint8))], strict=False)


def test_an_emulation_says_what_its_clip_is_like(tmp_path):
    path = write(Kind("", ".mp4", "libx264", options=QUICK, prepare=rotated(180)), tmp_path)
    source = dvskit.emulate(path)
    assert source.notes == ("turned by 180 degrees, as its metadata require",)
    assert ("note", source.notes[0]) in source.about()
    assert source.damage is not None
    assert not source.damage
    with pytest.raises(VideoError, match="has 1 frame;"):
        list(
            dvskit.emulate(
                write(Kind("", ".mkv", "libx264", options=QUICK, times_ms=[0]), tmp_path)
            )
        )


COLOURS = np.array([[220, 30, 40], [20, 170, 60], [40, 50, 200], [240, 220, 60]], np.uint8)


def quarters(size=(64, 48)):
    """An image of four colours, a quarter each: (height, width, 3) RGB."""
    width, height = size
    return COLOURS.reshape(2, 2, 3).repeat(height // 2, 0).repeat(width // 2, 1)


def middles(picture):
    """The colours in the middles of the quarters."""
    height, width = picture.shape[:2]
    return picture[height // 4 :: height // 2, width // 4 :: width // 2].reshape(-1, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WHOLE[::3], ids=lambda kind: kind.name)
def test_pictures_are_the_frames_with_their_times_and_orientation(tmp_path, kind):
    video = open_frames(write(kind, tmp_path), fps=kind.fps)
    frames, pictures = list(video), list(video.pictures())
    assert [t_us for t_us, _ in pictures] == [t_us for t_us, _ in frames]
    for (_, frame), (_, picture) in zip(frames, pictures, strict=True):
        assert picture.dtype == np.uint8
        assert picture.shape[:2] == frame.shape
        gray = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        shown = frame if frame.dtype == np.uint8 else frame >> 8
        # Beyond what rounding does: luma of BT.709 is not that of BT.601.
        assert np.median(np.abs(gray.astype(int) - shown)) <= 8


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [("a.mkv", "ffv1", "bgr0"), ("a.mp4", "libx264rgb", "rgb24"), ("a.mkv", "ffv1", "yuv444p"),
     ("a.mkv", "ffv1", "yuv444p10le"), ("a.avi", "mjpeg", "yuvj444p")],
)  # fmt: skip
def test_colours_are_those_that_were_put_in(tmp_path, name, codec, form):
    import av

    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, form
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=form)))
        container.mux(stream.encode(None))
    for _, picture in open_frames(tmp_path / name).pictures():
        np.testing.assert_allclose(middles(picture), COLOURS, atol=6)


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_animated_images_have_colours_and_are_seen_on_black(tmp_path, name):
    rgba = np.dstack([quarters(), np.full((48, 64), 255, np.uint8)])
    rgba[:24, :32, 3] = 0
    first = Image.fromarray(rgba)
    first.save(tmp_path / name, save_all=True, append_images=[Image.fromarray(rgba[::-1].copy())],
               duration=40, **({"lossless": True} if name.endswith("webp") else {}))  # fmt: skip
    clip = open_frames(tmp_path / name)
    (_, picture), *_ = clip.pictures()
    expected = COLOURS.copy()
    expected[0] = 0
    np.testing.assert_allclose(middles(picture), expected, atol=6)
    assert [t_us for t_us, _ in clip.pictures()] == [t_us for t_us, _ in clip]


def test_folders_have_colours_and_gray_images_stay_gray(tmp_path):
    for number, image in enumerate((quarters()[..., ::-1], quarters()[..., 0])):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    (tmp_path / "timestamps_us.txt").write_text("0\n40000\n")
    (one, colour), (two, gray) = open_frames(tmp_path).pictures()
    assert (one, two) == (0, 40_000)
    assert np.array_equal(colour, quarters())
    assert np.array_equal(gray, quarters()[..., 0])


def test_damage_is_refused_or_told_of_pictures_as_of_frames(tmp_path):
    path = write(next(kind for kind in WHOLE if kind.name == "mkv h264 B-frames"), tmp_path)
    cut_to(0.6)(path)
    with pytest.raises(VideoError):
        list(open_frames(path).pictures())
    clip = open_frames(path, strict=False)
    times = [t_us for t_us, _ in clip]
    told = str(clip.damage)
    assert [t_us for t_us, _ in clip.pictures()] == times
    assert str(clip.damage) == told != ""


def test_frames_in_memory_are_pictures_as_they_are():
    frames = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    seen = [picture for _, picture in ArrayFrames(frames, fps=10).pictures()]
    assert np.array_equal(seen, frames)
