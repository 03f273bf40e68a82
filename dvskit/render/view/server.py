"""A local web page that shows recordings at an adaptive level of detail.

It changes no file: dropped files go to its own temporary folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from dvskit._checks import check_whole
from dvskit.errors import ConfigError
from dvskit.formats.table import TABLE
from dvskit.render.page import assemble
from dvskit.render.serving import LocalServer, answering, in_thread, save_body
from dvskit.render.view.viewed import MOST_EVENTS, Inbox, Viewed

_FIRST_WAIT_S = 1.0  # so that small recordings load with the page
FORMATS = ("evt3", "aedat4", "hdf5", "es", "csv", "npz")  # formats for downloads
_Query = Mapping[str, str]


class ViewServer(LocalServer):
    """Serves a page of recordings while its context is open.

    Raises OutputError if the port is not available.
    """

    def __init__(self, viewed: Sequence[Viewed], *, title: str, port: int = 0) -> None:
        super().__init__(self._routes(), command="view", port=port)
        self.viewed, self.title = list(viewed), title
        self._inbox = Inbox(self.viewed.append)

    def close(self) -> None:
        """Stop serving, reading and emulating; remove dropped files."""
        super().close()
        self._inbox.close()
        for each in self.viewed:
            each.close()

    def _routes(self) -> list[BaseRoute]:
        data, text, chosen = "application/octet-stream", "application/json", self.chosen
        answers: dict[str, tuple[str, Callable[[_Query], bytes]]] = {
            "": ("text/html", lambda query: self.page()),
            "told": (text, lambda query: self.status()),
            "events": (data, lambda query: chosen(query).sample()),
            "decided": (
                text, lambda query: chosen(query).decided(_whole(query, "first", 0, 1 << 40))
            ),
            "pictures": (text, lambda query: chosen(query).picture_times()),
            "picture": (
                "image/webp", lambda query: chosen(query).picture(_whole(query, "at", 0, 1 << 62))
            ),
            "objects": (text, lambda query: chosen(query).objects()),
            "part": (data, self.part),
        }  # fmt: skip
        return [
            *(Route(f"/{name}", answering(*answer)) for name, answer in answers.items()),
            Route("/file", self._file),
            Route("/drop", self._drop, methods=["POST"]),
        ]

    def page(self) -> bytes:
        """Return the page."""
        until = time.monotonic() + _FIRST_WAIT_S
        for each in list(self.viewed):
            each.overview.wait(max(0.0, until - time.monotonic()))
        meta = {
            "title": self.title,
            "clouds": [each.page_meta() for each in self.viewed],
            "served": True,
            "state": "",
            "most": MOST_EVENTS,
            "formats": list(FORMATS),
        }
        text = assemble(meta, label="Cloud of events in x, y and time", data="",
                        scripts=("served", "images"),
                        connect=" 'self'; connect-src 'self'")  # fmt: skip
        return text.encode()

    def status(self) -> bytes:
        """Return the progress of everything."""
        clouds = [each.status() for each in self.viewed]
        return json.dumps({"clouds": clouds, "jobs": list(map(asdict, self._inbox.jobs))}).encode()

    def chosen(self, query: _Query) -> Viewed:
        """Return the recording named in a query. Raises ConfigError."""
        return self.viewed[_whole(query, "cloud", 0, len(self.viewed) - 1)]

    def part(self, query: _Query) -> bytes:
        """Return the events of a part."""
        start = _whole(query, "start", 0, 1 << 62)
        stop = _whole(query, "stop", start, 1 << 62)
        return self.chosen(query).part(start, stop, _region(query))

    def converted(self, query: _Query) -> Path:
        """Return a file of a recording in the format named in a query."""
        name = query.get("format", "")
        if name not in FORMATS:
            raise ConfigError(f"format {name!r} is none of {', '.join(FORMATS)}")
        return self._inbox.converted(self.chosen(query).source(), name, TABLE[name].suffixes[0])

    async def _file(self, request: Request) -> Response:
        query = request.query_params
        path = await in_thread(self.converted, query)
        name = self.chosen(query).name
        stem = "".join(letter for letter in Path(name).stem if letter.isalnum() or letter in "-_ ")
        plain = stem.encode("ascii", "ignore").decode() or "events"
        return _SentOnce(
            path, filename=f"{plain}{path.suffix}", media_type="application/octet-stream"
        )

    async def _drop(self, request: Request) -> Response:
        job, path = self._inbox.expect(request.query_params.get("name", "")[:200] or "file")
        try:
            await save_body(request, path)
        except OSError as error:
            job.state, job.words = "failed", f"could not be saved: {error}"
        else:
            self._inbox.open(job, path)
        return JSONResponse({})


class _SentOnce(FileResponse):
    """A file that is removed after it was sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


def _whole(query: _Query, name: str, least: int, most: int) -> int:
    text = query.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ConfigError(f"{name}={text[:30]!r} is not a whole number")
    check_whole(name, int(text), least, most)
    return int(text)


def _region(query: _Query) -> tuple[int, int, int, int] | None:
    if "region" not in query:
        return None
    parts = query["region"].split(",")
    if len(parts) != 4 or not all(p.isascii() and p.isdecimal() and len(p) < 7 for p in parts):
        raise ConfigError(f"region={query['region'][:40]!r}; LEFT,TOP,RIGHT,BOTTOM is expected")
    left, top, right, bottom = map(int, parts)
    return left, top, right, bottom
