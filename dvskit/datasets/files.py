"""Files as samples: what kind a path is, and how one is read: a recording, or a clip to emulate.

From top to bottom: the size of a recording, the emulation of clips, the kinds of files, and the
samples in files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from operator import le
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import one_thread, thread_count
from dvskit.datasets.samples import Sample, Samples, named
from dvskit.emulator import Emulator, EmulatorParams
from dvskit.emulator.model import RESULTS_VERSION
from dvskit.emulator.params import as_params, preset_size
from dvskit.emulator.upsample import Upsampled
from dvskit.errors import (
    DvskitError,
    FormatError,
    GeometryError,
    LastFrameWarning,
    VideoError,
    count_of,
    one_line,
    warn,
)
from dvskit.events import Events, Size, Source, as_size
from dvskit.formats import Recording, open_events
from dvskit.formats.content import content_digest, digest_of, images_digest, own_seed
from dvskit.formats.found import PathKind, identify, identify_named, readable_suffixes
from dvskit.formats.small_files import load_small
from dvskit.formats.table import CLIP_SUFFIXES, file_of_events
from dvskit.scenes import DepthScene, read_depth_clip
from dvskit.video import Bordered, FrameSource, Light, Trimmed, open_frames, resized
from dvskit.video.light import transfer_in
from dvskit.video.source import checked_fps

T = TypeVar("T")


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
        wider.sensor_size  # (64, 64)
    """
    return Events.from_checked(events.t, events.x, events.y, events.p, Size(*size))


# -- clips


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """Parameters that turn the frames of a clip into the events of a sample.

    params    the sensor: EmulatorParams, or the name or file of a preset; None: ideal
    size      of the sensor, (width, height). Frames are scaled until they cover it, and cropped.
              None: the size of a named sensor, else that of each clip
    whole     scale frames until they fit into the size instead, with a gray border at two sides
    upsample  add frames so that nothing moves by more than a sensor pixel between frames
    seed      of all noise. Each sample derives its own seed from it and from the bytes of its file,
              so its events do not depend on its name or on other samples
    redraw    draw new noise each time a sample is read with a generator, as in training; its events
              then cannot be cached
    fps       a constant frame rate in place of the clips' own times
    light     "linear" or "luma" in place of that of the sensor; then that of the sensor

    Raises ConfigError, GeometryError for values out of range.

        params = dvskit.EmulatorParams(threshold_on=0.3, threshold_off=0.3)
        emulation = dvskit.datasets.Emulation(params=params, size=(32, 32), seed=1)
        frames = np.random.default_rng(0).integers(0, 256, (10, 32, 32), dtype=np.uint8)
        source = dvskit.video.ArrayFrames(frames, fps=100)
        events = dvskit.datasets.emulate_frames(source, emulation, seed=0)
    """

    params: EmulatorParams | str | PathLike[str] | None = None
    size: tuple[int, int] | None = None
    whole: bool = False
    upsample: bool = False
    seed: int = 0
    redraw: bool = False
    fps: float | None = None
    light: Light | None = None

    def __post_init__(self) -> None:
        size = self.size
        if size is None and isinstance(self.params, str | PathLike):
            size = preset_size(self.params)
        object.__setattr__(self, "size", None if size is None else as_size(size))
        params = as_params(self.params)
        params = params if self.light is None else replace(params, light=self.light)
        object.__setattr__(self, "params", Emulator(params, self.seed).params)
        object.__setattr__(self, "light", params.light)
        checked_fps(self.fps)

    @property
    def identity(self) -> str:
        """Everything except the bytes of a clip that its events depend on, as text."""
        return f"emulated {RESULTS_VERSION} {sorted(asdict(self).items())}"


