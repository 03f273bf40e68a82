"""Small files read together: the batches and the errors of each file read alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import dvskit
from dvskit.datasets import Batches, Samples, open_samples
from dvskit.filters import Vary
from dvskit.formats.small_files import load_small
from dvskit.tensors import Counts
from tests.drawn_samples import events_of
from tests.laws import refused
from tests.test_nmnist import marked_34x34, unmarked_bytes

COUNTS = Counts(bins=5, bin_us=20_000, outside="ignore", dtype=torch.uint8)


class Alone(Samples):
    """The same samples, each read alone."""

    draws = False

    def __init__(self, whole: Samples) -> None:
        super().__init__(whole.rows, whole.classes)
        self.whole = whole

    def events(self, number, rng=None):
        return self.whole.events(number, rng)

    def fingerprint(self, number):
        return self.whole.fingerprint(number)


def folder(place: Path) -> Path:
    """Two classes of recordings: most small, one large, some of another sensor or format."""
    large = np.frombuffer(unmarked_bytes(), np.uint8).reshape(-1, 5).copy()
    large[:, 0] += 3
    many = np.repeat(np.frombuffer(unmarked_bytes(), np.uint8).reshape(-1, 5), 8, 0)
    files = [unmarked_bytes(), marked_34x34(), large.tobytes(), unmarked_bytes(50), many.tobytes()]
    for kind in "ab":
        (place / kind).mkdir(parents=True)
        for number, data in enumerate(files):
            (place / kind / f"{number}.bin").write_bytes(data)
        dvskit.save_events(events_of(kind == "b", 300), place / kind / "9.npz")
    return place


def batches_of(samples: Samples, **options) -> list[tuple[torch.Tensor, torch.Tensor]]:
    made = Batches(
        samples, COUNTS, size=(34, 34), batch_size=5, seed=2, warn_fitted=False, **options
    )
    return list(made.epoch(1))


@pytest.mark.parametrize(("threads", "vary"), [(0, None), (1, Vary(shift_px=4)), (2, None)])
def test_batches_of_small_files_are_those_of_each_file_read_alone(tmp_path, threads, vary):
    samples = open_samples(folder(tmp_path))
    found = batches_of(samples, threads=threads, vary=vary)
    wanted = batches_of(Alone(samples), threads=0, vary=vary)
    assert len(found) == len(wanted) == 3
    for one, other in zip(found, wanted, strict=True):
        assert all(map(torch.equal, one, other))
        assert one[0].any()


def test_a_part_of_the_samples_reads_its_own_files_together(tmp_path):
    samples = open_samples(folder(tmp_path))
    part = samples.choose([8, 0, 3])
    assert part.events_together([2, 0]) == samples.events_together([3, 8])
    assert None not in samples.events_together([0, 1, 3])
    assert samples.events_together([2, 4, 5]) == [None] * 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(unmarked_bytes()[:-2]),
        lambda file: file.write_bytes(unmarked_bytes() + bytes(5)),
        lambda file: file.write_bytes(bytes([0, 240, 0, 0, 0])),
        lambda file: file.write_bytes(b"\x93NUMPY"),
        lambda file: file.unlink(),
    ],
    ids=["empty", "cut", "back in time", "overflow", "another format", "missing"],
)
def test_a_damaged_small_file_is_the_error_of_opening_it_alone(tmp_path, damage):
    samples = open_samples(folder(tmp_path))
    number = 3
    damage(samples.rows[number].file)
    with pytest.raises(dvskit.errors.FormatError) as alone:
        samples.events(number)
    for threads in (0, 2):
        with refused(type(alone.value), alone.value):
            batches_of(samples, threads=threads)


def test_files_of_any_kind_stand_in_their_places(tmp_path):
    samples = open_samples(folder(tmp_path))
    paths = [row.file for row in samples.rows]
    found = load_small([tmp_path, *paths[:2], tmp_path / "none.bin", paths[5], paths[3]])
    assert [events is None for events in found] == [True, False, False, True, True, False]
    for events, path in zip(found[1:3] + found[5:], [*paths[:2], paths[3]], strict=True):
        assert events == dvskit.load_events(path)
