"""Public sets are downloaded whole or not at all, from a server on the loopback address."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tonic
import tonic.download_utils
from scipy.io import savemat

from dvskit.datasets import PUBLIC_SETS, PublicSet, open_public, open_samples
from dvskit.errors import ConfigError, FormatError, MissingFileError, OutputError
from dvskit.training import Config, DataConfig
from dvskit.training.sets import load_sets
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
            atis(
                folder / part.capitalize() / f"{digit}/{digit}.bin",
                made(40, digit + 10 * (part == "train"), (34, 34)),
            )
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
    samples = open_public("n-mnist", root, download=True)
    assert names(samples) == DIGITS
    assert samples.events(0) == made(40, 7, (34, 34))
    assert digits.asked == ["train.zip", "test.zip"]
    assert not list(root.parent.glob(".*"))
    assert (tmp_path / "there" / "other.txt").read_text() == "stays"
    digits.files.clear()
    for place in (root, root / "NMNIST"):
        assert names(open_public("n-mnist", place, download=True)) == DIGITS
        assert names(open_public("n-mnist", place)) == DIGITS
    assert digits.asked == ["train.zip", "test.zip"]
    assert capsys.readouterr().out == ""


def test_nothing_is_downloaded_unasked(digits, tmp_path):
    with pytest.raises(MissingFileError, match=r"pass download=True, or .* from https://www\.garr"):
        open_public("n-mnist", tmp_path / "new")
    assert digits.asked == []
    assert not (tmp_path / "new").exists()


def test_tonics_class_finds_the_set_too(digits, tmp_path, monkeypatch):
    open_public("n-mnist", tmp_path / "new", download=True)
    monkeypatch.setattr(
        NMNIST, "_folder_contains_at_least_n_files_of_type", lambda self, count, kind: True
    )
    assert len(NMNIST(str(tmp_path / "new"), train=True)) == 2
    assert digits.asked == ["train.zip", "test.zip"]


def test_an_archive_that_ends_early_is_not_taken_and_whole_ones_are_kept(digits, tmp_path):
    root = tmp_path / "new"
    digits.cut = {"test.zip"}
    for _ in range(2):
        with pytest.raises(FormatError, match=r"test\.zip is not whole: its MD5 .*; try again, or"):
            open_public("n-mnist", root, download=True)
        assert not root.exists()
        with pytest.raises(MissingFileError):
            open_public("n-mnist", root)
    digits.cut = set()
    assert names(open_public("n-mnist", root, download=True)) == DIGITS
    assert digits.asked == ["train.zip", "test.zip", "test.zip", "test.zip"]


def test_another_file_than_tonics_is_refused(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(NMNIST, "train_md5", "0" * 32)
    with pytest.raises(FormatError, match=f"train.zip is not whole: its MD5 is not {'0' * 32}"):
        open_public("n-mnist", tmp_path / "new", download=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_set_that_is_unpacked_in_part_is_not_taken(digits, tmp_path, monkeypatch, error):
    root = tmp_path / "new"
    unpack = tonic.download_utils.extract_archive

    def ended(path: str) -> None:
        if "test" in path:
            raise error("no space left on device")
        unpack(path)

    with monkeypatch.context() as patch:
        patch.setattr(tonic.download_utils, "extract_archive", ended)
        with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else FormatError):
            open_public("n-mnist", root, download=True)
    assert not root.exists()
    assert names(open_public("n-mnist", root, download=True)) == DIGITS
    assert digits.asked == ["train.zip", "test.zip"]


def test_a_set_that_is_moved_in_part_to_a_folder_that_exists_is_moved_on(tmp_path, monkeypatch):
    asked, kept = [], folder_of(tmp_path / "kept", {"wave": 1, "clap": 1})

    def download(folder: Path) -> None:
        asked.append(folder)
        for each in kept.iterdir():
            shutil.copytree(each, folder / each.name)

    def opened(folder: Path):
        return open_samples(folder) if any(folder.iterdir()) else None

    row = PublicSet(name="mine", where="here", layout="folders", open=opened, download=download)
    (tmp_path / "root").mkdir()
    move, moved = shutil.move, []

    def move_one(entry: Path, root: Path) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(move(entry, root))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", move_one)
        with pytest.raises(KeyboardInterrupt):
            open_public(row, tmp_path / "root", download=True)
    found = open_public(row, tmp_path / "root", download=True)
    assert names(found) == names(open_samples(kept))
    assert len(asked) == 1
    assert not list(tmp_path.glob(".*"))


def test_a_server_without_the_file_is_an_error_with_the_page(digits, tmp_path):
    digits.files.clear()
    with pytest.raises(
        FormatError,
        match=r"failed: http://127.*train.zip: HTTP Error 404.*from https://www\.garrick",
    ) as e:
        open_public("n-mnist", tmp_path / "new", download=True)
    assert "\n" not in str(e.value)


def test_what_is_in_the_way_is_kept(digits, tmp_path):
    (tmp_path / "NMNIST" / "mine").mkdir(parents=True)
    with pytest.raises(OutputError, match="NMNIST: exists, but does not hold n-mnist; move it"):
        open_public("n-mnist", tmp_path, download=True)
    (tmp_path / "NMNIST").rename(tmp_path / "old")
    assert names(open_public("n-mnist", tmp_path, download=True)) == DIGITS
    assert digits.asked == ["train.zip", "test.zip"]


def test_a_configuration_downloads_its_set(digits, tmp_path):
    network = {"name": "layers", "layers": ["2"], "width": 34, "height": 34, "classes": 2}
    entry = {"set": "n-mnist", "path": str(tmp_path / "new"), "download": True, "validation": 0.0}
    values = {"network": network, "data": [entry], "loop": {"keep": "last"}}
    (one,) = load_sets(config_from(values))
    assert [len(part) for part in one.parts] == [2, 0, 1]
    with pytest.raises(ConfigError, match="download needs set"):
        DataConfig(download=True)
    assert isinstance(config_from(values), Config)


def mats(folder: Path) -> None:
    for person, letter in (("Yin1", "a"), ("Yin2", "b")):
        (folder / person / letter).mkdir(parents=True)
        column = np.arange(4).reshape(-1, 1)
        values = {"ts": column, "x": column, "y": column, "pol": column % 2}
        savemat(folder / person / letter / f"{letter}_0001.mat", values)


def nested(name: str, folder: Path) -> bytes:
    """Return an archive that holds an archive of a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, zipped(folder))
    return buffer.getvalue()


