"""Make the gallery: recordings that dvskit draws itself, and pictures of them, each by a command.

    python samples/make_gallery.py                     # samples/gallery, as it stands there
    python samples/make_gallery.py --only rate map     # some of its pictures
    python samples/make_gallery.py VIDEOS -o mine      # and pictures of each video in a folder

The folder's README.md shows every picture below the command that made it. The same bytes come out
each time on the same machine; the view of a notebook is as Chromium draws it there (left out
where there is none), and a trained network's numbers may differ from machine to machine.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from make_emulator_figure import scene
from notebook_view import photograph
from numpy.typing import NDArray

import dvskit
from dvskit.cli import app
from dvskit.events import Size
from dvskit.scenes import PersonScene
from dvskit.video import write_video

HERE = Path(__file__).resolve().parent
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm")
MODEL = "dvs128-gestures"
GESTURES = ("arm_roll", "hand_clap", "left_hand_wave", "right_arm_clockwise", "right_hand_wave")


@dataclass(frozen=True)
class Item:
    """A picture: its file, the command that makes it, what it shows, what it is made of."""

    name: str
    command: str
    words: str
    needs: tuple[str, ...] = ("person.raw",)


CAMERA = f"python {HERE.name}/make_emulator_figure.py camera-beside.png --dpi 150"
PEOPLE = f"python {HERE.name}/make_people.py people.webp"
GALLERY = {
    "Clouds and videos": (
        Item("cloud.png", "dvskit cloud person.raw -o cloud.png --pixels 800x600",
             "All events in space and time."),
        Item("cloud-print.png", "dvskit cloud person.raw -o cloud-print.png --width 88 "
             "--dpi 220", "The same for a column of a paper."),
        Item("turning.gif", "dvskit cloud person.raw -o turning.gif --pixels 360x270 --fps 7 "
             "--seconds 4", "The cloud, turned once around."),
        Item("page.html", f"dvskit cloud person.raw -o page.html --model {MODEL} --every 300ms",
             "A page to turn, play and zoom, with the class that a network gives each moment."),
        Item("camera-beside.png", CAMERA,
             "A frame of a camera, and the events of the same scene.", ()),
        Item("beside.gif", "dvskit render person.raw -o beside.gif --beside person.mp4 --fps 12 "
             "--stop 1400ms --scale 1", "The camera's frames beside the events, as they fade.",
             ("person.raw", "person.mp4")),
        Item("slow.gif", "dvskit render person.raw -o slow.gif --style surface --slow 20 --fps 12 "
             "--start 300ms --stop 380ms --scale 2", "Slow motion: the time of each pixel's last "
             "event."),
        Item("notebook.png", "python samples/make_gallery.py --only notebook",
             "A notebook displays events, a recording, a clip to be emulated, and progress."),
    ),
    "Scenes": (
        Item("people.webp", PEOPLE,
             "Drawn people make the gestures of DVS128 Gesture before a noisy sensor: six people "
             "for each gesture, a frame beside the events of 50 ms.", ()),
    ),
    "Plots of events": (
        Item("rate.png", "dvskit plot rate person.raw -o rate.png",
             "The number of events a second."),
        Item("balance.png", "dvskit plot balance person.raw -o balance.png",
             "The share of ON events over time and over pixels."),
        Item("intervals.png", "dvskit plot intervals person.raw -o intervals.png",
             "The times between the events of a pixel."),
        Item("map.png", "dvskit plot map noisy.raw -o map.png",
             "Events of each pixel, with hot pixels circled.", ("noisy.raw",)),
        Item("noise.png", "dvskit plot noise noisy.raw -o noise.png",
             "The noise of a sensor.", ("noisy.raw",)),
        Item("spectrum.png", "dvskit plot spectrum lamps.raw -o spectrum.png",
             "The spectrum of three lamps: 37, 100 and 250 Hz, and multiples.",
             ("lamps.raw",)),
        Item("flicker.png", "dvskit plot flicker lamps.raw -o flicker.png",
             "The flicker frequency of each pixel; moving objects are gray.", ("lamps.raw",)),
    ),
    "Plots of networks": (
        Item("raster.png", f"dvskit plot raster person.raw -o raster.png --model {MODEL}",
             "The spikes of a layer; orange +1, blue −1."),
        Item("membrane.png", f"dvskit plot membrane person.raw -o membrane.png --model {MODEL}",
             "A neuron's potential below the events that reach it."),
        Item("weights.png", f"dvskit plot weights {MODEL} -o weights.png", "A layer's weights."),
        Item("confusion.png", "dvskit plot confusion run gestures -o confusion.png",
             "The confusion matrix of a network after a few epochs.", ("gestures", "run")),
        Item("curves.png", "dvskit plot curves run -o curves.png",
             "The training curves of the network.", ("gestures", "run")),
    ),
}  # fmt: skip
OF_VIDEOS = (
    Item("cloud.png", "dvskit cloud {0}.raw -o cloud.png", "", ("{0}.raw",)),
    Item("events.gif", "dvskit render {0}.raw -o events.gif --fps 12 --stop 1s --scale 1", ""),
    Item("rate.png", "dvskit plot rate {0}.raw -o rate.png", ""),
    Item("map.png", "dvskit plot map {0}.raw -o map.png", ""),
)


def person(size: tuple[int, int] = (240, 180), seconds: float = 1.5) -> PersonScene:
    """Return the scene of most pictures: a waving hand."""
    return replace(scene(), size=Size(*size), fps=200, duration_us=round(seconds * 1e6))


# Of each lamp: where it shines (x, y), how far, how fast it flickers, how much of its light.
LAMPS = ((26, 28, 22, 100.0, 0.4), (134, 26, 17, 250.0, 0.4), (136, 96, 12, 37.0, 0.5))


def under_lamps() -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the scene with a lamp on the mains, a dimmed LED and a slow indicator beside a hand."""
    clapping = replace(
        scene(), gesture="hand_clap", size=Size(160, 120), fps=2000, duration_us=1_100_000
    )
    y, x = np.mgrid[:120, :160]
    spots = [np.exp(-((x - u) ** 2 + (y - v) ** 2) / reach**2) for u, v, reach, _, _ in LAMPS]
    for t_us, frame in clapping:
        light = np.ones((120, 160))
        for spot, (_, _, _, hz, depth) in zip(spots, LAMPS, strict=True):
            light += depth * spot * np.sin(2 * np.pi * 1e-6 * hz * t_us)
        yield t_us, (frame / np.float32(100_000) * light).astype(np.float32)


