"""EVT 2.0, EVT 2.1, EVT 4.0 and DAT: parts by time, streams that arrive, loading, other systems."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError, DvskitError, FormatError, GeometryError
from dvskit.events import Events, read_all
from dvskit.formats import (
    InputStream,
    ReadOptions,
    load_events,
    open_events,
    open_stream,
    save_events,
)
from dvskit.formats.prophesee import decoding
from tests.arriving import Pieces, arrive, cut
from tests.event_rows import kept_share
from tests.test_words import (
    EVT,
    REAL,
    SIZE,
    clean_stream,
    dense_units,
    event,
    header,
    high,
    random_units,
    raw,
)


def some_file(tmp_path: Path, name: str, seed: int, count: int = 20_000) -> Path:
    """A file whose words are of all kinds; times of DAT wrap."""
    rng = np.random.default_rng(seed)
    path = tmp_path / ("a.dat" if name == "dat" else "a.raw")
    if name != "dat":
        units = random_units(rng, name, count) if seed % 2 else dense_units(rng, name, count)
        return raw(path, name, units)
    t = 2**32 - 50_000 + np.sort(rng.integers(0, 100_000, count))
    events = clean_stream(rng, count)
    addresses = events.x | events.y.astype(np.int64) << 14 | events.p.astype(np.int64) << 28
    return raw(path, name, np.stack([t % 2**32, addresses], 1).ravel().tolist())


@pytest.fixture
def small_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of few words, so that small files have many, and an index of their own."""
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "CHUNK_WORDS", 1000)
    monkeypatch.setattr(decoding, "_SLICE_UNITS", 100)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::dvskit.errors.UnitWarning")  # parts of microseconds
@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", REAL)
def test_a_part_by_time_is_that_part_of_all_events(
    tmp_path: Path, name: str, seed: int, damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = some_file(tmp_path, name, seed)
    rng = np.random.default_rng(seed)
    if damaged:
        content = bytearray(path.read_bytes())
        for place in rng.integers(200, len(content), 30):
            content[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(content)
    recording = open_events(path, strict=not damaged)
    whole = recording.load()
    begun = []
    blocks = decoding.WordPass.blocks
    monkeypatch.setattr(
        decoding.WordPass,
        "blocks",
        lambda reading, storage: begun.append(reading.at) or blocks(reading, storage),
    )
    for index in rng.integers(0, len(whole), 12).tolist():
        start = int(whole.t[index]) + int(rng.integers(-1, 2))
        stop = start + int(rng.choice([1, 70, 10_000, 10**12]))
        assert recording.between(start, stop).load() == whole.between(start, stop)
    assert (
        recording.between(None, int(whole.t[50])).load()
        == whole[: np.searchsorted(whole.t, whole.t[50])]
    )
    assert max(begun) > 40_000
    assert len(list((tmp_path / "cache" / "indexes").iterdir())) == 1


@pytest.mark.usefixtures("small_chunks")
def test_a_part_by_time_counts_the_time_offset_of_the_header(tmp_path: Path) -> None:
    path = some_file(tmp_path, "evt2", 2)
    content = path.read_bytes().replace(b"% end", b"% dvskit_time_offset_us -17179869184\n% end")
    path.write_bytes(content)
    recording = open_events(path)
    whole = recording.load()
    start, stop = int(whole.t[15_000]), int(whole.t[15_300])
    assert start < 2**34
    assert recording.between(start, stop).load() == whole.between(start, stop)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 64, 1000, 1 << 20])
@pytest.mark.parametrize("name", REAL)
def test_a_stream_gives_what_its_file_gives_however_it_arrives(
    tmp_path: Path, name: str, length: int
) -> None:
    for seed in (2, 3):
        path = some_file(tmp_path, name, seed, 300 if length < 64 else 20_000)
        recording = open_events(path)
        arriving = arrive(path.read_bytes(), length)
        assert arriving.live
        assert arriving.format == name
        assert read_all(arriving) == recording.load()
        assert arriving.triggers().t.tolist() == recording.triggers().t.tolist()
        assert arriving.other_streams() == recording.other_streams()
        assert read_all(arriving) == Events.empty(SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVT)
def test_salvage_of_a_sound_file_loses_nothing(tmp_path: Path, name: str) -> None:
    for seed in range(20):
        path = some_file(tmp_path, name, seed, 3000)
        salvaged = open_events(path, strict=False)
        assert salvaged.load() == open_events(path).load()
        assert not salvaged.damage


