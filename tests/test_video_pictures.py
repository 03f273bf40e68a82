"""Pictures of clips as people see them: the frames that are read, at their times, in colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from dvskit.errors import VideoError
from dvskit.video import ArrayFrames, open_frames
from tests.test_video_kinds import WHOLE
from tests.video_kinds import cut_to, write

COLOURS = np.array([[220, 30, 40], [20, 170, 60], [40, 50, 200], [240, 220, 60]], np.uint8)


def quarters(size=(64, 48)):
    """An image of four colours, a quarter each: (height, width, 3) RGB."""
    width, height = size
    return COLOURS.reshape(2, 2, 3).repeat(height // 2, 0).repeat(width // 2, 1)


def middles(picture):
    """The colours in the middles of the quarters."""
    height, width = picture.shape[:2]
    return picture[height // 4 :: height // 2, width // 4 :: width // 2].reshape(-1, 3)


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
