"""Folders and lists of recordings and videos, opened as Samples.

From top to bottom: `open_samples`, the walk through a folder, the meaning of its folders, lists,
and groups by the names of files.

A list has one file per line with its label, and optional properties:

    file,label,group,start,stop,part
    wave/anna_1.mp4,wave,anna,0.5s,2.5s,train
    wave/anna_1.mp4,wave,anna,3s,5s,train
    ben.raw,clap,ben,,,test

The first line names the columns, in any order. `file` and `label` are required; a list of two
columns needs no such line. Files are relative to the list. `start` and `stop` are whole
microseconds, in a clip from its first frame on. They may have a unit (1.5s, 300ms, 20us), or the
name of their column has one (start_s, stop_ms); an empty field leaves that side open. `part` is
train, validation (val, dev) or test. Fields may be quoted (RFC 4180). Semicolons or tabs may
replace commas. Empty lines and lines that begin with # are skipped.
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from dvskit._files import read_regular, visible
from dvskit.datasets.files import (
    Emulation,
    FileSamples,
    LeftOut,
    SampleReading,
    failures,
    kind_of,
    sample_suffixes,
)
from dvskit.datasets.samples import Part, Sample
from dvskit.emulator import EmulatorParams
from dvskit.errors import (
    ConfigError,
    FormatError,
    MissingFileError,
    count_of,
    did_you_mean,
    one_line,
)
from dvskit.formats.found import TEXTS, PathKind, identify
from dvskit.formats.labels import LABELS_ENDING, find_labeled
from dvskit.formats.table import is_suffix
from dvskit.video import Light

_LISTS = (".csv", ".tsv", ".txt")
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")


def open_samples(
    path: str | PathLike[str],
    *,
    group: str | None = "auto",
    layout: str | None = None,
    params: EmulatorParams | str | PathLike[str] | None = None,
    size: tuple[int, int] | None = None,
    whole: bool = False,
    upsample: bool = False,
    seed: int = 0,
    redraw: bool = False,
    fps: float | None = None,
    light: Light | None = None,
    format: str | None = None,
    strict: bool = True,
) -> FileSamples:
    """Open a folder or list of labeled recordings and videos, without reading or emulating them.

    path    a folder: `<class>/<file>`, `<class>/<person>/<file>` or `<person>/<class>/<file>`, also
            below `train/`, `validation/` and `test/`; or a folder of recordings with label files
            (`<recording>_labels.csv`: see `dvskit.formats.labels`); or a list (.csv): see
            `dvskit.datasets.folders`. A file is a recording of any format that `open_events` reads,
            or a video; a folder of images with their times is a video too. Kinds and sizes may be
            mixed
    group   samples of one group, such as a person, stay in one part of a split. A regular
            expression that is searched in the file names, r"_s(\\d+)", with the group in brackets;
            "auto": from the folders, the list or the names, if unambiguous (`notes` reports the
            choice: p1_t2, user01, subject-3, anna_t1); None: no groups
    layout  the meaning of the folders, if their names do not show it: "class", "class/group",
            "group/class", or one of them below "part/"
    params, size, whole, upsample, seed, redraw, fps, light
            of the emulation of videos: see `dvskit.datasets.Emulation`. `size` is also that of
            recordings without a size, if it contains their events
    format  of the recordings, if their content does not determine it, such as "csv:x,y,t,p"; each
            file is then read as one, whatever its name
    strict  whether errors raise. Otherwise empty folders, missing files and files that cannot be
            opened are skipped and listed in `left_out` (each file is opened, about 10 ms for a
            video), and damaged files are salvaged; `damage` reports the losses

    Missing, empty and unreadable files, and files without data (a web page, a pointer of Git LFS),
    raise here; damage within a file raises when the sample is read, with the file's name. Raises
    FormatError, ConfigError, MissingFileError.

        samples = dvskit.datasets.open_samples("gestures", size=(64, 64))  # videos, not read yet
        samples.classes  # ("arm_roll", "hand_clap", "right_hand_wave")
        samples.rows[0].group  # "p1": the person
        samples.notes  # how the groups were found
    """
    emulation = Emulation(
        params=params,
        size=size,
        whole=whole,
        upsample=upsample,
        seed=seed,
        redraw=redraw,
        fps=fps,
        light=light,
    )
    return open_files(path, SampleReading(emulation, strict, format), group=group, layout=layout)


def open_files(
    path: str | PathLike[str], how: SampleReading, *, group: str | None, layout: str | None = None
) -> FileSamples:
    """Open a folder or a list like `open_samples`, with the parameters of reading."""
    root = Path(path)
    found = _find(root, layout, how)
    wrong = failures((row.file for row in found.rows), how, opened=not how.strict)
    if wrong and how.strict:
        raise next(iter(wrong.values()))
    found.left_out += [LeftOut(path, one_line(error)) for path, error in wrong.items()]
    rows = [row for row in found.rows if row.file not in wrong]
    if not rows:
        first = f": {found.left_out[0].why}" if found.left_out else ""
        raise FormatError(f"{root}: none of its files can be read{first}")
    rows, by_group = grouped(rows, group)
    notes = [*found.notes, *by_group, *_notes_on_counts(rows)]
    return FileSamples(rows, how, notes=notes, others=found.others, left_out=found.left_out)


def _notes_on_counts(rows: Sequence[Sample]) -> list[str]:
    """Return notes on classes that are too few or too small, one line each."""
    counts = Counter(row.label for row in rows)
    if len(counts) == 1:
        return [f"one class, {next(iter(counts))}: there is no other to distinguish it from"]
    small = sorted(label for label, count in counts.items() if count == 1)
    if not small:
        return []
    more = count_of(len(small) - 1, "more class", "more classes")
    others = f" and {more}" if len(small) > 1 else ""
    return [f"class {small[0]}{others}: one sample, so only one part of a split has it"]


@dataclass(slots=True)
class _Found:
    """The samples found in a folder or a list.

    rows      the samples
    others    files that are not samples, such as a read-me
    left_out  missing, empty or damaged files
    notes     assumptions, one line each
    """

    rows: list[Sample] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _find(root: Path, layout: str | None, how: SampleReading) -> _Found:
    if not root.exists():
        raise MissingFileError(root, "give a folder with one folder per class, or a list (.csv)")
    if root.is_dir():
        entries = visible(root)
        labeled = any(entry.name.endswith(LABELS_ENDING) for entry in entries)
        if layout is None and labeled and not any(entry.is_dir() for entry in entries):
            return _Found(find_spans(root))
        return _find_in_folder(root, layout, how)
    if root.suffix.lower() in _LISTS:
        if layout is not None:
            raise ConfigError(f"{root}: a list has no folders; remove layout")
        return _read_list(root, strict=how.strict)
    kind = kind_of(root)
    if kind is None and (root.suffix.lower() in _PACKED or zipfile.is_zipfile(root)):
        raise FormatError(f"{root}: is packed; unpack it and give the folder")
    what = "neither a folder nor a list" if kind is None else f"a single {kind.name}"
    raise FormatError(
        f"{root}: is {what}; give a folder with one folder per class, or a list (.csv) of "
        "file,label"
    )


def find_spans(folder: str | PathLike[str]) -> list[Sample]:
    """Return a sample for each label of the recordings in a folder, by file name and start.

    Labels are in `<recording>_labels.csv`, as in DVS128 Gesture. Its lists of training and test
    files are used if present: see `dvskit.formats.labels`. Raises FormatError as `find_labeled`
    there does.

        from pathlib import Path

        folder = Path("labeled")
        folder.mkdir()
        dvskit.save_events(dvskit.load_events("events.raw"), folder / "events.npz")
        lines = ("start_us,stop_us,name", "0,500000,wave", "500000,1000000,rest")
        np.savetxt(folder / "events_labels.csv", lines, fmt="%s")
        rows = dvskit.datasets.find_spans(folder)
        [(row.label, row.span) for row in rows]  # [("wave", (0, 500000)), ("rest", ...)]
    """
    samples = []
    for path, labels, part in find_labeled(Path(folder), _is_recording):
        spans = zip(labels.start_us.tolist(), labels.stop_us.tolist(), strict=True)
        samples += [
            Sample(path.name, name, part=part, path=path, span=span)
            for name, span in zip(labels.name, spans, strict=True)
        ]
    return samples


def _is_recording(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix not in TEXTS and is_suffix(suffix, "r")


# -- folders


class _Leaf(NamedTuple):
    """A file (or a folder that is one sample) and the names of the folders above it."""

    folders: tuple[str, ...]
    path: Path

    @property
    def kind(self) -> str:
        kind = kind_of(self.path)
        return "sample" if kind is None else kind.name


@dataclass(slots=True)
class Tree:
    """The content of a folder: samples, other files, and folders without samples.

    Texts next to the folders are others: they are lists and read-mes.
    """

    root: Path
    leaves: list[_Leaf] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)


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
        is_folder, suffix = entry.is_dir(), entry.suffix.lower()
        # A class may hold still images, which are not a clip.
        may_be_sample = len(names) > 0 or not (is_folder or suffix in TEXTS)
        if may_be_sample and ((anything and not is_folder) or kind_of(entry) is not None):
            tree.leaves.append(_Leaf(names, entry))
            any_leaf = True
        elif is_folder:
            if entry.resolve() in (folder.resolve(), *folder.resolve().parents):
                raise FormatError(f"{entry}: a link to a folder that contains it; remove it")
            any_leaf |= _walk(entry, (*names, _composed(entry.name)), tree, anything)
        else:
            tree.others.append(entry)
    if not any_leaf and names:
        tree.empty.append(folder)
    return any_leaf


def _composed(name: str) -> str:
    """Return a name in composed form (NFC), the same on all systems."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FormatError(
            f"{name!a}: a file name with bytes that are not UTF-8; rename it"
        ) from None
    return unicodedata.normalize("NFC", name)


