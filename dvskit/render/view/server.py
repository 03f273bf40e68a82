"""A local web page that shows recordings at an adaptive level of detail.

It listens on the loopback address, answers only addresses that contain a random secret, and only
for that host name (so that no other site can reach it by a name that resolves to it). It changes no
file: dropped files go to its own temporary folder.
"""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dvskit.errors import ConfigError, DvskitError, OutputError, one_line
from dvskit.formats.table import TABLE
from dvskit.render.page import assemble
from dvskit.render.view.viewed import MOST_EVENTS, Inbox, Viewed

_FIRST_WAIT_S = 1.0  # so that small recordings load with the page
_HOST = "127.0.0.1"
FORMATS = ("evt3", "aedat4", "hdf5", "es", "csv", "npz")  # formats for downloads
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class ViewServer:
    """Serves a page of recordings until it is closed. Use it as a context manager.

    Raises OutputError if the port is not available.
    """

    def __init__(self, viewed: Sequence[Viewed], *, title: str, port: int = 0) -> None:
        self.viewed, self.title = list(viewed), title
        self._token = secrets.token_urlsafe(18)
        self._inbox = Inbox(self.viewed.append)
        try:
            self._server = _Server((_HOST, port), self)
        except OSError as error:
            self._inbox.close()
            raise OutputError(
                f"port {port} of {_HOST} is not available: {error}; try --port 0"
            ) from (error)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        """The address and port it listens at."""
        return f"{_HOST}:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Return the address of the page, with its token."""
        return f"http://{self.host}/{self._token}/"

    def __enter__(self) -> ViewServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving, reading and emulating; remove dropped files."""
        self._server.shutdown()
        self._server.server_close()
        self._inbox.close()
        for each in self.viewed:
            each.close()

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

    def chosen(self, query: dict[str, str]) -> Viewed:
        """Return the recording named in a query. Raises ConfigError."""
        return self.viewed[_whole(query, "cloud", 0, len(self.viewed) - 1)]

    def part(self, query: dict[str, str]) -> bytes:
        """Return the events of a part."""
        start = _whole(query, "start", 0, 1 << 62)
        stop = _whole(query, "stop", start, 1 << 62)
        return self.chosen(query).part(start, stop, _region(query))

    def converted(self, query: dict[str, str]) -> Path:
        """Return a file of a recording in the format named in a query."""
        name = query.get("format", "")
        if name not in FORMATS:
            raise ConfigError(f"format {name!r} is none of {', '.join(FORMATS)}")
        return self._inbox.converted(self.chosen(query).source(), name, TABLE[name].suffixes[0])

    def take(self, query: dict[str, str], stream: Any, length: int) -> None:
        """Take a dropped file."""
        self._inbox.take(query.get("name", "")[:200] or "file", stream, length)

    def allows(self, path: str, host: str) -> bool:
        """Return whether an address contains the token and names this machine as its host."""
        known = (self.host, self.host.replace(_HOST, "localhost"))
        secret = f"{path}/".split("/")[1]
        return secrets.compare_digest(secret.encode(), self._token.encode()) and host in known


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], view: ViewServer) -> None:
        self.view = view
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore disconnected browsers."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "dvskit", ""

    def do_GET(self) -> None:
        """Answer with the page or a part of it."""
        view, (name, query) = self.server.view, self._asked()
        if name is None:
            return
        answers: dict[str, tuple[str, Callable[[], bytes]]] = {
            "": ("text/html; charset=utf-8", view.page),
            "told": ("application/json", view.status),
            "events": ("application/octet-stream", lambda: view.chosen(query).sample()),
            "decided": (
                "application/json",
                lambda: view.chosen(query).decided(_whole(query, "first", 0, 1 << 40)),
            ),
            "pictures": ("application/json", lambda: view.chosen(query).picture_times()),
            "picture": (
                "image/webp",
                lambda: view.chosen(query).picture(_whole(query, "at", 0, 1 << 62)),
            ),
            "objects": ("application/json", lambda: view.chosen(query).objects()),
            "part": ("application/octet-stream", lambda: view.part(query)),
        }
        try:
            if name in answers:
                kind, answer = answers[name]
                self._send(kind, answer())
            elif name == "file":
                self._send_file(view.converted(query), view.chosen(query).name)
            else:
                self._refuse(HTTPStatus.NOT_FOUND, "not found")
        except (DvskitError, OSError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, one_line(error))

    def do_POST(self) -> None:
        """Take a file."""
        name, query = self._asked()
        if name is None:
            return
        length = self.headers.get("Content-Length", "")
        if name != "drop" or not (length.isascii() and length.isdecimal()):
            self._refuse(HTTPStatus.BAD_REQUEST, "send a file with its length to drop")
            return
        self.server.view.take(query, self.rfile, int(length))
        self._send("application/json", b"{}")

    def _asked(self) -> tuple[str | None, dict[str, str]]:
        """Return the part of an address after the token; None after a refusal."""
        address = urlsplit(self.path)
        if not self.server.view.allows(address.path, self.headers.get("Host", "")):
            self._refuse(
                HTTPStatus.FORBIDDEN,
                "this address lacks the view's token; open the address that dvskit view printed",
            )
            return None, {}
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        return address.path.split("/", 2)[-1] if address.path.count("/") > 1 else "", query

    def _send(self, kind: str, body: bytes, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._begin(status, {"Content-Type": kind, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _send_file(self, path: Path, name: str) -> None:
        stem = "".join(letter for letter in Path(name).stem if letter.isalnum() or letter in "-_ ")
        plain = stem.encode("ascii", "ignore").decode() or "events"
        with path.open("rb") as file:
            self._begin(
                HTTPStatus.OK,
                {
                    "Content-Disposition": f'attachment; filename="{plain}{path.suffix}"',
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(path.stat().st_size),
                },
            )
            shutil.copyfileobj(file, self.wfile)
        path.unlink()

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True
        self._send("text/plain; charset=utf-8", text.encode(), status)

    def _begin(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | _HEADERS).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log."""


def _whole(query: dict[str, str], name: str, least: int, most: int) -> int:
    text = query.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ConfigError(f"{name}={text[:30]!r} is not a whole number")
    if not least <= int(text) <= most:
        raise ConfigError(f"{name}={text} is outside {least}..{most}")
    return int(text)


def _region(query: dict[str, str]) -> tuple[int, int, int, int] | None:
    if "region" not in query:
        return None
    parts = query["region"].split(",")
    if len(parts) != 4 or not all(p.isascii() and p.isdecimal() and len(p) < 7 for p in parts):
        raise ConfigError(f"region={query['region'][:40]!r}; LEFT,TOP,RIGHT,BOTTOM is expected")
    left, top, right, bottom = map(int, parts)
    return left, top, right, bottom
