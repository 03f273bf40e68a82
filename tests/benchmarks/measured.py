"""What the page of benchmarks says beside each table: the machine, versions, and the code's age.

A table stands on the page between two comments, of which the first holds a digest of the code that
was measured:

    <!-- begin formats 3f2a9c1d5b7e -->
    | ... |
    <!-- end formats -->
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import dvskit

TOP = Path(__file__).resolve().parents[2]
PACKAGE = Path(dvskit.__file__).parent
PAGE = Path(__file__).with_name("README.md")
NEVER = "never"  # in place of a digest: nothing was measured yet
OLDER = "**Older than the code that it measures.**\n\n"
_BLOCK = re.compile(
    r"<!-- begin (?P<name>[a-z_]+) (?P<digest>\w+) -->\n(?P<text>.*?)<!-- end (?P=name) -->",
    re.DOTALL,
)


def machine() -> str:
    """Return the processor, its number of cores, and the load of the last minute."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    cores = len(os.sched_getaffinity(0))
    return (
        f"{model}, {cores} cores, load {os.getloadavg()[0]:.1f} before; "
        f"Python {platform.python_version()}"
    )


def versions(packages: Iterable[str]) -> str:
    """Return packages with their versions; of one that is not installed, that."""
    found = []
    for name in packages:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def shown(output: str) -> str:
    """Return what a benchmark printed as it stands on the page: a table in Markdown, or a block."""
    text = output.strip()
    return text if re.search(r"^\|", text, re.MULTILINE) else f"```text\n{text}\n```"


def digest_of(parts: Iterable[str]) -> str:
    """Return a digest of the code of files and folders below `dvskit/`, without its docstrings."""
    total = hashlib.sha256()
    for part in parts:
        top = PACKAGE / part
        for file in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            total.update(file.relative_to(PACKAGE).as_posix().encode())
            total.update(_code_of(file.read_text("utf-8")).encode())
    return total.hexdigest()[:12]


def _code_of(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return ast.dump(tree)


def block(name: str, digest: str, text: str) -> str:
    """Return a table as it stands on the page."""
    return f"<!-- begin {name} {digest} -->\n{text.strip()}\n<!-- end {name} -->"


def blocks_of(page: str) -> dict[str, tuple[str, str]]:
    """Return the digest and the text of each table of the page, by the benchmark's name."""
    return {found["name"]: (found["digest"], found["text"]) for found in _BLOCK.finditer(page)}


def replaced(page: str, name: str, digest: str, text: str) -> str:
    """Return the page with another table of this benchmark.

    Raises KeyError if the page has no table of that name.
    """
    if name not in blocks_of(page):
        raise KeyError(f"the page has no table {name!r}; add its two comments")
    new = block(name, digest, text)
    return _BLOCK.sub(lambda found: new if found["name"] == name else found[0], page)


def marked(page: str, digests: dict[str, str]) -> str:
    """Return the page with a mark at each table that is older than its code, and no other."""
    for name, (digest, text) in blocks_of(page).items():
        plain = text.replace(OLDER, "")
        older = digest not in (digests[name], NEVER)
        page = replaced(page, name, digest, (OLDER if older else "") + plain)
    return page
