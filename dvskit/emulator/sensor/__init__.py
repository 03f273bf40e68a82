"""The full pixel model: low-pass, mismatch, leak, noise, refractory period, latency."""

from dvskit.emulator.sensor.run import SensorPixels

__all__ = ["SensorPixels"]
