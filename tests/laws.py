"""What tests share: random events, streams in blocks, and the laws of errors, cuts and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from dvskit import _interrupt
from dvskit.events import Events, ReadableSource
from dvskit.registry import Registry


def scattered(
    count: int = 1000,
    size: tuple[int, int] = (24, 16),
    *,
    span_us: int = 100_000,
    seed: int = 0,
    on: float = 0.5,
) -> Events:
    """Return events at random places and times in [0, span_us), a share `on` of them ON."""
    rng = np.random.default_rng(seed)
    return Events(
        t=np.sort(rng.integers(0, span_us, count)),
        x=rng.integers(0, size[0], count),
        y=rng.integers(0, size[1], count),
        p=rng.random(count) < on,
        size=size,
    )


def rows_of(events: Events) -> list[tuple[int, int, int, bool]]:
    """Return events as rows (t, x, y, p) of Python numbers."""
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def random_cuts(count: int, seed: int, pieces: int = 40) -> list[int]:
    """Return where to cut `count` things: the bounds of pieces, some empty and some of one."""
    inner = np.random.default_rng(seed).integers(0, count + 1, pieces)
    return sorted([0, 0, min(1, count), *inner.tolist(), *inner[:3].tolist(), count, count])


class InBlocks(ReadableSource):
    """Events as a source of blocks of `length` events; counts how often it is read."""

    def __init__(self, events: Events, length: int, *, live: bool = False) -> None:
        self.size, self.live = events.sensor_size, live
        self._events, self._length = events, length
        self.passes = 0

    def __iter__(self) -> Iterator[Events]:
        self.passes += 1
        yield from self._events.blocks(count=self._length)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Run dvskit on so many threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVSKIT_THREADS", str(count))
        yield


def same_on_threads(run: Callable[[], Any], *counts: int) -> Any:
    """Return what `run` returns, after checking that it is equal on 1 and on `counts` threads."""
    with on_threads(1):
        alone = run()
    for count in counts or (3,):
        with on_threads(count):
            assert np.asarray(run() == alone).all()
    return alone


@contextmanager
def refused(kind: type[Exception], *named: object) -> Iterator[None]:
    """Check that the block raises `kind` in one line, which has all names, places and values."""
    with pytest.raises(kind) as caught:
        yield
    text = str(caught.value)
    del caught  # else its frames, and the files that they hold, live until garbage is collected
    assert text, "the error says nothing"
    assert "\n" not in text, "an error is one line"
    for each in named:
        assert str(each) in text


def refused_command(result: tuple[int, str, str], *named: object) -> str:
    """Check that a command (fixture `run`) failed with one line that has all names; return it."""
    code, out, err = result
    assert code in (1, 2), err
    assert out == ""
    assert err.startswith("dvskit: error: ")
    assert err.count("\n") == 1, "an error is one line"
    for each in named:
        assert str(each) in err
    return err


def forget_interrupts(patch: pytest.MonkeyPatch) -> None:
    """Let this process be interrupted anew; dvskit expects a process to end with its first one."""
    patch.setattr(_interrupt, "_state", _interrupt._State())


@contextmanager
def forgotten(*registries: Registry[Any]) -> Iterator[None]:
    """Forget afterwards what is registered, for which registries have no door."""
    with pytest.MonkeyPatch.context() as patch:
        for registry in registries:
            patch.setattr(registry, "_parts", dict(registry))
        yield
