"""Videos of the kinds that people have, written with PyAV, and what is to be read from each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

FRAMES = 24
STEADY_MS = tuple(40 * number for number in range(FRAMES))
UNEVEN_MS = (0, 40, 50, 130, 131, 700, 733, 766, 800, 1000, 1001, 1500)
# Stands where a B-frame may not: what x264 and others are asked for, small and in a fixed order.
QUICK = {"preset": "ultrafast", "crf": "10"}
B_FRAMES = {"preset": "fast", "crf": "10", "bf": "3", "b-pyramid": "normal", "g": "12"}


def scene(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Return frame `number` of a clip, (height, width) in 0..1: none of them looks like another.

    Left and right, top and bottom differ, so that a turned or mirrored picture is seen.
    """
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    picture = 0.25 + 0.3 * x + 0.15 * y
    place = (number * 7 % FRAMES) / FRAMES
    picture += 0.3 * np.exp(-(((x - place) / 0.08) ** 2) - ((y - 0.3) / 0.25) ** 2)
    return np.clip(picture, 0, 1)


def frame_of(
    picture: np.ndarray, pix_fmt: str, *, full: bool | None = None, alpha: float = 1.0
) -> Any:
    """Return a PyAV frame of a gray picture in 0..1: chroma is gray, alpha the same everywhere.

    full  whether luma runs over all codes; None: as the format does where nothing is said
    """
    height, width = picture.shape
    if pix_fmt == "uyvy422":  # luma and chroma lie in one plane
        return frame_of(picture, "yuv422p").reformat(format=pix_fmt)
    if pix_fmt == "pal8":
        return _numbered(picture)
    frame = av.VideoFrame(width, height, pix_fmt)
    for number, plane in enumerate(frame.planes):
        parts = [c for c in frame.format.components if c.plane == number]
        bits = parts[0].bits
        top = (1 << bits) - 1
        dtype = np.dtype(np.uint8 if bits <= 8 else ">u2" if frame.format.is_big_endian else "<u2")
        columns = []
        for part in parts:
            if part.is_alpha:
                columns.append(np.full((plane.height, plane.width), alpha * top))
            elif part.is_luma or frame.format.is_rgb:
                unsaid = len(frame.format.components) < 3
                limited = not (frame.format.is_rgb or (unsaid if full is None else full))
                low, high = (16 << (bits - 8), 235 << (bits - 8)) if limited else (0, top)
                columns.append(low + picture * (high - low))
            else:
                columns.append(np.full((plane.height, plane.width), 1 << (bits - 1)))
        samples = np.rint(np.stack(columns, axis=-1)).astype(dtype)
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        packed = np.ascontiguousarray(samples.reshape(plane.height, -1)).view(np.uint8)
        rows[:, : packed.shape[1]] = packed
        plane.update(rows.tobytes())
    if full:
        frame.color_range = 2
    return frame


def _numbered(picture: np.ndarray) -> Any:
    """Return a frame whose pixels are numbers of a palette, from white to black."""
    height, width = picture.shape
    frame = av.VideoFrame(width, height, "pal8")
    numbers, palette = frame.planes
    rows = np.zeros((numbers.height, numbers.line_size), np.uint8)
    rows[:, :width] = 255 - np.rint(picture * 255)
    numbers.update(rows.tobytes())
    colors = np.repeat(np.arange(255, -1, -1, dtype=np.uint8)[:, None], 4, axis=1)
    colors[:, 3] = 255
    palette.update(colors.tobytes())
    return frame


