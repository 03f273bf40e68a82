"""Decode and encode speed beside the other readers of each format, on recordings tiled to size.

    python -m tests.benchmarks.formats RECORDINGS_FOLDER [--million 50] [--only evt3,dat]
    python -m tests.benchmarks.formats RECORDINGS_FOLDER --gigabyte    # peak memory, in blocks

Each reader runs in a process of its own, page cache warm, best of --times after one pass to warm
up. `all` keeps every event in memory, `blocks` reads them and lets them go. A reader that gives
other events than were written is marked wrong and is no comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from dvskit.events import Events
from dvskit.formats import load_events, open_events, open_sink, save_events
from tests.benchmarks import measured

BLOCK = 1_000_000
EVT3, SPARSE = "evt3_gen41_1280x720.raw", "evt3_triggers_640x480.raw"
EVT2, DVX = "evt2_gen3_640x480.raw", "dvxplorer_320x240_lz4.aedat4"

# ---- readers: each gives the number of events; `digest` of those of `all` is compared


def _fields(array: Any) -> tuple[Any, Any, Any, Any]:
    names = array.dtype.names
    time_name = next(name for name in ("t", "timestamp", "ts") if name in names)
    on = next(name for name in ("p", "on", "polarity", "is_increase") if name in names)
    return array[time_name], array["x"], array["y"], array[on]


def dvskit_all(path: Path) -> Any:
    events = load_events(path)
    return events.t, events.x, events.y, events.p


def dvskit_blocks(path: Path) -> int:
    return sum(len(block) for block in open_events(path).blocks(reuse=True))


def faery_all(path: Path) -> Any:
    import faery

    return _fields(np.concatenate(list(faery.events_stream_from_file(path))))


def faery_blocks(path: Path) -> int:
    import faery

    return sum(len(block) for block in faery.events_stream_from_file(path))


def evutils_all(path: Path) -> Any:
    from evutils.io import EventReader

    events = EventReader(str(path), max_time=2**62, max_events=2**40).read_all()
    return tuple(np.asarray(getattr(events, name)) for name in "txyp")


def evutils_blocks(path: Path) -> int:
    from evutils.io import EventReader

    reader = EventReader(str(path), max_time=2**62, max_events=BLOCK)
    return sum(len(block.t) for block in reader)


def eventcv_all(path: Path) -> Any:
    import eventcv

    rows = eventcv.load(str(path)).numpy()
    return rows[:, 2], rows[:, 0], rows[:, 1], rows[:, 3]


def expelliarmus_all(path: Path) -> Any:
    from expelliarmus import Wizard

    encoding = {"evt2": "evt2", "dat": "dat"}[path.name.split(".")[0].split("-")[0]]
    return _fields(Wizard(encoding=encoding).read(path))


def evt3_all(path: Path) -> Any:
    import evt3

    events = evt3.decode_file(str(path))
    return tuple(np.asarray(getattr(events, n)) for n in ("timestamp", "x", "y", "polarity"))


def event_stream_all(path: Path) -> Any:
    import event_stream

    return _fields(np.concatenate(list(event_stream.Decoder(str(path)))))


def aedat_all(path: Path) -> Any:
    import aedat

    packets = [packet["events"] for packet in aedat.Decoder(str(path)) if "events" in packet]
    return _fields(np.concatenate(packets))


def dv_all(path: Path) -> Any:
    import dv_processing

    recording = dv_processing.io.MonoCameraRecording(str(path))
    batches = []
    while recording.isRunning():
        batch = recording.getNextEventBatch()
        if batch is not None:
            batches.append(batch.numpy())
    return _fields(np.concatenate(batches))


def evlib_all(path: Path) -> Any:
    with redirect_stdout(StringIO()):
        import evlib

        frame = evlib.load_events(str(path), sort=False).collect()
    t = frame["t"].to_physical().to_numpy()
    return t, frame["x"].to_numpy(), frame["y"].to_numpy(), frame["polarity"].to_numpy()


def polars_all(path: Path) -> Any:
    import polars

    frame = polars.read_csv(path)
    return tuple(frame[name].to_numpy() for name in ("t", "x", "y", "p"))


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "dvskit, all": ("dvskit", dvskit_all),
    "dvskit, blocks": ("dvskit", dvskit_blocks),
    "faery, all": ("faery", faery_all),
    "faery, blocks": ("faery", faery_blocks),
    "evutils, all": ("evutils", evutils_all),
    "evutils, blocks": ("evutils", evutils_blocks),
    "eventcv": ("eventcv", eventcv_all),
    "expelliarmus": ("expelliarmus", expelliarmus_all),
    "evt3": ("evt3", evt3_all),
    "event_stream": ("event_stream", event_stream_all),
    "aedat": ("aedat", aedat_all),
    "dv-processing": ("dv-processing", dv_all),
    "evlib": ("evlib", evlib_all),
    "polars": ("polars", polars_all),
}
FAERY, EVUTILS = ("faery, all", "faery, blocks"), ("evutils, all", "evutils, blocks")

# ---- files: real events, tiled in time


def shifted(events: Events, by_us: int) -> Events:
    return Events.from_checked(events.t + by_us, events.x, events.y, events.p, events.sensor_size)


def tiles(events: Events, count: int) -> Iterator[Events]:
    step = events.duration_us + 1
    events = shifted(events, -int(events.t[0]))
    for number in range(-(-count // len(events))):
        yield shifted(events, number * step)


def tile_events(source: Path, target: Path, count: int, **options: Any) -> None:
    """Repeat the events of a recording one after the other, in the target's format."""
    events = load_events(source)
    with open_sink(target, events.sensor_size, **options) as sink:
        for tile in tiles(events, count):
            sink.write(tile)


