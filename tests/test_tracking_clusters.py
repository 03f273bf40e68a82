"""Clusters: a slow twin, DBSCAN by definition, hostile input."""

from __future__ import annotations

import sys
from collections import deque

import numpy as np
import pytest

from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events
from dvskit.tracking import CLUSTER_ROW, components, dbscan
from dvskit.tracking.clusters import label_mask
from tests.laws import refused, scattered


def labels_by_search(mask, reach=1):
    """Components by a search from each pixel, numbered in order of first pixels."""
    labels, found = np.zeros(mask.shape, int), 0
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        found += 1
        labels[start] = found
        waiting = deque([start])
        while waiting:
            y, x = waiting.popleft()
            for b in range(max(y - reach, 0), min(y + reach + 1, mask.shape[0])):
                for a in range(max(x - reach, 0), min(x + reach + 1, mask.shape[1])):
                    if mask[b, a] and not labels[b, a]:
                        labels[b, a] = found
                        waiting.append((b, a))
    return labels


SHAPES = [(1, 1), (1, 40), (23, 1), (13, 37), (20, 64), (9, 16), (11, 65), (5, 130), (0, 5), (5, 0)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.2, 0.45, 0.9])
def test_labels_are_those_of_a_search(shape, share):
    rng = np.random.default_rng((*shape, int(100 * share)))
    mask = np.where(rng.random(shape) < share, rng.integers(1, 256, shape), 0).astype(np.uint8)
    labels, count = label_mask(mask)
    np.testing.assert_array_equal(labels, labels_by_search(mask))
    assert count == labels.max(initial=0)
    np.testing.assert_array_equal(label_mask(np.asfortranarray(mask))[0], labels)


@pytest.mark.parametrize("join", [1, 2, 3, 6])
def test_pixels_so_far_apart_are_joined_in_order_of_first_pixels(join):
    events = scattered(100, (96, 33), seed=join)
    found = components(events, join_px=join)
    mask = np.zeros((33, 96), bool)
    mask[events.y, events.x] = True
    twin = labels_by_search(mask, join)[events.y, events.x]
    np.testing.assert_array_equal(found.labels, twin - 1)


@pytest.mark.parametrize("least", [1, 2, 5])
@pytest.mark.parametrize("join", [1, 3])
def test_rows_are_those_of_the_events_of_each_cluster(join, least):
    events = scattered(400, (60, 41), seed=least)
    labels, rows = components(events, join_px=join, least_events=least)
    assert rows.dtype == CLUSTER_ROW
    assert set(labels) - {-1} == set(range(len(rows)))
    assert least > 1 or -1 not in labels
    for number, row in enumerate(rows):
        own = events[labels == number]
        assert len(own) >= least
        assert row.tolist() == pytest.approx((
            own.t.max(), own.x.mean(), own.y.mean(), np.ptp(own.x) + 1, np.ptp(own.y) + 1, len(own)
        ))  # fmt: skip
    _, every = components(events, join_px=join)
    assert rows.tolist() == every[every["events"] >= least].tolist()


def test_no_events_are_no_clusters():
    for find in (components, dbscan):
        labels, rows = find(Events.empty((8, 6)))
        assert (len(labels), len(rows)) == (0, 0)


def test_dbscan_finds_clusters_in_space_and_time():
    x = [5, 6, 5, 40, 41, 40, 5, 6, 5, 20]
    t = [0, 10, 20, 30, 40, 50, 90_000, 90_010, 90_020, 95_000]
    events = Events(t=t, x=x, y=[5] * 10, p=[True] * 10, size=(60, 10))
    labels, rows = dbscan(events, within_px=2, us_per_px=1000, least_events=3)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, -1]
    assert rows["events"].tolist() == [3, 3, 3]
    slow = dbscan(events, within_px=2, us_per_px=1e6, least_events=3)
    assert slow.rows["events"].tolist() == [6, 3]


def test_dbscan_without_its_library_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with refused(ConfigError, "pip install scikit-learn"):
        dbscan(scattered(10, (8, 8)))


@pytest.mark.parametrize(
    ("call", "kind", "named"),
    [
        (lambda events: label_mask(np.zeros((3, 3))), ShapeError, "float64"),
        (lambda events: label_mask(np.zeros(3, np.uint8)), ShapeError, "(3,)"),
    ],
)
def test_wrong_values_are_errors(call, kind, named):
    with refused(kind, named):
        call(scattered(10, (8, 8)))
