"""Folders and lists of recordings and videos opened as Samples; groups from file names."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from copy import copy
from os import PathLike
from pathlib import Path

from dvskit._arguments import check_arguments
from dvskit._files import visible
from dvskit.datasets.clips import Emulation
from dvskit.datasets.files import FileSamples, Found, LeftOut, failures
from dvskit.datasets.kinds import KINDS, SampleReading, kind_of
from dvskit.datasets.lists import read_list
from dvskit.datasets.sample import Sample
from dvskit.datasets.tree import PERSON_LETTER, PERSON_WORD, TAKE, empty_folders, rows_of, walk
from dvskit.emulator import EmulatorParams
from dvskit.errors import ConfigError, FormatError, MissingFileError, count_of, one_line
from dvskit.formats.found import TEXTS
from dvskit.formats.labels import LABELS_ENDING, find_labelled
from dvskit.formats.table import is_suffix
from dvskit.video import Light


def find_spans(folder: str | PathLike[str]) -> list[Sample]:
    """Return a sample for each label of the recordings in a folder, by file name and start.

    Labels are in `<recording>_labels.csv`, as in DVS128 Gesture. Its lists of training and test
    files are used if present: see `dvskit.formats.labels`. Raises FormatError as `find_labelled`
    there does.

        from pathlib import Path

        folder = Path("labelled")
        folder.mkdir()
        dvskit.save_events(dvskit.load_events("events.raw"), folder / "events.npz")
        lines = ("start_us,stop_us,name", "0,500000,wave", "500000,1000000,rest")
        np.savetxt(folder / "events_labels.csv", lines, fmt="%s")
        rows = dvskit.datasets.find_spans(folder)
        [(row.label, row.span) for row in rows]  # [("wave", (0, 500000)), ("rest", ...)]
    """
    samples = []
    for path, labels, part in find_labelled(Path(folder), _is_recording):
        spans = zip(labels.start_us.tolist(), labels.stop_us.tolist(), strict=True)
        samples += [
            Sample(path.name, name, part=part, path=path, span=span)
            for name, span in zip(labels.name, spans, strict=True)
        ]
    return samples


def _is_recording(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix not in TEXTS and is_suffix(suffix, "r")


_LISTS = (".csv", ".tsv", ".txt")
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")


@check_arguments
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
    """Open a folder or list of labelled recordings and videos, without reading or emulating them.

    path    a folder: `<class>/<file>`, `<class>/<person>/<file>` or `<person>/<class>/<file>`, also
            below `train/`, `validation/` and `test/`; or a folder of recordings with label files
            (`<recording>_labels.csv`: see `dvskit.formats.labels`); or a list (.csv): see
            `dvskit.datasets.lists`. A file is a recording of any format that `open_events` reads,
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
    how = SampleReading(
        Emulation(
            params=params,
            size=size,
            whole=whole,
            upsample=upsample,
            seed=seed,
            redraw=redraw,
            fps=fps,
            light=light,
        ),
        strict,
        format,
    )
    return open_files(path, how, group=group, layout=layout)


def open_files(
    path: str | PathLike[str], how: SampleReading, *, group: str | None, layout: str | None = None
) -> FileSamples:
    """Open a folder or a list like `open_samples`, with the parameters of reading."""
    root = Path(path)
    found = _find(root, layout, how)
    _check(found, how, root)
    rows, by_group = grouped(found.rows, group)
    notes = [*found.notes, *by_group, *_of_counts(rows)]
    return FileSamples(rows, how, notes=notes, others=found.others, left_out=found.left_out)


def read_again(samples: FileSamples, how: SampleReading) -> FileSamples:
    """Return the same files with other parameters of reading; nothing is opened."""
    other = copy(samples)
    other.reading, other.damage = how, {}
    drawn = any(KINDS[name].drawn for name in set(other.kinds))
    other.draws = drawn and how.emulation.redraw
    return other


def _find(root: Path, layout: str | None, how: SampleReading) -> Found:
    if not root.exists():
        raise MissingFileError(root, "give a folder with one folder per class, or a list (.csv)")
    if root.is_dir():
        return _find_in_folder(root, layout, how)
    if root.suffix.lower() in _LISTS:
        if layout is not None:
            raise ConfigError(f"{root}: a list has no folders; remove layout")
        return read_list(root, strict=how.strict)
    kind = kind_of(root)
    if kind is None and (root.suffix.lower() in _PACKED or zipfile.is_zipfile(root)):
        raise FormatError(f"{root}: is packed; unpack it and give the folder")
    what = "neither a folder nor a list" if kind is None else f"a single {kind.name}"
    raise FormatError(
        f"{root}: is {what}; give a folder with one folder per class, or a list (.csv) of "
        "file,label"
    )


