"""Tables in a model's folder: split.csv, and parts of model.toml.

split.csv lists the recordings of training, validation and test; [reject] holds the limits below
which no class is named; [emulation] the emulation of the training clips.
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

from dvskit._arguments import check_arguments
from dvskit.datasets import Emulation, Part, Samples, Split, SplitSamples
from dvskit.datasets.kinds import known_kind
from dvskit.emulator import EmulatorParams
from dvskit.emulator.params import as_params
from dvskit.errors import ConfigError, DvskitError, ModelError, did_you_mean, one_line

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
    if not path.is_file():
        return ()
    try:
        return split_from(path.read_text("utf-8"))
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
