"""What the encoders promise: statistics, times, channels, and their peers."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from dvskit.encoders import (
    ReceptiveFields,
    decode_latency,
    decode_poisson,
    decode_rank_order,
    delta,
    latency,
    linear_latency,
    log_latency,
    poisson,
    signed_poisson,
    two_channels,
)
from dvskit.errors import ConfigError, ShapeError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_an_eighth_over_a_second_of_milliseconds_is_125_spikes_with_binomial_spread():
    counts = poisson(torch.full((100, 100), 0.125), 1000, generator=0).sum(0)
    spread = math.sqrt(1000 * 0.125 * 0.875)
    assert counts.mean().item() == pytest.approx(125, abs=5 * spread / 100)
    assert counts.std().item() == pytest.approx(spread, rel=0.04)


def test_spikes_of_different_steps_are_independent():
    spikes = poisson(torch.full((50_000,), 0.3), 2, generator=1)
    together = (spikes[0] * spikes[1]).mean().item()
    assert together == pytest.approx(0.09, abs=5 * math.sqrt(0.09 * 0.91 / 50_000))


def test_black_never_spikes_and_white_always_does():
    spikes = poisson(torch.tensor([0.0, 1.0]), 10_000, generator=2)
    assert spikes.sum(0).tolist() == [0, 10_000]


def test_black_does_not_spike_even_when_the_draw_is_exactly_zero(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, generator: self.zero_())
    assert poisson(torch.tensor([0.0, 1e-9]), 3, generator=2).sum(0).tolist() == [0, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_poisson_keeps_the_dtype_and_puts_time_first(dtype):
    spikes = poisson(torch.full((2, 1, 4, 5), 0.5, dtype=dtype), 7, generator=3)
    assert spikes.shape == (7, 2, 1, 4, 5)
    assert spikes.dtype == dtype
    assert set(spikes.unique().tolist()) == {0.0, 1.0}


def test_a_small_rate_keeps_its_chance_in_half_precision():
    image = torch.full((200_000,), 2.0**-10, dtype=torch.bfloat16)
    mean = 50 * 200_000 * 2.0**-10
    assert poisson(image, 50, generator=4).float().sum().item() == pytest.approx(
        mean, abs=5 * math.sqrt(mean)
    )


@pytest.mark.parametrize("encode", [poisson, signed_poisson])
def test_without_a_generator_spikes_follow_the_seed_of_torch(encode):
    image = torch.rand(8, 8, generator=seeded())
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first, second = encode(image, 20), encode(image, 20)
    assert torch.equal(first, encode(image, 20, generator=5))
    assert not torch.equal(first, second)


def test_a_seed_gives_the_same_spikes_and_a_generator_moves_on():
    image = torch.rand(8, 8, generator=seeded())
    assert torch.equal(poisson(image, 20, generator=5), poisson(image, 20, generator=5))
    assert torch.equal(poisson(image, 20, generator=5), poisson(image, 20, generator=seeded(5)))
    moving = seeded(5)
    first, second = poisson(image, 20, generator=moving), poisson(image, 20, generator=moving)
    assert not torch.equal(first, second)


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    poisson(torch.rand(8, 8, generator=seeded()), 20, generator=5)
    assert torch.equal(before, torch.get_rng_state())


def test_rates_agree_with_snntorch():
    spikegen = pytest.importorskip("snntorch.spikegen")
    image = torch.rand(40, generator=seeded())
    torch.manual_seed(0)
    steps = 20_000
    ours = poisson(image, steps, generator=6).mean(0)
    theirs = spikegen.rate(image, num_steps=steps).mean(0)
    assert (ours - theirs).abs().max().item() < 5 * math.sqrt(2 * 0.25 / steps)


def test_every_pixel_spikes_once_and_the_brighter_the_sooner():
    image = torch.rand(30, 30, generator=seeded())
    spikes = latency(image, 25)
    times = spikes.argmax(0).flatten()
    assert torch.equal(spikes.sum(0), torch.ones(30, 30))
    assert (times[image.flatten().argsort(descending=True)].diff() >= 0).all()


def test_white_spikes_first_and_black_last():
    spikes = latency(torch.tensor([1.0, 0.5, 0.0]), 11)
    assert spikes.argmax(0).tolist() == [0, 5, 10]


def test_log_latency_is_when_an_rc_membrane_reaches_the_threshold():
    image = torch.tensor([0.9, 0.5, 0.2, 0.11, 0.1, 0.0])
    spikes = latency(image, 60, law=partial(log_latency, tau=20.0, threshold=0.1))
    for pixel, value in enumerate(image.tolist()):
        fine = 1000
        v, crossed = 0.0, None
        for tick in range(60 * fine):
            if v >= 0.1 and crossed is None:
                crossed = tick / fine
            v += (value - v) / (20.0 * fine)
        wanted = [] if crossed is None or round(crossed) >= 60 else [round(crossed)]
        assert spikes[:, pixel].nonzero().flatten().tolist() == wanted


def test_a_time_beyond_the_window_is_no_spike_and_is_not_moved_to_the_end():
    spikes = latency(torch.tensor([0.0, 0.9]), 5, law=partial(linear_latency, tau=10.0))
    assert spikes.sum(0).tolist() == [0, 1]
    dark = partial(linear_latency, tau=4.0, threshold=0.5)
    assert latency(torch.tensor([0.4, 0.6]), 5, law=dark).sum(0).tolist() == [0, 1]


@pytest.mark.parametrize("linear", [True, False])
def test_latencies_equal_those_of_snntorch(linear):
    spikegen = pytest.importorskip("snntorch.spikegen")
    image = torch.rand(500, generator=seeded()) * 0.9 + 0.1
    ours = partial(linear_latency if linear else log_latency, tau=15.0, threshold=0.05)
    theirs = spikegen.latency(image, num_steps=20, tau=15.0, threshold=0.05, linear=linear)
    assert torch.equal(latency(image, 20, law=ours), theirs)


def test_signed_spikes_become_off_and_on_channels():
    spikes = torch.tensor([[[1.0, -1.0, 0.0]]])
    assert two_channels(spikes).tolist() == [[[[0, 1, 0]], [[1, 0, 0]]]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32, torch.bfloat16])
def test_channels_stand_before_height_and_width_and_give_the_spikes_back(dtype):
    spikes = torch.randint(0, 3, (4, 2, 5, 6), generator=seeded()).to(dtype)
    if dtype.is_signed:
        spikes = spikes - 1
    split = two_channels(spikes)
    assert split.shape == (4, 2, 2, 5, 6)
    assert split.dtype == dtype
    assert torch.equal(split[:, :, 1] - split[:, :, 0], spikes)
    assert not (split[:, :, 0] * split[:, :, 1]).any()


@pytest.mark.parametrize("encode", [partial(poisson, generator=0), latency])
def test_images_that_are_no_fractions_are_refused_with_the_mend(encode):
    with pytest.raises(ShapeError, match="/ 255"):
        encode(torch.zeros(2, 2, dtype=torch.uint8), 5)
    with pytest.raises(ConfigError, match=r"value 32 at \(1, 0\) is outside \[0, 1\]"):
        encode(torch.tensor([[0.5, 1.0], [32.0, -1.0]]), 5)
    with pytest.raises(ConfigError, match=r"value nan at .* torch\.nan_to_num"):
        encode(torch.tensor([math.nan]), 5)
    with pytest.raises(ConfigError, match="steps = 0"):
        encode(torch.zeros(2), 0)


def test_laws_and_channels_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="below 0"):
        latency(torch.rand(3, generator=seeded()), 5, law=lambda x: -x - 1)
    with pytest.raises(ShapeError, match="keep the shape"):
        latency(torch.rand(3, generator=seeded()), 5, law=lambda x: x[:2])
    with pytest.raises(ShapeError, match=r"not torch.float32 of shape \(3, 4\)"):
        two_channels(torch.zeros(3, 4))


@pytest.mark.parametrize("seed", ["1", 1.5, True, np.random.default_rng(0)], ids=str)
def test_what_is_neither_generator_nor_seed_is_refused(seed):
    image = torch.rand(2, 2)
    for encode in (poisson, signed_poisson):
        with pytest.raises(ConfigError, match=r"generator is .*a torch\.Generator or a seed"):
            encode(image, 5, generator=seed)
    with pytest.raises(ConfigError, match="outside"):
        poisson(image, 5, generator=2**64)
    assert torch.equal(poisson(image, 5, generator=np.int64(3)), poisson(image, 5, generator=3))


def test_laws_that_are_no_functions_of_values_are_refused_with_the_fix():
    image = torch.rand(2, 2)
    with pytest.raises(ConfigError, match=r"law is 'log', no function; take partial\(log_latency"):
        latency(image, 5, law="log")
    with pytest.raises(ConfigError, match=r"law is log_latency without its tau; take partial\("):
        latency(image, 5, law=log_latency)
    with pytest.raises(ConfigError, match=r"inverse is 5, no function; take partial\(log_value"):
        decode_latency(latency(image, 5), inverse=5)


def test_spikes_without_a_step_and_thresholds_of_text_are_refused():
    for decode in (decode_latency, decode_poisson, decode_rank_order):
        with pytest.raises(ShapeError, match="no time step"):
            decode(torch.zeros(0, 3))
    with pytest.raises(ConfigError, match=r"delta: threshold is '0\.1'; a number or a tensor"):
        delta(torch.rand(5), threshold="0.1")
    with pytest.raises(ConfigError, match=r"centres is 8, one number; .*spread\(neurons\)"):
        ReceptiveFields(8, 0.1)


def test_an_empty_batch_stays_empty():
    assert poisson(torch.zeros(0, 1, 4, 4), 5, generator=0).shape == (5, 0, 1, 4, 4)
    assert latency(torch.zeros(0, 1, 4, 4), 5).shape == (5, 0, 1, 4, 4)
