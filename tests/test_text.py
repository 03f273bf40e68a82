"""CSV and rpg text: numbers exact against Python's decimals, a plain twin, what damage costs."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import DamagedFileError, FormatError
from dvskit.events import read_all
from dvskit.formats import open_sink
from dvskit.formats.text import line_kernels
from dvskit.formats.text import lines as text_lines
from tests.test_events import make

EXTREMES = Events(
    t=[-(2**63), -1_000_001, -1, 0, 999_999, 10**6, 1_605_537_493_718_345, 2**62],
    x=[0, 1, 9, 10, 99, 100, 32766, 5],
    y=[32766, 0, 10, 9, 100, 99, 1, 5],
    p=[0, 1, 0, 1, 1, 1, 0, 0],
    size=(32767, 32767),
)


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def rows_of(events: Events) -> list[tuple[int, int, int, bool]]:
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def plain_line(t: int, x: int, y: int, p: bool, suffix: str) -> str:
    if suffix == ".csv":
        return f"{t},{x},{y},{int(p)}\n"
    sign, whole = "-" if t < 0 else "", abs(t)
    return f"{sign}{whole // 10**6}.{whole % 10**6:06} {x} {y} {int(p)}\n"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
@pytest.mark.parametrize("cut", [1, 7, 64, 5000])
def test_what_is_written_is_plain_text_however_the_stream_is_cut(
    tmp_path, monkeypatch, suffix, cut
):
    events = make(2000)
    monkeypatch.setattr(text_lines, "BUFFER_BYTES", line_kernels.MOST_BYTES + cut)
    with open_sink(tmp_path / f"a{suffix}", events.size) as sink:
        for start in range(0, len(events), cut):
            sink.write(events[start : start + cut])
    assert "(20, 10)" in sink.notes[0]
    head = "t,x,y,p\n" if suffix == ".csv" else ""
    plain = head + "".join(plain_line(*row, suffix) for row in rows_of(events))
    assert (tmp_path / f"a{suffix}").read_text() == plain
    assert dvskit.load_events(tmp_path / f"a{suffix}", size=events.size) == events


@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_extremes_come_back(tmp_path, suffix):
    events = EXTREMES[1:]
    path = tmp_path / f"a{suffix}"
    dvskit.save_events(events, path)
    assert dvskit.load_events(path, size=events.size) == events
    dvskit.save_events(EXTREMES, path, overwrite=True)
    assert path.read_text().splitlines()[suffix == ".csv"].split(",")[0].split()[0] in (
        "-9223372036854775808",
        "-9223372036854.775808",
    )


def test_files_of_no_events(tmp_path):
    dvskit.save_events(Events.empty((5, 6)), tmp_path / "a.csv")
    assert dvskit.load_events(tmp_path / "a.csv", size=(5, 6)) == Events.empty((5, 6))
    with pytest.raises(FormatError, match="no line is an event"):
        dvskit.load_events(text(tmp_path / "b.csv", "t,x,y,p\n"))


def decimal_us(number: str) -> int:
    return int((Decimal(number) * 10**6).to_integral_value(ROUND_HALF_UP))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_seconds_are_exact_to_the_microsecond(tmp_path, seed):
    rng = np.random.default_rng(seed)
    numbers = []
    for _ in range(100):
        value = rng.integers(0, 10 ** int(rng.integers(1, 13)))
        places = int(rng.integers(0, 12))
        number = f"{int(value) / 10**places:.{int(rng.integers(0, 13))}f}"
        if rng.random() < 0.3:
            number = f"{float(number):.{int(rng.integers(0, 17))}e}"
        numbers.append(number)
    numbers.sort(key=Decimal)
    path = text(
        tmp_path / "a.txt", "".join(f"{number} 1 2 1\n" for number in numbers) + "4e12 0 0 0"
    )
    events = dvskit.load_events(path)
    assert events.t[:-1].tolist() == [decimal_us(number) for number in numbers]


def test_numbers_that_floats_would_move(tmp_path):
    path = text(
        tmp_path / "a.txt",
        "-0.0000015 0 0 0\n0.0000004999 0 0 1\n4.35 1 1 0\n1605537493.718345 2 2 1\n"
        "1605537493.7183455 2 2 1\n",
    )
    assert dvskit.load_events(path).t.tolist() == [
        -2,
        0,
        4_350_000,
        1_605_537_493_718_345,
        1_605_537_493_718_346,
    ]


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
    told = any("no header line" in line for line in recording.assumptions)
    assert told == (not any(letter in content.lower() for letter in "xy"))


def test_size_comes_from_the_file_or_the_argument(tmp_path):
    metavision = text(tmp_path / "a.csv", "%geometry:1280,720\nx,y,p,t\n1,2,1,9\n")
    recording = dvskit.open_events(metavision)
    assert (recording.size, recording.size_origin) == ((1280, 720), "header")
    faery = text(tmp_path / "b.csv", "t,x@320,y@240,on\n1,2,3,True\n")
    recording = dvskit.open_events(faery)
    assert (recording.size, recording.size_origin) == ((320, 240), "header")
    e2vid = text(tmp_path / "a.txt", "240 180\n0.5 1 2 1\n")
    recording = dvskit.open_events(e2vid)
    assert (recording.size, recording.size_origin) == ((240, 180), "header")
    assert rows_of(read_all(recording)) == [(500_000, 1, 2, True)]
    assert dvskit.open_events(e2vid, size=(9, 9)).size_origin == "argument"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "1,2,3,1,5\n", "5 columns"),
        ("a.csv", "t,x,y\n1,2,3\n", "once each"),
        ("a.csv", "t,x,y,p,on\n1,2,3,1,1\n", "once each"),
        ("a.csv", "t_ns,x,y,p\n1,2,3,1\n", "once each"),
        ("a.csv", "# nothing\n", "no line of events"),
        ("a.csv", "a\0b\n", "not text"),
        ("a.txt", "12345 1 2 1\n12346 1 2 1\n", "csv"),
        ("a.txt", "\n", "no line of events"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_mend(tmp_path, name, content, message):
    with pytest.raises(FormatError, match=message) as caught:
        dvskit.open_events(text(tmp_path / name, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "3 1\n0.000001 2 3 1\n0.000005 4 1 0\n"),
        ("a.txt", "0.000001 2 3 1\n0.0\0 2 3 1\n0.000005 4 1 0\n"),
    ],
)
def test_damage_in_the_first_line_of_events_costs_that_line_alone(tmp_path, name, content):
    path = text(tmp_path / name, content)
    with pytest.raises(FormatError):
        dvskit.load_events(path, size=(9, 9))
    recording = dvskit.open_events(path, size=(9, 9), strict=False)
    assert rows_of(read_all(recording)) == [(1, 2, 3, True), (5, 4, 1, False)]
    assert recording.damage.count >= 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x1,2,3,1", "field 1 is not a number"),
        ("8,2,,1", "field 3 is not a number"),
        ("8,2,3", "3 fields instead of 4"),
        ("8,2,3,1,5", "more than 4 fields"),
        ("8,2,3,2", "polarity"),
        ("8,2,3,-1", "polarity"),
        ("8.5,2,3,1", "field 1 is not whole"),
        ("8,2,3.2,1", "field 3 is not whole"),
        ("8e40,2,3,1", "field 1 is too large"),
        ("8,2,3,1e", "field 4 is not a number"),
        ("8,2,3,Truer", "field 4 is not a number"),
        ("8,99999999999,3,1", "field 2 is too large"),
        ("8,2,3000,1", "off the 50x60 sensor"),
        ("8,-2,3,1", "off the 50x60 sensor"),
        ("6,2,3,1", "runs back from 7 to 6"),
        ("8-2,3,1,1", "field 1 is not a number"),
    ],
)
def test_an_impossible_line_is_an_error_with_its_offset_and_salvage_skips_it(
    tmp_path, line, message
):
    good = "5,1,1,0\n7,2,2,1\n"
    path = text(tmp_path / "a.csv", f"{good}{line}\n9,3,3,0\n")
    with pytest.raises(DamagedFileError, match=message) as caught:
        dvskit.load_events(path, size=(50, 60))
    assert caught.value.offset == len(good)
    recording = dvskit.open_events(path, size=(50, 60), strict=False)
    events = read_all(recording)
    assert len(events) == 3
    assert events.t[-1] == 9
    assert recording.damage.count == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_faery_reads_our_csv_and_we_read_its(tmp_path):
    faery = pytest.importorskip("faery")
    events = make(500)
    dvskit.save_events(events, tmp_path / "a.csv")
    stream = faery.events_stream_from_file(tmp_path / "a.csv")
    rows = np.concatenate(list(stream))
    for name in "txyp":
        assert np.array_equal(rows[name].astype(np.int64), getattr(events, name)), name
    stream = faery.events_stream_from_file(tmp_path / "a.csv", dimensions_fallback=(20, 10))
    stream.to_file(tmp_path / "b.csv")
    assert dvskit.load_events(tmp_path / "b.csv") == events


@pytest.mark.filterwarnings("ignore")
def test_evutils_reads_our_csv(tmp_path):
    io = pytest.importorskip("evutils.io")
    events = make(500)
    dvskit.save_events(events, tmp_path / "a.csv")
    rows = io.EventReader(str(tmp_path / "a.csv"), max_time=2**62, max_events=2**40).read_all()
    for name in "txyp":
        assert np.array_equal(np.asarray(getattr(rows, name)).astype(int), getattr(events, name))


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


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_the_short_way_through_plain_lines_gives_what_the_long_way_does(tmp_path, suffix, seed):
    rng = np.random.default_rng(seed)
    first = "0.5 1 2 1\n" if suffix == ".txt" else "0,1,2,1\n"
    content = first + "".join(lines_of_any_kind(rng, suffix) for _ in range(200))
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


def test_comments_that_are_no_text_are_damage(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"# a comment \xc3\xa9\nt,x,y,p\n1,2,3,1\n% fine\n#\x01 4\n2,2,3,1\n")
    with pytest.raises(
        DamagedFileError, match="a comment holds bytes that are not text at byte 38"
    ):
        dvskit.load_events(path, size=(9, 9))
    recording = dvskit.open_events(path, size=(9, 9), strict=False)
    assert recording.load().t.tolist() == [1, 2]
    assert recording.damage.count == 1
    path.write_bytes(b"#\0 a comment\nt,x,y,p\n1,2,3,1\n")
    for strict in (True, False):
        with pytest.raises(FormatError, match="is not text: byte 1 is 0"):
            dvskit.load_events(path, size=(9, 9), strict=strict)
