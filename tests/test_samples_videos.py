"""Videos as samples: what they become, that it depends on nothing else, and broken ones."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dvskit import EmulatorParams
from dvskit.datasets import open_samples
from dvskit.emulator import emulate, emulate_batch
from dvskit.emulator.model import RESULTS_VERSION
from dvskit.emulator.upsample import Upsampled
from dvskit.errors import ConfigError, FormatError, GeometryError, ShapeError, VideoError
from dvskit.filters import Crop
from dvskit.video import Trimmed, open_frames, resized
from tests.laws import refused
from tests.sample_files import folder, pictures, recording, video

NOISY = {"params": "noisy", "size": (24, 16)}


@pytest.fixture
def clips(tmp_path):
    return folder(tmp_path / "set", "bow/1.mp4", "bow/2.mkv", "wave/1.mp4")


def test_an_ideal_sensor_gives_what_emulate_gives_at_the_working_size(clips):
    samples = open_samples(clips, size=(24, 16))
    for number, row in enumerate(samples.rows):
        expected = emulate(resized(open_frames(row.path), (24, 16))).load()
        assert samples.events(number) == expected
        assert len(expected)
    assert open_samples(clips).events(0) == emulate(clips / "bow/1.mp4").load()
    assert open_samples(clips, params="DVS128").events(0).sensor_size == (128, 128)
    assert open_samples(clips, params="DVS128", size=(30, 20)).events(0).sensor_size == (30, 20)


def test_a_wide_video_becomes_a_square_by_its_middle(tmp_path):
    video(tmp_path / "set/bow/a.mp4", size=(48, 32))
    square = resized(open_frames(tmp_path / "set/bow/a.mp4"), (16, 16))
    assert any("32x32" in note for note in square.notes)
    assert open_samples(tmp_path / "set", size=(16, 16)).events(0) == emulate(square).load()


def test_a_wide_video_is_kept_whole_with_a_border_that_sees_nothing(tmp_path):
    video(tmp_path / "set/bow/a.mp4", size=(48, 32))
    for light in ("luma", "linear"):
        events = open_samples(tmp_path / "set", size=(24, 24), whole=True, light=light).events(0)
        frames = open_frames(tmp_path / "set/bow/a.mp4")
        assert events.sensor_size == (24, 24)
        assert Crop(0, 4, 24, 16)(events) == emulate(resized(frames, (24, 16)), light=light).load()
        assert 4 <= events.y.min() <= events.y.max() < 20
    tall = open_samples(tmp_path / "set", size=(60, 32), whole=True).events(0)
    assert Crop(6, 0, 48, 32)(tall) == open_samples(tmp_path / "set").events(0)


def test_frames_are_added_at_the_working_size(clips):
    samples = open_samples(clips, size=(24, 16), upsample=True)
    frames = resized(open_frames(clips / "bow/1.mp4"), (24, 16))
    added = Upsampled(frames, frames.size)
    assert samples.events(0) == emulate(added).load()
    assert added.steps != {1: 7}
    assert samples.events(0) != open_samples(clips, size=(24, 16)).events(0)


@pytest.mark.slow
def test_a_sample_is_the_same_whoever_reads_it_when_and_beside_what(clips):
    samples = open_samples(clips, **NOISY)
    alone = [samples.events(number) for number in range(3)]
    again = open_samples(clips, **NOISY).choose([2, 0])
    assert [again.events(0), again.events(1)] == [alone[2], alone[0]]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(samples.events, [0, 1, 2] * 3)) == alone * 3
    sent = pickle.loads(pickle.dumps(samples))
    assert sent.fingerprint(1) == samples.fingerprint(1)
    assert sent.events(2) == alone[2]


def test_noise_follows_from_the_bytes_of_the_file_and_not_from_its_name(clips, tmp_path):
    first = open_samples(clips, **NOISY)
    moved = tmp_path / "elsewhere" / "wave"
    moved.mkdir(parents=True)
    (moved / "z.mp4").write_bytes((clips / "bow/1.mp4").read_bytes())
    second = open_samples(tmp_path / "elsewhere", **NOISY)
    assert second.events(0) == first.events(0)
    assert second.fingerprint(0) == first.fingerprint(0)


def test_samples_have_noise_of_their_own_and_a_generator_draws_other(tmp_path):
    video(tmp_path / "set/bow/a.mp4", seed=1, frames=20)
    kept = open_samples(tmp_path / "set", **NOISY)
    samples = open_samples(tmp_path / "set", **NOISY, redraw=True)
    usual = samples.events(0)
    assert (kept.draws, samples.draws) == (False, True)
    assert kept.events(0, np.random.default_rng(5)) == usual
    drawn = [samples.events(0, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert drawn[0] == drawn[1]
    assert len({str(each.to_array().tobytes()) for each in (usual, *drawn)}) == 3
    assert samples.events(0) == usual
    assert open_samples(tmp_path / "set", **NOISY, seed=1).events(0) != usual


@pytest.mark.parametrize(
    "change",
    [
        {"params": EmulatorParams(threshold_on=0.3)},
        {"size": (20, 16)},
        {"upsample": True},
        {"whole": True},
        {"seed": 3},
        {"fps": 30},
        {"light": "luma"},
        {"strict": False},
    ],
    ids=str,
)
def test_a_fingerprint_follows_from_each_parameter(clips, change):
    before, after = open_samples(clips, **NOISY), open_samples(clips, **{**NOISY, **change})
    assert before.fingerprint(0) != after.fingerprint(0)
    assert after.fingerprint(0) == open_samples(clips, **{**NOISY, **change}).fingerprint(0)
    assert len({after.fingerprint(number) for number in range(3)}) == 3


def test_a_fingerprint_follows_from_the_bytes_and_the_span(clips, tmp_path):
    samples = open_samples(clips, **NOISY)
    before = samples.fingerprint(0)
    video(tmp_path / "new.mp4", seed=9)
    (clips / "bow/1.mp4").write_bytes((tmp_path / "new.mp4").read_bytes())
    assert samples.fingerprint(0) != before
    spans = "bow/1.mp4,bow,,\nbow/1.mp4,bow,40,160\nbow/1.mp4,bow,80,200\n"
    (clips / "list.csv").write_text(f"file,label,start_ms,stop_ms\n{spans}")
    listed = open_samples(clips / "list.csv", **NOISY)
    assert listed.fingerprint(0) == samples.fingerprint(0)
    assert len({listed.fingerprint(number) for number in range(3)}) == 3


def test_a_span_of_a_video_is_emulated_from_its_own_first_frame(clips):
    (clips / "list.csv").write_text("file,label,start_ms,stop_ms\nbow/1.mp4,bow,80,250\n")
    samples = open_samples(clips / "list.csv")
    expected = emulate(Trimmed(open_frames(clips / "bow/1.mp4"), 80_000, 250_000)).load()
    assert samples.events(0) == expected
    assert 80_000 < expected.t[0] <= expected.t[-1] <= 240_000
    (clips / "list.csv").write_text("file,label,start_s,stop_s\nbow/1.mp4,bow,80,250\n")
    with refused(VideoError, "bow/1.mp4", 80_000_000, 250_000_000):
        open_samples(clips / "list.csv").events(0)


# -- broken ones


def test_one_broken_video_among_many_is_named_when_it_is_read_or_found_ahead(tmp_path):
    root = folder(tmp_path / "set", *(f"{c}/{k}.mp4" for c in ("bow", "wave") for k in range(3)))
    whole = (root / "wave/1.mp4").read_bytes()
    (root / "wave/1.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(500))
    samples = open_samples(root)
    with refused(VideoError, root / "wave/1.mp4"):
        list(map(samples.events, range(len(samples))))
    assert [each.path.name for each in samples.check()] == ["1.mp4"]
    lenient = open_samples(root, strict=False)
    assert len(lenient) == 5
    assert [each.path for each in lenient.left_out] == [root / "wave/1.mp4"]
    (root / "wave/1.mp4").write_bytes(whole[: len(whole) // 2])
    assert len(open_samples(root).check()) == 1


@pytest.mark.parametrize("name", ["a.mkv", "a.raw"])
def test_damage_raises_with_the_name_or_is_counted(tmp_path, name):
    root = folder(tmp_path / "set", "wave/b.raw")
    if name == "a.mkv":
        video(root / "bow" / name, seed=3, frames=30)
    else:
        recording(root / "bow" / name)
    data = (root / "bow" / name).read_bytes()
    (root / "bow" / name).write_bytes(data[: len(data) * 2 // 3 // 2 * 2 - 1])
    with refused((VideoError, FormatError), root / "bow" / name):
        open_samples(root).events(0)
    samples = open_samples(root, strict=False)
    assert len(samples.events(0))
    assert samples.damage[0]


@pytest.mark.parametrize(
    ("frames", "options", "kind", "named"),
    [
        (1, {}, VideoError, "bow/a.mp4"),
        (8, {"size": (10, 10), "upsample": True}, ShapeError, "10x10"),
        (8, {"params": "nosiy"}, ConfigError, "'noisy'"),
        (8, {"size": (0, 5)}, GeometryError, "1..32767"),
        (8, {"size": 5}, GeometryError, "5"),
        (8, {"fps": 0}, ConfigError, "fps = 0"),
        (8, {"seed": -1}, ConfigError, "seed = -1"),
        (8, {"light": "red"}, ConfigError, "red"),
    ],
)
def test_wrong_clips_and_parameters_are_refused(tmp_path, frames, options, kind, named):
    video(tmp_path / "set/bow/a.mp4", frames=frames)
    with refused(kind, named):
        open_samples(tmp_path / "set", **options).events(0)


@pytest.mark.slow
def test_the_events_that_the_emulator_gives_are_those_of_its_version():
    """What is kept on disk is taken for this version's: change it with the events."""
    frames = pictures(4, 12, (32, 24))
    t_us = [t for t, _ in frames]
    clips = np.stack([[picture for _, picture in frames]] * 3)
    params = [EmulatorParams.preset(name) for name in ("clean", "noisy", "v2e")]
    made = emulate_batch(clips, t_us, params, seed=7)
    # Counts and mean times in 0.1 ms: a last bit of a processor's logarithm moves neither.
    said = [(len(events), round(float(events.t.mean()) / 100)) for events in made]
    assert (RESULTS_VERSION, said) == (2, [(5824, 2558), (6928, 2535), (2509, 2455)])


@pytest.mark.slow
def test_real_gestures_become_events_of_a_person_that_moves(data):
    samples = open_samples(data / "gestures/videos", params="noisy", size=(64, 64))
    assert samples.classes == ("arms_up", "both_arms_out", "right_hand_wave")
    assert sorted({row.group for row in samples.rows}) == ["p1", "p2"]
    assert len(samples) == 18
    events = samples.events(0)
    assert events.sensor_size == (64, 64)
    assert 20_000 < len(events) < 400_000
    assert 3_000_000 < events.t[-1] < 4_500_000
