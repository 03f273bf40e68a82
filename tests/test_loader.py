"""Batches: the same ones for a seed, whoever makes them, and nothing lost on the way."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from dvskit.datasets import (
    Batches,
    BatchShare,
    Cache,
    ImageSamples,
    Sample,
)
from dvskit.datasets.batch_plan import drawn, drawn_by_class
from dvskit.datasets.cache import EventsInMemory, Memory
from dvskit.errors import (
    ConfigError,
    DamagedFileError,
    FittedWarning,
    FormatError,
    ShapeError,
)
from dvskit.events import Events
from dvskit.filters import Fit
from dvskit.tensors import Counts, PointSet
from tests.drawn_samples import DrawnSamples, events_of
from tests.laws import refused

COUNTS = Counts(bins=5, bin_us=500, outside="ignore", dtype=torch.uint8)
SINGLE = replace(COUNTS, dtype=torch.float32)
SIZE = (8, 6)


class Shift:
    """A filter of the tests: columns moved, those off the sensor left out."""

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def start(self, size):
        def step(events):
            x = events.x + np.int16(self.columns)
            on = (x >= 0) & (x < size.width)
            return Events(
                t=events.t[on], x=x[on], y=events.y[on], p=events.p[on], size=events.sensor_size
            )

        return step


class Shifts:
    def draw(self, rng):
        return Shift(int(rng.integers(-3, 4)))


class Grays(ImageSamples):
    def __init__(self, total: int) -> None:
        super().__init__([Sample(f"i{k}", "abc"[k % 3]) for k in range(total)])

    def image(self, number):
        return np.full((SIZE[1], SIZE[0]), number, np.uint8)

    def fingerprint(self, number):
        return f"gray {number}"


def encode(image, rng):
    drawn = rng.random((COUNTS.bins, 2, *image.shape)) < 0.5
    return torch.from_numpy(drawn * image).to(torch.uint8)


def mixed(**options) -> Batches:
    shares = [
        BatchShare(samples=DrawnSamples(10), count=4, vary=Shifts(), balanced=True),
        BatchShare(samples=DrawnSamples(5, draws=False), count=1),
        BatchShare(samples=Grays(30), count=3, encode=encode),
    ]
    return Batches(shares, COUNTS, size=SIZE, seed=7, **options)


def make(samples=None, **options) -> Batches:
    options = {"representation": COUNTS, "size": SIZE, "batch_size": 4, "seed": 3, **options}
    return Batches(DrawnSamples(22) if samples is None else samples, **options)


def equal(one, other) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True)
    )


def by_hand(samples, seed: int, epoch: int) -> list[tuple[np.ndarray, list[int]]]:
    """What an epoch of one set is by its definition, without the loader."""
    order = np.random.default_rng((seed, 0, epoch, 0)).permutation(len(samples))
    batches = []
    for first in range(0, len(order), 4):
        chosen = order[first : first + 4]
        counts = np.zeros((5, len(chosen), 2, 6, 8), np.uint8)
        for row, number in enumerate(chosen):
            rng = np.random.default_rng((seed, 1, epoch, first + row))
            events = samples.events(number, rng)
            shift = int(rng.integers(-3, 4))
            for t, x, y, p in zip(events.t, events.x, events.y, events.p, strict=True):
                k = (t - events.t[0]) // 500
                if k < 5 and 0 <= x + shift < 8:
                    counts[k, row, int(p), y, x + shift] += 1
        batches.append((counts, samples.labels[chosen].tolist()))
    return batches


@pytest.mark.parametrize("threads", [0, 1, 5])
def test_an_epoch_is_what_its_definition_says_with_any_number_of_threads(threads):
    batches = make(vary=Shifts(), threads=threads)
    for epoch in (0, 4):
        found = list(batches.epoch(epoch))
        wanted = by_hand(DrawnSamples(22), 3, epoch)
        assert len(found) == len(wanted) == len(batches) == 6
        for (counts, labels), (plain, numbers) in zip(found, wanted, strict=True):
            assert counts.dtype == torch.uint8
            assert np.array_equal(counts.numpy(), plain)
            assert labels.tolist() == numbers
            assert labels.dtype == torch.int64


@pytest.mark.parametrize(("threads", "ahead"), [(2, 1), (5, 4)])
def test_mixed_batches_do_not_depend_on_threads_nor_on_how_far_they_are_ahead(threads, ahead):
    wanted = list(mixed(threads=0).epoch(2))
    batches = mixed(threads=threads, prefetch=ahead)
    assert equal(list(batches.epoch(2)), wanted)
    assert not equal(list(batches.epoch(1)), wanted)
    assert equal(list(batches.epoch(2)), wanted)  # whatever came ahead
    assert not equal(list(make(threads=0).epoch(0)), list(make(seed=4, threads=0).epoch(0)))


def test_mixed_batches_have_the_count_of_each_share_in_their_order():
    batches = mixed()
    assert len(batches) == 10  # until each of 30 stills, 3 at a time, has come once
    found = list(batches.epoch(0))
    assert {tuple(counts.shape) for counts, _ in found} == {(5, 8, 2, 6, 8)}
    stills = [int(counts[:, row].max()) for counts, _ in found for row in (5, 6, 7)]
    assert sorted(stills) == list(range(30))
    balanced = np.concatenate([labels[:4].numpy() for _, labels in found])
    assert max(np.bincount(balanced)) - min(np.bincount(balanced)) <= 1


@pytest.mark.parametrize(("vary", "draws"), [(None, True), (Shifts(), False), (None, False)])
def test_the_cache_changes_nothing_but_how_often_samples_are_read(tmp_path, vary, draws):
    wanted = [list(make(DrawnSamples(22, draws=draws), vary=vary).epoch(k)) for k in (0, 1)]
    for again in range(2):
        samples = DrawnSamples(22, draws=draws)
        batches = make(samples, vary=vary, cache=Cache(tmp_path))
        assert [equal(list(batches.epoch(k)), wanted[k]) for k in (0, 1)] == [True, True]
        assert samples.reads == [2 if draws else 1 - again] * 22


@pytest.mark.filterwarnings("ignore::dvskit.errors.FittedWarning")
def test_tensors_in_the_cache_are_those_of_their_parameters(tmp_path):
    cache = Cache(tmp_path)
    samples = DrawnSamples(6, draws=False, size=(16, 12))
    kinds = [
        {"representation": COUNTS, "size": SIZE, "weigh": False},
        {"representation": COUNTS, "size": SIZE, "weigh": True},
        {"representation": COUNTS, "size": (16, 12), "weigh": False},
        {"representation": SINGLE, "size": SIZE, "weigh": True},
    ]
    for _ in range(2):
        for options in kinds:
            with_cache = Batches(samples, **options, cache=cache)
            assert equal(list(with_cache.epoch(0)), list(Batches(samples, **options).epoch(0)))
    assert cache.hits == 6 * len(kinds)


def test_each_sample_comes_once_and_the_last_batch_has_what_is_left():
    samples = DrawnSamples(22, draws=False)
    whole = list(make(samples).epoch(0))
    assert [len(labels) for _, labels in whole] == [4, 4, 4, 4, 4, 2]
    sums = torch.cat([counts.sum((0, 2, 3, 4)) for counts, _ in whole])
    assert sorted(sums.tolist()) == sorted(int(COUNTS(samples.events(k)).sum()) for k in range(22))
    cut = make(samples, drop_last=True)
    assert len(cut) == 5
    assert equal(list(cut.epoch(0)), whole[:5])
    steps = list(make(samples, steps=9).epoch(0))
    assert [len(labels) for _, labels in steps] == [4] * 9
    assert equal(steps[:5], whole[:5])
    assert not equal(whole, list(make(samples).epoch(1)))
    plain = list(make(samples, shuffle=False).epoch(0))
    assert torch.cat([labels for _, labels in plain]).tolist() == samples.labels.tolist()


@pytest.mark.parametrize("count", [0, 1, 5, 12, 29])
def test_samples_are_drawn_each_once_before_any_comes_again(count):
    order = drawn(5, count, np.random.default_rng(1))
    assert len(order) == count
    for first in range(0, count, 5):
        part = order[first : first + 5].tolist()
        assert len(set(part)) == len(part)


def test_balanced_classes_come_as_often_and_their_members_in_turn():
    labels = np.array([4] * 9 + [2] * 3 + [0])
    for count in (1, 7, 40):
        order = drawn_by_class(labels, count, np.random.default_rng(2))
        assert len(order) == count
        often = [int(np.sum(labels[order] == kind)) for kind in (0, 2, 4)]
        assert max(often) - min(often) <= 1
        times = np.bincount(order, minlength=len(labels))
        for kind in (0, 2, 4):
            assert np.ptp(times[labels == kind]) <= 1


def test_samples_of_another_size_are_fitted_said_once_counted_and_weighed():
    samples = DrawnSamples(8, draws=False, size=(16, 12))
    for weigh, factor in ((False, 1.0), (True, 0.25)):
        batches = Batches(samples, SINGLE, size=SIZE, batch_size=8, shuffle=False, weigh=weigh)
        with pytest.warns(FittedWarning, match="s0 .*16x12") as said:
            ((counts, _),) = batches.epoch(0)
        assert len(said) == 1
        list(batches.epoch(1))  # no more warnings
        for k in range(8):
            plain = SINGLE(Fit(SIZE)(samples.events(k)))
            assert torch.equal(counts[:, k], plain * factor)
        assert batches.fitted == {(16, 12): (16, 0, 3200)}


def test_a_drawn_filter_may_change_the_class():
    def relabel(label, drawn):
        return {"a": "b", "b": "a"}.get(label, label) if drawn.columns < 0 else label

    samples = DrawnSamples(22)
    plain = make([BatchShare(samples=samples, count=4, vary=Shifts())], batch_size=None)
    other = make(
        [BatchShare(samples=samples, count=4, vary=Shifts(), relabel=relabel)], batch_size=None
    )
    changed = 0
    for (one, labels), (two, others) in zip(plain.epoch(0), other.epoch(0), strict=True):
        assert torch.equal(one, two)
        changed += int((labels != others).sum())
        swapped = {0: 1, 1: 0, 2: 2}
        for a, b in zip(labels.tolist(), others.tolist(), strict=True):
            assert b in (a, swapped[a])
    assert 0 < changed < 22
    bad = BatchShare(samples=samples, count=4, vary=Shifts(), relabel=lambda label, drawn: "z")
    with refused(ConfigError, "'z'"):
        list(make([bad], batch_size=None).epoch(0))


def test_the_batch_stands_where_it_is_asked_to():
    for (one, _), (other, _) in zip(make(batch_axis=0).epoch(0), make().epoch(0), strict=True):
        assert torch.equal(one.transpose(0, 1), other)


def alive() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("dvskit-loader")]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_sample_that_fails_is_raised_by_name_behind_the_batches_ahead_of_it(threads):
    samples = DrawnSamples(22, broken=(9, 13))
    batches = make(samples, shuffle=False, threads=threads).epoch(0)
    assert len(list(islice(batches, 2))) == 2
    with pytest.raises(ValueError, match="cannot be read") as raised:
        next(batches)
    assert raised.value.__notes__ == ["while reading the sample s9"]
    assert not alive()


@pytest.mark.slow
@pytest.mark.timeout(20)
def test_threads_end_with_an_iterator_that_is_left_early():
    for leave in ("close", "forget", "raise"):
        batches = make(DrawnSamples(200), threads=3).epoch(0)
        next(batches)
        assert alive()
        if leave == "close":
            batches.close()
        elif leave == "forget":
            del batches
            gc.collect()
        else:
            with pytest.raises(KeyboardInterrupt):
                batches.throw(KeyboardInterrupt)
        assert not alive()


@pytest.mark.timeout(20)
def test_no_more_batches_are_made_than_asked_for_and_none_is_written_to_later():
    samples = DrawnSamples(400, draws=False)
    batches = make(samples, threads=2, prefetch=3).epoch(0)
    kept = list(islice(batches, 2))
    copies = [(counts.clone(), labels.clone()) for counts, labels in kept]
    for _ in range(100):
        if sum(samples.reads) == 4 * 5:
            break
        time.sleep(0.02)
    time.sleep(0.1)
    assert sum(samples.reads) == 4 * 5  # two that were taken, three ahead
    rest = list(batches)
    assert len(rest) == 98
    assert equal(kept, copies)


@pytest.mark.parametrize("threads", [0, 2])
def test_the_memory_of_dropped_batches_is_used_again_and_that_of_kept_ones_is_not(threads):
    batches = make(DrawnSamples(400, draws=False), threads=threads, prefetch=2)
    fresh = [(counts.clone(), labels) for counts, labels in batches.epoch(0)]
    places, kept = set(), []
    for number, (counts, labels) in enumerate(batches.epoch(0)):
        places.add(counts.data_ptr())
        if number % 25 == 3:
            kept.append((number, counts[1:, :2], counts.numpy()[:, 3:], labels))
    assert len(fresh) == 100
    assert len(places) <= 4 + 4 + threads  # those kept; two ahead, two with the caller
    for number, part, array, labels in kept:
        counts, wanted = fresh[number]
        assert torch.equal(part, counts[1:, :2])
        assert np.array_equal(array, counts.numpy()[:, 3:])
        assert torch.equal(labels, wanted)


def test_points_are_drawn_anew_at_each_epoch_only_where_samples_are_varied():
    samples, points = DrawnSamples(4, draws=False), PointSet(points=20)
    for vary in (None, Shifts()):
        batches = make(samples, representation=points, vary=vary, shuffle=False)
        first, again, second = (list(batches.epoch(k)) for k in (0, 0, 1))
        assert equal(first, again)
        assert equal(first, second) == (vary is None)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_size": 0}, "0"),
        ({"steps": 0}, "steps = 0"),
        ({"threads": -1}, "threads = -1"),
        ({"prefetch": 0}, "prefetch = 0"),
        ({"batch_axis": 9}, "batch_axis = 9"),
        ({"batch_size": 30, "drop_last": True}, "batch"),
        ({"balanced": True, "shuffle": False}, "shuffle"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(options, named):
    with refused(ConfigError, named):
        make(**options)


def test_shares_that_do_not_fit_are_refused():
    samples, stills = DrawnSamples(5), Grays(5)
    for options in (
        {"samples": stills},
        {"samples": samples, "encode": encode},
        {"samples": stills, "encode": encode, "vary": Shifts()},
        {"samples": samples, "relabel": str},
        {"samples": samples, "count": 0},
        {"samples": DrawnSamples(0)},
    ):
        with pytest.raises(ConfigError):
            BatchShare(**{"count": 1, **options})
    shares = [
        BatchShare(samples=samples, count=1),
        BatchShare(samples=DrawnSamples(9, classes=2), count=1),
    ]
    with pytest.raises(ConfigError):
        make(shares, batch_size=None)
    for wrong in ([], stills):
        with pytest.raises(ConfigError):
            make(wrong, batch_size=None)
    with refused(ConfigError, "BatchShare"):
        make(shares[:1])
    with refused(ConfigError, "epoch = -1"):
        next(make().epoch(-1))
    wide = BatchShare(samples=stills, count=1, encode=lambda image, rng: torch.zeros(1))
    with refused(ShapeError, "encode"):
        next(make([wide], batch_size=None).epoch(0))


@pytest.mark.parametrize(
    ("kind", "given", "notes"),
    [
        (FormatError, ("is odd",), []),
        (DamagedFileError, ("x", 3, "odd"), ["while reading the sample s0"]),
    ],
)
def test_an_error_keeps_its_type_and_begins_with_its_sample_or_notes_it(kind, given, notes):
    class Bad(DrawnSamples):
        def events(self, number, rng=None):
            raise kind(*given)

    with pytest.raises(kind) as raised:
        list(make(Bad(5), shuffle=False).epoch(0))
    assert getattr(raised.value, "__notes__", []) == notes
    assert notes or str(raised.value) == "s0: is odd"


def test_parts_of_batches_are_the_rows_of_the_whole() -> None:
    batches = make(DrawnSamples(20), batch_size=3, vary=Shifts(), seed=5)
    whole = list(batches.epoch(1))
    assert [len(labels) for _, labels in whole] == [3] * 6 + [2]
    for k in range(3):
        found = list(batches.epoch(1, first=2, part=(k, 3)))
        assert len(found) == 5
        for (tensor, labels), (all_rows, all_labels) in zip(found, whole[2:], strict=True):
            rows = slice(k, None, 3) if len(all_labels) == 3 else slice(None)
            assert torch.equal(tensor, all_rows[:, rows])
            assert torch.equal(labels, all_labels[rows])
    with refused(ConfigError, "(2, 2)"):
        next(batches.epoch(0, part=(2, 2)))


def test_held_samples_are_read_once_as_far_as_there_is_room() -> None:
    whole = DrawnSamples(5, draws=False)
    each = 13 * len(whole.events(0))
    whole.reads = [0] * 5
    memory = Memory(3 * each, replaces=False)
    held, other = (whole.adapted(EventsInMemory(memory)) for _ in range(2))
    for _ in range(3):
        for number in range(5):
            found, expected = held.events(number), events_of(number, 200)
            for name in ("t", "x", "y", "p"):
                assert np.array_equal(getattr(found, name), getattr(expected, name))
    assert whole.reads == [1, 1, 1, 3, 3]
    other.events(0)
    other.events(0)
    assert whole.reads[0] == 3
    assert held.fingerprint(2) == whole.fingerprint(2)
    assert held.draws is False


def test_held_samples_draw_anew_what_is_drawn_at_each_reading() -> None:
    held = DrawnSamples(2).adapted(EventsInMemory(Memory(1 << 20, replaces=False)))
    first, second = (held.events(0, np.random.default_rng(k)) for k in range(2))
    assert not np.array_equal(first.t, second.t)
    assert held.whole.reads == [2, 0]
