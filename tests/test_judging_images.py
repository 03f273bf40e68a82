"""Models judged by still images: the trainer's own figures again, and nothing learned is unsaid."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dvskit import evaluation, models, training
from dvskit.datasets import FolderImages, IdxImages, holds_images, open_images
from dvskit.errors import ConfigError, FormatError, GeometryError, MissingFileError, ShapeError
from dvskit.evaluation import judging
from dvskit.formats import save_events
from dvskit.models.scores import headlines
from dvskit.training import Trained
from tests.bars import moving_bar
from tests.laws import refused, refused_command
from tests.test_images import idx
from tests.test_training import config_of, of_images
from tests.tree import MODELS


def upright_and_flat(count: int) -> NDArray[np.uint8]:
    """Bars of 10x10 pixels, flat and upright in turn, each of its own brightness, in noise."""
    pixels = np.random.default_rng(4).integers(0, 60, (count, 10, 10)).astype(np.uint8)
    for k in range(count):
        lit = (slice(2, 8), slice(4, 6)) if k % 2 else (slice(4, 6), slice(2, 8))
        pixels[k][lit] = 40 + k
    return pixels


@pytest.fixture(scope="module")
def bar_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IDX files with 60 images to train on and 75 kept for tests."""
    root = tmp_path_factory.mktemp("idx")
    for part, these in (("train", slice(60)), ("t10k", slice(60, 135))):
        idx(root / f"{part}-images-idx3-ubyte.gz", upright_and_flat(135)[these])
        idx(root / f"{part}-labels-idx1-ubyte.gz", np.arange(135)[these] % 2)
    return root


def write_folder(root: Path, count: int = 40) -> Path:
    for k, image in enumerate(upright_and_flat(count)):
        folder = root / ("flat", "upright")[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{k}.png"), image)
    return root


@pytest.fixture(scope="module")
def of_both(bar_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model that learned from 30 images, was chosen by 10, and had 20 left out."""
    entries = (of_images(bar_images), of_images(bar_images, encoder="latency"))
    output = str(tmp_path_factory.mktemp("both") / "run")
    return training.train(replace(config_of(bar_images, *entries), output=output, seed=7))


@pytest.fixture(scope="module")
def of_folder(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model that learned from a folder of images, named after it."""
    root = write_folder(tmp_path_factory.mktemp("folder") / "images")
    config = config_of(root, of_images(root, skip=0, test=0.3))
    return training.train(replace(config, seed=5))


@pytest.mark.parametrize("encoder", ["poisson", "latency"])
def test_the_scores_of_a_run_come_out_again(
    of_both: Trained, bar_images: Path, encoder: str
) -> None:
    ran = of_both.results[encoder]
    for data in (bar_images, str(bar_images), IdxImages(bar_images)):
        result = evaluation.evaluate(of_both.folder, data, encoder=encoder)
        assert np.array_equal(result.confusion, ran.confusion)
        assert (result.loss, result.samples, result.seen) == (ran.loss, 75, 0)
    assert result.encoder == encoder
    assert result.notes == (
        "judged: the 75 images kept for tests",
        f"images are encoded by {encoder}, with seed 7",
    )
    other = evaluation.evaluate(of_both.folder, bar_images, encoder=encoder, seed=8)
    assert (other.loss == ran.loss) == (encoder == "latency")


def test_the_scores_of_a_folder_come_out_again_and_its_images_are_known_under_any_name(
    of_folder: Trained, tmp_path: Path
) -> None:
    root, ran = of_folder.folder.parent / "images", of_folder.results["poisson"]
    result = evaluation.evaluate(of_folder.folder, root)
    assert np.array_equal(result.confusion, ran.confusion)
    assert (result.loss, result.samples, result.seen, result.left_out) == (ran.loss, 12, 0, 28)
    assert "28 of 40 images were trained on (18) or chosen by (10); judged" in result.notes[0]
    for k, file in enumerate(sorted(root.glob("*/*.png"))):
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / file.parent.name / f"take {99 - k}.png")
    cv2.imwrite(str(tmp_path / "flat" / "new.png"), np.full((10, 10), 9, np.uint8))
    result = evaluation.evaluate(of_folder.folder, tmp_path)
    assert (result.samples, result.seen, result.left_out) == (13, 0, 28)
    learned = evaluation.evaluate(of_folder.folder, tmp_path, split="train")
    assert (learned.samples, learned.seen) == (18, 18)


def test_images_that_were_trained_on_are_told(
    of_both: Trained, bar_images: Path, tmp_path: Path
) -> None:
    for part, count, seen in (
        ("held-out", 75, 0), ("test", 75, 0), ("train", 60, 40), ("validation", 10, 10),
        ("all", 135, 40),
    ):  # fmt: skip
        result = evaluation.evaluate(of_both.folder, bar_images, split=part, encoder="latency")
        assert (result.samples, result.seen) == (count, seen), part
        told = f"{seen} of the {count} images were trained on ({max(seen - 10, 0)}) or chosen by"
        assert result.notes[0].startswith(told) == (seen > 0)
    for name in ("images-idx3", "labels-idx1"):
        shutil.copy(bar_images / f"train-{name}-ubyte.gz", tmp_path)
    result = evaluation.evaluate(of_both.folder, tmp_path, encoder="latency")
    assert (result.samples, result.seen, result.left_out) == (20, 0, 40)
    assert result.notes[0] == "judged: 20 images that were neither trained on nor chosen by"
    with refused(ConfigError, "60 images", "test"):
        evaluation.evaluate(of_both.folder, tmp_path, split="test", encoder="latency")
    with refused(ConfigError, "'train'"):
        evaluation.evaluate(of_both.folder, tmp_path, split="trian", encoder="latency")


def test_another_set_is_not_taken_for_the_one_of_the_run(of_both: Trained, tmp_path: Path) -> None:
    for part, count in (("train", 60), ("t10k", 8)):
        idx(tmp_path / f"{part}-images-idx3-ubyte.gz", upright_and_flat(count))
        idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 2)
    result = evaluation.evaluate(of_both.folder, tmp_path, split="all", encoder="latency")
    assert (result.samples, result.seen) == (68, 0)
    assert "does not record which images it was trained on" in result.notes[0]


