"""Layers over time: what each computes at each step, against plain twins, and what it refuses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit.errors import ConfigError, ShapeError
from dvskit.layers import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    FirstSpike,
    Flatten,
    LastMembrane,
    Linear,
    LogCounts,
    MaxPool2d,
    MeanMembrane,
    ResidualBlock,
    Sequence,
    SpikeCount,
    SumPool2d,
    ThresholdBatchNorm2d,
)
from dvskit.neurons import SignedLIF
from tests.laws import refused


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spikes(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(seed)).float()


def slopes(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the sum of squares of what a function makes of x."""
    leaf = x.clone().requires_grad_()
    function(leaf).square().sum().backward()
    assert leaf.grad is not None
    return leaf.grad


torch.manual_seed(0)
CONV, LINEAR, NORM = Conv2d(3, 4, 3, stride=2, padding=1), Linear(3, 5), BatchNorm2d(3).eval()
STEPWISE: list[tuple[nn.Module, Callable[[Tensor], Tensor]]] = [
    (CONV, lambda x: functional.conv2d(x, CONV.weight, CONV.bias, 2, 1)),
    (AvgPool2d(2), lambda x: functional.avg_pool2d(x, 2)),
    (AvgPool2d(3, 2), lambda x: functional.avg_pool2d(x, 3, 2)),
    (SumPool2d(3), lambda x: functional.avg_pool2d(x, 3) * 9),
    (MaxPool2d(1), lambda x: x),
    (NORM, lambda x: x / math.sqrt(1 + 1e-5)),
    (Flatten(), lambda x: x.flatten(1)),
    (Dropout(0.5).eval(), lambda x: x),
    (LogCounts(), lambda x: torch.where(x < 0, -torch.log(1 - x), torch.log(1 + x))),
    (ResidualBlock(SumPool2d(1)), lambda x: x + x),
    (ResidualBlock(CONV, CONV), lambda x: 2 * functional.conv2d(x, CONV.weight, CONV.bias, 2, 1)),
]


@pytest.mark.parametrize(("layer", "function"), STEPWISE, ids=lambda each: type(each).__name__)
def test_each_step_gets_what_torch_makes_of_it(
    layer: nn.Module, function: Callable[[Tensor], Tensor]
) -> None:
    x = numbers(4, 2, 3, 9, 8)
    whole = layer(x)
    torch.testing.assert_close(whole, torch.stack([function(step) for step in x]))
    odd = numbers(4, 3, 8, 9, 2).permute(0, 4, 1, 3, 2)  # neither contiguous nor channels_last
    torch.testing.assert_close(layer(odd), layer(odd.contiguous()))


def test_a_dense_layer_takes_the_last_dimension_with_time_and_without() -> None:
    x = numbers(4, 2, 3)
    expected = x @ LINEAR.weight.T + LINEAR.bias
    torch.testing.assert_close(LINEAR(x), expected)
    torch.testing.assert_close(LINEAR(x[0]), expected[0])


def largest(x: Tensor, size: int, stride: int) -> Tensor:
    """The entry of largest magnitude of each window, pixel by pixel; of +m and -m, +m."""
    rows, columns = ((side - size) // stride + 1 for side in x.shape[-2:])
    out = torch.empty(*x.shape[:-2], rows, columns)
    for i, j in itertools.product(range(rows), range(columns)):
        window = x[..., i * stride : i * stride + size, j * stride : j * stride + size].flatten(-2)
        for at in itertools.product(*map(range, x.shape[:-2])):
            out[at][i, j] = max(window[at].tolist(), key=lambda value: (abs(value), value))
    return out


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (2, 1)])
@pytest.mark.parametrize("given", [numbers, spikes])
def test_signed_max_pooling_takes_the_entry_of_largest_magnitude_and_on_wins_ties(
    given: Callable[..., Tensor], size: int, stride: int
) -> None:
    x = given(2, 2, 2, 7, 6)
    assert torch.equal(MaxPool2d(size, stride)(x), largest(x, size, stride))


