"""MotionLIF: what it computes, what it needs a memory for, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dvskit.errors import ConfigError, ShapeError
from dvskit.networks import MotionLIF, network_from, network_values
from dvskit.neurons import SignedLIF
from tests.laws import refused

SMALL = MotionLIF(
    width=24, height=20, pool=2, channels=(3, 4), kernel=3, hidden=5, classes=3, dropout=0.0
)


def counts(steps: int = 6, batch: int = 3) -> torch.Tensor:
    shape = (steps, batch, 2, SMALL.height, SMALL.width)
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))


def slow_twin(network: MotionLIF, w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Sum blocks, convolve, spike and read out, one step and one layer after another."""
    pool = network.pool
    rows, columns = network.height // pool, network.width // pool
    blocks = x.double().reshape(*x.shape[:3], rows, pool, columns, pool).sum((4, 6)) / pool
    w = {key: value.double() for key, value in w.items()}
    lifs = [SignedLIF(beta, 1.0, 1.0, backend="torch") for beta in network.betas]
    for lif, layer in zip(lifs, ("conv1", "conv2"), strict=False):
        weight, bias = w[f"{layer}.weight"], w[f"{layer}.bias"]
        steps = [
            functional.conv2d(step, weight, bias, stride=2, padding=network.kernel // 2)
            for step in blocks
        ]
        blocks = lif(torch.stack(steps))
    dense = [
        functional.linear(step.flatten(1), w["hidden.weight"], w["hidden.bias"]) for step in blocks
    ]
    spikes = lifs[2](torch.stack(dense))
    read = [functional.linear(step, w["readout.weight"], w["readout.bias"]) for step in spikes]
    return torch.stack(read).mean(0)


def test_the_module_computes_what_its_layers_do_one_after_another() -> None:
    torch.manual_seed(1)
    # Halves and 64ths make all sums exact: no spike hangs on a rounding.
    exact = network_from({**network_values(SMALL), "betas": [0.5, 0.5, 0.5]})
    assert isinstance(exact, MotionLIF)
    module = exact.build().eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_((weight * 64).round() / 64)
    expected = slow_twin(exact, module.state_dict(), counts())
    assert expected.std() > 0
    torch.testing.assert_close(module(counts()).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"pool": 7}, "240x180"),
        ({"kernel": 4}, "kernel = 4"),
        ({"betas": (0.5, 0.5)}, "betas"),
        ({"hidden": 0}, "hidden = 0"),
        ({"dropout": 1.0}, "dropout = 1.0"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, object], named: str) -> None:
    with refused(ConfigError, named):
        MotionLIF(**fields)  # type: ignore[arg-type]


def test_counts_of_another_size_are_refused() -> None:
    with refused(ShapeError, "(T, B, 2, 20, 24)"):
        SMALL.build()(torch.zeros(2, 1, 2, 24, 20))
