"""A file as an array of bytes that does not stay in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.formats.file_bytes import FileMap


def resident_kb() -> int:
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssFile"))


def test_what_is_forgotten_takes_no_memory_and_is_read_again(tmp_path):
    try:
        before = resident_kb()
    except (OSError, StopIteration):
        pytest.skip("the system does not tell how much of files is in memory")
    content = np.random.default_rng(1).integers(0, 256, 40 << 20, np.uint8)
    (tmp_path / "a").write_bytes(content.tobytes())
    file = FileMap(tmp_path / "a")
    peak = 0
    for stop in range(1 << 20, len(content) + 1, 1 << 20):
        assert np.array_equal(file.data[stop - (1 << 20) : stop], content[stop - (1 << 20) : stop])
        file.forget(stop)
        peak = max(peak, resident_kb())
    assert peak - before < 16 << 10
    assert np.array_equal(file.data, content)
    file.forget(1 << 40)
    assert np.array_equal(file.data[:100], content[:100])
