"""The registry: names are found once, and installed packages are imported when one is unknown."""

import sys

import pytest

from dvskit import registry
from dvskit.errors import ConfigError, UnknownFormatError
from dvskit.registry import Registry, load_packages
from tests.laws import refused


@pytest.fixture
def parts(monkeypatch):  # a registry of its own: what tests add stays out of those of dvskit
    monkeypatch.setattr(registry, "_REGISTRIES", [])
    monkeypatch.setattr(registry, "_packages", None)
    return Registry("spice", {"salt": 1, "pepper": 2})


def install(folder, monkeypatch, name, source):
    """Write a package that extends dvskit as pip installs it."""
    about = folder / f"{name}-0.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.3\n")
    (about / "entry_points.txt").write_text(f"[dvskit]\n{name} = {name}_parts\n")
    (folder / f"{name}_parts.py").write_text(source)
    monkeypatch.syspath_prepend(folder)


def adding(*names):
    """Return the code of a package that registers names with the value 8."""
    add = "from dvskit import registry\nadd = registry._REGISTRIES[0].register\n"
    return add + "".join(f"add('{name}', 8)\n" for name in names)


def test_a_registered_name_is_found_and_listed(parts):
    parts.register("basil", 3)
    assert parts.find("basil") == 3
    assert list(parts) == ["salt", "pepper", "basil"]
    assert parts.registered() == ["basil"]


@pytest.mark.parametrize("name", ["", "1a", "a b", "a:b", "a,b", None, 3])
def test_what_is_no_name_is_refused(parts, name):
    with refused(ConfigError, name):
        parts.register(name, 3)


def test_a_taken_name_is_refused_and_its_origin_named(parts, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "tin", adding("dill"))
    parts.register("basil", 3)
    parts.complete()
    for name, origin in (("salt", "dvskit"), ("basil", "program"), ("dill", "package tin 0.3")):
        with refused(ConfigError, f"'{name}'", origin):
            parts.register(name, 4)


def test_a_package_that_fails_halfway_keeps_and_names_its_parts(parts, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "half", adding("anise", "salt", "cumin"))
    assert parts.find("anise") == 8
    with refused(ConfigError, "package half 0.3", "anise"):
        parts.find("cumin")


def test_a_class_that_is_defined_again_replaces_itself(parts):
    def cell():
        class Mint: ...

        return Mint

    first, second = cell(), cell()
    parts.register("mint", first)
    parts.register("mint", second)
    assert parts.find("mint") is second


def test_an_unknown_name_is_an_error_of_the_registrys_kind(parts):
    other = Registry("format", {"csv": 1}, UnknownFormatError)
    with refused(ConfigError, "spice 'peper'", "'pepper'"):
        parts.find("peper")
    with refused(UnknownFormatError, "format 'x'", "csv"):
        other.find("x")


def test_a_package_is_imported_once_and_only_for_an_unknown_name(parts, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "garden", adding("thyme"))
    parts.find("salt")
    assert "garden_parts" not in sys.modules
    assert parts.find("thyme") == 8
    monkeypatch.delitem(sys.modules, "garden_parts")
    mine = [each for each in load_packages() if each.name == "garden 0.3"]
    assert [(each.module, each.parts, each.problem) for each in mine] == [
        ("garden_parts", ("spice thyme",), "")
    ]
    assert "garden_parts" not in sys.modules


@pytest.mark.parametrize("source", ["import not_there", "raise SystemExit(3)", "1 +"])
def test_a_broken_package_is_named_in_the_message_and_stops_nothing(
    parts, tmp_path, monkeypatch, source
):
    install(tmp_path, monkeypatch, "ruin", source)
    with refused(ConfigError, "spice 'x'", "package ruin 0.3"):
        parts.find("x")
    assert parts.find("salt") == 1


def test_ctrl_c_while_packages_are_imported_leaves_none_half_known(parts, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "slow", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        parts.find("x")
    (tmp_path / "slow_parts.py").write_text(adding("x"))
    assert parts.find("x") == 8


def test_lists_and_searches_have_the_parts_of_packages(parts, tmp_path, monkeypatch, capsys):
    install(tmp_path, monkeypatch, "shop", adding("mace") + "print('hello')\n")

    def largest():
        if max(parts.values()) < 5:
            raise ConfigError("none is large")
        return max(parts.values())

    assert parts.search(largest) == 8
    assert list(parts.complete()) == ["salt", "pepper", "mace"]
    assert capsys.readouterr() == ("", "hello\n")  # standard output belongs to commands


def test_a_part_replaces_another_of_its_place(parts):
    parts.register("basil", 3, "here")
    parts.register("basil", 4, "here")
    assert parts.find("basil") == 4
    with refused(ConfigError, "'basil'"):
        parts.register("basil", 5, "there")
