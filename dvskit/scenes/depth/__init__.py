"""Depth clips of people, shaded."""

from dvskit.scenes.depth.clip import JOINTS, DepthClip, read_depth_clip
from dvskit.scenes.depth.scene import DepthScene

__all__ = ["JOINTS", "DepthClip", "DepthScene", "read_depth_clip"]
