"""The page on extending dvskit: its package works, its table is complete."""

import re
import tomllib

import pytest

import dvskit.datasets
import dvskit.encoders
import dvskit.filters
import dvskit.formats
import dvskit.networks
import dvskit.neurons
import dvskit.tensors
from dvskit import registry
from dvskit.filters.names import FILTERS
from tests.tree import text_of

PAGE = text_of("samples/guide/extending.md")
FILE = r"^`([\w.]+)`\n\n(?:<!-- [^\n]* -->\n)?^```\w+\n(.*?)^```"
FILES = dict(re.findall(FILE, PAGE, re.DOTALL | re.MULTILINE))


@pytest.fixture(autouse=True)
def own_names(monkeypatch):
    monkeypatch.setattr(FILTERS, "_parts", dict(FILTERS))


def test_the_package_of_the_page_adds_its_filter(tmp_path, monkeypatch, run):
    declared = tomllib.loads(FILES["pyproject.toml"])["project"]
    ((name, module),) = declared["entry-points"]["dvskit"].items()
    about = tmp_path / f"my_events-{declared['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: 1\n"
    )
    (about / "entry_points.txt").write_text(f"[dvskit]\n{name} = {module}\n")
    (tmp_path / f"{module}.py").write_text(FILES["my_events.py"])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_packages", None)
    code, out, _ = run("filters", "top_half")
    assert code == 0
    assert "Keep the events of the upper half" in out


def test_the_table_names_every_function_that_registers():
    packages = (dvskit.filters, dvskit.formats, dvskit.tensors, dvskit.encoders,
                dvskit.neurons, dvskit.networks, dvskit.datasets)  # fmt: skip
    functions = {
        f"{package.__name__.removeprefix('dvskit.')}.{name}"
        for package in packages
        for name in package.__all__
        if name.startswith("register_")
    }
    assert set(re.findall(r"`(\w+\.register_\w+)\(", PAGE)) == functions
