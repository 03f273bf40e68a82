"""iniVation AEDAT 4: packets of flatbuffers, compressed with LZ4 or Zstandard.

The flatbuffers' schemas are those of dv-processing (Apache-2.0).
"""

from dvskit.formats.aedat4.layout import Compression
from dvskit.formats.aedat4.reading import Aedat4Recording, open_recording
from dvskit.formats.aedat4.writing import Aedat4Sink, open_sink

__all__ = ["Aedat4Recording", "Aedat4Sink", "Compression", "open_recording", "open_sink"]
