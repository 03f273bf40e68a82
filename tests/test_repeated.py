"""Runs that keep the layers before the first dense one, and repeat their first epochs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dvskit.errors import ConfigError
from dvskit.networks import Layered
from dvskit.training import Config, LoopConfig, Progress, Trained, sets, train
from dvskit.training.labels import FixedLayers
from dvskit.training.sets import RepeatedEpochs, load_feed
from tests.bars import config_for
from tests.laws import refused

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def network() -> torch.nn.Module:
    torch.manual_seed(2)
    convolutions = ("T2", "4C3", "tdbn", "relu", "P2", "6C3", "tdbn", "lif")
    layers = (*convolutions, "D0.5", "8", "lif", "2", "max")
    return Layered(layers=layers, width=16, height=16, classes=2).build()


def test_the_fixed_layers_and_the_rest_are_the_whole():
    module = network().eval()
    given = torch.rand(5, 3, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = module(given)
        parts = FixedLayers(module)
        assert parts.first is not None
        assert torch.equal(parts.rest(parts.first(given)), whole)
    learned = {name for name, each in module.named_parameters() if each.requires_grad}
    assert {name.partition(".")[0] for name in learned} == {"dense1", "dense2"}
    module.train()
    parts.set_evaluation()
    modes = {name: part.training for name, part in module.named_children()}
    assert not modes["norm2"]
    assert modes["dropout1"]
    assert modes["dense1"]


def test_a_module_of_another_kind_is_run_whole_with_its_first_layers_fixed():
    nn = torch.nn
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    parts = FixedLayers(module)
    assert parts.first is None
    assert parts.rest is module
    module.train()
    parts.set_evaluation()
    assert [each.training for each in module] == [False, False, True, True]
    assert [each.requires_grad for each in module.parameters()] == [False] * 4 + [True] * 2


@pytest.mark.slow
@pytest.mark.parametrize("kept_bytes", [1 << 30, 0])
def test_later_epochs_repeat_the_first_ones_whether_they_are_kept_or_not(
    bars: Path, tmp_path: Path, monkeypatch, kept_bytes: int
):
    monkeypatch.setattr(sets, "_REPEATED_BYTES", kept_bytes)  # else a large run would be needed
    feed = load_feed(config_for(bars, tmp_path / "run"))
    first = FixedLayers(network().eval()).first
    assert first is not None
    every = RepeatedEpochs(feed.train, 2, first, torch.device("cpu"))
    seen = [list(every.epoch(number)) for number in range(5)]
    for number, batches in enumerate(seen):
        drawn = list(feed.train.epoch(number % 2))
        assert len(batches) == len(drawn)
        for (outputs, labels), (counts, own) in zip(batches, drawn, strict=True):
            with torch.no_grad():
                assert torch.equal(outputs, first(counts.float()).half())
            assert torch.equal(labels, own)
    rest = list(every.epoch(3, first=1))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(rest, seen[1][1:], strict=True))
    plain = RepeatedEpochs(feed.train, 0, None, torch.device("cpu"))
    assert all(
        torch.equal(a, b)
        for (a, _), (b, _) in zip(plain.epoch(3), feed.train.epoch(3), strict=True)
    )


def dense(trained: Trained, output: Path, bars: Path) -> Config:
    config = replace(config_for(bars, output), start=str(trained.folder), seed=9)
    loop = LoopConfig(epochs=4, steps=3, trained_layers="dense", drawn_epochs=2, keep="last")
    data = tuple(replace(each, test=0.0, validation=0.0) for each in config.data)
    return replace(config, data=data, loop=loop, network=trained.model.network)


@pytest.mark.slow(seconds=8)
def test_an_interrupted_run_that_repeats_epochs_ends_with_the_same_weights(
    trained: Trained, bars: Path, tmp_path: Path
):
    whole = train(dense(trained, tmp_path / "whole", bars))

    def stop(now: Progress) -> None:
        if now.step == 9:  # after the first epoch that comes again
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dense(trained, tmp_path / "run", bars), progress=stop)
    again = train(dense(trained, tmp_path / "run", bars))
    before = trained.model.module.state_dict()
    for key, value in whole.model.module.state_dict().items():
        assert torch.equal(value, again.model.module.state_dict()[key])
    same = [key for key, value in before.items()
            if torch.equal(value, whole.model.module.state_dict()[key])]  # fmt: skip
    assert 0 < len(same) < len(before)


def test_settings_that_need_a_start_or_make_no_sense_are_refused(bars: Path, tmp_path: Path):
    config = config_for(bars, tmp_path / "run")
    with refused(ConfigError, "start"):
        replace(config, loop=replace(config.loop, trained_layers="dense"))
    for wrong in ({"trained_layers": "some"}, {"drawn_epochs": -1}):
        with refused(ConfigError, *wrong, *wrong.values()):
            LoopConfig(**wrong)
