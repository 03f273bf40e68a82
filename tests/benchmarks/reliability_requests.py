"""Hostile requests at the servers of `dvskit view` and `dvskit teach`, beside a client that is not.

    python -m tests.benchmarks.reliability requests [--count 3000] [--seed N]

Every attack runs while a good client asks for the page: it gets the page, within a second. No
answer is 5xx or has a traceback, none holds a file that is not the server's, the memory of the
server grows by at most 200 MB, and the process is there at the end and ends by Ctrl-C.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.benchmarks import reliability_parts as parts

_SECRET = b"root:x:"  # of /etc/passwd
_LEAKS = re.compile(rb"Traceback|File \"/|root:[x*]:|site-packages")
_PATIENCE_S, _MOST_MB = 1.0, 200
_SLOW = 200  # connections that send a byte a second
_FLOOD = 40  # web sockets
_BODY = 300_000_000  # bytes of a body that nobody asked for
SENT = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


class Served:
    """A server in a process of its own, and a good client.

    faults  what is wrong
    """

    def __init__(self, words: tuple[str, ...], folder: Path) -> None:
        self.faults: list[str] = []
        self.answers = 0
        self.slowest_s = 0.0
        self.what = ""
        self._err = (folder / f"{words[0]}.stderr").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dvskit", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._err,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().decode().strip()
        self.host, self.token = urlsplit(self.url).netloc, urlsplit(self.url).path.strip("/")
        self.page = self.ask("").read()
        self.memory_mb = self.resident_mb()

    def ask(self, path: str, method: str = "GET") -> http.client.HTTPResponse:
        """Ask as the page does; the answer is still open."""
        link = http.client.HTTPConnection(self.host, timeout=20)
        link.request(method, f"/{self.token}/{path}")
        return link.getresponse()

    def link(self) -> socket.socket:
        """Return a new connection."""
        host, _, port = self.host.partition(":")
        return socket.create_connection((host, int(port)), timeout=10)

    def send(self, data: bytes) -> bytes:
        """Send bytes and return the answer, "" if there is none within a second."""
        with closing(self.link()) as link:
            with suppress(OSError):
                link.sendall(data)
            link.settimeout(1.0)
            found = b""
            with suppress(OSError):
                while len(found) < 1 << 20 and (more := link.recv(1 << 16)):
                    found += more
                    link.settimeout(0.05)
        self.judge(data, found)
        return found

    def judge(self, asked: bytes, found: bytes) -> None:
        """Note an answer that must not be."""
        status = re.match(rb"HTTP/1\.[01] (\d+)", found)
        if (status and status[1].startswith(b"5")) or _LEAKS.search(found):
            self.fault(f"{asked[:120]!r} was answered {found[:200]!r}")

    def fault(self, text: str) -> None:
        """Note a fault."""
        self.faults.append(f"{self.what}: {text}")

    @contextmanager
    def attacked(self, what: str) -> Iterator[None]:
        """Let the good client ask during an attack, and judge the server after it."""
        self.what, stop = what, threading.Event()
        thread = threading.Thread(target=self._ask_on, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        time.sleep(0.2)
        if self.process.poll() is not None:
            self.fault(f"the process ended with {self.process.returncode}")
        grown = self.resident_mb() - self.memory_mb
        if grown > _MOST_MB:
            self.fault(f"memory grew by {grown:.0f} MB")

    def _ask_on(self, stop: threading.Event) -> None:
        while True:
            begun = time.monotonic()
            try:
                answer = self.ask("")
                good = (answer.status, answer.read()) == (200, self.page)
            except OSError as error:
                good = False
                self.fault(f"the good client: {error}")
            took = time.monotonic() - begun
            self.answers, self.slowest_s = self.answers + 1, max(self.slowest_s, took)
            if not good or took > _PATIENCE_S:
                self.fault(f"the good client got {'a page' if good else 'none'} in {took:.2f} s")
            if stop.wait(0.1):
                return

    def resident_mb(self) -> float:
        """Return the memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1000 if found else 0.0

    def end(self) -> None:
        """End it by Ctrl-C, and judge its messages."""
        self.what = "the end"
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.fault("it did not end within 20 s")
            self.process.kill()
            return
        self._err.seek(0)
        err = self._err.read()
        if code != 130 or _LEAKS.search(err):
            self.fault(f"code {code}, {err[-300:]!r}")


