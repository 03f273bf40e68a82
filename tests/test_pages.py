"""The code of the README, the guides and the migration pages runs; their links lead to files."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from dvskit import registry
from dvskit.filters.names import FILTERS
from tests.migration_code import MODULES, is_installed, run_sides, tasks_of
from tests.page_code import run_page
from tests.processes import run_in
from tests.tree import SAMPLES, TOP

GUIDES = {path.stem: path for path in sorted(SAMPLES.glob("guide/*.md"))}
MIGRATIONS = {path.stem: path for path in sorted(SAMPLES.glob("migrate/*.md"))}
TOP_PAGES = [TOP / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PICTURE = re.compile(r"!\[[^\]]+\]\(pictures/([^)]+)\)")
# Pages whose code takes a moment; the others are campaigns.
SHORT = ("extending", "formats", "shipped-models", "tensors", "metavision", "tonic")


def each_page(pages: dict[str, Path]):
    return pytest.mark.parametrize(
        "page",
        [
            pytest.param(
                page, id=name, marks=pytest.mark.slow if name in SHORT else pytest.mark.campaign
            )
            for name, page in pages.items()
        ],
    )


@pytest.mark.slow(seconds=40)
def test_the_code_of_the_readme_runs_from_an_empty_folder(tmp_path):
    place = tmp_path / "empty"
    place.mkdir()
    code, printed = run_in(place, run_page, TOP / "README.md")
    assert code == 0, printed
    for name in ("mine.raw", "cloud.html", "events.mp4", "rate.pdf", "objects.html", "turn.html"):
        assert (place / "dvskit-sample" / name).stat().st_size > 1000
    assert (place / "dvskit-sample" / "runs" / "mine" / "weights.safetensors").is_file()


@each_page(GUIDES)
def test_the_code_of_a_guide_runs_and_draws_its_pictures(page, sample_folder, tmp_path):
    folder = shutil.copytree(sample_folder, tmp_path / "sample")
    code, printed = run_in(folder, run_page, page)
    assert code == 0, printed
    made = {path.stem for path in folder.rglob("*") if path.is_file()}
    made -= {path.stem for path in sample_folder.rglob("*")}
    assert {Path(name).stem for name in PICTURE.findall(page.read_text("utf-8"))} <= made


@pytest.mark.parametrize(
    "page", [*TOP_PAGES, *GUIDES.values(), *MIGRATIONS.values()], ids=lambda page: page.stem
)
def test_links_of_a_page_lead_to_files_and_headings_that_exist(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(((?!https?:)[^) ]+)\)", text):
        path, _, heading = target.partition("#")
        to = page.parent / path if path else page
        if "api/" in path or "commands/" in path or "gallery" in path:
            continue  # the site makes these pages
        assert to.exists(), target
        if heading and page in TOP_PAGES:
            titles = re.findall(r"^#+ (.+)$", to.read_text("utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w-]", "", t.lower().replace(" ", "-")) for t in titles}


# --- migration pages ------------------------------------------------------------------------------


def test_each_library_has_a_page_of_tasks_with_two_sides_that_compare_or_do_not():
    value = re.compile(r"^(theirs|ours) = ", re.MULTILINE)
    found = set()
    for page in MIGRATIONS.values():
        for label, theirs, ours in tasks_of(page.read_text("utf-8")):
            found.add(label)
            assert not ours.reason
            values = value.findall(theirs.text), value.findall(ours.text)
            assert values in (([], []), (["theirs"], ["ours"])), f"{page.name}:{theirs.line}"
    assert found == MODULES.keys()


@each_page(MIGRATIONS)
def test_the_code_of_both_sides_runs_and_gives_the_same(page, sample_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(sample_folder, tmp_path / "sample"))
    tasks = tasks_of(page.read_text("utf-8"))
    compared = sum("theirs = " in theirs.text and not theirs.reason for _, theirs, _ in tasks)
    peer = is_installed(tasks[0][0])
    assert run_sides(page, peer=peer) == (compared if peer else 0)


# --- the page on extending dvskit -----------------------------------------------------------------

EXTENDING = GUIDES["extending"].read_text("utf-8")
FILE = r"^`([\w.]+)`\n\n(?:<!-- [^\n]* -->\n)?^```\w+\n(.*?)^```"


def test_the_package_of_the_page_adds_its_filter(tmp_path, monkeypatch, run):
    files = dict(re.findall(FILE, EXTENDING, re.DOTALL | re.MULTILINE))
    declared = tomllib.loads(files["pyproject.toml"])["project"]
    ((name, module),) = declared["entry-points"]["dvskit"].items()
    about = tmp_path / f"my_events-{declared['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: 1\n"
    )
    (about / "entry_points.txt").write_text(f"[dvskit]\n{name} = {module}\n")
    (tmp_path / f"{module}.py").write_text(files["my_events.py"])
    monkeypatch.syspath_prepend(tmp_path)
    # A process looks for packages once, and keeps what they register.
    monkeypatch.setattr(FILTERS, "_parts", dict(FILTERS))
    monkeypatch.setattr(registry, "_packages", None)
    code, out, _ = run("filters", "top_half")
    assert code == 0
    assert "upper half" in out
