"""Prophesee's HDF5 layout with gzip instead of ECF, for readers without Prophesee's plugin."""

from __future__ import annotations

from pathlib import Path

from dvskit.events import Size
from dvskit.formats.hdf5.reading import open_recording
from dvskit.formats.hdf5.writing import ProphSink

__all__ = ["GzipSink", "open_recording", "open_sink"]


class GzipSink(ProphSink):
    """Writes Prophesee's layout with gzip, with triggers."""

    format = "hdf5-gzip"
    packs = False


def open_sink(path: Path, size: Size, *, overwrite: bool) -> GzipSink:
    """Return a Sink of Prophesee's HDF5 layout with gzip."""
    return GzipSink(path, size, overwrite=overwrite)
