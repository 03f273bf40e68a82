"""Leaks: what is learned from must not be what is judged by, under whatever name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from dvskit.datasets.kinds import known_kind
from dvskit.datasets.samples import Part, Sample
from dvskit.errors import ConfigError
from dvskit.formats.content import content_digest


class Leak(NamedTuple):
    """Two samples in two parts of a split that have something in common, and what."""

    first: Sample
    first_part: Part
    second: Sample
    second_part: Part
    common: str

    def __str__(self) -> str:
        return (
            f"{_said(self.first)} ({self.first_part}) and {_said(self.second)} "
            f"({self.second_part}) {self.common}"
        )


def _said(sample: Sample) -> str:
    span = "" if sample.span is None else f" from {sample.span[0]} to {sample.span[1]} us"
    return sample.name + span


class _Placed(NamedTuple):
    sample: Sample
    part: Part


def find_leaks(parts: Sequence[Sequence[Sample]]) -> list[Leak]:
    """Return what is in two parts at once: a group, the same bytes, time that two spans share.

    parts  samples to train on, to choose by, and to report on

    For each thing in common, the first two samples that have it are named. Files are compared by
    their bytes, whatever they are called; only those of the same length are read. What is drawn has
    no bytes, and is told by its name.
    """
    placed = [
        _Placed(sample, part)
        for part, samples in zip(get_args(Part), parts, strict=True)
        for sample in samples
    ]
    return [*_split_groups(placed), *_shared_content(placed)]


def check_leaks(parts: Sequence[Sequence[Sample]]) -> None:
    """Raise ConfigError for the first of the leaks, if there is any: see `find_leaks`."""
    leaks = find_leaks(parts)
    if leaks:
        more = f" ({len(leaks) - 1:,} more such pairs)" if len(leaks) > 1 else ""
        raise ConfigError(f"a split that leaks: {leaks[0]}{more}; {_fix(leaks[0])}")


def _fix(leak: Leak) -> str:
    if leak.common.startswith("are of group"):
        return (
            "split_by_group keeps groups whole; where they do not matter, open the samples with "
            "group=None"
        )
    return "remove one of them, or keep them together by split_by_group or k_fold"


def _split_groups(placed: Iterable[_Placed]) -> Iterator[Leak]:
    first: dict[str, _Placed] = {}
    told = set()
    for each in placed:
        group = each.sample.group
        if group is None or group in told:
            continue
        other = first.setdefault(group, each)
        if other.part != each.part:
            told.add(group)
            yield Leak(*other, *each, f"are of group {group}")


def _shared_content(placed: Sequence[_Placed]) -> Iterator[Leak]:
    by_content: dict[str, list[_Placed]] = defaultdict(list)
    for each, key in zip(placed, contents([each.sample for each in placed]), strict=True):
        by_content[key].append(each)
    for several in by_content.values():
        if len({each.part for each in several}) == 1:
            continue
        first = _first_overlap(several)
        if first is not None:
            yield first


def _first_overlap(several: Sequence[_Placed]) -> Leak | None:
    """Return the first two of the same content, in two parts, that share time."""
    # In order of start, what overlaps a span that is still open follows it.
    waiting: dict[Part, tuple[int, _Placed]] = {}
    for each in sorted(several, key=lambda each: (span_of(each.sample), each.sample.name)):
        start, stop = span_of(each.sample)
        for part, (end, other) in waiting.items():
            if part != each.part and start < end:
                same_file = other.sample.path == each.sample.path
                common = "overlap in one file" if same_file else "hold the same bytes"
                pair = sorted((other, each), key=lambda placed: get_args(Part).index(placed.part))
                return Leak(*pair[0], *pair[1], common)
        if stop > waiting.get(each.part, (start, each))[0]:
            waiting[each.part] = stop, each
    return None


def span_of(sample: Sample) -> tuple[int, int]:
    """Return the span of a sample in microseconds; of a whole file, one that holds all others."""
    return (-(1 << 62), 1 << 62) if sample.span is None else sample.span


def contents(samples: Sequence[Sample]) -> list[str]:
    """Return for each sample what is the same where the bytes of their files are.

    Raises MissingFileError, FormatError for files that cannot be read.
    """
    paths = {sample.path for sample in samples if sample.path is not None}
    by_length: dict[int, list[Path]] = defaultdict(list)
    keys: dict[Path, str] = {}
    for path in paths:
        if path.is_dir():
            keys[path] = known_kind(path).content(path)
        elif path.exists():
            by_length[path.stat().st_size].append(path)
        else:
            content_digest(path)  # raises what there is to raise
    for several in by_length.values():
        for path in several:
            keys[path] = str(path) if len(several) == 1 else content_digest(path)
    return [f"drawn {s.name}" if s.path is None else keys[s.path] for s in samples]
