"""The registry: names are found once, and installed packages are imported when one is unknown."""

import sys

import pytest

from dvskit import registry
from dvskit.errors import ConfigError, UnknownFormatError
from dvskit.registry import Registry, load_packages


@pytest.fixture
def parts(monkeypatch):
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


def test_a_registered_name_is_found_and_listed(parts):
    parts.register("basil", 3)
    assert parts.find("basil") == 3
    assert list(parts) == ["salt", "pepper", "basil"]
    assert parts.registered() == ["basil"]


@pytest.mark.parametrize("name", ["", "1a", "a b", "a:b", "a,b", None, 3])
def test_what_is_no_name_is_refused(parts, name):
    with pytest.raises(ConfigError, match="a name is letters"):
        parts.register(name, 3)


@pytest.mark.parametrize(
    ("name", "origin"),
    [("salt", "dvskit"), ("basil", "this program"), ("dill", "package tin_dill 0.3")],
)
def test_a_taken_name_is_refused_and_its_origin_named(parts, name, origin, tmp_path, monkeypatch):
    source = "from dvskit import registry\nregistry._REGISTRIES[0].register('dill', 8)\n"
    install(tmp_path, monkeypatch, f"tin_{name}", source)
    parts.register("basil", 3)
    parts.complete()
    said = f"a spice named '{name}' is registered already, by {origin}; take another"
    with pytest.raises(ConfigError, match=said):
        parts.register(name, 4)


def test_a_package_that_fails_halfway_keeps_and_names_its_parts(parts, tmp_path, monkeypatch):
    source = (
        "from dvskit import registry\nadd = registry._REGISTRIES[0].register\n"
        "add('anise', 8)\nadd('salt', 9)\nadd('cumin', 10)\n"
    )
    install(tmp_path, monkeypatch, "half", source)
    assert parts.find("anise") == 8
    with pytest.raises(ConfigError, match=r"; package half 0\.3 adds only spice anise, then fails"):
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
    with pytest.raises(ConfigError, match="unknown spice 'peper'; did you mean 'pepper'"):
        parts.find("peper")
    with pytest.raises(UnknownFormatError, match="unknown format 'x'; choices: csv"):
        other.find("x")


def test_a_package_is_imported_once_and_only_for_an_unknown_name(parts, tmp_path, monkeypatch):
    source = "from dvskit import registry\nregistry._REGISTRIES[0].register('thyme', 4)\n"
    install(tmp_path, monkeypatch, "garden", source)
    parts.find("salt")
    assert "garden_parts" not in sys.modules
    assert parts.find("thyme") == 4
    monkeypatch.delitem(sys.modules, "garden_parts")
    mine = [each for each in load_packages() if each.name == "garden 0.3"]
    assert [(each.module, each.parts, each.problem) for each in mine] == [
        ("garden_parts", ("spice thyme",), "")
    ]
    assert "garden_parts" not in sys.modules


def test_lists_are_complete(parts, tmp_path, monkeypatch):
    source = "from dvskit import registry\nregistry._REGISTRIES[0].register('sage', 5)\n"
    install(tmp_path, monkeypatch, "meadow", source)
    assert list(parts.complete()) == ["salt", "pepper", "sage"]


@pytest.mark.parametrize("source", ["import not_there", "raise SystemExit(3)", "1 +"])
def test_a_broken_package_is_named_in_the_message_and_stops_nothing(
    parts, tmp_path, monkeypatch, source
):
    install(tmp_path, monkeypatch, "ruin", source)
    with pytest.raises(
        ConfigError, match=r"unknown spice 'x'; .*; package ruin 0\.3 cannot be imp"
    ):
        parts.find("x")
    assert parts.find("salt") == 1


def test_ctrl_c_while_packages_are_imported_leaves_none_half_known(parts, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "slow", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        parts.find("x")
    (tmp_path / "slow_parts.py").write_text(
        "from dvskit import registry\nregistry._REGISTRIES[0].register('x', 6)\nprint('said')\n"
    )
    assert parts.find("x") == 6


def test_what_a_package_prints_goes_to_stderr(parts, tmp_path, monkeypatch, capsys):
    install(tmp_path, monkeypatch, "loud", "print('hello')\n")
    parts.complete()
    assert capsys.readouterr() == ("", "hello\n")


def test_a_search_is_repeated_with_the_parts_of_packages(parts, tmp_path, monkeypatch):
    source = "from dvskit import registry\nregistry._REGISTRIES[0].register('mace', 7)\n"
    install(tmp_path, monkeypatch, "shop", source)

    def largest():
        if max(parts.values()) < 5:
            raise ConfigError("none is large")
        return max(parts.values())

    assert parts.search(largest) == 7


def test_a_part_replaces_another_of_its_place(parts):
    parts.register("basil", 3, "here")
    parts.register("basil", 4, "here")
    assert parts.find("basil") == 4
    with pytest.raises(ConfigError, match="registered already"):
        parts.register("basil", 5, "there")