def tile_words(source: Path, target: Path, count: int, kind: str, high: tuple[int, int]) -> None:
    """Repeat the words of a RAW recording, raising TIME_HIGH so that time runs on."""
    code, bits = high
    start = open_events(source)._header.end
    content = source.read_bytes()
    width = np.dtype(kind).itemsize
    words = np.frombuffer(content[start : len(content) - (len(content) - start) % width], kind)
    highs = np.flatnonzero(words >> bits == code)
    words = words[highs[0] :]
    highs -= highs[0]
    mask = (1 << bits) - 1
    step = int((words[highs[-1]] & mask) - (words[highs[0]] & mask)) + 1
    with target.open("wb") as file:
        file.write(content[:start])
        for number in range(-(-count // len(load_events(source)))):
            tile = words.copy()
            raised = (tile[highs].astype(np.int64) & mask) + number * step
            tile[highs] = (code << bits | raised & mask).astype(tile.dtype)
            file.write(tile.tobytes())


def aedat4(compression: str) -> Callable[[Path, Path, int], None]:
    def make(source: Path, target: Path, count: int) -> None:
        from dvskit.formats.aedat4 import Aedat4Sink, Compression

        events = load_events(source)
        with Aedat4Sink(target, events.sensor_size, compression=Compression[compression]) as sink:
            for tile in tiles(events, count):
                sink.write(tile)

    return make


def written(**options: Any) -> Callable[[Path, Path, int], None]:
    return lambda source, target, count: tile_events(source, target, count, **options)


@dataclass(frozen=True)
class Case:
    """A file to read: its name, what it is made of and how, and who else reads its format."""

    file: str
    source: str
    make: Callable[[Path, Path, int], None]
    peers: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.file.rpartition(".")[0]


def evt3_words(source: Path, target: Path, count: int) -> None:
    tile_words(source, target, count, "<u2", (8, 12))


def evt2_words(source: Path, target: Path, count: int) -> None:
    tile_words(source, target, count, "<u4", (8, 28))


AEDAT4_PEERS = (*FAERY, *EVUTILS, "eventcv", "aedat", "dv-processing")
CASES = (
    Case("evt3-dense.raw", EVT3, evt3_words, (*FAERY, *EVUTILS, "eventcv", "evt3", "evlib")),
    Case("evt3-sparse.raw", SPARSE, evt3_words, (*FAERY, *EVUTILS, "eventcv", "evt3", "evlib")),
    Case("evt2.raw", EVT2, evt2_words, (*FAERY, *EVUTILS, "eventcv", "expelliarmus", "evlib")),
    Case("evt21.raw", EVT3, written(format="evt21"), (*EVUTILS, "eventcv", "evlib")),
    Case("evt4.raw", EVT3, written(format="evt4"), (*EVUTILS, "eventcv")),
    Case("dat.dat", EVT2, written(), (*FAERY, *EVUTILS, "eventcv", "expelliarmus")),
    Case("es.es", EVT2, written(), (*FAERY, "event_stream")),
    Case("aedat4-none.aedat4", DVX, aedat4("NONE"), AEDAT4_PEERS),
    Case("aedat4-lz4.aedat4", DVX, aedat4("LZ4"), AEDAT4_PEERS),
    Case("aedat4-zstd.aedat4", DVX, aedat4("ZSTD"), AEDAT4_PEERS),
    Case("csv.csv", EVT2, written(), (*FAERY, *EVUTILS, "eventcv", "polars")),
    Case("aedat2.aedat", "dvs128_signed_time.aedat", written(), (*EVUTILS, "eventcv")),
    Case("ecf.hdf5", EVT3, written(format="hdf5-ecf"), ()),
    Case("gzip.hdf5", EVT3, written(format="hdf5"), ()),
    Case("dsec.h5", EVT3, written(format="dsec"), ("eventcv", "evlib")),
    Case("mcap.mcap", SPARSE, written(), ()),
    Case("npz.npz", EVT3, written(), ()),
)

# ---- one reader on one file, in its own process


def digest(columns: Any) -> list[int]:
    t, x, y, p = (np.asarray(column) for column in columns)
    t, x, y = t.astype(np.int64), x.astype(np.int64), y.astype(np.int64)
    order = np.arange(1, len(t) + 1, dtype=np.int64)
    wraps = (column * order for column in (t, x, y, (p > 0).astype(np.int64)))
    return [len(t), *(int(column.sum()) for column in wraps)]


def one(reader: str, path: Path, times: int) -> None:
    """Print seconds, events, their digest where all are kept, and peak memory, as JSON."""
    warnings.filterwarnings("ignore")
    read = READERS[reader][1]
    passes = measured.Passes()
    for _ in range(times + 1):
        result = None
        result = passes.run(lambda: read(path))
    peak = round(measured.memory_mb("VmHWM"))
    told = result if isinstance(result, int) else digest(result)
    print(json.dumps({"seconds": min(passes.wall[1:]), "told": told, "peak_mb": peak}))


def measure(reader: str, path: Path, times: int) -> dict[str, Any] | str:
    """Run `one` in a process; return what it told, or why it told nothing."""
    release = measured.release(READERS[reader][0])
    if release is None:
        return "not installed"
    found = measured.in_process(
        "formats", "--one", reader, path.resolve(), "--times", times, limit_s=300
    )
    return found if isinstance(found, str) else {**found, "version": release.split()[1]}


# ---- the table


def memory_limit() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    limit = Path("/sys/fs/cgroup/memory.max")
    bound = limit.read_text().strip() if limit.exists() else "max"
    said = "none" if bound == "max" else f"{int(bound) / 2**30:.0f} GiB"
    return f"{memory:.0f} GiB (limit of this group: {said})"


def report(case: Case, path: Path, times: int) -> str:
    right = digest(dvskit_all(path))
    events = right[0]
    # event_stream leaves y as it is stored, from the bottom: the same events all the same.
    bottom = (open_events(path).size.height - 1) * (events * (events + 1) // 2) - right[3]
    upside_down = [*right[:3], bottom, right[4]]
    details = partial(print, file=sys.stderr)
    details(f"\n{path.name}: {events:,} events, {path.stat().st_size / events:.2f} bytes each")
    speeds: dict[str, float] = {}
    for reader in ("dvskit, all", "dvskit, blocks", *case.peers):
        found = measure(reader, path, times)
        if isinstance(found, str):
            details(f"  {reader:16} {found}")
            continue
        told = found["told"]
        good = told == events if isinstance(told, int) else told in (right, upside_down)
        speed = events / found["seconds"] / 1e6
        mark = "" if good else f"  WRONG: {told if isinstance(told, int) else told[0]:,} events"
        if good:
            speeds[reader] = speed
        details(
            f"  {reader:16} {found['version']:9} {speed:7.1f} Mev/s  {found['peak_mb']:6} MB{mark}"
        )
    ours = {name: speeds.get(f"dvskit, {name}", float("nan")) for name in ("all", "blocks")}
    peers = {name: speed for name, speed in speeds.items() if not name.startswith("dvskit")}
    best = max(peers, key=lambda name: peers[name], default="none right")
    ratio = [f"{ours[name] / peers[best]:.2f}" if peers else "-" for name in ("blocks", "all")]
    second = f"{best} {peers[best]:.0f}" if peers else best
    return (
        f"| {case.name} | {ours['blocks']:.0f} | {ours['all']:.0f} | {second} "
        f"| {ratio[0]} | {ratio[1]} |"
    )


def report_writing(path: Path, times: int) -> str:
    events = load_events(path)[:10_000_000]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / path.name
        name = open_events(path).format

        def ours() -> None:
            save_events(events, target, format=name, overwrite=True)

        ways = {"dvskit": ours}
        try:
            import faery

            rows = np.empty(len(events), faery.EVENTS_DTYPE)
            for column in "txyp":
                rows[column] = getattr(events, column)
            options = {"version": name} if path.suffix == ".raw" else {}

            def theirs() -> None:
                stream = faery.events_stream_from_array(rows, dimensions=tuple(events.sensor_size))
                stream.to_file(target, **options)

            theirs()
            ways["faery"] = theirs
        except Exception as error:  # whatever it refuses, it has no figure
            print(f"  faery does not write {name}: {str(error)[:80]}")
        took = measured.in_turn(ways, times)
    speeds = {who: len(events) / passes.least[0] / 1e6 for who, passes in took.items()}
    peer = speeds.get("faery")
    ratio = f"{speeds['dvskit'] / peer:.2f}" if peer else "-"
    said = f"{peer:.0f}" if peer else "-"
    return f"| {name} | {speeds['dvskit']:.0f} | {said} | {ratio} |"


def gigabyte(case: Case, source: Path, folder: Path) -> None:
    """Print the peak memory of reading a file of at least 1 GB in blocks."""
    path = folder / case.file
    case.make(source, path, 1_000_000)
    case.make(source, path_of(path), int(1_000_000 * 1.02e9 / path.stat().st_size))
    found = measure("dvskit, blocks", path_of(path), 1)
    size = path_of(path).stat().st_size / 1e9
    said = found if isinstance(found, str) else f"{found['peak_mb']} MB, {found['told']:,} events"
    print(f"  {case.name:14} {size:.2f} GB: peak {said}", flush=True)
    path.unlink()
    path_of(path).unlink()


def path_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}-large{path.suffix}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", nargs="?", type=Path)
    parser.add_argument("--million", type=float, default=50)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--writing", action="store_true")
    parser.add_argument("--gigabyte", action="store_true")
    parser.add_argument("--one", nargs=2)
    asked = parser.parse_args()
    if asked.one:
        one(asked.one[0], Path(asked.one[1]), asked.times)
        return
    only = set(filter(None, asked.only.split(",")))
    print(f"{measured.machine()}; {memory_limit()}")
    table, writing = [], []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if only and case.name not in only and case.name.split("-")[0] not in only:
                continue
            path = Path(folder) / case.file
            if asked.gigabyte:
                gigabyte(case, asked.recordings / case.source, Path(folder))
                continue
            case.make(asked.recordings / case.source, path, int(asked.million * 1e6))
            table.append(report(case, path, asked.times))
            if asked.writing:
                writing.append(report_writing(path, asked.times))
            path.unlink()
    if table:
        print("\n| Mev/s | dvskit blocks | dvskit all | fastest right peer | ratio | all |")
        print("|---|---|---|---|---|---|", *table, sep="\n")
    if writing:
        print("\n| writing, Mev/s | dvskit | faery | ratio |", "|---|---|---|---|", sep="\n")
        print(*writing, sep="\n")


if __name__ == "__main__":
    main()
