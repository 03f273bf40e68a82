"""The sets of a configuration, opened by one function per kind, and split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from dvskit import datasets
from dvskit.datasets import FileSamples, ImageSamples, Sample, Samples, SplitSamples
from dvskit.datasets.files import SampleReading
from dvskit.datasets.folders import open_files
from dvskit.emulator.params import as_params
from dvskit.errors import ConfigError, FormatError
from dvskit.events import Size
from dvskit.models.device import started_together
from dvskit.models.entries import DataConfig, Parts, parts_of
from dvskit.scenes import PERSON_GESTURES
from dvskit.training.config import Config
from dvskit.training.folder_notes import FolderNote
from dvskit.video import Light


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """An opened and split entry [[data]].

    notes  lines on assumptions made when opening it, and on samples left out
    """

    entry: DataConfig
    parts: Parts
    notes: tuple[str, ...] = ()


def load_sets(config: Config) -> tuple[TrainingSet, ...]:
    """Open and split all sets of a configuration; no recording is read yet.

    Raises ConfigError for no set, for classes that differ or do not fit the network and for a leak
    from one part to another, also between entries; and the errors of opening.
    """
    if not config.data:
        raise ConfigError("no set to learn from; add an entry [[data]] with kind and path")
    return checked_sets(tuple(_load_set(entry, config) for entry in config.data), config)


def opened_set(
    entry: DataConfig, config: Config, samples: FileSamples, parts: SplitSamples[Samples]
) -> TrainingSet:
    """Return the set of an entry from its files and their split, opened with other settings."""
    again = samples.read_by(_reading(entry, config))
    return TrainingSet(
        entry, SplitSamples(*(again.only(part) for part in parts.rows)), _notes(again)
    )


def checked_sets(sets: tuple[TrainingSet, ...], config: Config) -> tuple[TrainingSet, ...]:
    """Return sets with the classes of the widest. Raises ConfigError as `load_sets`."""
    widest = max(sets, key=lambda each: len(each.parts.train.classes))  # the first of the widest
    classes = widest.parts.train.classes
    for each in sets:
        if not set(each.parts.train.classes) <= set(classes):
            raise ConfigError(
                f"data.{widest.entry.title} has the classes {', '.join(classes)}, "
                f"data.{each.entry.title} {', '.join(each.parts.train.classes)}; the classes of "
                "one must be among those of the other: rename classes in [data.classes]"
            )
    if len(classes) < 2:
        raise ConfigError(f"one class, {', '.join(classes)}: give two or more")
    sets = tuple(replace(each, parts=_among(each.parts, classes)) for each in sets)
    if len(classes) != config.network.classes:
        raise ConfigError(
            f"{len(classes)} classes in the data, network.classes = {config.network.classes}; "
            "make them equal"
        )
    if config.loop.keep == "best" and not any(len(each.parts.validation) for each in sets):
        raise ConfigError(
            "no samples to choose the best epoch; set the validation of an entry [[data]] above 0, "
            "or loop.keep to last"
        )
    if len(sets) > 1:
        _check_leaks_between(sets, config.seed)
    return sets


def _among(parts: Parts, classes: tuple[str, ...]) -> Parts:
    if parts.train.classes == classes:
        return parts
    return cast(Parts, SplitSamples(*(part.with_classes(classes) for part in parts)))


def _load_set(entry: DataConfig, config: Config) -> TrainingSet:
    samples = KINDS[entry.kind](entry, config)
    notes = _notes(samples)
    if entry.classes:
        try:
            samples = samples.rename_classes(entry.classes)
        except ConfigError as error:
            raise ConfigError(f"data.{entry.title}.classes: {error}") from None
    if isinstance(samples, ImageSamples):
        return TrainingSet(entry, parts_of(samples, entry, config.seed))
    return TrainingSet(entry, parts_of(samples, entry, config.seed), notes)


def _notes(samples: Samples | ImageSamples) -> tuple[str, ...]:
    if isinstance(samples, datasets.SkeletonSamples):
        return tuple(samples.notes)
    if not isinstance(samples, FileSamples):
        return ()
    notes = list(samples.notes)
    if samples.others:
        more = f" and {len(samples.others) - 1:,} more" if len(samples.others) > 1 else ""
        text = f"{samples.others[0]}{more}: skipped: no recording"
        notes.append(FolderNote(text, "skipped files", count=len(samples.others)))
    count = len(samples.left_out)
    notes += [FolderNote(f"{file}: left out: {why}", "unreadable files", count=count)
              for file, why in samples.left_out]  # fmt: skip
    return tuple(notes)


def _check_leaks_between(sets: Sequence[TrainingSet], seed: int) -> None:
    """Raise ConfigError if one entry trains on samples that judge another."""
    together = datasets.Split([], [], [])
    for each in sets:
        for part, rows in zip(together, each.parts.rows, strict=True):
            part += [_placed(row, each.entry, seed) for row in rows]
    datasets.check_leaks(together)


def _placed(row: Sample, entry: DataConfig, seed: int) -> Sample:
    """Return a row whose name and group include its folder, or its drawn people."""
    drawn = f"{entry.kind} {entry.seed or seed}"
    place = str(Path(entry.path).resolve()) if entry.path else drawn
    group = None if row.group is None else f"{row.group} of {place}"
    return row._replace(name=f"{place}/{row.name}", group=group)


def _open(entry: DataConfig, config: Config) -> Samples:
    """Open the samples of a folder or list, and check that all are of the entry's kind."""
    if not entry.path:
        raise ConfigError(f"data.{entry.title}: no path; name a folder of {entry.kind}")
    if entry.set:
        download = entry.download and started_together() == 1  # several would write to one folder
        return datasets.open_public(
            entry.set, entry.path, strict=not entry.salvage, download=download
        )
    group = None if entry.group == "none" else entry.group
    samples = open_files(entry.path, _reading(entry, config), group=group)
    names = _FILES[entry.kind]
    for row, found in zip(samples.rows, samples.kinds, strict=True):
        if found not in names:
            kind = next(kind for kind, each in _FILES.items() if found in each)
            raise FormatError(
                f"{row.where}: is a {found}, in an entry of kind {entry.kind!r}; move it to a "
                f"folder of its own, with an entry [[data]] of kind {kind!r}"
            )
    return samples


