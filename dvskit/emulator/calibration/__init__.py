"""Estimate the parameters of a sensor from a recording: the steps of a calibration."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration import coarse, noise, response, thresholds
from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.observed import FrameSamples, PixelRecord, observe, see
from dvskit.emulator.calibration.response import Search, given_offset
from dvskit.emulator.calibration.stillness import (
    StillSpans,
    quiet_half,
    still_in_events,
    still_in_frames,
    with_remainder,
)
from dvskit.emulator.calibration.table import Agreement, Calibration, Estimate, params_of, unknown
from dvskit.emulator.calibration.thresholds import Pixel
from dvskit.emulator.params import LEAST_LUMA
from dvskit.events import Events, Source, as_source
from dvskit.video.light import Light

__all__ = ["Calibration", "Estimate", "calibrate"]

_NO_FRAMES = "no frames: unknown from events alone"
_NO_STILL = "no still part: everything in the recording moves"
_LIGHT_UNKNOWN = 0.3  # of shot noise, which falls by three quarters from black to white
_BADLY = 0.15  # scatter, as a part of the threshold
_NO_DRIFT = "the signal drifts less than the few events of still pixels would show"
_FEW_EXPLAINED = (
    "frames do not explain single events (scatter {:.0%} of the threshold), only some changes from "
    "frame to frame: thresholds are rough; film something with texture that moves slowly"
)
_ROUGHLY = 0.33  # relative uncertainty of a refractory period from frame to frame
_VAGUE, _VAGUE_HZ = 0.3, 0.02  # uncertainty of a leak above which the drift is used
_BETTER = 0.02  # relative uncertainty of a leak above which it is estimated twice
_DEFAULT_THRESHOLD = 0.2  # to find still pixels while thresholds are unknown


def calibrate(
    recording: Events | Source,
    frames: Iterable[Any] | None = None,
    *,
    offset_us: float | None = None,
    light: Light = "linear",
    on_stage: Callable[[str], None] | None = None,
) -> Calibration:
    """Estimate the sensor of a recording as parameters of the emulator.

    frames     the frames that the sensor saw, of its size: (t_us, image), images being (height,
               width) or RGB in uint8, uint16 or float, or Frame, as `recording.frames()` yields.
               Without frames only noise rates, hot pixels and the refractory period are estimated
    offset_us  shift of the frames on the events' clock, added to the middle of the exposure if a
               Frame has one, else to the only time stamp. None searches it, up to 20 ms either way;
               the table has the result.
    light      "linear": integer images are codes, which their transfer function turns into light,
               sRGB unless the frames name another; a Frame holds light already. "luma": codes are
               taken as they are
    on_stage   is called before each stage of the work, with its name

    Moving texture of different brightness gives thresholds, log map and low-pass. Still parts give
    noise, and give the leak best if they last as long as a pixel takes to leak. Frames may be
    sparse, such as 25 a second: the light between them is interpolated along the motion. The
    exposure time of a Frame is corrected for. If single events are not explained, as in a short
    recording, thresholds match the number of events of an emulation; the table marks them as
    coarse. Raises EventsError for a recording with too few events, ShapeError for frames of another
    size, VideoError for frames out of order or of another time.

        found = dvskit.calibrate(dvskit.load_events("noisy.raw"))    # events alone give the noise
        found["shot_hz"].value, found["shot_hz"].uncertainty    # (6.0, 1.8) events a second
        again = dvskit.emulate("video.mp4", found.params)
    """
    begin = on_stage or (lambda stage: None)
    begin("reading the events")
    observed = observe(as_source(recording))
    if frames is not None:
        begin("reading the frames")
    seen = None if frames is None else see(frames, observed, offset_us or 0.0, light)
    if seen is None:
        begin("estimating noise")
        return _from_events(observed)
    found = _from_frames(observed, seen, offset_us, begin)
    knee = LEAST_LUMA if light == "luma" else None  # the fit is logarithmic
    params = dataclasses.replace(found.params, light=light, linear_below=knee)
    return dataclasses.replace(found, params=params)


def _from_events(observed: PixelRecord) -> Calibration:
    edge = thresholds.find_edge(observed.events)
    if edge is not None and not edge.confirmed:
        edge = None
    table = [unknown(name, _NO_FRAMES) for name in (*thresholds.NAMES, *response.NAMES)]
    tiles = observed.tiles(np.arange(observed.events.starts.size - 1))
    marked = np.zeros(tiles.size, np.bool_)
    for _ in range(2):  # hot pixels must not decide which time is quiet
        on, seconds = quiet_half(observed, marked)
        marked = noise.hot_at_rest(on, seconds, tiles)
    still = still_in_events(observed, edge.at_us if edge else 0.0, marked)
    shot, *others = _noise(observed, still, noise.Levels())
    if shot.value:
        shot = dataclasses.replace(shot, uncertainty=_LIGHT_UNKNOWN * shot.value)
    table += [shot, *others]
    table.append(edge.estimate() if edge else thresholds.no_edge(observed.events))
    table += noise.hot_estimates(marked, on, seconds, tiles)
    notes = ["no frames: shot noise is estimated at middle gray; its rate depends on the light"]
    return _made(observed, table, notes, np.flatnonzero(marked))


def _from_frames(
    observed: PixelRecord, seen: FrameSamples, given_us: float | None, begin: Callable[[str], None]
) -> Calibration:
    begin("searching offset, low-pass and log map")
    edge = thresholds.find_edge(observed.events)
    held = edge.at_us if edge is not None and edge.confirmed else 0.0
    search, near, far, offset = response.search_in(observed, seen, held, given_us is None)
    pixel, edge = _pixel(search, edge)
    tables, view = _unknown_tables(), far
    if pixel is None:
        edge = edge if edge is not None and edge.confirmed else None
        pixel = Pixel(refractory_us=edge.at_us if edge else 0.0)
    else:
        view = near if pixel.between_events else far
        missed = search.missed(pixel)
        tables = thresholds.threshold_estimates(observed, view, pixel, missed), tables[1]
    begin("estimating noise")
    known = [each.value for each in tables[0][:2] if each.value]
    least = min(known, default=_DEFAULT_THRESHOLD)
    still = still_in_frames(observed, far, pixel, least)
    explained = known and pixel.between_events and search.scatter(pixel)[0] < _BADLY
    if still is not None and explained:
        still = with_remainder(still, seen, near, pixel)
    marked = np.zeros(seen.pixels.size, np.bool_)
    hot_table: tuple[Estimate, ...] = tuple(unknown(name, _NO_STILL) for name in noise.HOT_NAMES)
    if still is not None:
        marked, hot_table = _hot(observed, still)
        still = still.without(marked)
    noise_table = _noise(observed, still, noise.Levels.of(tables[0]))
    if known:
        begin("estimating everything again, with the leak")
        rest_s = still.rest_s if still is not None else 0.0
        pixel, edge, noise_table = _settled(search, pixel, edge, noise_table, rest_s)
        tables = (
            thresholds.threshold_estimates(observed, view, pixel, search.missed(pixel)),
            response.response_estimates(search, pixel),
        )
        if still is not None and explained and _vaguely(noise_table[1]):
            still = with_remainder(still, seen, near, pixel)
            shot, leak, *others = _noise(observed, still, noise.Levels.of(tables[0]))
            leak = response.with_drift(search, pixel, leak, still.rest_s)
            noise_table = (shot, leak, *others)
    begin("emulating, to measure the agreement")
    offset = offset or given_offset(given_us or 0.0)
    table = [offset, *tables[0], *tables[1], *noise_table]
    table.append(edge.estimate() if edge else thresholds.no_edge(observed.events))
    table += hot_table
    notes = _notes(observed, seen, search, pixel if known else None)
    scatter = search.missed(pixel) if known else math.inf
    closed = coarse.closed(observed, far.seen, tuple(table), scatter, search.light)
    return _made(observed, closed[0], notes, seen.pixels[marked], closed[1])


def _notes(
    observed: PixelRecord, seen: FrameSamples, search: Search, pixel: Pixel | None
) -> list[str]:
    notes = [seen.note] if seen.note else []
    scatter = search.scatter(pixel)[0] if pixel is not None else 0.0
    if pixel is not None and not pixel.between_events:
        notes.append(_FEW_EXPLAINED.format(search.missed(pixel)))
    if scatter > _BADLY:
        notes.append(
            f"the frames explain the events badly (scatter {scatter:.0%} of the threshold): "
            "thresholds are rough; are both on one clock, and frames frequent enough?"
        )
    if seen.pixels.size < observed.events.starts.size - 1:
        notes.append(f"many frames: {seen.pixels.size:,} pixels were used")
    return notes


def _vaguely(leak: Estimate) -> bool:
    """Return whether still pixels may give a better leak with the current estimates."""
    return leak.how != response.DRIFT and (
        leak.value is None or (leak.uncertainty or 0.0) > _BETTER * leak.value
    )


def _unknown_tables() -> tuple[tuple[Estimate, ...], tuple[Estimate, ...]]:
    names = (thresholds.NAMES, response.NAMES)
    first, second = (tuple(unknown(each, thresholds.NO_MOTION) for each in n) for n in names)
    return first, second


def _pixel(
    search: Search, edge: thresholds.IntervalEdge | None
) -> tuple[Pixel | None, thresholds.IntervalEdge | None]:
    """Return the best candidate, and the edge if there is a refractory period there or below.

    There is one if it scatters less.
    """
    if edge is None:
        return response.find_pixel(search, 0.0), None
    pixel = response.find_pixel(search, edge.at_us)
    if edge.confirmed and pixel is not None:
        if not pixel.between_events:
            return _anew(search, pixel, edge)
        same = dataclasses.replace(pixel, refractory_us=0.0)
        if search.scatter(pixel)[0] <= search.scatter(same)[0]:
            found = response.find_refractory(search, pixel, edge.at_us)
            below = found.refractory_us < edge.least_us
            return (found, dataclasses.replace(edge, below=True)) if below else (pixel, edge)
    without = response.find_pixel(search, 0.0)
    if pixel is None or without is None:
        return without, None
    less, more = float(search.scatter(pixel)[0]), float(search.scatter(without)[0])
    held = less < min(response.MATERIAL * more, more - response.LEAST)
    if not (pixel if held else without).between_events:
        return _anew(search, pixel if held else without, edge)
    if held:
        return pixel, edge
    found = response.find_refractory(search, without, edge.at_us)
    return found, dataclasses.replace(edge, below=True) if found.refractory_us else None


def _anew(
    search: Search, pixel: Pixel, edge: thresholds.IntervalEdge
) -> tuple[Pixel, thresholds.IntervalEdge | None]:
    """Return the best candidate from frame to frame, and the edge at its refractory period."""
    found = response.find_refractory_anew(search, pixel, edge.at_us)
    if not found.refractory_us:
        return found, None
    below = found.refractory_us < edge.least_us
    if edge.confirmed and not below:
        return found, edge
    error = math.hypot(response.refractory_error(search, found), _ROUGHLY * edge.at_us)
    return found, dataclasses.replace(edge, at_us=found.refractory_us, error_us=error, below=below)


def _settled(
    search: Search,
    pixel: Pixel,
    edge: thresholds.IntervalEdge | None,
    table: tuple[Estimate, ...],
    rest_s: float,
) -> tuple[Pixel, thresholds.IntervalEdge | None, tuple[Estimate, ...]]:
    """Return the candidate with its leak, which improves all other estimates.

    rest_s  the usual duration of rest

    Still pixels give the leak. If they give none, or a vague one, the drift of the signal gives it.
    """
    leak = table[1]
    drifts = leak.value is None or (leak.uncertainty or 0.0) > _VAGUE * leak.value + _VAGUE_HZ
    if not drifts:
        leak = response.with_drift(search, pixel, leak, rest_s)
        pixel = dataclasses.replace(pixel, leak_hz=leak.value or 0.0)
    elif search.scatter(pixel)[0] < _BADLY and response.drift_explains(search, pixel, leak.value):
        pixel = response.find_drift(search, pixel)
        leak = unknown(leak.name, _NO_DRIFT, leak.samples) if leak.value else leak
    else:
        pixel, drifts = dataclasses.replace(pixel, leak_hz=leak.value or 0.0), False
    pixel = response.find_again(search, pixel)
    if edge is not None and pixel.between_events:
        if edge.below:
            pixel = response.find_refractory(search, pixel, edge.at_us)
        else:
            pixel = response.sharpen_refractory(search, pixel, edge.least_us)
        pixel = response.find_drift(search, pixel) if drifts else pixel
        error = response.refractory_error(search, pixel)
        edge = edge.moved(pixel.refractory_us, error) if pixel.refractory_us else None
    if drifts and pixel.leak_hz:
        leak = response.drift_estimate(search, pixel)
    return pixel, edge, (table[0], leak, *table[2:])


def _hot(
    observed: PixelRecord, still: StillSpans
) -> tuple[NDArray[np.bool_], tuple[Estimate, ...]]:
    on = still.per_pixel(still.gap_end == k.ON)
    seconds = still.per_pixel(still.gap_length * 1e-6)
    tiles = observed.tiles(still.pixels)
    marked = noise.hot_at_rest(on, seconds, tiles)
    return marked, noise.hot_estimates(marked, on, seconds, tiles)


def _noise(
    observed: PixelRecord, still: StillSpans | None, levels: noise.Levels
) -> tuple[Estimate, ...]:
    if still is None:
        return tuple(unknown(name, _NO_STILL) for name in noise.NAMES)
    return noise.noise_estimates(observed, still, levels)


def _made(
    observed: PixelRecord,
    table: Iterable[Estimate],
    notes: list[str],
    hot_pixels: NDArray[np.int64],
    agreement: Agreement | None = None,
) -> Calibration:
    """Return the calibration; values that the emulator cannot use become unknown."""
    params, possible = params_of(table)
    if not observed.whole:
        notes.append("the recording is long: only its first 20 million events were used")
    width = observed.size.width
    places = tuple((int(n % width), int(n // width)) for n in hot_pixels)
    return Calibration(params, possible, tuple(notes), places, agreement)
