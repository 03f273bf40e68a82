"""Plots for papers: matplotlib figures of event streams, of layers and of training.

    plots.save(plots.rate(dvskit.open_events("a.raw")), "rate.pdf")

Each function returns a figure and changes neither matplotlib's settings nor pyplot. Recordings are
read block by block.
"""

from dvskit.render.plots.confusion import confusion
from dvskit.render.plots.flow import flow, flow_arrows
from dvskit.render.plots.intervals import (
    Flicker,
    count_intervals,
    flicker,
    intervals,
    measure_flicker,
)
from dvskit.render.plots.motion import motion
from dvskit.render.plots.noise import NoiseEstimate, measure_noise, noise
from dvskit.render.plots.pixel_map import pixel_map
from dvskit.render.plots.rate import RASTER_EVENTS, balance, event_raster, rate
from dvskit.render.plots.spectrum import Peak, Spectrum, find_peaks, rate_spectrum, spectrum
from dvskit.render.plots.spikes import Steps, membrane, raster
from dvskit.render.plots.style import PAPER, Plot, Style, save
from dvskit.render.plots.training import Measured, accuracy, curves, read_log, weights

__all__ = [
    "PAPER", "RASTER_EVENTS", "Flicker", "Measured", "NoiseEstimate", "Peak", "Plot", "Spectrum",
    "Steps", "Style", "accuracy", "balance", "confusion", "count_intervals", "curves",
    "event_raster", "find_peaks", "flicker", "flow", "flow_arrows", "intervals", "measure_flicker",
    "measure_noise", "membrane", "motion", "noise", "pixel_map", "raster", "rate", "rate_spectrum",
    "read_log", "save", "spectrum", "weights",
]  # fmt: skip