class ClipFrames(Protocol):
    """Frames of one size, (t_us, frame) in order of time."""

    @property
    def size(self) -> Size:
        """The size of the frames."""

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the frames from the first on."""


def emulated(frames: ClipFrames, params: EmulatorParams, seed: int) -> tuple[Events, int]:
    """Return the events of frames and the number of frames, computed by the calling thread."""
    run = Emulator(params, seed).start(
        frames.size, transfer=transfer_in(frames), threads=1, scale_is_known=True
    )
    found = [run.step(t_us, frame) for t_us, frame in frames]
    return Events.concatenate([*found, run.finish()], frames.size), len(found)


def emulate_frames(frames: FrameSource, how: Emulation, seed: int) -> Events:
    """Return the events of a clip's frames, computed by the calling thread alone.

    `seed` is that of the sample. Raises VideoError for fewer than two frames, and reading errors.

        frames = np.random.default_rng(0).integers(0, 256, (10, 32, 32), dtype=np.uint8)
        source = dvskit.video.ArrayFrames(frames, fps=100)
        emulation = dvskit.datasets.Emulation(params="noisy")
        events = dvskit.datasets.emulate_frames(source, emulation, seed=0)
    """
    events, count = emulated(frames_for(frames, how), as_params(how.params), seed)
    if count < 2:
        raise VideoError(
            f"{count_of(count, 'frame')}, but at least two are needed: events are changes between "
            "frames"
        )
    return events


def frames_for(frames: FrameSource, how: Emulation) -> FrameSource:
    """Return the frames to emulate: at the sensor's size, with added frames."""
    if how.size is not None and how.whole and frames.size != how.size:
        frames = Bordered(frames, how.size)
    frames = resized(frames, how.size)
    return Upsampled(frames, frames.size) if how.upsample else frames


def open_clip(path: str | PathLike[str], how: Emulation, *, strict: bool = True) -> FrameSource:
    """Open the frames of a video or folder of images, for `frames_for`.

    `strict` and errors are those of `dvskit.video.open_frames`.
    """
    return open_frames(path, fps=how.fps, strict=strict)


def used_clip(
    path: str | PathLike[str], how: Emulation, use: Callable[[FrameSource], T], *, strict: bool
) -> tuple[T, FrameSource]:
    """Return use(clip), and the clip. With `strict`, only a lost last frame is no error.

    The `damage` of the clip names what was left out. Raises VideoError for other damage.
    """
    clip = open_clip(path, how, strict=strict)
    try:
        return use(clip), clip
    except VideoError:
        shorter = without_last_frame(path, how) if strict else None
        if shorter is None:
            raise
        return use(shorter), shorter


def without_last_frame(path: str | PathLike[str], how: Emulation) -> FrameSource | None:
    """Return a clip that skips damage, if the only loss is the last frame; None otherwise.

    Recorders that are stopped often leave such clips. Its `damage` names the loss after a pass.
    """
    clip = open_clip(path, how, strict=False)
    shown = 0
    for _ in clip:
        shown += 1
        if clip.damage:  # a frame after a loss
            return None
    if not clip.damage or not shown:
        return None
    if clip.frame_count is None:  # bytes that are missing may hold any number of frames
        return clip if (clip.damage.count, clip.damage.frames) == (1, 1) else None
    return clip if clip.frame_count - shown <= 1 else None


SEEDS = 1 << 62
DEPTH_SIZE = Size(128, 128)
"""The default sensor of depth clips."""


# -- kinds of files

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

    @property
    def size(self) -> Size | None:
        """The size of the emulated sensor."""
        return None if self.emulation.size is None else as_size(self.emulation.size)

    def open(self, path: Path) -> Recording:
        """Open a recording; one without a size has that of the emulation."""
        try:
            return open_events(path, format=self.format, strict=self.strict)
        except GeometryError:
            if self.size is None:
                raise
        return open_events(path, format=self.format, size=self.size, strict=self.strict)

    def kind(self, path: Path) -> SampleKind:
        """Return the kind of a sample file. Raises FormatError if no kind matches."""
        return known_kind(path) if self.format is None or path.is_dir() else RECORDINGS

    def seed(self, sample: Sample, kind: SampleKind) -> int:
        """Return the seed of the noise of a sample; 0 without chance."""
        if not kind.drawn:
            return 0
        return own_seed(self.emulation.seed, kind.content(sample.file), sample.span)

    def identity(self, kind: SampleKind) -> str:
        """Return everything except the bytes of a file that its events depend on, as text."""
        if kind.drawn:
            return f"{self.emulation.identity} {self.strict}"
        return f"read {_READING} {self.emulation.size} {self.strict} {self.format}"


@dataclass(frozen=True, slots=True)
class SampleKind:
    """A kind of files.

    name     for messages, such as "video"
    read     the events of a sample, and the damage in its file, "" for none; the number is the seed
             of its noise. Its errors need not name the file
    check    opens a file quickly; raises the errors of reading
    content  a digest of all bytes that determine its events
    drawn    whether chance is involved
    """

    name: PathKind
    read: Callable[[Sample, SampleReading, int], tuple[Events, str]]
    check: Callable[[Path, SampleReading], object]
    content: Callable[[Path], str]
    drawn: bool = True


