"""Events as rows that tests compare."""

from __future__ import annotations

import numpy as np

from dvskit.events import Events


def rows_of(events: Events) -> list[tuple[int, int, int, bool]]:
    """The events as (t, x, y, on)."""
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def kept_share(whole: Events, part: Events) -> float:
    """The share of the events of `whole` that are in `part` too."""
    names = [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "?")]
    rows = [np.empty(len(events), names) for events in (whole, part)]
    for row, events in zip(rows, (whole, part), strict=True):
        for name, _ in names:
            row[name] = getattr(events, name)
    return float(np.isin(rows[0].view("V13"), rows[1].view("V13")).mean())
