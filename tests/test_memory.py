"""Memory: the pool of buffers, what training keeps, and what long and live streams take."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import pytest
import torch

import dvskit
import dvskit.training.distributed
from dvskit.neurons import LIF, release_buffers
from dvskit.neurons.buffers import POOL, BufferPool
from dvskit.training import keep_memory
from tests.laws import scattered

MB = 1 << 20


def block(
    pool: BufferPool, megabytes: float = 2, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    count = int(megabytes * MB) // dtype.itemsize
    return pool.empty((count,), (1,), dtype)


def test_memory_of_a_tensor_that_is_gone_serves_the_next():
    pool = BufferPool(8 * MB)
    first = block(pool)
    address = first.data_ptr()
    del first
    assert pool.idle_bytes > 0
    again = block(pool, 1.8)
    assert again.data_ptr() == address
    assert pool.idle_bytes == 0


@pytest.mark.slow
def test_memory_in_use_by_any_view_is_not_given_out():
    pool = BufferPool(8 * MB)
    first = block(pool)
    first.fill_(1.0)
    view = first.view(2, -1)[1].detach().numpy()
    del first
    gc.collect()
    block(pool).fill_(2.0)
    assert (view == 1).all()
    del view
    assert pool.idle_bytes > 0


def test_idle_memory_is_bounded_and_the_oldest_goes_first():
    pool = BufferPool(5 * MB)
    tensors = [block(pool) for _ in range(4)]
    addresses = [tensor.data_ptr() for tensor in tensors]
    while tensors:
        tensors.pop(0)
    assert 4 * MB <= pool.idle_bytes <= 5 * MB
    assert block(pool).data_ptr() in addresses[2:]
    pool.release()
    assert pool.idle_bytes == 0


def test_a_block_is_not_wasted_on_what_is_much_smaller():
    pool = BufferPool(16 * MB)
    large = block(pool, 8)
    address = large.data_ptr()
    del large
    assert block(pool, 2).data_ptr() != address
    assert block(pool, 7, torch.bfloat16).data_ptr() == address


def test_shapes_strides_and_dtypes_are_as_asked():
    pool = BufferPool(8 * MB)
    tensor = pool.empty((3, 700, 500), (350_000, 1, 700), torch.float32)
    assert tensor.shape == (3, 700, 500)
    assert tensor.stride() == (350_000, 1, 700)
    assert tensor.data_ptr() % 64 == 0
    assert pool.empty((3, 0), (1, 1), torch.int32).dtype == torch.int32
    assert pool.empty((2,), (1,), torch.bfloat16).untyped_storage().nbytes() == 4


def test_threads_that_take_and_give_back_at_once_never_share_a_block():
    pool, errors = BufferPool(32 * MB), []

    def work(number: int) -> None:
        for turn in range(60):
            tensor = block(pool, 1 + turn % 3)
            tensor.fill_(number)
            if not bool((tensor == number).all()):
                errors.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_layers_use_the_pool_and_their_results_do_not_change_when_it_does():
    release_buffers()
    x = torch.rand((10, 60_000), generator=torch.Generator().manual_seed(0))
    layer = LIF(backend="fused")
    first = layer(x)
    kept = first.clone()
    layer(x * 0.5)  # its spikes are gone at once, and their memory is idle
    assert POOL.idle_bytes > 2 * MB
    layer(x * 2)
    assert torch.equal(first, kept)
    release_buffers()
    assert POOL.idle_bytes == 0


KEPT = """
import resource, runpy, sys
import numpy as np
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for keep in (False, True):
    assert not keep or runpy.run_path(sys.argv[1])["keep_memory"]()
    for turn in range(3):
        before = faults()
        np.ones(8_000_000)
        taken = faults() - before
    print(taken)
"""


def run_python(code, *words, **environment):
    """Run code in a process of its own; return the words that it prints."""
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(
        command, env=environment or None, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.split()


@pytest.mark.slow(seconds=3)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is for Linux")
def test_freed_memory_is_kept_by_the_process():
    environment = {key: value for key, value in os.environ.items() if "MALLOC_" not in key}
    left, kept = run_python(KEPT, dvskit.training.distributed.__file__, **environment)
    assert int(left) > 10
    assert int(kept) < 10


def test_what_the_environment_says_of_memory_stands(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_memory()
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_memory()


STREAMED = """
import resource, sys, dvskit
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
for path in sys.argv[1:]:
    blocks = dvskit.open_events(path, size=(640, 480)).blocks(reuse=True)
    count, before = len(next(blocks)), peak()
    count += sum(len(block) for block in blocks)
    print(count, peak() - before)
"""


class Long:
    """Events that are the same in each second."""

    size = dvskit.Size(640, 480)

    def __iter__(self):
        block = scattered(1 << 20, self.size, span_us=10**6)
        for lap in range(8):
            columns = (block.x, block.y, block.p, self.size)
            yield dvskit.Events.from_checked(block.t + lap * 10**6, *columns)


@pytest.mark.slow(seconds=3)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is in other units elsewhere")
def test_streaming_a_long_file_takes_the_memory_of_a_block(tmp_path):
    dvskit.save_events(Long(), tmp_path / "a.hdf5")
    with (tmp_path / "a.csv").open("wb") as file:
        for _ in range(128):
            file.write(b"1234567,123,45,1\n" * (1 << 16))  # 143 MB
    events, taken, lines, taken_of_lines = map(
        int, run_python(STREAMED, tmp_path / "a.hdf5", tmp_path / "a.csv")
    )
    assert events == lines == 8 << 20
    assert taken < 60
    assert taken_of_lines < 60


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize("seconds", [2, pytest.param(30, marks=pytest.mark.campaign)])
def test_all_live_events_are_decided_on_or_counted_in_bounded_memory(seconds):
    words = ("-m", "tests.benchmarks.reliability", "live", "--seconds", str(seconds))
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all seen or counted as dropped" in done.stdout
    assert len(done.stdout.splitlines()) > seconds // 10, "a row for each ten seconds"
