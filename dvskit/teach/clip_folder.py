"""A folder of clips, a folder for each class: FOLDER/class/person_t1.mkv; and its recorder.

Names of classes and people are names of folders and files that every system takes.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from dvskit._files import is_hidden, visible
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
from dvskit.teach.hidden import DeletedFiles, DeletedItem, UnfinishedClips, take_lock, writing
from dvskit.video.writing import LosslessWriter

_LONGEST = 60  # characters; systems take 255 bytes, and _t1.mkv follows
_FORBIDDEN = '/\\:*?"<>|'
_JOINERS = "\u200c\u200d"  # parts of words in some scripts, and of emoji
_DIGITS = "0123456789\u00b9\u00b2\u00b3"  # superscripts count too
_RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{word}{n}" for word in ("com", "lpt") for n in _DIGITS),
}
_TAKE = re.compile(r"(?P<person>.+)_t(?P<take>\d{1,9})", re.DOTALL)


def checked_name(name: str, what: str) -> str:
    """Return a name in composed form, without outer spaces.

    what  "class" or "person", for errors. Raises ConfigError, in one line, for a name that is not a
    folder's name on all systems.
    """
    if not isinstance(name, str):
        raise ConfigError(f"{what} {name!r}: must be text")
    plain = unicodedata.normalize("NFC", name).strip()
    wrong = _problem(plain)
    if wrong:
        raise ConfigError(f"{what} “{plain[:_LONGEST]}”: {wrong}; choose another name")
    return plain


def _problem(name: str) -> str:
    """Return what is wrong with a name; "" for nothing."""
    if not name:
        return "the name is empty"
    if len(name) > _LONGEST or len(name.encode("utf-8", "replace")) > 3 * _LONGEST:
        return f"the name is longer than {_LONGEST} letters"
    if is_hidden(name):
        return "the name begins with a dot or is one that systems use"
    if name.endswith("."):
        return "the name ends with a dot"
    for letter in name:
        if letter in _FORBIDDEN:
            return f"the name has a {letter}"
        if (
            not letter.isprintable() and letter not in _JOINERS
        ):  # control characters, lone surrogates, marks of direction
            return "the name has a character that cannot be shown"
    if name.split(".")[0].rstrip().casefold() in _RESERVED:
        return "the name is reserved on Windows"
    return ""


class PersonTake(NamedTuple):
    """The parts of a clip's name: person_t1."""

    person: str
    take: int


def person_take(stem: str) -> PersonTake:
    """Return the person and the take in a clip's name without suffix; "" and 0 in others."""
    found = _TAKE.fullmatch(stem)
    return PersonTake(found["person"], int(found["take"])) if found else PersonTake("", 0)


def is_utf8(name: str) -> bool:
    """Return whether a file's name is text; names of other bytes cannot be shown or sent."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def same_name(first: str, second: str) -> bool:
    """Return whether two names are one on a system that ignores case."""
    plain = (unicodedata.normalize("NFC", name).casefold() for name in (first, second))
    return next(plain) == next(plain)


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


class ClipRecorder:
    """Records one clip of a class and a person into a ClipFolder; several may run at once.

    size  (width, height) of the frames

    The clip is FFV1 in Matroska with the frames' own times in microseconds, from 0 on. Each frame
    is written when the next one is added, into a hidden file that `ClipFolder` recovers after a
    kill. Raises ConfigError for an unknown class or an invalid name, OutputError.

        with dvskit.teach.ClipFolder("recorded") as folder:
            folder.add_class("wave")
            recorder = dvskit.teach.ClipRecorder(folder, "wave", "anna", size=(128, 128))
            for t_us, frame in dvskit.video.open_frames("video.mp4"):  # or those of a camera
                recorder.add(t_us, frame)
            clip = recorder.finish()  # wave/anna_t1.mkv: 200 frames in 1.99 s
    """

    def __init__(self, folder: ClipFolder, label: str, person: str, size: tuple[int, int]) -> None:
        self._folder, self._lock, self._open = folder, threading.Lock(), True
        self._partial = folder.begin(label, person)
        try:
            self._writer = LosslessWriter(self._partial, size)
        except BaseException:
            folder.drop(self._partial)
            raise

    @property
    def frames(self) -> int:
        """The number of frames so far."""
        return self._writer.frames

    @property
    def seconds(self) -> float:
        """The time from the first frame to the last."""
        return (self._writer.last_us - self._writer.first_us) / 1e6

    def add(self, t_us: int, frame: NDArray[Any]) -> None:
        """Add a frame (H, W) uint8 at a time in microseconds, later than the one before.

        Raises VideoError for a time that does not increase, ShapeError for another shape or dtype;
        the recording can go on. Raises OutputError if it cannot be written.
        """
        with self._lock:
            self._check_open()
            self._writer.add(t_us, frame)

    def finish(self) -> Clip:
        """End the recording; return the clip.

        Raises VideoError if it is shorter than 0.2 s; it is discarded then.
        """
        with self._lock:
            self._check_open()
            if not self.frames or self.seconds * 1e6 < LEAST_US:
                self._discard()
                raise VideoError(
                    f"the recording has {count_of(self.frames, 'frame')} in {self.seconds:.2g} s; "
                    f"record at least {LEAST_US / 1e6:g} s"
                )
            self._open = False
            try:
                self._writer.close()
                facts = ClipFacts(self.frames, self.seconds, "")
                clip = self._folder.keep(self._partial, self._partial, facts)
            except DvskitError:  # the disk may be full; the frames so far are not lost
                self._folder.leave(self._partial)
                raise
            self._folder.drop(self._partial)
            return clip

    def discard(self) -> None:
        """End the recording without a clip. Does nothing after `finish`."""
        with self._lock:
            if self._open:
                self._discard()

    def _discard(self) -> None:
        self._open = False
        self._writer.abandon()
        self._folder.drop(self._partial)

    def _check_open(self) -> None:
        if not self._open:
            raise ConfigError("the recording has ended; begin another one")
