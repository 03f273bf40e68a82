"""CSV and rpg text: numbers exact against Python's decimals, dialects, pipes, what damage costs."""

from __future__ import annotations

import os
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events.sources import read_all
from dvskit.formats import InputStream, ReadOptions
from dvskit.formats.text import csv, rpg
from dvskit.formats.text.lines import CHUNK_BYTES, LONGEST_LINE
from tests.arriving import Pieces, cut, small
from tests.laws import refused, rows_of, scattered

SIZE = dvskit.Size(1280, 720)
EXTREMES = Events(
    t=[-1_000_001, -1, 0, 999_999, 10**6, 1_605_537_493_718_345, 2**62],
    x=[1, 9, 10, 99, 100, 32766, 5],
    y=[0, 10, 9, 100, 99, 1, 5],
    p=[1, 0, 1, 1, 1, 0, 0],
    size=(32767, 32767),
)


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def many(count: int, seed: int = 0) -> Events:
    """Return events whose times have any number of digits."""
    rng = np.random.default_rng(seed)
    times = [10**digits - late for digits in range(17) for late in (0, 1)]
    events = scattered(count, SIZE, seed=seed)
    t = np.sort(np.concatenate([times, rng.integers(0, 10**15, count - len(times))]))
    return Events(t=t, x=events.x, y=events.y, p=events.p, size=SIZE)


def seconds(t: int) -> str:
    return f"{'-' * (t < 0)}{abs(t) // 10**6}.{abs(t) % 10**6:06}"


def lines_of(
    events: Events, order: str, separator: str = ",", off: str = "0", end: str = "\n"
) -> str:
    """Write events with Python: `s` in `order` is the time in seconds."""
    lines = []
    for t, x, y, p in rows_of(events):
        fields = {"t": str(t), "s": seconds(t), "x": str(x), "y": str(y), "p": "1" if p else off}
        lines.append(separator.join(fields[name] for name in order) + end)
    return "".join(lines)


@pytest.mark.parametrize(
    ("suffix", "head", "order", "separator"),
    [(".csv", "t,x,y,p\n", "txyp", ","), (".txt", "", "sxyp", " ")],
)
@pytest.mark.parametrize("events", [scattered(2000), EXTREMES], ids=["scattered", "extremes"])
def test_what_is_written_is_plain_text(tmp_path, suffix, head, order, separator, events):
    path = tmp_path / f"a{suffix}"
    dvskit.save_events(events, path)
    assert path.read_text() == head + lines_of(events, order, separator)
    assert dvskit.load_events(path, size=events.sensor_size) == events
    first = Events(t=[-(2**63)], x=[0], y=[0], p=[0], size=(1, 1))
    dvskit.save_events(first, path, overwrite=True)
    assert path.read_text() == head + lines_of(first, order, separator)


def test_files_of_no_events(tmp_path):
    dvskit.save_events(Events.empty((5, 6)), tmp_path / "a.csv")
    assert dvskit.load_events(tmp_path / "a.csv", size=(5, 6)) == Events.empty((5, 6))
    with refused(FormatError, "b.csv"):
        dvskit.load_events(text(tmp_path / "b.csv", "t,x,y,p\n"))


@pytest.mark.parametrize("seed", range(4))
def test_seconds_are_exact_to_the_microsecond(tmp_path, seed):
    rng = np.random.default_rng(seed)
    # Floats would move these.
    numbers = ["-0.0000015", "0.0000004999", "4.35", "1605537493.718345", "1605537493.7183455"]
    for _ in range(400):
        value = rng.integers(0, 10 ** int(rng.integers(1, 13)))
        places = int(rng.integers(0, 12))
        number = f"{int(value) / 10**places:.{int(rng.integers(0, 13))}f}"
        if rng.random() < 0.3:
            number = f"{float(number):.{int(rng.integers(0, 17))}e}"
        numbers.append(number)
    numbers.sort(key=Decimal)
    path = text(tmp_path / "a.txt", "".join(f"{number} 1 2 1\n" for number in numbers))
    exact = [int((Decimal(n) * 10**6).to_integral_value(ROUND_HALF_UP)) for n in numbers]
    assert dvskit.load_events(path).t.tolist() == exact


