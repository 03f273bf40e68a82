"""Training a network that makes images from events: from a configuration to a model.

A finished run is judged again, not trained again. See `dvskit.training.loop` for runs that are
interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit import _files
from dvskit._tables import to_toml
from dvskit.errors import ConfigError
from dvskit.models.scores import pick_device
from dvskit.networks.model_folder import DIGEST, MODEL_TOML, WEIGHTS, check_finite, packed
from dvskit.reconstruction.network import (
    TASK,
    ReconstructionModel,
    ReconstructionModule,
    States,
    load_reconstruction_model,
)
from dvskit.reconstruction.scores import score_images
from dvskit.training.checkpoint import Checkpoint, RunFolder
from dvskit.training.distributed import keep_memory
from dvskit.training.loop import LoopPlan, ProgressCallback, Task, TrainingRun
from dvskit.training.reconstruction.config import (
    KINDS,
    ReconstructionConfig,
    ReconstructionLoop,
    load_reconstruction_config,
)
from dvskit.training.reconstruction.sequences import SequenceBatch, SequenceFeed

_SQUARE = 7
_C1, _C2 = 0.01**2, 0.03**2
_OCCLUDED = 50.0  # 1 / squared brightness: how fast a pixel that does not fit loses its weight


@dataclass(frozen=True, slots=True)
class TrainedReconstruction:
    """The result of a run: the best model, its folder, the log, and scores on judged sequences."""

    model: ReconstructionModel
    folder: Path
    history: tuple[Mapping[str, float], ...]
    scores: Mapping[str, float]


def train_reconstruction(
    config: ReconstructionConfig | str | PathLike[str],
    *,
    progress: ProgressCallback | None = None,
    note: Callable[[str], None] | None = None,
) -> TrainedReconstruction:
    """Train a network from events to images by a configuration, or its file.

    progress  called about once a second and at the end of each epoch
    note      called with a line about each part of the material

    `config.output` then holds the model, its card, config.toml, log.csv and a checkpoint, written
    after each epoch and every five minutes within one. The run keeps the averaged weights of the
    epoch with the least 1 - SSIM + sqrt(MSE) on the validation sequences. Only these are scored on
    the judged sequences, once. The same call continues an interrupted run. A script needs no
    `if __name__ == "__main__"`: the processes that emulate do not import it.

    Raises OutputError, with the difference, if `output` holds a run with another configuration;
    ModelError for a damaged checkpoint or `start`; ConfigError for the material, for a `start` of
    another network, and if training diverges.
    """
    if not isinstance(config, ReconstructionConfig):
        config = load_reconstruction_config(config)
    folder = RunFolder(Path(config.output), config.values)
    at = folder.load()
    start = _start_of(config) if config.start and not at.has_begun else None
    feed = SequenceFeed(config)
    if note is not None:
        for part, has in feed.maker.materials.items():
            named = ", ".join((*has.photographs, *has.clips))
            note(f"{part}: {getattr(config.sequences, part):,} sequences; {named or 'drawn'}")
    keep_memory()
    folder.begin()
    with torch.random.fork_rng(), feed:
        task = ImagesTask(config, feed, start)
        TrainingRun(task, at, folder, progress).train()
        return _finish(task, at)


def _start_of(config: ReconstructionConfig) -> ReconstructionModel:
    """Return the model that a run begins with. Raises ModelError, ConfigError."""
    start = load_reconstruction_model(config.start)
    if start.network != config.network:
        raise ConfigError(
            f"start = {config.start!r}: its network is another one; copy the [network] of its "
            "model.toml"
        )
    return start


class ImagesTask(Task[SequenceBatch]):
    """A network that learns the images of sequences, chunk by chunk; its states go on.

    start  the model with the first weights; None: new ones
    """

    module: ReconstructionModule

    def __init__(
        self,
        config: ReconstructionConfig,
        feed: SequenceFeed,
        start: ReconstructionModel | None = None,
    ) -> None:
        loop = config.loop
        self.config, self.feed = config, feed
        self.seed, self.clip_norm = config.seed, loop.clip_norm
        self.device = pick_device()
        torch.manual_seed(config.seed)
        self.module = config.network.build().to(self.device)
        if start is not None:
            self.module.load_state_dict(start.module.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=1.0, weight_decay=loop.weight_decay
        )
        self.plan = LoopPlan(
            epochs=loop.epochs, batches=feed.batches, stop=loop.stop, average=loop.average,
            steps_a_batch=config.sequences.windows // loop.chunk,
        )  # fmt: skip

    def batches(self, epoch: int, first: int) -> Iterator[SequenceBatch]:
        """Return the batches of an epoch from batch `first` on."""
        return self.feed.epoch(epoch, first)

    def losses(self, batch: SequenceBatch) -> Iterator[Tensor]:
        """Yield the loss of each chunk of a batch."""
        batch = SequenceBatch(*(each.to(self.device) for each in batch))
        chunk = self.config.loop.chunk
        states: States | None = None
        before: Tensor | None = None
        for first in range(0, self.config.sequences.windows, chunk):
            loss, states, before = chunk_loss(
                self.module, batch, range(first, first + chunk), (states, before), self.config.loop
            )
            yield loss
            states, before = tuple(each.detach() for each in states), before.detach()

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return rate_at(self.config.loop, step, self.plan.steps)

    def scores(self, average: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the mean scores of the validation sequences, by the average of the weights."""
        scores = self.scores_of("validation", average)
        return scores | {"validation_loss": 1 - scores["ssim"] + math.sqrt(scores["mse"])}

    def scores_of(self, part: str, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the mean scores of the sequences of a part."""
        module = deepcopy(self.module).eval()
        module.load_state_dict(dict(weights))
        found = [
            sequence_scores(module, batch, self.config.loop.settle, self.device)
            for batch in self.feed.whole(part)
        ]
        return {name: sum(each[name] for each in found) / len(found) for name in found[0]}


def rate_at(loop: ReconstructionLoop, step: int, steps: int) -> float:
    """Return the learning rate of a step in a run of `steps` steps."""
    rise = min(1.0, (step + 1) / (loop.warmup + 1))
    return loop.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def chunk_loss(
    module: ReconstructionModule,
    batch: SequenceBatch,
    windows: range,
    begun: tuple[States | None, Tensor | None],
    loop: ReconstructionLoop,
) -> tuple[Tensor, States, Tensor]:
    """Return the loss of consecutive windows of a batch, the states after them, the last image.

    begun  the states, and the image, before the first of the windows
    """
    states, before = begun
    first, end = windows[0], windows[-1] + 1
    voxels, back = (x[:, first:end].transpose(0, 1) for x in (batch.voxels, batch.back))
    frames = batch.frames[:, first : end + 1].transpose(0, 1)
    images, states = module.windows(voxels, states)
    made, seen = images.flatten(0, 1), frames[1:].flatten(0, 1)
    off = made - seen
    losses = (off.abs() + loop.squared * off * off).mean((1, 2, 3))
    if loop.ssim:
        losses = losses + loop.ssim * (1 - ssim_by_squares(made, seen))
    losses = losses.view(images.shape[:2]).mean(1)
    if loop.temporal:
        earlier = torch.cat([images[:1] if before is None else before[None], images[:-1]])
        pairs = (images, earlier, frames[1:], frames[:-1], back)
        moved = temporal_difference(*(each.flatten(0, 1) for each in pairs))
        least = max(loop.settle, 1 if before is None else 0)
        counted = torch.tensor([float(window >= least) for window in windows]).to(losses)
        losses = losses + loop.temporal * counted * moved.view(images.shape[:2]).mean(1)
    weights = [min(1.0, (window + 1) / (loop.settle + 1)) for window in windows]
    total = (losses * torch.tensor(weights).to(losses)).sum() / sum(weights)
    return total, states, images[-1]


def sequence_scores(
    module: nn.Module, batch: SequenceBatch, settle: int, device: torch.device
) -> dict[str, float]:
    """Return the mean scores of the images of a sequence, a batch of one, after the first `settle`.

    They are those of `ImageScores`.
    """
    states: States | None = None
    images = []
    with torch.inference_mode():
        for window in range(batch.voxels.shape[1]):
            image, states = module(batch.voxels[:, window].to(device), states)
            images.append(image[0, 0].cpu().numpy())
    frames, back = batch.frames[0, 1:, 0].numpy(), batch.back[0].numpy()
    found = score_images(
        enumerate(images[settle:]), enumerate(frames[settle:]), iter(back[settle + 1 :])
    )
    return {name: mean for name, (mean, _) in found.summary().items()}


def ssim_by_squares(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity of images (B, 1, H, W) from 0 to 1, (B,).

    It is that of `reconstruction.scores.ssim`, over squares of 7 pixels: fast, with gradients.
    """
    given = torch.cat([first, second, first * first, second * second, first * second])
    down, across = (_means(length).to(given) for length in given.shape[-2:])
    a, b, aa, bb, ab = (down @ given @ across.T).chunk(5)
    squares = a * a + b * b
    covariance = ab - a * b
    variances = aa + bb - squares
    value = (2 * a * b + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return value.mean((1, 2, 3))


def _means(length: int) -> Tensor:
    """Return the matrix that takes the mean of each run of 7; faster than pooling."""
    band = torch.ones(length, length).tril().triu(1 - _SQUARE)
    return band[_SQUARE - 1 :] / _SQUARE


def moved_back(images: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """Return images (B, 1, H, W) sampled at each pixel's place plus `back` (B, H, W, 2), in pixels.

    Also returns where that place is known and inside, (B, 1, H, W) of 0 and 1.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) + back[..., 0]
    y = torch.arange(height, device=images.device)[:, None] + back[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)  # false for NaN
    places = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)
    sampled = functional.grid_sample(
        images, torch.nan_to_num(places), mode="bilinear", align_corners=True
    )
    return sampled, inside[:, None].to(images.dtype)


def temporal_difference(
    image: Tensor, before: Tensor, frame: Tensor, frame_before: Tensor, back: Tensor
) -> Tensor:
    """Return the mean absolute difference of images to the ones before, moved by the flow, (B,).

    All are (B, 1, H, W), back (B, H, W, 2). A pixel counts by exp(-50 e^2), where e is the same
    difference of the true frames: those that were hidden count little (Lai et al. 2018). 0 without
    known pixels.
    """
    moved, known = moved_back(torch.cat([before, frame_before], 1), back)
    weight = known * torch.exp(-_OCCLUDED * (frame - moved[:, 1:]) ** 2)
    total = ((image - moved[:, :1]).abs() * weight).sum((1, 2, 3))
    return total / weight.sum((1, 2, 3)).clamp(min=1)


def _finish(task: ImagesTask, at: Checkpoint) -> TrainedReconstruction:
    """Score the best weights on the judged sequences, and save the model."""
    config, folder = task.config, Path(task.config.output)
    scores = {f"judged_{k}": v for k, v in task.scores_of("judged", at.best).items()}
    task.module.load_state_dict(at.best)
    epoch = at.best_epoch
    best = {f"validation_{k}": at.history[epoch][k] for k in ("mse", "ssim", "temporal")}
    materials = task.feed.maker.materials
    about: dict[str, Any] = {
        **({"start": config.start} if config.start else {}),
        "seed": config.seed,
        "steps": task.plan.steps,
        "sequences": {part: [*has.photographs, *has.clips] for part, has in materials.items()},
        "scores": {"epoch": epoch, "epochs": config.loop.epochs, **best, **scores},
    }
    model = ReconstructionModel(config.name, config.network, task.module.eval().cpu(), about)
    save_reconstruction_model(folder, model)
    _files.write_whole(folder / "README.md", card_text(model, config, scores), overwrite=True)
    return TrainedReconstruction(model, folder, tuple(at.history), scores)


def save_reconstruction_model(folder: str | PathLike[str], model: ReconstructionModel) -> Path:
    """Write model.toml and weights.safetensors to a folder, and return it.

    Raises ModelError for weights that are not finite, OutputError.
    """
    target = Path(folder)
    check_finite(model.module.state_dict(), model.name)
    _files.make_folder(target)
    weights, digest = packed(model.module)
    values = {
        "task": TASK, "name": model.name, DIGEST: digest, "network": model.network.values,
        **model.about,
    }  # fmt: skip
    _files.write_whole(target / WEIGHTS, weights, overwrite=True)
    _files.write_whole(target / MODEL_TOML, to_toml(values), overwrite=True)
    return target


_SCORES = {
    "mse": "mean squared error",
    "ssim": "SSIM (Gaussian window of 11 pixels, sigma 1.5)",
    "mse_fitted": "mean squared error, after the best gain and offset of each image",
    "ssim_fitted": "SSIM, after the best gain and offset of each image",
    "temporal": "mean difference to the image before, moved by the known flow",
}


def card_text(
    model: ReconstructionModel, config: ReconstructionConfig, scores: Mapping[str, float]
) -> str:
    """Return the card of a model, from its configuration and its scores on judged sequences."""
    sequences, loop = config.sequences, config.loop
    weights = sum(each.numel() for each in model.module.parameters())
    total = sum(sequences.shares)
    kinds = [
        f"{100 * share / total:.0f} % {kind}"
        for kind, share in zip(KINDS, sequences.shares, strict=True)
        if share
    ]
    rows = [f"| {words} | {scores[f'judged_{name}']:.4f} |" for name, words in _SCORES.items()]
    used = [
        f"- {part}: {getattr(sequences, part):,} sequences of {', '.join(names) or 'drawn scenes'}"
        for part, names in model.about["sequences"].items()
    ]
    began = f"It began with the weights of {config.start}.\n" if config.start else ""
    return f"""\
# {model.name}: images from events

A recurrent network of {weights:,} weights. It takes the events between two images as a voxel
grid of {model.network.bins} bins, and keeps states from image to image. Images are 0 black to
1 white; where nothing has moved yet, they are a guess.

    dvskit reconstruct FILE -o out.mp4 --model {model.name}

## Scores

On {sequences.judged:,} emulated sequences of {sequences.windows} windows and {sequences.side} x
{sequences.side} pixels that were used for nothing else, scored once; the first {loop.settle} images
of each are left out:

| score | mean |
|---|---|
{chr(10).join(rows)}

## Training data
Emulated sequences alone ({", ".join(kinds)}), each with a sensor of its own:
thresholds from {sequences.threshold_on[0]:g} to {sequences.threshold_on[1]:g}; noise, leak and
low-pass drawn. No photograph and no clip is in two parts:

{chr(10).join(used)}

{began}The best of {loop.stop or loop.epochs} epochs was chosen by the sequences for validation.

## Train it again

    dvskit train config.toml -o runs/again

config.toml is the configuration in the folder of the run. Its seed is {config.seed}.

## Limits
Events give changes of the logarithm of brightness: gain and offset are guesses. A camera at rest
sees only moving things. In long pauses the image fades; hot pixels stay as dots.
"""
