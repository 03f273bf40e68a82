"""Prepare a folder of samples: inspect it, choose settings, emulate clips while time allows.

If there is no time to emulate all clips, some of each class and person are used.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

import numpy as np

from dvskit._threads import thread_count
from dvskit.datasets import Cache, FileSamples, ImageSamples, Sample, Samples, open_samples
from dvskit.errors import DvskitError, count_of, one_line
from dvskit.models.model import load_model
from dvskit.training.choose_config import ChosenConfig, ChosenSetting, choose
from dvskit.training.config import Config, changed_config
from dvskit.training.folder_notes import FolderNote, TooLittleTimeError
from dvskit.training.folder_start import PEOPLE_MODEL, new_weights, starts_with
from dvskit.training.inspect_folder import FolderContents, inspect_samples
from dvskit.training.running import Progress
from dvskit.training.sets import EMULATED, TrainingSet, checked_sets, load_sets, opened_set

_LEAST_BLOCKS = 2  # of one clip of each class: one to train on, one to judge by
_LEAST_TRAINING = 0.3  # of the time, for training, judging and the card
_GESTURE_US = 500_000  # samples shorter than that show none
_CHOOSING = 0.2  # of the time, at most, until the start is chosen


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Callbacks during `train_folder`; none of them changes the run.

    say       called with a line on a finding or a choice
    note      called with a line on an assumption, or on skipped samples
    made      called with the number of emulated samples and of all samples
    progress  as in `train`

        callbacks = dvskit.training.Callbacks(
            say=print, progress=lambda now: print(f"{now.step} of {now.steps} steps")
        )
        callbacks.say("12 videos of 2 people")  # prints the line
        callbacks.made(3, 12)  # the default does nothing
    """

    say: Callable[[str], None] = lambda text: None
    note: Callable[[str], None] = lambda text: None
    made: Callable[[int, int], None] = lambda done, total: None
    progress: Callable[[Progress], None] = lambda now: None


