"""Events to images.

`cloud`, a still image, `turntable`, a video of it, `page`, an interactive HTML file, `video`,
`plots`; `frames` yields accumulated frames.
"""

from __future__ import annotations

from dvskit.render import plots
from dvskit.render._scene import CloudView
from dvskit.render.cloud import CloudReport, Turn, TurnReport, cloud, cloud_image, turntable
from dvskit.render.colormap import (
    ColourBar,
    Colouring,
    Colours,
    Theme,
    by_count,
    by_polarity,
    by_time,
)
from dvskit.render.frames import RenderedFrames, frames
from dvskit.render.frames.corner_tracks import CornerTracks
from dvskit.render.frames.flow_style import FlowArrows, FlowColors
from dvskit.render.frames.object_tracks import ObjectTracks
from dvskit.render.frames.styles import (
    Count,
    Decay,
    FrameStyle,
    LatestPolarity,
    LinearFade,
    Surface,
    styles,
)
from dvskit.render.page import PageReport, ShownEvents, page
from dvskit.render.video import VideoReport, VideoView, video

__all__ = [
    "CloudReport",
    "CloudView",
    "ColourBar",
    "Colouring",
    "Colours",
    "CornerTracks",
    "Count",
    "Decay",
    "FlowArrows",
    "FlowColors",
    "FrameStyle",
    "LatestPolarity",
    "LinearFade",
    "ObjectTracks",
    "PageReport",
    "RenderedFrames",
    "ShownEvents",
    "Surface",
    "Theme",
    "Turn",
    "TurnReport",
    "VideoReport",
    "VideoView",
    "by_count",
    "by_polarity",
    "by_time",
    "cloud",
    "cloud_image",
    "frames",
    "page",
    "plots",
    "styles",
    "turntable",
    "video",
]  # fmt: skip
