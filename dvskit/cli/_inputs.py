"""The inputs of a command, one or many, and the output of each."""

from __future__ import annotations

import glob
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dvskit._files import is_hidden, visible
from dvskit.cli import _console, _remote
from dvskit.cli._remote import address_of
from dvskit.errors import ConfigError, FormatError, count_of, one_line
from dvskit.formats.addresses import scheme_of
from dvskit.formats.file_sink import is_standard
from dvskit.formats.found import PathKind, identify, readable_suffixes
from dvskit.formats.image_list import images_in
from dvskit.formats.table import CLIP_SUFFIXES, is_suffix

MANIFEST = "manifest.csv"  # the list that commands on many files write beside their outputs
_OF_TENSORS = {".npy", ".npz", ".pt", ".safetensors"}
_SLASHES = tuple({os.sep, os.altsep or os.sep})


@dataclass(frozen=True, slots=True)
class Inputs:
    """The kind of inputs of a command.

    name       of one, such as "video"
    is_file    whether a file found in a folder is an input, by its name and as little content as
               possible; a file that is named is always an input
    is_folder  whether a folder is one input as a whole, such as a folder of images
    endings    returns the suffixes of such files
    """

    name: str
    is_file: Callable[[Path], bool]
    is_folder: Callable[[Path], bool]
    endings: Callable[[], Collection[str]]


def _is_recording(path: Path) -> bool:
    return identify(path) is PathKind.RECORDING


RECORDINGS = Inputs("recording", _is_recording, _is_recording, readable_suffixes)


@dataclass(frozen=True, slots=True)
class Paths:
    """The inputs of a command and its output, as typed.

    inputs  files, folders, patterns and addresses; none if a camera is read
    out     a file, a folder or an address; a slash at its end means a folder
    kind    of the inputs
    named   whether the output was named by -o
    """

    inputs: tuple[str, ...]
    out: str
    kind: Inputs
    named: bool = True

    @classmethod
    def from_words(
        cls,
        words: list[str] | None,
        out: str | None,
        kind: Inputs,
        *,
        camera: str | None,
        usage: str,
    ) -> Paths:
        """Return the paths of a command whose last word is the output, if -o does not name it.

        camera  the camera in place of the input, as messages name it; None for none
        usage   the message if nothing is named

        Raises ConfigError if the input or the output is missing.
        """
        inputs, named = list(words or ()), out is not None
        if camera is None and not inputs:
            raise ConfigError(usage)
        if out is None and len(inputs) > (camera is None):
            out = inputs.pop()
        if camera is not None and inputs:
            raise ConfigError("--camera takes no input; name only the output")
        if out is None:
            raise ConfigError(
                f"{inputs[0] if inputs else camera}: name the output after it, or a folder with -o"
            )
        return cls(tuple(inputs), out, kind, named)

    def is_one(self, *, folder: bool = False) -> bool:
        """Return whether there is one input, which becomes one output.

        folder  whether that may be a folder

        Raises ConfigError for words that mean neither one nor many.
        """
        if len(self.inputs) > 1:
            self._check_many()
        if len(self.inputs) != 1:
            return not self.inputs
        (word,), out = self.inputs, self.out
        if is_stream(word) or is_stream(out):
            return True
        a_file, tree = names_a_file(out), is_tree(word, self.kind)
        clip = tree and Path(word).is_dir() and bool(images_in(Path(word)))
        many = is_pattern(word) or (tree and not clip and self._holds_any(Path(word)))
        if a_file and many:
            raise ConfigError(
                f"{word}: stands for several {self.kind.name}s; name a folder for the outputs, "
                f"not {out}"
            )
        if a_file or is_pattern(word):
            return a_file
        return (folder and clip) if tree else folder or not (self.named or names_a_folder(out))

    def is_one_folder(self, option: str) -> bool:
        """Return whether one input becomes a folder.

        option  that asks for this; if it is given, raise ConfigError for other paths
        """
        single = len(self.inputs) == 1 and not (
            is_pattern(self.inputs[0]) or is_tree(self.inputs[0], self.kind)
        )
        if option and not single:
            raise ConfigError(f"{option} takes one {self.kind.name}, and a folder")
        if option and (is_standard(self.out) or names_a_file(self.out)):
            raise ConfigError(f"{option}: {self.out} is no folder; name one")
        return bool(option) or (single and names_a_folder(self.out))

    def _holds_any(self, folder: Path) -> bool:
        return any(True for _ in JobPlan(self.kind, Path(os.devnull)).below(folder))

    def _check_many(self) -> None:
        if not self.named:
            words = (*self.inputs, self.out)
            raise ConfigError(
                f"{count_of(len(words), 'path')} without -o; name the folder for the outputs: "
                f"{words[0]} ... -o FOLDER"
            )
        for word in filter(is_stream, (*self.inputs, self.out)):
            raise ConfigError(f"{word}: cannot be mixed with files; give it alone")
        if names_a_file(self.out):
            raise ConfigError(
                f"{self.out}: is a file name; for several inputs name a folder, such as "
                f"{self.out}{os.sep}"
            )