def _find_in_folder(root: Path, layout: str | None, how: SampleReading) -> _Found:
    tree = walk(root, anything=how.format is not None)
    found = _Found(others=tree.others)
    for folder, why in _empty_folders(tree):
        if how.strict:
            raise FormatError(f"{folder}: {why}")
        found.left_out.append(LeftOut(folder, why))
    if not tree.leaves:
        packed = [path for path in tree.others if path.suffix.lower() in _PACKED]
        if packed:
            raise FormatError(f"{packed[0]}: is packed; unpack it, and remove it or move it away")
        raise FormatError(f"{root}: holds no folder; make one folder per class, named after it")
    levels = _levels_by_names(tree) if layout is None else _levels(layout)
    found.rows = [_row(root, leaf, levels) for leaf in tree.leaves]
    _check_cases(root, found.rows)
    if layout is None and levels != ("class",):
        found.notes.append(f"its folders are {'/'.join((*levels, 'file'))}")
    return found


def _empty_folders(tree: Tree) -> Iterator[tuple[Path, str]]:
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


# -- the meaning of folders

_LEVELS = ("class", "group", "part")
_PARTS: dict[str, Part] = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


def _levels(layout: str) -> tuple[str, ...]:
    """Return the meaning of the folders, from the outermost, by a layout such as "class/group"."""
    levels = tuple(layout.strip("/").split("/"))
    if not set(levels) <= set(_LEVELS) or len(set(levels)) < len(levels) or "class" not in levels:
        raise ConfigError(
            f"layout = {layout!r} must name class, group and part, each at most once and class "
            "always, from the outermost folder in: class/group"
        )
    return levels