def request(
    served: Served, path: str, *headers: str, method: str = "GET", body: bytes = b""
) -> bytes:
    """Return the bytes of a request with the token."""
    lines = [f"{method} /{served.token}/{path} HTTP/1.1", *headers]
    if not any(line.lower().startswith("host:") for line in headers):
        lines.insert(1, f"Host: {served.host}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def foreign(served: Served, rng: random.Random) -> None:
    """Other hosts, other origins, wrong tokens: nothing but a refusal."""
    hosts = [each.format(host=served.host) for each in SENT["hosts"]] + ["a" * 5000]
    asked = [request(served, "", f"Host: {host}") for host in hosts]
    for origin in SENT["origins"]:
        asked.append(request(served, "", f"Origin: {origin.format(host=served.host)}"))
    for token in ("", "x" * len(served.token), served.token[:-1], served.token.swapcase()):
        asked.append(request(served, "").replace(served.token.encode(), token.encode()))
    for each in asked:
        found = served.send(each)
        if b" 403 " not in found[:20] and b" 400 " not in found[:20]:
            served.fault(f"{each[:150]!r} was answered {found[:100]!r}")


def traversal(served: Served, rng: random.Random) -> None:
    """Paths out of the folder, in all spellings."""
    for up, name, query in itertools.product(SENT["ups"], SENT["files"], SENT["file_queries"]):
        where = query.format(up * 12 + name)
        method = "POST" if where.startswith("drop") else "GET"
        if _SECRET in served.send(request(served, where, method=method)):
            served.fault(f"{where} was served")
    served.send(request(served, "a" * 60_000))
    served.send(request(served, "thumbnail?clip=" + "a/" * 4000))


def malformed(served: Served, rng: random.Random) -> None:
    """Unknown methods, broken heads, contradictory lengths."""
    for method in (*SENT["methods"], "A" * 5000):
        served.send(request(served, "", method=method))
    for header in (*SENT["headers"], "A" * 70_000):
        served.send(request(served, "", header))
        served.send(request(served, "do", header, method="POST", body=b"zz\r\nabc"))
    for text in (*SENT["texts"], "\r\n" * 500):
        served.send(text.encode("latin-1"))
    for query in SENT["queries"]:
        served.send(request(served, query))
    for body in (*SENT["bodies"], "\xff" * 99, "[" * 9000):
        length = f"Content-Length: {len(body)}"
        served.send(request(served, "do", length, method="POST", body=body.encode("latin-1")))


def huge(served: Served, rng: random.Random) -> None:
    """Bodies that are declared large, and chunks and heads without end."""
    piece = bytes(1 << 20)
    for path, head in (
        ("do", f"Content-Length: {_BODY}"),
        ("", f"Content-Length: {_BODY}"),
        ("do", "Transfer-Encoding: chunked"),
        ("nowhere", f"Content-Length: {_BODY}"),
    ):
        with closing(served.link()) as link, suppress(OSError):
            link.sendall(request(served, path, head, method="POST"))
            for _ in range(_BODY // len(piece)):
                if "chunked" in head:
                    link.sendall(b"100000\r\n" + piece + b"\r\n")
                else:
                    link.sendall(piece)
    with closing(served.link()) as link, suppress(OSError):
        link.sendall(request(served, "")[:-2])
        for number in range(100_000):
            link.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1000))


def slow(served: Served, rng: random.Random) -> None:
    """Many clients that send a byte a second."""
    data = request(served, "", "X: " + "a" * 100)
    links = [served.link() for _ in range(_SLOW)]
    try:
        for at in range(8):
            for link in links:
                with suppress(OSError):
                    link.send(data[at : at + 1])
            time.sleep(1.0)
    finally:
        for link in links:
            link.close()