def test_the_gradient_of_signed_max_pooling_goes_to_the_entry_that_was_taken() -> None:
    x = numbers(2, 2, 2, 6, 6)
    taken = slopes(MaxPool2d(2), x) / 2  # of the sum of squares: the entry itself
    windows = taken.unfold(3, 2, 2).unfold(4, 2, 2).flatten(-2)
    assert ((windows != 0).sum(-1) == 1).all()
    assert torch.equal(windows.sum(-1), MaxPool2d(2)(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "pool", "padding", "groups"),
    [(1, 2, 0, 1), (3, 1, 1, 2), (3, 2, 1, 1), (3, 3, 0, 2), (4, 2, 0, 1), (4, 3, 1, 2)],
)
def test_a_convolution_and_the_pooling_behind_it_are_one_but_for_rounding(
    kernel: int, pool: int, padding: int, groups: int
) -> None:
    torch.manual_seed(2)
    conv = Conv2d(2, 4, kernel, padding=padding, groups=groups).double()
    merged, apart = Sequence(conv, AvgPool2d(pool)), nn.Sequential(conv, AvgPool2d(pool))
    for side in (8, 9, 10):
        x = numbers(2, 2, 2, side, side + 3).double()
        torch.testing.assert_close(merged(x), apart(x))
        torch.testing.assert_close(slopes(merged, x), slopes(apart, x))


@pytest.mark.parametrize(
    "conv",
    [
        Conv2d(2, 3, 3, stride=2),
        Conv2d(2, 3, 3, dilation=2),
        Conv2d(2, 3, 3, padding="same"),
        Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
    ],
    ids=["stride", "dilation", "same", "circular"],
)
def test_convolutions_that_cannot_pool_by_themselves_are_left_alone(conv: Conv2d) -> None:
    x = numbers(2, 2, 2, 11, 12)
    for pool in (AvgPool2d(2), AvgPool2d(3, 1)):
        assert torch.equal(Sequence(conv, pool)(x), pool(conv(x)))
    pool = AvgPool2d(3, 1)
    plain = Conv2d(2, 3, 3)
    assert torch.equal(Sequence(plain, pool)(x), pool(plain(x)))


@pytest.mark.parametrize("training", [True, False])
def test_threshold_batch_norm_is_its_formula(training: bool) -> None:
    layer = ThresholdBatchNorm2d(3, threshold=1.5, alpha=0.7, momentum=0.2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, -0.5]))
        layer.bias.copy_(torch.tensor([0.0, 1.0, 3.0]))
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(torch.tensor([0.5, 0.0, -1.0]))
        layer.running_var.copy_(torch.tensor([1.0, 4.0, 0.25]))
    layer.train(training)
    x = (numbers(4, 2, 3, 5, 6) * 3 + 1).double()
    means, variances = [0.5, 0.0, -1.0], [1.0, 4.0, 0.25]
    out = layer(x)
    for c in range(3):
        one = x[:, :, c]
        mean, variance = means[c], variances[c]
        if training:
            mean, variance = float(one.mean()), float(((one - one.mean()) ** 2).mean())
            assert float(layer.running_mean[c]) == pytest.approx(0.8 * means[c] + 0.2 * mean)
            unbiased = variance * one.numel() / (one.numel() - 1)
            assert float(layer.running_var[c]) == pytest.approx(0.8 * variances[c] + 0.2 * unbiased)
        scaled = 0.7 * 1.5 * (one - mean) / math.sqrt(variance + 1e-5)
        torch.testing.assert_close(out[:, :, c], layer.weight[c] * scaled + layer.bias[c])


