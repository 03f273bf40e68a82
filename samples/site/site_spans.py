"""Code spans: links to the public object or command that they name; options on one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

_UNLINKED = {"a", "autoref", "pre", "h1", "h2", "h3", "h4", "h5", "h6"}
_NAME = re.compile(r"@?([A-Za-z_][\w.]*)(?:\(.*\))?", re.DOTALL)
_COMMAND = re.compile(r"dvskit ((?:plot |ros )?[a-z]+)\b")
_AFTER_INLINE = 15  # code spans exist from priority 20 on


class LinkedSpans(Extension):
    """Links code spans.

    anchors   of public objects by their names
    commands  names of the commands: "emulate", "plot rate"
    """

    def __init__(self, anchors: Mapping[str, str], commands: frozenset[str]) -> None:
        super().__init__()
        self.anchors = anchors
        self.commands = commands

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Add the links to a parser."""
        md.treeprocessors.register(_Links(md, self), "dvskit-spans", _AFTER_INLINE)

    def anchor_of(self, span: str) -> str | None:
        """Return the anchor for a code span, or None."""
        name = _NAME.fullmatch(span)
        if name is not None:
            return self.anchors.get(name[1])
        command = _COMMAND.match(span)
        if command is None:
            return None
        words = command[1].split()
        known = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in self.commands),
                     None)  # fmt: skip
        return None if known is None else f"dvskit-{known.replace(' ', '-')}"


class _Links(Treeprocessor):
    def __init__(self, md: Markdown, spans: LinkedSpans) -> None:
        super().__init__(md)
        self.spans = spans

    def run(self, root: Element) -> None:
        self._link(root)

    def _link(self, parent: Element) -> None:
        for at, child in enumerate(list(parent)):
            if child.tag in _UNLINKED:
                continue
            if child.tag != "code":
                self._link(child)
                continue
            text = "".join(child.itertext())
            if text.startswith("-") and " " not in text:
                child.set("class", "dvskit-option")  # which stays on one line
            anchor = self.spans.anchor_of(text)
            # A term in small letters is a parameter, in a list of them.
            if anchor is not None and not (parent.tag == "dt" and text == text.lower()):
                link = Element("autoref", {"identifier": anchor, "optional": "optional"})
                link.tail, child.tail = child.tail, None
                link.append(child)
                parent[at] = link
