"""Safe opening of HDF5 files: links are not followed, damage is one error.

The HDF5 library gets its bytes from this module, not from the system, so a file cannot make it open
other files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from dvskit.errors import FormatError, one_line

_MOST_ATTRIBUTE_BYTES = 1 << 16
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


class _Guarded(io.FileIO):
    """A file as seen by the HDF5 library."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path

    def __repr__(self) -> str:
        return str(self._path)  # h5py uses it as the file's name

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        if bytes(view[:4]) == b"GCOL":
            _refuse_endless_heap(bytes(view[:count]))
        return count


def damaged(path: Path, error: BaseException) -> NoReturn:
    """Raise an error of the HDF5 library as a FormatError."""
    raise FormatError(
        f"{path}: its HDF5 structure cannot be read ({one_line(error)}); "
        "copy the file again, or try h5clear and h5repack on a copy"
    ) from error


@contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Yield the file, open for reading.

    Raises FormatError for a file with an unreadable structure, and for one that ends early.
    """
    with _Guarded(path) as raw:
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
