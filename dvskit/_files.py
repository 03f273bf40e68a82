"""Atomic outputs, whole files and folders or none; and the visible content of folders."""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dvskit.errors import FormatError, OutputError

if TYPE_CHECKING:
    import tempfile

_begun: set[Path] = set()  # the files and folders waiting to be renamed
# Inodes of files and folders that are renamed, without those of caches; None: not collected.
written: dict[Path, int] | None = None
# The names created by `begin`, and those that begin with them: .mode of `_follow_umask`, the
# columns of .npz, and -journal of SQLite.
_PARTIAL = re.compile(
    r"\.(?P<stem>.+)\.[0-9a-f]{8}\.partial(?P<suffix>\.[^.]*?)?(\.\w+|-journal)?", re.DOTALL
)

MOST_BESIDE = 1 << 28  # bytes of a text beside a recording, such as samples of an IMU
MOST_TOML = 1 << 24
NO_PLACE = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)  # errors of writing alone

# Files and folders made by systems, besides names that begin with a dot.
_OF_SYSTEMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin",
               "system volume information", "lost+found", "@eadir"}  # fmt: skip


def shipped_folders(marker: str) -> dict[str, Path]:
    """Return the folders of shipped models by name, of a checkout or a package: with `marker`."""
    package = Path(__file__).parent
    found: dict[str, Path] = {}
    for place in (package / "shipped_models", package.parent / "models"):
        for file in sorted(place.glob(f"*/{marker}")):
            found.setdefault(file.parent.name, file.parent)
    return found


def is_hidden(name: str) -> bool:
    """Return whether a file or folder name is hidden or a system's own."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def visible(folder: Path) -> list[Path]:
    """Return the entries of a folder, in order of names, without hidden and system files.

    The order is that of characters in composed form (NFC), the same on all systems. Raises
    FormatError for a folder that cannot be read.
    """
    try:
        found = [entry for entry in folder.iterdir() if not is_hidden(entry.name)]
    except OSError as error:
        raise FormatError(f"{folder}: cannot be read: {error.strerror or error}") from error
    return sorted(found, key=lambda entry: unicodedata.normalize("NFC", entry.name))


def open_regular(path: str | PathLike[str]) -> BinaryIO:
    """Open a regular file to read it. Raises OSError, also for pipes and devices: none waits."""
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "is no regular file; give a file on disk", os.fspath(path))


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_regular(path: str | PathLike[str], most: int = MOST_BESIDE) -> bytes:
    """Return the bytes of a regular file. Raises OSError, also for more than `most` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(most + 1) if size <= most else b""
    if max(size, len(data)) > most:
        raise OSError(
            errno.EFBIG, f"is larger than {most:,} bytes; give a smaller file", os.fspath(path)
        )
    return data


def check_output(path: str | PathLike[str], *, overwrite: bool) -> Path:
    """Return `path` as a Path after checking that it can be written.

    Raises OutputError if it exists and `overwrite` is false, if it is a folder, or if its folder is
    missing.
    """
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{target}: is a folder; name a file")
    if target.is_file() and not overwrite:
        raise OutputError(f"{target}: exists already; pass overwrite=True to replace it")
    check_parent(target)
    return target


def check_parent(target: Path) -> None:
    """Raise OutputError unless the folder of an output exists."""
    folder = target.parent
    if folder.is_dir():
        return
    if folder.exists():
        raise OutputError(f"{target}: {folder} is a file; name a folder")
    raise OutputError(f"{target}: the folder {folder} does not exist; make it first")


def make_folder(folder: Path) -> None:
    """Make a folder unless it exists. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error


def not_written(target: Path, error: OSError) -> OutputError:
    """Return the error of an output that could not be begun or written."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOENT and target.parent.is_dir():  # as in /proc
        reason = f"the folder {target.parent} takes no new files"
    return OutputError(f"{target}: {reason}; choose another place")


def check_standard_output() -> Path:
    """Return a name for standard output, for messages. Raises OutputError for a terminal."""
    name = Path("standard output")
    if sys.stdout is None or sys.stdout.isatty():
        raise OutputError(
            f"{name}: is a terminal; name a file, or use a pipe: ... - | dvskit info -"
        )
    return name


def standard_output() -> BinaryIO:
    """Open standard output for bytes; closing it leaves the process's own open."""
    sys.stdout.flush()
    return os.fdopen(os.dup(sys.stdout.fileno()), "wb")


def _in_place(target: Path) -> bool:
    # A device or a pipe (/dev/stdout) must not be replaced by renaming.
    return target.exists() and not target.is_file()


def partial_path(target: Path) -> Path:
    """Return the path to write before it is renamed to `target`: same folder, same suffix."""
    if _in_place(target):
        return target
    return begin(target)


def begin(target: Path) -> Path:
    """Return the path to write instead of `target`; `discard_all` removes it."""
    partial = target.with_name(f".{target.stem}.{os.urandom(4).hex()}.partial{target.suffix}")
    _begun.add(partial)
    return partial


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder that is removed with its object, at exit, and by `discard_all`."""
    import tempfile  # here because it is rarely needed

    made = tempfile.TemporaryDirectory(prefix="dvskit-", ignore_cleanup_errors=True)
    _begun.add(Path(made.name))
    return made


def discard_all() -> None:
    """Remove all unfinished outputs and temporary folders, for a process that cannot unwind."""
    for partial in tuple(_begun):
        _remove(partial)


def _remove(partial: Path) -> None:
    with suppress(OSError):
        # Some formats keep more files next to their file.
        for path in partial.parent.glob(f"{glob.escape(partial.name)}*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def unfinished(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the unfinished files of a folder, each with its final name."""
    try:
        found = list(folder.iterdir())
    except OSError:
        return
    for path in found:
        ours = _PARTIAL.fullmatch(path.name)
        if ours:
            yield path, path.with_name(ours["stem"] + (ours["suffix"] or ""))