def _levels_by_names(tree: Tree) -> tuple[str, ...]:
    """Return the meaning of the folders by their names and depth. Raises FormatError in doubt."""
    inside = [leaf for leaf in tree.leaves if leaf.folders]
    if not inside:
        lists = [path for path in tree.others if identify(path) is PathKind.LIST]
        raise FormatError(
            f"{tree.root}: holds {tree.leaves[0].kind}s, not one folder of them per class; name "
            f"the folder above, or move them to {tree.root}/<class>/"
            + (f", or give {lists[0]}, if it lists them" if lists else "")
        )
    # If depths differ, the smallest is right.
    depth = min(len(leaf.folders) for leaf in tree.leaves if leaf.folders)
    in_parts = all(leaf.folders[0].casefold() in _PARTS for leaf in inside)
    parts = ("part",) if in_parts and min(len(leaf.folders) for leaf in tree.leaves) > 1 else ()
    if depth == len(parts) + 1:
        return (*parts, "class")
    deep = max(inside, key=lambda leaf: len(leaf.folders))
    if len(deep.folders) == len(parts) + 2:
        return (*parts, *_two_levels(tree.root, [leaf.folders[len(parts) :] for leaf in inside]))
    raise FormatError(
        f"{deep.path}: lies {len(deep.folders)} folders deep; use {tree.root}/<class>/<file>, "
        "with folders per person in each class or above the classes"
    )


