"""Corrupted recordings: what is changed is changed by the filters, and for each by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dvskit import filters
from dvskit.datasets import DrawnSamples, Sample, open_samples
from dvskit.datasets.drawn import sensor_like_dvs128
from dvskit.emulator import EmulatorParams
from dvskit.errors import ConfigError
from dvskit.evaluation import CORRUPTIONS, evaluate, evaluate_corrupted
from dvskit.evaluation.measures import (
    AddHotPixels,
    check_levels,
    corrupted,
    scaled_thresholds,
    with_thresholds,
)
from dvskit.events import Events
from dvskit.formats.content import own_seed
from dvskit.models.scores import percent_texts
from dvskit.training import Trained
from dvskit.video import write_video
from tests.laws import on_threads, refused, refused_command
from tests.test_over_time import ENDS, Gray, model_of

OF_EVENTS = [name for name, kind in CORRUPTIONS.items() if kind.filter is not None]


@pytest.mark.parametrize("kind", OF_EVENTS)
def test_a_level_that_changes_nothing_gives_what_evaluate_gives(
    trained: Trained, bars: Path, kind: str
) -> None:
    neutral = 1.0 if CORRUPTIONS[kind].factors else 0.0
    assert neutral in CORRUPTIONS[kind].levels
    found = evaluate_corrupted(trained.model, bars, kind, [neutral], split="all")
    plain = evaluate(trained.model, bars, split="all")
    assert (found.results[0].confusion == plain.confusion).all()
    assert found.results[0].loss == pytest.approx(plain.loss, rel=1e-5)
    assert (found.results[0].seen, found.levels) == (plain.seen, (neutral,))


@pytest.mark.parametrize("kind", OF_EVENTS)
def test_results_depend_on_the_seed_alone(bars: Path, kind: str) -> None:
    model = model_of(ENDS["mean"])
    level = 1.0 if kind == "time-jitter" else CORRUPTIONS[kind].levels[-1]  # of bars of 8 ms

    def loss(seed: int) -> float:
        found = evaluate_corrupted(model, bars, kind, [level], split="all", seed=seed)
        return found.results[0].loss

    with on_threads(1):
        first = loss(1)
    assert (first == pytest.approx(loss(2), rel=1e-9)) == (kind == "time-scale")
    assert loss(1) == pytest.approx(first, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_EVENTS)
def test_each_recording_is_changed_by_the_filter_with_draws_that_follow_from_its_name(
    bars: Path, kind: str
) -> None:
    samples = open_samples(bars)
    changed, level = CORRUPTIONS[kind].filter, CORRUPTIONS[kind].levels[-1]
    whole = corrupted(samples, kind, level, 4)
    part = corrupted(samples.choose([3, 0]), kind, level, 4)
    for number, place in ((3, 0), (0, 1)):
        row = samples.rows[number]
        seed = own_seed(4, f"{kind} {row.name}", row.span)
        expected = filters.Chain(changed(level, seed))(samples.events(number))
        assert expected != samples.events(number)
        assert whole.events(number) == part.events(place) == expected
        assert whole.fingerprint(number) == part.fingerprint(place)


def test_without_any_event_there_is_still_an_answer(trained: Trained, bars: Path) -> None:
    found = evaluate_corrupted(trained.model, bars, "drop", [1.0, 0.0], split="all")
    assert found.levels == (0.0, 1.0)
    blind = found.results[1].confusion
    assert sorted(blind.sum(0).tolist()) == [0, 20]  # all the same answer


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_hot_pixels_are_that_share_of_the_sensor_and_fire_on_at_that_rate(share: float) -> None:
    t = np.arange(0, 2_000_001, 1_000)
    nothing = np.zeros(len(t), np.int16)
    quiet = Events(t=t, x=nothing, y=nothing, p=np.zeros(len(t), bool), size=(40, 30))
    found = AddHotPixels(share, 100.0, seed=5)(quiet)
    added = found[found.p]
    assert len(found) == len(added) + len(t)
    pixels = np.unique(added.y.astype(int) * 40 + added.x)
    assert len(pixels) == pytest.approx(1200 * share, abs=4 * np.sqrt(1200 * share * (1 - share)))
    expected = 200 * len(pixels)  # two seconds
    assert len(added) == pytest.approx(expected, abs=5 * np.sqrt(expected) + 1e-9)
    counts = np.bincount(added.y.astype(int) * 40 + added.x, minlength=1200)[pixels]
    assert (abs(counts - 200) < 6 * np.sqrt(200)).all()
    assert (np.diff(found.t) >= 0).all()


@pytest.mark.parametrize(
    ("kind", "levels", "named"),
    [
        ("nois", None, "'noise'"),
        ("noise", [], "noise: no levels"),
        ("noise", [0, float("nan")], "level nan"),
        ("noise", [-1], "level -1"),
        ("drop", [0.5, 1.5], "share = 1.5"),
        ("hot-pixels", [2], "share = 2.0"),
        ("time-scale", [0], "level 0"),
        ("time-jitter", [1e6], "std_us"),
        ("threshold", [0], "level 0"),
    ],
)
def test_wrong_kinds_and_levels_are_refused_before_anything_is_judged(
    kind: str, levels: list[float] | None, named: str
) -> None:
    with refused(ConfigError, named):
        check_levels(kind, levels)


def test_recordings_have_no_other_threshold_and_images_no_events(
    trained: Trained, bars: Path
) -> None:
    with refused(ConfigError, "is a recording", "'drop'"):
        evaluate_corrupted(trained.model, bars, "threshold")
    with refused(ConfigError, "seed = -1"):
        evaluate_corrupted(trained.model, bars, "drop", seed=-1)
    stills = Gray([Sample(f"{k}", ("left", "right")[k % 2]) for k in range(4)])
    model = replace(
        model_of(ENDS["mean"]), about={"data": [{"kind": "images", "encoder": "poisson"}]}
    )
    with refused(ConfigError, "still images"):
        evaluate_corrupted(model, stills, "noise", split="all")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two videos a class of a bright bar that moves left or right."""
    for number, label in enumerate(("left", "left", "right", "right")):
        (tmp_path / "videos" / label).mkdir(parents=True, exist_ok=True)
        first, way = np.full((32, 32), 60, np.uint8), 2 if label == "right" else -2
        first[:, 14:18] = 150 + 20 * number
        frames = [(10_000 * k, np.roll(first, way * k, 1)) for k in range(12)]
        write_video(frames, tmp_path / "videos" / label / f"{number}.mp4", fps=100)
    return tmp_path / "videos"


