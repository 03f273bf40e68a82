"""Parts of recordings that are counted in events, as the tags of SL-Animals-DVS count them.

A tag file is a CSV with the line class,startTime_ev,endTime_ev and a line a sign: the number of the
class and of the first event, and that of the event after the last. The numbers count the events of
the recording beside it, from 0. Layout: the set's own data/README.txt.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvskit.datasets.read_samples import read_dvs128
from dvskit.datasets.samples import Sample, Samples
from dvskit.errors import FormatError
from dvskit.events import Events
from dvskit.formats.content import content_digest, digest_of

ANIMALS = (
    "cat", "dog", "camel", "cow", "sheep", "goat", "wolf", "squirrel", "mouse", "dolphin", "shark",
    "lion", "monkey", "snake", "spider", "butterfly", "bird", "duck", "zebra",
)  # fmt: skip
"""The classes of SL-Animals-DVS in the order of their numbers, 1 to 19."""

_COLUMNS = ("class", "starttime_ev", "endtime_ev")


class Tagged(NamedTuple):
    """A sign within a recording: the numbers of its first event and of the one after its last."""

    sample: Sample
    start: int
    stop: int


class IndexedSamples(Samples):
    """Samples that are some of the events of a recording, counted.

    A recording is read whole for each sample, but for the one read last, which is kept: read the
    samples of a recording one after the other, or through a cache.
    """

    draws = False

    def __init__(self, tagged: Iterable[Tagged], classes: Sequence[str] | None = None) -> None:
        self._tagged = tuple(tagged)
        super().__init__((each.sample for each in self._tagged), classes)
        self._lock = threading.Lock()
        self._latest: tuple[Path, Events] | None = None

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample. Raises FormatError where the recording is too short."""
        sample, start, stop = self._tagged[number]
        whole = self._recording(sample.file)
        if stop > len(whole):
            raise FormatError(
                f"{sample.where}: has {len(whole):,} events, but {sample.label} is tagged as "
                f"events {start:,} to {stop:,}"
            )
        return whole[start:stop]

    def _recording(self, path: Path) -> Events:
        with self._lock:
            if self._latest is None or self._latest[0] != path:
                self._latest = (path, read_dvs128(path))
            return self._latest[1]

    def fingerprint(self, number: int) -> str:
        """Return a digest of the recording's bytes and of the numbers of its events."""
        sample, start, stop = self._tagged[number]
        return digest_of((content_digest(sample.file), f"{start} {stop}"))


def indexed_rows(
    recordings: Iterable[Path],
    tags: Mapping[str, Path],
    group: Callable[[Iterable[Sample]], list[Sample]],
) -> IndexedSamples:
    """Return the samples of recordings and of the tag files of the same names.

    Raises FormatError for a recording without tags, tags without a recording, and odd tags.
    """
    by_stem: dict[str, Path] = {}
    for path in recordings:
        first = by_stem.setdefault(path.stem, path)
        if first != path:
            raise FormatError(f"{path}: has the name of {first}; one of them is meant")
    for path in by_stem.values():
        if path.stem not in tags:
            raise FormatError(f"{path}: has no tags; {path.with_suffix('.csv').name} is meant")
    for stem, tag in tags.items():
        if stem not in by_stem:
            raise FormatError(f"{tag}: no recording {stem}.aedat stands beside it")
    found = [row for stem, path in by_stem.items() for row in read_tags(tags[stem], path)]
    grouped = group(each.sample for each in found)
    tagged = [each._replace(sample=row) for each, row in zip(found, grouped, strict=True)]
    return IndexedSamples(tagged, ANIMALS)


def read_tags(path: Path, recording: Path) -> list[Tagged]:
    """Return the signs that a tag file names in a recording. Raises FormatError, with the line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[field.strip() for field in line] for line in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: cannot be read as text: {error}") from error
    if not lines or tuple(field.lower() for field in lines[0][:3]) != _COLUMNS:
        raise FormatError(
            f"{path}: starts with {lines[:1]}; class,startTime_ev,endTime_ev is meant"
        )
    found = []
    for number, line in enumerate(lines[1:], 2):
        if not any(line):
            continue
        if len(line) < 3 or not all(field.isascii() and field.isdecimal() for field in line[:3]):
            raise FormatError(
                f"{path}: line {number} is {','.join(line)[:60]!r}; three whole "
                "numbers, class,startTime_ev,endTime_ev, are meant"
            )
        kind, start, stop = map(int, line[:3])
        if not 1 <= kind <= len(ANIMALS) or stop <= start:
            raise FormatError(
                f"{path}: line {number}: class {kind}, events {start} to {stop}; a class of 1 to "
                f"{len(ANIMALS)} and an end after its start are meant"
            )
        label = ANIMALS[kind - 1]
        name = f"{recording.stem}/{label}-{number - 1:02}"
        found.append(Tagged(Sample(name, label, path=recording), start, stop))
    return found