def test_every_other_set_of_tonic_is_unpacked_to_what_its_folder_must_hold(
    server, monkeypatch, tmp_path
):
    sets = tonic.datasets
    for layout in ("Caltech101/accordion", "Caltech101_annotations/accordion"):
        atis(tmp_path / "planes" / layout / "image_0001.bin", made(9, 1, (240, 180)))
    planes = nested("Caltech101.zip", tmp_path / "planes")
    offer(monkeypatch, server, sets.NCALTECH101, "", "c.zip", planes)
    found = open_public("n-caltech101", tmp_path / "data", download=True)
    assert [row.label for row in found.rows] == ["accordion"]

    save(tmp_path / "cifar" / "cat" / "1.aedat4", made(9, 1), "aedat4")
    cats = nested("cat.zip", tmp_path / "cifar")
    offer(monkeypatch, server, sets.CIFAR10DVS, "", "d.zip", cats)
    found = open_public("cifar10-dvs", tmp_path / "data", download=True)
    assert (found.classes, found.events(0)) == (("cat",), made(9, 1))
    assert [file.name for file in (tmp_path / "data" / "CIFAR10DVS").glob("*.zip")] == [
        "CIFAR10DVS.zip"
    ]

    mats(tmp_path / "asl")
    offer(monkeypatch, server, sets.ASLDVS, "", "e.zip", nested("Yin.zip", tmp_path / "asl"))
    found = open_public("asl-dvs", tmp_path / "data", download=True)
    names = ["ASLDVS/Yin1/a/a_0001.mat", "ASLDVS/Yin2/b/b_0001.mat"]
    assert [row.name for row in found.rows] == names
    assert found.classes == ("a", "b")


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of tarfile, whose filter tonic leaves out
def test_dvs128_gesture_is_downloaded_as_tonics_archives(server, monkeypatch, tmp_path):
    for part, user in (("Train", 1), ("Test", 24)):
        rows = np.array([[5, 6, 1, 0], [7, 8, 0, 2]], np.float64)  # x, y, p and milliseconds
        file, buffer = io.BytesIO(), io.BytesIO()
        np.save(file, rows)
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            entry = tarfile.TarInfo(f"ibmGesture{part}/user{user:02}_led/0.npy")
            entry.size = file.tell()
            file.seek(0)
            archive.addfile(entry, file)
        kind = tonic.datasets.DVSGesture
        name = f"ibmGesture{part}.tar.gz"
        offer(monkeypatch, server, kind, part.lower(), name, buffer.getvalue())
    found = open_public("dvs128-gesture", tmp_path / "data", download=True)
    assert [(row.group, row.part) for row in found.rows] == [("1", "train"), ("24", "test")]
    assert found.events(0).t.tolist() == [0, 2000]


def test_the_sets_that_tonic_lacks_name_their_page(tmp_path):
    assert [name for name, row in PUBLIC_SETS.items() if row.download is None] == [
        "n-cars", "sl-animals-dvs",
    ]  # fmt: skip
    with pytest.raises(
        ConfigError, match=r"no automatic download; n-cars .* https://www\.prophesee"
    ):
        open_public("n-cars", tmp_path / "new", download=True)


def test_a_set_of_ones_own_is_downloaded_by_its_function(tmp_path):
    calls = []

    def download(folder: Path) -> None:
        calls.append(sorted(entry.name for entry in folder.iterdir()))
        if len(calls) == 1:
            (folder / "half").mkdir()
            raise OSError("connection lost")
        (folder / "half").rmdir()
        folder_of(folder / "gates", {"open": 2, "shut": 1})

    def opened(folder: Path):
        return open_samples(folder / "gates") if (folder / "gates").is_dir() else None

    row = PublicSet(name="g", where="https://g", layout="gates", open=opened, download=download)
    with pytest.raises(FormatError, match="download of g failed: connection lost; try again"):
        open_public(row, tmp_path / "new", download=True)
    assert not (tmp_path / "new").exists()
    assert len(open_public(row, tmp_path / "new", download=True)) == 3
    assert len(open_public(row, tmp_path / "new")) == 3
    assert calls == [[], ["half"]]
