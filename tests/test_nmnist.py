"""N-MNIST `.bin`: a plain twin of the decoder, the size of the sensor, and what damage costs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit.errors import DamagedFileError
from dvskit.events.sources import read_all
from dvskit.formats import file_bytes, nmnist
from tests.arriving import small
from tests.laws import refused, rows_of
from tests.mutation_samples import nmnist as marked_bytes


def plain_decode(data: bytes) -> list[tuple[int, int, int, bool]]:
    rows, clock = [], 0
    for at in range(0, len(data), 5):
        x, y, high, middle, low = data[at : at + 5]
        if y == 240:
            clock += 8192
        else:
            rows.append((clock + ((high & 127) << 16 | middle << 8 | low), x, y, high > 127))
    return rows


def bin_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def unmarked_bytes(count: int = 2000, most_us: int = 150) -> bytes:
    rng = np.random.default_rng(5)
    t = np.cumsum(rng.integers(0, most_us, count))
    x, y, p = rng.integers(0, 34, count), rng.integers(0, 34, count), rng.integers(0, 2, count)
    rows = np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], axis=1)
    return rows.astype(np.uint8).tobytes()


def long_bytes() -> bytes:
    """Return events whose times need all 23 bits."""
    return unmarked_bytes(most_us=8000)


def rows(*given: tuple[int, int, int, int]) -> bytes:
    return b"".join(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for x, y, p, t in given)


@pytest.mark.parametrize("make", [marked_bytes, unmarked_bytes, long_bytes])
@pytest.mark.parametrize(("strict", "block"), [(True, 7), (False, 500), (False, 1 << 20)])
def test_events_are_those_of_a_plain_decoder_however_they_are_cut(tmp_path, make, strict, block):
    path = bin_file(tmp_path / "a.bin", make())
    with small("nmnist", BLOCK_EVENTS=block):
        recording = dvskit.open_events(path, strict=strict)
        assert rows_of(read_all(recording)) == plain_decode(path.read_bytes())
        assert rows_of(recording.load()) == plain_decode(path.read_bytes())
        assert not recording.damage


def test_damage_is_raised_with_its_offset_or_salvaged_and_counted(tmp_path):
    bad = rows((1, 1, 1, 10), (2, 2, 0, 20), (3, 3, 1, 5), (4, 4, 1, 30)) + b"\x01\x02"
    path = bin_file(tmp_path / "a.bin", bad)
    with refused(DamagedFileError, "byte 10"):
        dvskit.load_events(path, size=(34, 34))
    recording = dvskit.open_events(path, strict=False)
    assert read_all(recording).t.tolist() == [10, 20, 30]
    assert (recording.damage.count, recording.damage.lost_bytes) == (2, 7)


def test_events_of_another_camera_set_the_size(tmp_path):
    path = bin_file(tmp_path / "a.bin", rows((200, 100, 1, 10)))
    recording = dvskit.open_events(path)
    assert (recording.size, recording.size_origin) == ((201, 101), "data")
    assert dvskit.open_events(path, size=(240, 180)).size_origin == "argument"
    with refused(DamagedFileError, "34x34"):
        dvskit.load_events(path, size=(34, 34))


@pytest.mark.parametrize("lost", [1, 2, 3, 4, 501])
@pytest.mark.parametrize("make", [marked_bytes, unmarked_bytes])
def test_rows_behind_missing_bytes_are_lost_in_one_stretch_and_set_no_size(tmp_path, make, lost):
    data = make()
    path = bin_file(tmp_path / "a.bin", data[:6003] + data[6003 + lost :])
    size = (256, 240) if make is marked_bytes else (34, 34)
    with pytest.raises(DamagedFileError):
        dvskit.load_events(path, size=size)
    told = make is marked_bytes or lost > 5
    recording = dvskit.open_events(path, strict=False, size=size if told else None)
    assert recording.size == size
    whole, kept = plain_decode(data), rows_of(recording.load())
    ahead = len(plain_decode(data[:6000]))
    assert kept[:ahead] == whole[:ahead]
    assert len(kept) < ahead + 20
    assert "make no sense" in str(recording.damage.losses)


def test_few_events_off_an_nmnist_sensor_are_damage_and_many_are_another_sensor(tmp_path):
    data = bytearray(unmarked_bytes())
    data[5 * 700] = 130
    path = bin_file(tmp_path / "a.bin", bytes(data))
    with refused(DamagedFileError, "(130, ", "34x34"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert len(recording.load()) == 1999
    assert "1999 of 2000 events fit" in recording.assumptions[0]
    data[0:1000:5] = bytes([130]) * 200
    path.write_bytes(data)
    assert dvskit.open_events(path).size == (131, 34)


def test_a_file_that_has_changed_since_it_was_opened_is_read_anew(tmp_path):
    whole = unmarked_bytes()
    path = bin_file(tmp_path / "a.bin", whole)
    recording = dvskit.open_events(path)
    assert rows_of(recording.load()) == rows_of(recording.load()) == plain_decode(whole)
    path.write_bytes(whole[:500])
    assert rows_of(recording.load()) == plain_decode(whole[:500])
    path.write_bytes(b"")
    assert not len(recording.load())


@pytest.mark.parametrize(("number", "block"), [(1, 7), (6, 7), (7, 7), (1000, 7), (1999, 1 << 20)])
@pytest.mark.parametrize(
    ("column", "value", "named"),
    [(0, 34, "34x34"), (1, 34, "34x34"), (1, 240, "overflow"), (2, 0, "runs back")],
)
def test_the_first_bad_row_is_named_wherever_it_stands(
    tmp_path, block, number, column, value, named
):
    data = np.frombuffer(unmarked_bytes(), np.uint8).reshape(-1, 5).copy()
    data[:, 2] += 1  # no time is below 2^16, so that none of less runs on
    data[number, column] = value
    if number < 1000:
        data[1998, 2] = 0  # bad as well, and later
    path = bin_file(tmp_path / "a.bin", data.tobytes())
    size = (256, 256) if named == "overflow" else (34, 34)
    with (
        small("nmnist", BLOCK_EVENTS=block),
        refused(DamagedFileError, named, f"byte {5 * number}"),
    ):
        dvskit.open_events(path, size=size).load()


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("make", [marked_bytes, unmarked_bytes])
def test_a_small_file_is_read_once_and_as_a_large_one(tmp_path, monkeypatch, make, strict):
    path = bin_file(tmp_path / "a.bin", make())

    def seen(**how):
        recording = dvskit.open_events(path, strict=strict, **how)
        events = rows_of(recording.load())
        return repr(recording), recording.assumptions, str(recording.damage), events

    with monkeypatch.context() as patch:  # a file that is large takes another way
        patch.setattr(file_bytes, "SMALL_BYTES", 0)
        large = seen(), seen(size=(256, 240))
    assert (seen(), seen(size=(256, 240))) == large
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("the file is opened again"))
    assert seen() == large[0]


def marked_34x34() -> bytes:
    rows = np.frombuffer(marked_bytes(), np.uint8).reshape(-1, 5).copy()
    rows[rows[:, 1] != 240, :2] %= 34
    return rows.tobytes()


def test_small_files_decoded_together_are_those_of_a_plain_decoder_or_left_to_be_opened_alone():
    sound, large = unmarked_bytes(), bytearray(unmarked_bytes())
    large[500] = 34  # not on 34x34 pixels
    back = sound[:500] + bytes(5) + sound[500:]  # time runs back
    overflows = bytes([0, 240, 0, 0, 0]) * 3
    whole = [sound, marked_34x34(), sound[:5]]
    files = [*whole, sound[:-1], b"", bytes(large), back, overflows, marked_bytes(), sound]
    ends = [7, *(7 + np.cumsum([len(file) for file in files])).tolist()]  # behind another file
    data = np.frombuffer(bytes(7) + b"".join(files), np.uint8)
    found = nmnist.decode_small(data, list(pairwise(ends)))
    assert [events is None for events in found] == [False] * 3 + [True] * 6 + [False]
    for events, data in zip([*found[:3], found[-1]], [*whole, sound], strict=True):
        assert events.sensor_size == (34, 34)
        assert rows_of(events) == plain_decode(data)
