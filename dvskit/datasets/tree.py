"""Samples in folders: one folder per class, with folders of people or parts above or below."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from dvskit._files import visible
from dvskit.datasets.kinds import kind_of, sample_suffixes
from dvskit.datasets.sample import Part, Sample
from dvskit.errors import ConfigError, FormatError
from dvskit.formats.found import TEXTS, PathKind, identify

Level = Literal["class", "group", "part"]
LEVELS: tuple[Level, ...] = ("class", "group", "part")
PARTS: dict[str, Part] = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


_WORDS = ("participant", "subject", "person", "signer", "actor", "user", "subj", "sub")
_LETTERS = ("s", "p")
# Each stands alone or between marks such as _ and -; 01 is 1.
PERSON_WORD = re.compile(
    rf"(?:^|[^a-z0-9])({'|'.join(_WORDS)})[ _-]?0*(\d+)(?![0-9a-z])", re.IGNORECASE
)
PERSON_LETTER = re.compile(
    rf"(?:^|[^a-z0-9])({'|'.join(_LETTERS)})0*(\d+)(?![0-9a-z])", re.IGNORECASE
)

TAKE = re.compile(r"(.+)_t\d+(?:\.[^.]*)?", re.DOTALL)
"""A name followed by the number of a take, as `dvskit teach` names clips: anna_t2.mkv."""


def is_person(folder: str) -> bool:
    """Return whether a folder's name is a numbered person: p1, s03, user_7, Subject-2."""
    return any(match.fullmatch(folder) is not None for match in (PERSON_WORD, PERSON_LETTER))


class Leaf(NamedTuple):
    """A file (or a folder that is one sample) and the names of the folders above it."""

    folders: tuple[str, ...]
    path: Path


@dataclass(slots=True)
class Tree:
    """The content of a folder: samples, other files, and folders without samples."""

    root: Path
    leaves: list[Leaf] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)


