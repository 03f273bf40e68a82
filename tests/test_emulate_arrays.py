"""Frames in memory, as people hold them: arrays, tensors, images, with a rate or with times."""

from __future__ import annotations

import warnings

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

T_US = [0, 4167, 8333, 12_500, 16_667, 20_833]
RANDOM = np.random.default_rng(7)
GRAY = RANDOM.integers(4, 250, (6, 12, 17), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 12, 17, 3), dtype=np.uint8)


def pairs(frames) -> Events:
    """Events of frames (T, H, W) in the plainest way."""
    run = dvskit.Emulator().start((17, 12))
    events = [run.step(t, frame) for t, frame in zip(T_US, frames, strict=True)]
    return Events.concatenate([*events, run.finish()])


EXPECTED = pairs(GRAY)


def luma(colour: np.ndarray) -> np.ndarray:
    """ITU-R BT.601, from the definition."""
    return np.rint(colour[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


GRAYS = {
    "array": GRAY,
    "array (T, H, W, 1)": GRAY[..., None],
    "array (T, 1, H, W)": GRAY[:, None],
    "Fortran order": np.asfortranarray(GRAY),
    "a view": np.repeat(GRAY, 2, axis=2)[:, :, ::2],
    "tensor": torch.from_numpy(GRAY),
    "tensor (T, 1, H, W)": torch.from_numpy(GRAY)[:, None],
    "uint16": GRAY.astype(np.uint16) * np.uint16(257),
    "double": GRAY / 255,
    "tensor of doubles": torch.from_numpy(GRAY / 255),
    "list of arrays": list(GRAY),
    "list of tensors": list(torch.from_numpy(GRAY)),
    "list of lists": GRAY.tolist() and [np.asarray(frame, np.uint8) for frame in GRAY.tolist()],
    "tuple": tuple(GRAY),
    "PIL": [Image.fromarray(frame) for frame in GRAY],
    "PIL of 16 bits": [Image.fromarray(frame.astype(np.uint16) * np.uint16(257)) for frame in GRAY],
    "gray in RGB": np.repeat(GRAY[..., None], 3, axis=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", GRAYS)
@pytest.mark.parametrize("given", [{"fps": 240}, {"t_us": T_US}, {"t_us": np.array(T_US)}])
def test_frames_of_any_kind_give_the_same_events_with_a_rate_and_with_times(kind, given):
    source = emulate(GRAYS[kind], **given)
    assert source.size == (17, 12)
    assert source.frame_count == 6
    assert source.load() == EXPECTED == source.load()


@pytest.mark.parametrize("kind", GRAYS)
def test_frames_of_any_kind_do_as_pairs_and_one_by_one(kind):
    frames = GRAYS[kind]
    assert emulate(list(zip(T_US, frames, strict=True))).load() == EXPECTED
    assert emulate(zip(T_US, frames, strict=True)).load() == EXPECTED
    once = emulate((frame for frame in frames), fps=240)
    assert once.load() == EXPECTED
    with pytest.raises(VideoError, match="used up"):
        once.load()
    assert emulate(iter(frames), t_us=T_US).load() == EXPECTED


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (GRAY.astype(np.float32), 255),
        (GRAY.astype(np.float64), 255),
        (GRAY.astype(np.int64), 255),
        (torch.from_numpy(GRAY).long(), 255),
        (GRAY.astype(np.uint16), 255),
        (GRAY.astype(np.uint16) * np.uint16(16), 255 * 16),
        (GRAY, 255),
        (GRAY / 255, 1),
        (GRAY / 255 / 4, 0.25),
    ],
)
def test_white_says_what_the_numbers_mean(values, white):
    assert emulate(values, fps=240, white=white).load() == EXPECTED
    assert emulate(list(zip(T_US, values, strict=True)), white=white).load() == EXPECTED


def test_every_code_over_255_is_as_bright_as_the_code():
    ramp = np.arange(256, dtype=np.uint8).repeat(2).reshape(2, 16, 16)[:, :, ::-1]
    params = EmulatorParams(threshold_on=0.01, threshold_off=0.01)
    expected = emulate(ramp, params, fps=10).load()
    for values in (ramp.astype(np.float32), ramp.astype(np.int32)):
        assert emulate(values, params, fps=10, white=255).load() == expected


def test_colours_become_gray_by_rec_601_as_those_of_images_in_files(tmp_path):
    for number, frame in enumerate(COLOUR):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    filed = emulate(open_frames(tmp_path, fps=240)).load()
    assert len(filed) > 1000
    opaque = np.concatenate([COLOUR, np.full((6, 12, 17, 1), 255, np.uint8)], axis=3)
    for frames in (
        COLOUR,
        opaque,
        np.moveaxis(COLOUR, 3, 1),
        torch.from_numpy(COLOUR).permute(0, 3, 1, 2),
        [Image.fromarray(frame) for frame in COLOUR],
        [Image.fromarray(frame, "RGBA") for frame in opaque],
    ):
        source = emulate(frames, fps=240)
        assert source.size == (17, 12)
        assert source.load() == filed
    seen = np.array([frame for _, frame in ArrayFrames(COLOUR, fps=240)], int)
    assert np.abs(seen - luma(COLOUR)).max() <= 1  # OpenCV rounds the weights
    assert "RGB" in " ".join(emulate(COLOUR, fps=240).notes)
    assert emulate(GRAY, fps=240).notes == ()
    as_floats = emulate(COLOUR / 255, fps=240).load()
    assert abs(len(as_floats) / len(filed) - 1) < 0.02  # it is not rounded to 8 bits


def test_what_is_clear_is_black_and_what_is_half_clear_half_as_bright():
    clear = np.full((2, 4, 4, 4), 200, np.uint8)
    clear[..., 3] = 0
    half = clear.copy()
    half[..., 3] = 128
    seen = [frame for _, frame in ArrayFrames(np.concatenate([clear, half]), fps=1)]
    assert seen[0].tolist() == np.zeros((4, 4)).tolist()
    assert seen[2].tolist() == np.full((4, 4), 100).tolist()


def test_images_of_other_modes_are_seen_as_pil_shows_them():
    frames = [Image.fromarray(frame) for frame in COLOUR]
    expected = [frame for _, frame in ArrayFrames(frames, fps=1)]
    cmyk = [frame for _, frame in ArrayFrames([f.convert("CMYK") for f in frames], fps=1)]
    np.testing.assert_allclose(np.array(cmyk, int), np.array(expected, int), atol=1)
    palette = [frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=256) for frame in frames]
    seen = [frame for _, frame in ArrayFrames(palette, fps=1)]
    np.testing.assert_allclose(np.array(seen, int), np.array(expected, int), atol=40)
    one_bit = [Image.fromarray(frame).convert("1") for frame in GRAY]
    assert np.unique([frame for _, frame in ArrayFrames(one_bit, fps=1)]).tolist() == [0, 255]
    clear = Image.new("LA", (5, 4), (200, 0))
    assert not next(iter(ArrayFrames([clear, clear], fps=1)))[1].any()


def test_black_and_white_is_0_and_255():
    assert (
        emulate(GRAY > 99, fps=240).load() == emulate((GRAY > 99) * np.uint8(255), fps=240).load()
    )


@pytest.mark.parametrize(
    ("frames", "error", "fix"),
    [
        (GRAY, ConfigError, "pass fps=240, or t_us"),
        (list(GRAY), ConfigError, "pass fps=240, or t_us"),
        (iter(GRAY), ConfigError, "pass fps=240, or t_us"),
        (torch.from_numpy(GRAY), ConfigError, "pass fps=240, or t_us"),
        ([], VideoError, "no frames"),
        (5, ShapeError, "int has no frames"),
        (None, ShapeError, "NoneType has no frames"),
    ],
)
def test_frames_without_times_are_refused_with_the_fix(frames, error, fix):
    with pytest.raises(error, match=fix):
        emulate(frames)


@pytest.mark.parametrize(
    ("frames", "fix"),
    [
        (GRAY[0], "a single image has no changes"),
        (np.zeros((2, 3, 4, 5, 6), np.uint8), r"\(T, height, width\)"),
        (np.zeros((48, 64, 3), np.uint8), r"one colour image.*frames\[\.\.\., None\]"),
        (np.zeros((2, 12, 17, 5), np.uint8), "keep one channel"),
        (torch.from_numpy(GRAY / 255).requires_grad_(), r"frames.detach\(\)"),
        (torch.from_numpy(GRAY / 255).bfloat16(), r"frames.float\(\)"),
        (torch.empty(6, 12, 17, device="meta"), r"frames.cpu\(\)"),
        (COLOUR.astype(np.int64), "white=255"),
        ([GRAY[0], GRAY[1][:-1]], "frame 1 has shape"),
        ([GRAY[0], COLOUR[1].astype(np.uint16)], "uint16, the first was uint8"),
        (GRAY.astype(np.int64), "white=255"),
        (GRAY.astype(object), "object"),
        (["a.png", "b.png"], "PIL.Image.open"),
        (-(GRAY / 255), "at least 0"),
    ],
)
def test_frames_of_another_shape_or_type_are_refused_with_the_fix(frames, fix):
    with pytest.raises(ShapeError, match=fix):
        emulate(frames, fps=240).load()


def test_a_narrow_gray_clip_is_given_with_a_channel():
    narrow = RANDOM.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert emulate(narrow[..., None], fps=10).size == (3, 20)
    assert emulate(narrow[:5], fps=10).size == (3, 20)


def test_a_colour_frame_in_a_run_is_refused_with_the_fix():
    with pytest.raises(ShapeError, match="cvtColor"):
        dvskit.Emulator().start((17, 12)).step(0, COLOUR[0])


@pytest.mark.parametrize(
    ("t_us", "fix"),
    [
        ([0, 0.004, 0.008, 0.012, 0.016, 0.02], r"round\(t \* 1e6\)"),
        (T_US[:5], "5 times for (6|more) frames"),
        ([*T_US, 30_000], "7 times for 6 frames"),
        (np.array([T_US]), "shape"),
        ([0, 1, 2, 2, 4, 5], "frame 3 is at 2 us"),
        ([0, 1, 2, 3, 4, float("nan")], "not a whole microsecond"),
    ],
)
def test_times_that_cannot_be_are_refused_with_the_fix(t_us, fix):
    for frames in (GRAY, iter(GRAY)):
        with pytest.raises(VideoError, match=fix):
            emulate(frames, t_us=t_us).load()


def test_times_in_seconds_are_refused_in_pairs_too_and_whole_floats_are_times():
    with pytest.raises(VideoError, match=r"0.004 us; .*round\(t \* 1e6\)"):
        emulate([(0.0, GRAY[0]), (0.004, GRAY[1])]).load()
    assert emulate(GRAY, t_us=np.array(T_US, float)).load() == EXPECTED
    with pytest.warns(UnitWarning, match="looks like seconds"):
        emulate(GRAY, t_us=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])