def make_person(folder: Path) -> None:
    """Write person.raw, a clean sensor."""
    dvskit.save_events(dvskit.emulate(person()), folder / "person.raw")


def make_clip(folder: Path) -> None:
    """Write person.mp4, what a camera sees."""
    shown = [(t_us, (frame >> 8).astype(np.uint8)) for t_us, frame in person()]
    write_video(shown, folder / "person.mp4", fps=200)


def make_noisy(folder: Path) -> None:
    """Write noisy.raw: leak and shot noise, and hot pixels."""
    params = dvskit.EmulatorParams(
        threshold_sigma=0.03, leak_hz=0.1, shot_hz=0.4, cutoff_hz=150.0, hot_fraction=5e-4,
        hot_hz=80.0,
    )  # fmt: skip
    source = dvskit.emulate(person((160, 120), 1.0), params=params, seed=3)
    dvskit.save_events(source, folder / "noisy.raw")


def make_lamps(folder: Path) -> None:
    """Write lamps.raw: three lamps that flicker, each at its own frequency, and a moving hand."""
    params = dvskit.EmulatorParams(threshold_on=0.15, threshold_off=0.15, shot_hz=0.2)
    dvskit.save_events(dvskit.emulate(under_lamps(), params=params), folder / "lamps.raw")


def make_gestures(folder: Path) -> None:
    """Write a small data set of gestures."""
    for seed in range(5000, 5020):
        for gesture in GESTURES:
            path = folder / "gestures" / gesture / f"{seed}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            clip = PersonScene.random(gesture, seed, size=(64, 64), fps=100)
            dvskit.save_events(dvskit.emulate(clip), path)


def make_run(folder: Path) -> None:
    """Train a network on the gestures for a few epochs."""
    from dvskit.datasets import open_samples  # torch: the other pictures come sooner without
    from dvskit.filters import Vary
    from dvskit.models import InputConfig
    from dvskit.networks import MotionLIF
    from dvskit.training import LoopConfig, RecordingData, train

    changes = Vary(shift_px=5.0, rotate_deg=5.0, zoom=0.1, time_scale=0.1, drop=0.2)
    train(
        MotionLIF(width=64, height=64, pool=2, classes=len(GESTURES)),
        open_samples(folder / "gestures"),
        data=(RecordingData(count=16, validation=0.2, test=0.2, augment=changes),),
        input=InputConfig(bins=20, bin_us=70_000),
        loop=LoopConfig(epochs=12, steps=12, learning_rate=2e-3, label_smoothing=0.05),
        output=str(folder / "run"),
    )