def names_a_folder(out: str) -> bool:
    """Return whether an output is a folder: it is one, or ends with a slash."""
    return out.endswith(_SLASHES) or Path(out).is_dir()


def names_a_file(out: str) -> bool:
    """Return whether an output is a file: it is one, or has a known suffix."""
    if names_a_folder(out):
        return False
    suffix = Path(out).suffix.lower()
    if suffix in _OF_TENSORS or suffix in CLIP_SUFFIXES or is_suffix(suffix):
        return True
    return os.path.lexists(out)


def is_stream(word: str) -> bool:
    """Return whether a word is standard input or output, or an address of live events."""
    return is_standard(word) or scheme_of(word) is not None


class FileJob(NamedTuple):
    """An input file (or a folder that is one input), its output, and its bytes.

    number  distinguishes jobs without an output
    """

    file: Path
    out: Path
    bytes: int
    number: int = 0


class Failure(NamedTuple):
    """A failed input, and the reason in one line."""

    file: Path
    reason: str


class JobPlan:
    """The jobs for many inputs, the failures, and the found files that are no inputs.

    The folder of the outputs may lie among the inputs; its content is skipped.
    """

    def __init__(self, kind: Inputs, folder: Path) -> None:
        self.kind, self.folder, self._out = kind, folder, _real(folder)
        self.jobs: list[FileJob] = []
        self.failures: list[Failure] = []
        self.others: list[Path] = []

    def inputs_of(self, word: str, *, tree: bool) -> Iterator[tuple[Path, Path]]:
        """Yield the inputs in a word, and the folder that the paths of their outputs start from.

        tree  whether that is the folder itself if the word is one
        """
        address = address_of(word)
        if address is not None:
            there = _remote.listed(address, self.kind.endings(), MANIFEST)
            self.others += there.others
            base = there.base
            paths = [
                each for each in there.files if not Path(_real(each)).is_relative_to(self._out)
            ]
        elif is_pattern(word):
            base, paths = _matches(word)
        else:
            paths = [Path(word)]
            base = paths[0] if tree and is_tree(word, self.kind) else _full(paths[0]).parent
        for path in paths:
            yield from ((file, _full(base)) for file in self.below(path, named=True))

    def below(
        self, path: Path, above: tuple[str, ...] = (), *, named: bool = False
    ) -> Iterator[Path]:
        """Yield the inputs at a path or below it; a `named` file is always an input."""
        real = _real(path)
        if real == self._out:
            return
        try:
            if not path.is_dir():
                if named or self._is_file(path):
                    yield path
                elif path.name != MANIFEST:
                    self.others.append(path)
            elif self.kind.is_folder(path):
                yield path
            elif real in above:
                self.failures.append(Failure(path, "is a link to a folder that contains it"))
            else:
                for entry in visible(path):
                    yield from self.below(entry, (*above, real))
        except FormatError as error:
            self.failures.append(Failure(path, one_line(error).removeprefix(f"{path}: ")))
        except OSError as error:
            why = f"cannot be read: {error.strerror or one_line(error)}"
            self.failures.append(Failure(path, why))

    def _is_file(self, path: Path) -> bool:
        # A broken link with the name of an input is reported; a pipe is skipped, as it would block.
        return (path.is_file() or path.is_symlink()) and self.kind.is_file(path)

    def place(self, files: Mapping[Path, Path], root: Path, ending: str) -> None:
        """Add a job for each file, and a failure for those whose outputs would have one name.

        Names that differ only by case or by the coding of accents are equal on some systems, so
        they count as equal everywhere.
        """
        places: dict[str, list[tuple[Path, Path]]] = defaultdict(list)
        for full, file in files.items():
            place = full.relative_to(root)
            name = (place.name if file.is_dir() else place.stem) + ending
            out = self.folder / place.with_name(name)
            places[unicodedata.normalize("NFC", str(out)).casefold()].append((file, out))
        for jobs in places.values():
            for file, out in jobs:
                others = [path for path, _ in jobs if path != file]
                if out.parent == self.folder and out.name.casefold() == MANIFEST:
                    why = f"its output would replace {out}, the list of outputs; rename it"
                elif others:
                    why = f"has the same output as {others[0]}, {out}; rename one"
                else:
                    self.jobs.append(FileJob(file, out, _bytes_in(file)))
                    continue
                self.failures.append(Failure(file, why))

    def skipped(self) -> str:
        """Return a note on the files that are no inputs."""
        kinds = Counter(path.suffix.lower() or "no ending" for path in self.others)
        said = ", ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items()))
        count = count_of(len(self.others), "file")
        return f"skipped, not {self.kind.name}s: {count} ({said})"


