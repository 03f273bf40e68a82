"""The loop: losses, optimizers, schedules, an early end, chunks of time, and points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from dvskit import evaluation, layers, load_events, models, training
from dvskit.datasets import open_samples
from dvskit.errors import ConfigError
from dvskit.filters import Vary
from dvskit.layers import FirstSpike, SpikeCount
from dvskit.models import InputConfig
from dvskit.models.inputs import input_of
from dvskit.networks import Layered, PointNet
from dvskit.neurons import CustomNeurons
from dvskit.training import Config, LoopConfig, losses
from dvskit.training.checkpoint import Checkpoint
from dvskit.training.losses import LOSSES, answer_of
from tests.bars import config_for
from tests.laws import refused
from tests.test_tensors_points import numbered


def changed(config: Config, **loop: object) -> Config:
    return replace(config, loop=replace(config.loop, **loop))


def layered(config: Config, *words: str) -> Config:
    return replace(config, network=Layered(width=16, height=16, classes=2, layers=words))


STEPS = ("4C3s2", "lif", "2", "li", "each")
SPIKES = {
    "count": ("4C3s2", "lif", "2", "lif", "count"),
    "first-spike": ("4C3s2", "lif", "2", "lif", "first"),
}
LABELS = torch.tensor([0, 3, 1, 2, 2])


# -- losses


def test_the_loss_of_each_step_is_the_sum_of_the_steps_cross_entropies() -> None:
    generator = torch.Generator().manual_seed(1)
    answer = torch.randn(5, 3, 4, generator=generator)
    labels = LABELS[:3]
    alone = [functional.cross_entropy(step, labels, label_smoothing=0.1) for step in answer]
    torch.testing.assert_close(LOSSES["each-step"](answer, labels, 0.1), sum(alone))
    torch.testing.assert_close(LOSSES["mean"](answer, labels, 0.1), sum(alone) / 5)
    torch.testing.assert_close(LOSSES["mean"](answer[0], labels, 0.1), alone[0])


def test_the_loss_of_counts_is_snntorchs() -> None:
    from snntorch.functional import ce_count_loss

    generator = torch.Generator().manual_seed(1)
    spikes = (torch.rand(7, 5, 4, generator=generator) < 0.4).float().requires_grad_()
    ours = LOSSES["count"](SpikeCount()(spikes), LABELS, 0.0)
    (gradient,) = torch.autograd.grad(ours, spikes)
    theirs = ce_count_loss()(spikes, LABELS)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, spikes)[0])


def test_the_loss_of_first_spikes_is_the_cross_entropy_of_how_soon_they_are() -> None:
    generator = torch.Generator().manual_seed(2)
    spikes = (torch.rand(7, 5, 4, generator=generator) < 0.2).double()
    ahead = torch.tensor(
        [[next((t for t in range(7) if spikes[t, b, c]), 7) for c in range(4)] for b in range(5)]
    )
    twin = sum(
        torch.logsumexp(-ahead[b] / 2.0, 0) + ahead[b, label] / 2.0
        for b, label in enumerate(LABELS.tolist())
    )
    found = LOSSES["first-spike"](FirstSpike(2.0)(spikes), LABELS, 0.0)
    assert float(found) == pytest.approx(float(twin) / 5)


@pytest.mark.parametrize(
    ("loss", "readout"), [("count", SpikeCount()), ("first-spike", FirstSpike(2.0))]
)
def test_the_losses_of_spikes_have_the_gradients_of_finite_differences(loss, readout) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(5, 3, 4, generator=generator, dtype=torch.float64).mul(0.8).add(0.1)
    assert torch.autograd.gradcheck(
        lambda given: LOSSES[loss](readout(given), LABELS[:3], 0.1), x.requires_grad_()
    )


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["count", "first-spike", "each-step"])
def test_each_loss_learns_with_its_readout(bars: Path, tmp_path: Path, loss: str) -> None:
    config = config_for(bars, tmp_path / "run", epochs=5)
    layers = {**SPIKES, "each-step": STEPS}[loss]
    config = changed(layered(config, *layers), loss=loss, learning_rate=0.01)
    trained = training.train(config)
    assert trained.history[-1]["loss"] < 0.8 * trained.history[0]["loss"]
    assert max(row["accuracy"] for row in trained.history) > 0.7


@pytest.mark.parametrize(
    ("loss", "layers", "named"),
    [
        ("each-step", ("4C3s2", "lif", "2"), "'each'"),
        ("count", STEPS, "LI"),
        ("count", ("4C3s2", "lif", "2", "count"), "Linear"),
        ("first-spike", SPIKES["count"], "SpikeCount"),
    ],
)
def test_a_loss_names_the_readout_that_it_needs(
    bars: Path, tmp_path: Path, loss: str, layers: tuple[str, ...], named: str
) -> None:
    config = changed(layered(config_for(bars, tmp_path / "run"), *layers), loss=loss)
    with refused(ConfigError, named):
        training.train(config)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_running_in_chunks_of_time_gives_the_same_gradients(bars: Path) -> None:
    config = layered(config_for(bars, Path("unused")), *STEPS)
    torch.manual_seed(2)
    module = config.network.build()
    x = torch.rand(6, 2, 2, 16, 16, generator=torch.Generator().manual_seed(3)) * 2
    found = []
    for chunk in (0, 1, 4):
        module.zero_grad()
        answer = answer_of(module, x, LoopConfig(chunk_steps=chunk))
        LOSSES["each-step"](answer, torch.tensor([0, 1]), 0.0).backward()
        found.append([weight.grad.clone() for weight in module.parameters()])
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            torch.testing.assert_close(first, second)
    with refused(ConfigError, "chunk_steps = 2", "Linear"):
        answer_of(nn.Linear(2, 2), x, LoopConfig(chunk_steps=2))


# -- steps


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_optimizers_take_their_parameters_from_the_configuration(name: str) -> None:
    loop = LoopConfig(optimizer=name, betas=(0.5, 0.8), learning_rate=0.1, weight_decay=0.3)
    module = nn.Linear(1, 1, bias=False)
    twin = nn.Parameter(module.weight.detach().clone())
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    theirs = kind([twin], lr=0.1, betas=(0.5, 0.8), weight_decay=0.3)
    ours = losses.make_optimizer(module, loop)
    for k in range(3):
        losses.take_step(ours, (module.weight**2).sum() * (k + 1), rate=0.1)
        theirs.zero_grad()
        ((twin**2).sum() * (k + 1)).backward()
        theirs.step()
    assert torch.equal(module.weight, twin)


def test_the_rate_falls_along_a_cosine_or_stays() -> None:
    falling, constant = LoopConfig(learning_rate=2.0), LoopConfig(schedule="constant")
    rates = [losses.rate_at(falling, step, 4) for step in range(5)]
    assert rates == pytest.approx([2, 1 + 2**-0.5, 1, 1 - 2**-0.5, 0])
    assert losses.rate_at(constant, 3, 4) == constant.learning_rate


def test_a_gradient_is_no_longer_than_the_norm_that_is_allowed() -> None:
    module = nn.Linear(2, 1, bias=False)
    loop = LoopConfig()
    loss = (module.weight * torch.tensor([3.0, 4.0])).sum()
    losses.take_step(losses.make_optimizer(module, loop), loss, rate=0.1, clip_norm=0.5)
    torch.testing.assert_close(module.weight.grad, torch.tensor([[0.3, 0.4]]))


def test_precision_is_that_of_the_configuration() -> None:
    from dvskit.training.distributed import training_precision

    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with training_precision(torch.device("cpu"), name):
            assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1e-30, 0.02])
def test_a_run_ends_where_no_epoch_was_better_for_as_long_as_patience_allows(
    bars: Path, tmp_path: Path, rate: float
) -> None:
    config = config_for(bars, tmp_path / "run", epochs=5)
    config = changed(config, patience=2, steps=1, learning_rate=rate)
    trained = training.train(config)
    merits = [(row["accuracy"], -row["validation_loss"]) for row in trained.history]
    best = [merits[: k + 1].index(max(merits[: k + 1])) for k in range(len(merits))]
    late = [k for k in range(len(merits)) if k - best[k] >= 2]
    assert late in ([], [len(merits) - 1])
    assert len(merits) == (5 if not late else late[0] + 1)
    assert len(merits) == 3 or rate > 1e-30
    assert trained.model.about["scores"]["epoch"] == best[-1]
    assert len(training.train(config).history) == len(merits)  # it stays ended


def test_patience_needs_samples_that_tell_which_epoch_is_better(bars: Path, tmp_path: Path) -> None:
    config = changed(config_for(bars, tmp_path / "run"), patience=2, keep="last")
    with refused(ConfigError, "loop.patience"):
        training.train(replace(config, data=(replace(config.data[0], validation=0.0),)))


@pytest.mark.parametrize(("keep", "kept"), [("best", 1), ("last", 3)])
def test_the_weights_of_the_best_epoch_are_kept_and_of_equals_the_first(keep, kept) -> None:
    rows = [(0.5, 0.1), (0.75, 0.3), (0.75, 0.3), (0.75, 0.4)]
    at = Checkpoint("")
    for number, (accuracy, loss) in enumerate(rows):
        row = {"accuracy": accuracy, "validation_loss": loss}
        at.record(row, {"w": torch.tensor([number])}, keep)
    assert (at.best["w"].item(), at.best_epoch) == (kept, 1)


class Growing(CustomNeurons):
    """Neurons of a potential that soon is not finite."""

    def integrate(self, current: torch.Tensor, v: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"v": (v + 1e20 * current) ** 3}


def test_a_run_that_diverges_ends_at_its_step_and_names_the_first_layer(
    bars: Path, tmp_path: Path
) -> None:
    ahead, behind = layers.Conv2d(2, 4, 5), layers.Linear(576, 2)
    growing = Growing(reset="none")
    module = nn.Sequential(ahead, growing, layers.Flatten(), behind, layers.MeanMembrane())
    with refused(ConfigError, "step 1", "1, Growing", "loop.learning_rate"):
        training.train(module, open_samples(bars), output=str(tmp_path / "run"))


# -- networks of points

POINTS = PointNet(width=16, height=16, classes=2, widths=(16, 32), hidden=16, dropout=0.0)
INPUT = InputConfig(bins=6, bin_us=1_500, representation="point_set", points=64)


@pytest.mark.slow
def test_a_network_of_points_learns_and_its_model_says_all(bars: Path, tmp_path: Path) -> None:
    config = config_for(bars, tmp_path / "run")
    data = (replace(config.data[0], count=16, augment=Vary()),)
    loop = LoopConfig(epochs=4, steps=15, learning_rate=0.01)
    trained = training.train(replace(config, network=POINTS, input=INPUT, loop=loop, data=data))
    assert trained.results["recordings"].accuracy >= 0.8
    model = models.load_model(tmp_path / "run")
    assert (model.network, model.input) == (POINTS, INPUT)
    again = evaluation.evaluate(model, bars)
    assert again.accuracy == trained.results["recordings"].accuracy
    events = load_events(bars / "left" / "0.npz")
    later = replace(events, t=events.t + 123_456, size=events.sensor_size)
    assert evaluation.classify(model, later) == evaluation.classify(model, events)


def test_the_window_of_points_is_that_of_the_bins() -> None:
    events = numbered(1_000)  # one a microsecond
    given = replace(INPUT, bins=4, bin_us=100, points=2_000)
    cloud = input_of(given, events, None)
    assert cloud.shape == (2_000, 4)
    assert 0.99 < float(cloud[:, 2].max()) < 1
    assert int((cloud[:, 2] * 400).round().max()) == 399
