"""The card of a model that makes images from events: README.md in its folder."""

from __future__ import annotations

from collections.abc import Mapping

from dvskit.reconstruction.model import ReconstructionModel
from dvskit.training.reconstruction.config import KINDS, ReconstructionConfig

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