def sockets(served: Served, rng: random.Random) -> None:
    """Web sockets: malformed upgrades, wrong tokens, floods of messages, large ones."""
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    for more in ("", "Sec-WebSocket-Key: x", "Sec-WebSocket-Key: " + "a" * 9000):
        for frame in (b"", b"\xff" * 50, b"\x81\xfe\x00\x01", rng.randbytes(500)):
            served.send(request(served, "live", *upgrade, *((more,) if more else ()), body=frame))
    url = f"ws://{served.host}/{served.token}/live"
    for wrong in (url.replace(served.token, "wrong"), url.replace("live", "nowhere")):
        with suppress(WebSocketException, OSError), connect(wrong, open_timeout=5):
            served.fault(f"{wrong} was opened")
    links = []
    for _ in range(_FLOOD):
        with suppress(WebSocketException, OSError):
            links.append(connect(url, open_timeout=5, max_size=None))
    for number in range(2000):
        with suppress(WebSocketException, OSError):
            link = links[number % len(links)] if links else None
            if link is not None:
                link.send(
                    rng.choice(SENT["messages"])
                    if number % 3
                    else rng.randbytes(rng.randrange(4000))
                )
    for link in links[:3]:
        with suppress(WebSocketException, OSError):
            link.send(bytes(8 << 20))
    for link in links:
        with suppress(WebSocketException, OSError, TimeoutError):
            link.close_timeout = 0.1  # type: ignore[attr-defined]
            link.close()


def noise(served: Served, rng: random.Random, count: int = 3000) -> None:
    """Random bytes, and requests of which bytes are changed."""
    links: list[socket.socket] = []
    for number in range(count):
        if number % 3:
            data = bytearray(request(served, rng.choice(SENT["paths"])))
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        else:
            data = bytearray(rng.randbytes(rng.randrange(1, 400)))
        with suppress(OSError):
            link = served.link()
            link.sendall(bytes(data))
            links.append(link)
        while len(links) > 100 or (links and number == count - 1):
            with closing(links.pop(0)) as link, suppress(OSError):
                link.settimeout(0.02)
                served.judge(bytes(data), link.recv(1 << 16))


ATTACKS: tuple[Callable[[Served, random.Random], None], ...] = (
    foreign, traversal, malformed, huge, slow, sockets, noise,
)  # fmt: skip


def main(words: list[str]) -> None:
    """Attack both servers and print a table; exit with 1 if there are faults."""
    parser = argparse.ArgumentParser(prog="reliability requests", description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="requests of random bytes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args(words)
    rng, faults = random.Random(given.seed), 0
    print(
        f"seed {given.seed}\n"
        f"{'server':8} {'attack':12} answers slowest/s  memory/MB  seconds faults"
    )
    with tempfile.TemporaryDirectory(prefix="dvskit-requests-") as name:
        folder = Path(name)
        parts.write_recording(folder / "a.npz")
        for command in (("view", "a.npz", "--no-browser"), ("teach", "set", "--no-browser")):
            served = Served(command, folder)
            for attack in ATTACKS:
                begun, before = time.monotonic(), len(served.faults)
                served.answers, served.slowest_s = 0, 0.0
                with served.attacked(attack.__name__):
                    if attack is noise:
                        noise(served, rng, given.count)
                    else:
                        attack(served, rng)
                row = f"{command[0]:8} {attack.__name__:12} {served.answers:7}"
                row += f" {served.slowest_s:9.3f}"
                print(
                    f"{row} {served.resident_mb():10.0f} {time.monotonic() - begun:8.1f} "
                    f"{len(served.faults) - before:6}",
                    flush=True,
                )
            served.end()
            for text in served.faults[:20]:
                print(f"    {text}")
            faults += len(served.faults)
    print(f"{faults} faults")
    raise SystemExit(faults > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
