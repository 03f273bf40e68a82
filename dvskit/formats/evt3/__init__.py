"""Prophesee RAW, EVT 3.0: 16-bit words that build on each other (Gen4, IMX636, GenX320 cameras).

Layout: Prophesee, EVT 3.0 format, docs.prophesee.ai/stable/data/encoding_formats/evt3.html.
"""

from dvskit.formats.evt3.reading import (
    Evt3Recording,
    Evt3Stream,
    open_recording,
    open_stream,
)
from dvskit.formats.evt3.writing import Evt3Sink, open_sink

__all__ = [
    "Evt3Recording",
    "Evt3Sink",
    "Evt3Stream",
    "open_recording",
    "open_sink",
    "open_stream",
]
