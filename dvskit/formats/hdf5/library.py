"""What the HDF5 library does: it says where rows stand, and unpacks those of unknown filters.

It unpacks in a process of its own: its decoders, and those of its plugins, crash on some damaged
chunks, which then cost themselves alone.
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

import h5py
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError, one_line
from dvskit.formats.hdf5 import filters as f
from dvskit.formats.hdf5.filters import ChunkError
from dvskit.formats.hdf5.stored import Stored

_LIMIT_S = 60.0  # for rows to be unpacked


class LibraryReader:
    """Reads rows through the HDF5 library until it is closed."""

    def __init__(self, path: Path, *, strict: bool) -> None:
        self._path, self._strict = path, strict
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, name: str, first: int, stop: int) -> NDArray[Any]:
        """Return rows first..stop of a dataset. Raises ChunkError."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(_LIMIT_S, process.kill)
        timer.start()
        try:
            with suppress(OSError):  # a process that has ended answers nothing
                process.stdin.write(json.dumps([name, first, stop]).encode() + b"\n")
                process.stdin.flush()
            head = process.stdout.read(8)
            body = process.stdout.read(abs(struct.unpack("<q", head)[0])) if len(head) == 8 else b""
        finally:
            timer.cancel()
        if len(head) < 8 or not body:
            self.close()
            raise ChunkError("the HDF5 library breaks down on it")
        if head[7] >> 7:  # a negative length: what went wrong
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

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.kill()
        process.wait()


def _serve(path: Path, *, strict: bool) -> None:
    """Answer lines [name, first, stop] on stdin with rows, as .npy behind its length, on stdout."""
    from dvskit.formats.hdf5.opening import open_file

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


_MOST_PROBES = 1 << 17
MOST_CHUNK_BYTES = 1 << 28  # a chunk is unpacked whole: this bounds what a hostile one may cost


def survey(dataset: h5py.Dataset, name: str, path: Path, *, strict: bool) -> Stored:
    """Return where a dataset's rows stand.

    Raises FormatError for rows that are no numbers, that stand in another file, and for chunks too
    large to unpack.
    """
    shape = dataset.shape
    if not shape or dataset.dtype.hasobject or not dataset.dtype.itemsize:
        raise FormatError(f"{path}: {name} has shape {shape} of {dataset.dtype}; rows are meant")
    settings = dataset.id.get_create_plist()
    layout = settings.get_layout()
    if layout == h5py.h5d.VIRTUAL or settings.get_external_count():
        raise FormatError(
            f"{path}: {name} is kept in other files, which are not opened; repack it into one"
        )
    filters = tuple(
        f.Filter(each[0], tuple(each[2]), each[3].decode("latin-1"))
        for each in (settings.get_filter(i) for i in range(settings.get_nfilters()))
    )
    if layout == h5py.h5d.CHUNKED:
        return _chunked(dataset, name, path, filters, strict=strict)
    return _stretch(dataset, name, path)


def _stretch(dataset: h5py.Dataset, name: str, path: Path) -> Stored:
    inline = None
    offset, size = 0, int(dataset.id.get_storage_size())
    if dataset.id.get_create_plist().get_layout() == h5py.h5d.COMPACT:
        inline = np.ascontiguousarray(dataset[()]).tobytes()
    else:
        found = dataset.id.get_offset()
        offset, size = (0, 0) if found is None else (int(found), size)
        # Where the file is cut, what is left of the stretch counts.
        size = max(0, min(size, path.stat().st_size - offset))
    return Stored(
        name, path, dataset.dtype, dataset.shape[0], dataset.shape[1:], (), (),
        np.zeros(1, np.int64), np.array([offset], np.int64), np.array([size], np.int64),
        np.zeros(1, np.int64), np.zeros((1, 0), np.int64), inline,
    )  # fmt: skip


def _chunked(
    dataset: h5py.Dataset, name: str, path: Path, filters: tuple[f.Filter, ...], *, strict: bool
) -> Stored:
    chunk = dataset.chunks
    item, size = dataset.dtype.itemsize, int(np.prod(chunk, dtype=np.float64))
    for each in filters:
        problem = f.why_not(each, item, size * item)
        if problem:
            raise FormatError(
                f"{path}: filter {each.name or each.code!r} of {name} {problem}; "
                "repack the file with h5repack --filter GZIP=1"
            )
    if item * size > MOST_CHUNK_BYTES:
        raise FormatError(
            f"{path}: a chunk of {name} is {chunk} of {dataset.dtype}, more than "
            f"{MOST_CHUNK_BYTES} bytes; repack it with h5repack --layout {name}:CHUNK=65536"
        )
    found, unread = _find_chunks(dataset, path, strict=strict)
    places = [each.chunk_offset for each in found]
    starts = np.array(places, np.int64).reshape(len(found), len(chunk))
    columns = [
        np.array([getattr(each, key) for each in found], np.int64)
        for key in ("byte_offset", "size", "filter_mask")
    ]
    order = np.argsort(starts[:, 0], kind="stable")
    return Stored(
        name, path, dataset.dtype, dataset.shape[0], dataset.shape[1:], tuple(chunk), filters,
        starts[order, 0] // chunk[0], columns[0][order], columns[1][order], columns[2][order],
        starts[order, 1:], None, unread,
    )  # fmt: skip


def _find_chunks(dataset: h5py.Dataset, path: Path, *, strict: bool) -> tuple[list[Any], str]:
    """Return the chunks, as the library describes them, and what kept it from finding all."""
    # More entries than the file has room for are damage that runs in a circle.
    most = path.stat().st_size // 16 + 16
    found: list[Any] = []

    def keep(each: Any) -> bool | None:
        found.append(each)
        return True if len(found) > most else None

    unread = ""
    try:
        if hasattr(dataset.id, "chunk_iter"):
            dataset.id.chunk_iter(keep)
        else:  # HDF5 before 1.12.3
            _probe(dataset, 0, found)
    except Exception as error:
        unread = " ".join(str(error).split())
        if not strict:
            reached = max((each.chunk_offset[0] // dataset.chunks[0] for each in found), default=-1)
            _probe(dataset, reached + 1, found)
    return found, unread


def _probe(dataset: h5py.Dataset, first: int, found: list[Any]) -> None:
    """Ask for chunks one by one, by their rows, from chunk `first` on."""
    rows = dataset.chunks[0]
    rest = tuple(0 for _ in dataset.chunks[1:])
    last = min(-(-dataset.shape[0] // rows), first + _MOST_PROBES)
    for number in range(first, last):
        with suppress(Exception):
            each = dataset.id.get_chunk_info_by_coord((number * rows, *rest))
            if each.byte_offset is not None and each.size:
                found.append(each)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), strict=sys.argv[2] == "strict")
