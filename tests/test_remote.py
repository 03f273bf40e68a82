"""Inputs and outputs at addresses: the bytes and messages of local files, one-line errors."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

import dvskit
from dvskit.cli import _console, _remote
from tests.conftest import skip_or_fail
from tests.test_events import make
from tests.test_many import files_in

MODEL = "nmnist-signed-lif"


@pytest.fixture
def store(run, tmp_path, monkeypatch):
    """A store in memory; files for a job lie in a folder that must be empty after it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    files = MemoryFileSystem()
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()
    assert list(temporary.iterdir()) == []


def put(store, name, number=0):
    made = Path(f"{number}.npz")
    dvskit.save_events(make(300, seed=number), made)
    store.pipe(name, made.read_bytes())
    return made


def test_one_input_and_output_at_addresses_are_those_of_local_files(run, store):
    local = put(store, "/lab/a.npz")
    code, _, err = run("convert", "memory://lab/a.npz", "memory://lab/b.raw")
    assert code == 0
    assert "memory://lab/b.raw: 300 events" in err
    assert run("convert", local, "b.raw")[0] == 0
    assert store.cat("/lab/b.raw") == Path("b.raw").read_bytes()
    code, _, err = run("convert", local, "memory://lab/b.raw")
    assert (code, err) == (
        1, "dvskit: error: memory://lab/b.raw: exists already; --force replaces it\n"
    )  # fmt: skip
    assert run("convert", local, "memory://lab/b.raw", "--force")[0] == 0
    facts = json.loads(run("info", "memory://lab/a.npz", "--json")[1])
    here = json.loads(run("info", local, "--json")[1])
    assert facts == here | {"file": "memory://lab/a.npz"}
    assert run("info", "memory://lab/a.npz")[1].startswith("memory://lab/a.npz: npz")
    assert run("plot", "rate", "memory://lab/a.npz", "-o", "memory://lab/r.svg")[0] == 0
    assert b"<svg" in store.cat("/lab/r.svg")


def test_a_failed_job_leaves_nothing_at_its_address(run, store):
    store.pipe("/lab/bad.npz", b"PK no more")
    code, _, err = run("convert", "memory://lab/bad.npz", "memory://lab/b.raw")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("dvskit: error: memory://lab/bad.npz: ")
    assert sorted(store.find("/lab")) == ["/lab/bad.npz"]


def test_recordings_at_addresses_are_classified_like_local_files(run, store, tmp_path):
    for number in range(2):
        put(store, f"/lab/r/{number}.npz", number)
    store.pipe("/lab/r/2.npz", b"PK no more")
    (tmp_path / "r").mkdir()
    for name in store.find("/lab/r"):
        (tmp_path / "r" / Path(name).name).write_bytes(store.cat(name))
    for more in ((), ("--json",)):
        local = run("classify", "r", "--model", MODEL, *more)
        code, out, err = run("classify", "memory://lab/r/", "--model", MODEL, *more)
        there = [text.replace("memory://lab/r", "r") for text in (out, err)]
        if not more:  # columns are as wide as the longest name
            there[0] = "\n".join(" ".join(line.split()) for line in there[0].splitlines())
            local = (
                local[0],
                "\n".join(" ".join(x.split()) for x in local[1].splitlines()),
                local[2],
            )
        assert (code, *there) == local
    one = run("classify", "memory://lab/r/0.npz", "--model", MODEL)
    assert one[:2] == run("classify", "r/0.npz", "--model", MODEL)[:2]


