"""Compile the loops that most tests need, once for all test processes, on two processors."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

_TOP = Path(__file__).resolve().parents[1]


def formats() -> Iterator[str]:
    from dvskit.cli import doctor

    return doctor.warm_formats(doctor.sample_events())


def others() -> Iterator[str]:
    from dvskit.cli import doctor

    events = doctor.sample_events()
    yield from doctor.warm_filters(events)
    yield from doctor.warm_motion(events)
    yield from doctor.warm_emulator()
    yield from doctor.warm_pictures(events)
    yield from doctor.warm_networks()


HALVES: dict[str, Callable[[], Iterator[str]]] = {"formats": formats, "others": others}


def compile_loops() -> None:
    """Run both halves in processes of their own. Raises CalledProcessError."""
    running = [
        subprocess.Popen([sys.executable, "-m", "tests.loops", name], cwd=_TOP) for name in HALVES
    ]
    for each in running:
        if each.wait():
            raise subprocess.CalledProcessError(each.returncode, each.args)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in HALVES[sys.argv[1]]():
            pass