def is_pattern(word: str) -> bool:
    """Return whether a word is a pattern of names, and not an existing name."""
    address = address_of(word)
    if address is not None:
        return _remote.is_pattern(address)
    return glob.has_magic(word) and not os.path.lexists(word)


def is_tree(word: str, kind: Inputs) -> bool:
    """Return whether a word is a folder that is not one input as a whole."""
    address = address_of(word)
    if address is not None:
        return not _remote.is_pattern(address) and _remote.is_folder(address)
    return Path(word).is_dir() and not kind.is_folder(Path(word))


def find_jobs(words: Sequence[str], folder: Path, kind: Inputs, ending: str) -> JobPlan:
    """Return a job for each input in the words: files, folders and patterns.

    The tree is kept: the output of a file has the same path in `folder` as the file has in the
    common folder of all words. That is the folder itself if only one is named, and for a pattern
    the part before the first *.

    Raises FormatError for words without inputs, ConfigError if an output would overwrite an input.
    """
    plan, alone = JobPlan(kind, folder), len(words) == 1
    if alone and _real(Path(words[0])) == _real(folder):
        raise ConfigError(
            f"{folder}: is the input folder; name another one, which may lie inside it"
        )
    found = [each for word in words for each in plan.inputs_of(word, tree=alone)]
    if not found and not plan.failures:
        endings = ", ".join(sorted(kind.endings()))
        raise FormatError(
            f"{' '.join(words)}: contains no {kind.name}s, which are files of {endings}"
        )
    try:
        root = Path(os.path.commonpath([base for _, base in found] or [folder]))
    except ValueError:  # Windows: on several drives
        raise ConfigError("the inputs lie on several drives; take one drive at a time") from None
    files = {_full(file): file for file, _ in reversed(found)}  # the first name of each counts
    plan.place(dict(reversed(files.items())), root, ending)
    read = {_real(file) for file in files.values()}
    for job in plan.jobs:
        if _real(job.out) in read:
            raise ConfigError(
                f"{job.out}: is an input and would be overwritten; name another folder"
            )
    return plan


def _matches(pattern: str) -> tuple[Path, list[Path]]:
    """Return the folder before the first * of a pattern, and the paths that match it."""
    # The shell's rules, with ** for folders of any depth; pathlib has others.
    found = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    found = [path for path in found if not is_hidden(path.name)]
    if not found:
        raise FormatError(f"{pattern}: no file matches this pattern")
    base = Path(pattern).parent
    while glob.has_magic(str(base)):
        base = base.parent
    return base, found


def _full(path: Path) -> Path:
    """Return an absolute path without resolving links."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _bytes_in(path: Path) -> int:
    address = address_of(path)
    if address is not None:
        return _remote.size_of(address)
    try:
        if path.is_dir():
            return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
        return path.stat().st_size
    except OSError:
        return 0


def note_skipped(files: list[Path]) -> None:
    """Print a note on files that are no recordings."""
    if files:
        others = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
        _console.note(f"{files[0]}{others}: skipped, not a recording")
