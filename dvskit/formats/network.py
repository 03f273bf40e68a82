"""Events between programs: tcp://[TOKEN@]HOST:PORT and ws://[TOKEN@]HOST:PORT[/PATH].

An output listens, an input connects. The bytes are those of a pipe, in any format that can be
piped; ws:// sends them in binary messages of a WebSocket. An output serves one receiver, the first
that passes the handshake. Without a token it listens on the loopback only.

    tcp, with a token     the receiver sends the token and a newline before anything is sent to it
    tcp, without a token  a peer that speaks first, such as a browser, is refused
    ws                    the receiver requests /PATH?token=TOKEN; pages of other origins are
                          refused: see `web_socket`

The token of an address without one is DVSKIT_TOKEN, or in the private file DVSKIT_TOKEN_FILE: other
users can read the command line.
"""

from __future__ import annotations

import io
import ipaddress
import os
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, cast

from dvskit._files import open_regular
from dvskit.errors import ConfigError, FormatError, OutputError

_HANDSHAKE_S = 5.0  # for a peer to show its token
_ANSWER_S = 20.0  # for an output to answer, which may be busy
_MOST_OF_ADDRESS, _MOST_GUESTS = 32, 128  # peers that show their tokens at the same time
_QUIET_S = 0.2  # a peer without a token must not speak first within this time
_STALL_S = 60.0  # a receiver that takes nothing for longer has ended
_LEAVE_S = 10.0  # for the receiver to take the rest, and to close first
_PROBE_S = 0.02  # for the reset of a peer that has closed
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
        address = cls(found[1], found[3].strip("[]"), int(found[4]), "", place)
        if address.port >= 1 << 16:
            raise ConfigError(f"{address}: port {address.port} is outside 0..65535")
        token, origin = (found[2], address) if found[2] is not None else _token_of_environment()
        if token is not None and not _TOKEN.fullmatch(token):
            raise ConfigError(f"{origin}: a token has 16 to 128 letters, digits, - and _")
        return address._replace(token=token or "")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def _token_of_environment() -> tuple[str | None, str]:
    """Return the token of DVSKIT_TOKEN or of the file DVSKIT_TOKEN_FILE, and its origin.

    Raises ConfigError for a file that is not regular, or that other users can read.
    """
    name = os.environ.get("DVSKIT_TOKEN_FILE")
    if "DVSKIT_TOKEN" in os.environ or name is None:
        return os.environ.get("DVSKIT_TOKEN"), "DVSKIT_TOKEN"
    origin = f"DVSKIT_TOKEN_FILE: {name}"
    try:
        with open_regular(name) as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(
                    f"{origin}: others can read it; chmod 600 {name}, with a new token"
                )
            return file.read(1 << 10).decode(errors="replace").strip(), origin
    except OSError as error:
        raise ConfigError(
            f"{origin}: {error.strerror or error}; name a file with a token"
        ) from error


def is_network(path: str | PathLike[str]) -> bool:
    """Return whether a path is an address that is read and written as a pipe."""
    return re.match(r"(tcp|ws):/", str(path)) is not None


