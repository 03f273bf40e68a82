"""The documentation's site: complete, without broken links, and independent of other hosts."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import skip_or_fail
from tests.tree import TOP, text_of

PACKAGES = [
    "dvskit",
    "dvskit.render.plots",
    *sorted(
        f"dvskit.{file.parent.name if file.name == '__init__.py' else file.stem}"
        for file in (*TOP.glob("dvskit/[a-z]*.py"), *TOP.glob("dvskit/[a-z]*/__init__.py"))
        if file.parent.name != "cli"
    ),
]
TAG = re.compile(r"<[a-zA-Z][^<>]*>")
ATTRIBUTE = re.compile(r"""\s(id|href|src|srcset|data|poster)=(?:"([^"]*)"|([^\s">]+))""")
LOADED = re.compile(r"""url\(\s*["']?(?:https?:)?//|@import\s+["']?(?:https?:)?//""")
pytestmark = pytest.mark.campaign  # test_pages.py follows the links of pages in the quick suite


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in strict mode, in which all warnings are errors."""
    text_of("mkdocs.yml")
    if importlib.util.find_spec("mkdocs") is None:
        skip_or_fail("no mkdocs: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(words, cwd=TOP, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, list[tuple[str, str, str]]]:
    """The (tag, attribute, value) of all that names a place, for each page of the site."""
    return {file: list(attributes(file)) for file in site.rglob("*.html") if is_own(file, site)}


def is_own(file: Path, site: Path) -> bool:
    """A page of mkdocs, not one that dvskit drew, nor the page for missing addresses."""
    place = file.relative_to(site).as_posix()
    return place not in ("404.html", "gallery/page.html")


def attributes(file: Path) -> Iterator[tuple[str, str, str]]:
    for tag in TAG.findall(file.read_text("utf-8")):
        for name, quoted, bare in ATTRIBUTE.findall(tag):
            yield tag[1:].split()[0].lower().rstrip(">"), name, unescape(quoted or bare)


def ids_of(found: list[tuple[str, str, str]]) -> set[str]:
    return {value for _, name, value in found if name == "id"}


def public_names(module: ModuleType) -> list[str]:
    """The names in `__all__`, or of all public classes and functions that a module defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return [name for name in listed if not inspect.ismodule(getattr(module, name))]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isroutine(value))
        and value.__module__ == module.__name__
    ]


def test_each_public_object_has_an_entry(site, pages):
    assert len(PACKAGES) > 20
    missing = []
    for package in PACKAGES:
        ids = ids_of(pages[site / "api" / f"{package}.html"])
        names = public_names(importlib.import_module(package))
        missing += [f"{package}.{name}" for name in names if f"{package}.{name}" not in ids]
    assert missing == []


def test_nothing_is_loaded_from_other_hosts(site, pages):
    outside = [
        f"{file.relative_to(site)}: {value}"
        for file, found in pages.items()
        for tag, name, value in found
        if name != "id" and tag != "a" and re.match(r"(?:https?:)?//", value)
    ]
    styles = [file for file in site.rglob("*.css") if LOADED.search(file.read_text("utf-8"))]
    assert outside == []
    assert styles == []
