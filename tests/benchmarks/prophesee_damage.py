"""Share of true events that salvage keeps from damaged Prophesee files, and what it gets wrong.

    python -m tests.benchmarks.prophesee_damage [RECORDINGS_FOLDER] [--mutations 500] [--only dat]

Damages small files of each encoding, written here or cut from recordings: flipped bits, cuts,
overwritten spans, dropped and doubled bytes behind the header. Counts, over all mutations:

kept        true events that are read, of all
unseen      wrong events in files of which no loss is reported: bits that leave a valid file
wrong       wrong events in files of which a loss is reported, of all events read
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np

from dvskit.errors import DvskitError
from dvskit.events import Events
from dvskit.formats import load_events, open_events, save_events

ENCODINGS = ("evt2", "evt21", "evt3", "evt4", "dat")
KINDS = ("flip", "flips", "cut", "overwritten", "zeros", "dropped", "doubled")
_EVENTS = 4000

Rows = Counter[tuple[int, int, int, bool]]


def rows_of(events: Events) -> Rows:
    """Return events as a multiset of rows."""
    columns = (events.t, events.x, events.y, events.p)
    return Counter(zip(*(column.tolist() for column in columns), strict=True))


def drawn(seed: int) -> Events:
    """Return events of a moving edge with noise: dense rows, and single events."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 40_000, _EVENTS)) // 3 * 3
    x = (t // 150 + rng.integers(0, 6, _EVENTS)) % 320
    y = np.where(rng.random(_EVENTS) < 0.8, t // 40 % 240, rng.integers(0, 240, _EVENTS))
    order = np.lexsort((x, y, t))
    p = rng.random(_EVENTS) < 0.5
    return Events(t=t[order], x=x[order], y=y[order], p=p, size=(320, 240))


def damaged(content: bytes, head: int, number: int) -> tuple[str, bytes]:
    """Return the kind of a mutation behind byte `head`, and the content."""
    rng = Random(number)
    kind = KINDS[number % len(KINDS)]
    data = bytearray(content)
    at = rng.randrange(head, len(data) - 1)
    length = min(1 << rng.randrange(12), len(data) - at)
    if kind in ("flip", "flips"):
        for _ in range(1 if kind == "flip" else 10):
            place = rng.randrange(8 * head, 8 * len(data))
            data[place // 8] ^= 1 << place % 8
    elif kind == "cut":
        del data[at:]
    elif kind == "overwritten":
        data[at : at + length] = rng.randbytes(length)
    elif kind == "zeros":
        data[at : at + length] = bytes(length)
    elif kind == "dropped":
        del data[at : at + rng.choice([1, 2, 3, 4, 8, length])]
    else:
        data[at:at] = data[max(head, at - length) : at]
    return kind, bytes(data)


def subjects(folder: Path, recordings: Path | None) -> Iterator[tuple[str, str, bytes, int]]:
    """Yield name, format, content and length of the header of each file."""
    path = folder / "sound"
    for name in ENCODINGS:
        save_events(drawn(1), path, format=name, overwrite=True)
        content = path.read_bytes()
        yield f"{name}, written", name, content, _header_length(content, name)
    for real in sorted(
        [*recordings.glob("*.raw"), *recordings.glob("*.dat")] if recordings else []
    ):
        content = real.read_bytes()
        recording = open_events(real)
        head, name = _header_length(content, recording.format), recording.format
        body = content[head : head + 16_000]
        size = f"% geometry {recording.size}\n".encode()
        if name != "dat":
            lines = content[:head].split(b"% end\n")[0]
            content = lines + (b"" if b"geometry" in lines else size) + b"% end\n"
        else:
            width, height = recording.size
            content = f"% Width {width}\n% Height {height}\n".encode() + content[:head]
        yield f"{name}, {real.stem}", name, content + body, len(content)


def _header_length(content: bytes, name: str) -> int:
    at = 0
    while content[at : at + 2] == b"% ":
        ended = content[at : at + 6] == b"% end\n"
        at = content.index(b"\n", at) + 1
        if ended:
            break
    return at + 2 if name == "dat" else at


def measure(folder: Path, name: str, content: bytes, head: int, mutations: int) -> str:
    """Return the row of one file."""
    path = folder / "damaged"
    path.write_bytes(content)
    true = rows_of(load_events(path, format=name))
    total, kept, unseen, wrong, read, by_kind = 0, 0, 0, 0, 0, Counter[str]()
    times: Counter[str] = Counter()
    for number in range(mutations):
        kind, data = damaged(content, head, number)
        path.write_bytes(data)
        try:
            recording = open_events(path, format=name, strict=False)
            found = rows_of(recording.load())
        except DvskitError:
            continue
        good, false = (found & true).total(), (found - true).total()
        total, kept, read = total + true.total(), kept + good, read + found.total()
        by_kind[kind] += good
        times[kind] += true.total()
        if recording.damage:
            wrong += false
        else:
            unseen += false
    kinds = " ".join(f"{by_kind[kind] / max(1, times[kind]):8.1%}" for kind in KINDS)
    return f"{true.total():7} {kept / total:7.1%} {unseen:7} {wrong / max(1, read):7.2%} {kinds}"


def main() -> None:
    """Print a row for each file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recordings", nargs="?", type=Path)
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    print(f"{'file':34}{'events':>7} {'kept':>7} {'unseen':>7} {'wrong':>7} ", end="")
    print(" ".join(f"{kind[:8]:>8}" for kind in KINDS))
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for title, name, content, head in subjects(folder, given.recordings):
            if given.only in title:
                row = measure(folder, name, content, head, given.mutations)
                print(f"{title:34}{row}", flush=True)


if __name__ == "__main__":
    main()
