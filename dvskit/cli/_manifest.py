"""The list of the files that commands have written into a folder: `manifest.csv`, a row a job.

The last row of a file counts; one without an error gives the options that the file was made with.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dvskit.cli import _console, _remote
from dvskit.cli._jobs import JobResult
from dvskit.cli._remote import address_of
from dvskit.cli._trees import MANIFEST, FileJob
from dvskit.errors import OutputError

_COLUMNS = ("file", "input", "options", "events", "seconds", "host", "error")
_STORE_S = 10.0  # between stores at an address
_LINES = str.maketrans({"\n": "\\n", "\r": "\\r"})  # a row is one line, so that a cut one is found


def options_hash(command: str, options: Mapping[str, Any]) -> str:
    """Return the hash of a command's options, and of the content of files that they name."""
    digest = hashlib.sha256(command.encode())
    for name, value in sorted(options.items()):
        digest.update(f"\n{name}={value!r}".encode(errors="surrogatepass"))
        if isinstance(value, str | Path) and Path(value).suffix and Path(value).is_file():
            digest.update(Path(value).read_bytes())
    return digest.hexdigest()[:16]


class Manifest:
    """The manifest of a folder, for jobs with options of one hash.

    A row is appended by one write, and a row that a killed run has cut is removed. At an address,
    which cannot be appended to, it is replaced every ten seconds and by `store`. Raises OutputError
    for another file of this name.
    """

    def __init__(self, folder: Path, options: str) -> None:
        self.options = options
        self._folder, self._path = folder, folder / MANIFEST
        self._made_with: dict[str, str] = {}
        self._address, self._stored_s = address_of(self._path), time.monotonic()
        self._rows = b""  # at an address
        self._read()

    def store(self) -> None:
        """Store the rows at an address. Raises OutputError."""
        if self._address is not None:
            _remote.store(self._rows or _HEADER, self._address)
            self._stored_s = time.monotonic()

    def made_with(self, out: Path) -> str | None:
        """Return the hash of the options that made an output; None if it is not listed."""
        return self._made_with.get(self._name(out))

    def add(self, job: FileJob, result: JobResult) -> None:
        """Append the end of a job. Raises OutputError."""
        events = "" if result.value is None else result.value
        file_in = _console.shown(str(job.file))
        row = (self._name(job.out), file_in, self.options, events, f"{result.seconds:.3f}",
               result.host, result.reason)  # fmt: skip
        if self._address is not None:
            self._rows = (self._rows or _HEADER) + _line(row)
            if time.monotonic() - self._stored_s > _STORE_S:
                self.store()
            return
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                lines = b"" if os.fstat(file).st_size else _HEADER
                lines += _line(row)
                if os.write(file, lines) < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(file)
        except OSError as error:
            raise self._failed(error) from error

    def _name(self, out: Path) -> str:
        return out.relative_to(self._folder).as_posix().translate(_LINES)

    def _read(self) -> None:
        try:
            if self._address is not None:
                data = _remote.read(self._address)
            else:
                data = self._path.read_bytes() if self._path.exists() else b""
            if not (data.startswith(_HEADER) or _HEADER.startswith(data)):
                raise OutputError(
                    f"{self._path}: is not a list of files that dvskit wrote; move it, or choose "
                    "another folder"
                )
            whole = data[: data.rfind(b"\n") + 1]
            self._rows = whole
            if whole != data and self._address is None:
                os.truncate(self._path, len(whole))
        except OSError as error:
            raise self._failed(error) from error
        for line in whole.decode("utf-8", "surrogateescape").split("\n")[1:]:
            with suppress(csv.Error):  # a damaged row lists nothing
                for row in csv.reader([line]):
                    if len(row) == len(_COLUMNS) and not row[-1]:
                        self._made_with[row[0]] = row[2]

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path}: {error.strerror or error}; run the same command again to continue"
        )


def _line(cells: tuple[object, ...]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow([str(cell).translate(_LINES) for cell in cells])
    return text.getvalue().encode("utf-8", "surrogateescape")


_HEADER = _line(_COLUMNS)
