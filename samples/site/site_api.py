"""Pages of the API: one for each public package, from the docstrings of its public objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import griffe

PACKAGES = (
    "dvskit", *(f"dvskit.{name}" for name in (
        "events", "streams", "formats", "video", "emulator", "filters", "tensors", "datasets",
        "encoders", "neurons", "layers", "learning", "networks", "models", "training",
        "evaluation", "motion", "tracking", "reconstruction", "render", "render.plots", "scenes",
        "teach", "registry", "errors",
    )),
)  # fmt: skip
_KINDS = ("Packages", "Functions", "Classes", "Constants")


class Entry(NamedTuple):
    """A public name of a package."""

    name: str
    kind: str
    summary: str
    home: str  # the package with the page that documents the object
    anchor: str  # of the object on this page
    target: griffe.Object | griffe.Alias


class Api:
    """The public objects of dvskit, read from its source without importing it.

    root     the package, with docstrings in Markdown

    entries  the entries of each package
    anchors  the anchor of each name that stands for one object: "dvskit.tensors.Counts",
             "tensors.Counts", "Counts", "Counts.bins"
    """

    def __init__(self, root: griffe.Module) -> None:
        homes: dict[str, tuple[str, str]] = {}
        for package in (*PACKAGES[1:], PACKAGES[0]):  # the root repeats names of its packages
            for name, target in _public(_module(root, package)):
                homes.setdefault(target.path, _home(package, name, target))
        self.summaries = {package: _summary(_module(root, package)) for package in PACKAGES}
        self.entries = {
            package: [
                Entry(name, _kind(target), _summary(target), *homes[target.path], target)
                for name, target in _public(_module(root, package))
            ]
            for package in PACKAGES
        }
        self.docstrings = {package: _docstring(_module(root, package)) for package in PACKAGES}
        self.anchors = _anchors(self.entries)


def page_of(package: str) -> str:
    """Return the path of a package's page in the site."""
    return f"api/{package}.md"


def api_pages(api: Api) -> dict[str, str]:
    """Return the pages of the API in Markdown by their paths."""
    rows = [f"| [`{name}`]({name}.md) | {api.summaries[name]} |" for name in PACKAGES]
    head = ("# API\n", '<div class="dvskit-summary" markdown>\n', "| Package | |", "|---|---|")
    index = "\n".join((*head, *rows, "\n</div>\n"))
    return {"api/index.md": index} | {
        page_of(package): "\n".join(_page(api, package)) for package in PACKAGES
    }


def _page(api: Api, package: str) -> Iterator[str]:
    entries = api.entries[package]
    yield f"# {package} {{ #{package} }}\n"
    yield api.docstrings[package] + "\n"
    by_kind = {kind: [each for each in entries if each.kind == kind] for kind in _KINDS}
    yield '<div class="dvskit-summary" markdown>\n'
    for kind, some in by_kind.items():
        if some:
            yield f"| {kind} | |\n|---|---|"
            yield from (_row(each, package) for each in some)
            yield ""
    yield "</div>\n"
    for kind, some in by_kind.items():
        here = [each for each in some if each.home == package]
        if here and kind != "Packages":
            yield f"## {kind}\n"
            yield from (f"::: {each.anchor}\n" for each in here)


def _row(entry: Entry, package: str) -> str:
    """Return the row of an entry; it holds the anchor of the name if the object has another."""
    page = "" if entry.home == package else f"{entry.home}.md"
    place = page if entry.kind == "Packages" else f"{page}#{entry.anchor}"
    name = f"{package}.{entry.name}"
    anchor = (
        "" if entry.kind == "Packages" or (name == entry.anchor and not page) else f"{{ #{name} }}"
    )
    return f"| [`{entry.name}`]({place}){anchor} | {entry.summary} |"


def _module(root: griffe.Object | griffe.Alias, package: str) -> griffe.Object | griffe.Alias:
    return root if package == root.name else root[package.removeprefix("dvskit.")]


def _public(
    module: griffe.Object | griffe.Alias,
) -> Iterator[tuple[str, griffe.Object | griffe.Alias]]:
    """Yield the names in `__all__`, or all public names that the module defines, and the objects.

    A name in `__all__` that is not found is an error.
    """
    names = module.exports
    if names is None:
        names = [
            name
            for name, each in module.members.items()
            if not (name.startswith("_") or each.is_alias or each.is_module)
            and (each.docstring or not each.is_attribute)
        ]
    for name in map(str, names):
        member = module.members[name]
        yield name, member.final_target if isinstance(member, griffe.Alias) else member


def _home(package: str, name: str, target: griffe.Object | griffe.Alias) -> tuple[str, str]:
    """Return the package that documents an object, and the anchor."""
    if target.is_module:
        return target.path, target.path
    return package, f"{package}.{name}"


def _docstring(module: griffe.Object | griffe.Alias) -> str:
    return module.docstring.value if module.docstring else ""


def _kind(target: griffe.Object | griffe.Alias) -> str:
    if target.is_module:
        return "Packages"
    if target.is_function:
        return "Functions"
    return "Classes" if target.is_class else "Constants"


def _summary(target: griffe.Object | griffe.Alias) -> str:
    """Return the first paragraph of a docstring, as the cell of a table."""
    return " ".join(_docstring(target).split("\n\n")[0].split()).replace("|", "\\|")


def _anchors(entries: dict[str, list[Entry]]) -> dict[str, str]:
    found: dict[str, set[str]] = {}

    def add(name: str, anchor: str) -> None:
        found.setdefault(name, set()).add(anchor)

    for package, some in entries.items():
        short = package.removeprefix("dvskit").lstrip(".")
        add(package, package)
        for entry in some:
            whole = f"{package}.{entry.name}"
            # A single lower-case word may be anything: a filter, an option, a column.
            names = [whole, *([f"{short}.{entry.name}"] if short else [])]
            names += [entry.name] * (entry.name.lower() != entry.name or "_" in entry.name)
            for name in names:
                add(name, entry.anchor)
            if entry.kind == "Classes":
                for member in entry.target.all_members:
                    if not member.startswith("_"):
                        for name in names:
                            add(f"{name}.{member}", f"{entry.anchor}.{member}")
    del found["dvskit"]  # the command, in most texts
    return {name: next(iter(anchors)) for name, anchors in found.items() if len(anchors) == 1}
