"""Frames to events, by the brightness-threshold rule.

Each pixel follows L, the logarithm of its intensity, with a reference level r: while L - r reaches
the ON threshold an ON event is emitted and r rises by it; while r - L reaches the OFF threshold an
OFF event is emitted and r falls by it. Between frames L is taken as linear in time, so that each
event has the time at which L crossed the level.
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
