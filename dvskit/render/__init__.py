"""Events to images.

`cloud`, a still image, `turntable`, a video of it, `page`, an interactive HTML file, `video`,
`plots`; `frames` yields accumulated frames.
"""

from __future__ import annotations

from dvskit.render import plots
from dvskit.render.cloud import CloudReport, CloudView, cloud, cloud_image
from dvskit.render.colormap import Bar, Colouring, Colours, Theme, by_count, by_polarity, by_time
from dvskit.render.frames import (
    Count,
    Decay,
    EventFrames,
    Linear,
    Polarity,
    Style,
    Surface,
    frames,
    styles,
)
from dvskit.render.page import PageReport, Shown, page
from dvskit.render.turntable import Turn, TurnReport, turntable
from dvskit.render.video import VideoReport, VideoView, video

__all__ = [
    "Bar", "CloudReport", "CloudView", "Colouring", "Colours", "Count", "Decay", "EventFrames",
    "Linear", "PageReport", "Polarity", "Shown", "Style", "Surface", "Theme", "Turn", "TurnReport",
    "VideoReport", "VideoView", "by_count", "by_polarity", "by_time", "cloud", "cloud_image",
    "frames", "page", "plots", "styles", "turntable", "video",
]  # fmt: skip
