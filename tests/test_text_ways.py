"""Text by any way: the quick and the long one, slices, pipes, parts, and columns that are named."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import read_all
from dvskit.formats import InputStream, ReadOptions
from dvskit.formats.storage import new_columns
from dvskit.formats.text import csv, decoding, rpg
from dvskit.formats.text import line_kernels as k
from dvskit.formats.text import lines as text_lines
from tests.test_events import make
from tests.test_text import rows_of, text

SIZE = dvskit.Size(1280, 720)


def many(count: int, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        t=np.cumsum(rng.integers(0, 10 ** rng.integers(1, 8), count)) + rng.integers(0, 10**15),
        x=rng.integers(0, 1280, count),
        y=rng.integers(0, 720, count),
        p=rng.integers(0, 2, count),
        size=SIZE,
    )


def lines_of(events: Events, order: str, separator: str, off: str, end: str) -> str:
    """Write events with Python: `s` in `order` is the time in seconds."""
    fields = {
        "t": str,
        "s": lambda t: f"{t // 10**6}.{t % 10**6:06}",
        "x": str,
        "y": str,
        "p": lambda p: "1" if p else off,
    }
    columns = [
        [fields[name](value) for value in getattr(events, "t" if name == "s" else name).tolist()]
        for name in order
    ]
    return "".join(separator.join(row) + end for row in zip(*columns, strict=True))


@pytest.mark.parametrize("order", ["txyp", "xypt", "ptyx", "yxtp"])
@pytest.mark.parametrize("separator", [",", " ", ";", "\t"])
@pytest.mark.parametrize("off", ["0", "-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_are_read_in_the_order_that_is_asked_for(tmp_path, order, separator, off, end):
    events = many(300, seed=len(order + separator))
    path = tmp_path / "a.csv"
    path.write_bytes(lines_of(events, order, separator, off, end).encode())
    assert dvskit.load_events(path, format=f"csv:{','.join(order)}", size=SIZE) == events
    seconds = order.replace("t", "s")
    path.write_bytes(lines_of(events, seconds, separator, off, end).encode())
    names = ",".join(seconds).replace("s", "t_s")
    assert dvskit.load_events(path, format=f"csv:{names}", size=SIZE) == events
    path.write_bytes((separator.join(order) + end).encode() + path.read_bytes())
    assert dvskit.load_events(path, format=f"csv:{names}", size=SIZE) == events


def test_columns_that_are_asked_for_are_checked(tmp_path):
    path = text(tmp_path / "a.csv", "7,5,x,1,0,2\n")
    events = dvskit.load_events(path, format="csv:x,t,-,p,-,y", size=(9, 9))
    assert rows_of(events) == [(5, 7, 2, True)]
    for wrong in ("x,y,t", "x,y,t,p,on", "q,x,y,p", ""):
        with pytest.raises(FormatError, match="once each"):
            dvskit.open_events(path, format=f"csv:{wrong}", size=(9, 9))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["txyp", "sxyp"])
@pytest.mark.parametrize("chunk", [200, 1000, 1 << 20])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("strict", [True, False])
def test_events_do_not_depend_on_chunks_slices_and_threads(
    tmp_path, monkeypatch, order, chunk, threads, strict
):
    events = many(2000)
    content = lines_of(events, order, ",", "0", "\n")
    lines = content.splitlines(keepends=True)
    for place in range(0, 2000, 97):
        lines[place] = ["# a comment\n", "\n", " "][place % 3] + lines[place]
    path = text(tmp_path / "a.csv", "t_s,x,y,p\n" * (order[0] == "s") + "".join(lines))
    monkeypatch.setattr(decoding, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(decoding, "_SLICE_BYTES", 64)
    monkeypatch.setenv("DVSKIT_THREADS", str(threads))
    recording = dvskit.open_events(path, size=SIZE, strict=strict)
    assert recording.load() == events
    assert read_all(recording) == events
    assert not recording.damage


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("strict", [True, False])
def test_damage_costs_the_same_however_lines_are_cut(tmp_path, monkeypatch, seed, strict):
    rng = np.random.default_rng(seed)
    lines = lines_of(many(600, seed), "txyp", ",", "0", "\n").splitlines(keepends=True)
    for place in rng.integers(0, 600, 4).tolist():
        lines[place] = str(
            rng.choice(["x\n", "1,2\n", lines[place][1:], "9" + lines[place], "5,5000,5,1\n"])
        )
    path = text(tmp_path / "a.csv", "".join(lines))

    def outcome() -> object:
        recording = dvskit.open_events(path, size=SIZE, strict=strict)
        try:
            return rows_of(recording.load()), sorted(recording.damage.losses)
        except DamagedFileError as error:
            return str(error)

    monkeypatch.setenv("DVSKIT_THREADS", "1")
    whole = outcome()
    monkeypatch.setattr(decoding, "CHUNK_BYTES", int(rng.integers(40, 4000)))
    monkeypatch.setattr(decoding, "_SLICE_BYTES", 50)
    monkeypatch.setenv("DVSKIT_THREADS", "2")
    assert outcome() == whole


@pytest.mark.parametrize("length", [100, 5000])
def test_a_line_that_is_too_long_is_lost_alone(tmp_path, monkeypatch, length):
    monkeypatch.setattr(decoding, "LONGEST_LINE", 64)
    monkeypatch.setattr(decoding, "CHUNK_BYTES", 50)
    path = text(tmp_path / "a.csv", "1,2,3,1\n" + "5" * length + ",1,2,1\n6,1,2,1\n7,1,2,0\n")
    with pytest.raises(DamagedFileError) as caught:
        dvskit.load_events(path, size=(9, 9))
    assert caught.value.offset == 8
    recording = dvskit.open_events(path, size=(9, 9), strict=False)
    assert recording.load().t.tolist() == [1, 6, 7]
    assert recording.damage.lost_bytes == length + 7


def test_the_numbers_of_eight_digits_at_once_are_those_of_python():
    rng = np.random.default_rng(1)
    fields, state = np.arange(4), np.zeros(k.STATE_FIELDS, np.int64)
    columns = t, x, y, p = new_columns(1)
    for digits in [*range(1, 17), *range(1, 17)]:
        time = int(rng.integers(0, 10**digits))
        line = f"{time:0{digits}},{digits},{time % 720:04},1\n".encode()
        data = np.frombuffer(line + b"5" * k.PADDING, np.uint8)
        end = k.decode(data, 0, len(line), fields, k.USUAL, 44, 0, False, *SIZE, state, columns)
        assert (end, t[0], x[0], y[0], p[0]) == (len(line), time, digits, time % 720, True)


@pytest.mark.parametrize("places", range(1, 13))
def test_decimals_are_rounded_to_the_nearest_microsecond(tmp_path, places):
    rng = np.random.default_rng(places)
    numbers = sorted(int(n) for n in rng.integers(0, 10 ** (places + 3), 200))
    written = [f"{n // 10**places}.{n % 10**places:0{places}}" for n in numbers]
    path = text(tmp_path / "a.txt", "".join(f"{number} 1 2 1\n" for number in written))
    exact = [(2 * n * 10**6 + 10**places) // (2 * 10**places) for n in numbers]
    assert dvskit.load_events(path, size=SIZE).t.tolist() == exact


@pytest.mark.parametrize("order", ["txyp", "sxyp"])
@pytest.mark.parametrize("strict", [True, False])
def test_a_part_is_found_by_bisection(tmp_path, monkeypatch, order, strict):
    monkeypatch.setattr(text_lines, "LONGEST_LINE", 300)
    monkeypatch.setattr(text_lines, "_PROBE_BYTES", 700)
    events = many(3000)
    path = text(
        tmp_path / "a.csv",
        "t_s,x,y,p\n" * (order[0] == "s") + lines_of(events, order, ",", "-1", "\n"),
    )
    recording = dvskit.open_events(path, size=SIZE, strict=strict)
    rng = np.random.default_rng(2)
    for t in rng.choice(events.t, 30).tolist():
        assert recording.between(t, t + 1).load() == events.between(t, t + 1)
        stop = t + int(rng.integers(0, 10**7))
        assert recording.between(t - 5, stop).load() == events.between(t - 5, stop)
    assert recording.between(-(10**17), 10**17).load() == events
    assert text_lines.find_time(path, recording._lines, int(events.t[2900])) > 0.9 * len(
        path.read_bytes()
    )


class Pipe:
    """A pipe that gives what is put into it, piece by piece."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = list(pieces)

    def readinto(self, buffer: memoryview, /) -> int:
        if not self.pieces:
            return 0
        piece = self.pieces.pop(0)
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        if count < len(piece):
            self.pieces.insert(0, piece[count:])
        return count


