"""What a folder of a model says beside the network: split.csv, and tables of model.toml.

split.csv says which recordings it was trained on, chosen by, and tested on; [reject] when "nothing
happens" is the answer; [emulation] how the clips that it learned from were emulated.
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
    """A recording, or a span of one, of a model's run; the fingerprint tells it from others."""

    part: Part
    label: str
    name: str
    span: tuple[int, int] | None
    fingerprint: str
    group: str | None = None


def used_samples(split: Split | SplitSamples[Samples]) -> tuple[Used, ...]:
    """Return what a model keeps of the samples of its run."""
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
    """Return what tells a recording from others: its length and a digest of its two ends.

    A copy has the same under any name; the same events in another format have not.
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
    """Return the text of a split.csv: a recording, or a span of one, a line.

    There is a column of groups where any is known.
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
            f"{path}: is no list of what was trained on: {error}; remove it"
        ) from error


def split_from(text: str) -> tuple[Used, ...]:
    """Return the lines of the text of a split.csv. Raises ValueError for another text."""
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
    """Below what a decision is withheld.

    confidence         the least probability of the likeliest class
    events_per_second  the least rate of events in the window, as the network sees them: on its
                       sensor, each with its weight where they were fitted to it; 0: any but none
    how                how both were chosen, for people

    A model that does not say has the default. Raises ConfigError for values out of range.
    """

    confidence: float = 0.5
    events_per_second: float = 0.0
    how: str = HALF

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ConfigError(f"reject: confidence = {self.confidence} is outside 0..1")
        if not 0 <= self.events_per_second < math.inf:
            raise ConfigError(
                f"reject: events_per_second = {self.events_per_second} is no rate; a finite number "
                "of at least 0 is meant"
            )

    def why(self, confidence: float, events_per_second: float) -> str:
        """Return why a decision is withheld, "few events" or "unsure"; "" where it is not."""
        if not events_per_second or events_per_second < self.events_per_second:
            return "few events"
        return "unsure" if confidence < self.confidence else ""


def reject_from(about: Mapping[str, Any], where: str) -> Reject:
    """Return what [reject] of a model's file says, the default where there is none.

    Raises ModelError, which names the file as `where`, for a table that says something else.
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
    """Return an emulation as plain values; of the sensor, what is not as that of an ideal one."""
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
    """Return the emulation that a model's tables say, that of an ideal sensor where they do not.

    size  of the model's sensor. Raises ModelError for a table that says what cannot be.
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
