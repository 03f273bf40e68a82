"""Events in messages of a WebSocket: handshakes, origins of pages, and how a stream ends."""

from __future__ import annotations

import http.server
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

import dvskit
from dvskit.errors import FormatError, OutputError
from dvskit.formats import network
from tests.test_network import TOKEN, Sender
from tests.test_udp import make
from tests.tree import text_of

PLAIN, LOCKED = "ws://127.0.0.1:0", f"ws://{TOKEN}@127.0.0.1:0/camera"


def request_of(sender, **rest):
    """Connect as another program would; `token` and `path` are those of the request."""
    address = sender.address + (f"?token={rest.pop('token')}" if "token" in rest else "")
    return connect(address, compression=None, proxy=None, **rest)


@contextmanager
def sending(*messages, code=1000):
    """Another program's server of messages; a code of None breaks the connection."""

    def handle(socket_):
        for message in messages:
            socket_.send(message)
        if code is None:
            socket_.socket.shutdown(socket.SHUT_RDWR)
        socket_.close(code or 1000)

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(20)


def file_of(tmp_path, name="a.raw"):
    dvskit.save_events(make(), tmp_path / name)
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_bytes_of_another_program_are_read_however_they_are_cut_into_messages(tmp_path, piece):
    data = file_of(tmp_path)
    data = data[: len(data) // 2 // (40 if piece == 1 else 1) * 2]
    with sending(*(data[at : at + piece] for at in range(0, len(data), piece))) as address:
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
        (PLAIN, "http://localhost", 101),
        (PLAIN, "https://[::1]:8443", 101),
        (PLAIN, "http://example.org", 403),
        (PLAIN, "http://127.0.0.1.example.org", 403),
        (PLAIN, "http://localhost:80@example.org", 403),
        (PLAIN, "null", 403),
        (PLAIN, "file://", 403),
        (LOCKED, "http://localhost:3", 101),
        (LOCKED, "http://example.org", 403),
        (LOCKED, "null", 403),
    ],
)
def test_a_page_of_another_origin_is_refused(address, origin, status):
    sender = Sender([make()], address)
    token = {"token": TOKEN} if address == LOCKED else {}
    if status != 101:
        with pytest.raises(InvalidStatus) as raised:
            request_of(sender, origin=origin, **token)
        assert raised.value.response.status_code == status
    with request_of(sender, **token, origin=origin if status == 101 else None) as socket_:
        assert b"".join(socket_)
    assert sender.ended() is None
    assert sender.sink.notes == (
        ["refused: 1 connection by token, path or page"] if status != 101 else []
    )


@pytest.mark.parametrize(("host", "token", "admitted"), [
    ("lab.example", TOKEN, True),
    ("lab.example", "", False),
    ("other.example", TOKEN, False),
])  # fmt: skip
def test_a_page_of_the_outputs_own_host_needs_a_token_too(host, token, admitted):
    # Without one any site could name a host that resolves to the loopback.
    sender = Sender([make()], f"ws://{TOKEN}@127.0.0.1:0" if token else PLAIN)
    request = (
        f"GET /?token={token} HTTP/1.1\r\nHost: lab.example:5000\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Version: 13\r\nOrigin: http://{host}:8000\r\n\r\n"
    )
    with suppress(ConnectionError), socket.create_connection(sender.place) as peer:
        peer.sendall(request.encode())
        assert peer.recv(12) == (b"HTTP/1.1 101" if admitted else b"HTTP/1.1 403")
    if not admitted:
        assert dvskit.load_events(sender.with_token() if token else sender.address) == make()
    sender.ended()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (f"ws://{'w' * 24}@127.0.0.1:{{}}/camera", r"HTTP 403\); are its token and path"),
        ("ws://127.0.0.1:{}/camera", "HTTP 403"),
        (f"ws://{TOKEN}@127.0.0.1:{{}}/other", "HTTP 404"),
    ],
)
def test_a_receiver_with_a_wrong_address_gets_one_line(address, words):
    sender = Sender([make()], LOCKED)
    with pytest.raises(FormatError, match=words) as raised:
        dvskit.open_events(address.format(sender.place[1]))
    assert TOKEN not in str(raised.value)
    assert "www" not in str(raised.value)
    assert dvskit.load_events(sender.with_token()) == make()
    assert sender.ended() is None


