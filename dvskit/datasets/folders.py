"""Recordings with labels beside them, a sample for each label."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from dvskit.datasets.samples import Sample
from dvskit.formats.found import TEXTS, readable_suffixes
from dvskit.formats.labels import find_labelled


def find_spans(folder: str | PathLike[str]) -> list[Sample]:
    """Return a sample for each label of the recordings in a folder, by file name and start.

    Labels stand in `<recording>_labels.csv`, as in DVS128 Gesture, whose lists of what to train and
    to test on count where they are: see `dvskit.formats.labels`. Raises FormatError as
    `find_labelled` there does.
    """
    samples = []
    for path, labels, part in find_labelled(Path(folder), readable_suffixes() - TEXTS):
        spans = zip(labels.start_us.tolist(), labels.stop_us.tolist(), strict=True)
        samples += [
            Sample(path.name, name, part=part, path=path, span=span)
            for name, span in zip(labels.name, spans, strict=True)
        ]
    return samples
