"""Tables in a model's folder: split.csv, and parts of model.toml.

split.csv lists the recordings of training, validation and test; [reject] holds the limits below
which no class is named, [likeness] the ranges of motion in the training samples, [emulation] the
emulation of the training clips.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit._files import read_regular
from dvskit.datasets import Emulation, ImageBatches, Part, Samples, Split, SplitSamples
from dvskit.datasets.kinds import known_kind
from dvskit.emulator import EmulatorParams
from dvskit.emulator.params import as_params
from dvskit.errors import ConfigError, DvskitError, ModelError, did_you_mean, one_line
from dvskit.training.input_config import InputConfig, is_weighed
from dvskit.training.inputs import AnyBatches
from dvskit.training.scores import logits_of

_HASHED_BYTES = 1 << 16
_COLUMNS = ("part", "class", "recording", "start_us", "stop_us", "fingerprint")
_WITH_GROUPS = (*_COLUMNS, "group")


class Used(NamedTuple):
    """A recording of a model's run, or a span of one, identified by its fingerprint."""

    part: Part
    label: str
    name: str
    span: tuple[int, int] | None
    fingerprint: str
    group: str | None = None


def used_samples(split: Split | SplitSamples[Samples]) -> tuple[Used, ...]:
    """Return the record of a run's samples."""
    rows = split.rows if isinstance(split, SplitSamples) else split
    return tuple(
        Used(
            part,
            sample.label,
            sample.file.name,
            sample.span,
            fingerprint(sample.file),
            sample.group,
        )
        for part, samples in zip(get_args(Part), rows, strict=True)
        for sample in samples
    )


def fingerprint(path: Path) -> str:
    """Return the length of a recording and a digest of its two ends.

    Copies under other names have the same fingerprint; other formats of the same events do not.
    """
    if path.is_dir():  # a folder of images, or of events
        return f"folder-{known_kind(path).content(path)}"
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_HASHED_BYTES))
        length = file.seek(0, os.SEEK_END)
        file.seek(max(_HASHED_BYTES, length - _HASHED_BYTES))
        digest.update(file.read())
    return f"{length}-{digest.hexdigest()[:24]}"


def split_text(used: Iterable[Used]) -> str:
    """Return the text of a split.csv: one recording, or span of one, per line.

    It has a column of groups if any group is known.
    """
    text = io.StringIO()
    rows = list(used)
    grouped = any(row.group is not None for row in rows)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_WITH_GROUPS if grouped else _COLUMNS)
    for part, label, name, span, digest, group in rows:
        known = (part, label, name, *(span or ("", "")), digest)
        writer.writerow((*known, group or "") if grouped else known)
    return text.getvalue()


def read_split(path: Path) -> tuple[Used, ...]:
    """Return the lines of a split.csv; none without the file. Raises ModelError for others."""
    if not path.exists():
        return ()
    try:
        return split_from(read_regular(path).decode("utf-8"))
    except (OSError, ValueError, csv.Error) as error:
        raise ModelError(
            f"{path}: is not a list of training samples: {error}; remove it"
        ) from error


def split_from(text: str) -> tuple[Used, ...]:
    """Return the rows of a split.csv. Raises ValueError for another text."""
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or tuple(rows[0]) not in (_COLUMNS, _WITH_GROUPS):
        raise ValueError(f"its first line is not {','.join(_COLUMNS)}")
    return tuple(_used(row) for row in rows[1:])


def _used(row: list[str]) -> Used:
    part, label, name, start, stop, digest, group = row if len(row) > 6 else (*row, "")
    if part not in get_args(Part):
        raise ValueError(f"{part!r} is no part")
    span = (int(start), int(stop)) if start else None
    return Used(cast(Part, part), label, name, span, digest, group or None)


HALF = "the default: above all other classes together"
_KEYS = ("confidence", "events_per_second", "how")