@pytest.mark.slow
@pytest.mark.parametrize("missing", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("name", REAL)
def test_words_that_missing_bytes_put_out_of_step_are_lost(
    tmp_path: Path, name: str, missing: int
) -> None:
    path = tmp_path / "a"
    whole = clean_stream(np.random.default_rng(missing), 20_000)
    save_events(whole, path, format=name)
    content = path.read_bytes()
    at = len(content) // 2 + missing
    path.write_bytes(content[:at] + content[at + missing :])
    recording = open_events(path, format=name, strict=False)
    assert kept_share(whole, read_all(recording)) > 0.48
    assert kept_share(read_all(recording), whole) > 0.998
    assert recording.damage.count < 12
    assert at - 80 < recording.damage.losses[0].offset <= at + 80
    with pytest.raises(DamagedFileError):
        open_events(path, format=name).load()
    pieces = Pieces(cut(path.read_bytes(), 50))
    arriving = open_stream(InputStream(pieces, "pipe"), None, ReadOptions(strict=False))
    assert kept_share(read_all(arriving), whole) > 0.997


def firsts(name: str, content: bytes) -> tuple[Pieces, Iterator[Events]]:
    """Return a stream of one piece, and the blocks of what is read from it."""
    pieces = Pieces(iter([content]))
    return pieces, iter(open_stream(InputStream(pieces, "pipe"), None, ReadOptions()))


@pytest.mark.parametrize("name", EVT)
def test_an_event_is_given_before_anything_behind_it_arrives(name: str) -> None:
    units = [*high(name, 1), *event(name, 5, 7, 8)]
    content = header(name) + np.array(units, "<u4").tobytes()
    for more in (b"", b"\x01", b"\x01\x02\x03"):
        pieces, blocks = firsts(name, content + more)
        assert next(blocks).t.tolist() == [69]
        assert pieces.asked == 1


def test_a_vector_of_evt4_waits_for_its_mask() -> None:
    head = event("evt4", 5, 7, 8)[0] + (2 << 28)
    units = np.array([*high("evt4", 1), *event("evt4", 1, 1, 1), head, 5], "<u4").tobytes()
    pieces = Pieces(iter([header("evt4") + units[:12], units[12:]]))
    blocks = iter(open_stream(InputStream(pieces, "pipe"), None, ReadOptions()))
    assert next(blocks).x.tolist() == [1]
    assert pieces.asked == 1
    assert next(blocks).x.tolist() == [7, 9]


@pytest.mark.parametrize("name", REAL)
def test_half_a_word_at_the_end_of_a_stream_is_damage(tmp_path: Path, name: str) -> None:
    content = some_file(tmp_path, name, 2, 300).read_bytes()
    whole = read_all(arrive(content))
    with pytest.raises(DamagedFileError, match="the last word has 3 of"):
        read_all(arrive(content + b"\x01\x02\x03"))
    salvaged = arrive(content + b"\x01\x02\x03", strict=False)
    assert read_all(salvaged) == whole
    assert salvaged.damage.losses[0].offset == len(content)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", REAL)
def test_a_damaged_stream_raises_only_our_errors_and_is_never_silent(
    tmp_path: Path, name: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(some_file(tmp_path, name, seed, 2000).read_bytes())
    for place in rng.integers(0 if seed % 4 == 0 else 200, len(content), 5):
        content[place] ^= 1 << int(rng.integers(0, 8))
    for strict in (True, False):
        try:
            arriving = arrive(bytes(content), int(rng.integers(1, 3000)), strict=strict)
            events = read_all(arriving)
        except DvskitError:
            continue
        assert Events(t=events.t, x=events.x, y=events.y, p=events.p, size=events.size) == events


def test_a_stream_that_does_not_tell_its_size_is_refused() -> None:
    with pytest.raises(GeometryError, match="pass size"):
        arrive(b"% evt 2.0\n" + bytes(16))
    with pytest.raises(GeometryError, match="pass size"):
        arrive(b"% Data file containing CD events.\n\x0c\x08" + bytes(16))
    assert arrive(b"% evt 2.0\n" + bytes(16), size=SIZE).size_origin == "argument"
    with pytest.raises(FormatError, match="triggers are not read from a pipe"):
        arrive(b"% Data file containing triggers\n\x0e\x08" + bytes(16))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_blocks_and_loading_give_the_same_events(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "CHUNK_WORDS", 2000)
    for seed in (2, 3):
        recording = open_events(some_file(tmp_path, name, seed))
        whole = read_all(recording)
        assert recording.load() == whole
        copies = [block.to_array("dv") for block in recording.blocks(reuse=True)]
        assert len(copies) > 3
        assert np.array_equal(np.concatenate(copies), whole.to_array("dv"))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_files_are_read_where_threads_cannot_read_at_places(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = some_file(tmp_path, name, 2)
    whole = load_events(path)
    monkeypatch.delattr(os, "preadv", raising=False)
    assert load_events(path) == whole


@pytest.mark.slow
@pytest.mark.usefixtures("small_chunks")
def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = some_file(tmp_path, "evt2", 2)
    blocks = iter(open_events(path))
    next(blocks)
    os.truncate(path, 10_000)
    with pytest.raises(FormatError, match="became shorter"):
        list(blocks)
