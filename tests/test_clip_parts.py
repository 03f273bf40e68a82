"""Parts of clips and their sizes: the same frames at each pass, light that is kept, events of the
sensor that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

import dvskit
from dvskit.errors import (
    ConfigError,
    EventsError,
    GeometryError,
    ScaleWarning,
    ShapeError,
    UnitWarning,
)
from dvskit.video import (
    ArrayFrames,
    Bordered,
    Cropped,
    Resized,
    Trimmed,
    luminance,
    open_frames,
    write_video,
)
from dvskit.video.light import coded
from tests.laws import refused
from tests.test_cli import usage_error


def clip(height=48, width=64, count=12, dtype=np.uint8):
    rng = np.random.default_rng(0)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max + 1
    return ArrayFrames((rng.random((count, height, width)) * top).astype(dtype), fps=25)


def same(one, other):
    return len(one) == len(other) and all(
        t == u and a.dtype == b.dtype and np.array_equal(a, b)
        for (t, a), (u, b) in zip(one, other, strict=True)
    )


CHANGES = [
    lambda frames: Cropped(frames, 3, 5, (20, 30)),
    lambda frames: Trimmed(frames, 50_000, 300_000),
    lambda frames: Resized(frames, (16, 12)),
    lambda frames: Bordered(frames, (80, 80)),
    lambda frames: Resized(Cropped(Trimmed(frames, 80_000, None), 1, 1, (40, 40)), (90, 70)),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_part_has_the_same_frames_of_its_size_at_each_pass(change, dtype):
    frames = change(clip(dtype=dtype))
    first = list(frames)
    assert len(first) > 2
    assert same(first, list(frames))
    assert {frame.shape for _, frame in first} == {(frames.size.height, frames.size.width)}


def test_a_part_in_time_keeps_its_stamps_and_is_half_open():
    frames = ArrayFrames(np.zeros((10, 4, 4), np.uint8), fps=100)
    assert [t for t, _ in Trimmed(frames, 20_000, 50_000)] == [20_000, 30_000, 40_000]
    assert len(list(Trimmed(frames, None, None))) == 10
    with refused(ConfigError, "stop_us = 5"):
        Trimmed(frames, 5, 5)


@pytest.mark.parametrize(
    "place", [(-1, 0, (4, 4)), (61, 0, (4, 4)), (0, 0, (0, 4)), (0, 45, (4, 4))]
)
def test_a_rectangle_beyond_the_frame_is_refused(place):
    with refused(GeometryError, "64x48"):
        Cropped(clip(), *place)


def test_scaling_by_a_whole_number_is_the_mean_of_light_of_each_area():
    frames = clip()
    (_, whole), (_, small) = next(iter(frames)), next(iter(Resized(frames, (16, 12))))
    mean = luminance(whole).reshape(12, 4, 16, 4).mean((1, 3))
    assert small.dtype == np.uint16
    assert np.abs(luminance(small) - mean).max() < 2e-5
    # The mean of codes is darker along edges.
    assert (small / 65535).mean() > (whole / 255).mean() + 0.03


def test_what_is_scaled_covers_the_sensor_and_keeps_its_shape():
    image = np.zeros((216, 384), np.uint8)
    image[88:128, 172:212] = 255  # a square in the middle
    frames = Resized(ArrayFrames(np.stack([image, image]), fps=25), (346, 260))
    assert frames.notes[-1] == "the middle 287x216 of 384x216, scaled to 346x260"
    bright = next(iter(frames))[1] > 30_000
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    assert abs(len(rows) - len(columns)) <= 1
    assert abs(rows.mean() - 129.5) < 1
    assert abs(columns.mean() - 172.5) < 1


def test_a_border_is_mid_gray_around_the_whole_frame():
    frames = Bordered(ArrayFrames(np.full((2, 48, 64), 200, np.uint8), fps=25), (64, 60))
    frame = next(iter(frames))[1]
    assert (frame[6:54] == 200).all()
    assert (frame[[0, 5, 54, 59]] == 127).all()


def test_codes_of_light_are_the_codes_that_it_was_made_of():
    codes = np.arange(65536, dtype=np.uint16)[None]
    assert (coded(luminance(codes)).astype(int) - codes).max() <= 1


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    small = np.random.default_rng(0).integers(20, 230, (8, 9, 16), dtype=np.uint8)
    large = [np.kron(each, np.ones((10, 10), np.uint8)) for each in small]
    write_video([(n * 40_000, each) for n, each in enumerate(large)], path, fps=25)
    return path


WAYS = {
    ("--preset", "dvs128", "--stop", "120ms"): ({"params": "DVS128", "stop_us": 120_000}, 128, 128),
    ("--preset", "DVS128", "--size", "native"): ({"params": "DVS128", "size": "native"}, 160, 90),
    ("--crop", "20,10,40,30", "--size", "20x15", "--start", "80ms", "--stop", "200ms"): (
        {"crop": (20, 10, 40, 30), "size": (20, 15), "start_us": 80_000, "stop_us": 200_000},
        20,
        15,
    ),
}


@pytest.mark.parametrize("words", WAYS)
def test_python_scales_and_cuts_a_clip_as_the_command_does(run, video, words):
    options, *size = WAYS[words]
    code, _, err = run("emulate", video, "a.npz", *words)
    assert code == 0
    events = dvskit.load_events("a.npz")
    assert list(events.sensor_size) == size
    assert dvskit.emulate(video, **options).load() == events
    assert ("the middle 90x90" in err) == (size == [128, 128])


def test_a_part_of_a_video_is_emulated_alone(video):
    part = dvskit.emulate(video, crop=(20, 10, 40, 30), start_us=80_000, stop_us=200_000).load()
    assert part.sensor_size == (40, 30)
    frames = [(t, f[10:40, 20:60]) for t, f in open_frames(video) if 80_000 <= t < 200_000]
    assert part == dvskit.emulate(frames).load()
    assert 80_000 <= part.t[0] < part.t[-1] < 200_000


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--crop", "1,2"), "--crop"),
        (("--size", "big"), "--size"),
        (("--start", "1s", "--stop", "500ms"), "--stop 500ms"),
    ],
)
def test_a_part_that_cannot_be_is_a_usage_error(run, video, words, named):
    assert named in usage_error(run("emulate", video, "x.raw", *words))


@pytest.mark.parametrize(
    "options",
    [
        {"params": "DVS128"},
        {"crop": (3, 2, 40, 40), "size": (12, 12), "start_us": 40_000, "stop_us": 300_000},
    ],
)
def test_frames_in_memory_are_scaled_and_cut_as_files_are(options):
    frames = clip()
    pictures = [frame for _, frame in frames]
    expected = dvskit.emulate(frames, **options)
    events = expected.load()
    assert len(events) > 100
    assert events != dvskit.emulate(frames).load()
    for source in (
        dvskit.emulate(np.stack(pictures), fps=25, **options),
        dvskit.emulate(iter(list(frames)), **options),
    ):
        assert source.load() == events
        assert source.size == expected.size


def test_a_preset_s_parameters_alone_bring_no_size():
    davis = dvskit.EmulatorParams.preset("DAVIS346")
    assert dvskit.emulate(clip(), davis).size == (64, 48)
    named = dvskit.emulate(clip(), "DAVIS346")
    assert named.size == (346, 260)
    assert "DAVIS346" in repr(named)


def test_scaled_frames_of_another_scale_or_shape_are_found_as_others_are():
    frames = np.stack([frame for _, frame in clip()]).astype(np.float32)
    pairs = list(enumerate(frames))
    for given, rate in ((frames, 25), (pairs, None)):
        with pytest.warns(ScaleWarning, match="white=255"):
            dvskit.emulate(given, fps=rate, size=(8, 6)).load()
    assert dvskit.emulate(pairs, white=255, size=(8, 6)).load().sensor_size == (8, 6)
    with refused(ShapeError, "99 us", "(47, 64)"):
        dvskit.emulate([*pairs, (99, frames[0][:-1])], white=255, size=(8, 6)).load()


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"size": "346x260"}, GeometryError, "346x260"),
        ({"crop": (60, 0, 10, 10)}, GeometryError, "64x48"),
        ({"start_us": 5_000, "stop_us": 4_000}, EventsError, "start"),
        ({"stop_us": -1}, ConfigError, "stop_us = -1"),
    ],
)
def test_a_part_that_cannot_be_is_refused(options, kind, named):
    with refused(kind, named):
        dvskit.emulate(clip(), **options)


def test_times_that_look_like_seconds_are_warned_of():
    with pytest.warns(UnitWarning, match="seconds"):
        dvskit.emulate(clip(), start_us=0.1)
