"""HDF5 files of events.

The layouts of Prophesee, DSEC, RVT, M3ED, rpg_e2vid, v2e and MVSEC are read (`layout`). That of
Prophesee is written, with gzip or (ECF) as ECF, and that of DSEC.
"""

from __future__ import annotations

from types import SimpleNamespace

from dvskit.formats.hdf5.reading import Hdf5Recording, open_recording
from dvskit.formats.hdf5.writing import DsecSink, EcfSink, ProphSink

__all__ = ["DSEC", "ECF", "EcfSink", "Hdf5Recording", "ProphSink", "open_recording", "open_sink"]

open_sink = ProphSink
ECF = SimpleNamespace(open_recording=open_recording, open_sink=EcfSink)
DSEC = SimpleNamespace(open_recording=open_recording, open_sink=DsecSink)
