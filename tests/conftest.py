"""Where the recordings are, and what a run without them may skip."""

from __future__ import annotations

import faulthandler
import hashlib
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

# Beside other test processes threads of BLAS wait for each other longer than they compute. To be
# said before NumPy and torch are loaded, which read it once.
if "PYTEST_XDIST_WORKER" in os.environ:
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

from dvskit import cli
from tests.bars import bars, trained  # noqa: F401 (fixtures)
from tests.browser import Browser, find_chromium, start_browser
from tests.loops import compile_loops
from tests.page_code import run_command

_TOP = Path(__file__).resolve().parents[1]
_COMPILING = re.compile("^compiling the loops .*\n", re.MULTILINE)  # said where no test came before


def pytest_configure(config: pytest.Config) -> None:
    """Give all processes of a run the sources of this checkout and one cache of compiled loops.

    The cache is named for the loops' sources: numba renews a loop when its own file changes, but
    not when a loop that it calls in another file does.
    """
    if "PYTEST_XDIST_WORKER" in os.environ or "NUMBA_CACHE_DIR" in os.environ:
        return
    loops = sorted((_TOP / "dvskit").rglob("*_kernels.py"))
    if not loops or not hasattr(config, "cache"):  # of an installed package; -p no:cacheprovider
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(_TOP), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    ).rstrip(os.pathsep)
    # Without byte code each of some hundred processes would compile all sources again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in loops)).hexdigest()[:12]
    cache = config.cache.mkdir("dvskit-loops")
    for older in cache.iterdir():
        if older.name != digest:
            shutil.rmtree(older, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(cache / digest)
    if config.getoption("numprocesses", None) and not (cache / digest / "whole").exists():
        compile_loops()
        (cache / digest / "whole").touch()


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Runs are compared bit for bit, and sums of several threads are rounded otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def find_data() -> Path | None:
    named = os.environ.get("DVSKIT_DATA")
    for folder in [Path(named)] if named else [_TOP.parent / "shared" / "data"]:
        if (folder / "recordings").is_dir():
            return folder
    return None


DATA = find_data()


def skip_or_fail(reason: str) -> NoReturn:
    """Skip a test for want of something, or fail it where DVSKIT_MUST_NOT_SKIP is set."""
    if os.environ.get("DVSKIT_MUST_NOT_SKIP"):
        pytest.fail(f"{reason}, and DVSKIT_MUST_NOT_SKIP is set")
    pytest.skip(reason)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave campaigns out unless -m names them, and begin with the files that take longest.

    Then processes side by side end together.
    """
    if "campaign" not in config.option.markexpr:
        campaigns = [item for item in items if item.get_closest_marker("campaign")]
        config.hook.pytest_deselected(items=campaigns)
        items[:] = [item for item in items if not item.get_closest_marker("campaign")]
    seconds: Counter[Path] = Counter()
    for item in items:
        for mark in item.iter_markers("slow"):
            seconds[item.path] += mark.kwargs.get("seconds", 2)
    items.sort(key=lambda item: -seconds[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Watch the end of a test too, and that it left the process scheduled as others are.

    pytest stops watching (faulthandler_timeout) once a test has failed.
    """
    faulthandler.dump_traceback_later(300, exit=True, file=sys.__stderr__)
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) not in (os.SCHED_FIFO, os.SCHED_RR), "left in real time"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real recordings (DVSKIT_DATA); a test that needs it skips without."""
    if DATA is None:
        skip_or_fail("no recordings: set DVSKIT_DATA to their folder")
    return DATA


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["dvskit", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out = capsys.readouterr()
        return ended.value.code or 0, out.out, _COMPILING.sub("", out.err)

    return run


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `dvskit sample`, one for all processes; tests copy it before they write."""
    from filelock import FileLock

    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder = place / "dvskit-sample"
    with FileLock(place / "dvskit-sample.lock"):
        if not folder.exists():
            run_command(f"dvskit sample {folder}")
    return folder


@pytest.fixture(scope="module")  # closed behind a file's tests: an idle one may keep a core busy
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium; a test that needs it skips without one."""
    found = find_chromium()
    if found is None:
        skip_or_fail("no Chromium with chromedriver on the PATH")
    started = start_browser(*found, tmp_path_factory.mktemp("chromium"))
    try:
        yield started
    finally:
        started.driver.quit()
