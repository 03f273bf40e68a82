"""The loop: losses, optimisers, schedules, an early end, chunks of time, and runs that go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from dvskit import evaluation, training
from dvskit.errors import ConfigError
from dvskit.layers import FirstSpike, SpikeCount
from dvskit.networks import Layered
from dvskit.neurons import CustomNeurons
from dvskit.neurons.names import NEURONS
from dvskit.training import Config, LoopConfig, Progress, losses, running
from dvskit.training.losses import LOSSES, answer_of
from tests.bars import config_for
from tests.test_training import same, weights


def changed(config: Config, **loop: object) -> Config:
    return replace(config, loop=replace(config.loop, **loop))


def layered(config: Config, *layers: str) -> Config:
    return replace(config, network=Layered(width=16, height=16, classes=2, layers=layers))


STEPS = ("4C3s2", "lif", "2", "li", "each")


def test_the_loss_of_each_step_is_the_sum_of_the_steps_cross_entropies() -> None:
    generator = torch.Generator().manual_seed(1)
    answer = torch.randn(5, 3, 4, generator=generator)
    labels = torch.tensor([0, 3, 1])
    alone = [functional.cross_entropy(step, labels, label_smoothing=0.1) for step in answer]
    torch.testing.assert_close(LOSSES["each-step"](answer, labels, 0.1), sum(alone))
    torch.testing.assert_close(LOSSES["mean"](answer, labels, 0.1), sum(alone) / 5)
    torch.testing.assert_close(LOSSES["mean"](answer[0], labels, 0.1), alone[0])


@pytest.mark.slow
def test_the_loss_of_each_step_needs_a_network_that_answers_at_each(
    bars: Path, tmp_path: Path
) -> None:
    config = changed(config_for(bars, tmp_path / "run", epochs=1), loss="each-step", steps=2)
    with pytest.raises(ConfigError, match="answers once; end its layers with 'each'"):
        training.train(config)
    trained = training.train(layered(config, *STEPS))
    assert trained.results["recordings"].samples == 6
    shares = evaluation.classify(trained.model, bars / "left" / "0.npz")
    assert sum(shares.values()) == pytest.approx(1)


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
    with pytest.raises(ConfigError, match="chunk_steps = 2, but Linear cannot run in chunks"):
        answer_of(torch.nn.Linear(2, 2), x, LoopConfig(chunk_steps=2))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_optimisers_take_their_parameters_from_the_configuration(name: str) -> None:
    loop = LoopConfig(optimiser=name, betas=(0.5, 0.8), learning_rate=0.1, weight_decay=0.3)
    module = torch.nn.Linear(1, 1, bias=False)
    twin = torch.nn.Parameter(module.weight.detach().clone())
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    theirs = kind([twin], lr=0.1, betas=(0.5, 0.8), weight_decay=0.3)
    ours = losses.make_optimiser(module, loop)
    for k in range(3):
        losses.take_step(ours, (module.weight**2).sum() * (k + 1), loop, 0.1)
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
    module = torch.nn.Linear(2, 1, bias=False)
    loop = LoopConfig(clip_norm=0.5)
    optimiser = losses.make_optimiser(module, loop)
    loss = (module.weight * torch.tensor([3.0, 4.0])).sum()
    losses.take_step(optimiser, loss, loop, 0.1)
    torch.testing.assert_close(module.weight.grad, torch.tensor([[0.3, 0.4]]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accuracies", "epochs"),
    [
        ([0.5, 0.6, 0.6, 0.5, 0.9], 4),
        ([0.9, 0.1, 0.2, 0.9, 0.9], 3),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 5),
    ],
)
def test_a_run_ends_where_no_epoch_was_better_for_as_long_as_patience_allows(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracies: list, epochs: int
) -> None:
    told = iter([*accuracies, *[0.5] * 9])

    def judged(*given: object) -> dict[str, float]:
        return {"accuracy": next(told), "validation_loss": 1.0}

    monkeypatch.setattr(running, "scores_of", judged)
    config = changed(config_for(bars, tmp_path / "run", epochs=5), patience=2, steps=1)
    trained = training.train(config)
    assert len(trained.history) == epochs
    assert len(training.train(config).history) == epochs  # it stays ended


@pytest.mark.slow
@pytest.mark.parametrize("at_step", [1, 2, 8])
def test_a_run_that_is_killed_within_an_epoch_gives_the_same_weights(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_step: int
) -> None:
    monkeypatch.setattr(running, "_KEPT_SECONDS", -1.0)  # a checkpoint behind each step
    monkeypatch.setattr(running, "_EVERY_SECONDS", -1.0)
    config = config_for(bars, tmp_path / "run")

    def kill(at: Progress) -> None:
        if at.step > at_step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(config, progress=kill)
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
    steps: list[int] = []
    resumed = training.train(config, progress=lambda at: steps.append(at.step))
    assert steps[0] == at_step + 1
    whole = training.train(replace(config, output=str(tmp_path / "whole")))
    assert same(weights(resumed.folder), weights(whole.folder))
    for name in ("loss", "accuracy", "validation_loss"):
        assert [r[name] for r in resumed.history] == [r[name] for r in whole.history]


def test_precision_is_that_of_the_configuration() -> None:
    from dvskit.training.device import training_precision

    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with training_precision(torch.device("cpu"), name):
            assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


SPIKES = {
    "count": ("4C3s2", "lif", "2", "lif", "count"),
    "first-spike": ("4C3s2", "lif", "2", "lif", "first"),
}


def test_the_loss_of_counts_is_snntorchs() -> None:
    from snntorch.functional import ce_count_loss

    generator = torch.Generator().manual_seed(1)
    spikes = (torch.rand(7, 5, 4, generator=generator) < 0.4).float().requires_grad_()
    labels = torch.tensor([0, 3, 1, 2, 2])
    ours = LOSSES["count"](SpikeCount()(spikes), labels, 0.0)
    (gradient,) = torch.autograd.grad(ours, spikes)
    theirs = ce_count_loss()(spikes, labels)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, spikes)[0])


def test_the_loss_of_first_spikes_is_the_cross_entropy_of_how_soon_they_are() -> None:
    generator = torch.Generator().manual_seed(2)
    spikes = (torch.rand(7, 5, 4, generator=generator) < 0.2).double()
    labels = torch.tensor([0, 3, 1, 2, 2])
    ahead = torch.tensor(
        [[next((t for t in range(7) if spikes[t, b, c]), 7) for c in range(4)] for b in range(5)]
    )
    twin = sum(
        torch.logsumexp(-ahead[b] / 2.0, 0) + ahead[b, label] / 2.0
        for b, label in enumerate(labels.tolist())
    )
    found = LOSSES["first-spike"](FirstSpike(2.0)(spikes), labels, 0.0)
    assert float(found) == pytest.approx(float(twin) / 5)


@pytest.mark.parametrize(
    ("loss", "readout"), [("count", SpikeCount()), ("first-spike", FirstSpike(2.0))]
)
def test_the_losses_of_spikes_have_the_gradients_of_finite_differences(
    loss: str, readout: torch.nn.Module
) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(5, 3, 4, generator=generator, dtype=torch.float64).mul(0.8).add(0.1)
    labels = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(
        lambda given: LOSSES[loss](readout(given), labels, 0.1), x.requires_grad_()
    )


@pytest.mark.slow
@pytest.mark.parametrize("loss", list(SPIKES))
def test_each_loss_of_spikes_learns(bars: Path, tmp_path: Path, loss: str) -> None:
    config = config_for(bars, tmp_path / "run", epochs=6)
    config = changed(layered(config, *SPIKES[loss]), loss=loss, learning_rate=0.01)
    trained = training.train(config)
    assert trained.history[-1]["loss"] < 0.7 * trained.history[0]["loss"]
    assert (
        trained.history[trained.history.index(max(trained.history, key=lambda r: r["accuracy"]))][
            "accuracy"
        ]
        == 1
    )


@pytest.mark.parametrize(
    ("loss", "layers", "message"),
    [
        ("count", STEPS, r"comes from LI; end its layers with .*'count'"),
        ("count", ("4C3s2", "lif", "2"), "comes from MeanMembrane; end its layers with"),
        ("count", ("4C3s2", "lif", "2", "count"), "Linear, does not spike; put neurons there"),
        ("first-spike", SPIKES["count"], "comes from SpikeCount; end its layers with .*'first'"),
        ("first-spike", ("4C3s2", "lif", "2", "li", "first"), "does not spike"),
    ],
)
def test_a_loss_of_spikes_names_the_readout_that_it_needs(
    bars: Path, tmp_path: Path, loss: str, layers: tuple[str, ...], message: str
) -> None:
    config = changed(layered(config_for(bars, tmp_path / "run"), *layers), loss=loss)
    with pytest.raises(ConfigError, match=message):
        training.train(config)
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_ends_at_its_step_and_names_the_first_layer(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Growing(CustomNeurons):
        def integrate(self, current: torch.Tensor, v: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"v": (v + 1e20 * current) ** 3}

    monkeypatch.setattr(NEURONS, "_parts", {**NEURONS, "growing": Growing})
    network = Layered(width=16, height=16, classes=2, layers=("4C5", "growing reset=none", "2"))
    config = replace(config_for(bars, tmp_path / "run"), network=network)
    words = r"diverged at step 1: .* not finite is growing\d?, Growing; lower loop.learning_rate"
    with pytest.raises(ConfigError, match=words):
        training.train(config)
