"""Run the code of a page as its reader would: block by block, in one folder.

    python -m tests.page_code PAGE   (in the folder; ends with 1 at the first block that fails)

Lines of `bash` blocks are commands; `python` blocks share one namespace. A comment
`<!-- not run: REASON -->` before a block leaves it out. Trainings of `dvskit train` are cut to two
steps, which a slow machine has nine minutes for.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?^```(?P<kind>bash|python)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_TWO_STEPS = ("--set", "loop.epochs=1", "--set", "loop.steps=2")
_NINE_MINUTES = ("--minutes", "9")
_OF_A_SHELL = re.compile(r"[|<>&;$*]")


@dataclass(frozen=True)
class Block:
    """Code of a page: its kind, "bash" or "python", and why it does not run, or ""."""

    kind: str
    text: str
    line: int  # of the page, from 1
    reason: str

    def commands(self) -> Iterator[str]:
        """Yield the lines of a `bash` block, those that end with a backslash joined."""
        for line in self.text.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                yield line


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in Markdown that are code of a shell or of Python."""
    for found in _BLOCK.finditer(page):
        line = page.count("\n", 0, found.start("kind")) + 1
        yield Block(found["kind"], found["text"], line, found["reason"] or "")


def run_command(line: str) -> None:
    """Run a line of a shell: `cd` and `dvskit` in this process, all others in a shell.

    Raises RuntimeError if it ends with another code than 0.
    """
    words = shlex.split(line, comments=True)
    if words[0] == "cd":
        os.chdir(words[1])
    elif words[0] == "dvskit" and not _OF_A_SHELL.search(line):
        if words[1] == "train":
            words += _TWO_STEPS + _NINE_MINUTES * ("--minutes" in words)
        _run_here(words)
    else:
        scripts = str(Path(sys.executable).parent)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            env=os.environ | {"PATH": scripts + os.pathsep + os.environ["PATH"]},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _run_here(words: list[str]) -> None:
    from dvskit import cli

    said = io.StringIO()
    before = sys.argv
    sys.argv = words
    try:
        with redirect_stdout(said), redirect_stderr(said):
            cli.main()
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"ended with {ended.code}:\n{said.getvalue()}") from None
    finally:
        sys.argv = before


def run_page(page: Path) -> None:
    """Run the blocks of a page in order, in the current folder.

    Raises RuntimeError with the place of the first command or block that fails.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.reason:
            continue
        if block.kind == "python":
            code = "\n" * block.line + block.text  # so that a traceback names the line of the page
            exec(compile(code, str(page), "exec"), names)
            continue
        for line in block.commands():
            try:
                run_command(line)
            except RuntimeError as error:
                raise RuntimeError(
                    f"{page.name}, block at line {block.line}: {line}\n{error}"
                ) from None


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
