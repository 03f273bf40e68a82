"""Public sets of one's own: registered, opened by name and in a configuration."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import dvskit
from dvskit import registry, save_events
from dvskit.datasets import (
    PUBLIC_SETS,
    FileSamples,
    PublicSet,
    Sample,
    open_public,
    register_public_set,
)
from dvskit.errors import ConfigError, DvskitError, FormatError
from dvskit.training import RecordingData
from dvskit.training.sets import load_sets
from tests.examples import example_of
from tests.laws import refused
from tests.test_datasets import events, folder_of
from tests.test_registry import install
from tests.test_training_sets import config_from

EXTENSION = Path(__file__).parent / "extension_package" / "garden" / "public_sets.py"


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(PUBLIC_SETS, "_parts", dict(PUBLIC_SETS))
    monkeypatch.setattr(registry, "_packages", None)


def named_recordings(folder: Path) -> Path:
    folder.mkdir()
    for seed, name in enumerate(("open_1", "open_2", "shut_1", "shut_2")):
        save_events(events(60, seed), folder / f"{name}.npz")
    return folder


def test_the_example_of_the_docstring_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "digits", {"open": 2, "shut": 1})
    names: dict = {"dvskit": dvskit}
    exec(example_of(register_public_set), names)
    assert names["samples"].classes == ("open", "shut")
    with refused(FormatError, "https://example.org/"):
        open_public("drawn-digits", tmp_path / "digits" / "open")


def broken(folder):
    return 1 // 0


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (broken, "ZeroDivisionError"),
        (lambda: None, "TypeError"),
        (lambda folder: Sample(), "TypeError"),
        (lambda folder: FileSamples([Sample("a", "b")]), "a"),
    ],
)
def test_a_mistake_in_a_public_set_is_one_line_that_names_it(tmp_path, function, named):
    with refused(DvskitError, "mine", named):
        open_public(row(open=function), tmp_path)


def test_a_registered_set_is_opened_by_name_in_a_configuration_and_as_an_object(tmp_path):
    root = named_recordings(tmp_path / "set")
    with refused(ConfigError, "'named-recordings'"):
        open_public("named-recordings", root)
    runpy.run_path(str(EXTENSION))
    samples = open_public("named-recordings", root)
    assert [label for _, label in samples] == ["open", "open", "shut", "shut"]
    assert list(open_public(PUBLIC_SETS["named-recordings"], root)) == list(samples)
    network = {"name": "layers", "layers": ["2"], "width": 8, "height": 6, "classes": 2}
    entry = {"set": "named-recordings", "path": str(root), "validation": 0.0, "test": 0.5}
    values = {"network": network, "data": [entry], "loop": {"keep": "last"}}
    (one,) = load_sets(config_from(values))
    assert one.parts.train.classes == ("open", "shut")
    assert [len(part) for part in one.parts] == [2, 0, 2]


def test_the_set_of_an_installed_package_is_found(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "setpackage", EXTENSION.read_text())
    RecordingData(set="named-recordings").check_names()
    assert "named-recordings" in PUBLIC_SETS.registered()


def row(**changes) -> PublicSet:
    return PublicSet(
        **({"name": "mine", "where": "https://m", "layout": "all", "open": len} | changes)
    )


def test_what_is_no_public_set_is_refused(tmp_path):
    for call, named in (
        (lambda: register_public_set("mine"), "'mine'"),
        (lambda: register_public_set(row(name="n-mnist")), "'n-mnist'"),
        (lambda: row(open="mine"), "open is 'mine'"),
        (lambda: open_public(3, tmp_path), "3"),
    ):
        with refused(ConfigError, named):
            call()
