"""The steps and epochs of a run, with all its state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from dvskit._toml import to_toml
from dvskit.errors import ConfigError
from dvskit.models.device import pick_device
from dvskit.reconstruction.model import ReconstructionModel
from dvskit.reconstruction.network import ReconstructionModule, States
from dvskit.reconstruction.scores import score_images
from dvskit.training.checkpoint import Checkpoint
from dvskit.training.reconstruction.config import ReconstructionConfig, ReconstructionLoop
from dvskit.training.reconstruction.feed import SequenceBatch, SequenceFeed
from dvskit.training.reconstruction.losses import ssim_by_squares, temporal_difference
from dvskit.training.running import Progress

_EVERY_SECONDS = 1.0  # between reports of progress
_KEPT_SECONDS = 300.0  # between checkpoints within an epoch
_YOUNG = 10  # steps over which the average follows the weights closely


class ReconstructionRun:
    """A run; its changing state is in the module, the optimiser and `at`."""

    def __init__(
        self,
        config: ReconstructionConfig,
        feed: SequenceFeed,
        at: Checkpoint | None,
        save: Callable[[Checkpoint], None],
        progress: Callable[[Progress], None] | None = None,
        start: ReconstructionModel | None = None,
    ) -> None:
        self.config, self.feed, self.progress = config, feed, progress
        self._save = save
        self.device = pick_device()
        torch.manual_seed(config.seed)
        self.module = config.network.build().to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.module.parameters(), lr=1.0, weight_decay=config.loop.weight_decay
        )
        if at is None:
            if start is not None:
                self.module.load_state_dict(start.module.state_dict())
            at = Checkpoint(to_toml(config.values))
            at.hold(self.module.state_dict(), self.optimiser)
            at.average = {key: value.clone() for key, value in at.weights.items()}
        else:
            self.module.load_state_dict(at.weights)
            at.restore(self.optimiser)
        self.at = at
        self.average = {key: value.to(self.device) for key, value in at.average.items()}
        self.a_batch = config.sequences.windows // config.loop.chunk  # steps
        self.steps = config.loop.epochs * feed.batches * self.a_batch
        self.last = Progress(0, config.loop.epochs, 0, self.steps, math.nan)

    @property
    def ended(self) -> bool:
        """Whether all epochs are done."""
        loop = self.config.loop
        return self.at.epoch >= min(loop.stop or loop.epochs, loop.epochs)

    def epoch(self) -> None:
        """Train the rest of an epoch, judge the average of the weights, and keep the best."""
        at, number = self.at, self.at.epoch
        began = shown = kept = time.monotonic()
        self.module.train()
        for batch in self.feed.epoch(number, at.step):
            loss = self._learn(batch, (number * self.feed.batches + at.step) * self.a_batch)
            at.step += 1
            at.total += loss
            now = time.monotonic()
            within = at.step < self.feed.batches
            if within and now - shown > _EVERY_SECONDS and self.progress is not None:
                shown = now
                done = (number * self.feed.batches + at.step) * self.a_batch
                self.progress(
                    Progress(number, self.config.loop.epochs, done, self.steps, at.total / at.step)
                )
            if within and now - kept > _KEPT_SECONDS:
                kept = now
                self._hold()
                self._save(at)
        mean = at.total / self.feed.batches
        scores = self.scores("validation")
        done = (number + 1) * self.feed.batches * self.a_batch
        row = {"epoch": number, "loss": mean, "rate": rate_at(self.config.loop, done, self.steps)}
        row |= scores | {"validation_loss": 1 - scores["ssim"] + math.sqrt(scores["mse"])}
        row["seconds"] = round(time.monotonic() - began, 1)
        self._hold()
        at.record(row, self.module.state_dict(), self.optimiser)
        self._save(at)
        self.last = Progress(number, self.config.loop.epochs, done, self.steps, mean, row)

    def _hold(self) -> None:
        self.at.hold(self.module.state_dict(), self.optimiser)
        self.at.average = {key: value.cpu().clone() for key, value in self.average.items()}

    def scores(self, part: str, weights: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """Return the mean scores of the sequences of a part, by the average of the weights."""
        module = deepcopy(self.module).eval()
        module.load_state_dict(dict(self.average if weights is None else weights))
        total: dict[str, float] = {}
        count = 0
        for batch in self.feed.whole(part):
            found = sequence_scores(module, batch, self.config.loop.settle, self.device)
            total = {name: total.get(name, 0.0) + value for name, value in found.items()}
            count += 1
        return {name: value / count for name, value in total.items()}

    def _learn(self, batch: SequenceBatch, step: int) -> float:
        """Take a step for each chunk of a batch; return the mean loss."""
        batch = SequenceBatch(*(each.to(self.device) for each in batch))
        chunk, total = self.config.loop.chunk, 0.0
        states: States | None = None
        before: Tensor | None = None
        for number in range(self.a_batch):
            windows = range(number * chunk, (number + 1) * chunk)
            loss, states, before = chunk_loss(
                self.module, batch, windows, (states, before), self.config.loop
            )
            total += self._take(loss, step + number)
            states, before = tuple(each.detach() for each in states), before.detach()
        return total / self.a_batch

    def _take(self, loss: Tensor, step: int) -> float:
        """Change the weights by the gradient of a loss, and their average."""
        loop = self.config.loop
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(loop, step, self.steps)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        limit = loop.clip_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(self.module.parameters(), limit))
        mean = float(loss.detach())
        if not (math.isfinite(norm) and math.isfinite(mean)):
            raise ConfigError(
                f"training diverged at step {step + 1}: its loss or gradient is not finite; lower "
                "loop.learning_rate"
            )
        self.optimiser.step()
        decay = min(loop.average, (1 + step) / (_YOUNG + step))
        with torch.no_grad():
            for key, value in self.module.state_dict().items():
                self.average[key].lerp_(value, 1 - decay)
        return mean


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