def _two_levels(root: Path, folders: Sequence[tuple[str, ...]]) -> tuple[str, str]:
    """Return which of two folder levels is the class, if names of people show it."""
    outer, inner = (all(_is_person(names[level]) for names in folders) for level in (0, 1))
    if outer != inner:
        return ("group", "class") if outer else ("class", "group")
    raise FormatError(
        f"{root}: {'/'.join(folders[0])} may be a class and a person or a person and a class; give "
        "the layout, 'class/group' or 'group/class', or a folder with one folder per class"
    )


def _row(root: Path, leaf: _Leaf, levels: tuple[str, ...]) -> Sample:
    """Return the sample of a leaf. Raises FormatError for one at another depth than the levels."""
    if len(leaf.folders) != len(levels):
        is_deep = len(leaf.folders) > len(levels)
        place = root.joinpath(*leaf.folders) if is_deep else leaf.path
        raise FormatError(
            f"{place}: samples are at {'/'.join((str(root), *(f'<{each}>' for each in levels)))}/; "
            f"move its {leaf.kind} there, or all others into folders like it"
        )
    meaning = dict(zip(levels, leaf.folders, strict=True))
    part = meaning.get("part")
    if part is not None and part.casefold() not in _PARTS:
        raise FormatError(
            f"{root / part}: is not a part; use train, validation and test (layout "
            f"{'/'.join(levels)})"
        )
    return Sample(
        "/".join((*leaf.folders, _composed(leaf.path.name))),
        meaning["class"],
        group=meaning.get("group"),
        part=None if part is None else _PARTS[part.casefold()],
        path=leaf.path,
    )


def _check_cases(root: Path, rows: Sequence[Sample]) -> None:
    """Raise FormatError for classes of a folder or list whose names differ by case alone."""
    seen: dict[str, str] = {}
    for label in sorted({row.label for row in rows}):
        first = seen.setdefault(label.casefold(), label)
        if first != label:
            raise FormatError(
                f"{root}: classes {first} and {label} differ by case alone; use one name, or "
                "different names"
            )


# -- lists

_COLUMNS = {
    "file": ("file", "path", "filename", "file_name", "filepath", "recording", "video", "clip"),
    "label": ("label", "class", "gesture", "action", "category"),
    "group": ("group", "person", "subject", "user", "participant", "signer", "actor"),
    "part": ("part", "split", "set", "subset", "fold"),
    "start": ("start", "begin", "onset"),
    "stop": ("stop", "end", "offset"),
}
_COLUMN_OF = {name: column for column, names in _COLUMNS.items() for name in names}
_UNITS_US = {"": 1, "us": 1, "ms": 1_000, "s": 1_000_000}
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(us|µs|ms|s|)")
OPEN_END_US = 1 << 62  # the stop of a span without an end


