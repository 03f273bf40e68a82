"""Frames to events, by the brightness-threshold rule.

Each pixel compares L, the logarithm of its intensity, with a reference level r. While L - r is at
least the ON threshold, the pixel emits an ON event and r rises by the threshold. While r - L is at
least the OFF threshold, it emits an OFF event and r falls by it. Between frames L is linear in
time, and each event has the time at which L crossed the level.
"""

from dvskit.emulator.model import Emulator, EmulatorRun
from dvskit.emulator.params import EmulatorParams
from dvskit.emulator.source import EmulatedSource, emulate, emulate_batch

__all__ = [
    "EmulatedSource",
    "Emulator",
    "EmulatorParams",
    "EmulatorRun",
    "emulate",
    "emulate_batch",
]
