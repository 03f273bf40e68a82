"""Events in messages of a WebSocket: handshakes, origins of pages, and how a stream ends."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from websockets.sync.client import connect
from websockets.utils import accept_key

import dvskit
from dvskit.errors import FormatError, OutputError
from dvskit.formats import network
from tests.laws import refused
from tests.test_tcp import TOKEN, Sender, blocks_until, served
from tests.test_udp import make

PLAIN, LOCKED = "ws://127.0.0.1:0", f"ws://{TOKEN}@127.0.0.1:0/camera"


def request_of(sender, **rest):
    """Connect as another program would; `token` and `path` are those of the request."""
    address = sender.address + (f"?token={rest.pop('token')}" if "token" in rest else "")
    return connect(address, compression=None, proxy=None, **rest)


def frame(first, content=b"", length=None):
    """A frame of its first byte and its content, of an announced length that may be wrong."""
    return struct.pack(">BBQ", first, 127, len(content) if length is None else length) + content


def accepted(request):
    """The answer to the request of a receiver."""
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)[1].decode()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_key(key).encode()
    )


def closed(code):
    return struct.pack(">BBH", 0x88, 2, code)


END = closed(1000)


@contextmanager
def answering(*frames):
    """Another program that accepts the request of a receiver, and sends it frames."""
    with served(lambda request: accepted(request) + b"".join(frames)) as address:
        yield address.replace("tcp:", "ws:")


def file_of(tmp_path, name="a.raw"):
    dvskit.save_events(make(), tmp_path / name)
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_bytes_of_another_program_are_read_however_they_are_cut_into_messages(tmp_path, piece):
    data = file_of(tmp_path)
    data = data[: len(data) // 2 // (40 if piece == 1 else 1) * 2]
    messages = [frame(0x82, data[at : at + piece]) for at in range(0, len(data), piece)]
    with answering(*messages, END) as address:
        recording = dvskit.open_events(address)
        events = recording.load()
    (tmp_path / "b.raw").write_bytes(data)
    assert events == dvskit.load_events(tmp_path / "b.raw", strict=False)
    assert "early end" not in str(recording.damage)


def test_another_program_gets_the_bytes_of_a_file_and_code_1000(tmp_path):
    sender = Sender([make()], LOCKED)
    with request_of(sender, token=TOKEN) as socket_:
        received = b"".join(socket_)
    assert received == file_of(tmp_path)
    assert socket_.close_code == 1000
    assert sender.ended() is None


@pytest.mark.parametrize(
    ("address", "origin", "status"),
    [
        (PLAIN, "http://127.0.0.1:8000", 101),
        (PLAIN, "https://[::1]:8443", 101),
        (PLAIN, "http://example.org", 403),
        (PLAIN, "http://127.0.0.1.example.org", 403),
        (PLAIN, "null", 403),
        # Without a token any site could name a host that resolves to the loopback.
        (PLAIN, "http://lab.example:8000", 403),
        (LOCKED, "http://lab.example:8000", 101),
        (LOCKED, "http://localhost:3", 101),
        (LOCKED, "http://example.org", 403),
    ],
)
def test_pages_of_the_loopback_and_with_a_token_of_the_outputs_host_may_read(
    address, origin, status
):
    sender = Sender([make()], address)
    request = (
        f"GET {'/camera?token=' + TOKEN if address == LOCKED else '/'} HTTP/1.1\r\n"
        f"Host: lab.example:5000\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    )
    with suppress(ConnectionError), socket.create_connection(sender.place) as peer:
        peer.sendall(request.encode())
        assert peer.recv(12) == f"HTTP/1.1 {status}".encode()
    if status != 101:
        own = sender.with_token() if address == LOCKED else sender.address
        assert dvskit.load_events(own) == make()
        assert [note[:21] for note in sender.sink.notes] == ["refused: 1 connection"]
    sender.ended()


@pytest.mark.parametrize(
    ("address", "named"),
    [
        (f"ws://{'w' * 24}@127.0.0.1:{{}}/camera", "HTTP 403"),
        ("ws://127.0.0.1:{}/camera", "HTTP 403"),
        (f"ws://{TOKEN}@127.0.0.1:{{}}/other", "HTTP 404"),
    ],
)
def test_a_receiver_with_a_wrong_address_gets_one_line(address, named):
    sender = Sender([make()], LOCKED)
    with pytest.raises(FormatError, match=named) as raised:
        dvskit.open_events(address.format(sender.place[1]))
    assert TOKEN not in str(raised.value)
    assert "www" not in str(raised.value)
    assert dvskit.load_events(sender.with_token()) == make()
    assert sender.ended() is None


def test_a_page_that_leaves_is_an_error_of_the_sender():
    left = threading.Event()
    sender = Sender(blocks_until(left), PLAIN)
    with request_of(sender) as socket_:
        assert socket_.recv()
    left.set()
    assert isinstance(sender.ended(), OutputError)


def test_a_receiver_that_talks_and_pings_does_not_disturb_the_events():
    more = threading.Event()

    def blocks():
        yield make(1000)
        assert more.wait(10)
        yield make(10, start_us=10_000_000)

    sender = Sender(blocks(), PLAIN)
    with request_of(sender) as socket_:
        assert socket_.recv()
        assert socket_.ping().wait(5)
        more.set()
        with suppress(Exception):
            for _ in range(100):
                socket_.send(b"\xff" * 1000)
        assert b"".join(socket_)
    assert sender.ended() is None


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (END, None),
        (closed(1001), None),
        (closed(1011), 1011),
        (b"", 1006),
        (b"\x82\x00" * 100_000 + END, None),
        (b"\x89\x00" * 10_000 + END, None),
        (frame(0x82, b"a", 1 << 62), 1006),
        (frame(0x82, bytes(10), 1000), 1006),
        (b"\x82\x7f\x00", 1006),
        (b"\x82\x81\x00\x00\x00\x00a" + END, 1006),  # masked, which only receivers may
        (frame(0x02, bytes(1 << 20)) + frame(0x00, bytes(1 << 20)) * 40 + END, 1006),
        (b"\x02\x00\x82\x00" + END, 1006),
        (b"\x80\x00" + END, 1006),
        (b"\x83\x00" + END, 1006),
        (b"\xc2\x00" + END, 1006),
        (frame(0x89, bytes(126)) + END, 1006),
        (b"\x88\x02\x00\x05", 1006),
        (b"\x88\x01\x03", 1006),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else "",
)
def test_an_end_without_its_code_is_a_loss_and_hostile_frames_take_no_event_before_them(
    tmp_path, sent, code
):
    with answering(frame(0x82, file_of(tmp_path)), sent) as address:
        recording = dvskit.open_events(address)
        assert recording.load() == make()
    assert str(recording.damage) == (
        "no damage" if code is None else f"1 early end of the sender (close code {code})"
    )


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: b"\xff\x00" * 50_000 + b"\r\n\r\n",
        lambda request: accepted(request)[:40],
        lambda request: accepted(request.replace(b"Key: ", b"Key: x")),
        lambda request: accepted(request)[:-2] + b"A: b\r\n" * 100_000,
        lambda request: b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1\r\n\r\n",
        lambda request: b"",
        lambda request: time.sleep(1) or accepted(request),
    ],
)
def test_a_hostile_or_late_answer_to_a_receiver_is_one_line(answer, monkeypatch):
    monkeypatch.setattr(network, "_ANSWER_S", 0.3)
    with served(answer) as address, refused(FormatError, address[4:]):
        dvskit.open_events(address.replace("tcp:", "ws:"))
