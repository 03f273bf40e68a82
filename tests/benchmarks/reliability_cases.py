"""The commands that write, on small inputs, and what holds for their outputs after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.main import get_command

from dvskit.cli import app
from dvskit.formats.table import list_formats
from tests.benchmarks import reliability_parts as parts
from tests.printed_commands import leaves

# Commands without outputs; all others must be in the table.
WRITE_NOTHING = {"info", "filters", "classify", "cameras", "doctor", "ros play"}


@dataclass(frozen=True)
class Case:
    """A command, and what holds for its outputs at every moment.

    law      "file": each output is the old file, the new one, or absent if there was none
             "folder": the same for a folder with all its files
             "files": so is each file of a folder, and the same command goes on with the others;
             the rows of its manifest.csv are whole
             "run": the same command goes on to the files of an undisturbed run
             "store": the same, and each visible file is one of those of an undisturbed run
             "own": the same command succeeds, and checks what it finds
    start    what is called, with the words as command line
    endless  whether it goes on until it is interrupted
    code     of an undisturbed run
    """

    name: str
    words: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    law: str = "file"
    start: Callable[[], object] = parts.command_line
    endless: bool = False
    code: int = 0

    @property
    def command(self) -> str:
        """The name of the command."""
        return self.name.partition(":")[0]

    @property
    def group(self) -> str:
        """The command that shares its kills."""
        return self.command.partition(" ")[0]


def _case(line: str, *outputs: str, law: str = "file", **given: Any) -> Case:
    words = tuple(line.split())
    name = " ".join(words[:2]) if words[0] in ("plot", "ros") else words[0]
    kind = Path(outputs[0]).suffix[1:] or outputs[0]
    return Case(f"{name}:{kind}", words, outputs, law, **given)


def cases() -> list[Case]:
    """Return all cases."""
    return [*_of_formats(), *_files(), *_folders(), *_of_plots(), *_runs(), *_live(), *_stores()]


def check_complete(known: list[Case]) -> list[str]:
    """Return the commands of the command line that are neither in the table nor write nothing."""
    names = {words for words, _ in leaves(get_command(app))}
    return sorted(names - WRITE_NOTHING - {each.command for each in known})


def _of_formats() -> Iterator[Case]:
    for row in list_formats():
        if "w" in row.can:
            out = f"out{row.suffixes[0]}"
            fit = ("--fit", "128x128") * (row.name == "aedat2")  # it knows the sizes of chips only
            words = ("convert", "../inputs/a.npz", out, "--to", row.name, *fit)
            yield Case(f"convert:{row.name}", words, (out,))
    for suffix in ("npy", "pt", "safetensors"):
        yield _case(f"convert ../inputs/a.npz out.{suffix} --bins 4", f"out.{suffix}")


def _files() -> Iterator[Case]:
    a = "../inputs/a.npz"
    yield _case(f"merge {a} ../inputs/b.npz out.raw", "out.raw")
    yield _case("emulate ../inputs/clip.mp4 out.raw", "out.raw")
    yield _case("emulate ../inputs/clip.mp4 out.aedat4 --preset noisy", "out.aedat4")
    yield _case("calibrate ../inputs/seen.npz ../inputs/clip.mp4 --offset 0ms -o out.toml",
                "out.toml")  # fmt: skip
    for suffix in ("html", "png", "pdf", "mp4"):
        more = " --seconds 0.2 --pixels 160x120" if suffix == "mp4" else ""
        yield _case(f"cloud {a} -o out.{suffix}{more}", f"out.{suffix}")
    for suffix in ("mp4", "gif", "mkv"):
        yield _case(f"render {a} -o out.{suffix} --scale 2", f"out.{suffix}")
    for suffix in ("csv", "npz", "mp4"):
        yield _case(f"corners {a} -o out.{suffix}", f"out.{suffix}")
    for suffix in ("npz", "png", "mp4", "html"):
        yield _case(f"flow {a} -o out.{suffix}", f"out.{suffix}")
    yield _case(f"motion {a} -o out.csv", "out.csv")
    for suffix in ("csv", "npz", "mp4", "html"):
        yield _case(f"track {a} -o out.{suffix}", f"out.{suffix}")
    for suffix in ("mp4", "npz"):
        yield _case(f"reconstruct {a} -o out.{suffix} --model filter", f"out.{suffix}")
    yield _case("eval ../inputs/run ../inputs/bars --split all --over-time --matrix matrix.png "
                "--plot plot.svg", "matrix.png", "plot.svg")  # fmt: skip


def _folders() -> Iterator[Case]:
    a, many = "../inputs/a.npz", "../inputs/many"
    yield _case("convert ../inputs/framed.aedat4 out --frames", "out", law="folder")
    yield _case(f"render {a} -o out --scale 1 --fps 200", "out", law="folder")
    yield _case(f"reconstruct {a} -o out --model filter", "out", law="folder")
    yield _case("sample out", "out", law="folder", start=parts.write_small_sample)
    yield _case(f"convert {many} outs --to evt3 --jobs 2", "outs", law="files")
    yield _case("emulate ../inputs/clips outs --to npz --jobs 1", "outs", law="files")
    yield _case(f"render {many} -o outs/ --to gif --jobs 2", "outs", law="files")
    yield _case(f"reconstruct {many} -o outs/ --to npz --model filter --jobs 1", "outs",
                law="files")  # fmt: skip


def _of_plots() -> Iterator[Case]:
    a, run = "../inputs/a.npz", "../inputs/run"
    with_inputs = {
        "membrane": f"{a} --model {run}", "weights": run, "curves": run,
        "confusion": f"{run} ../inputs/bars --split all",
    }  # fmt: skip
    for name in import_module("dvskit.cli.plot").plot.commands:
        yield _case(f"plot {name} {with_inputs.get(name, a)} -o out.png", "out.png")


def _runs() -> Iterator[Case]:
    yield Case("train:config", ("train", "../inputs/bars.toml", "-o", "out"), ("out",), "run")
    yield Case(
        "train:reconstruction", ("train", "../inputs/images.toml", "-o", "out"), ("out",), "run"
    )
    yield Case("demo:folder", ("demo", "-o", "out"), ("out",), "files", start=parts.draw_small_demo)


def _live() -> Iterator[Case]:
    udp = "view udp://127.0.0.1:0 --size 32x24 --no-browser -o out.npz"
    yield _case(udp, "out.npz", start=parts.view_datagrams, code=130)
    yield _case("ros listen /events out.raw", "out.raw", start=parts.listen_to_stand_in)
    yield _case("teach set", "set", law="own", start=parts.record_clip)
    yield Case("teach:training", ("set", "runs"), ("runs",), "own", parts.teach_training)


def _stores() -> Iterator[Case]:
    words = ("convert", "../inputs/a.raw", "out.csv", "--start", "20ms")
    yield Case("cache:index", words, ("out.csv", "cache"), "store", parts.convert_with_index)
    yield Case("cache:samples", (), ("cache",), "store", parts.keep_samples)
    yield Case("cache:loops", (), ("cache",), "own", parts.compile_anew)
    yield Case("cache:download", (), ("data",), "store", parts.download_set)
