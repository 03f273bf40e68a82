"""What a sensor is like, from what it recorded: parameters for the emulator."""

from dvskit.emulator.calibration.run import calibrate
from dvskit.emulator.calibration.table import Calibration, Estimate

__all__ = ["Calibration", "Estimate", "calibrate"]
