"""Batches of clips: the same events as alone, and counts that equal binned events."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dvskit import Emulator, EmulatorParams, Events, emulate, tensors
from dvskit.emulator import emulate_batch
from dvskit.errors import ConfigError, ShapeError

NOISY = EmulatorParams(threshold_sigma=0.03, cutoff_hz=200.0, leak_hz=5.0, shot_hz=50.0)
T_US = np.arange(9) * 2500 + 700


def clips(count=3, shape=(17, 23), dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (count, len(T_US), *shape))
    return values.astype(dtype) if dtype == np.uint8 else (values / 255).astype(dtype)


@pytest.mark.parametrize("params", [EmulatorParams(), NOISY])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_clip_gives_the_same_events_in_a_batch_as_alone(params, dtype):
    batch = clips(dtype=dtype)
    found = emulate_batch(batch, T_US, params, seed=7)
    for number, clip in enumerate(batch):
        run = Emulator(params, 7 + number).start((23, 17))
        alone = [run.step(int(t), frame) for t, frame in zip(T_US, clip, strict=True)]
        assert found[number] == Events.concatenate(alone)
        assert len(found[number]) > 1000


def test_tensors_each_with_its_times_and_parameters_are_taken():
    batch = clips()
    times = np.stack([T_US, 2 * T_US, T_US + 5])
    params = [EmulatorParams(), NOISY, EmulatorParams(threshold_on=0.5)]
    found = emulate_batch(torch.from_numpy(batch), torch.from_numpy(times), params)
    frames = list(zip(times[2].tolist(), batch[2], strict=True))
    assert found[2] == Events.concatenate(emulate(frames, params[2], seed=2))


@pytest.mark.parametrize("params", [EmulatorParams(), NOISY])
@pytest.mark.parametrize(("bins", "bin_us"), [(1, 20_001), (7, 3000), (20_001, 1)])
def test_counting_equals_binning_the_events(params, bins, bin_us):
    batch = clips(shape=(5, 6))
    counted = tensors.bin_clips(batch, T_US, bins=bins, bin_us=bin_us, params=params, seed=2)
    assert counted.shape == (3, bins, 2, 5, 6)
    for number, events in enumerate(emulate_batch(batch, T_US, params, seed=2)):
        binned = tensors.bin_events(events, bins=bins, bin_us=bin_us, start_us=700)
        assert torch.equal(counted[number], binned)
        assert counted[number].sum() == len(events) > 0


def test_counts_outside_the_bins_are_refused_or_left_out():
    batch = clips()
    with pytest.raises(ShapeError, match="events are outside the 2 bins of 1000 us"):
        tensors.bin_clips(batch, T_US, bins=2, bin_us=1000)
    counted = tensors.bin_clips(batch, T_US, bins=2, bin_us=1000, outside="ignore")
    (events, *_) = emulate_batch(batch, T_US)
    assert counted[0].sum() == len(events.between(700, 2700)) > 0


def test_what_is_no_batch_is_refused():
    batch = clips()
    with pytest.raises(ShapeError, match=r"\(B, T, H, W\)"):
        emulate_batch(batch[0], T_US)
    with pytest.raises(ShapeError, match=r"\(9,\) or \(3, 9\)"):
        emulate_batch(batch, T_US[:-1])
    with pytest.raises(ShapeError, match="2 parameters for 3 clips"):
        emulate_batch(batch, T_US, [NOISY, NOISY])
    with pytest.raises(ConfigError, match="latency"):
        tensors.bin_clips(batch, T_US, bins=1, bin_us=9, params=EmulatorParams(latency_us=3))
