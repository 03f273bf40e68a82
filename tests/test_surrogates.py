"""Surrogate derivatives: each is the slope of its primitive, and has the integral that it says."""

from __future__ import annotations

import math

import pytest
import torch

from dvskit.errors import ConfigError
from dvskit.neurons import (
    LIF,
    ATan,
    Boxcar,
    FastSigmoid,
    Sigmoid,
    StraightThrough,
    Triangle,
)

SURROGATES = {  # with the integral over all numbers
    ATan(1.7): 1.0,
    FastSigmoid(8.0): 2 / 8,
    Sigmoid(3.0): 1.0,
    Triangle(0.8, 0.3): 0.24,
    Boxcar(0.7, 1.2): 0.84,
    StraightThrough(): math.inf,
}
every_surrogate = pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)


@every_surrogate
def test_the_derivative_is_the_slope_of_the_primitive(surrogate):
    u = torch.linspace(-4, 4, 1601, dtype=torch.float64) + 1e-4  # corners are left out
    step = 1e-6
    slope = (surrogate.primitive(u + step) - surrogate.primitive(u - step)) / (2 * step)
    torch.testing.assert_close(surrogate.derivative(u), slope, rtol=1e-6, atol=1e-6)


@every_surrogate
def test_the_integral_is_what_it_says(surrogate):
    far = torch.tensor([-1e7, 1e7], dtype=torch.float64)
    low, high = surrogate.primitive(far).tolist()
    if math.isinf(SURROGATES[surrogate]):
        assert high - low > 1e6
    else:
        assert high - low == pytest.approx(SURROGATES[surrogate], abs=1e-5)


@every_surrogate
def test_derivatives_are_even_finite_and_largest_at_the_threshold(surrogate):
    u = torch.tensor([0.0, 0.1, 0.3, 1.0, 1e3, 1e30, math.inf], dtype=torch.float32)
    slope = surrogate.derivative(u)
    assert torch.equal(slope, surrogate.derivative(-u))
    assert slope.isfinite().all()
    assert (slope <= slope[0]).all()
    assert slope[0] > 0
    assert slope.dtype == u.dtype
    assert surrogate.derivative(u.double()).dtype == torch.float64


@pytest.mark.slow
@every_surrogate
def test_the_gradient_of_a_spike_is_the_derivative(surrogate):
    x = torch.tensor([[0.3, 0.9, 1.0, 1.4]], requires_grad=True)
    LIF(surrogate=surrogate)(x).sum().backward()
    torch.testing.assert_close(x.grad, surrogate.derivative(x.detach() - 1))
    assert x.grad.any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FastSigmoid(0.0), "FastSigmoid: slope = 0.0"),
        (lambda: Sigmoid(math.nan), "Sigmoid: alpha = nan"),
        (lambda: Triangle(height=-1.0), "Triangle: height = -1.0"),
        (lambda: Triangle(width=math.inf), "Triangle: width = inf"),
        (lambda: Boxcar(0.0), "Boxcar: width = 0.0"),
        (lambda: Boxcar(1.0, 0.0), "Boxcar: height = 0.0"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
