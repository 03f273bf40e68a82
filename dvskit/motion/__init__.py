"""Motion from events."""

from dvskit.motion.contrast import Motion, maximise_contrast

__all__ = ["Motion", "maximise_contrast"]
