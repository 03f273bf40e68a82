"""The page of benchmarks marks tables that are older than their code; campaigns find kills."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from dvskit import _files
from tests.benchmarks import measured
from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.reliability_campaign import Campaign
from tests.benchmarks.reliability_cases import Case, cases, check_complete
from tests.benchmarks.reliability_trials import Moment

SMALL = f"# Title\n\n{measured.block('one', 'aaaa', '| 1 |')}\n\ntext\n"


def test_each_table_of_the_page_is_of_a_benchmark_of_code_that_exists():
    assert measured.blocks_of(measured.PAGE.read_text("utf-8")).keys() == BENCHMARKS.keys()
    for name, benchmark in BENCHMARKS.items():
        assert measured.PAGE.with_name(f"{name}.py").is_file()
        for part in benchmark.code:
            assert (measured.PACKAGE / part).exists(), part


def test_a_table_is_marked_while_its_code_differs_and_is_replaced_alone():
    marked = measured.marked(SMALL, {"one": "bbbb"})
    assert marked == SMALL.replace("| 1 |", f"{measured.OLDER}| 1 |")
    assert measured.marked(marked, {"one": "bbbb"}) == marked
    assert measured.marked(marked, {"one": "aaaa"}) == SMALL
    new = measured.replaced(SMALL, "one", "cccc", "| 2 |")
    assert measured.blocks_of(new) == {"one": ("cccc", "| 2 |\n")}
    assert new.startswith("# Title\n\n<!--")
    assert new.endswith("-->\n\ntext\n")


def test_every_command_that_writes_is_killed_in_the_campaign():
    assert check_complete(cases()) == []


def write_whole() -> None:
    _files.write_whole("out.txt", "new", overwrite=True)


def write_in_place() -> None:
    with Path("out.txt").open("w") as file:
        Path("other.txt").touch()
        file.write("new")
    Path("other.txt").unlink()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")
@pytest.mark.parametrize(("start", "good"), [(write_whole, True), (write_in_place, False)])
def test_a_file_that_is_written_in_place_is_found_by_killing_before_each_operation(
    tmp_path, start, good
):
    campaign = Campaign(Case("x", (), ("out.txt",), start=start), tmp_path, random.Random(1))
    assert campaign.undisturbed()
    for number in range(1, campaign.operations + 1):
        for old in ({}, {"out.txt": b"old"}):
            campaign.trial(Moment(number), old, again=False)
    assert campaign.counts["kills"] >= 6
    assert (campaign.faults == []) == good
