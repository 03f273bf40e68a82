"""Models see recordings of any sensor size, as the sensor that they take would have seen them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dvskit import evaluation, training
from dvskit.errors import FittedWarning
from dvskit.filters import Fit, Vary
from dvskit.formats import open_events, save_events
from dvskit.training import Config
from dvskit.training.sets import load_feed
from tests.bars import SIZE, blown_up, config_for, moving_bar, write_bars


@pytest.mark.parametrize("times", [2, 3, 8])
def test_blocks_of_pixels_that_fire_as_one_are_judged_as_that_one(trained, times: int) -> None:
    events = moving_bar(True, seed=50)
    words = f"the recording of {16 * times}x{16 * times} fitted to 16x16 .{times}x{times} pixels"
    with pytest.warns(FittedWarning, match=words):
        shares = evaluation.classify(trained.model, blown_up(events, times))
    assert shares == pytest.approx(evaluation.classify(trained.model, events), abs=1e-6)


def test_a_smaller_sensor_weighs_as_much_as_the_blocks_its_pixels_stand_for(trained) -> None:
    events = Fit((8, 8)).start(moving_bar(True, 50).sensor_size)(moving_bar(True, seed=50))
    with pytest.warns(FittedWarning, match="8x8 fitted to 16x16 .scaled by 2"):
        seen = evaluation.observe(trained.model, events)
    assert seen.weight == 4
    assert len(seen.events) == len(events.between(None, int(events.t[0]) + 9_000))
    assert (seen.events.x % 2 == 1).all()  # one of the middle pixels of a block


def test_a_folder_of_another_size_is_judged_and_said_once(trained, tmp_path: Path) -> None:
    small, large = write_bars(tmp_path / "small", 3), write_bars(tmp_path / "large", 3, times=2)
    with pytest.warns(FittedWarning) as given:
        result = evaluation.evaluate(trained.model, large, split="all")
    assert np.array_equal(
        result.confusion, evaluation.evaluate(trained.model, small, split="all").confusion
    )
    assert [str(each.message) for each in given] == [
        "6 recordings of 32x32 fitted to 16x16 (2x2 pixels to one); 0 of 6,720 events left out"
    ]


@pytest.mark.slow
def test_training_sees_recordings_of_other_sizes_as_if_they_had_the_networks(
    bars: Path, tmp_path: Path
) -> None:
    def loaded(folder: Path) -> Config:
        config = config_for(folder, tmp_path / "run")
        return replace(config, data=(replace(config.data[0], augment=Vary()),))

    large = write_bars(tmp_path / "large", 10, times=2)
    native = next(load_feed(loaded(bars)).validation["recordings"].epoch(0))
    feed = load_feed(loaded(large))
    fitted = next(feed.validation["recordings"].epoch(0))
    torch.testing.assert_close(fitted, native)
    assert feed.validation["recordings"].fitted == {(32, 32): (4, 0, 4_480)}
    with pytest.warns(FittedWarning, match="and others of its size of 32x32 fitted to 16x16"):
        counts, _ = next(feed.train.epoch(0))
    assert counts.shape == (6, 8, 2, 16, 16)
    assert float(counts.sum()) / 8 <= 280  # what a recording of 16x16 has
    config = replace(loaded(large), output=str(tmp_path / "made"))
    with pytest.warns(FittedWarning) as given:
        made = training.train(config)
    assert len(given) == 2  # of the training part, of the test
    assert made.results["recordings"].samples == 6


def test_a_size_that_is_only_inferred_is_taken_for_the_models_if_that_holds_it(
    trained, tmp_path: Path
) -> None:
    events = moving_bar(True, seed=50)
    save_events(events, tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join(["t,x,y,p", *lines[-len(events) :]]) + "\n")
    recording = open_events(tmp_path / "a.csv")
    assert recording.size != SIZE  # rows 0, 14 and 15 have no events
    shares = evaluation.classify(trained.model, events)
    assert evaluation.classify(trained.model, recording) == shares
    (tmp_path / "b.csv").write_text("t,x,y,p\n0,0,0,0\n9,19,3,1\n")
    with pytest.warns(FittedWarning, match=r"b.csv, its size inferred .* of 20x4 fitted"):
        evaluation.classify(trained.model, tmp_path / "b.csv")
