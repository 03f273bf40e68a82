"""What the codes of still values promise: rates, latencies, ranks, populations, and back."""

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
    decode_population,
    decode_rank_order,
    latency,
    linear_latency,
    linear_value,
    log_latency,
    log_value,
    poisson,
    population,
    population_latency,
    rank_order,
    signed_poisson,
    two_channels,
)
from dvskit.errors import ConfigError, ShapeError
from tests.laws import refused

ENCODE = {
    "poisson": partial(poisson, generator=0),
    "signed_poisson": partial(signed_poisson, generator=0),
    "latency": latency,
    "rank_order": rank_order,
    "population": lambda x, steps: population_latency(x, ReceptiveFields.spread(4), steps)[..., 0],
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def image(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=seeded(seed), dtype=dtype)


# --- all of them ---


@pytest.mark.parametrize("name", ENCODE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_time_comes_first_and_the_dtype_is_kept(name, dtype):
    encode, values = ENCODE[name], image(2, 3, 4).to(dtype).requires_grad_()
    spikes = encode(values, 6)
    assert (spikes.shape, spikes.dtype) == ((6, 2, 3, 4), dtype)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    assert not spikes.requires_grad
    assert torch.equal(encode(values.transpose(1, 2).contiguous().transpose(1, 2), 6), spikes)
    assert encode(values[:0], 5).shape == (5, 0, 3, 4)


OUTSIDE = {"poisson": 32.0, "signed_poisson": -1.5, "latency": 32.0}


@pytest.mark.parametrize("name", ENCODE)
def test_images_that_are_no_fractions_are_refused(name):
    encode = ENCODE[name]
    with refused(ShapeError, "torch.uint8"):
        encode(torch.zeros(2, 2, dtype=torch.uint8), 5)
    with refused(ConfigError, "nan", "(1, 0)"):
        encode(torch.tensor([[0.5, 1.0], [math.nan, 0.0]]), 5)
    with refused(ConfigError, "steps = 0"):
        encode(torch.zeros(2, 2), 0)
    if name in OUTSIDE:
        with refused(ConfigError, f"{OUTSIDE[name]:g}", "(1, 0)"):
            encode(torch.tensor([[0.5, 1.0], [OUTSIDE[name], 0.0]]), 5)


# --- rates ---


def test_an_eighth_over_a_second_of_milliseconds_is_125_spikes_with_binomial_spread():
    counts = poisson(torch.full((100, 100), 0.125), 1000, generator=0).sum(0)
    spread = math.sqrt(1000 * 0.125 * 0.875)
    assert counts.mean().item() == pytest.approx(125, abs=5 * spread / 100)
    assert counts.std().item() == pytest.approx(spread, rel=0.04)
    spikes = poisson(torch.full((50_000,), 0.3), 2, generator=1)  # independent from step to step
    together = (spikes[0] * spikes[1]).mean().item()
    assert together == pytest.approx(0.09, abs=5 * math.sqrt(0.09 * 0.91 / 50_000))


def test_black_never_spikes_and_white_always_does(monkeypatch):
    spikes = poisson(torch.tensor([0.0, 1.0]), 10_000, generator=2)
    assert spikes.sum(0).tolist() == [0, 10_000]
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, generator: self.zero_())
    assert poisson(torch.tensor([0.0, 1e-9]), 3, generator=2).sum(0).tolist() == [0, 3]


def test_a_small_rate_keeps_its_chance_in_half_precision():
    values = torch.full((200_000,), 2.0**-10, dtype=torch.bfloat16)
    mean = 50 * 200_000 * 2.0**-10
    total = poisson(values, 50, generator=4).float().sum().item()
    assert total == pytest.approx(mean, abs=5 * math.sqrt(mean))


@pytest.mark.parametrize("encode", [poisson, signed_poisson])
def test_a_seed_gives_the_same_spikes_and_generators_move_on(encode):
    values = image(8, 8)
    expected = encode(values, 20, generator=5)
    before = torch.get_rng_state()
    for same in (5, np.int64(5), seeded(5)):
        assert torch.equal(encode(values, 20, generator=same), expected)
    assert torch.equal(before, torch.get_rng_state())
    moving = seeded(5)
    encode(values, 20, generator=moving)
    assert not torch.equal(encode(values, 20, generator=moving), expected)
    with torch.random.fork_rng():  # without a generator it is torch's own
        torch.manual_seed(5)
        assert torch.equal(encode(values, 20), expected)
        assert not torch.equal(encode(values, 20), expected)
    for wrong in ("1", 1.5, True, np.random.default_rng(0)):
        with refused(ConfigError, "generator"):
            encode(values, 5, generator=wrong)
    with refused(ConfigError, 2**64):
        encode(values, 5, generator=2**64)


def test_signed_spikes_have_the_sign_of_the_value_and_the_rate_of_its_size():
    values = torch.linspace(-1, 1, 9)
    spikes = signed_poisson(values, 4000, generator=0)
    assert set(spikes.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert (decode_poisson(spikes) - values).abs().max() < 5 * 0.5 / math.sqrt(4000)
    assert spikes[:, [0, 4, 8]].mean(0).tolist() == [-1, 0, 1]
    assert torch.equal(spikes.abs(), poisson(values.abs(), 4000, generator=0))
    assert torch.equal(signed_poisson(-values, 4000, generator=0), -spikes)
    assert decode_poisson(torch.tensor([[1, 0], [1, 1]])).tolist() == [1.0, 0.5]


# --- latencies ---


def test_every_pixel_spikes_once_and_the_brighter_the_sooner():
    values = image(30, 30)
    spikes = latency(values, 25)
    times = spikes.argmax(0).flatten()
    assert (spikes.sum(0) == 1).all()
    assert (times[values.flatten().argsort(descending=True)].diff() >= 0).all()
    assert latency(torch.tensor([1.0, 0.5, 0.0]), 11).argmax(0).tolist() == [0, 5, 10]


def test_log_latency_is_when_an_rc_membrane_reaches_the_threshold():
    values = torch.tensor([0.9, 0.5, 0.2, 0.11, 0.1, 0.0])
    spikes = latency(values, 60, law=partial(log_latency, tau=20.0, threshold=0.1))
    for pixel, value in enumerate(values.tolist()):
        fine = 200
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


def test_linear_latencies_decode_to_half_a_step():
    values = image(20, 30)
    decoded = decode_latency(latency(values, 41))
    assert (decoded - values).abs().max() <= 0.5 / 40 + 1e-12
    assert torch.equal(latency(decoded, 41), latency(values, 41))


def test_logarithmic_latencies_decode_to_the_values_of_their_steps():
    law = {"tau": 20.0, "threshold": 0.1}
    values = image(500) * 0.88 + 0.12
    spikes = latency(values, 80, law=partial(log_latency, **law))
    assert spikes.sum(0).all()
    decoded = decode_latency(spikes, inverse=partial(log_value, **law))
    assert torch.equal(latency(decoded, 80, law=partial(log_latency, **law)), spikes)
    times = torch.linspace(1, 50, 20, dtype=torch.float64)
    assert log_latency(log_value(times, **law), **law).numpy() == pytest.approx(times.numpy())


def test_the_first_spike_counts_and_none_is_zero():
    spikes = torch.tensor([[0, 0, 0], [0, 1, 0], [-1, 1, 0]])
    assert decode_latency(spikes).tolist() == [0.0, 0.5, 0.0]
    spikes = torch.tensor([[0, 0], [0, -3], [5, 1]])
    decoded = decode_latency(spikes, inverse=partial(linear_value, tau=4.0))
    assert decoded.tolist() == [0.5, 0.75]
    assert decode_latency(torch.ones(1, 4)).tolist() == [1, 1, 1, 1]
    assert decode_latency(torch.zeros(3, 0, 2)).shape == (0, 2)


@pytest.mark.parametrize(
    ("kind", "call", "named"),
    [
        (ConfigError, lambda x: latency(x, 5, law=lambda x: -x - 1), "below 0"),
        (ShapeError, lambda x: latency(x, 5, law=lambda x: x[:2]), "(3,)"),
        (TypeError, lambda x: latency(x, 5, law=log_latency), "tau"),
        (ShapeError, lambda x: decode_latency(torch.zeros(0, 3)), "decode_latency"),
        (ShapeError, lambda x: decode_poisson(torch.zeros(0, 3)), "decode_poisson"),
        (ShapeError, lambda x: decode_rank_order(torch.zeros(0, 3)), "decode_rank_order"),
    ],
)
def test_laws_and_spikes_that_cannot_be_are_refused(kind, call, named):
    with refused(kind, named):
        call(torch.tensor([0.2, 0.5, 0.9]))


# --- channels ---


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
    with refused(ShapeError, "(3, 4)"):
        two_channels(torch.zeros(3, 4))


# --- ranks ---


def rank_twin(values, steps, silent):
    """One sample, from the definition."""
    spiking = [k for k in range(len(values)) if silent is None or values[k] > silent]
    order = sorted(spiking, key=lambda k: (-values[k], k))
    times = [None] * len(values)
    for rank, k in enumerate(order):
        times[k] = rank if len(order) <= steps else rank * steps // len(order)
    return times


@pytest.mark.parametrize(("steps", "silent"), [(1, None), (3, 0.0), (12, 0.5), (20, None)])
def test_ranks_are_those_of_a_plain_twin(steps, silent):
    values = torch.randint(0, 6, (7, 3, 4), generator=seeded(steps)) / 5.0  # many are equal
    spikes = rank_order(values, steps, silent=silent)
    for sample in range(7):
        wanted = rank_twin(values[sample].flatten().tolist(), steps, silent)
        for pixel, time in enumerate(wanted):
            found = spikes[:, sample].flatten(1)[:, pixel].nonzero().flatten().tolist()
            assert found == ([] if time is None else [time])


def test_only_the_order_counts_and_each_sample_has_so_many_dimensions():
    values = image(6, 50)
    spikes = rank_order(values, 50, dims=1)
    assert torch.equal(rank_order(torch.exp(3 * values) - 7, 50, dims=1), spikes)
    cube = image(4, 5, 6)
    assert torch.equal(
        rank_order(cube, 9, dims=3).flatten(1), rank_order(cube.flatten(), 9, dims=1)
    )


@pytest.mark.parametrize(("steps", "silent"), [(4, None), (12, 0.0), (30, None)])
def test_decoded_ranks_encode_the_same_again(steps, silent):
    values = torch.randint(0, 9, (5, 3, 4), generator=seeded(3)) / 8.0
    spikes = rank_order(values, steps, silent=silent)
    decoded = decode_rank_order(spikes)
    assert ((decoded >= 0) & (decoded < 1)).all()
    assert torch.equal(rank_order(decoded, steps, silent=silent), spikes)


def test_ranks_come_back_as_even_values_or_those_of_a_table():
    values = ((torch.randperm(64, generator=seeded()) + 0.5) / 64).reshape(8, 8)
    assert decode_rank_order(rank_order(values, 64)).numpy() == pytest.approx(values.numpy())
    few = decode_rank_order(rank_order(values, 16))
    assert (few - values).abs().max() <= 0.5 / 16
    spikes = rank_order(torch.tensor([0.2, 0.9, 0.0]), 3, dims=1, silent=0.0)
    decoded = decode_rank_order(spikes, table=torch.tensor([0.8, 0.3, 0.1]))
    assert decoded.tolist() == pytest.approx([0.3, 0.8, 0.0])
    with refused(ShapeError, "(2,)", "3 steps"):
        decode_rank_order(spikes, table=torch.ones(2))


def test_values_that_have_no_rank_are_refused():
    with refused(ShapeError, "dims=1"):
        rank_order(torch.zeros(5), 3)
    with refused(ConfigError, "dims = 0"):
        rank_order(torch.zeros(5), 3, dims=0)
    assert rank_order(torch.zeros(2, 0, 4), 3).shape == (3, 2, 0, 4)


# --- populations ---


def test_fields_stand_where_bohte_put_them():
    fields = ReceptiveFields.spread(8, -3.0, 6.0)
    centers = [-3.0 + (2 * i - 3) / 2 * (6.0 + 3.0) / (8 - 2) for i in range(1, 9)]
    assert fields.centers == pytest.approx(centers)
    assert fields.width == pytest.approx((6.0 + 3.0) / (8 - 2) / 1.5)


def test_a_neuron_responds_most_at_its_center_and_falls_off_as_a_gaussian():
    fields = ReceptiveFields((0.0, 0.5, 1.0), 0.2)
    responses = population(torch.tensor([[0.5, 0.7]], dtype=torch.float64), fields)
    assert responses.shape == (1, 2, 3)
    wanted = [math.exp(-((0.7 - c) ** 2) / (2 * 0.2**2)) for c in fields.centers]
    assert responses[0, 1].tolist() == pytest.approx(wanted, abs=1e-15)
    assert responses[0, 0, 1] == 1


def test_exact_responses_give_the_value_back():
    for fields in (ReceptiveFields.spread(5, -2.0, 2.0), ReceptiveFields((-2.0, 0.1, 1.0), 0.9)):
        values = image(10, 10) * 4 - 2
        assert decode_population(population(values, fields), fields).numpy() == pytest.approx(
            values.numpy(), abs=1e-12
        )
        small = values.to(torch.float32)
        assert (decode_population(population(small, fields), fields) - small).abs().max() < 1e-4
    one, between, none = decode_population(
        torch.tensor([[0.0, 0.0, 0.4], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]),
        ReceptiveFields((0.0, 0.5, 1.0), 0.1),
    ).tolist()
    assert (one, between) == (1.0, 0.5)
    assert math.isnan(none)


@pytest.mark.parametrize(
    ("neurons", "steps", "worst"), [(8, 21, 0.012), (8, 51, 0.005), (5, 21, 0.025)]
)
def test_latencies_of_a_population_decode_within_the_stated_error(neurons, steps, worst):
    fields = ReceptiveFields.spread(neurons, -1.0, 1.0)
    values = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    spikes = population_latency(values, fields, steps)
    assert spikes.shape == (steps, 2001, neurons)
    # Responses below a tenth do not spike, as Bohte has it.
    assert torch.equal(spikes.sum(0) == 1, population(values, fields) >= 0.1)
    decoded = decode_population(decode_latency(spikes), fields)
    assert worst / 2 < (decoded - values).abs().max() < worst


def test_populations_keep_dtypes_and_gradients():
    fields = ReceptiveFields.spread(6)
    values = image(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: population(x, fields), (values,))
    assert torch.autograd.gradcheck(
        lambda x: decode_population(population(x, fields), fields), (values,)
    )
    for dtype in (torch.bfloat16, torch.float32):
        responses = population(values.detach().to(dtype), fields)
        assert responses.dtype == decode_population(responses, fields).dtype == dtype
    assert population(torch.zeros(0, 3), fields).shape == (0, 3, 6)


@pytest.mark.parametrize(
    ("kind", "call", "named"),
    [
        (ConfigError, lambda: ReceptiveFields.spread(2), "neurons = 2"),
        (ConfigError, lambda: ReceptiveFields.spread(5, 1.0, 1.0), "high = 1"),
        (ConfigError, lambda: ReceptiveFields.spread(5, beta=0.0), "beta = 0"),
        (ConfigError, lambda: ReceptiveFields((0.0, math.inf), 1.0), "centers"),
        (ConfigError, lambda: ReceptiveFields((1.0, 1.0), 1.0), "centers"),
        (ConfigError, lambda: ReceptiveFields((0.0,), 0.0), "width = 0.0"),
        (ConfigError, lambda: population(torch.tensor([math.nan]), ReceptiveFields((0.0,), 1.0)),
         "nan"),
        (ConfigError, lambda: decode_population(torch.tensor([-0.5, 0.0, 1.0]),
                                                ReceptiveFields.spread(3)), "response"),
        (ShapeError, lambda: decode_population(torch.zeros(4, 2), ReceptiveFields.spread(3)),
         "(4, 2)"),
        (ShapeError, lambda: population(torch.tensor([1]), ReceptiveFields.spread(3)),
         "torch.int64"),
    ],
)  # fmt: skip
def test_fields_and_responses_that_cannot_be_are_refused(kind, call, named):
    with refused(kind, named):
        call()
