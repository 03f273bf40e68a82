"""What is in the file of a clip: its length and damage, a thumbnail, a moving preview."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dvskit import _files
from dvskit.errors import DvskitError, MissingFileError, OutputError, VideoError, count_of, one_line
from dvskit.formats.table import CLIP_SUFFIXES
from dvskit.video import FrameSource, open_frames
from dvskit.video.writing import LosslessWriter

LEAST_FRAMES = 2  # events are changes between frames
_WIDE_PX = 160  # of thumbnails and previews
_PREVIEW_US = 80_000  # between frames of a preview, at least
_MOST_IMAGES = 125  # of a preview: it shows the first ten seconds of a long clip
_LONGEST_MS = 10_000  # of one frame of a preview
_KEPT, _REMEMBERED = 600, 5000  # pictures in memory; clips with known facts


@dataclass(frozen=True, slots=True)
class Clip:
    """A video in a folder of clips.

    label    the class
    person   and `take` are those in its name, person_t1; "" and 0 for another name
    file     relative to the folder, with "/": "wave/anna_t1.mkv". It identifies the clip
    seconds  from the first frame to the last
    frames   the number of frames
    fps      the mean rate; 0 for one frame
    damage   the fault of the file, in one line; "" if it is whole. `dvskit train` refuses damaged
             clips
    cut      whether the last frame is lost: `dvskit train` uses the others

        with dvskit.teach.ClipFolder("gestures") as folder:
            clips = folder.clips()  # 18
        clips[0].label, clips[0].person, clips[0].take  # ("arm_roll", "p1", 1)
        clips[0].frames, clips[0].fps  # (150, 100.0)
    """

    label: str
    person: str
    take: int
    file: str
    seconds: float
    frames: int
    fps: float
    damage: str = ""
    cut: bool = False


class ClipFacts(NamedTuple):
    """The times of a clip's frames: their number, the seconds they span; and its damage.

    cut  whether only the last frame is lost: `dvskit train` uses the others, so it is no damage
    """

    frames: int
    seconds: float
    damage: str
    cut: bool = False

    @property
    def fps(self) -> float:
        """The mean rate; 0 for fewer than two frames."""
        return (self.frames - 1) / self.seconds if self.seconds else 0.0


class ClipFiles:
    """Reads clips, and remembers what it found until the file changes.

    store  a file that keeps the facts for the next start; it may be missing
    """

    def __init__(self, store: Path) -> None:
        self._store, self._lock = store, threading.Lock()
        self._pictures: dict[tuple[str, str], bytes] = {}
        self._facts: dict[str, ClipFacts] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):  # made anew if it is damaged
            found = json.loads(store.read_text("utf-8")).items()
            self._facts = {key: ClipFacts(*values) for key, values in found}

    def facts(self, path: Path) -> ClipFacts:
        """Return length and damage. Every frame is decoded the first time."""
        key = _key(path)
        if key not in self._facts:
            self._remember(key, facts_of(path))
        return self._facts[key]

    def remember(self, path: Path, facts: ClipFacts) -> None:
        """Take the facts of a clip that was just written."""
        self._remember(_key(path), facts)

    def thumbnail(self, path: Path) -> bytes:
        """Return the middle frame as JPEG. Raises VideoError."""
        middle = self.facts(path).frames // 2
        return self._picture("thumbnail", path, lambda path: _thumbnail(path, middle))

    def preview(self, path: Path) -> bytes:
        """Return an animated WebP. Raises VideoError."""
        return self._picture("preview", path, _preview)

    def _remember(self, key: str, facts: ClipFacts) -> None:
        with self._lock:
            known = dict(list(self._facts.items())[-_REMEMBERED:])
            self._facts = {**known, key: facts}
            with suppress(OutputError):  # it only saves time
                _files.write_whole(self._store, json.dumps(self._facts), overwrite=True)

    def _picture(self, name: str, path: Path, make: Callable[[Path], bytes]) -> bytes:
        key = (name, _key(path))
        found = self._pictures.get(key)
        if found is None:
            found = make(path)
            known = dict(list(self._pictures.items())[-_KEPT:])
            self._pictures = {**known, key: found}
        return found


def _key(path: Path) -> str:
    """Return what identifies the bytes of a file, also after it was moved."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise MissingFileError(path, "it was moved or deleted meanwhile") from None
    return f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}"


