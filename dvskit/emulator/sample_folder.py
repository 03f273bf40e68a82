"""A folder of videos, recordings and pictures for a first try, all drawn and emulated here."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._files import whole_folder
from dvskit._threads import run_parts
from dvskit.emulator.params import EmulatorParams
from dvskit.emulator.saccades import emulate_saccades
from dvskit.emulator.source import emulate
from dvskit.errors import OutputError
from dvskit.events import Events, Size
from dvskit.formats import save_events
from dvskit.scenes import DiscScene, KeyframePath, MovingShape, Patch, PersonScene, PlaneScene
from dvskit.scenes.discs import draw_digit
from dvskit.scenes.person import Build, GestureMotion, Look, View
from dvskit.scenes.planes import noise_texture, polygon_texture
from dvskit.streams import STANDARD_GRAVITY, Intrinsics
from dvskit.video import write_video

_SIZE = Size(128, 128)
_GESTURES = ("arm_roll", "hand_clap", "right_hand_wave")
_PEOPLE, _TAKES = (11, 23), 3  # the seed of each person, and the clips of a gesture
_DIGITS, _OF_EACH = (0, 1, 2), 20
_DIGIT_SIZE = Size(34, 34)  # of N-MNIST
_DAVIS_SIZE = Size(120, 90)
_LENS = Intrinsics(102.0, 102.0, 59.5, 44.5, -0.12, 0.02, 0.0, 0.0, 0.0)
_DAVIS_US = 1_000_000
_IMAGES_EVERY_US, _IMU_EVERY_US = 40_000, 1_000


class WrittenPart(NamedTuple):
    """A file or a folder in the sample folder: its name, content, and size in bytes."""

    name: str
    content: str
    bytes: int


class _Part(NamedTuple):
    content: str
    files: str  # a pattern of their names
    write: Callable[[Path], None]


def write_sample_folder(path: str | PathLike[str], *, overwrite: bool = False) -> list[WrittenPart]:
    """Write a folder with videos, recordings and pictures, and return its parts.

    The folder is written whole or not at all, with the same bytes each time. `overwrite` replaces
    a folder that holds nothing else. Raises OutputError.
    """
    target = Path(path)
    for file in sorted(target.rglob("*")) if overwrite else ():
        name = file.relative_to(target).as_posix()
        if file.is_file() and not any(re.fullmatch(p.files, name) for p in _PARTS.values()):
            raise OutputError(f"{target}: holds {name}, which was not written here; name another")
    with whole_folder(target, overwrite=overwrite, is_own=_PARTS.__contains__) as folder:
        folder.mkdir()
        for name, part in _PARTS.items():
            part.write(folder / name)
        return [
            WrittenPart(name, part.content, _bytes(folder / name)) for name, part in _PARTS.items()
        ]


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _write_clip(scene: PersonScene, path: Path) -> None:
    shown = ((t_us, (frame >> 8).astype(np.uint8)) for t_us, frame in scene)
    write_video(shown, path, fps=scene.fps)


def _write_person(path: Path) -> None:
    scene = PersonScene.random("right_hand_wave", 6, fps=100, duration_us=2_000_000)
    _write_clip(scene, path)


def _write_emulated(path: Path, preset: str, seed: int) -> None:
    save_events(emulate(path.with_name("video.mp4"), preset, seed), path)


def _write_davis(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    scene = _turning(_DAVIS_SIZE, _DAVIS_US)
    sensor = EmulatorParams(threshold_on=0.25, threshold_off=0.25)
    save_events(emulate(scene, sensor), folder / "events.txt", format="rpg")
    lines = []
    for number, t_us in enumerate(range(0, _DAVIS_US, _IMAGES_EVERY_US)):
        name = f"images/frame_{number:08}.png"
        _write_image(folder / name, np.round(scene.frame(t_us) / 257).astype(np.uint8))
        lines.append(f"{t_us * 1e-6:.6f} {name}\n")
    (folder / "images.txt").write_text("".join(lines))
    lines = []
    for t_us in range(0, _DAVIS_US, _IMU_EVERY_US):
        pose = scene.path.pose(t_us)
        force = pose.rotation.T @ (0, -STANDARD_GRAVITY, 0)
        values = " ".join(f"{value:.6f}" for value in (*force, *pose.angular_rad_s))
        lines.append(f"{t_us * 1e-6:.6f} {values}\n")
    (folder / "imu.txt").write_text("".join(lines))
    (folder / "calib.txt").write_text(" ".join(map(str, _LENS)) + "\n")


def _turning(size: Size, duration_us: int) -> PlaneScene:
    """Return a camera that rotates about all its axes before a picture."""
    rng = np.random.default_rng(4)
    blotches = noise_texture(rng, (500, 640), grain_px=14)
    picture = 0.35 * blotches + 0.65 * polygon_texture(rng, (500, 640))
    wall = Patch((0, 0, 1), (1.6, 0, 0), (0, 1.25, 0), picture)
    t_us = np.arange(-100_000, duration_us + 200_001, 50_000)
    hertz, phase = np.array([0.9, 0.7, 1.1]), np.array([0.3, 1.9, 4.0])
    turns = (0.14, 0.22, 0.16) * np.sin(2 * np.pi * hertz * t_us[:, None] * 1e-6 + phase)
    return PlaneScene(
        [wall], KeyframePath(t_us, turns), _LENS, size, fps=500, duration_us=duration_us
    )


def _write_discs(path: Path) -> None:
    save_events(emulate(_crossing(1_500_000)), path)


def _crossing(duration_us: int) -> DiscScene:
    """Return two discs that cross, and one that moves, turns back and pauses."""
    t_us = np.array([0, 500_000, 1_000_000, 1_500_000])
    shapes = [
        MovingShape(t_us[[0, 3]], [(22, 30), (106, 84)], 20, 20, 0.9),
        MovingShape(t_us[[0, 3]], [(104, 26), (24, 76)], 24, 24, 0.1),
        MovingShape(t_us, [(24, 108), (62, 104), (62, 104), (104, 110)], 16, 16, 0.85),
    ]
    return DiscScene(shapes, size=_SIZE, duration_us=duration_us)


def _write_recordings(folder: Path) -> None:
    folder.mkdir()
    clap = PersonScene.random("hand_clap", 5, duration_us=500_000)
    boxes = PlaneScene.random(3, size=_SIZE, fps=250, duration_us=200_000, speed=0.4)
    save_events(emulate(clap), folder / "a.aedat4")
    save_events(emulate(_crossing(500_000)), folder / "b.dat")
    save_events(
        emulate(boxes, EmulatorParams(threshold_on=0.4, threshold_off=0.4)), folder / "c.csv"
    )


def _write_gestures(folder: Path) -> None:
    scenes = []
    for number, seed in enumerate(_PEOPLE, 1):
        rng = np.random.default_rng(seed)
        look, view, build = Look.drawn(rng), View.drawn(rng), Build.drawn(rng)
        for gesture in _GESTURES:
            (folder / gesture).mkdir(parents=True, exist_ok=True)
            for take in range(1, _TAKES + 1):
                motion = GestureMotion(gesture, seed, start_s=0.7 * take, speed=0.8 + 0.1 * take)
                scene = PersonScene(
                    gesture, fps=100, duration_us=1_500_000, look=look, view=view, build=build,
                    motion=motion,
                )  # fmt: skip
                scenes.append((scene, folder / gesture / f"p{number}_t{take}.mp4"))
    run_parts(lambda number: _write_clip(*scenes[number]), len(scenes))


def _write_digits(folder: Path) -> None:
    def write(number: int) -> None:
        digit, count = divmod(number, _OF_EACH)
        events = emulate_saccades(_digit(digit, count), _DIGIT_SIZE, (digit, count))
        _write_nmnist(events, folder / str(digit) / f"{count + 1:05}.bin")

    for digit in _DIGITS:
        (folder / str(digit)).mkdir(parents=True)
    run_parts(write, len(_DIGITS) * _OF_EACH)


def _write_images(folder: Path) -> None:
    for digit in _DIGITS:
        (folder / str(digit)).mkdir(parents=True)
        for count in range(_OF_EACH):
            _write_image(folder / str(digit) / f"{count + 1:05}.png", _digit(digit, count))


def _digit(digit: int, count: int) -> NDArray[np.uint8]:
    return draw_digit(digit, np.random.default_rng((digit, count, 0xD161)))


def _write_nmnist(events: Events, path: Path) -> None:
    """Write the rows of N-MNIST: x, y, and polarity and 23 bits of time, big-endian."""
    last = (events.p.astype(np.uint32) << 23) | events.t.astype(np.uint32)
    rows = np.zeros((len(events), 5), np.uint8)
    rows[:, 0], rows[:, 1] = events.x, events.y
    for column, shift in enumerate((16, 8, 0), 2):
        rows[:, column] = (last >> shift) & 0xFF
    path.write_bytes(rows.tobytes())


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


_PARTS = {
    "video.mp4": _Part("a person who waves, 2 s, 100 frames/s", "video.mp4", _write_person),
    "events.raw": _Part(
        "its events, ideal pixels", "events.raw", partial(_write_emulated, preset="clean", seed=0)
    ),
    "noisy.raw": _Part(
        "its events, with noise", "noisy.raw", partial(_write_emulated, preset="noisy", seed=1)
    ),
    "davis": _Part(
        "a rotating camera: events, images, IMU, calibration",
        r"davis/((events|images|imu|calib)\.txt|images/frame_\d{8}\.png)",
        _write_davis,
    ),
    "discs.raw": _Part("discs that move and cross", "discs.raw", _write_discs),
    "recordings": _Part(
        "three short recordings of other formats",
        r"recordings/(a\.aedat4|b\.dat|c\.csv)",
        _write_recordings,
    ),
    "gestures": _Part(
        "videos: 3 gestures, 2 people, 3 takes",
        rf"gestures/({'|'.join(_GESTURES)})/p\d_t\d\.mp4",
        _write_gestures,
    ),
    "digits": _Part(
        "events of drawn digits 0, 1, 2 in N-MNIST's layout",
        r"digits/[012]/\d{5}\.bin",
        _write_digits,
    ),
    "images": _Part(
        "pictures of the same digits, 28x28", r"images/[012]/\d{5}\.png", _write_images
    ),
}
