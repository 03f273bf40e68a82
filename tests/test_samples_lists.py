"""Lists of samples: their columns, times, parts and groups; and each wrong line by its number."""

from __future__ import annotations

import pytest

from dvskit.datasets import open_samples
from dvskit.errors import ConfigError, FormatError, MissingFileError
from dvskit.formats import load_events
from tests.laws import refused
from tests.sample_files import folder

FILES = ("wave/a.npz", "wave/b.npz", "c.npz")


def listed(tmp_path, text, name="list.csv", files=FILES):
    folder(tmp_path, *files)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_a_list_gives_its_samples_in_its_order_with_all_that_it_says(tmp_path):
    path = listed(
        tmp_path,
        "file,label,group,start,stop,part,light\n"
        "wave/b.npz,wave,ben,,,test,\n"
        "# from the second day\n"
        "wave/a.npz,wave,anna,1000,3ms,Train,dim\n\n"
        "wave/a.npz,still,anna,3ms,,val,\n"
        'c.npz,"clap, loud",,,0.004s,,\n',
    )
    samples = open_samples(path)
    assert [row[:4] for row in samples.rows] == [
        ("wave/b.npz", "wave", "ben", "test"),
        ("wave/a.npz", "wave", "anna", "train"),
        ("wave/a.npz", "still", "anna", "validation"),
        ("c.npz", "clap, loud", None, None),
    ]
    whole = {name: load_events(tmp_path / name) for name in FILES}
    assert samples.events(0) == whole["wave/b.npz"]
    assert samples.events(1) == whole["wave/a.npz"].between(1_000, 3_000)
    assert samples.events(2) == whole["wave/a.npz"].between(3_000)
    assert samples.events(3) == whole["c.npz"].between(None, 4_000)
    assert samples.classes == ("clap, loud", "still", "wave")
    assert any("light" in note for note in samples.notes)  # a column that is not known


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "wave/a.npz,wave\nc.npz,clap\n"),
        ("list.csv", "Class,Video\nwave,wave/a.npz\nclap,c.npz\n"),
        ("list.csv", "\ufefffile;label\r\nwave/a.npz;wave\r\nc.npz;clap\r\n"),
        ("list.tsv", "path\tgesture\nwave/a.npz\twave\nc.npz\tclap"),
        ("list.csv", "file,label\nwave\\a.npz,wave\n.\\c.npz,clap\n"),
    ],
    ids=["no head", "other names", "semicolons of a spreadsheet", "tabs", "Windows"],
)
def test_lists_are_read_as_people_and_programs_write_them(tmp_path, name, text):
    samples = open_samples(listed(tmp_path, text, name))
    names = [(row.name, row.label) for row in samples.rows]
    assert names == [("wave/a.npz", "wave"), ("c.npz", "clap")]
    assert samples.events(1) == load_events(tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("header", "start", "stop", "span"),
    [
        ("start,stop", "200", "1000", (200, 1000)),
        ("start_ms,end_ms", "0.2", "1", (200, 1000)),
        ("start_s,stop_s", "0.0002", "0.001", (200, 1000)),
        ("onset,offset", "200µs", "1000 us", (200, 1000)),
        ("start,stop", "", "1ms", (0, 1000)),
        ("start,stop", "", "", None),
    ],
)
def test_times_are_microseconds_or_have_a_unit(tmp_path, header, start, stop, span):
    text = f"file,label,{header}\nc.npz,clap,{start},{stop}\nwave/a.npz,wave,,\n"
    rows = open_samples(listed(tmp_path, text)).rows
    assert [row.span for row in rows] == [span, None]


TIMES = "file,label,start,stop\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"{TIMES}gone.npz,wave,,", ["gone.npz", "line 2", "list.csv"]),
        (f"{TIMES}c.npz,,,", ["line 2", "label"]),
        (f"{TIMES},wave,,", ["line 2", "file"]),
        (f"{TIMES}c.npz,wave,1.5,3", ["line 2", "'1.5'"]),
        (f"{TIMES}c.npz,wave,-1,3", ["line 2", "'-1'"]),
        (f"{TIMES}c.npz,wave,3,3", ["line 2", "3 us"]),
        (f"{TIMES}c.npz,clap, loud,1,2", ["line 2", "5", "4"]),
        (f'{TIMES}c.npz,"wave,1,2', ["line "]),
        (f"{TIMES}c.npz,wave,,\nwave/../c.npz,clap,,", ["line 3", "line 2"]),
        (f"{TIMES}c.npz,wave,,\nwave/a.npz,Wave,,", ["Wave", "wave"]),
        ("", ["list.csv"]),
        ("file,label\n", ["list.csv"]),
        ("wave/a.npz,wave,anna\n", ["line 1", "file"]),
        ("file,person\nc.npz,anna\n", ["line 1", "'label'"]),
        ("file,path,label\nc.npz,c.npz,wave\n", ["line 1", "file"]),
        ("file,label,part\nc.npz,wave,trian\n", ["line 2", "'trian'", "'train'"]),
        ("file,label,start_s\nc.npz,wave,1ms\n", ["line 2", "'1ms'"]),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(tmp_path, text, named):
    with refused(FormatError, *named):
        open_samples(listed(tmp_path, text))


def test_a_missing_file_is_a_missing_file_or_left_out_and_counted(tmp_path):
    path = listed(tmp_path, "file,label\nc.npz,clap\ngone.npz,wave\nwave/a.npz,wave\n")
    with pytest.raises(MissingFileError) as caught:
        open_samples(path)
    assert caught.value.filename == str(tmp_path / "gone.npz")
    samples = open_samples(path, strict=False)
    assert [row.name for row in samples.rows] == ["c.npz", "wave/a.npz"]
    (left,) = samples.left_out
    assert left.path == tmp_path / "gone.npz"
    assert "line 3" in left.why


def test_bytes_that_are_no_utf8_are_refused(tmp_path):
    path = listed(tmp_path, "")
    path.write_bytes(b"file,label\nc.npz,b\xfcck\n")
    with refused(FormatError, path, "byte 18"):
        open_samples(path)


def test_people_of_a_list_are_its_column_or_in_the_names_of_files(tmp_path):
    names = ("p1_t1.npz", "p1_t2.npz", "p2_t1.npz")
    lines = "".join(f"{name},wave\n" for name in names)
    path = listed(tmp_path, "file,label\n" + lines, files=names)
    assert [row.group for row in open_samples(path).rows] == ["p1", "p1", "p2"]
    path.write_text("file,label,subject\n" + lines.replace("\n", ",7\n"))
    assert [row.group for row in open_samples(path).rows] == ["7"] * 3
    with refused(ConfigError, "layout"):
        open_samples(path, layout="class")


def test_a_file_of_any_ending_is_read_where_a_list_names_it(tmp_path):
    path = listed(tmp_path, "file,label\nrec.bak,wave\n")
    (tmp_path / "c.npz").rename(tmp_path / "rec.bak")
    assert len(open_samples(path).events(0))
    (tmp_path / "rec.bak").write_text("no events at all")
    with refused(FormatError, tmp_path / "rec.bak"):
        open_samples(path)
