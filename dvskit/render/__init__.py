"""Events to pictures: `cloud`, a still (PNG), and `page`, one HTML file to turn and play,
`plots`, figures for papers."""

from __future__ import annotations

from dvskit.render import plots
from dvskit.render.cloud import CloudReport, CloudView, cloud, cloud_image
from dvskit.render.colormap import Colouring, Colours, Theme, by_polarity, by_time
from dvskit.render.page import PageReport, page

__all__ = [
    "CloudReport",
    "CloudView",
    "Colouring",
    "Colours",
    "PageReport",
    "Theme",
    "by_polarity",
    "by_time",
    "cloud",
    "cloud_image",
    "page",
    "plots",
]
