"""Networks of points are trained, judged and asked as networks of tensors are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dvskit import evaluation, training
from dvskit.datasets import open_samples
from dvskit.errors import ArgumentError, ConfigError
from dvskit.filters import Vary
from dvskit.networks import ConvLIF, PointNet, write_onnx_step
from dvskit.training import Config, InputConfig, LoopConfig
from dvskit.training.feed import load_feed
from dvskit.training.inputs import encode_of, input_of
from tests.bars import bars, config_for  # noqa: F401 (bars is a fixture)

NETWORK = PointNet(width=16, height=16, classes=2, widths=(16, 32), hidden=16, dropout=0.0)
INPUT = InputConfig(bins=6, bin_us=1_500, representation="point_set", points=64)


def points_config(folder: Path, output: Path) -> Config:
    config = config_for(folder, output)
    loop = LoopConfig(epochs=6, steps=20, learning_rate=0.01)
    (entry,) = config.data
    data = (replace(entry, count=16, augment=Vary()),)
    return replace(config, network=NETWORK, input=INPUT, loop=loop, data=data)


@pytest.mark.slow
def test_a_network_of_points_learns_and_its_model_says_all(
    bars: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    trained = training.train(points_config(bars, tmp_path / "run"))
    assert trained.results["recordings"].accuracy >= 0.9
    model = training.load_model(tmp_path / "run")
    assert model.network == NETWORK
    assert model.input == INPUT
    again = evaluation.evaluate(model, bars)
    assert again.accuracy == trained.results["recordings"].accuracy
    samples = open_samples(bars)
    events = samples.events(0)
    assert evaluation.classify(model, events) == evaluation.classify(model, events)
    later = type(events)(t=events.t + 123_456, x=events.x, y=events.y, p=events.p, size=events.size)
    assert evaluation.classify(model, later) == evaluation.classify(model, events)
    labelled = evaluation.classify_spans(model, events)
    assert len(labelled.name) >= 1


def test_points_are_drawn_anew_in_training_and_never_in_judging(
    bars: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    feed = load_feed(points_config(bars, tmp_path / "run"))
    first = [next(feed.train.epoch(0))[0] for _ in range(2)]
    assert first[0].shape == (64, 16, 4)
    assert torch.equal(*first)
    judged = [next(feed.test["recordings"].epoch(k))[0] for k in (0, 1)]
    assert torch.equal(*judged)
    wide = replace(points_config(bars, tmp_path / "run").data[0], count=1, limit=2)
    one = load_feed(replace(points_config(bars, tmp_path / "run"), data=(wide,)))
    clouds = [tensor for epoch in (0, 1) for tensor, _ in one.train.epoch(epoch)]
    assert len({tuple(cloud.flatten().tolist()) for cloud in clouds}) > 2  # of two recordings


def test_the_window_is_that_of_the_bins() -> None:
    from tests.test_tensors_points import numbered

    events = numbered(1_000)  # one a microsecond
    given = replace(INPUT, bins=4, bin_us=100, points=2_000)
    cloud = input_of(given, events, None)
    assert cloud.shape == (2_000, 4)
    assert 0.99 < float(cloud[:, 2].max()) < 1
    assert int((cloud[:, 2] * 400).round().max()) == 399


def test_what_takes_no_points_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="network 'point-net' takes points; set it to 'point_set"):
        Config(network=NETWORK)
    with pytest.raises(ConfigError, match="network 'conv-lif' takes tensors of bins; name another"):
        Config(network=ConvLIF(), input=INPUT)
    with pytest.raises(ConfigError, match=r"input.points = 0 is not above 0"):
        Config(network=NETWORK, input=replace(INPUT, points=0))
    with pytest.raises(ConfigError, match="a network of points takes only recordings"):
        encode_of("poisson", INPUT, (16, 16))
    with pytest.raises(ArgumentError, match="path"):
        write_onnx_step(NETWORK.build(), 3)  # type: ignore[arg-type]
