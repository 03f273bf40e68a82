"""Frames in memory, as people hold them: arrays, tensors, images, with a rate or with times."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import dvskit
from dvskit import EmulatorParams, Events, emulate
from dvskit.emulator import emulate_batch
from dvskit.errors import ConfigError, ScaleWarning, ShapeError, UnitWarning, VideoError
from dvskit.tensors import bin_clips
from dvskit.video import ArrayFrames, open_frames
from dvskit.video.light import light_of_codes
from tests.laws import refused

T_US = [0, 4167, 8333, 12_500, 16_667, 20_833]
RANDOM = np.random.default_rng(7)
GRAY = RANDOM.integers(4, 250, (6, 12, 17), dtype=np.uint8)
COLOR = RANDOM.integers(0, 256, (6, 12, 17, 3), dtype=np.uint8)
WIDE = GRAY.astype(np.uint16)
LIGHT = light_of_codes("srgb", 256)[GRAY]


@pytest.fixture(scope="module")
def expected() -> Events:
    """Events of the gray frames in the plainest way."""
    run = dvskit.Emulator().start((17, 12))
    events = [run.step(t, frame) for t, frame in zip(T_US, GRAY, strict=True)]
    return Events.concatenate([*events, run.finish()])


def timed(frames):
    return list(zip(T_US, frames, strict=True))


def seen(frames, **given):
    """Return the frames (T, H, W) that the emulator sees."""
    return np.array([frame for _, frame in ArrayFrames(frames, fps=240, **given)], int)


GRAYS = {
    "array": GRAY,
    "array (T, H, W, 1)": GRAY[..., None],
    "Fortran order": np.asfortranarray(GRAY),
    "a view": np.repeat(GRAY, 2, axis=2)[:, :, ::2],
    "tensor (T, 1, H, W)": torch.from_numpy(GRAY)[:, None],
    "uint16": WIDE * np.uint16(257),
    "double": LIGHT,
    "tensor of doubles": torch.from_numpy(LIGHT),
    "list of arrays": list(GRAY),
    "PIL": [Image.fromarray(frame) for frame in GRAY],
    "PIL of 16 bits": [Image.fromarray(frame * np.uint16(257)) for frame in WIDE],
    "gray in RGB": np.repeat(GRAY[..., None], 3, axis=3),
}


@pytest.mark.parametrize("kind", GRAYS)
def test_frames_of_any_kind_give_the_same_events_however_they_are_timed(kind, expected):
    frames = GRAYS[kind]
    source = emulate(frames, fps=240)
    assert (source.size, source.frame_count) == ((17, 12), 6)
    assert source.load() == expected == source.load()
    for timed_source in (
        emulate(frames, t_us=T_US),
        emulate(iter(frames), t_us=np.array(T_US, float)),
        emulate(timed(frames)),
        emulate(iter(timed(frames))),
    ):
        assert timed_source.load() == expected
    once = emulate(iter(frames), fps=240)
    assert once.load() == expected
    with pytest.raises(VideoError, match="used up"):
        once.load()


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (LIGHT * 256, 256),
        (GRAY.astype(np.int64), 255),
        (WIDE * np.uint16(16), 255 * 16),
        (GRAY, 255),
        (LIGHT / 4, 0.25),
    ],
)
def test_white_gives_the_scale_of_the_numbers(values, white, expected):
    assert emulate(values, fps=240, white=white).load() == expected
    assert emulate(timed(values), white=white).load() == expected


def test_colors_become_gray_by_rec_601_as_those_of_images_in_files(tmp_path):
    for number, frame in enumerate(COLOR):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    filed = emulate(open_frames(tmp_path, fps=240)).load()
    assert len(filed) > 1000
    opaque = np.concatenate([COLOR, np.full((6, 12, 17, 1), 255, np.uint8)], axis=3)
    for frames in (
        COLOR,
        opaque,
        torch.from_numpy(COLOR).permute(0, 3, 1, 2),
        [Image.fromarray(frame) for frame in COLOR],
        [Image.fromarray(frame, "RGBA") for frame in opaque],
    ):
        source = emulate(frames, fps=240)
        assert source.size == (17, 12)
        assert source.load() == filed
    luma = np.rint(COLOR @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(seen(COLOR) - luma).max() <= 1  # OpenCV rounds the weights
    assert "RGB" in " ".join(emulate(COLOR, fps=240).notes)
    assert emulate(GRAY, fps=240).notes == ()
    as_floats = emulate(COLOR / 255, fps=240).load()
    codes = emulate(COLOR, fps=240, light="luma").load()
    assert abs(len(as_floats) / len(codes) - 1) < 0.02  # it is not rounded to 8 bits


def test_images_of_other_modes_are_seen_as_pil_shows_them():
    frames = [Image.fromarray(frame) for frame in COLOR]
    expected = seen(frames)
    cmyk = seen([frame.convert("CMYK") for frame in frames])
    np.testing.assert_allclose(cmyk, expected, atol=1)
    palette = [frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=256) for frame in frames]
    np.testing.assert_allclose(seen(palette), expected, atol=40)
    one_bit = [Image.fromarray(frame).convert("1") for frame in GRAY]
    assert np.unique(seen(one_bit)).tolist() == [0, 255]
    # What is half clear is half as bright.
    half = np.full((2, 4, 4, 4), 200, np.uint8)
    half[..., 3] = 128
    assert (seen(half) == 100).all()

    assert np.array_equal(seen(GRAY > 99), (GRAY > 99) * 255)


def test_a_narrow_gray_clip_is_given_with_a_channel():
    narrow = RANDOM.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert emulate(narrow[..., None], fps=10).size == (3, 20)
    assert emulate(narrow[:5], fps=10).size == (3, 20)


# ---- what is refused

FPS = {"fps": 240}
WRONG = [
    (GRAY, {}, ConfigError, "fps=240"),
    ([], {}, VideoError, "no frames"),
    (5, {}, ShapeError, "int"),
    (GRAY[0], FPS, ShapeError, "single image"),
    (np.zeros((2, 3, 4, 5, 6), np.uint8), FPS, ShapeError, "(2, 3, 4, 5, 6)"),
    (np.zeros((48, 64, 3), np.uint8), FPS, ShapeError, "frames[..., None]"),
    (torch.from_numpy(GRAY / 255).requires_grad_(), FPS, ShapeError, "frames.detach()"),
    (torch.from_numpy(GRAY / 255).bfloat16(), FPS, ShapeError, "frames.float()"),
    (torch.empty(6, 12, 17, device="meta"), FPS, ShapeError, "frames.cpu()"),
    ([GRAY[0], GRAY[1][:-1]], FPS, ShapeError, "frame 1"),
    ([GRAY[0], COLOR[1].astype(np.uint16)], FPS, ShapeError, "uint16"),
    (GRAY.astype(np.int64), FPS, ShapeError, "white=255"),
    (GRAY.astype(object), FPS, ShapeError, "object"),
    (["a.png", "b.png"], FPS, ShapeError, "PIL.Image.open"),
    (-(GRAY / 255), FPS, ShapeError, "at least 0"),
    (GRAY, {"t_us": [0, 0.004, 0.008, 0.012, 0.016, 0.02]}, VideoError, "round(t * 1e6)"),
    (GRAY, {"t_us": T_US[:5]}, VideoError, 5),
    (GRAY, {"t_us": [T_US]}, VideoError, "(1, 6)"),
    (GRAY, {"t_us": [0, 1, 2, 2, 4, 5]}, VideoError, "frame 3"),
    (GRAY, {"t_us": [0, 1, 2, 3, 4, float("nan")]}, VideoError, "nan"),
    (timed(GRAY), FPS, ConfigError, "fps"),
    (ArrayFrames(GRAY, fps=240), FPS, ConfigError, "fps"),
    (GRAY, FPS | {"light": "bright"}, ConfigError, "light"),
    (GRAY, FPS | {"strict": False}, ConfigError, "strict"),
    ("clip.mp4", {"white": 255}, ConfigError, "white"),
    (GRAY, FPS | {"white": float("inf")}, ConfigError, "inf"),
    (GRAY, {"fps": 0}, ConfigError, "fps"),
    (GRAY, FPS | {"t_us": T_US}, VideoError, "t_us"),
    (GRAY, FPS | {"params": "DAVIS364"}, ConfigError, "'DAVIS346'"),
    (GRAY, {"params": 240}, ConfigError, "fps=240"),
    (emulate(GRAY, fps=240), {}, ConfigError, "events"),
]


@pytest.mark.parametrize(("frames", "given", "kind", "named"), WRONG)
def test_frames_times_and_options_that_cannot_be_are_refused_with_the_fix(
    frames, given, kind, named
):
    with refused(kind, named):
        emulate(frames, **given).load()


@pytest.mark.parametrize("given", [{}, {"fps": 0}, {"t_us": T_US[:5]}, FPS | {"t_us": T_US}])
def test_wrong_times_of_an_iterator_are_refused(given):
    with refused((ConfigError, VideoError)):
        emulate(iter(GRAY), **given).load()


def test_a_color_frame_in_a_run_is_refused_with_the_fix():
    with refused(ShapeError, "cvtColor"):
        dvskit.Emulator().start((17, 12)).step(0, COLOR[0])


def test_times_in_seconds_are_refused_in_pairs_and_warned_of_where_they_are_whole():
    with refused(VideoError, "0.004"):
        emulate([(0.0, GRAY[0]), (0.004, GRAY[1])]).load()
    with pytest.warns(UnitWarning, match="seconds"):
        emulate(GRAY, t_us=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])


def test_event_files_and_broken_videos_are_refused_by_name(tmp_path, expected):
    dvskit.save_events(expected, tmp_path / "a.raw")
    (tmp_path / "a.mp4").write_bytes(bytes(500))
    for name, word in (("a.raw", "evt3"), ("a.mp4", "a.mp4")):
        with refused(VideoError, tmp_path / name, word):
            emulate(tmp_path / name)
    for given in (expected, dvskit.open_events(tmp_path / "a.raw")):
        with refused(ConfigError, "events"):
            emulate(given)


# ---- warnings of another scale

BRIGHT = GRAY.astype(np.float32)


def step_by_step(frames):
    run = dvskit.Emulator().start((17, 12))
    for t_us, frame in timed(frames):
        run.step(t_us, frame)
    run.finish()


@pytest.mark.parametrize(
    ("frames", "fix"),
    [
        (BRIGHT, "white=255"),
        (WIDE, "white=255"),
        (WIDE * np.uint16(16), "white=4095"),
        ((GRAY > 99).astype(np.uint8), "white=1"),
    ],
)
def test_frames_of_another_scale_are_warned_of(frames, fix):
    with pytest.warns(ScaleWarning, match=fix) as given:
        emulate(frames, fps=240)
    assert len(given) == 1
    assert given[0].filename == __file__


@pytest.mark.parametrize(
    "way",
    [
        lambda: emulate(iter(BRIGHT), fps=240).load(),
        lambda: emulate(timed(BRIGHT)).load(),
        lambda: step_by_step(BRIGHT),
        lambda: emulate_batch(np.stack([BRIGHT] * 3), T_US),
        lambda: bin_clips(np.stack([BRIGHT] * 3), T_US, bins=3, bin_us=10_000),
    ],
)
def test_each_way_to_emulate_warns_of_another_scale_once(way):
    with pytest.warns(ScaleWarning, match="white=255") as given:
        way()
    assert len(given) == 1


def test_frames_on_their_scale_are_not_warned_of():
    late = np.where(np.arange(6)[:, None, None] == 4, WIDE * np.uint16(200), np.uint16(3))
    dark = [np.zeros_like(GRAY), np.zeros(GRAY.shape, np.uint16), GRAY // 16 + np.uint8(4), late]
    long = np.full((50, 4, 4), 3, np.uint16)
    long[5] = 40_000
    emulate(long, fps=240).load()
    for frames in (GRAY, GRAY / 255, GRAY / 255 * 9.9, *dark):  # warnings are errors
        assert emulate(timed(frames)).load() == emulate(frames, fps=240).load()


def test_white_marks_the_scale_as_meant():
    emulate(BRIGHT, fps=240, white=1).load()
    emulate(WIDE, fps=240, white=65535).load()
    emulate(iter(timed(BRIGHT)), white=1).load()
    run = dvskit.Emulator().start((17, 12), scale_is_known=True)
    assert len(run.step(0, BRIGHT[0])) == 0


def test_a_preset_s_name_does_as_parameters(expected):
    davis = EmulatorParams.preset("DAVIS346")
    assert emulate(GRAY, "davis346", fps=240).emulator.params == davis
    assert emulate_batch(GRAY[None], T_US, "clean") == [expected]