@pytest.mark.parametrize("cut", [1, 7, 64, 5000])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("head", ["", "t,x,y,p\n", "# a comment\nt,x@1280,y@720,on\n"])
def test_a_pipe_gives_the_same_as_a_file(cut, strict, head):
    events = many(500)
    content = (head + lines_of(events, "txyp", ",", "0", "\n")).encode()[:-1]
    pipe = Pipe([content[at : at + cut] for at in range(0, len(content), cut)])
    size = None if "@" in head else SIZE
    stream = InputStream(pipe, "a pipe")
    recording = csv.open_stream(stream, ReadOptions(size=size, strict=strict))
    assert (recording.format, recording.size) == ("csv", SIZE)
    assert read_all(recording) == events
    with pytest.raises(FormatError, match="read once"):
        read_all(recording)


def test_a_pipe_of_seconds_gives_the_same_as_a_file():
    events = many(500)
    content = b"1280 720\n" + lines_of(events, "sxyp", " ", "0", "\n").encode()
    recording = rpg.open_stream(InputStream(Pipe([content]), "a pipe"), ReadOptions())
    assert (recording.format, recording.size_origin) == ("rpg", "header")
    assert read_all(recording) == events


def test_a_pipe_without_a_size_is_refused_with_the_mend():
    stream = InputStream(Pipe([b"1,2,3,1\n"]), "a pipe")
    with pytest.raises(GeometryError, match="pass size"):
        csv.open_stream(stream, ReadOptions())


