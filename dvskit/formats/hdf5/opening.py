"""Safe opening of HDF5 files: links are not followed, damage is one error, ends may be missing.

The HDF5 library reads only the structure of a file here: its datasets, and the positions of their
pieces. It gets its bytes from this module, not from the system, so a file cannot make it open other
files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from dvskit.errors import DamagedFileError, FormatError, one_line
from dvskit.formats.losses import Loss

MAGIC = b"\x89HDF\r\n\x1a\n"
_MOST_ATTRIBUTE_BYTES = 1 << 16
_MOST_FILE_BYTES = 1 << 62
_LISTED = 20  # names in a message


def _refuse_endless_heap(data: bytes) -> None:
    """Raise OSError for a global heap that would make the HDF5 library loop forever.

    A heap is a row of objects: u16 number, 6 bytes, u64 size. Number 0 is free space, with a size
    that includes its own head: the library (2.0.0) advances by that size, even if it is 0.
    """
    at = 16
    end = min(len(data), int.from_bytes(data[8:16], "little"))
    while at + 16 <= end:
        size = int.from_bytes(data[at + 8 : at + 16], "little")
        if data[at : at + 2] != b"\0\0":
            at += 16 + (size + 7 & ~7)
        elif size:
            at += size
        else:
            raise OSError("a global heap has an object of size 0")


class _Padded(io.RawIOBase):
    """A file as seen by the HDF5 library: with zeros after its end, up to `size`."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._path, self._size = path, size
        self._at = 0

    def __repr__(self) -> str:
        return str(self._path)  # h5py uses it as the file's name

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._at))
        self._file.seek(self._at)
        data = self._file.read(count)
        view[: len(data)] = data
        view[len(data) : count] = bytes(count - len(data))
        if bytes(view[:4]) == b"GCOL":
            _refuse_endless_heap(bytes(view[:count]))
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _sizes(path: Path) -> tuple[int, int]:
    """Return the size of a file, and the size in its superblock; the size again if it has none.

    Raises FormatError for another file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
    if not head.startswith(MAGIC):
        raise FormatError(f"{path}: starts with {head[:8]!r}, not with an HDF5 header")
    at = {0: 40, 1: 44, 2: 28, 3: 28}.get(head[8] if len(head) > 8 else 255, 64)
    return size, size if len(head) < at + 8 else int.from_bytes(head[at : at + 8], "little")


def damaged(path: Path, error: BaseException) -> NoReturn:
    """Raise an error of the HDF5 library as a FormatError."""
    raise FormatError(
        f"{path}: its HDF5 structure cannot be read ({one_line(error)}); "
        "copy the file again, or try h5clear and h5repack on a copy"
    ) from error


def missing_end(path: Path) -> Loss | None:
    """Return the loss, for salvage, of a file that ends early; None if it is whole."""
    size, stated = _sizes(path)
    if stated <= size:
        return None
    return Loss(size, min(stated - size, _MOST_FILE_BYTES), _ends_early(stated))


def _ends_early(stated: int) -> str:
    return f"the file ends early (its header gives {stated} bytes)"


@contextmanager
def open_file(path: Path, *, strict: bool) -> Iterator[h5py.File]:
    """Yield the file, open for reading.

    Raises FormatError for a file with an unreadable structure, and in strict mode DamagedFileError
    for one that ends early. In salvage mode its end is read as zeros.
    """
    size, stated = _sizes(path)
    if strict and stated > size:
        raise DamagedFileError(path, size, _ends_early(stated))
    with _Padded(path, min(max(size, stated), _MOST_FILE_BYTES)) as raw:
        try:
            opened = h5py.File(raw, "r")
        except Exception as error:  # the library raises many kinds
            damaged(path, error)
        try:
            yield opened
        finally:
            with suppress(Exception):
                opened.close()


def find(file: h5py.File, name: str) -> Any:
    """Return the group or dataset of a path such as "CD/events"; None if there is none.

    Raises FormatError if the path passes a link to another place.
    """
    node: Any = file
    for part in name.split("/"):
        if not part or not isinstance(node, h5py.Group) or not node.id.links.exists(part.encode()):
            return None
        if node.id.links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
            raise FormatError(
                f"{file.filename}: {name} is a link to another place, which is not followed; "
                "open its target, or repack this one with h5repack --merge"
            )
        node = node[part]
    return node


def dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return the dataset of a path; None if there is none, or something else."""
    node = find(file, name)
    return node if isinstance(node, h5py.Dataset) else None


def attributes(node: Any) -> dict[str, str]:
    """Return the readable attributes of a file, group or dataset as text."""
    found: dict[str, str] = {}
    with suppress(Exception):
        for name in list(node.attrs)[:1000]:
            with suppress(Exception):
                if node.attrs.get_id(name).get_storage_size() <= _MOST_ATTRIBUTE_BYTES:
                    found[name] = _text(node.attrs[name])
    return found


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic):
        return _text(value.item())
    if isinstance(value, np.ndarray):
        return " ".join(_text(item) for item in value.ravel()[:64].tolist())
    return str(value)


def scalar(file: h5py.File, name: str) -> int | float | None:
    """Return the number in a dataset of one element; None if there is none."""
    found = dataset(file, name)
    if found is None or found.size != 1 or found.dtype.kind not in "iuf":
        return None
    with suppress(Exception):
        value: int | float = found[()].item()
        return value
    return None


def contents(file: h5py.File) -> list[str]:
    """Return the paths of datasets and links, the first few, with their shapes, for a message."""
    found: list[str] = []
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    while waiting and len(found) < _LISTED:
        prefix, group, depth = waiting.pop(0)
        with suppress(Exception):
            for name in list(group)[: 10 * _LISTED]:
                path = f"{prefix}{name}"
                if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
                    found.append(f"{path} (a link)")
                    continue
                node = group[name]
                if isinstance(node, h5py.Dataset):
                    found.append(f"{path} {node.dtype} {node.shape}")
                elif isinstance(node, h5py.Group) and depth < 8:
                    waiting.append((f"{path}/", node, depth + 1))
    return found[:_LISTED]
