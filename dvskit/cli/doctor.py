"""`dvskit doctor`: whether everything that dvskit needs is there and works."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from dvskit import __version__
from dvskit.cli import _console
from dvskit.cli._options import Json
from dvskit.errors import DvskitError

_PACKAGES = (
    "numpy", "numba", "av", "opencv-python-headless", "torch", "safetensors", "lz4", "zstandard",
    "flatbuffers", "h5py", "hdf5plugin", "tonic", "matplotlib", "typer", "rich",
)  # fmt: skip


def doctor(
    json: Json = False,
    warm: Annotated[
        bool, typer.Option("--warm", help="Compile all kernels now: later runs start at once.")
    ] = False,
) -> None:
    """Check the installation: versions, threads, kernels, video, networks."""
    if warm:
        _warm()
    findings = [("dvskit", True, __version__), ("python", True, platform.python_version())]
    findings += [_package(name) for name in _PACKAGES]
    for name, check in (
        ("threads", _threads),
        ("kernels", _kernels),
        ("video", _video),
        ("networks", _networks),
        ("shipped models", _models),
        ("cache", _cache),
    ):
        findings.append(_run(name, check))
    sound = all(good for _, good, _ in findings)
    if json:
        _console.print_json({name: {"ok": good, "detail": text} for name, good, text in findings})
    else:
        for name, good, text in findings:
            print(f"{'ok ' if good else 'BAD'} {name:24} {text}")
    if not sound:
        print("dvskit: error: something is missing; pip install dvskit again", file=sys.stderr)
        raise typer.Exit(1)


def _warm() -> None:
    from dvskit.cli._warm import warm_all

    begun = time.perf_counter()
    with _console.progress("compiling", None, "parts") as show:
        names = []
        for name in warm_all():
            names.append(name)
            show(len(names), name)
    took = time.perf_counter() - begun
    _console.note(f"compiled for {', '.join(names)} in {took:.1f} s; kept on disk by numba")


def _package(name: str) -> tuple[str, bool, str]:
    try:
        return name, True, version(name)
    except PackageNotFoundError:
        return name, False, "not installed"


def _run(name: str, check: Callable[[], str]) -> tuple[str, bool, str]:
    try:
        return name, True, check()
    except (DvskitError, ImportError, OSError, RuntimeError) as error:
        return name, False, f"{type(error).__name__}: {error}"


def _threads() -> str:
    from dvskit._threads import thread_count

    return f"{thread_count()} (DVSKIT_THREADS changes it)"


def _kernels() -> str:
    begun = time.perf_counter()
    import numpy as np

    from dvskit.emulator import Emulator

    run = Emulator().start((8, 8))
    run.step(0, np.full((8, 8), 50, np.uint8))
    count = len(run.step(1000, np.full((8, 8), 200, np.uint8)))
    if count != 6 * 64:
        raise RuntimeError(f"the emulator gives {count} events where 384 are right")
    return f"right, ready in {time.perf_counter() - begun:.1f} s (less the second time)"


def _video() -> str:
    import av

    codecs = [
        name for name in ("h264", "hevc", "vp9", "av1", "mjpeg") if name in av.codecs_available
    ]
    return "decodes " + ", ".join(codecs)


def _cache() -> str:
    from dvskit.datasets import Cache

    cache = Cache()
    count, size = cache.usage()
    return f"{count:,} samples, {size / 1e9:.2f} GB in {cache.folder} (DVSKIT_CACHE changes it)"


def _networks() -> str:
    import torch

    from dvskit.training.world import has_fast_bfloat16, pick_device

    device = pick_device()
    kind = "bfloat16" if has_fast_bfloat16(device) else "float32"
    return f"torch {torch.__version__} on {device}, {kind}"


def _models() -> str:
    from dvskit.training import shipped_models

    return ", ".join(shipped_models()) or "none"
