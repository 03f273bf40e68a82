"""HDF5 files of events.

The layouts of Prophesee, DSEC, RVT, M3ED, rpg_e2vid, v2e and MVSEC are read (`finding`). That of
Prophesee is written, with ECF or (GZIP) with gzip, and that of DSEC.
"""

from __future__ import annotations

from types import SimpleNamespace

from dvskit.formats.hdf5.reading import Hdf5Recording, open_recording
from dvskit.formats.hdf5.writing import DsecSink, GzipSink, ProphSink

__all__ = ["DSEC", "GZIP", "GzipSink", "Hdf5Recording", "ProphSink", "open_recording", "open_sink"]

open_sink = ProphSink
GZIP = SimpleNamespace(open_recording=open_recording, open_sink=GzipSink)
DSEC = SimpleNamespace(open_recording=open_recording, open_sink=DsecSink)
