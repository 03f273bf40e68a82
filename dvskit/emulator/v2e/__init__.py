"""The pixel as v2e steps it, for results that compare with v2e's (Hu, Liu, Delbruck 2021).

One step a frame: an Euler step of the low-pass, whole thresholds counted at the frame's time, and
times that all pixels of a frame share. Coarse frames saturate the low-pass, as they do there.
"""

from dvskit.emulator.v2e.run import V2ePixels

__all__ = ["V2ePixels"]
