"""Pages that lie elsewhere in the repository: their places in the site, and the links to them."""

from __future__ import annotations

import base64
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Pages outside samples/, and their paths in the site; a pattern stands for the folder's name.
_PLACES = (
    ("README.md", "index.md"),
    ("CHANGELOG.md", "changelog.md"),
    ("CONTRIBUTING.md", "contributing.md"),
    ("SECURITY.md", "vulnerabilities.md"),
    ("tests/benchmarks/README.md", "benchmarks.md"),
    ("models/*/README.md", "models/*.md"),
)
_DOCS = "samples/"
_SOURCES = "source/"  # where the site keeps files that pages link to and that are no pages
_CODE = re.compile(r"(^```.*?^```|^~~~.*?^~~~|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)\s]+)([^)]*\))")
_FENCES = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_OUTPUT_LINES = 30  # of text below a cell of a notebook


def places(top: Path) -> dict[str, str]:
    """Return the files outside samples/ that are pages, and their paths in the site."""
    found = {}
    for pattern, place in _PLACES:
        for file in sorted(top.glob(pattern)):
            found[file.relative_to(top).as_posix()] = place.replace("*", file.parent.name)
    return found


def title_of(text: str, otherwise: str) -> str:
    """Return the first heading of a page."""
    found = re.search(r"^# (.+)$", _FENCES.sub("", text), re.MULTILINE)
    return found[1].replace("`", "").strip() if found else otherwise


def first_sentence(text: str) -> str:
    """Return the first sentence of a page, without its links; "" if the page has none."""
    paragraphs = _FENCES.sub("", text).split("\n\n")
    for words in (" ".join(each.split()) for each in paragraphs):
        if words and not words.startswith(("#", "!", "|", "<", "- ", "* ", "[!")):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words)
            sentence = re.split(r"(?<=[.:;])\s", plain)[0].rstrip(".:;") + "."
            return sentence.replace("|", "\\|")
    return ""


def list_of_pages(title: str, pages: Mapping[str, str]) -> str:
    """Return a page that lists pages of its folder, texts by names."""
    rows = (
        f"| [{title_of(text, name)}]({name}) | {first_sentence(text)} |"
        for name, text in pages.items()
    )
    return "\n".join((f"# {title}", "", "| Page | |", "|---|---|", *rows, ""))


class Links:
    """Links of the repository as links of the site.

    top       the repository
    moved     paths in the site by paths in the repository, for pages outside samples/
    """

    def __init__(self, top: Path, moved: Mapping[str, str]) -> None:
        self.top = top
        self.moved = dict(moved)
        self.origins = {place: origin for origin, place in moved.items()}

    def origin_of(self, page: str) -> str:
        """Return the path in the repository of a page of the site."""
        return self.origins.get(page, _DOCS + page)

    def targets(self, text: str, origin: str) -> Iterator[str]:
        """Yield the paths in the repository that a page links to."""
        for part in _CODE.split(text)[::2]:
            for found in _LINK.finditer(part):
                path = self._target(found[2], origin)
                if path is not None:
                    yield path

    def rewritten(self, text: str, page: str) -> str:
        """Return a page with links to paths in the site."""
        origin = self.origin_of(page)
        parts = _CODE.split(text)
        parts[::2] = (
            _LINK.sub(lambda found: found[1] + self._link(found[2], origin, page) + found[3], part)
            for part in parts[::2]
        )
        return "".join(parts)

    def place_of(self, path: str) -> str:
        """Return the path in the site of a file of the repository."""
        if path in (*self.moved, "models/index.md"):
            return self.moved.get(path, path)
        return path.removeprefix(_DOCS) if path.startswith(_DOCS) else _SOURCES + path

    def _target(self, link: str, origin: str) -> str | None:
        """Return the path in the repository of a link; None for one that leads elsewhere."""
        path = link.partition("#")[0]
        if not path or "://" in link or link.startswith("mailto:"):
            return None
        return posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))

    def _link(self, link: str, origin: str, page: str) -> str:
        path = self._target(link, origin)
        if path is None:
            return link
        if (self.top / path).is_dir():
            name = "README.md" if (self.top / path / "README.md").exists() else "index.md"
            path = posixpath.normpath(posixpath.join(path, name))
        mark, anchor = link.partition("#")[1:]
        place = posixpath.relpath(self.place_of(path), posixpath.dirname(page) or ".")
        return place + mark + anchor


def notebook_page(text: str, name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as a page in Markdown, and its pictures by their names."""
    parts, pictures = [], {}
    for number, cell in enumerate(json.loads(text)["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source.strip():
            parts.append(f"```python\n{source}\n```")
            for index, output in enumerate(cell.get("outputs", [])):
                shown, picture = _output(output, f"{name}-{number}-{index}.png")
                parts += [shown] if shown else []
                pictures |= picture
    parts.append(f"[This page as a notebook]({name}.ipynb)")
    return "\n\n".join(parts) + "\n", pictures


def _output(output: Mapping[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Return an output of a cell in Markdown, and its picture."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = base64.b64decode("".join(data["image/png"]))
        return f"![The output of the cell above]({name})", {name: picture}
    if output["output_type"] == "stream" and output.get("name") == "stderr":
        return "", {}
    lines = "".join(output.get("text", data.get("text/plain", ""))).rstrip().splitlines()
    if len(lines) > _OUTPUT_LINES:
        lines[_OUTPUT_LINES:] = ["..."]
    return ("```text\n" + "\n".join(lines) + "\n```" if lines else ""), {}
