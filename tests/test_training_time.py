"""`dvskit train FOLDER --minutes`: which clips are emulated where there is no time for all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dvskit.datasets import FileSamples
from dvskit.errors import ConfigError
from dvskit.networks import ConvLIF
from dvskit.training import Callbacks, Config, DataConfig, LoopConfig
from dvskit.training.feed import load_feed
from dvskit.training.folder_clips import Prepared, Time, _blocks, _Place, prepare
from dvskit.training.sets import load_sets
from tests.sample_files import folder

CLASSES, PEOPLE, TURNS = ("bow", "kick", "wave"), 4, 3


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DVSKIT_THREADS", "1")


class Clock:
    """A clock that goes on by `each` seconds for each clip that is emulated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, each: float) -> None:
        self.now, self.emulated, read = 0.0, 0, FileSamples.events
        monkeypatch.setattr("dvskit.training.folder_clips.time.monotonic", lambda: self.now)

        def events(samples: FileSamples, *given: object) -> object:
            self.now += each
            self.emulated += 1
            return read(samples, *given)  # type: ignore[arg-type]

        monkeypatch.setattr(FileSamples, "events", events)


def clips(root: Path) -> Path:
    return folder(root, *(f"{label}/p{person}_t{turn}.mp4" for label in CLASSES
                          for person in range(PEOPLE) for turn in range(TURNS)))  # fmt: skip


def prepared(root: Path, seconds: float, notes: list[str]) -> Prepared:
    asked = Config(data=(DataConfig(path=str(root), name="samples"),))
    limit = Time(0.0, seconds / 2, seconds)
    return prepare(asked, {}, Callbacks(note=notes.append), limit)


@pytest.mark.slow(seconds=5)
def test_clips_that_there_is_no_time_for_are_left_out_evenly(tmp_path, monkeypatch):
    root, notes = clips(tmp_path / "set"), list[str]()
    clock = Clock(monkeypatch, 1.0)
    ready = prepared(root, 45.0, notes)
    rows = [row for part in ready.sets[0].parts for row in part.rows]
    assert clock.now <= 45 / 2
    assert 18 <= len(rows) == clock.emulated <= 22
    assert len(set(Counter(row.label for row in rows).values())) == 1
    each = Counter(row.group for row in rows).values()
    assert len(each) == PEOPLE
    assert max(each) - min(each) <= len(CLASSES)
    (said,) = (note for note in notes if "there is time" in note)
    assert f"there is time to emulate {len(rows)} of 36 clips, 1 s each" in said
    minutes = float(said.split("--minutes ")[1].split()[0])
    assert 72 <= 60 * minutes <= 90
    # Those that were emulated are kept: as many more fit in the next time.
    more = prepared(root, 2 * clock.now + 45.0, [])
    assert sum(map(len, more.sets[0].parts)) == 36
    assert clock.emulated == 36


@pytest.mark.slow(seconds=3)
def test_too_short_a_time_is_said_with_the_minutes_that_are_enough(tmp_path, monkeypatch):
    root = clips(tmp_path / "set")
    clock = Clock(monkeypatch, 30.0)
    with pytest.raises(
        ConfigError, match=r"36 clips must be emulated, 30 s each; --minutes 36\.1 "
    ):
        prepared(root, 60.0, [])
    assert clock.now <= 60


@pytest.mark.parametrize("people", [0, 1, 5])
def test_blocks_have_one_sample_of_each_class_of_one_person_first_of_all_people(tmp_path, people):
    names = [f"{label}/p{p}_t{turn}.npz" for label in CLASSES for p in range(max(people, 1))
             for turn in range(TURNS)]  # fmt: skip
    if not people:
        names = [name.replace("p0_t", "sample") for name in names]
    root = folder(tmp_path / "set", *names)
    entry = DataConfig(path=str(root), validation=0.0, test=0.0, by="share")
    config = Config(data=(entry,), network=ConvLIF(classes=3), loop=LoopConfig(keep="last"))
    (one,) = load_sets(config)
    places = [_Place(one.parts.train, number) for number in range(len(one.parts.train))]
    blocks = _blocks(places)
    assert sorted(place.number for block in blocks for place in block) == list(range(len(names)))
    for block in blocks:
        assert sorted(place.row.label for place in block) == sorted(CLASSES)
        assert len({place.row.group for place in block}) == 1
    first = [block[0].row.group for block in blocks[: max(people, 1)]]
    assert len(set(first)) == max(people, 1)


@pytest.mark.slow(seconds=5)
def test_clips_that_are_ready_are_not_emulated_again_to_be_judged(tmp_path, monkeypatch):
    root = clips(tmp_path / "set")
    clock = Clock(monkeypatch, 0.0)
    ready = prepared(root, 45.0, [])
    assert clock.emulated == 36
    feed = load_feed(ready.config, ready.sets)
    for batches in (*feed.test.values(), *feed.known):
        assert sum(len(labels) for _, labels in batches.epoch(0)) > 0
    assert clock.emulated == 36
