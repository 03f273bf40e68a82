"""The code of the README and of the guides runs from top to bottom."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.page_code import blocks_of, prose_of, run_page
from tests.processes import run_in
from tests.tree import SAMPLES

GUIDES = sorted((SAMPLES / "guide").glob("*.md"))
PICTURE = re.compile(r"!\[[^\]]+\]\(pictures/([^)]+)\)")
of_guides = pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)


@pytest.mark.slow(seconds=20)
@of_guides
def test_the_code_of_a_guide_runs_and_draws_its_pictures(page, sample_folder, tmp_path):
    folder = shutil.copytree(sample_folder, tmp_path / "sample")
    code, printed = run_in(folder, run_page, page)
    assert code == 0, printed
    made = {path.stem for path in folder.rglob("*") if path.is_file()}
    made -= {path.stem for path in sample_folder.rglob("*")}
    assert {Path(name).stem for name in PICTURE.findall(page.read_text("utf-8"))} <= made


@of_guides
def test_a_guide_is_short(page):
    assert len(prose_of(page.read_text("utf-8"))) <= 600


def test_each_picture_of_the_guides_is_small_and_shown():
    shown = {name for page in GUIDES for name in PICTURE.findall(page.read_text("utf-8"))}
    stored = {path.name: path.stat().st_size for path in SAMPLES.glob("guide/pictures/*")}
    assert stored.keys() == shown
    assert all(size <= 150_000 for size in stored.values()), stored


@of_guides
def test_few_blocks_of_a_guide_are_not_run(page):
    blocks = list(blocks_of(page.read_text("utf-8")))
    assert sum(1 for block in blocks if block.reason) <= len(blocks) / 2