@pytest.mark.parametrize(
    "content",
    [
        "1,2,3,0\n5,4,1,1\n",
        "1, 2, 3, 0\r\n5 ,4,1,1\r\n",
        "1 2 3 0\n5\t4 1 1",
        "1;2;3;-1\n5;4;1;1\n",
        "# a comment\n\n1,2,3,0\n% another\n5,4,1,1\n\n",
        "t,x,y,p\n1,2,3,0\n5,4,1,1\n",
        "x,y,p,t\n2,3,0,1\n4,1,1,5\n",
        "Timestamp [us], X, Y, Polarity\n1,2,3,False\n5,4,1,True\n",
        '"x","y","on","t_us","more"\n2,3,0,1,abc\n4,1,1,5,\n',
        "t_s,x,y,p\n0.000001,2,3,0\n5e-6,4,1,1\n",
        "t,x,y,p\n1.0,2.0,3.000,0\n5.,4,1,+1\n",
    ],
)
def test_csv_in_its_dialects(tmp_path, content):
    recording = dvskit.open_events(text(tmp_path / "a.csv", content))
    assert rows_of(read_all(recording)) == [(1, 2, 3, False), (5, 4, 1, True)]
    assert (recording.size, recording.size_origin) == ((5, 4), "data")
    assert bool(recording.assumptions) or any(letter in content.lower() for letter in "xy")


@pytest.mark.parametrize(
    ("order", "separator", "off", "end"),
    [
        ("txyp", ",", "0", "\n"),
        ("xypt", " ", "-1", "\r\n"),
        ("ptyx", ";", "0", "\r\n"),
        ("yxtp", "\t", "-1", "\n"),
    ],
)
def test_columns_are_read_in_the_order_that_is_asked_for(tmp_path, order, separator, off, end):
    events = many(300)
    path = tmp_path / "a.csv"
    for written in (order, order.replace("t", "s")):
        columns = ",".join(written).replace("s", "t_s")
        lines = lines_of(events, written, separator, off, end)
        for head in ("", separator.join(order) + end):
            path.write_bytes((head + lines).encode())
            assert dvskit.load_events(path, format=f"csv:{columns}", size=SIZE) == events


def test_columns_that_are_asked_for_are_checked(tmp_path):
    path = text(tmp_path / "a.csv", "7,5,x,1,0,2\n")
    events = dvskit.load_events(path, format="csv:x,t,-,p,-,y", size=(9, 9))
    assert rows_of(events) == [(5, 7, 2, True)]
    for wrong in ("x,y,t", "x,y,t,p,on", "q,x,y,p", ""):
        with refused(FormatError, "a.csv"):
            dvskit.open_events(path, format=f"csv:{wrong}", size=(9, 9))


