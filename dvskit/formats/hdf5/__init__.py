"""HDF5 files of events.

Read are the layouts of Prophesee, DSEC, RVT, M3ED, rpg_e2vid, v2e and MVSEC (`finding`).
Written is that of Prophesee, with ECF here and with gzip in `gzip`; `dsec` writes that of DSEC.
"""

from __future__ import annotations

from dvskit.formats.hdf5.reading import Hdf5Recording, open_recording
from dvskit.formats.hdf5.writing import ProphSink, open_sink

__all__ = ["Hdf5Recording", "ProphSink", "open_recording", "open_sink"]
