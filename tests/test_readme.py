"""The README is short, true to the files it names, and its code runs from an empty folder."""

from __future__ import annotations

import re

import pytest

from tests.page_code import run_page
from tests.processes import run_in
from tests.tree import TOP, text_of

README = text_of("README.md")
SETUP = [line for line in README.splitlines() if line.startswith("python3 -m venv .venv && ")]


def test_the_set_up_commands_are_those_that_continuous_integration_runs():
    script = text_of(".ci/run")
    assert "README.md" in script
    install, test = SETUP
    assert install == "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/dvskit demo"
    assert test.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert test.endswith("-m pytest -n auto --dist loadfile")


@pytest.mark.slow(seconds=90)
def test_the_code_of_the_readme_runs_from_an_empty_folder(tmp_path):
    place = tmp_path / "empty"
    place.mkdir()
    code, printed = run_in(place, run_page, TOP / "README.md")
    assert code == 0, printed
    for name in ("mine.raw", "cloud.html", "events.mp4", "rate.pdf", "objects.html", "turn.html"):
        assert (place / "dvskit-sample" / name).stat().st_size > 1000
    assert (place / "dvskit-sample" / "runs" / "mine" / "weights.safetensors").is_file()


def test_the_readme_names_pages_of_all_guides():
    guides = {path.name for path in TOP.glob("samples/guide/*.md")}
    assert guides == set(re.findall(r"samples/guide/([^)#]+)", README))


def test_the_readme_has_at_most_1100_words():
    assert len(README.split()) <= 1100


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_pages_at_the_top_link_to_files_and_headings_that_exist(name):
    text = text_of(name)
    targets = re.findall(r"\]\(((?!https?:)[^)]+)\)", text)
    for target in targets:
        path, _, heading = target.partition("#")
        assert (TOP / path).exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", (TOP / path).read_text("utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w-]", "", t.lower().replace(" ", "-")) for t in titles}