def test_options_that_do_not_go_with_the_frames_are_refused():
    timed = list(zip(T_US, GRAY, strict=True))
    for wrong in (
        lambda: emulate(timed, fps=240),
        lambda: emulate(ArrayFrames(GRAY, fps=240), fps=240),
        lambda: emulate(ArrayFrames(GRAY, fps=240), white=255),
        lambda: emulate(GRAY, fps=240, light="linear"),
        lambda: emulate("clip.mp4", white=255),
        lambda: emulate("clip.mp4", t_us=[1, 2]),
        lambda: emulate(GRAY, fps=240, white=0),
        lambda: emulate(GRAY, fps=240, white=float("inf")),
        lambda: emulate(GRAY, fps=0),
        lambda: emulate(iter(GRAY), fps=0),
    ):
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(VideoError, match="either"):
        emulate(GRAY, fps=240, t_us=T_US)
    with pytest.raises(VideoError, match="either"):
        emulate(iter(GRAY), fps=240, t_us=T_US)


BRIGHT = GRAY.astype(np.float32)
DIM16 = GRAY.astype(np.uint16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frames", "fix"),
    [
        (BRIGHT, "float frames reach 24., but 1.0 is white: divide by 255, or pass white=255"),
        (GRAY[:, :3, :3].astype(float) % 9 + 4, "white=255"),
        (DIM16, "uint16 frames reach 249, but 65,535 is white: pass white=255"),
        (DIM16 * np.uint16(16), "white=4095"),
        ((GRAY > 99).astype(np.uint8), "uint8 frames reach 1, but 255 is white: pass white=1"),
    ],
)
def test_frames_of_another_scale_are_warned_of_once(frames, fix):
    size = frames.shape[:0:-1]
    timed = list(zip(T_US, frames, strict=True))

    def step() -> None:
        run = dvskit.Emulator().start(size)
        for t_us, frame in timed:
            run.step(t_us, frame)
        run.finish()

    for way in (
        lambda: emulate(frames, fps=240).load(),
        lambda: emulate(list(frames), fps=240).load(),
        lambda: emulate(iter(frames), fps=240).load(),
        lambda: emulate(timed).load(),
        step,
        lambda: emulate_batch(np.stack([frames] * 3), T_US),
        lambda: bin_clips(np.stack([frames] * 3), T_US, bins=3, bin_us=10_000),
    ):
        with pytest.warns(ScaleWarning, match=fix) as given:
            way()
        assert len(given) == 1
    assert given[0].category is ScaleWarning


