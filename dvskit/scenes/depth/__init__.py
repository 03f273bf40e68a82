"""Depth clips of people, shaded."""

from dvskit.scenes.depth.clip import KINECT_JOINTS, DepthClip, read_depth_clip
from dvskit.scenes.depth.scene import DepthScene

__all__ = ["KINECT_JOINTS", "DepthClip", "DepthScene", "read_depth_clip"]
