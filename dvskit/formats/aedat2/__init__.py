"""AEDAT 1 and 2 (`.aedat`): addresses and times as jAER, v2e and older tools write them.

Text lines that begin with `#`, then big-endian pairs: an address (16 bits in version 1, 32 in 2)
and a signed 32-bit time in microseconds. The layout of addresses depends on the chip; see `chips`.
Layout: iniVation, AEDAT file formats, docs.inivation.com.
"""

from dvskit.formats.aedat2.reading import Aedat2Recording, open_recording
from dvskit.formats.aedat2.writing import Aedat2Sink, open_sink

__all__ = ["Aedat2Recording", "Aedat2Sink", "open_recording", "open_sink"]
