"""Decode and encode speed beside faery, evutils and eventcv, on real recordings tiled to size.

    python tests/benchmarks/formats.py RECORDINGS_FOLDER [MILLION_EVENTS]

Each reader reads all events of the same file into memory, page cache warm, best of three. A reader
that gives other events than ours is marked: its figure is no comparison.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dvskit.events import Events
from dvskit.formats import load_events, open_events, save_events

EVT3, AEDAT4 = "evt3_gen41_1280x720.raw", "dvxplorer_320x240_lz4.aedat4"


def tile_evt3(source: Path, target: Path, count: int) -> None:
    """Repeat the words of a recording, raising TIME_HIGH so that time runs on."""
    start = open_events(source)._header.end
    content = source.read_bytes()
    words = np.frombuffer(content[start:], "<u2")
    highs = np.flatnonzero(words >> 12 == 8)
    step = int((words[highs[-1]] & 0xFFF) - (words[highs[0]] & 0xFFF)) + 1
    with target.open("wb") as file:
        file.write(content[:start])
        for number in range(-(-count // len(load_events(source)))):
            tile = words.copy()
            tile[highs] = 0x8000 | (tile[highs] + number * step) & 0xFFF
            file.write(tile.tobytes())


def tile_aedat4(source: Path, target: Path, count: int) -> None:
    """Repeat the events of a recording one after the other."""
    events = load_events(source)
    step = events.duration_us + 1
    tiles = [
        Events.from_checked(events.t + number * step, events.x, events.y, events.p, events.size)
        for number in range(-(-count // len(events)))
    ]
    save_events(Events.concatenate(tiles), target)


def read_blocks(path: Path) -> int:
    """Read without keeping: what a stream costs."""
    return sum(len(block) for block in open_events(path))


def read_faery(path: Path) -> int:
    import faery

    return len(np.concatenate(list(faery.events_stream_from_file(path))))


def read_evutils(path: Path) -> int:
    from evutils.io import EventReader

    return len(EventReader(str(path), max_time=2**62, max_events=2**40).read_all().t)


def read_eventcv(path: Path) -> int:
    import eventcv

    return len(eventcv.load(str(path)).numpy())


READERS: dict[str, Callable[[Path], int]] = {
    "dvskit, all": lambda path: len(load_events(path)),
    "dvskit, blocks": read_blocks,
    "faery": read_faery,
    "evutils": read_evutils,
    "eventcv": read_eventcv,
}


def best(action: Callable[[], int], times: int = 3) -> tuple[float, int]:
    seconds, count = [], 0
    for _ in range(times):
        start = time.perf_counter()
        count = action()
        seconds.append(time.perf_counter() - start)
    return min(seconds), count


def report(path: Path) -> None:
    size = path.stat().st_size
    events = len(load_events(path))
    print(f"{path.name}: {events:,} events, {size / events:.2f} bytes each")
    ours = 0.0
    for name, read in READERS.items():
        try:
            seconds, count = best(lambda read=read: read(path))
        except ImportError:
            print(f"  {name:16} not installed")
            continue
        ours = ours or seconds
        release = "" if name.startswith("dvskit") else version(name)
        mark = "" if count == events else f"  gives {count:,} events"
        print(
            f"  {name:16} {release:8} {events / seconds / 1e6:7.1f} Mev/s"
            f"  ours {seconds / ours:.2f} times as fast{mark}"
        )


def report_writing(path: Path) -> None:
    events = load_events(path)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / path.name
        seconds, _ = best(lambda: save_events(events, target, overwrite=True) or 0)
        print(f"  dvskit, writing           {len(events) / seconds / 1e6:7.1f} Mev/s")
        try:
            import faery
        except ImportError:
            return
        rows = np.empty(len(events), faery.EVENTS_DTYPE)
        for column in "txyp":
            rows[column] = getattr(events, column)
        stream = faery.events_stream_from_array(rows, dimensions=tuple(events.size))
        options = {"version": "evt3"} if path.suffix == ".raw" else {}
        peer, _ = best(lambda: stream.to_file(target, **options) or 0)
        print(
            f"  faery, writing   {version('faery'):8} {len(events) / peer / 1e6:7.1f} Mev/s"
            f"  ours {peer / seconds:.2f} times as fast"
        )


def main() -> None:
    warnings.filterwarnings("ignore")
    recordings = Path(sys.argv[1])
    count = int(float(sys.argv[2]) * 1e6) if len(sys.argv) > 2 else 20_000_000
    with tempfile.TemporaryDirectory() as folder:
        for name, tile in ((EVT3, tile_evt3), (AEDAT4, tile_aedat4)):
            path = Path(folder) / name
            tile(recordings / name, path, count)
            report(path)
            report_writing(path)


if __name__ == "__main__":
    main()
