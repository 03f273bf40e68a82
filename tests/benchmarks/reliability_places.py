"""What commands leave behind in places that fail: full disks, read-only folders, odd outputs.

    python -m tests.benchmarks.reliability places [--only WORD]

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
from multiprocessing import get_context
from pathlib import Path

from tests.benchmarks import reliability_parts as parts
from tests.benchmarks.reliability_cases import cases, check_complete
from tests.benchmarks.reliability_inputs import input_cases
from tests.benchmarks.reliability_runs import Ran, content, disk, fill, left_over, perform

TOP = Path(__file__).resolve().parent.parent.parent
DATA = Path(os.environ.get("DVSKIT_DATA", TOP.parent / "shared" / "data"))
LONG = {"demo", "sample", "train"}  # for which some cases suffice


def writers() -> dict[str, tuple[str, str]]:
    """Return the words of each command line, {out} for its output, and the name of that.

    Those that need a camera, a page or ROS 2 are left out, and second outputs.
    """
    found = {}
    for case in cases():
        if case.start not in (parts.command_line, parts.draw_small_demo):
            continue
        out, *others = case.outputs
        words = list(case.words)
        for other in others:
            at = words.index(other)
            del words[at - 1 : at + 1]  # with its option
        line = " ".join("{out}" if word.rstrip("/") == out else word for word in words)
        found[case.name] = line, out
    return found


def is_folder(out: str) -> bool:
    """Return whether an output of this name is a folder."""
    return not Path(out).suffix


Trial = Callable[[Path, str, str], str | None]  # a work folder, the words, the output's name
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
    if is_folder(out) and not any("partial" in name for name in after):
        return None
    if str(place.name) not in ran.errors[0]:
        return f"does not name the place: {ran.errors[0]}"
    return left_over(before, after)


def full_disk(left: int, old: bool) -> Trial:
    def case(folder: Path, words: str, out: str) -> str | None:
        with disk(folder / "disk") as place:
            if old and not is_folder(out):
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
    if is_folder(out) and not ran.code:
        shutil.rmtree(folder / "no")
        return None
    if (folder / "no").exists():
        shutil.rmtree(folder / "no")
        return "makes the parent of a file, and fails"
    return ran.fault() or (None if ran.code else "no error") or left_over(before, content(folder))


def a_folder(folder: Path, words: str, out: str) -> str | None:
    if is_folder(out):
        return None
    (folder / out).mkdir()
    before = content(folder)
    ran = _run(folder, words, out)
    after = content(folder)
    shutil.rmtree(folder / out)
    if not ran.code and any(name.startswith(f"{out}/") for name in after):
        return ran.fault()  # many inputs may be written into a folder of any name
    return ran.fault() or (None if ran.code else "no error") or left_over(before, after)


def a_link(target: str, *more: str) -> Trial:
    def case(folder: Path, words: str, out: str) -> str | None:
        if is_folder(out):
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
    if is_folder(out):
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


CASES: dict[str, Trial] = {
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


def place_cases(folder: Path, only: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield each command, case and fault."""
    for name, (words, out) in writers().items():
        some = OF_LONG if name.partition(":")[0] in LONG else CASES
        for kind in some:
            if only in f"{name}: {kind}":
                yield name, kind, CASES[kind](folder, words, out)


def main(words: list[str]) -> None:
    """Run the campaign, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="a part of COMMAND: CASE")
    given = parser.parse_args(words)
    begun, ends = time.monotonic(), Counter[tuple[str, bool]]()
    faults = [f"{name}: no case" for name in check_complete(cases())]
    with tempfile.TemporaryDirectory(prefix="reliability-") as work:
        # In a process of its own: forked ones would wait for torch's threads of this one.
        maker = get_context("spawn").Process(
            target=parts.write_inputs, args=(Path(work) / "inputs",)
        )
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the inputs could not be written")
        folder = Path(work) / "place"
        folder.mkdir()
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
