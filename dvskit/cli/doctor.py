"""`dvskit doctor`: check that dvskit's requirements are there and work; compile all loops."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dvskit import __version__, _files
from dvskit._threads import thread_count
from dvskit.cli import _console
from dvskit.cli._options import Json
from dvskit.errors import LEFT_OUT, DvskitError, count_of
from dvskit.events import Events
from dvskit.formats import Format, list_formats, open_events, open_sink
from dvskit.formats.table import TABLE
from dvskit.registry import Package, load_packages
from dvskit.streams import Triggers

_PACKAGES = (
    "numpy", "numba", "scipy", "av", "opencv-python-headless", "pillow", "torch", "safetensors",
    "lz4", "zstandard", "flatbuffers", "h5py", "hdf5plugin", "mcap", "rosbags", "ruamel.yaml",
    "tonic", "matplotlib", "starlette", "uvicorn", "websockets", "typer", "rich",
)  # fmt: skip
_COUNT = 20_000  # enough that files are read on all threads


def doctor(json: Json = False, warm: bool = False) -> None:
    """Check the installation: versions, threads, kernels, video, networks, extensions.

    torch and tonic may be missing: a light install does without neural networks.

    warm  Compile all kernels now, so that later runs start at once.
    """
    if warm:
        _warm()
    findings = [("dvskit", True, __version__), ("python", True, platform.python_version())]
    findings += [_package(name) for name in _PACKAGES]
    checks = {"threads": _threads, "kernels": _kernels, "video": _video}
    if find_spec("torch"):
        checks |= {"networks": _networks, "shipped models": _models, "cache": _cache}
    findings += [_run(name, check) for name, check in checks.items()]
    own = all(good for _, good, _ in findings)
    packages = load_packages()
    findings += [_extension(each, packages) for each in packages]
    if json:
        _console.print_json({name: {"ok": good, "detail": text} for name, good, text in findings})
    else:
        for name, good, text in findings:
            _console.put(f"{'ok ' if good else 'BAD'} {name:24} {text}")
    problems = [] if own else ["something is missing; install dvskit again"]
    problems += [f"{each.failure}; update or uninstall it" for each in packages if each.problem]
    if problems:
        raise DvskitError("; ".join(problems))


def _warm() -> None:
    begun = time.perf_counter()
    with _console.progress("compiling", None, "parts") as show:
        names = []
        for name in warm_all():
            names.append(name)
            show(len(names), name)
    took = time.perf_counter() - begun
    _console.note(f"compiled for {', '.join(names)} in {took:.1f} s; kept on disk by numba")


def _extension(package: Package, others: Sequence[Package]) -> tuple[str, bool, str]:
    """Return the finding about an installed package that extends dvskit."""
    unique = [each.name for each in others].count(package.name) == 1
    name = package.name if unique else f"{package.name} {package.module}"
    parts = ", ".join(package.parts)
    if package.problem:
        return name, False, f"{package.problem}; before that: {parts}" if parts else package.problem
    return name, True, parts or "registers nothing"


def _package(name: str) -> tuple[str, bool, str]:
    from importlib.metadata import PackageNotFoundError, version  # takes 10 ms

    if name in LEFT_OUT and find_spec(name) is None:
        return name, True, f"not installed: a light install; pip install {name} adds it"
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
    return f"{thread_count()} (DVSKIT_THREADS changes it)"


def _kernels() -> str:
    begun = time.perf_counter()
    from dvskit.emulator import Emulator

    run = Emulator().start((8, 8))
    run.step(0, np.full((8, 8), 50, np.uint8))
    count = len(run.step(1000, np.full((8, 8), 200, np.uint8)))
    if count != 14 * 64:  # 18 times the light: ln 18 = 2.89
        raise RuntimeError(f"the emulator gives {count} events instead of 896")
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
    samples = count_of(count, "sample")
    return f"{samples}, {size / 1e9:.2f} GB in {cache.folder} (DVSKIT_CACHE changes it)"


def _networks() -> str:
    import torch

    from dvskit.models.scores import has_fast_bfloat16, pick_device

    device = pick_device()
    kind = "bfloat16" if has_fast_bfloat16(device) else "float32"
    return f"torch {torch.__version__} on {device}, {kind}"


def _models() -> str:
    from dvskit.networks.model_folder import shipped_models

    return ", ".join((*shipped_models(), *shipped_models("reconstruction"))) or "none"


def sample_events() -> Events:
    """Return events with special cases of formats: runs in a row, a gap."""
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 30, _COUNT)
    steps[_COUNT // 2] = 100_000
    x = (np.arange(_COUNT) // 3 + rng.integers(0, 2, _COUNT)) % 128
    y = np.arange(_COUNT) // 40 % 128
    return Events(
        t=np.cumsum(steps), x=x, y=y, p=rng.integers(0, 2, _COUNT).astype(bool), size=(128, 128)
    )


def warm_formats(events: Events) -> Iterator[str]:
    """Write and read the events in each format, and read each file damaged; yield the names."""
    with _files.temporary_folder() as folder:
        for row in list_formats():
            if "w" not in row.can or not TABLE.is_own(row.name):
                continue
            path = Path(folder) / f"{row.name}{row.suffixes[0]}"
            _write(row, path, events)
            options = {"format": row.name} if "r" in row.can else {}
            recording = open_events(path, **options)  # type: ignore[arg-type]
            recording.load()
            for _ in recording.blocks(reuse=True):
                pass
            recording.between(int(events.t[9]), int(events.t[99])).load()
            _read_damaged(path, options)
            yield row.name


def _write(row: Format, path: Path, events: Events) -> None:
    with open_sink(path, events.sensor_size, format=row.name) as sink:
        if hasattr(sink, "write_triggers"):
            sink.write_triggers(
                Triggers(events.t[:2].copy(), np.zeros(2, np.int16), np.ones(2, np.bool_))
            )
        sink.write(events)


def _read_damaged(path: Path, options: dict[str, str]) -> None:
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 400)
    data[middle] = np.random.default_rng(1).bytes(len(data[middle]))
    path.write_bytes(data)
    with suppress(DvskitError):  # damage beyond repair: the kernels have run anyway
        open_events(path, strict=False, **options).load()  # type: ignore[arg-type]


def warm_filters(events: Events) -> Iterator[str]:
    """Apply a filter for each compiled loop."""
    from dvskit.filters import filter_from

    for text in (
        "background_activity:1ms", "background_activity:1ms,4", "refractory:1ms", "hot_pixel",
        "crop:1,1,99,99", "flip", "rotate:8", "rotate:0", "drop_area:0.1,0.1,0.5,0.5",
        "drop_events:0.1", "spatial_jitter", "temporal_jitter:1ms", "noise", "time_scale:1.1",
        "event_rate_limit:1e4", "even_rate_limit:1e4",
    ):  # fmt: skip
        filter_from(text)(events)
    yield "filters"


def warm_motion(events: Events) -> Iterator[str]:
    """Estimate a motion by each model, and draw its image."""
    from dvskit.motion import maximize_contrast, warped_image
    from dvskit.streams import Intrinsics

    width, height = events.sensor_size
    camera = Intrinsics(width, width, width / 2, height / 2, 0, 0, 0, 0, 0)
    for model in ("translation", "similarity", "rotation"):
        found = maximize_contrast(events, model, camera=camera)
        warped_image(events, found, camera=camera)
    yield "motion"


def warm_emulator() -> Iterator[str]:
    """Emulate a few frames of each type of pixel."""
    from dvskit.emulator import Emulator

    for dtype, white in ((np.uint8, 255), (np.uint16, 65535), (np.float32, 1), (np.float64, 1)):
        run = Emulator().start((64, 48))
        for number in range(3):
            frame = np.full((48, 64), white * (0.2 + 0.2 * number)).astype(dtype)
            run.step(1000 * number, frame)
    yield "emulator"


def warm_pictures(events: Events) -> Iterator[str]:
    """Draw a cloud, and a few frames of a video in each style."""
    from dvskit import render
    from dvskit.render import CloudView, Turn, VideoView, by_count, cloud, turntable, video

    start_us = int(events.t[0])
    with _files.temporary_folder() as folder:
        cloud(events, Path(folder) / "a.png")
        cloud(events, Path(folder) / "a.svg", view=CloudView(color=by_count))
        for name in ("turn.mp4", "turn.gif"):
            turn = Turn(seconds=0.1, width_px=320, height_px=240)
            turntable(events, Path(folder) / name, turn=turn)
        for style in (*render.styles.values(), render.ObjectTracks):
            view = VideoView(style=style(), start_us=start_us, stop_us=start_us + 50_000)
            video(events, Path(folder) / "a.mp4", view=view, overwrite=True)
    yield "pictures"


def warm_networks() -> Iterator[str]:
    """Run the neurons forward and backward."""
    import torch

    from dvskit.neurons import LIF, SignedLIF

    for neuron in (LIF(), SignedLIF()):
        current = torch.rand((4, 2, 3), generator=torch.Generator().manual_seed(0))
        neuron(current.requires_grad_()).sum().backward()
    yield "neurons"


def warm_all() -> Iterator[str]:
    """Compile everything; yield the name of each part when it is done."""
    events = sample_events()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from warm_formats(events)
        yield from warm_filters(events)
        yield from warm_motion(events)
        yield from warm_emulator()
        yield from warm_pictures(events)
        if find_spec("torch"):
            yield from warm_networks()