class _Column(NamedTuple):
    """A column of a list, "" if unknown, and the unit of its times."""

    name: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a list: its fields by column."""

    path: Path
    number: int
    fields: dict[_Column, str]

    def wrong(self, text: str) -> FormatError:
        return FormatError(f"{self.path}: line {self.number}: {text}")

    def value(self, name: str) -> str:
        return next((field for column, field in self.fields.items() if column.name == name), "")


def _read_list(path: Path, *, strict: bool) -> _Found:
    """Return the samples of a list, in its order.

    Raises FormatError with the line for errors in the list, MissingFileError with the line for a
    missing file; without `strict` missing files are left out.
    """
    found = _Found()
    first_lines: dict[tuple[Path, tuple[int, int] | None], _Line] = {}
    for line in _lines(path, found.notes):
        try:
            sample = _sample(line)
        except MissingFileError as error:
            if strict:
                raise
            found.left_out.append(LeftOut(Path(error.filename), str(error)))
            continue
        first = first_lines.setdefault((sample.file.resolve(), sample.span), line)
        if first is not line:
            raise line.wrong(
                f"{line.value('file')} is in line {first.number} already, with the label "
                f"{first.value('label')!r} and the same times; remove one of them"
            )
        found.rows.append(sample)
    _check_cases(path, found.rows)
    if not found.rows:
        raise FormatError(
            f"{path}: names no existing files; write the line file,label and one line per sample"
        )
    return found


def _lines(path: Path, notes: list[str]) -> Iterator[_Line]:
    """Yield the lines of a list, without that of its columns; note unknown columns."""
    rows = read_table(path)
    columns = _columns(path, rows[0][1]) if rows else None
    if columns is None:
        columns = (_Column("file"), _Column("label"))
    else:
        named = zip(columns, rows.pop(0)[1], strict=True)
        if unknown := [field for column, field in named if not column.name]:
            notes.append(f"its columns {', '.join(unknown)} are ignored")
    for number, fields in rows:
        if any(fields[len(columns) :]):
            raise FormatError(
                f"{path}: line {number}: {len(fields)} fields for {len(columns)} columns; quote "
                "fields with commas"
            )
        yield _Line(path, number, dict(zip(columns, fields, strict=False)))


def read_table(path: Path) -> list[tuple[int, list[str]]]:
    """Return numbers and fields of the lines of a CSV that are not empty or comments.

    Commas, semicolons or tabs separate fields. Raises FormatError with the line.
    """
    try:
        text = read_regular(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    mark = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(text.splitlines(keepends=True), delimiter=mark, strict=True)
    rows = []
    try:
        for fields in reader:
            given = [field.strip() for field in fields]
            if any(given) and not given[0].startswith("#"):
                rows.append((reader.line_num, given))
    except csv.Error as error:
        raise FormatError(f"{path}: line {reader.line_num}: {error}; close its quotes") from None
    return rows


def _columns(path: Path, fields: Sequence[str]) -> tuple[_Column, ...] | None:
    """Return the columns named in the first line; None if that is a sample of two columns."""
    columns = tuple(map(_column, fields))
    names = [column.name for column in columns if column.name]
    if len(fields) == 2 and not names:
        return None
    for name in names:
        if names.count(name) > 1:
            raise FormatError(f"{path}: line 1: two columns named {name}; rename one")
    for name in ("file", "label"):
        if name not in names:
            raise FormatError(
                f"{path}: line 1 has no column {name!r}; begin with a line such as file,label or "
                "file,label,group,start,stop,part"
            )
    return columns


def _column(field: str) -> _Column:
    text = field.lower()
    name, _, unit = text.replace(" ", "_").partition("_")
    if text not in _COLUMN_OF and unit in _UNITS_US and _COLUMN_OF.get(name) in ("start", "stop"):
        return _Column(_COLUMN_OF[name], unit)
    return _Column(_COLUMN_OF.get(text, ""))


def _sample(line: _Line) -> Sample:
    written, label = line.value("file"), line.value("label")
    if not written or not label:
        raise line.wrong(f"has no {'label' if written else 'file'}; write it, or remove the line")
    root = line.path.parent
    file = root / written
    if not _exists(file) and "\\" in written:  # a path of Windows
        file = root / written.replace("\\", "/")
    if not _exists(file):
        raise MissingFileError(
            file,
            f"line {line.number} of {line.path} names it (files are relative to the list); correct "
            "the line, or skip missing files with strict=False",
        )
    part = line.value("part")
    if part and part.casefold() not in _PARTS:
        raise line.wrong(f"part {part!r}; {did_you_mean(part, _PARTS)}")
    return Sample(
        _composed(Path(os.path.relpath(file, root)).as_posix()),
        _composed(label),
        group=_composed(line.value("group")) or None,
        part=_PARTS[part.casefold()] if part else None,
        path=file,
        span=_span(line),
    )


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # such as a name that is too long
        return False


def _span(line: _Line) -> tuple[int, int] | None:
    times = {
        column.name: _time_us(line, column, field)
        for column, field in line.fields.items() if field and column.name in ("start", "stop")
    }  # fmt: skip
    if not times:
        return None
    span = times.get("start", 0), times.get("stop", OPEN_END_US)
    if span[1] <= span[0]:
        raise line.wrong(f"stops at {span[1]} us, not after its start at {span[0]} us")
    return span


def _time_us(line: _Line, column: _Column, field: str) -> int:
    found = _TIME.fullmatch(field.lower())
    unit = "" if found is None else found[2].replace("µ", "u")
    is_fraction = "." in field and not (unit or column.unit)
    if found is None or (unit and column.unit) or is_fraction:
        raise line.wrong(
            f"{column.name} {field!r} is not a time; write whole microseconds, or one unit: 1.5s, "
            f"300ms, 20us, or a column {column.name}_s"
        )
    return round(Decimal(found[1]) * _UNITS_US[unit or column.unit])


# -- groups

_WORDS = ("participant", "subject", "person", "signer", "actor", "user", "subj", "sub")
_LETTERS = ("s", "p")
# Each stands alone or between marks such as _ and -; 01 is 1.
_PERSON_WORD, _PERSON_LETTER = (
    re.compile(rf"(?:^|[^a-z0-9])({'|'.join(words)}){gap}0*(\d+)(?![0-9a-z])", re.IGNORECASE)
    for words, gap in ((_WORDS, "[ _-]?"), (_LETTERS, ""))
)
# A name followed by the number of a take, as `dvskit teach` names clips: anna_t2.mkv.
_TAKE = re.compile(r"(.+)_t\d+(?:\.[^.]*)?", re.DOTALL)


def _is_person(folder: str) -> bool:
    """Return whether a folder's name is a numbered person: p1, s03, user_7, Subject-2."""
    return any(pattern.fullmatch(folder) for pattern in (_PERSON_WORD, _PERSON_LETTER))


