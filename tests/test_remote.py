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
from dvskit.cli import _console
from tests.conftest import skip_or_fail
from tests.laws import refused_command, scattered
from tests.test_many import files_in


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
    dvskit.save_events(scattered(300, (20, 10), seed=number), made)
    store.pipe(name, made.read_bytes())
    return made


def test_one_input_and_output_at_addresses_are_those_of_local_files(run, store):
    local = put(store, "/lab/a.npz")
    code, _, err = run("convert", "memory://lab/a.npz", "memory://lab/b.raw")
    assert code == 0
    assert "memory://lab/b.raw: 300 events" in err
    assert run("convert", local, "b.raw")[0] == 0
    assert store.cat("/lab/b.raw") == Path("b.raw").read_bytes()
    refused_command(run("convert", local, "memory://lab/b.raw"), "memory://lab/b.raw", "--force")
    assert run("convert", local, "memory://lab/b.raw", "--force")[0] == 0
    facts = json.loads(run("info", "memory://lab/a.npz", "--json")[1])
    here = json.loads(run("info", local, "--json")[1])
    assert facts == here | {"file": "memory://lab/a.npz"}
    assert run("plot", "rate", "memory://lab/a.npz", "-o", "memory://lab/r.svg")[0] == 0
    assert b"<svg" in store.cat("/lab/r.svg")


def test_a_failed_job_leaves_nothing_at_its_address(run, store):
    store.pipe("/lab/bad.npz", b"PK no more")
    failed = run("convert", "memory://lab/bad.npz", "memory://lab/b.raw")
    refused_command(failed, "memory://lab/bad.npz")
    assert store.find("/lab") == ["/lab/bad.npz"]


@pytest.mark.slow(seconds=3)
def test_folders_and_patterns_at_addresses_give_the_files_of_local_ones(run, store, tmp_path):
    for number, name in enumerate(("r/a.npz", "r/x/b.npz", "r/.hidden.npz", "r/notes.md")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        dvskit.save_events(scattered(200, seed=number), tmp_path / "m.npz", overwrite=True)
        (tmp_path / "m.npz").rename(tmp_path / name)
    at, one_job = f"file://{tmp_path}", ("--to", "csv", "--jobs", "1")
    (tmp_path / "r" / "x" / "bad.npz").write_bytes(b"PK no more")
    local = run("convert", "r", "local", *one_job)
    there = run("convert", f"{at}/r/", f"{at}/out/", *one_job)
    assert local[0] == there[0] == 1
    assert there[2].replace(f"{at}/", "").replace("out", "local") == local[2]
    made = files_in(tmp_path / "out")
    assert sorted(made) == ["a.csv", "x/b.csv"]
    assert made == files_in(tmp_path / "local")
    rows = (tmp_path / "out" / "manifest.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]].count(f"{at}/r/x/b.npz") == 1
    (tmp_path / "r" / "x" / "bad.npz").unlink()
    code, _, err = run("convert", f"{at}/r/*/*.npz", f"{at}/r/*.npz", "-o", f"{at}/out/", *one_job)
    assert code == 0
    assert "2 skipped" in err
    failed = run("convert", f"{at}/r/", f"{at}/out/", *one_job, "--stop", "1ms")
    refused_command(failed, "2 files")


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("info", "memory://lab/no.npz"), 1, "memory://lab/no.npz"),
        (("convert", "memory://lab/*.raw", "o/", "--to", "csv"), 1, "memory://lab/*.raw"),
        (("convert", "a.npz", "https://h/o.raw"), 1, "https://h/o.raw"),
        (("render", "a.npz", "-o", "memory://lab/f/"), 2, "folder"),
    ],
)
def test_errors_at_addresses_are_one_line(run, store, words, code, named):
    put(store, "/lab/x.npz").rename("a.npz")
    failed = run(*words)
    assert failed[0] == code
    refused_command(failed, named)


class NoCredentialsError(Exception):
    """As that of a store."""


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (FileNotFoundError("The specified bucket does not exist"), "bucket"),
        (NoCredentialsError("Unable to locate credentials"), "credentials"),
        (PermissionError("Forbidden"), "Forbidden"),
        (ConnectionRefusedError(111, "Connection refused"), "[Errno 111] Connection refused"),
    ],
)
def test_errors_of_stores_are_one_line(run, store, monkeypatch, error, named):
    def fail(*_, **__):
        raise error

    put(store, "/lab/a.npz")
    monkeypatch.setattr(MemoryFileSystem, "get_file", fail)
    refused_command(run("info", "memory://lab/a.npz"), "memory://lab/a.npz", named)


@pytest.mark.parametrize(
    ("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("http", "aiohttp")]
)
def test_a_missing_package_is_named_with_its_command(run, monkeypatch, scheme, package):
    monkeypatch.setitem(sys.modules, package, None)
    failed = run("info", f"{scheme}://b/a.raw")
    assert failed[0] == 2
    refused_command(failed, f"{scheme}://", f"pip install fsspec {package}")


# By the function itself: without a network no command reaches such addresses.
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


@pytest.mark.slow
def test_inputs_come_over_http(run, store, tmp_path):
    if find_spec("aiohttp") is None:
        skip_or_fail("no aiohttp: pip install '.[remote]'")
    local = put(store, "/lab/a.npz")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    handler.func.log_message = lambda *given: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        assert run("convert", f"{at}/{local}?token=secret", "b.raw")[0] == 0
        code, out, _ = run("info", f"{at}/{local}?token=secret")
        assert (code, out.startswith(f"{at}/{local}: npz")) == (0, True)
        refused_command(run("info", f"{at}/none.npz?token=secret"), f"{at}/none.npz: ")
        server.shutdown()
    err = refused_command(run("info", f"{at}/{local}?token=secret"), at)
    assert "secret" not in err
    assert run("convert", local, "c.raw")[0] == 0
    assert Path("b.raw").read_bytes() == Path("c.raw").read_bytes()
