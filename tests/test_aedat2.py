"""AEDAT 1 and 2: chips told and guessed, a plain twin, what is written, and what damage costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import (
    ConfigError,
    DamagedFileError,
    EventsError,
    FormatError,
    GeometryError,
    LeftOutWarning,
)
from dvskit.events.sources import read_all
from dvskit.formats import open_sink, validate
from dvskit.streams import Triggers
from tests.arriving import small
from tests.laws import refused, rows_of, scattered

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


def test_the_header_of_a_real_recording_is_read(data):
    recording = dvskit.open_events(data / "recordings" / "davis240c_aps_imu.aedat")
    assert "bottom" in recording.assumptions[0]
    assert recording.header()["created"] == "Wed Sep 16 12:09:08 CEST 2015"


def test_the_bar_is_one_that_moves_as_what_wrote_it(data, tmp_path):
    # Its addresses are a DAVIS240's: chosen as the notes say, or guessed without the name.
    path = data / "recordings" / "dvs128_translating_bar.aedat"
    named = dvskit.open_events(path)
    assert named.chip.name == "DVS128"
    assert "from the file's name" in named.assumptions[0]
    assert any("aedat2:DAVIS240" in line for line in named.assumptions)
    (tmp_path / "bar.aedat").write_bytes(path.read_bytes())
    guessed = dvskit.open_events(tmp_path / "bar.aedat")
    assert guessed.chip.name == "DAVIS240"
    assert "guessed" in guessed.assumptions[0]
    events, steps = guessed.load(), np.arange(100)
    assert dvskit.load_events(path, format="aedat2:davis240") == events
    assert events.t.tolist() == np.repeat((steps + 1) * 100_000, 100).tolist()
    assert events.x.tolist() == np.repeat(51 + steps, 100).tolist()
    assert events.y.tolist() == np.tile(179 - np.arange(1, 101), 100).tolist()
    assert events.p.all()


@pytest.mark.parametrize(
    ("stem", "head", "word", "how", "chip"),
    [
        ("DVS128-2011-04-26T18-02-12+0200-0067-0", MAGIC, dvs128(1, 2, 1), {}, "DVS128"),
        ("Tmpdiff128-2006-02-14T07-53-37-0800-0", MAGIC, dvs128(1, 2, 1), {}, "DVS128"),
        ("DAVIS240C-2015-09-16T12-09-08+0200-84010032-0", MAGIC, davis(1, 2, 1), {}, "DAVIS240"),
        ("Davis346blue-2019-05-14T11-00-00+0200-0-0", MAGIC, davis(1, 2, 1), {}, "DAVIS346"),
        ("a", DAVIS, davis(5, 6, 1, 346, 260), {"format": "aedat2:Davis346"}, "DAVIS346"),
        ("a", MAGIC, davis(5, 6, 1, 346, 260), {"size": (346, 260)}, "DAVIS346"),
        ("a", DAVIS, davis(5, 6, 1), {"size": (300, 200)}, "DAVIS240"),
    ],
)
def test_a_chip_is_taken_from_the_name_of_the_file_or_an_argument(
    tmp_path, stem, head, word, how, chip
):
    path = write(tmp_path / f"{stem}.aedat", head, [(word, 3)] * 20)
    recording = dvskit.open_events(path, **how)
    assert recording.chip.name == chip
    assert recording.size_origin == ("argument" if how else "camera")
    assert recording.size == how.get("size", recording.size)
    if not how:
        assert "from the file's name" in recording.assumptions[0]
        assert not any("bits" in line for line in recording.assumptions)
    with refused(ConfigError, "DAVIS346"):
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
    events = scattered(2000, size, seed=5)
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
        with refused(FormatError, "damaged"):
            dvskit.open_events(path, strict=strict)
    assert dvskit.open_events(path, format="aedat2:DAVIS240").size == (240, 180)


def test_time_counts_on_where_32_bits_wrap(tmp_path):
    t = [(1 << 31) - 5, (1 << 31) - 1, (1 << 31) + 3, *range(1 << 32, 7 << 31, 900_000_001)]
    words = [(dvs128(1, 2, 1), time) for time in t]
    assert dvskit.load_events(write(tmp_path / "a.aedat", DVS128, words)).t.tolist() == t


def test_a_lone_time_that_looks_like_a_wrap_moves_no_other(tmp_path):
    end = 1 << 31
    t = [end - 100, end + 50, end - 90, end - 80, end + 3]
    path = write(tmp_path / "a.aedat", DVS128, [(dvs128(1, 2, 1), time) for time in t])
    with refused(DamagedFileError, "runs back"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert read_all(recording).t.tolist() == [end - 100, end - 90, end - 80, end + 3]
    assert recording.damage.count == 1


def test_other_words_are_no_events(tmp_path):
    others = [(1 << 31 | 7, 0), (1 << 31 | 0xC00, 0), (1 << 10, 5)]
    words = [(davis(1, 1, 1), 1), *others, (davis(2, 2, 0), 3)]
    recording = dvskit.open_events(write(tmp_path / "a.aedat", DAVIS, words))
    assert read_all(recording).t.tolist() == [1, 3]
    assert recording.other_streams() == {"IMU words of no whole sample": 1}
    sync = write(tmp_path / "b.aedat", DVS128, [(dvs128(1, 1, 1), 1), (0x8000, 2)])
    assert read_all(dvskit.open_events(sync)).t.tolist() == [1]
    assert dvskit.open_events(sync).other_streams() == {}


@pytest.mark.parametrize(
    ("head", "words", "named"),
    [
        (DVS128, [(dvs128(1, 1, 1), 9), (1 << 20, 10)], "DVS128"),
        (DVS128, [(dvs128(1, 1, 1), 9), (dvs128(1, 1, 1), 8)], "from 9 to 8"),
        (DAVIS, [(davis(1, 1, 1), 9), (300 << 12, 10)], "240x180"),
        (DAVIS, [(davis(1, 1, 1), 9), (davis(1, 1, 1), 8), (300 << 12, 10)], "from 9 to 8"),
    ],
)
def test_an_impossible_word_is_an_error_with_its_offset(tmp_path, head, words, named):
    path = write(tmp_path / "a.aedat", head, words, b"\x01\x02")
    with refused(DamagedFileError, named, f"byte {len(head) + 8}"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert read_all(recording).t.tolist() in ([9], [8])
    assert recording.damage.count == len(words)
    assert any("2 of 8" in loss.problem for loss in recording.damage.losses)


@pytest.mark.parametrize("content", [b"#!AER-DAT2.5\r\n", MAGIC, MAGIC + b"\x01"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, content):
    (tmp_path / "a.aedat").write_bytes(content)
    with refused(FormatError, "a.aedat"):
        dvskit.open_events(tmp_path / "a.aedat", format="aedat2")


@pytest.mark.parametrize("block", [5, 64, 1000])
def test_salvage_gives_up_no_more_events_in_blocks(tmp_path, monkeypatch, block):
    rng = np.random.default_rng(3)
    t = np.arange(3000) * 10
    t[rng.integers(0, 3000, 40)] += rng.integers(-(10**8), 10**8, 40)
    path = write(tmp_path / "a.aedat", DVS128, [(dvs128(1, 1, 1), time) for time in t.tolist()])
    whole = read_all(dvskit.open_events(path, strict=False))
    assert len(whole) >= 2960
    monkeypatch.setattr(validate, "LOOK_AHEAD", 200)  # fewer than there are events
    with small("aedat2", BLOCK_WORDS=block):
        recording = dvskit.open_events(path, strict=False)
        assert read_all(recording) == whole
        assert recording.damage.count == 3000 - len(whole)


@pytest.mark.parametrize(
    ("name", "missing"), [("davis240c_aps_imu.aedat", 1), ("dvs128_signed_time.aedat", 4)]
)
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


@pytest.mark.parametrize("seed", range(30))
def test_no_more_events_than_needed_go_for_time_to_run_forward(seed):
    rng = np.random.default_rng(seed)
    t = rng.integers(0, int(rng.choice([3, 20, 1000])), int(rng.integers(0, 40)))
    floor = int(rng.integers(-5, 10))
    marks = validate.k.longest_in_order(t.astype(np.int64), floor)
    kept = t[marks]
    assert (np.diff(kept) >= 0).all()
    assert (kept >= floor).all()
    assert len(kept) == longest(t.tolist(), floor)


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
    expected = plain_events(tmp_path / "a.aedat", head, chip)
    recording = dvskit.open_events(tmp_path / "a.aedat")
    assert rows_of(recording.load()) == expected
    assert len(expected) > 2000
    with small("aedat2"):
        cut = dvskit.open_events(tmp_path / "a.aedat")
        assert rows_of(read_all(cut)) == expected
        assert cut.triggers().t.tolist() == recording.triggers().t.tolist()
    if chip == "DVS128":  # AEDAT 1 has addresses of 16 bits
        rows = np.frombuffer((tmp_path / "a.aedat").read_bytes()[len(head) :], np.uint8)
        old = head.replace(b"DAT2.0", b"DAT1.0") + rows.reshape(-1, 8)[:, 2:].tobytes()
        (tmp_path / "b.aedat").write_bytes(old)
        with small("aedat2", BLOCK_WORDS=7):
            assert rows_of(dvskit.load_events(tmp_path / "b.aedat")) == expected


# --- written files ---


@pytest.mark.parametrize("size", [(128, 128), (240, 180), (346, 260), (640, 480), (208, 192)])
def test_what_is_written_is_read_back(tmp_path, size):
    for number, events in enumerate((scattered(2000, size), Events.empty(size))):
        path = tmp_path / f"{number}.aedat"
        dvskit.save_events(events, path)
        recording = dvskit.open_events(path)
        assert recording.load() == events
        assert recording.size_origin == "camera"
        assert recording.header()["AEChip"]


def test_any_first_pixel_is_read_back(tmp_path):
    # A first address that begins with the byte of a '#' is no comment.
    for y in range(0, 180, 3):
        events = Events(t=[7], x=[3], y=[y], p=[1], size=(240, 180))
        dvskit.save_events(events, tmp_path / "a.aedat", overwrite=True)
        assert dvskit.load_events(tmp_path / "a.aedat") == events


def test_times_wrap_and_count_on(tmp_path):
    for t in (np.arange(-(1 << 31), 5 << 31, 700_000_001), np.array([-(1 << 31), 1 << 29])):
        events = Events(t=t, x=t % 128, y=t % 127, p=t % 2, size=(128, 128))
        dvskit.save_events(events, tmp_path / "a.aedat", overwrite=True)
        assert dvskit.load_events(tmp_path / "a.aedat") == events


def rising(*times: int) -> Triggers:
    count = len(times)
    return Triggers(np.array(times, np.int64), np.zeros(count, np.int16), np.ones(count, np.bool_))


@pytest.mark.parametrize("cut", [1, 64])
@pytest.mark.parametrize("size", [(128, 128), (240, 180)])
def test_triggers_are_merged_however_the_events_are_cut(tmp_path, size, cut):
    events = scattered(300, size, span_us=100)
    triggers = rising(-1000, -20, 0, 0, 50, 5000)
    for name, step in (("whole", 5000), ("cut", cut)):
        with open_sink(tmp_path / f"{name}.aedat", size) as sink:
            sink.write_triggers(triggers)
            for start in range(0, len(events), step):
                sink.write(events[start : start + step])
    assert (tmp_path / "cut.aedat").read_bytes() == (tmp_path / "whole.aedat").read_bytes()
    recording = dvskit.open_events(tmp_path / "cut.aedat")
    assert recording.load() == events
    assert recording.triggers().t.tolist() == triggers.t.tolist()


def test_other_triggers_are_left_out_with_a_warning(tmp_path):
    triggers = Triggers(np.arange(4), np.array([0, 0, 1, 0], np.int16), np.arange(4) < 3)
    with (
        open_sink(tmp_path / "a.aedat", (128, 128)) as sink,
        pytest.warns(LeftOutWarning, match="2 triggers"),
    ):
        sink.write_triggers(triggers)
    assert dvskit.open_events(tmp_path / "a.aedat").triggers().t.tolist() == [0, 1]


def test_triggers_come_once_in_order_and_first(tmp_path):
    with refused(EventsError, "runs back"), open_sink(tmp_path / "b.aedat", (128, 128)) as sink:
        sink.write_triggers(rising(5, 4))
    assert not list(tmp_path.iterdir())
    with open_sink(tmp_path / "a.aedat", (128, 128)) as sink:
        sink.write(scattered(50, (128, 128)))
        with refused(EventsError, "before"):
            sink.write_triggers(rising(5))


def test_a_size_of_no_chip_is_refused(tmp_path):
    with refused(GeometryError, "128x128, 208x192, 240x180, 346x260, 640x480"):
        dvskit.save_events(scattered(9, (320, 240)), tmp_path / "a.aedat")
    assert not list(tmp_path.iterdir())
