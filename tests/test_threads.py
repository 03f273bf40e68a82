"""Threads: all parts run, errors come out, a forked child has its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from dvskit._threads import one_thread, run_parts, run_ranges, thread_count
from dvskit.errors import ConfigError
from tests.laws import refused


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("parts", [1, 2, 9])
def test_every_part_runs_once(threads, parts):
    done = []
    run_parts(done.append, parts, threads)
    assert sorted(done) == list(range(parts))


def test_parts_may_have_parts():
    done = []

    def work(part):
        run_parts(lambda inner: done.append((part, inner)), 5, 2)

    run_parts(work, 7, 2)
    assert sorted(done) == [(part, inner) for part in range(7) for inner in range(5)]
    run_parts(work, 2, 2)  # and afterwards all is as before
    assert len(done) == 45


def test_the_error_of_the_first_part_comes_out_after_all_have_ended():
    done = []

    def work(part):
        time.sleep(0.01 * (5 - part))
        if part in (1, 3):
            raise KeyError(part)
        done.append(part)

    with pytest.raises(KeyError, match="1"):
        run_parts(work, 5, 3)
    assert sorted(done) == [0, 2, 4]


def test_parts_run_side_by_side_on_so_many_threads():
    together = threading.Barrier(3, timeout=10)
    run_parts(lambda part: together.wait(), 6, 3)


def test_behind_an_interrupt_nothing_more_is_begun():
    done = []
    here = threading.get_ident()

    def work(part):
        if threading.get_ident() == here:
            raise KeyboardInterrupt
        time.sleep(0.05)
        done.append(part)

    with pytest.raises(KeyboardInterrupt):
        run_parts(work, 20, 2)
    time.sleep(0.2)
    assert len(done) <= 2


def test_the_environment_sets_the_number(monkeypatch):
    for name in ("DVSKIT_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    alone = thread_count()
    assert alone >= 1
    for processes, share in (("2", max(1, alone // 2)), ("1000", 1)):  # of torchrun
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert thread_count() == share
    monkeypatch.setenv("DVSKIT_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.setenv("DVSKIT_THREADS", "0")
    with refused(ConfigError, "DVSKIT_THREADS"):
        thread_count()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_can_go_on():
    code = """
import os, sys
from dvskit._threads import run_parts
done = []
run_parts(done.append, 4, 2)
child = os.fork()
run_parts(done.append, 4, 2)
if child == 0:
    os._exit(0 if len(done) == 8 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.run(command, timeout=60).returncode == 0


def test_within_one_thread_all_parts_run_on_it_and_other_threads_are_left_alone():
    def threads_of_parts():
        seen = set()
        run_parts(lambda part: (time.sleep(0.005), seen.add(threading.get_ident())), 8, 4)
        return seen

    with one_thread():
        assert thread_count() == 1
        assert threads_of_parts() == {threading.get_ident()}
        elsewhere = []
        other = threading.Thread(target=lambda: elsewhere.append(len(threads_of_parts())))
        other.start()
        other.join()
        with one_thread():
            pass
        assert thread_count() == 1
    assert elsewhere[0] > 1
    assert len(threads_of_parts()) > 1


@pytest.mark.parametrize(("count", "parts"), [(0, 1), (1, 4), (7, 3), (8, 8)])
def test_ranges_make_up_the_whole_once(count, parts):
    done = []
    run_ranges(lambda first, stop: done.append(range(first, stop)), count, parts)
    assert len(done) == parts
    assert sorted(number for part in done for number in part) == list(range(count))
