"""Inputs and outputs at addresses such as s3://bucket/key: fsspec copies them from and to files.

Recordings are mapped into memory, so a job works on a temporary file, which is removed after it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dvskit import _files
from dvskit.cli import _console
from dvskit.errors import ConfigError, DvskitError, FormatError, OutputError, one_line
from dvskit.formats.addresses import LiveAddress, scheme_of

_ADDRESS = re.compile(r"(s3|gs|gcs|https?|memory|file):/+(.*)", re.DOTALL)
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_WHOLE = ("s3", "gs", "gcs", "memory")  # stores where an object appears once it is complete


def address_of(path: object) -> str | None:
    """Return the address that a path or word stands for; None for a local path."""
    found = _ADDRESS.fullmatch(os.fspath(path) if isinstance(path, Path) else str(path))
    # A Path merges repeated slashes.
    return found and f"{found[1]}://{'/' * (found[1] == 'file')}{found[2]}"


class Listed(NamedTuple):
    """The files below an address: those with one of the endings, and the others."""

    base: Path
    files: list[Path]
    others: list[Path]


def is_pattern(address: str) -> bool:
    return "*" in address and not address.startswith("http")


def is_folder(address: str) -> bool:
    """Return whether an address is a folder: it ends with a slash, or the store has one there."""
    if address.endswith("/"):
        return True
    with _opened(address, FormatError) as (files, path):
        return not address.startswith("http") and bool(files.isdir(path))


def listed(address: str, endings: Collection[str], manifest: str = "") -> Listed:
    """Return the files of a folder or a pattern, or one file. Raises FormatError."""
    one = not (is_pattern(address) or is_folder(address))
    with _opened(address, FormatError) as (files, path):
        if one:
            whole = Path(files.unstrip_protocol(path))
            return Listed(whole.parent, [whole], [])
        files.invalidate_cache()
        found = files.glob(path) if is_pattern(address) else files.find(path)
        paths = [Path(files.unstrip_protocol(each)) for each in sorted(found)]
        begin = path.partition("*")[0].rpartition("/")[0] if is_pattern(address) else path
        base = Path(files.unstrip_protocol(begin or path))
    if is_pattern(address) and not paths:
        raise FormatError(f"{_console.shown(address)}: no file matches this pattern")
    taken: tuple[list[Path], list[Path]] = ([], [])
    for each in paths:
        inside = each.parts[len(base.parts) :] if each.is_relative_to(base) else ()
        # Others are hidden, or links in a page of a web server.
        if inside and each.name != manifest and not any(part.startswith(".") for part in inside):
            taken[each.suffix.lower() not in endings].append(each)
    return Listed(base, *taken)


def existing(folder: str) -> set[Path]:
    """Return the files in a folder, which need not exist. Raises OutputError."""
    with _opened(folder, OutputError) as (files, path):
        files.invalidate_cache()
        with suppress(FileNotFoundError):
            return {Path(folder) / os.path.relpath(each, path) for each in files.find(path)}
    return set()


def exists(address: str) -> bool:
    """Return whether there is a file at an address. Raises OutputError."""
    with _opened(address, OutputError) as (files, path):
        files.invalidate_cache()
        return bool(files.exists(path))


def size_of(address: str) -> int:
    """Return the bytes of a file; 0 if they are unknown."""
    with suppress(DvskitError), _opened(address, FormatError) as (files, path):
        return int(files.size(path) or 0)
    return 0


def fetch(address: str, local: Path) -> None:
    """Copy a file to a local path. Raises FormatError."""
    with _opened(address, FormatError) as (files, path):
        files.get_file(path, str(local))


def read(address: str) -> bytes:
    """Return the bytes of a file; none if it does not exist. Raises OutputError."""
    with _opened(address, OutputError) as (files, path):
        return bytes(files.cat_file(path)) if exists(address) else b""


def check_writable(address: str) -> None:
    """Raise OutputError for an address that can only be read."""
    if address.startswith("http"):
        raise OutputError(f"{_console.shown(address)}: can only be read; name another output")


def store(data: bytes | Path, address: str) -> None:
    """Copy bytes or a file to an address, where it appears once complete. Raises OutputError.

    Object stores do that by themselves; elsewhere it is renamed.
    """
    with _opened(address, OutputError) as (files, path):
        whole = address.partition(":")[0] in _WHOLE
        parent, _, name = path.rpartition("/")
        place = path if whole else f"{parent}/.{os.urandom(4).hex()}.{name}"
        if not whole:
            files.makedirs(parent, exist_ok=True)
        try:
            if isinstance(data, Path):
                files.put_file(str(data), place)
            else:
                files.pipe_file(place, data)
            if not whole:
                files.mv(place, path)
        except BaseException:
            with suppress(Exception):
                if not whole:
                    files.rm(place)
            raise


class Staging(ExitStack):
    """Local files in place of addresses, for the time of a command.

    Its outputs are stored at their addresses after a clean exit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._outputs: list[tuple[Path, str]] = []

    def inputs(self, path: Any) -> Any:
        """Return a path, or each of a list, with the file at an address fetched.

        Raises FormatError.
        """
        if isinstance(path, list):
            return [self.inputs(each) for each in path]
        address = address_of(path)
        if address is None:
            return with_slashes(path)
        local = self._local(address)
        fetch(address, local)
        return local

    def output(self, path: Path, *, force: bool) -> Path:
        """Return the path to write, which is then stored at an address.

        Raises OutputError if nothing can be written there, or a file exists without `force`.
        """
        address = address_of(path)
        if address is None:
            return path
        check_writable(address)
        if not force and exists(address):
            raise OutputError(f"{_console.shown(address)}: exists already; --force replaces it")
        local = self._local(address)
        self._outputs.append((local, address))
        return local

    def _local(self, address: str) -> Path:
        folder = self.enter_context(_files.temporary_folder())
        local = Path(folder, Path(address.partition("?")[0]).name)
        _console.stand_ins[str(local)] = address
        return local

    def __exit__(self, *raised: Any) -> None:
        """Store the outputs, unless an error was raised, and remove the local files."""
        try:
            for local, address in self._outputs if raised[0] is None else ():
                if not local.is_file():
                    raise OutputError(f"{_console.shown(address)}: no folder can be written there")
                store(local, address)
        finally:
            super().__exit__(*raised)


