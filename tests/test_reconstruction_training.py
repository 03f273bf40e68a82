"""Training for images from events: sequences, losses, the loop, interruption, `dvskit train`."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dvskit.errors import ConfigError, DvskitError, OutputError
from dvskit.reconstruction import (
    NetworkReconstructor,
    load_reconstruction_model,
    load_reconstructor,
)
from dvskit.training import load_config
from dvskit.training import loop as loop_module
from dvskit.training.reconstruction import (
    images as images_module,
)
from dvskit.training.reconstruction import (
    load_reconstruction_config,
    sequences,
    train_reconstruction,
)
from dvskit.training.reconstruction.images import (
    chunk_loss,
    moved_back,
    rate_at,
    ssim_by_squares,
    temporal_difference,
)
from dvskit.training.reconstruction.sequences import SequenceFeed, cut, materials, turned
from tests.laws import refused, refused_command
from tests.reconstruction_runs import write_tiny_run
from tests.tree import SAMPLES

SAMPLE = SAMPLES / "reconstruct.toml"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch) -> Path:
    """A configuration whose sequences are kept beside it."""
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    return write_tiny_run(tmp_path)


def tiny_config(tiny: Path, **changes: str):
    return load_reconstruction_config(tiny, {k.replace("__", "."): v for k, v in changes.items()})


def test_the_sample_is_a_configuration_of_no_classifier():
    config = load_reconstruction_config(SAMPLE)
    assert (config.name, config.values["task"]) == ("reconstruct", "reconstruction")
    with refused(ConfigError, SAMPLE.name):
        load_config(SAMPLE)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"loop__chunk": "3"}, "loop.chunk"),
        ({"loop__crop": "40"}, "sequences.side"),
        ({"loop__settle": "2"}, "settle"),
        ({"loop__epoch": "2"}, "loop.epoch; did you mean"),
        ({"loop__epochs": "two"}, "loop.epochs"),
        ({"task": "classification"}, "task = 'reconstruction'"),
        ({"sequences__clips": "0.5"}, "clips"),
        ({"sequences__photographs": "0"}, "all 0"),
        ({"sequences__window_ms": "[20, 10]"}, "window_ms"),
        ({"sequences__validation_photographs": "['second']"}, "second"),
        ({"sequences__judged_photographs": "['fist']"}, "'fist'"),
        ({"sequences__photograph_files": "['none.png']"}, "none.png"),
        ({"sequences__clips": "1.0", "sequences__clip_files": "['none.mp4']"}, "none.mp4"),
    ],
)
def test_wrong_configurations_and_missing_material_are_refused(tiny: Path, change, named):
    with refused(DvskitError, named):
        materials(tiny_config(tiny, **change).sequences)


def test_no_photograph_and_no_clip_is_in_two_parts(tiny: Path, tmp_path: Path):
    for name in ("a/p1.mp4", "a/p2.mp4", "b/p1.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clips = [str(tmp_path / name) for name in ("a/p1.mp4", "a/p2.mp4", "b/p1.mp4")]
    config = tiny_config(
        tiny, sequences__clips="1.0", sequences__clip_files=str(clips),
        sequences__judged_clips='["p2.*"]', sequences__validation_clips='["b/*"]',
    )  # fmt: skip
    parts = materials(config.sequences)
    assert set(parts["validation"].photographs) == {"first"}
    assert set(parts["judged"].photographs) == {"second"}
    assert {"third", "fourth", "grace_hopper"} <= set(parts["train"].photographs)
    assert not {"first", "second"} & set(parts["train"].photographs)
    assert [*parts["train"].clips] == ["a/p1.mp4"]
    assert [*parts["validation"].clips] == ["b/p1.mp4"]
    assert [*parts["judged"].clips] == ["a/p2.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["photographs", "crossings", "planes", "people"])
def test_a_sequence_holds_its_events_and_moves_as_its_flow_says(tiny: Path, kind):
    shares = {f"sequences__{each}": "0.0" for each in ("photographs", "planes", "people")}
    side = 96 if kind == "planes" else 32  # textures of planes are as fine as such pixels
    config = tiny_config(
        tiny, **shares | {f"sequences__{kind}": "1.0", "sequences__side": str(side)}
    )
    maker = SequenceFeed(config).maker
    for number in range(2):
        found = maker.emulated("train", number)
        assert found.voxels.shape == (4, 5, side, side)
        assert found.frames.shape == (5, side, side)
        assert found.back.shape == (4, side, side, 2)
        assert np.isnan(found.back).all() == (kind == "people")
        for window in range(4) if kind != "people" else ():
            before, after = (
                torch.from_numpy(found.frames[n].astype(np.float32))[None, None] / 255
                for n in (window, window + 1)
            )
            back = torch.from_numpy(found.back[window].astype(np.float32))[None]
            moved, known = moved_back(before, back)
            assert (moved - after).abs()[known > 0].median() < 0.03  # some are hidden in planes
    assert maker.kind("train", 0) == kind


def test_a_sequence_of_a_scene_is_that_of_its_light(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    maker = SequenceFeed(tiny_config(tiny)).maker
    coded = maker.emulated("train", 1)
    drawn = sequences.frames_of
    monkeypatch.setattr(
        sequences, "frames_of",
        lambda *given: ((t, frame / np.float64(65535)) for t, frame in drawn(*given)),
    )  # fmt: skip
    light = maker.emulated("train", 1)
    assert np.abs(coded.voxels).sum(dtype=float) > 1000
    np.testing.assert_allclose(coded.voxels, light.voxels, atol=0.02)


def test_kept_sequences_are_those_that_were_emulated(tiny: Path):
    config = tiny_config(tiny)
    maker = SequenceFeed(config).maker
    first = maker.sequence("train", 1)
    assert maker.cache.misses == 1
    again = SequenceFeed(config).maker.sequence("train", 1)
    other = SequenceFeed(tiny_config(tiny, seed="2")).maker.sequence("train", 1)
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.shape != three.shape or (one != three).any()


def test_clips_are_sequences_too(tiny: Path, tmp_path: Path):
    folder = tmp_path / "clip"
    folder.mkdir()
    image = cv2.imread(str(tmp_path / "third.png"), cv2.IMREAD_GRAYSCALE)
    for number in range(6):
        cv2.imwrite(str(folder / f"{number:03d}.png"), np.roll(image, 2 * number, 1))
    times = [f"{number / 30} {number:03d}.png" for number in range(6)]
    (folder / "images.txt").write_text("\n".join(times) + "\n", "utf-8")
    config = tiny_config(
        tiny, sequences__photographs="0.0", sequences__clips="1.0",
        sequences__clip_files=str([str(folder)]),
    )  # fmt: skip
    maker = SequenceFeed(config).maker
    found, again = (maker.emulated("train", 0) for _ in range(2))
    assert maker.kind("train", 0) == "clips"
    assert np.isnan(found.back).all()
    assert np.abs(found.voxels).sum() > 0
    np.testing.assert_array_equal(found.voxels, again.voxels)


@pytest.mark.slow(seconds=30)
def test_batches_do_not_depend_on_processes_which_do_not_import_the_script(
    tiny: Path, tmp_path: Path, monkeypatch
):
    script, imported = tmp_path / "script.py", tmp_path / "imported"
    script.write_text(f"open({str(imported)!r}, 'w').close()\n")  # it has no guard
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None, raising=False)
    alone, beside = (tiny_config(tiny, loop__processes=count) for count in ("0", "1"))
    with SequenceFeed(alone) as feed:
        expected = [*feed.epoch(0), *feed.whole("validation")]
    SequenceFeed(alone).maker.cache.clear()
    with SequenceFeed(beside) as feed:
        found = [*feed.epoch(0), *feed.whole("validation")]
    assert len(found) == 4
    for one, two in zip(expected, found, strict=True):
        assert all(
            torch.equal(a.nan_to_num(9), b.nan_to_num(9)) for a, b in zip(one, two, strict=True)
        )
    assert not imported.exists()


def test_each_epoch_cuts_and_turns_sequences_anew_and_can_begin_in_its_middle(tiny: Path):
    with SequenceFeed(tiny_config(tiny)) as feed:
        first, later = [*feed.epoch(0)], [*feed.epoch(1)]
        second = [*feed.epoch(0, first=1)]
    assert torch.equal(first[1].frames, second[0].frames)
    assert not torch.equal(first[0].frames, later[0].frames)
    assert first[0].voxels.shape == (2, 4, 5, 24, 24)
    assert first[0].frames.shape == (2, 5, 1, 24, 24)


@pytest.mark.parametrize("way", [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)])
def test_turned_sequences_move_as_their_turned_flow_says(tiny: Path, way):
    whole = SequenceFeed(tiny_config(tiny)).maker.sequence("train", 0)
    found = turned(cut(whole, 2, 5, 24), *map(bool, way))
    plain = cut(whole, 2, 5, 24)
    expected = plain.frames[:, :: -1 if way[1] else 1, :: -1 if way[0] else 1]
    np.testing.assert_array_equal(found.frames, expected.swapaxes(1, 2) if way[2] else expected)
    assert found.voxels.sum() == plain.voxels.sum()
    errors = []
    for each in (found, plain):
        frames = torch.from_numpy(each.frames.astype(np.float32))[:, None] / 255
        moved, known = moved_back(frames[:-1], torch.from_numpy(each.back.astype(np.float32)))
        errors.append(float(((moved - frames[1:]).abs() * known).mean()))
    assert errors[0] == pytest.approx(errors[1], rel=1e-3, abs=1e-6)


def test_ssim_by_squares_is_one_for_equal_images_and_near_zero_for_unlike_ones():
    first, second = torch.rand(2, 1, 1, 20, 17, generator=torch.Generator().manual_seed(3))
    assert float(ssim_by_squares(first, first)) == pytest.approx(1, abs=1e-6)
    assert -0.2 < float(ssim_by_squares(first, second)) < 0.2
    between = float(ssim_by_squares(first, 0.7 * first + 0.3 * second))
    assert 0.5 < between < 0.95


def test_the_scores_of_a_sequence_are_those_of_its_images(tiny: Path):
    torch.manual_seed(0)
    config = tiny_config(tiny)
    with SequenceFeed(config) as feed:
        batch = next(iter(feed.whole("judged")))
    module = config.network.build().eval()
    found = images_module.sequence_scores(module, batch, 1, torch.device("cpu"))
    states, images = None, []
    with torch.inference_mode():
        for window in range(batch.voxels.shape[1]):
            image, states = module(batch.voxels[:, window], states)
            images.append(image)
    pairs = [*zip(images, batch.frames[:, 1:].unbind(1), strict=True)][1:]
    mean = np.mean([float(((image - frame) ** 2).mean()) for image, frame in pairs])
    assert found["mse"] == pytest.approx(mean, rel=1e-5)
    off = [
        float(temporal_difference(image, before, frame, earlier, batch.back[:, number]))
        for number, ((before, earlier), (image, frame)) in enumerate(pairwise(pairs), 2)
    ]
    assert found["temporal"] == pytest.approx(np.mean(off), rel=1e-3, abs=1e-7)


def test_images_that_follow_the_flow_have_no_temporal_difference():
    texture = torch.rand(1, 1, 20, 30, generator=torch.Generator().manual_seed(2))
    before, after = texture[..., 3:], texture[..., :-3]  # content moves 3 pixels to the right
    back = torch.zeros(1, 20, 27, 2)
    back[..., 0] = -3
    assert float(temporal_difference(after, before, after, before, back)) < 1e-6
    assert float(temporal_difference(before, before, after, before, back)) > 0.05
    unknown = torch.full_like(back, torch.nan)
    assert float(temporal_difference(before, before, after, before, unknown)) == 0
    still = torch.zeros_like(back)  # frames do not fit: hidden, so little weight
    assert float(temporal_difference(after, before, after, before, still)) < 0.15


def test_states_go_on_from_chunk_to_chunk(tiny: Path):
    config = tiny_config(tiny)
    with SequenceFeed(config) as feed:
        batch = next(feed.epoch(0))
    torch.manual_seed(0)
    module = config.network.build()
    with torch.no_grad():
        whole, *_ = chunk_loss(module, batch, range(4), (None, None), config.loop)
        first, *state = chunk_loss(module, batch, range(2), (None, None), config.loop)
        second, *_ = chunk_loss(module, batch, range(2, 4), tuple(state), config.loop)
    torch.testing.assert_close((1.5 * first + 2 * second) / 3.5, whole)  # the first counts half


def test_the_squared_difference_counts_by_its_weight(tiny: Path):
    with SequenceFeed(tiny_config(tiny)) as feed:
        batch = next(feed.epoch(0))
    torch.manual_seed(0)
    module = tiny_config(tiny).network.build()
    losses = []
    with torch.no_grad():
        for weight in ("0.0", "2.0"):
            loop = tiny_config(
                tiny, loop__squared=weight, loop__ssim="0.0", loop__temporal="0.0", loop__settle="0"
            ).loop
            losses.append(float(chunk_loss(module, batch, range(4), (None, None), loop)[0]))
        images, _ = module.windows(batch.voxels.transpose(0, 1))
    off = images - batch.frames[:, 1:].transpose(0, 1)
    assert losses[0] == pytest.approx(float(off.abs().mean()), rel=1e-5)
    assert losses[1] - losses[0] == pytest.approx(2 * float((off**2).mean()), rel=1e-4)


def test_the_rate_rises_then_falls_to_nothing(tiny: Path):
    loop = tiny_config(tiny).loop
    rates = [rate_at(loop, step, 100) for step in range(101)]
    assert rates[0] < rates[1] < rates[2]
    assert np.argmax(rates) == 2
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert (np.diff(rates[3:]) < 0).all()


def weights_of_run(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_another(tiny: Path, tmp_path: Path):
    first = train_reconstruction(tiny_config(tiny, loop__epochs="1"))
    config = tiny_config(
        tiny, start=str(first.folder), output=str(tmp_path / "second"), loop__epochs="1",
        loop__learning_rate="1e-9",
    )  # fmt: skip
    second = train_reconstruction(config)
    for key, value in weights_of_run(first.folder).items():
        torch.testing.assert_close(weights_of_run(second.folder)[key], value, atol=1e-6, rtol=0)
    assert load_reconstruction_model(second.folder).about["start"] == str(first.folder)
    assert f"began with the weights of {first.folder}" in (second.folder / "README.md").read_text()


@pytest.mark.slow(seconds=10)
def test_an_interrupted_run_continues_to_the_same_weights(tiny: Path, tmp_path: Path, monkeypatch):
    whole = train_reconstruction(tiny_config(tiny))
    assert (whole.folder / "log.csv").read_text().startswith("epoch,loss,rate,mse,ssim,")
    assert len(whole.history) == 2
    # A tiny epoch is over before a checkpoint within it is due: here each batch leaves one.
    monkeypatch.setattr(loop_module, "_SAVED_SECONDS", -1.0)
    plain, chunks = images_module.chunk_loss, []

    def interrupted(*given):
        chunks.append(given)
        if len(chunks) in (4, 8):  # in the middle of a batch
            raise KeyboardInterrupt
        return plain(*given)

    monkeypatch.setattr(images_module, "chunk_loss", interrupted)
    config = tiny_config(tiny, output=f"'{tmp_path / 'again'}'")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_reconstruction(config)
    again = train_reconstruction(config)
    expected, found = weights_of_run(whole.folder), weights_of_run(again.folder)
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
    for one, two in zip(whole.history, again.history, strict=True):
        assert one | {"seconds": 0} == two | {"seconds": 0}


@pytest.mark.slow
def test_a_finished_run_is_judged_again_and_another_configuration_refused(tiny: Path):
    first = train_reconstruction(tiny_config(tiny, loop__epochs="1"))
    log = (first.folder / "log.csv").read_text()
    (first.folder / "log.csv").unlink()  # as if a kill had come before it was written
    epochs = []
    again = train_reconstruction(tiny_config(tiny, loop__epochs="1"), progress=epochs.append)
    assert epochs == []
    assert again.scores == first.scores
    assert (first.folder / "log.csv").read_text() == log
    assert {"judged_mse", "judged_ssim", "judged_ssim_fitted"} <= set(first.scores)
    loaded = load_reconstruction_model(first.folder)
    assert loaded.about["sequences"]["judged"] == ["second"]
    assert loaded.about["scores"]["judged_mse"] == first.scores["judged_mse"]
    with refused(OutputError, "loop.epochs = 1, now 2"):
        train_reconstruction(tiny_config(tiny))


def test_training_that_diverges_ends_at_that_step(tiny: Path, monkeypatch):
    plain, steps = images_module.chunk_loss, []

    def diverging(*given):  # no allowed learning rate does so for certain
        loss, *others = plain(*given)
        steps.append(loss)
        return loss * (float("inf") if len(steps) == 3 else 1.0), *others

    monkeypatch.setattr(images_module, "chunk_loss", diverging)
    with refused(ConfigError, "step 3:"):
        train_reconstruction(tiny_config(tiny))
    assert len(steps) == 3


@pytest.mark.slow(seconds=3)
def test_train_writes_a_model_that_makes_images_and_no_classes(tiny: Path, run):
    short = ("--set", "loop.epochs=1", "--set", "sequences.train=2", "-o", "mine")
    code, out, error = run("train", tiny, *short)
    assert code == 0, error
    assert "judged_ssim: " in out
    assert "train: 2 sequences" in error
    folder = tiny.parent / "mine"
    assert {file.name for file in folder.iterdir()} == {
        "README.md", "checkpoint.safetensors", "config.toml", "log.csv", "model.toml",
        "weights.safetensors",
    }  # fmt: skip
    assert "SSIM" in (folder / "README.md").read_text("utf-8")
    assert isinstance(load_reconstructor("mine"), NetworkReconstructor)
    refused_command(run("classify", "none.npz", "--model", "mine"), "mine")
    assert run("train", tiny, *short)[0] == 0  # it was finished before
    later = ("train", folder / "config.toml", "--set", "loop.epochs=3")
    refused_command(run(*later), "loop.epochs = 1, now 3")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--set", "task=segmentation"), "'segmentation'"),
        (("--seeds", "2"), "--seeds"),
        (("--start", "reconstruct"), "'reconstruct'"),
        (("--minutes", "2"), "--minutes"),
    ],
)
def test_wrong_options_of_train_are_refused(tiny: Path, run, words, named):
    refused_command(run("train", tiny, *words), named)
