"""Events between programs: tcp://[TOKEN@]HOST:PORT and ws://[TOKEN@]HOST:PORT[/PATH].

An output listens, an input connects. The bytes are those of a pipe, in any format that can be
piped; ws:// sends them in binary messages of a WebSocket. An output serves one receiver, the first
that passes the handshake. Without a token it listens on the loopback only.

    tcp, with a token     the receiver sends the token and a newline before anything is sent to it
    tcp, without a token  a peer that speaks first, such as a browser, is refused
    ws                    the receiver requests /PATH?token=TOKEN; pages of other origins are
                          refused: see `web_socket`
"""

from __future__ import annotations

import io
import ipaddress
import re
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from dvskit.errors import ConfigError, FormatError, OutputError

_HANDSHAKE_S = 5.0  # for a peer to show its token
_ANSWER_S = 20.0  # for an output to answer, behind other peers
_QUIET_S = 0.2  # a peer without a token must not speak first within this time
_STALL_S = 60.0  # a receiver that takes nothing for longer has ended
_LEAVE_S = 1.0  # for the receiver to close first
_PIECE_BYTES = 1 << 16  # sent at once
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


class LiveAddress(type(Path())):  # type: ignore[misc]
    """An address in place of a path: it keeps both slashes when shown."""

    def __str__(self) -> str:
        return re.sub(r"^([a-z]+):/+", r"\1://", super().__str__())


class NetworkAddress(NamedTuple):
    """The parts of an address; as text it is without its token."""

    scheme: str
    host: str
    port: int
    token: str
    path: str = ""

    @classmethod
    def parse(cls, path: str | PathLike[str]) -> Self:
        """Return the parts of an address. Raises ConfigError, which hides the token."""
        # A Path merges repeated slashes.
        found = re.fullmatch(
            r"(tcp|ws):/{1,2}(?:([^@]*)@)?(\[.+\]|[^:/@\[\]]+):(\d{1,9})(/[\w.~/-]*)?", str(path)
        )
        place = "" if found is None else (found[5] or "").rstrip("/")
        if found is None or (place and found[1] == "tcp"):
            shown = re.sub(r":/+(.*@)?", "://", str(path))
            scheme = shown.partition(":")[0]
            more = "/PATH" if scheme == "ws" else ""
            raise ConfigError(
                f"{shown}: is not {scheme}://HOST:PORT{more} or {scheme}://TOKEN@HOST:PORT{more}"
            )
        address = cls(found[1], found[3].strip("[]"), int(found[4]), found[2] or "", place)
        if address.port >= 1 << 16:
            raise ConfigError(f"{address}: port {address.port} is outside 0..65535")
        if found[2] is not None and not _TOKEN.fullmatch(address.token):
            raise ConfigError(f"{address}: a token has 16 to 128 letters, digits, - and _")
        return address

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def is_network(path: str | PathLike[str]) -> bool:
    """Return whether a path is an address that is read and written as a pipe."""
    return re.match(r"(tcp|ws):/", str(path)) is not None


class _Sending(Protocol):
    """A connection to a sender."""

    def recv_into(self, buffer: memoryview, /) -> int: ...

    def close(self) -> None: ...


class _Receiving(Protocol):
    """A connection to a receiver."""

    def send(self, view: memoryview, /) -> int: ...

    def end(self, patience_s: float) -> None: ...

    def abort(self) -> None: ...


class Incoming:
    """The bytes that a sender sends; the first error ends them, and `lost` gets its words."""

    def __init__(self, connection: _Sending, address: NetworkAddress) -> None:
        self.name = str(address)
        self.lost: Callable[[str], None] = lambda words: None
        self._connection, self._any = connection, False

    def readinto(self, buffer: memoryview, /) -> int:
        """Wait for bytes, and put them into `buffer`; return their number, 0 at the end.

        Raises FormatError if there were none at all.
        """
        try:
            count = self._connection.recv_into(buffer)
        except OSError as error:
            count = 0
            if self._any:
                self.lost(error.strerror or str(error))
        if not count:
            self._connection.close()
            if not self._any:
                raise FormatError(
                    f"{self.name}: closed without events; is its token right, and has it no other "
                    "receiver?"
                )
        self._any = True
        return count

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __del__(self) -> None:
        self.close()


def connect(path: str | PathLike[str]) -> Incoming:
    """Connect to an output. Raises ConfigError, and FormatError if nothing listens there."""
    address = NetworkAddress.parse(path)
    try:
        connection = socket.create_connection((address.host, address.port), _HANDSHAKE_S)
    except OSError as error:
        words = error.strerror or str(error)
        raise FormatError(f"{address}: {words}; start the program that sends first") from error
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sender: _Sending = connection
        if address.scheme == "ws":
            from dvskit.formats.web_socket import receive_messages

            sender = receive_messages(connection, str(address), address.token, _ANSWER_S)
        elif address.token:
            with suppress(OSError):  # closed already, which reading reports
                connection.sendall(f"{address.token}\n".encode())
        connection.settimeout(None)
    except BaseException:
        connection.close()
        raise
    return Incoming(sender, address)


