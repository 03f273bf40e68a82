"""The kinds of files that samples are read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import le
from pathlib import Path
from typing import NamedTuple

from dvskit.datasets.clips import (
    Emulation,
    emulate_depth_clip,
    emulate_frames,
    open_clip,
    used_clip,
)
from dvskit.datasets.sample import Sample
from dvskit.emulator.params import as_params
from dvskit.errors import FormatError, GeometryError, LastFrameWarning, VideoError, warn
from dvskit.events import Events, Size, Source, as_size
from dvskit.formats import Recording, open_events
from dvskit.formats.content import content_digest, images_digest, own_seed
from dvskit.formats.found import PathKind, identify, identify_named, readable_suffixes
from dvskit.formats.table import CLIP_SUFFIXES, file_of_events
from dvskit.scenes import read_depth_clip
from dvskit.video import FrameSource, Trimmed


def likely_size(source: Source, size: Size) -> Size:
    """Return the size of a recording; `size` if its own is only inferred from events that fit.

    `source` is an opened recording; sizes are (width, height) in pixels.

        source = dvskit.open_events("digits/0/00001.bin")
        dvskit.datasets.likely_size(source, (34, 34))  # (34, 34)
    """
    inferred = getattr(getattr(source, "recording", source), "size_origin", None) == "data"
    return size if inferred and all(map(le, source.size, size)) else source.size


def on_sensor(events: Events, size: Size) -> Events:
    """Return events on a sensor that contains them, at unchanged positions.

    `size` is (width, height) in pixels; coordinates are not checked.

        events = dvskit.load_events("digits/0/00001.bin")  # on 34x34
        wider = dvskit.datasets.on_sensor(events, (64, 64))  # at the upper left
        wider.size  # (64, 64)
    """
    return Events.from_checked(events.t, events.x, events.y, events.p, Size(*size))


# Raise it when recordings give other events than before.
_READING = 1


@dataclass(frozen=True, slots=True)
class SampleReading:
    """Parameters of reading samples.

    emulation  how the frames of clips become events; its size is also that of recordings without a
               size, if it contains their events
    strict     whether damage raises; otherwise damaged parts are left out and counted
    format     of the recordings, if their content does not determine it; each file is then one
    """

    emulation: Emulation = field(default_factory=Emulation)
    strict: bool = True
    format: str | None = None

    def open(self, path: Path) -> Recording:
        """Open a recording; one without a size has that of the emulation."""
        size = self.emulation.size
        try:
            return open_events(path, format=self.format, strict=self.strict)
        except GeometryError:
            if size is None:
                raise
        return open_events(path, format=self.format, size=size, strict=self.strict)

    def kind(self, path: Path) -> SampleKind:
        """Return the kind of a sample file. Raises FormatError if no kind matches."""
        return known_kind(path) if self.format is None or path.is_dir() else RECORDINGS


class Read(NamedTuple):
    """The events of a sample, and the damage in its file; "" for none."""

    events: Events
    damage: str


@dataclass(frozen=True, slots=True)
class SampleKind:
    """A kind of files.

    name        for messages, such as "video"
    read        the events of a sample; the number is the seed of its noise
    check       opens a file quickly; raises the errors of reading
    content     a digest of all bytes that determine its events
    identity    everything else that determines them, as text
    drawn       whether chance is involved
    """

    name: PathKind
    read: Callable[[Sample, SampleReading, int], Read]
    check: Callable[[Path, SampleReading], object]
    content: Callable[[Path], str]
    identity: Callable[[SampleReading], str]
    drawn: bool = True

    def seed(self, path: Path, how: Emulation, span: tuple[int, int] | None = None) -> int:
        """Return the seed of the noise of a sample; 0 without chance."""
        return own_seed(how.seed, self.content(path), span) if self.drawn else 0


def kind_of(path: Path) -> SampleKind | None:
    """Return the kind of a file or folder; None if no sample can be read from it."""
    return KINDS.get(identify(path))


def known_kind(path: Path) -> SampleKind:
    """Return the kind of a file listed as a sample, whatever its suffix.

    Raises FormatError if no kind matches.
    """
    kind = kind_of(path)
    if kind is not RECORDINGS:
        kind = KINDS.get(identify_named(path))
    if kind is None:
        raise FormatError(
            f"{path}: is no {' and no '.join(str(name) for name in KINDS)}; use files of "
            f"{', '.join(sorted(sample_suffixes()))}"
        )
    return kind


def clip_seed(path: Path, how: Emulation) -> int:
    """Return the seed of the noise of a whole clip used as a sample."""
    return known_kind(path).seed(path, how)


def sample_suffixes() -> set[str]:
    """Return the suffixes of the files that samples are read from."""
    return readable_suffixes() | CLIP_SUFFIXES


def _read_recording(sample: Sample, how: SampleReading, seed: int) -> Read:
    recording = how.open(sample.file)
    part = recording if sample.span is None else recording.between(*sample.span)
    events = part.load()
    if sample.span and not len(events):
        start, stop = sample.span
        raise FormatError(
            f"{sample.where}: no events from {start} to {stop} us, labelled "
            f"{sample.label}; correct the times"
        )
    size = how.emulation.size
    if size is not None:
        events = on_sensor(events, likely_size(recording, as_size(size)))
    return Read(events, str(part.damage) if part.damage else "")


def _read_clip(sample: Sample, how: SampleReading, seed: int) -> Read:
    given = how.emulation
    events, clip = used_clip(
        sample.file, given, lambda clip: _emulated(clip, sample, given, seed), strict=how.strict
    )
    if not clip.damage:
        return Read(events, "")
    if not how.strict:
        return Read(events, str(clip.damage))
    warn(f"{sample.where}: used without its last frame: {clip.damage}", LastFrameWarning)
    return Read(events, "")


def _emulated(clip: FrameSource, sample: Sample, how: Emulation, seed: int) -> Events:
    if sample.span is None:
        return emulate_frames(clip, how, seed)
    try:
        return emulate_frames(Trimmed(clip, *sample.span), how, seed)
    except VideoError as error:
        raise VideoError(f"from {sample.span[0]} to {sample.span[1]} us: {error}") from error


def _read_depth(sample: Sample, how: SampleReading, seed: int) -> Read:
    if sample.span is not None:
        raise FormatError(f"{sample.where}: is a depth clip, which is read whole; remove the times")
    given = how.emulation
    size = None if given.size is None else as_size(given.size)
    return Read(emulate_depth_clip(sample.file, as_params(given.params), size, seed), "")


def _check_clip(path: Path, how: SampleReading) -> object:
    return open_clip(path, how.emulation, strict=how.strict)


def _of_clip(how: SampleReading) -> str:
    return f"{how.emulation.identity} {how.strict}"


DEPTH_CLIPS = SampleKind(
    PathKind.DEPTH_CLIP, _read_depth, lambda path, how: read_depth_clip(path), content_digest,
    _of_clip,
)  # fmt: skip
RECORDINGS = SampleKind(
    PathKind.RECORDING,
    _read_recording,
    lambda path, how: how.open(path),
    lambda path: content_digest(file_of_events(path)),
    lambda how: f"read {_READING} {how.emulation.size} {how.strict} {how.format}",
    drawn=False,
)
VIDEOS = SampleKind(PathKind.VIDEO, _read_clip, _check_clip, content_digest, _of_clip)
IMAGE_FOLDERS = SampleKind(PathKind.IMAGE_FOLDER, _read_clip, _check_clip, images_digest, _of_clip)
KINDS: dict[str | None, SampleKind] = {
    kind.name: kind for kind in (DEPTH_CLIPS, RECORDINGS, VIDEOS, IMAGE_FOLDERS)
}
