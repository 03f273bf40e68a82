"""The campaigns of tests/benchmarks cover every command, and find what they look for."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from dvskit import _files
from tests.benchmarks.reliability_campaign import Campaign
from tests.benchmarks.reliability_cases import Case, cases, check_complete
from tests.benchmarks.reliability_trials import Moment, moments


def test_every_command_that_writes_is_killed_in_the_campaign() -> None:
    assert check_complete(cases()) == []


def write_whole() -> None:
    _files.write_whole("out.txt", "new", overwrite=True)


def write_in_place() -> None:
    with Path("out.txt").open("w") as file:
        Path("other.txt").touch()
        file.write("new")
    Path("other.txt").unlink()


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")
@pytest.mark.parametrize(("start", "good"), [(write_whole, True), (write_in_place, False)])
def test_a_file_that_is_written_in_place_is_found_by_killing_before_each_operation(
    tmp_path: Path, start, good: bool
) -> None:
    campaign = Campaign(Case("x", (), ("out.txt",), start=start), tmp_path, random.Random(1))
    assert campaign.undisturbed()
    for number in range(1, campaign.operations + 1):
        for old in ({}, {"out.txt": b"old"}):
            campaign.trial(Moment(number), old, again=False)
    assert campaign.counts["kills"] >= 6
    assert (campaign.faults == []) == good


def test_moments_come_before_each_operation_and_at_random_times() -> None:
    made = moments(40, 5, 2.0, random.Random(0))
    assert [each.operation for each in made[:5]] == [1, 2, 3, 4, 5]
    assert all(0 < each.seconds <= 2.1 for each in made[5:])
    assert len(made) == 40