@pytest.mark.parametrize(
    ("name", "content", "size"),
    [
        ("a.csv", "%geometry:1280,720\nx,y,p,t\n1,2,1,9\n", (1280, 720)),
        ("a.csv", "t,x@320,y@240,on\n9,1,2,True\n", (320, 240)),
        ("a.txt", "240 180\n0.000009 1 2 1\n", (240, 180)),
    ],
)
def test_the_size_comes_from_the_file_or_the_argument(tmp_path, name, content, size):
    path = text(tmp_path / name, content)
    recording = dvskit.open_events(path)
    assert (recording.size, recording.size_origin) == (size, "header")
    assert rows_of(recording.load()) == [(9, 1, 2, True)]
    assert dvskit.open_events(path, size=(9, 9)).size_origin == "argument"


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.csv", "1,2,3,1,5\n", "5 columns"),
        ("a.csv", "t,x,y\n1,2,3\n", "t, x, y"),
        ("a.csv", "t,x,y,p,on\n1,2,3,1,1\n", "t, x, y, p, on"),
        ("a.csv", "t_ns,x,y,p\n1,2,3,1\n", "t_ns"),
        ("a.csv", "# nothing\n", ""),
        ("a.csv", "a\0b\n", "byte 1"),
        ("a.txt", "12345 1 2 1\n12346 1 2 1\n", "csv"),
        ("a.txt", "\n", ""),
        ("a.csv", "#\0 a comment\nt,x,y,p\n1,2,3,1\n", "byte 1"),
    ],
)
def test_files_that_are_not_lines_of_events_are_refused(tmp_path, name, content, named):
    for strict in (True, False):
        with refused(FormatError, name, named):
            dvskit.open_events(text(tmp_path / name, content), strict=strict)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "3 1\n0.000001 2 3 1\n0.000005 4 1 0\n"),
        ("a.txt", "0.000001 2 3 1\n0.0\0 2 3 1\n0.000005 4 1 0\n"),
        ("a.csv", "# a comment \u00e9\nt,x,y,p\n1,2,3,1\n% fine\n#\x01 4\n5,4,1,0\n"),
    ],
)
def test_damage_in_a_head_or_a_comment_costs_that_line_alone(tmp_path, name, content):
    path = text(tmp_path / name, content)
    with pytest.raises(FormatError):
        dvskit.load_events(path, size=(9, 9))
    recording = dvskit.open_events(path, size=(9, 9), strict=False)
    assert rows_of(read_all(recording)) == [(1, 2, 3, True), (5, 4, 1, False)]
    assert recording.damage.count >= 1


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("x1,2,3,1", "field 1"),
        ("8,2,,1", "field 3"),
        ("8,2,3", "3 fields"),
        ("8,2,3,2", "polarity"),
        ("8,2,3,-1", "polarity"),
        ("8.5,2,3,1", "field 1"),
        ("8e40,2,3,1", "field 1"),
        ("8,2,3,Truer", "field 4"),
        ("8,2,3000,1", "50x60"),
        ("8,-2,3,1", "50x60"),
        ("6,2,3,1", "from 7 to 6"),
        ("8-2,3,1,1", "field 1"),
        ("5" * (LONGEST_LINE + CHUNK_BYTES) + ",1,2,1", LONGEST_LINE),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_impossible_line_is_an_error_with_its_offset_and_salvage_skips_it(tmp_path, line, named):
    good = "5,1,1,0\n7,2,2,1\n"
    path = text(tmp_path / "a.csv", f"{good}{line}\n9,3,3,0\n")
    with pytest.raises(DamagedFileError, match=str(named)) as caught:
        dvskit.load_events(path, size=(50, 60))
    assert caught.value.offset == len(good)
    recording = dvskit.open_events(path, size=(50, 60), strict=False)
    events = read_all(recording)
    assert (len(events), events.t[0], events.t[-1]) == (3, 5, 9)
    assert (recording.damage.count, recording.damage.lost_bytes) == (1, len(line) + 1)


def test_a_second_way_to_write_off_is_damage_in_a_later_chunk_too(tmp_path):
    path = text(tmp_path / "a.csv", "1,2,3,0\n" * 500 + "2,2,3,-1\n")
    with small("csv"), pytest.raises(DamagedFileError, match="polarity") as caught:
        dvskit.load_events(path, size=(9, 9))
    assert caught.value.offset == 4000


