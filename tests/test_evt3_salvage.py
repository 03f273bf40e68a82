"""EVT 3.0 salvage: words line up anew, time is judged by what follows, little is given up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError
from dvskit.events import Size
from dvskit.formats import load_events, open_events
from dvskit.formats.evt3 import losses
from dvskit.formats.evt3 import survey_kernels as k
from dvskit.formats.evt3.chunks import BYTES, WordChunks
from dvskit.formats.feed import FileFeed
from tests.event_rows import kept_share
from tests.test_evt3 import HEADER, REAL, at, cut_small, high, low, random_words, raw


def impossible(word: int, size: Size) -> bool:
    kind, place = word >> 12, word & 0x7FF
    if kind == 0:
        return place >= size.height
    return place >= size.width if kind in (2, 3) else kind in (1, 9, 11, 12, 13)


@pytest.mark.parametrize("seed", range(4))
def test_a_survey_counts_what_a_plain_one_does(seed: int) -> None:
    words = np.random.default_rng(seed).integers(0, 1 << 16, 9001).astype(np.uint16)
    size, found = Size(1000, 700), np.empty((3, k.SURVEY_FIELDS), np.int64)
    k.survey(words, 0, 3, 4000, *size, found)
    for row, part in zip(found, np.split(words, [4000, 8000]), strict=True):
        kinds, each = part >> 12, part.tolist()
        bits = sum((word & 0xFFF).bit_count() for word in each if word >> 12 == 4)
        bits += sum((word & 0xFF).bit_count() for word in each if word >> 12 == 5)
        assert row[k.N_EVENTS] == bits + (kinds == 2).sum()
        assert row[k.N_TRIGGERS] == (kinds == 10).sum()
        assert row[k.N_VECTORS] == ((kinds >= 3) & (kinds <= 5)).sum()
        assert bool(row[k.N_INVALID]) == any(impossible(word, size) for word in each)


def plain_realign(data: bytes, size: Size) -> list[int]:
    """Leave out a byte where that makes most of many impossible words possible."""

    def count(start: int, words: int) -> int:
        return sum(
            impossible(int.from_bytes(data[i : i + 2], "little"), size)
            for i in range(start, start + 2 * words, 2)
        )

    words, place = [], 0
    while place + 1 < len(data):
        word = int.from_bytes(data[place : place + 2], "little")
        words.append(word)
        window = min(64, (len(data) - place - 3) // 2)
        place += 2
        if impossible(word, size) and window > 8 and count(place, window) > 8:
            place += count(place + 1, window) <= count(place, window) // 4
    return words


@pytest.mark.parametrize("chunk", [3, 200, 1 << 20])
def test_words_line_up_anew_as_in_a_plain_twin(
    data: Path, tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (data / "recordings" / REAL[0]).read_bytes()[166:8000]
    noise = np.random.default_rng(1).bytes(333)
    content = content[:1001] + content[1500:4000] + noise + content[4000:]
    path, size = tmp_path / "a", Size(1280, 720)
    path.write_bytes(content)
    cut_small(monkeypatch, chunk, 1000)
    chunks, used, words = WordChunks(FileFeed(path, BYTES), size, realign=True), 0, []
    while chunks.advance(used):
        used = len(chunks.words) // 2 if not chunks.ended else len(chunks.words)
        words += chunks.words[:used].tolist()
    chunks.close()
    assert words == plain_realign(content, size)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [1, 2, 301, 2000])
@pytest.mark.parametrize("name", REAL)
def test_bytes_that_are_lost_cost_no_events_behind_them(
    data: Path, tmp_path: Path, name: str, lost: int
) -> None:
    content = (data / "recordings" / name).read_bytes()
    whole = load_events(data / "recordings" / name)
    path = tmp_path / "a.raw"
    path.write_bytes(content[:200000] + content[200000 + lost :])
    recording = open_events(path, strict=False)
    assert kept_share(whole, recording.load()) > 0.99 - lost / len(content)
    if lost % 2:
        assert recording.damage
        with pytest.raises(DamagedFileError):
            load_events(path)


@pytest.mark.slow
@pytest.mark.parametrize("length", [8, 100, 3001])
@pytest.mark.parametrize("name", REAL)
def test_noise_moves_no_time_behind_it(data: Path, tmp_path: Path, name: str, length: int) -> None:
    content = (data / "recordings" / name).read_bytes()
    whole = load_events(data / "recordings" / name)
    path = tmp_path / "a.raw"
    for seed in range(8):
        rng = np.random.default_rng(seed)
        place = int(rng.integers(1000, len(content) - 5000))
        path.write_bytes(content[:place] + rng.bytes(length) + content[place:])
        assert kept_share(whole, open_events(path, strict=False).load()) > 0.99, seed


def test_a_stretch_out_of_order_is_given_up_and_told(tmp_path: Path) -> None:
    def stretch(start: int) -> list[int]:
        return [word for n in range(start, start + 9) for word in (high(n), low(1), *at(1, n))]

    words = [*stretch(0), *stretch(40), *stretch(9), *stretch(18), *stretch(27), *stretch(36)]
    path = raw(tmp_path / "a.raw", words)
    recording = open_events(path, strict=False)
    assert recording.load().x.tolist() == list(range(45))
    assert recording.damage.losses[0].offset == len(HEADER) + 2 * 4 * 9 + 6
    with pytest.raises(DamagedFileError, match="back"):
        load_events(path)


def test_a_clock_that_begins_anew_is_read_as_a_wrap(tmp_path: Path) -> None:
    words = [word for n in range(3000, 3020) for word in (high(n), *at(1, 1))]
    words += [word for n in range(1000, 1200) for word in (high(n), *at(1, 2))]
    recording = open_events(raw(tmp_path / "a.raw", words), strict=False)
    assert recording.load().t[-1] == (4096 + 1199) << 12
    assert "wrap" in recording.damage.losses[0].problem


@pytest.mark.parametrize("cut", [1, 5, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_given_up_is_the_least_and_does_not_depend_on_the_cut(
    seed: int, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "GROUP", 8)
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 1000, 300))
    bad = np.sort(rng.choice(300, 6, replace=False))
    t[bad] = rng.integers(0, 2000, 6)
    found = []
    for step in (cut, 300):
        chooser, held, kept = losses.TimeOrder(), t[:0], []
        for start in range(0, 300, step):
            held = np.concatenate([held, t[start : start + step]])
            certain, keep = chooser.choose(held, len(held), ended=start + step >= 300)
            kept += held[:certain][slice(None) if keep is None else keep].tolist()
            held = held[certain:]
        found.append(kept)
    assert found[0] == found[1]
    assert found[0] == sorted(found[0])
    assert len(found[0]) >= 300 - len(bad)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_strict_raises_where_salvage_tells_damage(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(raw(tmp_path / "a.raw", random_words(rng, 800)).read_bytes())
    for _ in range(seed % 4):
        content[int(rng.integers(len(HEADER), len(content)))] ^= 1 << int(rng.integers(0, 8))
    path = tmp_path / "b.raw"
    path.write_bytes(content)
    recording = open_events(path, strict=False)
    events = recording.load()
    assert (np.diff(events.t) >= 0).all()
    if recording.damage:
        with pytest.raises(DamagedFileError):
            load_events(path)
    else:
        assert load_events(path) == events
