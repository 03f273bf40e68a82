"""The gradients of convolutions: those of torch and of the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dvskit.layers.fold_kernels import fold
from dvskit.layers.images import ConvWindow, convolve

# x, weight, stride, padding
FOLDED = [
    ((5, 3, 9, 11), (4, 3, 3, 3), (2, 2), (1, 1)),
    ((70, 12, 15, 15), (64, 12, 6, 6), (2, 2), (0, 0)),
    ((3, 2, 12, 9), (5, 2, 6, 3), (2, 3), (3, 1)),
    ((3, 16, 8, 8), (2, 16, 2, 2), (3, 3), (0, 0)),  # some pixels are in no window
    ((3, 1, 3, 2), (2, 1, 4, 4), (4, 2), (3, 3)),  # some windows hold padding alone
    ((1, 1, 1, 1), (1, 1, 1, 1), (2, 2), (0, 0)),
]


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).requires_grad_()


def gradients(own: bool, x: Tensor, weight: Tensor, window: ConvWindow) -> list[Tensor]:
    bias = drawn(len(weight))
    out = (
        convolve(x, weight, bias, window, of_spikes=False)
        if own
        else functional.conv2d(x, weight, bias, *window)
    )
    assert type(out.grad_fn).__name__.startswith("_Convolution") or not own
    return [out, *torch.autograd.grad(out, (x, weight, bias), torch.cos(out))]


@pytest.mark.parametrize(("x", "weight", "stride", "padding"), FOLDED)
def test_a_strided_convolution_has_the_gradients_of_torch(x, weight, stride, padding):
    window = ConvWindow(stride, padding, (1, 1), 1)
    ours = gradients(True, drawn(*x), drawn(*weight), window)
    theirs = gradients(False, drawn(*x), drawn(*weight), window)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shape", "kernel", "rows", "columns"), [
    ((2, 7, 6, 3), (3, 3), (2, 1), (2, 1)),
    ((2, 5, 4, 1), (4, 5), (1, 3), (4, 4)),
    ((1, 3, 3, 2), (1, 2), (2, 0), (3, 1)),
])  # fmt: skip
def test_folded_windows_are_the_sums_of_a_plain_twin(shape, kernel, rows, columns):
    images, height, width, channels = shape
    lines, places = (
        (side + 2 * pad - size) // stride + 1
        for side, size, (stride, pad) in zip(shape[1:3], kernel, (rows, columns), strict=True)
    )
    windows = np.random.default_rng(1).integers(
        -9, 9, (images, lines, places, *kernel, channels)
    )  # sums of whole numbers are exact in any order
    out = np.full(shape, np.nan, np.float32)
    fold(windows.astype(np.float32), out, rows, columns)
    twin = np.zeros(shape, np.float32)
    for n, line, place, k, m, c in np.ndindex(windows.shape):
        y, x = line * rows[0] + k - rows[1], place * columns[0] + m - columns[1]
        if 0 <= y < height and 0 <= x < width:
            twin[n, y, x, c] += windows[n, line, place, k, m, c]
    np.testing.assert_array_equal(out, twin)