def test_the_encoder_is_the_models_own_or_must_be_said(
    of_both: Trained, of_folder: Trained, trained: Trained, bar_images: Path, bars: Path
) -> None:
    assert judging.choose_encoder(of_folder.model, None) == "poisson"
    assert evaluation.evaluate(of_both.folder, bar_images, encoder="direct").encoder == "direct"
    for model in (of_both, trained):
        with refused(ConfigError, "encoder="):
            evaluation.evaluate(model.folder, bar_images)
    with refused(ConfigError, "'latncy'", "'latency'"):
        evaluation.evaluate(of_both.folder, bar_images, encoder="latncy")
    with refused(ConfigError, "seed = -1"):
        evaluation.evaluate(of_folder.folder, bar_images, seed=-1)
    with refused(ConfigError, "encoder"):
        evaluation.evaluate(trained.folder, bars, encoder="poisson")


def test_classes_stand_where_the_model_has_them(of_folder: Trained, tmp_path: Path) -> None:
    root = of_folder.folder.parent / "images"
    shutil.copytree(root / "upright", tmp_path / "upright")
    result = evaluation.evaluate(of_folder.folder, tmp_path, split="all")
    assert result.classes == ("flat", "upright")
    assert result.confusion.sum(1).tolist() == [0, 20]
    (tmp_path / "upright").rename(tmp_path / "slanted")
    with refused(FormatError, "slanted", "flat, upright"):
        evaluation.evaluate(of_folder.folder, tmp_path)