def test_batch_norm_takes_its_statistics_over_time_batch_and_pixels() -> None:
    x = numbers(5, 4, 3) * torch.arange(1, 6).reshape(5, 1, 1) + torch.arange(3)
    pixels = x[..., None, None].expand(5, 4, 3, 2, 2)
    folded = nn.BatchNorm2d(3)(pixels.flatten(0, 1)).reshape(pixels.shape)
    torch.testing.assert_close(BatchNorm2d(3)(pixels), folded)
    ours, torchs = BatchNorm1d(3), nn.BatchNorm1d(3)
    torch.testing.assert_close(ours(x), torchs(x.flatten(0, 1)).reshape(x.shape))
    torch.testing.assert_close(ours(x[0]), torchs(x[0]))  # behind a readout
    torch.testing.assert_close(ours.running_var, torchs.running_var)
    torch.testing.assert_close(ours.eval()(x[:1]), ours(x)[:1])


def test_dropout_leaves_out_the_same_at_all_times_and_nothing_in_evaluation() -> None:
    layer = Dropout(0.25)
    torch.manual_seed(4)
    out = layer(torch.ones(6, 50, 40))
    assert (out == out[0]).all()
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (out[0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (layer(torch.ones(1, 50, 40)) != out[:1]).any()
    x = numbers(3, 2, 4)
    assert torch.equal(layer.eval()(x), x)


def test_readouts_say_what_their_names_do() -> None:
    x = spikes(7, 3, 4)
    assert torch.equal(SpikeCount()(x), x.sum(0))
    torch.testing.assert_close(MeanMembrane()(x), x.mean(0))
    assert torch.equal(LastMembrane()(x), x[-1])
    half = torch.ones(300, 1, 1).bfloat16()  # which bfloat16 could not count
    assert SpikeCount()(half).item() == 300
    assert FirstSpike()(torch.zeros(300, 1, 1).bfloat16()).item() == -300


def first(x: list[float]) -> int:
    """The steps ahead of the first ON spike; all of them if there is none."""
    return next((t for t, value in enumerate(x) if value > 0), len(x))


def test_the_first_spike_readout_counts_the_steps_ahead_of_it() -> None:
    x = spikes(9, 20, 3)
    x[:, 0] = 0
    expected = [[first(x[:, b, c].tolist()) for c in range(3)] for b in range(20)]
    assert torch.equal(FirstSpike(tau=4)(x), -torch.tensor(expected) / 4)


def test_the_gradient_of_the_first_spike_is_what_one_spike_more_or_less_would_change() -> None:
    for pattern in itertools.product([0.0, 1.0], repeat=5):
        x = torch.tensor(pattern).reshape(5, 1, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(FirstSpike()(x).sum(), x)
        for u, spike in enumerate(pattern):
            flipped = [*pattern[:u], 1 - spike, *pattern[u + 1 :]]
            change = (first(list(pattern)) - first(flipped)) * (1 - 2 * spike)
            assert gradient[u].item() == change, (pattern, u)
    off = -torch.ones(3, 1, 1).requires_grad_()
    assert torch.autograd.grad(FirstSpike()(off).sum(), off)[0].abs().sum() == 0


@pytest.mark.parametrize("how", ["module", "autocast"])
def test_a_network_in_half_precision_answers_as_torchs_own_sequence_does(how: str) -> None:
    torch.manual_seed(0)
    layers = [Conv2d(2, 3, 3), AvgPool2d(2), SignedLIF(0.5), Flatten(), Linear(27, 4)]
    ours, torchs = (kind(*layers, MeanMembrane()) for kind in (Sequence, nn.Sequential))
    x = spikes(3, 2, 2, 8, 8)
    if how == "module":
        x = x.bfloat16()
        ours.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        answer, expected = ours(x), torchs(x)
    assert answer.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(answer, expected, atol=0.02, rtol=0.02)
    answer.sum().backward()
    assert layers[-1].bias.grad.any()


def test_a_residual_block_with_a_shortcut_changes_the_shape() -> None:
    torch.manual_seed(6)
    shortcut = Conv2d(3, 5, 1, stride=2)
    body = Sequence(Conv2d(3, 5, 3, stride=2, padding=1), SignedLIF(0.5))
    x = spikes(4, 2, 3, 7, 6)
    torch.testing.assert_close(ResidualBlock(body, shortcut)(x), body(x) + shortcut(x))


def test_not_a_number_reaches_the_output() -> None:
    x = torch.zeros(2, 1, 2, 4, 4)
    x[1, 0, 1, 2, 2] = math.nan
    for layer in (Conv2d(2, 2, 3), AvgPool2d(2), SumPool2d(2), MaxPool2d(2)):
        out = layer(x)
        assert out[0].isfinite().all()
        assert out[1].isnan().any()


@pytest.mark.parametrize(
    ("layer", "x", "named"),
    [
        (Conv2d(2, 3, 3), (4, 2, 8, 8), "(T, B, 2, H, W)"),
        (Conv2d(2, 3, 3), (4, 1, 3, 8, 8), "(4, 1, 3, 8, 8)"),
        (Conv2d(2, 3, 5), (4, 1, 2, 4, 8), "4x8"),
        (Sequence(Conv2d(2, 3, 3), AvgPool2d(4)), (4, 1, 2, 5, 8), "pool of 4"),
        (AvgPool2d(2), (2, 8, 8), "AvgPool2d"),
        (MaxPool2d(3), (2, 2, 2, 2, 3), "2x3"),
        (BatchNorm2d(2), (2, 2, 3, 4, 4), "BatchNorm2d"),
        (BatchNorm1d(2), (2, 2, 3), "(T, B, 2)"),
        (BatchNorm1d(2), (2,), "BatchNorm1d"),
        (ThresholdBatchNorm2d(2), (2, 2, 3, 4, 4), "ThresholdBatchNorm2d"),
        (Linear(4, 2), (2, 2, 1, 2, 2), "Flatten()"),
        (Flatten(), (2, 2), "Flatten"),
        (Dropout(0.5), (0, 3), "T >= 1"),
        (MeanMembrane(), (0, 2, 3), "T >= 1"),
        (FirstSpike(), (3,), "FirstSpike"),
        (ResidualBlock(SumPool2d(2)), (2, 2, 2, 4, 4), "shortcut"),
    ],
    ids=str,
)
def test_shapes_that_a_layer_does_not_take_are_refused(
    layer: nn.Module, x: tuple[int, ...], named: str
) -> None:
    with refused(ShapeError, named):
        layer(torch.zeros(x))


LAYERS = [Conv2d(2, 3, 3), AvgPool2d(2), Flatten(), Linear(4, 2), MeanMembrane(), BatchNorm2d(2),
          SignedLIF()]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_arrays_of_numpy_and_whole_numbers_are_refused_with_the_fix(layer: nn.Module) -> None:
    x = torch.zeros(2, 2, 2, 4, 4, dtype=torch.int32)
    with refused(ShapeError, "ndarray", "from_numpy"):
        layer(x.numpy())
    if not isinstance(layer, Flatten | MeanMembrane):
        with refused(ShapeError, "int32", ".float()"):
            layer(x)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: AvgPool2d(0), "kernel_size = 0"),
        (lambda: MaxPool2d(2, 0), "stride = 0"),
        (lambda: ThresholdBatchNorm2d(2, threshold=0), "threshold = 0"),
        (lambda: ThresholdBatchNorm2d(2, alpha=math.inf), "alpha = inf"),
        (lambda: ThresholdBatchNorm2d(0), "num_features = 0"),
        (lambda: Dropout(1.0), "p = 1.0"),
        (lambda: FirstSpike(tau=0), "tau = 0"),
        (lambda: ResidualBlock(MeanMembrane()), "readout"),
    ],
)
def test_parameters_out_of_range_are_refused(make: Callable[[], object], named: str) -> None:
    with refused(ConfigError, named):
        make()
