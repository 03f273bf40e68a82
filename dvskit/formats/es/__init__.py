"""Event Stream 2 (`.es`): one byte of time and polarity, then the pixel.

Layout: github.com/neuromorphic-paris/event_stream, version 2.0, DVS events. A byte holds the
microseconds since the event ahead of it (7 bits) and the polarity (bit 0, ON = 1); 127 us is no
event, only time. Then x and y, 16 bits each, little-endian; y = 0 is the bottom row.
"""

from dvskit.formats.es.reading import EsRecording, open_recording
from dvskit.formats.es.writing import EsSink, open_sink

__all__ = ["EsRecording", "EsSink", "open_recording", "open_sink"]
