"""Objects in events: clusters, tracks with identities, and counts of crossings.

Rows are structured arrays, with times in us and places in pixels.

    rows = track(events)  # a row for each object every 10 ms
    count_crossings(rows, ((64, 0), (64, 127))).to_right

components, dbscan      events -> clusters
Tracker, track          events -> places of objects with identities, also live
MeanShift               the same for a single object, without templates
count_crossings         places -> numbers of objects that crossed a line, in each direction
score_tracks            places and the truth -> errors
"""

from dvskit.tracking.clusters import CLUSTER_ROW, Clusters, components, dbscan
from dvskit.tracking.mean_shift import MeanShift
from dvskit.tracking.track_rows import (
    CROSSING_ROW,
    LineCounter,
    TrackScores,
    count_crossings,
    score_tracks,
)
from dvskit.tracking.tracker import OBJECT_ROW, Tracker, TrackerStep, object_blocks, track

__all__ = [
    "CLUSTER_ROW",
    "CROSSING_ROW",
    "OBJECT_ROW",
    "Clusters",
    "LineCounter",
    "MeanShift",
    "TrackScores",
    "Tracker",
    "TrackerStep",
    "components",
    "count_crossings",
    "dbscan",
    "object_blocks",
    "score_tracks",
    "track",
]
