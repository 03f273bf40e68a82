"""Both sides of the migration pages run, and give the same values where a page says so."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.migration_code import MODULES, is_installed, is_same, run_sides, tasks_of
from tests.page_code import prose_of
from tests.tree import SAMPLES

PAGES = {path.stem: path for path in SAMPLES.glob("migrate/*.md")}
of_pages = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
_TABLE_OR_TAG = re.compile(r"^(?:\||<|\*\*[\w -]+\*\*$).*\n", re.MULTILINE)
_VALUE = re.compile(r"^(theirs|ours) = ", re.MULTILINE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def compared(page: Path) -> int:
    """Return how many tasks of a page compare values when the other library is there."""
    tasks = tasks_of(text_of(page))
    return sum(1 for _, theirs, _ in tasks if _VALUE.search(theirs.text) and not theirs.reason)


def test_each_library_has_a_page():
    assert len(PAGES) == len(MODULES) == 7
    named = [{label for label, _, _ in tasks_of(text_of(page))} for page in PAGES.values()]
    assert sorted(map(list, named)) == sorted([label] for label in MODULES)


@of_pages
def test_each_task_has_two_sides_that_compare_or_do_not(page):
    for _, theirs, ours in tasks_of(text_of(page)):
        assert not ours.reason
        assert theirs.kind == ours.kind or theirs.kind == "bash"
        values = _VALUE.findall(theirs.text), _VALUE.findall(ours.text)
        assert values in (([], []), (["theirs"], ["ours"])), f"line {theirs.line}"


@of_pages
def test_the_parts_of_a_page_stand_in_one_order_and_are_short(page):
    text = text_of(page)
    parts = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    assert parts[0].startswith("Coming from ")
    assert parts[-3:-1] == ["Names", "What changes"]
    assert re.fullmatch(r"What .+ (does|do) that dvskit does not", parts[-1])
    assert "\nSee also: [" in text
    assert text.count('<div class="grid sides" markdown>\n\n**') == len(tasks_of(text))
    assert len(prose_of(_TABLE_OR_TAG.sub("", text))) <= 500


@pytest.mark.slow(seconds=8)
@of_pages
def test_the_code_of_both_sides_runs_and_gives_the_same(page, sample_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(sample_folder, tmp_path / "sample"))
    label = tasks_of(text_of(page))[0][0]
    peer = is_installed(label)
    assert run_sides(page, peer=peer) == (compared(page) if peer else 0)


def test_values_that_differ_are_found(tmp_path):
    page = tmp_path / "page.md"
    sides = "**tonic**\n\n```python\ntheirs = [1.0, 2.0]\n```\n\n"
    page.write_text(sides + "**dvskit**\n\n```python\nours = [1.0, 2.0000001]\n```\n")
    assert run_sides(page, peer=True) == 1
    assert run_sides(page, peer=False) == 0
    page.write_text(sides + "**dvskit**\n\n```python\nours = [1.0, 2.001]\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:9: theirs and ours differ"):
        run_sides(page, peer=True)


def test_a_value_is_not_compared_with_that_of_another_task(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "**tonic**\n\n```python\ntheirs = 1\n```\n\n**dvskit**\n\n```python\nours = 1\n```\n\n"
        "**tonic**\n\n<!-- not run: far away -->\n```python\ntheirs = 2\n```\n\n"
        "**dvskit**\n\n```python\nours = 2\n```\n"
    )
    assert run_sides(page, peer=True) == 1


@pytest.mark.parametrize(
    ("theirs", "ours"), [(1, 2), ([1, 2], [1]), ([[1], [2]], [1, 2]), (1.0, 1.1), ((1, 2), (1, 3))]
)
def test_different_values_are_not_the_same(theirs, ours):
    assert is_same(ours, ours)
    assert not is_same(theirs, ours)