@check_arguments
@dataclass(frozen=True, slots=True)
class Reject:
    """Limits below which a live decision names no class.

    confidence         the least probability of the most likely class
    events_per_second  the least rate of events in the window, as the network sees them: on its
                       sensor, weighted if they were fitted to it; 0: any above 0
    how                how both were chosen, for people

    A model without limits has the defaults. Raises ConfigError for values out of range.

        model = dvskit.training.load_model("nmnist-signed-lif")
        reject = dvskit.evaluation.Reject(confidence=0.9, events_per_second=2000.0)
        reject.why(0.95, 500.0)  # "few events"
        decisions = dvskit.evaluation.decide(model, "digits/0/00001.bin", reject=reject)
    """

    confidence: float = 0.5
    events_per_second: float = 0.0
    how: str = HALF

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ConfigError(f"reject: confidence = {self.confidence} is outside 0..1")
        if not 0 <= self.events_per_second < math.inf:
            raise ConfigError(
                f"reject: events_per_second = {self.events_per_second} is no rate; give a finite "
                "number of at least 0"
            )

    def why(self, confidence: float, events_per_second: float) -> str:
        """Return why a decision is withheld, "few events" or "unsure"; "" if it is not."""
        if not events_per_second or events_per_second < self.events_per_second:
            return "few events"
        return "unsure" if confidence < self.confidence else ""


def reject_from(about: Mapping[str, Any], where: str) -> Reject:
    """Return the limits in [reject] of a model's file, default if it has none.

    where  the file, in errors. Raises ModelError for an invalid table.
    """
    table = about.get("reject", {})
    try:
        unknown = [key for key in table if key not in _KEYS]
        if unknown:
            raise ConfigError(f"unknown key reject.{unknown[0]}; {did_you_mean(unknown[0], _KEYS)}")
        return Reject(**table)
    except (ConfigError, TypeError, AttributeError) as error:
        raise ModelError(f"{where}: [reject]: {error}") from error


_PLAIN = ("whole", "upsample", "seed", "light")


def emulation_values(how: Emulation) -> dict[str, Any]:
    """Return an emulation as plain values; of the sensor only those that differ from ideal."""
    params = as_params(how.params)
    sensor = {
        each.name: getattr(params, each.name)
        for each in fields(EmulatorParams)
        if getattr(params, each.name) != each.default
    }
    size = [] if how.size is None else list(how.size)
    plain = {name: getattr(how, name) for name in _PLAIN}
    return {"size": size, **plain, "fps": how.fps or 0.0, "sensor": sensor}


def emulation_from(about: Mapping[str, Any], size: tuple[int, int], where: str) -> Emulation:
    """Return the emulation in a model's tables, default that of an ideal sensor.

    size  of the model's sensor. Raises ModelError for an invalid table.
    """
    values = about.get("emulation", {})
    known = ("size", "fps", "sensor", *_PLAIN)
    try:
        for key in values:
            if key not in known:
                raise ConfigError(f"unknown key {key!r}; {did_you_mean(key, known)}")
        return Emulation(
            params=EmulatorParams(**values.get("sensor", {})),
            size=tuple(values.get("size", ())) or size,
            fps=values.get("fps") or None,
            **{name: values[name] for name in _PLAIN if name in values},
        )
    except (DvskitError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"{where}: [emulation] is wrong: {one_line(error)}") from error


LOST = 0.05
"""The share of right validation decisions that may be withheld."""
_QUIETER = 0.5  # the floor of the rate, as a share of the rate of nearly all recordings


def reject_on(
    module: nn.Module, validation: Iterable[AnyBatches], given: InputConfig, lost: float = LOST
) -> Reject:
    """Return the Reject of `choose_reject`, from batches of validation samples.

    Still images count only if there are no recordings.
    """
    every = list(validation)
    recordings = [each for each in every if not isinstance(each, ImageBatches)]
    sure, right, rates = [], [], []
    module.eval()
    for batches in recordings or every:
        for counts, labels in batches.epoch(0):
            most, best = torch.softmax(logits_of(module, counts), 1).max(1)
            sure.append(most.numpy())
            right.append((best == labels).numpy())
            if recordings and is_weighed(given):
                events = counts.sum((0, 2, 3, 4), dtype=torch.float64)  # (T, B, C, H, W) -> (B,)
                rates.append(events.numpy() * 1e6 / given.window_us)
    return reject_by(_joined(sure), _joined(right).astype(bool), _joined(rates), lost)


