"""The batches of a run, from all sets of a configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dvskit import datasets
from dvskit.datasets import ImageSamples, Samples
from dvskit.datasets.cache import EventsInMemory, Memory
from dvskit.events import Filter
from dvskit.models import inputs
from dvskit.models.entries import DataConfig
from dvskit.models.inputs import POINTS, AnyBatches, is_weighed, representation_of
from dvskit.training.config import Config
from dvskit.training.sets import EMULATED, TrainingSet, load_sets, network_size

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


_KNOWN = 256  # training samples for the likeness measure
_MEMORY_GB = 1.0  # for emulated events in memory, besides those on disk
_HELD_BYTES = 1 << 30  # of recordings in memory


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """All the data of a run. Every draw depends only on the seed.

    train       batches of all sets together, changed at random at each draw
    validation  batches that choose the best epoch, by name, without random changes
    test        batches that judge the best weights, by name
    known       up to 256 training samples of each set of events, without random changes
    split       the samples in files, by part
    notes       assumptions made when opening them, one line each
    """

    train: AnyBatches
    validation: dict[str, AnyBatches]
    test: dict[str, AnyBatches]
    known: tuple[AnyBatches, ...]
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
                each, _held(each, each.parts.validation, memory), config, cache
            )
            for each in sets
            if len(each.parts.validation)
        },
        {
            each.entry.title: judged_part(each, each.parts.test, config, cache)
            for each in sets
            if len(each.parts.test)
        },
        tuple(
            judged_part(each, _some(each.parts.train), config, cache)
            for each in sets
            if isinstance(each.parts.train, Samples)
        ),
        split_in_files(sets),
        tuple(note for each in sets for note in each.notes),
    )


def emulated(sets: Sequence[TrainingSet], cache: datasets.Cache) -> list[tuple[Samples, int]]:
    """Return the samples that a run emulates once and finds in the cache later."""
    parts = [part for each in sets if each.entry.kind in EMULATED for part in each.parts]
    kept = [part.cached(cache) for part in parts if isinstance(part, Samples) and not part.draws]
    return [(samples, number) for samples in kept for number in range(len(samples))]


def _some(samples: Samples) -> Samples:
    """Return at most `_KNOWN` samples, evenly spaced."""
    step = -(-len(samples) // _KNOWN)
    return samples.choose(range(0, len(samples), step))


def split_in_files(sets: Sequence[TrainingSet]) -> datasets.Split:
    """Return the samples in files of all sets, by part."""
    split = datasets.Split([], [], [])
    for each in sets:
        for part, rows in zip(split, each.parts.rows, strict=True):
            part += [row for row in rows if row.path is not None]
    return split


def _held(
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
            samples=_held(each, each.parts.train, memory),
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
    if not isinstance(entry.augment, datasets.ImageChanges):
        return None
    return inputs.encode_of(entry.encoder, config.input, network_size(config), entry.augment)


def judged_part(
    each: TrainingSet, samples: Samples | ImageSamples, config: Config, cache: datasets.Cache | None
) -> AnyBatches:
    """Return batches that judge samples of a set, without random changes: epoch 0.

    cache  keeps what is emulated
    """
    if isinstance(samples, Samples):
        if cache is not None and each.entry.kind in EMULATED and not samples.draws:
            samples = samples.cached(cache)  # the batches keep only tensors
        return inputs.judged_batches(samples, config.input, network_size(config), cache)
    encode = inputs.encode_of(each.entry.encoder, config.input, network_size(config))
    return inputs.judged_images(samples, encode, config.seed)