def test_a_warning_names_the_line_of_the_user():
    with pytest.warns(ScaleWarning) as given:
        emulate(BRIGHT, fps=240)
    assert given[0].filename == __file__


@pytest.mark.parametrize(
    "frames",
    [
        GRAY,
        GRAY // 16 + np.uint8(4),
        GRAY / 255,
        GRAY / 255 * 9.9,
        np.zeros_like(GRAY),
        np.zeros(GRAY.shape, np.uint16),
        np.where(np.arange(6)[:, None, None] == 4, DIM16 * np.uint16(200), np.uint16(3)),
    ],
)
def test_frames_on_their_scale_are_not_warned_of(frames):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        emulate(frames, fps=240).load()
        emulate(list(zip(T_US, frames, strict=True))).load()


def test_a_long_dark_clip_with_one_bright_frame_is_not_warned_of():
    frames = np.full((50, 4, 4), 3, np.uint16)
    frames[5] = 40_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        emulate(frames, fps=240).load()


def test_white_says_that_the_scale_is_meant():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        emulate(BRIGHT, fps=240, white=1).load()
        emulate(DIM16, fps=240, white=65535).load()
        emulate(zip(T_US, BRIGHT, strict=True), white=1).load()
        run = dvskit.Emulator().start((17, 12), scale_is_known=True)
        run.step(0, BRIGHT[0])
        run.finish()


