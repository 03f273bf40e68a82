"""The one web server: pages and web sockets for this machine alone, by uvicorn and Starlette."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from dvskit.errors import DvskitError, OutputError, one_line

_HOST = "127.0.0.1"
_PATIENCE_S = 1  # for answers in progress, when a server is closed
_MESSAGE_BYTES = 1 << 22  # of a message in a web socket
_PIECE_BYTES = 1 << 20
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
Result = TypeVar("Result")


class LocalServer:
    """Answers requests while its context is open, in a thread.

    It listens on the loopback address, answers only addresses that begin with a random token, and
    only for that host name and its own pages (so that no other site can reach it by a name that
    resolves to it). DvskitError and OSError are answered with their line and status 400.

    A page that lost its server can ask /proof?TEXT, without the token, whether another program has
    taken the port: the answer is the HMAC-SHA-256 of the text with the token as key, in hex.

    command  the part of dvskit that prints its address
    token    one that an earlier server had; "" draws one
    Raises OutputError if the port is not available.
    """

    def __init__(
        self, routes: Sequence[BaseRoute], *, command: str, port: int = 0, token: str = ""
    ) -> None:
        try:
            self._socket = socket.create_server((_HOST, port))
        except OSError as error:
            raise OutputError(
                f"port {port} of {_HOST} is not available: {error}; try 0 as port="
            ) from error
        # asyncio does so only for sockets that name their protocol; else answers wait 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.token = token or secrets.token_urlsafe(18)
        app = Starlette(routes=routes, exception_handlers={DvskitError: _bad, OSError: _bad})
        self.port: int = self._socket.getsockname()[1]
        self.host = f"{_HOST}:{self.port}"
        guard = _Guard(app, self.token, (self.host, f"localhost:{self.port}"), command)
        self._server = uvicorn.Server(
            uvicorn.Config(
                guard, loop="asyncio", http="h11", ws="websockets-sansio", lifespan="off",
                log_config=None, log_level="critical", access_log=False, server_header=False,
                proxy_headers=False, ws_max_size=_MESSAGE_BYTES, ws_per_message_deflate=False,
                timeout_graceful_shutdown=_PATIENCE_S,
            )
        )  # fmt: skip
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), daemon=True
        )

    @property
    def url(self) -> str:
        """Return the address of the page, with its token."""
        return f"http://{self.host}/{self.token}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


class _Guard:
    """Passes on what begins with the token and comes from this machine's own pages."""

    def __init__(self, app: ASGIApp, token: str, hosts: tuple[str, str], command: str) -> None:
        self._app, self._token, self._hosts = app, token.encode(), hosts
        self._refusal = PlainTextResponse(
            f"this address lacks its token; open the address that dvskit {command} printed", 403
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = {name.decode("latin-1") for name, _ in message["headers"]}
                message["headers"] += [
                    (name.encode(), value.encode())
                    for name, value in _HEADERS.items()
                    if name not in named
                ]
            await send(message)

        secret, _, rest = scope["path"][1:].partition("/")
        if secrets.compare_digest(secret.encode(), self._token) and self._is_own(scope):
            await self._app({**scope, "path": f"/{rest}"}, receive, send_guarded)
        elif (scope["type"], scope["path"]) == ("http", "/proof") and self._is_own(scope):
            proof = hmac.digest(self._token, scope["query_string"], "sha256").hex()
            await PlainTextResponse(proof)(scope, receive, send_guarded)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            await self._refusal(scope, receive, send_guarded)

    def _is_own(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        return host in self._hosts and headers.get("origin", f"http://{host}") == f"http://{host}"


def _bad(request: Request, error: Exception) -> Response:
    return PlainTextResponse(one_line(error), 400)


def answering(
    kind: str, answer: Callable[[QueryParams], bytes]
) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that calls `answer` with the query, in a thread."""

    async def endpoint(request: Request) -> Response:
        return _InPieces(await in_thread(answer, request.query_params), media_type=kind)

    return endpoint


class _InPieces(Response):
    """An answer of which the connection holds a copy of one piece at a time."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        for start in range(0, len(self.body), _PIECE_BYTES):
            data = bytes(self.body[start : start + _PIECE_BYTES])
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body"})


async def in_thread(work: Callable[..., Result], *arguments: Any) -> Result:
    """Return the result of a function that may take long.

    Its thread does not delay the end of the program, unlike those of asyncio and AnyIO.
    """
    # asyncio.wrap_future would keep the result until Python collects cycles.
    loop, ended, found = asyncio.get_running_loop(), asyncio.Event(), Future[Result]()

    def run() -> None:
        try:
            found.set_result(work(*arguments))
        except BaseException as error:
            found.set_exception(error)
        with suppress(RuntimeError):  # the server was closed meanwhile
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=run, daemon=True).start()
    await ended.wait()
    return found.result()


async def save_body(request: Request, path: Path) -> None:
    """Write the content of a request into a file. Raises OSError, also if it breaks off."""
    with path.open("wb") as file:
        try:
            async for data in request.stream():
                await in_thread(file.write, data)
        except ClientDisconnect:
            raise OSError("the transfer broke off") from None
