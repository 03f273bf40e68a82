"""Undo the byte shuffle of HDF5 and of Blosc: byte k of every item stood together."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.hdf5 import ecf_kernels as k


def unshuffle(data: NDArray[np.uint8], width: int, out: NDArray[np.uint8]) -> None:
    """Put the items of `width` bytes back together; bytes behind the last stand as they are."""
    whole = len(data) // width * width
    source, target = data[:whole], out[:whole]
    if sys.byteorder == "big":
        target.reshape(-1, width)[:] = source.reshape(width, -1).T
    elif width == 2:
        k.unshuffle2(source, target.view(np.uint16))
    elif width == 4:
        k.unshuffle4(source, target.view(np.uint32))
    elif width == 8:
        k.unshuffle8(source, target.view(np.uint64))
    else:
        target.reshape(-1, width)[:] = source.reshape(width, -1).T
    out[whole:] = data[whole:]
