"""Filters from Events to Events: frozen parameters, and a step with the state of one pass.

A filter is called with Events or a Source: `Crop(0, 0, 64, 48)(events)`. `Chain` applies several in
order, including plain functions from Events to Events. Each filter has a name on the command line,
`dvskit convert in.raw out.raw --filter background_activity:5ms`, and in Python,
`filter_from("background_activity:5ms")`. `register_filter` names one of your own.

    by when pixels fired   BackgroundActivity, Refractory
    at corners             EFast, ArcStar, LuvHarris, EHarris
    by pixel               Crop, Mask, CircleMask, RectangleMask, PolygonMask, HotPixel,
                           DropArea, DropPixels
    moved                  Fit, Flip, Transpose, QuarterTurn, Rotate, Zoom, Shift, Roll, Shear,
                           Affine, Undistort
    by time                TimeWindow, DropTime
    moved in time          TimeScale, TimeShift, StartAt, TimeReversal
    by polarity            Polarity, SwapPolarity
    by rate                EventRateLimit, EvenRateLimit
    at random              DropEvents, SpatialJitter, TemporalJitter, Noise

The step of a pass counts the `dropped` and `added` events, and so does `FilteredSource`. Results,
random ones too, do not depend on the blocks of a stream. A filter that needs later events holds
events back, and returns the remainder when the stream ends.

For training, `Vary` is a distribution of filters: `Vary(rotate_deg=8, zoom=0.1).draw(rng)` returns
one for a sample, and `Vary.nda()` is the policy of Li et al. 2022. `event_mix` and `cut_mix` mix
two samples.
"""

from dvskit.filters.base import (
    CallableFilter,
    Chain,
    FilteredSource,
    Step,
    Tally,
    as_filter,
    finish,
)
from dvskit.filters.chance import DropEvents, Noise, SpatialJitter, TemporalJitter
from dvskit.filters.corners import ArcStar, EFast, EHarris, LuvHarris
from dvskit.filters.denoising import BackgroundActivity, HotPixel, Refractory, hot_pixels
from dvskit.filters.fit import Fit, Placement, Undistort
from dvskit.filters.mask import (
    CircleMask,
    Crop,
    DropArea,
    DropPixels,
    Mask,
    PolygonMask,
    RectangleMask,
)
from dvskit.filters.names import filter_from, filter_names, register_filter
from dvskit.filters.pixel_map import (
    Affine,
    Flip,
    PixelMap,
    QuarterTurn,
    Roll,
    Rotate,
    Shear,
    Shift,
    Transpose,
    Zoom,
)
from dvskit.filters.timing import (
    DropTime,
    EvenRateLimit,
    EventRateLimit,
    Polarity,
    StartAt,
    SwapPolarity,
    TimeReversal,
    TimeScale,
    TimeShift,
    TimeWindow,
)
from dvskit.filters.vary import NDA, Varied, Vary, cut_mix, event_mix

__all__ = [
    "NDA",
    "Affine",
    "ArcStar",
    "BackgroundActivity",
    "CallableFilter",
    "Chain",
    "CircleMask",
    "Crop",
    "DropArea",
    "DropEvents",
    "DropPixels",
    "DropTime",
    "EFast",
    "EHarris",
    "EvenRateLimit",
    "EventRateLimit",
    "FilteredSource",
    "Fit",
    "Flip",
    "HotPixel",
    "LuvHarris",
    "Mask",
    "Noise",
    "PixelMap",
    "Placement",
    "Polarity",
    "PolygonMask",
    "QuarterTurn",
    "RectangleMask",
    "Refractory",
    "Roll",
    "Rotate",
    "Shear",
    "Shift",
    "SpatialJitter",
    "StartAt",
    "Step",
    "SwapPolarity",
    "Tally",
    "TemporalJitter",
    "TimeReversal",
    "TimeScale",
    "TimeShift",
    "TimeWindow",
    "Transpose",
    "Undistort",
    "Varied",
    "Vary",
    "Zoom",
    "as_filter",
    "cut_mix",
    "event_mix",
    "filter_from",
    "filter_names",
    "finish",
    "hot_pixels",
    "register_filter",
]