def test_damage_in_a_pipe_has_its_offset():
    content = b"t,x,y,p\n1,2,3,1\nwhat\n5,2,3,1\n"
    stream = InputStream(Pipe([content[:20], content[20:]]), "a pipe")
    with pytest.raises(DamagedFileError) as caught:
        read_all(csv.open_stream(stream, ReadOptions(size=SIZE)))
    assert caught.value.offset == 16
    stream = InputStream(Pipe([content[:20], content[20:]]), "a pipe")
    recording = csv.open_stream(stream, ReadOptions(size=SIZE, strict=False))
    assert read_all(recording).t.tolist() == [1, 5]
    assert recording.damage.losses[0][:2] == (16, 5)


def test_lines_are_handed_on_as_they_arrive():
    output, end = os.pipe()
    answers, seen = [], threading.Event()

    def read() -> None:
        with io.FileIO(output) as raw:
            for block in csv.open_stream(InputStream(raw, "a pipe"), ReadOptions(size=SIZE)):
                answers.append(block.t.tolist())
                seen.set()

    reader = threading.Thread(target=read)
    reader.start()
    for content, expected in ((b"1,2,3,1\n", [1]), (b"2,2,3,1\n3,2,", [2]), (b"3,1\n", [3])):
        seen.clear()
        os.write(end, content)
        assert seen.wait(20), "the line is waited for, and nothing comes"
        assert answers[-1] == expected
    os.close(end)
    reader.join(20)
    assert not reader.is_alive()


@pytest.mark.slow
def test_the_memory_is_bounded_by_the_block(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("ru_maxrss is in other units elsewhere")
    line = b"1234567,123,45,1\n"
    with (tmp_path / "a.csv").open("wb") as file:
        for _ in range(150):
            file.write(line * (1 << 16))  # 160 MB
    code = (
        "import dvskit, resource, sys\n"
        "r = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "source = dvskit.open_events(sys.argv[1], size=(1280, 720))\n"
        "blocks = source.blocks(reuse=True); count = len(next(blocks)); before = r()\n"
        "count += sum(len(block) for block in blocks)\n"
        "print(count, r() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.csv")],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    count, megabytes = done.stdout.split()
    assert int(count) == 150 << 16
    assert float(megabytes) < 60


def test_the_size_of_a_large_file_is_found_once(tmp_path, monkeypatch):
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(text_lines, "_KEPT_BYTES", 0)
    events = make(300)
    path: Path = tmp_path / "a.csv"
    dvskit.save_events(events, path)
    first = dvskit.open_events(path)
    monkeypatch.setattr(text_lines, "_extent", None)
    second = dvskit.open_events(path)
    assert first.size == second.size
    assert second.load().t.tolist() == events.t.tolist()