def _read_recording(sample: Sample, how: SampleReading, seed: int) -> tuple[Events, str]:
    recording = how.open(sample.file)
    part = recording if sample.span is None else recording.between(*sample.span)
    events = part.load()
    if sample.span and not len(events):
        raise FormatError(f"no events, labeled {sample.label}; correct the times")
    if how.size is not None:
        events = on_sensor(events, likely_size(recording, how.size))
    return events, str(part.damage) if part.damage else ""


def _read_clip(sample: Sample, how: SampleReading, seed: int) -> tuple[Events, str]:
    def emulate(clip: FrameSource) -> Events:
        frames = clip if sample.span is None else Trimmed(clip, *sample.span)
        return emulate_frames(frames, how.emulation, seed)

    events, clip = used_clip(sample.file, how.emulation, emulate, strict=how.strict)
    damage = str(clip.damage) if clip.damage else ""
    if damage and how.strict:
        warn(f"{sample.where}: used without its last frame: {damage}", LastFrameWarning)
        return events, ""
    return events, damage


def _read_depth(sample: Sample, how: SampleReading, seed: int) -> tuple[Events, str]:
    """Return the events of a depth clip, shaded: looks, light and place are drawn."""
    if sample.span is not None:
        raise FormatError("is a depth clip, which is read whole; remove the times")
    looks, noise = np.random.default_rng(seed).integers(SEEDS, size=2).tolist()
    clip, size = read_depth_clip(sample.file), how.size or DEPTH_SIZE
    scene = DepthScene.random(clip, looks, size=size, flip=False)
    return emulated(scene, as_params(how.emulation.params), noise)[0], ""


def _check_clip(path: Path, how: SampleReading) -> object:
    return open_clip(path, how.emulation, strict=how.strict)


DEPTH_CLIPS = SampleKind(
    PathKind.DEPTH_CLIP, _read_depth, lambda path, how: read_depth_clip(path), content_digest
)
RECORDINGS = SampleKind(
    PathKind.RECORDING,
    _read_recording,
    lambda path, how: how.open(path),
    lambda path: content_digest(file_of_events(path)),
    drawn=False,
)
VIDEOS = SampleKind(PathKind.VIDEO, _read_clip, _check_clip, content_digest)
IMAGE_FOLDERS = SampleKind(PathKind.IMAGE_FOLDER, _read_clip, _check_clip, images_digest)
KINDS: dict[str | None, SampleKind] = {
    kind.name: kind for kind in (DEPTH_CLIPS, RECORDINGS, VIDEOS, IMAGE_FOLDERS)
}


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


def sample_suffixes() -> set[str]:
    """Return the suffixes of the files that samples are read from."""
    return readable_suffixes() | CLIP_SUFFIXES


# -- files that cannot be read


class LeftOut(NamedTuple):
    """A file or folder that could have been a sample but is not, with the reason in one line.

    `open_samples` with strict=False lists them in `left_out`.

        import shutil
        from pathlib import Path

        shutil.copytree("digits/0", "damaged/0")
        Path("damaged/0/broken.bin").write_bytes(b"")
        samples = dvskit.datasets.open_samples("damaged", strict=False)
        samples.left_out[0].path, samples.left_out[0].why  # damaged/0/broken.bin, "... is empty"
    """

    path: Path
    why: str


_HEAD_BYTES = 64
_HEADS_WITHOUT_DATA = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file: fetch it (git lfs pull)",
    b"<!doctype html": "is a web page, not the file: download it again",
    b"<html": "is a web page, not the file: download it again",
}


def check_head(path: Path) -> None:
    """Raise FormatError for a file that is empty or clearly without data, or a broken link."""
    if path.is_symlink() and not path.exists():
        raise FormatError(f"{path}: a link to {path.readlink()}, which is missing; remove it")
    if path.is_dir():
        return
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise FormatError(f"{path}: is empty (0 bytes); copy it again, or remove it")
    for start, problem in _HEADS_WITHOUT_DATA.items():
        if head.lstrip().lower().startswith(start):
            raise FormatError(f"{path}: {problem}")


def failures(paths: Iterable[Path], how: SampleReading, *, opened: bool) -> dict[Path, DvskitError]:
    """Return the error of each file that has one, checked on all threads.

    opened  open each file and read header and first frame; otherwise only its first bytes
    """
    unique = list(dict.fromkeys(paths))

    def check(path: Path) -> DvskitError | None:
        try:
            check_head(path)
            if opened:
                with one_thread():
                    how.kind(path).check(path, how)
        except DvskitError as error:
            return error
        except OSError as error:
            return _unreadable(path, error)
        return None

    with ThreadPoolExecutor(thread_count()) as pool:
        found = list((pool.map if opened else map)(check, unique))
    return {path: error for path, error in zip(unique, found, strict=True) if error is not None}