def facts_of(path: Path) -> ClipFacts:
    """Return length and damage of a clip; the damage says why if it cannot be read at all.

    Raises MissingFileError.
    """
    times: list[int] = []
    try:
        clip = open_frames(path, strict=False)
        times = [t_us for t_us, _ in clip]
        damage = str(clip.damage) if clip.damage else ""
    except MissingFileError:
        raise
    except DvskitError as error:
        damage = one_line(error).removeprefix(f"{path}: ")
    cut = bool(damage and times) and _lacks_last_frame(path)
    damage = "" if cut else damage
    if not damage and len(times) < LEAST_FRAMES:
        damage = f"has {count_of(len(times), 'frame')}, but at least {LEAST_FRAMES} are needed"
    return ClipFacts(len(times), (times[-1] - times[0]) / 1e6 if times else 0.0, damage, cut)


def _lacks_last_frame(path: Path) -> bool:
    """Return whether the only damage of a clip is that its last frame is lost."""
    from dvskit.datasets.files import Emulation, without_last_frame  # takes a second to load

    with suppress(DvskitError):
        return without_last_frame(path, Emulation()) is not None
    return False


def whole_video(path: Path) -> Path:
    """Return a file that `dvskit train` reads, with all frames of a video: itself, if possible.

    A file of an unknown suffix is rewritten beside it. Raises VideoError for a file that is
    damaged, except for a lost last frame, or no video, or has fewer than two frames.
    """
    known = path.suffix.lower() in CLIP_SUFFIXES
    target = path if known else path.with_suffix(".mkv")
    try:
        clip = open_frames(path)
        count = sum(1 for _ in clip) if known else len(_rewrite(clip, target))
    except VideoError:
        if not _lacks_last_frame(path):
            raise
        clip = open_frames(path, strict=False)
        count = sum(1 for _ in clip) if known else len(_rewrite(clip, target))
    if count < LEAST_FRAMES:
        raise VideoError(
            f"{path}: has {count_of(count, 'frame')}, but at least {LEAST_FRAMES} are needed"
        )
    return target


def rewritten(path: Path) -> list[int]:
    """Replace a cut-off recording by a whole one of its frames; return their times.

    () for a file without frames, which stays as it is. Raises OutputError.
    """
    whole = path.with_name(f".{path.name}")
    try:
        times = _rewrite(open_frames(path, strict=False), whole)
    except VideoError:
        return []
    if times:
        whole.replace(path)
    return times


def _rewrite(clip: FrameSource, target: Path) -> list[int]:
    """Write the frames of a clip without loss; return their times. Raises VideoError."""
    writer, times = LosslessWriter(target, clip.size), []
    try:
        for t_us, frame in clip:
            if frame.dtype != np.uint8:
                raise VideoError(f"{target}: has more than 8 bits; convert it to mp4 or mkv first")
            writer.add(t_us, frame)
            times.append(t_us)
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return times


def _thumbnail(path: Path, middle: int) -> bytes:
    image: NDArray[np.uint8] = np.zeros((120, _WIDE_PX), np.uint8)
    for number, (_, picture) in enumerate(open_frames(path, strict=False).pictures()):
        if number == middle:
            image = _small(picture)
            break
    bgr = image if image.ndim == 2 else image[..., ::-1]
    return bytes(cv2.imencode(".jpg", bgr)[1].data)


def _preview(path: Path) -> bytes:
    images: list[Image.Image] = []
    starts: list[int] = []
    t_us = 0
    for t_us, picture in open_frames(path, strict=False).pictures():
        if len(images) == _MOST_IMAGES:
            break
        if not starts or t_us - starts[-1] >= _PREVIEW_US:
            images.append(Image.fromarray(_small(picture)).convert("RGB"))
            starts.append(t_us)
    ends = [*starts[1:], t_us + _PREVIEW_US]
    lasting = [min((end - start) // 1000, _LONGEST_MS)
               for start, end in zip(starts, ends, strict=True)]  # fmt: skip
    out = io.BytesIO()
    images[0].save(out, "WEBP", save_all=True, append_images=images[1:], duration=lasting,
                   loop=0, quality=60, method=0)  # fmt: skip
    return out.getvalue()


def _small(picture: NDArray[Any]) -> NDArray[np.uint8]:
    image = picture if picture.dtype == np.uint8 else (picture >> 8).astype(np.uint8)
    height, width = image.shape[:2]
    share = min(1.0, _WIDE_PX / width, 2 * _WIDE_PX / height)
    if share == 1:
        return image
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
