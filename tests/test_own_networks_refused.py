"""Networks of your own that would answer otherwise after loading are refused before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dvskit import models
from dvskit.datasets import Samples, open_samples
from dvskit.errors import ConfigError
from dvskit.networks import ModuleNetwork
from tests.laws import refused
from tests.test_own_networks import INPUT, LOOP, MyNet, logits, run


@pytest.fixture
def samples(bars: Path) -> Samples:
    return open_samples(bars)


class Scaled(MyNet):
    """Its constructor takes a value that its weights do not show."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, counts):
        return self.scale * super().forward(counts)


class Drawn(MyNet):
    """Draws a constant that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = (torch.rand(6, 1, 2, 16, 16) > 0.5).float()

    def forward(self, counts):
        return super().forward(counts * self.mask)


class Running(MyNet):
    """Learns a mean outside of its state dict, as a plain tensor or a buffer that is not saved."""

    def __init__(self, *, buffer: bool = False) -> None:
        super().__init__()
        if buffer:
            self.register_buffer("mean", torch.zeros(()), persistent=False)
        else:
            self.mean = torch.zeros(())

    def forward(self, counts):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * counts.mean()
        return super().forward(counts - self.mean)


class Remembering(MyNet):
    """Keeps a state after a call, with its graph or without."""

    def __init__(self, *, detached: bool = False) -> None:
        super().__init__()
        self.detached, self.last = detached, None

    def forward(self, counts):
        answer = super().forward(counts)
        out = answer if self.last is None else answer + 0.5 * self.last
        self.last = out.detach() if self.detached else out
        return out


class Detached(MyNet):
    def forward(self, counts):
        return super().forward(counts).detach()


class Paired(MyNet):
    def forward(self, counts):
        return super().forward(counts), counts


class PairedInTraining(MyNet):
    def forward(self, counts):
        answer = super().forward(counts)
        return (answer, counts) if self.training else answer


class Chosen(MyNet):
    def forward(self, counts):
        return super().forward(counts).argmax(1, keepdim=True).expand(-1, 2)


class RunsOtherwise(MyNet):
    def run(self, minutes):
        raise AssertionError


def described(**arguments):
    return ModuleNetwork(module=MyNet(), width=16, height=16, classes=2, arguments=arguments)


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (Scaled(2.0), ["'Scaled'", "otherwise after loading"]),
        (Drawn(), ["'Drawn'", "buffers"]),
        (Running(), ["state dict"]),
        (Running(buffer=True), ["state dict"]),
        (Remembering(), ["batch before"]),
        (Remembering(detached=True), ["batch before"]),
        (Detached(), ["gradient"]),
        (Paired(), ["tuple", "(B, classes)"]),
        (PairedInTraining(), ["tuple"]),
        (Chosen(), ["torch.int64"]),
        (RunsOtherwise(), ["run(x, state)"]),
        (described(hidden=lambda: 8), ["could not be loaded again"]),
        (described(hidden=None), ["could not be loaded again"]),
    ],
)
def test_a_network_is_refused_before_training(samples: Samples, tmp_path: Path, network, named):
    begun: list[object] = []
    with refused(ConfigError, *named):
        run(network, samples, tmp_path / "run", progress=begun.append)
    assert begun == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("hidden", [float("inf"), 2**40])
def test_arguments_that_could_not_be_loaded_are_refused(hidden: float):
    with refused(ConfigError, "arguments.hidden", hidden, "2,147,483,647"):
        described(hidden=hidden)


def test_a_module_is_as_it_was_after_the_checks(samples: Samples):
    torch.manual_seed(4)
    module = nn.Sequential(
        nn.Flatten(2), nn.Linear(512, 4), nn.Dropout(0.5), nn.Unflatten(2, (4, 1)), Normed()
    )
    module[1].eval()  # frozen by the caller
    before = {key: value.clone() for key, value in module.state_dict().items()}
    drawn = torch.random.get_rng_state()
    network = models.model_of(module, samples, INPUT).network
    models.own_networks.check_trains(network, module, INPUT)
    models.own_networks.check_same_again(network, module, INPUT)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert (module.training, module[1].training, module[2].training) == (True, False, True)
    assert torch.equal(torch.random.get_rng_state(), drawn)


class Normed(nn.Module):
    """Statistics that training changes, and that are saved."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.out = nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.norm(x.mean(0).flatten(1)))


def test_a_class_is_made_anew_for_each_run(samples: Samples, tmp_path: Path):
    network = ModuleNetwork(module=MyNet, width=16, height=16, classes=2, arguments={"hidden": 5})
    short = replace(LOOP, epochs=1, steps=1)
    runs = [run(network, samples, tmp_path / name, loop=short) for name in ("a", "b")]
    first, second = (each.model.module for each in runs)
    assert first is not second
    assert torch.equal(logits(first), logits(second))  # drawn by the seed of the run
    back = models.load_model(tmp_path / "a", networks={"MyNet": MyNet})
    assert torch.equal(logits(back.module), logits(first))


class Listed(MyNet):
    def __init__(self, sizes=(8,)) -> None:
        super().__init__(sizes[0])


class Lazy(nn.Module):
    """Its layers find their size in the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.readout = nn.LazyLinear(2)

    def forward(self, counts):
        return self.readout(counts.flatten(2)).mean(0)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [(Scaled(2.0), {"scale": 2.0}), (Listed((5, 6)), {"sizes": (5, 6)}), (Lazy(), {})],
)
def test_a_network_whose_constructor_is_described_is_loaded(samples, tmp_path, module, arguments):
    network = ModuleNetwork(module=module, width=16, height=16, classes=2, arguments=arguments)
    models.save_model(tmp_path, models.model_of(network, samples, INPUT))
    kind = type(module)
    back = models.load_model(tmp_path, networks={kind.__name__: kind})
    assert back.network == network
    assert torch.equal(logits(back.module), logits(network.module))
