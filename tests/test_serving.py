"""The web server of pages: hostile requests, web sockets, slow clients, its end."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from dvskit.errors import ConfigError
from dvskit.render.serving import LocalServer, answering, save_body
from tests.processes import wait_until


async def echo(link):
    await link.accept()
    async for data in link.iter_bytes():
        await link.send_bytes(data[::-1])


@pytest.fixture
def served(tmp_path):
    """A server of short, long, wrong and slow answers; `problems` are those of transfers."""
    going, problems = threading.Event(), []

    def wrong(query):
        raise ConfigError(f"a={query['a']} is wrong")

    async def take(request):
        try:
            await save_body(request, tmp_path / "taken")
        except OSError as error:
            problems.append(str(error))
            raise
        return JSONResponse({})

    routes = [
        Route("/", answering("text/html", lambda query: b"<p>here</p>")),
        Route("/big", answering("text/plain", lambda query: bytes(50_000_000))),
        Route("/bad", answering("text/plain", wrong)),
        Route("/broken", answering("text/plain", lambda query: b"%d" % (1 // 0))),
        Route("/blocked", answering("text/plain", lambda query: b"%d" % going.wait(60))),
        Route("/take", take, methods=["POST"]),
        WebSocketRoute("/echo", echo),
    ]
    with LocalServer(routes, command="view") as server:
        server.problems = problems
        yield server
        going.set()


def ask(served, path, *, method="GET", **headers):
    with closing(http.client.HTTPConnection(served.host, timeout=20)) as link:
        link.request(method, urlsplit(served.url).path + path, headers=headers)
        answer = link.getresponse()
        return answer.status, answer.read(), answer.headers


def raw(served, text):
    link = socket.create_connection(served.host.split(":"), timeout=20)
    link.sendall(text.replace("TOKEN/", urlsplit(served.url).path[1:]).encode("latin-1"))
    return link


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("", 200, b"<p>here</p>"),
        ("bad?a=3", 400, b"a=3 is wrong"),
        ("broken", 500, b"Internal Server Error"),  # without its traceback
        ("nowhere", 404, b"Not Found"),
    ],
)
def test_every_answer_forbids_storing_framing_and_guessing(served, path, status, body):
    found, answer, headers = ask(served, path)
    assert (found, answer) == (status, body)
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Server"] is None


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1"])
def test_pages_of_other_sites_are_refused(served, origin):
    assert ask(served, "", Origin=origin)[0] == 403
    assert ask(served, "", Origin=f"http://{served.host}")[0] == 200
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"{served.url.replace('http', 'ws')}echo", origin=origin)


def test_a_web_socket_needs_the_token(served):
    with connect(f"{served.url.replace('http', 'ws')}echo") as link:
        link.send(b"abc")
        assert link.recv() == b"cba"
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://{served.host}/wrong/echo")


@pytest.mark.parametrize(
    "request_text",
    [
        "\x00\xff\x16\x03\r\n\r\n",
        "GET /TOKEN/ HTTP/9.9\r\n\r\n",
        "GET /TOKEN/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST /TOKEN/take HTTP/1.1\r\nHost: HOST\r\nContent-Length: -5\r\n\r\n",
        "GET /TOKEN/ HTTP/1.1\r\nX: " + "x" * 200_000 + "\r\n\r\n",
        "GET /%00%ff/../TOKEN HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ],
    ids=["no http", "no version", "two hosts", "negative length", "long header", "odd path"],
)
def test_malformed_requests_are_refused_and_the_next_is_answered(served, request_text):
    with raw(served, request_text.replace("HOST", served.host)) as link:
        try:
            found = link.recv(1000)
        except ConnectionResetError:  # an answer that is lost behind the rest of the request
            found = b"HTTP/1.1 4"
    assert found.startswith(b"HTTP/1.1 4")
    assert ask(served, "")[0] == 200


def test_slow_clients_and_long_answers_delay_nobody(served):
    slow = [raw(served, f"GET /TOKEN/big HTTP/1.1\r\nHost: {served.host}\r\n\r\n")]
    slow += [raw(served, "GET /TOKEN/ HT") for _ in range(60)]
    slow += [
        raw(served, f"GET /TOKEN/blocked HTTP/1.1\r\nHost: {served.host}\r\n\r\n")
        for _ in range(60)
    ]
    began = time.monotonic()
    assert ask(served, "")[0] == 200
    assert time.monotonic() - began < 5
    for link in slow:
        link.close()


def test_a_transfer_that_breaks_off_is_an_error(served):
    text = f"POST /TOKEN/take HTTP/1.1\r\nHost: {served.host}\r\nContent-Length: 100\r\n\r\nabc"
    raw(served, text).close()
    wait_until(lambda: bool(served.problems), 20)
    assert served.problems


@pytest.mark.slow
def test_closing_waits_neither_for_answers_nor_for_web_sockets(served):
    link = raw(served, f"GET /TOKEN/blocked HTTP/1.1\r\nHost: {served.host}\r\n\r\n")
    with connect(f"{served.url.replace('http', 'ws')}echo"):
        began = time.monotonic()
        served.close()
        assert time.monotonic() - began < 10
    link.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(served.host.split(":"), timeout=5)
