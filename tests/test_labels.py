"""Labels in a file beside a recording: read in order, named, and refused where they are odd."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvskit.errors import FormatError
from dvskit.formats.labels import labels_beside, labels_path, read_labels
from tests.laws import refused

HEAD = "class,startTime_usec,endTime_usec\n"
NAMED = "start_us, stop_us, name\n"


def write(folder: Path, text: str | bytes, name: str = "user01_led_labels.csv") -> Path:
    data = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(data)
    return folder / name


def rows_of(path: Path) -> list[tuple[str, int, int]]:
    labels = read_labels(path)
    return list(zip(labels.name, labels.start_us.tolist(), labels.stop_us.tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "mapping", "rows"),
    [
        (
            HEAD + "2,30,60\r\n11, 5 ,9\n\n1,60,60\n",
            "",
            [("11", 5, 9), ("2", 30, 60), ("1", 60, 60)],
        ),
        ("\ufeff" + HEAD, "", []),
        (HEAD + "1,3,4\n2,5,6\n", "hand_clapping,1\n", [("hand_clapping", 3, 4), ("2", 5, 6)]),
        (HEAD + "1,3,4\n", "hand clapping, one,1\n", [("hand clapping, one", 3, 4)]),
        (HEAD + '"1","3","4"\n', '"hand, clapping","1"\n', [("hand, clapping", 3, 4)]),
        (NAMED + "30,60, wave, left\n-5,9,clap\n", "", [("clap", -5, 9), ("wave, left", 30, 60)]),
        (
            '"start_us","stop_us","name"\n"1","2","wave, left"\n3,4,"say ""stop"""\n5,6, "clap"\n',
            "",
            [("wave, left", 1, 2), ('say "stop"', 3, 4), ("clap", 5, 6)],
        ),
    ],
)
def test_labels_are_read_in_order_and_named(tmp_path, text, mapping, rows):
    path = write(tmp_path, text)
    if mapping:
        write(tmp_path, "action,label\n" + mapping, "gesture_mapping.csv")
    assert rows_of(path) == rows


def test_labels_are_found_beside_a_recording(tmp_path):
    recording = tmp_path / "user01_led.aedat"
    assert len(labels_beside(recording)) == 0
    write(tmp_path, HEAD + "1,3,4\n")
    assert labels_path(recording) == tmp_path / "user01_led_labels.csv"
    assert labels_beside(recording).name == ("1",)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "''"),
        ("class,start,stop\n", HEAD.strip()),
        (HEAD + "1,2\n", "line 2"),
        (HEAD + "1,2,3\n1,2,3,4\n", "line 3"),
        (HEAD + "1,2.5,3\n", "line 2"),
        (HEAD + "1,-2,3\n", "line 2"),
        (HEAD + "1,\u0663,4\n", "line 2"),
        (HEAD + "1,5,3\n", "3 us, before its start 5 us"),
        (HEAD + "1,5,99999999999999999999999\n", "line 2"),
        (b"\xff\xfe\x00", ""),
        (NAMED + "1,2\n", "line 2"),
        (NAMED + "1,x,y\n", "line 2"),
        (NAMED + "1,2,\n", "line 2"),
        (NAMED + "5,2,a\n", "2 us, before its start 5 us"),
        (NAMED + '1,2,"wave\n', "line 2"),
    ],
)
def test_odd_labels_are_refused_with_their_line(tmp_path, text, named):
    path = write(tmp_path, text)
    with refused(FormatError, path, named):
        read_labels(path)


@pytest.mark.parametrize("text", ["clap,1\nwave\n", "clap,1\n,2\n", "clap,1\nwave,x\n"])
def test_an_odd_mapping_is_refused(tmp_path, text):
    path = write(tmp_path, HEAD + "1,3,4\n")
    mapping = write(tmp_path, text, "gesture_mapping.csv")
    with refused(FormatError, mapping, "line 2"):
        read_labels(path)
