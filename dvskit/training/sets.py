"""The data of a run: sets, opened by one function for each kind and split, and their batches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from dvskit import datasets
from dvskit.datasets import FileSamples, ImageSamples, Sample, Samples, SplitSamples
from dvskit.datasets.batch_plan import WHOLE
from dvskit.datasets.cache import EventsInMemory, Memory
from dvskit.datasets.files import SampleReading
from dvskit.datasets.folders import open_files
from dvskit.emulator.params import as_params
from dvskit.errors import ConfigError, FormatError
from dvskit.events import Filter, Size
from dvskit.models.inputs import (
    POINTS,
    AnyBatches,
    encode_of,
    is_weighed,
    judged_batches,
    judged_images,
    representation_of,
)
from dvskit.models.learned import (
    ClipData,
    DataConfig,
    DrawnData,
    FileData,
    ImageData,
    Parts,
    RecordingData,
    SaccadeData,
    SkeletonData,
    VideoData,
    parts_of,
)
from dvskit.models.own_networks import GivenSamples, check_samples, described
from dvskit.models.scores import started_together
from dvskit.networks import Network
from dvskit.scenes import PERSON_GESTURES
from dvskit.training.config import Config, load_config

_MEMORY_GB = 1.0  # for emulated events in memory, besides those on disk
_HELD_BYTES = 1 << 30  # of recordings in memory
_REPEATED_BYTES = 1 << 30  # of outputs of layers that stay
_DRAWN_FPS = 200


class FolderNote(str):
    """A line for the command line, with its kind and values, of which other words can be made."""

    kind: str
    values: dict[str, Any]

    def __new__(cls, text: str, kind: str, **values: Any) -> Self:
        """Make a note of a line; `values` are as JSON takes them."""
        made = super().__new__(cls, text)
        made.kind, made.values = kind, values
        return made


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


def sets_for(
    given: Config | str | PathLike[str] | Network | nn.Module,
    samples: GivenSamples | None,
    fields: Mapping[str, Any],
) -> tuple[Config, tuple[TrainingSet, ...] | None]:
    """Return the configuration of a run, and its sets if samples are passed.

    Arguments are those of `train`. Raises ConfigError for arguments that do not fit together.
    """
    if samples is not None:
        check_samples("train", samples)
    if isinstance(given, Config | str | PathLike):
        config = given if isinstance(given, Config) else load_config(given)
        config = replace(config, **fields) if fields else config
        return (config, None) if samples is None else _with_samples(config, samples)
    if isinstance(given, type):
        raise ConfigError(f"{given.__name__} is a class; pass an instance, {given.__name__}(...)")
    if samples is None and isinstance(given, nn.Module):
        raise ConfigError(
            f"train: {type(given).__name__} has no samples to learn from; pass train(module, "
            "samples), for example with open_samples(folder)"
        )
    network = given if samples is None else described(given, samples, fields.get("input"))
    named = {"network": network, "name": network.name, "output": f"runs/{network.name}"}
    config = Config(**{**named, **fields})
    return (config, None) if samples is None else _with_samples(config, samples)


def _with_samples(config: Config, samples: GivenSamples) -> tuple[Config, tuple[TrainingSet, ...]]:
    whole = samples.train if isinstance(samples, SplitSamples) else samples
    if len(config.data) > 1:
        raise ConfigError("samples are one set, but the configuration has more; leave out data")
    kind: type[ImageData | RecordingData]
    kind = ImageData if isinstance(whole, ImageSamples) else RecordingData
    entry = config.data[0] if config.data else kind(name="samples")
    if not isinstance(entry, kind) or entry.path:
        raise ConfigError(
            f"data: {type(entry).__name__} or its path does not fit the samples that are passed: "
            f"use {kind.__name__}(name='samples', ...) without a path"
        )
    given = isinstance(samples, SplitSamples)
    parts: Parts = samples if given else parts_of(samples, entry, config.seed)  # type: ignore
    config = replace(config, data=(entry,))
    return config, checked_sets((TrainingSet(entry, parts),), config)


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
    sets = tuple(replace(each, parts=_with_classes(each.parts, classes)) for each in sets)
    if len(classes) != config.network.classes:
        raise ConfigError(
            f"{len(classes)} classes in the data, network.classes = {config.network.classes}; "
            "make them equal"
        )
    chooses = config.loop.keep == "best" or config.loop.patience
    if chooses and not any(len(each.parts.validation) for each in sets):
        raise ConfigError(
            "no samples to choose the best epoch; set the validation of an entry [[data]] above 0, "
            "or loop.keep to last and loop.patience to 0"
        )
    if len(sets) > 1:
        _check_leaks_between(sets, config.seed)
    return sets


def _with_classes(parts: Parts, classes: tuple[str, ...]) -> Parts:
    if parts.train.classes == classes:
        return parts
    return cast(Parts, SplitSamples(*(part.with_classes(classes) for part in parts)))


def _load_set(entry: DataConfig, config: Config) -> TrainingSet:
    if not getattr(entry, "path", entry.kind):
        raise ConfigError(f"data.{entry.title}: no path; name a folder or a file of {entry.kind}")
    samples = _OPENERS[entry.kind](entry, config)
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
    if isinstance(entry, DrawnData):
        place = f"{entry.kind} {entry.seed or seed}"
    else:
        place = str(Path(getattr(entry, "path", "")).resolve())
    group = None if row.group is None else f"{row.group} of {place}"
    return row._replace(name=f"{place}/{row.name}", group=group)


def _open(entry: FileData, config: Config) -> Samples:
    """Open the samples of a folder or list, and check that all are of the entry's kind."""
    if isinstance(entry, RecordingData) and entry.set:
        download = entry.download and started_together() == 1  # several would write to one folder
        return datasets.open_public(
            entry.set, entry.path, strict=not entry.salvage, download=download
        )
    group = None if entry.group == "none" else entry.group
    reading = SampleReading(emulation_of(entry, config), strict=not entry.salvage)
    samples = open_files(entry.path, reading, group=group)
    names = _FILES[entry.kind]
    for row, found in zip(samples.rows, samples.kinds, strict=True):
        if found not in names:
            kind = next(kind for kind, each in _FILES.items() if found in each)
            raise FormatError(
                f"{row.where}: is a {found}, in an entry of kind {entry.kind!r}; move it to a "
                f"folder of its own, with an entry [[data]] of kind {kind!r}"
            )
    return samples


