"""A tiny data set of bars that move left or right, and a network that was trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dvskit.events import Events
from dvskit.formats import save_events

if TYPE_CHECKING:
    from dvskit.training import Config, Trained

SIZE = (16, 16)


def moving_bar(rightwards: bool, seed: int) -> Events:
    """A vertical bar that crosses the sensor in 8 ms: ON where it comes, OFF where it leaves."""
    rng = np.random.default_rng(seed)
    steps = np.arange(14)
    t = np.repeat(steps * 600, 20) + np.sort(rng.integers(0, 600, (14, 20)), axis=1).ravel()
    ahead = np.tile(np.arange(20) % 2 == 0, 14)
    at = np.repeat(steps, 20) + ahead
    x = at if rightwards else SIZE[0] - 1 - at
    return Events(t=t, x=x, y=rng.integers(2, 14, 280), p=ahead, size=SIZE)


def blown_up(events: Events, times: int) -> Events:
    """The events on a sensor so many times as wide and high: of each pixel of a block at once."""
    count = times**2
    offset = np.tile(np.arange(count), len(events))
    return Events(
        t=np.repeat(events.t, count),
        x=np.repeat(events.x, count) * times + offset % times,
        y=np.repeat(events.y, count) * times + offset // times,
        p=np.repeat(events.p, count),
        size=(events.sensor_size.width * times, events.sensor_size.height * times),
    )


def write_bars(root: Path, count: int, times: int = 1) -> Path:
    """Write <root>/left and <root>/right, of `count` recordings each."""
    for label in ("left", "right"):
        (root / label).mkdir(parents=True)
        for k in range(count):
            events = moving_bar(label == "right", seed=k)
            save_events(blown_up(events, times), root / label / f"{k}.npz")
    return root


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars"), 10)


def config_for(bars: Path, output: Path, epochs: int = 2) -> Config:
    from dvskit.filters import Vary
    from dvskit.models import InputConfig
    from dvskit.networks import ConvLIF
    from dvskit.training import Config, LoopConfig, RecordingData

    return Config(
        name="bars",
        seed=3,
        output=str(output),
        network=ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3),
        input=InputConfig(bins=6, bin_us=1_500),
        data=(
            RecordingData(
                path=str(bars),
                count=8,
                validation=0.2,
                test=0.3,
                augment=Vary(shift_px=1.0, rotate_deg=5.0, zoom=0.05, drop=0.2),
            ),
        ),
        loop=LoopConfig(epochs=epochs, steps=6, learning_rate=0.02),
    )


@pytest.fixture(scope="session")
def trained(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from dvskit import training

    return training.train(config_for(bars, tmp_path_factory.mktemp("run") / "bars"))
