"""Samples are sequences: of (events, label), of (image, label), and of fewer samples."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dvskit.datasets import (
    Cache,
    DrawnSamples,
    MovedImages,
    TonicSamples,
    open_images,
    open_public,
    open_samples,
)
from dvskit.datasets.cache import EventsInMemory, Memory
from dvskit.events import Events
from tests.drawn_samples import DrawnSamples as Random
from tests.laws import refused
from tests.test_images import tonic_set
from tests.test_public_sets import atis, made


def images(folder: Path):
    for number, label in enumerate(("a", "a", "b", "b", "b")):
        (folder / label).mkdir(parents=True, exist_ok=True)
        picture = np.full((6, 5), 50 * number, np.uint8)
        picture[:3] = 200
        assert cv2.imwrite(str(folder / label / f"{number}.png"), picture)
    return open_images(folder)


def tonic():
    kind = np.dtype([("t", "<i8"), ("x", "<i8"), ("y", "<i8"), ("p", "<i8")])
    arrays = [np.array([(k, k, 1, 1), (9, 2, 2, 0)], kind) for k in range(4)]
    return TonicSamples(tonic_set(arrays, sensor_size=(8, 8, 2), targets=[0, 1, 0, 1]))


def public(folder: Path):
    for number in range(4):
        atis(folder / "Train" / str(number % 2) / f"{number}.bin", made(20, number, (34, 34)))
    return open_public("n-mnist", folder)


def on_only(sample):
    events = sample.events()
    return events[events.p]


MAKE = {
    "files": lambda bars, folder: open_samples(bars),
    "kept": lambda bars, folder: open_samples(bars).cached(Cache(folder / "kept")),
    "some": lambda bars, folder: open_samples(bars).choose([3, 1, 15, 2]),
    "changed": lambda bars, folder: open_samples(bars).adapted(on_only, mark=" ON"),
    "drawn": lambda bars, folder: DrawnSamples(
        2, seed=1, gestures=("hand_clap", "arm_roll"), size=(16, 16), fps=30, duration_us=100_000
    ),
    "tonic": lambda bars, folder: tonic(),
    "public": lambda bars, folder: public(folder / "NMNIST"),
    "stills": lambda bars, folder: images(folder / "images"),
    "moved": lambda bars, folder: MovedImages(images(folder / "images"), (8, 8)),
}


def same(a, b) -> bool:
    return a == b if isinstance(a, Events) else np.array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKE)
def test_samples_are_a_sequence_of_contents_and_labels(name: str, bars: Path, tmp_path: Path):
    samples = MAKE[name](bars, tmp_path)
    one = getattr(samples, "events", None) or samples.image
    count = len(samples)
    items = list(samples)
    assert len(items) == count > 3
    assert f"{count} samples" in repr(samples)
    for number, (content, label) in enumerate(items):
        assert same(content, one(number))
        assert label == samples.classes[samples.labels[number]]
    for number in (0, -1, -count, np.int64(2)):
        assert same(samples[number][0], items[number][0])
        assert samples[number][1] == items[number][1]
    for number in (count, -count - 1):
        with refused(IndexError, number, count):
            samples[number]
    for part in (slice(1, 3), slice(None, None, -1), slice(-2, None), slice(5, 5)):
        fewer = samples[part]
        assert fewer.classes == samples.classes
        assert fewer.rows == samples.rows[part]
        assert [label for _, label in fewer] == [label for _, label in items[part]]
        assert all(same(a, b) for (a, _), (b, _) in zip(fewer, items[part], strict=True))
    chosen = ([2, -1, 0], np.array([2, -1, 0]), torch.tensor([2, -1, 0]), samples.labels == 1, [])
    for numbers in chosen:
        places = np.arange(count)[np.asarray(numbers) if len(numbers) else slice(0)]
        for fewer in (samples[numbers], samples.choose(numbers)):
            assert list(fewer.rows) == [samples.rows[place] for place in places]
            assert fewer.classes == samples.classes
            assert not len(fewer) or same(fewer[-1][0], items[places[-1]][0])
    for wrong in ([count], [-count - 1], [True], [0.5], ["a"]):
        with refused(IndexError, count):
            samples[wrong]
    for wrong in ("a", None, 0.5):
        with pytest.raises(TypeError):
            samples[wrong]


ADAPTED = {
    "changed": lambda samples, folder: samples.adapted(on_only),
    "cached": lambda samples, folder: samples.cached(Cache(folder)),
    "in memory": lambda samples, folder: samples.adapted(
        EventsInMemory(Memory(8000, replaces=False))
    ),
    "without draws": lambda samples, folder: samples.without_draws(),
    "several": lambda samples, folder: samples.without_draws().adapted(on_only).cached(
        Cache(folder, memory_gb=1e-5)
    ),
}  # fmt: skip


@pytest.mark.parametrize("draws", [False, True])
@pytest.mark.parametrize("name", ADAPTED)
def test_adapted_samples_are_the_same_on_threads_in_each_pass_and_however_chosen(
    name: str, draws: bool, tmp_path: Path
):
    def adapted(numbers=range(20)):
        whole = Random(20, draws=draws).choose(numbers)
        return ADAPTED[name](whole, tmp_path / str(draws))

    def read(samples, number: int, seed: int | None = None) -> Events:
        return samples.events(number, None if seed is None else np.random.default_rng(seed))

    samples, order = adapted(), [7, 3, 3, 19, 0]
    first = [read(samples, number) for number in range(20)]
    assert [read(samples, number) for number in range(20)] == first
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(partial(read, samples), [*range(20)] * 3)) == first * 3
    for chosen in (samples.choose(order), adapted(order)):
        assert [read(chosen, k) for k in range(5)] == [first[number] for number in order]
        assert [chosen.fingerprint(k) for k in range(5)] == [*map(samples.fingerprint, order)]
    drawn = [read(samples, 4, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert (drawn[0] == drawn[2] == first[4]) == (not samples.draws)
