"""AEDAT 1 and 2: the real recordings exactly, chips told and guessed, what damage costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import DamagedFileError, DvskitError, FormatError
from dvskit.events import read_all
from dvskit.formats import in_order
from dvskit.formats.aedat2 import alignment, chips
from tests.test_formats import assert_as_truth_says

MAGIC = b"#!AER-DAT2.0\r\n"
DVS128 = MAGIC + b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"
DAVIS = MAGIC + b"# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"


def dvs128(x: int, y: int, on: int) -> int:
    return (127 - y) << 8 | (127 - x) << 1 | (1 - on)


def davis(x: int, y: int, on: int, width: int = 240, height: int = 180) -> int:
    return (height - 1 - y) << 22 | (width - 1 - x) << 12 | on << 11


def dvs640(x: int, y: int, on: int) -> int:
    return (479 - y) << 11 | (639 - x) << 1 | on


def write(path: Path, head: bytes, words: list[tuple[int, int]], tail: bytes = b"") -> Path:
    address, t = np.array(words, np.int64).reshape(-1, 2).T
    rows = np.empty(len(words), [("a", ">u2" if b"DAT1" in head else ">u4"), ("t", ">i4")])
    rows["a"], rows["t"] = address, (t + (1 << 31)) % (1 << 32) - (1 << 31)
    path.write_bytes(head + rows.tobytes() + tail)
    return path


def rows_of(events: Events) -> list[tuple[int, int, int, bool]]:
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def turn_back(events: Events) -> Events:
    """Count y from the bottom, as the file does."""
    y = events.size.height - 1 - events.y
    return Events(t=events.t, x=events.x, y=y, p=events.p, size=events.size)


@pytest.mark.parametrize(
    ("name", "size", "others"),
    [
        ("davis240c_aps_imu.aedat", (240, 180), {"IMU words": 51688}),
        ("dvs128_signed_time.aedat", (128, 128), {}),
    ],
)
def test_a_real_recording_is_read_exactly(data, name, size, others):
    truth = json.loads((data / "recordings" / "truth.json").read_text())
    recording = dvskit.open_events(data / "recordings" / name)
    assert (recording.size, recording.size_origin) == (size, "camera")
    assert "bottom" in recording.assumptions[0]
    events = read_all(recording)
    assert_as_truth_says(turn_back(events), truth[name])
    assert read_all(recording) == events
    assert recording.other_streams() == others
    assert "HardwareInterface" in recording.header()


def test_the_bar_without_a_chip_is_a_bar_that_moves(data):
    # Its addresses are a DAVIS's: 100 pixels in a column, which moves on by 1 each 100 ms.
    recording = dvskit.open_events(data / "recordings" / "dvs128_translating_bar.aedat")
    assert recording.chip.name == "DAVIS240"
    assert "guessed" in recording.assumptions[0]
    assert not any("smallest" in line for line in recording.assumptions)
    events = read_all(recording)
    steps = np.arange(100)
    assert events.t.tolist() == np.repeat((steps + 1) * 100_000, 100).tolist()
    assert events.x.tolist() == np.repeat(51 + steps, 100).tolist()
    assert events.y.tolist() == np.tile(179 - np.arange(1, 101), 100).tolist()
    assert events.p.all()


def test_the_bar_taken_for_a_dvs128_gives_what_truth_says(data):
    truth = json.loads((data / "recordings" / "truth.json").read_text())
    path = data / "recordings" / "dvs128_translating_bar.aedat"
    words = np.frombuffer(path.read_bytes()[185:], ">u4").reshape(-1, 2)
    got = replace(chips.DVS128, others=(), spare=0).decode(words[:, 0].astype(np.uint32))
    t = words[:, 1].astype(np.int64)
    events = Events(t=t, x=127 - got.x, y=got.y, p=got.p, size=(128, 128))
    assert_as_truth_says(events, truth["dvs128_translating_bar.aedat"])


@pytest.mark.parametrize(
    ("head", "make", "size", "chip"),
    [
        (DVS128, dvs128, (128, 128), "DVS128"),
        (MAGIC, dvs128, (128, 128), "DVS128"),
        (b"#!AER-DAT1.0\r\n", dvs128, (128, 128), "DVS128"),
        (DAVIS, davis, (240, 180), "DAVIS240"),
        (MAGIC, davis, (240, 180), "DAVIS240"),
        (MAGIC, lambda *e: davis(*e, 346, 260), (346, 260), "DAVIS346"),
        (MAGIC, lambda *e: davis(*e, 640, 480), (640, 480), "DAVIS640"),
        (MAGIC, dvs640, (640, 480), "DVS640"),
    ],
)
def test_each_chip_is_read_as_it_writes_and_guessed_where_it_is_not_named(
    tmp_path, head, make, size, chip
):
    rng = np.random.default_rng(5)
    count = 2000
    columns = [rng.integers(0, size[0], count), rng.integers(0, size[1], count)]
    events = Events(
        t=np.sort(rng.integers(-(10**6), 10**6, count)),
        x=columns[0],
        y=columns[1],
        p=rng.integers(0, 2, count),
        size=size,
    )
    words = [(make(x, y, int(p)), t) for t, x, y, p in rows_of(events)]
    recording = dvskit.open_events(write(tmp_path / "a.aedat", head, words))
    assert recording.chip.name == chip
    assert read_all(recording) == events
    assert any("guessed" in line for line in recording.assumptions) == (b"AEChip" not in head)


def test_the_argument_decides_the_size_and_the_chip_of_a_guess(tmp_path):
    words = [(davis(5, 6, 1, 346, 260), 10)]
    write(tmp_path / "a.aedat", MAGIC, words)
    recording = dvskit.open_events(tmp_path / "a.aedat", size=(346, 260))
    assert (recording.chip.name, recording.size_origin) == ("DAVIS346", "argument")
    assert rows_of(read_all(recording)) == [(10, 5, 6, True)]
    named = dvskit.open_events(write(tmp_path / "b.aedat", DAVIS, words[:0]), size=(300, 200))
    assert (named.size, named.chip.name) == ((300, 200), "DAVIS240")


def test_time_counts_on_where_32_bits_wrap(tmp_path):
    t = [(1 << 31) - 5, (1 << 31) - 1, (1 << 31) + 3, *range(1 << 32, 7 << 31, 900_000_001)]
    words = [(dvs128(1, 2, 1), time) for time in t]
    assert dvskit.load_events(write(tmp_path / "a.aedat", DVS128, words)).t.tolist() == t


def test_a_lone_time_that_looks_like_a_wrap_moves_no_other(tmp_path):
    end = 1 << 31
    t = [end - 100, end + 50, end - 90, end - 80, end + 3]
    path = write(tmp_path / "a.aedat", DVS128, [(dvs128(1, 2, 1), time) for time in t])
    with pytest.raises(DamagedFileError, match="runs back"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert read_all(recording).t.tolist() == [end - 100, end - 90, end - 80, end + 3]
    assert recording.damage.count == 1


@pytest.mark.parametrize("seed", range(10))
def test_random_bytes_move_no_time_behind_them(data, tmp_path, seed):
    rng = np.random.default_rng(seed)
    content = bytearray((data / "recordings" / "davis240c_aps_imu.aedat").read_bytes())
    content[500_000:504_096] = rng.integers(0, 256, 4096, np.uint8).tobytes()
    (tmp_path / "a.aedat").write_bytes(content)
    whole = dvskit.load_events(data / "recordings" / "davis240c_aps_imu.aedat")
    events = read_all(dvskit.open_events(tmp_path / "a.aedat", strict=False))
    assert len(whole) - 600 < len(events) < len(whole)
    assert events[-300_000:] == whole[-300_000:]


def test_other_words_are_counted_and_not_read(tmp_path):
    words = [
        (davis(1, 1, 1), 1),
        (1 << 31 | 7, 0),
        (1 << 31 | 0xC00, 0),
        (1 << 10, 5),
        (davis(2, 2, 0), 3),
    ]
    recording = dvskit.open_events(write(tmp_path / "a.aedat", DAVIS, words))
    assert read_all(recording).t.tolist() == [1, 3]
    assert recording.other_streams() == {"IMU words": 1, "APS words": 1, "external events": 1}
    sync = write(tmp_path / "b.aedat", DVS128, [(dvs128(1, 1, 1), 1), (0x8000, 2)])
    assert dvskit.open_events(sync).other_streams() == {"sync events": 1}


def test_data_that_begin_with_a_hash_byte_are_no_header(tmp_path):
    address = 0x23 << 24 | 7 << 12
    words = [(address, 10), (address, 0x0A0A0A0A)]
    events = dvskit.load_events(write(tmp_path / "a.aedat", DAVIS, words))
    assert events.t.tolist() == [10, 0x0A0A0A0A]


@pytest.mark.parametrize(
    ("head", "words", "offset", "message"),
    [
        (DVS128, [(dvs128(1, 1, 1), 9), (1 << 20, 10)], 8, "none that a DVS128 sends"),
        (DVS128, [(dvs128(1, 1, 1), 9), (dvs128(1, 1, 1), 8)], 8, "time runs back"),
        (DAVIS, [(davis(1, 1, 1), 9), (300 << 12, 10)], 8, "off the 240x180"),
        (DAVIS, [(davis(1, 1, 1), 9), (davis(1, 1, 1), 8), (300 << 12, 10)], 8, "runs back"),
    ],
)
def test_an_impossible_word_is_an_error_with_its_offset(tmp_path, head, words, offset, message):
    path = write(tmp_path / "a.aedat", head, words, b"\x01\x02")
    with pytest.raises(DamagedFileError, match=message) as caught:
        dvskit.load_events(path)
    assert caught.value.offset == len(head) + offset
    recording = dvskit.open_events(path, strict=False)
    assert read_all(recording).t.tolist() in ([9], [8])
    assert recording.damage.count == len(words)
    problems = [loss.problem for loss in recording.damage.losses]
    assert "the last word has 2 of 8 bytes" in problems


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#!AER-DAT2.5\r\n", "2.5"),
        (MAGIC, "holds no event"),
        (MAGIC + b"\x01", "holds no event"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, content, message):
    (tmp_path / "a.aedat").write_bytes(content)
    with pytest.raises(FormatError, match=message):
        dvskit.open_events(tmp_path / "a.aedat", format="aedat2")


def test_salvage_gives_up_the_one_event_that_is_ahead(tmp_path):
    t = [1, 2, 3, 10**9, 4, -(10**9), 5, 6]
    path = write(tmp_path / "a.aedat", DVS128, [(dvs128(1, 1, 1), time) for time in t])
    recording = dvskit.open_events(path, strict=False)
    assert read_all(recording).t.tolist() == [1, 2, 3, 4, 5, 6]
    assert [loss.offset - len(DVS128) for loss in recording.damage.losses] == [24, 40]


@pytest.mark.parametrize("block", [5, 64, 1000])
def test_salvage_gives_up_no_more_events_in_blocks(tmp_path, monkeypatch, block):
    rng = np.random.default_rng(3)
    t = np.arange(3000) * 10
    t[rng.integers(0, 3000, 40)] += rng.integers(-(10**8), 10**8, 40)
    path = write(tmp_path / "a.aedat", DVS128, [(dvs128(1, 1, 1), time) for time in t.tolist()])
    whole = read_all(dvskit.open_events(path, strict=False))
    assert len(whole) >= 2960
    monkeypatch.setattr(alignment, "_WINDOW", block)
    monkeypatch.setattr(in_order, "LOOK_AHEAD", 200)
    recording = dvskit.open_events(path, strict=False)
    assert read_all(recording) == whole
    assert recording.damage.count == 3000 - len(whole)


@pytest.mark.parametrize("missing", range(1, 8))
@pytest.mark.parametrize("name", ["davis240c_aps_imu.aedat", "dvs128_signed_time.aedat"])
def test_salvage_lines_words_up_behind_missing_bytes(data, tmp_path, name, missing):
    content = (data / "recordings" / name).read_bytes()
    (tmp_path / "a.aedat").write_bytes(content[:500_000] + content[500_000 + missing :])
    whole = dvskit.load_events(data / "recordings" / name)
    recording = dvskit.open_events(tmp_path / "a.aedat", strict=False)
    events = read_all(recording)
    assert recording.damage
    assert 0.99 * len(whole) <= len(events) < len(whole)
    assert events[-1000:] == whole[-1000:]


def longest(t: list[int], floor: int) -> int:
    """Return the length of the longest non-decreasing part, by its definition."""
    best: list[int] = []
    for i, value in enumerate(t):
        ahead = [best[j] for j in range(i) if t[j] <= value and best[j]]
        best.append(1 + max(ahead, default=0) if value >= floor else 0)
    return max(best, default=0)


@pytest.mark.parametrize("seed", range(60))
def test_no_more_events_than_needed_go_for_time_to_run_forward(seed):
    rng = np.random.default_rng(seed)
    t = rng.integers(0, int(rng.choice([3, 20, 1000])), int(rng.integers(0, 40)))
    floor = int(rng.integers(-5, 10))
    marks = in_order.k.longest_in_order(t.astype(np.int64), floor)
    kept = t[marks]
    assert (np.diff(kept) >= 0).all()
    assert (kept >= floor).all()
    assert len(kept) == longest(t.tolist(), floor)


@pytest.mark.parametrize("seed", range(300))
def test_damage_raises_only_our_errors_and_salvage_stays_in_order(tmp_path, seed):
    rng = np.random.default_rng(seed)
    make, head = [(dvs128, DVS128), (davis, DAVIS), (davis, MAGIC), (dvs128, MAGIC)][seed % 4]
    words = [(make(int(rng.integers(128)), int(rng.integers(128)), 1), i) for i in range(200)]
    damaged = bytearray(write(tmp_path / "a.aedat", head, words).read_bytes())
    if seed % 3 == 0:
        del damaged[int(rng.integers(1, len(damaged))) :]
    for place in rng.integers(0, len(damaged), 1 + seed % 7).tolist():
        damaged[place] = int(rng.integers(256))
    (tmp_path / "b.aedat").write_bytes(damaged)
    for strict in (True, False):
        try:
            recording = dvskit.open_events(tmp_path / "b.aedat", strict=strict)
            events = read_all(recording)
        except DvskitError:
            continue
        Events(t=events.t, x=events.x, y=events.y, p=events.p, size=events.size)
        assert not (strict and recording.damage)


@pytest.mark.filterwarnings("ignore")
def test_evutils_reads_the_same_davis_events(data):
    io = pytest.importorskip("evutils.io")
    path = data / "recordings" / "davis240c_aps_imu.aedat"
    rows = io.EventReader(str(path), max_time=2**62, max_events=2**40).read_all()
    events = turn_back(dvskit.load_events(path))
    for name in "typ":
        assert np.array_equal(np.asarray(getattr(rows, name)).astype(int), getattr(events, name))
    assert np.array_equal(239 - np.asarray(rows.x).astype(int), events.x)
