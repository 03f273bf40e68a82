"""Plots for papers: matplotlib figures of event streams, of layers and of training.

    plots.save(plots.rate(dvskit.open_events("a.raw")), "rate.pdf")

Each function returns a figure and changes neither matplotlib's settings nor pyplot. Recordings are
read block by block.
"""

from dvskit.render.plots.activity import Steps, membrane, raster
from dvskit.render.plots.maps import flow, flow_arrows, pixel_map
from dvskit.render.plots.over_time import (
    RASTER_EVENTS,
    Peak,
    Spectrum,
    balance,
    event_raster,
    find_peaks,
    motion,
    rate,
    rate_spectrum,
    spectrum,
)
from dvskit.render.plots.pixel_past import (
    Flicker,
    NoiseEstimate,
    count_intervals,
    flicker,
    intervals,
    measure_flicker,
    measure_noise,
    noise,
)
from dvskit.render.plots.style import PAPER, Plot, Style, save
from dvskit.render.plots.training import Measured, accuracy, confusion, curves, read_log, weights

__all__ = [
    "PAPER", "RASTER_EVENTS", "Flicker", "Measured", "NoiseEstimate", "Peak", "Plot", "Spectrum",
    "Steps", "Style", "accuracy", "balance", "confusion", "count_intervals", "curves",
    "event_raster", "find_peaks", "flicker", "flow", "flow_arrows", "intervals", "measure_flicker",
    "measure_noise", "membrane", "motion", "noise", "pixel_map", "raster", "rate", "rate_spectrum",
    "read_log", "save", "spectrum", "weights",
]  # fmt: skip
