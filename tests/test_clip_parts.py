"""Parts of clips and their sizes: the same frames at each pass, light that is kept, events of the
sensor that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

import dvskit
from dvskit.emulator.params import preset_size
from dvskit.errors import (
    ConfigError,
    EventsError,
    GeometryError,
    ScaleWarning,
    ShapeError,
    UnitWarning,
    VideoError,
)
from dvskit.video import ArrayFrames, Cropped, Resized, Trimmed, luminance, resized, write_video
from dvskit.video.light import coded


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
    frames = ArrayFrames(
        np.zeros((10, 4, 4), np.uint8),
        fps=100,
    )
    assert [t for t, _ in Trimmed(frames, 20_000, 50_000)] == [20_000, 30_000, 40_000]
    assert len(list(Trimmed(frames, None, None))) == 10
    with pytest.raises(ConfigError, match="not after"):
        Trimmed(frames, 5, 5)


@pytest.mark.parametrize(
    "place", [(-1, 0, (4, 4)), (61, 0, (4, 4)), (0, 0, (0, 4)), (0, 45, (4, 4))]
)
def test_a_rectangle_beyond_the_frame_is_refused(place):
    with pytest.raises(GeometryError, match="not inside frames of 64x48"):
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


def test_a_uniform_frame_stays_what_it_is_at_any_size():
    for size in ((7, 5), (64, 48), (200, 31)):
        frames = Resized(ArrayFrames(np.full((2, 48, 64), 100, np.uint8), fps=25), size)
        assert (next(iter(frames))[1] == 100 * 257).all()


def test_codes_of_light_are_the_codes_that_it_was_made_of():
    codes = np.arange(65536, dtype=np.uint16)[None]
    assert (coded(luminance(codes)).astype(int) - codes).max() <= 1


def test_no_size_and_the_same_size_change_nothing():
    frames = clip()
    assert resized(frames, None) is frames
    assert resized(frames, (64, 48)) is frames


@pytest.fixture
def video(tmp_path):
    rng = np.random.default_rng(0)
    small = rng.integers(20, 230, (20, 9, 16), dtype=np.uint8)
    frames = (
        (n * 40_000, np.kron(each, np.ones((40, 40), np.uint8))) for n, each in enumerate(small)
    )
    write_video(frames, tmp_path / "clip.mp4", fps=25)
    return tmp_path / "clip.mp4"


@pytest.mark.slow
def test_a_sensor_s_preset_brings_its_size(run, video):
    code, _, err = run("emulate", video, "a.raw", "--preset", "davis346")
    assert code == 0
    assert (
        "note: " + str(video) + ": the middle 479x360 of 640x360, scaled to 346x260, the size of "
        "DAVIS346; --size native keeps the clip's own\n"
    ) in err
    assert tuple(dvskit.open_events("a.raw").size) == (346, 260)
    code, _, err = run("emulate", video, "b.raw", "--preset", "DAVIS346", "--size", "native")
    assert (code, "scaled" in err) == (0, False)
    assert tuple(dvskit.open_events("b.raw").size) == (640, 360)
    assert run("emulate", video, "c.raw", "--size", "320x240")[0] == 0
    assert tuple(dvskit.open_events("c.raw").size) == (320, 240)
    assert {str(preset_size(name)) for name in ("clean", "DVS128", "Gen3")} == {
        "None", "128x128", "640x480",
    }  # fmt: skip


@pytest.mark.slow
def test_a_part_of_a_video_is_emulated_alone(run, video):
    words = ("--crop", "80,40,160,120", "--start", "200ms", "--stop", "400ms")
    assert run("emulate", video, "part.npz", *words)[0] == 0
    part = dvskit.load_events("part.npz")
    assert tuple(part.size) == (160, 120)
    assert 200_000 <= part.t[0] < part.t[-1] < 400_000
    frames = dvskit.video.open_frames(video)
    wanted = [(t, f[40:160, 80:240]) for t, f in frames if 200_000 <= t < 400_000]
    assert part == dvskit.events.read_all(dvskit.emulate(wanted))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--crop", "600,0,100,10"), "--crop: 600,0,100,10"),
        (("--crop", "1,2"), "is not X,Y,WIDTH,HEIGHT"),
        (("--size", "big"), "--size"),
        (("--start", "1s", "--stop", "500ms"), "--stop 500ms is not after --start 1s"),
        (("--preset", "davis34"), "did you mean 'DAVIS346'"),
    ],
)
def test_a_part_that_cannot_be_is_a_usage_error(run, video, words, said):
    code, out, err = run("emulate", video, "x.raw", *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.slow
def test_python_scales_and_cuts_a_clip_as_the_command_does(run, video):
    ways = {
        ("--preset", "DVS128", "--stop", "200ms"): {"params": "dvs128", "stop_us": 200_000},
        ("--preset", "DVS128", "--size", "native", "--stop", "100ms"): {
            "params": "DVS128", "size": "native", "stop_us": 100_000,
        },
        ("--crop", "80,40,160,120", "--size", "80x60", "--start", "200ms", "--stop", "400ms"): {
            "crop": (80, 40, 160, 120), "size": (80, 60), "start_us": 200_000, "stop_us": 400_000,
        },
    }  # fmt: skip
    for words, options in ways.items():
        assert run("emulate", video, "a.npz", "--force", *words)[0] == 0
        assert dvskit.emulate(video, **options).load() == dvskit.load_events("a.npz"), words


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"params": "DVS128"}, {"size": (20, 30)}, {"crop": (3, 2, 30, 20)}, {"start_us": 90_000},
     {"crop": (3, 2, 40, 40), "size": (12, 12), "start_us": 40_000, "stop_us": 300_000}],
)  # fmt: skip
def test_frames_in_memory_are_scaled_and_cut_as_files_are(options):
    frames = clip()
    pictures = [frame for _, frame in frames]
    expected = dvskit.emulate(frames, **options)
    whole = dvskit.emulate(frames).load()
    assert len(expected.load()) > 100
    assert expected.load() != whole
    for way in (
        lambda: dvskit.emulate(np.stack(pictures), fps=25, **options),
        lambda: dvskit.emulate(pictures, fps=25, **options),
        lambda: dvskit.emulate(iter(pictures), fps=25, **options),
        lambda: dvskit.emulate(list(frames), **options),
        lambda: dvskit.emulate(iter(list(frames)), **options),
    ):
        assert way().load() == expected.load()
        assert way().size == expected.size


def test_a_preset_s_parameters_alone_bring_no_size():
    davis = dvskit.EmulatorParams.preset("DAVIS346")
    assert dvskit.emulate(clip(), davis).size == (64, 48)
    named = dvskit.emulate(clip(), "DAVIS346")
    assert named.size == (346, 260)
    assert "the size of DAVIS346" in repr(named)


def test_scaled_frames_of_another_scale_or_shape_are_told_as_others_are():
    frames = np.stack([frame for _, frame in clip()]).astype(np.float32)
    pairs = list(enumerate(frames))
    for way in (lambda: dvskit.emulate(frames, fps=25, size=(8, 6)),
                lambda: dvskit.emulate(pairs, size=(8, 6))):  # fmt: skip
        with pytest.warns(ScaleWarning, match="white=255"):
            way().load()
    assert dvskit.emulate(pairs, white=255, size=(8, 6)).load().size == (8, 6)
    odd = [*pairs, (99, frames[0][:-1])]
    with pytest.raises(ShapeError, match=r"frame at 99 us has shape \(47, 64\)"):
        dvskit.emulate(odd, white=255, size=(8, 6)).load()
    once = dvskit.emulate(iter(pairs), white=255, size=(8, 6))
    once.load()
    with pytest.raises(VideoError, match="used up"):
        once.load()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"size": "346x260"}, GeometryError, "not (width, height)"),
        ({"crop": (60, 0, 10, 10)}, GeometryError, "not inside frames of 64x48"),
        ({"start_us": 5_000, "stop_us": 4_000}, EventsError, "ends before its start"),
        ({"stop_us": -1}, ConfigError, "not after"),
    ],
)
def test_a_part_that_cannot_be_is_refused(options, error, said):
    with pytest.raises(error) as raised:
        dvskit.emulate(clip(), **options)
    assert said in str(raised.value)
    with pytest.warns(UnitWarning, match="looks like seconds"):
        dvskit.emulate(clip(), start_us=0.1)
