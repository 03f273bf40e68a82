"""ConvLIF: what it computes, that its shortcuts are exact, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dvskit.errors import ConfigError, ShapeError
from dvskit.networks import ConvLIF, Layered, network_from, network_values
from dvskit.neurons import SignedLIF

SMALL = ConvLIF(width=21, height=18, classes=3, channels=(4, 6), kernel=3, dropout=0.0)


def counts(network: ConvLIF, steps: int = 5, batch: int = 3) -> torch.Tensor:
    shape = (steps, batch, 2, network.height, network.width)
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0)).float()


def slow_twin(network: ConvLIF, weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Convolve, pool, spike and read out, one step and one layer after another."""
    lif = SignedLIF(network.beta, network.threshold, network.threshold, backend="torch")
    for layer in ("conv1", "conv2"):
        steps = [
            functional.avg_pool2d(
                functional.conv2d(step, weights[f"{layer}.weight"], weights[f"{layer}.bias"]), 2
            )
            for step in x
        ]
        x = lif(torch.stack(steps))
    read = [
        functional.linear(step.flatten(1), weights["readout.weight"], weights["readout.bias"])
        for step in x
    ]
    return torch.stack(read).mean(0)


@pytest.mark.parametrize("network", [SMALL, ConvLIF(dropout=0.0)], ids=["18x21", "34x34"])
def test_the_module_computes_what_its_layers_do_one_after_another(network: ConvLIF) -> None:
    # Weights that are multiples of 1/64 make all sums exact: no spike hangs on a rounding.
    torch.manual_seed(1)
    module = network.build().eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_((weight * 64).round() / 64)
    beta_exact = network_from({**network_values(network), "beta": 0.5})
    assert isinstance(beta_exact, ConvLIF)
    exact = beta_exact.build().eval()
    exact.load_state_dict(module.state_dict())
    x = counts(network)
    expected = slow_twin(beta_exact, module.state_dict(), x)
    assert expected.std() > 0
    torch.testing.assert_close(exact(x), expected, rtol=0, atol=1e-5)


def test_logits_have_one_row_a_sample_and_gradients_reach_every_weight() -> None:
    module = SMALL.build()
    logits = module(counts(SMALL))
    assert logits.shape == (3, 3)
    logits.square().sum().backward()
    for name, weight in module.named_parameters():
        assert weight.grad is not None, name
        assert float(weight.grad.abs().sum()) > 0, name


def test_samples_of_a_batch_do_not_touch_each_other() -> None:
    module = SMALL.build().eval()
    x = counts(SMALL, batch=4)
    alone = torch.cat([module(x[:, i : i + 1]) for i in range(4)])
    torch.testing.assert_close(module(x), alone, rtol=0, atol=1e-5)


def test_the_same_generator_state_builds_the_same_weights() -> None:
    torch.manual_seed(7)
    first = SMALL.build().state_dict()
    torch.manual_seed(7)
    second = SMALL.build().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_network_survives_being_written_as_plain_values() -> None:
    assert network_from(network_values(SMALL)) == SMALL
    assert network_from({"name": "conv-lif", "channels": [3, 5]}) == ConvLIF(channels=(3, 5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "conv-lift"}, "did you mean 'conv-lif'"),
        ({"bta": 0.5}, "unknown network.bta; did you mean 'beta'"),
        ({"name": "conv-lif", "layers": ["10"]}, "network.name is 'conv-lif'; layers has it"),
        ({"beta": 1.5}, "beta = 1.5"),
        ({"channels": [1, 2, 3]}, "two numbers"),
        ({"width": 8}, "no pixel of 8x34 remains"),
        ({"kernel": "5"}, "network conv-lif has the wrong type: .*kernel is '5'; a whole number"),
        ({"kernel": 5.5}, "kernel is 5.5; a whole number is expected"),
        ({"channels": 12}, "channels = 12 must be a list of whole numbers"),
        ({"channels": ["a", "b"]}, r"channels = \['a', 'b'\] must be a list of whole numbers"),
        ({"threshold": 0}, "threshold = 0 is not a finite number above 0"),
        ({"name": "motion-lif", "betas": 0.5}, "betas = 0.5 must be a list of numbers"),
    ],
)
def test_a_network_that_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        network_from(values)


def test_a_table_with_layers_needs_no_name() -> None:
    assert network_from({"layers": ["20", "lif", 10]}) == Layered(layers=("20", "lif", "10"))
    assert network_from({}) == ConvLIF()


def test_counts_of_another_shape_are_refused_with_the_right_one() -> None:
    with pytest.raises(ShapeError, match=r"\(T, B, 2, 18, 21\)"):
        SMALL.build()(torch.zeros(5, 3, 2, 21, 18))
