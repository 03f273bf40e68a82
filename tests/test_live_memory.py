"""Live decisions for half a minute; the benchmark that it runs takes hours by default."""

import subprocess
import sys

import pytest


@pytest.mark.slow(seconds=35)
def test_all_events_are_decided_on_or_counted_in_bounded_memory():
    words = ("-m", "tests.benchmarks.reliability", "live", "--seconds", "30")
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all seen or counted as dropped" in done.stdout
    assert len(done.stdout.splitlines()) > 3, "a row for each ten seconds"
