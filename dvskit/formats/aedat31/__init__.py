"""AEDAT 3.1 (`.aedat`): packets as cAER writes them, and the DVS128 Gesture recordings.

Layout: iniVation, AEDAT file formats, docs.inivation.com, and libcaer's event definitions. Text
lines up to `#!END-HEADER`, then little-endian packets of one type of event each; y = 0 is the top
row.
"""

from dvskit.formats.aedat31.reading import Aedat31Recording, open_recording

__all__ = ["Aedat31Recording", "open_recording"]
