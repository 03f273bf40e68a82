"""Bytes in the messages of a WebSocket (RFC 6455), by the protocol classes of `websockets`."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from secrets import compare_digest
from urllib.parse import parse_qs

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from dvskit.errors import FormatError

_MESSAGE_BYTES = 1 << 24  # the longest that is received
_RECEIVED_BYTES = 1 << 16
_REQUEST_BYTES = 1 << 14  # of a receiver, with its cookies
_COMPLETE = (1000, 1001, 1005)  # close codes of a sender that has ended; 1006 is none at all
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|\[::1\]")


class ReceivedMessages:
    """The bytes of messages, read as from a socket: the part of its interface that is used."""

    def __init__(self, connection: socket.socket, protocol: ClientProtocol) -> None:
        self._connection, self._protocol = connection, protocol
        self._rest = bytearray()
        self._take()

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes; return their number, 0 after a close. Raises OSError without one."""
        while not self._rest:
            if self._protocol.state is not State.OPEN:
                if (code := _close_code(self._protocol)) not in _COMPLETE:
                    raise OSError(f"close code {code}")
                return 0
            _receive(self._connection, self._protocol)
            self._take()
        count = min(len(self._rest), len(buffer))
        buffer[:count] = self._rest[:count]
        del self._rest[:count]
        return count

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _take(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in (
                Opcode.BINARY,
                Opcode.TEXT,
                Opcode.CONT,
            ):
                self._rest += event.data


class SentMessages:
    """Bytes sent in binary messages; a thread answers the receiver meanwhile."""

    def __init__(self, peer: socket.socket, protocol: ServerProtocol) -> None:
        self._peer, self._protocol = peer, protocol
        self._sending = threading.Lock()
        self._answering = threading.Thread(target=self._answer, daemon=True)
        self._answering.start()

    def send(self, view: memoryview) -> int:
        """Send a message; return its number of bytes. Raises OSError."""
        with self._sending:
            if self._protocol.state is not State.OPEN:
                raise ConnectionError(f"close code {_close_code(self._protocol)}")
            self._protocol.send_binary(bytes(view))
            _flush(self._peer, self._protocol)
        return len(view)

    def end(self, patience_s: float) -> None:
        """Send the end, wait for the receiver to close, and close. Raises OSError."""
        with self._sending:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(1000)
                _flush(self._peer, self._protocol)
        self._answering.join(patience_s)
        self.abort()

    def abort(self) -> None:
        """Close without an end, which the receiver sees as close code 1006."""
        with self._peer, suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)  # ends the thread's waiting

    def _answer(self) -> None:
        """Answer pings and a close, until the receiver is gone."""
        data = b" "
        with suppress(OSError):
            while data:
                try:
                    data = self._peer.recv(_RECEIVED_BYTES)
                except TimeoutError:  # of sending
                    continue
                with self._sending:
                    _received(self._protocol, data)
                    self._protocol.events_received()  # messages of a receiver have no meaning
                    _flush(self._peer, self._protocol)
        with suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)  # an answer may be there in part


def receive_messages(
    connection: socket.socket, address: str, token: str, patience_s: float
) -> ReceivedMessages:
    """Shake hands with the output at an address. Raises FormatError if it does not answer so."""
    query = f"?token={token}" if token else ""
    protocol = ClientProtocol(parse_uri(address + query), max_size=_MESSAGE_BYTES)
    protocol.send_request(protocol.connect())
    until = time.monotonic() + patience_s
    with suppress(OSError):
        _flush(connection, protocol)
        while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            connection.settimeout(max(until - time.monotonic(), 0.001))
            _receive(connection, protocol)
    if isinstance(protocol.handshake_exc, InvalidStatus):
        status = protocol.handshake_exc.response.status_code
        raise FormatError(
            f"{address}: refused the connection (HTTP {status}); are its token and path right?"
        )
    if protocol.state is State.CONNECTING or protocol.handshake_exc is not None:
        raise FormatError(f"{address}: does not answer as a WebSocket; is it a tcp:// output?")
    return ReceivedMessages(connection, protocol)


class RequestForMessages:
    """The handshake of a receiver: its request as it comes, with a path and a token."""

    def __init__(self, path: str, token: str) -> None:
        self._path, self._token, self._bytes = path, token, 0
        self._protocol = ServerProtocol(max_size=_RECEIVED_BYTES)

    def take(
        self, peer: socket.socket, data: bytes
    ) -> Callable[[socket.socket], SentMessages] | None:
        """Take more of the request; once complete, return what makes its receiver.

        Raises OSError to refuse it.
        """
        self._bytes += len(data)
        self._protocol.receive_data(data)
        requests = self._protocol.events_received()
        if not requests:
            if self._bytes > _REQUEST_BYTES or self._protocol.handshake_exc is not None:
                raise PermissionError
            return None
        request = requests[0]
        assert isinstance(request, Request)
        response = _refusal(self._protocol, request, self._path, self._token)
        response = response or self._protocol.accept(request)
        self._protocol.send_response(response)
        _flush(peer, self._protocol)
        if response.status_code != 101:
            raise PermissionError
        return lambda peer: SentMessages(peer, self._protocol)


def _refusal(protocol: ServerProtocol, request: Request, path: str, token: str) -> Response | None:
    asked, _, query = request.path.partition("?")
    shown = "".join(parse_qs(query).get("token", []))
    if not compare_digest(shown.encode(), token.encode()):
        return protocol.reject(403, "wrong token\n")
    if asked.rstrip("/") != path:
        return protocol.reject(404, "no such path\n")
    if not all(_may_read(page, request, token) for page in request.headers.get_all("Origin")):
        return protocol.reject(403, "pages of this origin may not read events\n")
    return None


def _may_read(origin: str, request: Request, token: str) -> bool:
    """Return whether a page may read: of the loopback, or with a token of the output's host.

    Without a token any site could name a host of its own that resolves to the loopback.
    """
    page = re.fullmatch(r"https?://(\[[^\]]+\]|[^:/]+)(:\d+)?", origin)
    if page is None:
        return False  # a file, or a sandboxed page of any site
    hosts = [host.rpartition(":")[0] for host in request.headers.get_all("Host")]
    return _LOOPBACK.fullmatch(page[1]) is not None or (token != "" and hosts == [page[1]])


def _close_code(protocol: Protocol) -> int:
    """Return the code in the close frame of the other side; 1006 without one (RFC 6455, 7.1.5)."""
    return 1006 if protocol.close_rcvd is None else protocol.close_rcvd.code


def _receive(connection: socket.socket, protocol: Protocol) -> bool:
    """Wait for bytes, and answer them; return whether there were any. Raises OSError."""
    data = connection.recv(_RECEIVED_BYTES)
    _received(protocol, data)
    with suppress(BrokenPipeError):  # what has come can be read nevertheless
        _flush(connection, protocol)
    return data != b""


def _received(protocol: Protocol, data: bytes) -> None:
    if data:
        protocol.receive_data(data)
    else:
        protocol.receive_eof()


def _flush(connection: socket.socket, protocol: Protocol) -> None:
    for data in protocol.data_to_send():
        if not data:
            connection.shutdown(socket.SHUT_WR)
        view = memoryview(data)
        while len(view):  # sendall would limit the time of the whole
            view = view[connection.send(view) :]