def _unreadable(path: Path, error: OSError) -> FormatError:
    why = error.strerror or error
    return FormatError(f"{path}: cannot be read: {why}; change its permissions, or remove it")


# -- samples in files

_NOISE_SEEDS = 1 << 63


class FileSamples(Samples):
    """Samples in files of any kind, each read or emulated when its events are requested.

    rows, classes, labels  as in `Samples`
    notes     assumptions made in finding them, one line each
    others    files among them that are not samples, such as a read-me
    left_out  damaged, missing or empty files, with strict=False; otherwise these raise
    kinds     the name of each sample's kind, such as "video"
    damage    with strict=False, the losses in samples read so far, by sample number

    A clip with no loss but its last frame is used without it, with a LastFrameWarning.

    The calling thread does all work for a sample, and the loops in it release Python's lock: use
    as many threads as there are processors. Raises FormatError for a row with a file of unknown
    kind.

        samples = dvskit.datasets.open_samples("digits")  # a FileSamples
        samples.rows[0].name, samples.rows[0].label  # ("0/00001.bin", "0")
        events, label = samples[0]
        zeros = samples.choose(samples.labels == 0)  # 20 samples
    """

    def __init__(
        self,
        rows: Iterable[Sample],
        reading: SampleReading | None = None,
        *,
        classes: Sequence[str] | None = None,
        notes: Iterable[str] = (),
        others: Iterable[Path] = (),
        left_out: Iterable[LeftOut] = (),
    ) -> None:
        super().__init__(rows, classes)
        self.notes, self.others, self.left_out = tuple(notes), tuple(others), tuple(left_out)
        reading = SampleReading() if reading is None else reading
        kinds = {row.file: reading.kind(row.file).name.value for row in self.rows}
        # Names, not kinds: samples are also sent to other processes.
        self.kinds = tuple(kinds[row.file] for row in self.rows)
        self._read_by(reading)

    def _read_by(self, reading: SampleReading) -> None:
        self.reading = reading
        drawn = any(KINDS[name].drawn for name in set(self.kinds))
        self.draws = drawn and reading.emulation.redraw
        self.damage: dict[int, str] = {}

    def read_by(self, reading: SampleReading) -> FileSamples:
        """Return the same files with other parameters of reading; nothing is opened."""
        other = copy(self)
        other._read_by(reading)
        return other

    def _kind(self, number: int) -> SampleKind:
        return KINDS[self.kinds[number]]

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample; with `redraw`, `rng` draws the noise of a clip."""
        row, kind = self.rows[number], self._kind(number)
        try:
            if rng is not None and self.draws:
                seed = int(rng.integers(_NOISE_SEEDS))
            else:
                seed = self.reading.seed(row, kind)
            with one_thread():
                events, damage = kind.read(row, self.reading, seed)
        except DvskitError as error:
            raise named(error, row) from error
        except OSError as error:
            raise _unreadable(row.file, error) from error
        if damage:
            self.damage[number] = damage
        return events

    def events_together(self, numbers: Sequence[int]) -> list[Events | None]:
        """Return the events of small recordings, decoded in one call; None for other samples."""
        found: list[Events | None] = [None] * len(numbers)
        if not self.reading.strict or self.reading.format is not None:
            return found
        taken = [
            place for place, number in enumerate(numbers)
            if self.rows[number].span is None and self._kind(number) is RECORDINGS
        ]  # fmt: skip
        loaded = load_small([self.rows[numbers[place]].file for place in taken])
        for place, events in zip(taken, loaded, strict=True):
            found[place] = events
        return found

    def check(self) -> list[LeftOut]:
        """Return the files that cannot be opened, with reasons; reads header and first frame.

        A video takes about 10 ms, so this is much faster than reading everything.
        """
        wrong = failures((row.file for row in self.rows), self.reading, opened=True)
        return [LeftOut(path, one_line(error)) for path, error in wrong.items()]

    def fingerprint(self, number: int) -> str:
        """Return a digest of the file's bytes, the span and all parameters."""
        row, kind = self.rows[number], self._kind(number)
        return digest_of((kind.content(row.file), str(row.span), self.reading.identity(kind)))
