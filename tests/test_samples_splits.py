"""Splits of samples: nobody and nothing in two parts, the same anywhere, and each leak refused."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from dvskit.datasets import (
    Sample,
    Samples,
    SplitSamples,
    check_leaks,
    find_leaks,
    k_fold,
    leave_one_group_out,
    open_samples,
    split_as_listed,
    split_by_group,
    split_by_share,
    split_samples,
)
from dvskit.errors import ConfigError, FormatError
from dvskit.events import Events
from dvskit.models.learned import read_split, split_text, used_samples
from tests.laws import refused
from tests.sample_files import folder, recording


class Drawn(Samples):
    """Samples that are in no file."""

    def events(self, number, rng=None):
        return Events.empty((2, 2))

    def fingerprint(self, number):
        return self.rows[number].name


def people(counts: dict[str, int], labels=("a", "b", "c"), shuffled=None) -> Drawn:
    """So many samples of each class a person."""
    rows = [
        Sample(f"{label}/{person}_{k}", label, group=person)
        for person, count in counts.items()
        for label in labels
        for k in range(count)
    ]
    if shuffled is not None:
        random.Random(shuffled).shuffle(rows)
    return Drawn(rows)


def of_classes(counts: dict[str, int]) -> list[Sample]:
    return [Sample(f"{label}/{k}", label) for label, n in counts.items() for k in range(n)]


def names(split):
    return [sorted(row.name for row in part.rows) for part in split]


def groups(split):
    return [{row.group for row in part.rows} for part in split]


def assert_whole_and_disjoint(split, samples):
    assert Counter(row for part in split for row in part.rows) == Counter(samples.rows)
    for first in range(3):
        for second in range(first):
            assert groups(split)[first] & groups(split)[second] <= {None}
    assert all(part.classes == samples.classes for part in split)


TWO = Drawn([Sample("x", "a"), Sample("y", "b")])
UNEVEN = {f"p{k}": 1 + k % 7 for k in range(29)}


def test_a_split_by_share_is_whole_stratified_exact_and_follows_the_seed_alone():
    counts = {"a": 63, "b": 93, "c": 43, "d": 501}  # each rounded alone would give 141
    rows = of_classes(counts)
    samples = Drawn(rows)
    split = split_by_share(samples, validation=0.1, test=0.2, seed=3)
    assert isinstance(split, SplitSamples)
    assert_whole_and_disjoint(split, samples)
    assert [len(part) for part in split] == [490, 70, 140]
    for label, count in counts.items():
        held = sum(row.label == label for row in split.test.rows)
        assert abs(held - 0.2 * count) <= 1
    assert split.rows == split_samples(rows[::-1], validation=0.1, test=0.2, seed=3)
    assert split.rows != split_samples(rows, validation=0.1, test=0.2, seed=2)


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize(
    "counts", [UNEVEN, {f"p{k}": 4 for k in range(10)}, {"x": 9, "y": 1, "z": 1}]
)
def test_no_group_is_parted_and_shares_are_met_as_whole_groups_can(counts, seed):
    samples = people(counts)
    split = split_by_group(samples, validation=0.1, test=0.2, seed=seed)
    assert_whole_and_disjoint(split, samples)
    largest = 3 * max(counts.values())
    for part, share in zip(split, (0.7, 0.1, 0.2), strict=True):
        assert len(part)
        assert abs(len(part) - share * len(samples)) <= largest
    assert {row.label for row in split.train.rows} == set(samples.classes)


@pytest.mark.parametrize("seed", range(12))
def test_a_class_of_two_people_is_trained_on_whoever_is_drawn(seed):
    everyone = people({f"p{k}": 3 for k in range(6)}, labels="ab").rows
    rare = people({"p1": 1, "p2": 1}, labels="r").rows
    split = split_by_group(Drawn([*everyone, *rare]), validation=0.2, test=0.3, seed=seed)
    assert {row.label for row in split.train.rows} == {"a", "b", "r"}


def test_a_split_by_group_follows_the_seed_and_the_names_alone():
    first = split_by_group(people(UNEVEN), validation=0.1, test=0.2, seed=1)
    again = split_by_group(people(UNEVEN, shuffled=1), validation=0.1, test=0.2, seed=1)
    assert names(again) == names(first)
    others = [split_by_group(people(UNEVEN), validation=0.1, test=0.2, seed=s) for s in range(8)]
    tested = {row.group for split in others for row in split.test.rows}
    assert len(tested) > 15  # whoever has many samples is tested too


def test_the_same_files_give_the_same_split_wherever_they_lie(tmp_path, monkeypatch):
    files = [f"{c}/p{p}_t{t}.npz" for c in ("bow", "wave") for p in range(5) for t in range(2)]
    here = folder(tmp_path / "here", *files)
    there = tmp_path / "a" / "longer way" / "there"
    for name in sorted(files, reverse=True):
        (there / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(here / name, there / name)
    listed = Path.iterdir
    first = {}
    for root in (here, there):
        samples = open_samples(root)
        first[root] = [
            names(split_by_group(samples, validation=0.2, test=0.2, seed=3)),
            *map(names, k_fold(samples, 3, validation=0.2, seed=3)),
            *map(names, leave_one_group_out(samples, validation=0.3, seed=3)),
            names(split_by_share(open_samples(root, group=None), validation=0.2, test=0.2, seed=3)),
        ]
        monkeypatch.setattr(Path, "iterdir", lambda path: sorted(listed(path), reverse=True))
    assert first[here] == first[there]
    # Pinned: other numbers here are another split of everybody's data.
    pinned = [{"p1", "p2", "p4"}, {"p3"}, {"p0"}]
    assert groups(split_by_group(open_samples(here), validation=0.2, test=0.2, seed=3)) == pinned


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_each_sample_is_tested_in_one_fold_and_folds_are_even(folds):
    counts = {"a": 31, "b": 17, "c": 5}
    rows = of_classes(counts)
    splits = k_fold(Drawn(rows), folds, validation=0.2, seed=4)
    assert Counter(row for split in splits for row in split.test.rows) == Counter(rows)
    assert max(len(s.test) for s in splits) - min(len(s.test) for s in splits) <= 1
    for split in splits:
        assert sorted(row for part in split for row in part.rows) == sorted(rows)
        held = Counter(row.label for row in split.test.rows)
        assert all(abs(held[c] - n / folds) < 1 for c, n in counts.items())


def test_folds_keep_groups_and_spans_of_a_file_together(tmp_path):
    for split in k_fold(people(UNEVEN), 5, validation=0.2, seed=1):
        assert_whole_and_disjoint(split, people(UNEVEN))
        assert 40 <= len(split.test) <= 80
    folder(tmp_path, *(f"{k}.npz" for k in range(6)))
    lines = (f"{k}.npz,{'ab'[j % 2]},{j}00,{j + 1}00\n" for k in range(6) for j in range(4))
    (tmp_path / "list.csv").write_text("file,label,start,stop\n" + "".join(lines))
    for split in k_fold(open_samples(tmp_path / "list.csv"), 3):
        tested = {row.path for row in split.test.rows}
        assert len(tested) == 2
        assert not tested & {row.path for row in split.train.rows}


def test_people_who_follow_each_other_in_one_file_are_parted_unless_their_spans_overlap(tmp_path):
    folder(tmp_path, "day.npz")
    lines = [
        f"day.npz,{label},{p},{2 * p + k}00,{2 * p + k + 1}00"
        for p in range(4)
        for k, label in enumerate("ab")
    ]
    path = tmp_path / "list.csv"
    path.write_text("\n".join(["file,label,group,start,stop", *lines]))
    split = split_by_group(open_samples(path), validation=0.25, test=0.25)
    assert [len(part) for part in split] == [4, 2, 2]
    path.write_text("\n".join(["file,label,group,start,stop", *lines, "day.npz,a,4,50,350"]))
    split = split_by_group(open_samples(path), validation=0.0, test=0.4)
    assert any({"0", "1", "4"} <= part for part in groups(split))


def test_each_group_is_left_out_once_by_name():
    samples = people({"anna": 2, "ben": 3, "cleo": 1, "dan": 2})
    splits = leave_one_group_out(samples, validation=0.3, seed=1)
    assert [groups(split)[2] for split in splits] == [{"anna"}, {"ben"}, {"cleo"}, {"dan"}]
    for split in splits:
        assert_whole_and_disjoint(split, samples)
        assert len(groups(split)[1]) == 1
    assert all(len(split.validation) == 0 for split in leave_one_group_out(samples))


def test_a_set_says_itself_what_is_tested(tmp_path):
    files = [f"{p}/{c}/{p}{k}.npz" for p in ("train", "test") for c in "ab" for k in range(6)]
    samples = open_samples(folder(tmp_path / "set", *files))
    split = split_as_listed(samples)
    assert [len(part) for part in split] == [12, 0, 12]
    assert {row.part for row in split.test.rows} == {"test"}
    chosen = split_as_listed(samples, validation=0.25, seed=2)
    assert [len(part) for part in chosen] == [9, 3, 12]
    assert names(chosen)[2] == names(split)[2]
    folder(tmp_path / "set", "val/a/x.npz", "val/b/y.npz")
    with refused(ConfigError, "validation = 0.1", "2 samples"):
        split_as_listed(open_samples(tmp_path / "set"), validation=0.1)


# -- leaks


def test_a_group_in_two_parts_is_refused_with_the_two_names():
    with refused(ConfigError, "group p", "1 more"):
        split_by_share(people({"p1": 4, "p2": 4}), validation=0.1, test=0.3, seed=0)
    rows = [Sample("x", "a", "p1", "train"), Sample("y", "a", "p1", "test")]
    with refused(ConfigError, "x (train)", "y (test)", "p1"):
        split_as_listed(Drawn([*rows, Sample("z", "b", "p2", "train")]))


def test_the_same_bytes_under_two_names_in_two_parts_are_refused_with_both(tmp_path):
    root = folder(tmp_path / "set", *(f"{c}/{k}.npz" for c in "ab" for k in range(5)))
    shutil.copy(root / "a/0.npz", root / "a/copy of 0.npz")
    samples = open_samples(root)
    said = []
    for seed in range(10):
        try:
            split = split_by_share(samples, validation=0.0, test=0.4, seed=seed)
        except ConfigError as error:
            said.append(str(error))
        else:
            assert not find_leaks(split.rows)
    assert 0 < len(said) < 10
    assert all("a/0.npz (t" in text and "a/copy of 0.npz (t" in text for text in said)


def test_spans_that_overlap_in_two_parts_are_refused_and_others_are_not(tmp_path):
    recording(tmp_path / "long.npz")
    shutil.copy(tmp_path / "long.npz", tmp_path / "again.npz")
    recording(tmp_path / "b.npz", seed=2)

    def parts(*rows):
        return [[Sample(n, "a", path=tmp_path / n, span=s) for n, s in part] for part in rows]

    apart = parts([("long.npz", (0, 1000))], [], [("long.npz", (1000, 2000))])
    assert find_leaks(apart) == []
    with refused(ConfigError, "three", "2"):
        find_leaks(apart[:2])
    for first, second, in_common in [
        (("long.npz", (0, 1001)), ("long.npz", (1000, 2000)), "overlap"),
        (("long.npz", None), ("long.npz", (1000, 2000)), "overlap"),
        (("long.npz", (0, 1001)), ("again.npz", (1000, 2000)), "same bytes"),
        (("long.npz", None), ("again.npz", None), "same bytes"),
    ]:
        (leak,) = find_leaks(parts([first, ("b.npz", None)], [], [second]))
        assert (leak.first_part, leak.second_part) == ("train", "test")
        assert in_common in leak.common
        with refused(ConfigError, first[0], second[0], in_common):
            check_leaks(parts([first], [second], []))
    held = [("long.npz", (0, 5000)), ("long.npz", (100, 200))]
    assert len(find_leaks(parts(held, [], [("long.npz", (3000, 3001))]))) == 1


def test_the_same_bytes_in_two_groups_are_refused_where_groups_are_left_out(tmp_path):
    files = [f"{c}/p{p}_t{t}.npz" for c in "ab" for p in (1, 2, 3) for t in (1, 2)]
    root = folder(tmp_path / "set", *files)
    shutil.copy(root / "a/p1_t1.npz", root / "a/p2_t1.npz")
    with refused(ConfigError, "p2_t1.npz", "p1_t1.npz", "same bytes"):
        leave_one_group_out(open_samples(root))
    split = split_by_group(open_samples(root), validation=0.0, test=0.4, seed=1)
    assert {"p1", "p2"} in groups(split)


ALONE = Drawn([Sample("x", "a", "p1"), Sample("y", "b", "p2"), Sample("z", "b", "p1")])
FOUR = Drawn(of_classes({"a": 2, "b": 2}))
PAIR, ONE = people({"p1": 3, "p2": 3}), people({"p1": 3})


@pytest.mark.parametrize(
    ("split", "samples", "options", "named"),
    [
        (split_by_group, PAIR, {"validation": 0.1, "test": 0.2}, ["p1, p2", "3 parts"]),
        (split_by_group, PAIR, {"validation": -0.1, "test": 0.5}, ["-0.1"]),
        (split_by_group, TWO, {"validation": 0, "test": 0.2}, ["x", "2 of 2"]),
        (k_fold, PAIR, {"folds": 1}, ["folds = 1", "2..2"]),
        (leave_one_group_out, ONE, {}, ["p1"]),
        (leave_one_group_out, PAIR, {"validation": 0.2}, ["validation = 0.2"]),
        (leave_one_group_out, ALONE, {}, ["class a", "p1"]),
        (split_as_listed, ONE, {}, ["a/p1_0"]),
        (split_by_share, FOUR, {"validation": 0.0, "test": 0.1}, ["test = 0.1", "4"]),
        (split_by_share, FOUR, {"validation": 0.1, "test": 0.0}, ["validation = 0.1", "4"]),
    ],
)
def test_splits_that_cannot_be_had_are_refused(split, samples, options, named):
    with refused(ConfigError, *named):
        split(samples, **options)


# -- what is kept of a split


def test_a_split_is_written_with_its_groups_and_read_again(tmp_path):
    files = (f"{c}/p{p}_t{t}.npz" for c in "ab" for p in (1, 2, 3) for t in (1, 2))
    samples = open_samples(folder(tmp_path / "set", *files))
    used = used_samples(split_by_group(samples, validation=0.3, test=0.3, seed=1))
    (tmp_path / "split.csv").write_text(split_text(used))
    assert read_split(tmp_path / "split.csv") == used
    assert {row.group for row in used} == {"p1", "p2", "p3"}


def test_chosen_samples_are_those_of_their_numbers_and_of_the_classes_that_are_given(tmp_path):
    samples = open_samples(folder(tmp_path / "set", "a/1.npz", "b/2.npz", "b/3.npz"))
    others = samples.choose([2, 0, 1]).with_classes(("c", "b", "a"))
    assert (others.labels.tolist(), others.classes) == ([1, 2, 1], ("c", "b", "a"))
    assert others.events(2) == samples.events(1)
    with refused(FormatError, "'b'", "a, c"):
        samples.with_classes(("a", "c"))
    assert samples.only(samples.rows[1:]).labels.tolist() == [1, 1]


def test_a_split_of_real_gestures_by_person_keeps_each_in_one_part(data):
    samples = open_samples(data / "gestures/videos")
    first, second = leave_one_group_out(samples)
    assert groups(first) == [{"p2"}, set(), {"p1"}]
    assert groups(second) == [{"p1"}, set(), {"p2"}]
    assert len(first.test) == len(second.test) == 9
