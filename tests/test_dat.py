"""DAT: versions, clocks, triggers, and what damage costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import Events
from dvskit.events.sources import read_all
from dvskit.formats import find_format, load_events, open_events, save_events
from tests.arriving import arrive
from tests.laws import refused, rows_of, scattered
from tests.mutation_samples import dat as sample_bytes

HEADER = b"% Data file containing CD events.\n% Version 2\n% Height 240\n% Width 320\n\x0c\x08"


def dat(path: Path, rows: list[tuple[int, int]], head: bytes = HEADER, tail: bytes = b"") -> Path:
    path.write_bytes(head + np.array(rows, "<u4").tobytes() + tail)
    return path


def test_version_1_has_short_addresses(tmp_path: Path) -> None:
    head = b"% Data file containing TD events.\n% Version 1\n\x00\x08"
    recording = open_events(dat(tmp_path / "a.dat", [(5, 300 | 200 << 9 | 1 << 17)], head))
    assert rows_of(read_all(recording)) == [(5, 300, 200, True)]
    assert (recording.size, recording.size_origin) == ((301, 201), "data")


def test_time_wraps_every_71_minutes(tmp_path: Path) -> None:
    times = [*range(5, 5 * 2**32, 900_000_000), 21_500_000_000]
    path = dat(tmp_path / "a.dat", [(t % 2**32, 1 | 2 << 14) for t in times])
    assert load_events(path).t.tolist() == times


def test_triggers_are_no_events(tmp_path: Path) -> None:
    head = b"% Version 2\n\x0e\x08"
    path = dat(tmp_path / "a.dat", [(2**32 - 5, 0x0301), (10, 0x0100)], head)
    assert find_format(path).name == "dat"
    recording = open_events(path)
    assert len(read_all(recording)) == 0
    hits = recording.triggers()
    assert hits.t.tolist() == [2**32 - 5, 2**32 + 10]
    assert hits.id.tolist() == [3, 1]
    assert hits.p.tolist() == [True, False]
    with refused(FormatError, "triggers"):
        arrive(path.read_bytes())


def test_damaged_triggers_raise_and_are_salvaged(tmp_path: Path) -> None:
    t = 1000 + 10 * np.arange(500)
    words = np.stack([t, t % 2 | t % 3 << 8], axis=1)
    words[100, 0] = 5
    words[200, 1] |= 1 << 20
    head = b"% Version 2\n\x0e\x08"
    path = dat(tmp_path / "a.dat", words.tolist(), head)
    with refused(DamagedFileError, f"byte {len(head) + 800}"):
        open_events(path).triggers()
    hits = open_events(path, strict=False).triggers()
    assert hits.t.tolist() == np.delete(t, [100, 200]).tolist()


@pytest.mark.parametrize(
    ("rows", "byte", "named"),
    [
        ([(1, 0), (2, 320), (3, 0)], 8, "(320, 0)"),
        ([(1, 0), (2, 5 << 28), (3, 0)], 8, "polarity 5"),
        ([(1, 0), (9000, 0), (3, 0), (4, 0)], 8, "jumps"),
        ([(5, 0), (3, 0), (6, 0), (7, 0)], 8, "jumps"),
        ([(9000, 0), (3, 0), (6, 0), (7, 0)], 0, "jumps"),
    ],
)
def test_an_impossible_event_is_an_error_with_its_offset_and_salvage_skips_it(
    tmp_path: Path, rows: list[tuple[int, int]], byte: int, named: str
) -> None:
    path = dat(tmp_path / "a.dat", rows)
    with refused(DamagedFileError, named, f"byte {len(HEADER) + byte}"):
        load_events(path)
    recording = open_events(path, strict=False)
    assert len(read_all(recording)) == len(rows) - 1
    assert recording.damage.count == 1


def test_events_that_are_lost_apart_are_losses_of_their_own(tmp_path: Path) -> None:
    bad = (2, 3, 5, 40, 41, 42, 44)
    rows = [(i, 320 if i in bad else 0) for i in range(99)]
    recording = open_events(dat(tmp_path / "a.dat", rows), strict=False)
    assert len(read_all(recording)) == 99 - len(bad)
    offsets = [loss.offset - len(HEADER) for loss in recording.damage.losses]
    assert offsets == [8 * number for number in (2, 5, 40, 44)]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"% Data file containing CD events.\n\x05\x08", "0x05"),
        (b"% Data file containing CD events.\n\x0c\x10", "16 bytes"),
        (b"% Data file containing CD events.\n% Version 7\n\x0c\x08", "'7'"),
        (b"% Data file containing CD events.\n", "a.dat"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes, named: str
) -> None:
    (tmp_path / "a.dat").write_bytes(content)
    with refused(FormatError, named):
        open_events(tmp_path / "a.dat")


def test_half_an_event_at_the_end_is_damage_in_files_and_streams(tmp_path: Path) -> None:
    path = dat(tmp_path / "a.dat", [(1, 1)], tail=b"\x01\x02\x03")
    with refused(DamagedFileError, "3 of 8"):
        load_events(path)
    with refused(DamagedFileError, "3 of 8"):
        arrive(path.read_bytes()).load()
    recording = open_events(path, strict=False)
    assert len(read_all(recording)) == 1
    assert recording.damage.lost_bytes == 3


def test_a_stream_that_does_not_tell_its_size_is_refused() -> None:
    with refused(GeometryError, "size"):
        arrive(b"% Data file containing CD events.\n\x0c\x08" + bytes(16))


@pytest.mark.parametrize("spoilt", [{400: 0x7000_0000, 401: 0xF000_0000}, {0: 0xFFFF_FFFF}])
@pytest.mark.parametrize("last", [2_000, 402])
def test_times_that_lead_round_the_clock_are_damage(
    tmp_path: Path, spoilt: dict[int, int], last: int
) -> None:
    """Each step is less than half the range, all of them are a whole turn: no time runs back."""
    whole = scattered(last, (320, 240), span_us=15 * last, seed=5)
    whole = Events(t=whole.t + 10**6, x=whole.x, y=whole.y, p=whole.p, size=whole.sensor_size)
    path = tmp_path / "a.dat"
    save_events(whole, path)
    data = bytearray(path.read_bytes())
    head = len(data) - 8 * last
    for number, time in spoilt.items():
        data[head + 8 * number : head + 8 * number + 4] = time.to_bytes(4, "little")
    path.write_bytes(data)
    recording = open_events(path, strict=False)
    salvaged = read_all(recording)
    if last - max(spoilt) > 1:  # a last time of all that is far ahead is no damage to be seen
        keep = np.isin(np.arange(last), list(spoilt), invert=True)
        assert salvaged == whole[keep]
        assert recording.damage.lost_bytes == 8 * len(spoilt)
        with refused(DamagedFileError, f"byte {head + 8 * min(spoilt)}"):
            read_all(open_events(path))
    else:
        assert salvaged.t[:400].tolist() == whole.t[:400].tolist()


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_events_out_of_step_are_no_events_and_set_no_size(
    tmp_path: Path, version: int, sized: bool
) -> None:
    content = sample_bytes(version, 0x0C)
    if not sized:
        content = content.replace(b"% Height 240\n% Width 304\n", b"")
    path = tmp_path / "a.dat"
    path.write_bytes(content)
    whole = set(rows_of(load_events(path)))
    size, at = open_events(path).size, content.index(bytes((0x0C, 8))) + 8002
    for shift in range(1, 8):
        path.write_bytes(content[:at] + b"\x12\x34\x56\x78\x9a\xbc\xde"[:shift] + content[at:])
        recording = open_events(path, strict=False)
        assert all(np.array(recording.size) <= size)
        salvaged = rows_of(recording.load())
        assert len(set(salvaged) - whole) < 8, shift
        assert len(salvaged) > 900
        with pytest.raises(DamagedFileError):
            open_events(path, size=size).load()


def test_padding_of_version_1_is_checked(tmp_path: Path) -> None:
    content = bytearray(sample_bytes(1, 0x0C))
    place = content.index(bytes((0x0C, 8))) + 2 + 800
    content[place + 7] = 0x40
    path = tmp_path / "a.dat"
    path.write_bytes(content)
    with refused(DamagedFileError, f"byte {place}"):
        open_events(path).load()
    recording = open_events(path, strict=False)
    assert len(recording.load()) == 2999
    assert recording.damage.count == 1
