"""Salvage of fixed-size words: what makes no sense is lost, and costs few words behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size, read_all
from dvskit.formats import open_events, save_events
from dvskit.formats.prophesee import decoding
from tests.event_rows import kept_share, rows_of

NAMES = ["evt2", "evt21", "evt4", "dat"]


def stream(count: int, seed: int) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        t=1_000_000 + np.cumsum(rng.integers(0, 30, count)),
        x=rng.integers(0, 320, count).astype(np.int16),
        y=rng.integers(0, 240, count).astype(np.int16),
        p=rng.integers(0, 2, count).astype(np.bool_),
        size=Size(320, 240),
    )


def rows_in(events: Events) -> set[tuple[int, int, int, bool]]:
    return set(rows_of(events))


@pytest.mark.parametrize("name", NAMES)
def test_noise_costs_itself_and_a_few_words_behind_it(tmp_path: Path, name: str) -> None:
    whole = stream(10_000, 3)
    save_events(whole, tmp_path / "a", format=name)
    data = (tmp_path / "a").read_bytes()
    at = len(data) // 2
    noise = np.random.default_rng(3).bytes(2000)
    (tmp_path / "a").write_bytes(data[:at] + noise + data[at + 2000 :])
    recording = open_events(tmp_path / "a", format=name, strict=False)
    salvaged = read_all(recording)
    assert (np.diff(salvaged.t) >= 0).all()
    assert len(rows_in(whole) - rows_in(salvaged)) < 2000 / 4 + 150
    assert len(rows_in(salvaged) - rows_in(whole)) < 8
    lost = max(recording.damage.losses, key=lambda loss: loss.length)
    assert "make no sense" in lost.problem
    with pytest.raises(DamagedFileError):
        open_events(tmp_path / "a", format=name).load()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_salvage_does_not_depend_on_its_pieces(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stream(20_000, 5)
    save_events(whole, tmp_path / "a", format=name)
    data = bytearray((tmp_path / "a").read_bytes())
    rng = np.random.default_rng(5)
    for place in rng.integers(200, len(data), 40):
        data[place] ^= 1 << int(rng.integers(0, 8))
    data[9001:9601] = rng.bytes(600)
    (tmp_path / "a").write_bytes(data)
    once = open_events(tmp_path / "a", format=name, strict=False).load()
    assert kept_share(whole, once) > 0.95
    monkeypatch.setattr(decoding, "PIECE_WORDS", 700)
    assert open_events(tmp_path / "a", format=name, strict=False).load() == once


def test_damaged_dat_triggers_raise_and_are_salvaged(tmp_path: Path) -> None:
    t = 1000 + 10 * np.arange(500)
    words = np.stack([t, t % 2 | t % 3 << 8], axis=1).astype("<u4")
    words[100, 0] = 5
    words[200, 1] |= 1 << 20
    path = tmp_path / "a.dat"
    head = b"% Version 2\n\x0e\x08"
    path.write_bytes(head + words.tobytes())
    with pytest.raises(DamagedFileError) as caught:
        open_events(path).triggers()
    assert caught.value.offset == len(head) + 800
    hits = open_events(path, strict=False).triggers()
    assert hits.t.tolist() == np.delete(t, [100, 200]).tolist()


@pytest.mark.parametrize("spoilt", [{400: 0x7000_0000, 401: 0xF000_0000}, {0: 0xFFFF_FFFF}])
@pytest.mark.parametrize("last", [2_000, 402])
def test_times_of_dat_that_lead_round_the_clock_are_damage(
    tmp_path: Path, spoilt: dict[int, int], last: int
) -> None:
    """Each step is less than half the range, all of them are a whole turn: no time runs back."""
    whole = stream(last, 5)
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
        with pytest.raises(DamagedFileError, match=f"at byte {head + 8 * min(spoilt)};"):
            read_all(open_events(path))
    else:
        assert salvaged.t[:400].tolist() == whole.t[:400].tolist()


def dat(version: int, *, sized: bool) -> tuple[Events, bytes, int]:
    """Events, a DAT file of them, and where its events begin."""
    whole = stream(3000, 5)
    t, x, y, p = whole.t, *(getattr(whole, name).astype(np.int64) for name in "xyp")
    word = x | y << 9 | p << 17 if version == 1 else x | y << 14 | p << 28
    size = "% Height 240\n% Width 320\n" if sized else ""
    head = f"% Data file containing events.\n% Version {version}\n{size}".encode() + b"\x0c\x08"
    return whole, head + np.stack([t, word], axis=1).astype("<u4").tobytes(), len(head)


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_dat_events_out_of_step_are_no_events_and_set_no_size(
    tmp_path: Path, version: int, sized: bool
) -> None:
    whole, content, head = dat(version, sized=sized)
    path = tmp_path / "a.dat"
    for shift in range(1, 8):
        at = head + 8000
        path.write_bytes(content[:at] + b"\x12\x34\x56\x78\x9a\xbc\xde"[:shift] + content[at:])
        recording = open_events(path, strict=False)
        assert recording.size == (320, 240)
        salvaged = recording.load()
        assert len(rows_in(salvaged) - rows_in(whole)) < 8, shift
        assert len(salvaged) > 900
        with pytest.raises(DamagedFileError):
            open_events(path, size=(320, 240)).load()


def test_real_dat_events_out_of_step_set_no_size(data: Path, tmp_path: Path) -> None:
    content = (data / "recordings" / "ncars_type0.dat").read_bytes()
    whole = open_events(data / "recordings" / "ncars_type0.dat")
    path = tmp_path / "a.dat"
    for at in (1975, 4339, 15241):
        path.write_bytes(content[:at] + b"\x12" + content[at:])
        recording = open_events(path, strict=False)
        assert recording.size.width <= whole.size.width
        assert len(rows_in(recording.load()) - rows_in(whole.load())) < 8


def test_padding_of_dat_version_1_is_checked(tmp_path: Path) -> None:
    _, content, head = dat(1, sized=True)
    path = tmp_path / "a.dat"
    changed = bytearray(content)
    changed[head + 8 * 100 + 7] = 0x40
    path.write_bytes(changed)
    with pytest.raises(DamagedFileError, match="bits set that are 0") as caught:
        open_events(path).load()
    assert caught.value.offset == head + 800
    recording = open_events(path, strict=False)
    assert len(recording.load()) == 2999
    assert recording.damage.count == 1
