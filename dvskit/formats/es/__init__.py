"""Event Stream (`.es`), version 2: DVS, ATIS, color and generic events.

Layout: github.com/neuromorphic-paris/event_stream; `byte_kernels` decodes it. A byte of a DVS event
holds the microseconds since the event before it (7 bits) and the polarity (bit 0, ON = 1). 0xFF
there is 127 us without an event, and 0xFE a reset without meaning. Then x and y, 16 bits each,
little-endian; y = 0 is the bottom row. DVS events are written.
"""

from dvskit.formats.es.reading import (
    EsRecording,
    EsSink,
    GenericEvent,
    GenericRecording,
    open_recording,
    open_sink,
)

__all__ = [
    "EsRecording",
    "EsSink",
    "GenericEvent",
    "GenericRecording",
    "open_recording",
    "open_sink",
]
