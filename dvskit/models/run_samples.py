"""The samples of a model's run by part: the file split.csv in its folder."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, cast, get_args

from dvskit._files import read_regular
from dvskit.datasets import Part, Samples, Split, SplitSamples
from dvskit.datasets.files import known_kind
from dvskit.errors import ModelError

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
