"""Events between programs over TCP and WebSockets: what is sent is what arrives."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

import dvskit
from dvskit import Events
from dvskit.errors import ConfigError, FormatError, OutputError, UnknownFormatError
from dvskit.formats import network, open_sink
from dvskit.formats.network import NetworkAddress
from tests.laws import refused
from tests.processes import wait_until
from tests.test_udp import SIZE, make

LOOPBACK = "tcp://127.0.0.1:0"
WEB_SOCKET = "ws://127.0.0.1:0/a"
BOTH = pytest.mark.parametrize("address", [LOOPBACK, WEB_SOCKET], ids=["tcp", "ws"])
TOKEN = "a_token-of-24-characters"


class Sender:
    """Writes blocks to one receiver, in a thread; `error` is the one that ended it."""

    def __init__(self, blocks, address=LOOPBACK, **rest):
        self.error: BaseException | None = None
        self.sink = open_sink(address, SIZE, **rest)
        self.blocks = blocks
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            with self.sink as sink:
                for block in self.blocks:
                    sink.write(block)
        except BaseException as error:
            self.error = error

    def ended(self):
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.error

    @property
    def address(self):
        return self.sink.serves

    @property
    def place(self):
        return "127.0.0.1", NetworkAddress.parse(self.address).port

    def with_token(self, token=TOKEN):
        return self.address.replace("://", f"://{token}@")


@contextmanager
def served(data):
    """A program that sends bytes to the first receiver, or to its request those of a function."""

    def run():
        peer, _ = server.accept()
        with peer, suppress(OSError):
            peer.sendall(data(peer.recv(4096)) if callable(data) else data)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(1 << 16):
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        thread.join(20)


@pytest.mark.parametrize(
    ("address", "name", "count"),
    [
        (LOOPBACK, "evt3", 2000),
        (LOOPBACK, "evt2", 63),
        (LOOPBACK, "dat", 1),
        (WEB_SOCKET, "evt3", 63),
        (WEB_SOCKET, "evt2", 1),
        (WEB_SOCKET, "dat", 2000),
    ],
)
def test_what_is_sent_arrives_however_the_stream_is_cut(address, name, count):
    events = make(300 if count == 1 else 2000)
    sender = Sender(events.blocks(count=count), address, format=name)
    recording = dvskit.open_events(sender.address)
    assert recording.load() == events
    assert not recording.damage
    assert (recording.format, str(recording.path)) == (name, sender.address)
    assert sender.ended() is None


@BOTH
def test_events_arrive_before_the_stream_ends(address):
    events, more = make(), threading.Event()

    def blocks():
        yield events[:100]
        assert more.wait(10)
        yield events[100:]

    sender = Sender(blocks(), address)
    arriving = iter(dvskit.open_events(sender.address))
    first = next(arriving)
    assert len(first)
    more.set()
    assert first.concatenate([first, *arriving]) == events
    assert sender.ended() is None


def many(sent, count):
    """Blocks of 65,536 events, one after the other; `sent` gets their numbers."""
    block = make(1 << 16, step_us=3)
    for number in range(count):
        sent.append(number)
        t = block.t + number * int(block.t[-1])
        yield Events(t=t, x=block.x, y=block.y, p=block.p, size=SIZE)


@pytest.mark.slow
@BOTH
def test_a_writer_waits_for_a_slow_receiver_in_bounded_memory(address):
    sent: list[int] = []
    sender = Sender(many(sent, 120), address)
    arriving = iter(dvskit.open_events(sender.address).blocks())
    count, before = len(next(arriving)), -1
    while before != len(sent):
        before = len(sent)
        time.sleep(0.1)
    assert before < 120
    assert count + sum(map(len, arriving)) == 120 << 16
    assert sender.ended() is None


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_beyond_the_loopback_a_token_is_needed_and_a_drawn_one_is_named(scheme):
    with pytest.raises(ConfigError, match="token") as raised:
        open_sink(f"{scheme}://0.0.0.0:0", SIZE)
    named = re.search(rf"{scheme}://\S+@0\.0\.0\.0:0", str(raised.value))
    assert named
    sender = Sender([make()], named[0])
    token, port = named[0].split("/")[2].split("@")[0], sender.place[1]
    assert dvskit.load_events(f"{scheme}://{token}@127.0.0.1:{port}") == make()
    assert sender.ended() is None


@pytest.mark.parametrize("shown", ["", "another-token-of-24-char", TOKEN + "x", TOKEN[:-1] + "."])
def test_nothing_is_sent_without_the_right_token(shown):
    sender = Sender([make()], f"tcp://{TOKEN}@127.0.0.1:0")
    with socket.create_connection(sender.place) as peer:
        peer.sendall(f"{shown}\n".encode())
        with suppress(ConnectionResetError):
            assert peer.recv(100) == b""
    wrong = "wrong-token-of-24-charac"
    with pytest.raises(FormatError, match="token") as raised:
        dvskit.open_events(sender.with_token(wrong))
    assert wrong not in str(raised.value)
    assert dvskit.load_events(sender.with_token()) == make()
    assert sender.ended() is None
    assert sender.sink.notes == ["refused: 2 connections without its token"]
    assert TOKEN not in str(sender.sink.path)


@pytest.mark.parametrize(
    ("address", "data"),
    [
        (LOOPBACK, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (f"tcp://{TOKEN}@127.0.0.1:0", b"\xff" * 3_000_000),
        (f"ws://{TOKEN}@127.0.0.1:0", b"\x16\x03\x01\x00\xff\xfe\r\n\r\n"),
        (f"ws://{TOKEN}@127.0.0.1:0", b"GET //[ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (f"ws://{TOKEN}@127.0.0.1:0", b"GET /?token=%ff%00 HTTP/1.1\r\nHost: \xff\r\n\r\n"),
        (f"ws://{TOKEN}@127.0.0.1:0", b"GET /" + b"x" * 9000),
        (f"ws://{TOKEN}@127.0.0.1:0", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000),
        (f"tcp://{TOKEN}@127.0.0.1:0", None),
        ("ws://127.0.0.1:0", None),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_browser_garbage_and_a_closed_peer_get_nothing_and_the_next_is_served(address, data):
    sender = Sender([make()], address)
    lost = suppress(ConnectionResetError, BrokenPipeError)
    with lost, socket.create_connection(sender.place) as peer:
        if data is not None:
            peer.sendall(data)
            got = peer.recv(100)
            assert got == b"" or (address[:2] == "ws" and got.startswith(b"HTTP/1.1 4"))
    own = sender.with_token() if TOKEN in address else sender.address
    assert dvskit.load_events(own) == make()
    assert sender.ended() is None
    assert len(sender.sink.notes) == 1


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_a_stranger_that_shows_no_token_in_time_is_refused(scheme, monkeypatch):
    monkeypatch.setattr(network, "_HANDSHAKE_S", 0.3)
    sender = Sender([make()], f"{scheme}://{TOKEN}@127.0.0.1:0")
    with socket.create_connection(sender.place, 20) as peer:
        peer.sendall(TOKEN[:9].encode())
        assert peer.recv(1) == b""
    assert dvskit.load_events(sender.with_token()) == make()
    assert sender.ended() is None


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "addresses"), [("tcp", 1), ("tcp", 8), ("ws", 8)])
def test_200_silent_strangers_delay_no_receiver(scheme, addresses):
    sender = Sender([make()], f"{scheme}://{TOKEN}@127.0.0.1:0")
    with ExitStack() as strangers:
        for number in range(200):
            place = f"127.0.0.{2 + number % addresses}", 0
            peer = socket.create_connection(sender.place, 20, source_address=place)
            strangers.enter_context(peer).sendall(b"G" * (number % 2))
        began = time.monotonic()
        assert dvskit.load_events(sender.with_token()) == make()
        assert time.monotonic() - began < 4  # one stranger alone would take 5 s
    assert sender.ended() is None
    assert "200" in sender.sink.notes[0]


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"DVSKIT_TOKEN": TOKEN}, None),
        ({"DVSKIT_TOKEN_FILE": "own"}, None),
        ({"DVSKIT_TOKEN": TOKEN, "DVSKIT_TOKEN_FILE": "missing"}, None),
        ({"DVSKIT_TOKEN": ""}, "DVSKIT_TOKEN: "),
        ({"DVSKIT_TOKEN": "short"}, "DVSKIT_TOKEN: "),
        ({"DVSKIT_TOKEN_FILE": "missing"}, "DVSKIT_TOKEN_FILE: missing: No such file"),
        ({"DVSKIT_TOKEN_FILE": "shared"}, "chmod 600 shared"),
        ({"DVSKIT_TOKEN_FILE": "pipe"}, "DVSKIT_TOKEN_FILE: pipe: is no regular file"),
        ({"DVSKIT_TOKEN_FILE": "empty"}, "DVSKIT_TOKEN_FILE: empty: a token has 16"),
        ({"DVSKIT_TOKEN_FILE": "short"}, "DVSKIT_TOKEN_FILE: short: a token has 16"),
    ],
    ids=str,
)
def test_a_token_of_the_environment_counts_where_the_address_has_none(
    tmp_path, monkeypatch, variables, named
):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe", 0o600)
    for name, text in (("own", TOKEN), ("shared", TOKEN), ("empty", ""), ("short", "secret")):
        Path(name).write_text(f"{text}\n")
        Path(name).chmod(0o644 if name == "shared" else 0o600)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if named is not None:
        for call in (dvskit.open_events, lambda address: open_sink(address, SIZE)):
            with refused(ConfigError, named):
                call(LOOPBACK)
        return
    sender = Sender([make()])
    with refused(FormatError, sender.address):
        dvskit.open_events(sender.with_token(TOKEN[::-1]))
    assert dvskit.load_events(sender.address) == make()
    assert sender.ended() is None


@pytest.mark.slow
def test_a_receiver_that_takes_nothing_ends_the_output(monkeypatch):
    monkeypatch.setattr(network, "_STALL_S", 0.3)
    sender = Sender(many([], 120))
    with socket.create_connection(sender.place):
        assert isinstance(sender.ended(), OutputError)


def blocks_until(left):
    """Yield blocks to a receiver that leaves behind the first one."""
    for number in range(1000):
        yield make(1000, start_us=number * 10_000)
        assert left.wait(10)


def test_a_receiver_that_leaves_is_an_error_of_the_sender():
    left = threading.Event()
    sender = Sender(blocks_until(left))
    with socket.create_connection(sender.place) as peer:
        assert peer.recv(10)
    left.set()
    assert isinstance(sender.ended(), OutputError)


def test_garbage_of_a_sender_is_refused_or_left_out_and_counted(tmp_path):
    with served(b"HTTP/1.1 400 No\r\n\r\n" * 300) as address, refused(UnknownFormatError, address):
        dvskit.open_events(address)
    dvskit.save_events(make(), tmp_path / "a.raw")
    whole = (tmp_path / "a.raw").read_bytes()
    for sent in (whole[:-1] + b"\x3f", whole[:-1]):
        with served(sent) as address:
            recording = dvskit.open_events(address)
            assert recording.load()[:1900] == make()[:1900]
    assert recording.damage


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("tcp://127.0.0.1", "tcp://HOST:PORT"),
        ("tcp://127.0.0.1:70000", "65535"),
        ("tcp://short@127.0.0.1:5000", "16 to 128"),
        ("tcp://a@b@127.0.0.1:5000", "tcp://HOST:PORT"),
        ("tcp://127.0.0.1:5000/a", "tcp://HOST:PORT"),
        ("ws://127.0.0.1", "ws://HOST:PORT/PATH"),
        ("ws://127.0.0.1:5000/a?b", "ws://HOST:PORT/PATH"),
    ],
)
def test_a_malformed_address_is_one_line_for_both_sides(address, named):
    for call in (lambda: dvskit.open_events(address), lambda: open_sink(address, SIZE)):
        with pytest.raises(ConfigError, match=named) as raised:
            call()
        assert "short" not in str(raised.value)


def test_a_port_that_is_taken_and_one_without_a_sender_are_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with refused(OutputError, address):
            open_sink(address, SIZE)
    with refused(FormatError, address):
        dvskit.open_events(address)
    with refused(UnknownFormatError, "npz"):
        open_sink(LOOPBACK, SIZE, format="npz")


@pytest.mark.slow(seconds=12)
@pytest.mark.parametrize("end", ["killed", "failed", "whole"])
@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_convert_keeps_the_events_of_a_killed_sender_and_ends_with_3(run, tmp_path, scheme, end):
    events = make(300_000)
    dvskit.save_events(events, tmp_path / "a.csv")
    words = f"convert - {scheme}://127.0.0.1:0 --from csv --size 320x240".split()
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}

    def send():
        sender.stdin.write((tmp_path / "a.csv").read_bytes())
        if end != "whole":
            wait_until(lambda: sum(each.stat().st_size for each in tmp_path.glob(".b*")) > 100_000)
        if end == "killed":
            sender.kill()
        else:
            sender.stdin.write(b"no event\n" * (end == "failed"))
        sender.stdin.close()

    with subprocess.Popen([sys.executable, "-m", "dvskit", *words], **pipes) as sender:
        thread = threading.Thread(target=send)
        thread.start()
        address = sender.stderr.readline().decode().rpartition(":")[0]
        code, _, err = run("convert", address, "b.raw")
        thread.join(20)
    assert code == (0 if end == "whole" else 3)
    assert (
        err.count(f"error: {address}") == err.count("1 early end of the sender") == (end != "whole")
    )
    found = dvskit.load_events(tmp_path / "b.raw")
    assert found == (events if end == "whole" else events[: len(found)])
    assert len(found)
