"""Compile every kernel once, so that later processes find them in numba's cache on disk."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from dvskit.errors import DvskitError
from dvskit.events import Events
from dvskit.formats import Format, formats, open_events, open_sink
from dvskit.streams import Triggers

_COUNT = 20_000  # so many that files are read on all threads


def sample_events() -> Events:
    """Return events with what formats treat in their own way: runs in a row, a gap."""
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
    with tempfile.TemporaryDirectory() as folder:
        for row in formats():
            if "w" not in row.can:
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
    with open_sink(path, events.size, format=row.name) as sink:
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
    with suppress(DvskitError):  # damage beyond repair: its kernels have run all the same
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
    from dvskit.render import CloudView, Turn, VideoView, by_count, cloud, styles, turntable, video

    start_us = int(events.t[0])
    with tempfile.TemporaryDirectory() as folder:
        cloud(events, Path(folder) / "a.png")
        cloud(events, Path(folder) / "a.svg", view=CloudView(colour=by_count))
        for name in ("turn.mp4", "turn.gif"):
            turn = Turn(seconds=0.1, width_px=320, height_px=240)
            turntable(events, Path(folder) / name, turn=turn)
        for style in styles.values():
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
        yield from warm_emulator()
        yield from warm_pictures(events)
        yield from warm_networks()
