"""`dvskit eval` of a reconstructor: scores of its images against frames."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit.cli import _console
from dvskit.cli._judging import JudgedInputs, PartName, aligned
from dvskit.cli._options import Spikes, option, preset_names
from dvskit.errors import ConfigError, VideoError, count_of
from dvskit.formats.found import PathKind, identify_named

if TYPE_CHECKING:
    from dvskit.reconstruction import ImageScores, Reconstructor

_ROWS = {
    "mse": "MSE",
    "ssim": "SSIM",
    "mse_fitted": "MSE after the best gain and offset",
    "ssim_fitted": "SSIM after the best gain and offset",
    "temporal": "temporal error",
}


@dataclass(frozen=True, slots=True)
class OfImages:
    """Options of reconstructors.

    preset  For a reconstructor that is judged on a video: the sensor that the video is emulated
            with, a name or a preset file.
    """

    preset: str | None = option(metavar="NAME", shown="a clean sensor", autocompletion=preset_names)

    def refuse_for(self, model: str) -> None:
        """Raise ConfigError if an option was given for a classifier."""
        if self != OfImages():
            raise ConfigError(f"--preset: {model} is a classifier, which needs no video emulated")


def refuse_classifier_options(model: str, split: PartName, spikes: Spikes, wanted: Any) -> None:
    """Raise ConfigError for options that only classifiers have."""
    given = ["--split"] * (split is not PartName.held_out)
    for group in (spikes, wanted):
        usual = type(group)()
        given += [
            f"--{each.name.replace('_', '-')}"
            for each in fields(group)
            if getattr(group, each.name) != getattr(usual, each.name)
        ]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: for classifiers only; {model} makes images, leave it out"
        )


def evaluate_images(
    reconstructor: Reconstructor, data: Path, inputs: JudgedInputs, of_images: OfImages, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Print the scores of a reconstructor on a recording with frames, or on a video."""
    from dvskit.reconstruction import judge
    from dvskit.video import open_frames

    reading = inputs.reading
    kind = identify_named(data)
    if kind is PathKind.RECORDING:
        if of_images.preset is not None:
            raise ConfigError(f"{data}: --preset is for videos; a recording has its own events")
        scores = judge(reconstructor, reading.open(data))
    elif kind in (PathKind.VIDEO, PathKind.IMAGE_FOLDER):
        reading.refuse_for_images(data)
        scores = judge(reconstructor, open_frames(data), of_images.preset)
    else:
        raise VideoError(
            f"{data}: holds no frames to compare with; give a recording with frames or a video"
        )
    if as_json:
        _console.print_json(_values(scores))
    else:
        _console.put(*_lines(scores))


def _lines(scores: ImageScores) -> list[str]:
    rows = [
        [_ROWS[name], f"{mean:.5f}", f"{error:.5f}"]
        for name, (mean, error) in scores.summary().items()
    ]
    head = [count_of(len(scores), "image"), "mean", "standard error"]
    return list(aligned([head, *rows]))


def _values(scores: ImageScores) -> dict[str, Any]:
    summary = scores.summary()
    return {
        "images": len(scores),
        "mean": {name: mean for name, (mean, _) in summary.items()},
        "standard_error": {name: error for name, (_, error) in summary.items()},
        "t_us": scores.t_us.tolist(),
        "per_image": {name: values.tolist() for name, values in scores.columns().items()},
    }