@dataclass(frozen=True, slots=True)
class Prepared:
    """The configuration, opened sets, inspection and choices of a folder.

    left_out  the most parts that are left out of trainings of their own, to judge it
    """

    config: Config
    sets: Sequence[TrainingSet]
    contents: FolderContents
    choices: tuple[ChosenSetting, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Time:
    """Limits for the emulation, as values of time.monotonic().

    began  start of the command     until  end of the last emulation     end  of the command
    """

    began: float
    until: float
    end: float


def prepare(
    asked: Config,
    changes: Mapping[str, str],
    callbacks: Callbacks,
    limit: Time | None,
    check: Callable[[Config, Sequence[TrainingSet]], None] = lambda config, sets: None,
    *,
    choose_start: bool = False,
) -> Prepared:
    """Inspect, choose and emulate; then again without the samples that cannot be used.

    limit         when to stop emulating; None: no limit
    choose_start  whether a shipped model may be the start, in place of that of `asked`
    check  called with the chosen configuration and sets, before the emulation

    Raises ConfigError if there is no time for two clips of each class, and the errors of opening,
    choosing and `check`.
    """
    model = load_model(asked.start) if asked.start else None
    (entry,) = asked.data
    said: set[str] = set()
    samples = open_samples(entry.path, strict=not entry.salvage)
    begun: tuple[ChosenSetting, ...] = ()
    while True:
        contents = inspect_samples(samples, entry.path, without=entry.without)
        if choose_start and not begun:
            begun = (_start_for(contents, replace(asked, data=(entry,)), samples, limit),)
            if begun[0].value == PEOPLE_MODEL:
                asked, model = replace(asked, start=PEOPLE_MODEL), load_model(PEOPLE_MODEL)
        chosen = choose(contents, replace(asked, data=(entry,)), model)
        config = _left_out(changed_config(chosen.config, changes), entry.without)
        asked_for = (ChosenSetting("asked", f"{key} = {text}", "set by the command")
                     for key, text in changes.items())  # fmt: skip
        choices = (*begun, *chosen.choices, *asked_for)
        for line in (f"{entry.path}: {contents.words}", *map(str, choices)):
            if line not in said:
                callbacks.say(line)
            said.add(line)
        sets = _sets_of(config, samples, chosen)
        check(config, sets)
        making = _Making(entry.salvage, callbacks, limit)
        making.make(sets)
        if not making.wrong and not making.late:
            break
        _tell_left_out(making, callbacks)
        names = {row.name for row in (*making.wrong, *making.late)}
        entry, limit = replace(entry, without=(*entry.without, *sorted(names))), None
    for text in (*(note for each in sets for note in each.notes), *contents.warnings):
        callbacks.note(text)
    judged = _split_keys(config) == _split_keys(chosen.config)
    return Prepared(config, sets, contents, choices, chosen.left_out if judged else 0)


def _start_for(
    contents: FolderContents, asked: Config, samples: FileSamples, limit: Time | None
) -> ChosenSetting:
    """Return the choice of the start for a folder."""
    if float(np.quantile(contents.durations, 0.9)) < _GESTURE_US:
        return new_weights("the samples are too short for gestures", "short")
    start = load_model(PEOPLE_MODEL)
    if start.likeness is None:
        return new_weights(f"{start.name} has no likeness.safetensors", "unread")
    chosen = choose(contents, replace(asked, start=start.name), start)
    until = None if limit is None else limit.began + _CHOOSING * (limit.end - limit.began)
    (one,) = _sets_of(chosen.config, samples, chosen)
    return starts_with(start, chosen.config, one, until)


def _split_keys(config: Config) -> tuple[object, ...]:
    """Return the settings that decide which samples judge, and that none chooses an epoch."""
    (first, *others) = config.data
    shares = first.by, first.group, first.validation, first.test, first.skip, first.limit
    return *shares, len(others), config.seed, config.loop.keep


def _sets_of(config: Config, samples: FileSamples, chosen: ChosenConfig) -> tuple[TrainingSet, ...]:
    """Return the sets of a configuration from opened and split samples, if they are its own."""
    grouped_as_opened = all(
        {row.group for row in part.rows} <= {row.group for row in samples.rows}
        for part in chosen.parts
    )
    same = config.data == chosen.config.data and config.seed == chosen.config.seed
    if not (same and grouped_as_opened):
        return load_sets(config)
    one = opened_set(config.data[0], config, samples, chosen.parts)
    return checked_sets((one,), config)


def _left_out(config: Config, names: Sequence[str]) -> Config:
    """Return a configuration without some samples in its first entry [[data]]."""
    first, *others = config.data
    without = tuple(dict.fromkeys((*first.without, *names)))
    return replace(config, data=(replace(first, without=without), *others))


def _tell_left_out(making: _Making, callbacks: Callbacks) -> None:
    for row, why in making.wrong.items():
        text = f"{row.where}: left out: {why}"
        callbacks.note(FolderNote(text, "unreadable files", count=len(making.wrong)))
    if making.late:
        total, used = making.total, making.total - len(making.late)
        minutes = f"{making.minutes_for_all():.1f}"
        text = (
            f"there is time to emulate {used:,} of {total:,} clips, {making.each:.2g} s each, the "
            f"same number of each class; --minutes {minutes} uses all"
        )
        values = {"used": used, "total": total, "minutes": float(minutes)}
        callbacks.note(FolderNote(text, "short of time", **values))


@dataclass(slots=True)
class _Making:
    """Emulates the clips of sets, so that their events are kept on disk.

    wrong  samples that cannot be read, with the reason; an error without `salvage`
    late   samples beyond the time, as many of each class
    total  the number of samples
    """

    salvage: bool
    callbacks: Callbacks
    limit: Time | None
    wrong: dict[Sample, str] = field(default_factory=dict)
    late: list[Sample] = field(default_factory=list)
    total: int = 0
    _seconds: list[float] = field(default_factory=list)  # of each clip
    _missing: int = 0  # clips whose events are not kept yet
    _started: float = field(default_factory=lambda: time.monotonic())

    @property
    def each(self) -> float:
        """Seconds per clip, with all workers busy; 0 before any clip counts.

        The first clip of each worker does not count, because it may compile loops.
        """
        return statistics.median(self._seconds[thread_count() :] or [0.0]) / thread_count()

    def minutes_for_all(self) -> float:
        """Return the minutes that are enough to emulate all clips."""
        assert self.limit is not None
        share = (self.limit.until - self.limit.began) / (self.limit.end - self.limit.began)
        needed = self._started - self.limit.began + self._missing * self.each
        return (math.ceil(needed / share / 6) + 1) / 10  # 0.1 more, to start the process

    def make(self, sets: Sequence[TrainingSet]) -> None:
        """Emulate missing clips, in `blocks`, while there is time."""
        every = list(_places(sets))
        self.total = len(every)
        missing = {id(place): place.missing() for place in every}
        self._missing = sum(missing.values())
        pool, waiting, done = ThreadPoolExecutor(thread_count()), set[Future[None]](), 0
        try:
            for number, block in enumerate(_blocks(every)):
                work = [place for place in block if missing[id(place)]]
                done += len(block) - len(work)
                if work and not self._fits(number, len(work) + len(waiting)):
                    self.late += [place.row for place in block]
                    continue
                for turn, place in enumerate(work):
                    if number < _LEAST_BLOCKS:
                        self._check_least(len(work) - turn + len(waiting))
                    if len(waiting) >= thread_count():
                        ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                        done += self._ended(ended, done)
                    waiting.add(pool.submit(self._one, place))
            while waiting:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                done += self._ended(ended, done)
        finally:
            pool.shutdown(cancel_futures=True)
        if every:
            self.callbacks.made(self.total, self.total)

    def _ended(self, ended: set[Future[None]], done: int) -> int:
        for future in ended:
            future.result()
        self.callbacks.made(done + len(ended), self.total)
        return len(ended)

    def _fits(self, number: int, count: int) -> bool:
        """Return whether `count` clips, up to those of block `number`, are ready in time."""
        if self.limit is None or number < _LEAST_BLOCKS:
            return True
        return time.monotonic() + count * self.each <= self.limit.until

    def _check_least(self, count: int) -> None:
        """Raise ConfigError if `count` more clips leave too little time to train."""
        if self.limit is None:
            return
        whole = self.limit.end - self.limit.began
        if time.monotonic() + count * self.each > self.limit.end - _LEAST_TRAINING * whole:
            minutes = f"{self.minutes_for_all():.1f}"
            raise TooLittleTimeError(
                f"there is too little time: {count_of(self._missing, 'clip')} must be emulated, "
                f"{self.each:.2g} s each; --minutes {minutes} is enough for all of them. Emulated "
                "events are kept",
                float(minutes),
            )

    def _one(self, place: _Place) -> None:
        began = time.monotonic()
        try:
            place.samples.events(place.number)
        except DvskitError as error:
            if not self.salvage:
                raise
            self.wrong[place.row] = one_line(error)
        self._seconds.append(time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Place:
    samples: Samples
    number: int
    cache: Cache | None

    @property
    def row(self) -> Sample:
        return self.samples.rows[self.number]

    def missing(self) -> bool:
        """Whether it must be emulated, or read to check it."""
        return self.cache is None or not self.cache.holds(self.samples, self.number)


def _places(sets: Sequence[TrainingSet]) -> Iterator[_Place]:
    """Yield the samples that are emulated, and those that may be damaged."""
    cache = Cache()
    for each in sets:
        emulated = each.entry.kind in EMULATED
        if not (emulated or each.entry.salvage):
            continue
        for part in each.parts:
            assert not isinstance(part, ImageSamples)
            samples, kept = (part.cached(cache), cache) if emulated else (part, None)
            yield from (_Place(samples, number, kept) for number in range(len(part)))


def _blocks(places: Sequence[_Place]) -> list[list[_Place]]:
    """Return places in blocks of one sample per class, each block of one person.

    The first blocks are of different people.
    """
    cells: dict[tuple[str, str], list[_Place]] = defaultdict(list)
    for place in sorted(places, key=lambda place: place.row.name):
        cells[str(place.row.group), place.row.label].append(place)
    blocks: dict[tuple[int, str], list[_Place]] = defaultdict(list)
    for (group, _), members in sorted(cells.items()):
        for turn, place in enumerate(members):
            blocks[turn, group].append(place)
    return [blocks[key] for key in sorted(blocks)]