def lines_of_any_kind(rng: np.random.Generator, suffix: str) -> str:
    """Return an event's fields, written in one of many ways."""
    t, x, y = int(rng.integers(0, 2000)), int(rng.integers(0, 20)), int(rng.integers(0, 10))
    time = f"{t / 10**6:.{int(rng.choice([6, 7, 9]))}f}" if suffix == ".txt" else str(t)
    separator = str(rng.choice([",", " ", ", ", ";", "\t", "  "]))
    parts = [time, str(x), f"{y:02}", str(int(rng.choice([0, 1, 1, 2, -1])))]
    if rng.random() < 0.1:
        parts[int(rng.integers(4))] = str(rng.choice(["", "a", "1.5", "+1", "-", "7e1", "9" * 30]))
    if rng.random() < 0.05:
        parts.append("3")
    return separator.join(parts) + str(rng.choice(["\n", "\n", "\r\n", " \n", "\n\n"]))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_the_short_way_through_plain_lines_gives_what_the_long_way_does(tmp_path, suffix, seed):
    rng = np.random.default_rng(seed)
    first = "0.5 1 2 1\n" if suffix == ".txt" else "0,1,2,1\n"
    content = first + "".join(lines_of_any_kind(rng, suffix) for _ in range(400))
    if seed % 2:
        content = content.rstrip("\n")
    recording = dvskit.open_events(text(tmp_path / f"a{suffix}", content), strict=False)
    short = read_all(recording)
    padded = "".join(f" {line}" for line in content.splitlines(keepends=True))
    again = dvskit.open_events(
        text(tmp_path / f"b{suffix}", padded), strict=False, size=recording.size
    )
    assert read_all(again) == short
    assert len(short) > 5
    assert again.damage.count == recording.damage.count


@pytest.mark.parametrize("order", ["txyp", "sxyp"])
@pytest.mark.parametrize("strict", [True, False])
def test_a_part_is_found_without_reading_what_is_ahead(tmp_path, order, strict):
    events = many(20_000)
    head = "t_s,x,y,p\n" if order[0] == "s" else "t,x,y,p\n"
    lines = lines_of(events, order, off="-1")
    path = text(tmp_path / "a.csv", head + "nonsense\n" + lines)
    recording = dvskit.open_events(path, size=SIZE, strict=strict)
    rng = np.random.default_rng(2)
    for t in rng.choice(events.t[10_000:], 20).tolist():
        stop = t + int(rng.integers(1, 10**12))
        assert recording.between(t, stop).load() == events.between(t, stop)
        assert not recording.damage
    if strict:
        with pytest.raises(FormatError):
            recording.load()
    else:
        assert recording.load() == events


@pytest.mark.parametrize(
    ("opened", "content", "size"),
    [
        (csv.open_stream, "# a comment\nt,x@1280,y@720,on\n" + lines_of(many(50), "txyp"), None),
        (csv.open_stream, lines_of(many(50), "txyp")[:-1], SIZE),
        (rpg.open_stream, "1280 720\n" + lines_of(many(50), "sxyp", " "), None),
    ],
)
def test_a_pipe_with_any_head_is_read_once(opened, content, size):
    stream = InputStream(Pieces(cut(content.encode(), 7)), "a pipe")
    recording = opened(stream, ReadOptions(size=size))
    assert recording.size == SIZE
    assert read_all(recording) == many(50)
    with refused(FormatError, "a pipe"):
        read_all(recording)


def test_a_pipe_without_a_size_is_refused():
    stream = InputStream(Pieces(iter([b"1,2,3,1\n"])), "a pipe")
    with refused(GeometryError, "a pipe", "size"):
        csv.open_stream(stream, ReadOptions())


def test_lines_are_handed_on_as_they_arrive():
    pieces = Pieces(iter([b"1,2,3,1\n", b"2,2,3,1\n3,2,", b"3,1\n"]))
    blocks = iter(csv.open_stream(InputStream(pieces, "a pipe"), ReadOptions(size=SIZE)))
    for number in (1, 2, 3):
        assert next(blocks).t.tolist() == [number]
        assert pieces.asked == number


def test_the_size_of_a_large_file_is_found_once(tmp_path, monkeypatch):
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    path = text(tmp_path / "a.csv", "1234567,123,45,1\n" * (1 << 20))
    assert dvskit.open_events(path).size == (124, 46)
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"1234567,923,45,1\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert dvskit.open_events(path).size == (124, 46)
    path.touch()
    assert dvskit.open_events(path).size == (924, 46)