def reject_by(
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    rates: NDArray[np.float64],
    lost: float,
) -> Reject:
    """Return the Reject of `choose_reject`, from decisions and rates.

    confidence (n,), right (n,)  of decisions        rates (m,)  events per second of recordings
    """
    default, good = Reject(), np.sort(confidence[right])
    least = _rounded_down(good[int(lost * len(good))]) if len(good) else default.confidence
    how = HALF if not len(confidence) else "the confidence is the default: no decision was right"
    if len(good):
        few, wrong = np.count_nonzero(good < least), confidence[~right]
        how = (
            f"withholds {few:,} of {len(good):,} right and {np.count_nonzero(wrong < least):,} of "
            f"{len(wrong):,} wrong validation decisions"
        )
    floor = default.events_per_second
    if len(rates):
        floor = _rounded_down(_QUIETER * np.quantile(rates, 0.01))
        how += f"; 99 of 100 of {len(rates):,} validation recordings reach twice the rate"
    return Reject(least, floor, how)


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.zeros(0)


def _rounded_down(value: float) -> float:
    """Return a number of at least 0, rounded down to three digits."""
    if not value:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.floor(value / step + 1e-9) * step:.6g}")


_CELLS = 16  # of the grid, along the longer side
_BEYOND = 1.35  # times the range of training: other people differ by about that much
_TABLE = "likeness"


@dataclass(frozen=True, slots=True)
class Likeness:
    """The ranges (low, high) of spread and density of the training samples."""

    spread: tuple[float, float]
    density: tuple[float, float]

    def unlike(self, counts: Tensor, given: InputConfig) -> str:
        """Return how counts (bins, channels, H, W) differ from all samples; "" if they do not.

        A smaller spread is no difference: other people's gestures may be small.
        """
        spread, density = (float(each) for each in measures_of(counts[:, None], given))
        if spread > self.spread[1] * _BEYOND:
            return "more of the picture moves"
        if density > self.density[1] * _BEYOND:
            return "there are more events where it moves"
        if density < self.density[0] / _BEYOND:
            return "there are fewer events where it moves"
        return ""


def measures_of(counts: Tensor, given: InputConfig) -> tuple[Tensor, Tensor]:
    """Return the spread (B,) and the density (B,) of counts (bins, B, channels, H, W)."""
    frames = counts.sum(2)  # (T, B, C, H, W) -> (T, B, H, W)
    side = max(1, max(frames.shape[-2:]) // _CELLS)
    cells = functional.max_pool2d(frames.abs(), side, ceil_mode=True) > 0
    filled = cells.flatten(2).sum(2).float()  # (T, B)
    bins = (filled > 0).sum(0).clamp(min=1)
    events = frames.abs().sum((0, 2, 3))
    spread = filled.sum(0) / bins / cells[0, 0].numel()
    return spread, events / (filled.sum(0).clamp(min=1) * given.bin_us / 1e6)


def likeness_of(batches: Iterable[AnyBatches], given: InputConfig) -> dict[str, Any]:
    """Return the table [likeness] from training batches; {} for inputs other than counts."""
    if not is_weighed(given):
        return {}
    found = [
        torch.stack(measures_of(counts.float(), given), 1)
        for each in batches
        for counts, _ in each.epoch(0)
    ]
    if not found:
        return {}
    every = torch.cat(found)
    ends = torch.stack((every.min(0).values, every.max(0).values), 1).tolist()
    spread, density = ([float(f"{x:.4g}") for x in each] for each in ends)
    return {_TABLE: {"spread": spread, "density": density}}


def likeness_from(about: Mapping[str, Any]) -> Likeness | None:
    """Return the likeness in a model's tables; None if there is none."""
    table = about.get(_TABLE)
    if not isinstance(table, Mapping):
        return None
    low_high = [tuple(map(float, table[key])) for key in ("spread", "density")]
    return Likeness(*low_high)  # type: ignore[arg-type]
