"""Lists of samples: their columns, times, parts and groups; and each wrong line by its number."""

from __future__ import annotations

import pytest

from dvskit.datasets import open_samples
from dvskit.errors import ConfigError, FormatError, MissingFileError
from dvskit.formats import load_events
from tests.sample_files import folder

FILES = ("wave/a.npz", "wave/b.npz", "c.npz")


def listed(tmp_path, text, name="list.csv", files=FILES):
    folder(tmp_path, *files)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def spans(path, **options):
    return [row.span for row in open_samples(path, **options).rows]


def test_a_list_gives_its_samples_in_its_order_with_all_that_it_says(tmp_path):
    path = listed(
        tmp_path,
        "file,label,group,start,stop,part\n"
        "wave/b.npz,wave,ben,,,test\n"
        "# from the second day\n"
        "wave/a.npz,wave,anna,1000,3ms,Train\n\n"
        "wave/a.npz,still,anna,3ms,,val\n"
        'c.npz,"clap, loud",,,0.004s,\n',
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


def test_two_columns_need_no_first_line_and_more_do(tmp_path):
    path = listed(tmp_path, "wave/a.npz,wave\nc.npz,clap\n")
    assert [row.label for row in open_samples(path).rows] == ["wave", "clap"]
    path.write_text("wave/a.npz,wave,anna\n")
    with pytest.raises(
        FormatError, match=r"line 1 has no column 'file'; begin with a line such as fi"
    ):
        open_samples(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "Class,Video\nwave,wave/a.npz\nclap,c.npz\n"),
        ("list.csv", "\ufefffile;label\r\nwave/a.npz;wave\r\nc.npz;clap\r\n"),
        ("list.tsv", "path\tgesture\nwave/a.npz\twave\nc.npz\tclap"),
        (
            "list.txt",
            ' file , label \n "wave/a.npz" , wave\nwave/../c.npz, clap\n'.replace('"', ""),
        ),
        ("list.csv", "file,label\nwave\\a.npz,wave\n.\\c.npz,clap\n"),
    ],
    ids=["other names", "semicolons of a spreadsheet", "tabs", "spaces", "Windows"],
)
def test_lists_are_read_as_people_and_programs_write_them(tmp_path, name, text):
    samples = open_samples(listed(tmp_path, text, name))
    assert [(row.name, row.label) for row in samples.rows] == [
        ("wave/a.npz", "wave"),
        ("c.npz", "clap"),
    ]
    assert samples.events(1) == load_events(tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("header", "start", "stop", "span"),
    [
        ("start,stop", "200", "1000", (200, 1000)),
        ("start_us,stop_us", "200", "1000", (200, 1000)),
        ("start_ms,end_ms", "0.2", "1", (200, 1000)),
        ("start_s,stop_s", "0.0002", "0.001", (200, 1000)),
        ("begin,end", "0.2ms", "0.001 s", (200, 1000)),
        ("onset,offset", "200µs", "1000 us", (200, 1000)),
        ("start,stop", "", "1ms", (0, 1000)),
        ("start,stop", "", "", None),
    ],
)
def test_times_are_microseconds_or_have_a_unit(tmp_path, header, start, stop, span):
    text = f"file,label,{header}\nc.npz,clap,{start},{stop}\nwave/a.npz,wave,,\n"
    assert spans(listed(tmp_path, text)) == [span, None]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gone.npz,wave,,", r"gone\.npz: no such file; line 2 of .*list\.csv names it \(files are"),
        ("c.npz,,,", "line 2: has no label; write it, or remove the line"),
        (",wave,,", "line 2: has no file; write it, or remove the line"),
        ("c.npz,wave,1.5,3", r"line 2: start '1\.5' is not a whole number of microseconds; for s"),
        ("c.npz,wave,x,3", "line 2: start 'x' is not a time; write whole microseconds, or 1.5s"),
        ("c.npz,wave,-1,3", "line 2: start '-1' is not a time"),
        ("c.npz,wave,3,3", "line 2: stops at 3 us, not after its start at 3 us"),
        ("c.npz,clap, loud,1,2", "line 2: 5 fields for 4 columns; quote fields with commas"),
        ('c.npz,"wave,1,2', r"line \d: unexpected end of data; close its quotes"),
        ("c.npz,wave,,\nwave/../c.npz,clap,,", r"line 3: wave/\.\./c\.npz is in line 2 already, w"),
        ("c.npz,wave,,\nwave/a.npz,Wave,,", r"list\.csv: classes Wave and wave differ by case al"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_by_its_number_with_the_fix(tmp_path, line, message):
    path = listed(tmp_path, f"file,label,start,stop\n{line}\n")
    with pytest.raises(FormatError, match=message) as caught:
        open_samples(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n# nothing\n", "is empty"),
        ("file,label\n", "names no existing files; write one line per sample"),
        ("name,label,x\nc.npz,wave,1\n", "line 1 has no column 'file'"),
        ("file,person\nc.npz,anna\n", "line 1 has no column 'label'"),
        ("file,path,label\nc.npz,c.npz,wave\n", "line 1: two columns named file; rename one"),
        ("file,label,part\nc.npz,wave,trian\n", "line 2: part 'trian'; did you mean 'train'"),
        ("file,label,start_s\nc.npz,wave,1ms\n", "line 2: start '1ms' is not a time"),
    ],
)
def test_a_wrong_list_says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(FormatError, match=message):
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
    with pytest.raises(FormatError, match=r"list\.csv: is not UTF-8 at byte 18; save it as UTF-8"):
        open_samples(path)


def test_columns_that_are_not_known_are_noted(tmp_path):
    path = listed(tmp_path, "file,label,light\nc.npz,clap,dim\nwave/a.npz,clap,dim\n")
    assert "its columns light are ignored" in open_samples(path).notes


def test_people_of_a_list_are_its_column_or_in_the_names_of_files(tmp_path):
    names = ("p1_t1.npz", "p1_t2.npz", "p2_t1.npz")
    lines = "".join(f"{name},wave\n" for name in names)
    path = listed(tmp_path, "file,label\n" + lines, files=names)
    assert [row.group for row in open_samples(path).rows] == ["p1", "p1", "p2"]
    path.write_text("file,label,subject\n" + lines.replace("\n", ",7\n"))
    assert [row.group for row in open_samples(path).rows] == ["7"] * 3
    with pytest.raises(ConfigError, match="a list has no folders; remove layout"):
        open_samples(path, layout="class")


def test_a_file_of_any_ending_is_read_where_a_list_names_it(tmp_path):
    path = listed(tmp_path, "file,label\nrec.bak,wave\n")
    (tmp_path / "c.npz").rename(tmp_path / "rec.bak")
    assert len(open_samples(path).events(0))
    (tmp_path / "rec.bak").write_text("no events at all")
    with pytest.raises(
        FormatError, match=r"rec\.bak: is no depth clip and no recording and no video and no folder"
    ):
        open_samples(path)
