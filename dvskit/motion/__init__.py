"""Motion from events."""

from dvskit.motion.contrast import Motion, maximise_contrast
from dvskit.motion.corners import CornerLinks, corners, link_corners

__all__ = ["CornerLinks", "Motion", "corners", "link_corners", "maximise_contrast"]