def _keep_alive(connection: socket.socket) -> None:
    """Let the system notice within a minute that the other machine is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _Sending(Protocol):
    """A connection to a sender."""

    def recv_into(self, buffer: memoryview, /) -> int: ...

    def close(self) -> None: ...


class _Receiving(Protocol):
    """A connection to a receiver."""

    def send(self, view: memoryview, /) -> int: ...

    def end(self, patience_s: float) -> None: ...

    def abort(self) -> None: ...


lost_senders: list[str] = []
"""The addresses of senders that were lost, for the exit code of a command."""


class Incoming:
    """The bytes that a sender sends; the first error ends them, and `lost` gets its words.

    notes  on the end, if it may be a loss
    """

    def __init__(self, connection: _Sending, address: NetworkAddress) -> None:
        self.name = str(address)
        self.notes: list[str] = []
        self.lost: Callable[[str], None] = lambda words: self.notes.append(f"lost early: {words}")
        self._connection, self._any = connection, False
        self._may_be_foreign = isinstance(connection, socket.socket) and not address.token

    def readinto(self, buffer: memoryview, /) -> int:
        """Wait for bytes, and put them into `buffer`; return their number, 0 at the end.

        Raises FormatError if there were none at all.
        """
        try:
            count = self._connection.recv_into(buffer)
        except OSError as error:
            count = 0
            if self._any:
                lost_senders.append(self.name)
                self.lost(error.strerror or str(error))
        else:
            if not count and self._any and self._may_be_foreign and self._is_closed():
                self.notes.append(
                    "the sender closed without waiting for its receiver, so it may have been lost; "
                    "ws:// reports this"
                )
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

    def _is_closed(self) -> bool:
        """Return whether a sender that has ended takes nothing any more."""
        connection = cast(socket.socket, self._connection)
        with suppress(OSError):
            connection.send(b"\n")
            time.sleep(_PROBE_S)
            connection.send(b"\n")
            return False
        return True

    def __del__(self) -> None:
        self.close()


def connect(path: str | PathLike[str]) -> Incoming:
    """Connect to an output. Raises ConfigError, and FormatError if nothing listens there."""
    address = NetworkAddress.parse(path)
    if address.scheme == "ws":  # it loads slowly, and others may be waiting to be heard, too
        from dvskit.formats.web_socket import receive_messages
    try:
        connection = socket.create_connection((address.host, address.port), _HANDSHAKE_S)
    except OSError as error:
        words = error.strerror or str(error)
        raise FormatError(f"{address}: {words}; start the program that sends first") from error
    try:
        _keep_alive(connection)
        sender: _Sending = connection
        if address.scheme == "ws":
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
        except OSError as error:
            problem = f"closed the connection ({error.strerror or error})"
            if isinstance(error, TimeoutError):
                problem = f"took nothing for {_STALL_S:.0f} s"
            text = f"{self._address}: the receiver {problem}; start both again"
            raise OutputError(text) from error


class _Plain:
    """A receiver that gets bytes as they are. Whatever ends the process resets the connection."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self.send = peer.send
        self._reset_at_close(True)

    def _reset_at_close(self, reset: bool) -> None:
        self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))

    def end(self, patience_s: float) -> None:
        with self._peer as peer:
            self._reset_at_close(False)
            # Closing with unread bytes of the peer would reset the connection.
            peer.shutdown(socket.SHUT_WR)
            until = time.monotonic() + patience_s
            while (left := until - time.monotonic()) > 0:
                peer.settimeout(left)
                if not peer.recv(_PIECE_BYTES):
                    return

    def abort(self) -> None:
        self._peer.close()


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
                    f"as {drawn}, or the same token in DVSKIT_TOKEN, which other users cannot read"
                )
            self._socket = socket.create_server(place[:2], family=family, backlog=_MOST_GUESTS)
        except OSError as error:
            words = error.strerror or str(error)
            raise OutputError(f"{address}: {words}; choose another port or host") from error
        self.address = address._replace(port=self._socket.getsockname()[1])

    def accept(self) -> Outgoing:
        """Wait for a receiver; stop listening once one has passed the handshake.

        Handshakes go on side by side. Beyond 32 of an address, or 128 in all, the oldest one of the
        address with most of them is refused.
        """
        from multiprocessing.connection import wait  # here because it loads slowly

        guests: list[_Guest] = []  # the oldest first
        self._socket.setblocking(False)
        try:
            with self._socket:
                while True:
                    until = min((guest.until for guest in guests), default=None)
                    left_s = None if until is None else max(0.0, until - time.monotonic())
                    ready = wait([self._socket, *(guest.peer for guest in guests)], left_s)
                    now = time.monotonic()
                    # Guests that have spoken are heard before others take their place.
                    for guest in [g for g in guests if g.peer in ready or g.until <= now]:
                        try:
                            receiver = guest.receiver()
                        except OSError:
                            self._refuse(guests, guest)
                            continue
                        if receiver is not None:
                            guests.remove(guest)
                            return Outgoing(receiver, self.address)
                    if self._socket in ready:
                        self._admit(guests)
        finally:
            while guests:
                self._refuse(guests, guests[0])

    def _admit(self, guests: list[_Guest]) -> None:
        """Take waiting connections, fewer at a time than those of an address have place."""
        for _ in range(_MOST_OF_ADDRESS // 2):
            try:
                peer, place = self._socket.accept()
            except (BlockingIOError, ConnectionError):
                return
            guests.append(_Guest(peer, place[0], self.address))
            ((host, most),) = Counter(guest.host for guest in guests).most_common(1)
            if most > _MOST_OF_ADDRESS or len(guests) > _MOST_GUESTS:
                self._refuse(guests, next(guest for guest in guests if guest.host == host))

    def _refuse(self, guests: list[_Guest], guest: _Guest) -> None:
        guests.remove(guest)
        guest.peer.close()
        self.refused += 1

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


class _Guest:
    """A connection whose handshake goes on, until the time `until` at most."""

    def __init__(self, peer: socket.socket, host: str, address: NetworkAddress) -> None:
        self.peer, self.host = peer, host
        # Takes more bytes. Once all are there it returns what makes the receiver.
        self._take: Callable[[socket.socket, bytes], Callable[[socket.socket], _Receiving] | None]
        self._take = _TokenLine(address.token).take
        if address.scheme == "ws":
            from dvskit.formats.web_socket import RequestForMessages

            self._take = RequestForMessages(address.path, address.token).take
        self._quiet = address.scheme == "tcp" and not address.token
        self.until = time.monotonic() + (_QUIET_S if self._quiet else _HANDSHAKE_S)
        peer.setblocking(False)

    def receiver(self) -> _Receiving | None:
        """Take what has come; return the receiver once it has passed. Raises OSError to refuse."""
        passed: Callable[[socket.socket], _Receiving] | None = _Plain
        try:
            data = self.peer.recv(_PIECE_BYTES)
        except BlockingIOError:  # its time is over
            if not self._quiet:
                raise
        else:
            # Without a token, receivers stay silent; browsers speak first.
            if not data or self._quiet:
                raise PermissionError
            passed = self._take(self.peer, data)
        if passed is None:
            return None
        self.peer.settimeout(_STALL_S)
        _keep_alive(self.peer)
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return passed(self.peer)


class _TokenLine:
    """The handshake of tcp://: a line with the token."""

    def __init__(self, token: str) -> None:
        self._expected, self._shown = f"{token}\n".encode(), b""

    def take(self, peer: socket.socket, data: bytes) -> type[_Plain] | None:
        from secrets import compare_digest  # here because it loads hashlib

        self._shown += data[: len(self._expected)]
        if len(self._shown) < len(self._expected) and b"\n" not in self._shown:
            return None
        if not compare_digest(self._shown[: len(self._expected)], self._expected):
            raise PermissionError
        return _Plain
