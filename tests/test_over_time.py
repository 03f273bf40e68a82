"""Accuracy against the time seen: what judging the first steps alone gives, from one pass."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dvskit.datasets import ImageSamples
from dvskit.errors import ConfigError
from dvskit.evaluation import OverTime, Result, evaluate, evaluate_over_time
from dvskit.models import InputConfig, Model
from dvskit.models.scores import percent_texts
from dvskit.networks import Layered
from dvskit.training import Trained
from tests.laws import refused

ENDS = {
    "mean": ("4C3", "P2", "lif", "2"),
    "last": ("4C3", "signed-lif", "2", "li", "last"),
    "count": ("4C3s2", "lif", "2", "lif", "count"),
    "first": ("4C3s2", "lif", "2", "lif", "first tau=2"),
    "each": ("4C3s2", "lif", "2", "lif", "membrane", "each"),
    "recurrent": ("8", "recurrent-lif", "2"),
    "residual": ("4C3p1", "lif", ["4C3p1", "lif"], "P2", "2"),
}


def model_of(layers: tuple, bins: int = 6, seed: int = 0, inputs: int = 2) -> Model:
    torch.manual_seed(seed)
    network = Layered(layers=layers, width=16, height=16, classes=2, inputs=inputs)
    given = InputConfig(bins=bins, bin_us=1_500, channels=inputs)
    return Model("random", network, network.build().eval(), given, ("left", "right"))


def same(first: Result, second: Result) -> bool:
    return bool((first.confusion == second.confusion).all()) and first.loss == pytest.approx(
        second.loss, rel=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_after_each_step_it_is_what_judging_the_first_steps_alone_gives(
    bars: Path, end: str
) -> None:
    model = model_of(ENDS[end])
    model.module.train()
    found = evaluate_over_time(model, bars, split="all")
    assert model.module.training  # it is left in the mode it was in
    model.module.eval()
    assert len(found.results) == 6
    for bins, result in enumerate(found.results, 1):
        alone = replace(model, input=replace(model.input, bins=bins))
        assert same(result, evaluate(alone, bars, split="all")), bins


class Gray(ImageSamples):
    """Twelve images of 8x8 pixels; those of "right" are bright on the right."""

    def image(self, number: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        image = rng.integers(0, 90, (8, 8)).astype(np.uint8)
        image[:, 4:] += np.uint8(90 * self.labels[number])
        return image

    def fingerprint(self, number: int) -> str:
        return f"gray {number}"


@pytest.mark.parametrize("encoder", ["direct", "latency"])
def test_of_images_it_is_of_the_first_steps_of_their_code(encoder: str) -> None:
    from dvskit.datasets import Sample

    stills = Gray([Sample(f"{k}", ("left", "right")[k % 2]) for k in range(12)])
    model = model_of(ENDS["each"], inputs=1)
    found = evaluate_over_time(model, stills, split="all", encoder=encoder, seed=1)
    assert found.bin_us is None
    assert found.settled_us is None
    assert same(found.results[-1], evaluate(model, stills, split="all", encoder=encoder, seed=1))
    if encoder == "direct":  # of other codes the number of steps changes what a step holds
        alone = replace(model, input=replace(model.input, bins=3))
        result = evaluate(alone, stills, split="all", encoder=encoder, seed=1)
        assert same(found.results[2], result)


def over_time_of(right: list[int], of: int) -> OverTime:
    results = [Result(("a", "b"), np.array([[n, of - n], [0, 0]]), 0.1) for n in right]
    return OverTime(tuple(results), 10_000)


@pytest.mark.parametrize(
    ("right", "of", "steps"),
    [
        ([50, 80, 88, 94, 95], 100, 4),  # the interval of 95 of 100 begins at 88.8 %
        ([95, 20, 94, 95, 95], 100, 3),  # it falls again behind the first step
        ([7, 8, 10], 10, 2),  # all right at the end: the interval begins at 72 %
        ([10, 9, 8], 10, 1),  # above the end's is not below it
        ([0], 10, 1),
    ],
)
def test_it_has_settled_once_it_stays_within_the_interval_of_the_end(
    right: list[int], of: int, steps: int
) -> None:
    found = over_time_of(right, of)
    assert found.settled == steps
    assert found.settled_us == steps * 10_000
    ends = found.accuracy[steps - 1 :]
    assert (ends >= found.interval_95[-1, 0]).all()


def test_a_network_that_has_no_steps_is_refused(bars: Path) -> None:
    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, counts: torch.Tensor) -> torch.Tensor:
            return counts.mean((0, 2, 3, 4))[:, None].repeat(1, 2)

    model = replace(model_of(ENDS["mean"]), module=Whole())
    with refused(ConfigError, "random", "Whole"):
        evaluate_over_time(model, bars, split="all")


@pytest.mark.slow
def test_eval_says_it_draws_it_and_gives_it_as_json(
    run, trained: Trained, bars: Path, tmp_path: Path
) -> None:
    code, out, _ = run("eval", trained.folder, bars, "--over-time", "--plot", "t.png")
    found = evaluate_over_time(trained.model, bars)
    assert code == 0
    for step in range(1, 7):
        share, *_ = percent_texts(found.accuracy[step - 1], *found.interval_95[step - 1])
        row = next(line for line in out.splitlines() if line.startswith(f"{1.5 * step:g} ms "))
        assert f" {share} %  " in row
    assert f"after {1.5 * found.settled:g} ms " in out
    assert (tmp_path / "t.png").stat().st_size > 10_000
    values = json.loads(run("eval", trained.folder, bars, "--over-time", "--json")[1])["over_time"]
    assert values["accuracy"] == found.accuracy.tolist()
    assert values["interval_95"] == found.interval_95.tolist()
    assert values["settled_us"] == found.settled_us


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--plot", "t.png"), "--plot"),
        (("--over-time", "--plot", "old.png"), "old.png"),
        (("--matrix", "m"), "m: "),
        (("--over-time", "--plot", "a.png", "--matrix", "a.png"), "a.png"),
    ],
)
def test_eval_refuses_pictures_before_anything_is_judged(
    run, trained: Trained, bars: Path, tmp_path: Path, words: tuple[str, ...], named: str
) -> None:
    (tmp_path / "old.png").write_bytes(b"mine")
    code, out, err = run("eval", trained.folder, bars, *words)
    assert (code in (1, 2), out) == (True, "")
    assert named in err
    assert (tmp_path / "old.png").read_bytes() == b"mine"
