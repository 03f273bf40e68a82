"""What commands leave behind in places that fail: full disks, read-only folders, odd outputs.

    python -m tests.benchmarks.reliability_places [--seed N] [--only WORD]

Every command that writes is run with its output on a full disk, in a read-only folder, and where a
folder, a link, a pipe or a device has the output's name; every recording is read while its file is
deleted, cut or continued; clocks jump; two processes write at once. The table has a line for each
command, and a line for each fault: a traceback, an error of several lines, a crash, a file left
behind or lost. Needs Linux, and root for mounts. `DVSKIT_DATA` names the folder of recordings.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

import dvskit
from dvskit.formats import formats
from tests.benchmarks.reliability_inputs import input_cases
from tests.benchmarks.reliability_runs import Ran, content, disk, fill, left_over, perform
from tests.test_cli import commands

TOP = Path(__file__).resolve().parent.parent.parent
DATA = Path(os.environ.get("DVSKIT_DATA", TOP.parent / "shared" / "data"))
MODEL = "models/nmnist-signed-lif"

# The words of each command that writes, where {out} stands for the output, of this name.
WRITERS: dict[str, tuple[str, str]] = {
    "convert": ("convert a.raw {out}", "o.npz"),
    "convert --bins": ("convert a.raw {out} --bins 3", "o.npy"),
    "convert --filter": ("convert a.raw {out} --filter background_activity:5ms", "o.raw"),
    "convert --frames": ("convert davis.aedat4 {out} --frames --stop 300ms", "o"),
    "convert many": ("convert a.raw b.raw -o {out} --to npz", "o"),
    "merge": ("merge a.raw b.raw {out}", "o.raw"),
    "emulate": ("emulate clip.mp4 {out}", "o.raw"),
    "calibrate": ("calibrate twin.raw clip.mp4 -o {out}", "o.toml"),
    "cloud page": ("cloud a.raw -o {out}", "o.html"),
    "cloud picture": ("cloud a.raw -o {out}", "o.png"),
    "cloud video": ("cloud a.raw -o {out} --seconds 0.2 --pixels 160x120", "o.mp4"),
    "render": ("render a.raw -o {out}", "o.mp4"),
    "render gif": ("render a.raw -o {out}", "o.gif"),
    "render folder": ("render a.raw -o {out}", "o"),
    "corners": ("corners a.raw -o {out}", "o.csv"),
    "corners video": ("corners a.raw -o {out}", "o.mp4"),
    "flow": ("flow a.raw -o {out}", "o.npz"),
    "flow picture": ("flow a.raw -o {out}", "o.png"),
    "motion": ("motion a.raw -o {out}", "o.csv"),
    "motion picture": ("motion a.raw -o {out}", "o.svg"),
    "track": ("track a.raw -o {out}", "o.csv"),
    "track video": ("track a.raw -o {out}", "o.mp4"),
    "reconstruct": ("reconstruct a.raw -o {out} --model filter", "o.npz"),
    "reconstruct video": ("reconstruct a.raw -o {out} --model filter", "o.mp4"),
    "reconstruct folder": ("reconstruct a.raw -o {out} --model filter", "o"),
    "train": ("train digits -o {out} --set loop.epochs=1", "o"),
    "motion npz": ("motion a.raw -o {out}", "o.npz"),
    "track npz": ("track a.raw -o {out}", "o.npz"),
    "corners npz": ("corners a.raw -o {out}", "o.npz"),
    "eval": (f"eval {MODEL} digits --over-time --plot {{out}}", "o.png"),
    "eval --matrix": (f"eval {MODEL} digits --matrix {{out}}", "o.png"),
    "demo": ("demo -o {out}", "o"),
    **{f"plot {kind}": (f"plot {kind} a.raw -o {{out}}", "o.png")
       for kind in ("rate", "balance", "intervals", "map", "spectrum", "flicker", "noise",
                    "raster")},
    "plot membrane": (f"plot membrane digits/0/0.bin --model {MODEL} -o {{out}}", "o.png"),
    "plot weights": (f"plot weights {MODEL} -o {{out}}", "o.svg"),
    "plot confusion": (f"plot confusion {MODEL} digits -o {{out}}", "o.pdf"),
    "plot curves": ("plot curves log.csv -o {out}", "o.png"),
    **{f"convert to {row.name}": (f"convert a.raw {{out}} --to {row.name}",
                                  f"o{row.suffixes[0]}")
       for row in formats() if "w" in row.can},
}  # fmt: skip
# Commands that write nothing, or not without a device or a page.
WITHOUT_OUTPUT = {"info", "filters", "classify", "cameras", "doctor"}
NEED_MORE = {"view": "a camera", "teach": "a page", "ros listen": "ROS 2", "ros play": "ROS 2"}
LONG = {"demo", "train"}  # for which some cases suffice


def uncovered() -> list[str]:
    """Return the commands that no line above names."""
    known = {*WITHOUT_OUTPUT, *NEED_MORE, *WRITERS}
    return [name for words, _ in commands() if (name := " ".join(words)) not in known
            and not any(each.startswith(f"{name} ") for each in WRITERS)]  # fmt: skip


Case = Callable[[Path, str, str], str | None]  # a work folder, the words, the output's name
OLD = b"old content " * 50


def _run(folder: Path, words: str, out: Path | str, *more: str, **environment: str) -> Ran:
    return perform(folder, [*words.replace("{out}", str(out)).split(), *more], **environment)


def _unwritten(folder: Path, words: str, place: Path, out: str, *more: str) -> str | None:
    """Run where nothing can be written whole; a folder that is continued may hold whole files."""
    before = content(place)
    ran = _run(folder, words, place / out, *more)
    after = content(place)
    if ran.fault() or not ran.code:
        return ran.fault() or (None if (place / out).exists() else "no output, and no error")
    if out == "o" and not any("partial" in name for name in after):
        return None
    if str(place.name) not in ran.errors[0]:
        return f"does not name the place: {ran.errors[0]}"
    return left_over(before, after)


def full_disk(left: int, old: bool) -> Case:
    def case(folder: Path, words: str, out: str) -> str | None:
        with disk(folder / "disk") as place:
            if old and out != "o":
                (place / out).write_bytes(OLD)
            fill(place, left)
            more = ["--force"] if old and "train" not in words and "demo" not in words else []
            return _unwritten(folder, words, place, out, *more)

    return case


def read_only(folder: Path, words: str, out: str) -> str | None:
    with disk(folder / "disk", 16) as place:
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        return _unwritten(folder, words, place, out)


def missing_parent(folder: Path, words: str, out: str) -> str | None:
    before = content(folder)
    ran = _run(folder, words, f"no/{out}")
    if out == "o" and not ran.code:
        shutil.rmtree(folder / "no")
        return None
    if (folder / "no").exists():
        shutil.rmtree(folder / "no")
        return "makes the parent of a file, and fails"
    return ran.fault() or (None if ran.code else "no error") or left_over(before, content(folder))


def a_folder(folder: Path, words: str, out: str) -> str | None:
    if out == "o":
        return None
    (folder / out).mkdir()
    before = content(folder)
    ran = _run(folder, words, out)
    after = content(folder)
    shutil.rmtree(folder / out)
    if not ran.code and any(name.startswith(f"{out}/") for name in after):
        return ran.fault()  # many inputs may be written into a folder of any name
    return ran.fault() or (None if ran.code else "no error") or left_over(before, after)


def a_link(target: str, *more: str) -> Case:
    def case(folder: Path, words: str, out: str) -> str | None:
        if out == "o":
            return None
        link = folder / out
        if target == "file":
            (folder / "there").write_bytes(OLD)
        link.symlink_to({"file": "there", "nowhere": "nothing/there"}.get(target, target))
        ran = _run(folder, words, out, *more)
        readable, there = link.is_file() and link.stat().st_size > 0, folder / "there"
        kept = not there.exists() or there.read_bytes() == OLD or link.is_symlink()
        partial = [each.name for each in folder.glob(".*.partial*")]
        device = Path(target).is_char_device() if target[0] == "/" else True
        for each in (link, there):
            each.unlink(missing_ok=True)
        if ran.fault():
            return ran.fault()
        if not device:
            return "replaced a device"
        if target == "/dev/full" and not ran.code:
            return "no error"
        if not kept or partial:
            return f"left {partial}" if partial else "changed the link's target without its name"
        return None if readable or ran.code else "no output, and no error"

    return case


def a_pipe(folder: Path, words: str, out: str) -> str | None:
    if out == "o":
        return None
    pipe = folder / out
    os.mkfifo(pipe)
    reader = threading.Thread(target=_drain, args=(pipe,), daemon=True)
    reader.start()
    ran = _run(folder, words, out, "--force")
    kept = pipe.is_fifo()
    with suppress(OSError):
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    reader.join(5)
    pipe.unlink()
    return ran.fault() or (None if kept else "replaced the pipe")


def _drain(pipe: Path) -> None:
    with pipe.open("rb") as file:
        while file.read(1 << 16):
            pass


def onto_input(folder: Path, words: str, out: str) -> str | None:
    name = next((word for word in words.split()[1:] if (folder / word).is_file()), None)
    if name is None:
        return None
    path = folder / name
    before = path.read_bytes()
    ran = _run(folder, words, name, "--force")
    now = path.read_bytes() if path.is_file() else b""
    path.write_bytes(before)
    if ran.fault():
        return ran.fault()
    return "the input is lost" if now != before and (ran.code or not now) else None


def _removed(made: Path) -> bool:
    """Remove an output; return whether it was there."""
    there = made.exists()
    if made.is_dir():
        shutil.rmtree(made)
    else:
        made.unlink(missing_ok=True)
    return there


def good_place(folder: Path, words: str, out: str) -> str | None:
    ran = _run(folder, words, out)
    there = _removed(folder / out)
    return ran.fault() or (None if not ran.code and there else f"fails: {ran.err[-1:]}")


def jumping_clock(folder: Path, words: str, out: str) -> str | None:
    """The clock of the system steps an hour back or forth at each look."""
    ran = _run(folder, words, out, JUMPS="yes")
    there = _removed(folder / out)
    return ran.fault() or (None if not ran.code and there else f"fails: {ran.err[-1:]}")


def full_temporary(folder: Path, words: str, out: str) -> str | None:
    with disk(folder / "disk", 16) as place:
        fill(place, 0)
        ran = _run(folder, words, out, TMPDIR=str(place))
    there = _removed(folder / out)
    return ran.fault() or (None if ran.code or there else "no output, and no error")


CASES: dict[str, Case] = {
    "a good place": good_place,
    "jumping clock": jumping_clock,
    "full disk": full_disk(0, old=False),
    "full disk, over old": full_disk(0, old=True),
    "nearly full disk": full_disk(8192, old=False),
    "nearly full, over old": full_disk(8192, old=True),
    "read-only": read_only,
    "a folder": a_folder,
    "missing parent": missing_parent,
    "its input": onto_input,
    "dangling link": a_link("nowhere"),
    "link to a file": a_link("file", "--force"),
    "/dev/full": a_link("/dev/full"),
    "a pipe": a_pipe,
    "full TMPDIR": full_temporary,
}
OF_LONG = ("a good place", "full disk", "nearly full disk", "read-only", "missing parent")


def prepare(folder: Path, seed: int) -> None:
    """Make the inputs: small recordings, a clip, a set of digits, and a log of training."""
    rng = np.random.default_rng(seed)
    count = 30_000
    for name in ("a.raw", "b.raw"):
        at = np.arange(count) // 20
        events = dvskit.Events(
            t=np.sort(rng.integers(0, 60_000, count)), p=rng.random(count) < 0.5,
            x=(at // 20 + rng.integers(0, 8, count)) % 120, y=rng.integers(0, 90, count),
            size=(128, 128),
        )  # fmt: skip
        dvskit.save_events(events, folder / name)
    from dvskit.video import write_video

    frames = np.full((40, 48, 64), 40, np.uint8)
    for number, frame in enumerate(frames):
        frame[:, number : number + 12] = 200
    times = (10_000 * np.arange(len(frames))).tolist()
    write_video(zip(times, frames, strict=True), folder / "clip.mp4", fps=100)
    dvskit.save_events(dvskit.emulate(folder / "clip.mp4"), folder / "twin.raw")
    for digit in "012":
        (folder / "digits" / digit).mkdir(parents=True)
        for number, file in enumerate(sorted((DATA / "nmnist-700" / digit).glob("*.bin"))[:8]):
            shutil.copy(file, folder / "digits" / digit / f"{number}.bin")
    shutil.copy(DATA / "davis" / "davis346_street.aedat4", folder / "davis.aedat4")
    (folder / "models").symlink_to(TOP / "models")
    (folder / "log.csv").write_text(
        "epoch,loss,rate,a_accuracy,accuracy,validation_loss,seconds\n"
        "0,1.5,0.1,0.5,0.5,1.2,3\n1,0.7,0.1,0.9,0.9,0.6,3\n"
    )


def place_cases(folder: Path, only: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield each command, case and fault."""
    for name, (words, out) in WRITERS.items():
        for kind, case in CASES.items():
            if only in f"{name}: {kind}" and (name not in LONG or kind in OF_LONG):
                yield name, kind, case(folder, words, out)


def main(words: list[str]) -> None:
    """Run the campaign, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a part of COMMAND: CASE")
    given = parser.parse_args(words)
    begun, ends = time.monotonic(), Counter[tuple[str, bool]]()
    faults = [f"{name}: no case" for name in uncovered()]
    with tempfile.TemporaryDirectory(prefix="reliability-") as work:
        folder = Path(work)
        prepare(folder, given.seed)
        for source in (place_cases(folder, given.only), input_cases(DATA, given.only)):
            for name, case, fault in source:
                ends[name, fault is None] += 1
                if fault is not None:
                    faults.append(f"{name}: {case}: {fault}")
                    print(f"FAULT {faults[-1]}", flush=True)
    for name in dict.fromkeys(name for name, _ in ends):
        print(f"| {name:24} | {ends[name, True]:3} ok | {ends[name, False]:3} faults |")
    print(f"{sum(ends.values())} cases, {len(faults)} faults, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
