"""Clusters of events: connected components of their pixels, and DBSCAN."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_number, check_whole
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events
from dvskit.filters.base import columns

CLUSTER_ROW = np.dtype(
    [("t", "<i8"), ("x", "<f8"), ("y", "<f8"), ("width", "<f4"), ("height", "<f4"),
     ("events", "<i4")]
)  # fmt: skip


class Clusters(NamedTuple):
    """Clusters of events.

    labels  (n,) int32, the cluster of each event, from 0; -1 for none
    rows    (k,) of `CLUSTER_ROW`, one for each cluster: the time of its latest event in us, the
            mean x and y of its events, the width and height of their box in pixels, and its number
            of events

        events = dvskit.load_events("discs.raw").between(500_000, 510_000)
        clusters = dvskit.tracking.components(events, join_px=3, least_events=8)
        clusters.rows["x"], clusters.rows["y"]  # (3,) float64: the middles of three discs
        first = events[clusters.labels == 0]  # 102 events
    """

    labels: NDArray[np.int32]
    rows: NDArray[Any]


def components(events: Events, *, join_px: int = 1, least_events: int = 1) -> Clusters:
    """Return the connected components of the pixels with events.

    join_px       pixels at most this many columns and rows apart are connected; 1: neighbors,
                  diagonal ones too
    least_events  components with fewer events are none: their events have the label -1

    Components are in the order of their first pixels, row by row. All events of a pixel belong to
    the same one. `Events.between` and `blocks` cut windows of time. Raises ConfigError for values
    below 1.

        for window in dvskit.open_events("discs.raw").blocks(duration_us=10_000):
            clusters = dvskit.tracking.components(window, join_px=3, least_events=8)
            clusters.rows[["x", "y", "width", "height"]]  # up to 3 discs
    """
    check_whole("join_px", join_px, 1)
    check_whole("least_events", least_events, 1)
    from dvskit.tracking.component_kernels import labels_of, mark_pixels

    _, x, y, _ = columns(events)
    words, of = (
        np.zeros(_words(events.sensor_size[::-1]), np.uint64),
        np.empty(len(events), np.int32),
    )
    mark_pixels(x, y, words)
    if join_px > 1:
        bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
        words = _packed(joined(bits[:, : events.sensor_size[0]], join_px))
    begins, before, parent, count = _runs(words)
    labels_of(x, y, begins, before, parent, of)
    found = _rows_of(events, of, count)
    if least_events == 1:
        return found
    kept = found.rows["events"] >= least_events
    number = np.where(kept, np.cumsum(kept, dtype=np.int32) - 1, -1)
    return Clusters(number[of].astype(np.int32), found.rows[kept])


def dbscan(
    events: Events, *, within_px: float = 3.0, us_per_px: float = 1000.0, least_events: int = 5
) -> Clusters:
    """Return the clusters of DBSCAN (Ester et al. 1996) in x, y and scaled time, by scikit-learn.

    within_px     events at most this far apart are neighbors
    us_per_px     a difference in time of this many microseconds counts as one pixel
    least_events  an event with so many neighbors, itself included, is in the core of a cluster

    Clusters are in the order of their first core events. It takes seconds for 100,000 events. Needs
    the extra "dbscan". Raises ConfigError without it, and for values out of range.

        events = dvskit.load_events("discs.raw").between(500_000, 510_000)
        clusters = dvskit.tracking.dbscan(events, within_px=4.0, least_events=4)
        clusters.rows["events"]  # the number of events of each cluster
        noise = events[clusters.labels < 0]
    """
    check_number("within_px", within_px, above=0)
    check_number("us_per_px", us_per_px, above=0)
    check_whole("least_events", least_events, 1)
    try:
        from sklearn.cluster import DBSCAN
    except ImportError:
        raise ConfigError(
            "dbscan needs scikit-learn; pip install scikit-learn, or use components()"
        ) from None
    if not len(events):
        return _rows_of(events, np.empty(0, np.int32), 0)
    points = np.stack([events.x, events.y, (events.t - events.t[0]) / us_per_px], 1)
    labels = DBSCAN(eps=within_px, min_samples=least_events).fit_predict(points)
    return _rows_of(events, labels.astype(np.int32), int(labels.max()) + 1)


def joined(mask: NDArray[np.uint8], join_px: int) -> NDArray[np.uint8]:
    """Return a mask in which pixels that are at most `join_px` apart touch."""
    if join_px <= 1:
        return mask
    import cv2

    # A pixel grows to the right and down, so that the first pixel of a component stays the first.
    square = np.ones((join_px, join_px), np.uint8)
    return np.asarray(cv2.dilate(mask, square, anchor=(join_px - 1, join_px - 1)))


def label_mask(mask: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
    """Return the 8-connected components of the nonzero pixels of a mask, and their number.

    The labels are (H, W) int32: 0 for a zero pixel, else from 1 on. Raises ShapeError unless the
    mask is (H, W) uint8.
    """
    from dvskit.tracking.component_kernels import paint_runs

    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ShapeError(f"a mask is (H, W) uint8, not {mask.dtype} of shape {mask.shape}")
    words, labels = _packed(mask), np.zeros(mask.shape, np.int32)
    begins, before, parent, count = _runs(words)
    paint_runs(words, begins, before, parent, labels)
    return labels, count


def _runs(words: NDArray[np.uint64]) -> tuple[Any, Any, Any, int]:
    """Return the last three arrays of `label_runs`, and the number of components."""
    from dvskit.tracking.component_kernels import label_runs

    before, parent = np.empty(words.shape, np.int32), np.empty(32 * words.size, np.int32)
    begins = np.empty_like(words)
    return begins, before, parent, label_runs(words, begins, before, parent)


def _words(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the shape of a mask with a bit per pixel, 64 in a word."""
    return shape[0], -(-shape[1] // 64)


def _packed(mask: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a mask with a bit per pixel, the lowest first."""
    words = np.zeros(_words(mask.shape), "<u8")
    words.view(np.uint8)[:, : -(-mask.shape[1] // 8)] = np.packbits(mask, 1, "little")
    return words


def _rows_of(events: Events, labels: NDArray[np.int32], count: int) -> Clusters:
    from dvskit.tracking.component_kernels import sum_clusters

    rows = np.zeros(count, CLUSTER_ROW)
    t, x, y, _ = columns(events)
    sum_clusters(t, x, y, labels, np.empty((count, 4), np.int16), rows)
    return Clusters(labels, rows)
