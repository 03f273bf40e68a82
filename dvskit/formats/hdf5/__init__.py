"""HDF5 files of events.

Read are the layouts of DSEC, RVT, M3ED and rpg_e2vid (`columns`), Prophesee, v2e, MVSEC (`rows`).
Written is that of Prophesee, with ECF here and with gzip in `gzip`; `dsec` writes that of DSEC.
"""

from __future__ import annotations

from dvskit.formats.hdf5.reading import Hdf5Recording, open_recording
from dvskit.formats.hdf5.writing import ProphSink, open_sink

__all__ = ["Hdf5Recording", "ProphSink", "open_recording", "open_sink"]
