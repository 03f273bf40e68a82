"""A folder of clips, a folder for each class: FOLDER/class/person_t1.mkv."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

from dvskit._files import visible
from dvskit.errors import (
    ConfigError,
    DvskitError,
    MissingFileError,
    OutputError,
    VideoError,
    count_of,
)
from dvskit.formats.table import CLIP_SUFFIXES
from dvskit.teach.clip_files import Clip, ClipFacts, ClipFiles, rewritten, whole_video
from dvskit.teach.hidden import DeletedFiles, DeletedItem, UnfinishedClips, writing
from dvskit.teach.locks import take_lock
from dvskit.teach.names import checked_name, is_utf8, person_take, same_name

SUFFIX = ".mkv"
LEAST_US = 200_000
"""The shortest recorded clip."""


class ClipFolder:
    """The classes and clips of a folder, for one process at a time.

    The folder is made if it does not exist. Recordings that a killed process left unfinished become
    clips: `recovered` lists them. Links are neither followed nor changed, and nothing is removed:
    deleted clips and classes lie in FOLDER/.deleted. `close` releases the folder. Raises
    OutputError if another process uses it, or if it cannot be made.

        with dvskit.teach.ClipFolder("mine") as folder:
            folder.add_class("wave")
            clip = folder.add_video("video.mp4", "wave", "anna")
            clip.file  # "wave/anna_t1.mp4"
            folder.rename_class("wave", "hello")
            [clip.file for clip in folder.clips()]  # ["hello/anna_t1.mp4"]
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._deleted, self._unfinished = DeletedFiles(self.path), UnfinishedClips(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path}: is a file; name a folder of clips")
        with writing(self.path):
            self.path.mkdir(exist_ok=True)
            self._held = take_lock(self._unfinished.lock)
        if self._held is None:
            raise OutputError(f"{self.path}: another dvskit teach uses it; end that one first")
        self._files = ClipFiles(self._unfinished.lock.with_name("clips.json"))
        self._before: dict[str, str] = {}  # the name of a moved clip before its last move
        self.recovered = tuple(self._recover())

    def close(self) -> None:
        """Release the folder for other processes."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def __enter__(self) -> ClipFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def classes(self) -> list[str]:
        """Return the names of the classes, in order."""
        return [each.name for each in self._class_folders()]

    def add_class(self, name: str) -> str:
        """Make a class; return its name, composed and without outer spaces.

        Raises ConfigError for a name that is no folder's name on all systems, and one that exists.
        """
        with self._lock:
            name = self._new_class(name)
            with writing(self.path / name):
                (self.path / name).mkdir()
        return name

    def rename_class(self, old: str, new: str) -> str:
        """Rename a class with all its clips; return the new name.

        Raises ConfigError for an unknown class, one that is being recorded, and a name that is
        invalid or in use.
        """
        with self._lock:
            folder = self._idle_class(old)
            name = self._new_class(new, instead_of=old)
            with writing(folder):
                folder.rename(self.path / name)
        return name

    def delete_class(self, name: str, *, with_clips: bool = False) -> DeletedItem:
        """Move a class to FOLDER/.deleted.

        Raises ConfigError if it is unknown or being recorded, or holds files, unless `with_clips`.
        """
        with self._lock:
            folder = self._idle_class(name)
            count = len(list(folder.iterdir()))
            if count and not with_clips:
                raise ConfigError(
                    f"class {name}: holds {count_of(count, 'file')}; delete it with its clips, or "
                    "move them first"
                )
            return self._deleted.put(folder, name)

    def clips(self) -> list[Clip]:
        """Return all clips, by class, person and take. Files are read once, until they change."""
        with self._lock:
            paths = [path for folder in self._class_folders() for path in _videos(folder)]
        known = (each for each in map(self._row, paths) if each is not None)
        return sorted(known, key=lambda each: (each.label, each.person, each.take, each.file))

    def clip(self, file: str) -> Clip:
        """Return the clip "class/name". Raises ConfigError if there is none."""
        with self._lock:
            found = self._row(self._place(file))
        assert found is not None
        return found

    def move_clip(self, file: str, label: str, person: str | None = None) -> Clip:
        """Move a clip to another class, or person, or both, as the next take there.

        Nothing changes if it is there already. `undo_move` moves it back. Raises ConfigError.
        """
        with self._lock:
            path, folder = self._place(file), self._class_folder(label)
            now = person_take(path.stem)
            person = now.person if person is None else checked_name(person, "person")
            if (folder, person) != (path.parent, now.person):
                path = self._renamed(path, _free(folder, person, path))
            return self.clip(f"{folder.name}/{path.name}")

    def undo_move(self, file: str) -> str:
        """Move a clip back to where it was before its last move; return its name then.

        Its class is made if it is missing, and it gets the next take if its name is in use. Raises
        ConfigError for a clip that was not moved since the start.
        """
        with self._lock:
            path = self._place(file)
            if file not in self._before:
                raise ConfigError(f"clip “{_shown(file)}” was not moved; press “Move” to move it")
            label, _, name = self._before[file].partition("/")
            target = _unused(self.path / self._class_or_new(label), path.with_name(name))
            return self._renamed(path, target).relative_to(self.path).as_posix()

    def delete_clip(self, file: str) -> DeletedItem:
        """Move a clip to FOLDER/.deleted. Raises ConfigError if there is none."""
        with self._lock:
            path = self._place(file)
            return self._deleted.put(path, f"{path.parent.name}/{path.name}")

    def deleted(self) -> list[DeletedItem]:
        """Return the deleted clips and classes, the newest first."""
        return self._deleted.items()

    def undo(self, token: str | None = None) -> str:
        """Restore a deleted clip or class, default the newest; return its name, as in `Clip.file`.

        A clip gets the next take if its name is in use; its class is made if it is missing. Raises
        ConfigError if nothing is deleted, or if the class exists again.
        """
        with self._lock:
            item = self._deleted.find(token)
            kept, (label, _, _) = self._deleted.place(item), item.name.partition("/")
            if item.is_class:
                target = self.path / self._new_class(label)
            else:
                target = _unused(self.path / self._class_or_new(label), kept)
            with writing(kept):
                kept.rename(target)
                self._deleted.drop(item)
            return target.relative_to(self.path).as_posix()

    def add_video(
        self, video: bytes | str | PathLike[str], label: str, person: str, *, name: str = ""
    ) -> Clip:
        """Add a copy of a video, of any container that can be read.

        video  its bytes or its path
        name   of the file that the bytes came from, for its suffix and for errors

        The bytes are kept if its suffix is known; others are rewritten as gray frames with their
        times. Raises VideoError for a file that is not a whole video, or has fewer than two frames.
        """
        name = name or ("the video" if isinstance(video, bytes) else Path(video).name)
        if not (isinstance(video, bytes) or Path(video).is_file()):
            raise MissingFileError(video)
        suffix = Path(name).suffix.lower()
        partial = self.begin(label, person, suffix if suffix in CLIP_SUFFIXES else ".other")
        try:
            with writing(partial):
                if isinstance(video, bytes):
                    partial.write_bytes(video)
                else:
                    shutil.copyfile(video, partial)
            try:
                return self.keep(whole_video(partial), partial)
            except VideoError as error:
                raise VideoError(
                    f"“{name}” is no video, is damaged, or has fewer than two pictures; choose "
                    "another file"
                ) from error
        finally:
            self.drop(partial)

    def thumbnail(self, file: str) -> bytes:
        """Return the middle frame of a clip as JPEG, at most 160 pixels wide."""
        return self._files.thumbnail(self._place(file))

    def preview(self, file: str) -> bytes:
        """Return a clip as animated WebP, at most 160 pixels wide, for an <img>."""
        return self._files.preview(self._place(file))

    def begin(self, label: str, person: str, suffix: str = SUFFIX) -> Path:
        """Return the path for a new clip, which is recovered at the next start unless `drop` comes.

        Raises ConfigError for an unknown class and an invalid name, OutputError.
        """
        with self._lock:
            folder, person = self._class_folder(label), checked_name(person, "person")
            return self._unfinished.begin(folder.name, person, suffix)

    def keep(self, whole: Path, partial: Path, facts: ClipFacts | None = None) -> Clip:
        """Move a finished clip into its class, as the next take of the person.

        whole  `partial`, or another file in its folder        facts  if they are known
        """
        with self._lock:
            folder = self.path / self._class_or_new(partial.parent.name)
            target = _free(folder, partial.stem, whole)
            with writing(whole):
                whole.rename(target)
            if facts is not None:
                self._files.remember(target, facts)
            return self.clip(f"{folder.name}/{target.name}")

    def leave(self, partial: Path) -> None:
        """Leave an unfinished clip that cannot be kept now to the next start."""
        with self._lock:
            self._unfinished.leave(partial)

    def drop(self, partial: Path) -> None:
        """Remove the files of an unfinished clip."""
        with self._lock:
            self._unfinished.drop(partial)

    def _recover(self) -> Iterator[Clip]:
        """Make clips of the files that an earlier process left, and yield them.

        Those that cannot become clips, because the disk is full, wait for the next start.
        """
        for partial in self._unfinished.left():
            with suppress(DvskitError):
                times = rewritten(partial) if partial.suffix == SUFFIX else []
                if times and times[-1] - times[0] >= LEAST_US:
                    yield self.keep(partial, partial)
                elif times:
                    self._deleted.put(partial, f"{partial.parent.name}/{partial.name}")
                self.drop(partial)

    def _renamed(self, path: Path, target: Path) -> Path:
        """Rename a clip, and remember its name for `undo_move`; return the new path."""
        now, before = (each.relative_to(self.path).as_posix() for each in (target, path))
        with writing(path):
            path.rename(target)
        self._before.pop(before, None)
        self._before[now] = before
        return target

    def _class_folders(self) -> list[Path]:
        return [
            each
            for each in visible(self.path)
            if each.is_dir() and not each.is_symlink() and is_utf8(each.name)
        ]

    def _class_folder(self, label: str) -> Path:
        for folder in self._class_folders():
            if folder.name == label:
                return folder
        raise ConfigError(f"there is no class “{_shown(label)}”; choose another class")

    def _idle_class(self, label: str) -> Path:
        """Return the folder of a class. Raises ConfigError if it is unknown or being recorded."""
        folder = self._class_folder(label)
        if self._unfinished.holds(label):
            raise ConfigError(f"class “{label}” is being recorded; end the recording first")
        return folder

    def _class_or_new(self, name: str) -> str:
        """Return the class of a name, whatever its case; make it if it is missing."""
        same = (each for each in self.classes() if same_name(each, name))
        return next(same, None) or self.add_class(name)

    def _new_class(self, name: str, *, instead_of: str = "") -> str:
        name = checked_name(name, "class")
        for entry in self.path.iterdir():
            if same_name(entry.name, name) and entry.name != instead_of:
                what = "is a class already" if entry.name in self.classes() else "is in use"
                raise ConfigError(f"“{name}” {what}; choose another name")
        return name

    def _place(self, file: str) -> Path:
        """Return the path of a clip. Raises ConfigError unless "class/name" is one."""
        label, _, name = str(file).partition("/")
        with self._lock:
            for path in _videos(self._class_folder(label)):
                if path.name == name:
                    return path
        raise ConfigError(f"there is no clip “{_shown(file)}”; choose another one")

    def _row(self, path: Path) -> Clip | None:
        """Return the row of a clip; None if it was moved meanwhile."""
        try:
            facts = self._files.facts(path)
        except MissingFileError:
            return None
        values: dict[str, Any] = {**person_take(path.stem)._asdict(), **facts._asdict()}
        file = f"{path.parent.name}/{path.name}"
        return Clip(label=path.parent.name, file=file, fps=round(facts.fps, 3), **values)


def _shown(name: str) -> str:
    """Return a name for a message: not too long."""
    return str(name)[:120]


def _videos(folder: Path) -> list[Path]:
    """Return the videos of a class, without links."""
    return [
        each
        for each in visible(folder)
        if each.suffix.lower() in CLIP_SUFFIXES
        and each.is_file()
        and not each.is_symlink()
        and is_utf8(each.name)
    ]


def _free(folder: Path, person: str, path: Path) -> Path:
    """Return where a clip of a person goes: the next take; without a person, under its own name."""
    if not person:
        return _unused(folder, path)
    found = (person_take(each.stem) for each in folder.iterdir())
    takes = [each.take for each in found if same_name(each.person, person)]
    return folder / f"{person}_t{max(takes, default=0) + 1}{path.suffix}"


def _unused(folder: Path, path: Path) -> Path:
    """Return where a file goes under its own name; if it is in use, as the next take or number."""
    used = [each.name for each in folder.iterdir()]
    person, count, target = person_take(path.stem).person, 1, folder / path.name
    while any(same_name(target.name, name) for name in used):
        if person:
            return _free(folder, person, path)
        count += 1
        target = folder / f"{path.stem} ({count}){path.suffix}"
    return target
