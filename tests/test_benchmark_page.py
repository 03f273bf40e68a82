"""The page of benchmarks names its tables' code, and marks those that are older than it."""

from __future__ import annotations

import pytest

from tests.benchmarks import measured
from tests.benchmarks.__main__ import BENCHMARKS

PAGE = measured.PAGE.read_text("utf-8")
SMALL = f"# Title\n\n{measured.block('one', 'aaaa', '| 1 |')}\n\ntext\n"


def test_each_table_of_the_page_is_of_a_benchmark_and_each_benchmark_has_one():
    assert measured.blocks_of(PAGE).keys() == BENCHMARKS.keys()


def test_each_benchmark_is_a_module_that_measures_files_that_exist():
    for name, benchmark in BENCHMARKS.items():
        assert measured.PAGE.with_name(f"{name}.py").is_file()
        for part in benchmark.code:
            assert (measured.PACKAGE / part).exists(), part


def test_a_table_is_marked_once_while_its_code_differs_and_no_longer():
    marked = measured.marked(SMALL, {"one": "bbbb"})
    assert marked == SMALL.replace("| 1 |", f"{measured.OLDER}| 1 |")
    assert measured.marked(marked, {"one": "bbbb"}) == marked
    assert measured.marked(marked, {"one": "aaaa"}) == SMALL
    never = SMALL.replace("aaaa", measured.NEVER)
    assert measured.marked(never, {"one": "bbbb"}) == never


def test_another_table_replaces_the_old_one_alone():
    new = measured.replaced(SMALL, "one", "cccc", "| 2 |")
    assert measured.blocks_of(new) == {"one": ("cccc", "| 2 |\n")}
    assert new.startswith("# Title\n\n<!--")
    assert new.endswith("-->\n\ntext\n")
    with pytest.raises(KeyError, match="no table 'two'"):
        measured.replaced(SMALL, "two", "cccc", "")


def test_a_table_in_markdown_stands_as_it_is_and_other_output_as_a_block():
    assert measured.shown("two cores\n\n| a |\n|---|\n| 1 |\n").endswith(
        "cores\n\n| a |\n|---|\n| 1 |"
    )
    assert measured.shown("a | b\n1   2\n") == "```text\na | b\n1   2\n```"


def test_the_digest_of_code_ignores_docstrings_and_sees_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "PACKAGE", tmp_path)
    file = tmp_path / "part.py"
    digests = []
    for text in ('"""A."""\nx = 1\n', '"""B."""\n\nx = 1  # why\n', '"""A."""\nx = 2\n'):
        file.write_text(text)
        digests.append(measured.digest_of(["part.py"]))
    assert digests[0] == digests[1] != digests[2]
