"""Salvage of words of a fixed size: what makes no sense is lost, and costs few words behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError
from dvskit.events import Events
from dvskit.events.sources import read_all
from dvskit.formats import open_events, save_events
from tests.arriving import arrive, small
from tests.damage import kept_share
from tests.laws import rows_of, scattered

NAMES = ["evt2", "evt21", "evt4", "dat"]


def written(path: Path, name: str, count: int, seed: int) -> tuple[Events, bytes]:
    whole = scattered(count, (320, 240), span_us=20 * count, seed=seed)
    save_events(whole, path, format=name)
    return whole, path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_noise_costs_itself_and_a_few_words_behind_it(tmp_path: Path, name: str) -> None:
    whole, content = written(tmp_path / "a", name, 10_000, 3)
    at = len(content) // 2
    noise = np.random.default_rng(3).bytes(2000)
    (tmp_path / "a").write_bytes(content[:at] + noise + content[at + 2000 :])
    recording = open_events(tmp_path / "a", format=name, strict=False)
    salvaged = read_all(recording)
    assert (np.diff(salvaged.t) >= 0).all()
    assert len(set(rows_of(whole)) - set(rows_of(salvaged))) < 2000 / 4 + 150
    assert len(set(rows_of(salvaged)) - set(rows_of(whole))) < 8
    longest = max(recording.damage.losses, key=lambda loss: loss.length)
    assert longest.offset < at + 80
    assert longest.offset + longest.length > at + 1900
    with pytest.raises(DamagedFileError):
        open_events(tmp_path / "a", format=name).load()
    with small(name):
        assert open_events(tmp_path / "a", format=name, strict=False).load() == salvaged


@pytest.mark.slow
@pytest.mark.parametrize("missing", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("name", NAMES)
def test_words_that_missing_bytes_put_out_of_step_are_lost(
    tmp_path: Path, name: str, missing: int
) -> None:
    whole, content = written(tmp_path / "a", name, 10_000, missing)
    at = len(content) // 2 + missing
    content = content[:at] + content[at + missing :]
    (tmp_path / "a").write_bytes(content)
    recording = open_events(tmp_path / "a", format=name, strict=False)
    salvaged = read_all(recording)
    assert kept_share(whole, salvaged) > 0.48
    assert kept_share(salvaged, whole) > 0.995
    assert recording.damage.count < 12
    assert at - 80 < recording.damage.losses[0].offset <= at + 80
    with pytest.raises(DamagedFileError):
        open_events(tmp_path / "a", format=name).load()
    assert kept_share(read_all(arrive(content, 50, strict=False)), whole) > 0.995