def outputs() -> list[Path]:
    """Return those in `written` that were renamed; an interrupt may come before or after that."""
    found = []
    for target, inode in sorted((written or {}).items()):
        with suppress(OSError):
            if target.stat().st_ino == inode:
                found.append(target)
    return found


def left_over() -> Iterator[tuple[Path, list[Path]]]:
    """Yield the outputs that have unfinished files of killed commands beside them, with these.

    A running command may own them, too.
    """
    found: dict[Path, list[Path]] = {}
    whole = outputs()
    for folder in {target.parent for target in whole}:
        for path, target in unfinished(folder):
            if target in whole and path not in _begun:
                found.setdefault(target, []).append(path)
    for target, paths in sorted(found.items()):
        yield target, sorted(paths)


def finish(partial: Path, target: Path) -> None:
    """Rename the finished `partial` to `target`, with the permissions of the umask."""
    if partial != target:
        if partial.is_file():
            _follow_umask(partial)
        _note(partial, target)
        partial.replace(target)
        _begun.discard(partial)


def forget(target: Path) -> None:
    """Take a finished file for no output: one of a cache."""
    if written is not None:
        written.pop(target, None)


def _note(partial: Path, target: Path) -> None:
    if written is not None:
        written[target] = partial.stat().st_ino


def _follow_umask(path: Path) -> None:
    """Give a file the mode of any new file: some libraries create files with a stricter one.

    The mode is that of a new empty file in the same folder: reading the umask would set it for all
    threads.
    """
    probe = path.with_name(f"{path.name}.mode")
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        path.chmod(stat.S_IMODE(probe.stat().st_mode))
    finally:
        probe.unlink(missing_ok=True)


def discard(partial: Path, target: Path) -> None:
    """Remove an unfinished `partial`, if it is there."""
    if partial != target and (partial in _begun or partial.exists()):
        _remove(partial)
        _begun.discard(partial)


@contextmanager
def whole_file(path: str | PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a path to write; it replaces `path` on a clean exit and is removed otherwise.

    Raises OutputError as `check_output` does, and for any operating-system error while writing.
    """
    target = check_output(path, overwrite=overwrite)
    partial = partial_path(target)
    try:
        yield partial
        finish(partial, target)
    except OSError as error:
        # An error that names another file (a missing input) is not about the output, unless that
        # file was to be written.
        own = error.filename is None or os.fspath(error.filename) in (str(partial), str(target))
        if own or error.errno in NO_PLACE:
            raise not_written(target, error) from error
        raise
    finally:
        discard(partial, target)


@contextmanager
def whole_folder(
    path: str | PathLike[str], *, is_own: Callable[[str], bool], overwrite: bool = False
) -> Iterator[Path]:
    """Yield a path for a folder; it replaces `path` on a clean exit.

    On Linux and macOS a process that is killed leaves the old folder or the new one. On other
    systems there is a moment between two renames with neither: the old one is then hidden.

    An empty folder is replaced. Any other is replaced with `overwrite`, if `is_own` holds for the
    names of all files in it. Raises OutputError.
    """
    target = Path(path)
    _check_folder(target, is_own=is_own, overwrite=overwrite)
    partial = begin(target)
    old = target.with_name(f".{target.stem}.{os.urandom(4).hex()}.partial{target.suffix}")
    try:
        yield partial
        _note(partial, target)
        if target.exists() and not _swap(partial, target):
            target.rename(old)
        if not target.exists():
            partial.rename(target)
    except OSError as error:
        # An error that names another file (a missing input) is not about the output.
        own = error.filename is None or _inside(Path(error.filename), (partial, target))
        if not own and error.errno not in NO_PLACE:
            raise
        raise not_written(target, error) from error
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
        _begun.discard(partial)


def _swap(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; return whether the system can."""
    import ctypes  # here because it loads slowly

    names = os.fsencode(first), os.fsencode(second)
    library: Any = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(library, "renameat2"):  # Linux: RENAME_EXCHANGE, from the current folder
        return not library.renameat2(-100, names[0], -100, names[1], 2)
    if hasattr(library, "renamex_np"):  # macOS: RENAME_SWAP
        return not library.renamex_np(*names, 2)
    return False


def _inside(file: Path, folders: tuple[Path, ...]) -> bool:
    return any(file == folder or folder in file.parents for folder in folders)


def _check_folder(target: Path, *, is_own: Callable[[str], bool], overwrite: bool) -> None:
    if Path.cwd().is_relative_to(target.resolve()):
        raise OutputError(f"{target}: the current folder cannot be replaced; name one inside it")
    names = [entry.name for entry in target.iterdir()] if target.is_dir() else []
    if (names or target.is_file()) and not overwrite:
        raise OutputError(f"{target}: exists already; pass overwrite=True to replace it")
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target}: is a file; name a folder, or a file with a suffix")
    for name in names:
        if not is_own(name):
            raise OutputError(f"{target}: holds {name}, which was not written here; name another")
    check_parent(target)


def write_whole(path: str | PathLike[str], data: bytes | str, *, overwrite: bool = False) -> None:
    """Write `data` (text as UTF-8) to `path` atomically."""
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
