"""Commands that take one file or many, and how they distinguish these."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from dvskit.cli._clips import forget_clips
from dvskit.cli._crew import ClusterOption, Crew, JobsOption
from dvskit.cli._manifest import options_hash
from dvskit.cli._many_files import ManyFiles
from dvskit.cli._options import as_usage, shown_as, spread
from dvskit.cli._remote import address_of, staged
from dvskit.cli._trees import FileJob, Inputs, holds_any, is_pattern, is_tree
from dvskit.errors import ConfigError, count_of
from dvskit.formats import format_for_writing, is_standard
from dvskit.formats.addresses import scheme_of
from dvskit.formats.found import is_image_folder
from dvskit.formats.image_list import images_in
from dvskit.formats.table import CLIP_SUFFIXES, is_suffix, named_format

Options = dict[str, Any]
_COMMANDS: dict[str, Command] = {}  # by the names of their modules
_OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", help="The output, instead of the last argument; for several inputs, the "
                               "folder to write into.",
        show_default=False,
    ),
]  # fmt: skip
_HELP = """
    For many inputs the tree of folders is kept. Existing outputs are skipped if they were made
    with the same options, and an error if not; --force replaces all. The output folder's
    manifest.csv lists each file with its options, events, seconds, machine and error. Failures
    are listed at the end. After Ctrl-C only complete files are left. The same command continues,
    and tries failed files again. Inputs and outputs may be addresses: s3://, gs://, https://.
