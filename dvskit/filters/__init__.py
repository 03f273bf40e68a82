"""Events to Events: frozen parameters, and a step that holds the state of one pass.

One idea a file. A filter is called with Events or a Source, `Crop(0, 0, 64, 48)(events)`, and
`chain` puts several one behind the other.
"""

from dvskit.filters.base import CallableFilter, Chain, FilteredSource, chain
from dvskit.filters.crop import Crop, cropped_size
from dvskit.filters.fit import Fit, FitStep, Placement
from dvskit.filters.window import TimeWindow

__all__ = [
    "CallableFilter",
    "Chain",
    "Crop",
    "FilteredSource",
    "Fit",
    "FitStep",
    "Placement",
    "TimeWindow",
    "chain",
    "cropped_size",
]
