"""AEDAT 1 and 2: the real recordings exactly, chips told and guessed, what damage costs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import ConfigError, DamagedFileError, FormatError
from dvskit.events import read_all
from dvskit.formats import in_order
from dvskit.formats.aedat2 import words
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "others"),
    [
        ("davis240c_aps_imu.aedat", (240, 180), {"IMU samples": 7384}),
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
    made = {"davis240c_aps_imu.aedat": ("created", "Wed Sep 16 12:09:08 CEST 2015")}
    key, value = made.get(name, ("Creation date", "Sat Oct 06 16:26:51 BRT 2018"))
    assert recording.header()[key] == value


@pytest.mark.slow
def test_a_chip_that_only_the_name_of_the_file_tells_is_taken_from_it(data):
    truth = json.loads((data / "recordings" / "truth.json").read_text())
    name = "dvs128_translating_bar.aedat"
    recording = dvskit.open_events(data / "recordings" / name)
    assert (recording.chip.name, recording.size) == ("DVS128", (128, 128))
    assert_as_truth_says(turn_back(read_all(recording)), truth[name])
    notes = recording.assumptions
    assert "from the file's name" in notes[0]
    assert "bits that a DVS128 lacks" in notes[1]
    assert "aedat2:DAVIS240" in notes[1]
    assert not any("smallest" in line for line in notes)


def moving_bar(events: Events) -> bool:
    """Tell whether these are 100 pixels in a column that moves on by 1 each 100 ms."""
    steps = np.arange(100)
    return (
        events.t.tolist() == np.repeat((steps + 1) * 100_000, 100).tolist()
        and events.x.tolist() == np.repeat(51 + steps, 100).tolist()
        and events.y.tolist() == np.tile(179 - np.arange(1, 101), 100).tolist()
        and bool(events.p.all())
    )


def test_the_bar_is_one_that_moves_as_what_wrote_it(data, tmp_path):
    # Its addresses are a DAVIS240's: chosen as the notes say, or guessed without the name.
    path = data / "recordings" / "dvs128_translating_bar.aedat"
    assert moving_bar(dvskit.load_events(path, format="aedat2:davis240"))
    (tmp_path / "bar.aedat").write_bytes(path.read_bytes())
    recording = dvskit.open_events(tmp_path / "bar.aedat")
    assert recording.chip.name == "DAVIS240"
    assert "guessed" in recording.assumptions[0]
    assert "aedat2:CHIP" in recording.assumptions[0]
    assert moving_bar(read_all(recording))


@pytest.mark.parametrize(
    ("stem", "chip"),
    [
        ("DVS128-2011-04-26T18-02-12+0200-0067-0", "DVS128"),
        ("Tmpdiff128-2006-02-14T07-53-37-0800-0 walking", "DVS128"),
        ("DAVIS240C-2015-09-16T12-09-08+0200-84010032-0", "DAVIS240"),
        ("Davis346blue-2019-05-14T11-00-00+0200-00000000-0", "DAVIS346"),
    ],
)
def test_files_that_jaer_has_named_tell_their_chips(tmp_path, stem, chip):
    make = dvs128 if chip == "DVS128" else davis
    words = [(make(1, 2, 1), 3)] * 20
    recording = dvskit.open_events(write(tmp_path / f"{stem}.aedat", MAGIC, words))
    assert recording.chip.name == chip
    assert "from the file's name" in recording.assumptions[0]
    assert not any("bits" in line for line in recording.assumptions)


def test_a_name_that_the_addresses_contradict_is_taken_with_a_warning(tmp_path):
    rng = np.random.default_rng(2)
    words = [(dvs128(*rng.integers(0, 128, 2).tolist(), 1), t) for t in range(50)]
    path = write(tmp_path / "davis240c-1.aedat", MAGIC, words)
    recording = dvskit.open_events(path)
    assert recording.chip.name == "DAVIS240"
    assert any("aedat2:DVS128" in line for line in recording.assumptions)
    assert not dvskit.open_events(path, format="aedat2:dvs128").assumptions[1:]


def test_a_chip_can_be_named_and_an_unknown_one_is_refused(tmp_path):
    path = write(tmp_path / "a.aedat", DAVIS, [(davis(5, 6, 1, 346, 260), 10)])
    recording = dvskit.open_events(path, format="aedat2:Davis346")
    assert (recording.chip.name, recording.size_origin) == ("DAVIS346", "argument")
    assert rows_of(read_all(recording)) == [(10, 5, 6, True)]
    with pytest.raises(ConfigError, match="did you mean 'DAVIS346'"):
        dvskit.open_events(path, format="aedat2:davis347")


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


def test_no_chip_is_guessed_where_damage_may_be_what_fits_a_larger_one(tmp_path):
    words = [(davis(n % 240, n % 180, n % 2), 10 * n) for n in range(1000)]
    for n in range(0, 1000, 25):
        words[n] = (davis(0, 0, 0, width=300), 10 * n)
    path = write(tmp_path / "a.aedat", MAGIC, words)
    assert dvskit.open_events(path, strict=False).size == (346, 260)
    write(path, MAGIC, [*words, *words[:10]])
    for strict in (True, False):
        with pytest.raises(FormatError, match="is damaged; name it with"):
            dvskit.open_events(path, strict=strict)
    assert dvskit.open_events(path, format="aedat2:DAVIS240").size == (240, 180)


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_other_words_are_no_events(tmp_path):
    words = [
        (davis(1, 1, 1), 1),
        (1 << 31 | 7, 0),
        (1 << 31 | 0xC00, 0),
        (1 << 10, 5),
        (davis(2, 2, 0), 3),
    ]
    recording = dvskit.open_events(write(tmp_path / "a.aedat", DAVIS, words))
    assert read_all(recording).t.tolist() == [1, 3]
    assert recording.other_streams() == {"IMU words of no whole sample": 1}
    sync = write(tmp_path / "b.aedat", DVS128, [(dvs128(1, 1, 1), 1), (0x8000, 2)])
    assert read_all(dvskit.open_events(sync)).t.tolist() == [1]
    assert dvskit.open_events(sync).other_streams() == {}


def test_data_that_begin_with_a_hash_byte_are_no_header(tmp_path):
    address = 0x23 << 24 | 7 << 12
    words = [(address, 10), (address, 0x0A0A0A0A)]
    events = dvskit.load_events(write(tmp_path / "a.aedat", DAVIS, words))
    assert events.t.tolist() == [10, 0x0A0A0A0A]


@pytest.mark.parametrize(
    ("head", "words", "offset", "message"),
    [
        (DVS128, [(dvs128(1, 1, 1), 9), (1 << 20, 10)], 8, "cannot come from a DVS128"),
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
    monkeypatch.setattr(words, "BLOCK_WORDS", block)
    monkeypatch.setattr(in_order, "LOOK_AHEAD", 200)
    recording = dvskit.open_events(path, strict=False)
    assert read_all(recording) == whole
    assert recording.damage.count == 3000 - len(whole)


@pytest.mark.parametrize("missing", [1, 4, 7])
@pytest.mark.parametrize("name", ["davis240c_aps_imu.aedat", "dvs128_signed_time.aedat"])
def test_words_behind_missing_bytes_are_lost_in_stretches(data, tmp_path, name, missing):
    content = (data / "recordings" / name).read_bytes()
    (tmp_path / "a.aedat").write_bytes(content[:500_000] + content[500_000 + missing :])
    whole = dvskit.load_events(data / "recordings" / name)
    recording = dvskit.open_events(tmp_path / "a.aedat", strict=False)
    events = read_all(recording)
    assert events[:-20] == whole[: len(events) - 20]
    assert "rows make no sense" in str(recording.damage.losses)


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


@pytest.mark.filterwarnings("ignore")
def test_evutils_reads_the_same_davis_events(data):
    io = pytest.importorskip("evutils.io")
    path = data / "recordings" / "davis240c_aps_imu.aedat"
    rows = io.EventReader(str(path), max_time=2**62, max_events=2**40).read_all()
    events = turn_back(dvskit.load_events(path))
    for name in "typ":
        assert np.array_equal(np.asarray(getattr(rows, name)).astype(int), getattr(events, name))
    assert np.array_equal(239 - np.asarray(rows.x).astype(int), events.x)


def plain_events(path: Path, head: bytes, chip: str) -> list[tuple[int, int, int, bool]]:
    """Decode by the definition, one word at a time; times that step back far have wrapped."""
    rows, last, wraps = [], None, 0
    for address, t in np.frombuffer(path.read_bytes()[len(head) :], [("a", ">u4"), ("t", ">i4")]):
        a, stored = int(address), int(t)
        if a & (0x8000 if chip == "DVS128" else 1 << 31 | 1 << 10):
            continue
        wraps += last is not None and stored < last - (1 << 31)
        last = stored
        if chip == "DVS128":
            pixel = 127 - (a >> 1 & 127), 127 - (a >> 8 & 127), a & 1 == 0
        else:
            pixel = 239 - (a >> 12 & 1023), 179 - (a >> 22 & 511), a >> 11 & 1 == 1
        rows.append((stored + (wraps << 32), *pixel))
    return rows


def mixed(path: Path, seed: int, chip: str, count: int = 3000) -> bytes:
    """Write events and other words whose times wrap once; return the header."""
    rng = np.random.default_rng(seed)
    make, head = (dvs128, DVS128) if chip == "DVS128" else (davis, DAVIS)
    others = [0x8000] if chip == "DVS128" else [1 << 31 | 7, 1 << 31 | 0xC00, 1 << 10]
    t = (1 << 31) - 5_000_000 + np.cumsum(rng.integers(0, 6_000, count))
    words = [
        (int(rng.choice(others)), time)
        if rng.random() < 0.2 * (seed % 2)
        else (make(int(rng.integers(128)), int(rng.integers(128)), int(rng.integers(2))), time)
        for time in t.tolist()
    ]
    write(path, head, words)
    return head


@pytest.mark.parametrize("chip", ["DVS128", "DAVIS240"])
@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_agrees_with_a_plain_decoder(tmp_path, seed, chip):
    head = mixed(tmp_path / "a.aedat", seed, chip)
    rows = rows_of(dvskit.load_events(tmp_path / "a.aedat"))
    assert rows == plain_events(tmp_path / "a.aedat", head, chip)
    assert len(rows) > 2000


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("block", [7, 64, 1000])
def test_events_do_not_depend_on_how_the_file_is_read(tmp_path, monkeypatch, block, version):
    path = tmp_path / "a.aedat"
    mixed(path, 3, "DVS128")
    if version == 1:
        at = len(DVS128)
        rows = np.frombuffer(path.read_bytes()[at:], np.uint8).reshape(-1, 8)
        head = DVS128.replace(b"DAT2.0", b"DAT1.0")
        path.write_bytes(head + rows[:, 2:].tobytes())
    whole = dvskit.open_events(path)
    events, triggers = read_all(whole), whole.triggers()
    monkeypatch.setattr(words, "BLOCK_WORDS", block)
    cut = dvskit.open_events(path)
    assert read_all(cut) == events
    assert cut.load() == events
    assert np.array_equal(cut.triggers().t, triggers.t)
    assert len(triggers) + len(events) == 3000


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_events_do_not_depend_on_the_number_of_threads(tmp_path, monkeypatch, threads):
    mixed(tmp_path / "a.aedat", 1, "DAVIS240")
    expected = dvskit.load_events(tmp_path / "a.aedat")
    monkeypatch.setattr(words, "_PART_WORDS", 100)
    monkeypatch.setenv("DVSKIT_THREADS", threads)
    assert dvskit.load_events(tmp_path / "a.aedat") == expected


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_part_is_the_part_of_the_whole(tmp_path, monkeypatch, seed, strict):
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(words, "BLOCK_WORDS", 200)
    mixed(tmp_path / "a.aedat", seed, "DVS128" if seed < 2 else "DAVIS240")
    recording = dvskit.open_events(tmp_path / "a.aedat", strict=strict)
    whole = recording.load()
    rng = np.random.default_rng(seed)
    windows = rng.integers(whole.t[0] - 1000, whole.t[-1] + 1000, (20, 2))
    for start, stop in np.sort(windows, axis=1).tolist():
        assert recording.between(start, stop).load() == whole.between(start, stop)


def test_a_part_is_found_without_reading_what_is_ahead(tmp_path, monkeypatch):
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(words, "BLOCK_WORDS", 100)
    path = tmp_path / "a.aedat"
    write(path, DVS128, [(dvs128(1, 2, 1), t) for t in range(2000)])
    assert len(dvskit.open_events(path).between(1500, 1600).load()) == 100
    offsets = []
    read = words.read_words

    def watched(*args):
        for block in read(*args):
            offsets.append(block.offset)
            yield block

    monkeypatch.setattr("dvskit.formats.aedat2.reading.read_words", watched)
    assert len(dvskit.open_events(path).between(1500, 1600).load()) == 100
    assert min(offsets) >= len(DVS128) + 1300 * 8


def test_noise_on_both_sides_of_a_wrap_moves_no_time_behind_it(tmp_path):
    end = 1 << 31
    t = [*range(0, 1000, 10), end - 100, end + 3_000_000, *range(1000, 2000, 10)]
    path = write(tmp_path / "a.aedat", DVS128, [(dvs128(k % 9, 2, 1), v) for k, v in enumerate(t)])
    recording = dvskit.open_events(path, strict=False)
    assert read_all(recording).t.tolist() == list(range(0, 2000, 10))
    assert recording.damage.count == 2
