"""Runs that begin with the weights of another model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dvskit import training
from dvskit.errors import ConfigError, ModelError
from dvskit.training import Config, Trained
from dvskit.training.models import load_start, with_earlier_samples
from dvskit.training.toml_config import config_from, config_values
from tests.bars import config_for, write_bars
from tests.test_training import same, weights


def started(bars: Path, output: Path, start: str, rate: float) -> Config:
    config = config_for(bars, output, epochs=1)
    loop = replace(config.loop, learning_rate=rate, weight_decay=0.0, steps=1)
    return replace(config, start=start, loop=loop)


@pytest.mark.slow
def test_a_run_that_hardly_learns_ends_as_the_model_that_it_began_with(
    bars: Path, trained: Trained, tmp_path: Path
) -> None:
    first = started(bars, tmp_path / "a", str(trained.folder), 1e-30)
    again = training.train(first)
    assert same(weights(again.folder), weights(trained.folder))
    assert again.model.about["start"] == "bars"
    assert len(again.model.used) == len(trained.model.used)
    fresh = training.train(started(bars, tmp_path / "b", "", 1e-30))
    assert not same(weights(fresh.folder), weights(trained.folder))
    assert "start" not in fresh.model.about


def test_a_run_goes_on_from_its_checkpoint_and_not_from_its_start(
    bars: Path, trained: Trained, tmp_path: Path
) -> None:
    config = started(bars, tmp_path / "run", str(trained.folder), 0.02)
    once = weights(training.train(config).folder)
    assert not same(once, weights(trained.folder))
    assert same(weights(training.train(config).folder), once)


def test_a_start_is_written_to_the_configuration_only_where_there_is_one(
    bars: Path, tmp_path: Path
) -> None:
    config = config_for(bars, tmp_path)
    assert "start" not in config_values(config)
    named = replace(config, start="nmnist-signed-lif")
    assert config_from(config_values(named)) == named


def test_a_model_that_learned_from_what_a_run_is_judged_by_is_no_start(
    bars: Path, trained: Trained, tmp_path: Path
) -> None:
    config = replace(started(bars, tmp_path / "run", str(trained.folder), 0.02), seed=4)
    with pytest.raises(ConfigError, match=r"learned from \d+ of the recordings .* such as") as got:
        training.train(config)
    assert "\n" not in str(got.value)
    assert not (tmp_path / "run").exists()


def test_recordings_that_the_start_alone_was_trained_on_stay_trained_on(
    trained: Trained, tmp_path: Path
) -> None:
    write_bars(tmp_path / "others", 10)
    used = trained.model.used
    assert with_earlier_samples(trained.model, used) == used
    added = with_earlier_samples(trained.model, used[:0])
    assert [row.fingerprint for row in added] == [
        row.fingerprint for row in used if row.part != "test"
    ]
    assert {row.part for row in added} == {"train"}
    assert with_earlier_samples(None, used) == used


def test_a_start_of_another_network_is_said(bars: Path, trained: Trained, tmp_path: Path) -> None:
    config = started(bars, tmp_path / "run", str(trained.folder), 0.02)
    wider = replace(config, network=replace(config.network, channels=(4, 6)))
    with pytest.raises(ConfigError, match="its network is another one") as got:
        training.train(wider)
    assert "\n" not in str(got.value)
    with pytest.raises(ConfigError, match="its network is another one"):
        training.train(replace(config, start="nmnist-signed-lif"))
    with pytest.raises(ModelError, match="neither a model folder nor a shipped model"):
        training.train(replace(config, start="nothing"))
    module = config.network.build()
    load_start(module, trained.model, trained.model.classes)
    assert all(map(torch.equal, module.state_dict().values(), weights(trained.folder).values()))
