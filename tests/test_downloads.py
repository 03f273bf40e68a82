"""Public sets are downloaded whole or not at all, from a server on the loopback address."""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tonic
import tonic.download_utils

from dvskit.datasets import PUBLIC_SETS, PublicSet, open_public, open_samples
from dvskit.errors import ConfigError, FormatError, MissingFileError, OutputError
from dvskit.training import Config, RecordingData
from dvskit.training.sets import load_sets
from tests.laws import refused
from tests.test_datasets import folder_of
from tests.test_public_sets import atis, made, save
from tests.test_training_sets import config_from

NMNIST = tonic.datasets.NMNIST


class Server:
    """Files by path. `asked` lists the downloads; `cut` files end early."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut: set[str] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                content = server.files.get(name)
                if content is None:
                    self.send_error(404)
                    return
                if self.headers["Method"] != "HEAD":  # tonic's search for redirections
                    server.asked.append(name)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if name in server.cut else content)

            def log_message(self, *_: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.handle_error = lambda *_: None  # a client that goes early
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/{name}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.close()


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return buffer.getvalue()


def offer(monkeypatch, server: Server, kind: type, part: str, name: str, content: bytes) -> None:
    """Let tonic's class find an archive on the server."""
    server.files[name] = content
    prefix = f"{part}_" if part else ""
    monkeypatch.setattr(kind, f"{prefix}url", server.url(name))
    monkeypatch.setattr(
        kind, f"{prefix}md5" if part else "file_md5", hashlib.md5(content).hexdigest()
    )


@pytest.fixture
def digits(server, monkeypatch, tmp_path) -> Server:
    """N-MNIST on the server, two digits for training and one for the test."""
    for part, digits in (("train", (3, 7)), ("test", (7,))):
        folder = tmp_path / "made" / part
        for digit in digits:
            file = folder / part.capitalize() / f"{digit}/{digit}.bin"
            atis(file, made(40, digit + 10 * (part == "train"), (34, 34)))
        offer(monkeypatch, server, NMNIST, part, f"{part}.zip", zipped(folder))
    return server


def names(samples) -> list[tuple[str, str]]:
    return [(row.name, row.part) for row in samples.rows]


DIGITS = [("Test/7/7.bin", "test"), ("Train/3/3.bin", "train"), ("Train/7/7.bin", "train")]


@pytest.mark.parametrize("folder", ["new", "new/deep", "there"])
def test_a_set_is_downloaded_once_and_opened(digits, tmp_path, folder, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "other.txt").write_text("stays")
    root = tmp_path / folder
    missing = FormatError if folder == "there" else MissingFileError
    with refused(missing, "download=True", "https://www.garr"):
        open_public("n-mnist", root)
    assert (digits.asked, (tmp_path / "new").exists()) == ([], False)
    samples = open_public("n-mnist", root, download=True)
    assert names(samples) == DIGITS
    assert samples.events(0) == made(40, 7, (34, 34))
    assert not list(root.parent.glob(".*"))
    assert (tmp_path / "there" / "other.txt").read_text() == "stays"
    digits.files.clear()
    for place in (root, root / "NMNIST"):
        assert names(open_public("n-mnist", place, download=True)) == DIGITS
        assert names(open_public("n-mnist", place)) == DIGITS
    assert digits.asked == ["train.zip", "test.zip"]
    assert capsys.readouterr().out == ""


def test_an_archive_that_ends_early_is_not_taken_and_whole_ones_are_kept(digits, tmp_path):
    root = tmp_path / "new"
    digits.cut = {"test.zip"}
    for _ in range(2):
        with refused(FormatError, "test.zip", "MD5"):
            open_public("n-mnist", root, download=True)
        assert not root.exists()
    digits.cut = set()
    assert names(open_public("n-mnist", root, download=True)) == DIGITS
    assert digits.asked == ["train.zip", "test.zip", "test.zip", "test.zip"]


def test_other_files_than_tonics_and_missing_ones_are_refused(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(NMNIST, "train_md5", "0" * 32)
    with refused(FormatError, "train.zip", "0" * 32):
        open_public("n-mnist", tmp_path / "new", download=True)
    digits.files.clear()
    with refused(FormatError, "train.zip", "404", "https://www.garrick"):
        open_public("n-mnist", tmp_path / "new", download=True)


def test_a_set_of_ones_own_is_downloaded_by_its_function(tmp_path):
    kept = folder_of(tmp_path / "kept", {"wave": 1, "clap": 1})

    def download(folder: Path) -> None:
        for each in kept.iterdir():
            shutil.copytree(each, folder / each.name)

    def opened(folder: Path):
        return open_samples(folder) if any(folder.iterdir()) else None

    row = PublicSet(name="mine", where="here", layout="folders", open=opened, download=download)
    (tmp_path / "root").mkdir()
    found = open_public(row, tmp_path / "root", download=True)
    assert names(found) == names(open_samples(kept))
    assert not list(tmp_path.glob(".*"))


def test_what_is_in_the_way_is_kept(digits, tmp_path):
    (tmp_path / "NMNIST" / "mine").mkdir(parents=True)
    with refused(OutputError, "NMNIST", "n-mnist"):
        open_public("n-mnist", tmp_path, download=True)
    (tmp_path / "NMNIST").rename(tmp_path / "old")
    assert names(open_public("n-mnist", tmp_path, download=True)) == DIGITS
    assert digits.asked == ["train.zip", "test.zip"]


def test_a_configuration_downloads_its_set(digits, tmp_path):
    network = {"name": "layers", "layers": ["2"], "width": 34, "height": 34, "classes": 2}
    entry = {"set": "n-mnist", "path": str(tmp_path / "new"), "download": True, "validation": 0.0}
    config = config_from({"network": network, "data": [entry], "loop": {"keep": "last"}})
    assert isinstance(config, Config)
    (one,) = load_sets(config)
    assert [len(part) for part in one.parts] == [2, 0, 1]
    with refused(ConfigError, "download", "set"):
        RecordingData(download=True)


def nested(name: str, folder: Path) -> bytes:
    """Return an archive that holds an archive of a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, zipped(folder))
    return buffer.getvalue()


def test_archives_within_an_archive_are_unpacked_and_removed(server, monkeypatch, tmp_path):
    save(tmp_path / "cifar" / "cat" / "1.aedat4", made(9, 1), "aedat4")
    cats = nested("cat.zip", tmp_path / "cifar")
    offer(monkeypatch, server, tonic.datasets.CIFAR10DVS, "", "d.zip", cats)
    found = open_public("cifar10-dvs", tmp_path / "data", download=True)
    assert (found.classes, found.events(0)) == (("cat",), made(9, 1))
    archives = (tmp_path / "data" / "CIFAR10DVS").glob("*.zip")
    assert [file.name for file in archives] == ["CIFAR10DVS.zip"]


def test_the_sets_that_tonic_lacks_name_their_page(tmp_path):
    without = [name for name, row in PUBLIC_SETS.items() if row.download is None]
    assert without == ["n-cars", "sl-animals-dvs"]
    with refused(ConfigError, "n-cars", "https://www.prophesee"):
        open_public("n-cars", tmp_path / "new", download=True)
