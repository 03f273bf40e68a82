"""Networks of snntorch and spikingjelly as modules of one's own, and steps, windows and ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dvskit import evaluation, models
from dvskit.datasets import Samples, open_samples
from dvskit.errors import ConfigError
from dvskit.evaluation import decide, evaluate_over_time
from dvskit.models import load_model, model_of
from dvskit.networks import onnx_start, write_onnx, write_onnx_step
from tests.bars import moving_bar
from tests.laws import refused
from tests.test_own_networks import INPUT, MyNet, logits, run

SHAPE = (2, 16, 16)


@pytest.fixture
def samples(bars: Path) -> Samples:
    return open_samples(bars)


class Hidden(nn.Module):
    """snntorch's neurons with hidden states."""

    def __init__(self) -> None:
        import snntorch

        super().__init__()
        leaky = snntorch.Leaky(beta=0.9, init_hidden=True)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(512, 16), leaky, nn.Linear(16, 2))

    def forward(self, counts: Tensor) -> Tensor:
        from snntorch import utils

        utils.reset(self.layers)
        return self.unset(counts)

    def unset(self, counts: Tensor) -> Tensor:
        return torch.stack([self.layers(step) for step in counts]).mean(0)


class Jelly(nn.Module):
    """A network of spikingjelly in multi-step mode."""

    def __init__(self) -> None:
        from spikingjelly.activation_based import functional, layer, neuron, surrogate

        super().__init__()
        spiking = neuron.LIFNode(surrogate_function=surrogate.ATan())
        dense = (layer.Linear(512, 16), layer.Linear(16, 2))
        self.layers = nn.Sequential(layer.Flatten(), dense[0], spiking, dense[1])
        functional.set_step_mode(self, "m")

    def forward(self, counts: Tensor) -> Tensor:
        from spikingjelly.activation_based import functional

        functional.reset_net(self)
        return self.unset(counts)

    def unset(self, counts: Tensor) -> Tensor:
        return self.layers(counts).mean(0)


CLASSES = [("snntorch", Hidden), ("spikingjelly", Jelly)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("package", "kind"), CLASSES)
def test_a_network_of_a_peer_is_trained_saved_loaded_and_judged(
    package: str, kind, samples: Samples, tmp_path: Path
):
    pytest.importorskip(package)
    torch.manual_seed(1)
    trained = run(kind(), samples, tmp_path / "run")
    assert trained.results["bars"].accuracy > 0.8
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    back = load_model(tmp_path / "run", networks={kind.__name__: kind})
    assert torch.equal(logits(back.module), logits(trained.model.module))
    again = evaluation.evaluate(back, samples, split="test")
    assert np.array_equal(again.confusion, trained.results["bars"].confusion)
    last = [each.probabilities for each in decide(back, moving_bar(True, 3))][INPUT.bins - 1]
    assert last == pytest.approx(evaluation.classify(back, moving_bar(True, 3)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("package", "kind", "fix"),
    [("snntorch", Hidden, "utils.reset("), ("spikingjelly", Jelly, "functional.reset_net(")],
)
def test_a_network_whose_states_are_not_reset_is_refused(
    package: str, kind, fix: str, samples: Samples, tmp_path: Path, monkeypatch
):
    pytest.importorskip(package)
    monkeypatch.setattr(kind, "forward", kind.unset)
    with refused(ConfigError, fix):
        run(kind(), samples, tmp_path / "run")
    with refused(ConfigError, fix):
        model_of(kind(), samples, INPUT)


@pytest.mark.slow
def test_what_onnx_cannot_write_is_an_error_of_one_line(tmp_path: Path):
    class Listing(MyNet):
        def forward(self, counts: Tensor) -> Tensor:
            return super().forward(counts) * float(counts.sum().tolist() > 3)

    with refused(ConfigError, "torch.onnx.export"):
        write_onnx(Listing(), tmp_path / "net.onnx", SHAPE, steps=6)
    with refused(ConfigError, "MyNet", "shape="):
        write_onnx(MyNet(), tmp_path / "net.onnx", steps=6)
    with refused(ConfigError, "MyNet", "run(x, state)"):
        write_onnx_step(MyNet(), tmp_path / "net.onnx", SHAPE)
    assert not list(tmp_path.iterdir())


class Stepping(nn.Module):
    """An equation of its own, v = 0.8 v + x, that answers at each step or once."""

    def __init__(self, *, once: bool = False, start: float = 0.0) -> None:
        super().__init__()
        self.fc, self.once, self.start = nn.Linear(512, 2), once, start

    def forward(self, counts: Tensor) -> Tensor:
        return self.run(counts)[0]

    def run(self, x: Tensor, state=None) -> tuple[Tensor, dict[str, Tensor]]:
        v = torch.full_like(self.fc(x[0].flatten(1)), self.start) if state is None else state["v"]
        out = []
        for step in x.flatten(2):
            v = 0.8 * v + self.fc(step)
            out.append(v)
        return (v if self.once else torch.stack(out)), {"v": v}


def test_a_module_with_run_steps_live_and_over_time(samples: Samples):
    steps: list[int] = []

    class Counted(Stepping):
        def run(self, x: Tensor, state=None):
            steps.append(len(x))
            return super().run(x, state)

    model = model_of(Counted(), samples, INPUT)
    steps.clear()
    events = moving_bar(True, 3)
    decisions = list(decide(model, events))
    assert set(steps) == {1}
    assert decisions[INPUT.bins - 1].probabilities == pytest.approx(
        evaluation.classify(model, events)
    )
    each = evaluate_over_time(model, samples).results
    assert len(each) == INPUT.bins
    whole_result = evaluation.evaluate(model, samples, split="all")
    assert np.array_equal(each[-1].confusion, whole_result.confusion)


def test_a_module_that_answers_once_is_judged_on_windows(samples: Samples):
    model = model_of(Stepping(once=True), samples, INPUT)
    events = moving_bar(True, 3)
    decisions = list(decide(model, events))
    start = INPUT.bin_us * (len(decisions) - INPUT.bins)  # windows begin at rest
    seen = events.between(int(events.t[0]) + start, None)
    input = models.inputs.input_of(INPUT, seen, None, int(events.t[0]) + start)
    shares = torch.softmax(model.module(input[:, None])[0], 0).tolist()
    assert list(decisions[-1].probabilities.values()) == pytest.approx(shares)
    assert len(evaluate_over_time(model, samples).results) == INPUT.bins


def test_modules_without_steps_or_with_another_rest_are_refused(samples: Samples, tmp_path: Path):
    with refused(ConfigError, "MyNet", "run(x, s"):
        evaluate_over_time(model_of(MyNet(), samples, INPUT), samples)
    with refused(ConfigError, "Stepping", "rest"):
        write_onnx_step(Stepping(start=1.0), tmp_path / "step.onnx", SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize("once", [False, True])
def test_steps_of_a_module_with_run_are_written_as_onnx(tmp_path: Path, once: bool):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    module = Stepping(once=once)
    write_onnx_step(module, tmp_path / "step.onnx", SHAPE)
    session = onnxruntime.InferenceSession(str(tmp_path / "step.onnx"))
    states, x = onnx_start(module, SHAPE), torch.rand(3, 1, *SHAPE)
    assert list(states) == ["v"]
    for step in x:
        out, states["v"] = session.run(None, {"x": step.numpy(), **states})
    expected = module(x) if once else module(x)[-1]
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