def _reading(entry: DataConfig, config: Config) -> SampleReading:
    return SampleReading(emulation_of(entry, config), strict=not entry.salvage)


def emulation_of(entry: DataConfig, config: Config) -> datasets.Emulation:
    """Return the emulation of an entry's clips when they are judged."""
    params = as_params(entry.preset or None)
    if entry.threshold:
        params = replace(params, threshold_on=entry.threshold, threshold_off=entry.threshold)
    return datasets.Emulation(
        params=params,
        size=_size(entry, config),
        whole=entry.whole,
        upsample=entry.upsample,
        seed=config.seed,
        redraw=entry.redraw,
        fps=entry.fps or None,
        light=cast(Light, entry.light) if entry.light else None,
    )


def _size(entry: DataConfig, config: Config) -> tuple[int, int]:
    width, height = entry.size or (config.network.width, config.network.height)
    return width, height


def _open_images(entry: DataConfig, config: Config) -> ImageSamples:
    if not entry.path:
        raise ConfigError(f"data.{entry.title}: no path; name a folder of images")
    return datasets.open_images(entry.path)


def _move_images(entry: DataConfig, config: Config) -> Samples:
    moved = datasets.MovedImages(_open_images(entry, config), _size(entry, config))
    return moved if entry.redraw else moved.without_draws()


def _draw(entry: DataConfig, config: Config) -> Samples:
    return datasets.DrawnSamples(
        entry.each,
        seed=entry.seed or config.seed,
        gestures=entry.gestures or PERSON_GESTURES,
        size=_size(entry, config),
        duration_us=entry.duration_us,
        fps=round(entry.fps) or _DRAWN_FPS,
        close=entry.close,
    )


def _draw_moved(entry: DataConfig, config: Config) -> Samples:
    if not entry.path:
        raise ConfigError(f"data.{entry.title}: no path; name a folder or an .npz of skeletons")
    return datasets.SkeletonSamples(
        entry.path,
        entry.each,
        seed=entry.seed or config.seed,
        actions=entry.gestures,
        size=_size(entry, config),
        duration_us=entry.duration_us,
        fps=round(entry.fps) or _DRAWN_FPS,
    )


_DRAWN_FPS = 200
_FILES: Mapping[str, tuple[str, ...]] = {
    "recordings": ("recording",),
    "videos": ("video", "folder of images"),
    "depth": ("depth clip",),
    "mixed": ("recording", "video", "folder of images"),
}
KINDS: Mapping[str, Callable[[DataConfig, Config], Samples | ImageSamples]] = {
    "recordings": _open,
    "videos": _open,
    "mixed": _open,
    "depth": _open,
    "drawn": _draw,
    "skeletons": _draw_moved,
    "images": _open_images,
    "saccades": _move_images,
}
"""The functions that open the set of an entry, by its kind."""
EMULATED = frozenset(("videos", "mixed", "depth", "drawn", "skeletons", "saccades"))
"""The kinds whose events are emulated, and kept on disk afterwards."""


def network_size(config: Config) -> Size:
    """Return the size of the network's sensor."""
    return Size(config.network.width, config.network.height)
