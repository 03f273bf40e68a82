"""Encoders of your own: drawn by the seed, checked, and judged by commands."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dvskit import encoders, evaluation, training
from dvskit.datasets import Encode, IdxImages
from dvskit.encoders import register_encoder
from dvskit.encoders.names import ENCODERS
from dvskit.errors import ConfigError, DvskitError
from dvskit.models import InputConfig, load_model
from dvskit.networks import Layered
from dvskit.training import Config, ImageData, LoopConfig
from tests.drawn_samples import events_of
from tests.laws import forgotten, refused, refused_command
from tests.test_images import digits  # noqa: F401 (a fixture)

PACKAGE = Path(__file__).parent / "extension_package" / "garden"


@pytest.fixture(autouse=True)
def burst() -> Iterator[Callable[..., torch.Tensor]]:
    """`burst` of the package, and `three` of three channels."""
    with forgotten(ENCODERS):
        register_encoder("three", three)
        yield runpy.run_path(str(PACKAGE / "encoders.py"))["burst"]


def three(images: torch.Tensor, steps: int, generator: torch.Generator) -> torch.Tensor:
    """The brightness, its inverse and noise, as channels."""
    drawn = torch.rand(images.shape, generator=generator)
    return torch.stack([images, 1 - images, drawn], -3).expand(
        steps, *images.shape[:-2], -1, -1, -1
    )


def drawn(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_name_gives_the_spikes_of_the_function_itself(
    digits: IdxImages,  # noqa: F811
    burst: Callable[..., torch.Tensor],
) -> None:
    image = digits.image(1)
    for channels in (1, 2):
        named = Encode("burst", 9, (28, 28), channels)(image, drawn())
        assert torch.equal(named, Encode(burst, 9, (28, 28), channels)(image, drawn()))
        assert (named.shape, named.dtype) == ((9, channels, 28, 28), torch.float32)
    seed = int(drawn().integers(1 << 62))
    pixels = torch.from_numpy(image) / 255
    plain = burst(pixels, 9, torch.Generator().manual_seed(seed))
    assert torch.equal(named, encoders.two_channels(plain))
    assert 0 < plain.sum() < plain.numel()


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (lambda image, steps, g: image, ["(4, 6)", "(3, 4, 6)", "3 steps"]),
        (lambda image, steps, g: torch.zeros(3, 6, 4), ["(3, 6, 4)"]),
        (lambda image, steps, g: torch.zeros(3, 0, 4, 6), ["(3, 0, 4, 6)"]),
        (lambda image, steps, g: torch.zeros(()), ["()"]),
        (lambda image, steps, g: torch.full((3, 4, 6), torch.nan), ["nan"]),
        (lambda image, steps, g: image.numpy(), ["ndarray"]),
        (lambda image, steps, g: torch.zeros(3, 5, 4, 6), ["5 channels", "channels = 5"]),
        (lambda image, steps, g: image[9], ["IndexError"]),
    ],
)
def test_spikes_that_cannot_be_are_refused_with_the_name_of_the_encoder(
    kind: Any, named: list[str]
) -> None:
    register_encoder("bad", kind)
    with refused(DvskitError, "'bad'", *named):
        Encode("bad", 3, (6, 4))(np.zeros((4, 6), np.uint8), drawn())


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float64, torch.float16])
def test_spikes_of_any_dtype_become_float32(dtype: torch.dtype) -> None:
    register_encoder("any", lambda image, steps, g: (image > 0).expand(steps, 4, 6).to(dtype))
    spikes = Encode("any", 3, (6, 4))(np.full((4, 6), 9, np.uint8), drawn())
    assert spikes.dtype == torch.float32
    assert (spikes[:, 0].sum(), spikes[:, 1].sum()) == (0, 3 * 24)


def test_a_model_learns_from_spikes_of_three_channels_and_is_judged_by_them(
    digits: IdxImages,  # noqa: F811
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    run: Callable[..., tuple[int, str, str]],
) -> None:
    output = tmp_path_factory.mktemp("run")
    words = ("4C3", "lif", "M8", "11")
    data = ImageData(encoder="three", path=str(tmp_path), count=4, validation=0.0)
    config = Config(
        output=str(output),
        network=Layered(layers=words, width=28, height=28, inputs=3, classes=11),
        input=InputConfig(bins=4, channels=3, representation=""),
        data=(data,),
        loop=LoopConfig(epochs=1, steps=2, keep="last"),
    )
    assert list(training.train(config).results) == ["three"]
    model = load_model(output)
    assert evaluation.evaluate(model, digits, split="all").encoder == "three"
    image = digits.image(0)
    spikes = Encode("three", 4, (28, 28), 3)(image, drawn(0))
    with torch.no_grad():
        shares = model.module(spikes[:, None]).softmax(1)[0].tolist()
    found = evaluation.classify_image(model, image)
    assert list(found.values()) == pytest.approx(shares)
    with refused(ConfigError, "images"):
        evaluation.classify(model, events_of(1, 50))
    with refused(ConfigError, "data.brust", "'burst'"):
        Config(data=(ImageData(encoder="brust"),))
    judge = ("eval", output, tmp_path, "--split", "all")
    assert "encoded by three" in "".join(run(*judge)[1:])
    refused_command(run(*judge, "--encoder", "burst"), "'burst'", "2 channels", "3")