"""
_SLASHES = tuple({os.sep, os.altsep or os.sep})
_OF_TENSORS = {".npy", ".npz", ".pt", ".safetensors"}


@dataclass(slots=True)
class Command:
    """Turns a command for one file into one for many: its first two parameters become words.

    All its options also apply to many files; -o, --jobs, --cluster, and help on them are added.

    inputs  the kind of inputs
    words   the description of its arguments, for the help
    ending  suffix of the outputs without --to; empty if --to is required
    alone   an option that replaces the input; empty if there is none
    own     returns the options of one file of many; None: the same for all
    folder  the option that turns one input into a folder; it is set if the output is a folder
            and no other option sets the kind of output; empty if there is none
    apart   returns whether options set the kind of output, so that a folder is for many files
    endings suffixes of outputs that are no events, the usual one first: --to is added for many
            inputs; -o is required, and that of one input may be a folder
    out     the help of -o, for `endings`
    single  options for one input only, by name
    one     the command: input, output, and the options by name; it returns the number of events
            read or written, if known
    """

    inputs: Inputs
    words: str
    ending: str = ""
    alone: str = ""
    own: Callable[[Path, Options], Options] | None = None
    folder: str = ""
    apart: Callable[[Options], bool] = bool
    endings: tuple[str, ...] = ()
    out: str = ""
    single: tuple[str, ...] = ()
    one: Callable[..., int | None] = field(init=False)

    def __call__(self, one: Callable[..., int | None]) -> Callable[..., None]:
        self.one = spread(one)
        _COMMANDS[one.__module__] = self

        def of_many(**given: Any) -> None:
            words, output = list(given.pop("paths") or ()), given.pop("output")
            crew = Crew(given.pop("jobs"), given.pop("cluster"))
            self._run(words, output, crew, given)

        shown = shown_as(of_many, one, self._signature())
        shown.__doc__ = f"{one.__doc__}\n{_HELP}"
        return shown

    def _run(self, words: list[str], output: str | None, crew: Crew, rest: Options) -> None:
        if self._is_one_folder(words, output, rest):
            _check_one(crew, output or (words[-1] if words else None))
            rest = rest | {self.folder: True}
            out = Path(words[1] if output is None else output)
            with staged(Path(words[0]), None, force=False) as (file, _):
                self.one(file, out, **rest)
            return
        if self._is_one(words, output, rest):
            _check_one(crew, output or (words[-1] if words else None))
            self._do_one(words, output, rest)
            return
        folder = Path(words.pop() if output is None else output)
        ending, rest = self._many_options(rest)
        force, name = rest.pop("force"), self.one.__module__
        options = options_hash(name, rest)
        many = ManyFiles(self.inputs, words, folder, options=options, force=force)
        # The run may replace every output: a new one is of a lost worker that did the same job.
        many.do(partial(do_one, name, rest | {"force": True}), ending, crew)

    def _do_one(self, words: list[str], output: str | None, rest: Options) -> None:
        paths: list[Path | None] = [Path(word) for word in words]
        if self.endings:
            paths = paths or [None]
            if rest["to"] is not None:
                raise ConfigError("--to is for many inputs; the suffix of -o sets the kind of one")
            rest = {name: value for name, value in rest.items() if name != "to"}
        if output is not None:
            paths.append(Path(output))
        file, out = (*paths, None, None)[:2]
        with staged(file, out, force=rest["force"]) as (local, made):
            self.one(local, made, **rest)

    def _many_options(self, rest: Options) -> tuple[str, Options]:
        """Return the suffix of the outputs, and the options of each file. Raises ConfigError."""
        for name in self.single:
            if rest[name]:
                raise ConfigError(f"--{name} is for one input; leave it out for several")
        if not self.endings:
            return _ending(rest, self.ending)
        rest = dict(rest)
        to = rest.pop("to") or self.endings[0]
        ending = f".{to.lower().removeprefix('.')}"
        if ending not in self.endings:
            raise ConfigError(f"--to {to}: for several inputs, name one of {_listed(self.endings)}")
        return ending, rest

    def _signature(self) -> inspect.Signature:
        """Return the parameters of the command for many, for the command line."""
        known = inspect.signature(self.one)
        _, _, *rest = known.parameters.values()
        argument = typer.Argument(
            help=self.words, metavar="FILE" if self.endings else "IN OUT", show_default=False,
            parser=_as_written,
        )  # fmt: skip
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        paths = inspect.Parameter("paths", kind, annotation=Annotated[list[Path], argument])
        if self.alone or self.endings:
            optional = Annotated[list[Path] | None, argument]
            paths = paths.replace(default=None, annotation=optional)
        output = inspect.Parameter("output", kind, default=None, annotation=_OutputOption)
        named = inspect.Parameter.KEYWORD_ONLY
        if self.endings:
            output, to = self._own_outputs()
            rest.append(to)
        jobs = inspect.Parameter("jobs", named, default=None, annotation=JobsOption)
        cluster = inspect.Parameter("cluster", named, default=None, annotation=ClusterOption)
        return known.replace(parameters=[paths, output, *rest, jobs, cluster])

    def _own_outputs(self) -> tuple[inspect.Parameter, inspect.Parameter]:
        """Return the parameters of -o and --to for outputs that are no events."""
        named = inspect.Parameter.KEYWORD_ONLY
        out = typer.Option("-o", "--output", help=self.out, show_default=False)
        to = typer.Option(
            "--to", help=f"For many inputs: the outputs' suffix: {_listed(self.endings)}.",
            show_default=self.endings[0][1:],
        )  # fmt: skip
        return (
            inspect.Parameter("output", named, annotation=Annotated[str, out]),
            inspect.Parameter("to", named, default=None, annotation=Annotated[str | None, to]),
        )

    def _is_one_folder(self, words: list[str], output: str | None, rest: Options) -> bool:
        """Return whether one input becomes a folder. Raises ConfigError if it cannot."""
        if not self.folder or not words or (self.alone and rest[self.alone] is not None):
            return False
        read, out = (words, output) if output is not None else (words[:-1], words[-1])
        single = len(read) == 1 and not is_pattern(read[0]) and not is_tree(read[0], self.inputs)
        if rest[self.folder]:
            if not single:
                raise ConfigError(f"--{self.folder} takes one {self.inputs.name}, and a folder")
            if is_standard(out) or _names_a_file(out):
                raise ConfigError(f"--{self.folder}: {out} is no folder; name one")
            return True
        return single and _names_a_folder(out) and not self.apart(rest)

    def _is_one(self, words: list[str], output: str | None, rest: Options) -> bool:
        """Return whether the words name one input and no folder for its output.

        Raises ConfigError for words that mean neither.
        """
        read = words if output is not None else words[:-1]
        if self.alone and rest[self.alone] is not None:
            if len(words) + (output is not None) > 2:
                raise ConfigError(f"--{self.alone} takes no input; name only the output")
            return True
        if not read:
            if not words:
                return True  # which reports the missing input
            raise ConfigError(f"{words[0]}: name the file to write after it, or a folder with -o")
        if len(read) > 1:
            if output is None:
                raise ConfigError(
                    f"{count_of(len(words), 'path')} without -o; name the folder for the outputs: "
                    f"{words[0]} ... -o FOLDER"
                )
            streams = [word for word in (*read, output) if _is_stream(word)]
            if streams:
                raise ConfigError(f"{streams[0]}: cannot be mixed with files; give it alone")
            if _names_a_file(output):
                raise ConfigError(
                    f"{output}: is a file name; for several inputs name a folder, such as "
                    f"{output}{os.sep}"
                )
            return False
        word, out = read[0], words[-1] if output is None else output
        if self.endings:
            return self._is_one_named(word, out, rest["to"])
        return self._is_one_of(word, out, of_file=output is None)

    def _is_one_named(self, word: str, out: str, to: str | None) -> bool:
        """Return whether an input is one, also with a folder for its output.

        With --to the folder is one for many. Raises ConfigError for a file for many.
        """
        if _is_stream(word):
            return True
        tree = is_tree(word, self.inputs) and not is_image_folder(Path(word))
        if not (tree or is_pattern(word)):
            return to is None or _names_a_file(out)
        if _names_a_file(out):
            raise ConfigError(
                f"{word}: stands for several {self.inputs.name}s; name a folder for the outputs, "
                f"not {out}"
            )
        return False

    def _is_one_of(self, word: str, out: str, *, of_file: bool) -> bool:
        """Return whether `out` is the output file of an input, and not a folder for it.

        of_file  the answer if neither path decides it
        """
        if _is_stream(word) or _is_stream(out):
            return True
        if _names_a_folder(out):
            return False
        a_file = _names_a_file(out)
        if is_tree(word, self.inputs):
            if a_file and not images_in(Path(word)) and holds_any(word, self.inputs):
                raise ConfigError(
                    f"{word}: is a folder of {self.inputs.name}s; name a folder for the outputs, "
                    f"not {out}"
                )
            return a_file
        return (of_file or a_file) and not is_pattern(word)


def _check_one(crew: Crew, out: str | None) -> None:
    """Raise ConfigError for --cluster with one input, and for a folder at an address."""
    crew.check_one("name a folder for the outputs, with -o")
    if out is not None and out.endswith("/") and address_of(out):
        raise ConfigError(f"{out}: no folder of one input can be written there; name a file")


def _listed(endings: tuple[str, ...]) -> str:
    return ", ".join(ending[1:] for ending in endings)


def _as_written(word: str) -> str:
    """Keep a path as text, because a slash at its end means a folder."""
    return word


def _names_a_folder(out: str) -> bool:
    return out.endswith(_SLASHES) or Path(out).is_dir()


def _names_a_file(out: str) -> bool:
    if _names_a_folder(out):
        return False
    suffix = Path(out).suffix.lower()
    if suffix in _OF_TENSORS or suffix in CLIP_SUFFIXES or is_suffix(suffix):
        return True
    return os.path.lexists(out)


def _is_stream(word: str) -> bool:
    return is_standard(word) or scheme_of(word) is not None


def _ending(options: Options, usual: str) -> tuple[str, Options]:
    """Return the suffix of the outputs, and the options; --to may give either. ConfigError."""
    to = options["to"]
    if to is None:
        if not usual:
            raise ConfigError("name the output format with --to, such as --to aedat4")
        return usual, options
    if to.startswith("."):
        return to, options | {"to": None}
    with as_usage("--to"):
        row = named_format(to, "w")[0]
        if "w" not in row.can:
            format_for_writing("x", to)  # raises the error
    return row.suffixes[0], options


def command_of(module: str) -> Command:
    """Return the command for one file or many of a module."""
    import_module(module)
    return _COMMANDS[module]


def do_one(module: str, options: Options, job: FileJob) -> int | None:
    """Run the command of a module on one file of many, in a process of its own."""
    command = command_of(module)
    with staged(job.file, job.out, force=True) as (file, out):
        own = {} if command.own is None else command.own(file, options)
        try:
            return command.one(file, out, **options | own)
        finally:
            forget_clips()
