"""What would be wrong after saving and loading a module of one's own is refused before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dvskit import training
from dvskit.datasets import Samples, open_samples
from dvskit.errors import ConfigError
from dvskit.networks import ModuleNetwork
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
    ("network", "words"),
    [
        (Scaled(2.0), r"'Scaled' would answer otherwise after loading; describe all values"),
        (Drawn(), "'Drawn' would answer otherwise .* register its random constants as buffers"),
        (Running(), "training changes values that are not in its state dict .*register_buffer"),
        (Running(buffer=True), "training changes values that are not in its state dict"),
        (Remembering(), "depends on the batch before, .*; begin its forward at rest"),
        (Remembering(detached=True), "depends on the batch before"),
        (Detached(), r"no gradient leads from its answer to its weights"),
        (Paired(), r"answers \(6, 2, 2, 16, 16\) with tuple; return logits \(B, classes\)"),
        (PairedInTraining(), r"answers \(6, 2, 2, 16, 16\) with tuple"),
        (Chosen(), r"answers with torch.int64; return floats"),
        (RunsOtherwise(), r"run\(x, state\) does not continue forward"),
        (described(hidden=lambda: 8), "could not be loaded again: .*; its fields must be numbers"),
        (described(hidden=torch.ones(3)), "could not be loaded again"),
        (described(hidden=np.float32(8)), "could not be loaded again"),
        (described(hidden=None), "could not be loaded again"),
        (described(hidden={8: 1}), "could not be loaded again"),
        (described(hidden=float("inf")), r"network\.arguments\.hidden = inf is not finite"),
        (described(hidden=2**40), r"network\.arguments\.hidden is larger than 2,147,483,647"),
    ],
)
def test_what_would_be_wrong_after_loading_is_refused_before_training(
    samples: Samples, tmp_path: Path, network, words: str
):
    told: list[object] = []
    with pytest.raises(ConfigError, match=words) as caught:
        run(network, samples, tmp_path / "run", progress=told.append)
    assert "\n" not in str(caught.value)
    assert not told
    assert not (tmp_path / "run").exists()


def test_a_module_is_as_it_was_after_the_checks(samples: Samples):
    torch.manual_seed(4)
    module = nn.Sequential(
        nn.Flatten(2), nn.Linear(512, 4), nn.Dropout(0.5), nn.Unflatten(2, (4, 1)), Normed()
    )
    module[1].eval()  # frozen by the caller
    before = {key: value.clone() for key, value in module.state_dict().items()}
    drawn = torch.random.get_rng_state()
    network = training.model_of(module, samples, INPUT).network
    training.own_checks.check_trains(network, module, INPUT)
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


def test_values_of_a_constructor_that_are_described_are_kept(samples: Samples, tmp_path: Path):
    with pytest.raises(ConfigError, match="'Scaled' would answer otherwise"):
        training.save_model(tmp_path, training.model_of(Scaled(2.0), samples, INPUT))
    given = {"width": 16, "height": 16, "classes": 2, "arguments": {"scale": 2.0}}
    network = ModuleNetwork(module=Scaled(2.0), **given)
    training.save_model(tmp_path, training.model_of(network, samples, INPUT))
    back = training.load_model(tmp_path, networks={"Scaled": Scaled})
    assert torch.equal(logits(back.module), logits(network.module))


def test_a_class_is_made_anew_for_each_run(samples: Samples, tmp_path: Path):
    network = ModuleNetwork(module=MyNet, width=16, height=16, classes=2, arguments={"hidden": 5})
    short = replace(LOOP, epochs=1, steps=1)
    runs = [run(network, samples, tmp_path / name, loop=short) for name in ("a", "b")]
    first, second = (each.model.module for each in runs)
    assert first is not second
    assert torch.equal(logits(first), logits(second))  # drawn by the seed of the run
    assert load_equal(tmp_path / "a", first)


def load_equal(folder: Path, module: nn.Module) -> bool:
    back = training.load_model(folder, networks={"MyNet": MyNet})
    return torch.equal(logits(back.module), logits(module))


def test_lists_in_arguments_come_back(samples: Samples, tmp_path: Path):
    class Listed(MyNet):
        def __init__(self, sizes=(8,)) -> None:
            super().__init__(sizes[0])

    network = ModuleNetwork(
        module=Listed((5, 6)), width=16, height=16, classes=2, arguments={"sizes": (5, 6)}
    )
    training.save_model(tmp_path, training.model_of(network, samples, INPUT))
    back = training.load_model(tmp_path, networks={"Listed": Listed})
    assert back.network == network
    assert torch.equal(logits(back.module), logits(network.module))


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.readout = nn.LazyLinear(2)

    def forward(self, counts):
        return self.readout(counts.flatten(2)).mean(0)


def test_layers_that_find_their_size_are_loaded(samples: Samples, tmp_path: Path):
    model = training.model_of(Lazy(), samples, INPUT)
    training.save_model(tmp_path, model)
    back = training.load_model(tmp_path, networks={"Lazy": Lazy})
    assert torch.equal(logits(back.module), logits(model.module))