def emulation_of(entry: FileData, config: Config) -> datasets.Emulation:
    """Return the emulation of an entry's clips when they are judged."""
    given: dict[str, Any] = {"size": _size(entry.size, config), "seed": config.seed}
    if isinstance(entry, ClipData):
        given |= {"params": as_params(entry.preset or None), "redraw": entry.redraw}
    if isinstance(entry, VideoData):
        given |= {"whole": entry.whole, "upsample": entry.upsample}
        given |= {"fps": entry.fps or None, "light": entry.light or None}
        if entry.threshold:
            both = {"threshold_on": entry.threshold, "threshold_off": entry.threshold}
            given["params"] = replace(given["params"], **both)
    return datasets.Emulation(**given)


def _size(size: tuple[int, ...], config: Config) -> tuple[int, int]:
    width, height = size or (config.network.width, config.network.height)
    return width, height


def _open_images(entry: ImageData | SaccadeData, config: Config) -> ImageSamples:
    return datasets.open_images(entry.path)


def _move_images(entry: SaccadeData, config: Config) -> Samples:
    moved = datasets.MovedImages(_open_images(entry, config), _size(entry.size, config))
    return moved if entry.redraw else moved.without_draws()


def _draw(entry: DrawnData, config: Config) -> Samples:
    gestures = entry.gestures or PERSON_GESTURES
    how = _drawing(entry, config)
    return datasets.DrawnSamples(entry.each, gestures=gestures, close=entry.close, **how)


def _draw_moved(entry: SkeletonData, config: Config) -> Samples:
    how = _drawing(entry, config)
    return datasets.SkeletonSamples(entry.path, entry.each, actions=entry.gestures, **how)