RECORDINGS: dict[str, Callable[[Path], None]] = {
    "person.raw": make_person,
    "person.mp4": make_clip,
    "noisy.raw": make_noisy,
    "lamps.raw": make_lamps,
    "gestures": make_gestures,
    "run": make_run,
}


def say(text: str) -> None:
    """Tell whoever waits what is being made."""
    sys.stderr.write(f"{text}\n")


def run(command: str, folder: Path) -> None:
    """Run a command in a folder."""
    words = shlex.split(command)
    with contextlib.chdir(folder):
        if words[0] == "dvskit":
            app(words[1:], standalone_mode=False)
        else:
            script = HERE / Path(words[1]).name
            subprocess.run([sys.executable, str(script), *words[2:]], check=True)


def make(item: Item, folder: Path) -> bool:
    """Make a picture in a folder, and the recordings that it needs; tell whether it is there."""
    for name in item.needs:
        if not (folder / name).exists():
            say(f"  {name}")
            RECORDINGS[name](folder)
    say(item.name)
    if item.name == "notebook.png":
        return photograph(folder / "person.raw", list(person()), folder / item.name)
    run(item.command, folder)
    return (folder / item.name).is_file()


def make_videos(videos: Path, out: Path, work: Path) -> list[str]:
    """Make the pictures of each video; return the lines of the index."""
    lines = ["## Videos", ""]
    for video in sorted(file for file in videos.iterdir() if file.suffix in VIDEO_SUFFIXES):
        say(video.name)
        name = video.stem.replace(" ", "_")
        folder = out / "videos" / name
        folder.mkdir(parents=True, exist_ok=True)
        dvskit.save_events(dvskit.emulate(video), work / f"{name}.raw", overwrite=True)
        lines += [
            f"### {video.name}",
            "",
            f"    dvskit emulate {shlex.quote(video.name)} {name}.raw",
            "",
        ]
        for item in OF_VIDEOS:
            command = item.command.format(name)
            run(command, work)
            shutil.move(work / item.name, folder / item.name)
            lines += [f"    {command}", "", f"![{item.name}](videos/{name}/{item.name})", ""]
        clip = shlex.quote(str(video.resolve()))
        run(f"python make_emulator_figure.py camera-beside.png --clip {clip} --dpi 200", work)
        shutil.move(work / "camera-beside.png", folder / "camera-beside.png")
        lines += [f"![camera-beside.png](videos/{name}/camera-beside.png)", ""]
    return lines


def index(made: dict[str, list[Item]]) -> list[str]:
    """Return the lines of the index of the project's own pictures."""
    lines = [
        "# Gallery",
        "",
        "Everything here is of scenes that dvskit draws and emulates itself: one call of",
        "`python samples/make_gallery.py` makes the recordings and runs the commands below.",
        "",
    ]
    for title, items in made.items():
        lines += [f"## {title}", ""]
        for item in items:
            code = [f"    {item.command}", ""] if item.command else []
            mark = "" if item.name.endswith(".html") else "!"
            lines += [item.words, "", *code, f"{mark}[{item.words}]({item.name})", ""]
    return lines


def main() -> None:
    """Make the pictures that the command line asks for, and the index."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="?", help="a folder of videos")
    parser.add_argument("-o", "--out", type=Path, default=HERE / "gallery")
    names = [Path(item.name).stem for items in GALLERY.values() for item in items]
    parser.add_argument("--only", nargs="+", choices=names, help="make these alone")
    args = parser.parse_args()
    if args.videos is not None and not args.videos.is_dir():
        parser.error(f"{args.videos}: no such folder of videos")
    args.out.mkdir(parents=True, exist_ok=True)
    made: dict[str, list[Item]] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for title, items in GALLERY.items():
            for item in items:
                chosen = args.only is None or Path(item.name).stem in args.only
                if chosen and make(item, work):
                    shutil.move(work / item.name, args.out / item.name)
                if (args.out / item.name).is_file():
                    made.setdefault(title, []).append(item)
        lines = index(made)
        if args.videos is not None:
            lines += make_videos(args.videos, args.out, work)
    (args.out / "README.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
