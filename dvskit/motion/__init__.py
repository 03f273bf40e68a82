"""Motion from events: of windows, over recordings, and recordings without it."""

from dvskit.motion.contrast import Motion, maximize_contrast
from dvskit.motion.corner_tracks import CornerLinks, corners, link_corners
from dvskit.motion.dense import DenseFlow, FrameFlow, dense_flow, flow_over_time, frame_flow
from dvskit.motion.event_flow import (
    Flow,
    FlowMethod,
    FlowStep,
    PlaneFlow,
    PooledFlow,
    flow_blocks,
    plane_flow,
)
from dvskit.motion.over_time import MotionTable, Stabilized, motion_over_time, warped_image

__all__ = [
    "CornerLinks",
    "DenseFlow",
    "Flow",
    "FlowMethod",
    "FlowStep",
    "FrameFlow",
    "Motion",
    "MotionTable",
    "PlaneFlow",
    "PooledFlow",
    "Stabilized",
    "corners",
    "dense_flow",
    "flow_blocks",
    "flow_over_time",
    "frame_flow",
    "link_corners",
    "maximize_contrast",
    "motion_over_time",
    "plane_flow",
    "warped_image",
]