@pytest.mark.slow
def test_clips_are_emulated_anew_with_other_thresholds(videos: Path) -> None:
    model = model_of(ENDS["mean"])
    found = evaluate_corrupted(model, videos, "threshold", [0.5, 1, 4], split="all").results
    plain = evaluate(model, videos, split="all")
    assert found[1].loss == pytest.approx(plain.loss, rel=1e-6)
    assert len({result.loss for result in found}) == 3


def test_thresholds_are_those_of_the_sensor_times_a_factor(videos: Path) -> None:
    samples = open_samples(videos, params=EmulatorParams(threshold_on=0.2, threshold_off=0.3))
    counts = []
    for factor in (0.5, 1, 2):
        whole = with_thresholds(samples, samples.rows, factor)
        params = scaled_thresholds(samples.reading.emulation.params, factor)
        assert (params.threshold_on, params.threshold_off) == (0.2 * factor, 0.3 * factor)
        assert whole.events(0) == open_samples(videos, params=params).events(0)
        counts.append(len(whole.events(0)))
    assert counts[0] > counts[1] > counts[2] > 0
    with refused(ConfigError, "threshold_on"):
        with_thresholds(samples, samples.rows, 1e3)


def test_drawn_people_are_seen_by_the_same_sensor_with_other_thresholds() -> None:
    drawn = DrawnSamples(1, seed=3, gestures=("hand_clap",), size=(32, 32), duration_us=100_000)
    rng = np.random.default_rng(1)
    own = sensor_like_dvs128(rng)
    twice = with_thresholds(drawn, drawn.rows, 2.0)
    assert isinstance(twice, DrawnSamples)
    assert twice.sensor(np.random.default_rng(1)) == scaled_thresholds(own, 2.0)
    assert twice.rows == drawn.rows
    thrice = with_thresholds(drawn, drawn.rows, 3.0)
    assert len({each.fingerprint(0) for each in (drawn, twice, thrice)}) == 3


@pytest.mark.slow
def test_eval_prints_draws_and_gives_each_kind_as_json(
    run, trained: Trained, bars: Path, tmp_path: Path
) -> None:
    words = ("--corrupt", "drop=0,0.5", "--corrupt", "time-scale", "--plot", "c.png")
    code, out, _ = run("eval", trained.folder, bars, *words)
    assert code == 0
    found = evaluate_corrupted(trained.model, bars, "drop", [0, 0.5])
    rows = [line.split() for line in out.splitlines()]
    for level, result in zip(found.levels, found.results, strict=True):
        share, low, high = percent_texts(result.accuracy, *result.interval_95)
        assert f"{level:g} {share} % {low} to {high} %".split() in rows
    assert (tmp_path / "c.png").stat().st_size > 10_000
    code, out, _ = run("eval", trained.folder, bars, *words[:2], "--json", "--corrupt-seed", "7")
    values = json.loads(out)["corrupted"]["drop"]
    assert (values["seed"], values["levels"]) == (7, [0, 0.5])
    assert values["accuracy"][0] == found.results[0].accuracy
    assert values["interval_95"][0] == list(found.results[0].interval_95)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--corrupt nosie", "'noise'"),
        ("--corrupt drop=half", "drop=half"),
        ("--corrupt all=1", "all"),
        ("--corrupt drop --corrupt drop=0.5", "drop"),
        ("--corrupt threshold", "light"),
        ("--corrupt drop --corrupt-seed -1", "--corrupt-seed"),
    ],
)
def test_eval_refuses_wrong_kinds_and_levels(
    run, trained: Trained, bars: Path, words: str, named: str
) -> None:
    refused_command(run("eval", trained.folder, bars, *words.split()), named)