def _drawing(entry: DrawnData | SkeletonData, config: Config) -> dict[str, Any]:
    """Return what drawn people and moved skeletons have in common."""
    return {
        "seed": entry.seed or config.seed,
        "size": _size(entry.size, config),
        "duration_us": entry.duration_us,
        "fps": round(entry.fps) or _DRAWN_FPS,
    }


_FILES: Mapping[str, tuple[str, ...]] = {
    "recordings": ("recording",),
    "videos": ("video", "folder of images"),
    "depth": ("depth clip",),
    "mixed": ("recording", "video", "folder of images"),
}
_OPENERS: Mapping[str, Callable[[Any, Config], Samples | ImageSamples]] = {
    "recordings": _open,
    "videos": _open,
    "mixed": _open,
    "depth": _open,
    "drawn": _draw,
    "skeletons": _draw_moved,
    "images": _open_images,
    "saccades": _move_images,
}
EMULATED = frozenset(("videos", "mixed", "depth", "drawn", "skeletons", "saccades"))
"""The kinds whose events are emulated, and kept on disk afterwards."""


def network_size(config: Config) -> Size:
    """Return the size of the network's sensor."""
    return Size(config.network.width, config.network.height)


_SIDES = {"left": "right", "right": "left", "clockwise": "counterclockwise",
          "counterclockwise": "clockwise"}  # fmt: skip
_AGAINST = re.compile(r"(counter|anti)[ _-]?(?=clockwise)", re.IGNORECASE)


def mirrored(name: str, classes: Sequence[str]) -> str | None:
    """Return the mirror class among `classes`; None if there is none.

    left_wave mirrors right_wave, clockwise mirrors counter_clockwise.
    """
    words = _words(name)
    swapped = tuple(_SIDES.get(word, word) for word in words)
    return next((each for each in classes if _words(each) == swapped != words), None)


def _words(name: str) -> tuple[str, ...]:
    against = _AGAINST.sub("counter", name.casefold())
    return tuple(word for word in re.split(r"[^a-z0-9]+", against) if word)


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """All the data of a run. Every draw depends only on the seed.

    train       batches of all sets together, changed at random at each draw
    validation  batches that choose the best epoch, by name, without random changes
    test        batches that judge the best weights, by name
    split       the samples in files, by part
    notes       assumptions made when opening them, one line each
    """

    train: AnyBatches
    validation: dict[str, AnyBatches]
    test: dict[str, AnyBatches]
    split: datasets.Split
    notes: tuple[str, ...]


def load_feed(config: Config, sets: Sequence[TrainingSet] | None = None) -> Feed:
    """Open and split all sets of a configuration, or use `sets` if they are open already.

    Raises the errors of `load_sets`.
    """
    sets = load_sets(config) if sets is None else sets
    cache = (
        datasets.Cache(memory_gb=_MEMORY_GB)
        if any(each.entry.kind in EMULATED for each in sets)
        else None
    )
    memory = Memory(_HELD_BYTES, replaces=False)
    return Feed(
        _training_batches(sets, config, cache, memory),
        {
            each.entry.title: judged_part(
                each, _read_once(each, each.parts.validation, memory), config, cache
            )
            for each in sets
            if len(each.parts.validation)
        },
        {
            each.entry.title: judged_part(each, each.parts.test, config, cache)
            for each in sets
            if len(each.parts.test)
        },
        split_in_files(sets),
        tuple(note for each in sets for note in each.notes),
    )


def emulated(sets: Sequence[TrainingSet], cache: datasets.Cache) -> list[tuple[Samples, int]]:
    """Return the samples that a run emulates once and finds in the cache later."""
    parts = [part for each in sets if each.entry.kind in EMULATED for part in each.parts]
    kept = [part.cached(cache) for part in parts if isinstance(part, Samples) and not part.draws]
    return [(samples, number) for samples in kept for number in range(len(samples))]