def test_a_folder_is_of_images_or_of_recordings_by_what_is_in_it(
    bar_images: Path, bars: Path, tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "images", 4)
    for images in (bar_images, root):
        assert holds_images(images)
    for other in (bars, bars / "left" / "0.npz", tmp_path / "absent", root / "flat"):
        assert not holds_images(other)
    assert isinstance(open_images(root), FolderImages)
    with refused(MissingFileError, "absent"):
        open_images(tmp_path / "absent")
    shutil.copytree(bar_images, tmp_path / "both")
    for where in (root, tmp_path / "both"):
        (where / "upright").mkdir(exist_ok=True)
        save_events(moving_bar(True, seed=1), where / "upright" / "a.npz")
        with refused(FormatError, "upright/a.npz"):
            holds_images(where)
    timed = write_folder(tmp_path / "timed", 4)
    (timed / "flat" / "timestamps.txt").write_text("0\n1\n")
    with refused(FormatError, "flat/timestamps.txt"):
        holds_images(timed)


def test_an_image_that_is_too_large_is_named(of_folder: Trained, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images", 4)
    cv2.imwrite(str(root / "flat" / "2.png"), np.zeros((12, 17), np.uint8))
    with refused(GeometryError, "flat/2.png", "17x12", "16x16"):
        evaluation.evaluate(of_folder.folder, root)


@pytest.mark.slow
def test_the_commands_take_images(run, of_both: Trained, bar_images: Path, bars: Path) -> None:
    code, out, err = run("eval", of_both.folder, bar_images, "--encoder", "poisson")
    first = "\n".join(headlines(of_both.results["poisson"]))
    assert (code, out.startswith(f"{first}\n")) == (0, True)
    assert "75 images" in err
    words = ("--encoder", "poisson", "--split", "train", "--json", "--seed", "3")
    values = json.loads(run("eval", of_both.folder, bar_images, *words)[1])
    assert (values["samples"], values["trained_on"], values["encoder"]) == (60, 40, "poisson")
    for data, words, named in (
        (bar_images, [], "--encoder latency"),
        (bar_images, ["--salvage"], "--salvage"),
        (bars, ["--encoder", "poisson"], "recordings"),
    ):
        refused_command(run("eval", of_both.folder, data, *words), named)


def test_an_image_is_classified_as_it_is_judged(run, of_folder: Trained, tmp_path: Path) -> None:
    root = of_folder.folder.parent / "images"
    files = [root / "flat" / "0.png", root / "upright" / "1.png"]
    pixels = upright_and_flat(1)[0]
    shares = evaluation.classify_image(of_folder.folder, files[0])
    assert shares == evaluation.classify_image(of_folder.model, pixels)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares != evaluation.classify_image(of_folder.model, pixels, seed=9)
    code, out, _ = run("classify", files[0], "--model", of_folder.folder, "--json")
    values = json.loads(out)
    assert (code, sorted(values)) == (0, ["class", "file", "probabilities"])
    assert values["probabilities"] == pytest.approx(shares)
    words = ("--model", of_folder.folder, "--encoder", "direct")
    assert run("classify", *files, *words)[0] == 0
    save_events(moving_bar(True, seed=1), tmp_path / "a.npz")
    refused_command(run("classify", "a.npz", *words), "--encoder")


def test_wrong_images_and_seeds_are_refused(of_folder: Trained, tmp_path: Path) -> None:
    pixels = upright_and_flat(1)[0]
    for wrong in (pixels[None], pixels.astype(float), pixels[:0]):
        with refused(ShapeError, "uint8"):
            evaluation.classify_image(of_folder.model, wrong)
    with refused(ConfigError, "seed = -1"):
        evaluation.classify_image(of_folder.model, pixels, seed=-1)
    with refused(MissingFileError, "absent.png"):
        evaluation.classify_image(of_folder.model, tmp_path / "absent.png")


@pytest.mark.slow
def test_the_figure_on_a_card_comes_out_again(data: Path) -> None:
    name, encoder = "article-mnist", "direct"
    result = evaluation.evaluate(name, data / "mnist", encoder=encoder)
    scores = models.load_model(name).about["scores"]
    assert result.samples == scores[f"{encoder}_samples"] == 10_000
    assert result.accuracy == pytest.approx(scores[f"{encoder}_accuracy"], abs=2e-4)
    card = (MODELS[name] / "README.md").read_text("utf-8")
    assert f"{100 * scores[f'{encoder}_accuracy']:.2f} %" in card