@pytest.mark.slow(seconds=6)
def test_folders_and_patterns_at_addresses_give_the_files_of_local_ones(run, store, tmp_path):
    for number, name in enumerate(("r/a.npz", "r/x/b.npz", "r/.hidden.npz", "r/notes.md")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        dvskit.save_events(make(200, seed=number), tmp_path / "m.npz", overwrite=True)
        (tmp_path / "m.npz").rename(tmp_path / name)
    at = f"file://{tmp_path}"
    (tmp_path / "r" / "x" / "bad.npz").write_bytes(b"PK no more")
    local = run("convert", "r", "local", "--to", "csv", "--jobs", "1")
    there = run("convert", f"{at}/r/", f"{at}/out/", "--to", "csv", "--jobs", "1")
    assert local[0] == there[0] == 1
    assert there[2].replace(f"{at}/", "").replace("out", "local") == local[2]
    made = files_in(tmp_path / "out")
    assert made == files_in(tmp_path / "local")
    rows = (tmp_path / "out" / "manifest.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]].count(f"{at}/r/x/b.npz") == 1
    (tmp_path / "r" / "x" / "bad.npz").unlink()
    code, _, err = run("convert", f"{at}/r/*/*.npz", f"{at}/r/*.npz", "-o", f"{at}/out/",
                       "--to", "csv", "--jobs", "1")  # fmt: skip
    assert (code, err) == (0, f"{at}/out: 0 files written, 2 skipped as they exist (--force "
                              "replaces all)\n")  # fmt: skip
    code, _, err = run("convert", f"{at}/r/", f"{at}/out/", "--to", "csv", "--stop", "1ms")
    assert (code, "was made with other options (2 files" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("info", "memory://lab/no.npz"), 1, "memory://lab/no.npz: does not exist"),
        (("convert", "memory://lab/*.raw", "o/", "--to", "csv"), 1,
         "memory://lab/*.raw: no file matches this pattern"),
        (("convert", "memory://lab/r/", "o/", "--to", "csv"), 1,
         "memory://lab/r/: contains no recordings, which are files of"),
        (("convert", "a.npz", "https://h/o.raw"), 1, "https://h/o.raw: can only be read"),
        (("render", "a.npz", "-o", "memory://lab/f/"), 2, "no folder of one input can be written"),
    ],
)  # fmt: skip
def test_errors_at_addresses_are_one_line(run, store, monkeypatch, words, code, said):
    put(store, "/lab/x.npz").rename("a.npz")
    monkeypatch.setattr(_remote, "_opened", lambda address: (store, address.split(":/")[1]))
    made = run(*words)
    assert (made[0], made[1], made[2].count("\n")) == (code, "", 1)
    assert said in made[2]


def test_errors_of_stores_name_the_fix():
    class NoCredentialsError(Exception):
        pass

    for error, said in (
        (FileNotFoundError("The specified bucket does not exist"), "the bucket does not exist"),
        (NoCredentialsError("Unable to locate credentials"), "no credentials; set those of"),
        (PermissionError("Forbidden"), "access is denied (Forbidden); check the credentials"),
        (ConnectionRefusedError(111, "Connection refused"), "[Errno 111] Connection refused"),
    ):
        assert said in _remote._reason(error)


def test_a_missing_package_is_named_with_its_command(run, monkeypatch):
    for scheme, package in (("s3", "s3fs"), ("gs", "gcsfs"), ("http", "aiohttp")):
        monkeypatch.setitem(sys.modules, package, None)
        said = f"dvskit: error: {scheme}:// needs {package}; pip install 'dvskit[remote]'\n"
        assert run("info", f"{scheme}://b/a.raw") == (2, "", said)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:word@h/a.raw: gone", "https://h/a.raw: gone"),
        ("https:/me:word@h/a.raw?sig=s3:cr&t=1: gone", "https://h/a.raw: gone"),
        ("s3:/b/k.raw?x=1 and s3://b/2.raw", "s3://b/k.raw and s3://b/2.raw"),
        ("file:/data/a.raw", "file:///data/a.raw"),
        ("udp://h:5000 and me@h", "udp://h:5000 and me@h"),
    ],
)
def test_addresses_are_shown_whole_and_without_credentials(text, shown):
    assert _console.shown(text) == shown


def test_inputs_come_over_http(run, store, tmp_path):
    if find_spec("aiohttp") is None:
        skip_or_fail("no aiohttp: pip install 'dvskit[remote]'")
    local = put(store, "/lab/a.npz")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    handler.func.log_message = lambda *given: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        assert run("convert", f"{at}/{local}?token=secret", "b.raw")[0] == 0
        code, out, _ = run("info", f"{at}/{local}?token=secret")
        assert (code, out.startswith(f"{at}/{local}: npz")) == (0, True)
        code, _, err = run("info", f"{at}/none.npz?token=secret")
        assert (code, err) == (1, f"dvskit: error: {at}/none.npz: does not exist\n")
        server.shutdown()
    code, _, err = run("info", f"{at}/{local}?token=secret")
    assert (code, err.count("\n"), "secret" in err) == (1, 1, False)
    assert run("convert", local, "c.raw")[0] == 0
    assert Path("b.raw").read_bytes() == Path("c.raw").read_bytes()
