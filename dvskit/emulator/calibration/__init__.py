"""Estimate the parameters of a sensor from a recording."""

from dvskit.emulator.calibration.run import calibrate
from dvskit.emulator.calibration.table import Calibration, Estimate

__all__ = ["Calibration", "Estimate", "calibrate"]