class Outgoing(io.RawIOBase):
    """A file that is written to one receiver; it waits while the receiver is slower.

    Raises OutputError if the receiver closes, or takes nothing for a minute.
    """

    def __init__(self, peer: _Receiving, address: NetworkAddress) -> None:
        self._peer, self._address = peer, address

    def write(self, data: Any) -> int:
        """Send bytes, all of them; return their number."""
        view = memoryview(bytes(data))
        for at in range(0, len(view), _PIECE_BYTES):
            self._send(view[at : at + _PIECE_BYTES])
        return len(view)

    def close(self) -> None:
        """Send the end, and wait shortly until the receiver has closed."""
        if self.closed:
            return
        super().close()
        with suppress(OSError):
            self._peer.end(_LEAVE_S)

    def abort(self) -> None:
        """Break the connection, so that the receiver does not take it for the end."""
        super().close()
        self._peer.abort()

    def _send(self, view: memoryview) -> None:
        try:
            while len(view):
                view = view[self._peer.send(view) :]
        except TimeoutError as error:
            problem = f"the receiver took nothing for {_STALL_S:.0f} s"
            raise OutputError(f"{self._address}: {problem}; start both again") from error
        except OSError as error:
            problem = f"the receiver closed the connection ({error.strerror or error})"
            raise OutputError(f"{self._address}: {problem}; start both again") from error


class _Plain:
    """A receiver that gets bytes as they are."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self.send = peer.send

    def end(self, patience_s: float) -> None:
        with self._peer as peer:
            # Closing with unread bytes of the peer would reset the connection.
            peer.shutdown(socket.SHUT_WR)
            until = time.monotonic() + patience_s
            while (left := until - time.monotonic()) > 0:
                peer.settimeout(left)
                if not peer.recv(_PIECE_BYTES):
                    return

    def abort(self) -> None:
        with self._peer as peer, suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Listening:
    """A port that waits for one receiver.

    address  with the port that was taken, if 0 was given
    refused  the number of peers that did not pass the handshake
    Raises ConfigError for a malformed address, and without a token beyond the loopback; OutputError
    if the port cannot be taken.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        import secrets  # here because it loads hashlib

        self.address = address = NetworkAddress.parse(path)
        self.refused = 0
        try:
            family, *_, place = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM
            )[0]
            inside = ipaddress.ip_address(str(place[0]).partition("%")[0]).is_loopback
            if not (inside or address.token):
                drawn = str(address).replace("://", f"://{secrets.token_urlsafe(18)}@")
                raise ConfigError(
                    f"{address}: is open to other machines and needs a token, on both sides; such "
                    f"as {drawn}"
                )
            self._socket = socket.create_server(place[:2], family=family)
        except OSError as error:
            words = error.strerror or str(error)
            raise OutputError(f"{address}: {words}; choose another port or host") from error
        self.address = address._replace(port=self._socket.getsockname()[1])

    def accept(self) -> Outgoing:
        """Wait for a receiver; stop listening once one has passed the handshake."""
        with self._socket:
            while True:
                peer, _ = self._socket.accept()
                try:
                    receiver = _admit(peer, self.address)
                except OSError:
                    receiver = None
                except BaseException:
                    peer.close()
                    raise
                if receiver is not None:
                    return Outgoing(receiver, self.address)
                peer.close()
                self.refused += 1

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def _admit(peer: socket.socket, address: NetworkAddress) -> _Receiving | None:
    """Return the receiver behind a connection; None if it is refused. Raises OSError."""
    receiver: _Receiving | None
    if address.scheme == "ws":
        from dvskit.formats.web_socket import send_messages

        receiver = send_messages(peer, address.path, address.token, _HANDSHAKE_S)
    else:
        receiver = _Plain(peer) if _is_admitted(peer, address.token) else None
    peer.settimeout(_STALL_S)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return receiver


def _is_admitted(peer: socket.socket, token: str) -> bool:
    """Return whether a peer passes the handshake of tcp://. Raises OSError."""
    if not token:
        # A request of a browser, a token that nobody asked for, or a closed peer.
        return not select.select([peer], [], [], _QUIET_S)[0]
    from secrets import compare_digest  # here because it loads hashlib

    expected = f"{token}\n".encode()
    shown, until = b"", time.monotonic() + _HANDSHAKE_S
    while len(shown) < len(expected) and not shown.endswith(b"\n"):
        more = _receive_until(peer, until, len(expected) - len(shown))
        if not more:
            return False
        shown += more
    return compare_digest(shown, expected)


def _receive_until(peer: socket.socket, until: float, most: int) -> bytes:
    """Return up to `most` bytes of a peer; b"" at its end. Raises OSError after `until`."""
    peer.settimeout(max(until - time.monotonic(), 0.001))
    return peer.recv(most)
