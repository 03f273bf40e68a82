"""Inputs of the commands that are killed, and parts of dvskit that are driven without a command."""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
import signal
import socket
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import dvskit
from dvskit import Events, save_events

SIZE = (32, 24)
interrupts_itself = True  # whether an endless command is interrupted when its input has ended


def command_line() -> None:
    """Run the command line of sys.argv."""
    from dvskit.__main__ import main

    main()


def moving_square(seed: int, frames: int = 12) -> Iterator[tuple[int, Any]]:
    """Yield the times and images of a bright square that moves over a gray wall."""
    rng = np.random.default_rng(seed)
    wall = rng.integers(60, 120, SIZE[::-1]).astype(np.uint8)
    for number in range(frames):
        image, at = wall.copy(), 2 + number * 2
        image[6:14, at % 24 : at % 24 + 6] = 230
        yield number * 10_000, image


def write_recording(path: Path) -> None:
    """Write the events of a moving square."""
    from dvskit.video import ArrayFrames

    images = list(moving_square(1))
    t_us, frames = np.array([t_us for t_us, _ in images]), np.array([each for _, each in images])
    save_events(dvskit.emulate(ArrayFrames(frames, t_us=t_us), "noisy").load(), path)


def write_inputs(folder: Path) -> None:
    """Write small recordings, clips, training sets and a trained model."""
    from dvskit.video import write_video
    from tests.bars import config_for, write_bars

    folder.mkdir()
    for clip in ("clip", "clips/a", "clips/b/c"):
        (folder / clip).parent.mkdir(parents=True, exist_ok=True)
        write_video(moving_square(len(clip)), folder / f"{clip}.mp4", fps=100)
    seen = dvskit.emulate(folder / "clip.mp4", "noisy").load()
    events = Events.concatenate([seen])
    for name in ("seen.npz", "a.npz", "b.npz", "a.raw", "many/a.npz", "many/b/c.npz", "many/d.npz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_events(events, folder / name)
    _write_frames(folder / "framed.aedat4", events)
    write_bars(folder / "bars", 6)
    config = config_for(folder / "bars", folder / "run", epochs=3)
    from dvskit.training import train
    from dvskit.training.config import write_config

    train(config)
    write_config(config, folder / "bars.toml")
    from tests.reconstruction_runs import write_tiny_run

    write_tiny_run(folder).rename(folder / "images.toml")
    _write_packets(folder, events)
    from dvskit.teach import ClipFolder
    from tests.teach_clips import fill

    with ClipFolder(folder / "taught") as taught:
        fill(taught, "anna", "bo")


def _write_frames(path: Path, events: Events) -> None:
    from dvskit.formats import open_sink
    from dvskit.streams import Frame

    with open_sink(path, events.sensor_size) as sink:
        sink.write_frames(Frame(t_us, t_us, image) for t_us, image in moving_square(3))
        sink.write(events)


def _write_packets(folder: Path, events: Events) -> None:
    from mcap.reader import make_reader

    save_events(events, folder / "bag.mcap")
    with (folder / "bag.mcap").open("rb") as file:
        packets = [message.data for _, _, message in make_reader(file).iter_messages()]
    (folder / "packets.pickle").write_bytes(pickle.dumps(packets))


def draw_small_demo() -> None:
    """Run `dvskit demo` on twelve frames."""
    from dvskit.scenes import PersonScene

    draw = PersonScene.__iter__

    def few(scene: PersonScene) -> Iterator[Any]:
        for number, frame in enumerate(draw(scene)):
            if number < 12:
                yield frame

    PersonScene.__iter__ = few  # type: ignore[method-assign]
    command_line()


def write_small_sample() -> None:
    """Run `dvskit sample` for two parts of the folder."""
    from dvskit.emulator import sample_folder

    parts = sample_folder._PARTS
    sample_folder._PARTS = {name: parts[name] for name in ("video.mp4", "images")}
    command_line()


def view_datagrams() -> None:
    """Run `dvskit view`, send it datagrams, and interrupt it."""
    from dvskit.cli.view import ShownArrivals
    from tests.test_udp import rows

    events = dvskit.load_events("../inputs/a.npz")
    opened = ShownArrivals.__init__

    def send(shown: ShownArrivals, port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            sent = rows(events[:400], "t64_x16_y16_on8")
            for at in range(0, len(sent), 20):
                out.sendto(b"".join(sent[at : at + 20]), ("127.0.0.1", port))
                time.sleep(0.005)
        until = time.monotonic() + 10
        while shown.written < len(sent) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.3)  # until the page is served
        if interrupts_itself:
            os.kill(os.getpid(), signal.SIGINT)

    def open_and_send(shown: ShownArrivals, recording: Any, *given: Any, **named: Any) -> None:
        opened(shown, recording, *given, **named)
        threading.Thread(target=send, args=(shown, recording.port), daemon=True).start()

    ShownArrivals.__init__ = open_and_send  # type: ignore[method-assign]
    command_line()


def listen_to_stand_in() -> None:
    """Run `dvskit ros listen` on a topic of messages; Ctrl-C comes after the last."""
    import pytest

    from tests.ros_topics import PACKET, Ros

    made = Ros(pytest.MonkeyPatch())
    if interrupts_itself:
        made.at_end = lambda: signal.raise_signal(signal.SIGINT)
    made.say("/events", PACKET, pickle.loads(Path("../inputs/packets.pickle").read_bytes()))
    command_line()


def play_to_stand_in() -> None:
    """Run `dvskit ros play`."""
    import pytest

    from tests.ros_topics import Ros

    Ros(pytest.MonkeyPatch())
    command_line()


def record_clip() -> None:
    """Check all clips of a folder, and record one more."""
    from dvskit.teach import ClipFolder
    from dvskit.video import open_frames
    from tests.teach_clips import movement, record

    given = list(movement("up", 1))
    with ClipFolder(sys.argv[2]) as folder:
        if "up" not in folder.classes():
            folder.add_class("up")
        for clip in folder.clips():
            assert not clip.damage, clip
            got = list(open_frames(folder.path / clip.file))
            assert len(got) >= 2
            for (t_us, image), (at_us, frame) in zip(got, given, strict=False):
                assert t_us == at_us - given[0][0]
                assert np.array_equal(image, frame)
        left = [path for path in (folder.path / ".recording").rglob("*") if path.is_dir()]
        assert not left, left
        assert record(folder, "up", "anna", 1).frames == len(given)


_TRAINER = """
import json, pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
time.sleep(0.02)
(out / "model.toml").write_text("")
print(json.dumps({"accuracy": None}))
"""


def teach_training() -> None:
    """Continue a training of a folder, or begin one, by a stand-in for `dvskit train`."""
    from dvskit.teach import ClipFolder, TeachTraining, teach_training

    teach_training._DVSKIT = (sys.executable, "-S", "-E", "-c", _TRAINER)
    words = sys.argv[1:]
    if not Path(words[0]).exists():
        shutil.copytree("../inputs/taught", "copied")
        Path("copied").rename(words[0])
    with ClipFolder(words[0]) as folder:
        training = TeachTraining(folder, words[1])
        if not training._process.running and training.model is None:
            training.start({"minutes": 0.2})
        until = time.monotonic() + 20
        while training.model is None:
            assert time.monotonic() < until, training._process.about
            time.sleep(0.005)


def convert_with_index() -> None:
    """Run a command with a cache in the folder."""
    os.environ["DVSKIT_CACHE"] = "cache"
    command_line()


def keep_samples() -> None:
    """Keep arrays in a cache, and find them."""
    from dvskit.datasets.cache import Cache

    kept = Cache("cache")
    for number in range(8):
        key, arrays = f"{number:064x}", {"a": np.arange(5000) * number}
        found = kept.get(key)
        assert found is None or np.array_equal(found["a"], arrays["a"])
        kept.put(key, arrays)
    assert not kept.damaged
    assert kept.get(f"{7:064x}") is not None


def compile_anew() -> None:
    """Compile a loop into a cache of its own; its result is that of the loop before."""
    import numba

    from dvskit import _random_kernels

    before = _random_kernels.bits(1, 2, 3, 4)
    numba.config.CACHE_DIR = str(Path("cache").absolute())
    again = importlib.reload(_random_kernels)
    assert again.bits(1, 2, 3, 4) == before


def download_set() -> None:
    """Download a public set that is an archive of two folders."""
    from dvskit.datasets import PublicSet, open_public, open_samples

    def download(folder: Path) -> None:
        archive = folder / "bars.zip"
        if not (archive.exists() and zipfile.is_zipfile(archive)):
            with zipfile.ZipFile(archive, "w") as packed:
                for file in sorted(Path("../inputs/bars").rglob("*.npz")):
                    packed.write(file, file.relative_to("../inputs"))
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)

    row = PublicSet(
        name="bars", where="https://example.org", layout="bars", download=download,
        open=lambda root: open_samples(root / "bars") if (root / "bars").is_dir() else None,
    )  # fmt: skip
    found = open_public(row, "data", download=True)
    assert len(found.rows) == 12


INTERRUPT_THEMSELVES = {view_datagrams, listen_to_stand_in}
WITHOUT_COMMAND = {record_clip, teach_training, keep_samples, compile_anew, download_set}
