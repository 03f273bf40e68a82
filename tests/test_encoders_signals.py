"""What the codes of signals promise: their definitions, laws, errors, and what they refuse."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from dvskit.encoders import (
    bsa,
    contrast_threshold,
    decode_bsa,
    decode_delta,
    decode_hsa,
    decode_moving_window,
    decode_step_forward,
    decode_temporal_contrast,
    delta,
    hsa,
    low_pass,
    moving_window,
    reconstruction_error,
    run_delta,
    run_step_forward,
    step_forward,
    temporal_contrast,
)
from dvskit.errors import ConfigError, ShapeError
from tests.laws import refused, same_on_threads

RESPONSE = low_pass(9, cutoff=0.15) * torch.linspace(0.6, 1.4, 9)  # not its own mirror image
ENCODE = {
    "delta": partial(delta, threshold=0.08),
    "temporal_contrast": partial(temporal_contrast, factor=0.7),
    "step_forward": partial(step_forward, threshold=0.08),
    "moving_window": partial(moving_window, window=5, threshold=0.08),
    "hsa": partial(hsa, response=RESPONSE),
    "bsa": partial(bsa, response=RESPONSE, threshold=0.8),
}
SIGNED = ["delta", "temporal_contrast", "step_forward", "moving_window"]


def walks(steps=200, channels=7, seed=0, dtype=torch.float64):
    """Smooth signals in [0, 1]: walks with steps of at most 0.1, folded at the ends."""
    g = torch.Generator().manual_seed(seed)
    step = (torch.rand(steps, channels, generator=g, dtype=torch.float64) - 0.5) * 0.2
    return (((step.cumsum(0) + 0.5) % 2) - 1).abs().to(dtype)


# --- plain twins: one channel, one number at a time, from the definitions ---


def delta_twin(s):
    out = [0]
    for t in range(1, len(s)):
        change = s[t] - s[t - 1]
        out.append(1 if change >= 0.08 else -1 if change <= -0.08 else 0)
    return out


def temporal_contrast_twin(s):
    changes = [s[t] - s[t - 1] for t in range(1, len(s))]
    if not changes:
        return [0]
    mean = math.fsum(changes) / len(changes)
    spread = math.sqrt(math.fsum((c - mean) ** 2 for c in changes) / len(changes))
    threshold = abs(mean) + 0.7 * spread
    return [0] + [1 if c > threshold else -1 if c < -threshold else 0 for c in changes]


def step_forward_twin(s):
    base, out = s[0], [0]
    for value in s[1:]:
        spike = 1 if value > base + 0.08 else -1 if value < base - 0.08 else 0
        base += spike * 0.08
        out.append(spike)
    return out


def moving_window_twin(s):
    out = []
    for t in range(len(s)):
        past = s[:5] if t < 5 else s[t - 5 : t]
        mean = math.fsum(past) / len(past)
        out.append(1 if s[t] > mean + 0.08 else -1 if s[t] < mean - 0.08 else 0)
    return out


def hsa_twin(s):
    s, f, out = list(s), RESPONSE.tolist(), [0] * len(s)
    for t in range(len(s) - len(f) + 1):
        if all(s[t + k] >= f[k] for k in range(len(f))):
            out[t] = 1
            for k in range(len(f)):
                s[t + k] -= f[k]
    return out


def bsa_twin(s):
    s, f, out = list(s), RESPONSE.tolist(), [0] * len(s)
    for t in range(len(s) - len(f) + 1):
        with_spike, without = 0.0, 0.0
        for k in range(len(f)):
            with_spike += abs(s[t + k] - f[k])
            without += abs(s[t + k])
        if with_spike <= without - 0.8:
            out[t] = 1
            for k in range(len(f)):
                s[t + k] -= f[k]
    return out


TWINS = {
    "delta": delta_twin,
    "temporal_contrast": temporal_contrast_twin,
    "step_forward": step_forward_twin,
    "moving_window": moving_window_twin,
    "hsa": hsa_twin,
    "bsa": bsa_twin,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODE)
def test_each_code_is_what_its_plain_twin_makes_of_the_definition(name):
    for steps in (1, 2, 5, 8, 9, 10, 200):
        signal = walks(steps, channels=40)
        spikes = ENCODE[name](signal)
        for channel in range(signal.shape[1]):
            assert spikes[:, channel].tolist() == TWINS[name](signal[:, channel].tolist())
    assert 0.02 < spikes.abs().mean() < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["step_forward", "hsa", "bsa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loop_for_other_devices_gives_the_spikes_of_the_compiled_one(name, dtype, monkeypatch):
    signal = walks(150, channels=30, seed=3, dtype=dtype)
    compiled = ENCODE[name](signal)
    # There is no other device here: the compiled loop is passed over.
    monkeypatch.setattr("dvskit.encoders.signals._on_processor", lambda signal: False)
    assert torch.equal(ENCODE[name](signal), compiled)


@pytest.mark.parametrize("name", ["step_forward", "hsa", "bsa"])
def test_spikes_do_not_depend_on_the_number_of_threads(name):
    signal = walks(40, channels=5001, seed=4, dtype=torch.float32)
    assert same_on_threads(lambda: ENCODE[name](signal), 3).any()


@pytest.mark.parametrize("name", ENCODE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_shape_and_dtype_are_kept_and_channels_are_apart(name, dtype):
    signal = walks(60, channels=12, dtype=dtype).requires_grad_()
    before = signal.detach().clone()
    spikes = ENCODE[name](signal)
    assert torch.equal(signal.detach(), before)
    assert not spikes.requires_grad
    assert (spikes.shape, spikes.dtype) == (signal.shape, dtype)
    assert set(spikes.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert torch.equal(ENCODE[name](signal.reshape(60, 3, 2, 2)), spikes.reshape(60, 3, 2, 2))
    assert torch.equal(ENCODE[name](signal[:, 4]), spikes[:, 4])  # (T,), and not contiguous
    assert torch.equal(ENCODE[name](signal.flip(1)), spikes.flip(1))
    assert torch.equal(ENCODE[name](signal.t().contiguous().t()), spikes)


@pytest.mark.parametrize("name", ENCODE)
def test_constant_and_empty_signals_of_changes_do_not_spike(name):
    if name in SIGNED:
        assert not ENCODE[name](torch.full((50, 3), 0.7)).any()
    assert not ENCODE[name](torch.zeros(50, 3)).any()
    for shape in [(0,), (0, 3), (20, 0), (0, 2, 0)]:
        spikes = ENCODE[name](torch.zeros(shape))
        assert (spikes.shape, spikes.dtype) == (shape, torch.float32)


@pytest.mark.parametrize("name", SIGNED)
def test_the_negative_signal_gives_the_negative_spikes(name):
    signal = walks(seed=5) - torch.arange(200)[:, None] / 100  # falling: the mean change is not 0
    assert torch.equal(ENCODE[name](-signal), -ENCODE[name](signal))


@pytest.mark.parametrize("chunk", [1, 7, 199])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_signal_in_chunks_gives_the_spikes_of_the_whole(chunk, dtype):
    signal = walks(dtype=dtype)
    for run in (
        partial(run_delta, threshold=0.04, threshold_off=0.06),
        partial(run_step_forward, threshold=0.04),
    ):
        whole, end = run(signal)
        spikes, state = run(signal[:0])
        assert state is None
        parts = [spikes]
        for part in signal.split(chunk):
            spikes, state = run(part, state)
            parts.append(spikes)
        parts.append(run(signal[:0], state)[0])
        assert torch.equal(torch.cat(parts), whole)
        assert torch.equal(state, end)


def test_thresholds_may_differ_from_channel_to_channel():
    signal = walks(channels=3)
    thresholds = torch.tensor([0.03, 0.06, 0.12])
    for code in (
        lambda s, th: delta(s, threshold=th),
        lambda s, th: step_forward(s, threshold=th),
        lambda s, th: moving_window(s, window=4, threshold=th),
        lambda s, th: temporal_contrast(s, factor=10 * th),
        lambda s, th: bsa(s, response=RESPONSE, threshold=7 * th),
    ):
        spikes = code(signal, thresholds)
        for channel, threshold in enumerate(thresholds.double()):
            assert torch.equal(spikes[:, channel], code(signal[:, channel], threshold))


def test_delta_has_a_threshold_of_its_own_for_off_and_takes_a_sample_before():
    signal = torch.tensor([1.0, 2.0, 0.0, 2.0, 2.9])
    for off in (math.inf, 2.5):
        assert delta(signal, threshold=1.0, threshold_off=off).tolist() == [0, 1, 0, 1, 0]
    spikes, last = run_delta(signal, torch.tensor(0.0), threshold=1.0)
    assert spikes.tolist() == [1, 1, -1, 1, 0]
    assert last.tolist() == pytest.approx(2.9)


def test_what_is_exactly_at_the_threshold_spikes_as_the_definitions_have_it():
    up = torch.tensor([0.0, 0.125, 0.25, 0.375])
    for signal, sign in ((up, 1.0), (-up, -1.0)):
        assert (sign * delta(signal, threshold=0.125)).tolist() == [0, 1, 1, 1]
        assert (sign * step_forward(signal, threshold=0.125)).tolist() == [0, 0, 1, 1]
        assert not moving_window(signal, window=1, threshold=0.125).any()
        assert (sign * temporal_contrast(signal, factor=0.0)).tolist() == [0, 0, 0, 0]
    response = torch.tensor([0.25, 0.5, 0.25])
    assert hsa(response, response=response).tolist() == [1, 0, 0]
    assert bsa(response, response=response, threshold=1.0).tolist() == [1, 0, 0]


def test_the_threshold_of_temporal_contrast_is_its_formula():
    signal = walks(50, channels=4)
    changes = signal.diff(dim=0).numpy()
    wanted = abs(changes.mean(0)) + 2 * changes.std(0)
    assert contrast_threshold(signal, factor=2.0).numpy() == pytest.approx(wanted, abs=1e-15)
    assert contrast_threshold(signal[:1]).tolist() == [0, 0, 0, 0]
    assert contrast_threshold(signal.to(torch.float16)).dtype == torch.float32


# --- what is decoded ---


def test_step_forward_follows_within_its_threshold_where_no_step_is_larger():
    signal = walks(500, channels=20)
    spikes = step_forward(signal, threshold=0.1)
    decoded = decode_step_forward(spikes, threshold=0.1, start=signal[0])
    assert (decoded - signal).abs().max() <= 0.1 + 1e-12
    _, baseline = run_step_forward(signal, threshold=0.1)
    assert baseline.numpy() == pytest.approx(decoded[-1].numpy(), abs=1e-12)


def test_a_signal_that_moves_by_whole_thresholds_comes_back_exactly():
    g = torch.Generator().manual_seed(1)
    signal = torch.randint(-1, 2, (300, 5), generator=g).cumsum(0) * 0.125 + 2.0
    start = signal[0]
    spikes = delta(signal, threshold=0.125)
    assert torch.equal(decode_delta(spikes, threshold=0.125, start=start), signal)
    # above, not at, the threshold: so half of it, and two steps of the level to one of the signal
    spikes = temporal_contrast(signal, factor=0.0)
    decoded = decode_temporal_contrast(spikes, threshold=0.125, start=start)
    assert torch.equal(decoded, signal)
    spikes = moving_window(signal, window=1, threshold=0.1)
    assert torch.equal(decode_moving_window(spikes, threshold=0.125, start=start), signal)


@pytest.mark.parametrize("decode", [decode_hsa, decode_bsa])
def test_spikes_decode_to_the_sum_of_impulse_responses(decode):
    g = torch.Generator().manual_seed(3)
    spikes = (torch.rand(40, 3, 2, generator=g) < 0.3).to(torch.float64)
    wanted = torch.zeros_like(spikes)
    for t in range(40):
        for k in range(min(9, 40 - t)):
            wanted[t + k] += spikes[t] * RESPONSE[k]
    decoded = decode(spikes, response=RESPONSE)
    assert decoded.numpy() == pytest.approx(wanted.numpy(), abs=1e-14)
    assert decode(spikes[:, 0, 0], response=RESPONSE).shape == (40,)
    assert decode(spikes[:0], response=RESPONSE).shape == (0, 3, 2)


@pytest.mark.slow
def test_the_low_pass_is_that_of_scipy():
    from scipy.signal import firwin

    for taps, cutoff in [(1, 0.5), (2, 0.3), (9, 0.15), (40, 0.8)]:
        ours = low_pass(taps, cutoff=cutoff)
        assert ours.numpy() == pytest.approx(firwin(taps, cutoff), abs=1e-15)


@pytest.mark.parametrize(
    "decode",
    [
        partial(decode_delta, threshold=0.5),
        partial(decode_temporal_contrast, threshold=0.5),
        partial(decode_step_forward, threshold=0.5),
        partial(decode_moving_window, threshold=0.5),
        partial(decode_hsa, response=RESPONSE),
        partial(decode_bsa, response=RESPONSE),
    ],
)
def test_decoders_keep_floats_and_take_whole_numbers(decode):
    spikes = torch.zeros(10, 2)
    spikes[3] = 1
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert decode(spikes.to(dtype)).dtype == dtype
    assert torch.equal(decode(spikes.to(torch.int8)), decode(spikes))
    assert decode(spikes)[3:].any()
    assert not decode(spikes)[:3].any()
    with refused(ShapeError, "single number"):
        decode(torch.tensor(1.0))


def test_the_error_is_its_formula():
    signal, decoded = torch.tensor([[3.0, 1.0], [4.0, 0.0]]), torch.tensor([[3.0, 1.0], [4.5, 1.0]])
    error = reconstruction_error(signal, decoded)
    assert error.rmse.tolist() == pytest.approx([math.sqrt(0.125), math.sqrt(0.5)])
    assert error.snr_db.tolist() == pytest.approx([20.0, 0.0])
    assert reconstruction_error(signal, signal).snr_db.tolist() == [math.inf, math.inf]
    assert reconstruction_error(torch.zeros(4), torch.zeros(4)).snr_db.item() == math.inf
    with refused(ShapeError, "(2,)", "(2, 2)"):
        reconstruction_error(signal, decoded[0])
    with refused(ShapeError, "time step"):
        reconstruction_error(signal[:0], signal[:0])
    with refused(ConfigError, "nan", "(1, 0)"):
        reconstruction_error(signal, torch.tensor([[3.0, 1.0], [math.nan, 1.0]]))


# --- what is refused ---


@pytest.mark.parametrize("name", ENCODE)
def test_signals_that_cannot_be_are_refused_with_the_fix(name):
    with refused(ShapeError, name, "torch.int16"):
        ENCODE[name](torch.zeros(9, 2, dtype=torch.int16))
    with refused(ShapeError, "single number"):
        ENCODE[name](torch.tensor(0.5))
    for bad in (math.nan, math.inf):
        signal = walks(20, channels=2)
        signal[4, 1] = bad
        with refused(ConfigError, name, f"{bad:g}", "(4, 1)"):
            ENCODE[name](signal)


@pytest.mark.parametrize("name", SIGNED)
def test_finite_signals_are_taken_even_if_their_sum_is_not_finite(name):
    signal = torch.full((20, 2), 3e38)
    signal[10:] = -3e38
    assert ENCODE[name](signal).shape == (20, 2)


WRONG = [
    (ConfigError, lambda s: delta(s, threshold=0.0), "delta: threshold is 0"),
    (ConfigError, lambda s: delta(s, threshold_off=-1.0), "threshold_off is -1"),
    (ConfigError, lambda s: step_forward(s, threshold=math.nan), "threshold is nan"),
    (ConfigError, lambda s: step_forward(s, threshold=torch.tensor([0.1, -0.1])), "-0.1"),
    (ConfigError, lambda s: moving_window(s, window=0, threshold=0.1), "window = 0"),
    (ConfigError, lambda s: temporal_contrast(s, factor=-0.5), "factor is -0.5"),
    (ConfigError, lambda s: bsa(s, response=RESPONSE, threshold=0), "bsa: threshold is 0"),
    (ConfigError, lambda s: decode_step_forward(s, threshold=-1.0), "threshold is -1"),
    (ConfigError, lambda s: low_pass(0, cutoff=0.5), "taps = 0"),
    (ConfigError, lambda s: low_pass(5, cutoff=50.0), "cutoff = 50"),
    (ShapeError, lambda s: delta(s, threshold=torch.ones(3)), "threshold of shape (3,)"),
    (ShapeError, lambda s: run_step_forward(s, torch.ones(5, 2), threshold=0.1), "(5, 2)"),
    *(
        (kind, partial(call, code), named)
        for code in (hsa, bsa)
        for kind, call, named in (
            (ConfigError, lambda code, s: code(s - 0.5, response=RESPONSE), "-0.5 at (0, 0)"),
            (ShapeError, lambda code, s: code(s, response=torch.ones(2, 2)), "(2, 2)"),
            (ShapeError, lambda code, s: code(s, response=torch.ones(0)), "(0,)"),
            (ConfigError, lambda code, s: code(s, response=torch.tensor([math.inf])), "inf"),
            (ShapeError, lambda code, s: code(s, response=torch.tensor([1])), "torch.int64"),
        )
    ),
]


@pytest.mark.parametrize(("kind", "call", "named"), WRONG)
def test_parameters_and_filters_that_cannot_be_are_refused(kind, call, named):
    with refused(kind, named):
        call(torch.zeros(9, 2))
