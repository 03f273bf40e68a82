"""What the codes of still values promise: signed rates, ranks, populations, and their decoders."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from dvskit.encoders import (
    ReceptiveFields,
    decode_latency,
    decode_poisson,
    decode_population,
    decode_rank_order,
    latency,
    linear_value,
    log_latency,
    log_value,
    poisson,
    population,
    population_latency,
    rank_order,
    signed_poisson,
)
from dvskit.errors import ConfigError, ShapeError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def image(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=seeded(seed), dtype=dtype)


# --- rates ---


def test_signed_spikes_have_the_sign_of_the_value_and_the_rate_of_its_size():
    values = torch.linspace(-1, 1, 9)
    spikes = signed_poisson(values, 4000, generator=0)
    assert set(spikes.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert (spikes * values.sign() >= 0).all()
    assert (decode_poisson(spikes) - values).abs().max() < 5 * 0.5 / math.sqrt(4000)
    assert spikes[:, [0, 4, 8]].mean(0).tolist() == [-1, 0, 1]


def test_signed_spikes_are_those_of_the_sizes_with_the_same_seed():
    values = image(5, 6, seed=1) * 2 - 1
    signed = signed_poisson(values, 50, generator=7)
    assert torch.equal(signed.abs(), poisson(values.abs(), 50, generator=7))
    assert torch.equal(signed_poisson(-values, 50, generator=7), -signed)


def test_a_rate_that_changes_with_time_is_one_step_of_many_values():
    rates = torch.tensor([0.0, 1.0, 0.0, 1.0])[:, None].expand(4, 3)
    assert torch.equal(poisson(rates, 1, generator=0)[0], rates)


def test_decoded_rates_err_as_said():
    values = image(100, 100)
    decoded = decode_poisson(poisson(values, 400, generator=2))
    wanted = (values * (1 - values) / 400).mean().sqrt()
    assert (decoded - values).square().mean().sqrt() == pytest.approx(wanted.item(), rel=0.03)
    assert decode_poisson(torch.tensor([[1, 0], [1, 1]])).tolist() == [1.0, 0.5]
    with pytest.raises(ShapeError, match="no time step"):
        decode_poisson(torch.zeros(0, 3))


# --- latencies ---


def test_linear_latencies_decode_to_half_a_step():
    values = image(20, 30)
    decoded = decode_latency(latency(values, 41))
    assert (decoded - values).abs().max() <= 0.5 / 40 + 1e-12
    assert torch.equal(latency(decoded, 41), latency(values, 41))


@pytest.mark.slow
def test_logarithmic_latencies_decode_to_the_values_of_their_steps():
    law = {"tau": 20.0, "threshold": 0.1}
    values = image(500) * 0.88 + 0.12
    spikes = latency(values, 80, law=partial(log_latency, **law))
    assert spikes.sum(0).all()
    decoded = decode_latency(spikes, inverse=partial(log_value, **law))
    later, sooner = (
        log_value(spikes.argmax(0) + away, **law).clamp(max=1) for away in (0.5, -0.5 + 1e-9)
    )
    late = spikes.argmax(0) > 0
    assert (later <= values + 1e-9).all()
    assert (values <= torch.where(late, sooner, 1.0) + 1e-6).all()
    assert ((later <= decoded) & (decoded <= 1)).all()
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


# --- ranks ---


def rank_twin(values, steps, silent):
    """One sample, from the definition."""
    spiking = [k for k in range(len(values)) if silent is None or values[k] > silent]
    order = sorted(spiking, key=lambda k: (-values[k], k))
    times = [None] * len(values)
    for rank, k in enumerate(order):
        times[k] = rank if len(order) <= steps else rank * steps // len(order)
    return times


@pytest.mark.parametrize("steps", [1, 3, 12, 20])
@pytest.mark.parametrize("silent", [None, 0.0, 0.5])
def test_ranks_are_those_of_a_plain_twin(steps, silent):
    values = torch.randint(0, 6, (7, 3, 4), generator=seeded(steps)) / 5.0  # many are equal
    spikes = rank_order(values, steps, silent=silent)
    assert spikes.shape == (steps, 7, 3, 4)
    for sample in range(7):
        wanted = rank_twin(values[sample].flatten().tolist(), steps, silent)
        for pixel, time in enumerate(wanted):
            found = spikes[:, sample].flatten(1)[:, pixel].nonzero().flatten().tolist()
            assert found == ([] if time is None else [time])


def test_the_largest_spikes_first_and_only_the_order_counts():
    values = image(6, 50)
    spikes = rank_order(values, 50, dims=1)
    assert (spikes.sum(-1) == 1).all()  # one value a step in each sample
    times = spikes.argmax(0)
    assert torch.equal(
        times.gather(1, values.argsort(1, descending=True)), torch.arange(50).expand(6, 50)
    )
    assert torch.equal(rank_order(torch.exp(3 * values) - 7, 50, dims=1), spikes)


def test_samples_are_ranked_apart():
    values = image(4, 5, 6)
    together = rank_order(values, 9)
    for sample in range(4):
        assert torch.equal(together[:, sample], rank_order(values[sample], 9))
    assert torch.equal(
        rank_order(values, 9, dims=3).flatten(1), rank_order(values.flatten(), 9, dims=1)
    )


@pytest.mark.parametrize("steps", [4, 12, 30])
@pytest.mark.parametrize("silent", [None, 0.0])
def test_the_order_is_kept_in_decoded_ranks_which_encode_the_same_again(steps, silent):
    values = torch.randint(0, 9, (5, 3, 4), generator=seeded(3)) / 8.0
    spikes = rank_order(values, steps, silent=silent)
    decoded = decode_rank_order(spikes)
    flat, back = values.flatten(1), decoded.flatten(1)
    larger = flat[:, :, None] > flat[:, None, :]
    assert (back[:, :, None] >= back[:, None, :])[larger].all()
    assert ((decoded >= 0) & (decoded < 1)).all()
    assert torch.equal(rank_order(decoded, steps, silent=silent), spikes)


def test_values_spread_evenly_come_back_from_their_ranks():
    values = ((torch.randperm(64, generator=seeded()) + 0.5) / 64).reshape(8, 8)
    assert decode_rank_order(rank_order(values, 64)).numpy() == pytest.approx(values.numpy())
    few = decode_rank_order(rank_order(values, 16))
    assert (few - values).abs().max() <= 0.5 / 16


def test_a_table_gives_each_step_its_value():
    spikes = rank_order(torch.tensor([0.2, 0.9, 0.0]), 3, dims=1, silent=0.0)
    assert decode_rank_order(spikes, table=torch.tensor([0.8, 0.3, 0.1])).tolist() == (
        pytest.approx([0.3, 0.8, 0.0])
    )
    with pytest.raises(ShapeError, match=r"table of shape \(2,\) for 3 steps"):
        decode_rank_order(spikes, table=torch.ones(2))


def test_values_that_have_no_rank_are_refused():
    with pytest.raises(ConfigError, match=r"rank_order: values is nan at \(1,\)"):
        rank_order(torch.tensor([1.0, math.nan]), 3, dims=1)
    with pytest.raises(ShapeError, match=r"values.float\(\)"):
        rank_order(torch.zeros(2, 2, dtype=torch.uint8), 3)
    with pytest.raises(ShapeError, match="pass dims=1"):
        rank_order(torch.zeros(5), 3)
    with pytest.raises(ConfigError, match="dims = 0"):
        rank_order(torch.zeros(5), 3, dims=0)
    with pytest.raises(ConfigError, match="steps = 0"):
        rank_order(torch.zeros(5, 5), 0)
    assert rank_order(torch.zeros(0, 4, 4), 3).shape == (3, 0, 4, 4)
    assert rank_order(torch.zeros(2, 0, 4), 3).shape == (3, 2, 0, 4)


# --- populations ---


def test_fields_stand_where_bohte_put_them():
    fields = ReceptiveFields.spread(8, -3.0, 6.0)
    for i in range(1, 9):
        assert fields.centres[i - 1] == pytest.approx(
            -3.0 + (2 * i - 3) / 2 * (6.0 + 3.0) / (8 - 2)
        )
    assert fields.width == pytest.approx((6.0 + 3.0) / (8 - 2) / 1.5)
    assert fields.centres[0] < -3.0 < fields.centres[1]


def test_a_neuron_responds_most_at_its_centre_and_falls_off_as_a_gaussian():
    fields = ReceptiveFields((0.0, 0.5, 1.0), 0.2)
    responses = population(torch.tensor([[0.5, 0.7]], dtype=torch.float64), fields)
    assert responses.shape == (1, 2, 3)
    wanted = [math.exp(-((0.7 - c) ** 2) / (2 * 0.2**2)) for c in fields.centres]
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


@pytest.mark.parametrize(
    ("neurons", "steps", "worst"), [(8, 21, 0.012), (8, 51, 0.005), (5, 21, 0.025)]
)
def test_latencies_of_a_population_decode_within_the_stated_error(neurons, steps, worst):
    fields = ReceptiveFields.spread(neurons, -1.0, 1.0)
    values = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    spikes = population_latency(values, fields, steps)
    assert spikes.shape == (steps, 2001, neurons)
    assert (spikes.sum(0) <= 1).all()
    decoded = decode_population(decode_latency(spikes), fields)
    assert worst / 2 < (decoded - values).abs().max() < worst


def test_responses_below_a_tenth_do_not_spike_as_bohte_has_it():
    fields = ReceptiveFields.spread(8)
    values = image(200)
    fired = population_latency(values, fields, 11).any(0)
    assert torch.equal(fired, population(values, fields) >= 0.1)


def test_rates_of_a_population_decode_too():
    fields = ReceptiveFields.spread(8)
    values = image(300)
    rates = decode_poisson(poisson(population(values, fields), 200, generator=1))
    assert (decode_population(rates, fields) - values).square().mean().sqrt() < 0.03


def test_populations_keep_dtypes_and_gradients():
    fields = ReceptiveFields.spread(6)
    values = image(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: population(x, fields), (values,))
    assert torch.autograd.gradcheck(
        lambda x: decode_population(population(x, fields), fields), (values,)
    )
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        responses = population(values.detach().to(dtype), fields)
        assert responses.dtype == decode_population(responses, fields).dtype == dtype
    assert population(torch.zeros(0, 3), fields).shape == (0, 3, 6)


def test_one_neuron_gives_its_centre_and_none_gives_nan():
    fields = ReceptiveFields((0.0, 0.5, 1.0), 0.1)
    responses = torch.tensor([[0.0, 0.0, 0.4], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]])
    decoded = decode_population(responses, fields).tolist()
    assert decoded[:2] == [1.0, 0.5]
    assert math.isnan(decoded[2])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ReceptiveFields.spread(2), "neurons = 2 is below 3"),
        (lambda: ReceptiveFields.spread(5, 1.0, 1.0), "low = 1, high = 1"),
        (lambda: ReceptiveFields.spread(5, beta=0.0), "beta = 0"),
        (lambda: ReceptiveFields((), 1.0), "at least one finite number"),
        (lambda: ReceptiveFields((0.0, math.inf), 1.0), "at least one finite number"),
        (lambda: ReceptiveFields((1.0, 1.0), 1.0), "do not increase"),
        (lambda: ReceptiveFields((0.0,), 0.0), "width = 0.0 is not a finite number above 0"),
        (lambda: population(torch.tensor([math.nan]), ReceptiveFields((0.0,), 1.0)), "is nan"),
        (
            lambda: decode_population(torch.tensor([-0.5, 0.0, 1.0]), ReceptiveFields.spread(3)),
            "below 0",
        ),
    ],
)
def test_fields_and_responses_that_cannot_be_are_refused(call, said):
    with pytest.raises(ConfigError, match=said):
        call()


def test_responses_must_fit_the_fields():
    with pytest.raises(ShapeError, match=r"responses of shape \(4, 2\) for 3 neurons"):
        decode_population(torch.zeros(4, 2), ReceptiveFields.spread(3))
    with pytest.raises(ShapeError, match=r"torch.int64; floats .* values.float\(\)"):
        population(torch.tensor([1]), ReceptiveFields.spread(3))


# --- all of them ---


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize(
    "encode",
    [
        partial(signed_poisson, generator=0),
        latency,
        rank_order,
        lambda x, steps: population_latency(x, ReceptiveFields.spread(4), steps)[..., 0],
    ],
)
def test_time_comes_first_and_the_dtype_is_kept(encode, dtype):
    values = image(2, 3, 4, dtype=torch.float64).to(dtype).requires_grad_()
    spikes = encode(values, 6)
    assert (spikes.shape, spikes.dtype) == ((6, 2, 3, 4), dtype)
    assert not spikes.requires_grad
    assert torch.equal(encode(values.transpose(1, 2).contiguous().transpose(1, 2), 6), spikes)


def test_signed_values_outside_minus_one_to_one_are_refused():
    with pytest.raises(ConfigError, match=r"value -1.5 at \(0,\) is outside \[-1, 1\]"):
        signed_poisson(torch.tensor([-1.5]), 3, generator=0)
    with pytest.raises(ShapeError, match="/ 255"):
        signed_poisson(torch.tensor([1]), 3, generator=0)