def split_in_files(sets: Sequence[TrainingSet]) -> datasets.Split:
    """Return the samples in files of all sets, by part."""
    split = datasets.Split([], [], [])
    for each in sets:
        for part, rows in zip(split, each.parts.rows, strict=True):
            part += [row for row in rows if row.path is not None]
    return split


def _read_once(
    each: TrainingSet, samples: Samples | ImageSamples, memory: Memory
) -> Samples | ImageSamples:
    """Return samples that are read once, if they come from files that no cache keeps."""
    if isinstance(samples, ImageSamples) or each.entry.kind in EMULATED:
        return samples
    return samples.adapted(EventsInMemory(memory))


def _training_batches(
    sets: Sequence[TrainingSet], config: Config, cache: datasets.Cache | None, memory: Memory
) -> AnyBatches:
    # A point set draws other events each time, even without random changes.
    draws_points = config.input.representation == POINTS
    shares = [
        datasets.BatchShare(
            samples=_read_once(each, each.parts.train, memory),
            count=each.entry.count,
            vary=each.entry.vary(always=draws_points),
            relabel=_mirror(each) if each.entry.mirrored and each.entry.vary() else None,
            encode=_encode(each.entry, config),
            balanced=each.entry.balanced,
        )
        for each in sets
    ]
    steps = config.loop.steps or None
    if all(share.encode is not None for share in shares):
        return datasets.ImageBatches(shares, seed=config.seed, steps=steps)
    return datasets.Batches(
        shares,
        representation_of(config.input),
        size=network_size(config),
        seed=config.seed,
        steps=steps,
        weigh=is_weighed(config.input),
        cache=cache,
    )


def _mirror(each: TrainingSet) -> Callable[[str, Filter], str]:
    """Return the function that gives a sample's class after a random change, flips included."""
    classes = each.parts.train.classes

    def relabel(name: str, changed: Filter) -> str:
        return mirrored(name, classes) or name if getattr(changed, "flipped_x", False) else name

    return relabel


def _encode(entry: DataConfig, config: Config) -> datasets.Encode | None:
    if not isinstance(entry, ImageData):
        return None
    return encode_of(entry.encoder, config.input, network_size(config), entry.augment)


def judged_part(
    each: TrainingSet, samples: Samples | ImageSamples, config: Config, cache: datasets.Cache | None
) -> AnyBatches:
    """Return batches that judge samples of a set, without random changes: epoch 0.

    cache  keeps what is emulated
    """
    if isinstance(samples, Samples):
        if cache is not None and each.entry.kind in EMULATED and not samples.draws:
            samples = samples.cached(cache)  # the batches keep only tensors
        return judged_batches(samples, config.input, network_size(config), cache)
    assert isinstance(each.entry, ImageData)
    encode = encode_of(each.entry.encoder, config.input, network_size(config))
    return judged_images(samples, encode, config.seed)


class RepeatedEpochs:
    """The batches of a run: those of the first epochs again and again.

    epochs  number of different epochs; 0: all differ
    first   layers of which the batches are the outputs, as float16; None: batches are inputs
    """

    def __init__(
        self, batches: AnyBatches, epochs: int, first: nn.Module | None, device: torch.device
    ) -> None:
        self._batches, self._epochs, self._first, self._device = batches, epochs, first, device
        self._kept: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self._room = _REPEATED_BYTES

    def epoch(
        self, number: int, *, first: int = 0, part: tuple[int, int] = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches and labels, as of `dvskit.datasets.Batches.epoch`."""
        number = number % self._epochs if self._epochs else number
        if number in self._kept:
            yield from self._kept[number][first:]
            return
        made: list[tuple[Tensor, Tensor]] = []
        for counts, labels in self._batches.epoch(number, first=first, part=part):
            if self._first is None:
                yield counts, labels
                continue
            with torch.no_grad():
                outputs = self._first(counts.to(self._device).float()).half()
            made.append((outputs, labels))
            yield outputs, labels
        size = sum(outputs.nbytes for outputs, _ in made)
        if made and self._epochs and not first and size <= self._room:
            self._kept[number] = made
            self._room -= size
