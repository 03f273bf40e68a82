"""Hidden folders beside the classes: deleted clips and classes, unfinished clips, and locks."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dvskit.errors import ConfigError, OutputError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise OutputError, with the path, for errors of the system."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}; check the folder") from error


def own_folder(folder: Path) -> Path:
    """Make a hidden folder if it is missing; return it. Raises OutputError for a link or a file."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"{folder}: is a link or a file; remove it")
    with writing(folder):
        folder.mkdir(exist_ok=True)
    return folder


@dataclass(frozen=True, slots=True)
class DeletedItem:
    """A deleted clip or class, which `ClipFolder.undo` restores.

    token  identifies it; newer ones are larger
    name   "wave/anna_t1.mkv" for a clip, "wave" for a class

        with dvskit.teach.ClipFolder("changed") as folder:
            folder.add_class("wave")
            clip = folder.add_video("video.mp4", "wave", "anna")
            item = folder.delete_clip(clip.file)
            item.name, item.is_class  # ("wave/anna_t1.mp4", False)
            folder.undo(item.token)  # the clip is in its class again
    """

    token: str
    name: str

    @property
    def is_class(self) -> bool:
        """Whether it is a class."""
        return "/" not in self.name


class DeletedFiles:
    """The deleted clips and classes of a folder, by number: .deleted/000001-clip/wave/anna_t1.mkv.

    A move is one rename, so that nothing is lost in between.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / ".deleted"

    def put(self, path: Path, name: str) -> DeletedItem:
        """Move a clip ("wave/anna_t1.mkv") or a class ("wave") here."""
        number = max((int(each.name[:6]) for each in self._kept()), default=0) + 1
        item = DeletedItem(f"{number:06d}-{'clip' if '/' in name else 'class'}", name)
        own_folder(self._path)
        with writing(path):
            self.place(item).parent.mkdir(parents=True)
            path.rename(self.place(item))
        return item

    def items(self) -> list[DeletedItem]:
        """Return what is here, the newest first."""
        found = []
        for kept in reversed(self._kept()):
            name = _only(kept)
            if name and kept.name.endswith("-clip"):
                file = _only(kept / name)
                name = f"{name}/{file}" if file else ""
            if name:  # a process that was killed may leave empty folders
                found.append(DeletedItem(kept.name, name))
        return found

    def find(self, token: str | None) -> DeletedItem:
        """Return an item, default the newest. Raises ConfigError if there is none."""
        for item in self.items():
            if token in (None, item.token):
                return item
        raise ConfigError("there is nothing to restore")

    def place(self, item: DeletedItem) -> Path:
        """Return the path of an item."""
        return self._path / item.token / item.name

    def drop(self, item: DeletedItem) -> None:
        """Remove the folders that held a restored item."""
        if not item.is_class:
            self.place(item).parent.rmdir()
        (self._path / item.token).rmdir()

    def _kept(self) -> list[Path]:
        if not self._path.is_dir() or self._path.is_symlink():
            return []
        found = (each for each in self._path.iterdir() if not each.is_symlink() and each.is_dir())
        return sorted(each for each in found if each.name[:6].isdecimal())


def _only(folder: Path) -> str:
    names = sorted(each.name for each in folder.iterdir())
    return names[0] if names else ""


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds something, or is not ours
        for inner in folder.iterdir():
            inner.rmdir()
        folder.rmdir()


class UnfinishedClips:
    """Clips that are being written: .recording/<random>/wave/anna.mkv, and a lock."""

    def __init__(self, root: Path) -> None:
        self._path = root / ".recording"
        self._labels: dict[Path, str] = {}

    @property
    def lock(self) -> Path:
        """The file to lock."""
        return own_folder(self._path) / "lock"

    def holds(self, label: str) -> bool:
        """Return whether this process writes a clip of a class."""
        return label in self._labels.values()

    def begin(self, label: str, person: str, suffix: str) -> Path:
        """Return the path of a new one. Raises OutputError."""
        folder = own_folder(self._path) / os.urandom(4).hex() / label
        with writing(folder):
            folder.mkdir(parents=True)
        path = folder / f"{person}{suffix}"
        self._labels[path] = label
        return path

    def leave(self, path: Path) -> None:
        """Leave one to the next start."""
        self._labels.pop(path, None)

    def drop(self, path: Path) -> None:
        """Remove what is left of one."""
        self.leave(path)
        shutil.rmtree(path.parent.parent, ignore_errors=True)

    def left(self) -> list[Path]:
        """Return those of an earlier process, the oldest first; remove folders without one."""
        found = []
        for folder in own_folder(self._path).iterdir():
            if folder.is_dir() and not folder.is_symlink():
                clips = [
                    path
                    for path in folder.glob("*/*")
                    if not (path.name.startswith(".") or path.is_symlink())
                    and not path.parent.is_symlink()
                ]
                if not clips:
                    _remove_empty(folder)
                found += clips
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)


if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def take_lock(path: Path) -> int | None:
    """Lock a file, made if it is missing; return its descriptor, None if it is locked already.

    Closing all copies of the descriptor, also those that child processes inherit, ends the lock
    (on Windows that of this process counts). Raises OSError.
    """
    found = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        if sys.platform == "win32":
            msvcrt.locking(found, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(found)
        return None
    return found
