"""Events to images.

`cloud`, a still image, `turntable`, a video of it, `page`, an interactive HTML file, `video`,
`plots`; `frames` yields accumulated frames.
"""

from __future__ import annotations

from dvskit.render import plots
from dvskit.render._scene import CloudView
from dvskit.render.clouds import CloudReport, Turn, TurnReport, cloud, cloud_image, turntable
from dvskit.render.colormap import (
    ColorBar,
    Coloring,
    Colors,
    Theme,
    by_count,
    by_polarity,
    by_time,
)
from dvskit.render.event_frames import (
    Count,
    Decay,
    FrameStyle,
    LatestPolarity,
    LinearFade,
    RenderedFrames,
    Surface,
    frames,
    styles,
)
from dvskit.render.motion_styles import CornerTracks, FlowArrows, FlowColors, ObjectTracks
from dvskit.render.pages import PageReport, ShownEvents, page
from dvskit.render.videos import VideoReport, VideoView, video

__all__ = [
    "CloudReport",
    "CloudView",
    "ColorBar",
    "Coloring",
    "Colors",
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