def test_an_output_that_is_no_web_socket_is_one_line():
    sender = Sender([make()], "tcp://127.0.0.1:0")
    with pytest.raises(FormatError, match="does not answer as a WebSocket"):
        dvskit.open_events(sender.address.replace("tcp:", "ws:"))
    assert dvskit.load_events(sender.address) == make()
    assert sender.ended() is None


def test_a_sender_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setattr(network, "_ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(FormatError, match="does not answer as a WebSocket"):
            dvskit.open_events(address)


@pytest.mark.parametrize(("code", "damaged"), [(1000, False), (1001, False), (1011, True),
                                               (None, True)])  # fmt: skip
def test_an_end_without_its_code_is_damage_and_all_events_are_kept(tmp_path, code, damaged):
    with sending(file_of(tmp_path), code=code) as address:
        recording = dvskit.open_events(address)
        assert recording.load() == make()
    assert bool(recording.damage) == damaged
    if damaged:
        words = f"1 early end of the sender (close code {code or 1006})"
        assert str(recording.damage) == words


def test_a_killed_sender_is_damage_of_the_receiver():
    code = (
        "import sys, time\nfrom dvskit.formats import open_sink\n"
        "from tests.test_udp import SIZE, make\n"
        "sink = open_sink('ws://127.0.0.1:0', SIZE)\nprint(sink.serves, flush=True)\n"
        "with sink:\n    sink.write(make())\n    sink._file.flush()\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    recording = dvskit.open_events(process.stdout.readline().strip())
    arriving = iter(recording)
    events = [next(arriving)]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    events += arriving
    assert sum(map(len, events)) >= 1900
    assert "1 early end of the sender" in str(recording.damage)


def test_a_page_that_leaves_is_one_line_for_the_sender():
    left = threading.Event()

    def blocks():
        for number in range(1000):
            yield make(1000, start_us=number * 10_000)
            assert left.wait(10)

    sender = Sender(blocks(), PLAIN)
    with request_of(sender) as socket_:
        assert socket_.recv()
    left.set()
    error = sender.ended()
    assert isinstance(error, OutputError)
    assert "the receiver closed the connection" in str(error)


def test_pings_are_answered_while_the_sender_has_no_events():
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
        for _ in socket_:
            pass
    assert sender.ended() is None


def test_a_receiver_that_talks_does_not_disturb_the_events():
    sender = Sender([make()], PLAIN)
    with request_of(sender) as socket_:
        with suppress(Exception):
            for _ in range(100):
                socket_.send(b"\xff" * 1000)
        received = b"".join(socket_)
    assert received
    sender.ended()


def test_a_message_beyond_the_limit_is_a_lost_end(monkeypatch, tmp_path):
    from dvskit.formats import web_socket

    monkeypatch.setattr(web_socket, "_MESSAGE_BYTES", 5000)
    data = file_of(tmp_path)
    with sending(data[:4000], b"\0" * 6000) as address:
        recording = dvskit.open_events(address)
        assert len(recording.load())
    assert "early end" in str(recording.damage)


PAGE = b"<!doctype html><title>events</title>"

# As the guide has it, with the address of a test and results in place of lines in the console.
SCRIPT = re.search("```js\n(.*?)```", text_of("samples/guide/live-and-teach.md"), re.DOTALL)[1]
for shown, tested in {
    '"ws://127.0.0.1:5000"': "arguments[0]",
    "console.log(line.split": "events.push(line.split",
    'console.log(code === 1000 ? "complete" : "the sender was lost")': "done({code, events})",
}.items():
    assert shown in SCRIPT
    SCRIPT = SCRIPT.replace(shown, tested)
SCRIPT = f"const events = [], done = arguments[1];\n{SCRIPT}"


@contextmanager
def site():
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(20)


@pytest.mark.slow(seconds=4)
def test_a_page_reads_events_in_ten_lines_and_a_foreign_page_gets_none(browser, tmp_path):
    sender = Sender([make()], LOCKED, format="csv")
    address = f"{sender.address}?token={TOKEN}"
    with site() as port:
        browser.driver.get("about:blank")
        assert browser.driver.execute_async_script(SCRIPT, address)["code"] == 1006
        browser.driver.get(f"http://127.0.0.1:{port}/")
        found = browser.driver.execute_async_script(SCRIPT, address)
    dvskit.save_events(make(), tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert found == {"code": 1000, "events": [line.split(",") for line in lines]}
    assert sender.ended() is None
