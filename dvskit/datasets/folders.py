"""Recordings in folders: a folder a class, or recordings with labels beside them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from dvskit.datasets.samples import Sample
from dvskit.errors import FormatError
from dvskit.formats.found import TEXTS, is_recording, readable_suffixes
from dvskit.formats.labels import LABELS_ENDING, find_labelled


def find_samples(folder: str | PathLike[str], *, anything: bool = False) -> list[Sample]:
    """Return the recordings `folder/<class>/<file>`, sorted by class and file name.

    A folder's name is its class; any format that dvskit reads will do. Names that start with a dot
    are passed over, and so are files that are no recordings, which `passed_over` lists; with
    `anything` they are taken too, for a format that is named. A folder of recordings with labels
    beside them gives a sample a label: see `find_spans`. Raises FormatError for a missing folder, a
    class without recordings, recordings beside the classes, and folders among the recordings.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FormatError(
            f"{root}: no such folder; one with a folder of recordings a class is meant"
        )
    entries = _visible(root)
    classes = [entry for entry in entries if entry.is_dir()]
    if not classes and any(entry.name.endswith(LABELS_ENDING) for entry in entries):
        return find_spans(root)
    marked = readable_suffixes() - TEXTS
    strays = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in marked]
    if strays and not classes:
        raise FormatError(
            f"{root}: holds recordings, not a folder of them a class; name the folder above, or "
            f"move them to {root}/<class>/"
        )
    if strays:
        raise FormatError(
            f"{strays[0]}: a recording beside the classes; move it to {root}/<class>/"
        )
    if not classes:
        raise FormatError(f"{root}: holds no folder; make one a class, named after it")
    samples = []
    for kind in classes:
        files = _recordings(kind, anything)
        if not files:
            raise FormatError(
                f"{kind}: holds no recordings; put some in it (files of "
                f"{', '.join(sorted(readable_suffixes()))}) or remove it"
            )
        samples += [Sample(f"{kind.name}/{file.name}", kind.name, path=file) for file in files]
    return samples


def passed_over(folder: str | PathLike[str]) -> list[Path]:
    """Return the files among the recordings of `find_samples` that are none, such as a read-me."""
    root = Path(folder)
    return [
        file
        for kind in (_visible(root) if root.is_dir() else [])
        if kind.is_dir()
        for file in _visible(kind)
        if not is_recording(file)
    ]


def _recordings(kind: Path, anything: bool) -> list[Path]:
    files = _visible(kind)
    folders = [file for file in files if file.is_dir()]
    if folders:
        raise FormatError(
            f"{folders[0]}: a folder among the recordings of class {kind.name}; "
            f"move its recordings to {kind}"
        )
    return [file for file in files if anything or is_recording(file)]


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


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