def grouped(rows: Sequence[Sample], rule: str | None) -> tuple[list[Sample], list[str]]:
    """Return samples with their groups, and notes on assumptions, one line each.

    rule  a regular expression, searched in each file's name (in the whole name of the sample if it
          contains a "/"): its first bracket is the group, or the whole match; "auto": see
          `_group_names`; None: samples keep their groups

    Raises ConfigError for an invalid regular expression, FormatError for a sample without a match.
    """
    if rule is None or (rule == "auto" and any(row.group is not None for row in rows)):
        return list(rows), []
    files = [row.name.rpartition("/")[2] for row in rows]
    if rule == "auto":
        groups, notes = _group_names(files, [row.label for row in rows])
    else:
        names = [row.name for row in rows] if "/" in rule else files
        groups, notes = _groups_by_rule(rows, names, rule), []
    return [row._replace(group=group) for row, group in zip(rows, groups, strict=True)], notes


def _groups_by_rule(rows: Sequence[Sample], names: Sequence[str], rule: str) -> list[str]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ConfigError(
            f"group = {rule!r} is not a regular expression ({error}); use one such as r'_s(\\d+)'"
        ) from None
    groups = []
    for row, name in zip(rows, names, strict=True):
        found = pattern.search(name)
        group = None if found is None else found.group(1 if pattern.groups else 0)
        if not group:
            raise FormatError(
                f"{row.where}: its name has no group: {rule!r} does not match {name!r}; change the "
                "rule (group=) or the name"
            )
        groups.append(group)
    return groups


def _group_names(
    names: Sequence[str], labels: Sequence[str]
) -> tuple[Sequence[str | None], list[str]]:
    """Return the group in each file's name, such as "p1" of p1_t2.avi, and a note on it.

    Groups are found only if all names contain a number after the same word (user, person, subject,
    ...), or after the same single letter, s or p, with more after it; several files of a class then
    share a group. Or all names end in the number of a take, and some name before it occurs in
    several classes: anna_t2.mkv. Otherwise each group is None.
    """
    found = _numbers(names, _PERSON_WORD)
    if found is None:
        letters, takes = _numbers(names, _PERSON_LETTER), _names_before_takes(names)
        if letters and _repeats(zip(letters, labels, strict=True)):
            found = letters
        elif takes and _repeats(person for person, _ in set(zip(takes, labels, strict=True))):
            found = takes
    if found is None or len(set(found)) == len(found):
        return [None] * len(names), []
    groups = sorted(set(found), key=lambda name: (len(name), name))
    shown = ", ".join(groups[:3]) + (f", ... {groups[-1]}" if len(groups) > 3 else "")
    count = count_of(len(groups), "group")
    return found, [f"{count} by the files' names ({shown}), assumed to be people"]


def _numbers(names: Sequence[str], pattern: re.Pattern[str]) -> list[str] | None:
    """Return word and number in each name; None unless each contains one with the same word."""
    found = [pattern.findall(name) for name in names]
    if not names or any(len(each) != 1 for each in found):
        return None
    if len({word.casefold() for ((word, _),) in found}) != 1:
        return None
    return [f"{word.casefold()}{number}" for ((word, number),) in found]


def _names_before_takes(names: Sequence[str]) -> list[str] | None:
    """Return the name before _t and a number in each; None unless each has them."""
    found = [_TAKE.fullmatch(name) for name in names]
    people = [each[1] for each in found if each is not None]
    return people if len(people) == len(names) else None


def _repeats(values: Iterable[object]) -> bool:
    return max(Counter(values).values(), default=0) > 1
