"""Motion from events: of windows, over recordings, and recordings without it."""

from dvskit.motion.contrast import Motion, maximise_contrast
from dvskit.motion.corners import CornerLinks, corners, link_corners
from dvskit.motion.dense_events import DenseFlow
from dvskit.motion.dense_flow import dense_flow, flow_over_time
from dvskit.motion.frame_flow import FrameFlow, frame_flow
from dvskit.motion.over_time import MotionTable, motion_over_time
from dvskit.motion.plane_flow import Flow, FlowMethod, FlowStep, PlaneFlow, flow_blocks, plane_flow
from dvskit.motion.pooled_flow import PooledFlow, pooled_flow
from dvskit.motion.stabilize import Stabilized, warped_image

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
    "maximise_contrast",
    "motion_over_time",
    "plane_flow",
    "pooled_flow",
    "warped_image",
]
