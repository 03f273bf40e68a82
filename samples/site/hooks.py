"""What the site has beside the pages in samples/: the front page, the API, commands, models."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pymdownx.slugs import slugify
from site_api import PACKAGES, Api, api_pages, page_of
from site_commands import Command, command_pages, commands
from site_pages import Links, list_of_pages, notebook_page, places, title_of
from site_spans import LinkedSpans
from site_spelling import add_spellings

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))  # the commands are those of this folder


class _Site:
    """What one build uses."""

    def __init__(self, config: MkDocsConfig) -> None:
        handler = config.plugins["mkdocstrings"].get_handler("python")  # which reads dvskit once
        self.api = Api(handler.collect("dvskit", handler.get_options({})))
        self.commands = commands()
        self.links = Links(TOP, places(TOP))


# Folders with a section of their own, in the order of the tabs.
_SECTIONS = {
    "guide": "Guides",
    "notebooks": "Notebooks",
    "migrate": "Coming from",
    "gallery": "Gallery",
    "models": "Models",
}
_built: dict[str, _Site] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Read the sources and the commands; link code spans; give headings the anchors of GitHub."""
    site = _built["site"] = _Site(config)
    names = frozenset(part.words for each in site.commands for part in (each, *each.parts))
    config.markdown_extensions.append(LinkedSpans(site.api.anchors, names))
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the navigation of all pages."""
    site = _built["site"]
    for origin, place in site.links.moved.items():
        _add(files, config, place, (TOP / origin).read_text(encoding="utf-8"))
    for file in [each for each in files if each.src_uri.endswith(".ipynb")]:
        page = file.src_uri.removesuffix(".ipynb")
        text, pictures = notebook_page(file.content_string, posixpath.basename(page))
        _add(files, config, f"{page}.md", text)
        for name, picture in pictures.items():
            _add(files, config, posixpath.join(posixpath.dirname(page), name), picture)
    texts = {each.src_uri: each.content_string for each in files.documentation_pages()}
    texts = {page: texts[page] for page in _ordered(texts, texts["index.md"])}
    lists = _lists(texts)
    _add_linked_files(files, config, texts)
    titled = {page: (title_of(text, page), text) for page, text in texts.items()}
    titled["index.md"] = ("the front page", texts["index.md"])
    made = lists | api_pages(site.api) | command_pages(site.commands, titled)
    for place, text in made.items():
        _add(files, config, place, text)
    config.nav = _navigation([*lists, *texts], site.commands)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page with links to the places that files of the repository have in the site."""
    if page.file.src_uri.startswith(("api/", "commands/")):
        return markdown
    if page.file.src_uri in ("index.md", "gallery/README.md"):
        page.meta["hide"] = ["navigation"]  # which would hold this page alone
    elif page.file.src_uri.startswith("migrate/"):
        page.meta["hide"] = ["toc"]  # code side by side needs the width
    return _built["site"].links.rewritten(markdown, page.file.src_uri)


def on_post_build(config: MkDocsConfig) -> None:
    """Add American spellings to the search, before its index is copied for pages in files."""
    add_spellings(Path(config.site_dir, "search", "search_index.json"))


def _add(files: Files, config: MkDocsConfig, place: str, content: str | bytes) -> None:
    files.append(File.generated(config, place, content=content))


def _add_linked_files(files: Files, config: MkDocsConfig, texts: dict[str, str]) -> None:
    """Add the files that pages link to and that are outside samples/."""
    links = _built["site"].links
    for page, text in texts.items():
        for path in links.targets(text, links.origin_of(page)):
            place = links.place_of(path)
            if (TOP / path).is_file() and files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(TOP / path)))


def _lists(texts: dict[str, str]) -> dict[str, str]:
    """Return the lists of pages of the sections without a first page of their own."""
    made = {}
    for folder, title in _SECTIONS.items():
        pages = {page: text for page, text in texts.items() if posixpath.dirname(page) == folder}
        if pages and not {f"{folder}/README.md", f"{folder}/index.md"} & set(pages):
            names = {posixpath.basename(page): text for page, text in pages.items()}
            made[f"{folder}/index.md"] = list_of_pages(title, names)
    return made


def _navigation(pages: list[str], found: list[Command]) -> list[Any]:
    """Return the navigation: of the pages that exist, each once."""
    first = ("README.md", "index.md")  # of a section
    sections: dict[str, list[Any]] = {title: [] for title in _SECTIONS.values()}
    rest = []
    for page in pages:
        folder, name = posixpath.split(page)
        if folder in _SECTIONS:
            part = sections[_SECTIONS[folder]]
            part.insert(0 if name in first else len(part), page)
        elif page != "index.md":
            rest.append(page)
    sections["Commands"] = ["commands/index.md", *(f"commands/{each.words}.md" for each in found)]
    sections["API"] = ["api/index.md", *({name: page_of(name)} for name in PACKAGES)]
    sections["Models"] = sections.pop("Models")
    return ["index.md", *({title: part} for title, part in sections.items() if part),
            {"More": rest}]  # fmt: skip


def _ordered(pages: Iterable[str], front: str) -> list[str]:
    """Return pages in the order in which the front page links to them last, then by name."""
    links = _built["site"].links
    linked = [links.place_of(path) for path in links.targets(front, "README.md")]
    order = {page: number for number, page in enumerate(linked)}
    return sorted(pages, key=lambda page: (order.get(page, len(linked)), page))
