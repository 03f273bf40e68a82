"""Salvage of fixed-size words: what is moved or out of step costs little more than itself."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size, read_all
from dvskit.formats import open_events, save_events
from dvskit.formats.words import row_kernels as k
from dvskit.formats.words import salvage
from dvskit.formats.words.dat import _VERSIONS
from tests.event_rows import rows_of

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


@pytest.mark.parametrize("moved", [400, 403])
@pytest.mark.parametrize("name", NAMES)
def test_blocks_that_are_swapped_cost_themselves(tmp_path: Path, name: str, moved: int) -> None:
    whole = stream(10_000, moved)
    save_events(whole, tmp_path / "a", format=name)
    data = (tmp_path / "a").read_bytes()
    a, b = len(data) // 3, len(data) // 2
    (tmp_path / "a").write_bytes(
        data[:a] + data[b : b + moved] + data[a + moved : b] + data[a : a + moved]
        + data[b + moved :]
    )  # fmt: skip
    recording = open_events(tmp_path / "a", format=name, strict=False)
    salvaged = read_all(recording)
    assert (np.diff(salvaged.t) >= 0).all()
    assert len(rows_in(whole) - rows_in(salvaged)) < 2 * moved / 4 + 20
    assert len(rows_in(salvaged) - rows_in(whole)) < 40
    assert recording.damage
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
    del data[9001:9008]
    (tmp_path / "a").write_bytes(data)
    once = rows_in(open_events(tmp_path / "a", format=name, strict=False).load())
    monkeypatch.setattr(salvage, "PIECE_WORDS", 700)
    pieces = rows_in(open_events(tmp_path / "a", format=name, strict=False).load())
    assert len(rows_in(whole) - once) < 300
    assert len(once ^ pieces) < 100


def test_a_byte_that_dat_is_out_of_step_by_is_found_by_the_end_of_the_file(tmp_path: Path) -> None:
    whole = stream(5000, 1)
    save_events(whole, tmp_path / "a", format="dat")
    data = (tmp_path / "a").read_bytes()
    at = len(data) - 8 * 2000
    (tmp_path / "a").write_bytes(data[:at] + b"\0" + data[at:])
    recording = open_events(tmp_path / "a", format="dat", size=(16384, 16384), strict=False)
    assert len(rows_in(whole) - rows_in(recording.load())) < 4
    assert at - 16 <= recording.damage.losses[0].offset <= at + 16


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


def most_in_order(t: list[int]) -> int:
    """The length of a longest part in order, from the definition."""
    for count in range(len(t), 0, -1):
        for part in combinations(t, count):
            if list(part) == sorted(part):
                return count
    return 0


@pytest.mark.parametrize("seed", range(20))
def test_as_few_rows_as_can_be_are_given_up(seed: int) -> None:
    t = np.random.default_rng(seed).integers(0, 12, 10)
    table = np.zeros((10, k.ROW), np.int64)
    table[:, k.R_TIME], table[:, k.R_WHY] = t, k.EVENT
    keep = k.choose(table, 0)
    assert (np.diff(t[keep]) >= 0).all()
    assert keep.sum() == most_in_order(t.tolist())


@pytest.mark.slow
def test_bytes_between_words_are_told_apart() -> None:
    times = 1000 + 7 * np.arange(60)
    data = np.stack([times, times % 300], axis=1).astype("<u4").tobytes()
    content = np.frombuffer(data[:160] + b"\xff" * 5 + data[160:], np.uint8)
    lines = salvage.Lines(content, _VERSIONS[2][0], Size(304, 240), -1)
    assert lines.gaps == [(160, 165)]
    assert lines.joints.tolist() == [40]
    assert lines.bytes_of(np.array([0, 38, 40, 42])).tolist() == [0, 152, 165, 173]
    assert lines.words[::2].tolist() == times.tolist()


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
