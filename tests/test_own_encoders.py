"""Encoders of your own: by name, drawn by the seed, checked, in configurations and commands."""

from __future__ import annotations

import inspect
import runpy
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dvskit import encoders, evaluation, training
from dvskit.datasets import BatchShare, Encode, IdxImages, ImageBatches
from dvskit.encoders import register_encoder
from dvskit.encoders.names import ENCODERS
from dvskit.errors import ConfigError, DvskitError
from dvskit.networks import Layered
from dvskit.training import Config, DataConfig, InputConfig, LoopConfig, load_model
from tests.drawn_samples import events_of
from tests.test_images import digits  # noqa: F401 (a fixture)

PACKAGE = Path(__file__).parent / "extension_package" / "garden"


@pytest.fixture(autouse=True)
def burst(monkeypatch: pytest.MonkeyPatch) -> Callable[..., torch.Tensor]:
    """`burst` of the package, and `three` of three channels; both are forgotten afterwards."""
    monkeypatch.setattr(ENCODERS, "_parts", dict(ENCODERS))
    register_encoder("three", three)
    return runpy.run_path(str(PACKAGE / "encoders.py"))["burst"]


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


def test_a_seed_draws_the_same_spikes_however_an_epoch_is_cut(
    digits: IdxImages,  # noqa: F811
) -> None:
    for name, channels in (("burst", 2), ("three", 3)):
        encode = Encode(name, 5, (28, 28), channels)
        batches = ImageBatches([BatchShare(samples=digits, count=4, encode=encode)], seed=3)
        whole = [tensor for tensor, _ in batches.epoch(1)]
        later = [tensor for tensor, _ in batches.epoch(1, first=2)]
        assert all(map(torch.equal, whole[2:], later))
        for part, every in zip(batches.epoch(1, part=(1, 2)), whole, strict=True):
            assert torch.equal(part[0], every[:, 1::2])
        other = next(iter(ImageBatches(batches.shares, seed=4).epoch(1)))[0]
        assert not torch.equal(whole[0], other)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (lambda image: image, "encoder 'bad' is <lambda>; register a function mine(images, steps"),
        (lambda image, steps: image, "register a function mine(images, steps, generator)"),
        (lambda image, steps, *, generator: image, "register a function mine(images, steps"),
        (encoders.poisson, "encoder 'bad' is poisson; register a function"),
        (Encode, "encoder 'bad' is Encode; register a function"),
        (5, "encoder 'bad' is 5; register a function"),
    ],
)
def test_other_kinds_are_refused_at_registration(kind: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        register_encoder("bad", kind)
    assert words in str(caught.value)
    assert "bad" not in ENCODERS


def test_a_name_is_taken_once_and_unknown_names_are_one_line() -> None:
    for name in ("poisson", "three"):
        with pytest.raises(ConfigError, match=f"an? encoder named '{name}' is registered already"):
            register_encoder(name, lambda image, steps, generator: image)
    with pytest.raises(ConfigError, match="unknown encoder 'brust'; did you mean 'burst'"):
        Encode("brust", 5, (28, 28))
    with pytest.raises(ConfigError, match=r"data.brust.encoder: unknown encoder 'brust'; did you"):
        DataConfig(kind="images", encoder="brust").check_names()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (lambda image, steps, g: image, r"'bad' returns \(4, 6\) for 3 steps of images \(4, 6\); "
         r"return \(3, 4, 6\), or \(3, C, 4, 6\) with C channels"),
        (lambda image, steps, g: torch.zeros(3, 6, 4), r"'bad' returns \(3, 6, 4\) for 3 steps"),
        (lambda image, steps, g: torch.zeros(3, 0, 4, 6), r"'bad' returns \(3, 0, 4, 6\)"),
        (lambda image, steps, g: torch.zeros(()), r"'bad' returns \(\) for 3 steps"),
        (lambda image, steps, g: torch.full((3, 4, 6), torch.nan), "'bad': spikes is nan at"),
        (lambda image, steps, g: torch.full((3, 4, 6), torch.inf), "'bad': spikes is inf at"),
        (lambda image, steps, g: image.numpy(), "'bad' returns ndarray; return a torch.Tensor"),
        (lambda image, steps, g: torch.zeros(3, 5, 4, 6), "'bad' makes 5 channels, the input has "
         "2; set channels = 5"),
        (lambda image, steps, g: image[9], "'bad': IndexError: index 9 is out of bounds"),
    ],
)  # fmt: skip
def test_spikes_that_cannot_be_are_refused_with_the_name_of_the_encoder(
    kind: Any, words: str
) -> None:
    register_encoder("bad", kind)
    with pytest.raises(DvskitError, match=f"encoder {words}") as caught:
        Encode("bad", 3, (6, 4))(np.zeros((4, 6), np.uint8), drawn())
    assert "\n" not in str(caught.value)


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
    config = Config(
        output=str(output),
        network=Layered(
            layers=("4C3", "lif", "M8", "11"), width=28, height=28, inputs=3, classes=11
        ),
        input=InputConfig(bins=4, channels=3, representation=""),
        data=(
            DataConfig(kind="images", encoder="three", path=str(tmp_path), count=4, validation=0.0),
        ),
        loop=LoopConfig(epochs=1, steps=2, keep="last"),
    )
    assert ENCODERS.registered() == ["three", "burst"]
    trained = training.train(config)
    model = load_model(output)
    assert list(trained.results) == ["three"]
    again = evaluation.evaluate(model, digits, split="all")
    assert again.encoder == "three"
    image = digits.image(0)
    spikes = Encode("three", 4, (28, 28), 3)(image, drawn(0))
    with torch.no_grad():
        shares = model.module(spikes[:, None]).softmax(1)[0].tolist()
    found = evaluation.classify_image(model, image)
    assert list(found.values()) == pytest.approx(shares)
    with pytest.raises(ConfigError, match="takes only encoded still images; for events, name an"):
        evaluation.classify(model, events_of(1, 50))
    words = ("eval", output, tmp_path, "--split", "all")
    assert "encoded by three" in "".join(run(*words)[1:])
    code, _, error = run(*words, "--encoder", "burst")
    assert (code, error.count("\n")) == (2, 1)
    assert "encoder 'burst' makes 2 channels, the input has 3" in error


def test_the_example_in_the_documentation_runs() -> None:
    text = inspect.getdoc(register_encoder) or ""
    code = text[text.index("    import torch") : text.index("kind(images")]
    exec(compile(textwrap.dedent(code).replace('"burst"', '"example"'), "example", "exec"), {})
    spikes = Encode("example", 10, (6, 4))(np.full((4, 6), 102, np.uint8), drawn())
    assert spikes[:, 1].sum(0).eq(4).all()  # 102 / 255 of 10 steps