@dataclass(frozen=True)
class Kind:
    """A kind of video: how it is written, and what is read.

    times_ms   when each frame is shown
    shown      the numbers of the frames that are read; None: all
    turn       from the picture that was put in to the one that is read
    spoil      damages the written file
    refused    what the error says, in strict mode; None: it is read
    kept       how many frames at least are read without strict, where it is refused
    notes      what the notes say
    """

    name: str
    suffix: str
    codec: str
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    muxing: dict[str, str] = field(default_factory=dict)
    container: str | None = None
    size: tuple[int, int] = (64, 48)
    times_ms: Sequence[int] = STEADY_MS
    clock: Fraction = Fraction(1, 25)
    full: bool | None = None
    alpha: float = 1.0
    prepare: Callable[[Any], None] | None = None
    packets: Callable[[list[Any]], list[Any]] | None = None
    spoil: Callable[[Path], None] | None = None
    sound: bool = False
    fps: float | None = None
    shown: Sequence[int] | None = None
    turn: Callable[[np.ndarray], np.ndarray] | None = None
    tolerance: float = 0.012
    container_start_ms: int | None = None
    notes: str = ""
    refused: str | None = None
    kept: int | None = None
    bits: int = 8

    def pictures(self) -> list[np.ndarray]:
        """Return the pictures that are read."""
        every = [scene(number, self.size) * self.alpha for number in range(len(self.times_ms))]
        chosen = [every[k] for k in (range(len(every)) if self.shown is None else self.shown)]
        return [picture if self.turn is None else self.turn(picture) for picture in chosen]

    def times_us(self) -> list[int]:
        """Return the times of the frames that are read: the first is at 0."""
        if self.fps is not None:
            count = len(self.times_ms) if self.shown is None else len(self.shown)
            return [round(k * 1_000_000 / self.fps) for k in range(count)]
        chosen = range(len(self.times_ms)) if self.shown is None else self.shown
        times = [self.times_ms[k] for k in chosen]
        return [1000 * (t - times[0]) for t in times]


def write(kind: Kind, folder: Path) -> Path:
    """Write a video of a kind and return its path."""
    path = folder / f"clip{kind.suffix}"
    with av.open(str(path), "w", format=kind.container, options=kind.muxing) as container:
        video = video_stream(container, kind)
        sound = container.add_stream("aac", rate=16000) if kind.sound else None
        packets = []
        for number, t_ms in enumerate(kind.times_ms):
            picture = scene(number, kind.size)
            frame = frame_of(picture, kind.pix_fmt, full=kind.full, alpha=kind.alpha)
            frame.time_base = kind.clock
            frame.pts = round(Fraction(t_ms, 1000) / kind.clock)
            packets += video.encode(frame)
        packets += video.encode(None)
        if sound is not None:
            packets += silence(sound, kind.times_ms[-1] + 40)
        for packet in packets if kind.packets is None else kind.packets(packets):
            container.mux(packet)
    if kind.spoil is not None:
        kind.spoil(path)
    return path


def video_stream(container: Any, kind: Kind) -> Any:
    """Return a new video stream of a container, as a kind has it."""
    stream = container.add_stream(kind.codec, rate=25)
    stream.width, stream.height = kind.size
    stream.pix_fmt = kind.pix_fmt
    stream.time_base = kind.clock
    stream.codec_context.time_base = kind.clock
    stream.codec_context.thread_count = 1
    if kind.full:
        stream.codec_context.color_range = 2
    options = dict(kind.options)
    if "bf" in options and kind.codec in ("mpeg4", "mpeg2video", "mpeg1video"):
        stream.codec_context.max_b_frames = int(options.pop("bf"))
    if "g" in options:
        stream.codec_context.gop_size = int(options.pop("g"))
    if kind.codec in ("mpeg4", "mpeg2video", "mpeg1video", "flv", "wmv2", "msmpeg4v3", "h263"):
        stream.codec_context.qmin = stream.codec_context.qmax = 2
    stream.options = options
    if kind.prepare is not None:
        kind.prepare(stream)
    return stream


def silence(stream: Any, length_ms: int) -> list[Any]:
    """Return the packets of a silent track."""
    packets = []
    for start in range(0, 16 * length_ms, 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, start
        frame.time_base = Fraction(1, 16000)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def cut_to(share: float) -> Callable[[Path], None]:
    """Return what cuts a file to a share of its length."""

    def cut(path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return cut


def stamped_as_decoded(packets: list[Any]) -> list[Any]:
    """Give packets the stamps of decoding alone, as some recorders write them."""
    ordered = sorted(packet.pts for packet in packets)
    for packet, stamp in zip(packets, ordered, strict=True):
        packet.pts = packet.dts = stamp
    return packets


def without_the_first_group(packets: list[Any]) -> list[Any]:
    """Leave out all ahead of the second key frame, as a recording that begins anywhere does."""
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    return packets[keys[1] :]


def rotated(degrees: float, *, hflip: bool = False, vflip: bool = False) -> Callable[[Any], None]:
    """Return what sets the display matrix of a stream."""
    return lambda stream: stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)


def turned(times: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return what turns a picture counter-clockwise by so many quarter turns."""
    return lambda picture: np.rot90(picture, times)


def mirrored(axis: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return what mirrors a picture along an axis."""
    return lambda picture: np.flip(picture, axis)


def sample_aspect(shape: Fraction) -> Callable[[Any], None]:
    """Return what says that pixels are not square."""

    def prepare(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = shape

    return prepare