def test_events_are_not_emulated_again_but_opened(tmp_path):
    dvskit.save_events(EXPECTED, tmp_path / "a.raw")
    with pytest.raises(VideoError, match=r"is an event file \(evt3\) without frames; name a video"):
        emulate(tmp_path / "a.raw")
    for given in (EXPECTED, dvskit.open_events(tmp_path / "a.raw"), emulate(GRAY, fps=240)):
        with pytest.raises(ConfigError, match="events already"):
            emulate(given)
    (tmp_path / "a.mp4").write_bytes(bytes(500))
    with pytest.raises(VideoError, match=r"a\.mp4"):
        emulate(tmp_path / "a.mp4")


def test_a_preset_s_name_does_as_parameters_in_any_case():
    davis = EmulatorParams.preset("DAVIS346")
    assert emulate(GRAY, "davis346", fps=240).emulator.params == davis
    assert dvskit.Emulator("Davis346").params == davis
    assert emulate_batch(GRAY[None], T_US, "clean") == [EXPECTED]
    names = EmulatorParams.presets()
    assert {"clean", "noisy", "v2e", "DAVIS346"} <= set(names)
    for name in names:
        for typed in (name, name.lower(), name.upper()):
            assert EmulatorParams.preset(typed) == EmulatorParams.preset(name)
    assert len({name.casefold() for name in names}) == len(names)
    with pytest.raises(ConfigError, match="did you mean 'DAVIS346'"):
        emulate(GRAY, "DAVIS364", fps=240)
    with pytest.raises(ConfigError, match="a rate is fps=240"):
        emulate(GRAY, 240)