def plain_name(name: str) -> str:
    """Return a name in composed form (NFC), the same on all systems."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FormatError(
            f"{name!a}: a file name with bytes that are not UTF-8; rename it"
        ) from None
    return unicodedata.normalize("NFC", name)


def walk(root: Path, *, anything: bool = False) -> Tree:
    """Return the content of a folder and its subfolders. Raises FormatError for circular links.

    anything  treat each file as a sample, whatever its name
    """
    tree = Tree(root)
    _walk(root, (), tree, anything)
    return tree


def _walk(folder: Path, names: tuple[str, ...], tree: Tree, anything: bool) -> bool:
    """Add the content of a folder; return whether there is a sample."""
    any_leaf = False
    for entry in visible(folder):
        # A class may hold still images, which are not a clip.
        whole = not entry.is_dir() or len(names) > 0
        is_any = anything and not entry.is_dir()
        if is_any or (whole and kind_of(entry) is not None):
            tree.leaves.append(Leaf(names, entry))
            any_leaf = True
        elif entry.is_dir():
            if entry.resolve() in (folder.resolve(), *folder.resolve().parents):
                raise FormatError(f"{entry}: a link to a folder that contains it; remove it")
            inner = (*names, plain_name(entry.name))
            any_leaf |= _walk(entry, inner, tree, anything)
        else:
            tree.others.append(entry)
    if not any_leaf and names:
        tree.empty.append(folder)
    return any_leaf


def rows_of(tree: Tree, layout: str | None) -> tuple[list[Sample], list[str]]:
    """Return the samples of a tree, and notes on assumptions, one line each.

    layout  the meaning of the folders, from the outermost: "class", "class/group", "group/class",
            and either of them below "part/"; None: from the names and their depth

    Raises ConfigError for another layout; FormatError for samples that do not fit it, for folders
    without any, and if names do not show the meaning of the folders.
    """
    tree = _without_texts_beside(tree)
    levels = _levels(layout) if layout is not None else _levels_by_names(tree)
    rows = [_row(tree.root, leaf, levels) for leaf in tree.leaves]
    check_cases(tree.root, sorted({row.label for row in rows}))
    said = "/".join((*levels, "file"))
    notes = [] if layout is not None or levels == ("class",) else [f"its folders are {said}"]
    return rows, notes


def _without_texts_beside(tree: Tree) -> Tree:
    """Return a tree with texts next to the folders as others: they are lists and read-mes."""
    beside = [leaf.path for leaf in tree.leaves if not leaf.folders and _is_text(leaf.path)]
    if not beside:
        return tree
    leaves = [leaf for leaf in tree.leaves if leaf.path not in beside]
    return Tree(tree.root, leaves, [*tree.others, *beside], tree.empty)


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in TEXTS


def _levels(layout: str) -> tuple[Level, ...]:
    words = tuple(layout.strip("/").split("/"))
    chosen = tuple(level for word in words for level in LEVELS if level == word)
    if len(chosen) < len(words) or len(set(words)) < len(words) or "class" not in words:
        raise ConfigError(
            f"layout = {layout!r} must name class, group and part, each at most once and class "
            "always, from the outermost folder in: class/group"
        )
    return chosen


def _row(root: Path, leaf: Leaf, levels: tuple[Level, ...]) -> Sample:
    if len(leaf.folders) != len(levels):
        raise _misplaced(root, leaf, levels)
    named = dict(zip(levels, leaf.folders, strict=True))
    part = named.get("part")
    if part is not None and part.casefold() not in PARTS:
        raise FormatError(
            f"{root / part}: is not a part; use train, validation and test (layout "
            f"{'/'.join(levels)})"
        )
    return Sample(
        "/".join((*leaf.folders, plain_name(leaf.path.name))),
        named["class"],
        group=named.get("group"),
        part=None if part is None else PARTS[part.casefold()],
        path=leaf.path,
    )


def _misplaced(root: Path, leaf: Leaf, levels: tuple[Level, ...]) -> FormatError:
    kind = kind_of(leaf.path)
    what = "sample" if kind is None else kind.name
    meant = "/".join(f"<{level}>" for level in levels)
    if not leaf.folders:
        return FormatError(f"{leaf.path}: a {what} next to the classes; move it to {root}/{meant}/")
    if len(leaf.folders) > len(levels):
        folder = root.joinpath(*leaf.folders)
        name = leaf.folders[levels.index("class")]
        return FormatError(
            f"{folder}: a folder among the {what}s of class {name}; move its {what}s to "
            f"{root.joinpath(*leaf.folders[: len(levels)])}, or all others into such folders"
        )
    return FormatError(
        f"{leaf.path}: a {what} next to folders that hold others; move it to {root}/{meant}/"
    )


def _levels_by_names(tree: Tree) -> tuple[Level, ...]:
    depths = {len(leaf.folders) for leaf in tree.leaves}
    if depths == {0}:
        kind = kind_of(tree.leaves[0].path)
        raise FormatError(
            f"{tree.root}: holds {'samples' if kind is None else kind.name + 's'}, not one folder "
            f"of them per class; name the folder above, or move them to {tree.root}/<class>/"
            + _or_list(tree)
        )
    tops = {leaf.folders[0] for leaf in tree.leaves if leaf.folders}
    parts: tuple[Level, ...] = ()
    if min(depths, default=0) > 1 and all(name.casefold() in PARTS for name in tops):
        parts = ("part",)
    # If depths differ, the smallest is right.
    inner = [leaf.folders[len(parts) :] for leaf in tree.leaves if leaf.folders]
    depth = min(map(len, inner), default=1)
    if depth == 1:
        return (*parts, "class")
    if depth == 2 and {len(folders) for folders in inner} == {2}:
        return (*parts, *_two_levels(tree.root, inner))
    deep = next(leaf for leaf in tree.leaves if len(leaf.folders) - len(parts) != 1)
    raise FormatError(
        f"{deep.path}: lies {len(deep.folders)} folders deep; use {tree.root}/<class>/<file>, "
        "with folders per person in each class or above the classes"
    )


def _or_list(tree: Tree) -> str:
    """Return a hint to a list next to the samples; "" if there is none."""
    lists = [path for path in tree.others if identify(path) is PathKind.LIST]
    return f", or give {lists[0]}, if it lists them" if lists else ""


def _two_levels(root: Path, inner: Sequence[tuple[str, ...]]) -> tuple[Level, Level]:
    """Return which of two folder levels is the class, if names of people show it."""
    people = [all(is_person(folders[level]) for folders in inner) for level in (0, 1)]
    if people == [True, False]:
        return "group", "class"
    if people == [False, True]:
        return "class", "group"
    outer, within = inner[0]
    if len({folders[0] for folders in inner}) == 1:
        raise FormatError(
            f"{root}: holds one folder, {outer}, with folders in it; name {root / outer}, or give "
            "the meaning of the folders: layout='class/group'"
        )
    raise FormatError(
        f"{root}: {outer}/{within} may be a class and a person or a person and a class; give the "
        "layout: 'class/group' or 'group/class'"
    )


def check_cases(root: Path, labels: Sequence[str]) -> None:
    """Raise FormatError for classes of a folder or list whose names differ by case alone."""
    seen: dict[str, str] = {}
    for label in labels:
        first = seen.setdefault(label.casefold(), label)
        if first != label:
            raise FormatError(
                f"{root}: classes {first} and {label} differ by case alone; use one name, or "
                "different names"
            )


def empty_folders(tree: Tree) -> Iterator[tuple[Path, str]]:
    """Yield the outermost folders without a sample, with the problem in one line."""
    inside = set(tree.empty)
    for folder in sorted(tree.empty):
        if folder.parent in inside:
            continue
        held = [path for path in tree.others if folder in path.parents]
        why = (
            "holds no recordings or videos; add some (files of "
            f"{', '.join(sorted(sample_suffixes()))}) or remove it"
        )
        if any(identify(path) is PathKind.IMAGE for path in held):
            why = (
                "holds still images, which show no change; a clip is a folder of them, "
                f"{folder}/<clip>/, with a list of their times or fps="
            )
        yield folder, why
