"""What a sensor is like, from what it recorded: parameters for the emulator.

`calibrate` estimates them; `compare` tells how near an emulated recording comes to a real one.
"""

from dvskit.emulator.calibration.comparison import Comparison, Summary, compare
from dvskit.emulator.calibration.run import calibrate
from dvskit.emulator.calibration.table import Calibration, Estimate

__all__ = ["Calibration", "Comparison", "Estimate", "Summary", "calibrate", "compare"]
