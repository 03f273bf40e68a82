"""Files of rows, and the HDF5 library as a process that unpacks chunks with unknown filters.

It runs in a process of its own, as its decoders and plugins crash on some damaged chunks. Only
these chunks are then lost.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import one_line
from dvskit.formats.hdf5.filters import ChunkError
from dvskit.formats.hdf5.opening import open_file

_LIMIT_S = 60.0  # for unpacking rows


class RowFile:
    """A file whose rows are read until it is closed; `handle` is its descriptor."""

    def __init__(self, path: Path, *, strict: bool) -> None:
        self._path, self._strict = path, strict
        self._file = path.open("rb", buffering=0)
        self.handle = self._file.fileno()
        self._process: subprocess.Popen[bytes] | None = None

    def by_library(self, name: str, first: int, stop: int) -> NDArray[Any]:
        """Return rows first..stop of a dataset from the HDF5 library. Raises ChunkError."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(_LIMIT_S, process.kill)
        timer.start()
        try:
            with suppress(OSError):  # the process may have ended
                process.stdin.write(json.dumps([name, first, stop]).encode() + b"\n")
                process.stdin.flush()
            head = process.stdout.read(8)
            body = process.stdout.read(abs(struct.unpack("<q", head)[0])) if len(head) == 8 else b""
        finally:
            timer.cancel()
        if len(head) < 8 or not body:
            self._end()
            raise ChunkError("the HDF5 library crashes on it")
        if head[7] >> 7:  # a negative length: an error message
            raise ChunkError(f"the HDF5 library cannot unpack it ({body.decode()})")
        rows: NDArray[Any] = np.load(io.BytesIO(body), allow_pickle=False)
        return rows

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dvskit.formats.hdf5.library"]
        return subprocess.Popen(
            [*command, str(self._path), "strict" if self._strict else "salvage"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(OSError), process:  # closes its pipes
                pass

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, and end the process."""
        self._file.close()
        self._end()


def _serve(path: Path, *, strict: bool) -> None:
    """Answer lines [name, first, stop] on stdin with rows on stdout: a length, then an .npy."""
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401  (it registers its filters)
    with open_file(path, strict=strict) as file:
        for line in sys.stdin.buffer:
            name, first, stop = json.loads(line)
            out, sign = io.BytesIO(), 1
            try:
                np.save(out, file[name][first:stop], allow_pickle=False)
            except Exception as error:
                out, sign = io.BytesIO(one_line(error).encode()), -1
            data = out.getvalue()
            sys.stdout.buffer.write(struct.pack("<q", sign * len(data)) + data)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), strict=sys.argv[2] == "strict")
