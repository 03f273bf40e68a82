"""Labels in a file beside a recording: read in order, named, and refused where they are odd."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvskit.errors import FormatError
from dvskit.formats.labels import labels_beside, labels_path, read_labels

HEAD = "class,startTime_usec,endTime_usec\n"


def write(folder: Path, text: str | bytes, name: str = "user01_led_labels.csv") -> Path:
    data = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(data)
    return folder / name


def rows_of(path: Path) -> list[tuple[str, int, int]]:
    labels = read_labels(path)
    starts, stops = labels.start_us.tolist(), labels.stop_us.tolist()
    return list(zip(labels.name, starts, stops, strict=True))


def test_labels_are_in_order_of_their_starts(tmp_path):
    path = write(tmp_path, HEAD + "2,30,60\r\n11, 5 ,9\n\n1,60,60\n")
    assert rows_of(path) == [("11", 5, 9), ("2", 30, 60), ("1", 60, 60)]
    assert rows_of(write(tmp_path, "\ufeff" + HEAD)) == []


def test_classes_have_names_where_a_mapping_stands_beside(tmp_path):
    path = write(tmp_path, HEAD + "1,3,4\n2,5,6\n")
    write(tmp_path, "action,label\nhand_clapping,1\n", "gesture_mapping.csv")
    assert rows_of(path) == [("hand_clapping", 3, 4), ("2", 5, 6)]
    write(tmp_path, "hand clapping, one,1\n", "gesture_mapping.csv")
    assert rows_of(path)[0][0] == "hand clapping, one"


def test_labels_may_have_names_of_their_own(tmp_path):
    head = "start_us, stop_us, name\n"
    path = write(tmp_path, head + "30,60, wave, left\n-5,9,clap\n")
    assert rows_of(path) == [("clap", -5, 9), ("wave, left", 30, 60)]
    for row, message in (
        ("1,2\n", "line 2 is '1,2'; it must be two whole numbers"),
        ("1,x,y\n", "line 2"),
        ("1,2,\n", "line 2"),
        ("5,2,a\n", "ends at 2 us, before its start 5 us"),
    ):
        with pytest.raises(FormatError, match=message):
            read_labels(write(tmp_path, head + row))


def test_names_stand_in_quotes_as_spreadsheets_write_them(tmp_path):
    head = '"start_us","stop_us","name"\n'
    rows = '"1","2","wave, left"\n3,4,"say ""stop"""\n5,6, "clap"\n7,8,a, b\n'
    path = write(tmp_path, head + rows)
    names = ["wave, left", 'say "stop"', "clap", "a, b"]
    assert [name for name, _, _ in rows_of(path)] == names
    path = write(tmp_path, HEAD + '"1","3","4"\n')
    write(tmp_path, 'action,label\n"hand, clapping","1"\n', "gesture_mapping.csv")
    assert rows_of(path) == [("hand, clapping", 3, 4)]
    with pytest.raises(FormatError, match=r"line 2 is .*close quotes in the same line"):
        read_labels(write(tmp_path, head + '1,2,"wave\n'))


def test_labels_are_found_beside_a_recording(tmp_path):
    recording = tmp_path / "user01_led.aedat"
    assert len(labels_beside(recording)) == 0
    write(tmp_path, HEAD + "1,3,4\n")
    assert labels_path(recording) == tmp_path / "user01_led_labels.csv"
    assert labels_beside(recording).name == ("1",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts with ''"),
        ("class,start,stop\n", "startTime_usec,endTime_usec or start_us,stop_us,name"),
        (HEAD + "1,2\n", "line 2 is '1,2'"),
        (HEAD + "1,2,3\n1,2,3,4\n", "line 3"),
        (HEAD + "1,2.5,3\n", "three whole numbers"),
        (HEAD + "1,-2,3\n", "three whole numbers"),
        (HEAD + "1,\u0663,4\n", "three whole numbers"),
        (HEAD + "1,5,3\n", "ends at 3 us, before its start 5 us"),
        (HEAD + "1,5,99999999999999999999999\n", "too large"),
        (b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_odd_labels_are_refused_with_their_line(tmp_path, text, message):
    with pytest.raises(FormatError, match=message):
        read_labels(write(tmp_path, text))


@pytest.mark.parametrize("text", ["clap,1\nwave\n", "clap,1\n,2\n", "clap,1\nwave,x\n"])
def test_an_odd_mapping_is_refused(tmp_path, text):
    path = write(tmp_path, HEAD + "1,3,4\n")
    write(tmp_path, text, "gesture_mapping.csv")
    with pytest.raises(FormatError, match=r"line 2.*must be name,class"):
        read_labels(path)
