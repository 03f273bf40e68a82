"""Data sets of tonic, torch and others as Samples: numbers, names and errors stay theirs."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Subset

from dvskit.datasets import TonicSamples, from_tonic
from dvskit.errors import ConfigError, DvskitError, EventsError, GeometryError
from tests.laws import refused
from tests.test_datasets import events
from tests.test_images import tonic_set

ORIGINALS = [events(5, seed) for seed in range(6)]
ARRAYS = [e.to_array("tonic") for e in ORIGINALS]
TARGETS = [2, 0, 1, 2, 0, 1]


def named_set(**members: object):
    given = {"targets": TARGETS, "classes": ["wave", "clap", "air"], "users": [1, 1, 2, 2, 3, 3]}
    return tonic_set(ARRAYS, **(given | members))


def test_class_numbers_are_the_targets_of_the_data_set():
    samples = TonicSamples(named_set())
    assert samples.classes == ("wave", "clap", "air")
    assert samples.labels.tolist() == TARGETS
    assert [row.group for row in samples.rows] == ["1", "1", "2", "2", "3", "3"]
    assert list(from_tonic(named_set())) == [(e, k % 2) for k, e in enumerate(ORIGINALS)]
    by_name = TonicSamples(named_set(classes={"air": 2, "wave": 0, "clap": 1}))
    assert by_name.classes == ("wave", "clap", "air")
    by_number = TonicSamples([(e, 3 * k) for k, e in enumerate(ORIGINALS)])
    assert by_number.classes == ("0", "3", "6", "9", "12", "15")
    assert by_number.labels.tolist() == list(range(6))


def test_a_subset_keeps_names_classes_users_and_size_and_reads_no_targets():
    whole = TonicSamples(named_set())
    data = named_set()
    reads = []
    original = type(data).__getitem__
    type(data).__getitem__ = lambda self, number: reads.append(number) or original(self, number)
    some = TonicSamples(Subset(data, [4, 0, 3]))
    assert set(reads) == {4}  # the first alone, which is checked
    assert list(some.rows) == [whole.rows[k] for k in (4, 0, 3)]
    assert some.classes == whole.classes
    assert [events for events, _ in some] == [ORIGINALS[k] for k in (4, 0, 3)]
    assert some.fingerprint(1) == whole.fingerprint(0)
    nested = TonicSamples(Subset(Subset(named_set(), [5, 3, 1]), [2]))
    assert nested.rows == (whole.rows[1],)


def test_joined_data_sets_keep_what_each_has():
    other = tonic_set(ARRAYS, sensor_size=(9, 7, 2), targets=[1] * 6, classes={"clap": 0, "run": 1})
    joined = TonicSamples(ConcatDataset([named_set(), other]))
    assert joined.classes == ("wave", "clap", "air", "run")
    assert [row.label for row in joined.rows[6:]] == ["run"] * 6
    assert [row.group for row in joined.rows] == ["1", "1", "2", "2", "3", "3"] + [None] * 6
    assert joined.events(2).sensor_size == (8, 6)
    assert joined.events(8).sensor_size == (9, 7)
    assert len({row.name for row in joined.rows}) == 12


@dataclass
class Rows:
    """A data set as `datasets` of Hugging Face has it: a dict per row."""

    rows: list[dict]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict:
        return self.rows[number]


COLUMNS = {
    "array": lambda e: e.to_array("tonic"),
    "events": lambda e: e,
    "dict of arrays": lambda e: {"t": e.t, "x": e.x, "y": e.y, "p": e.p},
    "dict of tensors": lambda e: {n: torch.tensor(getattr(e, n)) for n in "txyp"},
    "signed": lambda e: {"timestamp": e.t, "x": e.x, "y": e.y, "polarity": 2 * e.p - 1},
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_events_may_be_an_array_events_or_columns_in_pairs_or_rows(kind):
    made = [(COLUMNS[kind](e), k % 2) for k, e in enumerate(ORIGINALS)]
    rows = Rows([{"events": events, "label": label, "id": 3} for events, label in made])
    for data in (rows, made):
        samples = TonicSamples(data, size=(8, 6))
        assert [events for events, _ in samples] == ORIGINALS
        assert samples.labels.tolist() == [0, 1, 0, 1, 0, 1]
        assert list(from_tonic(data, size=(8, 6))) == [(e, k % 2) for k, e in enumerate(ORIGINALS)]


def test_targets_may_be_numbers_texts_and_tensors():
    for target in (3, "3", np.int64(3), np.str_("3"), torch.tensor(3), np.array([3])):
        assert TonicSamples([(ORIGINALS[0], target)]).classes == ("3",)


def test_a_target_transform_decides_the_class():
    data = named_set(target_transform=lambda target: target + 10)
    read = type(data).__getitem__
    type(data).__getitem__ = lambda self, k: (read(self, k)[0], TARGETS[k] + 10)
    assert TonicSamples(data).classes == ("10", "11", "12")


def test_tonics_caches_keep_size_and_names():
    from tonic import MemoryCachedDataset

    cached = TonicSamples(MemoryCachedDataset(named_set()))
    assert cached.classes == ("wave", "clap", "air")
    assert cached.labels.tolist() == TARGETS
    assert cached.events(3) == ORIGINALS[3]


FLOAT = ARRAYS[1].astype([("x", "<i2"), ("y", "<i2"), ("t", "<f8"), ("p", "?")])
GOOD = (ARRAYS[0], 1)


@pytest.mark.parametrize(
    ("wrong", "kind", "named"),
    [
        ((FLOAT, 1), EventsError, "t is float64"),
        ((np.zeros((2, 2)), 1), EventsError, "float64"),
        (({"t": [1], "x": [2]}, 1), EventsError, "t, x"),
        (({"t": [1], "x": [2, 3], "y": [1], "p": [1]}, 1), EventsError, "t, x, y, p"),
        ((events(3, 1, (4, 4)), 1), GeometryError, "4x4"),
        (7, ConfigError, "int"),
        ({"image": 1, "label": 2}, ConfigError, "dict"),
        ((ARRAYS[1], [1, 2]), ConfigError, "target is list"),
        ((ARRAYS[1], None), ConfigError, "NoneType"),
    ],
)
def test_errors_name_the_sample(wrong, kind, named):
    with refused(kind, "list/1", named):
        TonicSamples([GOOD, wrong], size=(8, 6)).events(1)
    with refused(DvskitError, "list/0", named):
        TonicSamples([wrong, GOOD], size=(8, 6)).events(0)


def test_a_set_without_a_size_is_refused():
    with refused(GeometryError, "sensor_size"):
        list(from_tonic([(ARRAYS[0], 1)]))


def test_other_errors_of_the_data_set_have_a_note_with_the_sample():
    class Broken(list):
        def __getitem__(self, number):
            if number == 1:
                raise KeyError("gone")
            return super().__getitem__(number)

    data = Broken([GOOD, GOOD])
    samples = TonicSamples(data, size=(8, 6), labels=[0, 1])
    for read in (lambda: samples.events(1), lambda: TonicSamples(data, size=(8, 6))):
        with pytest.raises(KeyError) as raised:
            read()
        assert "Broken/1" in raised.value.__notes__[0]


def test_samples_are_sent_to_other_processes():
    data = Rows([{"events": e, "label": k} for k, e in enumerate(ORIGINALS)])
    samples = TonicSamples(ConcatDataset([Subset(data, [3, 1]), data]))
    again = pickle.loads(pickle.dumps(samples))
    assert list(again) == list(samples)