def _find_in_folder(root: Path, layout: str | None, how: SampleReading) -> Found:
    entries = visible(root)
    labelled = any(entry.name.endswith(LABELS_ENDING) for entry in entries)
    if layout is None and labelled and not any(entry.is_dir() for entry in entries):
        return Found(find_spans(root))
    tree = walk(root, anything=how.format is not None)
    found = Found(others=tree.others)
    for folder, why in empty_folders(tree):
        if how.strict:
            raise FormatError(f"{folder}: {why}")
        found.left_out.append(LeftOut(folder, why))
    if not tree.leaves:
        packed = [path for path in tree.others if path.suffix.lower() in _PACKED]
        if packed:
            raise FormatError(f"{packed[0]}: is packed; unpack it, and remove it or move it away")
        raise FormatError(f"{root}: holds no folder; make one folder per class, named after it")
    found.rows, notes = rows_of(tree, layout)
    found.notes += notes
    return found


def _check(found: Found, how: SampleReading, root: Path) -> None:
    """Raise for the first file that is clearly no sample, or leave out all unreadable files."""
    wrong = failures((row.file for row in found.rows), how, opened=not how.strict)
    if wrong and how.strict:
        raise next(iter(wrong.values()))
    found.left_out += [LeftOut(path, one_line(error)) for path, error in wrong.items()]
    found.rows = [row for row in found.rows if row.file not in wrong]
    if not found.rows:
        first = f": {found.left_out[0].why}" if found.left_out else ""
        raise FormatError(f"{root}: none of its files can be read{first}")


def _of_counts(rows: Sequence[Sample]) -> list[str]:
    """Return notes on classes that are too few or too small, one line each."""
    counts = Counter(row.label for row in rows)
    if len(counts) == 1:
        return [f"one class, {next(iter(counts))}: there is no other to distinguish it from"]
    small = sorted(label for label, count in counts.items() if count == 1)
    if not small:
        return []
    others = (
        f" and {count_of(len(small) - 1, 'more class', 'more classes')}" if len(small) > 1 else ""
    )
    return [f"class {small[0]}{others}: one sample, so only one part of a split has it"]


def grouped(rows: Sequence[Sample], rule: str | None) -> tuple[list[Sample], list[str]]:
    """Return samples with their groups, and notes on assumptions, one line each.

    rule  a regular expression, searched in each file's name (in the whole name of the sample if it
          contains a "/"): its first bracket is the group, or the whole match; "auto": see
          `group_names`; None: samples keep their groups

    Raises ConfigError for an invalid regular expression, FormatError for a sample without a match.
    """
    if rule is None:
        return list(rows), []
    if rule != "auto":
        return _by_rule(rows, rule), []
    if any(row.group is not None for row in rows):
        return list(rows), []
    names, note = group_names([row.name.rpartition("/")[2] for row in rows],
                              [row.label for row in rows])  # fmt: skip
    return [row._replace(group=name) for row, name in zip(rows, names, strict=True)], note


def _by_rule(rows: Sequence[Sample], rule: str) -> list[Sample]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ConfigError(
            f"group = {rule!r} is not a regular expression ({error}); use one such as r'_s(\\d+)'"
        ) from None
    made = []
    for row in rows:
        sought = row.name if "/" in rule else row.name.rpartition("/")[2]
        found = pattern.search(sought)
        name = None if found is None else found.group(1 if pattern.groups else 0)
        if not name:
            raise FormatError(
                f"{row.where}: its name has no group: {rule!r} does not match {sought!r}; "
                "change the rule (group=) or the name"
            )
        made.append(row._replace(group=name))
    return made


def group_names(
    names: Sequence[str], labels: Sequence[str]
) -> tuple[list[str] | list[None], list[str]]:
    """Return the group in each file's name, such as "p1" of p1_t2.avi, and a note on it.

    Groups are found only if all names contain a number after the same word (user, person, subject,
    ...), or after the same single letter, s or p, with more after it; several files of a class then
    share a group. Or all names end in the number of a take, and some name before it occurs in
    several classes: anna_t2.mkv. Otherwise each group is None.
    """
    by_word = _numbers(names, PERSON_WORD)
    found = by_word if by_word is not None else _trials(names, labels) or _takes(names, labels)
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


def _trials(names: Sequence[str], labels: Sequence[str]) -> list[str] | None:
    """Return a letter and a number in each name, if some occur in several names of a class."""
    found = _numbers(names, PERSON_LETTER)
    if found is None:
        return None
    several = max(Counter(zip(labels, found, strict=True)).values()) > 1
    return found if several else None


def _takes(names: Sequence[str], labels: Sequence[str]) -> list[str] | None:
    """Return the name before _t and a number in each, if some occur in several classes."""
    found = [TAKE.fullmatch(name) for name in names]
    people = [each[1] for each in found if each is not None]
    if len(people) < len(names):
        return None
    classes = Counter(person for person, _ in set(zip(people, labels, strict=True)))
    return people if max(classes.values(), default=0) > 1 else None
