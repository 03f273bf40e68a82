"""Motion from events."""

from dvskit.motion.contrast import Motion, maximise_contrast
from dvskit.motion.corners import CornerLinks, corners, link_corners
from dvskit.motion.frame_flow import FrameFlow, frame_flow
from dvskit.motion.plane_flow import Flow, FlowMethod, FlowStep, PlaneFlow, flow_blocks, plane_flow
from dvskit.motion.pooled_flow import PooledFlow, pooled_flow

__all__ = [
    "CornerLinks",
    "Flow",
    "FlowMethod",
    "FlowStep",
    "FrameFlow",
    "Motion",
    "PlaneFlow",
    "PooledFlow",
    "corners",
    "flow_blocks",
    "frame_flow",
    "link_corners",
    "maximise_contrast",
    "plane_flow",
    "pooled_flow",
]
