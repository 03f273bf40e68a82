"""Scores of images, beside plain twins; `dvskit eval` of reconstructors."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from dvskit.emulator import EmulatorParams
from dvskit.errors import ConfigError, ShapeError, VideoError
from dvskit.events import Events
from dvskit.formats import open_events, save_events
from dvskit.reconstruction import ComplementaryFilter, judge, score_images
from dvskit.reconstruction.scores import fitted, mse, ssim, temporal_error
from dvskit.scenes.planes import noise_texture
from dvskit.video import ArrayFrames, write_video
from tests.laws import refused, refused_command
from tests.test_recorded_frames import bag_with_frames


def pictures(seed=0, shape=(24, 31)):
    rng = np.random.default_rng(seed)
    a = cv2.GaussianBlur(rng.random(shape), (0, 0), 1.5)
    return a, np.clip(a + rng.normal(0, 0.05, shape), 0, 1)


def ssim_twin(a, b):
    """The mean over windows of the formula of Wang et al. 2004."""
    at = np.arange(-5, 6)
    weight = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    weight /= weight.sum()
    found = []
    for row in range(5, a.shape[0] - 5):
        for column in range(5, a.shape[1] - 5):
            x, y = (each[row - 5 : row + 6, column - 5 : column + 6] for each in (a, b))
            mx, my = (weight * x).sum(), (weight * y).sum()
            vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
            both = (weight * (x - mx) * (y - my)).sum()
            found.append(
                (2 * mx * my + 1e-4) * (2 * both + 9e-4)
                / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
            )  # fmt: skip
    return np.mean(found)


def test_ssim_is_that_of_the_literature():
    a, b = pictures()
    assert ssim(a, b) == pytest.approx(ssim_twin(a, b), abs=1e-10)
    assert 0.3 < ssim(a, b) < 0.95
    assert ssim(a, a) == pytest.approx(1)


def test_the_best_gain_and_offset_undo_those_of_an_image():
    a, _ = pictures()
    assert mse(0.5 * a + 0.1, a) > 0.01
    np.testing.assert_allclose(fitted(0.5 * a + 0.1, a), a, atol=1e-12)
    np.testing.assert_allclose(fitted(1 - a, a), a, atol=1e-12)
    np.testing.assert_allclose(fitted(np.full_like(a, 0.7), a), a.mean())


def sliding(count=4, step=2):
    texture = noise_texture(np.random.default_rng(4), (48, 90), grain_px=6.0)
    return [texture[:, step * k : step * k + 64].astype(np.float64) for k in range(count)]


def flow_of(vx):
    flow = np.zeros((48, 64, 2), np.float32)
    flow[..., 0] = vx
    return flow


def test_temporal_error_is_small_for_what_moves_with_the_flow_and_large_for_flicker():
    was, now, *_ = sliding()
    flow = flow_of(2)  # x was larger
    assert temporal_error(was, now, was, now, flow) < 1e-12
    assert temporal_error(was, now, was, now) < 0.01
    assert temporal_error(was, now + 0.1, was, now, flow) == pytest.approx(0.1)
    assert temporal_error(was, was, was, now, flow) > 0.02  # an image that stands still
    flow[10:20] = np.nan  # places of unknown flow do not count
    image = now.copy()
    image[10:20] = 1.0
    assert temporal_error(was, image, was, now, flow) < 1e-12
    assert temporal_error(was, image, was, now, np.full_like(flow, np.nan)) == 0


def test_what_appears_does_not_count_in_the_temporal_error():
    was, now, *_ = sliding(step=0)
    seen = now.copy()
    seen[10:20, 10:20] += 1.0
    assert temporal_error(was, seen, was, seen, flow_of(0)) < 1e-6
    assert temporal_error(was, seen, was, now, flow_of(0)) > 0.02


def test_scores_of_images_are_those_of_each_and_their_standard_error():
    references = [(k * 10, each) for k, each in enumerate(sliding())]
    images = [(t, each * 0.9) for t, each in references]
    scores = score_images(images, references)
    assert scores.t_us.tolist() == [0, 10, 20, 30]
    assert len(scores.temporal) == 3
    assert scores.mse.tolist() == [
        mse(a, b) for (_, a), (_, b) in zip(images, references, strict=True)
    ]
    assert scores.mse_fitted.max() < 1e-12
    mean, error = scores.summary()["ssim"]
    assert mean == pytest.approx(scores.ssim.mean())
    assert error == pytest.approx(scores.ssim.std(ddof=1) / 2)
    one = score_images(images[:1], references[:1])
    assert math.isnan(one.summary()["mse"][1])
    assert math.isnan(one.summary()["temporal"][0])


A = pictures()[0]


@pytest.mark.parametrize(
    ("call", "kind", "named"),
    [
        (lambda: score_images([(1, A)], [(2, A)]), VideoError, "1 us, its reference at 2 us"),
        (lambda: mse(A, A[1:]), ShapeError, "(23, 31)"),
        (lambda: ssim(A[:10], A[:10]), ShapeError, "11x11"),
        (lambda: temporal_error(A[:11], A[:11], A[:11], A[:11]), ShapeError, "12"),
    ],
)
def test_images_and_references_that_differ_or_are_small_are_refused(call, kind, named):
    with refused(kind, named):
        call()


def clip():
    frames = (np.stack(sliding(10)) * 255).astype(np.uint8)
    return ArrayFrames(frames, fps=50)


def test_a_clip_is_emulated_and_its_frames_judge():
    scores = judge(ComplementaryFilter(), clip(), EmulatorParams(threshold_on=0.15))
    assert len(scores) == 9
    gray = judge(ComplementaryFilter(threshold_on=0.0, threshold_off=0.0), clip())
    assert scores.mse_fitted[-1] < 0.7 * gray.mse_fitted[-1]
    assert scores.ssim[-1] > gray.ssim[-1] + 0.1


@pytest.fixture
def video(tmp_path):
    write_video(clip(), tmp_path / "clip.mp4", fps=50)
    return "clip.mp4"


def test_eval_gives_the_scores_of_a_video_that_is_emulated_first(run, video):
    code, out, _ = run("eval", "filter:cutoff=0.5", video)
    assert code == 0
    assert out.split()[:2] == ["9", "images"]
    assert run("eval", "filter:cutoff=0.5", video, "--preset", "noisy")[1] != out


@pytest.mark.slow(seconds=3)
def test_eval_gives_the_scores_of_a_recording(run, data):
    street = str(data / "davis" / "davis346_street.aedat4")
    code, out, err = run("eval", "filter", street, "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts["images"] == 58
    assert facts["mean"]["mse"] < 4e-4  # the frame before has 7.2e-4
    assert facts["mean"]["ssim"] > 0.97  # and .966
    assert len(facts["per_image"]["ssim"]) == len(facts["t_us"]) == 58
    assert len(facts["per_image"]["temporal"]) == 57
    assert 0 < facts["standard_error"]["ssim"] < 0.01


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("filter clip.mp4 --operations --matrix a.png", "--matrix, --operations"),
        ("filter clip.mp4 --split test", "--split"),
        ("filter clip.mp4 --preset none", "'none'"),
        ("filtre clip.mp4", "'filter'"),
        ("some-classifier clip.mp4 --preset noisy", "--preset: some-classifier"),
        ("filter a.npz", "a.npz"),
        ("filter empty", "empty"),
        ("filter none.npz", "none.npz"),
    ],
)
def test_eval_refuses_options_of_other_models_and_files_without_frames(
    run, video, tmp_path, words, named
):
    save_events(Events(t=[1], x=[0], y=[0], p=[True], size=(20, 20)), tmp_path / "a.npz")
    (tmp_path / "empty").mkdir()
    refused_command(run("eval", *words.split()), named)


def test_a_recording_takes_no_emulated_sensor_and_needs_two_frames_of_its_size(tmp_path):
    bag = open_events(bag_with_frames(tmp_path / "a.bag", [(30, 20)] * 3))
    with refused(ConfigError, "recording"):
        judge(ComplementaryFilter(), bag, EmulatorParams())
    with refused(ValueError, "30x20"):
        judge(ComplementaryFilter(uses_frames=False), bag)
    single = open_events(bag_with_frames(tmp_path / "b.bag", [(64, 48)]))
    with refused(VideoError, "1 frame"):
        judge(ComplementaryFilter(), single)