def with_slashes(path: Any) -> Any:
    """Return a path, or each of a list, as an address if it is one of live events.

    An address keeps its slashes.
    """
    if isinstance(path, list):
        return [with_slashes(each) for each in path]
    return LiveAddress(path) if isinstance(path, Path) and scheme_of(path) else path


@contextmanager
def _opened(address: str, kind: type[DvskitError]) -> Iterator[tuple[Any, str]]:
    """Yield the file system of an address, and its path there.

    Its errors, of any type, become one line of a `kind`. Raises ConfigError without its package.
    """
    scheme = address.partition(":")[0]
    try:
        from fsspec.core import url_to_fs

        yield url_to_fs(address)
    except DvskitError:
        raise
    except ImportError:
        package = _PACKAGES.get(scheme, "fsspec")
        raise ConfigError(f"{scheme}:// needs {package}; pip install fsspec {package}") from None
    except Exception as error:
        raise kind(f"{_console.shown(address)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = one_line(error)
    if isinstance(error, FileNotFoundError):
        return "the bucket does not exist" if "bucket" in text.lower() else "does not exist"
    if "Credentials" in type(error).__name__:
        return "no credentials; set those of the store, such as AWS_PROFILE, or its variables"
    if isinstance(error, PermissionError):
        return f"access is denied ({text}); check the credentials"
    return text if isinstance(error, OSError) else f"{type(error).__name__}: {text}"
